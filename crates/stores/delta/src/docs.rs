//! The documentation of a schema's fields, by field path. It becomes the columns' descriptions.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

/// Field path → text. Paths have the form of the wire crate's: `a.b`, `a[].b`, `a{}.b`, `a<branch>.b`.
#[derive(Debug, Default)]
pub(super) struct FieldDocs {
    /// Documentation of the root record.
    record: Option<String>,
    fields: BTreeMap<String, String>,
}

impl FieldDocs {
    /// Reads a schema's JSON. A part that cannot be read has no documentation: it is not worth an error.
    pub(super) fn read(schema: &str) -> Self {
        let mut docs = Self::default();
        let Ok(json) = serde_json::from_str::<Value>(schema) else { return docs };
        docs.record = text(&json, "doc");

        // Definitions are collected on the way: Avro defines a name before it is used.
        let mut named = HashMap::new();
        docs.walk(&json, "", &mut named, &mut Vec::new());
        docs
    }

    /// Returns the documentation of the field at `path`.
    pub(super) fn of(&self, path: &str) -> Option<&str> {
        self.fields.get(path).map(String::as_str)
    }

    /// Returns the documentation of the root record.
    pub(super) fn record(&self) -> Option<&str> {
        self.record.as_deref()
    }

    #[cfg(test)]
    pub(super) fn from_pairs(pairs: &[(&str, &str)]) -> Self {
        let fields = pairs.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        Self { record: None, fields }
    }

    /// Collects the documentation inside `schema`. `named` has the definitions so far. `open` has the names
    /// of the records around it: a recursive schema ends at the back reference.
    fn walk<'j>(
        &mut self,
        schema: &'j Value,
        path: &str,
        named: &mut HashMap<&'j str, &'j Value>,
        open: &mut Vec<&'j str>,
    ) {
        match schema {
            // A primitive type, or a reference to a definition, whose fields are documented at this path too.
            Value::String(name) => {
                let short = last_part(name);
                if let Some(definition) = named.get(short).copied()
                    && !open.contains(&short)
                {
                    self.walk(definition, path, named, open);
                }
            }

            // A union. One branch besides null is a nullable field, and has no branch in its path.
            Value::Array(branches) => {
                let branches: Vec<_> = branches.iter().filter(|b| b.as_str() != Some("null")).collect();
                if let [only] = branches[..] {
                    self.walk(only, path, named, open);
                } else {
                    for branch in branches {
                        self.walk(branch, &format!("{path}<{}>", branch_name(branch)), named, open);
                    }
                }
            }

            // A definition. Its name is known from here on.
            Value::Object(object) => {
                if let Some(name) = object.get("name").and_then(Value::as_str) {
                    named.insert(last_part(name), schema);
                }

                match object.get("type") {
                    // A record: its name is open while its fields are visited.
                    Some(Value::String(kind)) if kind == "record" || kind == "error" => {
                        open.push(object.get("name").and_then(Value::as_str).map_or("", last_part));
                        for field in object.get("fields").and_then(Value::as_array).into_iter().flatten() {
                            self.field(field, path, named, open);
                        }
                        open.pop();
                    }

                    // The items of an array and the values of a map have the path of their field with a mark.
                    Some(Value::String(kind)) if kind == "array" => {
                        if let Some(items) = object.get("items") {
                            self.walk(items, &format!("{path}[]"), named, open);
                        }
                    }
                    Some(Value::String(kind)) if kind == "map" => {
                        if let Some(values) = object.get("values") {
                            self.walk(values, &format!("{path}{{}}"), named, open);
                        }
                    }

                    // `{"type": {…}}` is the same as its inside.
                    Some(nested @ (Value::Object(_) | Value::Array(_))) => {
                        self.walk(nested, path, named, open)
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// Collects the documentation of one field and of the types inside it.
    fn field<'j>(
        &mut self,
        field: &'j Value,
        path: &str,
        named: &mut HashMap<&'j str, &'j Value>,
        open: &mut Vec<&'j str>,
    ) {
        let Some(name) = field.get("name").and_then(Value::as_str) else { return };
        let path = super::types::join(path, name);
        if let Some(doc) = text(field, "doc") {
            self.fields.insert(path.clone(), doc);
        }
        if let Some(of) = field.get("type") {
            self.walk(of, &path, named, open);
        }
    }
}

/// Returns the text under `key`.
fn text(json: &Value, key: &str) -> Option<String> {
    json.get(key).and_then(Value::as_str).map(str::to_owned)
}

/// Returns a name without its namespace. Two records of one name in two namespaces share their documentation.
fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// Returns the name of a union's branch: that of the definition, or the primitive type.
fn branch_name(branch: &Value) -> &str {
    let name = branch.as_str().or_else(|| branch.get("name").and_then(Value::as_str));
    name.or_else(|| branch.get("type").and_then(Value::as_str)).map_or("", last_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documentation_is_found_by_path_and_recursion_ends() {
        let docs = FieldDocs::read(
            r#"{"type":"record","name":"n.Node","doc":"a node","fields":[
                {"name":"id","type":"int","doc":"its id"},
                {"name":"next","type":["null","n.Node"],"doc":"the next one"},
                {"name":"tags","type":{"type":"array","items":{"type":"record","name":"Tag","fields":[
                    {"name":"text","type":"string","doc":"its text"}]}}},
                {"name":"more","type":{"type":"map","values":"Tag"}}]}"#,
        );
        assert_eq!(docs.record(), Some("a node"));
        assert_eq!(docs.of("id"), Some("its id"));
        assert_eq!(docs.of("next"), Some("the next one"));
        assert_eq!(docs.of("next.id"), None);
        assert_eq!(docs.of("tags[].text"), Some("its text"));
        assert_eq!(docs.of("more{}.text"), Some("its text"));
    }
}
