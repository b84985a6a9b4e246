//! Writes the protobuf wire format (Protocol Buffers documentation, "Encoding").

use std::fmt::Write;

use crate::datum::append::{append_varint, append_word};
use crate::datum::varint::spread;
use crate::leaf::LeafValue;
use crate::schema::{LeafType, LogicalType};

/// The key of a field as written: number and wire type.
#[derive(Clone, Copy)]
pub(super) struct ProtobufKey {
    bytes: u64,
    len: u8,
}

impl ProtobufKey {
    /// Makes the key. A field number of 29 bits takes at most five bytes.
    pub(super) fn new(number: u32, wire_type: u64) -> Self {
        let (bytes, len) = spread(u64::from(number) << 3 | wire_type);
        Self { bytes: bytes as u64, len: len as u8 }
    }

    /// Appends the key alone.
    #[inline(always)]
    pub(super) fn append(self, out: &mut Vec<u8>) {
        append_word(self.bytes, self.len.into(), out);
    }

    /// Appends the key and a varint.
    #[inline(always)]
    pub(super) fn append_with(self, value: u64, out: &mut Vec<u8>) {
        append_varint(self.bytes, self.len.into(), value, out);
    }
}

/// The form in which a value is written.
pub(super) enum ProtobufForm {
    /// int32, int64, bool: a varint in two's complement.
    Varint,
    /// sint32, sint64.
    ZigZag,
    /// sfixed32, float.
    Fixed32,
    /// sfixed64, double.
    Fixed64,
    /// bytes, string: the bytes as they are.
    Bytes,
    /// The digits of a decimal, as text.
    Digits,
    /// The 16 bytes of a uuid, as text.
    Uuid,
    /// The symbol of an enum, as text.
    Symbol,
    /// The number of an enum, by the index of the Avro symbol.
    Numbers(Vec<i32>),
}

impl ProtobufForm {
    /// Returns the wire type in a field's key.
    pub(super) fn wire_type(&self) -> u64 {
        match self {
            Self::Varint | Self::ZigZag | Self::Numbers(_) => 0,
            Self::Fixed64 => 1,
            Self::Bytes | Self::Digits | Self::Uuid | Self::Symbol => 2,
            Self::Fixed32 => 5,
        }
    }
}

/// Appends one field. Fails with the expectation if the value does not fit its form.
#[inline]
pub(super) fn write(
    key: ProtobufKey,
    value: LeafValue<'_>,
    leaf: &LeafType,
    to: &ProtobufForm,
    out: &mut Vec<u8>,
) -> Result<(), &'static str> {
    key.append(out);
    // Integers as varints. ZigZag keeps small negative numbers short.
    match (to, value) {
        (ProtobufForm::Varint, value) => varint(integer(value)?.cast_unsigned(), out),
        (ProtobufForm::ZigZag, value) => {
            let value = integer(value)?;
            varint(((value << 1) ^ (value >> 63)).cast_unsigned(), out);
        }

        // Numbers of a constant size, little-endian in both formats.
        (ProtobufForm::Fixed32, LeafValue::Float(value)) => out.extend_from_slice(&value.to_le_bytes()),
        (ProtobufForm::Fixed32, LeafValue::Int(value)) => out.extend_from_slice(&value.to_le_bytes()),
        (ProtobufForm::Fixed64, LeafValue::Double(value)) => out.extend_from_slice(&value.to_le_bytes()),
        (ProtobufForm::Fixed64, LeafValue::Float(value)) => {
            out.extend_from_slice(&f64::from(value).to_le_bytes())
        }
        (ProtobufForm::Fixed64, value) => out.extend_from_slice(&integer(value)?.to_le_bytes()),

        // Bytes and texts with a length.
        (ProtobufForm::Bytes, LeafValue::Bytes(value) | LeafValue::Fixed(value)) => bytes(value, out),
        (ProtobufForm::Bytes, LeafValue::String(value)) => bytes(value.as_bytes(), out),
        (ProtobufForm::Symbol, LeafValue::Enum { symbol, .. }) => bytes(symbol.as_bytes(), out),

        // The compiler found a number for every symbol of the schema.
        (ProtobufForm::Numbers(numbers), LeafValue::Enum { index, .. }) => {
            let number = numbers.get(index as usize).ok_or("a symbol of the protobuf enum")?;
            varint(i64::from(*number).cast_unsigned(), out);
        }

        // Texts that are made of bytes. The digits have no length in advance.
        (ProtobufForm::Digits, LeafValue::Bytes(value) | LeafValue::Fixed(value)) => {
            let start = open(out);
            digits(value, leaf, out)?;
            close(out, start);
        }
        (ProtobufForm::Uuid, LeafValue::Fixed(value)) => uuid(value, out),

        // The compiler allows no other pair of value and form.
        _ => return Err("a value of the descriptor's type"),
    }

    Ok(())
}

/// Returns the value of an integer leaf or a boolean.
#[inline]
fn integer(value: LeafValue<'_>) -> Result<i64, &'static str> {
    match value {
        LeafValue::Long(value) => Ok(value),
        LeafValue::Int(value) => Ok(value.into()),
        LeafValue::Boolean(value) => Ok(value.into()),
        _ => Err("a value of the descriptor's type"),
    }
}

/// Appends a varint: base 128, the least significant digit first.
#[inline]
pub(super) fn varint(value: u64, out: &mut Vec<u8>) {
    append_varint(0, 0, value, out);
}

/// Appends a length and the bytes.
#[inline]
pub(super) fn bytes(value: &[u8], out: &mut Vec<u8>) {
    varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

/// Begins a piece that has its length before it. Leaves one byte for the length, which is mostly enough.
/// Returns the start of the piece.
#[inline]
pub(super) fn open(out: &mut Vec<u8>) -> usize {
    out.push(0);
    out.len()
}

/// Ends the piece that begins at `start`, as returned by [`open`], and writes its length before it.
#[inline]
pub(super) fn close(out: &mut Vec<u8>, start: usize) {
    // Below 128 the length fits the byte that was left for it.
    let len = out.len() - start;
    if len < 0x80 {
        if let Some(place) = out.get_mut(start - 1) {
            *place = len as u8;
        }
        return;
    }

    // A longer length is written at the end and rotated to the front.
    let end = out.len();
    varint(len as u64, out);
    let prefix = out.len() - end;
    if let Some(message) = out.get_mut(start - 1..) {
        // [0 message length] → [length message 0]
        message.rotate_right(prefix);
        message[prefix..].rotate_left(1);
    }
    out.pop();
}

/// Appends a two's complement number as decimal text.
fn digits(bytes: &[u8], leaf: &LeafType, out: &mut Vec<u8>) -> Result<(), &'static str> {
    // The number must fit 16 bytes; further bytes in front may only repeat the sign.
    let Some(LogicalType::Decimal { scale, .. }) = leaf.logical else { return Err("a decimal") };
    let sign = bytes.first().is_some_and(|byte| *byte >= 0x80);
    let fill = if sign { 0xff } else { 0 };
    let lead = bytes.len().saturating_sub(16);
    let (extra, low) = bytes.split_at(lead);
    if extra.iter().any(|&byte| byte != fill)
        || (lead > 0 && low.first().is_some_and(|b| (*b >= 0x80) != sign))
    {
        return Err("a decimal of at most 16 bytes");
    }

    // Extend the sign to the width of an i128.
    let mut padded = [fill; 16];
    if let Some(place) = padded.get_mut(16 - low.len()..) {
        place.copy_from_slice(low);
    }
    let value = i128::from_be_bytes(padded);

    // The point goes before the last `scale` digits; zeros in front make room for it.
    let width = scale as usize + 1;
    let text = format!("{:0width$}", value.unsigned_abs());
    let (whole, fraction) = text.split_at(text.len() - scale as usize);

    // Sign, whole part, and the fraction if the scale has one.
    if sign {
        out.push(b'-');
    }
    out.extend_from_slice(whole.as_bytes());
    if !fraction.is_empty() {
        out.push(b'.');
        out.extend_from_slice(fraction.as_bytes());
    }
    Ok(())
}

/// Appends a uuid as text, in the usual groups of hexadecimal digits.
fn uuid(bytes: &[u8], out: &mut Vec<u8>) {
    let mut text = String::with_capacity(36);
    for (place, byte) in bytes.iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    self::bytes(text.as_bytes(), out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LeafKind;

    #[test]
    fn decimals_as_text() {
        let leaf = LeafType {
            logical: Some(LogicalType::Decimal { precision: 20, scale: 3 }),
            ..LeafType::plain(LeafKind::Bytes)
        };
        let text = |bytes: &[u8]| {
            let mut out = Vec::new();
            digits(bytes, &leaf, &mut out).map(|()| String::from_utf8(out).unwrap())
        };
        assert_eq!(text(&[]).unwrap(), "0.000");
        assert_eq!(text(&[0x05]).unwrap(), "0.005");
        assert_eq!(text(&[0xff]).unwrap(), "-0.001");
        assert_eq!(text(&[0x00, 0x30, 0x39]).unwrap(), "12.345");
        assert_eq!(text(&[vec![0xff; 30], vec![0x80]].concat()).unwrap(), "-0.128");
        assert!(text(&[vec![1], vec![0; 16]].concat()).is_err());
        assert!(text(&[vec![0], vec![0xff; 16]].concat()).is_err());
    }
}
