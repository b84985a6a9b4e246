//! What was seen in samples, and the schema that holds it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{DraftError, pascal};

/// What was seen at one place.
#[derive(Debug, Default)]
pub(super) struct SampleShape {
    /// Values of any kind, null included.
    seen: usize,
    nulls: usize,
    booleans: usize,
    integers: usize,
    numbers: usize,
    texts: TextCounts,
    /// Fields, those of earlier samples first.
    fields: Vec<(String, SampleShape)>,
    places: BTreeMap<String, usize>,
    objects: usize,
    items: Option<Box<SampleShape>>,
    arrays: usize,
}

/// Texts, and how many of them could be something narrower.
#[derive(Debug, Default)]
struct TextCounts {
    seen: usize,
    dates: usize,
    instants: usize,
    uuids: usize,
}

impl SampleShape {
    pub(super) fn see(&mut self, value: &Value) {
        self.seen += 1;
        match value {
            Value::Null => self.nulls += 1,
            Value::Bool(_) => self.booleans += 1,
            Value::Number(number) if number.is_i64() => self.integers += 1,
            Value::Number(_) => self.numbers += 1,
            Value::String(text) => self.texts.see(text),
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
                    if let Some((_, shape)) = self.fields.get_mut(place) {
                        shape.see(value);
                    }
                }
            }
        }
    }

    /// The schema of a record that was seen as a whole.
    pub(super) fn schema(&self, record: &str, namespace: &str) -> Result<Value, DraftError> {
        if self.seen == 0 {
            return Err(DraftError::Shape { path: String::new(), why: "no samples".to_owned() });
        }
        let mut schema = self.record(record, "")?;
        if let Some(object) = schema.as_object_mut() {
            object.insert("namespace".to_owned(), json!(namespace));
        }
        Ok(schema)
    }

    fn record(&self, name: &str, path: &str) -> Result<Value, DraftError> {
        let mut fields = Vec::new();
        for (field, shape) in &self.fields {
            let path = if path.is_empty() { field.clone() } else { format!("{path}.{field}") };
            let first = |c: char| c.is_ascii_alphabetic() || c == '_';
            if !field.starts_with(first) || !field.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                let why =
                    "Avro names are of a-z, A-Z, 0-9 and _; rename it before it is published".to_owned();
                return Err(DraftError::Shape { path, why });
            }
            let of = shape.of_field(&format!("{name}{}", pascal(field)), &path)?;
            let mut written = Map::from_iter([("name".to_owned(), json!(field))]);
            // Not in every record, or null in some: it may be null.
            if shape.nulls > 0 || shape.seen < self.objects {
                written.insert("type".to_owned(), json!(["null", of]));
                written.insert("default".to_owned(), Value::Null);
            } else {
                written.insert("type".to_owned(), of);
            }
            if shape.seen == shape.nulls {
                written.insert("doc".to_owned(), json!("Only nulls were seen: say its type."));
            }
            fields.push(Value::Object(written));
        }
        if fields.is_empty() {
            return Err(DraftError::Shape {
                path: path.to_owned(),
                why: "a record without fields".to_owned(),
            });
        }
        Ok(json!({"type": "record", "name": name, "fields": fields}))
    }

    fn of_field(&self, name: &str, path: &str) -> Result<Value, DraftError> {
        let kinds = [
            (self.booleans > 0, "true or false"),
            (self.integers + self.numbers > 0, "a number"),
            (self.texts.seen > 0, "a text"),
            (self.objects > 0, "an object"),
            (self.arrays > 0, "an array"),
        ];
        let kinds: Vec<&str> = kinds.into_iter().filter(|(seen, _)| *seen).map(|(_, word)| word).collect();
        match kinds[..] {
            [] => Ok(json!("string")),
            ["true or false"] => Ok(json!("boolean")),
            ["a number"] if self.numbers == 0 => Ok(json!("long")),
            ["a number"] => Ok(json!("double")),
            ["a text"] => Ok(self.texts.schema()),
            ["an object"] => self.record(name, path),
            ["an array"] => {
                let Some(items) = self.items.as_deref().filter(|items| items.seen > 0) else {
                    return Ok(json!({"type": "array", "items": "string"}));
                };
                let of = items.of_field(&format!("{name}Item"), &format!("{path}[]"))?;
                let of = if items.nulls > 0 { json!(["null", of]) } else { of };
                Ok(json!({"type": "array", "items": of}))
            }
            _ => {
                let why = format!(
                    "{} in different samples; make it one, or write the schema by hand",
                    kinds.join(" and ")
                );
                Err(DraftError::Shape { path: path.to_owned(), why })
            }
        }
    }
}

impl TextCounts {
    fn see(&mut self, text: &str) {
        self.seen += 1;
        self.dates += usize::from(chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok());
        self.instants += usize::from(chrono::DateTime::parse_from_rfc3339(text).is_ok());
        self.uuids += usize::from(is_uuid(text));
    }

    fn schema(&self) -> Value {
        match self.seen {
            seen if seen == self.dates => json!({"type": "int", "logicalType": "date"}),
            seen if seen == self.instants => json!({"type": "long", "logicalType": "timestamp-micros"}),
            seen if seen == self.uuids => json!({"type": "string", "logicalType": "uuid"}),
            _ => json!("string"),
        }
    }
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}
