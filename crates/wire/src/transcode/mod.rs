//! Transcode: Avro bytes to protobuf wire bytes for a given descriptor; no reflection at run time, no JSON.
//!
//! Fields meet by name. What the two formats both have goes over as it is:
//!
//! | Avro | protobuf |
//! |---|---|
//! | boolean | bool |
//! | int, date, time-millis | int32, sint32, sfixed32, and the 64-bit ones |
//! | long, time-*, timestamp-* | int64, sint64, sfixed64 |
//! | float, double | float, double (never narrower) |
//! | string, bytes, fixed | string, bytes; uuid on fixed also string |
//! | decimal | string, its digits; bytes as they are |
//! | enum | string, its symbol; an enum with the same names |
//! | record | message |
//! | array, map | repeated, map or repeated message of key and value |
//! | `["null", T]` | T, left out if null |
//!
//! Nothing is lost in silence: an Avro field that the descriptor lacks, or a required one that Avro lacks, is an
//! error when the program is compiled.

mod compile;
mod wire;

use crate::datum::append::append_run;
use crate::datum::text::skip_text;
use crate::datum::varint::{read_index, read_int, read_len, read_long};
use crate::leaf::{LeafValue, read_leaf};
use crate::program::diagnose::{diagnose, leaf_at};
use crate::program::walk::EMPTY_ITEMS;
use crate::schema::LeafType;
use crate::{DatumError, DatumSchema, MAX_NESTING, SchemaError};

pub use prost_types::DescriptorProto;

/// A compiled transcoding.
pub struct ProtobufTranscoder {
    schema: DatumSchema,
    messages: Vec<Vec<TranscodeStep>>,
}

/// One Avro value on its way.
enum TranscodeStep {
    /// `tag` is the field's key on the wire, `to` how the value is written.
    Leaf {
        tag: wire::ProtobufKey,
        leaf: LeafType,
        to: wire::ProtobufForm,
    },
    /// The commonest leaves without a detour: text, bytes, and integers that stay varints.
    Text {
        tag: wire::ProtobufKey,
    },
    Blob {
        tag: wire::ProtobufKey,
    },
    Int {
        tag: wire::ProtobufKey,
    },
    Long {
        tag: wire::ProtobufKey,
    },
    /// A null: no bytes on either side.
    Nothing,
    Message {
        tag: wire::ProtobufKey,
        message: usize,
    },
    Repeated {
        min: u64,
        items: Box<TranscodeStep>,
    },
    Map {
        tag: wire::ProtobufKey,
        /// An entry's key is field 1, a text.
        entry_key: wire::ProtobufKey,
        min: u64,
        value: Box<TranscodeStep>,
    },
    Optional {
        null: u32,
        other: Box<TranscodeStep>,
    },
}

impl ProtobufTranscoder {
    /// Compiles for a message type; types nested in it are found by name.
    ///
    /// # Errors
    /// [`SchemaError::Unsupported`] where the two do not fit.
    pub fn compile(schema: &DatumSchema, descriptor: &DescriptorProto) -> Result<Self, SchemaError> {
        let messages = compile::messages(schema, descriptor)?;
        Ok(Self { schema: schema.clone(), messages })
    }

    /// Appends the message's bytes to `out`; on error `out` is as it was.
    ///
    /// # Errors
    /// [`DatumError`].
    pub fn run(&self, datum: &[u8], out: &mut Vec<u8>) -> Result<(), DatumError> {
        let start = out.len();
        out.reserve(datum.len() + datum.len() / 2);
        let empty = EMPTY_ITEMS + datum.len() as u64;
        let mut walk = TranscodeWalk { messages: &self.messages, data: datum, out, empty, refused: None };
        if walk.message(0, 0, 1) == Some(datum.len()) {
            return Ok(());
        }
        let refused = walk.refused;
        out.truncate(start);
        Err(match refused {
            Some((at, expected)) => {
                DatumError { path: leaf_at(&self.schema, datum, at), position: at, expected: expected.into() }
            }
            None => diagnose(&self.schema, datum),
        })
    }
}

struct TranscodeWalk<'w> {
    messages: &'w [Vec<TranscodeStep>],
    data: &'w [u8],
    out: &'w mut Vec<u8>,
    empty: u64,
    refused: Option<(usize, &'static str)>,
}

impl<'w> TranscodeWalk<'w> {
    fn message(&mut self, message: usize, at: usize, depth: usize) -> Option<usize> {
        if depth > MAX_NESTING {
            return None;
        }
        let messages = self.messages;
        messages.get(message)?.iter().try_fold(at, |at, step| self.field(step, at, depth))
    }

    /// The commonest in place, the others by a call.
    #[inline(always)]
    fn field(&mut self, step: &'w TranscodeStep, at: usize, depth: usize) -> Option<usize> {
        match step {
            TranscodeStep::Text { tag } => self.text(*tag, at),
            TranscodeStep::Int { tag } => self.int(*tag, at),
            TranscodeStep::Long { tag } => self.long(*tag, at),
            TranscodeStep::Optional { null, other } => {
                let (index, at) = read_index(self.data, at, 2)?;
                match &**other {
                    _ if index == *null => Some(at),
                    TranscodeStep::Text { tag } => self.text(*tag, at),
                    TranscodeStep::Int { tag } => self.int(*tag, at),
                    other => self.step(other, at, depth),
                }
            }
            step => self.step(step, at, depth),
        }
    }

    #[inline(always)]
    fn text(&mut self, tag: wire::ProtobufKey, at: usize) -> Option<usize> {
        let (len, from) = read_len(self.data, at)?;
        let end = skip_text(self.data, from, len)?;
        tag.append_with(len as u64, self.out);
        append_run(self.data, from, end, self.out);
        Some(end)
    }

    #[inline(always)]
    fn int(&mut self, tag: wire::ProtobufKey, at: usize) -> Option<usize> {
        let (value, end) = read_int(self.data, at)?;
        tag.append_with(i64::from(value).cast_unsigned(), self.out);
        Some(end)
    }

    #[inline(always)]
    fn long(&mut self, tag: wire::ProtobufKey, at: usize) -> Option<usize> {
        let (value, end) = read_long(self.data, at)?;
        tag.append_with(value.cast_unsigned(), self.out);
        Some(end)
    }

    #[inline(never)]
    fn step(&mut self, step: &'w TranscodeStep, at: usize, depth: usize) -> Option<usize> {
        match step {
            TranscodeStep::Leaf { tag, leaf, to } => self.leaf(*tag, leaf, to, at),
            TranscodeStep::Text { tag } => self.text(*tag, at),
            TranscodeStep::Int { tag } => self.int(*tag, at),
            TranscodeStep::Long { tag } => self.long(*tag, at),
            TranscodeStep::Blob { tag } => {
                let (len, from) = read_len(self.data, at)?;
                let end = from.checked_add(len).filter(|&end| end <= self.data.len())?;
                tag.append_with(len as u64, self.out);
                append_run(self.data, from, end, self.out);
                Some(end)
            }
            TranscodeStep::Nothing => Some(at),
            TranscodeStep::Message { tag, message } => {
                tag.append(self.out);
                let start = wire::open(self.out);
                let at = self.message(*message, at, depth + 1)?;
                wire::close(self.out, start);
                Some(at)
            }
            TranscodeStep::Optional { null, other } => {
                let (index, at) = read_index(self.data, at, 2)?;
                if index == *null { Some(at) } else { self.step(other, at, depth) }
            }
            TranscodeStep::Repeated { min, items } => {
                self.blocks(*min, at, depth, |walk, at, depth| walk.field(items, at, depth))
            }
            TranscodeStep::Map { tag, entry_key, min, value } => {
                self.blocks(*min, at, depth, |walk, at, depth| {
                    tag.append(walk.out);
                    let start = wire::open(walk.out);
                    let at = walk.text(*entry_key, at)?;
                    let at = walk.field(value, at, depth)?;
                    wire::close(walk.out, start);
                    Some(at)
                })
            }
        }
    }

    fn blocks(
        &mut self,
        min: u64,
        mut at: usize,
        depth: usize,
        item: impl Fn(&mut Self, usize, usize) -> Option<usize>,
    ) -> Option<usize> {
        let depth = depth + 1;
        if depth > MAX_NESTING {
            return None;
        }
        loop {
            let (count, after) = read_long(self.data, at)?;
            at = after;
            if count == 0 {
                return Some(at);
            }
            let mut end = None;
            if count < 0 {
                let (size, after) = read_len(self.data, at)?;
                at = after;
                end = Some(at.checked_add(size)?);
            }
            let count = count.unsigned_abs();
            if min == 0 {
                self.empty = self.empty.checked_sub(count)?;
            } else if count.checked_mul(min).is_none_or(|least| least > (self.data.len() - at) as u64) {
                return None;
            }
            for _ in 0..count {
                at = item(self, at, depth)?;
            }
            if end.is_some_and(|end| end != at) {
                return None;
            }
        }
    }

    #[inline]
    fn leaf(
        &mut self,
        tag: wire::ProtobufKey,
        leaf: &'w LeafType,
        to: &wire::ProtobufForm,
        at: usize,
    ) -> Option<usize> {
        let (value, end): (LeafValue<'w>, usize) = read_leaf(leaf, self.data, at)?;
        match wire::write(tag, value, leaf, to, self.out) {
            Ok(()) => Some(end),
            Err(expected) => {
                self.refused = Some((at, expected));
                None
            }
        }
    }
}
