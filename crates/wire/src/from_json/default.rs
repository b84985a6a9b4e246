//! Encodes a field's default once. Defaults follow the specification, not an API: the default of a union is
//! of its first branch, and bytes are code points 0–255.

use serde_json::Value;

use super::scalar::{JsonScalar, write_scalar};
use crate::datum::varint::{write_len, write_long};
use crate::schema::{DatumSchema, LeafKind, LeafType, NodeId, SchemaField, SchemaNode};
use crate::{LeafWriter, MAX_NESTING, SchemaError};

/// Encodes the value of a missing field: its default, or null if null is allowed. `None` if the field is
/// required.
pub(super) fn missing(schema: &DatumSchema, field: &SchemaField) -> Result<Option<Vec<u8>>, SchemaError> {
    let mut out = Vec::new();
    if let Some(default) = &field.default {
        return match write(schema, field.node, default, 0, &mut out) {
            Some(()) => Ok(Some(out)),
            None => Err(SchemaError::Unsupported {
                path: field.name.clone(),
                why: "expected a default of the field's type".to_owned(),
            }),
        };
    }

    // APIs leave fields out to mean null. Without a default, a missing field is null if null is allowed.
    Ok(match schema.node(field.node) {
        SchemaNode::Leaf { leaf, .. } if leaf.kind == LeafKind::Null => Some(out),
        SchemaNode::Union { branches } => {
            branches.iter().position(|&branch| schema.is_null(branch)).map(|place| {
                write_long(place as i64, &mut out);
                out
            })
        }
        _ => None,
    })
}

/// Appends the encoding of a default. Returns `None` if the value is not of the node's type.
pub(crate) fn write(
    schema: &DatumSchema,
    id: NodeId,
    value: &Value,
    depth: usize,
    out: &mut Vec<u8>,
) -> Option<()> {
    // The default of a record may leave out a field of the record's own type, without end.
    if depth > MAX_NESTING {
        return None;
    }

    // Each kind of type takes one kind of JSON value; a union takes any.
    match (schema.node(id), value) {
        (SchemaNode::Leaf { leaf, .. }, value) => leaf_default(leaf, value, out),
        (SchemaNode::Union { branches }, value) => {
            // The specification asks for the first branch; since 1.12 any branch may match.
            let start = out.len();
            branches.iter().enumerate().find_map(|(place, &branch)| {
                out.truncate(start);
                write_long(place as i64, out);
                write(schema, branch, value, depth + 1, out)
            })
        }

        // Arrays and maps are one block and the empty block. An empty container is the empty block alone.
        (SchemaNode::Array { items, .. }, Value::Array(values)) => {
            if !values.is_empty() {
                write_len(values.len(), out);
                values.iter().try_for_each(|value| write(schema, *items, value, depth + 1, out))?;
            }
            out.push(0);
            Some(())
        }
        (SchemaNode::Map { values, .. }, Value::Object(entries)) => {
            if !entries.is_empty() {
                write_len(entries.len(), out);
                for (key, value) in entries {
                    LeafWriter::new(out).string(key);
                    write(schema, *values, value, depth + 1, out)?;
                }
            }
            out.push(0);
            Some(())
        }

        // A record's default may leave out fields that have defaults of their own.
        (SchemaNode::Record { fields, .. }, Value::Object(entries)) => fields.iter().try_for_each(|field| {
            let value = entries.get(&field.name).or(field.default.as_ref())?;
            write(schema, field.node, value, depth + 1, out)
        }),
        _ => None,
    }
}

/// Appends the encoding of a leaf's default. Returns `None` if the value is not of the leaf's type.
fn leaf_default(leaf: &LeafType, value: &Value, out: &mut Vec<u8>) -> Option<()> {
    match (leaf.kind, value) {
        // Bytes in a schema's JSON are text: one character is one byte.
        (LeafKind::Bytes | LeafKind::Fixed, Value::String(text)) => {
            let bytes: Vec<u8> =
                text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect::<Option<_>>()?;

            let mut writer = LeafWriter::new(out);
            match leaf.kind {
                LeafKind::Bytes => writer.bytes(&bytes),
                _ if bytes.len() == leaf.size => writer.fixed(&bytes),
                _ => return None,
            }
            Some(())
        }

        // The other types share the encoder of records.
        (kind, value) => {
            let digits: String;
            let scalar = match value {
                Value::Null => JsonScalar::Null,
                Value::Bool(value) => JsonScalar::Boolean(*value),
                Value::String(text) => JsonScalar::Text(text),
                Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                    (Some(value), _) => JsonScalar::Integer(value.into()),
                    (None, Some(value)) => {
                        digits = number.to_string();
                        JsonScalar::Real { value, text: &digits }
                    }
                    (None, None) => return None,
                },
                Value::Array(_) | Value::Object(_) => return None,
            };

            // An API may write dates and times as text; a schema's default is always a number.
            let plain = LeafType { logical: None, ..leaf.clone() };
            let leaf = if kind == LeafKind::Enum { leaf } else { &plain };
            write_scalar(leaf, &scalar, out).ok()
        }
    }
}
