//! The properties of a schema's nodes that a compiler must know beforehand.

use crate::MAX_NESTING;
use crate::schema::{DatumSchema, LeafKind, NodeId, SchemaNode};

/// Properties by node.
pub(crate) struct SchemaAnalysis {
    /// The least number of bytes of the node's datums (a lower bound where the type never ends).
    min: Vec<u64>,
    /// The number of references to the node.
    uses: Vec<u32>,
    /// True if the node can contain itself.
    cyclic: Vec<bool>,
    /// True if a datum can be nested too deep.
    pub(crate) can_be_too_deep: bool,
}

impl SchemaAnalysis {
    /// Analyses a schema.
    pub(crate) fn of(schema: &DatumSchema) -> Self {
        // References decide which records get a body of their own.
        let count = schema.nodes().len();
        let mut uses = vec![0u32; count];
        for node in schema.nodes() {
            node.each_child(|child| uses[child.0 as usize] += 1);
        }

        // Cycles make nesting unlimited; without them the deepest path is known.
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

    /// Returns the least number of bytes of the node's datums.
    pub(crate) fn min(&self, id: NodeId) -> u64 {
        self.min[id.0 as usize]
    }

    /// Tells whether a record gets a body of its own. Otherwise it is written out at its only use.
    pub(crate) fn is_shared(&self, id: NodeId) -> bool {
        self.uses[id.0 as usize] > 1 || self.is_cyclic(id)
    }

    /// Tells whether the node can contain itself.
    pub(crate) fn is_cyclic(&self, id: NodeId) -> bool {
        self.cyclic[id.0 as usize]
    }
}

/// Returns the levels of records, arrays and maps in a schema without cycles. `known` keeps the results.
fn depth(schema: &DatumSchema, id: NodeId, known: &mut Vec<Option<usize>>) -> usize {
    // A shared type is visited once, or the work would grow with the number of paths.
    if let Some(depth) = known[id.0 as usize] {
        return depth;
    }

    let mut deepest = 0;
    schema.node(id).each_child(|child| deepest = deepest.max(depth(schema, child, known)));

    // Unions and leaves add no level.
    let own = usize::from(matches!(
        schema.node(id),
        SchemaNode::Record { .. } | SchemaNode::Array { .. } | SchemaNode::Map { .. }
    ));
    known[id.0 as usize] = Some(deepest + own);
    deepest + own
}

/// Computes the least sizes as a fixed point from below. Children mostly come after their parents in the
/// table, and two passes from the end are then enough. For types that never end the bound may stay low.
fn min_sizes(schema: &DatumSchema) -> Vec<u64> {
    // Every size begins at 0 and only grows. 64 passes bound the work; a bound that is too low is still true.
    let mut min = vec![0u64; schema.nodes().len()];
    for _ in 0..64 {
        let mut changed = false;
        for (place, node) in schema.nodes().iter().enumerate().rev() {
            let of = |id: &NodeId| min[id.0 as usize];
            // Each kind of type from the sizes of its children. An empty array or map is one byte, and so is
            // a union's index.
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

/// Finds the nodes that can contain themselves, by Tarjan's strongly connected components. The recursion is
/// bounded by the schema's depth.
struct CycleFinder<'s> {
    schema: &'s DatumSchema,
    /// The number at the node's first visit, from 1 on; 0 before it.
    order: Vec<u32>,
    /// The least number that the node can reach.
    low: Vec<u32>,
    next: u32,
    /// Nodes whose component is not complete.
    open: Vec<NodeId>,
    is_open: Vec<bool>,
    cyclic: Vec<bool>,
}

impl CycleFinder<'_> {
    /// Visits a node and everything below it.
    fn visit(&mut self, id: NodeId) {
        // Number the node.
        let place = id.0 as usize;
        (self.order[place], self.low[place]) = (self.next, self.next);
        self.next += 1;
        self.open.push(id);
        self.is_open[place] = true;

        // Children may lead back to open nodes. A child that is the node itself is a cycle of one.
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

        // The node is the first one of its component: the component is complete.
        if self.low[place] == self.order[place] {
            debug_assert!(self.is_open[place], "a node stays open until its component is complete");
            let start = self.open.iter().rposition(|&open| open == id).unwrap_or(0);
            let component = self.open.split_off(start);
            component.iter().for_each(|member| self.is_open[member.0 as usize] = false);
            // Several nodes in one component reach each other.
            if component.len() > 1 {
                component.iter().for_each(|member| self.cyclic[member.0 as usize] = true);
            }
        }
    }
}
