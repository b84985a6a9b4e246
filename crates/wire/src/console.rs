//! The programs at the command line, to examine a poison record: a JSON line in, a JSON line out.
//!
//! ```text
//!  check    {"schema": …, "datum": "base64"}  →  {"valid":true}
//!                                                {"valid":false,"path":"a[].b","position":17,"expected":"…"}
//!  patch    the same                          →  {"valid":true,"schema":…,"datum":"base64"}
//! ```
//!
//! A schema is given as JSON or as the text of the JSON. The datum is without framing.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    DatumError, DatumPatch, DatumSchema, DatumValidator, LeafAction, LeafInfo, LeafPolicy, PatchError,
    PatchRunError,
};

/// One line of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireAnswer {
    /// Compact JSON without a line end.
    pub json: String,
    /// False if the exit code must report a failure.
    pub valid: bool,
}

/// Masking operations by path, as the command line takes them: `{"path": {"op": "keep"}, …}`. A path names a
/// leaf. For `keep`, `drop` and `null` it may also name a whole record, array or map.
pub struct PathOperations<'r> {
    operations: BTreeMap<String, Value>,
    resolve: ActionResolver<'r>,
    /// Paths of which the compiler asked for the operation.
    asked: RefCell<BTreeSet<String>>,
    /// The first operation that could not be resolved.
    refused: RefCell<Option<PatchError>>,
}

/// Resolves an operation other than `keep`, `drop` and `null` for the leaf at its path.
pub type ActionResolver<'r> = &'r dyn Fn(&Value, &LeafInfo) -> Result<LeafAction, String>;

impl<'r> PathOperations<'r> {
    /// Reads the operations. `resolve` knows the operations that need keys or parameters.
    ///
    /// # Errors
    /// Every entry without an operation, each with its path.
    pub fn read(policy: &Value, resolve: ActionResolver<'r>) -> Result<Self, Vec<String>> {
        let Some(entries) = policy.as_object() else {
            return Err(vec!["expected a policy: an object with an operation for each path".to_owned()]);
        };

        // All mistakes are reported at once.
        let errors: Vec<_> = entries
            .iter()
            .filter(|(_, operation)| operation.get("op").and_then(Value::as_str).is_none())
            .map(|(path, _)| format!("field {path}: expected an operation with an `op`"))
            .collect();
        if !errors.is_empty() {
            return Err(errors);
        }

        // The operations are resolved later, when the types of their leaves are known.
        let operations = entries.iter().map(|(path, operation)| (path.clone(), operation.clone())).collect();
        Ok(Self { operations, resolve, asked: RefCell::default(), refused: RefCell::default() })
    }

    /// Compiles against a schema. A path that the schema does not have is an error too.
    ///
    /// # Errors
    /// [`PatchError`], also for every path that is not in the schema.
    pub fn compile(&self, schema: &DatumSchema) -> Result<DatumPatch, PatchError> {
        // An operation that cannot be resolved explains the failure better than the uncovered leaf it leads
        // to.
        self.asked.borrow_mut().clear();
        let compiled = DatumPatch::compile(schema, self);
        if let Some(refused) = self.refused.take() {
            return Err(refused);
        }
        let patch = compiled?;

        // A path that the compiler never asked for is a mistake in the policy.
        let asked = self.asked.borrow();
        let unknown: Vec<&str> =
            self.operations.keys().filter(|path| !asked.contains(*path)).map(String::as_str).collect();
        match unknown.first() {
            None => Ok(patch),
            Some(first) => Err(PatchError::Unsupported {
                path: (*first).to_owned(),
                why: format!(
                    "no such field in the schema, or inside a part that has an operation of its own: {}",
                    unknown.join(", ")
                ),
            }),
        }
    }

    /// Returns the action for the leaf or, without a leaf, for the whole part at `path`.
    fn ask(&self, path: &str, leaf: Option<&LeafInfo>) -> Option<LeafAction> {
        let operation = self.operations.get(path)?;
        // Three operations work on any part of a schema; the rest belongs to the caller.
        let action = match (operation.get("op").and_then(Value::as_str)?, leaf) {
            ("keep", _) => Ok(LeafAction::Keep),
            ("drop", _) => Ok(LeafAction::Drop),
            ("null", _) => Ok(LeafAction::Null),
            (_, Some(leaf)) => (self.resolve)(operation, leaf),
            (op, None) => Err(format!("operation `{op}` works on a leaf, not on a whole part")),
        };

        // Only the first failure is kept: the trait has no way to return it from here.
        self.asked.borrow_mut().insert(path.to_owned());
        match action {
            Ok(action) => Some(action),
            Err(why) => {
                let refused = PatchError::Unsupported { path: path.to_owned(), why };
                // `None` makes the compiler list the leaf as uncovered; `compile` returns this reason
                // instead.
                self.refused.borrow_mut().get_or_insert(refused);
                None
            }
        }
    }
}

impl LeafPolicy for PathOperations<'_> {
    fn action(&self, leaf: &LeafInfo) -> Option<LeafAction> {
        self.ask(&leaf.path, Some(leaf))
    }

    fn subtree(&self, path: &str) -> Option<LeafAction> {
        self.ask(path, None)
    }
}

/// One line of input.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireRequest {
    schema: Value,
    datum: String,
}

impl WireRequest {
    /// Parses a line. Fails with the answer to print.
    fn read(line: &str) -> Result<(DatumSchema, Vec<u8>), WireAnswer> {
        let line: Self = serde_json::from_str(line).map_err(|e| {
            broken(&format!("a JSON object with `schema` and `datum` (column {})", e.column()))
        })?;

        // A string may be the schema's text or, without JSON in it, the name of a primitive type.
        let text = match line.schema {
            Value::String(text) if text.trim_start().starts_with(['{', '[', '"']) => text,
            schema => schema.to_string(),
        };

        // The datum is base64 text, because JSON has no bytes.
        let schema = DatumSchema::parse(&text).map_err(|error| broken(&error.to_string()))?;
        let datum = STANDARD.decode(line.datum).map_err(|_| broken("`datum` as base64 text"))?;
        Ok((schema, datum))
    }
}

/// Answers `sluice wire check`: tells whether the line's datum is one of its schema.
pub fn check(line: &str) -> WireAnswer {
    let (schema, datum) = match WireRequest::read(line) {
        Ok(read) => read,
        Err(answer) => return answer,
    };
    match DatumValidator::compile(&schema) {
        Err(error) => broken(&error.to_string()),
        Ok(validate) => match validate.run(&datum) {
            Ok(()) => WireAnswer { json: json!({"valid": true}).to_string(), valid: true },
            Err(error) => invalid(&error),
        },
    }
}

/// Answers `sluice wire patch`: returns the datum as the policy makes it, under the derived schema.
pub fn patch(line: &str, operations: &PathOperations<'_>) -> WireAnswer {
    // Schema, policy and datum can each be wrong; the first mistake is the answer.
    let (schema, datum) = match WireRequest::read(line) {
        Ok(read) => read,
        Err(answer) => return answer,
    };
    let patch = match operations.compile(&schema) {
        Ok(patch) => patch,
        Err(error) => return broken(&error.to_string()),
    };

    // The answer carries the derived schema, because the patched datum cannot be read without it.
    let mut out = Vec::new();
    match patch.run(&datum, &mut out) {
        Ok(()) => {
            let derived = serde_json::from_str::<Value>(patch.derived().json());
            debug_assert!(derived.is_ok(), "a derived schema is printed as JSON");
            let derived = derived.unwrap_or_default();
            let json = json!({"valid": true, "schema": derived, "datum": STANDARD.encode(out)});
            WireAnswer { json: json.to_string(), valid: true }
        }
        Err(PatchRunError::Datum(error)) => invalid(&error),
        Err(PatchRunError::Refused { path, why }) => {
            let json = json!({"valid": false, "path": path, "position": null, "expected": why});
            WireAnswer { json: json.to_string(), valid: false }
        }
    }
}

/// Answers `sluice wire explain`: lists the action for every leaf, then the program.
///
/// # Errors
/// The mistake in the schema or the policy, as a message for the operator.
pub fn explain(schema: &str, operations: &PathOperations<'_>) -> Result<String, String> {
    let schema = DatumSchema::parse(schema).map_err(|error| error.to_string())?;
    let patch = operations.compile(&schema).map_err(|error| error.to_string())?;
    Ok(format!("{}\nderived schema:\n{}\n", patch.explain(), patch.derived().json()))
}

/// Answers that the datum is not one of the schema.
fn invalid(error: &DatumError) -> WireAnswer {
    let DatumError { path, position, expected } = error;
    let json = json!({"valid": false, "path": path, "position": position, "expected": expected});
    WireAnswer { json: json.to_string(), valid: false }
}

/// Answers that the line itself cannot be used.
fn broken(expected: &str) -> WireAnswer {
    let json = json!({"valid": false, "path": "", "position": null, "expected": expected});
    WireAnswer { json: json.to_string(), valid: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str =
        r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"b","type":"string"}]}"#;

    fn line(datum: &[u8]) -> String {
        format!(r#"{{"schema":{SCHEMA},"datum":"{}"}}"#, STANDARD.encode(datum))
    }

    fn operations(policy: Value) -> PathOperations<'static> {
        PathOperations::read(&policy, &|operation, _| Err(format!("unknown op {}", operation["op"])))
            .ok()
            .unwrap()
    }

    #[test]
    fn check_answers_each_line() {
        assert_eq!(check(&line(&[2, 2, b'x'])), WireAnswer { json: r#"{"valid":true}"#.into(), valid: true });
        let answer = check(&line(&[2, 2, 0xff]));
        let read: Value = serde_json::from_str(&answer.json).unwrap();
        assert!(!answer.valid);
        assert_eq!(read, json!({"valid": false, "path": "b", "position": 2, "expected": "UTF-8"}));
        for broken in ["", "{}", r#"{"schema":"nothing","datum":""}"#, r#"{"schema":"int","datum":"!"}"#] {
            assert!(!check(broken).valid, "{broken}");
        }
        assert!(check(r#"{"schema":"int","datum":"Ag=="}"#).valid);
        assert!(check(r#"{"schema":"\"int\"","datum":"Ag=="}"#).valid);
    }

    #[test]
    fn patch_answers_with_schema_and_datum() {
        let answer =
            patch(&line(&[2, 2, b'x']), &operations(json!({"a": {"op": "drop"}, "b": {"op": "null"}})));
        let read: Value = serde_json::from_str(&answer.json).unwrap();
        assert_eq!(read["datum"], STANDARD.encode([0]));
        assert_eq!(read["schema"]["fields"][0]["type"], json!(["null", "string"]));
    }

    #[test]
    fn a_policy_that_does_not_fit_says_so() {
        assert!(
            PathOperations::read(&json!({"a": {}, "b": {}}), &|_, _| Err("no".into()))
                .is_err_and(|e| e.len() == 2)
        );
        let schema = DatumSchema::parse(SCHEMA).unwrap();
        let unknown =
            operations(json!({"a": {"op": "hmac"}, "b": {"op": "keep"}})).compile(&schema).err().unwrap();
        assert!(matches!(unknown, PatchError::Unsupported { path, .. } if path == "a"));
        let error = operations(json!({"a": {"op": "keep"}})).compile(&schema).err().unwrap();
        assert_eq!(error, PatchError::Uncovered(vec!["b".into()]));
        let keep = json!({"op": "keep"});
        let error = operations(json!({"a": keep, "b": keep, "c": keep})).compile(&schema).err().unwrap();
        assert!(matches!(error, PatchError::Unsupported { path, .. } if path == "c"));
        assert!(explain(SCHEMA, &operations(json!({"": keep}))).unwrap().contains("keep, all of it"));
    }
}
