//! Writes the contract file of a draft.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;
use sluice_wire::{LeafInfo, LeafKind};

use super::remark::{self, DraftNotes};
use super::{ContractDrafter, DraftNames, hint, leaf};
use sluice_contract::avsc::{self, AvroPathInfo, AvroPathKind};
use sluice_contract::coverage::logical_types;

/// Returns the text of `contract.odcs.yaml`.
pub(super) fn contract(
    draft: &ContractDrafter,
    place: &DraftNames,
    schema: &Value,
    leaves: &[LeafInfo],
    notes: &DraftNotes,
) -> String {
    // The parts that may be unknown. An unknown record key is undecided, an unknown owner is left out.
    let DraftNames { domain, name, masked, .. } = place;
    let key = match &draft.record_key {
        Some(key) => plain(key),
        None => "decide".to_owned(),
    };
    let member = match &draft.owner {
        Some(owner) => format!(", members: [{{username: {}, role: Owner}}]", plain(owner)),
        None => String::new(),
    };

    // The head of the file.
    let mut text = format!(
        "# Drafted by `sluice contract new`. `sluice plan` refuses it until every `decide` is replaced.\n\
         # `sluice contract --help` lists the settings; `sluice plan` names each `decide` that remains.\n\
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

    // A property for each field, at the indentation of `properties`.
    let entries = avsc::paths(schema);
    let mut writing = OdcsDraftWriter { entries: &entries, leaves, notes, text: &mut text };
    let tops = writing.below("");
    for path in tops {
        writing.property(&path, 6);
    }
    text
}

/// Writes the properties of a draft.
struct OdcsDraftWriter<'a> {
    /// Path in the schema → its kind, tags and nullability.
    entries: &'a BTreeMap<String, AvroPathInfo>,
    leaves: &'a [LeafInfo],
    /// Comments that follow from the samples. They come before those that follow from a name.
    notes: &'a DraftNotes,
    text: &'a mut String,
}

impl OdcsDraftWriter<'_> {
    /// Returns the paths directly below one, in the schema's order.
    fn below(&self, path: &str) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        for leaf in self.leaves {
            // A leaf below the path continues with a dot, except at the top.
            let Some(rest) = leaf.path.strip_prefix(path) else { continue };
            let rest_of_name = match path {
                "" => rest,
                _ => match rest.strip_prefix('.') {
                    Some(rest) => rest,
                    None => continue,
                },
            };

            // The next name ends where the next part begins.
            let name = rest_of_name.split(['.', '[', '{', '<']).next().unwrap_or(rest_of_name);
            let full = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            if !found.contains(&full) {
                found.push(full);
            }
        }
        found
    }

    /// Returns true if the leaf is a floating-point number whose name means money.
    fn is_rounded_money(&self, path: &str) -> bool {
        let is_rounded = |leaf: &LeafInfo| matches!(leaf.leaf.kind, LeafKind::Float | LeafKind::Double);
        hint::is_money(path) && leaf(self.leaves, path).is_some_and(is_rounded)
    }

    /// Returns name and path of each branch of a union.
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

    /// Writes the property of a record's field.
    fn property(&mut self, path: &str, indent: usize) {
        let name = path.rsplit('.').next().unwrap_or(path);
        self.item(path, name, indent, "- ");
    }

    /// Writes one property: a line for a leaf, a block for a type with parts. `dash` is empty for an array's
    /// items.
    fn item(&mut self, path: &str, name: &str, indent: usize, dash: &str) {
        let Some(entry) = self.entries.get(path) else { return };

        // The attributes. Items, values and branches are always required, because they have no field that
        // could lack.
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

        // A leaf: restricted and undecided, with a suggestion from its name.
        let logical = leaf(self.leaves, path).and_then(|leaf| logical_types(leaf).first().copied());
        let kind = entry.kind;
        if kind == AvroPathKind::Leaf {
            let logical = logical.map(|word| format!(", logicalType: {word}")).unwrap_or_default();
            let seen = self.notes.get(path).map(String::as_str);
            let money = self.is_rounded_money(path).then(|| remark::money_comment(0));
            let by_name = || hint::of_name(path).map(|hint| hint.comment);
            let hint = seen.or(money.as_deref()).or_else(by_name);
            let hint = hint.map(|hint| format!("  # {hint}")).unwrap_or_default();
            let _ = writeln!(
                self.text,
                "{pad}{dash}{{name: {name}{logical}{required}, classification: restricted{tags}, customProperties: [{{property: masking, value: {{op: decide}}}}]}}{hint}"
            );
            return;
        }

        // A type with parts: its own attributes first. Arrays and records have a logical type, maps and
        // unions a physical type.
        let inner = " ".repeat(indent + 2);
        let _ = writeln!(self.text, "{pad}{dash}name: {name}");
        let mut line = |text: &str| {
            let _ = writeln!(self.text, "{inner}{text}");
        };
        match kind {
            AvroPathKind::Record | AvroPathKind::Map => line("logicalType: object"),
            AvroPathKind::Array => line("logicalType: array"),
            AvroPathKind::Leaf | AvroPathKind::Union => {}
        }
        match kind {
            AvroPathKind::Map => line("physicalType: map"),
            AvroPathKind::Union => line("physicalType: union"),
            AvroPathKind::Leaf | AvroPathKind::Record | AvroPathKind::Array => {}
        }
        if !required.is_empty() {
            line("required: true");
        }
        if !tags.is_empty() {
            line(tags.trim_start_matches(", "));
        }

        // The parts, one level deeper.
        match kind {
            AvroPathKind::Array => {
                line("items:");
                self.items(&format!("{path}[]"), indent + 4);
            }
            AvroPathKind::Map => {
                line("properties:");
                self.item(&format!("{path}{{key}}"), "key", indent + 4, "- ");
                self.item(&format!("{path}{{}}"), "value", indent + 4, "- ");
            }
            AvroPathKind::Union => {
                line("properties:");
                for (name, path) in self.branches(path) {
                    self.item(&path, &name, indent + 4, "- ");
                }
            }
            AvroPathKind::Record | AvroPathKind::Leaf => {
                line("properties:");
                for path in self.below(path) {
                    self.property(&path, indent + 4);
                }
            }
        }
    }

    /// Writes the items of an array: a property without a dash.
    fn items(&mut self, path: &str, indent: usize) {
        // The property is written into a text of its own, so that its lines can be moved.
        let mut text = String::new();
        std::mem::swap(&mut text, self.text);
        self.item(path, "item", indent, "");
        std::mem::swap(&mut text, self.text);

        // The property was written as an item of a list, whose further lines are two columns to the right of
        // the first.
        let mut lines = text.lines();
        for line in lines.by_ref().take(1) {
            let _ = writeln!(self.text, "{line}");
        }
        for line in lines {
            let _ = writeln!(self.text, "{}", line.get(2..).unwrap_or(line));
        }
    }
}

/// Returns a text as a YAML scalar. It is quoted if YAML could read it as another type, or if it is the word
/// `decide`.
fn plain(text: &str) -> String {
    // YAML 1.1 reads these words as null or booleans.
    let words = ["null", "true", "false", "yes", "no", "on", "off", "y", "n", "decide"];
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '@'))
        && !words.contains(&text.to_lowercase().as_str());
    if is_plain { text.to_owned() } else { Value::from(text).to_string() }
}
