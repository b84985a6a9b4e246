//! The properties of an Avro schema that a contract needs and the walk over bytes does not: the tags of every
//! path, and the paths that are no leaves. Paths are those of [`sluice_wire::LeafInfo`].

use std::collections::BTreeMap;

use serde_json::Value;

/// The key of the tags in a schema, as Confluent's tools write it: on a field, on a definition, or on a type.
const TAGS: &str = "confluent:tags";

/// One path of a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AvroPathInfo {
    /// Leaf or container.
    pub kind: AvroPathKind,
    /// Tags that the schema gives this path itself, on the field or on its type; sorted, each once. Those of
    /// the containers above it are not among them.
    pub tags: Vec<String>,
    /// True if a union with null holds it.
    pub nullable: bool,
}

/// Every path of a schema.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AvroPathMap {
    /// By path; that of the whole value is empty.
    pub entries: BTreeMap<String, AvroPathInfo>,
    /// Fields that hold a record which they are a part of: the record's path and the field's. The leaves of
    /// the record are in the field, too.
    pub returns: Vec<(String, String)>,
    /// Paths that two nodes share: branches of one union with the same name.
    pub shared: Vec<String>,
}

/// Returns the documentation (`doc`) of each path that has one.
pub fn docs(schema: &Value) -> BTreeMap<String, String> {
    AvroPathWalk::of(schema).docs
}

/// Returns the path of the first field of an Avro schema (JSON text) that holds a record which the field is a
/// part of. Such data is legal, but cannot become columns. `None` if there is no such field, or if the text
/// is no JSON.
pub fn recursion(schema: &str) -> Option<String> {
    let walk = serde_json::from_str(schema).map(|schema| AvroPathWalk::of(&schema).map).ok()?;
    walk.returns.into_iter().next().map(|(_, field)| field)
}

/// The kind of node at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AvroPathKind {
    /// A value without parts.
    Leaf,
    /// A record with named fields.
    Record,
    /// An array of items.
    Array,
    /// A map from text to values.
    Map,
    /// A union of several types.
    Union,
}

/// Returns every path of a schema. The schema must have been parsed as Avro before.
pub fn paths(schema: &Value) -> AvroPathMap {
    AvroPathWalk::of(schema).map
}

/// Returns the most likely line of a field's definition, from 1: the first line with `"name"` and the field's
/// name in quotes. A guess, for hints only: two records may have fields of one name.
pub fn line_of(text: &str, path: &str) -> Option<u32> {
    // The last name of the path; items, map values and branches have none of their own.
    let name = path.rsplit(['.', '[', '{', '<']).next().filter(|name| !name.ends_with([']', '}', '>']));
    let quoted = format!("\"{}\"", name.unwrap_or(path));
    let at = text.lines().position(|line| line.contains("\"name\"") && line.contains(&quoted))?;
    u32::try_from(at + 1).ok()
}

/// Returns the first line of a text that holds a piece, from 1.
pub(crate) fn line_with(text: &str, piece: &str) -> Option<u32> {
    let at = text.lines().position(|line| line.contains(piece))?;
    u32::try_from(at + 1).ok()
}

/// One visit of a schema, which collects all paths.
#[derive(Default)]
struct AvroPathWalk<'s> {
    /// Definitions met so far, by full name.
    named: BTreeMap<String, &'s Value>,
    /// Full names and paths of the records around the current node. A name among them is a recursion.
    open: Vec<(String, String)>,
    map: AvroPathMap,
    docs: BTreeMap<String, String>,
}

impl<'s> AvroPathWalk<'s> {
    /// Visits a whole schema.
    fn of(schema: &'s Value) -> Self {
        let mut walk = Self::default();
        walk.node(schema, "", "", Vec::new(), false);
        walk
    }

    /// Visits one node. `tags` are those of the field that holds it and of the types around it.
    fn node(&mut self, node: &'s Value, path: &str, namespace: &str, tags: Vec<String>, nullable: bool) {
        match node {
            // A primitive type, or the name of a type that was defined before.
            Value::String(name) => match self.definition(name, namespace) {
                // The record is open: to follow the name again would never end.
                Some((full, _)) if self.open.iter().any(|(open, _)| *open == full) => {
                    let above = self.open.iter().find(|(open, _)| *open == full);
                    let above = above.map(|(_, path)| path.clone()).unwrap_or_default();
                    self.map.returns.push((above, path.to_owned()));
                    self.enter(path, AvroPathKind::Record, tags, nullable);
                }
                Some((full, definition)) => {
                    self.node(definition, path, namespace_of(&full), tags, nullable);
                }
                None => self.enter(path, AvroPathKind::Leaf, tags, nullable || name == "null"),
            },

            Value::Array(branches) => self.union(branches, path, namespace, tags),

            // A definition, or a type with attributes. Its own tags join those of the field.
            Value::Object(object) => {
                let tags = joined(tags, tags_of(node));
                let word = object.get("type").and_then(Value::as_str);
                match word {
                    Some("record" | "error") => self.record(node, path, namespace, tags, nullable),
                    Some("array") => {
                        self.enter(path, AvroPathKind::Array, tags, nullable);
                        self.under(object.get("items"), &format!("{path}[]"), namespace);
                    }
                    Some("map") => {
                        self.enter(path, AvroPathKind::Map, tags, nullable);
                        // The keys of a map are a leaf of their own: they can hold personal data, too.
                        self.enter(&format!("{path}{{key}}"), AvroPathKind::Leaf, Vec::new(), false);
                        self.under(object.get("values"), &format!("{path}{{}}"), namespace);
                    }
                    Some("enum" | "fixed") => {
                        self.name(node, namespace);
                        self.enter(path, AvroPathKind::Leaf, tags, nullable);
                    }
                    _ => {
                        // `{"type": <any type>}`: most often a logical type.
                        if let Some(inner) = object.get("type") {
                            self.node(inner, path, namespace, tags, nullable);
                        }
                    }
                }
            }

            // No Avro type is another kind of JSON value.
            _ => {}
        }
    }

    /// Visits a record and its fields, in order.
    fn record(&mut self, node: &'s Value, path: &str, namespace: &str, tags: Vec<String>, nullable: bool) {
        let full = self.name(node, namespace);
        self.enter(path, AvroPathKind::Record, tags, nullable);
        let namespace = namespace_of(&full).to_owned();
        self.open.push((full, path.to_owned()));

        // The fields of the value itself have no prefix.
        for field in node.get("fields").and_then(Value::as_array).into_iter().flatten() {
            let Some(name) = field.get("name").and_then(Value::as_str) else { continue };
            let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            if let Some(doc) = field.get("doc").and_then(Value::as_str) {
                self.docs.insert(path.clone(), doc.to_owned());
            }
            if let Some(inner) = field.get("type") {
                self.node(inner, &path, &namespace, joined(tags_of(field), Vec::new()), false);
            }
        }

        self.open.pop();
    }

    /// Visits a union. A union of one type and null is that type, nullable.
    fn union(&mut self, branches: &'s [Value], path: &str, namespace: &str, tags: Vec<String>) {
        let is_null =
            |branch: &Value| branch.as_str().or_else(|| branch.get("type")?.as_str()) == Some("null");
        let nullable = branches.iter().any(is_null);
        let others: Vec<&Value> = branches.iter().filter(|branch| !is_null(branch)).collect();
        match others[..] {
            [] => self.enter(path, AvroPathKind::Leaf, tags, nullable),
            [only] => self.node(only, path, namespace, tags, nullable),
            _ => {
                self.enter(path, AvroPathKind::Union, tags, nullable);
                for branch in others {
                    // Tags belong to the field as a whole, which the union is.
                    let path = format!("{path}<{}>", branch_name(branch));
                    self.node(branch, &path, namespace, Vec::new(), nullable);
                }
            }
        }
    }

    /// Visits the node below an array or a map, which has no tags of its own.
    fn under(&mut self, node: Option<&'s Value>, path: &str, namespace: &str) {
        if let Some(node) = node {
            self.node(node, path, namespace, Vec::new(), false);
        }
    }

    /// Notes a path.
    fn enter(&mut self, path: &str, kind: AvroPathKind, tags: Vec<String>, nullable: bool) {
        let info = AvroPathInfo { kind, tags, nullable };
        if self.map.entries.insert(path.to_owned(), info).is_some() {
            self.map.shared.push(path.to_owned());
        }
    }

    /// Notes a definition and returns its full name. Source: the Avro specification, section "Names".
    fn name(&mut self, node: &'s Value, namespace: &str) -> String {
        let name = node.get("name").and_then(Value::as_str).unwrap_or_default();
        let own = node.get("namespace").and_then(Value::as_str).unwrap_or(namespace);
        // A name with a dot is a full name already.
        let full =
            if name.contains('.') || own.is_empty() { name.to_owned() } else { format!("{own}.{name}") };
        self.named.insert(full.clone(), node);
        full
    }

    /// Returns the full name and the definition of a named type; `None` for a primitive type.
    fn definition(&self, name: &str, namespace: &str) -> Option<(String, &'s Value)> {
        let full = if name.contains('.') || namespace.is_empty() {
            name.to_owned()
        } else {
            format!("{namespace}.{name}")
        };
        // A name without a namespace may also be meant as it is.
        let full = if self.named.contains_key(&full) { full } else { name.to_owned() };
        self.named.get(&full).map(|definition| (full, *definition))
    }
}

/// Returns the namespace of a full name; empty if it has none.
fn namespace_of(full: &str) -> &str {
    full.rsplit_once('.').map_or("", |(namespace, _)| namespace)
}

/// Returns the name of a union's branch in paths: the type's name without its namespace.
fn branch_name(branch: &Value) -> &str {
    let name = match branch {
        Value::String(name) => name,
        _ => branch.get("name").or_else(|| branch.get("type")).and_then(Value::as_str).unwrap_or("union"),
    };
    name.rsplit('.').next().unwrap_or(name)
}

/// Returns the tags of a field or type, in any order.
fn tags_of(node: &Value) -> Vec<String> {
    let tags = node.get(TAGS).and_then(Value::as_array).into_iter().flatten();
    tags.filter_map(|tag| tag.as_str().map(str::to_owned)).collect()
}

/// Returns the tags of both lists, sorted, each once.
fn joined(mut tags: Vec<String>, others: Vec<String>) -> Vec<String> {
    tags.extend(others);
    tags.sort();
    tags.dedup();
    tags
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tags_are_found_at_every_depth_and_through_names() {
        let schema = json!({"type": "record", "name": "A", "namespace": "n", "fields": [
            {"name": "who", "type": ["null", "string"], "confluent:tags": ["PII", "CONTACT"]},
            {"name": "at", "type": {"type": "record", "name": "Place", "fields": [
                {"name": "code", "type": "string", "confluent:tags": ["QUASI"]}]}},
            {"name": "places", "type": {"type": "array", "items": "Place"}},
            {"name": "more", "type": {"type": "map", "values": "n.Place"}},
            {"name": "either", "type": ["null", "int", "Place"]},
            {"name": "next", "type": ["null", "A"]},
        ]});
        let map = paths(&schema);
        assert_eq!((&map.returns[..], &map.shared[..]), (&[(String::new(), "next".to_owned())][..], &[][..]));
        let paths = map.entries;
        let tags = |path: &str| paths[path].tags.clone();
        assert_eq!(tags("who"), ["CONTACT", "PII"]);
        assert!(paths["who"].nullable);
        for path in ["at.code", "places[].code", "more{}.code", "either<Place>.code"] {
            assert_eq!(tags(path), ["QUASI"], "{path}");
        }
        assert_eq!(paths["either"].kind, AvroPathKind::Union);
        assert_eq!(paths["more{key}"].kind, AvroPathKind::Leaf);
        assert!(!paths.contains_key("next.who"));
        assert_eq!(recursion(&schema.to_string()), Some("next".to_owned()));
        assert_eq!(recursion(r#"{"type": "string"}"#), None);
    }

    #[test]
    fn tags_on_types_and_definitions_are_those_of_the_path() {
        let schema = json!({"type": "record", "name": "A", "confluent:tags": ["ALL"], "fields": [
            {"name": "mail", "type": {"type": "string", "confluent:tags": ["PII"]}},
            {"name": "mails", "type": {"type": "array", "items": {"type": "string", "confluent:tags": ["PII"]}}},
            {"name": "kind", "type": ["null", {"type": "enum", "name": "K", "symbols": ["X"], "confluent:tags": ["Q"]}],
             "confluent:tags": ["PII"]},
            {"name": "again", "type": "K"},
        ]});
        let paths = paths(&schema).entries;
        let tags = |path: &str| paths[path].tags.join(",");
        assert_eq!([tags(""), tags("mail"), tags("mails"), tags("mails[]")], ["ALL", "PII", "", "PII"]);
        assert_eq!([tags("kind"), tags("again")], ["PII,Q", "Q"]);
    }

    #[test]
    fn branches_of_one_name_share_a_path() {
        let person =
            |namespace: &str| json!({"type": "fixed", "name": "P", "namespace": namespace, "size": 1});
        let schema = json!({"type": "record", "name": "A", "fields": [{"name": "who", "type": [person("a"), person("b")]}]});
        assert_eq!(paths(&schema).shared, ["who<P>"]);
    }
}
