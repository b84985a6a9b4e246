//! The flat node table. Names are resolved; in a recursive schema an index points back.

use serde_json::{Map, Value};

use super::LeafType;

/// The index of a node in its schema's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct NodeId(pub(crate) u32);

/// One type of the schema. Named types occur once, however often they are used.
#[derive(Debug)]
pub(crate) enum SchemaNode {
    Leaf {
        leaf: LeafType,
        /// The definition without its structural keys: doc, aliases, default symbol, custom attributes.
        attributes: Map<String, Value>,
    },
    Record {
        /// Full name.
        name: String,
        fields: Vec<SchemaField>,
        attributes: Map<String, Value>,
    },
    Array {
        items: NodeId,
        attributes: Map<String, Value>,
    },
    Map {
        values: NodeId,
        attributes: Map<String, Value>,
    },
    Union {
        branches: Vec<NodeId>,
    },
}

/// A record's field.
#[derive(Debug)]
pub(crate) struct SchemaField {
    pub(crate) name: String,
    pub(crate) node: NodeId,
    pub(crate) default: Option<Value>,
    /// doc, aliases, order and custom attributes.
    pub(crate) attributes: Map<String, Value>,
}

impl SchemaNode {
    /// Calls `visit` for each type that the node refers to directly, in schema order.
    pub(crate) fn each_child(&self, mut visit: impl FnMut(NodeId)) {
        // A child may be a record above this node: the caller must expect cycles.
        match self {
            Self::Leaf { .. } => {}
            Self::Record { fields, .. } => fields.iter().for_each(|field| visit(field.node)),
            Self::Array { items, .. } => visit(*items),
            Self::Map { values, .. } => visit(*values),
            Self::Union { branches } => branches.iter().for_each(|&branch| visit(branch)),
        }
    }
}
