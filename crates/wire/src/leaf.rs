//! The value of one leaf, read and written.

use crate::datum::append::append_run;
use crate::datum::varint;
use crate::schema::{LeafKind, LeafType};

/// The value of a leaf, borrowed from the datum and never copied.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LeafValue<'a> {
    /// A null, or an optional without a value.
    Null,
    /// 0 or 1.
    Boolean(bool),
    /// `int` and its logical types (days, milliseconds).
    Int(i32),
    /// `long` and its logical types (milliseconds, microseconds, nanoseconds).
    Long(i64),
    /// Single precision.
    Float(f32),
    /// Double precision.
    Double(f64),
    /// `bytes`; a decimal is two's complement, big-endian.
    Bytes(&'a [u8]),
    /// Checked UTF-8.
    String(&'a str),
    /// `fixed`, of the schema's size.
    Fixed(&'a [u8]),
    /// An enum's index and its symbol.
    Enum {
        /// 0-based index in the schema's symbols.
        index: u32,
        /// The symbol.
        symbol: &'a str,
    },
}

/// Appends one Avro-encoded leaf. A [`crate::LeafFn`] calls exactly one of the methods, once.
pub struct LeafWriter<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> LeafWriter<'a> {
    /// Makes a writer that appends to `out`.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    /// Appends a `string`.
    #[inline]
    pub fn string(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// Appends a `string` made of pieces that together are UTF-8.
    #[inline]
    pub fn string_parts(&mut self, parts: &[&[u8]]) {
        // The length comes first in Avro; the pieces follow without a copy in between.
        let len: usize = parts.iter().map(|part| part.len()).sum();
        varint::write_len(len, self.out);
        for part in parts {
            append_run(part, 0, part.len(), self.out);
        }
    }

    /// Appends a `bytes`.
    #[inline]
    pub fn bytes(&mut self, bytes: &[u8]) {
        varint::write_len(bytes.len(), self.out);
        append_run(bytes, 0, bytes.len(), self.out);
    }

    /// Appends a `long` or a logical type on one.
    #[inline]
    pub fn long(&mut self, value: i64) {
        varint::write_long(value, self.out);
    }

    /// Appends an `int` or a logical type on one.
    #[inline]
    pub fn int(&mut self, value: i32) {
        varint::write_long(i64::from(value), self.out);
    }

    /// Appends a `double`.
    #[inline]
    pub fn double(&mut self, value: f64) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    /// Appends a `float`.
    #[inline]
    pub fn float(&mut self, value: f32) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    /// Appends a `boolean`.
    #[inline]
    pub fn boolean(&mut self, value: bool) {
        self.out.push(u8::from(value));
    }

    /// Appends a `fixed`; the caller passes exactly as many bytes as the schema's size.
    #[inline]
    pub fn fixed(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Appends an `enum` by the 0-based index of its symbol.
    #[inline]
    pub fn enum_index(&mut self, index: u32) {
        varint::write_long(i64::from(index), self.out);
    }
}

/// Reads and checks one leaf. Returns its value and the position after it, or `None` if the leaf is
/// malformed.
#[inline(always)]
pub(crate) fn read_leaf<'d>(leaf: &'d LeafType, data: &'d [u8], at: usize) -> Option<(LeafValue<'d>, usize)> {
    Some(match leaf.kind {
        // Leaves of at most one byte. A boolean other than 0 and 1 is malformed.
        LeafKind::Null => (LeafValue::Null, at),
        LeafKind::Boolean => match *data.get(at)? {
            byte @ (0 | 1) => (LeafValue::Boolean(byte == 1), at + 1),
            _ => return None,
        },

        // Integers: zig-zag varints, with the bounds of their types.
        LeafKind::Int => {
            let (value, end) = varint::read_int(data, at)?;
            (LeafValue::Int(value), end)
        }
        LeafKind::Long => {
            let (value, end) = varint::read_long(data, at)?;
            (LeafValue::Long(value), end)
        }

        // Floating-point numbers: little-endian, of a constant size.
        LeafKind::Float => {
            let bytes = data.get(at..)?.first_chunk::<4>()?;
            (LeafValue::Float(f32::from_le_bytes(*bytes)), at + 4)
        }
        LeafKind::Double => {
            let bytes = data.get(at..)?.first_chunk::<8>()?;
            (LeafValue::Double(f64::from_le_bytes(*bytes)), at + 8)
        }

        // Leaves with a length. A text is checked here, and the caller may rely on UTF-8.
        LeafKind::Bytes => {
            let (len, start) = varint::read_len(data, at)?;
            let bytes = data.get(start..)?.get(..len)?;
            (LeafValue::Bytes(bytes), start + len)
        }
        LeafKind::String => {
            let (len, start) = varint::read_len(data, at)?;
            let bytes = data.get(start..)?.get(..len)?;
            (LeafValue::String(simdutf8::basic::from_utf8(bytes).ok()?), start + len)
        }

        // Leaves whose size or symbols are in the schema.
        LeafKind::Fixed => {
            let bytes = data.get(at..)?.get(..leaf.size)?;
            (LeafValue::Fixed(bytes), at + leaf.size)
        }
        LeafKind::Enum => {
            let (index, end) = varint::read_index(data, at, leaf.symbols.len() as u32)?;
            (LeafValue::Enum { index, symbol: leaf.symbols.get(index as usize)? }, end)
        }
    })
}
