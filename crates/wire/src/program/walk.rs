//! The fast walk. It finds out whether the bytes are well formed, and lets the task act on the way.

use super::leaves::{booleans, byte_runs, ints, longs, mixed_ints, optional, optional_text, skip, strings};
use super::op::{WalkInstruction, WalkProgram};
use crate::MAX_NESTING;
use crate::datum::varint::{read_index, read_len, read_long, skip_int, skip_long};

/// The number of items without any bytes that one datum may have, in addition to one for each of its bytes.
/// The limit is needed for `array<null>`, where twelve bytes can claim 2⁶³ items.
pub(crate) const EMPTY_ITEMS: u64 = 1024;

/// The actions of a task during a walk. The walk has validated everything before `at`.
pub(crate) trait WalkTask {
    /// See [`WalkInstruction::Flush`].
    fn flush(&mut self, _data: &[u8], _at: usize) {}
    /// See [`WalkInstruction::Discard`].
    fn discard(&mut self, _at: usize) {}
    /// See [`WalkInstruction::DiscardToNull`].
    fn discard_to_null(&mut self, _at: usize) {}
    /// A wanted leaf begins: validates it, acts and returns the position after it.
    fn leaf(&mut self, _slot: u32, _data: &[u8], _at: usize) -> Option<usize> {
        None
    }
    /// A wanted leaf is absent, because an optional above it is null.
    fn absent(&mut self, _slot: u32) {}
    /// The header `header..at` of a block of `count` items has a size in bytes. The task writes the header
    /// again, without the size.
    fn block(&mut self, _data: &[u8], _header: usize, _at: usize, _count: u64) {}
}

/// The task that does nothing.
pub(crate) struct IdleTask;

impl WalkTask for IdleTask {}

impl WalkProgram {
    /// Walks one datum. Returns `None` if the bytes are not a datum, or if the task stopped.
    #[inline]
    pub(crate) fn run<T: WalkTask>(&self, data: &[u8], task: &mut T) -> Option<()> {
        let mut walk = ProgramWalk {
            ops: &self.ops,
            targets: &self.targets,
            empty: EMPTY_ITEMS + data.len() as u64,
            task,
        };
        // Body 0 is the datum: one time, at depth 0. Bytes after it are an error.
        let end = walk.body(data, 0, 0, 1, 0)?;
        (end == data.len()).then_some(())
    }
}

/// The state of one walk.
struct ProgramWalk<'p, 't, T> {
    ops: &'p [WalkInstruction],
    targets: &'p [u32],
    /// Items without bytes that the datum may still have.
    empty: u64,
    task: &'t mut T,
}

impl<T: WalkTask> ProgramWalk<'_, '_, T> {
    /// Runs the body at `start` for `times` items, one after another. Returns the position after them.
    fn body(
        &mut self,
        data: &[u8],
        mut at: usize,
        start: usize,
        mut times: u64,
        depth: usize,
    ) -> Option<usize> {
        // The program is a flat list; `pc` is the next instruction.
        let ops = self.ops;
        let mut pc = start;
        loop {
            // By reference: a copy would go through memory.
            let op = ops.get(pc)?;
            pc += 1;
            match op {
                // Runs of leaves: each helper checks and passes all of them at once.
                &WalkInstruction::Skip(size) => at = skip(data, at, size as usize)?,
                &WalkInstruction::Strings(count) => at = strings(data, at, u64::from(count))?,
                &WalkInstruction::Longs(count) => at = longs(data, at, u64::from(count))?,
                &WalkInstruction::Ints(count) => at = ints(data, at, u64::from(count))?,
                &WalkInstruction::MixedInts { count, null, optional } => {
                    at = mixed_ints(data, at, count, null, optional)?;
                }
                &WalkInstruction::Bytes(count) => at = byte_runs(data, at, u64::from(count))?,
                &WalkInstruction::Booleans(count) => at = booleans(data, at, u64::from(count))?,
                &WalkInstruction::Enum(symbols) => at = read_index(data, at, symbols)?.1,

                // Optional leaves in one instruction: an index of one byte, then perhaps the leaf.
                &WalkInstruction::OptionalSkip { null, size } => {
                    let absent = optional(data, at, null)?;
                    at += 1;
                    if !absent {
                        at = skip(data, at, size as usize)?;
                    }
                }
                &WalkInstruction::OptionalInt { null } => {
                    let absent = optional(data, at, null)?;
                    at += 1;
                    if !absent {
                        at = skip_int(data, at)?;
                    }
                }
                &WalkInstruction::OptionalLong { null } => {
                    let absent = optional(data, at, null)?;
                    at += 1;
                    if !absent {
                        at = skip_long(data, at)?;
                    }
                }
                &WalkInstruction::OptionalString { null } => at = optional_text(data, at, null)?,

                // Unions and jumps: the branch decides where the program goes on.
                &WalkInstruction::Optional { null, to } => {
                    if optional(data, at, null)? {
                        pc = to as usize;
                    }
                    at += 1;
                }
                &WalkInstruction::Union { table, branches } => {
                    let (index, after) = read_index(data, at, branches)?;
                    at = after;
                    pc = *self.targets.get((table + index) as usize)? as usize;
                }
                &WalkInstruction::Jump { to } => pc = to as usize,

                // An empty array or map is common: no body is entered for it.
                &WalkInstruction::Blocks { next, levels, .. }
                | &WalkInstruction::RunBlocks { next, levels, .. }
                    if data.get(at) == Some(&0) && depth + usize::from(levels) <= MAX_NESTING =>
                {
                    at += 1;
                    pc = next as usize;
                }

                // Arrays and maps with items; `next` is behind their body.
                &WalkInstruction::Blocks { next, min, levels, rewrite } => {
                    at = self.blocks(data, at, pc, min, depth + usize::from(levels), rewrite)?;
                    pc = next as usize;
                }
                &WalkInstruction::RunBlocks { next, min, levels } => {
                    at = self.run_blocks(data, at, *ops.get(pc)?, min, depth + usize::from(levels))?;
                    pc = next as usize;
                }

                // Records: a body elsewhere in the program, or a level of nesting in this one.
                &WalkInstruction::Call { body, levels } => {
                    let depth = depth + usize::from(levels);
                    if depth > MAX_NESTING {
                        return None;
                    }
                    at = self.body(data, at, body as usize, 1, depth)?;
                }
                &WalkInstruction::Level(levels) => {
                    if depth + usize::from(levels) > MAX_NESTING {
                        return None;
                    }
                }

                // The end of a body: the next item, or back to the caller.
                &WalkInstruction::End => {
                    times -= 1;
                    if times == 0 {
                        return Some(at);
                    }
                    pc = start;
                }

                // Instructions for the task. A leaf is validated by the task itself.
                &WalkInstruction::Flush => self.task.flush(data, at),
                &WalkInstruction::Discard => self.task.discard(at),
                &WalkInstruction::DiscardToNull => self.task.discard_to_null(at),
                &WalkInstruction::Leaf(slot) => at = self.task.leaf(slot, data, at)?,
                &WalkInstruction::Absent(slot) => self.task.absent(slot),
            }
        }
    }

    /// Walks blocks of items up to the empty one. A negative count comes with the block's size in bytes. The
    /// size must be exactly the bytes of the items: readers that skip by it would otherwise see another datum
    /// than this walk.
    fn blocks(
        &mut self,
        data: &[u8],
        mut at: usize,
        body: usize,
        min: u32,
        depth: usize,
        rewrite: bool,
    ) -> Option<usize> {
        // The array or map itself is a level of nesting.
        if depth > MAX_NESTING {
            return None;
        }
        loop {
            let header = at;
            let block = self.header(data, at, min)?;
            at = block.at;
            // A plain count stays true when items change; a size in bytes does not.
            if rewrite && block.end.is_some() {
                self.task.block(data, header, at, block.count);
            }
            if block.count == 0 {
                return Some(at);
            }

            // The items, and the proof that the declared size was right.
            at = self.body(data, at, body, block.count, depth)?;
            if block.end.is_some_and(|end| end != at) {
                return None;
            }
        }
    }

    /// Walks blocks whose items are runs of one instruction, without a body per item.
    fn run_blocks(
        &mut self,
        data: &[u8],
        mut at: usize,
        op: WalkInstruction,
        min: u32,
        depth: usize,
    ) -> Option<usize> {
        // The same bound as for blocks with a body.
        if depth > MAX_NESTING {
            return None;
        }
        loop {
            // Every header is checked before its items are counted on.
            let block = self.header(data, at, min)?;
            at = block.at;
            let count = block.count;
            if count == 0 {
                return Some(at);
            }

            // An item takes at least one byte per leaf: the products are within the datum's length.
            at = match op {
                WalkInstruction::Strings(each) => strings(data, at, count * u64::from(each))?,
                WalkInstruction::Longs(each) => longs(data, at, count * u64::from(each))?,
                WalkInstruction::Ints(each) => ints(data, at, count * u64::from(each))?,
                WalkInstruction::Bytes(each) => byte_runs(data, at, count * u64::from(each))?,
                WalkInstruction::Booleans(each) => booleans(data, at, count * u64::from(each))?,
                WalkInstruction::Skip(each) => {
                    skip(data, at, usize::try_from(count * u64::from(each)).ok()?)?
                }
                // The body is empty: the items take no bytes.
                WalkInstruction::End => at,
                // The compiler makes run blocks only from the instructions above.
                _ => return None,
            };

            // The declared size must be the bytes of the items.
            if block.end.is_some_and(|end| end != at) {
                return None;
            }
        }
    }

    /// Reads a block's count and, if it has one, its size in bytes. Refuses more items than the rest can
    /// hold.
    #[inline(always)]
    fn header(&mut self, data: &[u8], at: usize, min: u32) -> Option<BlockHeader> {
        let (count, at) = read_long(data, at)?;
        if count == 0 {
            return Some(BlockHeader { at, count: 0, end: None });
        }

        // A negative count means that the size in bytes follows.
        let (mut at, mut end) = (at, None);
        if count < 0 {
            let (size, after) = read_len(data, at)?;
            at = after;
            end = Some(at.checked_add(size)?);
        }

        // Bound the count before any item is read: a few bytes can claim very many items.
        let count = count.unsigned_abs();
        let left = (data.len() - at) as u64;
        if min == 0 {
            self.empty = self.empty.checked_sub(count)?;
        } else if count.checked_mul(u64::from(min)).is_none_or(|least| least > left) {
            return None;
        }
        Some(BlockHeader { at, count, end })
    }
}

/// A block's header.
struct BlockHeader {
    /// The position after the header.
    at: usize,
    count: u64,
    /// The position after the items, if the block declares its size.
    end: Option<usize>,
}
