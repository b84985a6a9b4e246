//! `sluice plan --proof`: the leak proof, from the contracts' folder alone.

use anyhow::Context as _;
use sluice_contract::Proof;
use sluice_runtime::{config, contracts};

use crate::apply::RawConfig;
use crate::cli::{Output, PlanCommand};
use crate::exit::{Ended, Found};

pub(crate) fn proof(args: &PlanCommand) -> Ended {
    let raw: RawConfig = config::load(&args.plan.config)?;
    let (contracts, views) = contracts::load_with_views(&raw.schemas)?;
    let proof = Proof::of(&contracts, &views);
    match args.plan.output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&proof)?),
        Output::Text => print!("{}", proof.text()),
    }
    if let Some(file) = &args.proof_html {
        std::fs::write(file, proof.html()).with_context(|| format!("writing {}", file.display()))?;
        eprintln!("the graph is in {}", file.display());
    }
    Ok(if proof.holds() { Found::Nothing } else { Found::Something })
}
