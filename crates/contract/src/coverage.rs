//! The comparison of every leaf of the value, or of the key, with every property of the contract. No leaf is
//! kept by default.

use std::collections::{BTreeMap, BTreeSet};

use sluice_wire::{DatumSchema, LeafInfo, LeafKind, LogicalType};

use crate::avsc::{self, AvroPathInfo, AvroPathKind, AvroPathMap};
use crate::classification::DataClassification;
use crate::contract::ContractField;
use crate::finding::{FindingReport, did_you_mean};
use crate::masking::{self, MaskOperation, MaskingFloors};
use crate::odcs::{self, OdcsProperty};
use crate::tags::{self, PathLabel};
use crate::yaml::{YamlContent, YamlNode};

/// Custom properties of a property that the fleet knows.
const KNOWN: [&str; 1] = ["masking"];

/// The policies of a value or key: by leaf and, where a whole record, array, map or union goes, by its path.
pub struct LeafCoverage {
    /// Covered leaves, in schema order.
    pub(crate) fields: Vec<ContractField>,
    /// Operations for whole records, arrays, maps and unions: drop or null.
    pub(crate) subtrees: BTreeMap<String, MaskOperation>,
    /// Line of the property at each path.
    pub(crate) lines: BTreeMap<String, u32>,
}

/// The part of a record that a schema describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordPart {
    /// The key.
    Key,
    /// The value.
    Value,
}

impl RecordPart {
    /// Returns the word for messages, which is also the name of the only property of a key that is no record.
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
    /// Tags that the contract gives to everything in it.
    pub(crate) tags: Vec<&'a str>,
    /// The least that masks of tagged and restricted leaves hide.
    pub(crate) floors: &'a MaskingFloors,
}

/// Compares a schema with a schema object of the contract. The coverage is complete only if nothing was
/// reported.
pub(crate) fn check(
    value: &SchemaSide<'_>,
    object: &YamlNode,
    report: &mut FindingReport<'_>,
) -> LeafCoverage {
    // The schema's side: its leaves, and the kind and tags of every path.
    let leaves = value.schema.leaves();
    let json = serde_json::from_str(value.text).unwrap_or_default();
    let mut map = avsc::paths(&json);
    report_schema(value, &json, &map, report);
    let entries = &map.entries;

    // Masked topics and tables hold records. A value of another type has no names to speak of.
    if value.part == RecordPart::Value
        && entries.get("").is_none_or(|entry| entry.kind != AvroPathKind::Record)
    {
        let hint = Some("masked topics and tables hold records: make the value a field of one".to_owned());
        FindingReport::beside(value.file, report).add(None, "", "the value is not a record", hint);
        return LeafCoverage { fields: Vec::new(), subtrees: BTreeMap::new(), lines: BTreeMap::new() };
    }
    if leaves.is_empty() {
        report.add(object.line, "", format!("{} has no leaves, or too many to list", value.file), None);
    }

    // The contract's side: its properties by path.
    let mut declared = declared(object, report);
    if value.part == RecordPart::Key && entries.get("").is_some_and(|entry| entry.kind == AvroPathKind::Leaf)
    {
        // A key need not be a record. Its only leaf has no name, so that its path is empty.
        if let Some(only) = declared.remove(RecordPart::Key.word()) {
            declared.insert(String::new(), OdcsProperty { path: String::new(), ..only });
        }
    }

    // A record inside itself that is dropped hands nothing on to the record around it.
    map.returns.retain(|(_, field)| !ancestors(field).any(|path| is_dropped(declared.get(path))));

    // Each property against the schema, then each leaf against the properties.
    let labels = tags::inherit(&map, &own_labels(value, object, &declared, report));
    let entries = map.entries;
    let (ops, misread) = (BTreeMap::new(), BTreeSet::new());
    let mut check = CoverageCheck { value, entries, labels, ops, misread, report };
    for (path, property) in &declared {
        check.property(path, property, &leaves);
    }
    let lines = declared.iter().map(|(path, property)| (path.clone(), property.node.line)).collect();

    // Each leaf needs a policy: its own, or that of a record, array, map or union above it.
    let mut coverage = LeafCoverage { fields: Vec::new(), subtrees: BTreeMap::new(), lines };
    for leaf in leaves {
        if let Some(field) = check.leaf(leaf, &declared, object.line) {
            coverage.fields.push(field);
        }
    }

    // The walk needs the operations of whole parts by themselves.
    for (path, op) in check.ops {
        if check.entries.get(&path).is_some_and(|entry| entry.kind != AvroPathKind::Leaf) {
            coverage.subtrees.insert(path, op);
        }
    }
    coverage
}

/// Reports the mistakes of the schema alone: tags that are not read, and paths that tables and SQL cannot tell
/// apart.
fn report_schema(
    value: &SchemaSide<'_>,
    json: &serde_json::Value,
    map: &AvroPathMap,
    report: &mut FindingReport<'_>,
) {
    let mut report = FindingReport::beside(value.file, report);
    let hint = "write `\"confluent:tags\": [\"PII\"]` on the field, on its type or on the record".to_owned();
    for message in tags::mistakes(json) {
        // The mistake begins with the key, in backticks.
        let key = message.split('`').nth(1).unwrap_or_default().to_owned();
        let line = avsc::line_with(value.text, &format!("\"{key}\""));
        report.add(line, "", message, Some(hint.clone()));
    }

    // Branches of a union go by their name without namespace.
    for path in &map.shared {
        let message =
            "two branches of this union have the same name without namespace: they cannot be told apart";
        let hint = Some("give one of the types another name".to_owned());
        report.add(avsc::line_of(value.text, path), path.clone(), message, hint);
    }

    // SQL and tables do not tell names apart by case.
    let mut by_lower: BTreeMap<String, &str> = BTreeMap::new();
    for path in map.entries.keys() {
        if let Some(other) = by_lower.insert(path.to_lowercase(), path)
            // Fields below two such fields would only repeat it.
            && ancestors(path).skip(1).zip(ancestors(other).skip(1)).all(|(one, other)| one == other)
        {
            let message =
                format!("`{path}` and `{other}` differ by case only, and tables have one column for both");
            let hint = Some("rename one of them".to_owned());
            report.add(avsc::line_of(value.text, path), path.clone(), message, hint);
        }
    }
}

/// Returns the labels that the contract gives to each path by itself, and reports classifications that are not
/// in the list.
fn own_labels(
    value: &SchemaSide<'_>,
    object: &YamlNode,
    declared: &BTreeMap<String, OdcsProperty<'_>>,
    report: &mut FindingReport<'_>,
) -> BTreeMap<String, PathLabel> {
    // The object as a whole, which can also be the only property of a key that is no record.
    let whole = object.texts_at("tags").into_iter().chain(value.tags.iter().copied());
    let whole = PathLabel { tags: whole.map(str::to_owned).collect(), classification: None };
    let mut labels = BTreeMap::from([(String::new(), whole)]);

    for (path, property) in declared {
        let label = labels.entry(path.clone()).or_default();
        label.tags.extend(property.node.texts_at("tags").into_iter().map(str::to_owned));
        let Some(node) = property.node.get("classification") else { continue };
        let word = node.text().unwrap_or_default();
        label.classification = DataClassification::named(word);
        if label.classification.is_none() {
            let words = DataClassification::ALL.map(DataClassification::as_str);
            let hint = did_you_mean(word, words).unwrap_or_else(|| format!("one of {}", words.join(", ")));
            report.add(node.line, path.clone(), format!("`{word}` is not a classification"), Some(hint));
            // The leaf must not be reported as one without a classification, too.
            label.classification = Some(DataClassification::Public);
        }
    }
    labels
}

/// Returns true if nothing of a property's parts is in a masked record, because it is dropped or null.
fn is_dropped(property: Option<&OdcsProperty<'_>>) -> bool {
    let masking = property.and_then(|property| odcs::custom(property.node, "masking"));
    let op = masking.and_then(|masking| masking.get("op"));
    // `op: null` without quotes is YAML's null.
    op.is_some_and(|op| matches!(op.content, YamlContent::Null) || matches!(op.text(), Some("drop" | "null")))
}

/// Returns the properties of a schema object by path, and reports those that are given twice.
fn declared<'n>(object: &'n YamlNode, report: &mut FindingReport<'_>) -> BTreeMap<String, OdcsProperty<'n>> {
    let mut by_path = BTreeMap::new();
    for property in odcs::properties(object, report) {
        let (path, line) = (property.path.clone(), property.node.line);
        if by_path.insert(path.clone(), property).is_some() {
            report.add(line, path, "this property is given twice", Some("remove one".to_owned()));
        }
    }
    by_path
}

/// The comparison while it runs.
struct CoverageCheck<'a, 'r, 'f> {
    value: &'a SchemaSide<'a>,
    /// Every path of the schema.
    entries: BTreeMap<String, AvroPathInfo>,
    /// The label of every path, with those of everything above it.
    labels: BTreeMap<String, PathLabel>,
    /// Operations read so far, by path.
    ops: BTreeMap<String, MaskOperation>,
    /// Paths whose operation could not be read.
    misread: BTreeSet<String>,
    report: &'r mut FindingReport<'f>,
}

impl CoverageCheck<'_, '_, '_> {
    /// Checks one property: the path must exist, and tags, types and masking must fit the schema.
    fn property(&mut self, path: &str, property: &OdcsProperty<'_>, leaves: &[LeafInfo]) {
        // Find the path in the schema.
        let node = property.node;
        odcs::check_custom(node, &KNOWN, path, self.report);
        let Some(entry) = self.entries.get(path).cloned() else {
            let hint = did_you_mean(path, self.entries.keys().map(String::as_str));
            let message = format!("there is no such field in {}", self.value.file);
            self.report.add(node.line, path, message, hint);
            return;
        };

        // Compare tags and types.
        self.tags(path, node, &entry);
        self.shape(path, property, &entry, leaves);

        // Read the masking. A property without one is legal here: its parts may have their own.
        let Some(masking) = odcs::custom(node, "masking") else { return };
        let Some(op) = masking::read(masking, path, self.report) else {
            // The reader has reported the mistake. The path is noted, so that no mistake is reported that
            // only follows from this one. No contract is made, so `Keep` keeps nothing.
            self.misread.insert(path.to_owned());
            self.ops.insert(path.to_owned(), MaskOperation::Keep);
            return;
        };

        // A whole record, array, map or union can only go, and then its parts have no masking of their own.
        if entry.kind != AvroPathKind::Leaf {
            if property.inner {
                let message = "masking is given for the whole and for its parts";
                self.report.add(masking.line, path, message, Some("give it for one of them".to_owned()));
            } else if !matches!(op, MaskOperation::Drop | MaskOperation::Null) {
                let message =
                    format!("`{}` does not apply to a whole record, array, map or union", op.name());
                self.report.add(masking.line, path, message, Some("give every leaf an operation".to_owned()));
            }
        }
        self.ops.insert(path.to_owned(), op);
    }

    /// Compares the tags of a property with those of the schema. One file is enough, but two that disagree are
    /// a mistake.
    fn tags(&mut self, path: &str, node: &YamlNode, entry: &AvroPathInfo) {
        let mut tags = node.texts_at("tags");
        tags.sort_unstable();
        tags.dedup();
        let one_has_none = tags.is_empty() || entry.tags.is_empty();
        if !one_has_none && tags != entry.tags {
            // The line in the schema helps to find the other side.
            let line =
                avsc::line_of(self.value.text, path).map_or(String::new(), |line| format!(" line {line}"));
            let message = format!(
                "tags differ: {} here, {} in {}{line}",
                listed(&tags),
                listed(&entry.tags),
                self.value.file
            );
            let line = node.get("tags").unwrap_or(node).line;
            self.report.add(
                line,
                path,
                message,
                Some("write them into one file, or the same into both".to_owned()),
            );
        }
    }

    /// Compares the types of a property with the schema: logical type, physical type and nullability.
    fn shape(&mut self, path: &str, property: &OdcsProperty<'_>, entry: &AvroPathInfo, leaves: &[LeafInfo]) {
        // The logical type. The standard has no word for some types: then any word is right.
        let node = property.node;
        let leaf = leaves.iter().find(|leaf| leaf.path == path);
        let expected: &[&str] = match (entry.kind, leaf) {
            (AvroPathKind::Record | AvroPathKind::Map, _) => &["object"],
            (AvroPathKind::Array, _) => &["array"],
            (AvroPathKind::Union, _) | (AvroPathKind::Leaf, None) => &[],
            (AvroPathKind::Leaf, Some(leaf)) => logical_types(leaf),
        };
        let logical = node.get("logicalType");
        if let Some(given) = logical.and_then(YamlNode::text)
            && let Some(first) = expected.first()
            && !expected.contains(&given)
        {
            let message =
                format!("logicalType is `{given}`, expected `{first}` for the field in {}", self.value.file);
            let hint = format!("`logicalType: {first}`");
            self.report.add(logical.unwrap_or(node).line, path, message, Some(hint));
        }

        // Maps and unions with properties of their own need a physical type, since the standard has no words
        // for them.
        let physical = node.text_at("physicalType");
        for (kind, word) in [(AvroPathKind::Map, "map"), (AvroPathKind::Union, "union")] {
            if entry.kind == kind && property.inner && physical != Some(word) {
                let message = format!("the field in {} is a {word}", self.value.file);
                self.report.add(node.line, path, message, Some(format!("`physicalType: {word}`")));
            }
        }

        // Nullability. Map keys, items and branches exist together with their map, array or union: they have
        // none.
        let optional_place = path.ends_with([']', '}', '>']);
        if !optional_place {
            let required = node.get("required").map(|node| &node.content);
            let required = required == Some(&crate::yaml::YamlContent::Boolean(true));
            if required == entry.nullable {
                let message = match required {
                    true => format!("required here, but may be null in {}", self.value.file),
                    false => format!("not required here, but may not be null in {}", self.value.file),
                };
                let hint = Some(format!("`required: {}`", !entry.nullable));
                self.report.add(node.get("required").unwrap_or(node).line, path, message, hint);
            }
        }
    }

    /// Checks one leaf: it needs a policy that fits its type. `line` is that of the schema object, for leaves
    /// without a property. `None` if the leaf has no policy, which is then reported.
    fn leaf(
        &mut self,
        leaf: LeafInfo,
        declared: &BTreeMap<String, OdcsProperty<'_>>,
        line: u32,
    ) -> Option<ContractField> {
        // The nearest property counts, if it is the leaf's own or has an operation for all parts.
        let path = leaf.path.as_str();
        let place = ancestors(path).find_map(|place| declared.get(place));
        let property = place.filter(|place| place.path == path || self.ops.contains_key(&place.path));
        let Some(property) = property else {
            let hint = format!(
                "add `{{name: {}, …, classification: …, customProperties: [{{property: masking, value: {{op: …}}}}]}}`",
                path.rsplit(['.', '[', '{', '<']).next().filter(|name| !name.is_empty()).unwrap_or("key")
            );
            let part = self.value.part.word();
            let message = format!("a leaf of the {part} without a policy: no leaf is kept by default");
            self.report.add(place.map_or(line, |place| place.node.line), path, message, Some(hint));
            return None;
        };

        // The property must have an operation.
        let at = property.node.line;
        let Some(op) = self.ops.get(&property.path).cloned() else {
            let hint = "add `customProperties: [{property: masking, value: {op: …}}]`".to_owned();
            let message = "no masking: no leaf is kept by default";
            self.report.add(at, path, message, Some(hint));
            return None;
        };

        // The leaf's label has all tags and the strictest classification of everything above it.
        let label = self.labels.get(path).cloned().unwrap_or_default();
        if label.classification.is_none() {
            let words = DataClassification::ALL.map(DataClassification::as_str);
            self.report.add(at, path, "no classification", Some(format!("one of {}", words.join(", "))));
        }
        let mut field = ContractField {
            classification: label.classification.unwrap_or(DataClassification::Restricted),
            tags: label.tags.into_iter().collect(),
            leaf,
            op,
        };

        // An operation that could not be read is a placeholder: to check it would report mistakes that are
        // none.
        if !self.misread.contains(&property.path) {
            let shortest = property.node.get("logicalTypeOptions").and_then(|options| {
                let least = options.get("minLength").and_then(crate::section::number)?;
                (least >= 0.0).then_some(least as usize)
            });
            self.fits(&field, shortest, at);
        }
        let is_sensitive = field.is_sensitive();
        if let MaskOperation::Partial(partial) = &mut field.op
            && is_sensitive
        {
            partial.hidden_min = self.value.floors.hidden_characters;
        }
        Some(field)
    }

    /// Checks that an operation fits a leaf, and that it hides enough of a tagged or restricted one.
    /// `shortest` is the least length of a text, if the contract gives one.
    fn fits(&mut self, field: &ContractField, shortest: Option<usize>, line: u32) {
        // The type.
        let ContractField { leaf, op, classification, tags } = field;
        let path = leaf.path.as_str();
        if let Err(why) = op.output(&leaf.leaf) {
            let hint = Some("drop and null fit every type".to_owned());
            self.report.add(line, path, format!("`{}` does not fit: {why}", op.name()), hint);
            return;
        }

        // Keys of a map must stay distinct, or the map loses entries.
        if path.ends_with("{key}")
            && !matches!(op, MaskOperation::Keep | MaskOperation::Hmac(_) | MaskOperation::Drop)
        {
            let message = format!("`{}` on the keys of a map could make two keys equal", op.name());
            self.report.add(line, path, message, Some("use keep or hmac, or drop the map".to_owned()));
        }

        // A tag or the class restricted marks data that must not be open.
        if op.keeps() && !tags.is_empty() {
            let message = format!("tagged {} and kept as it is", tags.join(", "));
            let hint = "mask it, or remove the tag from it and from everything above it".to_owned();
            self.report.add(line, path, message, Some(hint));
        }
        if op.keeps() && *classification == DataClassification::Restricted {
            let hint =
                "mask it, or choose another classification for it and for everything above it".to_owned();
            self.report.add(line, path, "classified restricted and kept as it is", Some(hint));
        }
        if let Some((message, hint)) =
            self.value.floors.refuse(op, &leaf.leaf, field.is_sensitive(), shortest)
        {
            self.report.add(line, path, message, Some(hint));
        }
    }
}

/// Returns the path itself and every path above it, inner ones first: `a.b[]`, `a.b`, `a`.
pub fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| {
        // The path of the whole value is empty, and no property has it.
        let cut = path.rfind(['.', '[', '{', '<'])?;
        Some(&path[..cut]).filter(|above| !above.is_empty())
    })
}

/// Returns the standard's words for a leaf's type, the best one first. Empty if the standard has no word for
/// it.
pub fn logical_types(leaf: &LeafInfo) -> &'static [&'static str] {
    match (leaf.leaf.kind, leaf.leaf.logical) {
        // The logical type decides, where there is one.
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

        // All other leaves go by their Avro type.
        (LeafKind::Boolean, _) => &["boolean"],
        (LeafKind::Int | LeafKind::Long, _) => &["integer", "number"],
        (LeafKind::Float | LeafKind::Double, _) => &["number"],
        (LeafKind::String | LeafKind::Enum, _) => &["string"],
        // The standard has no word for bytes.
        (LeafKind::Null | LeafKind::Bytes | LeafKind::Fixed, _) => &[],
    }
}

/// Lists tags for a message.
fn listed<T: AsRef<str>>(tags: &[T]) -> String {
    match tags {
        [] => "none".to_owned(),
        tags => tags.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join(", "),
    }
}
