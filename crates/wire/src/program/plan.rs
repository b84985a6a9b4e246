//! What happens to each part of a schema.

use crate::schema::NodeId;

/// A tree along the schema, cut where everything is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WalkPlan {
    /// Passed as it is.
    Keep(NodeId),
    /// Left out, from the schema too.
    Drop(NodeId),
    /// Written as null.
    Null(NodeId),
    /// A leaf that the task handles; `slot` is its place among them.
    Leaf {
        node: NodeId,
        slot: u32,
    },
    Record {
        node: NodeId,
        fields: Vec<WalkPlan>,
    },
    Array {
        node: NodeId,
        items: Box<WalkPlan>,
    },
    Map {
        node: NodeId,
        key: Option<u32>,
        values: Box<WalkPlan>,
    },
    Union {
        node: NodeId,
        branches: Vec<WalkPlan>,
    },
    /// The open record of this node, again.
    Back {
        node: NodeId,
    },
}

impl WalkPlan {
    /// Slots of the leaves in it, in schema order.
    pub(crate) fn slots(&self, slots: &mut Vec<u32>) {
        match self {
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
