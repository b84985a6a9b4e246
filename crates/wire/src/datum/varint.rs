//! Zig-zag varints of the Avro specification ("Binary Encoding", primitive types).
//!
//! A byte carries seven bits, the least significant first; its high bit is set if more bytes follow. A `long`
//! has at most ten bytes, of which the tenth is 0 or 1. An `int` has at most five, of which the fifth is
//! below 16. Redundant zero bytes within these limits are accepted, as in every decoder.

use super::append::append_varint;

/// The bits of eight bytes that are set if more bytes follow.
pub(super) const MORE: u64 = 0x8080_8080_8080_8080;

/// Returns the position after a `long`. The value itself is not built.
#[inline(always)]
pub(crate) fn skip_long(data: &[u8], at: usize) -> Option<usize> {
    if *data.get(at)? < 0x80 {
        return Some(at + 1);
    }
    skip_long_rest(data, at)
}

/// Passes over a `long` of two bytes or more.
#[inline]
fn skip_long_rest(data: &[u8], at: usize) -> Option<usize> {
    // The first byte without its high bit is the last one.
    if let Some(word) = word(data, at) {
        let ends = !word & MORE;
        if ends != 0 {
            return Some(at + (ends.trailing_zeros() as usize >> 3) + 1);
        }
        // All eight bytes go on: the ninth may be any, the tenth carries one bit.
        if *data.get(at + 8)? < 0x80 {
            return Some(at + 9);
        }
        return (*data.get(at + 9)? <= 1).then_some(at + 10);
    }
    // Fewer than eight bytes are left: the data ends before the ten-byte rule could be broken.
    let len = data.get(at..)?.iter().position(|&byte| byte < 0x80)?;
    Some(at + len + 1)
}

/// Returns the position after an `int`.
#[inline(always)]
pub(crate) fn skip_int(data: &[u8], at: usize) -> Option<usize> {
    if *data.get(at)? < 0x80 {
        return Some(at + 1);
    }
    skip_int_rest(data, at)
}

/// Passes over an `int` of two bytes or more.
#[inline]
fn skip_int_rest(data: &[u8], at: usize) -> Option<usize> {
    // Up to four bytes always fit 32 bits; the fifth has four bits left.
    for place in 1..4 {
        if *data.get(at + place)? < 0x80 {
            return Some(at + place + 1);
        }
    }
    (*data.get(at + 4)? < 0x10).then_some(at + 5)
}

/// Returns the next eight bytes as a word, if the data has them.
#[inline(always)]
fn word(data: &[u8], at: usize) -> Option<u64> {
    data.get(at..)?.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes))
}

/// Builds a value from a varint of at most eight bytes; the bytes behind it must be zero.
#[inline(always)]
fn gather(bytes: u64) -> u64 {
    // Close the gaps of one bit: first within pairs of bytes, then within fours, then within all eight.
    let x = bytes & !MORE;
    let x = (x & 0x007f_007f_007f_007f) | (x & 0x7f00_7f00_7f00_7f00) >> 1;
    let x = (x & 0x0000_3fff_0000_3fff) | (x & 0x3fff_0000_3fff_0000) >> 2;
    (x & 0x0fff_ffff) | (x & 0x0fff_ffff_0000_0000) >> 4
}

/// Returns the bytes of a varint, and their number.
#[inline(always)]
pub(crate) fn spread(value: u64) -> (u128, usize) {
    // The reverse of `gather`: open gaps of one bit for the first eight bytes.
    if value < 0x80 {
        return (value.into(), 1);
    }
    let x = (value & 0x0fff_ffff) | (value & 0x00ff_ffff_f000_0000) << 4;
    let x = (x & 0x0000_3fff_0000_3fff) | (x & 0x0fff_c000_0fff_c000) << 2;
    let x = (x & 0x007f_007f_007f_007f) | (x & 0x3f80_3f80_3f80_3f80) << 1;

    let rest = value >> 56;
    // Up to 56 bits: eight bytes hold all, and the high bits are set on all but the last.
    if rest == 0 {
        let len = (u64::BITS - value.leading_zeros()).div_ceil(7);
        return (u128::from(x | MORE & ((1 << (8 * (len - 1))) - 1)), len as usize);
    }
    // The ninth byte takes seven bits; the tenth is the last bit, if it is set.
    let (rest, len) = if rest < 0x80 { (rest, 9) } else { (rest | 0x100, 10) };
    (u128::from(x | MORE) | u128::from(rest) << 64, len)
}

/// Returns a `long` and the position after it.
#[inline(always)]
pub(crate) fn read_long(data: &[u8], at: usize) -> Option<(i64, usize)> {
    let first = *data.get(at)?;
    if first < 0x80 {
        return Some((unzigzag(u64::from(first)), at + 1));
    }
    read_long_rest(data, at)
}

/// Reads a `long` of two bytes or more.
#[inline]
fn read_long_rest(data: &[u8], at: usize) -> Option<(i64, usize)> {
    // Eight bytes at once, if the varint ends within them.
    if let Some(word) = word(data, at) {
        let ends = !word & MORE;
        if ends != 0 {
            // All bits up to the first end, which is the lowest one.
            let bytes = word & (ends ^ (ends - 1));
            return Some((unzigzag(gather(bytes)), at + (ends.trailing_zeros() as usize >> 3) + 1));
        }
    }

    // Nine or ten bytes, or the end of the data: byte by byte.
    let mut value = 0u64;
    for place in 0..10 {
        let byte = *data.get(at + place)?;
        // The tenth byte has room for one bit.
        if place == 9 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte < 0x80 {
            return Some((unzigzag(value), at + place + 1));
        }
    }
    None
}

/// Returns an `int` and the position after it.
#[inline(always)]
pub(crate) fn read_int(data: &[u8], at: usize) -> Option<(i32, usize)> {
    // Where one byte is not enough, two bytes are by far the most common.
    match *data.get(at..)? {
        [first, ..] if first < 0x80 => Some((unzigzag(first.into()) as i32, at + 1)),
        [first, second, ..] if second < 0x80 => {
            let value = u64::from(first & 0x7f) | u64::from(second) << 7;
            Some((unzigzag(value) as i32, at + 2))
        }
        _ => read_int_rest(data, at),
    }
}

/// Reads an `int` of three bytes or more.
#[inline(never)]
// `skip_int` checks the limit of 32 bits on the bytes; the value then fits.
fn read_int_rest(data: &[u8], at: usize) -> Option<(i32, usize)> {
    let end = skip_int(data, at)?;
    let (value, _) = read_long(data, at)?;
    Some((i32::try_from(value).ok()?, end))
}

/// Returns a length, which must not be negative, and the position after it. The caller checks that it is
/// within the datum.
#[inline(always)]
pub(crate) fn read_len(data: &[u8], at: usize) -> Option<(usize, usize)> {
    let first = *data.get(at)?;
    // One byte. An odd number is negative in zig-zag.
    if first < 0x80 {
        if first & 1 != 0 {
            return None;
        }
        return Some((usize::from(first >> 1), at + 1));
    }
    let (len, at) = read_long_rest(data, at)?;
    Some((usize::try_from(len).ok()?, at))
}

/// Returns an index below `limit` and the position after it. Redundant zero bytes are refused: no encoder
/// writes them in an index, and the one-byte case makes unions cheap.
#[inline(always)]
pub(crate) fn read_index(data: &[u8], at: usize, limit: u32) -> Option<(u32, usize)> {
    let first = *data.get(at)?;
    // One byte: every index of a union in practice.
    if first < 0x80 {
        let index = u32::from(first >> 1);
        return (first & 1 == 0 && index < limit).then_some((index, at + 1));
    }
    let (index, end) = read_int(data, at)?;
    let index = u32::try_from(index).ok()?;
    (index < limit && *data.get(end - 1)? != 0).then_some((index, end))
}

/// Undoes the zig-zag encoding: 0, 1, 2, 3 become 0, -1, 1, -2.
#[inline(always)]
fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Appends a `long`.
#[inline]
pub(crate) fn write_long(value: i64, out: &mut Vec<u8>) {
    append_varint(0, 0, ((value << 1) ^ (value >> 63)) as u64, out);
}

/// Appends a length. The length of a slice always fits a `long`.
#[inline]
pub(crate) fn write_len(len: usize, out: &mut Vec<u8>) {
    write_long(len as i64, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn padded(bytes: &[u8]) -> Vec<u8> {
        [bytes, &[0xff; 12]].concat()
    }

    #[test]
    fn edges_round_trip_at_every_distance_from_the_end() {
        for shift in 0..64 {
            for value in
                [1i64 << shift, -(1i64 << shift.min(62)), (1i64 << shift).wrapping_sub(1), i64::MIN, i64::MAX]
            {
                let mut bytes = Vec::new();
                write_long(value, &mut bytes);
                for data in [bytes.clone(), padded(&bytes)] {
                    assert_eq!(read_long(&data, 0), Some((value, bytes.len())));
                    assert_eq!(skip_long(&data, 0), Some(bytes.len()));
                    let int = i32::try_from(value).ok().map(|value| (value, bytes.len()));
                    assert_eq!(read_int(&data, 0), int);
                    assert_eq!(skip_int(&data, 0), int.map(|_| bytes.len()));
                }
                for cut in 0..bytes.len() {
                    assert_eq!(read_long(&bytes[..cut], 0), None);
                    assert_eq!(skip_long(&bytes[..cut], 0), None);
                }
            }
        }
    }

    #[test]
    fn bytes_at_once_are_those_one_by_one() {
        for shift in 0..64 {
            for value in [1u64 << shift, (1 << shift) - 1, u64::MAX << shift, 0x5555_5555_5555_5555 >> shift]
            {
                let mut expected = Vec::new();
                let mut rest = value;
                while rest >= 0x80 {
                    expected.push(rest as u8 | 0x80);
                    rest >>= 7;
                }
                expected.push(rest as u8);
                let (bytes, len) = spread(value);
                assert_eq!(&bytes.to_le_bytes()[..len], expected, "{value:#x}");
                assert_eq!(bytes >> (8 * len), 0);
                if len <= 8 {
                    assert_eq!(gather(bytes as u64), value);
                }
            }
        }
    }

    #[test]
    fn an_eleventh_byte_and_a_tenth_above_one_are_refused() {
        let mut eleven = vec![0x80; 10];
        eleven.push(0);
        let ten = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        for data in [&eleven[..], &ten, &padded(&eleven), &padded(&ten)] {
            assert_eq!(skip_long(data, 0), None);
            assert_eq!(read_long(data, 0), None);
            assert_eq!(skip_int(data, 0), None);
        }
    }

    #[test]
    fn lengths_are_not_negative_and_indices_are_below_their_limit() {
        assert_eq!(read_len(&[0x01], 0), None);
        assert_eq!(read_len(&[0x81, 0x01], 0), None);
        assert_eq!(read_len(&[0x80, 0x02], 0), Some((128, 2)));
        assert_eq!(read_index(&[0x04], 0, 3), Some((2, 1)));
        assert_eq!(read_index(&[0x06], 0, 3), None);
        assert_eq!(read_index(&[0x01], 0, 3), None);
        assert_eq!(read_index(&[0x82, 0x00], 0, 3), None);
        assert_eq!(read_index(&[0x80, 0x02], 0, 129), Some((128, 2)));
    }
}
