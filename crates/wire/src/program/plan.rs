//! The action for each part of a schema, before compilation.

use crate::schema::NodeId;

/// A tree along the schema. A branch of the tree ends where everything is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WalkPlan {
    /// The part passes as it is.
    Keep(NodeId),
    /// The part is left out, from the schema too.
    Drop(NodeId),
    /// The part is written as null.
    Null(NodeId),
    /// The task handles the leaf; `slot` is its index among the task's leaves.
    Leaf { node: NodeId, slot: u32 },
    /// A record with an action inside. There is one plan for each field.
    Record { node: NodeId, fields: Vec<WalkPlan> },
    /// An array with an action in its items.
    Array { node: NodeId, items: Box<WalkPlan> },
    /// A map with an action in its keys or values. `key` is the slot of the keys if the task handles them.
    Map { node: NodeId, key: Option<u32>, values: Box<WalkPlan> },
    /// A union with an action inside. There is one plan for each branch.
    Union { node: NodeId, branches: Vec<WalkPlan> },
    /// A record inside itself: the plan of the open record of this node holds again.
    Back { node: NodeId },
}

impl WalkPlan {
    /// Appends the slots of all leaves in this part, in schema order.
    pub(crate) fn slots(&self, slots: &mut Vec<u32>) {
        match self {
            // A reference back has no slots of its own: they belong to the open record.
            Self::Keep(_) | Self::Drop(_) | Self::Null(_) | Self::Back { .. } => {}
            Self::Leaf { slot, .. } => slots.push(*slot),
            Self::Record { fields: inner, .. } | Self::Union { branches: inner, .. } => {
                inner.iter().for_each(|plan| plan.slots(slots));
            }
            Self::Array { items, .. } => items.slots(slots),
            Self::Map { key, values, .. } => {
                slots.extend(key);
                values.slots(slots);
            }
        }
    }
}
