//! From a policy to a plan: every leaf asked for, every leaf covered, nothing let through by default.

use std::sync::Arc;

use super::{Action, LeafFn, Policy};
use crate::program::plan::Plan;
use crate::schema::{LeafInfo, LeafKind, LeafType, Node, NodeId, Schema, branch_name};
use crate::{MAX_LEAVES, MAX_SCHEMA_DEPTH, PatchError, SchemaError};

/// A leaf that a function replaces.
pub(super) struct Slot {
    pub(super) path: String,
    pub(super) leaf: LeafType,
    pub(super) function: Arc<dyn LeafFn>,
    /// Type that comes out, as schema JSON.
    pub(super) output: serde_json::Value,
}

/// What was decided.
pub(super) struct Decided {
    pub(super) plan: Plan,
    pub(super) slots: Vec<Slot>,
    /// Path, type and fate of every leaf or whole subtree, for people.
    pub(super) lines: Vec<(String, String, String)>,
}

pub(super) fn decide(schema: &Schema, policy: &dyn Policy) -> Result<Decided, PatchError> {
    let mut asking = Asking {
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
    let plan = asking.node(schema.root(), false)?;
    if !asking.uncovered.is_empty() {
        return Err(PatchError::Uncovered(asking.uncovered));
    }
    let plan = match (plan, schema.node(schema.root())) {
        // A record whose every field is dropped is an empty record; the topic still has its keys and times.
        (Plan::Drop(node), Node::Record { fields, .. }) => {
            Plan::Record { node, fields: fields.iter().map(|field| Plan::Drop(field.node)).collect() }
        }
        (Plan::Drop(_), _) => return Err(asking.unsupported("the datum as a whole cannot be dropped")),
        (plan, _) => plan,
    };
    Ok(Decided { plan, slots: asking.slots, lines: asking.lines })
}

struct Asking<'s> {
    schema: &'s Schema,
    policy: &'s dyn Policy,
    path: String,
    depth: usize,
    open: Vec<NodeId>,
    slots: Vec<Slot>,
    lines: Vec<(String, String, String)>,
    uncovered: Vec<String>,
    steps: usize,
}

impl Asking<'_> {
    fn unsupported(&self, why: impl Into<String>) -> PatchError {
        PatchError::Unsupported { path: self.path.clone(), why: why.into() }
    }

    fn node(&mut self, id: NodeId, nullable: bool) -> Result<Plan, PatchError> {
        self.steps += 1;
        if self.steps > 4 * MAX_LEAVES || self.lines.len() > MAX_LEAVES {
            return Err(SchemaError::TooLarge.into());
        }
        let schema = self.schema;
        match schema.node(id) {
            Node::Leaf { leaf, .. } => self.leaf(id, leaf, nullable),
            Node::Record { .. } if self.open.contains(&id) => self.back(id),
            Node::Record { fields, .. } => {
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
                Ok(collapse(id, plans, |fields| Plan::Record { node: id, fields }))
            }
            Node::Array { items, .. } => {
                if let Some(plan) = self.subtree(id, "array")? {
                    return Ok(plan);
                }
                let items = self.under(&["[]"], *items, false)?;
                Ok(match items {
                    Plan::Drop(_) => Plan::Drop(id),
                    Plan::Keep(_) => Plan::Keep(id),
                    items => Plan::Array { node: id, items: Box::new(items) },
                })
            }
            Node::Map { values, .. } => {
                if let Some(plan) = self.subtree(id, "map")? {
                    return Ok(plan);
                }
                let key = self.key(id)?;
                let values = self.under(&["{}"], *values, false)?;
                match (key, values) {
                    (Plan::Drop(_), Plan::Drop(_)) => Ok(Plan::Drop(id)),
                    (Plan::Keep(_), Plan::Keep(_)) => Ok(Plan::Keep(id)),
                    (Plan::Drop(_), _) | (_, Plan::Drop(_)) => {
                        Err(self.unsupported("a map's keys and values are dropped together or not at all"))
                    }
                    (Plan::Keep(_), values) => {
                        Ok(Plan::Map { node: id, key: None, values: Box::new(values) })
                    }
                    (Plan::Leaf { slot, .. }, values) => {
                        Ok(Plan::Map { node: id, key: Some(slot), values: Box::new(values) })
                    }
                    _ => Err(self.unsupported("a map's keys cannot be null")),
                }
            }
            Node::Union { branches } => self.union(id, branches),
        }
    }

    fn union(&mut self, id: NodeId, branches: &[NodeId]) -> Result<Plan, PatchError> {
        let schema = self.schema;
        let nullable = branches.iter().any(|&branch| schema.is_null(branch));
        let others: Vec<NodeId> =
            branches.iter().copied().filter(|&branch| !schema.is_null(branch)).collect();
        if others.is_empty() {
            // A union of null alone is a null leaf.
            return match branches.first() {
                Some(&branch) => Ok(match self.node(branch, true)? {
                    Plan::Drop(_) => Plan::Drop(id),
                    _ => Plan::Keep(id),
                }),
                None => Ok(Plan::Keep(id)),
            };
        }
        let mut plans = Vec::new();
        for &branch in branches {
            plans.push(match (schema.is_null(branch), others.len()) {
                (true, _) => Plan::Keep(branch),
                (false, 1) => self.node(branch, nullable)?,
                (false, _) => {
                    let name = branch_name(schema.node(branch));
                    self.under(&["<", name, ">"], branch, nullable)?
                }
            });
        }
        let of_others = || plans.iter().zip(branches).filter(|&(_, &branch)| !schema.is_null(branch));
        if of_others().all(|(plan, _)| matches!(plan, Plan::Drop(_))) {
            return Ok(Plan::Drop(id));
        }
        if of_others().all(|(plan, _)| matches!(plan, Plan::Null(_))) {
            return Ok(Plan::Null(id));
        }
        if of_others().any(|(plan, _)| matches!(plan, Plan::Drop(_) | Plan::Null(_))) {
            return Err(
                self.unsupported("the branches of a union are dropped or nulled together or not at all")
            );
        }
        Ok(match plans.iter().all(|plan| matches!(plan, Plan::Keep(_))) {
            true => Plan::Keep(id),
            false => Plan::Union { node: id, branches: plans },
        })
    }

    fn subtree(&mut self, id: NodeId, kind: &str) -> Result<Option<Plan>, PatchError> {
        let Some(action) = self.policy.subtree(&self.path) else { return Ok(None) };
        let (plan, fate) = match action {
            Action::Keep => (Plan::Keep(id), "keep, all of it"),
            Action::Drop => (Plan::Drop(id), "drop, all of it"),
            Action::Null => (Plan::Null(id), "null, all of it"),
            Action::Replace(_) => {
                return Err(self.unsupported("a function takes one leaf, not a whole subtree"));
            }
        };
        // What is dropped is walked over as it came, whatever it refers to.
        let stays = !matches!(plan, Plan::Drop(_));
        if stays && !self.open.is_empty() && action_reaches_back(self.schema, id, &self.open) {
            return Err(
                self.unsupported("a part that refers back to a record above it is handled leaf by leaf")
            );
        }
        if self.path.is_empty() && !matches!(plan, Plan::Keep(_)) {
            return Err(self.unsupported("the datum as a whole cannot be dropped or nulled"));
        }
        self.lines.push((self.path.clone(), kind.to_owned(), fate.to_owned()));
        Ok(Some(plan))
    }

    /// A record inside itself: as the policy has it above, or dropped, so that what comes out is not recursive.
    fn back(&mut self, id: NodeId) -> Result<Plan, PatchError> {
        match self.policy.subtree(&self.path) {
            None => Ok(Plan::Back { node: id }),
            Some(Action::Drop) => {
                self.lines.push((self.path.clone(), "record".to_owned(), "drop, all of it".to_owned()));
                Ok(Plan::Drop(id))
            }
            Some(Action::Keep | Action::Null | Action::Replace(_)) => {
                Err(self.unsupported("a record inside itself can only be dropped there"))
            }
        }
    }

    fn key(&mut self, map: NodeId) -> Result<Plan, PatchError> {
        let len = self.path.len();
        self.path.push_str("{key}");
        let plan = self.leaf(map, &LeafType::plain(LeafKind::String), false)?;
        if let Plan::Leaf { slot, .. } = plan
            && !is_string(&self.slots[slot as usize].output)
        {
            return Err(self.unsupported("a map's keys must stay strings"));
        }
        self.path.truncate(len);
        Ok(plan)
    }

    fn leaf(&mut self, node: NodeId, leaf: &LeafType, nullable: bool) -> Result<Plan, PatchError> {
        let info = LeafInfo { path: self.path.clone(), leaf: leaf.clone(), nullable };
        let Some(action) = self.policy.action(&info) else {
            self.uncovered.push(info.path);
            return Ok(Plan::Keep(node));
        };
        let (plan, fate) = match action {
            Action::Keep => (Plan::Keep(node), "keep".to_owned()),
            Action::Drop => (Plan::Drop(node), "drop".to_owned()),
            Action::Null if leaf.kind == LeafKind::Null => {
                (Plan::Keep(node), "keep (always null)".to_owned())
            }
            Action::Null => (Plan::Null(node), "null".to_owned()),
            Action::Replace(function) => {
                let output = function.output(leaf).map_err(|why| self.unsupported(why))?;
                if leaf.kind == LeafKind::Null {
                    return Err(self.unsupported("a null has nothing to replace"));
                }
                if output.is_array() {
                    return Err(self.unsupported("a function's output cannot be a union"));
                }
                let fate = format!("replace by {} → {}", function.name(), output_name(&output));
                let slot = self.slots.len() as u32;
                self.slots.push(Slot { path: info.path.clone(), leaf: leaf.clone(), function, output });
                (Plan::Leaf { node, slot }, fate)
            }
        };
        self.lines.push((info.path, type_name(leaf, nullable), fate));
        Ok(plan)
    }

    fn under(&mut self, parts: &[&str], id: NodeId, nullable: bool) -> Result<Plan, PatchError> {
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

/// A part of which everything is kept or dropped is kept or dropped as one.
fn collapse(node: NodeId, plans: Vec<Plan>, otherwise: impl FnOnce(Vec<Plan>) -> Plan) -> Plan {
    if !plans.is_empty() && plans.iter().all(|plan| matches!(plan, Plan::Drop(_))) {
        return Plan::Drop(node);
    }
    match plans.iter().all(|plan| kept(plan, &mut vec![node])) {
        true => Plan::Keep(node),
        false => otherwise(plans),
    }
}

/// Nothing in it changes, and nothing in it refers back to a record outside, which may.
fn kept(plan: &Plan, open: &mut Vec<NodeId>) -> bool {
    match plan {
        Plan::Keep(_) => true,
        Plan::Back { node } => open.contains(node),
        Plan::Record { node, fields } => {
            open.push(*node);
            let all = fields.iter().all(|field| kept(field, open));
            open.pop();
            all
        }
        Plan::Array { items, .. } => kept(items, open),
        Plan::Map { key: None, values, .. } => kept(values, open),
        Plan::Union { branches, .. } => branches.iter().all(|branch| kept(branch, open)),
        Plan::Map { .. } | Plan::Drop(_) | Plan::Null(_) | Plan::Leaf { .. } => false,
    }
}

fn action_reaches_back(schema: &Schema, id: NodeId, open: &[NodeId]) -> bool {
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

fn is_string(output: &serde_json::Value) -> bool {
    output == "string" || (output["type"] == "string" && output.get("logicalType").is_none())
}

fn output_name(output: &serde_json::Value) -> String {
    let name = output.as_str().or_else(|| output["logicalType"].as_str()).or_else(|| output["type"].as_str());
    name.unwrap_or("another type").to_owned()
}

fn type_name(leaf: &LeafType, nullable: bool) -> String {
    let mut name = leaf.name.clone().unwrap_or_else(|| leaf.kind.as_str().to_owned());
    if let Some(logical) = leaf.logical {
        name = format!("{name} ({logical:?})");
    }
    if nullable { format!("{name} or null") } else { name }
}
