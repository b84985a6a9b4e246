//! Derives the schema of patched datums.
//!
//! A named type may be used in several places under different policies, and a name may be defined only once.
//! The first form of the type keeps the name; each other form gets the name with its path appended.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

use super::decide::PatchSlot;
use crate::program::plan::WalkPlan;
use crate::schema::print::print;
use crate::schema::{DatumSchema, NodeId, SchemaField, SchemaNode};

/// Derives the schema for a plan, as JSON.
pub(super) fn derive(schema: &DatumSchema, plan: &WalkPlan, slots: &[PatchSlot]) -> Value {
    let names = HashMap::new();
    let mut deriving = DerivedSchemaWriter {
        schema,
        slots,
        names,
        taken: HashSet::new(),
        open: Vec::new(),
        path: Vec::new(),
        is_nulled: false,
    };
    deriving.plan(plan, "")
}

/// Puts the root record, under another name, around itself as it was. This is for a record that contains
/// itself and whose outermost level gets fields that the inner levels do not have. The root must be a record.
pub(crate) fn wrapped(schema: &DatumSchema) -> Value {
    let names = HashMap::new();
    let mut deriving = DerivedSchemaWriter {
        schema,
        slots: &[],
        names,
        taken: HashSet::new(),
        open: Vec::new(),
        path: Vec::new(),
        is_nulled: false,
    };

    // Only a named type can contain itself, and a root that does is a record.
    let SchemaNode::Record { name, fields, attributes } = schema.node(schema.root()) else {
        debug_assert!(false, "the root is a record");
        return Value::Null;
    };

    // The outer record gets a name of its own; the original name stays for the inner ones.
    let outer = format!("{name}_framed");
    deriving.taken.insert(outer.clone());
    let mut record = definition("record", &outer, "", attributes);

    // The fields are the original's.
    let mut written = Vec::new();
    for original in fields {
        deriving.path.push(&original.name);
        let schema = deriving.keep(original.node, namespace_of(&outer));
        deriving.path.pop();
        written.push(field(original, &WalkPlan::Keep(original.node), schema, false));
    }

    record.insert("fields".into(), Value::Array(written));
    Value::Object(record)
}

/// Writes a schema as JSON.
struct DerivedSchemaWriter<'s> {
    schema: &'s DatumSchema,
    slots: &'s [PatchSlot],
    /// The name of each form that has been defined, by the description of the form.
    names: HashMap<String, String>,
    /// All names that are in use.
    taken: HashSet<String>,
    /// Records of the plan that are being written, with their names in the output.
    open: Vec<(NodeId, String)>,
    /// Names of the fields down to the current type, for names of further forms.
    path: Vec<&'s str>,
    /// The current type is part of a nulled one. Its defaults are values that were never masked.
    is_nulled: bool,
}

/// The name of a form of a type.
enum FormName {
    /// The form was defined before: a reference is enough.
    Known(String),
    /// The form must be defined under this name.
    New(String),
}

impl<'s> DerivedSchemaWriter<'s> {
    /// Writes the type of a part under its plan. `namespace` is the namespace around it.
    fn plan(&mut self, plan: &WalkPlan, namespace: &str) -> Value {
        let schema = self.schema;
        // Parts without a plan of their own, and leaves.
        match plan {
            WalkPlan::Keep(node) | WalkPlan::Drop(node) => self.keep(*node, namespace),
            WalkPlan::Null(node) => self.null(*node, namespace),
            WalkPlan::Leaf { slot, .. } => self.output(*slot),

            // A record: defined once per form, then referred to by name.
            WalkPlan::Record { node, fields } => {
                let SchemaNode::Record { name, fields: originals, attributes } = schema.node(*node) else {
                    debug_assert!(false, "the plan of a record is for a record");
                    return Value::Null;
                };

                let form = self.form(plan);
                let name = match self.name(name, form) {
                    FormName::Known(name) => return Value::String(name),
                    FormName::New(name) => name,
                };

                let mut record = definition("record", &name, namespace, attributes);
                let inner = namespace_of(&name).to_owned();
                // The record is open while its fields are written: they may refer back to it.
                self.open.push((*node, name));
                let mut written = Vec::new();
                for (original, plan) in originals.iter().zip(fields) {
                    if !matches!(plan, WalkPlan::Drop(_)) {
                        self.path.push(&original.name);
                        let schema = self.plan(plan, &inner);
                        self.path.pop();
                        written.push(field(original, plan, schema, self.null_first(plan)));
                    }
                }
                self.open.pop();
                record.insert("fields".into(), Value::Array(written));
                Value::Object(record)
            }

            // Containers of other types.
            WalkPlan::Array { node, items } => {
                let items = self.plan(items, namespace);
                self.container(*node, "array", "items", items)
            }
            WalkPlan::Map { node, values, .. } => {
                let values = self.plan(values, namespace);
                self.container(*node, "map", "values", values)
            }
            WalkPlan::Union { branches, .. } => {
                Value::Array(branches.iter().map(|branch| self.plan(branch, namespace)).collect())
            }

            // A record inside itself: a reference to the open record, under its new name.
            WalkPlan::Back { node } => {
                let name =
                    self.open.iter().rev().find(|(open, _)| open == node).map(|(_, name)| name.clone());
                debug_assert!(name.is_some(), "a reference back is inside its record");
                Value::String(name.unwrap_or_default())
            }
        }
    }

    /// Writes a type as it was. Its name may have to change.
    fn keep(&mut self, id: NodeId, namespace: &str) -> Value {
        let schema = self.schema;
        let form = match self.is_nulled {
            true => format!("null {}", id.0),
            false => format!("keep {}", id.0),
        };

        // A leaf without a name is written in full at each use, a named one is defined at the first.
        match schema.node(id) {
            SchemaNode::Leaf { leaf, attributes } => match &leaf.name {
                None if attributes.is_empty() => Value::String(leaf.kind.as_str().to_owned()),
                None => {
                    let mut written = attributes.clone();
                    written.insert("type".into(), leaf.kind.as_str().into());
                    Value::Object(written)
                }
                Some(name) => match self.name(name, form) {
                    FormName::Known(name) => Value::String(name),
                    FormName::New(name) => {
                        let mut written = definition(leaf.kind.as_str(), &name, namespace, attributes);
                        if self.is_nulled {
                            written.remove("default");
                        }
                        // Only enums have symbols; the other named leaf is a fixed.
                        match leaf.symbols.is_empty() {
                            false => written.insert("symbols".into(), json!(leaf.symbols)),
                            true => written.insert("size".into(), json!(leaf.size)),
                        };
                        Value::Object(written)
                    }
                },
            },

            // A record: defined at its first use.
            SchemaNode::Record { name, fields, attributes } => match self.name(name, form) {
                FormName::Known(name) => Value::String(name),
                FormName::New(name) => {
                    let mut record = definition("record", &name, namespace, attributes);
                    let inner = namespace_of(&name);
                    let fields = fields.iter().map(|original| {
                        self.path.push(&original.name);
                        let schema = self.keep(original.node, inner);
                        self.path.pop();
                        let mut written = field(original, &WalkPlan::Keep(original.node), schema, false);
                        if let (true, Value::Object(written)) = (self.is_nulled, &mut written) {
                            written.remove("default");
                        }
                        written
                    });
                    let fields = fields.collect();
                    record.insert("fields".into(), Value::Array(fields));
                    Value::Object(record)
                }
            },

            // Containers of other types.
            SchemaNode::Array { items, .. } => {
                let items = self.keep(*items, namespace);
                self.container(id, "array", "items", items)
            }
            SchemaNode::Map { values, .. } => {
                let values = self.keep(*values, namespace);
                self.container(id, "map", "values", values)
            }
            SchemaNode::Union { branches } => {
                Value::Array(branches.iter().map(|&branch| self.keep(branch, namespace)).collect())
            }
        }
    }

    /// Writes `["null", …]` of the original type.
    fn null(&mut self, id: NodeId, namespace: &str) -> Value {
        let schema = self.schema;
        // The null goes first, because the default of the field is null. A null of the original moves there.
        let others: Vec<NodeId> = match schema.node(id) {
            SchemaNode::Union { branches } => {
                branches.iter().copied().filter(|&branch| !schema.is_null(branch)).collect()
            }
            _ => vec![id],
        };

        let outer = std::mem::replace(&mut self.is_nulled, true);
        let mut branches = vec![Value::String("null".into())];
        branches.extend(others.into_iter().map(|branch| self.keep(branch, namespace)));
        self.is_nulled = outer;
        Value::Array(branches)
    }

    /// Writes a function's output type. A named type is defined where it first occurs.
    fn output(&mut self, slot: u32) -> Value {
        // A type without a name is written at each use.
        let output = self.slots.get(slot as usize).map_or(Value::Null, |slot| slot.output.clone());
        let Value::Object(mut definition) = output else { return output };
        let Some(name) = definition.get("name").and_then(Value::as_str).map(str::to_owned) else {
            return Value::Object(definition);
        };

        // The full name decides whether two functions mean the same type.
        let namespace = definition.get("namespace").and_then(Value::as_str).unwrap_or_default();
        let full = match name.contains('.') || namespace.is_empty() {
            true => name,
            false => format!("{namespace}.{name}"),
        };

        let form = format!("output {}", print(&Value::Object(definition.clone())));
        match self.name(&full, form) {
            FormName::Known(name) => Value::String(name),
            FormName::New(name) => {
                definition.insert("namespace".into(), namespace_of(&name).into());
                definition.insert("name".into(), local(&name).into());
                Value::Object(definition)
            }
        }
    }

    /// Writes an array or map around the type of its items or values.
    fn container(&self, id: NodeId, kind: &str, key: &str, inner: Value) -> Value {
        let mut written = match self.schema.node(id) {
            SchemaNode::Array { attributes, .. } | SchemaNode::Map { attributes, .. } => attributes.clone(),
            _ => Map::new(),
        };
        // A `default` among the attributes has no meaning on an array or map in Avro. It is copied like any
        // attribute, and not as a field's default.
        written.insert("type".into(), kind.into());
        written.insert(key.into(), inner);
        Value::Object(written)
    }

    /// Returns the name of a form. A new form takes the type's own name if it is free.
    fn name(&mut self, full: &str, form: String) -> FormName {
        if let Some(name) = self.names.get(&form) {
            return FormName::Known(name.clone());
        }

        // Further forms are told apart by their path, for example `Address_home`.
        let mut name = full.to_owned();
        if self.taken.contains(&name) {
            name = format!("{full}_{}", self.path.join("_"));
        }

        while self.taken.contains(&name) {
            name.push('_');
        }

        self.taken.insert(name.clone());
        self.names.insert(form, name.clone());
        FormName::New(name)
    }

    /// Describes a plan. Equal descriptions are the same form of a type.
    fn form(&self, plan: &WalkPlan) -> String {
        // Whole parts and leaves.
        match plan {
            WalkPlan::Keep(node) => format!("keep {}", node.0),
            WalkPlan::Drop(_) => "drop".to_owned(),
            WalkPlan::Null(node) => format!("null {}", node.0),
            WalkPlan::Leaf { slot, .. } => match self.slots.get(*slot as usize) {
                Some(slot) => format!("output {}", print(&slot.output)),
                None => String::new(),
            },

            // Parts with an action inside are described by all of their plans.
            WalkPlan::Record { node, fields } => format!("record {} ({})", node.0, self.forms(fields)),
            WalkPlan::Array { items, .. } => format!("array ({})", self.form(items)),
            WalkPlan::Map { values, .. } => format!("map ({})", self.form(values)),
            WalkPlan::Union { node, branches } => format!("union {} ({})", node.0, self.forms(branches)),

            // The open record's name belongs to the description: the same reference can mean two forms.
            WalkPlan::Back { node } => {
                let open = self.open.iter().rev().find(|(open, _)| open == node);
                format!("back {} {}", node.0, open.map_or("", |(_, name)| name))
            }
        }
    }

    /// Describes a list of plans.
    fn forms(&self, plans: &[WalkPlan]) -> String {
        plans.iter().map(|plan| self.form(plan)).collect::<Vec<_>>().join(", ")
    }

    /// Tells whether the part is a union whose first branch is null, which is the condition for a default of
    /// null.
    fn null_first(&self, plan: &WalkPlan) -> bool {
        match plan {
            WalkPlan::Union { node, .. } => match self.schema.node(*node) {
                SchemaNode::Union { branches } => {
                    branches.first().is_some_and(|&branch| self.schema.is_null(branch))
                }
                _ => false,
            },
            _ => false,
        }
    }
}

/// Writes a field with its new type. The default stays only if it is still valid and reveals nothing.
fn field(original: &SchemaField, plan: &WalkPlan, schema: Value, null_first: bool) -> Value {
    let mut written = original.attributes.clone();
    written.insert("name".into(), original.name.clone().into());
    written.insert("type".into(), schema);
    // Each plan allows certain defaults.
    let default = match (plan, &original.default) {
        (WalkPlan::Null(_), _) => Some(Value::Null),
        (WalkPlan::Keep(_), default) => default.clone(),
        (_, Some(Value::Null)) if null_first => Some(Value::Null),
        (WalkPlan::Array { .. }, Some(Value::Array(items))) if items.is_empty() => Some(json!([])),
        (WalkPlan::Map { .. }, Some(Value::Object(entries))) if entries.is_empty() => Some(json!({})),
        // Any other default is a value of the old type, or was never masked.
        _ => None,
    };

    if let Some(default) = default {
        written.insert("default".into(), default);
    }
    Value::Object(written)
}

/// Begins the definition of a named type. `namespace` is the namespace around it.
fn definition(
    kind: &str,
    name: &str,
    namespace: &str,
    attributes: &Map<String, Value>,
) -> Map<String, Value> {
    let mut written = attributes.clone();
    written.insert("type".into(), kind.into());
    written.insert("name".into(), local(name).into());
    // The namespace is inherited: it is written only if it differs.
    if namespace_of(name) != namespace {
        written.insert("namespace".into(), namespace_of(name).into());
    }
    written
}

/// Returns the namespace of a full name.
fn namespace_of(name: &str) -> &str {
    name.rsplit_once('.').map_or("", |(namespace, _)| namespace)
}

/// Returns a full name without its namespace.
fn local(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(_, local)| local)
}
