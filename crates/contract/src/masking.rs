//! Masking operations: the rules that a contract can give a leaf, and the functions that apply them to a
//! datum.

pub mod decimal;
mod floor;
mod generalise;
mod hmac;
mod keys;
mod partial;
mod postcode;
mod read;
mod redact;
mod step;
mod text;
mod types;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;
use sluice_wire::{LeafAction, LeafFn, LeafType, LeafValue, LeafWriter};

pub use floor::MaskingFloors;
pub use generalise::GeneraliseRule;
pub use hmac::PseudonymRule;
pub(crate) use hmac::{DecimalText, PseudonymFn};
pub use keys::{KEY_BYTES_MIN, KeyError, KeyRing};
pub use partial::PartialRule;
pub(crate) use read::read;
pub use redact::RedactConstant;
pub use step::DateStep;
pub use text::TextMask;

/// The rule for one leaf.
#[derive(Debug, Clone, PartialEq)]
pub enum MaskOperation {
    /// The leaf stays as it is.
    Keep,
    /// The leaf is removed, from the schema, too.
    Drop,
    /// The leaf becomes nullable, and is null.
    Null,
    /// A constant replaces the leaf.
    Redact(RedactConstant),
    /// The ends of a text are shown, at a fixed length.
    Partial(PartialRule),
    /// A pseudonym replaces the leaf.
    Hmac(PseudonymRule),
    /// The leaf becomes coarser.
    Generalise(GeneraliseRule),
}

/// The reason why an operation cannot be made ready.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MaskingError {
    /// Its key is missing or unfit.
    #[error("field {path}: {source}")]
    Key {
        /// Path of the leaf.
        path: String,
        /// The trouble with the key.
        source: KeyError,
    },
    /// The leaf's type does not fit. A contract that was read without findings has no such leaf.
    #[error("field {path}: {why}")]
    Unsupported {
        /// Path of the leaf.
        path: String,
        /// The reason, for the operator.
        why: String,
    },
}

impl MaskOperation {
    /// Returns the name as in the contract file.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Drop => "drop",
            Self::Null => "null",
            Self::Redact(_) => "redact",
            Self::Partial(_) => "partial",
            Self::Hmac(_) => "hmac",
            Self::Generalise(_) => "generalise",
        }
    }

    /// Returns true if the raw value stays as it is.
    pub const fn keeps(&self) -> bool {
        matches!(self, Self::Keep)
    }

    /// Returns the type of the masked leaf as Avro schema JSON. `None` for keep, drop and null, which fit
    /// every type and make no new one.
    ///
    /// # Errors
    /// Returns the reason why the operation cannot be applied to a leaf of this type.
    pub(crate) fn output(&self, input: &LeafType) -> Result<Option<Value>, String> {
        match self {
            Self::Keep | Self::Drop | Self::Null => Ok(None),
            Self::Redact(constant) => constant.output(input).map(Some),
            Self::Partial(partial) => partial.output(input).map(Some),
            Self::Hmac(pseudonym) => pseudonym.output(input).map(Some),
            Self::Generalise(how) => how.output(input).map(Some),
        }
    }

    /// Returns the operation as an action on a leaf, with its key found in the ring.
    ///
    /// # Errors
    /// The key is missing or unfit, or the operation does not fit the type.
    pub(crate) fn action(
        &self,
        path: &str,
        input: &LeafType,
        keys: &KeyRing,
    ) -> Result<LeafAction, MaskingError> {
        // The type first: it depends on the contract alone.
        let unsupported = |why| MaskingError::Unsupported { path: path.to_owned(), why };
        self.output(input).map_err(unsupported)?;

        // The walk over bytes does keep, drop and null by itself. The others are functions.
        Ok(match self {
            Self::Keep => LeafAction::Keep,
            Self::Drop => LeafAction::Drop,
            Self::Null => LeafAction::Null,
            Self::Redact(constant) => LeafAction::Replace(Arc::new(redact::RedactFn(constant.clone()))),
            Self::Partial(partial) => LeafAction::Replace(Arc::new(partial::PartialFn::new(*partial))),
            Self::Hmac(pseudonym) => {
                // The only operation with a key.
                let primed = hmac::PseudonymFn::new(pseudonym, keys)
                    .map_err(|source| MaskingError::Key { path: path.to_owned(), source })?;
                LeafAction::Replace(Arc::new(primed))
            }
            Self::Generalise(how) => {
                let ready = generalise::GeneraliseFn::new(how.clone(), input).map_err(unsupported)?;
                LeafAction::Replace(Arc::new(ready))
            }
        })
    }

    /// Returns the operation as an action without a key. It can derive schemas, and refuses every leaf.
    pub(crate) fn shape(&self) -> LeafAction {
        match self {
            Self::Keep => LeafAction::Keep,
            Self::Drop => LeafAction::Drop,
            Self::Null => LeafAction::Null,
            replacing => LeafAction::Replace(Arc::new(KeylessFn(replacing.clone()))),
        }
    }
}

impl fmt::Display for MaskOperation {
    /// The operation as a short text, for example `generalise: down to 30m`. Names keys, and never shows
    /// their bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keep | Self::Drop | Self::Null | Self::Redact(_) => f.write_str(self.name()),
            Self::Partial(partial) => {
                let PartialRule { keep_first, keep_last, length, .. } = partial;
                write!(f, "partial: first {keep_first}, last {keep_last} of {length} characters")
            }

            // An epoch is shown only if the contract names one.
            Self::Hmac(PseudonymRule { key, domain, epoch: None }) => {
                write!(f, "hmac: key {key}, domain {domain}")
            }
            Self::Hmac(PseudonymRule { key, domain, epoch: Some(epoch) }) => {
                write!(f, "hmac: key {key} epoch {epoch}, domain {domain}")
            }

            Self::Generalise(GeneraliseRule::Date(step)) => write!(f, "generalise: down to {step}"),
            Self::Generalise(GeneraliseRule::Step(step)) => write!(f, "generalise: down to steps of {step}"),
            Self::Generalise(GeneraliseRule::Buckets(bounds)) => {
                // n bounds make n + 1 buckets.
                write!(f, "generalise: {} buckets", bounds.len() + 1)
            }
            Self::Generalise(GeneraliseRule::Outward) => f.write_str("generalise: postcode's outward part"),
            Self::Generalise(GeneraliseRule::Grid(degrees)) => {
                write!(f, "generalise: grid of {degrees} degrees")
            }
        }
    }
}

/// A masking operation without its key, see [`MaskOperation::shape`].
struct KeylessFn(MaskOperation);

impl LeafFn for KeylessFn {
    fn output(&self, input: &LeafType) -> Result<Value, String> {
        // Only operations that replace the leaf are wrapped in this type.
        self.0.output(input)?.ok_or_else(|| format!("{} replaces nothing", self.0.name()))
    }

    fn apply(&self, _leaf: LeafValue<'_>, _out: &mut LeafWriter<'_>) -> Result<(), Cow<'static, str>> {
        Err("a policy with its keys".into())
    }

    fn name(&self) -> &str {
        self.0.name()
    }
}
