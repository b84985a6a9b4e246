//! The stream at work: each JSON value goes straight to Avro bytes.

use std::borrow::Cow;

use super::scalar::{JsonScalar, write_scalar};
use super::text::{JsonCursor, JsonStop};
use super::{JsonFieldTable, UnknownFields};
use crate::MAX_NESTING;
use crate::datum::varint::{write_len, write_long};
use crate::schema::{DatumSchema, LeafKind, NodeId, SchemaNode};

/// Space that is reused from record to record.
#[derive(Default)]
pub(super) struct JsonScratch {
    /// Where each field of the open records was written: place in the record, start and end in the output.
    spans: Vec<(usize, usize, usize)>,
    /// A record's bytes while its fields are put in order.
    bytes: Vec<u8>,
}

impl JsonScratch {
    pub(super) fn clear(&mut self) {
        self.spans.clear();
        self.bytes.clear();
    }
}

pub(super) struct JsonConversion<'r> {
    pub(super) schema: &'r DatumSchema,
    pub(super) records: &'r [Option<JsonFieldTable>],
    pub(super) rule: UnknownFields,
    pub(super) scratch: &'r mut JsonScratch,
    pub(super) out: &'r mut Vec<u8>,
    pub(super) failure: Option<JsonMismatch>,
}

/// What went wrong; the path grows on the way out.
#[derive(Default)]
pub(super) struct JsonMismatch {
    /// Innermost step first.
    steps: Vec<String>,
    pub(super) expected: Option<Cow<'static, str>>,
}

impl JsonMismatch {
    pub(super) fn path(&self) -> String {
        let path: String = self.steps.iter().rev().map(String::as_str).collect();
        path.strip_prefix('.').map(str::to_owned).unwrap_or(path)
    }
}

impl JsonConversion<'_> {
    #[cold]
    fn fail(&mut self, expected: impl Into<Cow<'static, str>>) -> JsonStop {
        self.failure.get_or_insert_default().expected.get_or_insert(expected.into());
        JsonStop
    }

    #[cold]
    fn step(&mut self, step: impl FnOnce() -> String, stop: JsonStop) -> JsonStop {
        self.failure.get_or_insert_default().steps.push(step());
        stop
    }

    /// Into an array or object, unless no reader would follow.
    fn enter(&mut self, json: &mut JsonCursor<'_>) -> Result<(), JsonStop> {
        if json.enter() > MAX_NESTING {
            return Err(self.fail(format!("at most {MAX_NESTING} levels of records, arrays and maps")));
        }
        Ok(())
    }

    /// Appends a scalar, in the first branch that takes it where there is a union.
    fn scalar(&mut self, id: NodeId, value: JsonScalar<'_>) -> Result<(), JsonStop> {
        let schema = self.schema;
        let start = self.out.len();
        let expected = match schema.node(id) {
            SchemaNode::Leaf { leaf, .. } => match write_scalar(leaf, &value, self.out) {
                Ok(()) => return Ok(()),
                Err(expected) => expected,
            },
            SchemaNode::Union { branches } => {
                let mut expected = None;
                for (place, &branch) in branches.iter().enumerate() {
                    let SchemaNode::Leaf { leaf, .. } = schema.node(branch) else { continue };
                    if leaf.kind == LeafKind::Null && !matches!(value, JsonScalar::Null) {
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
            SchemaNode::Record { .. } => Cow::Borrowed("an object"),
            SchemaNode::Array { .. } => Cow::Borrowed("an array"),
            SchemaNode::Map { .. } => Cow::Borrowed("an object"),
        };
        self.out.truncate(start);
        Err(self.fail(expected))
    }

    /// The node that takes a JSON array or object; for a union the index of its branch is written.
    fn branch(
        &mut self,
        id: NodeId,
        expected: &'static str,
        fits: fn(&SchemaNode) -> bool,
    ) -> Result<NodeId, JsonStop> {
        let schema = self.schema;
        match schema.node(id) {
            node if fits(node) => Ok(id),
            SchemaNode::Union { branches } => {
                match branches.iter().position(|&branch| fits(schema.node(branch))) {
                    Some(place) => {
                        write_long(place as i64, self.out);
                        Ok(branches[place])
                    }
                    None => Err(self.fail(name_of_union(schema, branches))),
                }
            }
            SchemaNode::Leaf { leaf, .. } => Err(self.fail(super::scalar::expected(leaf))),
            _ => Err(self.fail(expected)),
        }
    }
}

fn name_of_union(schema: &DatumSchema, branches: &[NodeId]) -> Cow<'static, str> {
    let mut others =
        branches.iter().filter(|&&branch| !schema.is_null(branch)).map(|&branch| schema.node(branch));
    match (others.next(), others.next()) {
        (Some(SchemaNode::Leaf { leaf, .. }), None) => super::scalar::expected(leaf),
        _ => Cow::Borrowed("a value of one of the union's types"),
    }
}

/// Reads the JSON value that comes next into a place of the schema.
pub(super) fn value(
    reading: &mut JsonConversion<'_>,
    json: &mut JsonCursor<'_>,
    node: NodeId,
) -> Result<(), JsonStop> {
    let scalar = match json.peek()? {
        b'{' => return object(reading, json, node),
        b'[' => return array(reading, json, node),
        b'"' => JsonScalar::Text(json.string()?),
        b'n' => json.word("null").map(|()| JsonScalar::Null)?,
        b't' => json.word("true").map(|()| JsonScalar::Boolean(true))?,
        b'f' => json.word("false").map(|()| JsonScalar::Boolean(false))?,
        _ => json.number()?,
    };
    reading.scalar(node, scalar)
}

fn array(reading: &mut JsonConversion<'_>, json: &mut JsonCursor<'_>, node: NodeId) -> Result<(), JsonStop> {
    let node = reading.branch(node, "an object", |node| matches!(node, SchemaNode::Array { .. }))?;
    let SchemaNode::Array { items: item, .. } = *reading.schema.node(node) else { return Ok(()) };
    let start = reading.out.len();
    let (mut count, mut first) = (0, true);
    reading.enter(json)?;
    loop {
        let read = match json.more(&mut first, b']') {
            Ok(false) => break,
            Ok(true) => value(reading, json, item),
            Err(stop) => Err(stop),
        };
        read.map_err(|stop| reading.step(|| "[]".to_owned(), stop))?;
        count += 1;
    }
    close_block(reading.out, start, count);
    Ok(())
}

fn object(reading: &mut JsonConversion<'_>, json: &mut JsonCursor<'_>, node: NodeId) -> Result<(), JsonStop> {
    let fits = |node: &SchemaNode| matches!(node, SchemaNode::Record { .. } | SchemaNode::Map { .. });
    let node = reading.branch(node, "an array", fits)?;
    reading.enter(json)?;
    match *reading.schema.node(node) {
        SchemaNode::Map { values, .. } => map(reading, json, values),
        _ => record(reading, json, node),
    }
}

fn map(reading: &mut JsonConversion<'_>, json: &mut JsonCursor<'_>, values: NodeId) -> Result<(), JsonStop> {
    let start = reading.out.len();
    let (mut count, mut first) = (0, true);
    while json.more(&mut first, b'}')? {
        let key = json.key()?;
        write_len(key.len(), reading.out);
        reading.out.extend_from_slice(key.as_bytes());
        value(reading, json, values).map_err(|stop| reading.step(|| "{}".to_owned(), stop))?;
        count += 1;
    }
    close_block(reading.out, start, count);
    Ok(())
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

fn record(reading: &mut JsonConversion<'_>, json: &mut JsonCursor<'_>, node: NodeId) -> Result<(), JsonStop> {
    let schema = reading.schema;
    let records = reading.records;
    let known = records.get(node.0 as usize).and_then(Option::as_ref);
    let (SchemaNode::Record { fields, .. }, Some(known)) = (schema.node(node), known) else {
        return Err(JsonStop);
    };
    let start = reading.out.len();
    let first_span = reading.scratch.spans.len();
    let (mut next, mut in_order, mut first) = (0, true, true);
    while json.more(&mut first, b'}')? {
        // JSON mostly comes in one order, so the next field is tried first.
        let place = match fields.get(next) {
            Some(field) if json.is_key(&field.name)? => Some(next),
            _ => known.places.get(json.key()?).copied(),
        };
        let Some(place) = place else {
            if reading.rule == UnknownFields::Refuse {
                return Err(reading.fail("only fields of the schema"));
            }
            json.skip()?;
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
        value(reading, json, field.node).map_err(|stop| reading.step(step, stop))?;
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
fn arrange(
    reading: &mut JsonConversion<'_>,
    fields: &[crate::schema::SchemaField],
    known: &JsonFieldTable,
    start: usize,
    first_span: usize,
) -> Result<(), JsonStop> {
    let JsonScratch { spans, bytes } = &mut *reading.scratch;
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
