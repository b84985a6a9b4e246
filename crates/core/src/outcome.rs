//! The result of one record. A bad record is an outcome, never a fault: the worker is well, the record is
//! not.

use std::borrow::Cow;
use std::fmt;

use crate::SchemaId;

/// The result of handling one record by a [`crate::Processor`] or a [`crate::Store`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All outputs of the record were appended.
    Emitted,
    /// The record has no output, by rule, for example a tombstone on an append-only topic. Skips are counted,
    /// so that input = output + dead letters + skips.
    Skipped(OutcomeReason),
    /// The record cannot be handled, now or after a restart. It goes to the dead-letter topic unchanged.
    DeadLetter(OutcomeReason),
    /// The record's schema is not known yet: fetch it, [`crate::Processor::learn`] it, then process the
    /// record again.
    NeedsSchema(RecordPart, SchemaId),
    /// The record's schema is known, but the contract does not cover it. The partition is held, and no byte
    /// passes.
    Uncovered(OutcomeReason),
}

/// The part of a record that a schema describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecordPart {
    /// The key.
    Key,
    /// The value.
    Value,
}

impl RecordPart {
    /// Returns its name, for messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Value => "value",
        }
    }
}

/// The kinds of trouble that a record can have: a bounded label for metrics and the header
/// `sluice.dlq.class`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReasonClass {
    /// The value or key is not in the Confluent wire format.
    Framing,
    /// The registry has no schema with this id.
    UnknownSchema,
    /// The bytes are not a datum of the writer's schema.
    Datum,
    /// A masking operation refused a leaf.
    Masking,
    /// The contract has no policy for a part of the record.
    Contract,
    /// The record is larger than a limit.
    TooLarge,
    /// The key, the value or a field is null, but is needed.
    Null,
    /// The store's type cannot hold a value of the record.
    Type,
    /// A record of an API's page does not fit the contract's schema.
    Shape,
}

impl ReasonClass {
    /// All classes, in the order of [`ReasonClass::index`].
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

    /// Returns the index in [`ReasonClass::ALL`], for arrays of counts by class.
    pub const fn index(self) -> usize {
        // The discriminants begin at 0 and follow the order of `ALL`; a test compares them.
        self as usize
    }

    /// Returns the stable name, for headers, metrics and logs.
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

/// The reason of an outcome: a class, a place in the record, and the expectation there. Never a value of the
/// record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutcomeReason {
    /// The kind of trouble.
    pub class: ReasonClass,
    /// Field path in the datum, for example `a.b[].c`. Empty if the reason concerns the record as a whole.
    pub path: String,
    /// The expectation as a noun phrase, for example `an int`; of a skip, why the record is skipped. Never
    /// quotes the record.
    pub expected: Cow<'static, str>,
    /// Byte position in the value, if it is known.
    pub position: Option<usize>,
}

impl OutcomeReason {
    /// Returns a reason that concerns the record as a whole.
    pub fn new(class: ReasonClass, expected: impl Into<Cow<'static, str>>) -> Self {
        Self { class, path: String::new(), expected: expected.into(), position: None }
    }

    /// Returns the same reason at a field path and, if known, a byte position.
    pub fn at(mut self, path: impl Into<String>, position: Option<usize>) -> Self {
        // An empty path leaves the reason about the record as a whole.
        self.path = path.into();
        self.position = position;
        self
    }
}

/// The reason as a text for operators: `field visits: expected an int (byte 6)`, or `expected an int` if the
/// reason concerns the record as a whole. The class is not part of the text: headers and metrics carry it by
/// itself.
impl fmt::Display for OutcomeReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The place comes first: an operator looks for the field before the cause.
        if !self.path.is_empty() {
            write!(f, "field {}: ", self.path)?;
        }

        // Some texts begin with the word already, for example those of framing errors.
        if !self.expected.starts_with("expected ") {
            f.write_str("expected ")?;
        }
        f.write_str(&self.expected)?;

        // The position is a place, not a value of the record: it may be shown.
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

    #[test]
    fn an_operator_reads_the_field_and_the_expectation() {
        let reason = OutcomeReason::new(ReasonClass::Shape, "an int");
        assert_eq!(reason.to_string(), "expected an int");
        assert_eq!(reason.at("visits", None).to_string(), "field visits: expected an int");
        let reason = OutcomeReason::new(ReasonClass::Datum, "a long").at("a.b[].c", Some(6));
        assert_eq!(reason.to_string(), "field a.b[].c: expected a long (byte 6)");
        let reason = OutcomeReason::new(ReasonClass::Framing, "expected magic byte 0");
        assert_eq!(reason.to_string(), "expected magic byte 0");
    }
}
