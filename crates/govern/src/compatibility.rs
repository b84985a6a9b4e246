//! Checks that a schema may follow the registered versions of its subject, by Avro's schema resolution
//! (specification 1.12, "Schema Resolution"). A failure names the path of the field.
//!
//! | level | requirement |
//! |---|---|
//! | BACKWARD | the new schema reads records of the newest registered one |
//! | FORWARD | the newest registered schema reads records of the new one |
//! | FULL | both |
//! | …_TRANSITIVE | the same with every registered schema |
//!
//! The check is stricter than the specification in one point: a logical type may not become another one, and
//! a decimal may not change its scale. For example, milliseconds can be read as microseconds, but the result
//! is wrong.

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

/// One reason why a schema may not follow a registered version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SchemaIncompatibility {
    /// The registered version with which the schema is not compatible.
    pub version: u32,
    /// The side that would break.
    pub breaks: CompatibilityBreak,
    /// Path of the field; empty for the schema as a whole.
    pub path: String,
    /// The reason, for the author of the schema.
    pub why: String,
}

/// The side that an incompatible schema breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CompatibilityBreak {
    /// The new schema cannot read records of the registered version.
    OldRecords,
    /// Readers of the registered version cannot read records of the new schema.
    OldReaders,
}

/// Returns every reason against `schema` as the next version at this level. `earlier` holds the registered
/// versions in the registry's order. An empty list means that the schema is compatible.
pub fn check(
    level: CompatibilityLevel,
    schema: &str,
    earlier: &[SubjectVersion],
) -> Vec<SchemaIncompatibility> {
    // The level decides which side must be able to read, and how far back.
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

    // Without transitivity only the newest version counts.
    let earlier = match (transitive, earlier) {
        (false, [.., newest]) => std::slice::from_ref(newest),
        (_, all) => all,
    };

    // Both directions of every version are checked, so that the author sees all reasons at once.
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

/// Returns paths and reasons why a reader with the schema `reader` cannot read records of the schema
/// `writer`. An empty list means that it can.
fn unreadable(writer: &str, reader: &str) -> Vec<(String, String)> {
    let (Ok(writer), Ok(reader)) = (serde_json::from_str(writer), serde_json::from_str(reader)) else {
        return vec![(String::new(), "expected JSON, one of the schemas is not".to_owned())];
    };

    // Named types are collected first: a name can be used anywhere after its definition.
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

/// The named types of a schema (record, error, enum, fixed), by full name.
#[derive(Default)]
struct NamedTypeIndex<'s>(BTreeMap<String, NamespacedType<'s>>);

/// A type, and the namespace that encloses it.
#[derive(Clone, Copy)]
struct NamespacedType<'s> {
    schema: &'s Value,
    namespace: &'s str,
}

impl<'s> NamedTypeIndex<'s> {
    /// Adds the named types of a schema, at any depth.
    fn read(&mut self, schema: &'s Value, namespace: &'s str) {
        match schema {
            // A union: its branches are in the namespace of the union.
            Value::Array(branches) => branches.iter().for_each(|branch| self.read(branch, namespace)),
            Value::Object(object) => {
                // A definition. A full name brings its own namespace and outranks the attribute `namespace`.
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

                // The types inside: a wrapped type, an array's items, a map's values, a record's fields.
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

            // A name defines nothing.
            _ => {}
        }
    }

    /// Follows names, and wrappers such as `{"type": {…}}`, to the type that they mean.
    fn resolve(&self, mut at: NamespacedType<'s>) -> NamespacedType<'s> {
        // A hostile schema can wrap without end: 64 levels are more than any real one has.
        for _ in 0..64 {
            at = match at.schema {
                // A name in the enclosing namespace, else a full name or a primitive type.
                Value::String(name) => {
                    let found = self.0.get(&full(name, at.namespace)).or_else(|| self.0.get(name.as_str()));
                    match found {
                        Some(found) => return *found,
                        None => return at,
                    }
                }

                // A wrapper around a type, or around a name that the schema defines. Anything else is the
                // type itself.
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

/// Returns the full name; a name with a dot is one already.
fn full(name: &str, namespace: &str) -> String {
    match name.contains('.') || namespace.is_empty() {
        true => name.to_owned(),
        false => format!("{namespace}.{name}"),
    }
}

/// Returns the kind of a type, for example `record` or `int`; empty for a union.
fn word(schema: &Value) -> &str {
    match schema {
        Value::String(word) => word,
        Value::Object(object) => object.get("type").and_then(Value::as_str).unwrap_or_default(),
        _ => "",
    }
}

/// Returns the name without namespace, by which the specification matches named types.
fn short(schema: &Value) -> &str {
    let name = schema.get("name").and_then(Value::as_str).unwrap_or_default();
    name.rsplit('.').next().unwrap_or(name)
}

/// One comparison of a writer's schema with a reader's.
struct SchemaMatcher<'s> {
    writer: &'s NamedTypeIndex<'s>,
    reader: &'s NamedTypeIndex<'s>,
    /// Pairs of records that are being compared or have been. They end the recursion in circular schemas.
    open: BTreeSet<(String, String)>,
    /// Path and reason of each failure.
    found: Vec<(String, String)>,
}

impl<'s> SchemaMatcher<'s> {
    /// Notes a reason at a path.
    fn refuse(&mut self, path: &str, why: impl Into<String>) {
        self.found.push((path.to_owned(), why.into()));
    }

    /// Returns true if the reader's type can read the writer's, without a trace if not. It serves to try the
    /// branches of a union, of which one is enough.
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

    /// Compares two types.
    fn node(&mut self, writer: NamespacedType<'s>, reader: NamespacedType<'s>, path: &str) {
        let (writer, reader) = (self.writer.resolve(writer), self.reader.resolve(reader));
        match (writer.schema, reader.schema) {
            // A record can hold any branch of the writer's union: the reader must be able to read each of
            // them.
            (Value::Array(branches), _) => {
                for branch in branches {
                    self.node(NamespacedType { schema: branch, ..writer }, reader, path);
                }
            }
            (_, Value::Array(branches)) => self.union_written(writer, branches, reader, path),
            _ => self.types(writer, reader, path),
        }
    }

    /// Compares one type of the writer with the branches of the reader's union.
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

        // No branch fits. With a single type beside null that branch was meant, and its own reason is the
        // better one.
        let others: Vec<&Value> = branches.iter().filter(|branch| word(branch) != "null").collect();
        match others[..] {
            [only] if word(writer.schema) != "null" => self.node(writer, at(only), path),
            _ => {
                let why = format!("the reader's union has no branch for {}", describe(writer.schema));
                self.refuse(path, why);
            }
        }
    }

    /// Compares two types of which neither is a union.
    fn types(&mut self, writer: NamespacedType<'s>, reader: NamespacedType<'s>, path: &str) {
        // Named types must have the same short name, or an alias.
        let (from, to) = (word(writer.schema), word(reader.schema));
        let named = matches!(from, "record" | "error" | "enum" | "fixed");
        if named && from == to && short(writer.schema) != short(reader.schema) && !aliased(writer, reader) {
            let (written, read) = (short(writer.schema), short(reader.schema));
            self.refuse(path, format!("{from} `{written}`: the reader expected the name `{read}`"));
            return;
        }

        // Types of one kind are compared by their parts, others only if the specification promotes one to the
        // other.
        match (from, to) {
            ("record" | "error", "record" | "error") => self.record(writer, reader, path),
            ("enum", "enum") => self.symbols(writer.schema, reader.schema, path),
            ("fixed", "fixed") => {
                if writer.schema.get("size") != reader.schema.get("size") {
                    self.refuse(path, "the reader expected a fixed of another size");
                }
                self.logical(writer.schema, reader.schema, path);
            }
            ("array", "array") => self.inner("items", writer, reader, &format!("{path}[]")),
            ("map", "map") => self.inner("values", writer, reader, &format!("{path}{{}}")),
            _ if from == to || promoted(from, to) => self.logical(writer.schema, reader.schema, path),
            _ => {
                let (from, to) = (describe(writer.schema), describe(reader.schema));
                self.refuse(path, format!("{from} cannot be read as {to}"));
            }
        }
    }

    /// Compares the items of two arrays, or the values of two maps.
    fn inner(&mut self, key: &str, writer: NamespacedType<'s>, reader: NamespacedType<'s>, path: &str) {
        if let (Some(from), Some(to)) = (writer.schema.get(key), reader.schema.get(key)) {
            self.node(
                NamespacedType { schema: from, ..writer },
                NamespacedType { schema: to, ..reader },
                path,
            );
        }
    }

    /// Compares two records, field by field of the reader. Fields that only the writer has are passed over.
    fn record(&mut self, writer: NamespacedType<'s>, reader: NamespacedType<'s>, path: &str) {
        // A pair that was compared before has its reasons noted already.
        let (from, to) = (inside(writer), inside(reader));
        let pair = (full(short(writer.schema), from), full(short(reader.schema), to));
        if !self.open.insert(pair) {
            return;
        }

        for field in fields(reader.schema) {
            // The writer's field of the same name, or of one of the reader's aliases.
            let Some(name) = field.get("name").and_then(Value::as_str) else { continue };
            let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            let other = fields(writer.schema).find(|other| {
                let other = other.get("name").and_then(Value::as_str).unwrap_or_default();
                other == name || aliases(field).any(|alias| alias == other)
            });

            // A field that the writer lacks needs a default.
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
                None => {
                    self.refuse(&path, "the writer has no such field, and the reader has no default for it")
                }
            }
        }
    }

    /// Compares the symbols of two enums.
    fn symbols(&mut self, writer: &Value, reader: &Value, path: &str) {
        // A default replaces every symbol that the reader does not know.
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
            let missing = missing.join(", ");
            self.refuse(path, format!("the reader's enum lacks the symbols {missing} and has no default"));
        }
    }

    /// Compares the logical types of two types whose bytes can be read.
    fn logical(&mut self, writer: &Value, reader: &Value, path: &str) {
        // A decimal's scale decides the meaning of its bytes, so it belongs to the name.
        let of = |schema: &Value| -> Option<String> {
            let name = schema.get("logicalType")?.as_str()?;
            let number = |key: &str| schema.get(key).and_then(Value::as_u64).unwrap_or(0);
            Some(match name {
                "decimal" => format!("decimal({}, {})", number("precision"), number("scale")),
                other => other.to_owned(),
            })
        };

        // A logical type may come or go (a uuid is a string as well). A decimal may not: its bytes are no
        // number without the scale.
        let is_decimal =
            |logical: &Option<String>| logical.as_deref().is_some_and(|l| l.starts_with("decimal"));
        let (from, to) = (of(writer), of(reader));
        let changed = from.is_some() && to.is_some() || is_decimal(&from) || is_decimal(&to);
        if from != to && changed {
            let shown = |logical: Option<String>| logical.unwrap_or_else(|| "no logical type".to_owned());
            self.refuse(path, format!("expected the logical type {}, found {}", shown(to), shown(from)));
        }
    }
}

/// Returns the namespace inside a record, which its fields inherit.
fn inside<'s>(at: NamespacedType<'s>) -> &'s str {
    let own = at.schema.get("name").and_then(Value::as_str).and_then(|name| name.rsplit_once('.'));
    match (own, at.schema.get("namespace").and_then(Value::as_str)) {
        (Some((own, _)), _) => own,
        (None, Some(own)) => own,
        (None, None) => at.namespace,
    }
}

/// Returns the fields of a record; none for any other type.
fn fields(record: &Value) -> impl Iterator<Item = &Value> {
    record.get("fields").and_then(Value::as_array).into_iter().flatten()
}

/// Returns the aliases of a type or field, without namespaces.
fn aliases(of: &Value) -> impl Iterator<Item = &str> {
    let aliases = of.get("aliases").and_then(Value::as_array).into_iter().flatten();
    aliases.filter_map(Value::as_str).map(|alias| alias.rsplit('.').next().unwrap_or(alias))
}

/// Returns true if the reader's type has the writer's name as an alias.
fn aliased(writer: NamespacedType<'_>, reader: NamespacedType<'_>) -> bool {
    aliases(reader.schema).any(|alias| alias == short(writer.schema))
}

/// Returns true if the specification lets a reader's `to` read a writer's `from`.
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

/// Returns the kind of a type and its logical type, for messages.
fn describe(schema: &Value) -> String {
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
