//! A parsed schema. apache-avro decides whether the text is a schema; the flat node table describes how to
//! walk its data.

mod leaves;
mod node;
mod parse;
pub(crate) mod print;

use std::fmt;
use std::sync::Arc;

pub(crate) use leaves::branch_name;
pub use leaves::{LeafInfo, LeafKind, LeafType, LogicalType};
pub(crate) use node::{NodeId, SchemaField, SchemaNode};

use crate::SchemaError;

/// A schema, cheap to clone.
#[derive(Clone)]
pub struct DatumSchema(Arc<ParsedSchema>);

/// The shared part of a schema.
struct ParsedSchema {
    json: String,
    avro: apache_avro::Schema,
    nodes: Vec<SchemaNode>,
    root: NodeId,
}

impl DatumSchema {
    /// Parses an Avro schema from its JSON text.
    ///
    /// # Errors
    /// [`SchemaError::Parse`] if the text is not a schema, [`SchemaError::TooDeep`] beyond
    /// [`crate::MAX_SCHEMA_DEPTH`].
    pub fn parse(json: &str) -> Result<Self, SchemaError> {
        // Two parsers: the first one knows every rule of Avro, the second one builds our table.
        let avro = apache_avro::Schema::parse_str(json).map_err(|e| SchemaError::Parse(e.to_string()))?;
        let value = serde_json::from_str(json).map_err(|e| SchemaError::Parse(e.to_string()))?;
        let (nodes, root) = parse::nodes(&value)?;
        Ok(Self(Arc::new(ParsedSchema { json: json.to_owned(), avro, nodes, root })))
    }

    /// Returns the text as given. The text of a derived schema is compact JSON, the same for the same input.
    pub fn json(&self) -> &str {
        &self.0.json
    }

    /// Returns the same schema for apache-avro.
    pub fn avro(&self) -> &apache_avro::Schema {
        &self.0.avro
    }

    /// Lists every leaf with its path, in schema order; recursion is cut at the back reference. The list is
    /// empty for a schema with more than [`crate::MAX_LEAVES`] leaves, which no policy can cover either.
    pub fn leaves(&self) -> Vec<LeafInfo> {
        leaves::of(self).unwrap_or_default()
    }

    /// Returns the names of the outermost record's fields, in their order; nothing if the schema is no record.
    pub fn field_names(&self) -> Vec<String> {
        match self.node(self.root()) {
            SchemaNode::Record { fields, .. } => fields.iter().map(|field| field.name.clone()).collect(),
            _ => Vec::new(),
        }
    }

    /// Returns the id of the outermost type.
    pub(crate) fn root(&self) -> NodeId {
        self.0.root
    }

    /// Returns a node of the table. The id must be of this schema.
    pub(crate) fn node(&self, id: NodeId) -> &SchemaNode {
        &self.0.nodes[id.0 as usize]
    }

    /// Returns the whole table, in the order of the ids.
    pub(crate) fn nodes(&self) -> &[SchemaNode] {
        &self.0.nodes
    }
}

impl fmt::Debug for DatumSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Schema").field(&self.0.json).finish()
    }
}

impl PartialEq for DatumSchema {
    /// Compares the texts. Two spellings of one schema are different.
    fn eq(&self, other: &Self) -> bool {
        self.0.json == other.0.json
    }
}

impl DatumSchema {
    /// Tells whether a node is the type null.
    pub(crate) fn is_null(&self, id: NodeId) -> bool {
        matches!(self.node(id), SchemaNode::Leaf { leaf, .. } if leaf.kind == LeafKind::Null)
    }
}
