//! Sections that are one of several: which one an operator meant.

use serde_json::Value;

use super::{near, value_name};

/// The alternative that a section meant.
pub(super) enum MeantAlternative {
    /// The one with this index: its own mistakes are the message.
    Branch(usize),
    /// None of them for certain.
    Unclear {
        /// Path of the key that is wrong. Empty for the section itself.
        path: String,
        /// The expectation.
        message: String,
        /// The nearest alternative, if one is near.
        hint: Option<String>,
    },
}

/// Finds the alternative that `instance` meant. `list` is the schema's list of alternatives; `join` makes the path
/// of a key of the section.
pub(super) fn meant(
    instance: &Value,
    list: Option<&Value>,
    join: &dyn Fn(&str) -> String,
) -> MeantAlternative {
    let branches: Vec<&Value> = list.and_then(Value::as_array).into_iter().flatten().collect();

    // An optional section: one alternative besides nothing.
    let present =
        branches.iter().enumerate().filter(|(_, branch)| branch.get("type") != Some(&"null".into()));
    if let [(only, _)] = present.collect::<Vec<_>>()[..] {
        return MeantAlternative::Branch(only);
    }

    // Names in the place of a section, for example of a codec.
    let names: Vec<String> = branches.iter().flat_map(|branch| texts_of(branch)).collect();
    let Some(section) = instance.as_object() else {
        let hint = instance.as_str().and_then(|written| near(written, &names));
        return MeantAlternative::Unclear {
            path: String::new(),
            message: expected(&branches, instance),
            hint,
        };
    };

    // A section whose kind is the value of a key, for example `kind: page`.
    if let Some(tag) = branches.iter().find_map(|branch| tag_of(branch)).map(|(tag, _)| tag) {
        let kinds: Vec<String> =
            branches.iter().filter_map(|branch| tag_of(branch)).map(|(_, kind)| kind).collect();
        let written = section.get(&tag).and_then(Value::as_str);
        if let Some(branch) = branches
            .iter()
            .position(|branch| tag_of(branch).is_some_and(|(_, kind)| Some(kind.as_str()) == written))
        {
            return MeantAlternative::Branch(branch);
        }
        let hint = written.and_then(|written| near(written, &kinds));
        let message = match written {
            Some(_) => format!("expected one of {}", kinds.join(", ")),
            None => format!("`{tag}` is missing: expected one of {}", kinds.join(", ")),
        };
        let path = if section.contains_key(&tag) { join(&tag) } else { String::new() };
        return MeantAlternative::Unclear { path, message, hint };
    }

    // A section whose kind is its only key, for example `{archive: {…}}`.
    let has = |branch: &&&Value| kind_of(branch).is_some_and(|kind| section.contains_key(&kind));
    let written: Vec<usize> =
        branches.iter().enumerate().filter(|(_, branch)| has(branch)).map(|(index, _)| index).collect();
    match written[..] {
        [one] => return MeantAlternative::Branch(one),
        [] => {}
        _ => {
            let kinds: Vec<String> =
                written.iter().filter_map(|index| kind_of(branches.get(*index)?)).collect();
            let message = format!("expected one kind, found {}", kinds.join(" and "));
            let hint = Some("write each as an entry of its own".to_owned());
            return MeantAlternative::Unclear { path: String::new(), message, hint };
        }
    }

    // No key is a kind: most are typing mistakes.
    let kinds: Vec<String> = branches.iter().filter_map(|branch| kind_of(branch)).collect();
    let near_key = section.keys().find_map(|key| Some((join(key), near(key, &kinds)?)));
    match near_key {
        Some((path, hint)) => {
            MeantAlternative::Unclear { path, message: expected(&branches, instance), hint: Some(hint) }
        }
        None => MeantAlternative::Unclear {
            path: String::new(),
            message: expected(&branches, instance),
            hint: None,
        },
    }
}

/// Returns the sentence about all alternatives.
fn expected(branches: &[&Value], instance: &Value) -> String {
    let kinds: Vec<String> =
        branches.iter().filter_map(|branch| kind_of(branch)).map(|kind| format!("`{kind}: …`")).collect();
    let names: Vec<String> = branches.iter().flat_map(|branch| texts_of(branch)).collect();

    // The written names are left out of the message: a value may be a secret.
    let all = names.into_iter().chain(kinds).collect::<Vec<_>>().join(", ");
    match instance {
        Value::Object(keys) if keys.is_empty() => format!("expected one of {all}, found an empty map"),
        Value::Object(keys) => {
            let keys: Vec<&str> = keys.keys().map(String::as_str).collect();
            format!("expected one of {all}, found the key {}", keys.join(", "))
        }
        Value::String(_) => format!("expected one of {all}"),
        other => format!("expected one of {all}, found {}", value_name(other)),
    }
}

/// Returns the key and the value that tell an alternative apart, for example `kind` and `page`.
fn tag_of(branch: &Value) -> Option<(String, String)> {
    let properties = branch.get("properties")?.as_object()?;
    properties.iter().find_map(|(key, own)| Some((key.clone(), own.get("const")?.as_str()?.to_owned())))
}

/// Returns the only key that an alternative demands.
fn kind_of(branch: &Value) -> Option<String> {
    match branch.get("required").and_then(Value::as_array).map(Vec::as_slice) {
        Some([one]) => one.as_str().map(str::to_owned),
        _ => None,
    }
}

/// Returns the texts that an alternative is, if it is one of texts.
fn texts_of(branch: &Value) -> Vec<String> {
    let one = branch.get("const").into_iter();
    let many = branch.get("enum").and_then(Value::as_array).into_iter().flatten();
    one.chain(many).filter_map(Value::as_str).map(str::to_owned).collect()
}
