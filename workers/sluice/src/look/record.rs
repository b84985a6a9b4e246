//! Decodes records by the registry's schemas, and prints them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::schema::ResolvedSchema;
use apache_avro::types::Value;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::DateTime;
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use sluice_core::{Fault, Header, RecordRef, SchemaId};
use sluice_runtime::dead_letter::DeadLetterHead;
use sluice_runtime::registry::BlockingRegistry;
use sluice_wire::{DatumSchema, DatumValidator, framing};

use super::datum::{AvroJson, instant};
use super::filter::{FilterSubject, RecordFilter};
use crate::cli::CommandFormat;

/// Schemas that are remembered. More ids than these are not those of one topic's records.
const MOST_SCHEMAS: usize = 1_000;

/// Decodes keys and values, and remembers their schemas.
pub(super) struct RecordDecoder {
    registry: BlockingRegistry,
    schemas: BTreeMap<u32, Result<CachedSchema, String>>,
    /// True if the topic's keys have a schema of their own.
    keys_have_schema: bool,
}

/// A schema of the registry, ready for data.
struct CachedSchema {
    schema: DatumSchema,
    validator: DatumValidator,
}

/// A key or value on its way to the terminal.
enum ShownDatum<'v> {
    /// A null: a key that is missing, or a tombstone.
    Null,
    /// A decoded datum.
    Json(AvroJson<'v>),
    /// A text that has no schema.
    Text(Cow<'v, str>),
    /// Bytes that are no text and have no schema.
    Bytes(&'v [u8]),
    /// The reason why it cannot be decoded, and its length.
    Refused(String, usize),
}

/// A datum that was read, with its schema.
struct DecodedDatum<'s> {
    id: SchemaId,
    value: Value,
    schema: &'s apache_avro::Schema,
    resolved: ResolvedSchema<'s>,
}

impl RecordDecoder {
    /// Makes a decoder. Keys without a schema of their own are texts.
    pub(super) fn new(registry: BlockingRegistry, keys_have_schema: bool) -> Self {
        Self { registry, schemas: BTreeMap::new(), keys_have_schema }
    }

    /// Tells whether a record has this key: its text, or JSON for a key with a schema of its own.
    ///
    /// # Errors
    /// A [`Fault`] if the registry does not answer.
    pub(super) fn has_key(&mut self, record: &RecordRef<'_>, wanted: &str) -> Result<bool, Fault> {
        let Some(key) = record.key else { return Ok(false) };
        if !self.keys_have_schema {
            return Ok(key == wanted.as_bytes());
        }

        // A key that is a text of its own needs no quotes.
        let Ok(decoded) = self.decode(key)? else { return Ok(false) };
        let json = serde_json::to_value(decoded.json()).unwrap_or_default();
        Ok(json.as_str() == Some(wanted)
            || serde_json::from_str(wanted).is_ok_and(|wanted: serde_json::Value| wanted == json))
    }

    /// Returns a record as one line, for a terminal or in JSON, or `None` if the filter leaves it out. A record that cannot be decoded is not
    /// left out.
    ///
    /// # Errors
    /// A [`Fault`] if the registry does not answer.
    pub(super) fn show(
        &mut self,
        record: &RecordRef<'_>,
        filter: Option<&RecordFilter>,
        output: CommandFormat,
    ) -> Result<Option<String>, Fault> {
        // The schemas come first, so that both data can be read from the cache.
        self.learn_schema(record.value)?;
        if self.keys_have_schema {
            self.learn_schema(record.key)?;
        }

        let value = record.value.map(|value| (self.read(value), value.len()));
        let key = match record.key {
            Some(key) if self.keys_have_schema => Some((self.read(key), key.len())),
            _ => None,
        };
        let (schema_id, shown_value) = match &value {
            None => (None, ShownDatum::Null),
            Some((Ok(decoded), _)) => (Some(decoded.id), ShownDatum::Json(decoded.json())),
            Some((Err(reason), length)) => {
                let id = record.value.and_then(|value| framing::split(value).ok()).map(|(id, _)| id);
                (id, ShownDatum::Refused(reason.clone(), *length))
            }
        };

        let decoded = !matches!(shown_value, ShownDatum::Refused(..));
        let subject = FilterSubject {
            value: if let ShownDatum::Json(json) = shown_value { Some(json) } else { None },
            partition: record.partition,
            offset: record.offset.raw(),
            timestamp_ms: record.timestamp_ms,
            schema_id: schema_id.map(|id| id.0),
        };
        if decoded && filter.is_some_and(|filter| !filter.holds(&subject)) {
            return Ok(None);
        }

        let shown_key = match (&key, record.key) {
            (_, None) => ShownDatum::Null,
            (Some((Ok(decoded), _)), _) => ShownDatum::Json(decoded.json()),
            (Some((Err(reason), length)), _) => ShownDatum::Refused(reason.clone(), *length),
            (None, Some(key)) => match std::str::from_utf8(key) {
                Ok(text) => ShownDatum::Text(text.into()),
                Err(_) => ShownDatum::Bytes(key),
            },
        };
        let parts = RecordParts { record, key: shown_key, value: shown_value, schema_id };
        let line = match output {
            CommandFormat::Json => to_json(&parts)?,
            CommandFormat::Text => parts.text()?,
        };
        Ok(Some(line))
    }

    /// Decodes one framed datum, or returns the reason why it cannot be decoded.
    fn decode(&mut self, framed: &[u8]) -> Result<Result<DecodedDatum<'_>, String>, Fault> {
        self.learn_schema(Some(framed))?;
        Ok(self.read(framed))
    }

    /// Asks the registry for the schema of a framed datum, unless it is known.
    fn learn_schema(&mut self, framed: Option<&[u8]>) -> Result<(), Fault> {
        let Some(Ok((id, _))) = framed.map(framing::split) else { return Ok(()) };
        if self.schemas.contains_key(&id.0) {
            return Ok(());
        }

        // Ids of damaged records can be any number.
        if self.schemas.len() >= MOST_SCHEMAS {
            self.schemas.clear();
        }
        let known = match self.registry.schema(id)? {
            None => Err(format!("the registry has no schema {id}")),
            Some(text) => CachedSchema::compile(&text).map_err(|why| format!("schema {id}: {why}")),
        };
        self.schemas.insert(id.0, known);
        Ok(())
    }

    /// Reads a framed datum whose schema was learned.
    fn read(&self, framed: &[u8]) -> Result<DecodedDatum<'_>, String> {
        let (id, mut datum) = framing::split(framed).map_err(|error| error.to_string())?;
        let known = self.schemas.get(&id.0).ok_or_else(|| format!("schema {id} is not known"))?;
        let CachedSchema { schema, validator } = known.as_ref().map_err(Clone::clone)?;

        // The validator names the place of a mistake, and never a value. After it the reader has a datum of the schema.
        validator.run(datum).map_err(|error| format!("schema {id}: {error}"))?;
        let schema = schema.avro();
        let value = GenericDatumReader::builder(schema)
            .build()
            .and_then(|reader| reader.read_value(&mut datum))
            .map_err(|_| format!("schema {id}: a datum of the schema that the decoder does not take"))?;
        let resolved = ResolvedSchema::new(schema)
            .map_err(|_| format!("schema {id}: a name in the schema means nothing"))?;
        Ok(DecodedDatum { id, value, schema, resolved })
    }
}

impl CachedSchema {
    /// Reads a schema, or returns the reason why it cannot be used.
    fn compile(text: &str) -> Result<Self, String> {
        let schema = DatumSchema::parse(text).map_err(|error| error.to_string())?;
        let validator = DatumValidator::compile(&schema).map_err(|error| error.to_string())?;
        Ok(Self { schema, validator })
    }
}

impl DecodedDatum<'_> {
    /// Returns the value for a serialiser.
    fn json(&self) -> AvroJson<'_> {
        AvroJson { value: &self.value, schema: self.schema, names: self.resolved.get_names() }
    }
}

/// A record and its decoded parts.
struct RecordParts<'r> {
    record: &'r RecordRef<'r>,
    key: ShownDatum<'r>,
    value: ShownDatum<'r>,
    schema_id: Option<SchemaId>,
}

impl RecordParts<'_> {
    /// Returns the record's time, empty if it has none.
    fn time(&self) -> String {
        let time = self.record.timestamp_ms.and_then(DateTime::from_timestamp_millis);
        time.map(instant).unwrap_or_default()
    }

    /// Returns one line: time, partition and offset, key, value.
    fn text(&self) -> Result<String, Fault> {
        let mut line = format!("{} {}:{} ", self.time(), self.record.partition, self.record.offset.raw());
        match &self.key {
            ShownDatum::Null => line.push_str("(no key)"),
            // A key with a blank or a control character is quoted: it must not look like two words, or steer a terminal.
            ShownDatum::Text(text) if text.chars().all(|c| c.is_ascii_graphic()) && !text.is_empty() => {
                line.push_str(text);
            }
            other => line.push_str(&other.text()?),
        }

        // A dead letter begins with its reason.
        if let Some(head) = DeadLetterHead::read(self.record) {
            let place = if head.path.is_empty() { String::new() } else { format!(" at {}", head.path) };
            line.push_str(&format!(" [{}{place}: {}]", head.class, head.reason));
        }
        line.push(' ');
        match &self.value {
            ShownDatum::Null => line.push_str("(tombstone)"),
            other => line.push_str(&other.text()?),
        }
        Ok(line)
    }
}

impl Serialize for RecordParts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        object.serialize_entry("topic", self.record.topic)?;
        object.serialize_entry("partition", &self.record.partition)?;
        object.serialize_entry("offset", &self.record.offset.raw())?;
        object.serialize_entry("time", &Some(self.time()).filter(|time| !time.is_empty()))?;
        object.serialize_entry("schema_id", &self.schema_id.map(|id| id.0))?;

        // A part that cannot be decoded is null, and the reason is beside it.
        for (name, part) in [("key", &self.key), ("value", &self.value)] {
            match part {
                ShownDatum::Null => object.serialize_entry(name, &())?,
                ShownDatum::Json(json) => object.serialize_entry(name, json)?,
                ShownDatum::Text(text) => object.serialize_entry(name, text)?,
                ShownDatum::Bytes(bytes) => {
                    object.serialize_entry(name, &())?;
                    object.serialize_entry(&format!("{name}_base64"), &STANDARD.encode(bytes))?;
                }
                ShownDatum::Refused(reason, length) => {
                    object.serialize_entry(name, &())?;
                    object.serialize_entry(&format!("{name}_error"), reason)?;
                    object.serialize_entry(&format!("{name}_bytes"), length)?;
                }
            }
        }
        object.serialize_entry("tombstone", &self.record.value.is_none())?;
        object.serialize_entry("headers", &ShownHeaders(self.record.headers))?;
        if let Some(head) = DeadLetterHead::read(self.record) {
            object.serialize_entry("dead_letter", &head)?;
        }
        object.end()
    }
}

/// Headers as a list of pairs: a name may repeat.
struct ShownHeaders<'h>(&'h [Header<'h>]);

impl Serialize for ShownHeaders<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|header| {
            let text = header.value.map(|value| match std::str::from_utf8(value) {
                Ok(text) => Cow::Borrowed(text),
                Err(_) => STANDARD.encode(value).into(),
            });
            serde_json::json!({"name": header.name, "value": text})
        }))
    }
}

impl ShownDatum<'_> {
    /// Returns the datum for a line of text.
    fn text(&self) -> Result<String, Fault> {
        match self {
            Self::Null => Ok("null".to_owned()),
            Self::Json(json) => to_json(json),
            Self::Text(text) => to_json(text),
            Self::Bytes(bytes) => Ok(format!("base64:{}", STANDARD.encode(bytes))),
            Self::Refused(reason, length) => Ok(format!("(cannot be decoded: {reason}; {length} bytes)")),
        }
    }
}

/// Returns one line of JSON.
fn to_json(value: &impl Serialize) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(|error| Fault::bug("showing a record", error))
}
