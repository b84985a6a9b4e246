//! Leaves as canonical text: one value, one spelling, whatever machine writes it.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat};
use sluice_wire::{Leaf, Logical};

/// Place of a fact's type in the `ValueType` enum of the fact schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ValueType {
    Boolean = 0,
    Long = 1,
    Double = 2,
    String = 3,
    Bytes = 4,
}

/// Appends the value's text and says how to read it; `None` for null, which is no fact.
///
/// Numbers are decimal (floating point: the shortest text that reads back the same), bytes are base64.
pub(crate) fn value(leaf: Leaf<'_>, out: &mut Vec<u8>) -> Option<ValueType> {
    // Writing into a vector cannot fail.
    let _ = match leaf {
        Leaf::Null => return None,
        Leaf::Boolean(value) => {
            out.extend_from_slice(if value { b"true" } else { b"false" });
            return Some(ValueType::Boolean);
        }
        Leaf::Int(value) => write!(out, "{value}"),
        Leaf::Long(value) => write!(out, "{value}"),
        Leaf::Float(value) => {
            let _ = write!(out, "{value}");
            return Some(ValueType::Double);
        }
        Leaf::Double(value) => {
            let _ = write!(out, "{value}");
            return Some(ValueType::Double);
        }
        Leaf::String(text) | Leaf::Enum { symbol: text, .. } => {
            out.extend_from_slice(text.as_bytes());
            return Some(ValueType::String);
        }
        Leaf::Bytes(bytes) | Leaf::Fixed(bytes) => {
            let _ = write!(out, "{}", STANDARD.encode(bytes));
            return Some(ValueType::Bytes);
        }
    };
    Some(ValueType::Long)
}

/// Appends a part of an entity's name: as [`value`], but times in ISO 8601, UTC, because people read them.
pub(crate) fn name(leaf: Leaf<'_>, logical: Option<&Logical>, out: &mut Vec<u8>) {
    let time = match leaf {
        Leaf::Long(count) => micros(count, logical).and_then(DateTime::from_timestamp_micros),
        _ => None,
    };
    match time {
        Some(time) => out.extend_from_slice(time.to_rfc3339_opts(SecondsFormat::AutoSi, true).as_bytes()),
        None => {
            value(leaf, out);
        }
    }
}

/// A timestamp leaf in microseconds since the epoch; `None` if it is not a timestamp, or out of range.
pub(crate) fn micros(count: i64, logical: Option<&Logical>) -> Option<i64> {
    match logical? {
        Logical::TimestampMillis | Logical::LocalTimestampMillis => count.checked_mul(1_000),
        Logical::TimestampMicros | Logical::LocalTimestampMicros => Some(count),
        Logical::TimestampNanos | Logical::LocalTimestampNanos => Some(count.div_euclid(1_000)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(leaf: Leaf<'_>) -> (Option<ValueType>, String) {
        let mut out = vec![];
        let kind = value(leaf, &mut out);
        (kind, String::from_utf8(out).unwrap())
    }

    #[test]
    fn one_value_one_spelling() {
        assert_eq!(text(Leaf::Int(-7)), (Some(ValueType::Long), "-7".into()));
        assert_eq!(text(Leaf::Double(0.1)), (Some(ValueType::Double), "0.1".into()));
        assert_eq!(text(Leaf::Boolean(true)), (Some(ValueType::Boolean), "true".into()));
        assert_eq!(text(Leaf::Bytes(b"\x00\xff")), (Some(ValueType::Bytes), "AP8=".into()));
        assert_eq!(text(Leaf::Null), (None, String::new()));
    }

    #[test]
    fn times_in_names_are_for_people() {
        let mut out = vec![];
        name(Leaf::Long(1_357_034_400_000_000), Some(&Logical::TimestampMicros), &mut out);
        assert_eq!(out, b"2013-01-01T10:00:00Z");
    }
}
