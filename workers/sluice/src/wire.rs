//! `sluice wire`: checks and patches single records, for example one that was refused.

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
use crate::output::{self, StandardOutput};

/// Runs one of the three commands.
pub(crate) fn wire(args: &WireArgs) -> CommandResult {
    match &args.command {
        WireCommand::Check => lines(console::check),

        // The policy is resolved for each line, because each line has a schema of its own.
        WireCommand::Patch { policy, keys } => {
            let ring = ring(keys)?;
            let resolve = |operation: &Value, leaf: &sluice_wire::LeafInfo| {
                sluice_contract::operation(operation, leaf, &ring)
            };
            let operations = operations(policy, &resolve)?;
            lines(|line| console::patch(line, &operations))
        }

        // The policy is resolved for one schema.
        WireCommand::Explain { schema, policy, keys } => {
            let ring = ring(keys)?;
            let resolve = |operation: &Value, leaf: &sluice_wire::LeafInfo| {
                sluice_contract::operation(operation, leaf, &ring)
            };
            let operations = operations(policy, &resolve)?;
            let text = console::explain(&read(schema)?, &operations).map_err(|why| {
                ConfigErrors::one(shown(schema), why, Some("mend the schema or the policy".to_owned()))
            })?;
            println!("{text}");
            Ok(CommandFinding::Nothing)
        }
    }
}

/// Answers every line of standard input. Exit code 1 if one is not valid.
fn lines(answer: impl Fn(&str) -> WireAnswer) -> CommandResult {
    // A broken line is an answer and not an error: the lines after it are answered too.
    let mut found = CommandFinding::Nothing;
    let mut out = StandardOutput;
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
        // Standard input may have no end, and the reader of the answers has gone.
        if output::is_closed() {
            break;
        }
    }
    Ok(found)
}

/// The form of a policy.
const POLICY: &str = "a policy is an object: {\"path\": {\"op\": \"keep\"}}";

/// Reads a policy: the masking operation of each path.
fn operations<'r>(policy: &Path, resolve: console::ActionResolver<'r>) -> anyhow::Result<PathOperations<'r>> {
    let json: Value = serde_json::from_str(&read(policy)?).map_err(|error| {
        ConfigErrors::one(shown(policy), format!("expected JSON: {error}"), Some(POLICY.into()))
    })?;
    // All mistakes of the policy at once.
    let operations = PathOperations::read(&json, resolve).map_err(|errors| {
        let mut all = ConfigErrors::default();
        errors.into_iter().for_each(|error| all.add(shown(policy), error, Some(POLICY.to_owned())));
        all
    })?;
    Ok(operations)
}

/// Reads the keys from arguments of the form `name:epoch=FILE`.
fn ring(keys: &[String]) -> anyhow::Result<KeyRing> {
    let mut section = KeysSection::new();
    for key in keys {
        let parsed = key.split_once('=').and_then(|(name, file)| {
            let (name, epoch) = name.split_once(':')?;
            Some((name.to_owned(), epoch.parse::<u32>().ok()?, file.to_owned()))
        });
        // The argument has the name of a file, never the key itself: a message may quote it.
        let Some((name, epoch, file)) = parsed else {
            let hint = "for example --key pseudonym:1=pseudonym.key".to_owned();
            let message = format!("`{key}`: expected NAME:EPOCH=FILE");
            return Err(ConfigErrors::one("--key", message, Some(hint)).into());
        };
        section.entry(name).or_default().insert(epoch, SecretReference::File(file));
    }
    Ok(contracts::keys(&section)?)
}

/// Reads a file. A missing one is a mistake of the caller: exit code 64.
fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

/// Returns a path as text for a message.
fn shown(path: &Path) -> String {
    path.display().to_string()
}
