//! What became of a record. A bad record is an outcome, never a fault: the worker is well, the record is not.

use std::borrow::Cow;
use std::fmt;

use crate::SchemaId;

/// The end of one record's way through a [`crate::Processor`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Everything it stands for was appended to the outputs.
    Emitted,
    /// By rule nothing comes of it (a tombstone on an append-only topic, say). Counted, so that the books balance.
    Skipped(OutcomeReason),
    /// It cannot be handled, now or after a restart: it goes to the dead-letter topic as it came.
    DeadLetter(OutcomeReason),
    /// Its schema is not known yet: fetch it, [`crate::Processor::learn`] it, then process the record again.
    NeedsSchema(SchemaId),
    /// Its schema is known but the contract does not cover it: the partition stands still, no byte of it passes.
    Uncovered(OutcomeReason),
}

/// The kinds of trouble a record can be in; a bounded label for metrics and the `sluice.dlq.class` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReasonClass {
    /// Not in the Confluent wire format.
    Framing,
    /// The registry says that no such schema exists.
    UnknownSchema,
    /// The bytes are not a datum of the writer's schema.
    Datum,
    /// A masking operation refused the leaf.
    Masking,
    /// The contract has no policy for something in it.
    Contract,
    /// Larger than a limit.
    TooLarge,
    /// A null key or value where one is needed.
    Null,
    /// The store's type cannot hold it.
    Type,
    /// A record of an API's page that does not fit the contract's schema.
    Shape,
}

impl ReasonClass {
    /// All of them, in the order of [`ReasonClass::index`].
    pub const ALL: [Self; 9] = [
        Self::Framing,
        Self::UnknownSchema,
        Self::Datum,
        Self::Masking,
        Self::Contract,
        Self::TooLarge,
        Self::Null,
        Self::Type,
        Self::Shape,
    ];

    /// Its place in [`ReasonClass::ALL`]: counts by class are an array.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Stable name, for headers, metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Framing => "framing",
            Self::UnknownSchema => "unknown-schema",
            Self::Datum => "datum",
            Self::Masking => "masking",
            Self::Contract => "contract",
            Self::TooLarge => "too-large",
            Self::Null => "null",
            Self::Type => "type",
            Self::Shape => "shape",
        }
    }
}

/// Why: a class, where in the record, and what was expected there. Never the value itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutcomeReason {
    /// The kind of trouble.
    pub class: ReasonClass,
    /// Field path in the datum (`a.b[].c`), empty where the record as a whole is meant.
    pub path: String,
    /// What was expected; must not quote what was found.
    pub expected: Cow<'static, str>,
    /// Byte position in the value, where one is known.
    pub position: Option<usize>,
}

impl OutcomeReason {
    /// A reason that concerns the record as a whole.
    pub fn new(class: ReasonClass, expected: impl Into<Cow<'static, str>>) -> Self {
        Self { class, path: String::new(), expected: expected.into(), position: None }
    }

    /// The same at a field path and, if known, a byte position.
    pub fn at(mut self, path: impl Into<String>, position: Option<usize>) -> Self {
        self.path = path.into();
        self.position = position;
        self
    }
}

impl fmt::Display for OutcomeReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.class.as_str())?;
        if !self.path.is_empty() {
            write!(f, "at {}: ", self.path)?;
        }
        f.write_str(&self.expected)?;
        if let Some(position) = self.position {
            write!(f, " (byte {position})")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_stands_at_its_index() {
        assert!(ReasonClass::ALL.iter().enumerate().all(|(place, class)| class.index() == place));
    }
}
