//! Plans a patch from a policy. The policy is asked for every leaf and must cover every leaf: none passes by
//! default.

use std::sync::Arc;

use super::{LeafAction, LeafFn, LeafPolicy};
use crate::program::plan::WalkPlan;
use crate::schema::{DatumSchema, LeafInfo, LeafKind, LeafType, NodeId, SchemaNode, branch_name};
use crate::{MAX_LEAVES, MAX_SCHEMA_DEPTH, PatchError, SchemaError};

/// A leaf that a function replaces.
pub(super) struct PatchSlot {
    pub(super) path: String,
    pub(super) leaf: LeafType,
    pub(super) function: Arc<dyn LeafFn>,
    /// The output type, as schema JSON.
    pub(super) output: serde_json::Value,
}

/// The result of a policy for one schema.
pub(super) struct PatchDecision {
    pub(super) plan: WalkPlan,
    pub(super) slots: Vec<PatchSlot>,
    /// Path, type and action of every leaf or whole subtree, for `explain`.
    pub(super) lines: Vec<(String, String, String)>,
}

impl PatchDecision {
    /// Returns the slot of the leaf at a path; `None` if no function replaces it.
    pub(super) fn slot(&self, path: &str) -> Option<u32> {
        self.slots.iter().position(|slot| slot.path == path).and_then(|slot| u32::try_from(slot).ok())
    }
}

/// Asks the policy for every leaf. Fails with all uncovered leaves, or with the first action that does not
/// fit.
pub(super) fn decide(schema: &DatumSchema, policy: &dyn LeafPolicy) -> Result<PatchDecision, PatchError> {
    let mut asking = PatchPlanner {
        schema,
        policy,
        path: String::new(),
        depth: 0,
        open: Vec::new(),
        slots: Vec::new(),
        lines: Vec::new(),
        uncovered: Vec::new(),
        steps: 0,
    };

    // All uncovered leaves are reported at once, because a new schema often has several.
    let plan = asking.node(schema.root(), false)?;
    if !asking.uncovered.is_empty() {
        return Err(PatchError::Uncovered(asking.uncovered));
    }

    // The root has no parent to be dropped from.
    let plan = match (plan, schema.node(schema.root())) {
        // A record whose every field is dropped becomes an empty record. The topic still has its keys and
        // times.
        (WalkPlan::Drop(node), SchemaNode::Record { fields, .. }) => {
            WalkPlan::Record { node, fields: fields.iter().map(|field| WalkPlan::Drop(field.node)).collect() }
        }
        (WalkPlan::Drop(_), _) => {
            return Err(asking.unsupported("the root cannot be dropped: expected an action for each leaf"));
        }
        (plan, _) => plan,
    };
    Ok(PatchDecision { plan, slots: asking.slots, lines: asking.lines })
}

/// Visits a schema and asks the policy.
struct PatchPlanner<'s> {
    schema: &'s DatumSchema,
    policy: &'s dyn LeafPolicy,
    /// The path of the current node.
    path: String,
    depth: usize,
    /// Records above the current node, outermost first.
    open: Vec<NodeId>,
    slots: Vec<PatchSlot>,
    lines: Vec<(String, String, String)>,
    uncovered: Vec<String>,
    /// Nodes visited, to bound the work on schemas that use their types in very many places.
    steps: usize,
}

impl PatchPlanner<'_> {
    /// Makes the error for an action that does not fit at the current path.
    fn unsupported(&self, why: impl Into<String>) -> PatchError {
        PatchError::Unsupported { path: self.path.clone(), why: why.into() }
    }

    /// Plans one node at the current path. `nullable` is true for a branch of a union with null.
    fn node(&mut self, id: NodeId, nullable: bool) -> Result<WalkPlan, PatchError> {
        // The limits come first: a small text can describe very many paths.
        self.steps += 1;
        if self.steps > 4 * MAX_LEAVES || self.lines.len() > MAX_LEAVES {
            return Err(SchemaError::TooLarge.into());
        }

        // Leaves, and records inside themselves.
        let schema = self.schema;
        match schema.node(id) {
            SchemaNode::Leaf { leaf, .. } => self.leaf(id, leaf, nullable),
            SchemaNode::Record { .. } if self.open.contains(&id) => self.back(id),

            // A record: the policy may handle it as a whole, else each field.
            SchemaNode::Record { fields, .. } => {
                if let Some(plan) = self.subtree(id, "record")? {
                    return Ok(plan);
                }
                self.open.push(id);
                let mut plans = Vec::with_capacity(fields.len());
                for field in fields {
                    let dot = if self.path.is_empty() { "" } else { "." };
                    plans.push(self.under(&[dot, &field.name], field.node, false)?);
                }
                self.open.pop();
                Ok(collapse(id, plans, |fields| WalkPlan::Record { node: id, fields }))
            }

            // An array: the action of the items is the action of the array.
            SchemaNode::Array { items, .. } => {
                if let Some(plan) = self.subtree(id, "array")? {
                    return Ok(plan);
                }
                let items = self.under(&["[]"], *items, false)?;
                Ok(match items {
                    WalkPlan::Drop(_) => WalkPlan::Drop(id),
                    WalkPlan::Keep(_) => WalkPlan::Keep(id),
                    items => WalkPlan::Array { node: id, items: Box::new(items) },
                })
            }

            // A map: its keys are leaves, too. Only some pairs of actions leave a valid map.
            SchemaNode::Map { values, .. } => {
                if let Some(plan) = self.subtree(id, "map")? {
                    return Ok(plan);
                }
                let key = self.key(id)?;
                let values = self.under(&["{}"], *values, false)?;
                match (key, values) {
                    (WalkPlan::Drop(_), WalkPlan::Drop(_)) => Ok(WalkPlan::Drop(id)),
                    (WalkPlan::Keep(_), WalkPlan::Keep(_)) => Ok(WalkPlan::Keep(id)),
                    (WalkPlan::Drop(_), _) | (_, WalkPlan::Drop(_)) => Err(self.unsupported(
                        "expected a map's keys and values to be dropped together or not at all",
                    )),
                    (WalkPlan::Keep(_), values) => {
                        Ok(WalkPlan::Map { node: id, key: None, values: Box::new(values) })
                    }
                    (WalkPlan::Leaf { slot, .. }, values) => {
                        Ok(WalkPlan::Map { node: id, key: Some(slot), values: Box::new(values) })
                    }
                    _ => {
                        Err(self
                            .unsupported("a map's keys cannot be null: expected keep, drop or a function"))
                    }
                }
            }

            SchemaNode::Union { branches } => self.union(id, branches),
        }
    }

    /// Plans a union. Its branches keep their indices: either all of them stay, or the union goes as a whole.
    fn union(&mut self, id: NodeId, branches: &[NodeId]) -> Result<WalkPlan, PatchError> {
        let schema = self.schema;
        let nullable = branches.iter().any(|&branch| schema.is_null(branch));
        let others: Vec<NodeId> =
            branches.iter().copied().filter(|&branch| !schema.is_null(branch)).collect();
        if others.is_empty() {
            // A union of null alone is a null leaf.
            return match branches.first() {
                Some(&branch) => Ok(match self.node(branch, true)? {
                    WalkPlan::Drop(_) => WalkPlan::Drop(id),
                    _ => WalkPlan::Keep(id),
                }),
                None => Ok(WalkPlan::Keep(id)),
            };
        }

        // A path goes by the name of a branch without its namespace. Under one path the policy of one branch
        // would hold for the other one, which it does not know.
        let names: Vec<&str> = others.iter().map(|&branch| branch_name(schema.node(branch))).collect();
        if others.len() > 1
            && let Some((_, name)) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name))
        {
            return Err(self.unsupported(format!(
                "two branches of this union have the name `{name}`: expected branches with names of their own"
            )));
        }

        // The null stays. A single other branch is transparent in the path.
        let mut plans = Vec::new();
        for &branch in branches {
            plans.push(match (schema.is_null(branch), others.len()) {
                (true, _) => WalkPlan::Keep(branch),
                (false, 1) => self.node(branch, nullable)?,
                (false, _) => {
                    let name = branch_name(schema.node(branch));
                    self.under(&["<", name, ">"], branch, nullable)?
                }
            });
        }

        // Actions on all branches besides null are an action on the union.
        let of_others = || plans.iter().zip(branches).filter(|&(_, &branch)| !schema.is_null(branch));
        if of_others().all(|(plan, _)| matches!(plan, WalkPlan::Drop(_))) {
            return Ok(WalkPlan::Drop(id));
        }
        if of_others().all(|(plan, _)| matches!(plan, WalkPlan::Null(_))) {
            return Ok(WalkPlan::Null(id));
        }
        if of_others().any(|(plan, _)| matches!(plan, WalkPlan::Drop(_) | WalkPlan::Null(_))) {
            return Err(self.unsupported(
                "expected the branches of a union to be dropped or nulled together or not at all",
            ));
        }

        // Two branches that become one type cannot be told apart by a reader.
        if let Some(name) = self.twin(&plans) {
            return Err(self.unsupported(format!(
                "two branches of this union would both become `{name}`: expected branches of different types"
            )));
        }

        // A union without any change is copied as a whole.
        Ok(match plans.iter().all(|plan| matches!(plan, WalkPlan::Keep(_))) {
            true => WalkPlan::Keep(id),
            false => WalkPlan::Union { node: id, branches: plans },
        })
    }

    /// Returns the name of a type that two branches of a union become; `None` if all become different types.
    fn twin(&self, plans: &[WalkPlan]) -> Option<String> {
        let mut seen: Vec<String> = Vec::new();
        for plan in plans {
            let name = match plan {
                WalkPlan::Leaf { slot, .. } => {
                    let output = &self.slots.get(*slot as usize)?.output;
                    let name =
                        output.get("name").or_else(|| output.get("type")).and_then(|name| name.as_str());
                    name.or_else(|| output.as_str()).unwrap_or_default().to_owned()
                }
                WalkPlan::Keep(node) => kind_name(self.schema.node(*node)),
                // Records, arrays, maps and unions stay what they are.
                WalkPlan::Record { node, .. } | WalkPlan::Array { node, .. } => {
                    kind_name(self.schema.node(*node))
                }
                WalkPlan::Map { node, .. } | WalkPlan::Back { node } => kind_name(self.schema.node(*node)),
                WalkPlan::Union { .. } | WalkPlan::Drop(_) | WalkPlan::Null(_) => continue,
            };
            if seen.contains(&name) {
                return Some(name);
            }
            seen.push(name);
        }
        None
    }

    /// Asks the policy for an action on a whole record, array or map. `None` if each leaf has its own action.
    fn subtree(&mut self, id: NodeId, kind: &str) -> Result<Option<WalkPlan>, PatchError> {
        let Some(action) = self.policy.subtree(&self.path) else { return Ok(None) };
        let (plan, fate) = match action {
            LeafAction::Keep => (WalkPlan::Keep(id), "keep, all of it"),
            LeafAction::Drop => (WalkPlan::Drop(id), "drop, all of it"),
            LeafAction::Null => (WalkPlan::Null(id), "null, all of it"),
            LeafAction::Replace(_) => {
                return Err(self.unsupported("a function works on one leaf, not on a whole part"));
            }
        };

        // A kept or nulled part with a reference to an open record would bring back leaves that the policy
        // handles above. A dropped part may refer to anything.
        let stays = !matches!(plan, WalkPlan::Drop(_));
        if stays && !self.open.is_empty() && action_reaches_back(self.schema, id, &self.open) {
            return Err(self.unsupported(
                "expected an action for each leaf, because this part refers back to a record above it",
            ));
        }
        // Nothing would be left of the record.
        if self.path.is_empty() && !matches!(plan, WalkPlan::Keep(_)) {
            return Err(
                self.unsupported("the root cannot be dropped or nulled: expected keep or each leaf's action")
            );
        }

        self.lines.push((self.path.clone(), kind.to_owned(), fate.to_owned()));
        Ok(Some(plan))
    }

    /// Plans a record inside itself. The policy of the record above holds, or the inner record is dropped,
    /// and the output is then not recursive.
    fn back(&mut self, id: NodeId) -> Result<WalkPlan, PatchError> {
        match self.policy.subtree(&self.path) {
            None => Ok(WalkPlan::Back { node: id }),
            Some(LeafAction::Drop) => {
                self.lines.push((self.path.clone(), "record".to_owned(), "drop, all of it".to_owned()));
                Ok(WalkPlan::Drop(id))
            }
            Some(LeafAction::Keep | LeafAction::Null | LeafAction::Replace(_)) => {
                Err(self
                    .unsupported("a record inside itself can only be dropped: expected drop or no action"))
            }
        }
    }

    /// Plans the keys of a map.
    fn key(&mut self, map: NodeId) -> Result<WalkPlan, PatchError> {
        let len = self.path.len();
        self.path.push_str("{key}");
        let plan = self.leaf(map, &LeafType::plain(LeafKind::String), false)?;
        // The keys of an Avro map are strings by definition.
        if let WalkPlan::Leaf { slot, .. } = plan
            && !is_string(&self.slots[slot as usize].output)
        {
            return Err(self.unsupported("expected a function whose output is a string for a map's keys"));
        }
        self.path.truncate(len);
        Ok(plan)
    }

    /// Asks the policy for a leaf. An uncovered leaf is remembered, and the search goes on.
    fn leaf(&mut self, node: NodeId, leaf: &LeafType, nullable: bool) -> Result<WalkPlan, PatchError> {
        let info = LeafInfo { path: self.path.clone(), leaf: leaf.clone(), nullable };
        let Some(action) = self.policy.action(&info) else {
            self.uncovered.push(info.path);
            return Ok(WalkPlan::Keep(node));
        };

        // The action, and its description for `explain`.
        let (plan, fate) = match action {
            LeafAction::Keep => (WalkPlan::Keep(node), "keep".to_owned()),
            LeafAction::Drop => (WalkPlan::Drop(node), "drop".to_owned()),
            LeafAction::Null if leaf.kind == LeafKind::Null => {
                (WalkPlan::Keep(node), "keep (always null)".to_owned())
            }
            LeafAction::Null => (WalkPlan::Null(node), "null".to_owned()),
            // A function is checked here, once, and not again for each record.
            LeafAction::Replace(function) => {
                let output = function.output(leaf).map_err(|why| self.unsupported(why))?;
                if leaf.kind == LeafKind::Null {
                    return Err(self.unsupported("a null has no value to replace: expected keep or drop"));
                }
                if output.is_array() {
                    return Err(
                        self.unsupported("expected a function with a single output type, not a union")
                    );
                }

                let fate = format!("replace by {} → {}", function.name(), output_name(&output));
                let slot = self.slots.len() as u32;
                self.slots.push(PatchSlot { path: info.path.clone(), leaf: leaf.clone(), function, output });
                (WalkPlan::Leaf { node, slot }, fate)
            }
        };
        self.lines.push((info.path, type_name(leaf, nullable), fate));
        Ok(plan)
    }

    /// Plans a node with `parts` appended to the path.
    fn under(&mut self, parts: &[&str], id: NodeId, nullable: bool) -> Result<WalkPlan, PatchError> {
        // Through references back to closed records, a path can be longer than the schema is deep.
        if self.depth >= MAX_SCHEMA_DEPTH {
            return Err(SchemaError::TooDeep.into());
        }
        let len = self.path.len();
        self.depth += 1;
        parts.iter().for_each(|part| self.path.push_str(part));
        let plan = self.node(id, nullable)?;
        self.path.truncate(len);
        self.depth -= 1;
        Ok(plan)
    }
}

/// Returns the name by which a union tells a branch from the others: the full name of a named type, else the
/// kind (specification, "Unions").
fn kind_name(node: &SchemaNode) -> String {
    match node {
        SchemaNode::Record { name, .. } => name.clone(),
        SchemaNode::Leaf { leaf, .. } => leaf.name.clone().unwrap_or_else(|| leaf.kind.as_str().to_owned()),
        other => branch_name(other).to_owned(),
    }
}

/// Joins the plans of a record's fields: if all of them are kept or all are dropped, the record is, too.
fn collapse(
    node: NodeId,
    plans: Vec<WalkPlan>,
    otherwise: impl FnOnce(Vec<WalkPlan>) -> WalkPlan,
) -> WalkPlan {
    if !plans.is_empty() && plans.iter().all(|plan| matches!(plan, WalkPlan::Drop(_))) {
        return WalkPlan::Drop(node);
    }
    match plans.iter().all(|plan| kept(plan, &mut vec![node])) {
        true => WalkPlan::Keep(node),
        false => otherwise(plans),
    }
}

/// Tells whether nothing in the part changes, and nothing in it refers back to a record outside, which may
/// change.
fn kept(plan: &WalkPlan, open: &mut Vec<NodeId>) -> bool {
    match plan {
        WalkPlan::Keep(_) => true,
        WalkPlan::Back { node } => open.contains(node),
        WalkPlan::Record { node, fields } => {
            open.push(*node);
            let all = fields.iter().all(|field| kept(field, open));
            open.pop();
            all
        }
        WalkPlan::Array { items, .. } => kept(items, open),
        WalkPlan::Map { key: None, values, .. } => kept(values, open),
        WalkPlan::Union { branches, .. } => branches.iter().all(|branch| kept(branch, open)),
        WalkPlan::Map { .. } | WalkPlan::Drop(_) | WalkPlan::Null(_) | WalkPlan::Leaf { .. } => false,
    }
}

/// Tells whether a part refers to one of the open records above it.
fn action_reaches_back(schema: &DatumSchema, id: NodeId, open: &[NodeId]) -> bool {
    // Every node is visited once; references may form cycles.
    let mut seen = vec![false; schema.nodes().len()];
    let mut next = vec![id];
    while let Some(id) = next.pop() {
        if open.contains(&id) {
            return true;
        }
        if !std::mem::replace(&mut seen[id.0 as usize], true) {
            schema.node(id).each_child(|child| next.push(child));
        }
    }
    false
}

/// Tells whether an output type is a plain string.
fn is_string(output: &serde_json::Value) -> bool {
    output == "string" || (output["type"] == "string" && output.get("logicalType").is_none())
}

/// Returns the name of an output type for `explain`.
fn output_name(output: &serde_json::Value) -> String {
    let name = output.as_str().or_else(|| output["logicalType"].as_str()).or_else(|| output["type"].as_str());
    // The output may lack a name; `explain` must print something.
    name.unwrap_or("another type").to_owned()
}

/// Returns the name of a leaf's type for `explain`, with its logical type.
fn type_name(leaf: &LeafType, nullable: bool) -> String {
    let mut name = leaf.name.clone().unwrap_or_else(|| leaf.kind.as_str().to_owned());
    if let Some(logical) = leaf.logical {
        name = format!("{name} ({logical:?})");
    }
    if nullable { format!("{name} or null") } else { name }
}
