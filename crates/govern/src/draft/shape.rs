//! The shape of samples, and the schema that fits all of them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::postcode::PostcodeCounts;
use super::remark::DraftRemarks;
use super::{DraftError, hint, pascal};

/// An object with this many keys can be a map …
const MANY_KEYS: usize = 16;
/// … and one with this many keys of one type is a map, even if the samples have it once.
const VERY_MANY_KEYS: usize = 64;
/// An object of which half of the keys cannot be names of fields is a map from this number of keys on.
const FEW_KEYS: usize = 4;

/// The values at one path of all samples, counted by kind.
#[derive(Debug, Clone, Default)]
pub(super) struct SampleShape {
    /// Number of values of any kind, null included.
    seen: usize,
    nulls: usize,
    booleans: usize,
    integers: usize,
    numbers: usize,
    /// Most digits behind the point of a number.
    decimals: usize,
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
#[derive(Debug, Clone, Default)]
struct TextCounts {
    seen: usize,
    dates: usize,
    instants: usize,
    uuids: usize,
    postcodes: PostcodeCounts,
}

impl SampleShape {
    /// Counts a null.
    pub(super) fn see_null(&mut self) {
        self.seen += 1;
        self.nulls += 1;
    }

    /// Counts `true` or `false`.
    pub(super) fn see_boolean(&mut self) {
        self.seen += 1;
        self.booleans += 1;
    }

    /// Counts a whole number that fits Avro's long.
    pub(super) fn see_integer(&mut self) {
        self.seen += 1;
        self.integers += 1;
    }

    /// Counts another number, with its digits behind the point.
    pub(super) fn see_number(&mut self, decimals: usize) {
        self.seen += 1;
        self.numbers += 1;
        self.decimals = self.decimals.max(decimals);
    }

    /// Counts a text.
    pub(super) fn see_text(&mut self, text: &str) {
        self.seen += 1;
        self.texts.see(text);
    }

    /// Counts an array, and returns the shape that its items share with those of all other arrays here.
    pub(super) fn see_array(&mut self) -> &mut Self {
        self.seen += 1;
        self.arrays += 1;
        self.items.get_or_insert_default()
    }

    /// Counts an object.
    pub(super) fn see_object(&mut self) {
        self.seen += 1;
        self.objects += 1;
    }

    /// Returns the shape of a field, which fields of this name share in all objects here.
    pub(super) fn field(&mut self, name: String) -> &mut Self {
        let Self { fields, places, .. } = self;
        let place = *places.entry(name).or_insert_with_key(|name| {
            fields.push((name.clone(), Self::default()));
            fields.len() - 1
        });
        debug_assert!(place < fields.len(), "every index in `places` is one of `fields`");
        &mut fields[place].1
    }

    /// Adds the counts of another shape.
    fn merge(&mut self, other: &Self) {
        self.seen += other.seen;
        self.nulls += other.nulls;
        self.booleans += other.booleans;
        self.integers += other.integers;
        self.numbers += other.numbers;
        self.decimals = self.decimals.max(other.decimals);
        self.texts.merge(&other.texts);
        self.objects += other.objects;
        self.arrays += other.arrays;
        for (name, shape) in &other.fields {
            self.field(name.clone()).merge(shape);
        }
        if let Some(items) = &other.items {
            self.items.get_or_insert_default().merge(items);
        }
    }

    /// Returns the schema of the whole record. Remarks for the author are added to `remarks`.
    ///
    /// # Errors
    /// There are no samples, or no schema fits all of them.
    pub(super) fn schema(
        &self,
        record: &str,
        namespace: &str,
        remarks: &mut DraftRemarks,
    ) -> Result<Value, DraftError> {
        if self.seen == 0 {
            return Err(DraftError::Shape {
                path: String::new(),
                why: "expected at least one record".to_owned(),
            });
        }

        // Only the outermost record has a namespace. Records inside inherit it.
        let mut schema = self.record(record, "", remarks)?;
        if let Some(object) = schema.as_object_mut() {
            object.insert("namespace".to_owned(), json!(namespace));
        }
        Ok(schema)
    }

    /// Returns the schema of a record with the fields of all samples.
    fn record(&self, name: &str, path: &str, remarks: &mut DraftRemarks) -> Result<Value, DraftError> {
        self.check_names(path)?;
        let mut fields = Vec::new();
        for (field, shape) in &self.fields {
            // The type. Each record inside has a name that is made of the fields on its way.
            let path = if path.is_empty() { field.clone() } else { format!("{path}.{field}") };
            let of = shape.of_field(&format!("{name}{}", pascal(field)), &path, remarks)?;
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
            if let Some(tag) = shape.tag(&path) {
                written.insert("confluent:tags".to_owned(), json!([tag]));
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

    /// Checks that every key can be the name of a field. A name that Avro does not allow would have to change
    /// in the producer, so it is not replaced here. The message does not quote the key: it may be personal.
    fn check_names(&self, path: &str) -> Result<(), DraftError> {
        let Some(at) = self.fields.iter().position(|(name, _)| !is_field_name(name)) else { return Ok(()) };
        let why = format!(
            "expected keys of a-z, A-Z, 0-9 and _ (Avro names), found another form in key {} of {}; rename the \
             field before it is published, or write a map by hand",
            at + 1,
            self.fields.len()
        );
        Err(DraftError::Shape { path: path.to_owned(), why })
    }

    /// Returns the tag that the field at `path` gets from its name or its values. Only a single value has one.
    fn tag(&self, path: &str) -> Option<&'static str> {
        if self.objects + self.arrays > 0 {
            return None;
        }
        let by_name = hint::of_name(path).map(|hint| hint.tag).filter(|tag| !tag.is_empty());
        let certain = |country: &super::postcode::PostcodeCountry| country.is_certain();
        let by_value = self.texts.postcodes.country(self.texts.seen).filter(certain).map(|_| hint::QUASI);
        by_name.or(by_value)
    }

    /// Returns true if the objects here are maps: their keys are many and unlike, and most likely values.
    fn is_map(&self) -> bool {
        let keys = self.fields.len();
        let alike =
            |fits: fn(&str) -> bool| self.fields.iter().filter(|(name, _)| fits(name)).count() * 2 >= keys;
        if keys < FEW_KEYS {
            return false;
        }
        if alike(|name| !is_field_name(name)) {
            return true;
        }
        if keys < MANY_KEYS {
            return false;
        }

        // Numbers in the names, as in `m1`, `m2`; or keys that most objects lack.
        let values: usize = self.fields.iter().map(|(_, shape)| shape.seen).sum();
        let once = self.fields.iter().filter(|(_, shape)| shape.seen == 1).count();
        let most = keys * self.objects;
        alike(|name| name.contains(|letter: char| letter.is_ascii_digit()))
            || values * 10 < most
            || (values * 3 < most && once * 2 >= keys)
            || (keys >= VERY_MANY_KEYS && self.values().kinds().len() <= 1)
    }

    /// Returns the shape that the values of all fields share.
    fn values(&self) -> Self {
        let mut values = Self::default();
        self.fields.iter().for_each(|(_, shape)| values.merge(shape));
        values
    }

    /// Returns the kinds of values that occur, without null.
    fn kinds(&self) -> Vec<&'static str> {
        let kinds = [
            (self.booleans > 0, "true or false"),
            (self.integers + self.numbers > 0, "a number"),
            (self.texts.seen > 0, "a text"),
            (self.objects > 0, "an object"),
            (self.arrays > 0, "an array"),
        ];
        kinds.into_iter().filter(|(seen, _)| *seen).map(|(_, word)| word).collect()
    }

    /// Returns the type of a field without regard to null. `name` is the name of a record, should it be one.
    fn of_field(&self, name: &str, path: &str, remarks: &mut DraftRemarks) -> Result<Value, DraftError> {
        // Only nulls: a string, with a note for the author. One kind: its type, as narrow as all samples
        // allow.
        let kinds = self.kinds();
        match kinds[..] {
            [] => Ok(json!("string")),
            ["true or false"] => Ok(json!("boolean")),
            ["a number"] if self.numbers == 0 => {
                if hint::is_money(path) {
                    remarks.money_in_whole_units(path);
                }
                Ok(json!("long"))
            }
            ["a number"] => {
                if hint::is_money(path) {
                    remarks.money(path, self.decimals);
                }
                Ok(json!("double"))
            }
            ["a text"] => {
                remarks.postcodes(path, self.texts.postcodes.country(self.texts.seen));
                Ok(self.texts.schema())
            }
            ["an object"] if self.is_map() => self.map(name, path, remarks),
            ["an object"] => self.record(name, path, remarks),

            // Items of empty arrays are strings, because the samples show nothing of them.
            ["an array"] => {
                let Some(items) = self.items.as_deref().filter(|items| items.seen > 0) else {
                    return Ok(json!({"type": "array", "items": "string"}));
                };
                let of = items.of_field(&format!("{name}Item"), &format!("{path}[]"), remarks)?;
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

    /// Returns the type of a map whose values have the type of all fields together.
    fn map(&self, name: &str, path: &str, remarks: &mut DraftRemarks) -> Result<Value, DraftError> {
        remarks.map(path, self.fields.len(), self.objects);
        let values = self.values();
        let of = values.of_field(&format!("{name}Value"), &format!("{path}{{}}"), remarks)?;
        let of = if values.nulls > 0 { json!(["null", of]) } else { of };
        Ok(json!({"type": "map", "values": of}))
    }
}

/// Returns true if Avro allows the name for a field.
fn is_field_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

impl TextCounts {
    /// Adds one text.
    fn see(&mut self, text: &str) {
        self.seen += 1;
        self.dates += usize::from(chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok());
        self.instants += usize::from(chrono::DateTime::parse_from_rfc3339(text).is_ok());
        self.uuids += usize::from(is_uuid(text));
        self.postcodes.see(text);
    }

    /// Adds the counts of another field.
    fn merge(&mut self, other: &Self) {
        self.seen += other.seen;
        self.dates += other.dates;
        self.instants += other.instants;
        self.uuids += other.uuids;
        self.postcodes.merge(other.postcodes);
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
