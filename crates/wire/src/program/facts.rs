//! What a compiler must know about a schema's nodes beforehand.

use crate::MAX_NESTING;
use crate::schema::{DatumSchema, LeafKind, NodeId, SchemaNode};

/// Facts by node.
pub(crate) struct SchemaAnalysis {
    /// The least bytes a datum of the node takes (a lower bound where the type never ends).
    min: Vec<u64>,
    /// How often the node is referred to.
    uses: Vec<u32>,
    /// The node can contain itself.
    cyclic: Vec<bool>,
    /// A datum can be nested too deep.
    pub(crate) can_be_too_deep: bool,
}

impl SchemaAnalysis {
    pub(crate) fn of(schema: &DatumSchema) -> Self {
        let count = schema.nodes().len();
        let mut uses = vec![0u32; count];
        for node in schema.nodes() {
            node.each_child(|child| uses[child.0 as usize] += 1);
        }
        let mut cycles = CycleFinder {
            schema,
            order: vec![0; count],
            low: vec![0; count],
            next: 1,
            open: Vec::new(),
            is_open: vec![false; count],
            cyclic: vec![false; count],
        };
        cycles.visit(schema.root());
        let cyclic = cycles.cyclic;
        let recursive = cyclic.iter().any(|&cyclic| cyclic);
        let can_be_too_deep = recursive || depth(schema, schema.root(), &mut vec![None; count]) > MAX_NESTING;
        Self { min: min_sizes(schema), uses, cyclic, can_be_too_deep }
    }

    pub(crate) fn min(&self, id: NodeId) -> u64 {
        self.min[id.0 as usize]
    }

    /// A record that is a body of its own rather than written out wherever it is used.
    pub(crate) fn is_shared(&self, id: NodeId) -> bool {
        self.uses[id.0 as usize] > 1 || self.is_cyclic(id)
    }

    pub(crate) fn is_cyclic(&self, id: NodeId) -> bool {
        self.cyclic[id.0 as usize]
    }
}

/// Levels of records, arrays and maps, in a schema without cycles.
fn depth(schema: &DatumSchema, id: NodeId, known: &mut Vec<Option<usize>>) -> usize {
    if let Some(depth) = known[id.0 as usize] {
        return depth;
    }
    let mut deepest = 0;
    schema.node(id).each_child(|child| deepest = deepest.max(depth(schema, child, known)));
    let own = usize::from(matches!(
        schema.node(id),
        SchemaNode::Record { .. } | SchemaNode::Array { .. } | SchemaNode::Map { .. }
    ));
    known[id.0 as usize] = Some(deepest + own);
    deepest + own
}

/// A fixed point from below. Children mostly stand behind their parents, so two passes do, except for types
/// that never end, whose bound may stay low.
fn min_sizes(schema: &DatumSchema) -> Vec<u64> {
    let mut min = vec![0u64; schema.nodes().len()];
    for _ in 0..64 {
        let mut changed = false;
        for (place, node) in schema.nodes().iter().enumerate().rev() {
            let of = |id: &NodeId| min[id.0 as usize];
            let size = match node {
                SchemaNode::Leaf { leaf, .. } => match leaf.kind {
                    LeafKind::Null => 0,
                    LeafKind::Float => 4,
                    LeafKind::Double => 8,
                    LeafKind::Fixed => leaf.size as u64,
                    _ => 1,
                },
                SchemaNode::Record { fields, .. } => {
                    fields.iter().fold(0, |sum: u64, field| sum.saturating_add(of(&field.node)))
                }
                SchemaNode::Array { .. } | SchemaNode::Map { .. } => 1,
                SchemaNode::Union { branches } => {
                    branches.iter().map(of).min().unwrap_or(0).saturating_add(1)
                }
            };
            changed |= std::mem::replace(&mut min[place], size) != size;
        }
        if !changed {
            break;
        }
    }
    min
}

/// Tarjan's strongly connected components; depth is bounded by the schema's.
struct CycleFinder<'s> {
    schema: &'s DatumSchema,
    order: Vec<u32>,
    low: Vec<u32>,
    next: u32,
    open: Vec<NodeId>,
    is_open: Vec<bool>,
    cyclic: Vec<bool>,
}

impl CycleFinder<'_> {
    fn visit(&mut self, id: NodeId) {
        let place = id.0 as usize;
        (self.order[place], self.low[place]) = (self.next, self.next);
        self.next += 1;
        self.open.push(id);
        self.is_open[place] = true;
        let mut children = Vec::new();
        self.schema.node(id).each_child(|child| children.push(child));
        for child in children {
            let there = child.0 as usize;
            if self.order[there] == 0 {
                self.visit(child);
                self.low[place] = self.low[place].min(self.low[there]);
            } else if self.is_open[there] {
                self.low[place] = self.low[place].min(self.order[there]);
                self.cyclic[there] |= child == id;
            }
        }
        if self.low[place] == self.order[place] {
            let start = self.open.iter().rposition(|&open| open == id).unwrap_or(0);
            let component = self.open.split_off(start);
            component.iter().for_each(|member| self.is_open[member.0 as usize] = false);
            if component.len() > 1 {
                component.iter().for_each(|member| self.cyclic[member.0 as usize] = true);
            }
        }
    }
}
