//! The slow walk. It finds out where a datum is broken, and the expectation there. The walk goes by the node
//! table instead of a program, and is therefore also a second opinion on the fast walk.

use std::borrow::Cow;

use super::walk::EMPTY_ITEMS;
use crate::datum::varint::{read_index, read_len, read_long, skip_int, skip_long};
use crate::schema::{DatumSchema, LeafKind, LeafType, NodeId, SchemaNode, branch_name};
use crate::{DatumError, MAX_NESTING};

/// Finds the error of a datum that the fast walk refused.
#[cold]
pub(crate) fn diagnose(schema: &DatumSchema, data: &[u8]) -> DatumError {
    // The two walks must agree. If they do not, the error is a bug of this crate.
    check(schema, data).err().unwrap_or_else(|| DatumError {
        path: String::new(),
        position: 0,
        expected: Cow::Borrowed("a datum of the schema (only the fast walk refused it: please report)"),
    })
}

/// Walks any datum. Fails with path, position and expectation if the bytes are not one.
pub(crate) fn check(schema: &DatumSchema, data: &[u8]) -> Result<(), DatumError> {
    let mut walk = DatumDiagnosis {
        schema,
        data,
        path: Vec::new(),
        empty: EMPTY_ITEMS + data.len() as u64,
        wanted: None,
    };
    let end = walk.node(schema.root(), 0, 0)?;
    if end != data.len() {
        return Err(walk.error(end, "the end of the datum"));
    }
    Ok(())
}

/// Returns the path of the leaf that begins at a byte of a valid datum, or an empty path if none does.
#[cold]
pub(crate) fn leaf_at(schema: &DatumSchema, data: &[u8], at: usize) -> String {
    let empty = EMPTY_ITEMS + data.len() as u64;
    let mut walk = DatumDiagnosis { schema, data, path: Vec::new(), empty, wanted: Some(at) };
    // The walk stops at the wanted leaf with an error, which carries the path.
    walk.node(schema.root(), 0, 0).err().map(|found| found.path).unwrap_or_default()
}

/// The state of one diagnosis.
struct DatumDiagnosis<'s> {
    schema: &'s DatumSchema,
    data: &'s [u8],
    /// Elements of the path to the current node.
    path: Vec<DatumPathStep<'s>>,
    /// Items without bytes that the datum may still have.
    empty: u64,
    /// The walk stops at the leaf that begins here.
    wanted: Option<usize>,
}

/// An element of a path. Text is made of it only for an error.
enum DatumPathStep<'s> {
    Field(&'s str),
    Items,
    Key,
    Values,
    Branch(&'s str),
}

impl<'s> DatumDiagnosis<'s> {
    /// Makes the error at a position, with the path of the current node.
    fn error(&self, position: usize, expected: impl Into<Cow<'static, str>>) -> DatumError {
        // The syntax of paths is explained in `schema/leaves.rs`.
        let mut path = String::new();
        for step in &self.path {
            match step {
                DatumPathStep::Field(name) if path.is_empty() => path.push_str(name),
                DatumPathStep::Field(name) => path.extend([".", name]),
                DatumPathStep::Items => path.push_str("[]"),
                DatumPathStep::Key => path.push_str("{key}"),
                DatumPathStep::Values => path.push_str("{}"),
                DatumPathStep::Branch(name) => path.extend(["<", name, ">"]),
            }
        }
        DatumError { path, position, expected: expected.into() }
    }

    /// Walks a node below the current one. The path keeps its element if the walk fails.
    fn under(
        &mut self,
        step: DatumPathStep<'s>,
        id: NodeId,
        at: usize,
        depth: usize,
    ) -> Result<usize, DatumError> {
        self.path.push(step);
        let end = self.node(id, at, depth)?;
        self.path.pop();
        Ok(end)
    }

    /// Walks one node. Returns the position after it.
    fn node(&mut self, id: NodeId, at: usize, depth: usize) -> Result<usize, DatumError> {
        let schema = self.schema;
        match schema.node(id) {
            SchemaNode::Leaf { leaf, .. } => self.leaf(leaf, at),
            SchemaNode::Record { fields, .. } => {
                let depth = self.enter(at, depth)?;
                fields.iter().try_fold(at, |at, field| {
                    self.under(DatumPathStep::Field(&field.name), field.node, at, depth)
                })
            }
            SchemaNode::Array { items, .. } => self.blocks(None, *items, at, depth),
            SchemaNode::Map { values, .. } => self.blocks(Some(()), *values, at, depth),

            // The branch follows its index. In `["null", T]` the branch has no element in the path.
            SchemaNode::Union { branches } => {
                let count = branches.len() as u32;
                let Some((index, end)) = read_index(self.data, at, count) else {
                    return Err(self.error(at, format!("the index of a union's branch, below {count}")));
                };

                let branch = branches[index as usize];
                let plain = schema.is_null(branch)
                    || branches.iter().filter(|&&branch| !schema.is_null(branch)).count() == 1;
                if plain {
                    return self.node(branch, end, depth);
                }
                self.under(DatumPathStep::Branch(branch_name(schema.node(branch))), branch, end, depth)
            }
        }
    }

    /// Goes one level deeper. Fails beyond the limit.
    fn enter(&self, at: usize, depth: usize) -> Result<usize, DatumError> {
        if depth >= MAX_NESTING {
            return Err(self.error(at, format!("at most {MAX_NESTING} levels of records, arrays and maps")));
        }
        Ok(depth + 1)
    }

    /// Walks the blocks of an array or, with a `key`, of a map.
    fn blocks(
        &mut self,
        key: Option<()>,
        id: NodeId,
        mut at: usize,
        depth: usize,
    ) -> Result<usize, DatumError> {
        let depth = self.enter(at, depth)?;
        // Blocks follow each other up to the empty one.
        loop {
            let header = at;
            let Some((count, after)) = read_long(self.data, at) else {
                return Err(self.error(at, "a block's count, a varint of at most 10 bytes"));
            };

            at = after;
            if count == 0 {
                return Ok(at);
            }

            // A negative count means that the size in bytes follows.
            let mut end = None;
            if count < 0 {
                let size = read_len(self.data, at).filter(|&(size, after)| size <= self.data.len() - after);
                let Some((size, after)) = size else {
                    return Err(self.error(at, "a block's size in bytes, within the datum"));
                };
                at = after;
                end = Some(after + size);
            }

            // The items. An item that takes no bytes draws on the datum's allowance.
            for _ in 0..count.unsigned_abs() {
                let start = at;
                if key.is_some() {
                    self.path.push(DatumPathStep::Key);
                    at = self.leaf(&LeafType::plain(LeafKind::String), at)?;
                    self.path.pop();
                    at = self.under(DatumPathStep::Values, id, at, depth)?;
                } else {
                    at = self.under(DatumPathStep::Items, id, at, depth)?;
                }
                // The path of this error is the array's, its position the block's header.
                if at == start {
                    self.empty = self.empty.saturating_sub(1);
                    if self.empty == 0 {
                        return Err(self.error(header, "no more items than the datum has bytes"));
                    }
                }
            }

            // Readers may skip by the declared size.
            if end.is_some_and(|end| end != at) {
                return Err(self.error(header, "a block's size in bytes equal to the bytes of its items"));
            }
        }
    }

    /// Walks one leaf. Returns the position after it.
    fn leaf(&self, leaf: &LeafType, at: usize) -> Result<usize, DatumError> {
        // A null has no bytes: the leaf after it begins at the same position.
        if self.wanted == Some(at) && leaf.kind != LeafKind::Null {
            return Err(self.error(at, ""));
        }

        // Leaves of a constant size or a varint: the position after them, or one expectation.
        let (end, expected) = match leaf.kind {
            LeafKind::Null => (Some(at), ""),
            LeafKind::Boolean => {
                (self.data.get(at).filter(|&&byte| byte <= 1).map(|_| at + 1), "a boolean, 0 or 1")
            }
            LeafKind::Int => (skip_int(self.data, at), "an int, a varint of at most 32 bits"),
            LeafKind::Long => (skip_long(self.data, at), "a long, a varint of at most 64 bits"),
            LeafKind::Float => (self.bytes(at, 4), "the 4 bytes of a float"),
            LeafKind::Double => (self.bytes(at, 8), "the 8 bytes of a double"),

            // Leaves with a number in their expectation.
            LeafKind::Fixed => {
                let end = self.bytes(at, leaf.size);
                return end.ok_or_else(|| self.error(at, format!("the {} bytes of a fixed", leaf.size)));
            }
            LeafKind::Enum => {
                let count = leaf.symbols.len() as u32;
                let end = read_index(self.data, at, count).map(|(_, end)| end);
                return end.ok_or_else(|| self.error(at, format!("the index of a symbol, below {count}")));
            }

            // Leaves with a length. The position of bad UTF-8 is its first wrong byte.
            LeafKind::Bytes | LeafKind::String => {
                let Some((len, start)) = read_len(self.data, at) else {
                    return Err(self.error(at, "a length, a varint that is not negative"));
                };
                let Some(end) = self.bytes(start, len) else {
                    return Err(self.error(at, "a length within the datum"));
                };
                if leaf.kind == LeafKind::String
                    && let Err(error) = std::str::from_utf8(&self.data[start..end])
                {
                    return Err(self.error(start + error.valid_up_to(), "UTF-8"));
                }
                (Some(end), "")
            }
        };

        end.ok_or_else(|| self.error(at, expected))
    }

    /// Returns the position after `size` bytes, if the datum has them.
    fn bytes(&self, at: usize, size: usize) -> Option<usize> {
        (size <= self.data.len().checked_sub(at)?).then_some(at + size)
    }
}
