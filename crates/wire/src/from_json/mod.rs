//! FromJson: turns an API's JSON record into an Avro datum. The JSON is read as a stream, without a value
//! tree.
//!
//! | schema | JSON |
//! |---|---|
//! | int, long | a number without fraction, within range; below 2⁵³ if it is written as a double |
//! | float, double | a number within range; `"NaN"`, `"Infinity"`, `"-Infinity"` |
//! | bytes, fixed | base64 text, standard alphabet with padding |
//! | decimal | a number or its text, every digit kept, no more digits after the point than the scale |
//! | date, time-* | `2013-01-31`, `05:15:00.123`; a number within a day |
//! | timestamp-* | RFC 3339 with an offset, also `+0000` and `UTC`; without an offset the instant would be unknown; a number that cannot be of a coarser unit |
//! | local-timestamp-* | the same without an offset |
//! | uuid | hexadecimal text with hyphens |
//! | map | an object without a repeated key |
//! | enum | the symbol |
//! | union | null where it is allowed, else the first branch that takes the value |

mod default;
mod read;
mod scalar;
mod text;

pub(crate) use default::write as encode_default;

use std::borrow::Cow;
use std::collections::HashMap;

use crate::schema::SchemaNode;
use crate::{DatumSchema, SchemaError};

/// A JSON record that does not fit the schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: expected {expected}", crate::error::name_field(.path, "the record as a whole"))]
pub struct JsonError {
    /// Field path, empty for the record as a whole.
    pub path: String,
    /// The expectation; it never quotes the value that was found.
    pub expected: Cow<'static, str>,
}

impl From<JsonError> for sluice_core::OutcomeReason {
    fn from(error: JsonError) -> Self {
        Self::new(sluice_core::ReasonClass::Shape, error.expected).at(error.path, None)
    }
}

/// The rule for JSON fields that the schema does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownFields {
    /// The field is passed over.
    #[default]
    Ignore,
    /// The record is refused.
    Refuse,
}

/// A compiled reader of JSON records. `run` takes `&mut self`, because the reader keeps scratch space.
pub struct JsonConverter {
    schema: DatumSchema,
    /// Field tables by node; `None` for a node that is not a record.
    records: Vec<Option<JsonFieldTable>>,
    rule: UnknownFields,
    scratch: read::JsonScratch,
}

/// The fields of one record by name, and the bytes for missing ones.
struct JsonFieldTable {
    /// Position of each field in the schema's order.
    places: HashMap<String, usize>,
    /// By position: the encoded default or null, or `None` if the field is required.
    missing: Vec<Option<Vec<u8>>>,
}

impl JsonConverter {
    /// Compiles a reader with [`UnknownFields::Ignore`].
    ///
    /// # Errors
    /// [`SchemaError::Unsupported`] if a default does not fit its field.
    pub fn compile(schema: &DatumSchema) -> Result<Self, SchemaError> {
        // One table per record of the schema, built once: names are looked up and defaults copied for each
        // datum.
        let mut records = Vec::new();
        for node in schema.nodes() {
            let SchemaNode::Record { fields, .. } = node else {
                records.push(None);
                continue;
            };
            // Defaults are encoded here. A wrong one is an error of the schema, not of a record.
            let places =
                fields.iter().enumerate().map(|(place, field)| (field.name.clone(), place)).collect();
            let missing =
                fields.iter().map(|field| default::missing(schema, field)).collect::<Result<_, _>>()?;
            records.push(Some(JsonFieldTable { places, missing }));
        }

        let scratch = read::JsonScratch::default();
        Ok(Self { schema: schema.clone(), records, rule: UnknownFields::Ignore, scratch })
    }

    /// Sets the rule for unknown fields.
    pub fn unknown_fields(mut self, rule: UnknownFields) -> Self {
        self.rule = rule;
        self
    }

    /// Sets the value that a field of the outermost record takes where a datum leaves it out, from now on. The text
    /// becomes a string, or a number where the field is one.
    ///
    /// # Errors
    /// [`JsonError`] if the schema has no such field, or the text does not fit it.
    pub fn fill_missing(&mut self, field: &str, text: &str) -> Result<(), JsonError> {
        let error = |expected| JsonError { path: field.to_owned(), expected };
        let root = self.schema.root();
        let SchemaNode::Record { fields, .. } = self.schema.node(root) else {
            return Err(error("a schema that is a record".into()));
        };
        let place = fields.iter().position(|known| known.name == field);
        let place = place.ok_or_else(|| error("a field of the schema".into()))?;

        // As a text first, then as a number.
        let mut bytes = Vec::new();
        let mut reading = read::JsonConversion {
            schema: &self.schema,
            records: &self.records,
            rule: self.rule,
            scratch: &mut self.scratch,
            out: &mut bytes,
            failure: None,
        };
        let node = fields[place].node;
        let mut filled = reading.scalar(node, scalar::JsonScalar::Text(text));
        if filled.is_err()
            && let Ok(number) = text.parse::<i64>()
        {
            reading.failure = None;
            filled = reading.scalar(node, scalar::JsonScalar::Integer(number.into()));
        }
        let failure = reading.failure.take();
        if filled.is_err() {
            return Err(error(failure.and_then(|failure| failure.expected).unwrap_or("a text".into())));
        }
        if let Some(Some(table)) = self.records.get_mut(root.0 as usize)
            && let Some(missing) = table.missing.get_mut(place)
        {
            *missing = Some(bytes);
        }
        Ok(())
    }

    /// Appends the datum to `out`; on error `out` is as it was. A missing field takes its default, or null if
    /// null is allowed.
    ///
    /// # Errors
    /// [`JsonError`] with the path and the expectation.
    pub fn run(&mut self, json: &[u8], out: &mut Vec<u8>) -> Result<(), JsonError> {
        let start = out.len();
        self.scratch.clear();
        // Check the whole text once; the strings in it need no further check.
        let json = simdutf8::basic::from_utf8(json).map_err(|_| JsonError {
            path: String::new(),
            expected: Cow::Borrowed("well-formed JSON in UTF-8"),
        })?;

        // Read the value of the root, and nothing after it.
        let mut json = text::JsonCursor::new(json);
        let mut reading = read::JsonConversion {
            schema: &self.schema,
            records: &self.records,
            rule: self.rule,
            scratch: &mut self.scratch,
            out,
            failure: None,
        };
        let read = read::value(&mut reading, &mut json, self.schema.root());
        let failure = reading.failure.take();
        let Err(text::JsonStop) = read.and_then(|()| json.end()) else { return Ok(()) };

        // Take back the bytes of the record that failed.
        out.truncate(start);
        let failure = failure.unwrap_or_default();
        // Without an expectation of the schema, the text is not JSON: the position helps instead of a path.
        Err(JsonError {
            path: failure.path(),
            expected: failure.expected.unwrap_or_else(|| {
                let (line, column) = json.position();
                format!("well-formed JSON (line {line}, column {column})").into()
            }),
        })
    }
}
