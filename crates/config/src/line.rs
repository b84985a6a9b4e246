//! The lines of a YAML file's settings, for messages.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// The settings of a file with the line on which each begins.
pub(super) struct SettingLines(LineTree);

/// The nodes below a setting.
enum LineTree {
    Scalar,
    /// Line and node of each item.
    List(Vec<(u32, LineTree)>),
    /// Key, line of the key, and node of each entry.
    Map(Vec<(String, u32, LineTree)>),
}

impl SettingLines {
    /// Reads a YAML text. `None` if it is not YAML.
    pub(super) fn read(text: &str) -> Option<Self> {
        serde_saphyr::from_str(text).ok().map(Self)
    }

    /// Returns the line of a setting, for example of `stores[1].delta.path`. If the file has only the beginning of
    /// the path, it is the line of that. `None` if the file does not have the first part either.
    pub(super) fn find(&self, path: &str) -> Option<u32> {
        let (mut tree, mut rest, mut found) = (&self.0, path, None);
        loop {
            let next = match tree {
                LineTree::Map(entries) => entries
                    .iter()
                    .filter_map(|(key, line, below)| Some((*line, below, after_key(rest, key)?)))
                    // A key may hold dots: the longest one that fits is meant.
                    .min_by_key(|(_, _, after)| after.len()),
                LineTree::List(items) => item_of(rest)
                    .and_then(|(index, after)| items.get(index).map(|(line, below)| (*line, below, after))),
                LineTree::Scalar => None,
            };
            let Some((line, below, after)) = next else { return found };
            (tree, rest, found) = (below, after, Some(line));
        }
    }
}

/// Returns the path behind `key`, if the path begins with it.
fn after_key<'p>(path: &'p str, key: &str) -> Option<&'p str> {
    let after = path.strip_prefix(key)?;
    match after.strip_prefix('.') {
        Some(after) => Some(after),
        None => (after.is_empty() || after.starts_with('[')).then_some(after),
    }
}

/// Returns the index at the beginning of a path such as `[1].delta`, and the path behind it.
fn item_of(path: &str) -> Option<(usize, &str)> {
    let (index, after) = path.strip_prefix('[')?.split_once(']')?;
    Some((index.parse().ok()?, after.strip_prefix('.').unwrap_or(after)))
}

/// Returns a line as the parser has it, from 1.
fn line_of<T>(node: &Spanned<T>) -> u32 {
    u32::try_from(node.referenced.line()).unwrap_or_default()
}

impl<'de> Deserialize<'de> for LineTree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LineVisitor)
    }
}

/// Reads a node of any type.
struct LineVisitor;

impl<'de> Visitor<'de> for LineVisitor {
    type Value = LineTree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<LineTree, E> {
        Ok(LineTree::Scalar)
    }

    fn visit_i64<E>(self, _: i64) -> Result<LineTree, E> {
        Ok(LineTree::Scalar)
    }

    fn visit_u64<E>(self, _: u64) -> Result<LineTree, E> {
        Ok(LineTree::Scalar)
    }

    fn visit_f64<E>(self, _: f64) -> Result<LineTree, E> {
        Ok(LineTree::Scalar)
    }

    fn visit_str<E>(self, _: &str) -> Result<LineTree, E> {
        Ok(LineTree::Scalar)
    }

    fn visit_unit<E>(self) -> Result<LineTree, E> {
        Ok(LineTree::Scalar)
    }

    fn visit_none<E>(self) -> Result<LineTree, E> {
        Ok(LineTree::Scalar)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<LineTree, D::Error> {
        LineTree::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<LineTree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element::<Spanned<LineTree>>()? {
            items.push((line_of(&item), item.value));
        }
        Ok(LineTree::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<LineTree, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            entries.push((key.value.clone(), line_of(&key), map.next_value()?));
        }
        Ok(LineTree::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_has_the_line_of_its_key_and_a_missing_one_that_of_its_section() {
        let text = "kafka:\n  brokers: h:1\n  properties: {acks: 1,\n    sasl.password: x}\nstores:\n  - archive:\n      path: a\n  - delta: {}\n";
        let lines = SettingLines::read(text).unwrap();
        assert_eq!(lines.find("kafka"), Some(1));
        assert_eq!(lines.find("kafka.properties.acks"), Some(3));
        assert_eq!(lines.find("kafka.properties.sasl.password"), Some(4));
        assert_eq!(lines.find("stores[0].archive.path"), Some(7));
        assert_eq!(lines.find("stores[1].delta.path"), Some(8));
        assert_eq!(lines.find("kafka.broker"), Some(1));
        assert_eq!(lines.find("--topic"), None);
    }
}
