//! A contract's policies in the walk's terms.

use std::collections::BTreeMap;

use sluice_core::{OutcomeReason, ReasonClass};
use sluice_wire::{LeafAction, LeafInfo, LeafPolicy};

use crate::contract::{Contract, ContractField};
use crate::contracts::KEY_FILE;
use crate::finding::FindingReport;
use crate::masking::{self, KeyRing, MaskOperation, MaskingError, PseudonymFn};
use crate::yaml;

/// What becomes of every leaf of one contract's value, or of its key. Covers exactly the leaves of the contract's
/// own schema: one that the contract does not know gets no action, and the walk refuses it.
pub struct ContractPolicy {
    leaves: BTreeMap<String, (LeafInfo, LeafAction)>,
    subtrees: BTreeMap<String, LeafAction>,
}

/// Masks Kafka keys as the field they repeat is masked, so that key and field stay equal.
pub struct KeyMask {
    path: String,
    pseudonym: Option<PseudonymFn>,
}

impl Contract {
    /// The policy with its keys, ready to be compiled against the writer schema of a record.
    ///
    /// # Errors
    /// [`MaskingError`]: a key is missing from the ring.
    pub fn policy(&self, keys: &KeyRing) -> Result<ContractPolicy, MaskingError> {
        let subtrees = self.subtrees.iter().map(|(path, op)| (path.clone(), op.shape())).collect();
        Ok(ContractPolicy { leaves: actions(&self.fields, keys)?, subtrees })
    }

    /// The same for the Kafka key, if it has a schema of its own.
    ///
    /// # Errors
    /// [`MaskingError`]: a key is missing from the ring.
    pub fn key_policy(&self, keys: &KeyRing) -> Result<Option<ContractPolicy>, MaskingError> {
        let Some(key) = self.record_key.schema() else { return Ok(None) };
        Ok(Some(ContractPolicy { leaves: actions(&key.fields, keys)?, subtrees: BTreeMap::new() }))
    }

    /// What masks a Kafka key that is the text of a leaf.
    ///
    /// # Errors
    /// [`MaskingError`]: a key is missing from the ring, or the Kafka key has a schema of its own.
    pub fn key_mask(&self, keys: &KeyRing) -> Result<KeyMask, MaskingError> {
        let Some(path) = self.record_key.leaf().map(str::to_owned) else {
            let why = "the key has a schema of its own".to_owned();
            return Err(MaskingError::Unsupported { path: KEY_FILE.to_owned(), why });
        };
        let pseudonym = match self.field(&path).map(|field| &field.op) {
            Some(MaskOperation::Keep) => None,
            Some(MaskOperation::Hmac(pseudonym)) => {
                let primed = PseudonymFn::new(pseudonym, keys)
                    .map_err(|source| MaskingError::Key { path: path.clone(), source })?;
                Some(primed)
            }
            _ => {
                let why = "the record key must be kept or hmac".to_owned();
                return Err(MaskingError::Unsupported { path, why });
            }
        };
        Ok(KeyMask { path, pseudonym })
    }
}

/// Each leaf with what is done to it.
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
    /// Appends the masked form of a key, the UTF-8 text of the record key's field. On error `out` is as it was.
    ///
    /// # Errors
    /// A [`OutcomeReason`] of class masking if the key is not UTF-8.
    pub fn apply(&self, key: &[u8], out: &mut Vec<u8>) -> Result<(), OutcomeReason> {
        let refused = |why| OutcomeReason::new(ReasonClass::Masking, why).at(self.path.clone(), None);
        if std::str::from_utf8(key).is_err() {
            return Err(refused("a key of UTF-8 text".into()));
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
        // A leaf of another type is another leaf: an operation is made for the type it was checked against.
        (known.leaf == leaf.leaf).then(|| action.clone())
    }

    fn subtree(&self, path: &str) -> Option<LeafAction> {
        self.subtrees.get(path).cloned()
    }
}

/// One operation for one leaf, outside any contract: what the command line tries policies with. `operation` is JSON as
/// it stands under `masking` in a contract.
///
/// # Errors
/// What is wrong with it, in words.
pub fn operation(
    operation: &serde_json::Value,
    leaf: &LeafInfo,
    keys: &KeyRing,
) -> Result<LeafAction, String> {
    // JSON is YAML, so the contracts' own reader reads it.
    let node = yaml::read(&operation.to_string()).map_err(|(_, message)| message)?;
    let mut findings = vec![];
    let op = masking::read(&node, &leaf.path, &mut FindingReport::new("", &mut findings));
    match op {
        Some(op) if findings.is_empty() => {
            op.action(&leaf.path, &leaf.leaf, keys).map_err(|error| error.to_string())
        }
        _ => Err(findings.iter().map(|finding| finding.message.as_str()).collect::<Vec<_>>().join("; ")),
    }
}

/// The same without keys, to derive schemas.
pub(crate) struct ShapePolicy<'a> {
    fields: BTreeMap<&'a str, &'a MaskOperation>,
    subtrees: &'a BTreeMap<String, MaskOperation>,
}

impl<'a> ShapePolicy<'a> {
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
