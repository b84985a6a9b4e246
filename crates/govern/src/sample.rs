//! Samples: a record as JSON, and the masked record that the contract must give for it.
//!
//! ```text
//!  samples/<name>.json           a record, made up, never a real one
//!  samples/<name>.masked.json    the expected masked record, or
//!  samples/<name>.refused.json   {"path": "postcode"}: the masking refuses the record at this leaf
//! ```
//!
//! The JSON is that of collectors: timestamps in RFC 3339, dates as `2013-01-31`, decimals as text, bytes in
//! base64. The masking keys are derived from their names, so that pseudonyms are the same on every machine
//! and of no use anywhere else.

use std::borrow::Cow;

use apache_avro::Decimal;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value as Avro;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, NaiveDate, NaiveTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use sluice_wire::{DatumPatch, JsonConverter, LogicalType, PatchRunError, UnknownFields};
use zeroize::Zeroizing;

use sluice_contract::contract::Contract;
use sluice_contract::masking::{KeyRing, MaskOperation, decimal};

/// The reason why a sample has no masked form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SampleError {
    /// The sample is no record of the contract's value.
    #[error("not a record of the contract: field `{path}`: expected {expected}")]
    NoRecord {
        /// Path of the field.
        path: String,
        /// The expected value, as a noun.
        expected: Cow<'static, str>,
    },
    /// The masking refuses the record. The masker would make a dead letter of it.
    #[error("the masking refuses field `{path}`: expected {expected}")]
    Refused {
        /// Path of the field.
        path: String,
        /// The expected value, as a noun.
        expected: Cow<'static, str>,
    },
    /// The sample could not be tried, for example because a program does not compile.
    #[error("{0}")]
    Untried(String),
}

/// Masks a record given as JSON, as the masker would with the keys of samples, and returns it as JSON.
///
/// # Errors
/// [`SampleError`].
pub fn try_sample(contract: &Contract, sample: &str) -> Result<Value, SampleError> {
    let untried = |error: &dyn std::fmt::Display| SampleError::Untried(error.to_string());

    // JSON to the datum. A field that the contract does not know is a mistake of the sample.
    let mut reader = JsonConverter::compile(&contract.value)
        .map_err(|error| untried(&error))?
        .unknown_fields(UnknownFields::Refuse);
    let mut datum = Vec::new();
    reader
        .run(sample.as_bytes(), &mut datum)
        .map_err(|error| SampleError::NoRecord { path: error.path, expected: error.expected })?;

    // Datum to masked datum, by the masker's own program.
    let policy = contract.policy(&sample_keys(contract)).map_err(|error| untried(&error))?;
    let patch = DatumPatch::compile(&contract.value, &policy).map_err(|error| untried(&error))?;
    let mut masked = Vec::new();
    patch.run(&datum, &mut masked).map_err(|error| match error {
        PatchRunError::Refused { path, why } => SampleError::Refused { path, expected: why },
        PatchRunError::Datum(error) => untried(&error),
    })?;

    // Masked datum to JSON, by the Avro library: an independent reader of the program's output.
    let reader =
        GenericDatumReader::builder(patch.derived().avro()).build().map_err(|error| untried(&error))?;
    let value = reader.read_value(&mut masked.as_slice()).map_err(|error| untried(&error))?;

    // A decimal's value does not carry its scale: it comes from the derived schema.
    let scales = patch
        .derived()
        .leaves()
        .into_iter()
        .filter_map(|leaf| match leaf.leaf.logical {
            Some(LogicalType::Decimal { scale, .. }) => Some((leaf.path, scale)),
            _ => None,
        })
        .collect();
    Ok(SampleJsonWriter { scales }.json(value, ""))
}

/// Returns a ring with every key and epoch that the contract names, each derived from its name. It serves
/// samples only, never records.
fn sample_keys(contract: &Contract) -> KeyRing {
    let mut keys = KeyRing::new();
    for field in &contract.fields {
        let MaskOperation::Hmac(pseudonym) = &field.op else { continue };
        let epoch = pseudonym.epoch.unwrap_or(1);
        let text = format!("sluice contract test: {} {epoch}", pseudonym.key);
        let secret = Zeroizing::new(Sha256::digest(text.as_bytes()).to_vec());
        // A key that the ring already has is the same one.
        let _ = keys.insert(&pseudonym.key, epoch, secret);
    }
    keys
}

/// Writes values as JSON, in the spelling that collectors read.
struct SampleJsonWriter {
    /// Digits after the point of each decimal, by path.
    scales: Vec<(String, u32)>,
}

impl SampleJsonWriter {
    /// Returns a value as JSON. `path` is the value's place in the record.
    fn json(&self, value: Avro, path: &str) -> Value {
        match value {
            // Plain values. Bytes are base64.
            Avro::Null => Value::Null,
            Avro::Boolean(value) => json!(value),
            Avro::Int(value) => json!(value),
            Avro::Long(value) | Avro::TimestampNanos(value) | Avro::LocalTimestampNanos(value) => {
                json!(value)
            }
            Avro::Float(value) => float(f64::from(value)),
            Avro::Double(value) => float(value),
            Avro::Bytes(bytes) | Avro::Fixed(_, bytes) => json!(STANDARD.encode(bytes)),
            Avro::String(text) | Avro::Enum(_, text) => json!(text),

            // Values with parts. Paths are spelt as in contracts: `a.b`, `a[]`, `a{}`.
            Avro::Union(_, inner) => self.json(*inner, path),
            Avro::Array(items) => {
                let path = format!("{path}[]");
                items.into_iter().map(|item| self.json(item, &path)).collect()
            }
            Avro::Map(entries) => {
                let path = format!("{path}{{}}");
                Value::Object(entries.into_iter().map(|(key, item)| (key, self.json(item, &path))).collect())
            }
            Avro::Record(fields) => {
                let dot = if path.is_empty() { "" } else { "." };
                let spelt = |(name, value): (String, Avro)| {
                    let value = self.json(value, &format!("{path}{dot}{name}"));
                    (name, value)
                };
                Value::Object(fields.into_iter().map(spelt).collect::<Map<_, _>>())
            }

            // Dates and times. chrono's default date is 1970-01-01; a date out of its range is null.
            Avro::Date(days) => {
                let day = TimeDelta::try_days(days.into())
                    .and_then(|days| NaiveDate::default().checked_add_signed(days));
                json!(day.map(|day| day.to_string()))
            }
            Avro::TimeMillis(millis) => time(i64::from(millis).saturating_mul(1_000)),
            Avro::TimeMicros(micros) => time(micros),
            Avro::TimestampMillis(millis) => instant(DateTime::from_timestamp_millis(millis), true),
            Avro::TimestampMicros(micros) => instant(DateTime::from_timestamp_micros(micros), true),
            Avro::LocalTimestampMillis(millis) => instant(DateTime::from_timestamp_millis(millis), false),
            Avro::LocalTimestampMicros(micros) => instant(DateTime::from_timestamp_micros(micros), false),

            // Other logical types are text.
            Avro::Uuid(uuid) => json!(uuid.to_string()),
            Avro::Decimal(decimal) => json!(self.decimal(&decimal, path)),
            Avro::BigDecimal(decimal) => json!(decimal.to_string()),
            Avro::Duration(duration) => json!(format!("{duration:?}")),
        }
    }

    /// Returns a decimal as text with all digits of its scale, for example `12.340`; `None` if it is too
    /// large.
    fn decimal(&self, decimal: &Decimal, path: &str) -> Option<String> {
        // In a union the path has the branch's name, which the value does not know. Decimals of one union
        // have one scale in practice.
        let branch = format!("{path}<");
        let is_it = |(of, _): &&(String, u32)| *of == path || of.starts_with(&branch);
        let scale = self.scales.iter().find(is_it).map_or(0, |(_, scale)| *scale) as usize;

        // The point is set into the digits of the unscaled number, with zeros in front if it has too few.
        let units = decimal::floor(&Vec::<u8>::try_from(decimal).ok()?, 1)?;
        let sign = if units < 0 { "-" } else { "" };
        let digits = format!("{:0>width$}", units.unsigned_abs(), width = scale + 1);
        let (whole, part) = digits.split_at(digits.len() - scale);
        Some(if part.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{part}") })
    }
}

/// Returns a floating-point number. JSON has no infinities and no NaN: they are text.
fn float(value: f64) -> Value {
    match value {
        value if value.is_finite() => json!(value),
        value if value.is_nan() => json!("NaN"),
        value if value > 0.0 => json!("Infinity"),
        _ => json!("-Infinity"),
    }
}

/// Returns a time of day from microseconds since midnight; null if it is out of range.
fn time(micros: i64) -> Value {
    let seconds = u32::try_from(micros.div_euclid(1_000_000)).ok();
    let nanos = u32::try_from(micros.rem_euclid(1_000_000) * 1_000).ok();
    let time = seconds.zip(nanos).and_then(|(s, n)| NaiveTime::from_num_seconds_from_midnight_opt(s, n));
    json!(time.map(|time| time.to_string()))
}

/// Returns a point in time in RFC 3339, or without offset for a local one; null if it is out of range.
fn instant(at: Option<DateTime<Utc>>, with_offset: bool) -> Value {
    json!(at.map(|at| match with_offset {
        true => at.to_rfc3339_opts(SecondsFormat::AutoSi, true),
        false => at.naive_utc().format("%Y-%m-%dT%H:%M:%S%.f").to_string(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_spelt_as_they_are_taken_in() {
        let cases = [
            (Avro::Date(15_706), json!("2013-01-01")),
            (Avro::TimestampMicros(1_357_035_462_500_000), json!("2013-01-01T10:17:42.500Z")),
            (Avro::TimestampMillis(0), json!("1970-01-01T00:00:00Z")),
            (Avro::LocalTimestampMicros(1), json!("1970-01-01T00:00:00.000001")),
            (Avro::TimeMillis(18_900_123), json!("05:15:00.123")),
            (Avro::Union(1, Box::new(Avro::Long(7))), json!(7)),
            (Avro::Double(f64::NAN), json!("NaN")),
            (Avro::Bytes(vec![1, 2]), json!("AQI=")),
        ];
        for (value, expected) in cases {
            assert_eq!(SampleJsonWriter { scales: vec![] }.json(value, "a"), expected);
        }
        let spelling = SampleJsonWriter { scales: vec![("r.kwh".to_owned(), 3)] };
        for (units, text) in [(12_345, "12.345"), (-1, "-0.001"), (0, "0.000")] {
            let value = Avro::Decimal(Decimal::from(i64::to_be_bytes(units)));
            let record = Avro::Record(vec![("r".into(), Avro::Record(vec![("kwh".into(), value)]))]);
            assert_eq!(spelling.json(record, ""), json!({"r": {"kwh": text}}));
        }
    }
}
