//! Headers that go on to masked topics. Each has a classification and an operation, as a leaf has.

use std::collections::BTreeSet;

use sluice_wire::{LeafKind, LeafType};

use crate::classification::DataClassification;
use crate::contract::ContractHeader;
use crate::finding::{FindingReport, did_you_mean};
use crate::masking::{self, MaskOperation, MaskingFloors};
use crate::odcs;
use crate::section::{ContractSection, SectionPlace};
use crate::yaml::{YamlContent, YamlNode};

/// The one header that may be allowed by its name alone: W3C Trace Context makes it of random numbers.
const TRACE_CONTEXT: &str = "traceparent";
/// Path of the list, for messages.
const ALLOW: &str = "customProperties.headers.allow";

/// Returns the headers that go on to masked topics, each once, in the order of the file.
pub(super) fn read(
    document: &YamlNode,
    floors: &MaskingFloors,
    report: &mut FindingReport<'_>,
) -> Vec<ContractHeader> {
    // The section and its list.
    let Some(node) = odcs::custom(document, "headers") else { return Vec::new() };
    let place = SectionPlace::Key("customProperties.headers".to_owned());
    let Some(section) = ContractSection::open(node, place, &["allow"], report) else { return Vec::new() };
    let Some(list) = section.get("allow") else { return Vec::new() };
    let YamlContent::List(items) = &list.content else {
        section.refuse("allow", list.line, "expected a list", None, report);
        return Vec::new();
    };

    // Each header once: a second decision about it would contradict the first.
    let mut allowed = Vec::new();
    let mut seen = BTreeSet::new();
    for item in items {
        let Some(header) = header(item, floors, report) else { continue };
        if seen.insert(header.name.clone()) {
            allowed.push(header);
        } else if item.text().is_none() {
            let message = format!("the header `{}` is given twice", header.name);
            report.add(item.line, ALLOW, message, Some("remove one".to_owned()));
        }
    }
    allowed
}

/// Reads one header. `None` if it has a mistake, which is then reported.
fn header(item: &YamlNode, floors: &MaskingFloors, report: &mut FindingReport<'_>) -> Option<ContractHeader> {
    // The name.
    let name = item.text().or_else(|| item.text_at("name")).filter(|name| !name.trim().is_empty());
    let Some(name) = name else {
        let hint = "write `- {name: tenant, classification: internal, masking: {op: keep}}`".to_owned();
        report.add(item.line, ALLOW, "expected a header with a name", Some(hint));
        return None;
    };
    // Headers of the fleet and of serializers (`__value_schema_id`) describe the raw record, not the masked
    // one.
    if name.to_ascii_lowercase().starts_with("sluice.") || name.starts_with("__") {
        let message = format!("the header `{name}` is the fleet's own and is never passed on");
        report.add(item.line, ALLOW, message, None);
        return None;
    }

    // A name alone.
    if item.text().is_some() {
        if name == TRACE_CONTEXT {
            let (classification, op) = (DataClassification::Internal, MaskOperation::Keep);
            return Some(ContractHeader { name: name.to_owned(), classification, tags: Vec::new(), op });
        }
        let message = format!("the header `{name}` has no classification and no masking");
        let hint = format!("write `- {{name: {name}, classification: internal, masking: {{op: keep}}}}`");
        report.add(item.line, ALLOW, message, Some(hint));
        return None;
    }

    // The decision about it.
    let place = format!("{ALLOW}.{name}");
    let known = ["name", "classification", "tags", "masking"];
    let section = ContractSection::open(item, SectionPlace::Key(place.clone()), &known, report)?;
    let label = label(&section, &place, report);
    let masking = section.get("masking");
    if masking.is_none() {
        let hint = "add `masking: {op: keep}`, or another operation".to_owned();
        report.add(item.line, place.clone(), "no masking: no header is kept by default", Some(hint));
    }
    let op = masking.and_then(|node| masking::read(node, &place, report));
    let ((classification, tags), op) = (label?, op?);
    let op = check_text(op, classification, &tags, item.line, &place, floors, report)?;
    Some(ContractHeader { name: name.to_owned(), classification, tags, op })
}

/// Reads classification and tags of a header or a key. `None` if there is no classification, or an unknown
/// one, which is then reported.
pub(super) fn label(
    section: &ContractSection<'_>,
    place: &str,
    report: &mut FindingReport<'_>,
) -> Option<(DataClassification, Vec<String>)> {
    let tags = section.texts("tags", report).into_iter().map(|(tag, _)| tag.to_owned()).collect();
    let words = DataClassification::ALL.map(DataClassification::as_str);
    let Some(word) = section.text("classification", report) else {
        if section.get("classification").is_none() {
            let hint = Some(format!("one of {}", words.join(", ")));
            report.add(section.line(), place, "no classification", hint);
        }
        return None;
    };
    let found = DataClassification::named(word);
    if found.is_none() {
        let hint = did_you_mean(word, words).unwrap_or_else(|| format!("one of {}", words.join(", ")));
        report.add(section.line(), place, format!("`{word}` is not a classification"), Some(hint));
    }
    found.map(|class| (class, tags))
}

/// Checks that an operation makes a text of a text, and hides enough of a sensitive one. Returns it with the
/// floor of its class; `None` after a mistake, which is then reported.
fn check_text(
    mut op: MaskOperation,
    classification: DataClassification,
    tags: &[String],
    line: u32,
    place: &str,
    floors: &MaskingFloors,
    report: &mut FindingReport<'_>,
) -> Option<MaskOperation> {
    // The type. A header that is left out needs no operation.
    let text = LeafType::plain(LeafKind::String);
    if matches!(op, MaskOperation::Drop) {
        let hint = Some("leave the header out of the list".to_owned());
        report.add(line, place, "`drop` on an allowed header", hint);
        return None;
    }
    if let Err(why) = op.output(&text) {
        report.add(line, place, format!("`{}` does not fit a header: {why}", op.name()), None);
        return None;
    }

    // The floors of leaves.
    let is_sensitive = !tags.is_empty() || classification == DataClassification::Restricted;
    if op.keeps() && is_sensitive {
        let message = "tagged or restricted and kept as it is";
        report.add(line, place, message, Some("mask it, or leave it out of the list".to_owned()));
        return None;
    }
    if let Some((message, hint)) = floors.refuse(&op, &text, is_sensitive, None) {
        report.add(line, place, message, Some(hint));
        return None;
    }
    if let (MaskOperation::Partial(partial), true) = (&mut op, is_sensitive) {
        partial.hidden_min = floors.hidden_characters;
    }
    Some(op)
}
