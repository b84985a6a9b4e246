//! The programs at the command line, for whoever holds a poison record: a JSON line in, a JSON line out.
//!
//! ```text
//!  check    {"schema": …, "datum": "base64"}  →  {"valid":true}
//!                                                {"valid":false,"path":"a[].b","position":17,"expected":"…"}
//!  patch    the same                          →  {"valid":true,"schema":…,"datum":"base64"}
//! ```
//!
//! A schema is given as itself or as its text. The datum is without framing.

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
    /// Whether the exit code may stay 0.
    pub valid: bool,
}

/// Operations by path, as the command line takes them: `{"path": {"op": "keep"}, …}`. A path may be a leaf or,
/// for `keep`, `drop` and `null`, a whole record, array or map.
pub struct PathOperations<'r> {
    operations: BTreeMap<String, Value>,
    resolve: ActionResolver<'r>,
    asked: RefCell<BTreeSet<String>>,
    refused: RefCell<Option<PatchError>>,
}

/// Resolves an operation that is not `keep`, `drop` or `null` for the leaf it stands at.
pub type ActionResolver<'r> = &'r dyn Fn(&Value, &LeafInfo) -> Result<LeafAction, String>;

impl<'r> PathOperations<'r> {
    /// Reads the operations; `resolve` knows those that need keys or parameters.
    ///
    /// # Errors
    /// Every entry that is no operation, each with its path.
    pub fn read(policy: &Value, resolve: ActionResolver<'r>) -> Result<Self, Vec<String>> {
        let Some(entries) = policy.as_object() else {
            return Err(vec!["a policy is an object of operations by path".to_owned()]);
        };
        let errors: Vec<_> = entries
            .iter()
            .filter(|(_, operation)| operation.get("op").and_then(Value::as_str).is_none())
            .map(|(path, _)| format!("at `{path}`: an operation has an `op`"))
            .collect();
        if !errors.is_empty() {
            return Err(errors);
        }
        let operations = entries.iter().map(|(path, operation)| (path.clone(), operation.clone())).collect();
        Ok(Self { operations, resolve, asked: RefCell::default(), refused: RefCell::default() })
    }

    /// Compiles against a schema; a path that the schema does not have is an error too.
    ///
    /// # Errors
    /// [`PatchError`], or every path that is not in the schema.
    pub fn compile(&self, schema: &DatumSchema) -> Result<DatumPatch, PatchError> {
        self.asked.borrow_mut().clear();
        let compiled = DatumPatch::compile(schema, self);
        if let Some(refused) = self.refused.take() {
            return Err(refused);
        }
        let patch = compiled?;
        let asked = self.asked.borrow();
        let unknown: Vec<&str> =
            self.operations.keys().filter(|path| !asked.contains(*path)).map(String::as_str).collect();
        match unknown.first() {
            None => Ok(patch),
            Some(first) => Err(PatchError::Unsupported {
                path: (*first).to_owned(),
                why: format!(
                    "not in the schema, or inside what is handled as a whole: {}",
                    unknown.join(", ")
                ),
            }),
        }
    }

    fn ask(&self, path: &str, leaf: Option<&LeafInfo>) -> Option<LeafAction> {
        let operation = self.operations.get(path)?;
        let action = match (operation.get("op").and_then(Value::as_str)?, leaf) {
            ("keep", _) => Ok(LeafAction::Keep),
            ("drop", _) => Ok(LeafAction::Drop),
            ("null", _) => Ok(LeafAction::Null),
            (_, Some(leaf)) => (self.resolve)(operation, leaf),
            (op, None) => Err(format!("`{op}` is for leaves")),
        };
        self.asked.borrow_mut().insert(path.to_owned());
        match action {
            Ok(action) => Some(action),
            Err(why) => {
                let refused = PatchError::Unsupported { path: path.to_owned(), why };
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireRequest {
    schema: Value,
    datum: String,
}

impl WireRequest {
    fn read(line: &str) -> Result<(DatumSchema, Vec<u8>), WireAnswer> {
        let line: Self = serde_json::from_str(line).map_err(|e| {
            broken(&format!("a line of JSON with `schema` and `datum` (column {})", e.column()))
        })?;
        let text = match line.schema {
            Value::String(text) if text.trim_start().starts_with(['{', '[', '"']) => text,
            schema => schema.to_string(),
        };
        let schema = DatumSchema::parse(&text).map_err(|error| broken(&error.to_string()))?;
        let datum = STANDARD.decode(line.datum).map_err(|_| broken("`datum` in base64"))?;
        Ok((schema, datum))
    }
}

/// `sluice wire check`: is the datum one of the schema?
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

/// `sluice wire patch`: the datum as the policy makes it, under the derived schema.
pub fn patch(line: &str, operations: &PathOperations<'_>) -> WireAnswer {
    let (schema, datum) = match WireRequest::read(line) {
        Ok(read) => read,
        Err(answer) => return answer,
    };
    let patch = match operations.compile(&schema) {
        Ok(patch) => patch,
        Err(error) => return broken(&error.to_string()),
    };
    let mut out = Vec::new();
    match patch.run(&datum, &mut out) {
        Ok(()) => {
            let derived: Value = serde_json::from_str(patch.derived().json()).unwrap_or_default();
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

/// `sluice wire explain`: what happens to every leaf, then the program.
///
/// # Errors
/// What is wrong with the schema or the policy, for people.
pub fn explain(schema: &str, operations: &PathOperations<'_>) -> Result<String, String> {
    let schema = DatumSchema::parse(schema).map_err(|error| error.to_string())?;
    let patch = operations.compile(&schema).map_err(|error| error.to_string())?;
    Ok(format!("{}\nderived schema:\n{}\n", patch.explain(), patch.derived().json()))
}

fn invalid(error: &DatumError) -> WireAnswer {
    let DatumError { path, position, expected } = error;
    let json = json!({"valid": false, "path": path, "position": position, "expected": expected});
    WireAnswer { json: json.to_string(), valid: false }
}

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
