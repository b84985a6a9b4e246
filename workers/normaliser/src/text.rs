//! Writes leaves as canonical text: one value has one spelling, on every machine.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat};
use sluice_wire::{LeafValue, LogicalType};

/// The type of a fact's value. The numbers are the indexes of the enum `ValueType` in the fact schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ValueType {
    Boolean = 0,
    Long = 1,
    Double = 2,
    String = 3,
    Bytes = 4,
}

/// Appends the value's text and returns its type. Appends nothing and returns `None` for null, which is no
/// fact.
///
/// Numbers are decimal (floating point: the shortest text that reads back the same), bytes are base64.
pub(crate) fn value(leaf: LeafValue<'_>, out: &mut Vec<u8>) -> Option<ValueType> {
    // Whole numbers are the usual case and have one type. All others return from the match.
    // Writing into a vector cannot fail.
    let _ = match leaf {
        LeafValue::Null => return None,
        LeafValue::Boolean(value) => {
            out.extend_from_slice(if value { b"true" } else { b"false" });
            return Some(ValueType::Boolean);
        }
        LeafValue::Int(value) => write!(out, "{value}"),
        LeafValue::Long(value) => write!(out, "{value}"),

        // A float is written by itself, not as a double: that would add digits.
        LeafValue::Float(value) => {
            let _ = write!(out, "{value}");
            return Some(ValueType::Double);
        }
        LeafValue::Double(value) => {
            let _ = write!(out, "{value}");
            return Some(ValueType::Double);
        }

        // An enum is its symbol. Bytes can be no UTF-8, and are base64 (RFC 4648, with padding).
        LeafValue::String(text) | LeafValue::Enum { symbol: text, .. } => {
            out.extend_from_slice(text.as_bytes());
            return Some(ValueType::String);
        }
        LeafValue::Bytes(bytes) | LeafValue::Fixed(bytes) => {
            let _ = write!(out, "{}", STANDARD.encode(bytes));
            return Some(ValueType::Bytes);
        }
    };
    Some(ValueType::Long)
}

/// Appends a part of an entity's name. The text is that of [`value`], but times are in ISO 8601, UTC, to be
/// readable.
pub(crate) fn name(leaf: LeafValue<'_>, logical: Option<&LogicalType>, out: &mut Vec<u8>) {
    let time = match leaf {
        LeafValue::Long(count) => micros(count, logical).and_then(DateTime::from_timestamp_micros),
        _ => None,
    };

    // A timestamp outside chrono's range stays a number.
    match time {
        Some(time) => out.extend_from_slice(time.to_rfc3339_opts(SecondsFormat::AutoSi, true).as_bytes()),
        None => {
            value(leaf, out);
        }
    }
}

/// Returns a timestamp leaf in microseconds since the epoch; `None` if it is not a timestamp, or out of
/// range.
pub(crate) fn micros(count: i64, logical: Option<&LogicalType>) -> Option<i64> {
    match logical? {
        LogicalType::TimestampMillis | LogicalType::LocalTimestampMillis => count.checked_mul(1_000),
        LogicalType::TimestampMicros | LogicalType::LocalTimestampMicros => Some(count),
        LogicalType::TimestampNanos | LogicalType::LocalTimestampNanos => Some(count.div_euclid(1_000)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(leaf: LeafValue<'_>) -> (Option<ValueType>, String) {
        let mut out = vec![];
        let kind = value(leaf, &mut out);
        (kind, String::from_utf8(out).unwrap())
    }

    #[test]
    fn one_value_one_spelling() {
        assert_eq!(text(LeafValue::Int(-7)), (Some(ValueType::Long), "-7".into()));
        assert_eq!(text(LeafValue::Double(0.1)), (Some(ValueType::Double), "0.1".into()));
        assert_eq!(text(LeafValue::Boolean(true)), (Some(ValueType::Boolean), "true".into()));
        assert_eq!(text(LeafValue::Bytes(b"\x00\xff")), (Some(ValueType::Bytes), "AP8=".into()));
        assert_eq!(text(LeafValue::Null), (None, String::new()));
    }

    #[test]
    fn times_in_names_are_for_people() {
        let mut out = vec![];
        name(LeafValue::Long(1_357_034_400_000_000), Some(&LogicalType::TimestampMicros), &mut out);
        assert_eq!(out, b"2013-01-01T10:00:00Z");
    }
}
