//! Prints a schema as compact JSON. The text is the same for the same schema, independent of the map that
//! serde_json was built with. This matters because a registry gives equal texts equal ids.

use serde_json::Value;

/// Keys in the order in which people write them. All other keys follow by name.
const ORDER: [&str; 14] = [
    "type",
    "name",
    "namespace",
    "doc",
    "aliases",
    "logicalType",
    "precision",
    "scale",
    "size",
    "symbols",
    "items",
    "values",
    "default",
    "fields",
];

/// Prints a schema as compact JSON.
pub(crate) fn print(schema: &Value) -> String {
    let mut text = String::new();
    write(schema, &mut text);
    text
}

/// Appends one JSON value.
fn write(value: &Value, text: &mut String) {
    match value {
        Value::Object(members) => {
            // serde_json may keep insertion order or sort: a sort of our own makes the text independent of
            // it.
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(key, _)| {
                (ORDER.iter().position(|known| known == key).unwrap_or(ORDER.len()), key.as_str())
            });
            list('{', '}', members.iter(), text, |(key, value), text| {
                text.push_str(&Value::String((*key).clone()).to_string());
                text.push(':');
                write(value, text);
            });
        }
        Value::Array(items) => list('[', ']', items.iter(), text, write),
        // Scalars are printed by serde_json, with its escapes.
        scalar => text.push_str(&scalar.to_string()),
    }
}

/// Appends the items between brackets, with commas between them.
fn list<T>(
    open: char,
    close: char,
    items: impl Iterator<Item = T>,
    text: &mut String,
    each: impl Fn(T, &mut String),
) {
    text.push(open);
    for (place, item) in items.enumerate() {
        if place > 0 {
            text.push(',');
        }
        each(item, text);
    }
    text.push(close);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stand_in_one_order() {
        let schema = serde_json::json!({"zeta": 1, "fields": [{"default": "a\"b", "name": "f", "type": "string"}],
            "name": "R", "alpha": [true, null], "type": "record"});
        let text = r#"{"type":"record","name":"R","fields":[{"type":"string","name":"f","default":"a\"b"}],"alpha":[true,null],"zeta":1}"#;
        assert_eq!(print(&schema), text);
    }
}
