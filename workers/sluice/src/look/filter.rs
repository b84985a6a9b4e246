//! `--where`: comparisons of fields, joined by `and`.
//!
//! ```text
//! where      = comparison { "and" comparison }
//! comparison = field ( "=" | "!=" | "<" | "<=" | ">" | ">=" | "contains" ) literal
//!            | field "is" [ "not" ] "null"
//! literal    = number | 'text' | true | false
//! ```
//!
//! A field is a path as in the contract: `a.b`, `items[].sku` for any item of an array, `tags{}` for any value of a map.
//! The record's own `_kafka_partition`, `_kafka_offset`, `_kafka_timestamp` and `_kafka_schema_id` are fields too.
//! A comparison holds if it holds for one value of the field. A field that is null or missing only `is null`.

mod parse;

use std::cmp::Ordering;

use apache_avro::types::Value;
use chrono::{DateTime, Utc};
use sluice_core::names::lineage;
use sluice_runtime::config::ConfigErrors;
use sluice_wire::LeafInfo;

use super::datum::{AvroJson, whole_number};

/// The grammar in short, for hints.
pub(super) const GRAMMAR: &str =
    "write for example: delay > 15 and carrier = 'UA' and gate is not null (also != < <= >= contains)";

/// Comparisons of fields. A record is shown if all of them hold.
pub(super) struct RecordFilter {
    comparisons: Vec<FieldComparison>,
}

/// The record that a filter looks at.
pub(super) struct FilterSubject<'v> {
    /// The decoded value; `None` for a tombstone.
    pub(super) value: Option<AvroJson<'v>>,
    /// Its partition.
    pub(super) partition: i32,
    /// Its offset.
    pub(super) offset: i64,
    /// Its timestamp, in milliseconds since the epoch.
    pub(super) timestamp_ms: Option<i64>,
    /// The registry's id of its schema.
    pub(super) schema_id: Option<u32>,
}

/// One comparison.
struct FieldComparison {
    field: FieldPath,
    test: FieldTest,
}

/// A field of the record.
#[derive(Debug, Clone, PartialEq, Eq)]
enum FieldPath {
    /// A path into the value.
    Value(Vec<FieldStep>),
    /// One of the record's own columns.
    Lineage(&'static str),
}

/// An element of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum FieldStep {
    /// A field of a record.
    Field(String),
    /// Each item of an array.
    Items,
    /// Each value of a map.
    Entries,
}

/// The test of one value.
enum FieldTest {
    /// `is null`.
    Absent,
    /// `is not null`.
    Present,
    /// `contains`.
    Contains(String),
    /// A comparison with a literal. It holds for these orderings.
    Compare(FieldLiteral, &'static [Ordering]),
}

/// The right side of a comparison.
#[derive(Debug, Clone, PartialEq)]
enum FieldLiteral {
    /// A number, and the same as a whole number if it is one.
    Number(f64, Option<i64>),
    /// A text.
    Text(String),
    /// A point in time.
    Instant(DateTime<Utc>),
    /// `true` or `false`.
    Truth(bool),
}

impl RecordFilter {
    /// Reads a filter for values with these leaves.
    ///
    /// # Errors
    /// Fails with the first mistake and its column, with a hint for a name that is not a field.
    pub(super) fn parse(text: &str, leaves: &[LeafInfo]) -> Result<Self, ConfigErrors> {
        parse::comparisons(text, leaves).map(|comparisons| Self { comparisons }).map_err(|mistake| {
            let message = format!("column {}: {}", mistake.column, mistake.message);
            ConfigErrors::one("--where", message, Some(mistake.hint))
        })
    }

    /// Tells whether all comparisons hold.
    pub(super) fn holds(&self, subject: &FilterSubject<'_>) -> bool {
        self.comparisons.iter().all(|comparison| comparison.holds(subject))
    }
}

impl FieldComparison {
    /// Tells whether the comparison holds for one value of its field.
    fn holds(&self, subject: &FilterSubject<'_>) -> bool {
        let any = |test: &dyn Fn(AvroJson<'_>) -> bool| match &self.field {
            FieldPath::Value(steps) => subject.value.is_some_and(|value| any_value(value, steps, test)),
            FieldPath::Lineage(name) => {
                // The record's own columns are numbers and an instant, as Avro knows them.
                let value = match *name {
                    lineage::PARTITION => Some(Value::Int(subject.partition)),
                    lineage::OFFSET => Some(Value::Long(subject.offset)),
                    lineage::TIMESTAMP => subject.timestamp_ms.map(Value::TimestampMillis),
                    _ => subject.schema_id.map(|id| Value::Long(id.into())),
                };
                let names = apache_avro::schema::NamesRef::new();
                let schema = &apache_avro::Schema::Null;
                value.is_some_and(|value| test(AvroJson { value: &value, schema, names: &names }))
            }
        };

        match &self.test {
            FieldTest::Absent => !any(&|_| true),
            FieldTest::Present => any(&|_| true),
            FieldTest::Contains(part) => any(&|value| value.text().is_some_and(|text| text.contains(part))),
            FieldTest::Compare(literal, orderings) => {
                any(&|value| literal.compare(value).is_some_and(|ordering| orderings.contains(&ordering)))
            }
        }
    }
}

impl FieldLiteral {
    /// Compares a value with this literal. `None` if they cannot be compared.
    fn compare(&self, value: AvroJson<'_>) -> Option<Ordering> {
        match (self, value.value) {
            (Self::Truth(truth), Value::Boolean(value)) => Some(value.cmp(truth)),
            (Self::Instant(time), value) => instant_of(value)?.partial_cmp(time),
            (Self::Text(text), _) => Some(value.text()?.as_ref().cmp(text)),
            (Self::Number(number, whole), value_) => match (whole_number(value_), whole, value_) {
                // Whole numbers beyond 53 bits are not exact as floats.
                (Some(value), Some(whole), _) => Some(value.cmp(whole)),
                (Some(value), None, _) => (value as f64).partial_cmp(number),
                (None, _, Value::Float(value)) => f64::from(*value).partial_cmp(number),
                (None, _, Value::Double(value)) => value.partial_cmp(number),
                (None, _, Value::Decimal(_) | Value::BigDecimal(_)) => {
                    value.text()?.parse::<f64>().ok()?.partial_cmp(number)
                }
                _ => None,
            },
            _ => None,
        }
    }
}

/// Returns the instant of a timestamp.
fn instant_of(value: &Value) -> Option<DateTime<Utc>> {
    match value {
        Value::TimestampMillis(millis) => DateTime::from_timestamp_millis(*millis),
        Value::TimestampMicros(micros) => DateTime::from_timestamp_micros(*micros),
        Value::TimestampNanos(nanos) => Some(DateTime::from_timestamp_nanos(*nanos)),
        _ => None,
    }
}

/// Tells whether `test` holds for one value at a path that is not null.
fn any_value(value: AvroJson<'_>, steps: &[FieldStep], test: &dyn Fn(AvroJson<'_>) -> bool) -> bool {
    use apache_avro::Schema;

    let value = value.resolve();
    let Some((step, rest)) = steps.split_first() else {
        return !matches!(value.value, Value::Null) && test(value);
    };
    match (step, value.value, value.schema) {
        (FieldStep::Field(name), ..) => value.field(name).is_some_and(|part| any_value(part, rest, test)),
        (FieldStep::Items, Value::Array(items), Schema::Array(array)) => {
            items.iter().any(|item| any_value(value.part(item, &array.items), rest, test))
        }
        (FieldStep::Entries, Value::Map(entries), Schema::Map(map)) => {
            entries.values().any(|entry| any_value(value.part(entry, &map.types), rest, test))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use apache_avro::Schema;
    use apache_avro::schema::ResolvedSchema;
    use sluice_wire::DatumSchema;

    use super::*;

    const SCHEMA: &str = r#"{"type":"record","name":"R","fields":[
        {"name":"n","type":"long"},
        {"name":"text","type":["null","string"]},
        {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},
        {"name":"ok","type":"boolean"},
        {"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},
        {"name":"items","type":{"type":"array","items":{"type":"record","name":"I","fields":[
            {"name":"sku","type":"string"}]}}},
        {"name":"tags","type":{"type":"map","values":"double"}}]}"#;

    /// Tells whether a filter holds for one record with a value in each field.
    fn holds(filter: &str) -> bool {
        let schema = DatumSchema::parse(SCHEMA).unwrap();
        let filter = RecordFilter::parse(filter, &schema.leaves()).unwrap();
        let item = |sku: &str| Value::Record(vec![("sku".to_owned(), Value::String(sku.to_owned()))]);
        let value = Value::Record(vec![
            ("n".to_owned(), Value::Long(9_007_199_254_740_993)),
            ("text".to_owned(), Value::Union(1, Box::new(Value::String("it's here".to_owned())))),
            ("at".to_owned(), Value::TimestampMillis(1_000)),
            ("ok".to_owned(), Value::Boolean(true)),
            ("price".to_owned(), Value::Decimal(apache_avro::Decimal::from(1250_i64.to_be_bytes()))),
            ("items".to_owned(), Value::Array(vec![item("a"), item("b")])),
            ("tags".to_owned(), Value::Map([("t".to_owned(), Value::Double(0.5))].into())),
        ]);
        let avro: &Schema = schema.avro();
        let resolved = ResolvedSchema::new(avro).unwrap();
        let value = AvroJson { value: &value, schema: avro, names: resolved.get_names() };
        let (timestamp_ms, schema_id) = (Some(60_000), None);
        filter.holds(&FilterSubject { value: Some(value), partition: 3, offset: 7, timestamp_ms, schema_id })
    }

    #[test]
    fn comparisons_hold_by_the_type_of_their_field() {
        for filter in [
            "n = 9007199254740993",
            "n != 9007199254740992",
            "n > 1.5",
            "text = 'it''s here' AND text contains 'here'",
            "at = '1970-01-01T00:00:01Z'",
            "at > '1970-01-01' and at <= '1970-01-01T00:00:01.000+00:00'",
            "at < '1970-01-01T00:00:01.001Z'",
            "ok = true",
            "price = 12.5 and price < 12.51",
            "items[].sku = 'b'",
            "items[].sku != 'b'",
            "tags{} >= 0.5",
            "text is not null",
            "_kafka_partition = 3 and _kafka_offset >= 7 and _kafka_timestamp < '1970-01-01T00:02:00Z'",
            "_kafka_schema_id is null",
        ] {
            assert!(holds(filter), "{filter}");
        }
        for filter in [
            "n = 9007199254740992",
            "text contains 'there'",
            "at > '1970-01-01T00:00:01Z'",
            "ok != true",
            "items[].sku = 'c'",
            "text is null",
            "n > 1 and n < 1",
        ] {
            assert!(!holds(filter), "{filter}");
        }
    }

    #[test]
    fn a_tombstone_has_null_in_each_field() {
        let leaves = DatumSchema::parse(SCHEMA).unwrap().leaves();
        let subject =
            FilterSubject { value: None, partition: 0, offset: 0, timestamp_ms: None, schema_id: None };
        let holds = |text| RecordFilter::parse(text, &leaves).unwrap().holds(&subject);
        assert!(holds("n is null") && holds("items[].sku is null"));
        assert!(!holds("n is not null") && !holds("n != 1"));
    }
}
