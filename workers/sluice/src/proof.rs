//! `sluice plan --proof`: the leak proof. It needs the contracts' folder and no server.

use anyhow::Context as _;
use sluice_govern::LeakProof;
use sluice_govern::plan::PlanRefusal;
use sluice_runtime::config::{self, ConfigErrors};

use crate::apply::{PlanCommand, RawApplyConfig};
use crate::cli::{CommandFormat, read_local_folder};
use crate::exit::{CommandFinding, CommandResult};
use crate::gate;

/// Prints the leak proof, and writes it as a page if asked. Exit code 1 if a way has no masking step.
pub(crate) fn proof(args: &PlanCommand) -> CommandResult {
    let raw: RawApplyConfig = config::load(&args.plan.config)?;
    let (contracts, views) = crate::contract::load_with_views(&raw.schemas)?;

    // The proof is printed whether it holds or not: it names the ways that leak. The other refusals of
    // contracts and views come behind it.
    let proof = LeakProof::of(&contracts, &views);
    let lake = raw.lake.map(read_local_folder).transpose().map_err(|message| {
        let hint = Some("give the folder of the sink's store `delta`".to_owned());
        ConfigErrors::one("lake", message, hint)
    })?;
    let refusals = gate::refusals(&contracts, &views, lake.as_deref())?;
    match args.plan.output {
        CommandFormat::Json => println!("{}", serde_json::to_string_pretty(&proof)?),
        CommandFormat::Text => print!("{}", proof.text()),
    }
    for refusal in refusals.iter().filter(|refusal| !matches!(refusal, PlanRefusal::Leak { .. })) {
        eprintln!("refused: {refusal}");
        if let Some((file, line)) = refusal.place(&contracts) {
            eprintln!("  {file}:{line}: {}", refusal.hint());
        }
    }

    // Standard output belongs to the proof.
    if let Some(file) = &args.proof_html {
        std::fs::write(file, proof.html()).with_context(|| format!("writing {}", file.display()))?;
        eprintln!("the graph is in {}", file.display());
    }
    Ok(if proof.holds() && refusals.is_empty() { CommandFinding::Nothing } else { CommandFinding::Something })
}
