//! `sluice verify`: compares the world with the contracts and the receipts. One file per check.

mod conservation;
mod drift;
mod leak;

use serde::Serialize;

use crate::apply;
use crate::cli::{CommandFormat, VerifyArgs};
use crate::exit::{CommandFinding, CommandResult};

/// A difference between the world and the contracts.
#[derive(Debug, Serialize)]
pub(crate) struct VerifyDifference {
    /// `drift` or `leak`.
    check: &'static str,
    /// The topic, table, subject or permission, and the record in it.
    place: String,
    /// The difference, for an operator. Never a value of a record.
    what: String,
}

/// Runs the checks that are asked for, and prints every difference. Exit code 1 if there is one.
pub(crate) fn verify(args: &VerifyArgs) -> CommandResult {
    if args.conservation {
        return conservation::verify(args);
    }

    // Without an option both checks run.
    let all = !args.drift && !args.leaks;
    apply::runtime()?.block_on(async {
        // The contracts are read once for both checks, and each asks the servers for itself.
        let fleet = apply::fleet(&args.config).await?;
        let mut differences = vec![];
        if all || args.drift {
            differences.extend(drift::look(&fleet).await?);
        }
        if all || args.leaks {
            differences.extend(leak::scan(&fleet, args).await?);
        }

        // One line for each difference, and a last line with their number.
        match args.output {
            CommandFormat::Json => println!("{}", serde_json::to_string_pretty(&differences)?),
            CommandFormat::Text => {
                for VerifyDifference { check, place, what } in &differences {
                    println!("{check}: {place}: {what}");
                }
                match differences.len() {
                    0 => println!("the world is as the contracts have it"),
                    1 => println!("1 difference"),
                    count => println!("{count} differences"),
                }
            }
        }
        Ok(if differences.is_empty() { CommandFinding::Nothing } else { CommandFinding::Something })
    })
}
