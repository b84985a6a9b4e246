//! The fast walk: says only whether the bytes are well formed, and lets the task act on the way.

use super::leaves::{booleans, byte_runs, ints, longs, mixed_ints, optional, optional_text, skip, strings};
use super::op::{WalkInstruction, WalkProgram};
use crate::MAX_NESTING;
use crate::datum::varint::{read_index, read_len, read_long, skip_int, skip_long};

/// Items that take no bytes at all, per datum, beyond one for each of its bytes (`array<null>` is the trap:
/// twelve bytes can claim 2⁶³ of them).
pub(crate) const EMPTY_ITEMS: u64 = 1024;

/// What a task does on the way. The walk has validated everything before `at`.
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
    /// A wanted leaf is absent.
    fn absent(&mut self, _slot: u32) {}
    /// A block of `count` items whose header `header..at` has its size too is to be written anew, without it.
    fn block(&mut self, _data: &[u8], _header: usize, _at: usize, _count: u64) {}
}

/// The task that does nothing.
pub(crate) struct IdleTask;

impl WalkTask for IdleTask {}

impl WalkProgram {
    /// Walks one datum; `None` if it is not one, or if the task stopped.
    #[inline]
    pub(crate) fn run<T: WalkTask>(&self, data: &[u8], task: &mut T) -> Option<()> {
        let mut walk = ProgramWalk {
            ops: &self.ops,
            targets: &self.targets,
            empty: EMPTY_ITEMS + data.len() as u64,
            task,
        };
        let end = walk.body(data, 0, 0, 1, 0)?;
        (end == data.len()).then_some(())
    }
}

struct ProgramWalk<'p, 't, T> {
    ops: &'p [WalkInstruction],
    targets: &'p [u32],
    empty: u64,
    task: &'t mut T,
}

impl<T: WalkTask> ProgramWalk<'_, '_, T> {
    /// Runs the body at `start` so many times.
    fn body(
        &mut self,
        data: &[u8],
        mut at: usize,
        start: usize,
        mut times: u64,
        depth: usize,
    ) -> Option<usize> {
        let ops = self.ops;
        let mut pc = start;
        loop {
            // By reference: a copy would go through memory.
            let op = ops.get(pc)?;
            pc += 1;
            match op {
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
                // Nothing in it, as often: no body is entered.
                &WalkInstruction::Blocks { next, levels, .. }
                | &WalkInstruction::RunBlocks { next, levels, .. }
                    if data.get(at) == Some(&0) && depth + usize::from(levels) <= MAX_NESTING =>
                {
                    at += 1;
                    pc = next as usize;
                }
                &WalkInstruction::Blocks { next, min, levels, rewrite } => {
                    at = self.blocks(data, at, pc, min, depth + usize::from(levels), rewrite)?;
                    pc = next as usize;
                }
                &WalkInstruction::RunBlocks { next, min, levels } => {
                    at = self.run_blocks(data, at, *ops.get(pc)?, min, depth + usize::from(levels))?;
                    pc = next as usize;
                }
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
                &WalkInstruction::End => {
                    times -= 1;
                    if times == 0 {
                        return Some(at);
                    }
                    pc = start;
                }
                &WalkInstruction::Flush => self.task.flush(data, at),
                &WalkInstruction::Discard => self.task.discard(at),
                &WalkInstruction::DiscardToNull => self.task.discard_to_null(at),
                &WalkInstruction::Leaf(slot) => at = self.task.leaf(slot, data, at)?,
                &WalkInstruction::Absent(slot) => self.task.absent(slot),
            }
        }
    }

    /// Blocks of items up to the empty one. A negative count comes with the block's size in bytes, which must
    /// be what the items really take: readers that skip by it would otherwise see another datum than we do.
    fn blocks(
        &mut self,
        data: &[u8],
        mut at: usize,
        body: usize,
        min: u32,
        depth: usize,
        rewrite: bool,
    ) -> Option<usize> {
        if depth > MAX_NESTING {
            return None;
        }
        loop {
            let header = at;
            let block = self.header(data, at, min)?;
            at = block.at;
            // A plain count stays true; a size in bytes does not.
            if rewrite && block.end.is_some() {
                self.task.block(data, header, at, block.count);
            }
            if block.count == 0 {
                return Some(at);
            }
            at = self.body(data, at, body, block.count, depth)?;
            if block.end.is_some_and(|end| end != at) {
                return None;
            }
        }
    }

    fn run_blocks(
        &mut self,
        data: &[u8],
        mut at: usize,
        op: WalkInstruction,
        min: u32,
        depth: usize,
    ) -> Option<usize> {
        if depth > MAX_NESTING {
            return None;
        }
        loop {
            let block = self.header(data, at, min)?;
            at = block.at;
            let count = block.count;
            if count == 0 {
                return Some(at);
            }
            // An item takes at least one byte per leaf, so the products are within the datum's length.
            at = match op {
                WalkInstruction::Strings(each) => strings(data, at, count * u64::from(each))?,
                WalkInstruction::Longs(each) => longs(data, at, count * u64::from(each))?,
                WalkInstruction::Ints(each) => ints(data, at, count * u64::from(each))?,
                WalkInstruction::Bytes(each) => byte_runs(data, at, count * u64::from(each))?,
                WalkInstruction::Booleans(each) => booleans(data, at, count * u64::from(each))?,
                WalkInstruction::Skip(each) => {
                    skip(data, at, usize::try_from(count * u64::from(each)).ok()?)?
                }
                // A body of nothing: the items take no bytes.
                WalkInstruction::End => at,
                _ => return None,
            };
            if block.end.is_some_and(|end| end != at) {
                return None;
            }
        }
    }

    #[inline(always)]
    fn header(&mut self, data: &[u8], at: usize, min: u32) -> Option<BlockHeader> {
        let (count, at) = read_long(data, at)?;
        if count == 0 {
            return Some(BlockHeader { at, count: 0, end: None });
        }
        let (mut at, mut end) = (at, None);
        if count < 0 {
            let (size, after) = read_len(data, at)?;
            at = after;
            end = Some(at.checked_add(size)?);
        }
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

struct BlockHeader {
    at: usize,
    count: u64,
    end: Option<usize>,
}
