//! The check of a configuration against its JSON schema.

mod alternatives;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::Value;

use jsonschema::JsonType;
use jsonschema::error::{TypeKind, ValidationError, ValidationErrorKind};

use super::{ConfigErrors, size};
use alternatives::MeantAlternative;

/// Length of a documentation, in bytes, above which its first sentence is the hint.
const LONGEST_HINT: usize = 120;

/// Returns the schema of `Raw` without references: a mistake's path leads to its place in the schema.
pub(super) fn schema_of<Raw: JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator()
        .into_root_schema_for::<Raw>()
}

/// Checks a value against a schema. `name` is the file, for mistakes of the file as a whole.
///
/// # Errors
/// All mistakes, each with path and hint.
pub(super) fn against_schema(value: &Value, schema: &Value, name: &str) -> Result<(), ConfigErrors> {
    let validator = jsonschema::validator_for(schema)
        .map_err(|error| ConfigErrors::one(name, format!("the schema itself is broken: {error}"), None))?;

    // All mistakes at once: an operator does not want to start the worker once per mistake.
    let mut errors = ConfigErrors::default();
    for error in validator.iter_errors(value) {
        describe(&error, schema, name, &mut errors);
    }
    drop_followers(&mut errors);
    errors.or(())
}

/// Removes the message about a missing key that was written with a typing mistake: the other message has it.
fn drop_followers(errors: &mut ConfigErrors) {
    let meant: Vec<String> =
        errors.0.iter().filter_map(|error| error.hint.as_deref()).filter_map(meant_key).collect();
    errors.0.retain(|error| !meant.iter().any(|key| error.message == format!("`{key}` is missing")));
}

/// Returns the key in the hint `did you mean …?`.
fn meant_key(hint: &str) -> Option<String> {
    Some(hint.strip_prefix("did you mean `")?.strip_suffix("`?")?.to_owned())
}

/// Adds a mistake in the operator's terms: the path of the setting, the message and a hint from the schema. No
/// message quotes a value, which may be a secret.
fn describe(error: &ValidationError<'_>, schema: &Value, name: &str, errors: &mut ConfigErrors) {
    // The path of the setting. A mistake at the root is one of the file.
    let at = dotted(error.instance_path().as_str());
    let join = |key: &str| if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
    let here = if at.is_empty() { name.to_owned() } else { at.clone() };
    let keyword = error.schema_path().as_str();
    // The root's own documentation is for readers of the code.
    let help = || match at.is_empty() {
        true => Some("a configuration is a map of settings: `sluice config-schema` lists them".to_owned()),
        false => help_at(schema, keyword),
    };

    match error.kind() {
        // Unknown keys, one message for each: most are typing mistakes, so the nearest known key is the hint.
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let known = known_keys(schema, keyword);
            for key in unexpected {
                errors.add(join(key), "no such key", Some(nearest(key, &known)));
            }
        }

        // A missing key. The hint is the first paragraph of its documentation.
        ValidationErrorKind::Required { property } => {
            let key = property.as_str().unwrap_or_default();
            let help = help_for(schema, keyword, key);
            errors.add(here, format!("`{key}` is missing"), help.or_else(|| Some(format!("add `{key}: …`"))));
        }

        // A section that is one of several.
        ValidationErrorKind::OneOfNotValid { context } | ValidationErrorKind::AnyOf { context } => {
            match alternatives::meant(error.instance(), schema.pointer(keyword), &join) {
                MeantAlternative::Branch(branch) => {
                    let mistakes = context.get(branch).map(Vec::as_slice).unwrap_or_default();
                    mistakes.iter().for_each(|mistake| describe(mistake, schema, name, errors));
                }
                MeantAlternative::Unclear { path, message, hint } => {
                    let path = if path.is_empty() { here } else { path };
                    errors.add(path, message, hint.or_else(help));
                }
            }
        }

        // A value of the wrong type, out of its range, or of the wrong form.
        ValidationErrorKind::Type { kind } => {
            let expected = match kind {
                TypeKind::Single(one) => type_name(*one).to_owned(),
                TypeKind::Multiple(many) => {
                    let names = many.iter().filter(|is| *is != JsonType::Null).map(type_name);
                    names.collect::<Vec<_>>().join(" or ")
                }
            };
            let found = value_name(error.instance());
            errors.add(here, format!("expected {expected}{}, found {found}", counted_in(&at)), help());
        }
        ValidationErrorKind::Minimum { limit } => {
            errors.add(here, format!("expected at least {limit}"), help())
        }
        ValidationErrorKind::Maximum { limit } => {
            errors.add(here, format!("expected at most {limit}"), help())
        }
        ValidationErrorKind::Enum { options } => {
            let known: Vec<String> = options
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect();
            let hint = error.instance().as_str().and_then(|written| near(written, &known));
            errors.add(here, format!("expected one of {}", known.join(", ")), hint.or_else(help));
        }
        ValidationErrorKind::Pattern { pattern } if pattern == size::PATTERN => {
            errors.add(here, "expected an amount such as 192MiB or 200MB", help());
        }
        ValidationErrorKind::Pattern { .. } => errors.add(here, "is not of the expected form", help()),

        // All other mistakes. `masked` keeps the value out of the message.
        _ => errors.add(here, error.masked().to_string(), help()),
    }
}

/// Returns the unit of a setting that counts seconds or milliseconds, for a message.
fn counted_in(path: &str) -> &'static str {
    if path.ends_with("_seconds") {
        return " of seconds, or a duration such as 30s or 5m";
    }
    if path.ends_with("_ms") { " of milliseconds, or a duration such as 250ms or 2s" } else { "" }
}

/// Returns a type in the words of a YAML file.
fn type_name(of: JsonType) -> &'static str {
    match of {
        JsonType::Array => "a list",
        JsonType::Boolean => "true or false",
        JsonType::Integer => "a whole number",
        JsonType::Null => "nothing",
        JsonType::Number => "a number",
        JsonType::Object => "a map",
        JsonType::String => "a text",
    }
}

/// Returns the type of a value, in the words of a YAML file.
fn value_name(value: &Value) -> &'static str {
    match value {
        Value::Array(_) => "a list",
        Value::Bool(_) => "true or false",
        Value::Null => "nothing",
        Value::Number(_) => "a number",
        Value::Object(_) => "a map",
        Value::String(_) => "a text",
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
pub(super) fn nearest(key: &str, known: &[String]) -> String {
    near(key, known).unwrap_or_else(|| {
        if known.is_empty() { "remove it".into() } else { format!("known keys: {}", known.join(", ")) }
    })
}

/// Returns the hint `did you mean …?` if a known name is near to the written one.
pub(super) fn near(written: &str, known: &[String]) -> Option<String> {
    let close = known.iter().map(|name| (strsim::damerau_levenshtein(written, name), name)).min();
    // Two letters of difference, or a third of the name, count as a typing mistake.
    let (distance, name) = close?;
    (distance <= 2 || distance * 3 <= written.len()).then(|| format!("did you mean `{name}`?"))
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

/// Returns the first paragraph of a documentation as one line, or its first sentence if it is long.
fn first_line(text: &str) -> String {
    let line = text.split("\n\n").next().unwrap_or(text).replace('\n', " ");
    match line.split_once(". ") {
        Some((first, _)) if line.len() > LONGEST_HINT => format!("{first}."),
        _ => line,
    }
}
