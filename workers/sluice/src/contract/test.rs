//! `sluice contract test`: masks a contract's samples and compares the results with the expected ones.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;
use serde_json::{Value, json};
use sluice_contract::Contract;
use sluice_govern::SampleError;
use sluice_runtime::config::ConfigErrors;
use sluice_runtime::contracts;

use super::ContractTestArgs;
use crate::cli::CommandFormat;
use crate::exit::{CommandFinding, CommandResult};

/// The folder of samples beside a contract.
const SAMPLES: &str = "samples";

/// The result of one sample.
#[derive(Debug, Serialize)]
struct SampleTestResult {
    contract: String,
    sample: String,
    holds: bool,
    /// The difference, or the file that was written.
    why: Option<String>,
}

/// Tries the samples of all contracts, or of those that are named. Exit code 1 if one is wrong.
pub(super) fn test(args: &ContractTestArgs) -> CommandResult {
    // An id that no contract has is a mistake of the caller, before any sample is tried.
    let contracts = contracts::load(&args.schemas)?;
    let mut unknown = ConfigErrors::default();
    for id in args.ids.iter().filter(|id| !contracts.iter().any(|contract| contract.id == **id)) {
        let known: Vec<&str> = contracts.iter().map(|contract| contract.id.as_str()).collect();
        unknown.add(id.clone(), "no contract has this id", Some(format!("contracts: {}", known.join(", "))));
    }
    unknown.or(())?;

    // Every sample, and the contracts that have none.
    let mut tried = Vec::new();
    let mut without = Vec::new();
    for contract in contracts.iter().filter(|c| args.ids.is_empty() || args.ids.contains(&c.id)) {
        let samples = samples(contract)?;
        if samples.is_empty() {
            without.push(contract.id.clone());
        }
        for sample in samples {
            tried.push(attempt(contract, &sample, args.accept)?);
        }
    }

    // All results are printed, not only the wrong ones.
    let broken = tried.iter().filter(|tried| !tried.holds).count();
    match args.output {
        CommandFormat::Json => {
            println!("{}", serde_json::to_string_pretty(&json!({"samples": tried, "without": without}))?)
        }
        CommandFormat::Text => {
            for SampleTestResult { contract, sample, holds, why } in &tried {
                let verdict = if *holds { "ok" } else { "WRONG" };
                println!("{verdict:<6}{contract}: {sample}");
                if let Some(why) = why {
                    why.lines().for_each(|line| println!("      {line}"));
                }
            }
            if !without.is_empty() {
                println!("contracts without samples: {}", without.join(", "));
            }
            println!("{} samples, {broken} wrong", tried.len());
        }
    }
    Ok(if broken == 0 { CommandFinding::Nothing } else { CommandFinding::Something })
}

/// Returns the files of the samples beside a contract in order, without the files of the expected results.
fn samples(contract: &Contract) -> anyhow::Result<Vec<PathBuf>> {
    let folder = Path::new(&contract.folder).join(SAMPLES);
    // Samples are optional. `test` lists the contracts that have none.
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry.with_context(|| format!("reading {}", folder.display()))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_sample =
            name.ends_with(".json") && !name.ends_with(".masked.json") && !name.ends_with(".refused.json");
        if is_sample {
            found.push(path);
        }
    }
    // Folders are listed without an order, and results must have one.
    found.sort();
    Ok(found)
}

/// Masks one sample and compares the result with the expected one. With `accept` a missing expectation is
/// written.
fn attempt(contract: &Contract, sample: &Path, accept: bool) -> anyhow::Result<SampleTestResult> {
    // The sample and its expectation: a masked record, or the path of a refusal.
    let text = std::fs::read_to_string(sample).with_context(|| format!("reading {}", sample.display()))?;
    let (masked_file, refused_file) =
        (sample.with_extension("masked.json"), sample.with_extension("refused.json"));
    let (masked, refused) = (expected(&masked_file)?, expected(&refused_file)?);

    let came = sluice_govern::try_sample(contract, &text);
    let why = match (&came, masked, refused) {
        // There is an expectation. It is met, or the message has both sides.
        (_, Some(_), Some(_)) => {
            Some("there is a .masked.json and a .refused.json: expected one of them".to_owned())
        }
        (Ok(came), Some(masked), None) if *came == masked => None,
        (Ok(came), Some(masked), None) => Some(difference(&masked, came)),
        (Err(SampleError::Refused { path, .. }), None, Some(refused)) if refused["path"] == json!(path) => {
            None
        }
        (Err(error), None, Some(refused)) => {
            Some(format!("expected a refusal at {}, got: {error}", refused["path"]))
        }
        (Ok(_), None, Some(refused)) => {
            Some(format!("expected a refusal at {}, but the sample was masked", refused["path"]))
        }
        (Err(error), Some(_), None) => Some(error.to_string()),

        // There is no expectation. `--accept` writes the result as the expectation, but not a broken sample.
        (came, None, None) if accept => match came {
            Ok(came) => return written(contract, sample, &masked_file, came),
            Err(SampleError::Refused { path, .. }) => {
                return written(contract, sample, &refused_file, &json!({"path": path}));
            }
            Err(error) => Some(error.to_string()),
        },
        (_, None, None) => Some(format!(
            "no result is expected yet: {} does not exist; `--accept` writes it",
            masked_file.display()
        )),
    };

    Ok(SampleTestResult { contract: contract.id.clone(), sample: shown(sample), holds: why.is_none(), why })
}

/// Reads the JSON of an expectation. `None` if there is no such file.
fn expected(file: &Path) -> anyhow::Result<Option<Value>> {
    if !file.is_file() {
        return Ok(None);
    }
    // A broken expectation is a mistake of the file and not a wrong sample.
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let value = serde_json::from_str(&text).map_err(|error| {
        let hint = "`--accept` writes it where there is none".to_owned();
        ConfigErrors::one(shown(file), format!("expected JSON: {error}"), Some(hint))
    })?;
    Ok(Some(value))
}

/// Writes a result as the expectation of its sample.
fn written(
    contract: &Contract,
    sample: &Path,
    file: &Path,
    value: &Value,
) -> anyhow::Result<SampleTestResult> {
    let text = format!("{}\n", serde_json::to_string_pretty(value)?);
    std::fs::write(file, text).with_context(|| format!("writing {}", file.display()))?;
    let why = Some(format!("wrote {}; look at it before you keep it", shown(file)));
    Ok(SampleTestResult { contract: contract.id.clone(), sample: shown(sample), holds: true, why })
}

/// Returns the fields that differ, one a line. Samples are made up, and their values may be shown.
fn difference(expected: &Value, came: &Value) -> String {
    let mut lines = Vec::new();
    differ("", expected, came, &mut lines);
    lines.join("\n")
}

/// Adds a line for each difference at or below `path`.
fn differ(path: &str, expected: &Value, came: &Value, lines: &mut Vec<String>) {
    match (expected, came) {
        // Objects field by field, in the order of their names.
        (Value::Object(expected), Value::Object(came)) => {
            let names: std::collections::BTreeSet<&String> = expected.keys().chain(came.keys()).collect();
            for name in names {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                match (expected.get(name), came.get(name)) {
                    (Some(expected), Some(came)) => differ(&path, expected, came, lines),
                    (Some(_), None) => lines.push(format!("{path}: expected a value, got no such field")),
                    (None, _) => lines.push(format!("{path}: expected no such field")),
                }
            }
        }
        // Arrays of one length item by item. Others are shown as a whole.
        (Value::Array(expected), Value::Array(came)) if expected.len() == came.len() => {
            for (index, (expected, came)) in expected.iter().zip(came).enumerate() {
                differ(&format!("{path}[{index}]"), expected, came, lines);
            }
        }
        (expected, came) if expected == came => {}
        (expected, came) => lines.push(format!("{path}: expected {expected}, got {came}")),
    }
}

/// Returns a path as text for a message.
fn shown(path: &Path) -> String {
    path.display().to_string()
}
