//! Reads samples as a stream: one record after the other, or arrays of records, on one line or on many.
//!
//! No value tree is made. A tree would sort the fields by name and hold a whole export in memory.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::DraftError;
use super::shape::SampleShape;

/// Adds every record of a text to a shape.
///
/// # Errors
/// [`DraftError::Line`] at the first place that is no JSON, or no object. It never quotes the text.
pub(super) fn read_samples(text: &str, shape: &mut SampleShape) -> Result<(), DraftError> {
    let mut json = serde_json::Deserializer::from_str(text);
    // `end` passes over white space. An error means that another value follows.
    while json.end().is_err() {
        RecordListSeed(shape).deserialize(&mut json).map_err(|error| {
            // serde_json's message can quote a value. Only its place is used.
            let why = match error.is_data() {
                true => "expected a JSON object".to_owned(),
                false => format!("expected JSON (column {})", error.column()),
            };
            DraftError::Line { line: error.line(), why }
        })?;
    }
    Ok(())
}

/// Reads a record, or an array of records.
struct RecordListSeed<'s>(&'s mut SampleShape);

/// Reads a record.
struct RecordSeed<'s>(&'s mut SampleShape);

/// Reads a value of any kind.
struct ValueSeed<'s>(&'s mut SampleShape);

impl<'de> DeserializeSeed<'de> for RecordListSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for RecordListSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object, or an array of them")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        read_object(self.0, map)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(RecordSeed(self.0))?.is_some() {}
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for RecordSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for RecordSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        read_object(self.0, map)
    }
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.0.see_null();
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.0.see_boolean();
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        self.0.see_integer();
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        // A whole number that is no i64 does not fit Avro's long, and counts as floating point.
        match i64::try_from(number) {
            Ok(_) => self.0.see_integer(),
            Err(_) => self.0.see_number(0),
        }
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        // The shortest text that is read as the same number has the decimals that the sample had.
        let text = number.to_string();
        self.0.see_number(text.split_once('.').map_or(0, |(_, decimals)| decimals.len()));
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.0.see_text(text);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let shape = self.0.see_array();
        while items.next_element_seed(ValueSeed(shape))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        read_object(self.0, map)
    }
}

/// Adds an object and its fields to a shape, in their order.
fn read_object<'de, A: MapAccess<'de>>(shape: &mut SampleShape, mut map: A) -> Result<(), A::Error> {
    shape.see_object();
    while let Some(name) = map.next_key::<String>()? {
        map.next_value_seed(ValueSeed(shape.field(name)))?;
    }
    Ok(())
}
