//! A YAML document as a tree with the line of every node, which findings name.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// A node and the line on which it begins (from 1; 0 if the parser does not know it).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct YamlNode {
    pub(crate) line: u32,
    pub(crate) content: YamlContent,
}

/// The content of a node.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum YamlContent {
    Null,
    Boolean(bool),
    Integer(i64),
    Number(f64),
    Text(String),
    List(Vec<YamlNode>),
    Map(Vec<(String, YamlNode)>),
}

/// Reads one document.
///
/// # Errors
/// Returns the line, if it is known, and the message.
pub(crate) fn read(text: &str) -> Result<YamlNode, (Option<u32>, String)> {
    // `y` is a unit of time, `no` and `on` are names of fields. YAML 1.1 would read booleans, YAML 1.2 does
    // not.
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options::<YamlNode>(text, options).map_err(|error| {
        let line = error.location().and_then(|at| u32::try_from(at.line()).ok());
        // The snippet would quote the file, over several lines.
        let message = error.without_snippet().to_string();
        (line, message)
    })
}

impl YamlNode {
    /// Returns the value of a key, if this is a map that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&YamlNode> {
        match &self.content {
            YamlContent::Map(entries) => entries.iter().find(|(name, _)| name == key).map(|(_, node)| node),
            _ => None,
        }
    }

    /// Returns the items, if this is a list; empty otherwise.
    pub(crate) fn items(&self) -> &[YamlNode] {
        match &self.content {
            YamlContent::List(items) => items,
            _ => &[],
        }
    }

    /// Returns the text, if this is one. Numbers and booleans are no texts.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.content {
            YamlContent::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the text at a key of a map.
    pub(crate) fn text_at(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(YamlNode::text)
    }

    /// Returns the texts of a list at a key; items of another type are left out.
    pub(crate) fn texts_at(&self, key: &str) -> Vec<&str> {
        self.get(key).map(|list| list.items().iter().filter_map(YamlNode::text).collect()).unwrap_or_default()
    }

    /// Follows the tokens of a JSON pointer and returns the last node that exists on the way.
    pub(crate) fn descend<'t>(&self, tokens: impl Iterator<Item = &'t str>) -> &YamlNode {
        let mut node = self;
        for token in tokens {
            let next = match &node.content {
                YamlContent::Map(_) => node.get(token),
                YamlContent::List(items) => token.parse::<usize>().ok().and_then(|index| items.get(index)),
                _ => None,
            };
            // A key that is missing has no line: the node that should hold it serves instead.
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        node
    }

    /// Returns the node as a JSON value, for the check against a JSON schema.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        use serde_json::Value;
        match &self.content {
            YamlContent::Null => Value::Null,
            YamlContent::Boolean(value) => Value::Bool(*value),
            YamlContent::Integer(value) => Value::from(*value),
            YamlContent::Number(value) => Value::from(*value),
            YamlContent::Text(value) => Value::String(value.clone()),
            YamlContent::List(items) => Value::Array(items.iter().map(YamlNode::to_json).collect()),
            YamlContent::Map(entries) => {
                Value::Object(entries.iter().map(|(key, node)| (key.clone(), node.to_json())).collect())
            }
        }
    }
}

impl<'de> Deserialize<'de> for YamlNode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<YamlContent>::deserialize(deserializer)?;
        let line = u32::try_from(spanned.referenced.line()).unwrap_or(0);
        Ok(Self { line, content: spanned.value })
    }
}

impl<'de> Deserialize<'de> for YamlContent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

/// Reads a node of any type. The parser decides about types, except for the checks below.
struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = YamlContent;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<YamlContent, E> {
        Ok(YamlContent::Null)
    }

    fn visit_none<E>(self) -> Result<YamlContent, E> {
        Ok(YamlContent::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<YamlContent, D::Error> {
        YamlContent::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<YamlContent, E> {
        Ok(YamlContent::Boolean(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<YamlContent, E> {
        Ok(YamlContent::Integer(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<YamlContent, E> {
        i64::try_from(value)
            .map(YamlContent::Integer)
            .map_err(|_| E::custom("expected a number of at most 2^63 - 1"))
    }

    fn visit_f64<E>(self, value: f64) -> Result<YamlContent, E> {
        Ok(YamlContent::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<YamlContent, E> {
        Ok(YamlContent::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<YamlContent, E> {
        Ok(YamlContent::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<YamlContent, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<YamlNode>()? {
            items.push(item);
        }
        Ok(YamlContent::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<YamlContent, A::Error> {
        let mut entries: Vec<(String, YamlNode)> = Vec::new();
        while let Some((key, node)) = map.next_entry::<String, YamlNode>()? {
            // YAML forbids it, and the second value would hide the first.
            if entries.iter().any(|(earlier, _)| *earlier == key) {
                return Err(A::Error::custom(format!("the key `{key}` is given twice")));
            }
            entries.push((key, node));
        }
        Ok(YamlContent::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_knows_its_line() {
        let node = read("a: 1\nb:\n  - {c: x, d: null}\n  - 2.5\n").unwrap();
        assert_eq!(node.get("a").unwrap().line, 1);
        let list = node.get("b").unwrap().items();
        assert_eq!(list[0].get("c").unwrap().line, 3);
        assert_eq!(list[0].get("d").unwrap().content, YamlContent::Null);
        assert_eq!(list[1].line, 4);
        assert_eq!(node.to_json(), serde_json::json!({"a": 1, "b": [{"c": "x", "d": null}, 2.5]}));
    }

    #[test]
    fn a_key_that_stands_twice_is_refused_with_its_line() {
        let (line, message) = read("a: 1\nb: 2\na: 3\n").unwrap_err();
        assert_eq!(line, Some(3));
        assert!(message.contains('a'), "{message}");
    }

    #[test]
    fn null_as_a_word_is_null_and_quoted_is_text() {
        let node = read("{bare: null, quoted: \"null\"}").unwrap();
        assert_eq!(node.get("bare").unwrap().content, YamlContent::Null);
        assert_eq!(node.text_at("quoted"), Some("null"));
    }
}
