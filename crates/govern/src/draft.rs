//! A first contract, from a schema that exists or from samples: complete, and refused until somebody has decided.
//!
//! ```text
//!  subject of the registry ─────────────► value.avsc ─┐
//!  JSON lines ─► shape (what was seen) ─► value.avsc ─┴─► contract.odcs.yaml: every leaf restricted, masking undecided
//! ```
//!
//! Nothing is guessed that could let a value through: each leaf says `{op: decide}`, which `plan` refuses with the
//! leaf's line. What a name or type suggests stands in a comment beside it, for a person to take or to leave.

mod odcs;
mod shape;

use serde_json::{Map, Value};
use sluice_wire::{DatumSchema, LeafInfo, SchemaError};

/// What is known of a topic before it has a contract.
#[derive(Debug, Clone)]
pub struct ContractDrafter {
    /// The raw topic, `club.member.v1`.
    pub topic: String,
    /// Field whose text is the Kafka key, if it is known.
    pub record_key: Option<String>,
    /// User name of the owner, if it is known.
    pub owner: Option<String>,
}

/// The files of a first contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DraftFiles {
    /// `<domain>/<name>`: where they go, under the contracts' folder.
    pub folder: String,
    /// The value's schema.
    pub value: String,
    /// The contract.
    pub contract: String,
    /// Leaves about which somebody must decide.
    pub undecided: usize,
}

/// Why there is no draft.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DraftError {
    /// The topic's name does not say domain and name.
    #[error("`{0}` does not say domain and name; `club.member.v1` does")]
    Topic(String),
    /// A line of the samples.
    #[error("line {line}: {why}")]
    Line {
        /// From 1.
        line: usize,
        /// What is wrong with it; never its text.
        why: String,
    },
    /// Samples that no schema fits, or none that anybody could want.
    #[error("at `{path}`: {why}")]
    Shape {
        /// Path of the field.
        path: String,
        /// What stands in the way.
        why: String,
    },
    /// The schema is none.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The schema has no leaves, or too many to list.
    #[error("the schema has no leaves, or too many to list")]
    Leaves,
}

impl ContractDrafter {
    /// From a schema as the registry has it.
    ///
    /// # Errors
    /// [`DraftError`].
    pub fn from_schema(&self, schema: &str) -> Result<DraftFiles, DraftError> {
        let place = place(&self.topic)?;
        let parsed = DatumSchema::parse(schema)?;
        let leaves = parsed.leaves();
        if leaves.is_empty() {
            return Err(DraftError::Leaves);
        }
        let json: Value = serde_json::from_str(schema).unwrap_or_default();
        Ok(DraftFiles {
            folder: format!("{}/{}", place.domain, place.name),
            value: format!("{}\n", pretty(&json)),
            contract: odcs::contract(self, &place, &json, &leaves),
            undecided: leaves.len(),
        })
    }

    /// From samples, one JSON record a line. Empty lines are passed over.
    ///
    /// # Errors
    /// [`DraftError`]; a field that is a text here and a number there is one.
    pub fn from_samples(&self, lines: &str) -> Result<DraftFiles, DraftError> {
        let place = place(&self.topic)?;
        let mut shape = shape::SampleShape::default();
        for (number, line) in lines.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            // serde_json's own words may quote the line.
            let value: Value = serde_json::from_str(line).map_err(|error| DraftError::Line {
                line: number + 1,
                why: format!("not JSON (column {})", error.column()),
            })?;
            if !value.is_object() {
                return Err(DraftError::Line { line: number + 1, why: "not a JSON object".to_owned() });
            }
            shape.see(&value);
        }
        let schema = shape.schema(&place.record, &place.namespace)?;
        self.from_schema(&schema.to_string())
    }
}

/// What a topic's name says.
struct DraftNames {
    domain: String,
    name: String,
    /// The masked topic.
    masked: String,
    /// Name of the value's record, and its namespace.
    record: String,
    namespace: String,
}

fn place(topic: &str) -> Result<DraftNames, DraftError> {
    let refused = || DraftError::Topic(topic.to_owned());
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !topic.chars().all(legal) {
        return Err(refused());
    }
    let (stem, version) = match topic.rsplit_once('.') {
        Some((stem, version)) if is_version(version) => (stem, Some(version)),
        _ => (topic, None),
    };
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

fn is_version(part: &str) -> bool {
    part.strip_prefix('v')
        .is_some_and(|digits| !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit()))
}

/// `meter-reading` as `MeterReading`.
fn pascal(name: &str) -> String {
    let mut text = String::new();
    for part in name.split(|c: char| !c.is_ascii_alphanumeric()) {
        let mut letters = part.chars();
        text.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        text.push_str(letters.as_str());
    }
    avro_name(&text)
}

/// A name that Avro allows.
fn avro_name(name: &str) -> String {
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) || name.is_empty() { format!("_{name}") } else { name }
}

/// A schema with one field a line, as people keep them.
fn pretty(schema: &Value) -> String {
    let fields = schema.get("fields").and_then(Value::as_array);
    let (Some(fields), Some(object)) = (fields, schema.as_object()) else { return schema.to_string() };
    let mut text = String::from("{\n");
    let head = ["type", "name", "namespace", "doc"];
    let rest = object.keys().map(String::as_str).filter(|key| !head.contains(key) && *key != "fields");
    for key in head.into_iter().chain(rest) {
        if let Some(value) = object.get(key) {
            text.push_str(&format!("  {}: {value},\n", Value::from(key)));
        }
    }
    text.push_str("  \"fields\": [\n");
    for (place, field) in fields.iter().enumerate() {
        let comma = if place + 1 < fields.len() { "," } else { "" };
        text.push_str(&format!("    {}{comma}\n", name_first(field)));
    }
    text.push_str("  ]\n}");
    text
}

/// A field's JSON with its name in front.
fn name_first(field: &Value) -> String {
    let Some(object) = field.as_object() else { return field.to_string() };
    let rest: Map<String, Value> =
        object.iter().filter(|(key, _)| *key != "name").map(|(k, v)| (k.clone(), v.clone())).collect();
    let rest = Value::Object(rest).to_string();
    let name = object.get("name").cloned().unwrap_or_default();
    format!("{{\"name\": {name}, {}", rest.trim_start_matches('{'))
}

/// Leaves by path.
fn leaf<'l>(leaves: &'l [LeafInfo], path: &str) -> Option<&'l LeafInfo> {
    leaves.iter().find(|leaf| leaf.path == path)
}

#[cfg(test)]
mod tests;
