//! From a schema's JSON to the node table. apache-avro has accepted the schema by now; what is wrong here is
//! still an error, never a panic.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::{LeafKind, LeafType, LogicalType, NodeId, SchemaField, SchemaNode};
use crate::{MAX_SCHEMA_DEPTH, SchemaError};

/// Keys that say what a definition is; the rest are its attributes.
const STRUCTURE: [&str; 8] = ["type", "name", "namespace", "fields", "items", "values", "symbols", "size"];
const FIELD_STRUCTURE: [&str; 3] = ["name", "type", "default"];

pub(super) fn nodes(schema: &Value) -> Result<(Vec<SchemaNode>, NodeId), SchemaError> {
    let mut table = NodeTableBuilder { nodes: Vec::new(), depths: Vec::new(), names: HashMap::new() };
    let root = table.read(schema, "", 1)?;
    Ok((table.nodes, root))
}

struct NodeTableBuilder {
    nodes: Vec<SchemaNode>,
    /// Levels below each node, references written out; 0 for a record that is still open. A chain of references
    /// can be deep in a text that is not.
    depths: Vec<usize>,
    names: HashMap<String, NodeId>,
}

impl NodeTableBuilder {
    fn read(&mut self, schema: &Value, namespace: &str, depth: usize) -> Result<NodeId, SchemaError> {
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
            _ => Err(broken("a type is a name, a definition or a list of them")),
        }
    }

    fn definition(
        &mut self,
        definition: &Map<String, Value>,
        namespace: &str,
        depth: usize,
    ) -> Result<NodeId, SchemaError> {
        let kind = match definition.get("type") {
            Some(Value::String(kind)) => kind.as_str(),
            Some(nested @ (Value::Object(_) | Value::Array(_))) => {
                return self.read(nested, namespace, depth + 1);
            }
            _ => return Err(broken("a definition has a `type`")),
        };
        match kind {
            "record" | "error" => self.record(definition, namespace, depth),
            "enum" => {
                let symbols = definition.get("symbols").and_then(Value::as_array);
                let symbols = symbols.ok_or_else(|| broken("an enum has `symbols`"))?;
                let symbols = symbols.iter().filter_map(Value::as_str).map(str::to_owned).collect();
                let leaf = LeafType { symbols, ..LeafType::plain(LeafKind::Enum) };
                self.named(definition, namespace, leaf)
            }
            "fixed" => {
                let size = definition.get("size").and_then(Value::as_u64);
                let size = size.filter(|&size| size <= u64::from(u32::MAX));
                let size = size.ok_or_else(|| broken("a fixed has a `size`"))? as usize;
                let mut leaf = LeafType { size, ..LeafType::plain(LeafKind::Fixed) };
                leaf.logical = logical(&leaf, definition);
                self.named(definition, namespace, leaf)
            }
            "array" => {
                let items = definition.get("items").ok_or_else(|| broken("an array has `items`"))?;
                let items = self.read(items, namespace, depth + 1)?;
                self.push(SchemaNode::Array { items, attributes: attributes(definition, &STRUCTURE) })
            }
            "map" => {
                let values = definition.get("values").ok_or_else(|| broken("a map has `values`"))?;
                let values = self.read(values, namespace, depth + 1)?;
                self.push(SchemaNode::Map { values, attributes: attributes(definition, &STRUCTURE) })
            }
            name => self.by_name(name, namespace, definition),
        }
    }

    fn record(
        &mut self,
        definition: &Map<String, Value>,
        namespace: &str,
        depth: usize,
    ) -> Result<NodeId, SchemaError> {
        let name = full_name(definition, namespace)?;
        let inner = name.rsplit_once('.').map_or("", |(inner, _)| inner).to_owned();
        let fields = definition.get("fields").and_then(Value::as_array);
        let fields = fields.ok_or_else(|| broken("a record has `fields`"))?;
        // The place is taken before the fields are read: they may refer back to it.
        let id = self.push(SchemaNode::Union { branches: Vec::new() })?;
        self.depths[id.0 as usize] = 0;
        self.names.insert(name.clone(), id);
        let fields = fields.iter().map(|field| self.field(field, &inner, depth)).collect::<Result<_, _>>()?;
        let record = SchemaNode::Record { name, fields, attributes: attributes(definition, &STRUCTURE) };
        self.depths[id.0 as usize] = self.depth(&record)?;
        self.nodes[id.0 as usize] = record;
        Ok(id)
    }

    fn field(&mut self, field: &Value, namespace: &str, depth: usize) -> Result<SchemaField, SchemaError> {
        let field = field.as_object().ok_or_else(|| broken("a field is an object"))?;
        let name = field.get("name").and_then(Value::as_str).ok_or_else(|| broken("a field has a `name`"))?;
        let schema = field.get("type").ok_or_else(|| broken("a field has a `type`"))?;
        // `{"name": …, "type": "long", "logicalType": …}` puts an annotation on the field, where it means nothing.
        let node = self.read(schema, namespace, depth + 1)?;
        Ok(SchemaField {
            name: name.to_owned(),
            node,
            default: field.get("default").cloned(),
            attributes: attributes(field, &FIELD_STRUCTURE),
        })
    }

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

    fn by_name(
        &mut self,
        name: &str,
        namespace: &str,
        definition: &Map<String, Value>,
    ) -> Result<NodeId, SchemaError> {
        if let Some(kind) = primitive(name) {
            let mut leaf = LeafType::plain(kind);
            leaf.logical = logical(&leaf, definition);
            return self.push(SchemaNode::Leaf { leaf, attributes: attributes(definition, &STRUCTURE) });
        }
        let inside = if name.contains('.') || namespace.is_empty() {
            None
        } else {
            self.names.get(&format!("{namespace}.{name}"))
        };
        let found = inside.or_else(|| self.names.get(name.trim_start_matches('.')));
        found.copied().ok_or_else(|| SchemaError::Parse(format!("unknown type `{name}`")))
    }

    fn push(&mut self, node: SchemaNode) -> Result<NodeId, SchemaError> {
        let id = u32::try_from(self.nodes.len()).map_err(|_| SchemaError::TooLarge)?;
        self.depths.push(self.depth(&node)?);
        self.nodes.push(node);
        Ok(NodeId(id))
    }

    fn depth(&self, node: &SchemaNode) -> Result<usize, SchemaError> {
        let mut deepest = 0;
        node.each_child(|child| deepest = deepest.max(self.depths[child.0 as usize]));
        if deepest >= MAX_SCHEMA_DEPTH { Err(SchemaError::TooDeep) } else { Ok(deepest + 1) }
    }
}

fn broken(expected: &str) -> SchemaError {
    SchemaError::Parse(expected.to_owned())
}

fn attributes(definition: &Map<String, Value>, structure: &[&str]) -> Map<String, Value> {
    let rest = definition.iter().filter(|(key, _)| !structure.contains(&key.as_str()));
    rest.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn full_name(definition: &Map<String, Value>, enclosing: &str) -> Result<String, SchemaError> {
    let name = definition.get("name").and_then(Value::as_str);
    let name = name.ok_or_else(|| broken("a record, enum or fixed has a `name`"))?;
    if name.contains('.') {
        return Ok(name.trim_start_matches('.').to_owned());
    }
    let namespace = definition.get("namespace").and_then(Value::as_str).unwrap_or(enclosing);
    Ok(if namespace.is_empty() { name.to_owned() } else { format!("{namespace}.{name}") })
}

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

fn logical(leaf: &LeafType, definition: &Map<String, Value>) -> Option<LogicalType> {
    let name = definition.get("logicalType")?.as_str()?;
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
