//! A section of the contract file: a map with a known set of keys. It is read key by key, and every mistake
//! is reported.

use crate::finding::{FindingReport, did_you_mean};
use crate::yaml::{YamlContent, YamlNode};

/// A map of the contract file. Its unknown keys have been reported.
pub(crate) struct ContractSection<'n> {
    node: &'n YamlNode,
    place: SectionPlace,
}

/// The path of findings about a key of a section.
#[derive(Clone)]
pub(crate) enum SectionPlace {
    /// The path is `<place>.<key>`.
    Key(String),
    /// The path is that of a leaf, and the message begins with `<label>.<key>`.
    Leaf { path: String, label: &'static str },
}

impl<'n> ContractSection<'n> {
    /// Opens a section. A node that is no map, and every key that is not known, is reported. `None` if it is
    /// no map.
    pub(crate) fn open(
        node: &'n YamlNode,
        place: SectionPlace,
        known: &[&str],
        report: &mut FindingReport<'_>,
    ) -> Option<Self> {
        // The node must be a map.
        let section = Self { node, place };
        let YamlContent::Map(entries) = &node.content else {
            let (path, label) = match &section.place {
                SectionPlace::Key(path) => (path, ""),
                SectionPlace::Leaf { path, label } => (path, *label),
            };
            let label = if label.is_empty() { String::new() } else { format!("{label}: ") };
            report.add(node.line, path.clone(), format!("{label}expected a map"), None);
            return None;
        };

        // Unknown keys do not stop the reading: the known ones may have mistakes, too.
        for (key, value) in entries.iter().filter(|(key, _)| !known.contains(&key.as_str())) {
            let hint = did_you_mean(key, known.iter().copied())
                .unwrap_or_else(|| format!("known keys: {}", known.join(", ")));
            section.refuse(key, value.line, format!("unknown key `{key}`"), Some(hint), report);
        }
        Some(section)
    }

    /// Returns the line of the section, for mistakes that concern several keys or a missing one.
    pub(crate) fn line(&self) -> u32 {
        self.node.line
    }

    /// Returns the node of a key.
    pub(crate) fn get(&self, key: &str) -> Option<&'n YamlNode> {
        self.node.get(key)
    }

    /// Reports a mistake of a key.
    pub(crate) fn refuse(
        &self,
        key: &str,
        line: u32,
        message: impl Into<String>,
        hint: Option<String>,
        report: &mut FindingReport<'_>,
    ) {
        match &self.place {
            SectionPlace::Key(path) => report.add(line, format!("{path}.{key}"), message, hint),
            SectionPlace::Leaf { path, label } => {
                report.add(line, path.clone(), format!("{label}.{key}: {}", message.into()), hint);
            }
        }
    }

    /// Returns the text of a key, if the key is there. Another type and an empty text are reported.
    pub(crate) fn text(&self, key: &str, report: &mut FindingReport<'_>) -> Option<&'n str> {
        let node = self.node.get(key)?;
        match &node.content {
            YamlContent::Text(text) if !text.trim().is_empty() => Some(text),
            _ => {
                self.refuse(key, node.line, "expected a text that is not empty", None, report);
                None
            }
        }
    }

    /// Returns the text of a key that must be there.
    pub(crate) fn required_text(&self, key: &str, report: &mut FindingReport<'_>) -> Option<&'n str> {
        if self.node.get(key).is_none() {
            self.refuse(key, self.node.line, format!("`{key}` is missing"), None, report);
        }
        self.text(key, report)
    }

    /// Returns a whole number from `least` to `most`, if the key is there. Another value is reported.
    pub(crate) fn whole(
        &self,
        key: &str,
        least: i64,
        most: i64,
        report: &mut FindingReport<'_>,
    ) -> Option<i64> {
        let node = self.node.get(key)?;
        match node.content {
            YamlContent::Integer(number) if (least..=most).contains(&number) => Some(number),
            _ => {
                let message = format!("expected a whole number from {least} to {most}");
                self.refuse(key, node.line, message, None, report);
                None
            }
        }
    }

    /// Returns a positive number, if the key is there. Another value is reported.
    pub(crate) fn positive(&self, key: &str, report: &mut FindingReport<'_>) -> Option<f64> {
        let node = self.node.get(key)?;
        match number(node) {
            // Below 9·10^15 a whole number is exact as a 64-bit float (2^53 is slightly more).
            Some(number) if number > 0.0 && number < 9.0e15 => Some(number),
            _ => {
                self.refuse(key, node.line, "expected a positive number", None, report);
                None
            }
        }
    }

    /// Returns a list of texts, each with its line; empty if the key is not there. Items of another type are
    /// reported.
    pub(crate) fn texts(&self, key: &str, report: &mut FindingReport<'_>) -> Vec<(&'n str, u32)> {
        let Some(node) = self.node.get(key) else { return Vec::new() };
        let YamlContent::List(items) = &node.content else {
            self.refuse(key, node.line, "expected a list", None, report);
            return Vec::new();
        };
        let mut texts = Vec::new();
        for item in items {
            match item.text() {
                Some(text) => texts.push((text, item.line)),
                None => self.refuse(key, item.line, "expected a list of texts", None, report),
            }
        }
        texts
    }
}

/// Returns the number of a node, whole or not; `None` if the node is no number.
pub(crate) fn number(node: &YamlNode) -> Option<f64> {
    match node.content {
        YamlContent::Integer(number) => Some(number as f64),
        YamlContent::Number(number) => Some(number),
        _ => None,
    }
}
