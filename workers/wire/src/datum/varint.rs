//! Zig-zag varints of the Avro specification ("Binary Encoding", primitive types).
//!
//! Seven bits a byte, least significant first, the high bit says that more follow. A `long` has at most ten
//! bytes, of which the tenth is 0 or 1; an `int` at most five, of which the fifth is below 16. Redundant zero
//! bytes within these are accepted, as every decoder does.

const MORE: u64 = 0x8080_8080_8080_8080;

/// Position after a `long`. The value itself is not built.
#[inline(always)]
pub(crate) fn skip_long(data: &[u8], at: usize) -> Option<usize> {
    if *data.get(at)? < 0x80 {
        return Some(at + 1);
    }
    skip_long_rest(data, at)
}

#[inline]
fn skip_long_rest(data: &[u8], at: usize) -> Option<usize> {
    if let Some(word) = word(data, at) {
        let ends = !word & MORE;
        if ends != 0 {
            return Some(at + (ends.trailing_zeros() as usize >> 3) + 1);
        }
        // All eight go on.
        if *data.get(at + 8)? < 0x80 {
            return Some(at + 9);
        }
        return (*data.get(at + 9)? <= 1).then_some(at + 10);
    }
    // Fewer than eight bytes left, so the ten-byte rule cannot be broken before the data ends.
    let len = data.get(at..)?.iter().position(|&byte| byte < 0x80)?;
    Some(at + len + 1)
}

/// Position after an `int`.
#[inline(always)]
pub(crate) fn skip_int(data: &[u8], at: usize) -> Option<usize> {
    if *data.get(at)? < 0x80 {
        return Some(at + 1);
    }
    skip_int_rest(data, at)
}

#[inline]
fn skip_int_rest(data: &[u8], at: usize) -> Option<usize> {
    for place in 1..4 {
        if *data.get(at + place)? < 0x80 {
            return Some(at + place + 1);
        }
    }
    (*data.get(at + 4)? < 0x10).then_some(at + 5)
}

#[inline(always)]
fn word(data: &[u8], at: usize) -> Option<u64> {
    data.get(at..)?.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes))
}

/// A `long` and the position after it.
#[inline(always)]
pub(crate) fn read_long(data: &[u8], at: usize) -> Option<(i64, usize)> {
    let first = *data.get(at)?;
    if first < 0x80 {
        return Some((unzigzag(u64::from(first)), at + 1));
    }
    read_long_rest(data, at)
}

#[inline]
fn read_long_rest(data: &[u8], at: usize) -> Option<(i64, usize)> {
    let mut value = 0u64;
    for place in 0..10 {
        let byte = *data.get(at + place)?;
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

/// An `int` and the position after it.
#[inline]
pub(crate) fn read_int(data: &[u8], at: usize) -> Option<(i32, usize)> {
    let end = skip_int(data, at)?;
    let (value, _) = read_long(data, at)?;
    Some((i32::try_from(value).ok()?, end))
}

/// A length: not negative. Whether it is within the datum is for the caller to see.
#[inline(always)]
pub(crate) fn read_len(data: &[u8], at: usize) -> Option<(usize, usize)> {
    let first = *data.get(at)?;
    if first < 0x80 {
        if first & 1 != 0 {
            return None;
        }
        return Some((usize::from(first >> 1), at + 1));
    }
    let (len, at) = read_long_rest(data, at)?;
    Some((usize::try_from(len).ok()?, at))
}

/// An index below `limit`. Redundant zero bytes are refused: no encoder writes them in an index, and the one-byte
/// case is what makes unions cheap.
#[inline(always)]
pub(crate) fn read_index(data: &[u8], at: usize, limit: u32) -> Option<(u32, usize)> {
    let first = *data.get(at)?;
    if first < 0x80 {
        let index = u32::from(first >> 1);
        return (first & 1 == 0 && index < limit).then_some((index, at + 1));
    }
    let (index, end) = read_int(data, at)?;
    let index = u32::try_from(index).ok()?;
    (index < limit && *data.get(end - 1)? != 0).then_some((index, end))
}

#[inline(always)]
fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Appends a `long`.
#[inline]
pub(crate) fn write_long(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push((rest as u8) | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Appends a length; a slice's length always fits a `long`.
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
