//! Redaction: a constant replaces the leaf.

use std::borrow::Cow;

use serde_json::{Value, json};
use sluice_wire::{LeafFn, LeafKind, LeafType, LeafValue, LeafWriter};

use super::types;

/// The constant. It has the leaf's own type, except that an enum becomes a string.
#[derive(Debug, Clone, PartialEq)]
pub enum RedactConstant {
    /// For strings, enums and bytes (as UTF-8).
    Text(String),
    /// For int, long, float and double.
    Number(f64),
    /// For booleans.
    Boolean(bool),
}

impl RedactConstant {
    /// The constant if the contract gives none.
    pub const DEFAULT: &'static str = "REDACTED";

    /// Returns the type of the masked leaf as Avro schema JSON.
    ///
    /// # Errors
    /// The constant does not fit a leaf of this type.
    pub(crate) fn output(&self, input: &LeafType) -> Result<Value, String> {
        // The contract file has no constants for dates, times and decimals.
        let whole =
            |number: f64, least: f64, most: f64| number.fract() == 0.0 && (least..=most).contains(&number);
        if input.logical.is_some() && input.kind != LeafKind::String {
            return Err("redact has no constant for a logical type: use null, drop or generalise".to_owned());
        }

        match (input.kind, self) {
            (LeafKind::String | LeafKind::Enum, Self::Text(_)) => Ok(json!("string")),
            (LeafKind::Bytes, Self::Text(_)) => Ok(json!("bytes")),
            (LeafKind::Boolean, Self::Boolean(_)) => Ok(json!("boolean")),
            (LeafKind::Int, Self::Number(n)) if whole(*n, f64::from(i32::MIN), f64::from(i32::MAX)) => {
                Ok(types::same(input))
            }
            // Beyond 2^53 a number from the contract file is not exact.
            (LeafKind::Long, Self::Number(n)) if whole(*n, -9.0e15, 9.0e15) => Ok(types::same(input)),
            (LeafKind::Float | LeafKind::Double, Self::Number(_)) => Ok(types::same(input)),
            (kind, _) => Err(format!("redact needs `with: <a constant of type {}>`", kind.as_str())),
        }
    }
}

/// Writes the constant.
pub(crate) struct RedactFn(pub(crate) RedactConstant);

impl LeafFn for RedactFn {
    fn output(&self, input: &LeafType) -> Result<Value, String> {
        self.0.output(input)
    }

    fn apply(&self, leaf: LeafValue<'_>, out: &mut LeafWriter<'_>) -> Result<(), Cow<'static, str>> {
        match (leaf, &self.0) {
            (LeafValue::String(_) | LeafValue::Enum { .. }, RedactConstant::Text(text)) => out.string(text),
            (LeafValue::Bytes(_), RedactConstant::Text(text)) => out.bytes(text.as_bytes()),
            (LeafValue::Boolean(_), RedactConstant::Boolean(value)) => out.boolean(*value),
            // `output` has checked that the number is whole and in range.
            (LeafValue::Int(_), RedactConstant::Number(number)) => out.int(*number as i32),
            (LeafValue::Long(_), RedactConstant::Number(number)) => out.long(*number as i64),
            (LeafValue::Float(_), RedactConstant::Number(number)) => out.float(*number as f32),
            (LeafValue::Double(_), RedactConstant::Number(number)) => out.double(*number),
            // `output` has refused all other types.
            _ => return Err("a leaf of the constant's type".into()),
        }
        Ok(())
    }

    fn name(&self) -> &str {
        "redact"
    }
}
