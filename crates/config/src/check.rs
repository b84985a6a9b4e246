//! A configuration against its JSON schema.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::Value;

use jsonschema::error::{ValidationError, ValidationErrorKind};

use super::ConfigErrors;

/// The schema with everything inlined, so that a mistake's place in it is found by following its path.
pub(super) fn schema_of<Raw: JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator()
        .into_root_schema_for::<Raw>()
}

pub(super) fn against_schema<Raw: JsonSchema>(value: &Value, name: &str) -> Result<(), ConfigErrors> {
    let schema = schema_of::<Raw>().to_value();
    let validator = jsonschema::validator_for(&schema)
        .map_err(|error| ConfigErrors::one(name, format!("the schema itself is broken: {error}"), None))?;
    let mut errors = ConfigErrors::default();
    for error in validator.iter_errors(value) {
        describe(&error, &schema, name, &mut errors);
    }
    errors.or(())
}

fn describe(error: &ValidationError<'_>, schema: &Value, name: &str, errors: &mut ConfigErrors) {
    let at = dotted(error.instance_path().as_str());
    let join = |key: &str| if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
    let here = if at.is_empty() { name.to_owned() } else { at.clone() };
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let known = known_keys(schema, error.schema_path().as_str());
            for key in unexpected {
                errors.add(join(key), "no such key", Some(nearest(key, &known)));
            }
        }
        ValidationErrorKind::Required { property } => {
            let key = property.as_str().unwrap_or_default();
            errors.add(
                here,
                format!("`{key}` is missing"),
                help_for(schema, error.schema_path().as_str(), key),
            );
        }
        _ => errors.add(here, error.masked().to_string(), help_at(schema, error.schema_path().as_str())),
    }
}

/// `/kafka/brokers/0` → `kafka.brokers[0]`
fn dotted(pointer: &str) -> String {
    let mut out = String::new();
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        if part.chars().all(|c| c.is_ascii_digit()) && !out.is_empty() {
            out.push_str(&format!("[{part}]"));
        } else {
            if !out.is_empty() {
                out.push('.');
            }
            out.push_str(&part);
        }
    }
    out
}

fn object_at<'a>(schema: &'a Value, keyword_path: &str) -> Option<&'a Value> {
    let parent = keyword_path.rsplit_once('/').map_or("", |(parent, _)| parent);
    schema.pointer(parent)
}

fn known_keys(schema: &Value, keyword_path: &str) -> Vec<String> {
    object_at(schema, keyword_path)
        .and_then(|object| object.get("properties"))
        .and_then(Value::as_object)
        .map(|properties| properties.keys().cloned().collect())
        .unwrap_or_default()
}

fn nearest(key: &str, known: &[String]) -> String {
    let close = known.iter().map(|k| (strsim::damerau_levenshtein(key, k), k)).min();
    match close {
        Some((distance, k)) if distance <= 2 || distance * 3 <= key.len() => format!("did you mean `{k}`?"),
        _ if known.is_empty() => "remove it".into(),
        _ => format!("known keys: {}", known.join(", ")),
    }
}

fn help_for(schema: &Value, keyword_path: &str, key: &str) -> Option<String> {
    let property = object_at(schema, keyword_path)?.get("properties")?.get(key)?;
    Some(first_line(property.get("description")?.as_str()?))
}

fn help_at(schema: &Value, keyword_path: &str) -> Option<String> {
    Some(first_line(object_at(schema, keyword_path)?.get("description")?.as_str()?))
}

fn first_line(text: &str) -> String {
    text.split("\n\n").next().unwrap_or(text).replace('\n', " ")
}
