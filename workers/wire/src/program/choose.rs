//! Plans for tasks that look at leaves wherever they are.

use super::plan::Plan;
use crate::schema::{LeafType, Node, NodeId, Schema};
use crate::{MAX_LEAVES, MAX_SCHEMA_DEPTH, SchemaError};

/// A plan that wants the leaves that are chosen, wherever they are, and keeps the rest; with their types, by
/// slot. No plan where none is chosen.
pub(crate) fn choose(
    schema: &Schema,
    wanted: impl Fn(&LeafType) -> bool,
) -> Result<(Option<Plan>, Vec<LeafType>), SchemaError> {
    let mut choosing = Choosing { schema, wanted, leaves: Vec::new(), open: Vec::new(), steps: 0 };
    let plan = choosing.node(schema.root())?;
    let leaves = choosing.leaves;
    Ok((if leaves.is_empty() { None } else { Some(plan) }, leaves))
}

struct Choosing<'s, W> {
    schema: &'s Schema,
    wanted: W,
    leaves: Vec<LeafType>,
    open: Vec<NodeId>,
    steps: usize,
}

impl<W: Fn(&LeafType) -> bool> Choosing<'_, W> {
    fn node(&mut self, id: NodeId) -> Result<Plan, SchemaError> {
        self.steps += 1;
        if self.steps > 4 * MAX_LEAVES {
            return Err(SchemaError::TooLarge);
        }
        if self.open.len() > MAX_SCHEMA_DEPTH {
            return Err(SchemaError::TooDeep);
        }
        let schema = self.schema;
        Ok(match schema.node(id) {
            Node::Leaf { leaf, .. } if (self.wanted)(leaf) => {
                self.leaves.push(leaf.clone());
                Plan::Leaf { node: id, slot: self.leaves.len() as u32 - 1 }
            }
            Node::Leaf { .. } => Plan::Keep(id),
            Node::Record { .. } if self.open.contains(&id) => Plan::Back { node: id },
            Node::Record { fields, .. } => {
                self.open.push(id);
                let fields =
                    fields.iter().map(|field| self.node(field.node)).collect::<Result<Vec<_>, _>>()?;
                self.open.pop();
                if fields.iter().all(is_kept) { Plan::Keep(id) } else { Plan::Record { node: id, fields } }
            }
            Node::Array { items, .. } => match self.node(*items)? {
                Plan::Keep(_) => Plan::Keep(id),
                items => Plan::Array { node: id, items: Box::new(items) },
            },
            Node::Map { values, .. } => match self.node(*values)? {
                Plan::Keep(_) => Plan::Keep(id),
                values => Plan::Map { node: id, key: None, values: Box::new(values) },
            },
            Node::Union { branches } => {
                let branches =
                    branches.iter().map(|&branch| self.node(branch)).collect::<Result<Vec<_>, _>>()?;
                if branches.iter().all(is_kept) { Plan::Keep(id) } else { Plan::Union { node: id, branches } }
            }
        })
    }
}

fn is_kept(plan: &Plan) -> bool {
    matches!(plan, Plan::Keep(_))
}
