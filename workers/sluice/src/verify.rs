//! `sluice verify`: does the world hold what the contracts and the receipts say? One file per check.

mod conservation;
mod drift;
mod leak;

use serde::Serialize;

use crate::apply;
use crate::cli::{CommandFormat, VerifyArgs};
use crate::exit::{CommandFinding, CommandResult};

/// Something that is not as it should be.
#[derive(Debug, Serialize)]
pub(crate) struct VerifyDifference {
    /// `drift` or `leak`.
    check: &'static str,
    /// The topic, table, subject or permission, and the place in it.
    place: String,
    /// What is wrong with it; never a value.
    what: String,
}

pub(crate) fn verify(args: &VerifyArgs) -> CommandResult {
    if args.conservation {
        return conservation::verify(args);
    }
    let all = !args.drift && !args.leaks;
    apply::runtime()?.block_on(async {
        let fleet = apply::fleet(&args.config).await?;
        let mut differences = vec![];
        if all || args.drift {
            differences.extend(drift::look(&fleet).await?);
        }
        if all || args.leaks {
            differences.extend(leak::scan(&fleet, args).await?);
        }
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
