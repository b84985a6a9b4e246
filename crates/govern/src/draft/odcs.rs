//! The contract file of a draft.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;
use sluice_wire::LeafInfo;

use super::{ContractDrafter, DraftNames, leaf};
use sluice_contract::avsc::{self, AvroPathInfo, AvroPathKind};
use sluice_contract::coverage::logical_types;

/// What names suggest. A comment for people, never a decision.
const HINTS: [(&[&str], &str); 9] = [
    (&["email", "mail"], "an e-mail address? drop, or {op: hmac, key: pseudonym, domain: email}"),
    (&["phone", "mobile", "tel"], "a telephone number? {op: partial, keepLast: 2, length: 8}, or drop"),
    (&["postcode", "zip"], "a postcode? {op: generalise, geo: outward}"),
    (&["birth", "born", "dob"], "a date of birth? {op: generalise, date: 1y}"),
    (&["latitude", "longitude", "lat", "lon"], "a coordinate? {op: generalise, geo: grid, degrees: 0.1}"),
    (&["name", "surname", "firstname", "lastname"], "a name? drop, or redact"),
    (&["address", "street", "ip"], "an address? drop"),
    (
        &["id", "key", "number", "account", "customer"],
        "names somebody or something? {op: hmac, key: pseudonym, domain: …}",
    ),
    (&["comment", "note", "text", "description"], "free text? drop"),
];

pub(super) fn contract(
    draft: &ContractDrafter,
    place: &DraftNames,
    schema: &Value,
    leaves: &[LeafInfo],
) -> String {
    let DraftNames { domain, name, masked, .. } = place;
    let key = match &draft.record_key {
        Some(key) => plain(key),
        None => "decide".to_owned(),
    };
    let member = match &draft.owner {
        Some(owner) => format!(", members: [{{username: {}, role: Owner}}]", plain(owner)),
        None => String::new(),
    };
    let mut text = format!(
        "# Drafted by `sluice contract new`. It is refused until every `decide` is replaced: nothing is kept by silence.\n\
         # `sluice contract --help` says what may stand here; `sluice plan` names what is left.\n\
         apiVersion: v3.1.0\n\
         kind: DataContract\n\
         id: {}\n\
         version: 1.0.0\n\
         status: draft\n\
         domain: {}\n\
         team: {{name: {}{member}}}\n\
         slaProperties:\n\
         \x20 - {{property: retention, value: 7, unit: d}}\n\
         customProperties:\n\
         \x20 - {{property: maskedTopic, value: {masked}}}\n\
         \x20 # the field whose text is the Kafka key; it is kept or hmac\n\
         \x20 - {{property: recordKey, value: {key}}}\n\
         \x20 - {{property: warehouse, value: {{mode: append}}}}\n\
         schema:\n\
         \x20 - name: {}\n\
         \x20   physicalName: {}\n\
         \x20   physicalType: topic\n\
         \x20   logicalType: object\n\
         \x20   properties:\n",
        plain(name),
        plain(domain),
        plain(domain),
        plain(&name.replace('-', "_")),
        draft.topic,
    );
    let entries = avsc::paths(schema);
    let mut writing = OdcsDraftWriter { entries: &entries, leaves, text: &mut text };
    let tops = writing.below("");
    for path in tops {
        writing.property(&path, 6);
    }
    text
}

struct OdcsDraftWriter<'a> {
    entries: &'a BTreeMap<String, AvroPathInfo>,
    leaves: &'a [LeafInfo],
    text: &'a mut String,
}

impl OdcsDraftWriter<'_> {
    /// Paths directly below one, in the schema's order.
    fn below(&self, path: &str) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        for leaf in self.leaves {
            let Some(rest) = leaf.path.strip_prefix(path) else { continue };
            let rest_of_name = match path {
                "" => rest,
                _ => match rest.strip_prefix('.') {
                    Some(rest) => rest,
                    None => continue,
                },
            };
            let name = rest_of_name.split(['.', '[', '{', '<']).next().unwrap_or(rest_of_name);
            let full = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            if !found.contains(&full) {
                found.push(full);
            }
        }
        found
    }

    /// The branches of a union at a path.
    fn branches(&self, path: &str) -> Vec<(String, String)> {
        let mut found: Vec<(String, String)> = Vec::new();
        for entry in self.entries.keys() {
            let Some(name) = entry.strip_prefix(path).and_then(|rest| rest.strip_prefix('<')) else {
                continue;
            };
            let Some(name) = name.strip_suffix('>').filter(|name| !name.contains('>')) else { continue };
            found.push((name.to_owned(), entry.clone()));
        }
        found
    }

    fn property(&mut self, path: &str, indent: usize) {
        let name = path.rsplit('.').next().unwrap_or(path);
        self.item(path, name, indent, "- ");
    }

    /// One property: a line for a leaf, a block for what has parts.
    fn item(&mut self, path: &str, name: &str, indent: usize, dash: &str) {
        let Some(entry) = self.entries.get(path) else { return };
        let pad = " ".repeat(indent);
        let required =
            if entry.nullable || path.ends_with([']', '}', '>']) { "" } else { ", required: true" };
        let name = plain(name);
        let tags = match entry.tags.is_empty() {
            true => String::new(),
            false => format!(
                ", tags: [{}]",
                entry.tags.iter().map(|tag| plain(tag)).collect::<Vec<_>>().join(", ")
            ),
        };
        let logical = leaf(self.leaves, path).and_then(|leaf| logical_types(leaf).first().copied());
        let kind = entry.kind;
        if kind == AvroPathKind::Leaf {
            let logical = logical.map(|word| format!(", logicalType: {word}")).unwrap_or_default();
            let hint = hint(path).map(|hint| format!("  # {hint}")).unwrap_or_default();
            let _ = writeln!(
                self.text,
                "{pad}{dash}{{name: {name}{logical}{required}, classification: restricted{tags}, customProperties: [{{property: masking, value: {{op: decide}}}}]}}{hint}"
            );
            return;
        }
        let inner = " ".repeat(indent + 2);
        let _ = writeln!(self.text, "{pad}{dash}name: {name}");
        let mut say = |text: &str| {
            let _ = writeln!(self.text, "{inner}{text}");
        };
        match kind {
            AvroPathKind::Record | AvroPathKind::Map => say("logicalType: object"),
            AvroPathKind::Array => say("logicalType: array"),
            AvroPathKind::Leaf | AvroPathKind::Union => {}
        }
        match kind {
            AvroPathKind::Map => say("physicalType: map"),
            AvroPathKind::Union => say("physicalType: union"),
            AvroPathKind::Leaf | AvroPathKind::Record | AvroPathKind::Array => {}
        }
        if !required.is_empty() {
            say("required: true");
        }
        if !tags.is_empty() {
            say(tags.trim_start_matches(", "));
        }
        match kind {
            AvroPathKind::Array => {
                say("items:");
                self.items(&format!("{path}[]"), indent + 4);
            }
            AvroPathKind::Map => {
                say("properties:");
                self.item(&format!("{path}{{key}}"), "key", indent + 4, "- ");
                self.item(&format!("{path}{{}}"), "value", indent + 4, "- ");
            }
            AvroPathKind::Union => {
                say("properties:");
                for (name, path) in self.branches(path) {
                    self.item(&path, &name, indent + 4, "- ");
                }
            }
            AvroPathKind::Record | AvroPathKind::Leaf => {
                say("properties:");
                for path in self.below(path) {
                    self.property(&path, indent + 4);
                }
            }
        }
    }

    /// What an array holds: a property without a dash.
    fn items(&mut self, path: &str, indent: usize) {
        let mut text = String::new();
        std::mem::swap(&mut text, self.text);
        self.item(path, "item", indent, "");
        std::mem::swap(&mut text, self.text);
        // Written as an item of a list, its further lines stand two to the right of its first.
        let mut lines = text.lines();
        for line in lines.by_ref().take(1) {
            let _ = writeln!(self.text, "{line}");
        }
        for line in lines {
            let _ = writeln!(self.text, "{}", line.get(2..).unwrap_or(line));
        }
    }
}

/// What a leaf's name suggests.
fn hint(path: &str) -> Option<&'static str> {
    let name = path.rsplit('.').next().unwrap_or(path).to_lowercase();
    let words: Vec<&str> = name.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    HINTS.iter().find(|(known, _)| known.iter().any(|word| words.contains(word))).map(|(_, hint)| *hint)
}

/// A text as YAML reads it back: quoted where it could be taken for something else.
fn plain(text: &str) -> String {
    let words = ["null", "true", "false", "yes", "no", "on", "off", "y", "n", "decide"];
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '@'))
        && !words.contains(&text.to_lowercase().as_str());
    if is_plain { text.to_owned() } else { Value::from(text).to_string() }
}
