//! UTF-8 checks for short texts. Most texts are ASCII, and most of these are shorter than a cache line.

/// The high bits of eight bytes. A byte with its high bit set is not ASCII.
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The high bits of the first `n` of 16 bytes, by `n`.
const FIRST: [[u64; 2]; 17] = {
    let mut masks = [[0; 2]; 17];
    // Computed by the compiler: a mask for each length, as two words.
    let mut n = 0;
    while n <= 16 {
        let low = if n >= 8 { HIGH } else { HIGH & ((1u64 << (8 * n)) - 1) };
        let high = if n >= 16 {
            HIGH
        } else if n > 8 {
            HIGH & ((1u64 << (8 * (n - 8))) - 1)
        } else {
            0
        };
        masks[n] = [low, high];
        n += 1;
    }
    masks
};

/// Returns the position after `len` bytes of UTF-8 that start at `at`, or `None` if they are not UTF-8.
#[inline(always)]
pub(crate) fn skip_text(data: &[u8], at: usize, len: usize) -> Option<usize> {
    let rest = data.get(at..)?;
    if let (Some([low_mask, high_mask]), Some(chunk)) = (FIRST.get(len), rest.first_chunk::<16>()) {
        // One load, whatever the length is: no branch depends on it. Bytes behind the text are masked out.
        let [a, b] = halves(chunk);
        if (a & low_mask) | (b & high_mask) == 0 {
            return Some(at + len);
        }
    }

    // Long texts, texts at the end of the data, and texts that are not ASCII.
    let text = rest.get(..len)?;
    if is_ascii(text) || is_utf8(text) { Some(at + len) } else { None }
}

/// Returns the position after a union of null and a short ASCII text. `None` means that a closer look is
/// needed. Nulls come as if at random for the processor, which would predict a branch on them badly; there is
/// none.
#[inline(always)]
pub(crate) fn text_or_nothing(data: &[u8], at: usize, null: u8) -> Option<usize> {
    let (head, rest) = data.get(at..)?.split_first_chunk::<2>()?;
    // The branch's index must be 0 or 2, which are 0 and 1 in zig-zag.
    let [branch, len] = *head;
    if branch & !2 != 0 {
        return None;
    }

    // A null has no text: its length is taken as 0, and the byte at `len` belongs to the next leaf.
    let absent = branch == 2 * null;
    let len = if absent { 0 } else { len };
    let [low_mask, high_mask] = FIRST.get(usize::from(len >> 1))?;
    let [a, b] = halves(rest.first_chunk::<16>()?);

    // A length is even, because it is zig-zag and not negative. A length of two bytes is beyond the table.
    let wrong = (a & low_mask) | (b & high_mask) | u64::from(len & 1);
    (wrong == 0).then_some(at + 2 - usize::from(absent) + usize::from(len >> 1))
}

/// Returns 16 bytes as two words, the lower one first.
#[inline(always)]
fn halves(chunk: &[u8; 16]) -> [u64; 2] {
    let value = u128::from_le_bytes(*chunk);
    [value as u64, (value >> 64) as u64]
}

/// Tells whether all bytes are below 0x80.
#[inline(always)]
fn is_ascii(text: &[u8]) -> bool {
    let (chunks, rest) = text.as_chunks::<16>();
    // Fewer than 16 bytes: one by one.
    if chunks.is_empty() {
        return rest.iter().fold(0, |seen, &byte| seen | byte) < 0x80;
    }

    // Gather all high bits, and look at them once at the end.
    let mut seen = [0u64; 2];
    for chunk in chunks {
        let [a, b] = halves(chunk);
        seen[0] |= a;
        seen[1] |= b;
    }
    // The last 16 bytes overlap with bytes seen before. The text has at least 16.
    if let Some(chunk) = text.last_chunk::<16>() {
        let [a, b] = halves(chunk);
        seen[0] |= a;
        seen[1] |= b;
    }
    (seen[0] | seen[1]) & HIGH == 0
}

/// Checks a text that is not ASCII. It is rare, and kept out of the callers' code.
#[cold]
#[inline(never)]
fn is_utf8(text: &[u8]) -> bool {
    simdutf8::basic::from_utf8(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_standard_library_at_every_length_and_place() {
        for len in 0..70 {
            for bad in 0..=len {
                for byte in [0x80u8, 0xff, b'x'] {
                    let mut text = vec![b'a'; len];
                    if let Some(place) = text.get_mut(bad) {
                        *place = byte;
                    }
                    for tail in [0, 1, 40] {
                        // What follows a text is no part of it.
                        let data = [vec![0xfe; 3], text.clone(), vec![0xfe; tail]].concat();
                        let expected = std::str::from_utf8(&text).is_ok().then_some(3 + len);
                        assert_eq!(skip_text(&data, 3, len), expected, "len {len} bad {bad}");
                    }
                }
            }
        }
    }

    #[test]
    fn beyond_ascii() {
        for text in ["é", "naïve café", "日本語テキスト日本語テキスト", "🦀".repeat(30).as_str()]
        {
            assert_eq!(skip_text(text.as_bytes(), 0, text.len()), Some(text.len()));
            assert_eq!(skip_text(text.as_bytes(), 0, text.len() - 1), None);
        }
    }

    #[test]
    fn lengths_beyond_the_data() {
        assert_eq!(skip_text(b"abc", 0, 4), None);
        assert_eq!(skip_text(b"abc", 2, usize::MAX), None);
        assert_eq!(skip_text(b"abc", 4, 0), None);
        assert_eq!(skip_text(b"abc", 3, 0), Some(3));
    }
}
