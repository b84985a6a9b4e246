//! The contract file against the standard's own JSON schema, and its properties as paths of the value.
//!
//! Source: Open Data Contract Standard 3.1.0, <https://bitol-io.github.io/open-data-contract-standard/>; the JSON
//! schema beside this file is the copy its reference implementation carries (Apache-2.0).

use std::collections::BTreeSet;
use std::sync::LazyLock;

use jsonschema::error::ValidationErrorKind;
use serde_json::Value;

use crate::finding::{FindingReport, did_you_mean};
use crate::yaml::YamlNode;

static STANDARD: LazyLock<Result<OdcsStandard, String>> = LazyLock::new(|| {
    let schema: Value =
        serde_json::from_str(include_str!("odcs-v3.1.0.json")).map_err(|error| error.to_string())?;
    let mut names = BTreeSet::new();
    property_names(&schema, &mut names);
    let validator = jsonschema::validator_for(&schema).map_err(|error| error.to_string())?;
    Ok(OdcsStandard { validator, names })
});

struct OdcsStandard {
    validator: jsonschema::Validator,
    /// Every property name of the standard, for hints.
    names: BTreeSet<String>,
}

/// A property of the contract's schema section: what is said of one path of the value.
pub(crate) struct OdcsProperty<'n> {
    pub(crate) path: String,
    pub(crate) node: &'n YamlNode,
    /// It has properties or items of its own.
    pub(crate) inner: bool,
}

/// Checks a document against the standard; every violation becomes a finding at its line.
pub(crate) fn check(document: &YamlNode, report: &mut FindingReport<'_>) {
    let standard = match &*STANDARD {
        Ok(standard) => standard,
        Err(why) => {
            report.add(None, "", format!("the standard's JSON schema cannot be used: {why}"), None);
            return;
        }
    };
    let json = document.to_json();
    for error in standard.validator.iter_errors(&json) {
        let pointer = error.instance_path().to_string();
        let tokens = pointer.split('/').skip(1);
        let node = document.descend(tokens.clone());
        let path = tokens.collect::<Vec<_>>().join(".");
        let hint = match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected }
            | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
                unexpected.iter().find_map(|key| did_you_mean(key, standard.names.iter().map(String::as_str)))
            }
            _ => None,
        };
        let message = format!("not as the standard (ODCS 3.1) asks: {}", error.masked_with("it"));
        report.add(node.line, path, message, hint);
    }
}

/// Every property under a schema object, outer before inner, with the path of the value that it means.
///
/// `logicalType: object` leads to `a.b`, `array` with `items` to `a[]`. The standard has no words for two of Avro's
/// types, so `physicalType` says it: `map` has properties `key` (`a{key}`) and `value` (`a{}`), `union` has one
/// property per branch (`a<name>`).
pub(crate) fn properties<'n>(object: &'n YamlNode, report: &mut FindingReport<'_>) -> Vec<OdcsProperty<'n>> {
    let mut declared = Vec::new();
    for property in object.get("properties").map(YamlNode::items).unwrap_or_default() {
        if let Some(name) = property.text_at("name") {
            walk(property, name.to_owned(), &mut declared, report);
        }
    }
    declared
}

fn walk<'n>(
    node: &'n YamlNode,
    path: String,
    declared: &mut Vec<OdcsProperty<'n>>,
    report: &mut FindingReport<'_>,
) {
    let children = node.get("properties").map(YamlNode::items).unwrap_or_default();
    let items = node.get("items");
    let inner = !children.is_empty() || items.is_some();
    declared.push(OdcsProperty { path: path.clone(), node, inner });
    for child in children {
        let Some(name) = child.text_at("name") else { continue };
        let below = match (node.text_at("physicalType"), name) {
            (Some("map"), "key") => format!("{path}{{key}}"),
            (Some("map"), "value") => format!("{path}{{}}"),
            (Some("map"), _) => {
                let message = format!("a map has the properties `key` and `value`, not `{name}`");
                report.add(child.line, path.clone(), message, None);
                continue;
            }
            (Some("union"), branch) => format!("{path}<{branch}>"),
            _ => format!("{path}.{name}"),
        };
        walk(child, below, declared, report);
    }
    if let Some(items) = items {
        walk(items, format!("{path}[]"), declared, report);
    }
}

/// The value of a custom property of a node, with the node that carries it.
pub(crate) fn custom<'n>(node: &'n YamlNode, name: &str) -> Option<&'n YamlNode> {
    node.get("customProperties")?
        .items()
        .iter()
        .find(|property| property.text_at("property") == Some(name))
        .and_then(|property| property.get("value"))
}

/// Reports custom properties whose names are nearly, but not quite, known ones, and those that stand twice.
/// Names of other tools are let be.
pub(crate) fn check_custom(node: &YamlNode, known: &[&str], path: &str, report: &mut FindingReport<'_>) {
    let mut seen: Vec<&str> = Vec::new();
    for property in node.get("customProperties").map(YamlNode::items).unwrap_or_default() {
        let Some(name) = property.text_at("property") else { continue };
        if seen.contains(&name) {
            report.add(property.line, path, format!("the custom property `{name}` stands here twice"), None);
        }
        seen.push(name);
        if known.contains(&name) {
            continue;
        }
        if let Some(hint) = did_you_mean(name, known.iter().copied()) {
            report.add(property.line, path, format!("unknown custom property `{name}`"), Some(hint));
        }
    }
}

fn property_names(schema: &Value, names: &mut BTreeSet<String>) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::Object(properties)) = object.get("properties") {
                names.extend(properties.keys().cloned());
            }
            object.values().for_each(|value| property_names(value, names));
        }
        Value::Array(items) => items.iter().for_each(|value| property_names(value, names)),
        _ => {}
    }
}
