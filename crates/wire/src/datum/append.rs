//! Appends short runs of bytes without a call: whole words are written, and the surplus is cut off again.

use super::varint::spread;

/// Appends the first `len` bytes of a word.
#[inline(always)]
pub(crate) fn append_word(word: u64, len: usize, out: &mut Vec<u8>) {
    let end = out.len() + len;
    out.extend_from_slice(&word.to_le_bytes());
    out.truncate(end);
}

/// Appends the first `len` bytes of two words.
#[inline(always)]
fn append_two_words(words: u128, len: usize, out: &mut Vec<u8>) {
    let end = out.len() + len;
    out.extend_from_slice(&words.to_le_bytes());
    out.truncate(end);
}

/// Appends up to five bytes of `before` and then a varint.
#[inline(always)]
pub(crate) fn append_varint(before: u64, before_len: usize, value: u64, out: &mut Vec<u8>) {
    if value < 1 << 21 {
        // At most three bytes, without a branch on their number. The masks move each group of seven bits to
        // its byte.
        let bytes = (value & 0x7f) | (value & 0x3f80) << 1 | (value & 0x1f_c000) << 2;
        // Every byte but the last one has its high bit set.
        let more = usize::from(value >= 0x80) + usize::from(value >= 0x4000);
        let bytes = bytes | 0x8080 & ((1 << (8 * more)) - 1);
        append_word(before | bytes << (8 * before_len), before_len + 1 + more, out);
    } else {
        // 1 << 21 and above: three bytes do not hold it.
        let (bytes, len) = spread(value);
        append_two_words(u128::from(before) | bytes << (8 * before_len), before_len + len, out);
    }
}

/// Appends `data[from..to]`, or nothing if there is no such range.
#[inline(always)]
pub(crate) fn append_run(data: &[u8], from: usize, to: usize, out: &mut Vec<u8>) {
    let Some(run) = data.get(from..to) else { return };

    // Short runs: two words, if the data has enough bytes behind the run. The surplus is cut off.
    let len = run.len();
    if len <= 16 {
        if let Some(more) = data.get(from..).and_then(|rest| rest.first_chunk::<16>()) {
            append_two_words(u128::from_le_bytes(*more), len, out);
            return;
        }

        // At the end of the data: the first and the last eight bytes of the run.
        if let (Some(first), Some(last)) = (run.first_chunk::<8>(), run.last_chunk::<8>()) {
            // The two overlap, and agree where they do.
            let [first, last] = [first, last].map(|bytes| u128::from(u64::from_le_bytes(*bytes)));
            append_two_words(first | last << (8 * (len - 8)), len, out);
            return;
        }

    // Up to 32 bytes: the first and the last sixteen bytes, which overlap in the same way.
    } else if len <= 32
        && let (Some(first), Some(last)) = (run.first_chunk::<16>(), run.last_chunk::<16>())
    {
        let middle = out.len() + len - 16;
        out.extend_from_slice(first);
        out.truncate(middle);
        out.extend_from_slice(last);
        return;
    }

    // Longer runs are worth the call; so are those of fewer than eight bytes at the end of the data.
    out.extend_from_slice(run);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_every_length_at_every_distance_from_the_end() {
        let data: Vec<u8> = (1..=90).collect();
        for from in 0..=data.len() {
            for to in from..=data.len() {
                let mut out = vec![0xff];
                append_run(&data, from, to, &mut out);
                assert_eq!(out[1..], data[from..to]);
                assert_eq!(out[0], 0xff);
            }
        }
        let mut out = Vec::new();
        append_run(&data, 5, 91, &mut out);
        append_run(&data, 6, 5, &mut out);
        assert!(out.is_empty());
    }

    #[test]
    fn varints_behind_a_key() {
        for shift in 0..64 {
            for value in [1u64 << shift, (1 << shift) - 1, u64::MAX << shift] {
                for before in 0..=5 {
                    let key = [0x81, 0x82, 0x83, 0x84, 0x05, 0, 0, 0];
                    let word = u64::from_le_bytes(key) & ((1 << (8 * before)) - 1);
                    let mut expected = key[..before].to_vec();
                    let mut rest = value;
                    while rest >= 0x80 {
                        expected.push(rest as u8 | 0x80);
                        rest >>= 7;
                    }
                    expected.push(rest as u8);
                    let mut out = Vec::new();
                    append_varint(word, before, value, &mut out);
                    assert_eq!(out, expected);
                }
            }
        }
    }
}
