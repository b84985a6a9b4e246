//! Spellings that people write: `10s` where a setting counts seconds, a number where a map has texts.
//!
//! They become the form that the schema has before the file is checked. A mistake is then described in the
//! schema's own terms, and a worker's struct has one type per setting.

use serde_json::{Value, json};

/// Units of a duration in milliseconds.
const UNITS: [(&str, f64); 7] = [
    ("ms", 1.0),
    ("s", 1_000.0),
    ("sec", 1_000.0),
    ("m", 60_000.0),
    ("min", 60_000.0),
    ("h", 3_600_000.0),
    ("d", 86_400_000.0),
];

/// The form of a duration in the schema that editors and the chart use.
const PATTERN: &str = "^[0-9]+(\\.[0-9]+)? ?(ms|s|sec|m|min|h|d)$";

/// Rewrites natural spellings in `value` as `schema` has them. A spelling that does not fit stays as it is.
pub(super) fn read_spellings(value: &mut Value, schema: &Value) {
    for branch in branches(schema) {
        read_spellings(value, branch);
    }

    match value {
        Value::Object(entries) => {
            for (key, value) in entries.iter_mut() {
                if let Some(own) = schema.get("properties").and_then(|known| known.get(key)) {
                    read_duration(key, value, own);
                    read_spellings(value, own);
                } else if let Some(own) = schema.get("additionalProperties") {
                    read_text(value, own);
                    read_spellings(value, own);
                }
            }
        }
        Value::Array(items) => {
            if let Some(own) = schema.get("items") {
                items.iter_mut().for_each(|item| read_spellings(item, own));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Adds the natural spellings to a schema, so that editors and the chart allow them.
pub(super) fn allow_spellings(schema: &mut Value) {
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        for (key, own) in properties.iter_mut() {
            if milliseconds_of(key).is_some() && has_type(own, "integer") {
                add_types(own, &["string"]);
                own["pattern"] = json!(PATTERN);
            }
        }
    }
    if let Some(own) = schema.get_mut("additionalProperties").filter(|own| is_plain_text(own)) {
        add_types(own, &["number", "boolean"]);
    }

    // The same for everything below.
    match schema {
        Value::Object(entries) => entries.values_mut().for_each(allow_spellings),
        Value::Array(items) => items.iter_mut().for_each(allow_spellings),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Returns the alternatives of a schema.
fn branches(schema: &Value) -> impl Iterator<Item = &Value> {
    let of = |keyword: &str| schema.get(keyword).and_then(Value::as_array);
    ["anyOf", "oneOf", "allOf"].into_iter().filter_map(of).flatten()
}

/// Returns the number of milliseconds in the unit that a setting's name ends with.
fn milliseconds_of(key: &str) -> Option<f64> {
    if key.ends_with("_ms") {
        return Some(1.0);
    }
    key.ends_with("_seconds").then_some(1_000.0)
}

/// Turns a duration with a unit into the number that the setting counts.
fn read_duration(key: &str, value: &mut Value, schema: &Value) {
    let (Some(unit), Some(text)) = (milliseconds_of(key), value.as_str()) else { return };
    if !has_type(schema, "integer") {
        return;
    }
    let digits = text.trim().find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (Some(number), Some(written)) = (text.trim().get(..digits), text.trim().get(digits..)) else {
        return;
    };
    let factor = UNITS.iter().find(|(name, _)| *name == written.trim()).map(|(_, factor)| factor);
    let (Ok(number), Some(factor)) = (number.parse::<f64>(), factor) else { return };

    // A part of a unit cannot be counted: the schema refuses the text.
    let count = number * factor / unit;
    if count.fract() == 0.0 && count <= f64::from(u32::MAX) {
        *value = json!(count as u64);
    }
}

/// Turns a number or a boolean into a text, where a map has texts alone.
fn read_text(value: &mut Value, schema: &Value) {
    if is_plain_text(schema) && (value.is_number() || value.is_boolean()) {
        *value = Value::String(value.to_string());
    }
}

/// Tells whether a schema allows texts of every form and nothing else.
fn is_plain_text(schema: &Value) -> bool {
    schema.get("type").and_then(Value::as_str) == Some("string") && schema.get("enum").is_none()
}

/// Tells whether a schema's `type` has the type.
fn has_type(schema: &Value, wanted: &str) -> bool {
    match schema.get("type") {
        Some(Value::String(is)) => is == wanted,
        Some(Value::Array(are)) => are.iter().any(|is| is == wanted),
        _ => false,
    }
}

/// Adds types to a schema's `type`.
fn add_types(schema: &mut Value, more: &[&str]) {
    let mut types = match schema.get("type") {
        Some(Value::Array(are)) => are.clone(),
        Some(is) => vec![is.clone()],
        None => return,
    };
    types.extend(more.iter().map(|name| json!(name)));
    schema["type"] = Value::Array(types);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Value {
        json!({"properties": {
            "flush_seconds": {"type": "integer"}, "commit_ms": {"type": ["integer", "null"]},
            "count": {"type": "integer"},
            "stores": {"type": "array", "items": {"oneOf": [
                {"properties": {"every_seconds": {"type": "integer"}}}]}},
            "properties": {"type": "object", "additionalProperties": {"type": "string"}},
        }})
    }

    #[test]
    fn durations_and_texts_are_read_as_the_schema_has_them() {
        let mut value = json!({"flush_seconds": "2m", "commit_ms": "1.5 s", "count": "10s",
            "stores": [{"every_seconds": "1h"}], "properties": {"linger.ms": 5, "debug": true, "acks": "all"}});
        read_spellings(&mut value, &schema());
        let expected = json!({"flush_seconds": 120, "commit_ms": 1500, "count": "10s",
            "stores": [{"every_seconds": 3600}],
            "properties": {"linger.ms": "5", "debug": "true", "acks": "all"}});
        assert_eq!(value, expected);
    }

    #[test]
    fn a_duration_that_does_not_fit_stays_for_the_schema_to_refuse() {
        let mut value = json!({"flush_seconds": "1500ms", "commit_ms": "soon"});
        let before = value.clone();
        read_spellings(&mut value, &schema());
        assert_eq!(value, before);
    }

    #[test]
    fn the_schema_for_editors_allows_both_spellings() {
        let mut schema = schema();
        allow_spellings(&mut schema);
        let validator = jsonschema::validator_for(&schema).unwrap();
        assert!(validator.is_valid(&json!({"flush_seconds": "10s", "properties": {"linger.ms": 5}})));
        assert!(!validator.is_valid(&json!({"flush_seconds": "soon"})));
        assert!(!validator.is_valid(&json!({"count": "10s"})));
    }
}
