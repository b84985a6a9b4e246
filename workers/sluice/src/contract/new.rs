//! `sluice contract new`.

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

pub(super) fn new(args: &ContractNewArgs) -> CommandResult {
    let draft = ContractDrafter {
        topic: args.topic.clone(),
        record_key: args.key.clone(),
        owner: args.owner.clone(),
    };
    let drafted = match (&args.samples, &args.subject, &args.config) {
        (Some(file), _, _) => draft.from_samples(&lines(file)?),
        (None, Some(subject), Some(config)) => draft.from_schema(&registered(subject, config)?),
        _ => return Err(ConfigErrors::one("--subject", "needs --config, or give --samples", None).into()),
    };
    let drafted = drafted.map_err(|error| {
        let hint = "the samples or the schema have to be mended first".to_owned();
        ConfigErrors::one(&args.topic, error.to_string(), Some(hint))
    })?;
    let folder = args.schemas.join(&drafted.folder);
    let files = [(VALUE_FILE, &drafted.value), (CONTRACT_FILE, &drafted.contract)];
    if args.dry_run {
        for (name, text) in files {
            println!("--- {}\n{text}", folder.join(name).display());
        }
        return Ok(CommandFinding::Nothing);
    }
    for (name, _) in files {
        let path = folder.join(name);
        if path.exists() {
            let hint = "`--dry-run` prints the draft instead".to_owned();
            return Err(ConfigErrors::one(path.display().to_string(), "is there already", Some(hint)).into());
        }
    }
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    println!("drafted {}", folder.display());
    println!("{} leaves wait for a decision: write a masking for each in {CONTRACT_FILE}", drafted.undecided);
    println!("`sluice plan` names those that are left, `sluice contract --help` says what may stand there");
    Ok(CommandFinding::Nothing)
}

fn lines(file: &Path) -> anyhow::Result<String> {
    let unreadable = |error: std::io::Error| {
        ConfigErrors::one(file.display().to_string(), format!("cannot be read: {error}"), None)
    };
    if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(unreadable)?;
        return Ok(text);
    }
    Ok(std::fs::read_to_string(file).map_err(unreadable)?)
}

fn registered(subject: &str, config: &Path) -> anyhow::Result<String> {
    let raw: RawApplyConfig = config::load(config)?;
    let registry = SchemaRegistry::new(&raw.registry)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting tokio")?;
    let schema = runtime.block_on(registry.latest(subject))?;
    Ok(schema.ok_or_else(|| {
        let hint = "the value's subject of a topic is <topic>-value".to_owned();
        ConfigErrors::one("--subject", format!("the registry has no subject `{subject}`"), Some(hint))
    })?)
}
