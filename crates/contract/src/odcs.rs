//! The check of a contract file against the standard's own JSON schema, and its properties as paths of the
//! value.
//!
//! Source: Open Data Contract Standard 3.1.0, <https://bitol-io.github.io/open-data-contract-standard/>; the
//! JSON schema beside this file is a copy from the standard's reference implementation (Apache-2.0).

use std::collections::BTreeSet;
use std::sync::LazyLock;

use jsonschema::error::ValidationErrorKind;
use serde_json::Value;

use crate::finding::{FindingReport, did_you_mean};
use crate::yaml::YamlNode;

/// The standard, compiled once. The error is that of a broken copy of the schema.
static STANDARD: LazyLock<Result<OdcsStandard, String>> = LazyLock::new(|| {
    let schema: Value =
        serde_json::from_str(include_str!("odcs-v3.1.0.json")).map_err(|error| error.to_string())?;
    let mut names = BTreeSet::new();
    property_names(&schema, &mut names);
    let validator = jsonschema::validator_for(&schema).map_err(|error| error.to_string())?;
    Ok(OdcsStandard { validator, names })
});

/// The standard's JSON schema, ready for use.
struct OdcsStandard {
    validator: jsonschema::Validator,
    /// Every property name of the standard, for hints.
    names: BTreeSet<String>,
}

/// A property of the contract's schema section, which describes one path of the value.
pub(crate) struct OdcsProperty<'n> {
    /// Path of the value, as in [`sluice_wire::LeafInfo`].
    pub(crate) path: String,
    pub(crate) node: &'n YamlNode,
    /// True if the property has properties or items of its own.
    pub(crate) inner: bool,
}

/// Checks a document against the standard. Every violation becomes a finding at its line.
pub(crate) fn check(document: &YamlNode, report: &mut FindingReport<'_>) {
    // The copy of the standard is part of the binary, but a mistake in it must not pass as a valid contract.
    let standard = match &*STANDARD {
        Ok(standard) => standard,
        Err(why) => {
            report.add(None, "", format!("the standard's JSON schema cannot be used: {why}"), None);
            return;
        }
    };

    // Validate, and turn each violation into a finding.
    let json = document.to_json();
    for error in standard.validator.iter_errors(&json) {
        // The line and the path of the place.
        let pointer = error.instance_path().to_string();
        let tokens = pointer.split('/').skip(1);
        let node = document.descend(tokens.clone());
        let path = tokens.collect::<Vec<_>>().join(".");

        // An unknown key is most often a typing mistake.
        let hint = match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected }
            | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
                unexpected.iter().find_map(|key| did_you_mean(key, standard.names.iter().map(String::as_str)))
            }
            _ => None,
        };
        let message = format!("does not follow the standard (ODCS 3.1): {}", error.masked_with("it"));
        report.add(node.line, path, message, hint);
    }
}

/// Returns every property under a schema object, outer ones first, with its path of the value.
///
/// `logicalType: object` leads to `a.b`, `array` with `items` to `a[]`. The standard has no words for two of
/// Avro's types, for which `physicalType` is used: `map` has the properties `key` (`a{key}`) and `value`
/// (`a{}`), `union` has one property per branch (`a<name>`).
pub(crate) fn properties<'n>(object: &'n YamlNode, report: &mut FindingReport<'_>) -> Vec<OdcsProperty<'n>> {
    let mut declared = Vec::new();
    for property in object.get("properties").map(YamlNode::items).unwrap_or_default() {
        // The standard requires a name: its absence is reported by the check above.
        if let Some(name) = property.text_at("name") {
            walk(property, name.to_owned(), &mut declared, report);
        }
    }
    declared
}

/// Adds a property and all properties below it.
fn walk<'n>(
    node: &'n YamlNode,
    path: String,
    declared: &mut Vec<OdcsProperty<'n>>,
    report: &mut FindingReport<'_>,
) {
    // The property itself.
    let children = node.get("properties").map(YamlNode::items).unwrap_or_default();
    let items = node.get("items");
    let inner = !children.is_empty() || items.is_some();
    declared.push(OdcsProperty { path: path.clone(), node, inner });

    // Its fields, map sides or branches.
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

    // The items of an array.
    if let Some(items) = items {
        walk(items, format!("{path}[]"), declared, report);
    }
}

/// Returns the value of a custom property of a node. If the property is given twice, the first one counts.
pub(crate) fn custom<'n>(node: &'n YamlNode, name: &str) -> Option<&'n YamlNode> {
    node.get("customProperties")?
        .items()
        .iter()
        .find(|property| property.text_at("property") == Some(name))
        .and_then(|property| property.get("value"))
}

/// Reports custom properties that are given twice, and those with a name that is near to a known one. All
/// other names belong to other tools and are ignored.
pub(crate) fn check_custom(node: &YamlNode, known: &[&str], path: &str, report: &mut FindingReport<'_>) {
    let mut seen: Vec<&str> = Vec::new();
    for property in node.get("customProperties").map(YamlNode::items).unwrap_or_default() {
        let Some(name) = property.text_at("property") else { continue };
        if seen.contains(&name) {
            report.add(property.line, path, format!("the custom property `{name}` is given twice"), None);
        }
        seen.push(name);
        if known.contains(&name) {
            continue;
        }
        // `maskng` would leave a leaf without its masking, and the message there would name the wrong cause.
        if let Some(hint) = did_you_mean(name, known.iter().copied()) {
            report.add(property.line, path, format!("unknown custom property `{name}`"), Some(hint));
        }
    }
}

/// Collects every property name of a JSON schema.
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
