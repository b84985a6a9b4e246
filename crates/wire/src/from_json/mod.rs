//! FromJson: an API's JSON record to an Avro datum, read as a stream; no value tree.
//!
//! | schema | JSON |
//! |---|---|
//! | int, long | a number without fraction, within range |
//! | float, double | a number; `"NaN"`, `"Infinity"`, `"-Infinity"` |
//! | bytes, fixed | base64 text, standard alphabet with padding |
//! | decimal | a number or its text, no more digits after the point than the scale |
//! | date, time-* | `2013-01-31`, `05:15:00.123` |
//! | timestamp-* | RFC 3339 with an offset: without one the instant is not known |
//! | local-timestamp-* | the same without an offset |
//! | uuid | text; hexadecimal with hyphens on fixed |
//! | enum | the symbol |
//! | union | null where allowed, else the first branch that takes the value |

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
#[error("at `{path}`: expected {expected}")]
pub struct JsonError {
    /// Field path, empty for the record as a whole.
    pub path: String,
    /// What was expected; never what was found.
    pub expected: Cow<'static, str>,
}

impl From<JsonError> for sluice_core::OutcomeReason {
    fn from(error: JsonError) -> Self {
        Self::new(sluice_core::ReasonClass::Shape, error.expected).at(error.path, None)
    }
}

/// What to do with a JSON field that the schema does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownFields {
    /// Pass over it.
    #[default]
    Ignore,
    /// Refuse the record.
    Refuse,
}

/// A compiled reader of JSON records. It keeps scratch space, hence `&mut self` to run.
pub struct JsonConverter {
    schema: DatumSchema,
    /// By node; none for what is no record.
    records: Vec<Option<JsonFieldTable>>,
    rule: UnknownFields,
    scratch: read::JsonScratch,
}

/// A record's fields by name, and what stands for a missing one.
struct JsonFieldTable {
    places: HashMap<String, usize>,
    /// Encoded default, or null; `None` where the field must be there.
    missing: Vec<Option<Vec<u8>>>,
}

impl JsonConverter {
    /// Compiles with [`UnknownFields::Ignore`].
    ///
    /// # Errors
    /// [`SchemaError::Unsupported`] if a default does not fit its field.
    pub fn compile(schema: &DatumSchema) -> Result<Self, SchemaError> {
        let mut records = Vec::new();
        for node in schema.nodes() {
            let SchemaNode::Record { fields, .. } = node else {
                records.push(None);
                continue;
            };
            let places =
                fields.iter().enumerate().map(|(place, field)| (field.name.clone(), place)).collect();
            let missing =
                fields.iter().map(|field| default::missing(schema, field)).collect::<Result<_, _>>()?;
            records.push(Some(JsonFieldTable { places, missing }));
        }
        let scratch = read::JsonScratch::default();
        Ok(Self { schema: schema.clone(), records, rule: UnknownFields::Ignore, scratch })
    }

    /// The same with another rule for unknown fields.
    pub fn unknown_fields(mut self, rule: UnknownFields) -> Self {
        self.rule = rule;
        self
    }

    /// Appends the datum to `out`; on error `out` is as it was. A missing field takes its default, or null
    /// where null is allowed.
    ///
    /// # Errors
    /// [`JsonError`].
    pub fn run(&mut self, json: &[u8], out: &mut Vec<u8>) -> Result<(), JsonError> {
        let start = out.len();
        self.scratch.clear();
        // Looked at once as a whole, and not again text by text.
        let json = simdutf8::basic::from_utf8(json).map_err(|_| JsonError {
            path: String::new(),
            expected: Cow::Borrowed("well-formed JSON in UTF-8"),
        })?;
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
        out.truncate(start);
        let failure = failure.unwrap_or_default();
        Err(JsonError {
            path: failure.path(),
            expected: failure.expected.unwrap_or_else(|| {
                let (line, column) = json.position();
                format!("well-formed JSON (line {line}, column {column})").into()
            }),
        })
    }
}
