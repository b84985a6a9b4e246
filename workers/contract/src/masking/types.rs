//! Leaf types as Avro schema JSON.

use serde_json::{Value, json};
use sluice_wire::{LeafType, Logical};

/// The same type again. For unnamed types: an enum or a fixed is its kind's name only, which no masking asks for.
pub(crate) fn same(input: &LeafType) -> Value {
    let kind = input.kind.as_str();
    let logical = match input.logical {
        None => return json!(kind),
        Some(Logical::Decimal { precision, scale }) => {
            return json!({"type": kind, "logicalType": "decimal", "precision": precision, "scale": scale});
        }
        Some(Logical::BigDecimal) => "big-decimal",
        Some(Logical::Uuid) => "uuid",
        Some(Logical::Date) => "date",
        Some(Logical::TimeMillis) => "time-millis",
        Some(Logical::TimeMicros) => "time-micros",
        Some(Logical::TimestampMillis) => "timestamp-millis",
        Some(Logical::TimestampMicros) => "timestamp-micros",
        Some(Logical::TimestampNanos) => "timestamp-nanos",
        Some(Logical::LocalTimestampMillis) => "local-timestamp-millis",
        Some(Logical::LocalTimestampMicros) => "local-timestamp-micros",
        Some(Logical::LocalTimestampNanos) => "local-timestamp-nanos",
        Some(Logical::Duration) => "duration",
    };
    json!({"type": kind, "logicalType": logical})
}

/// Units of a logical time in a second; `None` for what is no time of day and no instant.
pub(crate) fn units_per_second(logical: Logical) -> Option<i64> {
    match logical {
        Logical::TimeMillis | Logical::TimestampMillis | Logical::LocalTimestampMillis => Some(1_000),
        Logical::TimeMicros | Logical::TimestampMicros | Logical::LocalTimestampMicros => Some(1_000_000),
        Logical::TimestampNanos | Logical::LocalTimestampNanos => Some(1_000_000_000),
        Logical::Date | Logical::Decimal { .. } | Logical::BigDecimal | Logical::Uuid | Logical::Duration => {
            None
        }
    }
}

/// An instant, as against a time of day.
pub(crate) fn is_instant(logical: Logical) -> bool {
    units_per_second(logical).is_some() && !matches!(logical, Logical::TimeMillis | Logical::TimeMicros)
}
