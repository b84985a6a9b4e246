//! Avro schema and protobuf descriptor to steps.

use std::collections::HashMap;

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto};

use super::TranscodeStep;
use super::wire::{ProtobufForm, ProtobufKey};
use crate::program::facts::SchemaAnalysis;
use crate::schema::{DatumSchema, LeafKind, LeafType, LogicalType, NodeId, SchemaNode};
use crate::{MAX_LEAVES, MAX_SCHEMA_DEPTH, SchemaError};

pub(super) fn messages(
    schema: &DatumSchema,
    descriptor: &DescriptorProto,
) -> Result<Vec<Vec<TranscodeStep>>, SchemaError> {
    let facts = SchemaAnalysis::of(schema);
    let mut compiler = TranscodeCompiler {
        schema,
        facts: &facts,
        root: descriptor,
        messages: Vec::new(),
        known: HashMap::new(),
        path: String::new(),
    };
    if !matches!(schema.node(schema.root()), SchemaNode::Record { .. }) {
        return Err(compiler.unsupported("a message is made of a record"));
    }
    compiler.message(schema.root(), &[descriptor])?;
    Ok(compiler.messages)
}

struct TranscodeCompiler<'c> {
    schema: &'c DatumSchema,
    facts: &'c SchemaAnalysis,
    root: &'c DescriptorProto,
    messages: Vec<Vec<TranscodeStep>>,
    /// By record and message type, for types that contain themselves.
    known: HashMap<(NodeId, *const DescriptorProto), usize>,
    path: String,
}

impl<'c> TranscodeCompiler<'c> {
    fn unsupported(&self, why: impl Into<String>) -> SchemaError {
        SchemaError::Unsupported { path: self.path.clone(), why: why.into() }
    }

    /// `scope` are the message types from the outermost to this one.
    fn message(&mut self, id: NodeId, scope: &[&'c DescriptorProto]) -> Result<usize, SchemaError> {
        let schema = self.schema;
        let (SchemaNode::Record { fields, .. }, Some(&descriptor)) = (schema.node(id), scope.last()) else {
            return Err(self.unsupported("a message is made of a record"));
        };
        if let Some(&message) = self.known.get(&(id, std::ptr::from_ref(descriptor))) {
            return Ok(message);
        }
        if self.messages.len() >= MAX_LEAVES {
            return Err(SchemaError::TooLarge);
        }
        if self.path.matches('.').count() > MAX_SCHEMA_DEPTH {
            return Err(SchemaError::TooDeep);
        }
        let message = self.messages.len();
        self.messages.push(Vec::new());
        self.known.insert((id, std::ptr::from_ref(descriptor)), message);
        let required = descriptor.field.iter().filter(|field| field.label() == Label::Required);
        for field in required {
            if !fields.iter().any(|there| there.name == field.name()) {
                return Err(self.unsupported(format!("the required field `{}` has no source", field.name())));
            }
        }
        let mut steps = Vec::with_capacity(fields.len());
        for field in fields {
            let len = self.path.len();
            let dot = if self.path.is_empty() { "" } else { "." };
            self.path.extend([dot, &field.name]);
            let target = descriptor.field.iter().find(|target| target.name() == field.name);
            let target = target.ok_or_else(|| self.unsupported("the descriptor has no such field"))?;
            steps.push(self.field(field.node, target, scope, target.label() == Label::Repeated)?);
            self.path.truncate(len);
        }
        self.messages[message] = steps;
        Ok(message)
    }

    fn field(
        &mut self,
        id: NodeId,
        target: &'c FieldDescriptorProto,
        scope: &[&'c DescriptorProto],
        repeated: bool,
    ) -> Result<TranscodeStep, SchemaError> {
        let schema = self.schema;
        let tag = |wire_type: u64| ProtobufKey::new(target.number().cast_unsigned(), wire_type);
        match schema.node(id) {
            SchemaNode::Leaf { leaf, .. } if leaf.kind == LeafKind::Null => Ok(TranscodeStep::Nothing),
            SchemaNode::Array { items, .. } if repeated => {
                if matches!(
                    schema.node(*items),
                    SchemaNode::Union { .. } | SchemaNode::Array { .. } | SchemaNode::Map { .. }
                ) {
                    return Err(self.unsupported("protobuf repeats neither optional nor repeated values"));
                }
                let min = self.facts.min(*items);
                Ok(TranscodeStep::Repeated {
                    min,
                    items: Box::new(self.field(*items, target, scope, false)?),
                })
            }
            SchemaNode::Map { values, .. } if repeated => {
                let inner = self.enter(target, scope)?;
                let entry = *inner.last().unwrap_or(&self.root);
                let named = |name: &str| entry.field.iter().find(|field| field.name() == name);
                let key = named("key").filter(|key| key.number() == 1 && key.r#type() == Type::String);
                let (Some(_), Some(value)) = (key, named("value")) else {
                    return Err(self.unsupported("a map becomes entries of `string key = 1` and `value`"));
                };
                let min = self.facts.min(*values).saturating_add(1);
                let value = self.field(*values, value, &inner, value.label() == Label::Repeated)?;
                Ok(TranscodeStep::Map {
                    tag: tag(2),
                    entry_key: ProtobufKey::new(1, 2),
                    min,
                    value: Box::new(value),
                })
            }
            SchemaNode::Union { branches } => match branches[..] {
                [one, other] if schema.is_null(one) != schema.is_null(other) => {
                    let (null, other) = if schema.is_null(one) { (0, other) } else { (1, one) };
                    if target.label() == Label::Required {
                        return Err(self.unsupported("an optional value cannot fill a required field"));
                    }
                    Ok(TranscodeStep::Optional {
                        null,
                        other: Box::new(self.field(other, target, scope, repeated)?),
                    })
                }
                _ => Err(self.unsupported("a union of several types has no one protobuf type")),
            },
            _ if repeated => Err(self.unsupported("the descriptor's field is repeated")),
            SchemaNode::Array { .. } | SchemaNode::Map { .. } => {
                Err(self.unsupported("the descriptor's field is not repeated"))
            }
            SchemaNode::Record { .. } => {
                let inner = self.enter(target, scope)?;
                Ok(TranscodeStep::Message { tag: tag(2), message: self.message(id, &inner)? })
            }
            SchemaNode::Leaf { leaf, .. } => {
                let to = self.leaf(leaf, target, scope)?;
                let tag = tag(to.wire_type());
                Ok(match (leaf.kind, &to) {
                    (LeafKind::String, ProtobufForm::Bytes) => TranscodeStep::Text { tag },
                    (LeafKind::Bytes, ProtobufForm::Bytes) => TranscodeStep::Blob { tag },
                    (LeafKind::Int, ProtobufForm::Varint) => TranscodeStep::Int { tag },
                    (LeafKind::Long, ProtobufForm::Varint) => TranscodeStep::Long { tag },
                    _ => TranscodeStep::Leaf { tag, leaf: leaf.clone(), to },
                })
            }
        }
    }

    /// The message type of a field, by the last part of its name, in the innermost scope that has it.
    fn enter(
        &self,
        target: &FieldDescriptorProto,
        scope: &[&'c DescriptorProto],
    ) -> Result<Vec<&'c DescriptorProto>, SchemaError> {
        let name = last(target.type_name());
        if target.r#type() != Type::Message {
            return Err(self.unsupported("the descriptor's field is not a message"));
        }
        for depth in (0..scope.len()).rev() {
            if let Some(nested) = scope[depth].nested_type.iter().find(|nested| nested.name() == name) {
                return Ok(scope[..=depth].iter().copied().chain([nested]).collect());
            }
            if scope[depth].name() == name {
                return Ok(scope[..=depth].to_vec());
            }
        }
        Err(self.unsupported(format!("the descriptor has no message type `{name}`")))
    }

    fn leaf(
        &self,
        leaf: &LeafType,
        target: &FieldDescriptorProto,
        scope: &[&'c DescriptorProto],
    ) -> Result<ProtobufForm, SchemaError> {
        let decimal = matches!(leaf.logical, Some(LogicalType::Decimal { .. }));
        Ok(match (leaf.kind, target.r#type()) {
            (LeafKind::Boolean, Type::Bool) => ProtobufForm::Varint,
            (LeafKind::Int, Type::Int32 | Type::Int64) | (LeafKind::Long, Type::Int64) => {
                ProtobufForm::Varint
            }
            (LeafKind::Int, Type::Sint32 | Type::Sint64) | (LeafKind::Long, Type::Sint64) => {
                ProtobufForm::ZigZag
            }
            (LeafKind::Int, Type::Sfixed32) | (LeafKind::Float, Type::Float) => ProtobufForm::Fixed32,
            (LeafKind::Int | LeafKind::Long, Type::Sfixed64) => ProtobufForm::Fixed64,
            (LeafKind::Float | LeafKind::Double, Type::Double) => ProtobufForm::Fixed64,
            (LeafKind::Bytes | LeafKind::Fixed, Type::String) if decimal => ProtobufForm::Digits,
            (LeafKind::Fixed, Type::String) if leaf.logical == Some(LogicalType::Uuid) => ProtobufForm::Uuid,
            (LeafKind::String, Type::String | Type::Bytes) => ProtobufForm::Bytes,
            (LeafKind::Bytes | LeafKind::Fixed, Type::Bytes) => ProtobufForm::Bytes,
            (LeafKind::Enum, Type::String) => ProtobufForm::Symbol,
            (LeafKind::Enum, Type::Enum) => self.numbers(leaf, target, scope)?,
            (kind, to) => {
                return Err(self.unsupported(format!(
                    "{} does not become {}",
                    kind.as_str(),
                    to.as_str_name()
                )));
            }
        })
    }

    fn numbers(
        &self,
        leaf: &LeafType,
        target: &FieldDescriptorProto,
        scope: &[&'c DescriptorProto],
    ) -> Result<ProtobufForm, SchemaError> {
        let name = last(target.type_name());
        let mut types = scope.iter().rev().flat_map(|message| &message.enum_type);
        let found: Option<&EnumDescriptorProto> = types.find(|found| found.name() == name);
        let found =
            found.ok_or_else(|| self.unsupported(format!("the descriptor has no enum type `{name}`")))?;
        let number = |symbol: &String| {
            let value = found.value.iter().find(|value| value.name() == symbol);
            value
                .map(|value| value.number())
                .ok_or_else(|| self.unsupported(format!("no enum value `{symbol}`")))
        };
        leaf.symbols.iter().map(number).collect::<Result<_, _>>().map(ProtobufForm::Numbers)
    }
}

fn last(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}
