//! Leaves and runs of them, passed over as fast as they can be checked.

use crate::datum::text::{skip_text, text_or_nothing};
use crate::datum::varint::{read_len, skip_int, skip_long};
use crate::datum::window::VarintWindow;

/// So many make up for what it costs to look at a window.
const MANY: u8 = 6;

/// Whether a union of two, of which `null` is the null's place, is null here.
#[inline(always)]
pub(super) fn optional(data: &[u8], at: usize, null: u8) -> Option<bool> {
    match *data.get(at)? {
        0 => Some(null == 0),
        2 => Some(null == 1),
        _ => None,
    }
}

#[inline(always)]
pub(super) fn skip(data: &[u8], at: usize, size: usize) -> Option<usize> {
    (size <= data.len().checked_sub(at)?).then_some(at + size)
}

#[inline(always)]
pub(super) fn strings(data: &[u8], mut at: usize, count: u64) -> Option<usize> {
    for _ in 0..count {
        let (len, after) = read_len(data, at)?;
        at = skip_text(data, after, len)?;
    }
    Some(at)
}

#[inline(always)]
pub(super) fn byte_runs(data: &[u8], mut at: usize, count: u64) -> Option<usize> {
    for _ in 0..count {
        let (len, after) = read_len(data, at)?;
        at = skip(data, after, len)?;
    }
    Some(at)
}

#[inline(always)]
pub(super) fn longs(data: &[u8], mut at: usize, count: u64) -> Option<usize> {
    for _ in 0..count {
        at = skip_long(data, at)?;
    }
    Some(at)
}

#[inline(always)]
pub(super) fn ints(data: &[u8], mut at: usize, count: u64) -> Option<usize> {
    for _ in 0..count {
        at = skip_int(data, at)?;
    }
    Some(at)
}

#[inline(always)]
pub(super) fn booleans(data: &[u8], at: usize, count: u64) -> Option<usize> {
    let end = at.checked_add(usize::try_from(count).ok()?)?;
    data.get(at..end)?.iter().all(|&byte| byte <= 1).then_some(end)
}

/// Some `int`s, of which the `optional` ones are in a union with null.
///
/// Where each of them ends is one bit of a word, so that passing over one is clearing a bit, whatever its
/// length: no branch depends on how large a number is, and such branches are guessed wrong.
#[inline(always)]
pub(super) fn mixed_ints(data: &[u8], at: usize, count: u8, null: u8, optional: u16) -> Option<usize> {
    if count >= MANY
        && let Some(end) = mixed_ints_at_once(data, at, count, null, optional)
    {
        return Some(end);
    }
    mixed_ints_singly(data, at, count, null, optional)
}

/// `None` says nothing but that they are to be looked at one by one.
#[inline(always)]
fn mixed_ints_at_once(data: &[u8], at: usize, count: u8, null: u8, optional: u16) -> Option<usize> {
    let window = VarintWindow::at(data, at)?;
    let all = window.ends;
    let starts = all << 1 | 1;
    let there = 2 - 2 * null;
    let (mut left, mut optional, mut wrong) = (all, optional, 0);
    for _ in 0..count {
        if optional & 1 != 0 {
            // A union's index is one byte, so where it starts is where the next end is.
            let place = left & left.wrapping_neg();
            let index = window.byte(left.trailing_zeros());
            wrong |= place & !starts | u64::from(index & !2);
            if index == there {
                left &= left.wrapping_sub(1);
            }
        }
        left &= left.wrapping_sub(1);
        optional >>= 1;
    }
    let passed = all & !left;
    if left == 0 || passed == 0 || wrong != 0 {
        return None;
    }
    let len = u64::BITS - passed.leading_zeros();
    // Four bytes in a row that go on are of an `int` of five, whose fifth has its own limit.
    let on = !all & (u64::MAX >> (u64::BITS - len));
    (on & on >> 1 & on >> 2 & on >> 3 == 0).then_some(at + len as usize)
}

#[inline(always)]
fn mixed_ints_singly(data: &[u8], mut at: usize, count: u8, null: u8, places: u16) -> Option<usize> {
    for place in 0..count {
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

/// A union of null and string.
#[inline(always)]
pub(super) fn optional_text(data: &[u8], at: usize, null: u8) -> Option<usize> {
    if let Some(end) = text_or_nothing(data, at, null) {
        return Some(end);
    }
    let absent = optional(data, at, null)?;
    if absent { Some(at + 1) } else { strings(data, at + 1, 1) }
}
