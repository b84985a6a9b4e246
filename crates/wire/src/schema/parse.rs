//! Builds the node table from a schema's JSON. apache-avro has accepted the schema before. A mistake that it
//! let pass is still an error here, never a panic.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::{LeafKind, LeafType, LogicalType, NodeId, SchemaField, SchemaNode};
use crate::{MAX_SCHEMA_DEPTH, SchemaError};

/// Keys that make up a definition. All other keys are its attributes.
const STRUCTURE: [&str; 8] = ["type", "name", "namespace", "fields", "items", "values", "symbols", "size"];
/// Keys that make up a field. All other keys are its attributes.
const FIELD_STRUCTURE: [&str; 3] = ["name", "type", "default"];

/// Reads a schema into a table. Returns the table and the id of the root.
pub(super) fn nodes(schema: &Value) -> Result<(Vec<SchemaNode>, NodeId), SchemaError> {
    let mut table = NodeTableBuilder { nodes: Vec::new(), depths: Vec::new(), names: HashMap::new() };
    let root = table.read(schema, "", 1)?;
    Ok((table.nodes, root))
}

/// Fills the table while the JSON is read.
struct NodeTableBuilder {
    nodes: Vec<SchemaNode>,
    /// Levels below each node with all references followed; 0 for a record that is still open. A chain of
    /// references can be deep in a text that is not.
    depths: Vec<usize>,
    /// Named types by full name.
    names: HashMap<String, NodeId>,
}

impl NodeTableBuilder {
    /// Reads a type: a name, a definition or a union. `depth` counts the levels of the text.
    fn read(&mut self, schema: &Value, namespace: &str, depth: usize) -> Result<NodeId, SchemaError> {
        // This limit protects the stack; `depth` of the node below bounds the references.
        if depth > MAX_SCHEMA_DEPTH {
            return Err(SchemaError::TooDeep);
        }

        match schema {
            Value::String(name) => self.by_name(name, namespace, &Map::new()),
            Value::Array(branches) => {
                let branches = branches
                    .iter()
                    .map(|branch| self.read(branch, namespace, depth + 1))
                    .collect::<Result<_, _>>()?;
                self.push(SchemaNode::Union { branches })
            }
            Value::Object(definition) => self.definition(definition, namespace, depth),
            _ => Err(broken("expected a type: a name, a definition or a list of types")),
        }
    }

    /// Reads a definition, which is a JSON object with a `type`.
    fn definition(
        &mut self,
        definition: &Map<String, Value>,
        namespace: &str,
        depth: usize,
    ) -> Result<NodeId, SchemaError> {
        // `{"type": {…}}` is legal Avro: the outer object adds nothing.
        let kind = match definition.get("type") {
            Some(Value::String(kind)) => kind.as_str(),
            Some(nested @ (Value::Object(_) | Value::Array(_))) => {
                return self.read(nested, namespace, depth + 1);
            }
            _ => return Err(broken("expected a `type` in every definition")),
        };

        // Named types are entered by name, so that later references find them.
        match kind {
            "record" | "error" => self.record(definition, namespace, depth),
            "enum" => {
                let symbols = definition.get("symbols").and_then(Value::as_array);
                let symbols = symbols.ok_or_else(|| broken("expected `symbols` in every enum"))?;
                let symbols = symbols.iter().filter_map(Value::as_str).map(str::to_owned).collect();
                let leaf = LeafType { symbols, ..LeafType::plain(LeafKind::Enum) };
                self.named(definition, namespace, leaf)
            }
            "fixed" => {
                let size = definition.get("size").and_then(Value::as_u64);
                // A length of 32 bits is more than a Kafka record can have.
                let size = size.filter(|&size| size <= u64::from(u32::MAX));
                let size =
                    size.ok_or_else(|| broken("expected a `size` below 2^32 in every fixed"))? as usize;
                let mut leaf = LeafType { size, ..LeafType::plain(LeafKind::Fixed) };
                leaf.logical = logical(&leaf, definition);
                self.named(definition, namespace, leaf)
            }

            // Containers of one other type.
            "array" => {
                let items =
                    definition.get("items").ok_or_else(|| broken("expected `items` in every array"))?;
                let items = self.read(items, namespace, depth + 1)?;
                self.push(SchemaNode::Array { items, attributes: attributes(definition, &STRUCTURE) })
            }
            "map" => {
                let values =
                    definition.get("values").ok_or_else(|| broken("expected `values` in every map"))?;
                let values = self.read(values, namespace, depth + 1)?;
                self.push(SchemaNode::Map { values, attributes: attributes(definition, &STRUCTURE) })
            }

            // A primitive type with attributes, or a reference to a type defined before.
            name => self.by_name(name, namespace, definition),
        }
    }

    /// Reads a record and its fields.
    fn record(
        &mut self,
        definition: &Map<String, Value>,
        namespace: &str,
        depth: usize,
    ) -> Result<NodeId, SchemaError> {
        let name = full_name(definition, namespace)?;
        // A record's namespace holds for the names inside it.
        let inner = name.rsplit_once('.').map_or("", |(inner, _)| inner).to_owned();
        let fields = definition.get("fields").and_then(Value::as_array);
        let fields = fields.ok_or_else(|| broken("expected `fields` in every record"))?;

        // The record gets its id before its fields are read, because they may refer back to it.
        let id = self.push(SchemaNode::Union { branches: Vec::new() })?;
        self.depths[id.0 as usize] = 0;
        self.names.insert(name.clone(), id);

        // The placeholder becomes the record when its fields are known.
        let fields = fields.iter().map(|field| self.field(field, &inner, depth)).collect::<Result<_, _>>()?;
        let record = SchemaNode::Record { name, fields, attributes: attributes(definition, &STRUCTURE) };
        self.depths[id.0 as usize] = self.depth(&record)?;
        self.nodes[id.0 as usize] = record;
        Ok(id)
    }

    /// Reads one field of a record.
    fn field(&mut self, field: &Value, namespace: &str, depth: usize) -> Result<SchemaField, SchemaError> {
        let field = field.as_object().ok_or_else(|| broken("expected an object for every field"))?;
        let name = field.get("name").and_then(Value::as_str);
        let name = name.ok_or_else(|| broken("expected a `name` in every field"))?;
        let schema = field.get("type").ok_or_else(|| broken("expected a `type` in every field"))?;
        // `{"name": …, "type": "long", "logicalType": …}` puts the annotation on the field, where Avro gives
        // it no meaning.
        let node = self.read(schema, namespace, depth + 1)?;
        Ok(SchemaField {
            name: name.to_owned(),
            node,
            default: field.get("default").cloned(),
            attributes: attributes(field, &FIELD_STRUCTURE),
        })
    }

    /// Enters an enum or a fixed under its full name.
    fn named(
        &mut self,
        definition: &Map<String, Value>,
        namespace: &str,
        mut leaf: LeafType,
    ) -> Result<NodeId, SchemaError> {
        let name = full_name(definition, namespace)?;
        leaf.name = Some(name.clone());
        let id = self.push(SchemaNode::Leaf { leaf, attributes: attributes(definition, &STRUCTURE) })?;
        self.names.insert(name, id);
        Ok(id)
    }

    /// Finds the type of a name. `definition` holds the attributes if the name is a primitive type.
    fn by_name(
        &mut self,
        name: &str,
        namespace: &str,
        definition: &Map<String, Value>,
    ) -> Result<NodeId, SchemaError> {
        // Primitive types have no identity: each use is a node of its own.
        if let Some(kind) = primitive(name) {
            let mut leaf = LeafType::plain(kind);
            leaf.logical = logical(&leaf, definition);
            return self.push(SchemaNode::Leaf { leaf, attributes: attributes(definition, &STRUCTURE) });
        }

        // Without dots, a name means the enclosing namespace first and no namespace second.
        let inside = if name.contains('.') || namespace.is_empty() {
            None
        } else {
            self.names.get(&format!("{namespace}.{name}"))
        };
        let found = inside.or_else(|| self.names.get(name.trim_start_matches('.')));
        found.copied().ok_or_else(|| {
            SchemaError::Parse(format!("unknown type `{name}`: expected a definition before it"))
        })
    }

    /// Appends a node and the levels below it.
    fn push(&mut self, node: SchemaNode) -> Result<NodeId, SchemaError> {
        let id = u32::try_from(self.nodes.len()).map_err(|_| SchemaError::TooLarge)?;
        self.depths.push(self.depth(&node)?);
        self.nodes.push(node);
        Ok(NodeId(id))
    }

    /// Counts the levels of a node with all references followed. Fails beyond the limit.
    fn depth(&self, node: &SchemaNode) -> Result<usize, SchemaError> {
        let mut deepest = 0;
        node.each_child(|child| deepest = deepest.max(self.depths[child.0 as usize]));
        if deepest >= MAX_SCHEMA_DEPTH { Err(SchemaError::TooDeep) } else { Ok(deepest + 1) }
    }
}

/// Makes the error for a definition that lacks something.
fn broken(expected: &str) -> SchemaError {
    SchemaError::Parse(expected.to_owned())
}

/// Returns the members of a definition that are not part of its structure.
fn attributes(definition: &Map<String, Value>, structure: &[&str]) -> Map<String, Value> {
    let rest = definition.iter().filter(|(key, _)| !structure.contains(&key.as_str()));
    rest.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Returns the full name of a named type. `enclosing` is the namespace around the definition.
fn full_name(definition: &Map<String, Value>, enclosing: &str) -> Result<String, SchemaError> {
    let name = definition.get("name").and_then(Value::as_str);
    let name = name.ok_or_else(|| broken("expected a `name` in every record, enum and fixed"))?;
    // A name with dots is a full name, and a namespace beside it is ignored (specification, "Names").
    if name.contains('.') {
        return Ok(name.trim_start_matches('.').to_owned());
    }
    let namespace = definition.get("namespace").and_then(Value::as_str).unwrap_or(enclosing);
    Ok(if namespace.is_empty() { name.to_owned() } else { format!("{namespace}.{name}") })
}

/// Returns the primitive type of this name.
fn primitive(name: &str) -> Option<LeafKind> {
    Some(match name {
        "null" => LeafKind::Null,
        "boolean" => LeafKind::Boolean,
        "int" => LeafKind::Int,
        "long" => LeafKind::Long,
        "float" => LeafKind::Float,
        "double" => LeafKind::Double,
        "bytes" => LeafKind::Bytes,
        "string" => LeafKind::String,
        _ => return None,
    })
}

/// Returns the logical type of a definition, or `None` if it does not fit the base type.
fn logical(leaf: &LeafType, definition: &Map<String, Value>) -> Option<LogicalType> {
    let name = definition.get("logicalType")?.as_str()?;
    // An unknown or misplaced annotation is ignored, as the specification asks.
    Some(match (leaf.kind, name) {
        (LeafKind::Bytes | LeafKind::Fixed, "decimal") => return decimal(leaf, definition),
        (LeafKind::Bytes, "big-decimal") => LogicalType::BigDecimal,
        (LeafKind::String, "uuid") => LogicalType::Uuid,
        (LeafKind::Fixed, "uuid") if leaf.size == 16 => LogicalType::Uuid,
        (LeafKind::Fixed, "duration") if leaf.size == 12 => LogicalType::Duration,
        (LeafKind::Int, "date") => LogicalType::Date,
        (LeafKind::Int, "time-millis") => LogicalType::TimeMillis,
        (LeafKind::Long, "time-micros") => LogicalType::TimeMicros,
        (LeafKind::Long, "timestamp-millis") => LogicalType::TimestampMillis,
        (LeafKind::Long, "timestamp-micros") => LogicalType::TimestampMicros,
        (LeafKind::Long, "timestamp-nanos") => LogicalType::TimestampNanos,
        (LeafKind::Long, "local-timestamp-millis") => LogicalType::LocalTimestampMillis,
        (LeafKind::Long, "local-timestamp-micros") => LogicalType::LocalTimestampMicros,
        (LeafKind::Long, "local-timestamp-nanos") => LogicalType::LocalTimestampNanos,
        _ => return None,
    })
}

/// Reads precision and scale. A decimal beyond its bytes is ignored like any misplaced annotation.
fn decimal(leaf: &LeafType, definition: &Map<String, Value>) -> Option<LogicalType> {
    let precision = u32::try_from(definition.get("precision")?.as_u64()?).ok()?;
    let scale = match definition.get("scale") {
        Some(scale) => u32::try_from(scale.as_u64()?).ok()?,
        None => 0,
    };

    let digits = match leaf.kind {
        // floor(log10(2^(8n-1) - 1)) digits fit n bytes of two's complement.
        LeafKind::Fixed => ((8.0 * leaf.size as f64 - 1.0) * std::f64::consts::LOG10_2).floor() as u32,
        _ => u32::MAX,
    };
    (precision > 0 && scale <= precision && precision <= digits)
        .then_some(LogicalType::Decimal { precision, scale })
}
