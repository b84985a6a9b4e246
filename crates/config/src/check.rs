//! The check of a configuration against its JSON schema.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::Value;

use jsonschema::error::{ValidationError, ValidationErrorKind};

use super::ConfigErrors;

/// Returns the schema of `Raw` without references: a mistake's path leads to its place in the schema.
pub(super) fn schema_of<Raw: JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator()
        .into_root_schema_for::<Raw>()
}

/// Checks a value against the schema of `Raw`. `name` is the file, for mistakes of the file as a whole.
///
/// # Errors
/// All mistakes, each with path and hint.
pub(super) fn against_schema<Raw: JsonSchema>(value: &Value, name: &str) -> Result<(), ConfigErrors> {
    let schema = schema_of::<Raw>().to_value();
    let validator = jsonschema::validator_for(&schema)
        .map_err(|error| ConfigErrors::one(name, format!("the schema itself is broken: {error}"), None))?;

    // All mistakes at once: an operator does not want to start the worker once per mistake.
    let mut errors = ConfigErrors::default();
    for error in validator.iter_errors(value) {
        describe(&error, &schema, name, &mut errors);
    }
    errors.or(())
}

/// Adds a mistake in the operator's terms: the path of the setting, the message and a hint from the schema.
fn describe(error: &ValidationError<'_>, schema: &Value, name: &str, errors: &mut ConfigErrors) {
    // The path of the setting. A mistake at the root is one of the file.
    let at = dotted(error.instance_path().as_str());
    let join = |key: &str| if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
    let here = if at.is_empty() { name.to_owned() } else { at.clone() };

    match error.kind() {
        // Unknown keys, one message for each: most are typing mistakes, so the nearest known key is the hint.
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let known = known_keys(schema, error.schema_path().as_str());
            for key in unexpected {
                errors.add(join(key), "no such key", Some(nearest(key, &known)));
            }
        }

        // A missing key. The hint is the first paragraph of its documentation.
        ValidationErrorKind::Required { property } => {
            let key = property.as_str().unwrap_or_default();
            errors.add(
                here,
                format!("`{key}` is missing"),
                help_for(schema, error.schema_path().as_str(), key),
            );
        }

        // All other mistakes. `masked` keeps the value out of the message, which may be a secret.
        _ => errors.add(here, error.masked().to_string(), help_at(schema, error.schema_path().as_str())),
    }
}

/// Turns a JSON pointer into a path for operators: `/kafka/brokers/0` → `kafka.brokers[0]`.
fn dotted(pointer: &str) -> String {
    let mut out = String::new();
    for part in pointer.split('/').skip(1) {
        // RFC 6901: `~1` is a slash, `~0` a tilde, in this order.
        let part = part.replace("~1", "/").replace("~0", "~");
        // Digits are an index, but for the first part: the root is always a map.
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

/// Returns the object of the schema that holds the keyword at `keyword_path`.
fn object_at<'a>(schema: &'a Value, keyword_path: &str) -> Option<&'a Value> {
    let parent = keyword_path.rsplit_once('/').map_or("", |(parent, _)| parent);
    schema.pointer(parent)
}

/// Returns the keys that the object around the keyword knows.
fn known_keys(schema: &Value, keyword_path: &str) -> Vec<String> {
    object_at(schema, keyword_path)
        .and_then(|object| object.get("properties"))
        .and_then(Value::as_object)
        .map(|properties| properties.keys().cloned().collect())
        .unwrap_or_default()
}

/// Returns a hint for an unknown key: the nearest known key, or all known keys.
fn nearest(key: &str, known: &[String]) -> String {
    let close = known.iter().map(|k| (strsim::damerau_levenshtein(key, k), k)).min();
    // Two letters of difference, or a third of the key, count as a typing mistake.
    match close {
        Some((distance, k)) if distance <= 2 || distance * 3 <= key.len() => format!("did you mean `{k}`?"),
        _ if known.is_empty() => "remove it".into(),
        _ => format!("known keys: {}", known.join(", ")),
    }
}

/// Returns the documentation of a property of the object around the keyword, if it has one.
fn help_for(schema: &Value, keyword_path: &str, key: &str) -> Option<String> {
    let property = object_at(schema, keyword_path)?.get("properties")?.get(key)?;
    Some(first_line(property.get("description")?.as_str()?))
}

/// Returns the documentation of the object around the keyword, if it has one.
fn help_at(schema: &Value, keyword_path: &str) -> Option<String> {
    Some(first_line(object_at(schema, keyword_path)?.get("description")?.as_str()?))
}

/// Returns the first paragraph of a documentation as one line.
fn first_line(text: &str) -> String {
    text.split("\n\n").next().unwrap_or(text).replace('\n', " ")
}
