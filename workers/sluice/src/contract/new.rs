//! `sluice contract new`: drafts a contract from samples or from a subject.

use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use sluice_contract::{CONTRACT_FILE, VALUE_FILE};
use sluice_govern::ContractDrafter;
use sluice_runtime::config::{self, ConfigErrors};
use sluice_runtime::registry::SchemaRegistry;

use super::ContractNewArgs;
use crate::apply::RawApplyConfig;
use crate::exit::{CommandFinding, CommandResult};

/// Drafts a contract and writes its files, or prints them. An existing file is never overwritten.
pub(super) fn new(args: &ContractNewArgs) -> CommandResult {
    let draft = ContractDrafter {
        topic: args.topic.clone(),
        record_key: args.key.clone(),
        owner: args.owner.clone(),
    };

    // The source: samples or a subject. clap has checked that there is exactly one.
    let drafted = match (&args.samples, &args.subject, &args.config) {
        (Some(file), _, _) => draft.from_samples(&lines(file)?),
        (None, Some(subject), Some(config)) => draft.from_schema(&registered(subject, config)?),
        _ => {
            return Err(ConfigErrors::one(
                "--subject",
                "expected --config with it, or --samples instead",
                None,
            )
            .into());
        }
    };
    let drafted = drafted.map_err(|error| {
        let hint = "mend the samples or the schema first".to_owned();
        ConfigErrors::one(&args.topic, error.to_string(), Some(hint))
    })?;

    // A dry run prints the files and writes none.
    let folder = args.schemas.join(&drafted.folder);
    let files = [(VALUE_FILE, &drafted.value), (CONTRACT_FILE, &drafted.contract)];
    if args.dry_run {
        for (name, text) in files {
            println!("--- {}\n{text}", folder.join(name).display());
        }
        return Ok(CommandFinding::Nothing);
    }

    // Both files are checked before the first is written. A decided contract must not get lost.
    for (name, _) in files {
        let path = folder.join(name);
        if path.exists() {
            let hint = "`--dry-run` prints the draft instead".to_owned();
            return Err(ConfigErrors::one(
                path.display().to_string(),
                "exists already and is not overwritten",
                Some(hint),
            )
            .into());
        }
    }
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    println!("drafted {}", folder.display());

    // Questions that the samples raise, and the next steps of the user.
    for remark in &drafted.remarks {
        println!("  {remark}");
    }
    println!("{} leaves have no masking yet: write one for each in {CONTRACT_FILE}", drafted.undecided);
    println!("`sluice plan` names the leaves without one, `sluice contract --help` lists the operations");
    println!("then set `status: active`: a draft is checked, but neither applied nor served");
    Ok(CommandFinding::Nothing)
}

/// Reads a file of samples. `-` is standard input.
fn lines(file: &Path) -> anyhow::Result<String> {
    // Samples can come from another program, for example from a database's export.
    if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("reading standard input")?;
        return Ok(text);
    }
    std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))
}

/// Reads the newest schema of a subject from the registry.
fn registered(subject: &str, config: &Path) -> anyhow::Result<String> {
    // The same file as for `plan`: one place has the registry's address and its credentials.
    let raw: RawApplyConfig = config::load(config)?;
    let registry = SchemaRegistry::new(&raw.registry)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting tokio")?;
    let schema = runtime.block_on(registry.latest(subject))?;
    Ok(schema.ok_or_else(|| {
        let hint = "the subject of a topic's values is <topic>-value".to_owned();
        ConfigErrors::one("--subject", format!("the registry has no subject `{subject}`"), Some(hint))
    })?)
}
