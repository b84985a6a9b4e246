//! A field's default, encoded once. Defaults follow the specification, not an API: a union's is of its first
//! branch, bytes are code points 0–255.

use serde_json::Value;

use super::scalar::{JsonScalar, write_scalar};
use crate::datum::varint::{write_len, write_long};
use crate::schema::{DatumSchema, LeafKind, LeafType, NodeId, SchemaField, SchemaNode};
use crate::{LeafWriter, MAX_NESTING, SchemaError};

/// What stands for the field when it is missing.
pub(super) fn missing(schema: &DatumSchema, field: &SchemaField) -> Result<Option<Vec<u8>>, SchemaError> {
    let mut out = Vec::new();
    if let Some(default) = &field.default {
        return match write(schema, field.node, default, 0, &mut out) {
            Some(()) => Ok(Some(out)),
            None => Err(SchemaError::Unsupported {
                path: field.name.clone(),
                why: "the default is not a value of the field's type".to_owned(),
            }),
        };
    }
    // Without a default, a missing field is null where null is allowed: that is how APIs leave things out.
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

/// Appends a default's encoding.
pub(crate) fn write(
    schema: &DatumSchema,
    id: NodeId,
    value: &Value,
    depth: usize,
    out: &mut Vec<u8>,
) -> Option<()> {
    // A record whose default leaves out a field of its own type would never end.
    if depth > MAX_NESTING {
        return None;
    }
    match (schema.node(id), value) {
        (SchemaNode::Leaf { leaf, .. }, value) => leaf_default(leaf, value, out),
        (SchemaNode::Union { branches }, value) => {
            // The first branch by the specification; any since 1.12.
            let start = out.len();
            branches.iter().enumerate().find_map(|(place, &branch)| {
                out.truncate(start);
                write_long(place as i64, out);
                write(schema, branch, value, depth + 1, out)
            })
        }
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
        (SchemaNode::Record { fields, .. }, Value::Object(entries)) => fields.iter().try_for_each(|field| {
            let value = entries.get(&field.name).or(field.default.as_ref())?;
            write(schema, field.node, value, depth + 1, out)
        }),
        _ => None,
    }
}

fn leaf_default(leaf: &LeafType, value: &Value, out: &mut Vec<u8>) -> Option<()> {
    match (leaf.kind, value) {
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
        (kind, value) => {
            let scalar = match value {
                Value::Null => JsonScalar::Null,
                Value::Bool(value) => JsonScalar::Boolean(*value),
                Value::String(text) => JsonScalar::Text(text),
                Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                    (Some(value), _) => JsonScalar::Integer(value.into()),
                    (None, Some(value)) => JsonScalar::Real(value),
                    (None, None) => return None,
                },
                Value::Array(_) | Value::Object(_) => return None,
            };
            // Words for dates and times are an API's, not a schema's.
            let plain = LeafType { logical: None, ..leaf.clone() };
            let leaf = if kind == LeafKind::Enum { leaf } else { &plain };
            write_scalar(leaf, &scalar, out).ok()
        }
    }
}
