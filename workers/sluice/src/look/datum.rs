//! Avro values as JSON, in the order of their schema.
//!
//! | Avro | JSON |
//! |---|---|
//! | record, map | object; a record keeps the order of its fields |
//! | union | the value of its branch |
//! | enum, uuid, big decimal | text |
//! | bytes, fixed | base64 |
//! | decimal | a text with all digits, for example `"12.50"` |
//! | date, time, timestamp | a text by ISO 8601; an instant ends in `Z` |
//! | duration | a text by ISO 8601, for example `"P1M2DT3.004S"` |
//! | NaN, infinity | a text: JSON has no such numbers |

use std::borrow::Cow;

use apache_avro::Schema;
use apache_avro::schema::NamesRef;
use apache_avro::types::Value;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, NaiveDate, NaiveTime, SecondsFormat, TimeDelta};
use serde::ser::{Serialize, SerializeMap as _, SerializeSeq as _, Serializer};

/// A value with its schema. It is serialised as JSON.
#[derive(Clone, Copy)]
pub(super) struct AvroJson<'v> {
    /// The value.
    pub(super) value: &'v Value,
    /// The schema that it was read with.
    pub(super) schema: &'v Schema,
    /// The named types of the whole schema.
    pub(super) names: &'v NamesRef<'v>,
}

impl<'v> AvroJson<'v> {
    /// Returns the value and the schema behind references and unions.
    pub(super) fn resolve(self) -> Self {
        match (self.value, self.schema) {
            (_, Schema::Ref { name }) => match self.names.get(name) {
                Some(schema) => Self { schema, ..self }.resolve(),
                None => self,
            },
            (Value::Union(branch, value), Schema::Union(union)) => {
                let schema = union.variants().get(*branch as usize).unwrap_or(self.schema);
                Self { value, schema, ..self }.resolve()
            }
            _ => self,
        }
    }

    /// Returns a part of this value with its schema.
    pub(super) fn part(self, value: &'v Value, schema: &'v Schema) -> Self {
        Self { value, schema, names: self.names }.resolve()
    }

    /// Returns a field of a record.
    pub(super) fn field(self, name: &str) -> Option<Self> {
        let (Value::Record(fields), Schema::Record(record)) = (self.value, self.schema) else { return None };
        let place = fields.iter().position(|(field, _)| field == name)?;
        Some(self.part(&fields.get(place)?.1, &record.fields.get(place)?.schema))
    }

    /// Returns a leaf as text, if JSON shows it as a text that is not the value itself.
    pub(super) fn text(self) -> Option<Cow<'v, str>> {
        Some(match self.value {
            Value::String(text) | Value::Enum(_, text) => Cow::Borrowed(text.as_str()),
            Value::Bytes(bytes) | Value::Fixed(_, bytes) => STANDARD.encode(bytes).into(),
            Value::Decimal(decimal) => {
                let bytes = Vec::<u8>::try_from(decimal).unwrap_or_default();
                let scale = if let Schema::Decimal(decimal) = self.schema { decimal.scale } else { 0 };
                decimal_text(&bytes, scale).into()
            }
            Value::BigDecimal(decimal) => decimal.to_string().into(),
            Value::Uuid(uuid) => uuid.to_string().into(),
            Value::Duration(duration) => {
                let (months, days) = (u32::from(duration.months()), u32::from(duration.days()));
                let millis = u32::from(duration.millis());
                format!("P{months}M{days}DT{}.{:03}S", millis / 1000, millis % 1000).into()
            }
            Value::Date(days) => {
                let epoch = NaiveDate::default();
                epoch.checked_add_signed(TimeDelta::days((*days).into()))?.to_string().into()
            }
            Value::TimeMillis(millis) => time_of_day(i64::from(*millis).checked_mul(1_000_000)?)?.into(),
            Value::TimeMicros(micros) => time_of_day(micros.checked_mul(1000)?)?.into(),
            Value::TimestampMillis(millis) => instant(DateTime::from_timestamp_millis(*millis)?).into(),
            Value::TimestampMicros(micros) => instant(DateTime::from_timestamp_micros(*micros)?).into(),
            Value::TimestampNanos(nanos) => instant(DateTime::from_timestamp_nanos(*nanos)).into(),
            Value::LocalTimestampMillis(millis) => local(DateTime::from_timestamp_millis(*millis)?),
            Value::LocalTimestampMicros(micros) => local(DateTime::from_timestamp_micros(*micros)?),
            Value::LocalTimestampNanos(nanos) => local(DateTime::from_timestamp_nanos(*nanos)),
            _ => return None,
        })
    }
}

impl Serialize for AvroJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let this = self.resolve();
        if let Some(text) = this.text() {
            return serializer.serialize_str(&text);
        }

        match (this.value, this.schema) {
            (Value::Boolean(truth), _) => serializer.serialize_bool(*truth),
            (Value::Float(number), _) => serialize_float(f64::from(*number), number, serializer),
            (Value::Double(number), _) => serialize_float(*number, number, serializer),
            (Value::Array(items), Schema::Array(array)) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|item| list.serialize_element(&this.part(item, &array.items)))?;
                list.end()
            }
            (Value::Map(entries), Schema::Map(map)) => {
                // A map has no order: its entries are sorted, so that equal maps look the same.
                let mut entries: Vec<_> = entries.iter().collect();
                entries.sort_by_key(|(key, _)| *key);
                let mut object = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    object.serialize_entry(key, &this.part(value, &map.types))?;
                }
                object.end()
            }
            (Value::Record(fields), Schema::Record(record)) => {
                let mut object = serializer.serialize_map(Some(fields.len()))?;
                for ((name, value), field) in fields.iter().zip(&record.fields) {
                    object.serialize_entry(name, &this.part(value, &field.schema))?;
                }
                object.end()
            }
            // Numbers, and dates and times that the calendar does not have.
            (value, _) => match whole_number(value) {
                Some(number) => serializer.serialize_i64(number),
                None => serializer.serialize_unit(),
            },
        }
    }
}

/// Returns the number of a value that is encoded as a varint.
pub(super) fn whole_number(value: &Value) -> Option<i64> {
    Some(match value {
        Value::Int(number) | Value::Date(number) | Value::TimeMillis(number) => (*number).into(),
        Value::Long(number)
        | Value::TimeMicros(number)
        | Value::TimestampMillis(number)
        | Value::TimestampMicros(number)
        | Value::TimestampNanos(number)
        | Value::LocalTimestampMillis(number)
        | Value::LocalTimestampMicros(number)
        | Value::LocalTimestampNanos(number) => *number,
        _ => return None,
    })
}

/// Serialises a float: `shown` as a number, or the text of one that JSON does not have.
fn serialize_float<S: Serializer>(
    number: f64,
    shown: &impl Serialize,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    if number.is_finite() {
        shown.serialize(serializer)
    } else {
        serializer.serialize_str(&number.to_string())
    }
}

/// Returns an instant by RFC 3339, in UTC.
pub(super) fn instant(time: DateTime<chrono::Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// Returns a local time by ISO 8601, without a zone.
fn local(time: DateTime<chrono::Utc>) -> Cow<'static, str> {
    instant(time).trim_end_matches('Z').to_owned().into()
}

/// Returns a time of day from the nanoseconds since midnight. `None` if the day has no such time.
fn time_of_day(nanos: i64) -> Option<String> {
    let nanos = u64::try_from(nanos).ok()?;
    let seconds = u32::try_from(nanos / 1_000_000_000).ok()?;
    let rest = u32::try_from(nanos % 1_000_000_000).ok()?;
    NaiveTime::from_num_seconds_from_midnight_opt(seconds, rest).map(|time| time.to_string())
}

/// Returns the decimal number of a big-endian two's complement with `scale` digits after the point.
fn decimal_text(bytes: &[u8], scale: usize) -> String {
    // The amount of a negative number: all bits turned over, and one added.
    let negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
    let mut amount: Vec<u8> = bytes.iter().map(|byte| if negative { !byte } else { *byte }).collect();
    if negative {
        for byte in amount.iter_mut().rev() {
            let (sum, carry) = byte.overflowing_add(1);
            *byte = sum;
            if !carry {
                break;
            }
        }
    }

    // Base 256 to base 10, the last digit first.
    let mut digits = vec![0_u8; scale + 1];
    for byte in amount {
        let mut carry = u32::from(byte);
        for digit in &mut digits {
            let sum = u32::from(*digit) * 256 + carry;
            *digit = (sum % 10) as u8;
            carry = sum / 10;
        }
        while carry > 0 {
            digits.push((carry % 10) as u8);
            carry /= 10;
        }
    }

    // The point, and no zeros in front of the digit before it.
    while digits.len() > scale + 1 && digits.last() == Some(&0) {
        digits.pop();
    }
    let mut text = String::from(if negative { "-" } else { "" });
    for (place, digit) in digits.iter().enumerate().rev() {
        text.push(char::from(b'0' + digit));
        if place == scale && scale > 0 {
            text.push('.');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use apache_avro::schema::ResolvedSchema;

    use super::*;

    /// Returns the JSON of a value of a schema.
    fn shown(schema: &str, value: &Value) -> String {
        let schema = Schema::parse_str(schema).unwrap();
        let resolved = ResolvedSchema::new(&schema).unwrap();
        let shown = AvroJson { value, schema: &schema, names: resolved.get_names() };
        serde_json::to_string(&shown).unwrap()
    }

    #[test]
    fn a_decimal_has_all_its_digits() {
        let text = |number: i128, scale| decimal_text(&number.to_be_bytes(), scale);
        assert_eq!(text(1250, 2), "12.50");
        assert_eq!(text(-5, 2), "-0.05");
        assert_eq!(text(0, 0), "0");
        assert_eq!(text(i128::MIN, 0), i128::MIN.to_string());
        assert_eq!(text(i128::MAX, 3), "170141183460469231731687303715884105.727");
        assert_eq!(decimal_text(&[], 1), "0.0");
    }

    #[test]
    fn times_are_texts_and_impossible_times_are_numbers() {
        let logical = |kind: &str, logical: &str| format!(r#"{{"type":"{kind}","logicalType":"{logical}"}}"#);
        assert_eq!(shown(&logical("int", "date"), &Value::Date(20_784)), r#""2026-11-27""#);
        assert_eq!(shown(&logical("int", "date"), &Value::Date(i32::MAX)), i32::MAX.to_string());
        assert_eq!(shown(&logical("int", "time-millis"), &Value::TimeMillis(1500)), r#""00:00:01.500""#);
        assert_eq!(shown(&logical("int", "time-millis"), &Value::TimeMillis(-1)), "-1");
        let millis = logical("long", "timestamp-millis");
        assert_eq!(shown(&millis, &Value::TimestampMillis(0)), r#""1970-01-01T00:00:00Z""#);
        let local = logical("long", "local-timestamp-micros");
        assert_eq!(shown(&local, &Value::LocalTimestampMicros(1)), r#""1970-01-01T00:00:00.000001""#);
    }

    #[test]
    fn numbers_that_json_does_not_have_are_texts() {
        assert_eq!(shown(r#""double""#, &Value::Double(f64::NAN)), r#""NaN""#);
        assert_eq!(shown(r#""float""#, &Value::Float(f32::NEG_INFINITY)), r#""-inf""#);
        assert_eq!(shown(r#""float""#, &Value::Float(0.1)), "0.1");
    }

    #[test]
    fn records_keep_the_order_of_their_fields_and_unions_are_transparent() {
        let schema = r#"{"type":"record","name":"R","fields":[
            {"name":"z","type":["null","R"]},
            {"name":"a","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}}]}"#;
        let leaf = |z| {
            let decimal = apache_avro::Decimal::from(125_i64.to_be_bytes());
            Value::Record(vec![("z".to_owned(), z), ("a".to_owned(), Value::Decimal(decimal))])
        };
        let inner = leaf(Value::Union(0, Box::new(Value::Null)));
        let outer = leaf(Value::Union(1, Box::new(inner)));
        assert_eq!(shown(schema, &outer), r#"{"z":{"z":null,"a":"1.25"},"a":"1.25"}"#);
    }
}
