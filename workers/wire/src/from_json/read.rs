//! The stream at work: each JSON value goes straight to Avro bytes.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::scalar::{Scalar, write_scalar};
use super::{Fields, UnknownFields};
use crate::datum::varint::{write_len, write_long};
use crate::schema::{LeafKind, Node, NodeId, Schema};

/// Space that is reused from record to record.
#[derive(Default)]
pub(super) struct Scratch {
    /// Where each field of the open records was written: place in the record, start and end in the output.
    spans: Vec<(usize, usize, usize)>,
    /// A record's bytes while its fields are put in order.
    bytes: Vec<u8>,
}

impl Scratch {
    pub(super) fn clear(&mut self) {
        self.spans.clear();
        self.bytes.clear();
    }
}

pub(super) struct Reading<'r> {
    pub(super) schema: &'r Schema,
    pub(super) records: &'r HashMap<NodeId, Fields>,
    pub(super) rule: UnknownFields,
    pub(super) scratch: &'r mut Scratch,
    pub(super) out: &'r mut Vec<u8>,
    pub(super) failure: Option<Failure>,
}

/// What went wrong; the path grows on the way out.
#[derive(Default)]
pub(super) struct Failure {
    /// Innermost step first.
    steps: Vec<String>,
    pub(super) expected: Option<Cow<'static, str>>,
}

impl Failure {
    pub(super) fn path(&self) -> String {
        let path: String = self.steps.iter().rev().map(String::as_str).collect();
        path.strip_prefix('.').map(str::to_owned).unwrap_or(path)
    }
}

impl Reading<'_> {
    fn fail<E: Error>(&mut self, expected: impl Into<Cow<'static, str>>) -> E {
        self.failure.get_or_insert_default().expected.get_or_insert(expected.into());
        // Seen by nobody: the failure above is what is reported.
        E::custom("")
    }

    fn step<E>(&mut self, step: impl FnOnce() -> String, error: E) -> E {
        self.failure.get_or_insert_default().steps.push(step());
        error
    }

    /// Appends a scalar, in the first branch that takes it where there is a union.
    fn scalar<E: Error>(&mut self, id: NodeId, value: Scalar<'_>) -> Result<(), E> {
        let schema = self.schema;
        let start = self.out.len();
        let expected = match schema.node(id) {
            Node::Leaf { leaf, .. } => match write_scalar(leaf, &value, self.out) {
                Ok(()) => return Ok(()),
                Err(expected) => expected,
            },
            Node::Union { branches } => {
                let mut expected = None;
                for (place, &branch) in branches.iter().enumerate() {
                    let Node::Leaf { leaf, .. } = schema.node(branch) else { continue };
                    if leaf.kind == LeafKind::Null && !matches!(value, Scalar::Null) {
                        continue;
                    }
                    write_long(place as i64, self.out);
                    match write_scalar(leaf, &value, self.out) {
                        Ok(()) => return Ok(()),
                        // Of ["null", T] it is T that people mean.
                        Err(why) => expected = if schema.is_null(branch) { expected } else { Some(why) },
                    }
                    self.out.truncate(start);
                }
                match (branches.len(), expected) {
                    (0..=2, Some(expected)) => expected,
                    _ => Cow::Borrowed("a value of one of the union's types"),
                }
            }
            Node::Record { .. } => Cow::Borrowed("an object"),
            Node::Array { .. } => Cow::Borrowed("an array"),
            Node::Map { .. } => Cow::Borrowed("an object"),
        };
        self.out.truncate(start);
        Err(self.fail(expected))
    }

    /// The node that takes a JSON array or object; for a union the index of its branch is written.
    fn branch<E: Error>(
        &mut self,
        id: NodeId,
        expected: &'static str,
        fits: fn(&Node) -> bool,
    ) -> Result<NodeId, E> {
        let schema = self.schema;
        match schema.node(id) {
            node if fits(node) => Ok(id),
            Node::Union { branches } => match branches.iter().position(|&branch| fits(schema.node(branch))) {
                Some(place) => {
                    write_long(place as i64, self.out);
                    Ok(branches[place])
                }
                None => Err(self.fail(name_of_union(schema, branches))),
            },
            Node::Leaf { leaf, .. } => Err(self.fail(super::scalar::expected(leaf))),
            _ => Err(self.fail(expected)),
        }
    }
}

fn name_of_union(schema: &Schema, branches: &[NodeId]) -> Cow<'static, str> {
    let mut others =
        branches.iter().filter(|&&branch| !schema.is_null(branch)).map(|&branch| schema.node(branch));
    match (others.next(), others.next()) {
        (Some(Node::Leaf { leaf, .. }), None) => super::scalar::expected(leaf),
        _ => Cow::Borrowed("a value of one of the union's types"),
    }
}

/// A place in the schema that a JSON value is read into.
pub(super) struct At<'a, 'r> {
    pub(super) reading: &'a mut Reading<'r>,
    pub(super) node: NodeId,
}

impl<'de> DeserializeSeed<'de> for At<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for At<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of the schema's type")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.reading.scalar(self.node, Scalar::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.reading.scalar(self.node, Scalar::Boolean(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.reading.scalar(self.node, Scalar::Integer(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.reading.scalar(self.node, Scalar::Integer(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.reading.scalar(self.node, Scalar::Real(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.reading.scalar(self.node, Scalar::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Self { reading, node } = self;
        let node = reading.branch(node, "an object", |node| matches!(node, Node::Array { .. }))?;
        let Node::Array { items: item, .. } = *reading.schema.node(node) else { return Ok(()) };
        let start = reading.out.len();
        let mut count = 0;
        loop {
            match items.next_element_seed(At { reading: &mut *reading, node: item }) {
                Ok(Some(())) => count += 1,
                Ok(None) => break,
                Err(error) => return Err(reading.step(|| "[]".to_owned(), error)),
            }
        }
        close_block(reading.out, start, count);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<(), A::Error> {
        let Self { reading, node } = self;
        let fits = |node: &Node| matches!(node, Node::Record { .. } | Node::Map { .. });
        let node = reading.branch(node, "an array", fits)?;
        match *reading.schema.node(node) {
            Node::Map { values, .. } => map(reading, values, entries),
            _ => record(reading, node, entries),
        }
    }
}

fn map<'de, A: MapAccess<'de>>(
    reading: &mut Reading<'_>,
    values: NodeId,
    mut entries: A,
) -> Result<(), A::Error> {
    let start = reading.out.len();
    let mut count = 0;
    while entries.next_key_seed(Key { out: &mut *reading.out })?.is_some() {
        count += 1;
        entries
            .next_value_seed(At { reading: &mut *reading, node: values })
            .map_err(|error| reading.step(|| "{}".to_owned(), error))?;
    }
    close_block(reading.out, start, count);
    Ok(())
}

/// A map's key, written as it is read.
struct Key<'o> {
    out: &'o mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<(), E> {
        write_len(key.len(), self.out);
        self.out.extend_from_slice(key.as_bytes());
        Ok(())
    }
}

/// Items stand behind `start`; their count goes before them, and the empty block after.
fn close_block(out: &mut Vec<u8>, start: usize, count: usize) {
    if count > 0 {
        let end = out.len();
        write_len(count, out);
        let header = out.len() - end;
        if let Some(block) = out.get_mut(start..) {
            block.rotate_right(header);
        }
    }
    out.push(0);
}

fn record<'de, A: MapAccess<'de>>(
    reading: &mut Reading<'_>,
    node: NodeId,
    mut entries: A,
) -> Result<(), A::Error> {
    let schema = reading.schema;
    let records = reading.records;
    let (Node::Record { fields, .. }, Some(known)) = (schema.node(node), records.get(&node)) else {
        return Ok(());
    };
    let start = reading.out.len();
    let first_span = reading.scratch.spans.len();
    let mut next = 0;
    let mut in_order = true;
    while let Some(place) = entries.next_key_seed(FieldName { fields, known, next })? {
        let Some(place) = place else {
            if reading.rule == UnknownFields::Refuse {
                return Err(reading.fail("only fields of the schema"));
            }
            entries.next_value::<IgnoredAny>()?;
            continue;
        };
        let field = &fields[place];
        let step = || format!(".{}", field.name);
        in_order &= place == next;
        // One that comes next in order was not there before.
        if !in_order && reading.scratch.spans[first_span..].iter().any(|&(seen, ..)| seen == place) {
            let error = reading.fail("each field once");
            return Err(reading.step(step, error));
        }
        next = place + 1;
        let from = reading.out.len();
        entries
            .next_value_seed(At { reading: &mut *reading, node: field.node })
            .map_err(|error| reading.step(step, error))?;
        let to = reading.out.len();
        reading.scratch.spans.push((place, from, to));
    }
    if !(in_order && next == fields.len()) {
        arrange(reading, fields, known, start, first_span)?;
    }
    reading.scratch.spans.truncate(first_span);
    Ok(())
}

/// Puts a record's fields in the schema's order, with defaults where there were none.
fn arrange<E: Error>(
    reading: &mut Reading<'_>,
    fields: &[crate::schema::Field],
    known: &Fields,
    start: usize,
    first_span: usize,
) -> Result<(), E> {
    let Scratch { spans, bytes } = &mut *reading.scratch;
    let spans = &mut spans[first_span..];
    spans.sort_unstable();
    bytes.clear();
    bytes.extend_from_slice(&reading.out[start..]);
    reading.out.truncate(start);
    let mut spans = spans.iter().peekable();
    for (place, field) in fields.iter().enumerate() {
        if let Some(&(_, from, to)) = spans.next_if(|&&(there, ..)| there == place) {
            reading.out.extend_from_slice(&bytes[from - start..to - start]);
        } else if let Some(Some(default)) = known.missing.get(place) {
            reading.out.extend_from_slice(default);
        } else {
            let error = reading.fail("the field, which has no default");
            return Err(reading.step(|| format!(".{}", field.name), error));
        }
    }
    Ok(())
}

/// Finds a field by its name; JSON mostly comes in one order, so the next one is tried first.
struct FieldName<'f> {
    fields: &'f [crate::schema::Field],
    known: &'f Fields,
    next: usize,
}

impl<'de> DeserializeSeed<'de> for FieldName<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Option<usize>, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for FieldName<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Option<usize>, E> {
        if self.fields.get(self.next).is_some_and(|field| field.name == name) {
            return Ok(Some(self.next));
        }
        Ok(self.known.places.get(name).copied())
    }
}
