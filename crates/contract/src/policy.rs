//! A contract's policies in the terms of the walk over bytes.

use std::collections::BTreeMap;

use sluice_core::{OutcomeReason, ReasonClass};
use sluice_wire::{LeafAction, LeafInfo, LeafPolicy};

use crate::contract::{Contract, ContractField};
use crate::contracts::KEY_FILE;
use crate::finding::FindingReport;
use crate::masking::{self, KeyRing, MaskOperation, MaskingError, PseudonymFn};
use crate::yaml;

/// The action for every leaf of one contract's value, or of its key. It covers exactly the leaves of the
/// contract's own schema. A leaf that the contract does not know has no action, and the compiler of the walk
/// refuses it.
pub struct ContractPolicy {
    /// By path, with the leaf that the action was made for.
    leaves: BTreeMap<String, (LeafInfo, LeafAction)>,
    subtrees: BTreeMap<String, LeafAction>,
}

/// Masks Kafka keys that are the text of a field. The key has the field's own policy, so that key and field
/// stay equal.
pub struct KeyMask {
    /// Path of the field, for messages.
    path: String,
    /// `None` keeps the key.
    pseudonym: Option<PseudonymFn>,
}

impl Contract {
    /// Returns the value's policy with its masking keys, ready to be compiled against the writer schema of a
    /// record.
    ///
    /// # Errors
    /// [`MaskingError`]: a key is missing from the ring.
    pub fn policy(&self, keys: &KeyRing) -> Result<ContractPolicy, MaskingError> {
        let subtrees = self.subtrees.iter().map(|(path, op)| (path.clone(), op.shape())).collect();
        Ok(ContractPolicy { leaves: actions(&self.fields, keys)?, subtrees })
    }

    /// Returns the policy of the Kafka key, or `None` if the key is the text of a leaf.
    ///
    /// # Errors
    /// [`MaskingError`]: a key is missing from the ring.
    pub fn key_policy(&self, keys: &KeyRing) -> Result<Option<ContractPolicy>, MaskingError> {
        let Some(key) = self.record_key.schema() else { return Ok(None) };
        Ok(Some(ContractPolicy { leaves: actions(&key.fields, keys)?, subtrees: BTreeMap::new() }))
    }

    /// Returns the mask for a Kafka key that is the text of a leaf.
    ///
    /// # Errors
    /// [`MaskingError`]: a key is missing from the ring, or the Kafka key has a schema of its own.
    pub fn key_mask(&self, keys: &KeyRing) -> Result<KeyMask, MaskingError> {
        // The key's leaf.
        let Some(path) = self.record_key.leaf().map(str::to_owned) else {
            let why = "the Kafka key has a schema of its own, and is not the text of a leaf".to_owned();
            return Err(MaskingError::Unsupported { path: KEY_FILE.to_owned(), why });
        };

        // Its operation. A contract that was read without findings has no other one here.
        let pseudonym = match self.field(&path).map(|field| &field.op) {
            Some(MaskOperation::Keep) => None,
            Some(MaskOperation::Hmac(pseudonym)) => {
                let primed = PseudonymFn::new(pseudonym, keys)
                    .map_err(|source| MaskingError::Key { path: path.clone(), source })?;
                Some(primed)
            }
            _ => {
                let why = "expected `keep` or `hmac` for the record key".to_owned();
                return Err(MaskingError::Unsupported { path, why });
            }
        };
        Ok(KeyMask { path, pseudonym })
    }
}

/// Returns each leaf with its action.
fn actions(
    fields: &[ContractField],
    keys: &KeyRing,
) -> Result<BTreeMap<String, (LeafInfo, LeafAction)>, MaskingError> {
    let ready = |field: &ContractField| {
        let action = field.op.action(&field.leaf.path, &field.leaf.leaf, keys)?;
        Ok((field.leaf.path.clone(), (field.leaf.clone(), action)))
    };
    fields.iter().map(ready).collect()
}

impl KeyMask {
    /// Appends the masked form of a key, which is the UTF-8 text of the record key's field. On error `out`
    /// stays as it was.
    ///
    /// # Errors
    /// An [`OutcomeReason`] of class masking if the key is not UTF-8.
    pub fn apply(&self, key: &[u8], out: &mut Vec<u8>) -> Result<(), OutcomeReason> {
        let refused = |why| OutcomeReason::new(ReasonClass::Masking, why).at(self.path.clone(), None);
        // The field is a text. Other bytes cannot be its value, even if they would pass unmasked.
        if std::str::from_utf8(key).is_err() {
            return Err(refused("a key in UTF-8".into()));
        }
        match &self.pseudonym {
            Some(pseudonym) => pseudonym.append(key, out).map_err(refused),
            None => {
                out.extend_from_slice(key);
                Ok(())
            }
        }
    }
}

impl LeafPolicy for ContractPolicy {
    fn action(&self, leaf: &LeafInfo) -> Option<LeafAction> {
        let (known, action) = self.leaves.get(&leaf.path)?;
        // A leaf of another type is another leaf: the operation was checked against this type only.
        (known.leaf == leaf.leaf).then(|| action.clone())
    }

    fn subtree(&self, path: &str) -> Option<LeafAction> {
        self.subtrees.get(path).cloned()
    }
}

/// Returns the action of one operation for one leaf, without a contract. The command line tries policies with
/// it. `operation` is JSON in the form of a contract's `masking`, for example `{"op": "keep"}`.
///
/// # Errors
/// The messages of all mistakes, separated by semicolons.
pub fn operation(
    operation: &serde_json::Value,
    leaf: &LeafInfo,
    keys: &KeyRing,
) -> Result<LeafAction, String> {
    // JSON is YAML, so the contracts' own reader reads it.
    let node = yaml::read(&operation.to_string()).map_err(|(_, message)| message)?;
    let mut findings = vec![];
    let op = masking::read(&node, &leaf.path, &mut FindingReport::new("", &mut findings));

    // An operation with findings is not used, even if it could be read.
    match op {
        Some(op) if findings.is_empty() => {
            op.action(&leaf.path, &leaf.leaf, keys).map_err(|error| error.to_string())
        }
        _ => Err(findings.iter().map(|finding| finding.message.as_str()).collect::<Vec<_>>().join("; ")),
    }
}

/// A policy without masking keys, to derive schemas.
pub(crate) struct ShapePolicy<'a> {
    fields: BTreeMap<&'a str, &'a MaskOperation>,
    subtrees: &'a BTreeMap<String, MaskOperation>,
}

impl<'a> ShapePolicy<'a> {
    /// Returns the policy of covered leaves and subtrees.
    pub(crate) fn new(fields: &'a [ContractField], subtrees: &'a BTreeMap<String, MaskOperation>) -> Self {
        let fields = fields.iter().map(|field| (field.leaf.path.as_str(), &field.op)).collect();
        Self { fields, subtrees }
    }
}

impl LeafPolicy for ShapePolicy<'_> {
    fn action(&self, leaf: &LeafInfo) -> Option<LeafAction> {
        self.fields.get(leaf.path.as_str()).map(|op| op.shape())
    }

    fn subtree(&self, path: &str) -> Option<LeafAction> {
        self.subtrees.get(path).map(MaskOperation::shape)
    }
}
