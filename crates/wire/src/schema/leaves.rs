//! The leaves of a schema and their paths.
//!
//! `a.b` is a field of a record, `a[]` the items of an array, `a{}` the values of a map, `a{key}` its keys,
//! and `a<name>` a branch of a union with more than one branch besides null. `["null", T]` is transparent:
//! the path of T is the field's own. A branch of a named type goes by its name without namespace.

use super::{DatumSchema, NodeId, SchemaNode};
use crate::{MAX_LEAVES, MAX_SCHEMA_DEPTH, SchemaError};

/// The primitive shape of a leaf, as it is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LeafKind {
    /// No bytes.
    Null,
    /// One byte.
    Boolean,
    /// Varint of 32 bits.
    Int,
    /// Varint of 64 bits.
    Long,
    /// Four bytes.
    Float,
    /// Eight bytes.
    Double,
    /// Length and bytes.
    Bytes,
    /// Length and UTF-8.
    String,
    /// Exactly the bytes of its size.
    Fixed,
    /// Varint index into the symbols.
    Enum,
}

/// Logical types of the 1.12 specification. One that does not fit its base type is ignored, as the
/// specification asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LogicalType {
    /// On bytes or fixed.
    Decimal {
        /// Digits in all.
        precision: u32,
        /// Digits after the point.
        scale: u32,
    },
    /// On bytes; the scale travels with the value.
    BigDecimal,
    /// On string or fixed(16).
    Uuid,
    /// Days since 1970-01-01, on int.
    Date,
    /// Milliseconds after midnight, on int.
    TimeMillis,
    /// Microseconds after midnight, on long.
    TimeMicros,
    /// Milliseconds since the epoch, on long.
    TimestampMillis,
    /// Microseconds since the epoch, on long.
    TimestampMicros,
    /// Nanoseconds since the epoch, on long.
    TimestampNanos,
    /// Milliseconds since the epoch in some local time, on long.
    LocalTimestampMillis,
    /// Microseconds since the epoch in some local time, on long.
    LocalTimestampMicros,
    /// Nanoseconds since the epoch in some local time, on long.
    LocalTimestampNanos,
    /// Months, days, milliseconds, each 32 bits little-endian; on fixed(12).
    Duration,
}

/// Type of a leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafType {
    /// The encoding.
    pub kind: LeafKind,
    /// The meaning, if the schema gives one.
    pub logical: Option<LogicalType>,
    /// Full name of an enum or a fixed.
    pub name: Option<String>,
    /// Symbols of an enum, in schema order.
    pub symbols: Vec<String>,
    /// Bytes of a fixed; 0 for the rest.
    pub size: usize,
}

impl LeafType {
    /// Makes a leaf type without name or logical type.
    pub fn plain(kind: LeafKind) -> Self {
        Self { kind, logical: None, name: None, symbols: Vec::new(), size: 0 }
    }
}

/// One leaf of a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafInfo {
    /// The field path; the module's head explains the syntax.
    pub path: String,
    /// The type of the leaf.
    pub leaf: LeafType,
    /// True if the leaf is a branch of a union with null.
    pub nullable: bool,
}

/// Lists every leaf, in schema order. Fails if the schema is beyond the limits.
pub(crate) fn of(schema: &DatumSchema) -> Result<Vec<LeafInfo>, SchemaError> {
    let mut walk =
        LeafLister { schema, path: String::new(), open: Vec::new(), leaves: Vec::new(), steps: 0, depth: 0 };
    walk.node(schema.root(), false)?;
    Ok(walk.leaves)
}

/// Returns the name of a union's branch in a path.
pub(crate) fn branch_name(node: &SchemaNode) -> &str {
    match node {
        SchemaNode::Record { name, .. } => local(name),
        SchemaNode::Array { .. } => "array",
        SchemaNode::Map { .. } => "map",
        SchemaNode::Union { .. } => "union",
        // A named type goes by its name, because a union may hold several of its kind.
        SchemaNode::Leaf { leaf, .. } => match (&leaf.name, leaf.kind) {
            (Some(name), _) => local(name),
            (None, kind) => kind.as_str(),
        },
    }
}

/// Returns a full name without its namespace.
fn local(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

impl LeafKind {
    /// Returns the name of the primitive type in a schema.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Int => "int",
            Self::Long => "long",
            Self::Float => "float",
            Self::Double => "double",
            Self::Bytes => "bytes",
            Self::String => "string",
            Self::Fixed => "fixed",
            Self::Enum => "enum",
        }
    }
}

/// Visits a schema and collects its leaves.
struct LeafLister<'s> {
    schema: &'s DatumSchema,
    path: String,
    /// Records above the visited node, outermost first.
    open: Vec<NodeId>,
    leaves: Vec<LeafInfo>,
    /// Nodes visited, to bound the work on schemas that use their types in very many places.
    steps: usize,
    depth: usize,
}

impl LeafLister<'_> {
    /// Visits one node at the current path.
    fn node(&mut self, id: NodeId, nullable: bool) -> Result<(), SchemaError> {
        // The limits come first: a small text can describe very many paths.
        self.steps += 1;
        if self.leaves.len() >= MAX_LEAVES || self.steps > 4 * MAX_LEAVES {
            return Err(SchemaError::TooLarge);
        }

        let schema = self.schema;
        // A record inside itself adds no leaves: its paths would never end.
        match schema.node(id) {
            SchemaNode::Leaf { leaf, .. } => {
                self.leaves.push(LeafInfo { path: self.path.clone(), leaf: leaf.clone(), nullable });
            }
            SchemaNode::Record { fields, .. } => {
                if self.open.contains(&id) {
                    return Ok(());
                }
                self.open.push(id);
                for field in fields {
                    let dot = if self.path.is_empty() { "" } else { "." };
                    self.under(&[dot, &field.name], field.node, false)?;
                }
                self.open.pop();
            }

            // Arrays and maps: the keys of a map are leaves too.
            SchemaNode::Array { items, .. } => self.under(&["[]"], *items, false)?,
            SchemaNode::Map { values, .. } => {
                let path = format!("{}{{key}}", self.path);
                let leaf = LeafType::plain(LeafKind::String);
                self.leaves.push(LeafInfo { path, leaf, nullable: false });
                self.under(&["{}"], *values, false)?;
            }

            // Null is no leaf beside another branch. A single other branch needs no name in the path.
            SchemaNode::Union { branches } => {
                let nullable = branches.iter().any(|&b| schema.is_null(b));
                let others = branches.iter().filter(|&&b| !schema.is_null(b)).count();
                for &branch in branches {
                    match (schema.is_null(branch), others) {
                        (true, 0) => self.node(branch, true)?,
                        (true, _) => {}
                        (false, 1) => self.node(branch, nullable)?,
                        (false, _) => {
                            let name = branch_name(schema.node(branch));
                            self.under(&["<", name, ">"], branch, nullable)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Visits a node with `parts` appended to the path.
    fn under(&mut self, parts: &[&str], id: NodeId, nullable: bool) -> Result<(), SchemaError> {
        // Through references back to closed records, a path can be longer than the schema is deep.
        if self.depth >= MAX_SCHEMA_DEPTH {
            return Err(SchemaError::TooDeep);
        }

        // Path and depth are restored, also after an error.
        let len = self.path.len();
        self.depth += 1;
        parts.iter().for_each(|part| self.path.push_str(part));
        let done = self.node(id, nullable);
        self.path.truncate(len);
        self.depth -= 1;
        done
    }
}
