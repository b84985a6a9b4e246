//! Amounts of memory.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

/// An amount of memory: `192MiB`, `200MB`, `1 GiB`, or a number of bytes.
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
        // Split at the first character that cannot be a part of the number.
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let number: f64 = text.get(..digits)?.parse().ok()?;
        let unit = text.get(digits..)?.trim();
        let (_, factor) = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;

        // A part of a byte is cut off. A float holds whole numbers up to 2^53, which is more than any machine has.
        let bytes = (number * *factor as f64).floor();
        (bytes < LARGEST).then_some(Self(bytes as usize))
    }
}

/// The units. Powers of two have an `i`; those with one letter are as in Kubernetes.
const UNITS: [(&str, usize); 14] = [
    ("", 1),
    ("B", 1),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("K", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
];

/// The form of an amount, as `parse` reads it.
pub(super) const PATTERN: &str = "^ *[0-9]+(\\.[0-9]+)? *([kKmMgG]?[bB]|[kKmMgG][iI]?[bB]?)? *$";

/// An amount that no machine has, in bytes: 2^53.
const LARGEST: f64 = 9_007_199_254_740_992.0;

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
            "pattern": PATTERN,
            "minimum": 0,
            "description": "A size such as 192MiB or 200MB (B, KB, MB, GB, KiB, MiB, GiB)."
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
        assert_eq!(MemorySize::parse("12MB").map(MemorySize::bytes), Some(12_000_000));
        assert_eq!(MemorySize::parse("12 mb").map(MemorySize::bytes), Some(12_000_000));
        assert_eq!(MemorySize::parse("1.5KiB").map(MemorySize::bytes), Some(1536));
        assert_eq!(MemorySize::parse("256Mi"), Some(MemorySize::mib(256)));
        assert_eq!(MemorySize::parse("12 bits"), None);
        assert_eq!(MemorySize::parse("99999999999999999GiB"), None);
    }
}
