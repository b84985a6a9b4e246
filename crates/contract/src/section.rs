//! A map of the contract file with a known set of keys, read key by key, every mistake reported.

use crate::finding::{FindingReport, did_you_mean};
use crate::yaml::{YamlContent, YamlNode};

/// A map whose keys are all known.
pub(crate) struct ContractSection<'n> {
    node: &'n YamlNode,
    place: SectionPlace,
}

/// How findings about a key are placed.
#[derive(Clone)]
pub(crate) enum SectionPlace {
    /// At `<place>.<key>`.
    Key(String),
    /// At a leaf, the key named in the message: `<label>.<key>`.
    Leaf { path: String, label: &'static str },
}

impl<'n> ContractSection<'n> {
    /// Opens a map; what is no map, and every key that is not known, is reported.
    pub(crate) fn open(
        node: &'n YamlNode,
        place: SectionPlace,
        known: &[&str],
        report: &mut FindingReport<'_>,
    ) -> Option<Self> {
        let section = Self { node, place };
        let YamlContent::Map(entries) = &node.content else {
            let (path, label) = match &section.place {
                SectionPlace::Key(path) => (path, ""),
                SectionPlace::Leaf { path, label } => (path, *label),
            };
            let label = if label.is_empty() { String::new() } else { format!("{label}: ") };
            report.add(node.line, path.clone(), format!("{label}must be a map"), None);
            return None;
        };
        for (key, value) in entries.iter().filter(|(key, _)| !known.contains(&key.as_str())) {
            let hint = did_you_mean(key, known.iter().copied())
                .unwrap_or_else(|| format!("known here: {}", known.join(", ")));
            section.refuse(key, value.line, format!("unknown key `{key}`"), Some(hint), report);
        }
        Some(section)
    }

    pub(crate) fn line(&self) -> u32 {
        self.node.line
    }

    pub(crate) fn get(&self, key: &str) -> Option<&'n YamlNode> {
        self.node.get(key)
    }

    /// Reports something about a key.
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

    /// A text, if the key is there.
    pub(crate) fn text(&self, key: &str, report: &mut FindingReport<'_>) -> Option<&'n str> {
        let node = self.node.get(key)?;
        match &node.content {
            YamlContent::Text(text) if !text.trim().is_empty() => Some(text),
            _ => {
                self.refuse(key, node.line, "must be a text that is not empty", None, report);
                None
            }
        }
    }

    /// A text that must be there.
    pub(crate) fn required_text(&self, key: &str, report: &mut FindingReport<'_>) -> Option<&'n str> {
        if self.node.get(key).is_none() {
            self.refuse(key, self.node.line, format!("`{key}` is missing"), None, report);
        }
        self.text(key, report)
    }

    /// A whole number within bounds, if the key is there.
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
                let message = format!("must be a whole number from {least} to {most}");
                self.refuse(key, node.line, message, None, report);
                None
            }
        }
    }

    /// A positive number, if the key is there.
    pub(crate) fn positive(&self, key: &str, report: &mut FindingReport<'_>) -> Option<f64> {
        let node = self.node.get(key)?;
        match number(node) {
            Some(number) if number > 0.0 && number < 9.0e15 => Some(number),
            _ => {
                self.refuse(key, node.line, "must be a positive number", None, report);
                None
            }
        }
    }

    /// A list of texts; empty if the key is not there.
    pub(crate) fn texts(&self, key: &str, report: &mut FindingReport<'_>) -> Vec<(&'n str, u32)> {
        let Some(node) = self.node.get(key) else { return Vec::new() };
        let YamlContent::List(items) = &node.content else {
            self.refuse(key, node.line, "must be a list", None, report);
            return Vec::new();
        };
        let mut texts = Vec::new();
        for item in items {
            match item.text() {
                Some(text) => texts.push((text, item.line)),
                None => self.refuse(key, item.line, "must be a list of texts", None, report),
            }
        }
        texts
    }
}

/// A number, whole or not.
pub(crate) fn number(node: &YamlNode) -> Option<f64> {
    match node.content {
        YamlContent::Integer(number) => Some(number as f64),
        YamlContent::Number(number) => Some(number),
        _ => None,
    }
}
