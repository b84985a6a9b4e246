//! The setting `recordKey`: a leaf of the value, a decision about a key that is no leaf's text, or `none`.

use super::headers::label;
use super::is_key;
use crate::classification::DataClassification;
use crate::contract::CleanupPolicy;
use crate::finding::FindingReport;
use crate::key::BareKey;
use crate::masking::{self, MaskOperation};
use crate::odcs;
use crate::section::{ContractSection, SectionPlace};
use crate::yaml::{YamlContent, YamlNode};

/// Path of the setting, for messages.
const PLACE: &str = "customProperties.recordKey";
/// The word for records without a key.
const NONE: &str = "none";

/// The key as the setting gives it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum KeySetting<'n> {
    /// The text of this leaf of the value.
    Leaf(&'n str),
    /// The key is no leaf's text, or there is none.
    Bare(BareKey),
    /// The key has a schema of its own.
    Schema,
}

/// Returns the setting. `None` if it is missing or wrong, which is then reported.
pub(super) fn read<'n>(
    document: &'n YamlNode,
    cleanup: CleanupPolicy,
    report: &mut FindingReport<'_>,
) -> Option<KeySetting<'n>> {
    // A key with a schema of its own has no other setting.
    let node = odcs::custom(document, "recordKey");
    let objects = document.get("schema").map(YamlNode::items).unwrap_or_default();
    if objects.iter().any(is_key) {
        if let Some(node) = node {
            let message = "the key is given twice: as a leaf's text, and with a schema of its own";
            let hint = "remove `recordKey`, or the object with `physicalType: key`".to_owned();
            report.add(node.line, PLACE, message, Some(hint));
        }
        return Some(KeySetting::Schema);
    }
    let Some(node) = node else {
        let hint =
            "add `- {property: recordKey, value: <a leaf>}`, or `value: none` for records without a key";
        report.add(document.line, PLACE, "`recordKey` is missing", Some(hint.to_owned()));
        return None;
    };

    // The word `none`, a leaf, or a decision.
    let bare = match &node.content {
        YamlContent::Text(text) if text == NONE => BareKey::none(),
        YamlContent::Text(text) if !text.trim().is_empty() => return Some(KeySetting::Leaf(text)),
        YamlContent::Map(_) => bare(node, report)?,
        _ => {
            let hint = "a leaf's path, `none`, or `{classification: …, masking: {op: hmac, …}}`".to_owned();
            report.add(node.line, PLACE, "expected the key's leaf or a decision about it", Some(hint));
            return None;
        }
    };

    // Compaction keeps the last record of each key.
    if cleanup.compacts() && matches!(bare.op, MaskOperation::Drop) {
        let message = "a compacted topic needs a key, and masked records would have none";
        report.add(node.line, PLACE, message, Some("keep or hmac the key".to_owned()));
        return None;
    }
    Some(KeySetting::Bare(bare))
}

/// Reads the decision about a key that is no leaf's text.
fn bare(node: &YamlNode, report: &mut FindingReport<'_>) -> Option<BareKey> {
    let known = ["classification", "tags", "masking"];
    let section = ContractSection::open(node, SectionPlace::Key(PLACE.to_owned()), &known, report)?;
    let label = label(&section, PLACE, report);
    let Some(masking) = section.get("masking") else {
        let hint = "add `masking: {op: hmac, …}`, `{op: drop}` or `{op: keep}`".to_owned();
        report.add(node.line, PLACE, "no masking: no key is kept by default", Some(hint));
        return None;
    };
    let op = masking::read(masking, PLACE, report)?;
    let (classification, tags) = label?;

    // Different keys must stay different, or go altogether.
    if !matches!(op, MaskOperation::Keep | MaskOperation::Hmac(_) | MaskOperation::Drop) {
        let message = format!("`{}` in a key could make two keys equal", op.name());
        report.add(masking.line, PLACE, message, Some("use keep, hmac or drop".to_owned()));
        return None;
    }
    if op.keeps() && (!tags.is_empty() || classification == DataClassification::Restricted) {
        let message = "tagged or restricted and kept as it is";
        report.add(masking.line, PLACE, message, Some("use hmac or drop".to_owned()));
        return None;
    }
    Some(BareKey { classification, tags, op })
}
