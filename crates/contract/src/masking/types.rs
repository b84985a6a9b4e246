//! Leaf types as Avro schema JSON.

use serde_json::{Value, json};
use sluice_wire::{LeafType, LogicalType};

/// The same type again. For unnamed types: an enum or a fixed is its kind's name only, which no masking asks for.
pub(crate) fn same(input: &LeafType) -> Value {
    let kind = input.kind.as_str();
    let logical = match input.logical {
        None => return json!(kind),
        Some(LogicalType::Decimal { precision, scale }) => {
            return json!({"type": kind, "logicalType": "decimal", "precision": precision, "scale": scale});
        }
        Some(LogicalType::BigDecimal) => "big-decimal",
        Some(LogicalType::Uuid) => "uuid",
        Some(LogicalType::Date) => "date",
        Some(LogicalType::TimeMillis) => "time-millis",
        Some(LogicalType::TimeMicros) => "time-micros",
        Some(LogicalType::TimestampMillis) => "timestamp-millis",
        Some(LogicalType::TimestampMicros) => "timestamp-micros",
        Some(LogicalType::TimestampNanos) => "timestamp-nanos",
        Some(LogicalType::LocalTimestampMillis) => "local-timestamp-millis",
        Some(LogicalType::LocalTimestampMicros) => "local-timestamp-micros",
        Some(LogicalType::LocalTimestampNanos) => "local-timestamp-nanos",
        Some(LogicalType::Duration) => "duration",
    };
    json!({"type": kind, "logicalType": logical})
}

/// Units of a logical time in a second; `None` for what is no time of day and no instant.
pub(crate) fn units_per_second(logical: LogicalType) -> Option<i64> {
    match logical {
        LogicalType::TimeMillis | LogicalType::TimestampMillis | LogicalType::LocalTimestampMillis => {
            Some(1_000)
        }
        LogicalType::TimeMicros | LogicalType::TimestampMicros | LogicalType::LocalTimestampMicros => {
            Some(1_000_000)
        }
        LogicalType::TimestampNanos | LogicalType::LocalTimestampNanos => Some(1_000_000_000),
        LogicalType::Date
        | LogicalType::Decimal { .. }
        | LogicalType::BigDecimal
        | LogicalType::Uuid
        | LogicalType::Duration => None,
    }
}

/// An instant, as against a time of day.
pub(crate) fn is_instant(logical: LogicalType) -> bool {
    units_per_second(logical).is_some()
        && !matches!(logical, LogicalType::TimeMillis | LogicalType::TimeMicros)
}
