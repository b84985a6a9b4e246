//! Values whose bytes are kept: where they end, and what a wanted one says.

use serde::de::IgnoredAny;

/// How far into a value the bytes so far have led.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Kept {
    depth: u32,
    in_text: bool,
    escaped: bool,
    /// Neither object, array nor string: ends before the next delimiter.
    scalar: bool,
    /// Bytes so far.
    pub(super) length: u64,
}

impl Kept {
    /// Follows strings and brackets; answers where the value ends, if it does in these bytes.
    pub(super) fn end(&mut self, bytes: &[u8]) -> Option<usize> {
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
