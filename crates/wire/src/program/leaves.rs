//! Passes over leaves and runs of leaves as fast as they can be checked.

use crate::datum::text::{skip_text, text_or_nothing};
use crate::datum::varint::{read_len, skip_int, skip_long};
use crate::datum::window::VarintWindow;

/// From this number of `int`s on, one look at a window costs less than a look at each of them.
const MANY: u8 = 6;

/// Tells whether a union with null is null here. `null` is the index of the null. Fails on any other index.
#[inline(always)]
pub(super) fn optional(data: &[u8], at: usize, null: u8) -> Option<bool> {
    match *data.get(at)? {
        0 => Some(null == 0),
        2 => Some(null == 1),
        _ => None,
    }
}

/// Passes over `size` bytes.
#[inline(always)]
pub(super) fn skip(data: &[u8], at: usize, size: usize) -> Option<usize> {
    (size <= data.len().checked_sub(at)?).then_some(at + size)
}

/// Passes over strings, which must be UTF-8.
#[inline(always)]
pub(super) fn strings(data: &[u8], mut at: usize, count: u64) -> Option<usize> {
    for _ in 0..count {
        let (len, after) = read_len(data, at)?;
        at = skip_text(data, after, len)?;
    }
    Some(at)
}

/// Passes over `bytes`.
#[inline(always)]
pub(super) fn byte_runs(data: &[u8], mut at: usize, count: u64) -> Option<usize> {
    for _ in 0..count {
        let (len, after) = read_len(data, at)?;
        at = skip(data, after, len)?;
    }
    Some(at)
}

/// Passes over `long`s.
#[inline(always)]
pub(super) fn longs(data: &[u8], mut at: usize, count: u64) -> Option<usize> {
    for _ in 0..count {
        at = skip_long(data, at)?;
    }
    Some(at)
}

/// Passes over `int`s.
#[inline(always)]
pub(super) fn ints(data: &[u8], mut at: usize, count: u64) -> Option<usize> {
    for _ in 0..count {
        at = skip_int(data, at)?;
    }
    Some(at)
}

/// Passes over booleans, each of which must be 0 or 1.
#[inline(always)]
pub(super) fn booleans(data: &[u8], at: usize, count: u64) -> Option<usize> {
    // The count may come from the datum: the sum can overflow.
    let end = at.checked_add(usize::try_from(count).ok()?)?;
    data.get(at..end)?.iter().all(|&byte| byte <= 1).then_some(end)
}

/// Passes over some `int`s. Those with a bit in `optional` are in a union with null.
///
/// The end of each varint is one bit of a word. To pass over a varint is to clear a bit, whatever its length
/// is. No branch depends on the size of a number, because the processor predicts such branches badly.
#[inline(always)]
pub(super) fn mixed_ints(data: &[u8], at: usize, count: u8, null: u8, optional: u16) -> Option<usize> {
    // Near the end of the data, or with a long `int` in the window, the slow way decides.
    if count >= MANY
        && let Some(end) = mixed_ints_at_once(data, at, count, null, optional)
    {
        return Some(end);
    }
    mixed_ints_singly(data, at, count, null, optional)
}

/// Passes over all of them with one window. `None` means that the slow way must decide.
#[inline(always)]
fn mixed_ints_at_once(data: &[u8], at: usize, count: u8, null: u8, optional: u16) -> Option<usize> {
    // The window's ends, and the places where a varint starts: behind each end, and at the reader.
    let window = VarintWindow::at(data, at)?;
    let all = window.ends;
    let starts = all << 1 | 1;
    let there = 2 - 2 * null;
    let (mut left, mut optional, mut wrong) = (all, optional, 0);

    // Clear one end per `int`. The bits of `wrong` gather every violation, which costs no branch.
    for _ in 0..count {
        if optional & 1 != 0 {
            // The index of a union is one byte: it starts where the next end is.
            let place = left & left.wrapping_neg();
            let index = window.byte(left.trailing_zeros());
            wrong |= place & !starts | u64::from(index & !2);
            // The value follows the index, unless it is null.
            if index == there {
                left &= left.wrapping_sub(1);
            }
        }
        left &= left.wrapping_sub(1);
        optional >>= 1;
    }

    // Give up if the window was too short, or if an index was not 0 or 2.
    let passed = all & !left;
    if left == 0 || passed == 0 || wrong != 0 {
        return None;
    }

    // The position is behind the last end that was passed.
    let len = u64::BITS - passed.leading_zeros();
    // Four bytes in a row that go on belong to an `int` of five bytes, whose fifth byte has a limit of its
    // own.
    let on = !all & (u64::MAX >> (u64::BITS - len));
    (on & on >> 1 & on >> 2 & on >> 3 == 0).then_some(at + len as usize)
}

/// Passes over the `int`s one by one.
#[inline(always)]
fn mixed_ints_singly(data: &[u8], mut at: usize, count: u8, null: u8, places: u16) -> Option<usize> {
    for place in 0..count {
        // An optional one begins with its index; a null is the index alone.
        if places >> place & 1 != 0 {
            let absent = optional(data, at, null)?;
            at += 1;
            if absent {
                continue;
            }
        }
        at = skip_int(data, at)?;
    }
    Some(at)
}

/// Passes over a union of null and string.
#[inline(always)]
pub(super) fn optional_text(data: &[u8], at: usize, null: u8) -> Option<usize> {
    // Short ASCII texts take the way without branches.
    if let Some(end) = text_or_nothing(data, at, null) {
        return Some(end);
    }
    let absent = optional(data, at, null)?;
    if absent { Some(at + 1) } else { strings(data, at + 1, 1) }
}
