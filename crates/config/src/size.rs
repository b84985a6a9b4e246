//! Amounts of memory.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

/// An amount of memory: `192MiB`, `1GiB`, or a number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemorySize(usize);

impl MemorySize {
    /// Returns an amount in mebibytes (2^20 bytes).
    pub const fn mib(count: usize) -> Self {
        Self(count << 20)
    }

    /// Returns the amount in bytes.
    pub const fn bytes(self) -> usize {
        self.0
    }

    /// Reads a number and a unit, with or without spaces between them. `None` for any other text or unit, and
    /// for an amount that does not fit.
    fn parse(text: &str) -> Option<Self> {
        // Split at the first character that is no digit.
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let number: usize = text.get(..digits)?.parse().ok()?;

        // Only powers of two: `MB` could mean either, and is refused.
        let shift = match text.get(digits..)?.trim() {
            "" | "B" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            _ => return None,
        };
        number.checked_mul(1usize << shift).map(Self)
    }
}

impl<'de> Deserialize<'de> for MemorySize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // YAML has a number of bytes as an integer, and an amount with a unit as a text.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum RawMemorySize {
            Bytes(usize),
            Text(String),
        }

        match RawMemorySize::deserialize(deserializer)? {
            RawMemorySize::Bytes(bytes) => Ok(Self(bytes)),
            RawMemorySize::Text(text) => {
                Self::parse(&text).ok_or_else(|| serde::de::Error::custom("expected a size such as 192MiB"))
            }
        }
    }
}

impl JsonSchema for MemorySize {
    fn inline_schema() -> bool {
        // Inline, like all schemas here: a mistake's path leads to its place without references.
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // The pattern is that of `parse`, and the description is shown as a hint.
        json_schema!({
            "type": ["string", "integer"],
            "pattern": "^[0-9]+ ?(B|KiB|MiB|GiB)?$",
            "minimum": 0,
            "description": "A size such as 192MiB (B, KiB, MiB, GiB)."
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_and_limits() {
        assert_eq!(MemorySize::parse("192MiB"), Some(MemorySize::mib(192)));
        assert_eq!(MemorySize::parse("17"), Some(MemorySize(17)));
        assert_eq!(MemorySize::parse("1 GiB").map(MemorySize::bytes), Some(1 << 30));
        assert_eq!(MemorySize::parse("12MB"), None);
        assert_eq!(MemorySize::parse("99999999999999999GiB"), None);
    }
}
