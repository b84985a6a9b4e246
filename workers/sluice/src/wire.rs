//! `sluice wire`: single records, for whoever holds a poison one.

use std::io::{BufRead as _, Write as _};
use std::path::Path;

use anyhow::Context as _;
use serde_json::Value;
use sluice_contract::KeyRing;
use sluice_runtime::config::{ConfigErrors, SecretReference};
use sluice_runtime::contracts::{self, KeysSection};
use sluice_wire::console::{self, PathOperations, WireAnswer};

use crate::cli::{WireArgs, WireCommand};
use crate::exit::{CommandFinding, CommandResult};

pub(crate) fn wire(args: &WireArgs) -> CommandResult {
    match &args.command {
        WireCommand::Check => lines(console::check),
        WireCommand::Patch { policy, keys } => {
            let ring = ring(keys)?;
            let resolve = |operation: &Value, leaf: &sluice_wire::LeafInfo| {
                sluice_contract::operation(operation, leaf, &ring)
            };
            let operations = operations(policy, &resolve)?;
            lines(|line| console::patch(line, &operations))
        }
        WireCommand::Explain { schema, policy, keys } => {
            let ring = ring(keys)?;
            let resolve = |operation: &Value, leaf: &sluice_wire::LeafInfo| {
                sluice_contract::operation(operation, leaf, &ring)
            };
            let operations = operations(policy, &resolve)?;
            let text = console::explain(&read(schema)?, &operations)
                .map_err(|why| ConfigErrors::one(shown(schema), why, None))?;
            println!("{text}");
            Ok(CommandFinding::Nothing)
        }
    }
}

/// Answers every line of standard input.
fn lines(answer: impl Fn(&str) -> WireAnswer) -> CommandResult {
    let mut found = CommandFinding::Nothing;
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line = line.context("reading standard input")?;
        if line.trim().is_empty() {
            continue;
        }
        let answer = answer(&line);
        writeln!(out, "{}", answer.json).context("writing the answer")?;
        if !answer.valid {
            found = CommandFinding::Something;
        }
    }
    Ok(found)
}

fn operations<'r>(policy: &Path, resolve: console::ActionResolver<'r>) -> anyhow::Result<PathOperations<'r>> {
    let json: Value = serde_json::from_str(&read(policy)?)
        .map_err(|error| ConfigErrors::one(shown(policy), error.to_string(), None))?;
    let operations = PathOperations::read(&json, resolve).map_err(|errors| {
        let mut all = ConfigErrors::default();
        errors.into_iter().for_each(|error| all.add(shown(policy), error, None));
        all
    })?;
    Ok(operations)
}

/// `name:epoch=FILE` → keys.
fn ring(keys: &[String]) -> anyhow::Result<KeyRing> {
    let mut section = KeysSection::new();
    for key in keys {
        let parsed = key.split_once('=').and_then(|(name, file)| {
            let (name, epoch) = name.split_once(':')?;
            Some((name.to_owned(), epoch.parse::<u32>().ok()?, file.to_owned()))
        });
        let Some((name, epoch, file)) = parsed else {
            return Err(ConfigErrors::one("--key", format!("`{key}` is not NAME:EPOCH=FILE"), None).into());
        };
        section.entry(name).or_default().insert(epoch, SecretReference::File(file));
    }
    Ok(contracts::keys(&section)?)
}

fn read(path: &Path) -> anyhow::Result<String> {
    Ok(std::fs::read_to_string(path)
        .map_err(|error| ConfigErrors::one(shown(path), format!("cannot be read: {error}"), None))?)
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
