//! Turns one JSON scalar into one Avro leaf.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Timelike};

use crate::LeafWriter;
use crate::schema::{LeafKind, LeafType, LogicalType};

/// A JSON value that is neither array nor object.
pub(super) enum JsonScalar<'a> {
    Null,
    Boolean(bool),
    Integer(i128),
    Real(f64),
    Text(&'a str),
}

/// Returns the expectation of a leaf, for an error.
pub(super) fn expected(leaf: &LeafType) -> Cow<'static, str> {
    // A logical type comes first: its expectation is narrower than the one of its base type.
    let text = match (leaf.logical, leaf.kind) {
        (Some(LogicalType::Decimal { precision, scale }), _) => {
            return format!("a decimal of at most {precision} digits, {scale} of them after the point")
                .into();
        }
        (Some(LogicalType::Date), _) => "a date (2013-01-31), or its days since 1970-01-01",
        (Some(LogicalType::TimeMillis | LogicalType::TimeMicros), _) => {
            "a time of day (05:15:00), or its number"
        }
        (
            Some(
                LogicalType::LocalTimestampMillis
                | LogicalType::LocalTimestampMicros
                | LogicalType::LocalTimestampNanos,
            ),
            _,
        ) => "a local date and time (2013-01-31T05:15:00), or its number",
        (
            Some(LogicalType::TimestampMillis | LogicalType::TimestampMicros | LogicalType::TimestampNanos),
            _,
        ) => "a date and time with its offset (2013-01-31T05:15:00Z), or its number",
        // On string a uuid is not checked; there any text is taken.
        (Some(LogicalType::Uuid), LeafKind::Fixed) => "a uuid",

        // Then the base types.
        (_, LeafKind::Null) => "null",
        (_, LeafKind::Boolean) => "a boolean",
        (_, LeafKind::Int) => "an integer of 32 bits",
        (_, LeafKind::Long) => "an integer of 64 bits",
        (_, LeafKind::Float | LeafKind::Double) => "a number",
        (_, LeafKind::Bytes) => "base64 text",
        (_, LeafKind::String) => "a string",
        (_, LeafKind::Fixed) => return format!("base64 text of {} bytes", leaf.size).into(),
        (_, LeafKind::Enum) => "one of the enum's symbols",
    };
    Cow::Borrowed(text)
}

/// Appends the leaf. On error the caller takes back the bytes that may have been written.
pub(super) fn write_scalar(
    leaf: &LeafType,
    value: &JsonScalar<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Cow<'static, str>> {
    write(leaf, value, &mut LeafWriter::new(out)).ok_or_else(|| expected(leaf))
}

/// Appends the leaf. Returns `None` if the value does not fit.
fn write(leaf: &LeafType, value: &JsonScalar<'_>, out: &mut LeafWriter<'_>) -> Option<()> {
    match (leaf.kind, value) {
        // Numbers are range-checked; nothing is cut off or rounded except a float's precision.
        (LeafKind::Null, JsonScalar::Null) => {}
        (LeafKind::Boolean, JsonScalar::Boolean(value)) => out.boolean(*value),
        (LeafKind::Int, value) => out.int(i32::try_from(integer(leaf, value)?).ok()?),
        (LeafKind::Long, value) => out.long(i64::try_from(integer(leaf, value)?).ok()?),
        (LeafKind::Float, value) => {
            let value = real(value)? as f32;
            out.float(value);
        }
        (LeafKind::Double, value) => out.double(real(value)?),

        // Bytes: base64 text, or the digits of a decimal.
        (LeafKind::Bytes, value) => match leaf.logical {
            Some(LogicalType::Decimal { precision, scale }) => {
                let unscaled = decimal(value, precision, scale)?.to_be_bytes();
                out.bytes(shortest(&unscaled));
            }
            _ => out.bytes(&base64(value)?),
        },
        (LeafKind::Fixed, value) => fixed(leaf, value, out)?,

        // Texts go over as they are.
        (LeafKind::String, JsonScalar::Text(text)) => out.string(text),
        (LeafKind::Enum, JsonScalar::Text(text)) => {
            let index = leaf.symbols.iter().position(|symbol| symbol == text)?;
            out.enum_index(u32::try_from(index).ok()?);
        }
        _ => return None,
    }
    Some(())
}

/// Returns the integer of a number, or of a date or time written as text.
fn integer(leaf: &LeafType, value: &JsonScalar<'_>) -> Option<i128> {
    match value {
        JsonScalar::Integer(value) => Some(*value),
        // Some JSON writers know only doubles: 5.0 is 5. Beyond 2⁵³ one double can mean several integers.
        JsonScalar::Real(value) if value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0 => {
            Some(*value as i128)
        }
        JsonScalar::Text(text) => moment(leaf.logical?, text),
        _ => None,
    }
}

/// Reads a date or time written as text. The result has the unit of the logical type.
fn moment(logical: LogicalType, text: &str) -> Option<i128> {
    // Date and time of day: a count of days, or of units after midnight.
    Some(match logical {
        LogicalType::Date => {
            let days =
                NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.signed_duration_since(NaiveDate::default());
            days.num_days().into()
        }
        LogicalType::TimeMillis => i128::from(time(text, 1_000_000)?),
        LogicalType::TimeMicros => i128::from(time(text, 1_000)?),

        // Instants and local times: a count of units since 1970.
        LogicalType::TimestampMillis => units(instant(text)?, 1_000_000)?,
        LogicalType::TimestampMicros => units(instant(text)?, 1_000)?,
        LogicalType::TimestampNanos => instant(text)?,
        LogicalType::LocalTimestampMillis => units(local(text)?, 1_000_000)?,
        LogicalType::LocalTimestampMicros => units(local(text)?, 1_000)?,
        LogicalType::LocalTimestampNanos => local(text)?,

        // These types are not written as integers.
        LogicalType::Decimal { .. } | LogicalType::BigDecimal | LogicalType::Uuid | LogicalType::Duration => {
            return None;
        }
    })
}

/// Divides nanoseconds by the unit. Digits beyond the unit are refused, not cut off.
fn units(nanos: i128, unit: i64) -> Option<i128> {
    // Nearly all times are within 292 years of 1970, and then one instruction divides.
    if let Ok(nanos) = i64::try_from(nanos) {
        return (nanos % unit == 0).then_some(i128::from(nanos / unit));
    }
    let unit = i128::from(unit);
    (nanos % unit == 0).then_some(nanos / unit)
}

/// Reads a time of day into units after midnight. `unit` is in nanoseconds.
fn time(text: &str, unit: u64) -> Option<u64> {
    let time = NaiveTime::parse_from_str(text, "%H:%M:%S%.f").ok()?;
    let nanos = u64::from(time.num_seconds_from_midnight()) * 1_000_000_000 + u64::from(time.nanosecond());
    // Nanoseconds of a second above 10⁹ are chrono's way to write a leap second.
    (time.nanosecond() < 1_000_000_000 && nanos % unit == 0).then_some(nanos / unit)
}

/// Reads an RFC 3339 instant into nanoseconds since 1970.
fn instant(text: &str) -> Option<i128> {
    let instant = DateTime::parse_from_rfc3339(text).ok()?;
    Some(i128::from(instant.timestamp()) * 1_000_000_000 + i128::from(instant.timestamp_subsec_nanos()))
}

/// Reads a local date and time into nanoseconds since 1970.
fn local(text: &str) -> Option<i128> {
    // Both separators are common in APIs.
    let forms = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"];
    let local = forms.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())?.and_utc();
    Some(i128::from(local.timestamp()) * 1_000_000_000 + i128::from(local.timestamp_subsec_nanos()))
}

/// Returns the double of a number or of a text for a value that JSON numbers cannot express.
fn real(value: &JsonScalar<'_>) -> Option<f64> {
    match value {
        JsonScalar::Integer(value) => Some(*value as f64),
        JsonScalar::Real(value) => Some(*value),
        JsonScalar::Text("NaN") => Some(f64::NAN),
        JsonScalar::Text("Infinity" | "INF") => Some(f64::INFINITY),
        JsonScalar::Text("-Infinity" | "-INF") => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

/// Decodes base64 text.
fn base64(value: &JsonScalar<'_>) -> Option<Vec<u8>> {
    match value {
        JsonScalar::Text(text) => STANDARD.decode(text).ok(),
        _ => None,
    }
}

/// Appends a `fixed`. Returns `None` if the value does not fit its size.
fn fixed(leaf: &LeafType, value: &JsonScalar<'_>, out: &mut LeafWriter<'_>) -> Option<()> {
    match leaf.logical {
        Some(LogicalType::Decimal { precision, scale }) => {
            // A decimal is padded on the left with its sign, up to the size of the fixed.
            let unscaled = decimal(value, precision, scale)?;
            let bytes = unscaled.to_be_bytes();
            let used = shortest(&bytes);
            let sign = if unscaled < 0 { 0xff } else { 0 };
            let fill = leaf.size.checked_sub(used.len())?;
            let mut padded = vec![sign; fill];
            padded.extend_from_slice(used);
            out.fixed(&padded);
        }
        Some(LogicalType::Uuid) => out.fixed(&uuid(value)?),
        _ => {
            let bytes = base64(value)?;
            if bytes.len() != leaf.size {
                return None;
            }
            out.fixed(&bytes);
        }
    }
    Some(())
}

/// Reads the text of a uuid, hexadecimal with hyphens.
fn uuid(value: &JsonScalar<'_>) -> Option<[u8; 16]> {
    let JsonScalar::Text(text) = value else { return None };
    // The hyphens must be exactly at their places, and the rest are digits.
    let hyphens = [8, 13, 18, 23];
    if text.len() != 36 || !text.bytes().enumerate().all(|(at, byte)| (byte == b'-') == hyphens.contains(&at))
    {
        return None;
    }

    let mut digits = text.chars().filter(|&c| c != '-').map(|c| c.to_digit(16));
    let mut bytes = [0; 16];
    for byte in &mut bytes {
        *byte = (digits.next()?? * 16 + digits.next()??) as u8;
    }
    Some(bytes)
}

/// Returns the unscaled value: the digits of the text with the point moved. `None` if a digit would be lost.
fn decimal(value: &JsonScalar<'_>, precision: u32, scale: u32) -> Option<i128> {
    // All forms go through text, because a double has no exact decimal digits.
    let text = match value {
        JsonScalar::Integer(value) => Cow::Owned(value.to_string()),
        // The shortest text that reads back as the same number: the one that the writer wrote or meant.
        JsonScalar::Real(value) => Cow::Owned(value.to_string()),
        JsonScalar::Text(text) => Cow::Borrowed(*text),
        _ => return None,
    };

    // Split the sign, the whole part and the fraction. Zeros at the end of the fraction carry nothing.
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(&text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    if whole.is_empty() && fraction.is_empty() || fraction.len() > scale as usize {
        return None;
    }

    // The scale is filled with zeros. More than 40 overflow an i128 anyway, which bounds the work.
    let zeros = (scale as usize - fraction.len()).min(40);
    let mut unscaled: i128 = 0;
    for byte in whole.bytes().chain(fraction.bytes()).chain(std::iter::repeat_n(b'0', zeros)) {
        let digit = byte.checked_sub(b'0').filter(|&digit| digit <= 9)?;
        unscaled = unscaled.checked_mul(10)?.checked_add(i128::from(digit))?;
    }

    // The value must fit the schema's precision.
    if unscaled.unsigned_abs().checked_ilog10().is_some_and(|log| log >= precision) {
        return None;
    }
    Some(if negative { -unscaled } else { unscaled })
}

/// Returns the two's complement without leading bytes that only repeat the sign.
fn shortest(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    // A byte is redundant if the next one has the same sign.
    while let [first, second, ..] = rest {
        let redundant = (*first == 0 && *second < 0x80) || (*first == 0xff && *second >= 0x80);
        if !redundant {
            break;
        }
        rest = &rest[1..];
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_keep_every_digit_or_are_refused() {
        let text = |text| decimal(&JsonScalar::Text(text), 12, 3);
        assert_eq!(text("12.345"), Some(12_345));
        assert_eq!(text("-0.5"), Some(-500));
        assert_eq!(text("7"), Some(7_000));
        assert_eq!(text("1.2340"), Some(1_234));
        assert_eq!(text("1.2345"), None);
        assert_eq!(text("999999999.999"), Some(999_999_999_999));
        assert_eq!(text("1000000000"), None);
        for broken in ["", ".", "-", "1e3", "1.2.3", "١"] {
            assert_eq!(text(broken), None, "{broken}");
        }
        assert_eq!(decimal(&JsonScalar::Real(0.1), 12, 3), Some(100));
        assert_eq!(shortest(&128i128.to_be_bytes()), [0, 0x80]);
        assert_eq!(shortest(&(-128i128).to_be_bytes()), [0x80]);
        assert_eq!(shortest(&0i128.to_be_bytes()), [0]);
    }

    #[test]
    fn moments() {
        assert_eq!(moment(LogicalType::Date, "1970-01-02"), Some(1));
        assert_eq!(moment(LogicalType::TimestampMicros, "2013-01-01T10:00:00Z"), Some(1_357_034_400_000_000));
        assert_eq!(
            moment(LogicalType::TimestampMicros, "2013-01-01T05:00:00-05:00"),
            Some(1_357_034_400_000_000)
        );
        assert_eq!(moment(LogicalType::TimestampMicros, "2013-01-01T05:00:00"), None);
        // Further from 1970 than nanoseconds fit 64 bits.
        assert_eq!(
            moment(LogicalType::TimestampMicros, "9999-12-31T23:59:59.5Z"),
            Some(253_402_300_799_500_000)
        );
        assert_eq!(moment(LogicalType::TimestampMillis, "0001-01-01T00:00:00.0001Z"), None);
        assert_eq!(moment(LogicalType::TimestampMillis, "1969-12-31T23:59:59.999Z"), Some(-1));
        assert_eq!(moment(LogicalType::TimestampMillis, "1970-01-01T00:00:00.0001Z"), None);
        assert_eq!(moment(LogicalType::LocalTimestampMillis, "1970-01-01 00:00:01"), Some(1_000));
        assert_eq!(moment(LogicalType::TimeMicros, "00:00:01.5"), Some(1_500_000));
    }

    #[test]
    fn uuids() {
        let good = uuid(&JsonScalar::Text("00112233-4455-6677-8899-aabbccddeeff"));
        assert_eq!(good.map(|bytes| bytes[..4].to_vec()), Some(vec![0, 0x11, 0x22, 0x33]));
        assert_eq!(uuid(&JsonScalar::Text("00112233-4455-6677-8899-aabbccddeefg")), None);
        assert_eq!(uuid(&JsonScalar::Text("0011223344556677-8899-aabb-ccddeeff")), None);
    }
}
