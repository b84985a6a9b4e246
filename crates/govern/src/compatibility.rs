//! May a schema follow those that were registered before it? Avro's schema resolution (specification 1.12, "Schema
//! Resolution"), with the path at which it fails.
//!
//! | level | the new schema must |
//! |---|---|
//! | BACKWARD | read what was written with the newest registered one |
//! | FORWARD | be readable by whoever has the newest registered one |
//! | FULL | both |
//! | …_TRANSITIVE | the same with every registered one |
//!
//! Stricter than the specification in one thing: a logical type may not become another (milliseconds read as
//! microseconds are an answer, but a wrong one), nor a decimal change its scale.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use sluice_contract::contract::CompatibilityLevel;

/// A registered version of a subject.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubjectVersion {
    /// Its number in the registry.
    pub number: u32,
    /// Its schema, as JSON text.
    pub schema: String,
}

/// Why a schema may not follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SchemaIncompatibility {
    /// The registered version it does not go with.
    pub version: u32,
    /// Who could not read what.
    pub breaks: CompatibilityBreak,
    /// Path of the field; empty for the schema as a whole.
    pub path: String,
    /// What stands in the way.
    pub why: String,
}

/// Who could not read what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CompatibilityBreak {
    /// The new schema could not read what is there.
    OldRecords,
    /// Readers of the registered version could not read what comes.
    OldReaders,
}

/// Everything that stands in the way of `schema` as the next version at this level; `earlier` in the registry's order.
pub fn check(
    level: CompatibilityLevel,
    schema: &str,
    earlier: &[SubjectVersion],
) -> Vec<SchemaIncompatibility> {
    let (old_records, old_readers) = match level {
        CompatibilityLevel::None => (false, false),
        CompatibilityLevel::Backward | CompatibilityLevel::BackwardTransitive => (true, false),
        CompatibilityLevel::Forward | CompatibilityLevel::ForwardTransitive => (false, true),
        CompatibilityLevel::Full | CompatibilityLevel::FullTransitive => (true, true),
    };
    let transitive = matches!(
        level,
        CompatibilityLevel::BackwardTransitive
            | CompatibilityLevel::ForwardTransitive
            | CompatibilityLevel::FullTransitive
    );
    let earlier = match (transitive, earlier) {
        (false, [.., newest]) => std::slice::from_ref(newest),
        (_, all) => all,
    };
    let mut found = Vec::new();
    for version in earlier {
        let mut note = |breaks, writer: &str, reader: &str| {
            let number = version.number;
            let of = |(path, why)| SchemaIncompatibility { version: number, breaks, path, why };
            found.extend(unreadable(writer, reader).into_iter().map(of));
        };
        if old_records {
            note(CompatibilityBreak::OldRecords, &version.schema, schema);
        }
        if old_readers {
            note(CompatibilityBreak::OldReaders, schema, &version.schema);
        }
    }
    found
}

/// Paths and reasons why a reader with one schema cannot read what was written with another; empty if it can.
fn unreadable(writer: &str, reader: &str) -> Vec<(String, String)> {
    let (Ok(writer), Ok(reader)) = (serde_json::from_str(writer), serde_json::from_str(reader)) else {
        return vec![(String::new(), "a schema that is no JSON".to_owned())];
    };
    let (mut in_writer, mut in_reader) = (NamedTypeIndex::default(), NamedTypeIndex::default());
    in_writer.read(&writer, "");
    in_reader.read(&reader, "");
    let mut matching =
        SchemaMatcher { writer: &in_writer, reader: &in_reader, open: BTreeSet::new(), found: Vec::new() };
    matching.node(
        NamespacedType { schema: &writer, namespace: "" },
        NamespacedType { schema: &reader, namespace: "" },
        "",
    );
    matching.found
}

/// Named types of a schema, by full name.
#[derive(Default)]
struct NamedTypeIndex<'s>(BTreeMap<String, NamespacedType<'s>>);

/// A type and the namespace in which it stands.
#[derive(Clone, Copy)]
struct NamespacedType<'s> {
    schema: &'s Value,
    namespace: &'s str,
}

impl<'s> NamedTypeIndex<'s> {
    fn read(&mut self, schema: &'s Value, namespace: &'s str) {
        match schema {
            Value::Array(branches) => branches.iter().for_each(|branch| self.read(branch, namespace)),
            Value::Object(object) => {
                let mut inner = namespace;
                if let Some(name) = object.get("name").and_then(Value::as_str)
                    && matches!(word(schema), "record" | "error" | "enum" | "fixed")
                {
                    inner = match (name.rsplit_once('.'), object.get("namespace").and_then(Value::as_str)) {
                        (Some((own, _)), _) => own,
                        (None, Some(own)) => own,
                        (None, None) => namespace,
                    };
                    self.0.insert(full(name, inner), NamespacedType { schema, namespace });
                }
                for key in ["type", "items", "values"] {
                    if let Some(below) = object.get(key).filter(|below| !below.is_string()) {
                        self.read(below, inner);
                    }
                }
                for field in object.get("fields").and_then(Value::as_array).into_iter().flatten() {
                    if let Some(below) = field.get("type") {
                        self.read(below, inner);
                    }
                }
            }
            _ => {}
        }
    }

    /// Follows a name, and `{"type": {…}}`, to what it stands for.
    fn resolve(&self, mut at: NamespacedType<'s>) -> NamespacedType<'s> {
        for _ in 0..64 {
            at = match at.schema {
                Value::String(name) => {
                    let found = self.0.get(&full(name, at.namespace)).or_else(|| self.0.get(name.as_str()));
                    match found {
                        Some(found) => return *found,
                        None => return at,
                    }
                }
                Value::Object(object) => match object.get("type") {
                    Some(inner @ (Value::Object(_) | Value::Array(_))) => {
                        NamespacedType { schema: inner, ..at }
                    }
                    Some(Value::String(name)) if self.0.contains_key(&full(name, at.namespace)) => {
                        NamespacedType { schema: object.get("type").unwrap_or(at.schema), ..at }
                    }
                    _ => return at,
                },
                _ => return at,
            };
        }
        at
    }
}

fn full(name: &str, namespace: &str) -> String {
    match name.contains('.') || namespace.is_empty() {
        true => name.to_owned(),
        false => format!("{namespace}.{name}"),
    }
}

/// The word that says what a type is: `record`, `int`, …; empty for a union.
fn word(schema: &Value) -> &str {
    match schema {
        Value::String(word) => word,
        Value::Object(object) => object.get("type").and_then(Value::as_str).unwrap_or_default(),
        _ => "",
    }
}

/// Name without namespace, by which the specification matches named types.
fn short(schema: &Value) -> &str {
    let name = schema.get("name").and_then(Value::as_str).unwrap_or_default();
    name.rsplit('.').next().unwrap_or(name)
}

struct SchemaMatcher<'s> {
    writer: &'s NamedTypeIndex<'s>,
    reader: &'s NamedTypeIndex<'s>,
    /// Pairs of records that are being compared, or were: a circle ends here.
    open: BTreeSet<(String, String)>,
    found: Vec<(String, String)>,
}

impl<'s> SchemaMatcher<'s> {
    fn refuse(&mut self, path: &str, why: impl Into<String>) {
        self.found.push((path.to_owned(), why.into()));
    }

    /// Could it be read? For branches of unions, of which one will do.
    fn fits(&mut self, writer: NamespacedType<'s>, reader: NamespacedType<'s>, path: &str) -> bool {
        let (before, open) = (self.found.len(), self.open.clone());
        self.node(writer, reader, path);
        let fits = self.found.len() == before;
        if !fits {
            self.found.truncate(before);
            self.open = open;
        }
        fits
    }

    fn node(&mut self, writer: NamespacedType<'s>, reader: NamespacedType<'s>, path: &str) {
        let (writer, reader) = (self.writer.resolve(writer), self.reader.resolve(reader));
        match (writer.schema, reader.schema) {
            (Value::Array(branches), _) => {
                for branch in branches {
                    self.node(NamespacedType { schema: branch, ..writer }, reader, path);
                }
            }
            (_, Value::Array(branches)) => self.union_written(writer, branches, reader, path),
            _ => self.types(writer, reader, path),
        }
    }

    fn union_written(
        &mut self,
        writer: NamespacedType<'s>,
        branches: &'s [Value],
        reader: NamespacedType<'s>,
        path: &str,
    ) {
        let at = |schema: &'s Value| NamespacedType { schema, ..reader };
        if branches.iter().any(|branch| self.fits(writer, at(branch), path)) {
            return;
        }
        // With one type beside null it is clear which was meant, and what is wrong with it can be told.
        let others: Vec<&Value> = branches.iter().filter(|branch| word(branch) != "null").collect();
        match others[..] {
            [only] if word(writer.schema) != "null" => self.node(writer, at(only), path),
            _ => self.refuse(path, format!("{} has no place in the reader's union", said(writer.schema))),
        }
    }

    fn types(&mut self, writer: NamespacedType<'s>, reader: NamespacedType<'s>, path: &str) {
        let (from, to) = (word(writer.schema), word(reader.schema));
        let named = matches!(from, "record" | "error" | "enum" | "fixed");
        if named && from == to && short(writer.schema) != short(reader.schema) && !aliased(writer, reader) {
            let why = format!("{} `{}` is called `{}`", from, short(writer.schema), short(reader.schema));
            self.refuse(path, why);
            return;
        }
        match (from, to) {
            ("record" | "error", "record" | "error") => self.record(writer, reader, path),
            ("enum", "enum") => self.symbols(writer.schema, reader.schema, path),
            ("fixed", "fixed") => {
                if writer.schema.get("size") != reader.schema.get("size") {
                    self.refuse(path, "a fixed of another size");
                }
                self.logical(writer.schema, reader.schema, path);
            }
            ("array", "array") => self.inner("items", writer, reader, &format!("{path}[]")),
            ("map", "map") => self.inner("values", writer, reader, &format!("{path}{{}}")),
            _ if from == to || promoted(from, to) => self.logical(writer.schema, reader.schema, path),
            _ => self
                .refuse(path, format!("{} cannot be read as {}", said(writer.schema), said(reader.schema))),
        }
    }

    fn inner(&mut self, key: &str, writer: NamespacedType<'s>, reader: NamespacedType<'s>, path: &str) {
        if let (Some(from), Some(to)) = (writer.schema.get(key), reader.schema.get(key)) {
            self.node(
                NamespacedType { schema: from, ..writer },
                NamespacedType { schema: to, ..reader },
                path,
            );
        }
    }

    fn record(&mut self, writer: NamespacedType<'s>, reader: NamespacedType<'s>, path: &str) {
        let (from, to) = (inside(writer), inside(reader));
        let pair = (full(short(writer.schema), from), full(short(reader.schema), to));
        if !self.open.insert(pair) {
            return;
        }
        for field in fields(reader.schema) {
            let Some(name) = field.get("name").and_then(Value::as_str) else { continue };
            let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            let other = fields(writer.schema).find(|other| {
                let other = other.get("name").and_then(Value::as_str).unwrap_or_default();
                other == name || aliases(field).any(|alias| alias == other)
            });
            match other.and_then(|other| other.get("type")) {
                Some(other) => {
                    let Some(own) = field.get("type") else { continue };
                    self.node(
                        NamespacedType { schema: other, namespace: from },
                        NamespacedType { schema: own, namespace: to },
                        &path,
                    );
                }
                None if field.get("default").is_some() => {}
                None => self.refuse(&path, "is not written, and the reader has no default for it"),
            }
        }
    }

    fn symbols(&mut self, writer: &Value, reader: &Value, path: &str) {
        if reader.get("default").is_some() {
            return;
        }
        let symbols = |schema: &Value| -> BTreeSet<String> {
            let symbols = schema.get("symbols").and_then(Value::as_array).into_iter().flatten();
            symbols.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let known = symbols(reader);
        let missing: Vec<String> = symbols(writer).difference(&known).cloned().collect();
        if !missing.is_empty() {
            self.refuse(path, format!("the reader's enum has no {}, and no default", missing.join(", ")));
        }
    }

    fn logical(&mut self, writer: &Value, reader: &Value, path: &str) {
        let of = |schema: &Value| -> Option<String> {
            let name = schema.get("logicalType")?.as_str()?;
            let number = |key: &str| schema.get(key).and_then(Value::as_u64).unwrap_or(0);
            Some(match name {
                "decimal" => format!("decimal({}, {})", number("precision"), number("scale")),
                other => other.to_owned(),
            })
        };
        let is_decimal =
            |logical: &Option<String>| logical.as_deref().is_some_and(|l| l.starts_with("decimal"));
        let (from, to) = (of(writer), of(reader));
        let changed = from.is_some() && to.is_some() || is_decimal(&from) || is_decimal(&to);
        if from != to && changed {
            let say = |logical: Option<String>| logical.unwrap_or_else(|| "no logical type".to_owned());
            self.refuse(path, format!("{} is read as {}", say(from), say(to)));
        }
    }
}

/// The namespace inside a record.
fn inside<'s>(at: NamespacedType<'s>) -> &'s str {
    let own = at.schema.get("name").and_then(Value::as_str).and_then(|name| name.rsplit_once('.'));
    match (own, at.schema.get("namespace").and_then(Value::as_str)) {
        (Some((own, _)), _) => own,
        (None, Some(own)) => own,
        (None, None) => at.namespace,
    }
}

fn fields(record: &Value) -> impl Iterator<Item = &Value> {
    record.get("fields").and_then(Value::as_array).into_iter().flatten()
}

fn aliases(of: &Value) -> impl Iterator<Item = &str> {
    let aliases = of.get("aliases").and_then(Value::as_array).into_iter().flatten();
    aliases.filter_map(Value::as_str).map(|alias| alias.rsplit('.').next().unwrap_or(alias))
}

fn aliased(writer: NamespacedType<'_>, reader: NamespacedType<'_>) -> bool {
    aliases(reader.schema).any(|alias| alias == short(writer.schema))
}

fn promoted(from: &str, to: &str) -> bool {
    matches!(
        (from, to),
        ("int", "long" | "float" | "double")
            | ("long", "float" | "double")
            | ("float", "double")
            | ("string", "bytes")
            | ("bytes", "string")
    )
}

fn said(schema: &Value) -> String {
    match schema.get("logicalType").and_then(Value::as_str) {
        Some(logical) => format!("{} ({logical})", word(schema)),
        None => word(schema).to_owned(),
    }
}

impl fmt::Display for SchemaIncompatibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, breaks, path, why } = self;
        let at = if path.is_empty() { "the schema".to_owned() } else { format!("`{path}`") };
        match breaks {
            CompatibilityBreak::OldRecords => {
                write!(f, "{at}: {why} (records of version {version} could not be read)")
            }
            CompatibilityBreak::OldReaders => {
                write!(f, "{at}: {why} (readers of version {version} would break)")
            }
        }
    }
}

#[cfg(test)]
mod tests;
