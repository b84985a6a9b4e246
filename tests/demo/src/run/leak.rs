//! Searches bytes of any kind for raw tail numbers, in places where there must be none.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Context, Result};

/// The raw tail numbers.
pub(crate) struct RawTailNumbers {
    set: HashSet<Vec<u8>>,
    lengths: Vec<usize>,
    firsts: [bool; 256],
}

impl RawTailNumbers {
    pub(crate) fn new<'a>(tails: impl Iterator<Item = &'a str>) -> Self {
        let set: HashSet<Vec<u8>> = tails.map(|tail| tail.as_bytes().to_vec()).collect();
        let mut lengths: Vec<usize> = set.iter().map(Vec::len).collect();
        lengths.sort_unstable();
        lengths.dedup();
        let mut firsts = [false; 256];
        for tail in &set {
            firsts[usize::from(tail.first().copied().unwrap_or_default())] = true;
        }
        Self { set, lengths, firsts }
    }

    /// Returns the number of raw tail numbers in `bytes`.
    ///
    /// A hit in the middle of a word does not count. A pseudonym is random text, and among millions some
    /// contain the text of a tail number.
    pub(crate) fn found_in(&self, bytes: &[u8]) -> i64 {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let mut found = 0;
        let mut before = false;
        for (at, first) in bytes.iter().enumerate() {
            if self.firsts[usize::from(*first)] && !before {
                let here =
                    |length: &usize| bytes.get(at..at + length).is_some_and(|text| self.set.contains(text));
                found += i64::from(self.lengths.iter().any(here));
            }
            before = word(*first);
        }
        found
    }

    /// Returns the number of raw tail numbers in the files of a folder.
    pub(crate) fn found_in_files(&self, dir: &Path) -> Result<i64> {
        let mut found = 0;
        for entry in std::fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
            let path = entry?.path();
            if path.is_file() {
                let bytes = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
                found += self.found_in(&bytes);
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn found_as_a_word_of_its_own_only() {
        let tails = RawTailNumbers::new(["N123", "N45678"].into_iter());
        assert_eq!(tails.found_in(b"\x08N123\x02 N45678"), 2);
        assert_eq!(tails.found_in(b"N123"), 1);
        assert_eq!(tails.found_in(b"1:xN123yyy N12"), 0);
        assert_eq!(tails.found_in(b""), 0);
    }
}
