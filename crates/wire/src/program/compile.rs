//! Compiles a plan to the instructions of a walk.

use std::collections::HashMap;

use super::facts::SchemaAnalysis;
use super::op::{WalkInstruction, WalkProgram, merge};
use super::plan::WalkPlan;
use crate::schema::{DatumSchema, LeafKind, LeafType, NodeId, SchemaNode};
use crate::{MAX_LEAVES, SchemaError};

/// The largest number of instructions. A schema that needs more is too large to be compiled.
const MAX_OPS: usize = 16 * MAX_LEAVES;

/// Compiles the walk that keeps everything.
pub(crate) fn keep(schema: &DatumSchema) -> Result<WalkProgram, SchemaError> {
    plan(schema, &WalkPlan::Keep(schema.root()))
}

/// Compiles a plan whose task needs no report of absent leaves.
pub(crate) fn plan(schema: &DatumSchema, plan: &WalkPlan) -> Result<WalkProgram, SchemaError> {
    compile(schema, plan, false)
}

/// Compiles a plan whose task gets a report of every wanted leaf, absent ones too.
pub(crate) fn plan_with_absent(schema: &DatumSchema, plan: &WalkPlan) -> Result<WalkProgram, SchemaError> {
    compile(schema, plan, true)
}

/// Compiles a plan. With `absent` the program reports wanted leaves under a null.
fn compile(schema: &DatumSchema, plan: &WalkPlan, absent: bool) -> Result<WalkProgram, SchemaError> {
    let facts = SchemaAnalysis::of(schema);
    let mut compiler = WalkCompiler {
        schema,
        facts: &facts,
        program: WalkProgram::default(),
        barrier: 0,
        level: 0,
        bodies: HashMap::new(),
        calls: Vec::new(),
        open: Vec::new(),
        absent,
    };

    // Body 0 is the datum itself; the bodies that it calls come after it.
    compiler.plan(plan)?;
    compiler.push(WalkInstruction::End)?;
    compiler.bodies()?;
    Ok(compiler.program)
}

/// The state of one compilation.
struct WalkCompiler<'s> {
    schema: &'s DatumSchema,
    facts: &'s SchemaAnalysis,
    program: WalkProgram,
    /// A jump leads here. Instructions before this point must not be merged with those after it.
    barrier: usize,
    /// Levels of records entered in place since the beginning of the body. The caller counted the body
    /// itself.
    level: u8,
    /// Kept records that have a body of their own, with its position once it is compiled.
    bodies: HashMap<NodeId, u32>,
    /// Calls to such bodies. Their targets are filled in at the end.
    calls: Vec<(usize, NodeId)>,
    /// Recursive records of the plan whose body is being compiled, innermost last, with the body's position.
    open: Vec<(NodeId, u32)>,
    /// If true, wanted leaves under a null are reported as absent.
    absent: bool,
}

impl WalkCompiler<'_> {
    /// Returns the position of the next instruction.
    fn here(&self) -> u32 {
        self.program.ops.len() as u32
    }

    /// Marks the next instruction as the target of a jump, and returns its position.
    fn label(&mut self) -> u32 {
        self.barrier = self.program.ops.len();
        self.here()
    }

    /// Appends an instruction, or merges it with the one before it. Returns its position.
    fn push(&mut self, op: WalkInstruction) -> Result<usize, SchemaError> {
        let last = self.program.ops.len();
        if last >= MAX_OPS {
            return Err(SchemaError::TooLarge);
        }

        // Merge only behind the barrier: a jump to a merged run would land in its middle.
        if last > self.barrier
            && let Some(before) = self.program.ops.last_mut()
            && let Some(merged) = merge(*before, op)
        {
            *before = merged;
            return Ok(last - 1);
        }
        self.program.ops.push(op);
        Ok(last)
    }

    /// Compiles a part with an action inside.
    fn plan(&mut self, plan: &WalkPlan) -> Result<(), SchemaError> {
        match plan {
            // Whole parts, and single leaves of the task.
            WalkPlan::Keep(node) => self.keep(*node),
            WalkPlan::Drop(node) => self.passed_over(*node, WalkInstruction::Discard),
            WalkPlan::Null(node) => self.passed_over(*node, WalkInstruction::DiscardToNull),
            WalkPlan::Leaf { slot, .. } => self.push(WalkInstruction::Leaf(*slot)).map(drop),

            // Records: a recursive one needs a body that its inner occurrences can call.
            WalkPlan::Record { node, fields } if self.facts.is_cyclic(*node) => self.recursive(*node, fields),
            WalkPlan::Record { fields, .. } => {
                self.record(|this| fields.iter().try_for_each(|field| this.plan(field)))
            }

            // Arrays and maps. Their items may change size, which makes the blocks' sizes in bytes wrong.
            WalkPlan::Array { node, items } => {
                let min = self.facts.min(self.item(*node));
                self.blocks(min, true, |this| this.plan(items))
            }
            WalkPlan::Map { node, key, values } => {
                let min = self.facts.min(self.item(*node)).saturating_add(1);
                self.blocks(min, true, |this| {
                    this.push(key.map_or(WalkInstruction::Strings(1), WalkInstruction::Leaf))?;
                    this.plan(values)
                })
            }

            // A null leaves out every wanted leaf below the union.
            WalkPlan::Union { node, branches } => {
                let mut slots = Vec::new();
                if self.absent {
                    branches.iter().for_each(|branch| branch.slots(&mut slots));
                }
                self.union(*node, &slots, |this, place| this.plan(&branches[place]))
            }

            // A record inside itself calls the body of the open record.
            WalkPlan::Back { node } => {
                debug_assert!(
                    self.open.iter().any(|(open, _)| open == node),
                    "a reference back is inside its record"
                );
                let body = self.open.iter().rev().find(|(open, _)| open == node).map_or(0, |&(_, body)| body);
                let levels = self.level.saturating_add(1);
                self.push(WalkInstruction::Call { body, levels }).map(drop)
            }
        }
    }

    /// Returns the type of an array's items or a map's values.
    fn item(&self, node: NodeId) -> NodeId {
        match self.schema.node(node) {
            SchemaNode::Array { items, .. } => *items,
            SchemaNode::Map { values, .. } => *values,
            _ => node,
        }
    }

    /// Compiles a part that is walked but not copied.
    fn passed_over(&mut self, node: NodeId, end: WalkInstruction) -> Result<(), SchemaError> {
        // Directly behind another part that is left out, there is nothing to flush: one discard covers both.
        if self.program.ops.len() > self.barrier && self.program.ops.last() == Some(&WalkInstruction::Discard)
        {
            self.program.ops.pop();
        } else {
            self.push(WalkInstruction::Flush)?;
        }
        self.keep(node)?;
        self.push(end).map(drop)
    }

    /// Compiles a part that passes as it is.
    fn keep(&mut self, id: NodeId) -> Result<(), SchemaError> {
        let schema = self.schema;
        // Leaves. A null has no bytes and needs no instruction.
        match schema.node(id) {
            SchemaNode::Leaf { leaf, .. } => leaf_op(leaf).map_or(Ok(()), |op| self.push(op).map(drop)),

            // Records: a shared one is compiled once, later; any other is written out here.
            SchemaNode::Record { .. } if self.facts.is_shared(id) => {
                let levels = self.level.saturating_add(1);
                let place = self.push(WalkInstruction::Call { body: u32::MAX, levels })?;
                self.calls.push((place, id));
                Ok(())
            }
            SchemaNode::Record { fields, .. } => {
                self.record(|this| fields.iter().try_for_each(|field| this.keep(field.node)))
            }

            // Arrays and maps keep their blocks as they are. A map's item has a key of at least one byte.
            SchemaNode::Array { items, .. } => {
                self.blocks(self.facts.min(*items), false, |this| this.keep(*items))
            }
            SchemaNode::Map { values, .. } => {
                self.blocks(self.facts.min(*values).saturating_add(1), false, |this| {
                    this.push(WalkInstruction::Strings(1))?;
                    this.keep(*values)
                })
            }

            // Unions: the common `["null", leaf]` is one instruction.
            SchemaNode::Union { branches } => match optional_leaf(schema, branches) {
                Some(op) => self.push(op).map(drop),
                None => self.union(id, &[], |this, place| this.keep(branches[place])),
            },
        }
    }

    /// Compiles a record that is written out in place.
    fn record(
        &mut self,
        fields: impl FnOnce(&mut Self) -> Result<(), SchemaError>,
    ) -> Result<(), SchemaError> {
        let outer = self.level;
        self.level = outer.saturating_add(1);
        // The check is left out of schemas that can never be too deep.
        if self.facts.can_be_too_deep {
            self.push(WalkInstruction::Level(self.level))?;
        }
        fields(self)?;
        self.level = outer;
        Ok(())
    }

    /// Compiles a recursive record of a plan. Its body is in place, and its inner occurrences call it.
    fn recursive(&mut self, node: NodeId, fields: &[WalkPlan]) -> Result<(), SchemaError> {
        // The first occurrence calls the body, too, and jumps over it afterwards.
        let levels = self.level.saturating_add(1);
        let call = self.push(WalkInstruction::Call { body: 0, levels })?;
        let jump = self.push(WalkInstruction::Jump { to: 0 })?;
        let body = self.label();
        self.program.ops[call] = WalkInstruction::Call { body, levels };

        // A body begins at level 0, because each caller adds its own levels.
        self.open.push((node, body));
        let level = std::mem::take(&mut self.level);
        fields.iter().try_for_each(|field| self.plan(field))?;
        self.level = level;
        self.open.pop();

        // Now the position behind the body is known.
        self.push(WalkInstruction::End)?;
        self.program.ops[jump] = WalkInstruction::Jump { to: self.label() };
        Ok(())
    }

    /// Compiles an array or map. `min` is the least number of bytes of an item; `body` compiles one item.
    fn blocks(
        &mut self,
        min: u64,
        rewrite: bool,
        body: impl FnOnce(&mut Self) -> Result<(), SchemaError>,
    ) -> Result<(), SchemaError> {
        // The instruction is completed when the position behind the body is known.
        let min = u32::try_from(min).unwrap_or(u32::MAX);
        let levels = self.level.saturating_add(1);
        let place = self.push(WalkInstruction::Blocks { next: 0, min, levels, rewrite })?;
        let start = self.label() as usize;

        // The body of one item begins at level 0: the blocks add their own levels.
        let level = std::mem::take(&mut self.level);
        body(self)?;
        self.level = level;
        self.push(WalkInstruction::End)?;
        let next = self.label();

        // A body of one simple instruction can run for all items at once.
        let run = match self.program.ops[start..] {
            [WalkInstruction::End] => true,
            [op, WalkInstruction::End] => matches!(
                op,
                WalkInstruction::Skip(_)
                    | WalkInstruction::Booleans(_)
                    | WalkInstruction::Ints(_)
                    | WalkInstruction::Longs(_)
                    | WalkInstruction::Bytes(_)
                    | WalkInstruction::Strings(_)
            ),
            _ => false,
        };

        // With `rewrite` the task must see every block, and needs the general form.
        self.program.ops[place] = match run && !rewrite {
            true => WalkInstruction::RunBlocks { next, min, levels },
            false => WalkInstruction::Blocks { next, min, levels, rewrite },
        };
        Ok(())
    }

    /// Compiles a union. `branch` compiles the branch of an index; `absent` are the slots to report if it is
    /// null.
    fn union(
        &mut self,
        id: NodeId,
        absent: &[u32],
        mut branch: impl FnMut(&mut Self, usize) -> Result<(), SchemaError>,
    ) -> Result<(), SchemaError> {
        let schema = self.schema;
        let SchemaNode::Union { branches } = schema.node(id) else {
            debug_assert!(false, "the plan of a union is for a union");
            return Ok(());
        };
        let null = branches.iter().position(|&branch| schema.is_null(branch));

        // A union of null and one other type is a conditional jump over the other type.
        if let (&[_, _], Some(null)) = (&branches[..], null) {
            let null = null as u8;
            let place = self.push(WalkInstruction::Optional { null, to: 0 })?;
            self.label();
            branch(self, 1 - usize::from(null))?;
            // The report of absent leaves is for the null only: the other type jumps over it.
            let over =
                if absent.is_empty() { None } else { Some(self.push(WalkInstruction::Jump { to: 0 })?) };
            let to = self.label();
            self.program.ops[place] = WalkInstruction::Optional { null, to };
            for &slot in absent {
                self.push(WalkInstruction::Absent(slot))?;
            }
            if let Some(over) = over {
                self.program.ops[over] = WalkInstruction::Jump { to: self.label() };
            }
            return Ok(());
        }

        // Any other union: a table of jump targets, filled in as the branches are compiled.
        let table = self.program.targets.len();
        self.program.targets.extend(branches.iter().map(|_| 0));
        self.push(WalkInstruction::Union { table: table as u32, branches: branches.len() as u32 })?;
        let mut jumps = Vec::new();
        for place in 0..branches.len() {
            self.program.targets[table + place] = self.label();
            branch(self, place)?;
            self.label();
            jumps.push(self.push(WalkInstruction::Jump { to: 0 })?);
        }
        // Every branch ends with a jump behind the union.
        let to = self.label();
        jumps.into_iter().for_each(|jump| self.program.ops[jump] = WalkInstruction::Jump { to });
        Ok(())
    }

    /// Compiles the bodies that were called and are not yet compiled. A body may call for more bodies.
    fn bodies(&mut self) -> Result<(), SchemaError> {
        while let Some((place, id)) = self.calls.pop() {
            // Several calls may go to one body.
            let body = match self.bodies.get(&id) {
                Some(&body) => body,
                None => {
                    // The position is known before the fields are compiled: the record may contain itself.
                    let body = self.label();
                    self.bodies.insert(id, body);
                    self.level = 0;
                    let schema = self.schema;
                    debug_assert!(
                        matches!(schema.node(id), SchemaNode::Record { .. }),
                        "only records are called"
                    );
                    if let SchemaNode::Record { fields, .. } = schema.node(id) {
                        fields.iter().try_for_each(|field| self.keep(field.node))?;
                    }
                    self.push(WalkInstruction::End)?;
                    body
                }
            };

            // Fill in the target of the call.
            if let WalkInstruction::Call { body: to, .. } = &mut self.program.ops[place] {
                *to = body;
            }
        }
        Ok(())
    }
}

/// Returns the instruction for one leaf, or `None` for a null, which has no bytes.
fn leaf_op(leaf: &LeafType) -> Option<WalkInstruction> {
    Some(match leaf.kind {
        LeafKind::Null => return None,
        LeafKind::Boolean => WalkInstruction::Booleans(1),
        LeafKind::Int => WalkInstruction::Ints(1),
        LeafKind::Long => WalkInstruction::Longs(1),
        LeafKind::Float => WalkInstruction::Skip(4),
        LeafKind::Double => WalkInstruction::Skip(8),
        LeafKind::Bytes => WalkInstruction::Bytes(1),
        LeafKind::String => WalkInstruction::Strings(1),
        LeafKind::Fixed => WalkInstruction::Skip(leaf.size as u32),
        LeafKind::Enum => WalkInstruction::Enum(leaf.symbols.len() as u32),
    })
}

/// Returns the one instruction for `["null", leaf]`, if there is one.
fn optional_leaf(schema: &DatumSchema, branches: &[NodeId]) -> Option<WalkInstruction> {
    // Exactly one of the two branches must be null.
    let &[first, second] = branches else { return None };
    let (null, other) = match (schema.is_null(first), schema.is_null(second)) {
        (true, false) => (0, second),
        (false, true) => (1, first),
        _ => return None,
    };

    let SchemaNode::Leaf { leaf, .. } = schema.node(other) else { return None };
    // The other kinds are rare in optional fields and take the general way.
    match leaf_op(leaf)? {
        WalkInstruction::Skip(size) => Some(WalkInstruction::OptionalSkip { null, size }),
        WalkInstruction::Ints(_) => Some(WalkInstruction::OptionalInt { null }),
        WalkInstruction::Longs(_) => Some(WalkInstruction::OptionalLong { null }),
        WalkInstruction::Strings(_) => Some(WalkInstruction::OptionalString { null }),
        _ => None,
    }
}
