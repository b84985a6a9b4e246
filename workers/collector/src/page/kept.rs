//! Values whose bytes are kept: where they end, and what a wanted one says.

use serde::de::IgnoredAny;

/// How far into a value the bytes so far have led.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct PageValueScanner {
    depth: u32,
    in_text: bool,
    escaped: bool,
    /// Neither object, array nor string: ends before the next delimiter.
    scalar: bool,
    /// Bytes so far.
    pub(super) length: u64,
}

/// Bytes that are looked at together.
const BLOCK: usize = 32;

impl PageValueScanner {
    /// Follows strings and brackets; answers where the value ends, if it does in these bytes.
    pub(super) fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            // Most of an object is neither bracket nor escape: then only its quotes count, and they are soon counted.
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

    /// The same, byte by byte.
    fn end_of(&mut self, bytes: &[u8]) -> Option<usize> {
        for (nth, byte) in bytes.iter().enumerate() {
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
            if self.scalar {
                if is_delimiter(*byte) {
                    return Some(nth);
                }
                continue;
            }
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

/// How many quotes these bytes have; `None` if there may be a bracket or an escape among them. Without a branch, so that
/// the compiler makes one comparison of them all.
fn quotes(block: &[u8; BLOCK]) -> Option<u8> {
    let (mut quotes, mut others) = (0, 0);
    for byte in block {
        quotes += u8::from(*byte == b'"');
        // `[`, `\`, `]` and, 0x20 further, `{`, `|`, `}`.
        others |= u8::from((*byte | 0x20).wrapping_sub(b'{') < 3);
    }
    (others == 0).then_some(quotes)
}

pub(super) fn is_delimiter(byte: u8) -> bool {
    matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r')
}

/// A wanted value as text; `None` where it is not JSON.
pub(super) fn token(value: &[u8]) -> Option<Option<String>> {
    match value.first() {
        Some(b'"') => serde_json::from_slice(value).ok().map(Some),
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
