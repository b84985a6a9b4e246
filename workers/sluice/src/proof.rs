//! `sluice plan --proof`: the leak proof. It needs the contracts' folder and no server.

use anyhow::Context as _;
use sluice_govern::LeakProof;
use sluice_runtime::config;

use crate::apply::{PlanCommand, RawApplyConfig};
use crate::cli::CommandFormat;
use crate::exit::{CommandFinding, CommandResult};

/// Prints the leak proof, and writes it as a page if asked. Exit code 1 if a way has no masking step.
pub(crate) fn proof(args: &PlanCommand) -> CommandResult {
    let raw: RawApplyConfig = config::load(&args.plan.config)?;
    let (contracts, views) = crate::contract::load_with_views(&raw.schemas)?;

    // The proof is printed whether it holds or not: it names the ways that leak.
    let proof = LeakProof::of(&contracts, &views);
    match args.plan.output {
        CommandFormat::Json => println!("{}", serde_json::to_string_pretty(&proof)?),
        CommandFormat::Text => print!("{}", proof.text()),
    }

    // Standard output belongs to the proof.
    if let Some(file) = &args.proof_html {
        std::fs::write(file, proof.html()).with_context(|| format!("writing {}", file.display()))?;
        eprintln!("the graph is in {}", file.display());
    }
    Ok(if proof.holds() { CommandFinding::Nothing } else { CommandFinding::Something })
}
