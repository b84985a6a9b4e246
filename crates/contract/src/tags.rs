//! Tags: the words for them in a schema that are not read, and the labels that every path inherits.
//!
//! A label is a set of tags and a classification. A path has its own label, from the schema and from the
//! contract, and those of everything above it: the strictest classification and all tags count.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::avsc::AvroPathMap;
use crate::classification::DataClassification;
use crate::coverage::ancestors;

/// The only key of tags in a schema.
const TAGS: &str = "confluent:tags";
/// Other spellings, without case and without characters that are no letters. A tool or a person that writes
/// one of them means a tag, and a tag that is not read would leave its leaf open.
const LOOKALIKES: [&str; 16] = [
    "confluenttags",
    "confluenttag",
    "tags",
    "tag",
    "pii",
    "phi",
    "ispii",
    "personal",
    "personaldata",
    "classification",
    "dataclassification",
    "sensitive",
    "sensitivity",
    "confidential",
    "restricted",
    "gdpr",
];
/// Words of a contract's own tags that mark personal data. Other tags of a contract as a whole, for example
/// `finance`, are its categories.
const PERSONAL: [&str; 12] = [
    "pii",
    "phi",
    "pci",
    "spi",
    "gdpr",
    "personal",
    "sensitive",
    "private",
    "confidential",
    "restricted",
    "secret",
    "quasi",
];

/// The label of a path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PathLabel {
    pub(crate) tags: BTreeSet<String>,
    /// The strictest one; `None` if neither the path nor anything above it has one.
    pub(crate) classification: Option<DataClassification>,
}

impl PathLabel {
    /// Adds another label. Returns true if this one has changed.
    fn add(&mut self, other: &Self) -> bool {
        let before = (self.tags.len(), self.classification);
        self.tags.extend(other.tags.iter().cloned());
        self.classification = self.classification.max(other.classification);
        before != (self.tags.len(), self.classification)
    }
}

/// Returns the label of every path of a schema. `own` holds the labels that the contract gives to paths by
/// itself; the path of the whole value is empty.
pub(crate) fn inherit(
    schema: &AvroPathMap,
    own: &BTreeMap<String, PathLabel>,
) -> BTreeMap<String, PathLabel> {
    // Each path's own label, from both files.
    let mut labels: BTreeMap<String, PathLabel> = BTreeMap::new();
    for (path, info) in &schema.entries {
        let mut label = own.get(path).cloned().unwrap_or_default();
        label.tags.extend(info.tags.iter().cloned());
        labels.insert(path.clone(), label);
    }

    // A path sorts behind those above it, so that one pass from the top reaches every leaf. A record inside
    // itself hands its label on to the record above it, which needs another pass.
    loop {
        let mut is_final = true;
        let paths: Vec<String> = labels.keys().cloned().collect();
        for path in &paths {
            let above = ancestors(path).skip(1).find(|above| labels.contains_key(*above)).unwrap_or("");
            if let Some(above) = labels.get(above).filter(|_| !path.is_empty()).cloned()
                && let Some(label) = labels.get_mut(path)
            {
                label.add(&above);
            }
        }
        for (record, field) in &schema.returns {
            if let Some(inside) = labels.get(field).cloned()
                && let Some(label) = labels.get_mut(record)
            {
                is_final &= !label.add(&inside);
            }
        }
        if is_final {
            return labels;
        }
    }
}

/// Returns the tags of a contract as a whole that mark personal data.
pub(crate) fn personal<'t>(tags: &[&'t str]) -> Vec<&'t str> {
    let words = |tag: &str| -> bool {
        let lower = tag.to_lowercase();
        lower.split(|c: char| !c.is_ascii_alphabetic()).any(|word| PERSONAL.contains(&word))
    };
    tags.iter().copied().filter(|tag| words(tag)).collect()
}

/// Returns true if a key looks like one for tags and is none that is read.
pub(crate) fn is_lookalike(key: &str) -> bool {
    let plain: String = key.chars().filter(char::is_ascii_alphabetic).collect::<String>().to_lowercase();
    key != TAGS && (LOOKALIKES.contains(&plain.as_str()) || plain.starts_with("confluenttag"))
}

/// Returns the mistakes of a schema's tags: keys that look like tags and are not read, and tags in a wrong
/// form.
pub(crate) fn mistakes(schema: &Value) -> Vec<String> {
    let mut found = BTreeSet::new();
    search(schema, true, &mut found);
    found.into_iter().collect()
}

/// Searches one JSON value. `is_read` is true for a type or a field, whose tags are read.
fn search(value: &Value, is_read: bool, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| search(item, is_read, found)),
        Value::Object(object) => {
            for (key, inner) in object {
                match key.as_str() {
                    // Tags are a list of texts, and only a type or a field has some.
                    TAGS if !is_read => {
                        found.insert(format!("`{TAGS}` is not read at this place"));
                    }
                    TAGS => {
                        let is_text = |tag: &Value| tag.as_str().is_some_and(|tag| !tag.trim().is_empty());
                        if !inner.as_array().is_some_and(|tags| tags.iter().all(is_text)) {
                            found.insert(format!("`{TAGS}` is not a list of texts"));
                        }
                    }
                    // Values of records, names and descriptions.
                    "default" | "doc" | "name" | "namespace" | "aliases" | "symbols" => {}
                    "type" | "items" | "values" | "fields" => search(inner, is_read, found),
                    other if is_lookalike(other) => {
                        found.insert(format!("`{other}` looks like tags and is not read"));
                    }
                    _ => search(inner, false, found),
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn other_spellings_and_places_are_mistakes() {
        for (attribute, value) in [
            ("Confluent:Tags", json!(["PII"])),
            ("confluent.tags", json!(["PII"])),
            ("confluent:tag", json!("PII")),
            ("tags", json!(["PII"])),
            ("pii", json!(true)),
            ("is_pii", json!(true)),
            ("classification", json!("restricted")),
            ("metadata", json!({"confluent:tags": ["PII"]})),
            ("connect.parameters", json!({"tags": "PII"})),
            ("confluent:tags", json!("PII")),
            ("confluent:tags", json!([1])),
        ] {
            let mut field = json!({"name": "a", "type": "string"});
            field[attribute] = value;
            let schema = json!({"type": "record", "name": "R", "fields": [field]});
            assert_eq!(mistakes(&schema).len(), 1, "{attribute}");
        }
        let fine = json!({"type": "record", "name": "R", "confluent:tags": [], "fields": [
            {"name": "tags", "type": "string", "default": "tags", "confluent:tags": ["PII"], "logicalType": "x"},
            {"name": "m", "type": {"type": "map", "values": {"type": "string", "confluent:tags": ["A"]}}, "default": {"pii": "x"}}]});
        assert_eq!(mistakes(&fine), [""; 0]);
    }

    #[test]
    fn a_tag_on_a_record_inside_itself_reaches_all_of_its_leaves() {
        let schema = json!({"type": "record", "name": "A", "fields": [
            {"name": "name", "type": "string"},
            {"name": "child", "type": ["null", "A"], "confluent:tags": ["PII"]}]});
        let labels = inherit(&crate::avsc::paths(&schema), &BTreeMap::new());
        assert!(labels["name"].tags.contains("PII"));
    }
}
