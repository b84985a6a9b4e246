//! Masking operations: what a contract may say of a leaf, and the functions that do it to a datum's leaf.

pub mod decimal;
mod generalise;
mod hmac;
mod keys;
mod partial;
mod postcode;
mod read;
mod redact;
mod step;
mod types;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;
use sluice_wire::{LeafAction, LeafFn, LeafType, LeafValue, LeafWriter};

pub use generalise::GeneraliseRule;
pub(crate) use hmac::PseudonymFn;
pub use hmac::PseudonymRule;
pub use keys::{KEY_BYTES_MIN, KeyError, KeyRing};
pub use partial::PartialRule;
pub(crate) use read::read;
pub use redact::RedactConstant;
pub use step::DateStep;

/// What becomes of one leaf.
#[derive(Debug, Clone, PartialEq)]
pub enum MaskOperation {
    /// As it is.
    Keep,
    /// Gone, from the schema too.
    Drop,
    /// Nullable, and null.
    Null,
    /// A constant.
    Redact(RedactConstant),
    /// The ends of a text, at a fixed length.
    Partial(PartialRule),
    /// A pseudonym.
    Hmac(PseudonymRule),
    /// Coarser.
    Generalise(GeneraliseRule),
}

/// Why an operation cannot be made ready.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MaskingError {
    /// Its key.
    #[error("at `{path}`: {source}")]
    Key {
        /// Path of the leaf.
        path: String,
        /// What is wrong with the key.
        source: KeyError,
    },
    /// The leaf's type; a contract that was read without findings has none of these.
    #[error("at `{path}`: {why}")]
    Unsupported {
        /// Path of the leaf.
        path: String,
        /// What stands in the way.
        why: String,
    },
}

impl MaskOperation {
    /// Name as in the contract file.
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

    /// Does the raw value stay as it is?
    pub const fn keeps(&self) -> bool {
        matches!(self, Self::Keep)
    }

    /// Type that comes out for a leaf of this type, or why the operation cannot be applied to it. For keep, drop and
    /// null there is nothing to say: they fit every type.
    pub(crate) fn output(&self, input: &LeafType) -> Result<Option<Value>, String> {
        match self {
            Self::Keep | Self::Drop | Self::Null => Ok(None),
            Self::Redact(constant) => constant.output(input).map(Some),
            Self::Partial(partial) => partial.output(input).map(Some),
            Self::Hmac(pseudonym) => pseudonym.output(input).map(Some),
            Self::Generalise(how) => how.output(input).map(Some),
        }
    }

    /// The operation as an action on a leaf, its key looked up and primed.
    pub(crate) fn action(
        &self,
        path: &str,
        input: &LeafType,
        keys: &KeyRing,
    ) -> Result<LeafAction, MaskingError> {
        let unsupported = |why| MaskingError::Unsupported { path: path.to_owned(), why };
        self.output(input).map_err(unsupported)?;
        Ok(match self {
            Self::Keep => LeafAction::Keep,
            Self::Drop => LeafAction::Drop,
            Self::Null => LeafAction::Null,
            Self::Redact(constant) => LeafAction::Replace(Arc::new(redact::RedactFn(constant.clone()))),
            Self::Partial(partial) => LeafAction::Replace(Arc::new(partial::PartialFn::new(*partial))),
            Self::Hmac(pseudonym) => {
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

    /// The operation as an action that has a shape but no key: good for deriving schemas, refuses every leaf.
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
    /// As a person would say it; names keys, never shows them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keep | Self::Drop | Self::Null | Self::Redact(_) => f.write_str(self.name()),
            Self::Partial(partial) => {
                let PartialRule { keep_first, keep_last, length, .. } = partial;
                write!(f, "partial: first {keep_first}, last {keep_last} of {length} characters")
            }
            Self::Hmac(PseudonymRule { key, domain, epoch: None }) => {
                write!(f, "hmac: key {key}, domain {domain}")
            }
            Self::Hmac(PseudonymRule { key, domain, epoch: Some(epoch) }) => {
                write!(f, "hmac: key {key} epoch {epoch}, domain {domain}")
            }
            Self::Generalise(GeneraliseRule::Date(step)) => write!(f, "generalise: down to {step}"),
            Self::Generalise(GeneraliseRule::Step(step)) => write!(f, "generalise: down to steps of {step}"),
            Self::Generalise(GeneraliseRule::Buckets(bounds)) => {
                write!(f, "generalise: {} buckets", bounds.len() + 1)
            }
            Self::Generalise(GeneraliseRule::Outward) => f.write_str("generalise: postcode's outward part"),
            Self::Generalise(GeneraliseRule::Grid(degrees)) => {
                write!(f, "generalise: grid of {degrees} degrees")
            }
        }
    }
}

/// An operation without its key.
struct KeylessFn(MaskOperation);

impl LeafFn for KeylessFn {
    fn output(&self, input: &LeafType) -> Result<Value, String> {
        self.0.output(input)?.ok_or_else(|| format!("{} replaces nothing", self.0.name()))
    }

    fn apply(&self, _leaf: LeafValue<'_>, _out: &mut LeafWriter<'_>) -> Result<(), Cow<'static, str>> {
        Err("a policy with its keys".into())
    }

    fn name(&self) -> &str {
        self.0.name()
    }
}
