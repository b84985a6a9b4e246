//! Compiles an Avro schema and a protobuf descriptor to transcode instructions.

use std::collections::HashMap;

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto};

use super::TranscodeStep;
use super::wire::{ProtobufForm, ProtobufKey};
use crate::program::facts::SchemaAnalysis;
use crate::schema::{DatumSchema, LeafKind, LeafType, LogicalType, NodeId, SchemaNode};
use crate::{MAX_LEAVES, MAX_SCHEMA_DEPTH, SchemaError};

/// Compiles the instructions of all message types. Message 0 is the root.
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
    // Everything else is compiled from the root: the types that it reaches, and only these.
    if !matches!(schema.node(schema.root()), SchemaNode::Record { .. }) {
        return Err(compiler.unsupported("expected a record to become a protobuf message"));
    }
    compiler.message(schema.root(), &[descriptor])?;
    Ok(compiler.messages)
}

/// The state of one compilation.
struct TranscodeCompiler<'c> {
    schema: &'c DatumSchema,
    facts: &'c SchemaAnalysis,
    root: &'c DescriptorProto,
    messages: Vec<Vec<TranscodeStep>>,
    /// Messages by record and message type, because types may contain themselves.
    known: HashMap<(NodeId, *const DescriptorProto), usize>,
    /// The path of the current field.
    path: String,
}

impl<'c> TranscodeCompiler<'c> {
    /// Makes the error for a field that does not fit.
    fn unsupported(&self, why: impl Into<String>) -> SchemaError {
        SchemaError::Unsupported { path: self.path.clone(), why: why.into() }
    }

    /// Compiles a record to a message. `scope` are the message types from the outermost to this one. Returns
    /// the message's index.
    fn message(&mut self, id: NodeId, scope: &[&'c DescriptorProto]) -> Result<usize, SchemaError> {
        let schema = self.schema;
        let (SchemaNode::Record { fields, .. }, Some(&descriptor)) = (schema.node(id), scope.last()) else {
            return Err(self.unsupported("expected a record to become a protobuf message"));
        };

        // The same pair of types is compiled once; in a recursive type it may still be open.
        if let Some(&message) = self.known.get(&(id, std::ptr::from_ref(descriptor))) {
            return Ok(message);
        }
        if self.messages.len() >= MAX_LEAVES {
            return Err(SchemaError::TooLarge);
        }
        if self.path.matches('.').count() > MAX_SCHEMA_DEPTH {
            return Err(SchemaError::TooDeep);
        }

        // The message gets its index before its fields are compiled, because they may refer back to it.
        let message = self.messages.len();
        self.messages.push(Vec::new());
        self.known.insert((id, std::ptr::from_ref(descriptor)), message);

        // A required field of protobuf must have a source.
        let required = descriptor.field.iter().filter(|field| field.label() == Label::Required);
        for field in required {
            if !fields.iter().any(|there| there.name == field.name()) {
                let why =
                    format!("the descriptor requires `{}`: expected this field in the schema", field.name());
                return Err(self.unsupported(why));
            }
        }

        // Every field of Avro must have a target: no field is lost silently.
        let mut steps = Vec::with_capacity(fields.len());
        for field in fields {
            let len = self.path.len();
            let dot = if self.path.is_empty() { "" } else { "." };
            self.path.extend([dot, &field.name]);
            let target = descriptor.field.iter().find(|target| target.name() == field.name);
            let target =
                target.ok_or_else(|| self.unsupported("expected a field of this name in the descriptor"))?;
            steps.push(self.field(field.node, target, scope, target.label() == Label::Repeated)?);
            self.path.truncate(len);
        }

        self.messages[message] = steps;
        Ok(message)
    }

    /// Compiles one field. `repeated` is true while an array or map is expected for a repeated target.
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

            // An array becomes a repeated field. Protobuf has no lists of lists, and no null in a list.
            SchemaNode::Array { items, .. } if repeated => {
                if matches!(
                    schema.node(*items),
                    SchemaNode::Union { .. } | SchemaNode::Array { .. } | SchemaNode::Map { .. }
                ) {
                    return Err(self.unsupported(
                        "expected array items that are neither optional nor repeated, as protobuf requires",
                    ));
                }
                let min = self.facts.min(*items);
                Ok(TranscodeStep::Repeated {
                    min,
                    items: Box::new(self.field(*items, target, scope, false)?),
                })
            }

            // A map becomes entries: messages with the key as field 1 and the value under its name.
            SchemaNode::Map { values, .. } if repeated => {
                let inner = self.enter(target, scope)?;
                let entry = *inner.last().unwrap_or(&self.root);
                let named = |name: &str| entry.field.iter().find(|field| field.name() == name);
                let key = named("key").filter(|key| key.number() == 1 && key.r#type() == Type::String);
                let (Some(_), Some(value)) = (key, named("value")) else {
                    return Err(self.unsupported(
                        "expected a message type with `string key = 1` and `value` for the map",
                    ));
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

            // `["null", T]` becomes T, which is left out if it is null.
            SchemaNode::Union { branches } => match branches[..] {
                [one, other] if schema.is_null(one) != schema.is_null(other) => {
                    let (null, other) = if schema.is_null(one) { (0, other) } else { (1, one) };
                    if target.label() == Label::Required {
                        return Err(self
                            .unsupported("the descriptor requires the field: expected a type without null"));
                    }
                    Ok(TranscodeStep::Optional {
                        null,
                        other: Box::new(self.field(other, target, scope, repeated)?),
                    })
                }
                _ => Err(self.unsupported("expected one type besides null, because protobuf has no unions")),
            },

            // The label must fit the type.
            _ if repeated => {
                Err(self.unsupported("the descriptor's field is repeated: expected an array or a map"))
            }
            SchemaNode::Array { .. } | SchemaNode::Map { .. } => Err(self
                .unsupported("the field is an array or a map: expected a repeated field in the descriptor")),

            // A record becomes a message of its own type.
            SchemaNode::Record { .. } => {
                let inner = self.enter(target, scope)?;
                Ok(TranscodeStep::Message { tag: tag(2), message: self.message(id, &inner)? })
            }

            // A leaf: the common forms have instructions of their own.
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

    /// Finds the message type of a field: by the last element of its name, in the innermost scope that has
    /// it. Returns the scope with the type at its end.
    fn enter(
        &self,
        target: &FieldDescriptorProto,
        scope: &[&'c DescriptorProto],
    ) -> Result<Vec<&'c DescriptorProto>, SchemaError> {
        let name = last(target.type_name());
        if target.r#type() != Type::Message {
            return Err(self.unsupported("expected a message type for the descriptor's field"));
        }

        // A nested type comes before an outer type of the same name, as in protobuf's name resolution.
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

    /// Returns the form in which a leaf is written.
    fn leaf(
        &self,
        leaf: &LeafType,
        target: &FieldDescriptorProto,
        scope: &[&'c DescriptorProto],
    ) -> Result<ProtobufForm, SchemaError> {
        let decimal = matches!(leaf.logical, Some(LogicalType::Decimal { .. }));
        // Integers may become wider but never narrower; signed and fixed forms hold the same range.
        Ok(match (leaf.kind, target.r#type()) {
            (LeafKind::Boolean, Type::Bool) => ProtobufForm::Varint,
            (LeafKind::Int, Type::Int32 | Type::Int64) | (LeafKind::Long, Type::Int64) => {
                ProtobufForm::Varint
            }
            (LeafKind::Int, Type::Sint32 | Type::Sint64) | (LeafKind::Long, Type::Sint64) => {
                ProtobufForm::ZigZag
            }

            // Numbers of a constant size.
            (LeafKind::Int, Type::Sfixed32) | (LeafKind::Float, Type::Float) => ProtobufForm::Fixed32,
            (LeafKind::Int | LeafKind::Long, Type::Sfixed64) => ProtobufForm::Fixed64,
            (LeafKind::Float | LeafKind::Double, Type::Double) => ProtobufForm::Fixed64,

            // A decimal and a uuid may become text.
            (LeafKind::Bytes | LeafKind::Fixed, Type::String) if decimal => ProtobufForm::Digits,
            (LeafKind::Fixed, Type::String) if leaf.logical == Some(LogicalType::Uuid) => ProtobufForm::Uuid,

            // Text, bytes and enums.
            (LeafKind::String, Type::String | Type::Bytes) => ProtobufForm::Bytes,
            (LeafKind::Bytes | LeafKind::Fixed, Type::Bytes) => ProtobufForm::Bytes,
            (LeafKind::Enum, Type::String) => ProtobufForm::Symbol,
            (LeafKind::Enum, Type::Enum) => self.numbers(leaf, target, scope)?,

            // Anything else would lose a value or its meaning.
            (kind, to) => {
                let (kind, to) = (kind.as_str(), to.as_str_name());
                return Err(self.unsupported(format!("the schema's {kind} cannot be written as {to}")));
            }
        })
    }

    /// Returns the numbers of an enum's symbols. Each symbol must have a value of the same name.
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

        // A symbol without a number could not be written for some record.
        let number = |symbol: &String| {
            let value = found.value.iter().find(|value| value.name() == symbol);
            value
                .map(|value| value.number())
                .ok_or_else(|| self.unsupported(format!("the descriptor's enum has no value `{symbol}`")))
        };
        leaf.symbols.iter().map(number).collect::<Result<_, _>>().map(ProtobufForm::Numbers)
    }
}

/// Returns the last element of a qualified name.
fn last(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}
