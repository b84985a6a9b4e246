//! Leaf types as Avro schema JSON.

use serde_json::{Value, json};
use sluice_wire::{LeafType, LogicalType};

/// Returns the type of a leaf. For unnamed types only: of an enum or a fixed it has just the kind, which no
/// masking needs.
pub(crate) fn same(input: &LeafType) -> Value {
    let kind = input.kind.as_str();
    // The logical types by their names in the Avro specification. Only the decimal has attributes.
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

/// Returns the units per second of a logical time; `None` for types that are neither a time of day nor an
/// instant.
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

/// Returns true for an instant, and false for a time of day and all other types.
pub(crate) fn is_instant(logical: LogicalType) -> bool {
    // A local timestamp is an instant here: it has a date.
    units_per_second(logical).is_some()
        && !matches!(logical, LogicalType::TimeMillis | LogicalType::TimeMicros)
}
