//! Plans for tasks that look at certain leaves at any place of a schema.

use super::plan::WalkPlan;
use crate::schema::{DatumSchema, LeafType, NodeId, SchemaNode};
use crate::{MAX_LEAVES, MAX_SCHEMA_DEPTH, SchemaError};

/// Plans a walk that visits the leaves chosen by `wanted`, at any place, and keeps the rest. Returns the plan
/// and the types of the leaves, by slot. Without such a leaf there is no plan.
pub(crate) fn choose(
    schema: &DatumSchema,
    wanted: impl Fn(&LeafType) -> bool,
) -> Result<(Option<WalkPlan>, Vec<LeafType>), SchemaError> {
    let mut choosing = LeafChooser { schema, wanted, leaves: Vec::new(), open: Vec::new(), steps: 0 };
    let plan = choosing.node(schema.root())?;
    let leaves = choosing.leaves;
    Ok((if leaves.is_empty() { None } else { Some(plan) }, leaves))
}

/// Visits a schema and chooses leaves.
struct LeafChooser<'s, W> {
    schema: &'s DatumSchema,
    wanted: W,
    /// The chosen leaves, by slot.
    leaves: Vec<LeafType>,
    /// Records above the visited node, outermost first.
    open: Vec<NodeId>,
    /// Nodes visited, to bound the work on schemas that use their types in very many places.
    steps: usize,
}

impl<W: Fn(&LeafType) -> bool> LeafChooser<'_, W> {
    /// Plans one node. A part without a chosen leaf is kept as a whole.
    fn node(&mut self, id: NodeId) -> Result<WalkPlan, SchemaError> {
        // The limits come first: a small text can describe very many paths.
        self.steps += 1;
        if self.steps > 4 * MAX_LEAVES {
            return Err(SchemaError::TooLarge);
        }
        if self.open.len() > MAX_SCHEMA_DEPTH {
            return Err(SchemaError::TooDeep);
        }

        // A chosen leaf gets the next slot.
        let schema = self.schema;
        Ok(match schema.node(id) {
            SchemaNode::Leaf { leaf, .. } if (self.wanted)(leaf) => {
                self.leaves.push(leaf.clone());
                WalkPlan::Leaf { node: id, slot: self.leaves.len() as u32 - 1 }
            }
            SchemaNode::Leaf { .. } => WalkPlan::Keep(id),

            // Records. One inside itself is planned once: the plan of the open record holds again.
            SchemaNode::Record { .. } if self.open.contains(&id) => WalkPlan::Back { node: id },
            SchemaNode::Record { fields, .. } => {
                self.open.push(id);
                let fields =
                    fields.iter().map(|field| self.node(field.node)).collect::<Result<Vec<_>, _>>()?;
                self.open.pop();
                if fields.iter().all(is_kept) {
                    WalkPlan::Keep(id)
                } else {
                    WalkPlan::Record { node: id, fields }
                }
            }

            // Arrays and maps. The keys of a map are never chosen.
            SchemaNode::Array { items, .. } => match self.node(*items)? {
                WalkPlan::Keep(_) => WalkPlan::Keep(id),
                items => WalkPlan::Array { node: id, items: Box::new(items) },
            },
            SchemaNode::Map { values, .. } => match self.node(*values)? {
                WalkPlan::Keep(_) => WalkPlan::Keep(id),
                values => WalkPlan::Map { node: id, key: None, values: Box::new(values) },
            },

            // Unions are like records: one plan per branch.
            SchemaNode::Union { branches } => {
                let branches =
                    branches.iter().map(|&branch| self.node(branch)).collect::<Result<Vec<_>, _>>()?;
                if branches.iter().all(is_kept) {
                    WalkPlan::Keep(id)
                } else {
                    WalkPlan::Union { node: id, branches }
                }
            }
        })
    }
}

/// Tells whether a part has no chosen leaf.
fn is_kept(plan: &WalkPlan) -> bool {
    matches!(plan, WalkPlan::Keep(_))
}
