//! Every leaf of the value, or of the key, against every property of the contract: nothing is kept by silence.

use std::collections::{BTreeMap, BTreeSet};

use sluice_wire::{DatumSchema, LeafInfo, LeafKind, LogicalType};

use crate::avsc::{self, AvroPathInfo, AvroPathKind};
use crate::contract::ContractField;
use crate::finding::{FindingReport, did_you_mean};
use crate::masking::{self, MaskOperation};
use crate::odcs::{self, OdcsProperty};
use crate::yaml::YamlNode;

/// Custom properties of a property that mean something here.
const KNOWN: [&str; 1] = ["masking"];
const CLASSIFICATIONS: [&str; 4] = ["public", "internal", "confidential", "restricted"];

/// What the contract says of the value, leaf by leaf and, where a whole part goes, part by part.
pub struct LeafCoverage {
    pub(crate) fields: Vec<ContractField>,
    pub(crate) subtrees: BTreeMap<String, MaskOperation>,
    /// Line of the property at each path.
    pub(crate) lines: BTreeMap<String, u32>,
}

/// Which part of a record a schema is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordPart {
    /// The key.
    Key,
    /// The value.
    Value,
}

impl RecordPart {
    const fn word(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Value => "value",
        }
    }
}

/// The schema's side of the comparison.
pub struct SchemaSide<'a> {
    pub(crate) part: RecordPart,
    pub(crate) file: &'a str,
    pub(crate) text: &'a str,
    pub(crate) schema: &'a DatumSchema,
}

/// Compares the two. The coverage is complete only if nothing was reported.
pub(crate) fn check(
    value: &SchemaSide<'_>,
    object: &YamlNode,
    report: &mut FindingReport<'_>,
) -> LeafCoverage {
    let leaves = value.schema.leaves();
    let json = serde_json::from_str(value.text).unwrap_or_default();
    let entries = avsc::paths(&json);
    if value.part == RecordPart::Value
        && entries.get("").is_none_or(|entry| entry.kind != AvroPathKind::Record)
    {
        let hint = Some("masked topics and tables hold records: make it the field of one".to_owned());
        FindingReport::beside(value.file, report).add(None, "", "the value is no record", hint);
        return LeafCoverage { fields: Vec::new(), subtrees: BTreeMap::new(), lines: BTreeMap::new() };
    }
    if leaves.is_empty() {
        report.add(object.line, "", format!("{} has no leaves, or too many to list", value.file), None);
    }
    let mut declared = declared(object, report);
    if value.part == RecordPart::Key && entries.get("").is_some_and(|entry| entry.kind == AvroPathKind::Leaf)
    {
        // A key need not be a record; its one leaf has no name of its own.
        if let Some(only) = declared.remove(RecordPart::Key.word()) {
            declared.insert(String::new(), OdcsProperty { path: String::new(), ..only });
        }
    }
    let mut check = CoverageCheck { value, entries, ops: BTreeMap::new(), misread: BTreeSet::new(), report };
    for (path, property) in &declared {
        check.property(path, property, &leaves);
    }
    let lines = declared.iter().map(|(path, property)| (path.clone(), property.node.line)).collect();
    let mut coverage = LeafCoverage { fields: Vec::new(), subtrees: BTreeMap::new(), lines };
    for leaf in leaves {
        if let Some(field) = check.leaf(leaf, &declared, object.line) {
            coverage.fields.push(field);
        }
    }
    for (path, op) in check.ops {
        if check.entries.get(&path).is_some_and(|entry| entry.kind != AvroPathKind::Leaf) {
            coverage.subtrees.insert(path, op);
        }
    }
    coverage
}

fn declared<'n>(object: &'n YamlNode, report: &mut FindingReport<'_>) -> BTreeMap<String, OdcsProperty<'n>> {
    let mut by_path = BTreeMap::new();
    for property in odcs::properties(object, report) {
        let (path, line) = (property.path.clone(), property.node.line);
        if by_path.insert(path.clone(), property).is_some() {
            report.add(line, path, "this property stands here twice", Some("leave one out".to_owned()));
        }
    }
    by_path
}

struct CoverageCheck<'a, 'r, 'f> {
    value: &'a SchemaSide<'a>,
    entries: BTreeMap<String, AvroPathInfo>,
    /// Operations read so far, by path.
    ops: BTreeMap<String, MaskOperation>,
    /// Paths whose operation could not be read.
    misread: BTreeSet<String>,
    report: &'r mut FindingReport<'f>,
}

impl CoverageCheck<'_, '_, '_> {
    /// A property: is there such a path, and does what is said of it fit?
    fn property(&mut self, path: &str, property: &OdcsProperty<'_>, leaves: &[LeafInfo]) {
        let node = property.node;
        odcs::check_custom(node, &KNOWN, path, self.report);
        let Some(entry) = self.entries.get(path).cloned() else {
            let hint = did_you_mean(path, self.entries.keys().map(String::as_str));
            let message = format!("there is no such field in {}", self.value.file);
            self.report.add(node.line, path, message, hint);
            return;
        };
        self.tags(path, node, &entry);
        self.shape(path, property, &entry, leaves);
        let Some(masking) = odcs::custom(node, "masking") else { return };
        let Some(op) = masking::read(masking, path, self.report) else {
            // Reported; noted, so that nothing is reported that only follows from it. No contract comes of it.
            self.misread.insert(path.to_owned());
            self.ops.insert(path.to_owned(), MaskOperation::Keep);
            return;
        };
        if entry.kind != AvroPathKind::Leaf {
            if property.inner {
                let message = "masking is said of the whole and of its parts";
                self.report.add(masking.line, path, message, Some("say it of one of them".to_owned()));
            } else if !matches!(op, MaskOperation::Drop | MaskOperation::Null) {
                let message =
                    format!("`{}` cannot be said of a whole record, array, map or union", op.name());
                self.report.add(masking.line, path, message, Some("say it of every leaf".to_owned()));
            }
        }
        self.ops.insert(path.to_owned(), op);
    }

    fn tags(&mut self, path: &str, node: &YamlNode, entry: &AvroPathInfo) {
        let mut tags = node.texts_at("tags");
        tags.sort_unstable();
        tags.dedup();
        if tags != entry.tags {
            let line =
                avsc::line_of(self.value.text, path).map_or(String::new(), |line| format!(" line {line}"));
            let message = format!(
                "tags differ: {} here, {} in {}{line}",
                listed(&tags),
                listed(&entry.tags),
                self.value.file
            );
            let line = node.get("tags").unwrap_or(node).line;
            self.report.add(line, path, message, Some("write the same tags in both".to_owned()));
        }
    }

    fn shape(&mut self, path: &str, property: &OdcsProperty<'_>, entry: &AvroPathInfo, leaves: &[LeafInfo]) {
        let node = property.node;
        let leaf = leaves.iter().find(|leaf| leaf.path == path);
        let expected: &[&str] = match (entry.kind, leaf) {
            (AvroPathKind::Record | AvroPathKind::Map, _) => &["object"],
            (AvroPathKind::Array, _) => &["array"],
            (AvroPathKind::Union, _) | (AvroPathKind::Leaf, None) => &[],
            (AvroPathKind::Leaf, Some(leaf)) => logical_types(leaf),
        };
        let logical = node.get("logicalType");
        if let Some(said) = logical.and_then(YamlNode::text)
            && let Some(first) = expected.first()
            && !expected.contains(&said)
        {
            let message = format!("logicalType is `{said}`, the field in {} is not", self.value.file);
            let hint = format!("`logicalType: {first}`");
            self.report.add(logical.unwrap_or(node).line, path, message, Some(hint));
        }
        let physical = node.text_at("physicalType");
        for (kind, word) in [(AvroPathKind::Map, "map"), (AvroPathKind::Union, "union")] {
            if entry.kind == kind && property.inner && physical != Some(word) {
                let message = format!("the field in {} is a {word}", self.value.file);
                self.report.add(node.line, path, message, Some(format!("`physicalType: {word}`")));
            }
        }
        // Map keys, items and branches are there or not with what they stand in.
        let optional_place = path.ends_with([']', '}', '>']);
        if !optional_place {
            let required = node.get("required").map(|node| &node.content);
            let required = required == Some(&crate::yaml::YamlContent::Boolean(true));
            if required == entry.nullable {
                let message = match required {
                    true => format!("it is required here, and may be null in {}", self.value.file),
                    false => format!("it is not required here, and may not be null in {}", self.value.file),
                };
                let hint = Some(format!("`required: {}`", !entry.nullable));
                self.report.add(node.get("required").unwrap_or(node).line, path, message, hint);
            }
        }
    }

    /// A leaf: is there a policy, and can it be applied?
    fn leaf(
        &mut self,
        leaf: LeafInfo,
        declared: &BTreeMap<String, OdcsProperty<'_>>,
        line: u32,
    ) -> Option<ContractField> {
        let path = leaf.path.as_str();
        let place = ancestors(path).find_map(|place| declared.get(place));
        let said = place.filter(|place| place.path == path || self.ops.contains_key(&place.path));
        let Some(said) = said else {
            let hint = format!(
                "add `{{name: {}, …, classification: …, customProperties: [{{property: masking, value: {{op: …}}}}]}}`",
                path.rsplit(['.', '[', '{', '<']).next().filter(|name| !name.is_empty()).unwrap_or("key")
            );
            let part = self.value.part.word();
            let message = format!("a leaf of the {part} without a policy: nothing is kept by silence");
            self.report.add(place.map_or(line, |place| place.node.line), path, message, Some(hint));
            return None;
        };
        let at = said.node.line;
        let Some(op) = self.ops.get(&said.path).cloned() else {
            let hint = "add `customProperties: [{property: masking, value: {op: …}}]`".to_owned();
            let message = "no masking: nothing is kept by silence";
            self.report.add(at, path, message, Some(hint));
            return None;
        };
        let classification = said.node.text_at("classification");
        if classification.is_none() {
            let hint = Some(format!("one of {}", CLASSIFICATIONS.join(", ")));
            self.report.add(at, path, "no classification", hint);
        }
        let tags = self.entries.get(path).map(|entry| entry.tags.clone()).unwrap_or_default();
        if !self.misread.contains(&said.path) {
            self.fits(&leaf, &op, classification, &tags, at);
        }
        Some(ContractField { classification: classification.unwrap_or_default().to_owned(), leaf, op, tags })
    }

    fn fits(
        &mut self,
        leaf: &LeafInfo,
        op: &MaskOperation,
        classification: Option<&str>,
        tags: &[String],
        line: u32,
    ) {
        let path = leaf.path.as_str();
        if let Err(why) = op.output(&leaf.leaf) {
            let hint = Some("drop and null fit every type".to_owned());
            self.report.add(line, path, format!("`{}` does not fit: {why}", op.name()), hint);
        }
        if path.ends_with("{key}")
            && !matches!(op, MaskOperation::Keep | MaskOperation::Hmac(_) | MaskOperation::Drop)
        {
            let message = format!("`{}` on the keys of a map could make two of them one", op.name());
            self.report.add(line, path, message, Some("keep or hmac, or drop the map".to_owned()));
        }
        if op.keeps() && !tags.is_empty() {
            let message = format!("tagged {} and kept as it is", tags.join(", "));
            self.report.add(
                line,
                path,
                message,
                Some("mask it, or take the tag away in both files".to_owned()),
            );
        }
        if op.keeps() && classification == Some("restricted") {
            let hint = Some("mask it, or say another classification".to_owned());
            self.report.add(line, path, "classified restricted and kept as it is", hint);
        }
    }
}

/// The path itself and every path above it, inner first.
pub fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| {
        let cut = path.rfind(['.', '[', '{', '<'])?;
        Some(&path[..cut]).filter(|above| !above.is_empty())
    })
}

/// The standard's words for a leaf's type, the best first.
pub fn logical_types(leaf: &LeafInfo) -> &'static [&'static str] {
    match (leaf.leaf.kind, leaf.leaf.logical) {
        (_, Some(LogicalType::Decimal { .. } | LogicalType::BigDecimal)) => &["number"],
        (_, Some(LogicalType::Uuid)) => &["string"],
        (_, Some(LogicalType::Date)) => &["date"],
        (_, Some(LogicalType::TimeMillis | LogicalType::TimeMicros)) => &["time"],
        (
            _,
            Some(LogicalType::TimestampMillis | LogicalType::TimestampMicros | LogicalType::TimestampNanos),
        ) => &["timestamp"],
        (
            _,
            Some(
                LogicalType::LocalTimestampMillis
                | LogicalType::LocalTimestampMicros
                | LogicalType::LocalTimestampNanos,
            ),
        ) => &["timestamp"],
        (LeafKind::Boolean, _) => &["boolean"],
        (LeafKind::Int | LeafKind::Long, _) => &["integer", "number"],
        (LeafKind::Float | LeafKind::Double, _) => &["number"],
        (LeafKind::String | LeafKind::Enum, _) => &["string"],
        // The standard has no word for bytes.
        (LeafKind::Null | LeafKind::Bytes | LeafKind::Fixed, _) => &[],
    }
}

fn listed<T: AsRef<str>>(tags: &[T]) -> String {
    match tags {
        [] => "none".to_owned(),
        tags => tags.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join(", "),
    }
}
