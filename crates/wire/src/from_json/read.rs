//! Reads the JSON stream: each value goes straight to Avro bytes.

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
    /// The written fields of the open records: position in the record, start and end in the output.
    spans: Vec<(usize, usize, usize)>,
    /// A record's bytes while its fields are put in order.
    bytes: Vec<u8>,
    /// The keys of the open maps: start and end in the output.
    keys: Vec<(usize, usize)>,
}

impl JsonScratch {
    /// Forgets the last record; the memory stays.
    pub(super) fn clear(&mut self) {
        self.spans.clear();
        self.bytes.clear();
        self.keys.clear();
    }
}

/// The state of one conversion.
pub(super) struct JsonConversion<'r> {
    pub(super) schema: &'r DatumSchema,
    pub(super) records: &'r [Option<JsonFieldTable>],
    pub(super) rule: UnknownFields,
    pub(super) scratch: &'r mut JsonScratch,
    pub(super) out: &'r mut Vec<u8>,
    /// The first mismatch with the schema. Malformed JSON leaves it empty.
    pub(super) failure: Option<JsonMismatch>,
}

/// A mismatch between JSON and schema. The path grows on the way out.
#[derive(Default)]
pub(super) struct JsonMismatch {
    /// Elements of the path, innermost first.
    steps: Vec<String>,
    pub(super) expected: Option<Cow<'static, str>>,
}

impl JsonMismatch {
    /// Returns the field path, outermost element first.
    pub(super) fn path(&self) -> String {
        let path: String = self.steps.iter().rev().map(String::as_str).collect();
        path.strip_prefix('.').map(str::to_owned).unwrap_or(path)
    }
}

impl JsonConversion<'_> {
    /// Remembers the expectation. Only the first one counts, because it is the innermost.
    #[cold]
    fn fail(&mut self, expected: impl Into<Cow<'static, str>>) -> JsonStop {
        self.failure.get_or_insert_default().expected.get_or_insert(expected.into());
        JsonStop
    }

    /// Adds an element to the path while the error passes outwards.
    #[cold]
    fn step(&mut self, step: impl FnOnce() -> String, stop: JsonStop) -> JsonStop {
        self.failure.get_or_insert_default().steps.push(step());
        stop
    }

    /// Enters an array or object. Fails if the datum would be nested too deep for its readers.
    fn enter(&mut self, json: &mut JsonCursor<'_>) -> Result<(), JsonStop> {
        if json.enter() > MAX_NESTING {
            return Err(self.fail(format!("at most {MAX_NESTING} levels of records, arrays and maps")));
        }
        Ok(())
    }

    /// Appends a scalar. In a union the first branch that takes the value wins.
    pub(super) fn scalar(&mut self, id: NodeId, value: JsonScalar<'_>) -> Result<(), JsonStop> {
        let schema = self.schema;

        let start = self.out.len();
        let expected = match schema.node(id) {
            SchemaNode::Leaf { leaf, .. } => match write_scalar(leaf, &value, self.out) {
                Ok(()) => return Ok(()),
                Err(expected) => expected,
            },
            SchemaNode::Union { branches } => {
                // Try the branches in schema order. A branch that fails half-way leaves bytes, which are cut
                // off.
                let mut expected = None;
                for (place, &branch) in branches.iter().enumerate() {
                    let SchemaNode::Leaf { leaf, .. } = schema.node(branch) else { continue };
                    if leaf.kind == LeafKind::Null && !matches!(value, JsonScalar::Null) {
                        continue;
                    }
                    write_long(place as i64, self.out);
                    match write_scalar(leaf, &value, self.out) {
                        Ok(()) => return Ok(()),
                        // In ["null", T] the expectation of T is the helpful one.
                        Err(why) => expected = if schema.is_null(branch) { expected } else { Some(why) },
                    }
                    self.out.truncate(start);
                }

                // With two or more types besides null, no single expectation would be true.
                match (branches.len(), expected) {
                    (0..=2, Some(expected)) => expected,
                    _ => Cow::Borrowed("a value of one of the union's types"),
                }
            }

            // A scalar cannot become a container.
            SchemaNode::Record { .. } => Cow::Borrowed("an object"),
            SchemaNode::Array { .. } => Cow::Borrowed("an array"),
            SchemaNode::Map { .. } => Cow::Borrowed("an object"),
        };

        // Take back the bytes of the branches that did not fit.
        self.out.truncate(start);
        Err(self.fail(expected))
    }

    /// Returns the node that takes a JSON array or object. For a union, the index of the branch is written.
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
                // Only one array and one map may be in a union; the first record wins among several.
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

/// Returns the expectation of a union that has no branch for a container.
fn name_of_union(schema: &DatumSchema, branches: &[NodeId]) -> Cow<'static, str> {
    let mut others =
        branches.iter().filter(|&&branch| !schema.is_null(branch)).map(|&branch| schema.node(branch));
    match (others.next(), others.next()) {
        (Some(SchemaNode::Leaf { leaf, .. }), None) => super::scalar::expected(leaf),
        _ => Cow::Borrowed("a value of one of the union's types"),
    }
}

/// Reads the next JSON value into a node of the schema.
pub(super) fn value(
    reading: &mut JsonConversion<'_>,
    json: &mut JsonCursor<'_>,
    node: NodeId,
) -> Result<(), JsonStop> {
    // The first byte decides. Numbers have no single first byte and come last.
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

/// Reads a JSON array into an Avro array.
fn array(reading: &mut JsonConversion<'_>, json: &mut JsonCursor<'_>, node: NodeId) -> Result<(), JsonStop> {
    let node = reading.branch(node, "an object", |node| matches!(node, SchemaNode::Array { .. }))?;
    let SchemaNode::Array { items: item, .. } = *reading.schema.node(node) else {
        debug_assert!(false, "`branch` returns only nodes that fit");
        return Ok(());
    };

    // The number of items is known only at the end: `close_block` puts it before them.
    let start = reading.out.len();
    let (mut count, mut first) = (0, true);
    reading.enter(json)?;
    loop {
        let read = match json.more(&mut first, b']') {
            Ok(false) => break,
            Ok(true) => value(reading, json, item),
            Err(stop) => Err(stop),
        };
        // Malformed JSON between the items belongs to the items' path as well.
        read.map_err(|stop| reading.step(|| "[]".to_owned(), stop))?;
        count += 1;
    }
    close_block(reading.out, start, count);
    Ok(())
}

/// Reads a JSON object into a record or a map.
fn object(reading: &mut JsonConversion<'_>, json: &mut JsonCursor<'_>, node: NodeId) -> Result<(), JsonStop> {
    let fits = |node: &SchemaNode| matches!(node, SchemaNode::Record { .. } | SchemaNode::Map { .. });
    let node = reading.branch(node, "an array", fits)?;
    reading.enter(json)?;
    match *reading.schema.node(node) {
        SchemaNode::Map { values, .. } => map(reading, json, values),
        _ => record(reading, json, node),
    }
}

/// Reads a JSON object into an Avro map.
fn map(reading: &mut JsonConversion<'_>, json: &mut JsonCursor<'_>, values: NodeId) -> Result<(), JsonStop> {
    let start = reading.out.len();
    let (mut count, mut first) = (0, true);
    let first_key = reading.scratch.keys.len();
    // The entries are written as they come.
    while json.more(&mut first, b'}')? {
        let key = json.key()?;
        write_len(key.len(), reading.out);
        let from = reading.out.len();
        reading.out.extend_from_slice(key.as_bytes());
        reading.scratch.keys.push((from, reading.out.len()));
        value(reading, json, values).map_err(|stop| reading.step(|| "{}".to_owned(), stop))?;
        count += 1;
    }

    // Of a key that comes twice, readers of the map would keep one value and drop the other in silence.
    let JsonScratch { keys, .. } = &mut *reading.scratch;
    let (own, out) = (keys.get_mut(first_key..).unwrap_or_default(), &*reading.out);
    own.sort_unstable_by(|one, other| out[one.0..one.1].cmp(&out[other.0..other.1]));
    let twice = own.windows(2).any(|pair| out[pair[0].0..pair[0].1] == out[pair[1].0..pair[1].1]);
    keys.truncate(first_key);
    if twice {
        return Err(reading.fail("each key of the map once"));
    }
    close_block(reading.out, start, count);
    Ok(())
}

/// Ends an array or map whose items begin at `start`: their count goes before them, the empty block after
/// them.
fn close_block(out: &mut Vec<u8>, start: usize, count: usize) {
    // An empty container is the empty block alone.
    if count > 0 {
        let end = out.len();
        write_len(count, out);
        // Written at the end and rotated to the front: no second buffer, and the count's length may vary.
        let header = out.len() - end;
        if let Some(block) = out.get_mut(start..) {
            block.rotate_right(header);
        }
    }
    out.push(0);
}

/// Reads a JSON object into a record. Fields in the schema's order are not moved.
fn record(reading: &mut JsonConversion<'_>, json: &mut JsonCursor<'_>, node: NodeId) -> Result<(), JsonStop> {
    let schema = reading.schema;
    let records = reading.records;
    let known = records.get(node.0 as usize).and_then(Option::as_ref);
    // `compile` made a table for every record of the schema.
    let (SchemaNode::Record { fields, .. }, Some(known)) = (schema.node(node), known) else {
        debug_assert!(false, "`branch` returns only nodes that fit");
        return Err(JsonStop);
    };

    // Read the fields in the order in which they come.
    let start = reading.out.len();
    let first_span = reading.scratch.spans.len();
    let (mut next, mut in_order, mut first) = (0, true, true);
    while json.more(&mut first, b'}')? {
        // JSON mostly comes in one order: the next field of the schema is tried before the table.
        let place = match fields.get(next) {
            Some(field) if json.is_key(&field.name)? => Some(next),
            _ => known.places.get(json.key()?).copied(),
        };

        // Fields that the schema does not have.
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

        // While all fields come in the schema's order, none can be there twice: the search is not needed.
        if !in_order && reading.scratch.spans[first_span..].iter().any(|&(seen, ..)| seen == place) {
            let error = reading.fail("each field once");
            return Err(reading.step(step, error));
        }

        // Read the value, and remember its bytes in case the fields must be rearranged.
        next = place + 1;
        let from = reading.out.len();
        value(reading, json, field.node).map_err(|stop| reading.step(step, stop))?;
        let to = reading.out.len();
        reading.scratch.spans.push((place, from, to));
    }

    // The common case needs no work: every field was there, in order.
    if !(in_order && next == fields.len()) {
        arrange(reading, fields, known, start, first_span)?;
    }
    reading.scratch.spans.truncate(first_span);
    Ok(())
}

/// Puts a record's fields into the schema's order, and defaults where fields were missing.
fn arrange(
    reading: &mut JsonConversion<'_>,
    fields: &[crate::schema::SchemaField],
    known: &JsonFieldTable,
    start: usize,
    first_span: usize,
) -> Result<(), JsonStop> {
    // Sort the spans by position in the schema, and move the record's bytes out of the way.
    let JsonScratch { spans, bytes, .. } = &mut *reading.scratch;
    let spans = &mut spans[first_span..];
    spans.sort_unstable();
    bytes.clear();
    bytes.extend_from_slice(&reading.out[start..]);
    reading.out.truncate(start);

    // Copy the fields back, or their defaults. Spans are offsets in the output, `start` is where the record
    // begins.
    let mut spans = spans.iter().peekable();
    for (place, field) in fields.iter().enumerate() {
        if let Some(&(_, from, to)) = spans.next_if(|&&(there, ..)| there == place) {
            reading.out.extend_from_slice(&bytes[from - start..to - start]);
        } else if let Some(Some(default)) = known.missing.get(place) {
            reading.out.extend_from_slice(default);
        } else {
            let error = reading.fail("a value, because the field has no default");
            return Err(reading.step(|| format!(".{}", field.name), error));
        }
    }
    Ok(())
}
