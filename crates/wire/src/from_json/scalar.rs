//! Turns one JSON scalar into one Avro leaf.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, Timelike};

use crate::LeafWriter;
use crate::schema::{LeafKind, LeafType, LogicalType};

/// A JSON value that is neither array nor object.
pub(super) enum JsonScalar<'a> {
    Null,
    Boolean(bool),
    Integer(i128),
    /// A number with a fraction or an exponent, or one beyond 64 bits.
    Real {
        value: f64,
        /// The digits as the API wrote them. The double may have lost some.
        text: &'a str,
    },
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
        (Some(LogicalType::TimeMillis), _) => "a time of day (05:15:00), or its milliseconds since midnight",
        (Some(LogicalType::TimeMicros), _) => "a time of day (05:15:00), or its microseconds since midnight",
        (
            Some(
                LogicalType::LocalTimestampMillis
                | LogicalType::LocalTimestampMicros
                | LogicalType::LocalTimestampNanos,
            ),
            _,
        ) => "a local date and time (2013-01-31T05:15:00), or its number",
        (Some(LogicalType::TimestampMillis), _) => {
            "a date and time with its offset (2013-01-31T05:15:00Z), or its milliseconds since 1970 (not seconds)"
        }
        (Some(LogicalType::TimestampMicros), _) => {
            "a date and time with its offset (2013-01-31T05:15:00Z), or its microseconds since 1970 (not seconds or milliseconds)"
        }
        (Some(LogicalType::TimestampNanos), _) => {
            "a date and time with its offset (2013-01-31T05:15:00Z), or its nanoseconds since 1970"
        }
        (Some(LogicalType::Uuid), _) => "a uuid of hexadecimal digits with hyphens",

        // Then the base types.
        (_, LeafKind::Null) => "null",
        (_, LeafKind::Boolean) => "a boolean",
        (_, LeafKind::Int) => "an integer of 32 bits",
        (_, LeafKind::Long) => "an integer of 64 bits",
        (_, LeafKind::Float) => "a number of 32 bits",
        (_, LeafKind::Double) => "a number",
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
            // A finite number must not become infinite.
            let double = real(value)?;
            let value = double as f32;
            if double.is_finite() && !value.is_finite() {
                return None;
            }
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

        // Texts go over as they are. A uuid is checked here, because readers of the topic rely on it.
        (LeafKind::String, JsonScalar::Text(text)) => {
            if leaf.logical == Some(LogicalType::Uuid) {
                uuid(value)?;
            }
            out.string(text);
        }
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
    let number = match value {
        JsonScalar::Integer(value) => *value,
        // Some JSON writers know only doubles: 5.0 is 5. From 2⁵³ on, one double can mean several integers.
        JsonScalar::Real { text, .. } => {
            unscaled(text, 0).filter(|value| value.unsigned_abs() < 9_007_199_254_740_992)?
        }
        JsonScalar::Text(text) => return moment(leaf.logical?, text),
        JsonScalar::Null | JsonScalar::Boolean(_) => return None,
    };
    is_plausible(leaf.logical, number).then_some(number)
}

/// Tells whether a number can be a value of the logical type. A time of day ends at midnight. A timestamp whose
/// number is that of a coarser unit would be a day of January 1970, and is refused: a number of seconds since
/// 1973 is at least 1e8, and one of milliseconds until 1973 is below 1e11.
fn is_plausible(logical: Option<LogicalType>, number: i128) -> bool {
    const SECONDS: i128 = 100_000_000;
    let coarser = |below: i128| (SECONDS..below).contains(&number);
    match logical {
        Some(LogicalType::TimeMillis) => (0..86_400_000).contains(&number),
        Some(LogicalType::TimeMicros) => (0..86_400_000_000).contains(&number),
        Some(LogicalType::TimestampMillis | LogicalType::LocalTimestampMillis) => !coarser(SECONDS * 1_000),
        Some(LogicalType::TimestampMicros | LogicalType::LocalTimestampMicros) => {
            !coarser(SECONDS * 1_000_000)
        }
        Some(LogicalType::TimestampNanos | LogicalType::LocalTimestampNanos) => {
            !coarser(SECONDS * 1_000_000_000)
        }
        _ => true,
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

/// Reads an instant into nanoseconds since 1970: RFC 3339, and the forms of it that APIs often write.
fn instant(text: &str) -> Option<i128> {
    let instant = DateTime::parse_from_rfc3339(text).ok().or_else(|| unusual_instant(text))?;
    Some(i128::from(instant.timestamp()) * 1_000_000_000 + i128::from(instant.timestamp_subsec_nanos()))
}

/// Reads an instant whose offset has no colon or a name: `+0000` (Jira, strftime's `%z`), `+00`, `UTC`, `GMT`; or
/// that is written as in mails and HTTP headers (RFC 2822). The instant is certain in all of them.
#[cold]
fn unusual_instant(text: &str) -> Option<DateTime<FixedOffset>> {
    // A name becomes an offset.
    let named = ["UTC", "GMT"].iter().find_map(|name| text.strip_suffix(name));
    let spelled = named.map_or(Cow::Borrowed(text), |time| Cow::Owned(format!("{}+0000", time.trim_end())));

    let forms = ["%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f %#z"];
    let read = forms.iter().find_map(|form| DateTime::parse_from_str(&spelled, form).ok());
    read.or_else(|| DateTime::parse_from_rfc2822(text).ok())
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
        JsonScalar::Real { value, .. } => Some(*value),
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
    // All forms go through their text, because a double has no exact decimal digits.
    let text = match value {
        JsonScalar::Integer(value) => Cow::Owned(value.to_string()),
        JsonScalar::Real { text, .. } | JsonScalar::Text(text) => Cow::Borrowed(*text),
        JsonScalar::Null | JsonScalar::Boolean(_) => return None,
    };

    // The value must fit the schema's precision.
    let unscaled = unscaled(&text, scale)?;
    let fits = unscaled.unsigned_abs().checked_ilog10().is_none_or(|log| log < precision);
    fits.then_some(unscaled)
}

/// Returns the number of a text, times ten to the power of `scale`. `None` if the text is no decimal number or a
/// digit would be lost.
fn unscaled(text: &str, scale: u32) -> Option<i128> {
    // Split the sign, the exponent, the whole part and the fraction.
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (rest, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let length = whole.len() + fraction.len();
    if length == 0 {
        return None;
    }

    // The point moves right by `shift` digits behind the last one, or to the left into the digits.
    let shift = i64::from(exponent) + i64::from(scale) - i64::try_from(fraction.len()).ok()?;
    let dropped = usize::try_from(-shift).unwrap_or(0).min(length);

    // Digits that are dropped must be zeros.
    let mut unscaled: i128 = 0;
    for (nth, byte) in whole.bytes().chain(fraction.bytes()).enumerate() {
        let digit = byte.checked_sub(b'0').filter(|&digit| digit <= 9)?;
        if nth < length - dropped {
            unscaled = unscaled.checked_mul(10)?.checked_add(i128::from(digit))?;
        } else if digit != 0 {
            return None;
        }
    }

    // The scale is filled with zeros. More than 40 overflow an i128 anyway, which bounds the work.
    if unscaled != 0 {
        for _ in 0..shift.clamp(0, 40) {
            unscaled = unscaled.checked_mul(10)?;
        }
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
        for broken in ["", ".", "-", "e3", "1e", "1e3.5", "1.2.3", "١"] {
            assert_eq!(text(broken), None, "{broken}");
        }

        // Exponents move the point and nothing else.
        for (exponent, digits) in [
            ("1e3", Some(1_000_000)),
            ("1.5E-3", None),
            ("1500e-6", None),
            ("1.5e+2", Some(150_000)),
            ("0e99", Some(0)),
        ] {
            assert_eq!(text(exponent), digits, "{exponent}");
        }
        assert_eq!(text("12000e-6"), Some(12));
        assert_eq!(text("1e2147483647"), None);

        // A number keeps the digits that its double has lost.
        let number = |text: &'static str| JsonScalar::Real { value: text.parse().unwrap(), text };
        assert_eq!(decimal(&number("0.1"), 12, 3), Some(100));
        assert_eq!(decimal(&number("12345678901234567.89"), 38, 2), Some(1_234_567_890_123_456_789));
        assert_eq!(decimal(&number("-9007199254740993.01"), 38, 2), Some(-900_719_925_474_099_301));
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
    fn offsets_without_a_colon_or_with_a_name_are_read() {
        let second = Some(1_357_034_400_000);
        for text in [
            "2013-01-01T10:00:00+0000",
            "2013-01-01T05:00:00.000-0500",
            "2013-01-01 10:00:00 UTC",
            "2013-01-01T10:00:00GMT",
            "2013-01-01 10:00:00+00",
            "2013-01-01 10:00:00Z",
            "Tue, 1 Jan 2013 10:00:00 GMT",
        ] {
            assert_eq!(moment(LogicalType::TimestampMillis, text), second, "{text}");
        }
        for text in ["2013-01-01 10:00:00 CET", "2013-01-01T10:00:00", "2013-01-01 10:00:00", "UTC", "today"]
        {
            assert_eq!(moment(LogicalType::TimestampMillis, text), None, "{text}");
        }
    }

    #[test]
    fn numbers_that_cannot_be_the_type_s_values_are_refused() {
        let plausible = |logical, number| is_plausible(Some(logical), number);
        // Seconds where milliseconds belong, and milliseconds where microseconds belong.
        assert!(!plausible(LogicalType::TimestampMillis, 1_706_678_100));
        assert!(!plausible(LogicalType::TimestampMicros, 1_706_678_100_000));
        assert!(plausible(LogicalType::TimestampMillis, 1_706_678_100_000));
        assert!(plausible(LogicalType::TimestampMillis, 0) && plausible(LogicalType::TimestampMillis, -1));
        // A day has 86,400 seconds.
        assert!(plausible(LogicalType::TimeMillis, 86_399_999));
        assert!(!plausible(LogicalType::TimeMillis, 86_400_000) && !plausible(LogicalType::TimeMicros, -1));
    }

    #[test]
    fn uuids() {
        let good = uuid(&JsonScalar::Text("00112233-4455-6677-8899-aabbccddeeff"));
        assert_eq!(good.map(|bytes| bytes[..4].to_vec()), Some(vec![0, 0x11, 0x22, 0x33]));
        assert_eq!(uuid(&JsonScalar::Text("00112233-4455-6677-8899-aabbccddeefg")), None);
        assert_eq!(uuid(&JsonScalar::Text("0011223344556677-8899-aabb-ccddeeff")), None);
    }
}
