//! The record's key: the text of a leaf of the value, or a datum with a schema of its own (`key.avsc`).
//!
//! A key with a schema is covered leaf by leaf as the value is, by a second schema object with `physicalType: key`; one
//! that is no record has one property, `key`. Each leaf is kept or hmac: two keys must not become one, or a compacted
//! topic loses records and a partition their order. A map has no order, so that one key would have many forms.

use std::collections::BTreeMap;

use sluice_wire::DatumSchema;

use crate::contract::ContractField;
use crate::contracts::KEY_FILE;
use crate::coverage::{self, LeafCoverage, RecordPart, SchemaSide};
use crate::finding::{ContractFinding, FindingReport};
use crate::masking::MaskOperation;
use crate::yaml::YamlNode;

/// The key of a topic's records.
#[derive(Debug, Clone)]
pub enum RecordKey {
    /// The text of the value's leaf at this path, masked by that leaf's own policy.
    Leaf(String),
    /// A datum with a schema of its own, framed as values are.
    Schema(Box<KeySchema>),
}

/// A key's schema and what becomes of its leaves.
#[derive(Debug, Clone)]
pub struct KeySchema {
    /// The producers' schema of the key.
    pub schema: DatumSchema,
    /// Every leaf of the key, in schema order, with its policy: keep or hmac.
    pub fields: Vec<ContractField>,
    pub(crate) masked: DatumSchema,
}

impl RecordKey {
    /// Path of the value's leaf whose text is the key, if it is that.
    pub fn leaf(&self) -> Option<&str> {
        match self {
            Self::Leaf(path) => Some(path),
            Self::Schema(_) => None,
        }
    }

    /// The key's own schema, if it has one.
    pub fn schema(&self) -> Option<&KeySchema> {
        match self {
            Self::Leaf(_) => None,
            Self::Schema(key) => Some(key),
        }
    }

    /// Leaves of a key with a schema of its own; none otherwise.
    pub fn fields(&self) -> &[ContractField] {
        self.schema().map_or(&[], |key| &key.fields)
    }
}

impl KeySchema {
    /// Schema of the masked key: derived from schema and policies, deterministic.
    pub fn masked_schema(&self) -> &DatumSchema {
        &self.masked
    }

    /// The policy of the leaf at a path.
    pub fn field(&self, path: &str) -> Option<&ContractField> {
        self.fields.iter().find(|field| field.leaf.path == path)
    }
}

/// Name of the subject of a topic's keys (TopicNameStrategy).
pub fn key_subject(topic: &str) -> String {
    format!("{topic}-key")
}

/// The record's key as a place, or a leaf of it: `(key)`, `(key).id`.
pub fn place(path: &str) -> String {
    match path {
        "" => "(key)".to_owned(),
        path => format!("(key).{path}"),
    }
}

/// The key's schema against the object that speaks of it; `None` if there is neither, or something was reported.
pub(crate) fn check(
    file: Option<(&str, &str)>,
    schema: Option<&DatumSchema>,
    object: Option<&YamlNode>,
    contract_file: &str,
    findings: &mut Vec<ContractFinding>,
) -> Option<LeafCoverage> {
    let ((path, text), object) = match (file, object) {
        (None, None) => return None,
        (Some((path, _)), None) => {
            let message = "the contract says nothing of the key's leaves: nothing is kept by silence";
            let hint = "add a second object under `schema:` with `physicalType: key` and a property per leaf of \
                        the key, and leave `recordKey` out";
            FindingReport::new(path, findings).add(None, "", message, Some(hint.to_owned()));
            return None;
        }
        (None, Some(object)) => {
            let hint = Some("the key's Avro schema belongs there".to_owned());
            let message = format!("no {KEY_FILE} beside it");
            FindingReport::new(contract_file, findings).add(object.line, "schema", message, hint);
            return None;
        }
        (Some(file), Some(object)) => (file, object),
    };
    let side = SchemaSide { part: RecordPart::Key, file: path, text, schema: schema? };
    let mut report = FindingReport::new(contract_file, findings);
    let covered = coverage::check(&side, object, &mut report);
    let leaves = covered.fields.iter().map(|field| (field.leaf.path.as_str(), &field.op));
    let parts = covered.subtrees.iter().map(|(path, op)| (path.as_str(), op));
    for (path, op) in leaves.chain(parts) {
        let line = line(&covered.lines, path).unwrap_or(object.line);
        if !matches!(op, MaskOperation::Keep | MaskOperation::Hmac(_)) {
            let message = format!("`{}` in a key could make two keys one", op.name());
            report.add(line, place(path), message, Some("keep or hmac".to_owned()));
        }
        if path.contains('{') {
            let message = "a map in a key: it has no order, so that one key would have many forms";
            report.add(line, place(path), message, Some("make it fields, or an array of pairs".to_owned()));
        }
    }
    Some(covered)
}

/// Line of a path, or of the nearest one above it.
fn line(lines: &BTreeMap<String, u32>, path: &str) -> Option<u32> {
    coverage::ancestors(path).find_map(|path| lines.get(path)).copied()
}
