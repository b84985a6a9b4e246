//! Values whose bytes are kept: their end, and the text of a wanted value.

use serde::de::IgnoredAny;

/// The state of a scan for a value's end. Values may be cut into chunks at any byte.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct PageValueScanner {
    /// Open brackets.
    depth: u32,
    in_text: bool,
    /// True if the next byte of a string is escaped.
    escaped: bool,
    /// True for a value that is neither object, array nor string: it ends before the next delimiter.
    scalar: bool,
    /// Bytes so far.
    pub(super) length: u64,
}

/// The number of bytes that are looked at together.
const BLOCK: usize = 32;

impl PageValueScanner {
    /// Follows strings and brackets. Returns the number of bytes up to the value's end, if it ends in these
    /// bytes.
    pub(super) fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            // Most blocks of an object hold neither bracket nor escape. Only the parity of their quotes
            // counts then, and counting quotes is much faster than following every byte.
            while self.depth > 0
                && !self.escaped
                && let Some(quotes) = bytes.get(at..).and_then(|rest| quotes(rest.first_chunk()?))
            {
                self.in_text ^= quotes % 2 == 1;
                at += BLOCK;
            }
            let block = &bytes[at..bytes.len().min(at + BLOCK)];
            if let Some(end) = self.end_of(block) {
                return Some(at + end);
            }
            at += block.len();
        }
        None
    }

    /// Does the same as [`PageValueScanner::end`], byte by byte.
    fn end_of(&mut self, bytes: &[u8]) -> Option<usize> {
        for (nth, byte) in bytes.iter().enumerate() {
            // Inside a string only its end and its escapes matter.
            if self.in_text {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => {
                        self.in_text = false;
                        if self.depth == 0 {
                            return Some(nth + 1);
                        }
                    }
                    _ => {}
                }
                continue;
            }

            // A scalar outside of all brackets ends before the delimiter, which is not a part of it.
            if self.scalar {
                if is_delimiter(*byte) {
                    return Some(nth);
                }
                continue;
            }

            // Between tokens: an object or array ends with its last bracket. The kinds of brackets are not
            // compared, because the caller reads the value as JSON.
            match byte {
                b'"' => self.in_text = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Some(nth + 1);
                    }
                }
                _ if self.depth == 0 => self.scalar = true,
                _ => {}
            }
        }
        None
    }
}

/// Returns the number of quotes in these bytes, or `None` if a bracket or an escape may be among them.
fn quotes(block: &[u8; BLOCK]) -> Option<u8> {
    // There is no branch in the loop: the compiler then compares all bytes at once.
    let (mut quotes, mut others) = (0, 0);
    for byte in block {
        quotes += u8::from(*byte == b'"');
        // `[`, `\`, `]` and, 0x20 further, `{`, `|`, `}`.
        others |= u8::from((*byte | 0x20).wrapping_sub(b'{') < 3);
    }
    (others == 0).then_some(quotes)
}

/// Tells whether a byte ends a scalar: a comma, a closing bracket or white space (RFC 8259, 2).
pub(super) fn is_delimiter(byte: u8) -> bool {
    matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r')
}

/// Returns a wanted value as text: `Some(None)` for null, and `None` if the bytes are not JSON.
pub(super) fn token(value: &[u8]) -> Option<Option<String>> {
    match value.first() {
        Some(b'"') => serde_json::from_slice(value).ok().map(Some),
        // Numbers keep their spelling: a large one must not lose digits.
        _ => {
            serde_json::from_slice::<IgnoredAny>(value).ok()?;
            let text = String::from_utf8(value.to_vec()).ok()?;
            Some((text != "null").then_some(text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};

    /// Blocks and single bytes come to the same end, wherever a value is cut.
    #[test]
    fn blocks_change_nothing() {
        let seed: u64 = rand::random();
        eprintln!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let pieces = [
            "{",
            "}",
            "[",
            "]",
            "\"",
            "\\\\",
            "\\\"",
            "|",
            ",",
            ":",
            "1",
            "plain text of some length without anything",
            "\"a string\"",
            "é",
            " ",
        ];
        for _ in 0..20_000 {
            let count = random.random_range(1..60);
            let text: String = (0..count).map(|_| pieces[random.random_range(0..pieces.len())]).collect();
            let text = format!("{{{text}");
            let (mut blocks, mut single) = (PageValueScanner::default(), PageValueScanner::default());
            let mut rest = text.as_bytes();
            while !rest.is_empty() {
                let cut = random.random_range(1..=rest.len());
                let ends = (blocks.end(&rest[..cut]), single.end_of(&rest[..cut]));
                assert_eq!(ends.0, ends.1, "{text}");
                assert_eq!(blocks, single, "{text}");
                if ends.0.is_some() {
                    break;
                }
                rest = &rest[cut..];
            }
        }
    }
}
