//! Runs the patch. Passed bytes are copied in runs, as late as possible.

use std::borrow::Cow;

use super::decide::PatchSlot;
use crate::datum::append::append_run;
use crate::datum::varint::write_long;
use crate::leaf::{LeafValue, LeafWriter, read_leaf};
use crate::program::walk::WalkTask;

/// The patching of one datum.
pub(super) struct PatchTask<'p, 'o> {
    pub(super) slots: &'p [PatchSlot],
    pub(super) out: &'o mut Vec<u8>,
    /// Everything before this position was copied or left out.
    pub(super) done: usize,
    /// The slot of the function that refused, and its reason.
    pub(super) refused: Option<(u32, Cow<'static, str>)>,
    /// The slot of a leaf whose position the caller wants.
    pub(super) wanted: u32,
    /// The position of that leaf.
    pub(super) found: Option<usize>,
}

impl WalkTask for PatchTask<'_, '_> {
    #[inline]
    fn flush(&mut self, data: &[u8], at: usize) {
        append_run(data, self.done, at, self.out);
        self.done = at;
    }

    #[inline]
    fn discard(&mut self, at: usize) {
        // The bytes up to here are never copied.
        self.done = at;
    }

    #[inline]
    fn discard_to_null(&mut self, at: usize) {
        self.done = at;
        // The index 0 of `["null", T]` in the derived schema.
        self.out.push(0);
    }

    #[inline]
    fn leaf(&mut self, slot: u32, data: &[u8], at: usize) -> Option<usize> {
        // Bytes before the leaf are copied; the leaf itself is replaced.
        self.flush(data, at);
        if slot == self.wanted {
            self.found = Some(at);
        }
        let place = self.slots.get(slot as usize)?;
        let (leaf, end): (LeafValue<'_>, usize) = read_leaf(&place.leaf, data, at)?;

        self.done = end;
        // The reason is kept here, because a walk can only stop.
        if let Err(why) = place.function.apply(leaf, &mut LeafWriter::new(self.out)) {
            self.refused = Some((slot, why));
            return None;
        }
        Some(end)
    }

    #[inline]
    fn block(&mut self, data: &[u8], header: usize, at: usize, count: u64) {
        self.flush(data, header);
        // A count that passed the bounds check is below the datum's length.
        write_long(count as i64, self.out);
        self.done = at;
    }
}
