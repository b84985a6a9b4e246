//! The fast walk: says only whether the bytes are well formed, and lets the task act on the way.

use super::leaves::{booleans, byte_runs, ints, longs, mixed_ints, optional, optional_text, skip, strings};
use super::op::{Op, Program};
use crate::MAX_NESTING;
use crate::datum::varint::{read_index, read_len, read_long, skip_int, skip_long};

/// Items that take no bytes at all, per datum, beyond one for each of its bytes (`array<null>` is the trap:
/// twelve bytes can claim 2⁶³ of them).
pub(crate) const EMPTY_ITEMS: u64 = 1024;

/// What a task does on the way. The walk has validated everything before `at`.
pub(crate) trait Task {
    /// See [`Op::Flush`].
    fn flush(&mut self, _data: &[u8], _at: usize) {}
    /// See [`Op::Discard`].
    fn discard(&mut self, _at: usize) {}
    /// See [`Op::DiscardToNull`].
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
pub(crate) struct Nothing;

impl Task for Nothing {}

impl Program {
    /// Walks one datum; `None` if it is not one, or if the task stopped.
    #[inline]
    pub(crate) fn run<T: Task>(&self, data: &[u8], task: &mut T) -> Option<()> {
        let mut walk =
            Walk { ops: &self.ops, targets: &self.targets, empty: EMPTY_ITEMS + data.len() as u64, task };
        let end = walk.body(data, 0, 0, 1, 0)?;
        (end == data.len()).then_some(())
    }
}

struct Walk<'p, 't, T> {
    ops: &'p [Op],
    targets: &'p [u32],
    empty: u64,
    task: &'t mut T,
}

impl<T: Task> Walk<'_, '_, T> {
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
                &Op::Skip(size) => at = skip(data, at, size as usize)?,
                &Op::Strings(count) => at = strings(data, at, u64::from(count))?,
                &Op::Longs(count) => at = longs(data, at, u64::from(count))?,
                &Op::Ints(count) => at = ints(data, at, u64::from(count))?,
                &Op::MixedInts { count, null, optional } => {
                    at = mixed_ints(data, at, count, null, optional)?;
                }
                &Op::Bytes(count) => at = byte_runs(data, at, u64::from(count))?,
                &Op::Booleans(count) => at = booleans(data, at, u64::from(count))?,
                &Op::Enum(symbols) => at = read_index(data, at, symbols)?.1,
                &Op::OptionalSkip { null, size } => {
                    let absent = optional(data, at, null)?;
                    at += 1;
                    if !absent {
                        at = skip(data, at, size as usize)?;
                    }
                }
                &Op::OptionalInt { null } => {
                    let absent = optional(data, at, null)?;
                    at += 1;
                    if !absent {
                        at = skip_int(data, at)?;
                    }
                }
                &Op::OptionalLong { null } => {
                    let absent = optional(data, at, null)?;
                    at += 1;
                    if !absent {
                        at = skip_long(data, at)?;
                    }
                }
                &Op::OptionalString { null } => at = optional_text(data, at, null)?,
                &Op::Optional { null, to } => {
                    if optional(data, at, null)? {
                        pc = to as usize;
                    }
                    at += 1;
                }
                &Op::Union { table, branches } => {
                    let (index, after) = read_index(data, at, branches)?;
                    at = after;
                    pc = *self.targets.get((table + index) as usize)? as usize;
                }
                &Op::Jump { to } => pc = to as usize,
                // Nothing in it, as often: no body is entered.
                &Op::Blocks { next, levels, .. } | &Op::RunBlocks { next, levels, .. }
                    if data.get(at) == Some(&0) && depth + usize::from(levels) <= MAX_NESTING =>
                {
                    at += 1;
                    pc = next as usize;
                }
                &Op::Blocks { next, min, levels, rewrite } => {
                    at = self.blocks(data, at, pc, min, depth + usize::from(levels), rewrite)?;
                    pc = next as usize;
                }
                &Op::RunBlocks { next, min, levels } => {
                    at = self.run_blocks(data, at, *ops.get(pc)?, min, depth + usize::from(levels))?;
                    pc = next as usize;
                }
                &Op::Call { body, levels } => {
                    let depth = depth + usize::from(levels);
                    if depth > MAX_NESTING {
                        return None;
                    }
                    at = self.body(data, at, body as usize, 1, depth)?;
                }
                &Op::Level(levels) => {
                    if depth + usize::from(levels) > MAX_NESTING {
                        return None;
                    }
                }
                &Op::End => {
                    times -= 1;
                    if times == 0 {
                        return Some(at);
                    }
                    pc = start;
                }
                &Op::Flush => self.task.flush(data, at),
                &Op::Discard => self.task.discard(at),
                &Op::DiscardToNull => self.task.discard_to_null(at),
                &Op::Leaf(slot) => at = self.task.leaf(slot, data, at)?,
                &Op::Absent(slot) => self.task.absent(slot),
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

    fn run_blocks(&mut self, data: &[u8], mut at: usize, op: Op, min: u32, depth: usize) -> Option<usize> {
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
                Op::Strings(each) => strings(data, at, count * u64::from(each))?,
                Op::Longs(each) => longs(data, at, count * u64::from(each))?,
                Op::Ints(each) => ints(data, at, count * u64::from(each))?,
                Op::Bytes(each) => byte_runs(data, at, count * u64::from(each))?,
                Op::Booleans(each) => booleans(data, at, count * u64::from(each))?,
                Op::Skip(each) => skip(data, at, usize::try_from(count * u64::from(each)).ok()?)?,
                // A body of nothing: the items take no bytes.
                Op::End => at,
                _ => return None,
            };
            if block.end.is_some_and(|end| end != at) {
                return None;
            }
        }
    }

    #[inline(always)]
    fn header(&mut self, data: &[u8], at: usize, min: u32) -> Option<Block> {
        let (count, at) = read_long(data, at)?;
        if count == 0 {
            return Some(Block { at, count: 0, end: None });
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
        Some(Block { at, count, end })
    }
}

struct Block {
    at: usize,
    count: u64,
    end: Option<usize>,
}
