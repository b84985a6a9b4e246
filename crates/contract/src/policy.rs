//! A contract's policies in the terms of the walk over bytes.

use std::collections::BTreeMap;

use sluice_core::{OutcomeReason, ReasonClass};
use sluice_wire::{LeafAction, LeafInfo, LeafKind, LeafPolicy, LeafType, LeafValue, LogicalType};

use crate::contract::{Contract, ContractField};
use crate::contracts::KEY_FILE;
use crate::finding::FindingReport;
use crate::masking::{self, DecimalText, KeyRing, MaskOperation, MaskingError, TextMask};
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
    /// Path of the field.
    path: String,
    /// The field's type, of which the key is the text.
    leaf: LeafType,
    mask: TextMask,
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
        match self.field(&path) {
            Some(field) if matches!(field.op, MaskOperation::Keep | MaskOperation::Hmac(_)) => {
                let mask = TextMask::new(&field.op, &path, keys)?;
                Ok(KeyMask { leaf: field.leaf.leaf.clone(), path, mask })
            }
            _ => {
                let why = "expected `keep` or `hmac` for the record key".to_owned();
                Err(MaskingError::Unsupported { path, why })
            }
        }
    }

    /// Returns the mask for a key that is no leaf's text; `None` if the contract has no such key, or if masked
    /// records have no key.
    ///
    /// # Errors
    /// [`MaskingError`]: a key is missing from the ring.
    pub fn bare_key_mask(&self, keys: &KeyRing) -> Result<Option<TextMask>, MaskingError> {
        match self.record_key.bare().filter(|key| !matches!(key.op, MaskOperation::Drop)) {
            Some(key) => TextMask::new(&key.op, "(key)", keys).map(Some),
            None => Ok(None),
        }
    }

    /// Returns the headers that go on, each with its mask.
    ///
    /// # Errors
    /// [`MaskingError`]: a key is missing from the ring.
    pub fn header_masks(&self, keys: &KeyRing) -> Result<Vec<(String, TextMask)>, MaskingError> {
        let masks = self.headers.iter().map(|header| {
            let place = format!("(header).{}", header.name);
            Ok((header.name.clone(), TextMask::new(&header.op, &place, keys)?))
        });
        masks.collect()
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
    /// Returns the path of the field whose text is the key.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Checks that a key is the text of the field in its own record. Nothing else may pass as a key: it would
    /// not be covered by any policy.
    ///
    /// # Errors
    /// An [`OutcomeReason`] of class masking.
    pub fn check(&self, key: &[u8], field: LeafValue<'_>) -> Result<(), OutcomeReason> {
        let is_same = match field {
            LeafValue::String(text) => key == text.as_bytes(),
            LeafValue::Int(number) => key == DecimalText::of(number.into()).as_bytes(),
            LeafValue::Long(number) => key == DecimalText::of(number).as_bytes(),
            // A null or a leaf of another type has no text that a key could be.
            _ => false,
        };
        match is_same {
            true => Ok(()),
            false => Err(self.refused("a key that is the text of this field")),
        }
    }

    /// Checks that the key of a tombstone can be the text of the field. There is no value to compare it with.
    ///
    /// # Errors
    /// An [`OutcomeReason`] of class masking.
    pub fn check_alone(&self, key: &[u8]) -> Result<(), OutcomeReason> {
        let text = std::str::from_utf8(key).map_err(|_| self.refused("a key in UTF-8"))?;
        // A number has one text only: `07` and `+7` are none.
        let is_number = |number: Option<i64>| number.is_some_and(|n| DecimalText::of(n).as_bytes() == key);
        let fits = match (self.leaf.kind, self.leaf.logical) {
            (LeafKind::Int, _) => is_number(text.parse::<i32>().ok().map(i64::from)),
            (LeafKind::Long, _) => is_number(text.parse::<i64>().ok()),
            (LeafKind::String, Some(LogicalType::Uuid)) => is_uuid(text),
            _ => true,
        };
        match fits {
            true => Ok(()),
            false => Err(self.refused("a key that reads as this field")),
        }
    }

    /// Appends the masked form of a key that was checked before. On error `out` stays as it was.
    ///
    /// # Errors
    /// An [`OutcomeReason`] of class masking.
    pub fn apply(&self, key: &[u8], out: &mut Vec<u8>) -> Result<(), OutcomeReason> {
        self.mask.apply(key, out).map(drop).map_err(|why| self.refused(why))
    }

    /// Returns the reason of a dead letter at the field.
    fn refused(&self, why: impl Into<std::borrow::Cow<'static, str>>) -> OutcomeReason {
        OutcomeReason::new(ReasonClass::Masking, why).at(self.path.clone(), None)
    }
}

/// Returns true for the text of a UUID (RFC 9562, section 4).
fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
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
