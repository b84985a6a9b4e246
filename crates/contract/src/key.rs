//! The record's key: the text of a leaf of the value, or a datum with a schema of its own (`key.avsc`).
//!
//! A key with a schema is covered leaf by leaf, as the value is, by a second schema object with
//! `physicalType: key`. A key that is no record has one property, `key`. Each leaf is kept or hmac: if two
//! keys became equal, a compacted topic would lose records, and a partition would lose their order. A map is
//! refused, because it has no order and one key would have many forms.

pub use sluice_core::names::key_subject;
use std::collections::BTreeMap;

use sluice_wire::DatumSchema;

use crate::classification::DataClassification;
use crate::contract::ContractField;
use crate::contracts::KEY_FILE;
use crate::coverage::{self, LeafCoverage, RecordPart, SchemaSide};
use crate::finding::{ContractFinding, FindingReport};
use crate::masking::{MaskOperation, MaskingFloors};
use crate::yaml::YamlNode;

/// The key of a topic's records.
#[derive(Debug, Clone)]
pub enum RecordKey {
    /// The text of the value's leaf at this path, masked by that leaf's own policy.
    Leaf(String),
    /// A key that is no leaf's text, or no key at all.
    Bare(BareKey),
    /// A datum with a schema of its own, with the same framing as values.
    Schema(Box<KeySchema>),
}

/// A key of bytes that are no leaf's text and have no schema, and its policy.
#[derive(Debug, Clone, PartialEq)]
pub struct BareKey {
    /// The key's classification.
    pub classification: DataClassification,
    /// Tags of the key.
    pub tags: Vec<String>,
    /// Keep, hmac, or drop: then masked records have no key.
    pub op: MaskOperation,
}

/// A key's schema and the policies of its leaves.
#[derive(Debug, Clone)]
pub struct KeySchema {
    /// The producers' schema of the key.
    pub schema: DatumSchema,
    /// Every leaf of the key, in schema order, with its policy: keep or hmac.
    pub fields: Vec<ContractField>,
    /// Derived schema of the masked key.
    pub(crate) masked: DatumSchema,
}

impl RecordKey {
    /// Returns the path of the value's leaf whose text is the key, or `None` if the key has a schema of its
    /// own.
    pub fn leaf(&self) -> Option<&str> {
        match self {
            Self::Leaf(path) => Some(path),
            Self::Bare(_) | Self::Schema(_) => None,
        }
    }

    /// Returns the decision about a key that is no leaf's text.
    pub fn bare(&self) -> Option<&BareKey> {
        match self {
            Self::Bare(key) => Some(key),
            Self::Leaf(_) | Self::Schema(_) => None,
        }
    }

    /// Returns the key's own schema, or `None` if the key is the text of a leaf.
    pub fn schema(&self) -> Option<&KeySchema> {
        match self {
            Self::Leaf(_) | Self::Bare(_) => None,
            Self::Schema(key) => Some(key),
        }
    }

    /// Returns the leaves of a key with a schema of its own; empty otherwise.
    pub fn fields(&self) -> &[ContractField] {
        self.schema().map_or(&[], |key| &key.fields)
    }
}

impl BareKey {
    /// Returns the decision `recordKey: none`: masked records have no key.
    pub(crate) const fn none() -> Self {
        Self { classification: DataClassification::Public, tags: Vec::new(), op: MaskOperation::Drop }
    }

    /// Returns true if the key must be masked before it reaches an open place.
    pub fn is_sensitive(&self) -> bool {
        !self.tags.is_empty() || self.classification == DataClassification::Restricted
    }
}

impl KeySchema {
    /// Returns the schema of the masked key. It follows from the schema and the policies alone.
    pub fn masked_schema(&self) -> &DatumSchema {
        &self.masked
    }

    /// Returns the leaf at a path with its policy.
    pub fn field(&self, path: &str) -> Option<&ContractField> {
        self.fields.iter().find(|field| field.leaf.path == path)
    }
}

/// Returns the path of the record's key or of a leaf of it, for messages: `(key)`, `(key).id`.
pub fn place(path: &str) -> String {
    match path {
        // A key that is no record is a leaf itself.
        "" => "(key)".to_owned(),
        path => format!("(key).{path}"),
    }
}

/// Compares the key's schema with the schema object for the key. `limits` are the contract's own tags and the
/// floors of masks. `None` if there is neither, or if one of
/// them is missing or broken, which is then reported.
pub(crate) fn check(
    file: Option<(&str, &str)>,
    schema: Option<&DatumSchema>,
    object: Option<&YamlNode>,
    contract_file: &str,
    limits: (Vec<&str>, &MaskingFloors),
    findings: &mut Vec<ContractFinding>,
) -> Option<LeafCoverage> {
    // Both are there, or neither.
    let ((path, text), object) = match (file, object) {
        (None, None) => return None,
        (Some((path, _)), None) => {
            let message = "the contract does not cover the key's leaves: no leaf is kept by default";
            let hint = "add a second object under `schema:` with `physicalType: key` and a property per leaf \
                        of the key, and remove `recordKey`";
            FindingReport::new(path, findings).add(None, "", message, Some(hint.to_owned()));
            return None;
        }
        (None, Some(object)) => {
            let hint = Some("put the key's Avro schema there".to_owned());
            let message = format!("no {KEY_FILE} beside it");
            FindingReport::new(contract_file, findings).add(object.line, "schema", message, hint);
            return None;
        }
        (Some(file), Some(object)) => (file, object),
    };

    // The comparison is that of the value.
    let (tags, floors) = limits;
    let side = SchemaSide { part: RecordPart::Key, file: path, text, schema: schema?, tags, floors };
    let mut report = FindingReport::new(contract_file, findings);
    let covered = coverage::check(&side, object, &mut report);

    // Different keys must stay different, and one key must have one form only.
    let leaves = covered.fields.iter().map(|field| (field.leaf.path.as_str(), &field.op));
    let parts = covered.subtrees.iter().map(|(path, op)| (path.as_str(), op));
    for (path, op) in leaves.chain(parts) {
        let line = line(&covered.lines, path).unwrap_or(object.line);
        if !matches!(op, MaskOperation::Keep | MaskOperation::Hmac(_)) {
            let message = format!("`{}` in a key could make two keys equal", op.name());
            report.add(line, place(path), message, Some("use keep or hmac".to_owned()));
        }
        if path.contains('{') {
            let message = "a map in a key: a map has no order, and one key would have many forms";
            report.add(line, place(path), message, Some("use fields, or an array of pairs".to_owned()));
        }
    }
    Some(covered)
}

/// Returns the line of a path, or of the nearest path above it.
fn line(lines: &BTreeMap<String, u32>, path: &str) -> Option<u32> {
    coverage::ancestors(path).find_map(|path| lines.get(path)).copied()
}
