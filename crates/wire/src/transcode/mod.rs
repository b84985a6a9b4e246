//! Transcode: turns Avro bytes into protobuf wire bytes for a given descriptor, without reflection at run
//! time and without JSON.
//!
//! Fields meet by name. These types correspond to each other:
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
//! No field is lost silently. An Avro field that the descriptor lacks, or a required protobuf field that Avro
//! lacks, is an error when the program is compiled.

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

/// A compiled transcoding of one schema to one message type.
pub struct ProtobufTranscoder {
    schema: DatumSchema,
    /// The instructions of each message type, by index. Message 0 is the root.
    messages: Vec<Vec<TranscodeStep>>,
}

/// The instruction for one Avro value.
enum TranscodeStep {
    /// Any leaf. `tag` is the field's key on the wire, `to` the form of the value.
    Leaf {
        tag: wire::ProtobufKey,
        leaf: LeafType,
        to: wire::ProtobufForm,
    },
    /// The most common leaves have instructions of their own: text, bytes, and integers that stay varints.
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
    /// A null has no bytes on either side.
    Nothing,
    /// A record becomes a message; `message` is the index of its type.
    Message {
        tag: wire::ProtobufKey,
        message: usize,
    },
    /// An array becomes a repeated field. `min` is the least number of bytes of an item.
    Repeated {
        min: u64,
        items: Box<TranscodeStep>,
    },
    /// A map becomes a repeated message of key and value.
    Map {
        tag: wire::ProtobufKey,
        /// The key of the entry's field 1, which is a text.
        entry_key: wire::ProtobufKey,
        min: u64,
        value: Box<TranscodeStep>,
    },
    /// `["null", T]` becomes T, or nothing; `null` is the index of the null.
    Optional {
        null: u32,
        other: Box<TranscodeStep>,
    },
}

impl ProtobufTranscoder {
    /// Compiles for a message type. Types nested in it are found by name.
    ///
    /// # Errors
    /// [`SchemaError::Unsupported`] if a field of the schema does not fit the descriptor.
    pub fn compile(schema: &DatumSchema, descriptor: &DescriptorProto) -> Result<Self, SchemaError> {
        let messages = compile::messages(schema, descriptor)?;
        Ok(Self { schema: schema.clone(), messages })
    }

    /// Appends the message's bytes to `out`; on error `out` is as it was.
    ///
    /// # Errors
    /// [`DatumError`] if the bytes are not a datum, or if protobuf cannot hold a leaf.
    pub fn run(&self, datum: &[u8], out: &mut Vec<u8>) -> Result<(), DatumError> {
        let start = out.len();
        // Protobuf is about as long as Avro, plus a key for each field.
        out.reserve(datum.len() + datum.len() / 2);
        let empty = EMPTY_ITEMS + datum.len() as u64;
        let mut walk = TranscodeWalk { messages: &self.messages, data: datum, out, empty, refused: None };

        // Message 0 is the datum. It must end where the bytes end.
        if walk.message(0, 0, 1) == Some(datum.len()) {
            return Ok(());
        }

        // Take back the bytes of the record that failed, and find out why it did.
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

/// The transcoding of one datum.
struct TranscodeWalk<'w> {
    messages: &'w [Vec<TranscodeStep>],
    data: &'w [u8],
    out: &'w mut Vec<u8>,
    /// Items without bytes that the datum may still have.
    empty: u64,
    /// Position and expectation of the leaf that protobuf cannot hold.
    refused: Option<(usize, &'static str)>,
}

impl<'w> TranscodeWalk<'w> {
    /// Appends the fields of a message. Returns the position after the record.
    fn message(&mut self, message: usize, at: usize, depth: usize) -> Option<usize> {
        if depth > MAX_NESTING {
            return None;
        }
        let messages = self.messages;
        messages.get(message)?.iter().try_fold(at, |at, step| self.field(step, at, depth))
    }

    /// Appends the most common fields in place, and all others by a call.
    #[inline(always)]
    fn field(&mut self, step: &'w TranscodeStep, at: usize, depth: usize) -> Option<usize> {
        match step {
            TranscodeStep::Text { tag } => self.text(*tag, at),
            TranscodeStep::Int { tag } => self.int(*tag, at),
            TranscodeStep::Long { tag } => self.long(*tag, at),
            TranscodeStep::Optional { null, other } => {
                // The common leaves again, because an optional leaf is as common as a required one.
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

    /// Appends a text, which must be UTF-8.
    #[inline(always)]
    fn text(&mut self, tag: wire::ProtobufKey, at: usize) -> Option<usize> {
        let (len, from) = read_len(self.data, at)?;
        let end = skip_text(self.data, from, len)?;
        tag.append_with(len as u64, self.out);
        append_run(self.data, from, end, self.out);
        Some(end)
    }

    /// Appends an `int` that stays a varint. Protobuf extends negative numbers to 64 bits.
    #[inline(always)]
    fn int(&mut self, tag: wire::ProtobufKey, at: usize) -> Option<usize> {
        let (value, end) = read_int(self.data, at)?;
        tag.append_with(i64::from(value).cast_unsigned(), self.out);
        Some(end)
    }

    /// Appends a `long` that stays a varint.
    #[inline(always)]
    fn long(&mut self, tag: wire::ProtobufKey, at: usize) -> Option<usize> {
        let (value, end) = read_long(self.data, at)?;
        tag.append_with(value.cast_unsigned(), self.out);
        Some(end)
    }

    /// Appends any field.
    #[inline(never)]
    fn step(&mut self, step: &'w TranscodeStep, at: usize, depth: usize) -> Option<usize> {
        match step {
            // Leaves, the common ones first.
            TranscodeStep::Leaf { tag, leaf, to } => self.leaf(*tag, leaf, to, at),
            TranscodeStep::Text { tag } => self.text(*tag, at),
            TranscodeStep::Int { tag } => self.int(*tag, at),
            TranscodeStep::Long { tag } => self.long(*tag, at),

            // Bytes are copied without a check.
            TranscodeStep::Blob { tag } => {
                let (len, from) = read_len(self.data, at)?;
                let end = from.checked_add(len).filter(|&end| end <= self.data.len())?;
                tag.append_with(len as u64, self.out);
                append_run(self.data, from, end, self.out);
                Some(end)
            }
            TranscodeStep::Nothing => Some(at),

            // A message has its length before it, which is known only at the end.
            TranscodeStep::Message { tag, message } => {
                tag.append(self.out);
                let start = wire::open(self.out);
                let at = self.message(*message, at, depth + 1)?;
                wire::close(self.out, start);
                Some(at)
            }

            // Protobuf leaves out a field that is null.
            TranscodeStep::Optional { null, other } => {
                let (index, at) = read_index(self.data, at, 2)?;
                if index == *null { Some(at) } else { self.step(other, at, depth) }
            }

            // An array or map is one field per item; the items are not packed.
            TranscodeStep::Repeated { min, items } => {
                self.blocks(*min, at, depth, |walk, at, depth| walk.field(items, at, depth))
            }
            TranscodeStep::Map { tag, entry_key, min, value } => {
                self.blocks(*min, at, depth, |walk, at, depth| {
                    // Every entry is a message of its own, with the key as field 1.
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

    /// Walks the blocks of an array or map, with the same checks as the fast walk. `item` appends one item.
    fn blocks(
        &mut self,
        min: u64,
        mut at: usize,
        depth: usize,
        item: impl Fn(&mut Self, usize, usize) -> Option<usize>,
    ) -> Option<usize> {
        // The array or map itself is a level of nesting.
        let depth = depth + 1;
        if depth > MAX_NESTING {
            return None;
        }

        // Blocks follow each other up to the empty one.
        loop {
            let (count, after) = read_long(self.data, at)?;
            at = after;
            if count == 0 {
                return Some(at);
            }

            // A negative count means that the size in bytes follows.
            let mut end = None;
            if count < 0 {
                let (size, after) = read_len(self.data, at)?;
                at = after;
                end = Some(at.checked_add(size)?);
            }

            // Bound the count before any item is read: a few bytes can claim very many items.
            let count = count.unsigned_abs();
            if min == 0 {
                self.empty = self.empty.checked_sub(count)?;
            } else if count.checked_mul(min).is_none_or(|least| least > (self.data.len() - at) as u64) {
                return None;
            }

            // The items, and the proof that the declared size was right.
            for _ in 0..count {
                at = item(self, at, depth)?;
            }
            if end.is_some_and(|end| end != at) {
                return None;
            }
        }
    }

    /// Appends any leaf in its protobuf form.
    #[inline]
    fn leaf(
        &mut self,
        tag: wire::ProtobufKey,
        leaf: &'w LeafType,
        to: &wire::ProtobufForm,
        at: usize,
    ) -> Option<usize> {
        // The walk stops here; the caller reports the expectation.
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
