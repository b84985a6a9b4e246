//! The contract draft, from a registered schema or from samples. It is complete, and refused until its author
//! has decided about every leaf.
//!
//! ```text
//!  subject of the registry ────► value.avsc ─┐
//!  JSON ───────► SampleShape ─► value.avsc ─┴─► contract.odcs.yaml: every leaf restricted, masking undecided
//! ```
//!
//! A draft never lets a value through on a guess: each leaf has `{op: decide}`, which `plan` refuses with the
//! leaf's line. A suggestion from the leaf's name is in a comment beside it. The author may follow it or not.

mod hint;
mod odcs;
mod postcode;
mod remark;
mod samples;
mod shape;

use remark::DraftRemarks;
use samples::read_samples;
use serde_json::{Map, Value};
use shape::SampleShape;
use sluice_wire::{DatumSchema, LeafInfo, SchemaError};

/// The properties of a topic that are known before it has a contract.
#[derive(Debug, Clone)]
pub struct ContractDrafter {
    /// The raw topic, for example `club.member.v1`.
    pub topic: String,
    /// The field whose text is the Kafka key, if it is known.
    pub record_key: Option<String>,
    /// The user name of the owner, if it is known.
    pub owner: Option<String>,
}

/// The files of a contract draft.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DraftFiles {
    /// Their folder below the contracts' folder: `<domain>/<name>`.
    pub folder: String,
    /// The text of `value.avsc`.
    pub value: String,
    /// The text of `contract.odcs.yaml`.
    pub contract: String,
    /// The number of leaves about which the author must decide.
    pub undecided: usize,
    /// Remarks about fields of the samples, each as one line: money, postcodes, maps. No value, and no key of
    /// a map.
    pub remarks: Vec<String>,
}

/// The reason why there is no draft.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DraftError {
    /// The topic's name has no domain or no name. Holds the topic.
    #[error("topic `{0}`: expected a name of the form <domain>.<name>, for example `club.member.v1`")]
    Topic(String),
    /// A line of the samples is no JSON object.
    #[error("line {line}: {why}")]
    Line {
        /// Number of the line, from 1.
        line: usize,
        /// The expected form. Never quotes the line.
        why: String,
    },
    /// No schema fits the samples, or only one of no use.
    #[error("{}: {why}", shown(path))]
    Shape {
        /// Path of the field; empty for the record.
        path: String,
        /// The expected form. Never quotes a value.
        why: String,
    },
    /// The schema cannot be read.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The schema has no leaves, or too many to list.
    #[error("expected a schema with leaves, but not too many to list")]
    Leaves,
}

impl ContractDrafter {
    /// Drafts a contract from a schema, in the registry's text.
    ///
    /// # Errors
    /// [`DraftError`].
    pub fn from_schema(&self, schema: &str) -> Result<DraftFiles, DraftError> {
        self.draft_schema(schema, DraftRemarks::default())
    }

    /// Drafts a contract from a schema, with the remarks that follow from samples.
    fn draft_schema(&self, schema: &str, remarks: DraftRemarks) -> Result<DraftFiles, DraftError> {
        let place = place(&self.topic)?;

        // A contract has a line for each leaf.
        let parsed = DatumSchema::parse(schema)?;
        let leaves = parsed.leaves();
        if leaves.is_empty() {
            return Err(DraftError::Leaves);
        }

        // The text is JSON, because the schema has been parsed.
        let json: Value = serde_json::from_str(schema).unwrap_or_default();
        debug_assert!(!json.is_null(), "the schema was parsed above");
        Ok(DraftFiles {
            folder: format!("{}/{}", place.domain, place.name),
            value: format!("{}\n", pretty(&json)),
            contract: odcs::contract(self, &place, &json, &leaves, &remarks.notes),
            undecided: leaves.len(),
            remarks: remarks.lines,
        })
    }

    /// Drafts a contract from samples: JSON records, one a line or each on several lines, or arrays of them.
    /// The schema's fields have the order of the samples.
    ///
    /// # Errors
    /// [`DraftError`], for example if a field is a text in one record and a number in another.
    pub fn from_samples(&self, samples: &str) -> Result<DraftFiles, DraftError> {
        let place = place(&self.topic)?;

        // Every sample counts: the schema must hold all of them.
        let mut shape = SampleShape::default();
        read_samples(samples, &mut shape)?;

        // From here on the draft is that of a schema.
        let mut remarks = DraftRemarks::default();
        let schema = shape.schema(&place.record, &place.namespace, &mut remarks)?;
        self.draft_schema(&schema.to_string(), remarks)
    }
}

/// Returns the place of an error as text.
fn shown(path: &str) -> String {
    if path.is_empty() { "samples".to_owned() } else { format!("field `{path}`") }
}

/// The names that follow from a topic's name.
struct DraftNames {
    domain: String,
    name: String,
    /// The masked topic.
    masked: String,
    /// Name of the value's record.
    record: String,
    /// Namespace of the value's record.
    namespace: String,
}

/// Derives the names, for example domain `club` and masked topic `club.member.masked.v1` from
/// `club.member.v1`.
fn place(topic: &str) -> Result<DraftNames, DraftError> {
    // Kafka's characters, which also make the name safe as a path.
    let refused = || DraftError::Topic(topic.to_owned());
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !topic.chars().all(legal) {
        return Err(refused());
    }

    // A version at the end stays at the end of the masked topic.
    let (stem, version) = match topic.rsplit_once('.') {
        Some((stem, version)) if is_version(version) => (stem, Some(version)),
        _ => (topic, None),
    };

    // The first part is the domain, all others are the name.
    let (domain, name) = stem.split_once('.').ok_or_else(refused)?;
    let name = name.replace('.', "-");
    if domain.is_empty() || name.is_empty() || name.starts_with('-') {
        return Err(refused());
    }
    let masked = match version {
        Some(version) => format!("{stem}.masked.{version}"),
        None => format!("{topic}.masked"),
    };
    let namespace = avro_name(domain);
    Ok(DraftNames { domain: domain.to_owned(), record: pascal(&name), name, masked, namespace })
}

/// Returns true for a version, for example `v1`.
fn is_version(part: &str) -> bool {
    part.strip_prefix('v')
        .is_some_and(|digits| !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit()))
}

/// Returns a name in Pascal case: `meter-reading` becomes `MeterReading`.
fn pascal(name: &str) -> String {
    let mut text = String::new();
    for part in name.split(|c: char| !c.is_ascii_alphanumeric()) {
        let mut letters = part.chars();
        text.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        text.push_str(letters.as_str());
    }
    avro_name(&text)
}

/// Returns a name that Avro allows: other characters become `_`, and a digit does not come first.
fn avro_name(name: &str) -> String {
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) || name.is_empty() { format!("_{name}") } else { name }
}

/// Returns a record's schema as JSON with one field a line, so that a change of a field is a change of its
/// line. Any other schema is one line.
fn pretty(schema: &Value) -> String {
    let fields = schema.get("fields").and_then(Value::as_array);
    let (Some(fields), Some(object)) = (fields, schema.as_object()) else { return schema.to_string() };

    // The record's own attributes, in the usual order.
    let mut text = String::from("{\n");
    let head = ["type", "name", "namespace", "doc"];
    let rest = object.keys().map(String::as_str).filter(|key| !head.contains(key) && *key != "fields");
    for key in head.into_iter().chain(rest) {
        if let Some(value) = object.get(key) {
            text.push_str(&format!("  {}: {value},\n", Value::from(key)));
        }
    }

    // The fields come last.
    text.push_str("  \"fields\": [\n");
    for (place, field) in fields.iter().enumerate() {
        let comma = if place + 1 < fields.len() { "," } else { "" };
        text.push_str(&format!("    {}{comma}\n", name_first(field)));
    }
    text.push_str("  ]\n}");
    text
}

/// Returns a field's JSON with its name in front.
fn name_first(field: &Value) -> String {
    let Some(object) = field.as_object() else { return field.to_string() };
    let rest: Map<String, Value> =
        object.iter().filter(|(key, _)| *key != "name").map(|(k, v)| (k.clone(), v.clone())).collect();
    let rest = Value::Object(rest).to_string();
    let name = object.get("name").cloned().unwrap_or_default();
    format!("{{\"name\": {name}, {}", rest.trim_start_matches('{'))
}

/// Returns the leaf of a path.
fn leaf<'l>(leaves: &'l [LeafInfo], path: &str) -> Option<&'l LeafInfo> {
    leaves.iter().find(|leaf| leaf.path == path)
}

#[cfg(test)]
mod tests;
