//! Plans for tasks that look at leaves wherever they are.

use super::plan::WalkPlan;
use crate::schema::{DatumSchema, LeafType, NodeId, SchemaNode};
use crate::{MAX_LEAVES, MAX_SCHEMA_DEPTH, SchemaError};

/// A plan that wants the leaves that are chosen, wherever they are, and keeps the rest; with their types, by
/// slot. No plan where none is chosen.
pub(crate) fn choose(
    schema: &DatumSchema,
    wanted: impl Fn(&LeafType) -> bool,
) -> Result<(Option<WalkPlan>, Vec<LeafType>), SchemaError> {
    let mut choosing = LeafChooser { schema, wanted, leaves: Vec::new(), open: Vec::new(), steps: 0 };
    let plan = choosing.node(schema.root())?;
    let leaves = choosing.leaves;
    Ok((if leaves.is_empty() { None } else { Some(plan) }, leaves))
}

struct LeafChooser<'s, W> {
    schema: &'s DatumSchema,
    wanted: W,
    leaves: Vec<LeafType>,
    open: Vec<NodeId>,
    steps: usize,
}

impl<W: Fn(&LeafType) -> bool> LeafChooser<'_, W> {
    fn node(&mut self, id: NodeId) -> Result<WalkPlan, SchemaError> {
        self.steps += 1;
        if self.steps > 4 * MAX_LEAVES {
            return Err(SchemaError::TooLarge);
        }
        if self.open.len() > MAX_SCHEMA_DEPTH {
            return Err(SchemaError::TooDeep);
        }
        let schema = self.schema;
        Ok(match schema.node(id) {
            SchemaNode::Leaf { leaf, .. } if (self.wanted)(leaf) => {
                self.leaves.push(leaf.clone());
                WalkPlan::Leaf { node: id, slot: self.leaves.len() as u32 - 1 }
            }
            SchemaNode::Leaf { .. } => WalkPlan::Keep(id),
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
            SchemaNode::Array { items, .. } => match self.node(*items)? {
                WalkPlan::Keep(_) => WalkPlan::Keep(id),
                items => WalkPlan::Array { node: id, items: Box::new(items) },
            },
            SchemaNode::Map { values, .. } => match self.node(*values)? {
                WalkPlan::Keep(_) => WalkPlan::Keep(id),
                values => WalkPlan::Map { node: id, key: None, values: Box::new(values) },
            },
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

fn is_kept(plan: &WalkPlan) -> bool {
    matches!(plan, WalkPlan::Keep(_))
}
