//! The shape of samples, and the schema that fits all of them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{DraftError, pascal};

/// The values at one path of all samples, counted by kind.
#[derive(Debug, Default)]
pub(super) struct SampleShape {
    /// Number of values of any kind, null included.
    seen: usize,
    nulls: usize,
    booleans: usize,
    integers: usize,
    numbers: usize,
    texts: TextCounts,
    /// Fields in the order in which the samples brought them.
    fields: Vec<(String, SampleShape)>,
    /// Name of a field → its index in `fields`.
    places: BTreeMap<String, usize>,
    objects: usize,
    items: Option<Box<SampleShape>>,
    arrays: usize,
}

/// Number of texts, and of those that also fit a narrower type.
#[derive(Debug, Default)]
struct TextCounts {
    seen: usize,
    dates: usize,
    instants: usize,
    uuids: usize,
}

impl SampleShape {
    /// Adds one value.
    pub(super) fn see(&mut self, value: &Value) {
        self.seen += 1;
        match value {
            // A whole number that is no i64 does not fit Avro's long, and counts as floating point.
            Value::Null => self.nulls += 1,
            Value::Bool(_) => self.booleans += 1,
            Value::Number(number) if number.is_i64() => self.integers += 1,
            Value::Number(_) => self.numbers += 1,
            Value::String(text) => self.texts.see(text),

            // Items of all arrays share one shape, and so do fields of one name in all objects.
            Value::Array(items) => {
                self.arrays += 1;
                let shape = self.items.get_or_insert_default();
                items.iter().for_each(|item| shape.see(item));
            }
            Value::Object(object) => {
                self.objects += 1;
                for (name, value) in object {
                    let place = *self.places.entry(name.clone()).or_insert_with(|| {
                        self.fields.push((name.clone(), SampleShape::default()));
                        self.fields.len() - 1
                    });
                    debug_assert!(place < self.fields.len(), "every index in `places` is one of `fields`");
                    if let Some((_, shape)) = self.fields.get_mut(place) {
                        shape.see(value);
                    }
                }
            }
        }
    }

    /// Returns the schema of the whole record.
    ///
    /// # Errors
    /// There are no samples, or no schema fits all of them.
    pub(super) fn schema(&self, record: &str, namespace: &str) -> Result<Value, DraftError> {
        if self.seen == 0 {
            return Err(DraftError::Shape {
                path: String::new(),
                why: "expected at least one record".to_owned(),
            });
        }

        // Only the outermost record has a namespace. Records inside inherit it.
        let mut schema = self.record(record, "")?;
        if let Some(object) = schema.as_object_mut() {
            object.insert("namespace".to_owned(), json!(namespace));
        }
        Ok(schema)
    }

    /// Returns the schema of a record with the fields of all samples.
    fn record(&self, name: &str, path: &str) -> Result<Value, DraftError> {
        let mut fields = Vec::new();
        for (field, shape) in &self.fields {
            // A name that Avro does not allow would have to change in the producer, so it is not replaced
            // here.
            let path = if path.is_empty() { field.clone() } else { format!("{path}.{field}") };
            let first = |c: char| c.is_ascii_alphabetic() || c == '_';
            if !field.starts_with(first) || !field.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                let why =
                    "expected a name of a-z, A-Z, 0-9 and _ (Avro); rename the field before it is published";
                return Err(DraftError::Shape { path, why: why.to_owned() });
            }

            // The type. Each record inside has a name that is made of the fields on its way.
            let of = shape.of_field(&format!("{name}{}", pascal(field)), &path)?;
            let mut written = Map::from_iter([("name".to_owned(), json!(field))]);
            // The field is missing in some records, or null: it may be null.
            if shape.nulls > 0 || shape.seen < self.objects {
                written.insert("type".to_owned(), json!(["null", of]));
                written.insert("default".to_owned(), Value::Null);
            } else {
                written.insert("type".to_owned(), of);
            }
            if shape.seen == shape.nulls {
                written.insert("doc".to_owned(), json!("The samples held only nulls: set the type."));
            }
            fields.push(Value::Object(written));
        }

        // A record without fields holds no value that a contract could cover.
        if fields.is_empty() {
            return Err(DraftError::Shape {
                path: path.to_owned(),
                why: "expected an object with at least one field".to_owned(),
            });
        }
        Ok(json!({"type": "record", "name": name, "fields": fields}))
    }

    /// Returns the type of a field without regard to null. `name` is the name of a record, should it be one.
    fn of_field(&self, name: &str, path: &str) -> Result<Value, DraftError> {
        // The kinds of values that occur.
        let kinds = [
            (self.booleans > 0, "true or false"),
            (self.integers + self.numbers > 0, "a number"),
            (self.texts.seen > 0, "a text"),
            (self.objects > 0, "an object"),
            (self.arrays > 0, "an array"),
        ];
        let kinds: Vec<&str> = kinds.into_iter().filter(|(seen, _)| *seen).map(|(_, word)| word).collect();

        // Only nulls: a string, with a note for the author. One kind: its type, as narrow as all samples
        // allow.
        match kinds[..] {
            [] => Ok(json!("string")),
            ["true or false"] => Ok(json!("boolean")),
            ["a number"] if self.numbers == 0 => Ok(json!("long")),
            ["a number"] => Ok(json!("double")),
            ["a text"] => Ok(self.texts.schema()),
            ["an object"] => self.record(name, path),

            // Items of empty arrays are strings, because the samples show nothing of them.
            ["an array"] => {
                let Some(items) = self.items.as_deref().filter(|items| items.seen > 0) else {
                    return Ok(json!({"type": "array", "items": "string"}));
                };
                let of = items.of_field(&format!("{name}Item"), &format!("{path}[]"))?;
                let of = if items.nulls > 0 { json!(["null", of]) } else { of };
                Ok(json!({"type": "array", "items": of}))
            }

            // Several kinds would need a union, which is a decision of the author.
            _ => {
                let why = format!(
                    "expected one type in all samples, found {}; change the samples, or write the schema by hand",
                    kinds.join(" and ")
                );
                Err(DraftError::Shape { path: path.to_owned(), why })
            }
        }
    }
}

impl TextCounts {
    /// Adds one text.
    fn see(&mut self, text: &str) {
        self.seen += 1;
        self.dates += usize::from(chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok());
        self.instants += usize::from(chrono::DateTime::parse_from_rfc3339(text).is_ok());
        self.uuids += usize::from(is_uuid(text));
    }

    /// Returns the narrowest type that fits every text.
    fn schema(&self) -> Value {
        match self.seen {
            seen if seen == self.dates => json!({"type": "int", "logicalType": "date"}),
            seen if seen == self.instants => json!({"type": "long", "logicalType": "timestamp-micros"}),
            seen if seen == self.uuids => json!({"type": "string", "logicalType": "uuid"}),
            _ => json!("string"),
        }
    }
}

/// Returns true for a UUID with hyphens (RFC 9562), in either case.
fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}
