//! Masking functions and the protobuf descriptor of a schema, for the tasks that need them.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto};
use serde_json::Value;
use sha2::Sha256;
use sluice_wire::{LeafAction, LeafFn, LeafInfo, LeafPolicy, LeafType, LeafValue, LeafWriter};

pub struct BenchRedaction;

impl LeafFn for BenchRedaction {
    fn output(&self, _input: &LeafType) -> Result<Value, String> {
        Ok("string".into())
    }

    fn apply(&self, _leaf: LeafValue<'_>, out: &mut LeafWriter<'_>) -> Result<(), Cow<'static, str>> {
        out.string("redacted");
        Ok(())
    }

    fn name(&self) -> &str {
        "redact"
    }
}

/// The keyed pseudonym as the masker writes it: epoch, base64url of 16 bytes.
pub struct BenchPseudonym(Hmac<Sha256>);

impl BenchPseudonym {
    pub fn new() -> Self {
        let mut mac = Hmac::<Sha256>::new_from_slice(&[7; 32]).expect("any length is a key");
        mac.update(b"domain\0");
        Self(mac)
    }
}

impl LeafFn for BenchPseudonym {
    fn output(&self, _input: &LeafType) -> Result<Value, String> {
        Ok("string".into())
    }

    fn apply(&self, leaf: LeafValue<'_>, out: &mut LeafWriter<'_>) -> Result<(), Cow<'static, str>> {
        let LeafValue::String(text) = leaf else { return Err("text".into()) };
        let mut mac = self.0.clone();
        mac.update(text.as_bytes());
        let digest = mac.finalize().into_bytes();
        let mut encoded = [0; 22];
        URL_SAFE_NO_PAD.encode_slice(&digest[..16], &mut encoded).map_err(|_| "22 characters")?;
        out.string_parts(&[b"1:", &encoded]);
        Ok(())
    }

    fn name(&self) -> &str {
        "hmac"
    }
}

/// Drops some paths, replaces some, keeps the rest.
pub struct MixedBenchPolicy<'p> {
    pub dropped: &'p [&'p str],
    pub replaced: &'p [&'p str],
    pub by: Arc<dyn LeafFn>,
}

impl LeafPolicy for MixedBenchPolicy<'_> {
    fn action(&self, leaf: &LeafInfo) -> Option<LeafAction> {
        let path = leaf.path.as_str();
        Some(match () {
            () if self.dropped.contains(&path) => LeafAction::Drop,
            () if self.replaced.contains(&path) => LeafAction::Replace(self.by.clone()),
            () => LeafAction::Keep,
        })
    }
}

/// A message type with the schema's fields, numbered from 1.
pub fn descriptor(name: &str, record: &Value) -> DescriptorProto {
    let mut message = DescriptorProto { name: Some(name.into()), ..Default::default() };
    for (place, field) in record["fields"].as_array().expect("a record").iter().enumerate() {
        let name = field["name"].as_str().expect("a name");
        let mut schema = &field["type"];
        if let Value::Array(branches) = schema {
            schema = branches.iter().find(|branch| *branch != "null").expect("one besides null");
        }
        let (mut label, mut target) = (Label::Optional, field_of(name, place as i32 + 1));
        if schema["type"] == "array" || schema["type"] == "map" {
            label = Label::Repeated;
        }
        let inner = if schema["type"] == "array" { &schema["items"] } else { schema };
        let kind = inner["type"].as_str().or(inner.as_str()).unwrap_or_default();
        let nested = match kind {
            "record" => Some(descriptor(&format!("M{place}"), inner)),
            "map" => {
                let value = serde_json::json!({"fields": [{"name": "key", "type": "string"}, {"name": "value", "type": inner["values"]}]});
                Some(descriptor(&format!("M{place}"), &value))
            }
            _ => None,
        };
        target.r#type = Some(
            match kind {
                "record" | "map" => Type::Message,
                "int" => Type::Int32,
                "long" => Type::Int64,
                "double" => Type::Double,
                "bytes" => Type::Bytes,
                _ => Type::String,
            }
            .into(),
        );
        target.label = Some(label.into());
        target.type_name = nested.as_ref().map(|nested| nested.name().to_owned());
        message.nested_type.extend(nested);
        message.field.push(target);
    }
    message
}

fn field_of(name: &str, number: i32) -> FieldDescriptorProto {
    FieldDescriptorProto { name: Some(name.into()), number: Some(number), ..Default::default() }
}
