//! The tokens of the envelope: what the grammar allows next, and the purpose of each value.

use serde::de::IgnoredAny;

use super::{
    BOM, EnvelopeExpectation, EnvelopeLevel, MAX_DEPTH, MAX_TOKEN, OpenJsonToken, PageCutter, PageElement,
    PageValueRole,
};
use crate::page::PageError;
use crate::page::kept::{PageValueScanner, is_delimiter, token};
use crate::page::paths::PathSet;

/// The most keys that are remembered of a page, for the message about a path that was never there.
const KEYS: usize = 24;
/// The longest of these keys, in bytes.
const LONGEST_KEY: usize = 60;

impl PageCutter {
    /// Takes one token of the grammar, and returns the number of bytes that it used.
    pub(super) fn between(&mut self, bytes: &[u8]) -> Result<usize, PageError> {
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        let Some(used) = bytes.iter().position(|byte| !blank(byte)) else { return Ok(bytes.len()) };
        let byte = bytes[used];

        // One arm for each token that the grammar allows here.
        match (self.expect, byte) {
            (EnvelopeExpectation::ValueOrEnd(_), b']') | (EnvelopeExpectation::KeyOrEnd, b'}') => {
                self.close(byte, used)?
            }
            (EnvelopeExpectation::Value(role) | EnvelopeExpectation::ValueOrEnd(role), _) => {
                // The byte order mark, only at the very beginning of the page.
                let at = self.offset + used as u64;
                if self.stack.is_empty() && at < 3 && BOM.get(at as usize) == Some(&byte) {
                    return Ok(used + 1);
                }
                return self.begin(role, byte).map(|first| used + first);
            }
            (EnvelopeExpectation::Key | EnvelopeExpectation::KeyOrEnd, b'"') => {
                self.carry.clear();
                self.within = OpenJsonToken::Key { escapes: false, escaped: false };
            }
            (EnvelopeExpectation::Colon(role), b':') => self.expect = EnvelopeExpectation::Value(role),
            (EnvelopeExpectation::CommaOrEnd, b',') => {
                let next = match self.stack.last_mut() {
                    Some(EnvelopeLevel::Object(_)) => None,
                    Some(EnvelopeLevel::Array(open, at)) => {
                        *at += 1;
                        Some((*open, *at))
                    }
                    Some(EnvelopeLevel::Records) => {
                        self.expect = EnvelopeExpectation::Value(PageValueRole::Record);
                        return Ok(used + 1);
                    }
                    None => return Err(self.not_json(used)),
                };
                self.expect = match next {
                    None => EnvelopeExpectation::Key,
                    Some((open, at)) => EnvelopeExpectation::Value(self.element_role(open, at)?),
                };
            }
            (EnvelopeExpectation::CommaOrEnd, b']' | b'}') => self.close(byte, used)?,
            _ => return Err(self.not_json(used)),
        }

        // Every arm that comes here has used exactly one byte behind the blanks.
        Ok(used + 1)
    }

    /// Begins a value by its purpose. Returns 1 if its first byte is used up, otherwise 0.
    fn begin(&mut self, role: PageValueRole, byte: u8) -> Result<usize, PageError> {
        let null = byte == b'n';

        // The first byte decides the type. Whatever is not kept and does not open a level falls through to
        // the scalars.
        match role {
            // An array of records, one record, or null for none.
            PageValueRole::Records => match byte {
                b'[' => {
                    return self.open(
                        EnvelopeLevel::Records,
                        EnvelopeExpectation::ValueOrEnd(PageValueRole::Record),
                        1,
                    );
                }
                b'{' => return Ok(self.keep(PageValueRole::Record)),
                b'n' => {}
                // The first byte of a page: an HTML page must be reported as "no JSON", not as "no records".
                _ if self.stack.is_empty() => return Err(self.not_json(0)),
                _ => return Err(PageError::NotRecords(self.paths.text(0))),
            },
            PageValueRole::Record => return Ok(self.keep(role)),
            PageValueRole::Wanted(nth) => match byte {
                b'[' | b'{' if !self.paths.is_probe(nth) => {
                    return Err(PageError::NotToken(self.paths.text(nth)));
                }
                // A probe only asks whether the container is empty.
                b'[' | b'{' => {
                    self.probing = Some((nth, self.stack.len()));
                    return self.begin(PageValueRole::Skip, byte);
                }
                _ => return Ok(self.keep(role)),
            },
            PageValueRole::Way(open) => match byte {
                b'{' => return self.open(EnvelopeLevel::Object(open), EnvelopeExpectation::KeyOrEnd, 1),
                // Paths with keys end at an array, those with elements go on.
                b'[' if self.paths.through_array(open, self.stack.len()) != 0 => {
                    let open = self.paths.through_array(open, self.stack.len());
                    self.open(EnvelopeLevel::Array(open, 0), EnvelopeExpectation::KeyOrEnd, 1)?;
                    let role = self.element_role(open, 0)?;
                    self.expect = EnvelopeExpectation::ValueOrEnd(role);
                    return Ok(1);
                }
                // `null` on the way to an optional token: the token is absent. A page that is null has nothing at all.
                _ if null => {}
                _ if self.stack.is_empty() => return Err(self.not_json(0)),
                _ => return Err(PageError::NotObject(self.paths.first(open))),
            },
            PageValueRole::Skip => match byte {
                b'{' => return self.open(EnvelopeLevel::Object(0), EnvelopeExpectation::KeyOrEnd, 1),
                b'[' => {
                    return self.open(
                        EnvelopeLevel::Array(0, 0),
                        EnvelopeExpectation::ValueOrEnd(PageValueRole::Skip),
                        1,
                    );
                }
                b'"' => {
                    self.within = OpenJsonToken::Text { escaped: false };
                    return Ok(1);
                }
                _ => {}
            },
        }

        // A number, `true`, `false` or `null` that is walked over. `scalar` checks it once it has ended.
        if !matches!(byte, b'-' | b'0'..=b'9' | b't' | b'f' | b'n' | b'N' | b'I') {
            return Err(self.not_json(0));
        }
        self.carry.clear();
        self.within = OpenJsonToken::Scalar;
        // Null in the place of the records: the page has no records, but their path is there.
        if role == PageValueRole::Records {
            self.found |= 1;
            self.null_records = true;
        }
        Ok(0)
    }

    /// Opens a level. Returns `used`.
    fn open(
        &mut self,
        level: EnvelopeLevel,
        expect: EnvelopeExpectation,
        used: usize,
    ) -> Result<usize, PageError> {
        if self.stack.len() >= MAX_DEPTH {
            return Err(PageError::TooDeep(MAX_DEPTH));
        }
        if matches!(level, EnvelopeLevel::Records) {
            self.found |= 1;
        }
        self.stack.push(level);
        self.expect = expect;
        Ok(used)
    }

    /// Closes the present level. The bracket must be of its kind.
    fn close(&mut self, byte: u8, used: usize) -> Result<(), PageError> {
        match (self.stack.pop(), byte) {
            (Some(EnvelopeLevel::Object(_)), b'}')
            | (Some(EnvelopeLevel::Array(..) | EnvelopeLevel::Records), b']') => {
                // The container of a probe is empty if it closes where its first element could begin.
                if let Some((nth, around)) = self.probing
                    && around == self.stack.len()
                {
                    let first = matches!(
                        self.expect,
                        EnvelopeExpectation::ValueOrEnd(_) | EnvelopeExpectation::KeyOrEnd
                    );
                    let shown = match (byte, first) {
                        (b']', true) => "[]",
                        (b']', false) => "[…]",
                        (_, true) => "{}",
                        (_, false) => "{…}",
                    };
                    self.values[nth - 1] = Some(shown.to_owned());
                    self.probing = None;
                }
                self.valued();
                Ok(())
            }
            _ => Err(self.not_json(used)),
        }
    }

    /// Ends a value: next comes a comma, a closing bracket, or the end of the page.
    pub(super) fn valued(&mut self) {
        self.within = OpenJsonToken::Nothing;
        self.expect =
            if self.stack.is_empty() { EnvelopeExpectation::End } else { EnvelopeExpectation::CommaOrEnd };
    }

    /// Begins a value whose bytes are kept. Its first byte is not used up.
    fn keep(&mut self, role: PageValueRole) -> usize {
        self.carry.clear();
        self.within = OpenJsonToken::Kept(role, PageValueScanner::default());
        0
    }

    /// Reads on in a key, and returns the number of bytes that it used.
    pub(super) fn key(
        &mut self,
        bytes: &[u8],
        mut escapes: bool,
        mut escaped: bool,
    ) -> Result<usize, PageError> {
        for (nth, byte) in bytes.iter().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => (escapes, escaped) = (true, true),
                b'"' => {
                    self.carry.extend_from_slice(&bytes[..nth]);
                    self.named(escapes)?;
                    return Ok(nth + 1);
                }
                _ => {}
            }
        }
        // The key goes on in the next chunk.
        self.carry.extend_from_slice(bytes);
        if self.carry.len() > MAX_TOKEN {
            return Err(self.not_json(0));
        }
        self.within = OpenJsonToken::Key { escapes, escaped };
        Ok(bytes.len())
    }

    /// Ends a key, and decides the purpose of its value.
    fn named(&mut self, escapes: bool) -> Result<(), PageError> {
        self.within = OpenJsonToken::Nothing;
        debug_assert!(
            matches!(self.stack.last(), Some(EnvelopeLevel::Object(_))),
            "a key outside of an object"
        );
        let open = match self.stack.last() {
            Some(EnvelopeLevel::Object(open)) => *open,
            _ => 0,
        };

        // Most keys are in objects that no path leads through: they are not even compared.
        let mut role = PageValueRole::Skip;
        if open != 0 {
            let depth = self.stack.len() - 1;
            // The paths that go through this key. Escapes are rare and cost a copy.
            let through = if escapes {
                let quoted = [b"\"", self.carry.as_slice(), b"\""].concat();
                let key: String = serde_json::from_slice(&quoted).map_err(|_| self.not_json(0))?;
                self.paths.through(open, depth, key.as_bytes())
            } else {
                self.paths.through(open, depth, &self.carry)
            };
            self.remember_key();
            role = self.role_of(through, depth)?;
        }

        self.expect = EnvelopeExpectation::Colon(role);
        Ok(())
    }

    /// Remembers the present key for the message about a path that was never there.
    fn remember_key(&mut self) {
        if self.keys.len() < KEYS
            && self.carry.len() <= LONGEST_KEY
            && let Ok(key) = std::str::from_utf8(&self.carry)
            && !self.keys.iter().any(|seen| seen == key)
        {
            self.keys.push(key.to_owned());
        }
    }

    /// Returns the purpose of the value that the paths `through` lead to, the last of whose elements is at `depth`.
    fn role_of(&mut self, through: PathSet, depth: usize) -> Result<PageValueRole, PageError> {
        // The path that ends here decides. A second value for one path would be ambiguous.
        Ok(match self.paths.ending(through, depth) {
            _ if through == 0 => PageValueRole::Skip,
            None => PageValueRole::Way(through),
            Some(nth) if self.found & (1 << nth) != 0 && !self.paths.is_many(nth) => {
                return Err(PageError::Twice(self.paths.text(nth)));
            }
            // `found` is set once the value is known to be records: see `begin`.
            Some(0) => PageValueRole::Records,
            Some(nth) => {
                self.found |= 1 << nth;
                PageValueRole::Wanted(nth)
            }
        })
    }

    /// Returns the purpose of the element `at` of the present array, through which the paths `open` lead.
    fn element_role(&mut self, open: PathSet, at: usize) -> Result<PageValueRole, PageError> {
        if open == 0 {
            return Ok(PageValueRole::Skip);
        }
        let depth = self.stack.len() - 1;
        let through = self.paths.through_element(open, depth, at);
        self.role_of(through, depth)
    }

    /// Reads on in a string that is walked over, and returns the number of bytes that it used.
    pub(super) fn text(&mut self, bytes: &[u8], mut escaped: bool) -> usize {
        for (nth, byte) in bytes.iter().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    self.valued();
                    return nth + 1;
                }
                _ => {}
            }
        }
        self.within = OpenJsonToken::Text { escaped };
        bytes.len()
    }

    /// Reads on in a scalar that is walked over, and returns the number of bytes that it used.
    pub(super) fn scalar(&mut self, bytes: &[u8]) -> Result<usize, PageError> {
        let end = bytes.iter().position(|byte| is_delimiter(*byte));
        self.carry.extend_from_slice(&bytes[..end.unwrap_or(bytes.len())]);
        if self.carry.len() > MAX_TOKEN {
            return Err(self.not_json(0));
        }
        // A number at the end of a chunk may go on in the next one.
        let Some(end) = end else { return Ok(bytes.len()) };
        // Some servers write what JSON has no word for. Beside the records it does not matter.
        if !matches!(self.carry.as_slice(), b"NaN" | b"Infinity" | b"-Infinity") {
            serde_json::from_slice::<IgnoredAny>(&self.carry).map_err(|_| self.not_json(0))?;
        }
        self.valued();
        Ok(end)
    }

    /// Reads on in a value that is kept, and returns the number of bytes that it used. A value that is whole
    /// in the chunk is handed over from there, without a copy.
    pub(super) fn kept(
        &mut self,
        bytes: &[u8],
        role: PageValueRole,
        mut kept: PageValueScanner,
        take: &mut impl FnMut(PageElement<'_>) -> Result<(), PageError>,
    ) -> Result<usize, PageError> {
        // Find the end. The bytes of a value that is too large are counted and dropped.
        let limit = if role == PageValueRole::Record { self.max_record } else { MAX_TOKEN };
        let end = kept.end(bytes);
        let used = end.unwrap_or(bytes.len());
        kept.length += used as u64;
        let oversize = kept.length > limit as u64;
        let whole = end.is_some() && kept.length == used as u64;
        if !oversize && !whole {
            self.carry.extend_from_slice(&bytes[..used]);
        }

        // The value goes on in the next chunk.
        if end.is_none() {
            self.within = OpenJsonToken::Kept(role, kept);
            return Ok(used);
        }

        // The value is complete: a wanted one is remembered, a record is handed over.
        let value = if whole { &bytes[..used] } else { self.carry.as_slice() };
        match role {
            PageValueRole::Wanted(nth) if oversize => return Err(PageError::NotToken(self.paths.text(nth))),
            PageValueRole::Wanted(nth) => {
                let value = token(value).ok_or_else(|| self.not_json(0))?;
                // Path 0 is that of the records. Of several values the last one counts.
                if value.is_some() || !self.paths.is_many(nth) {
                    self.values[nth - 1] = value;
                }
            }
            _ => {
                self.found |= 1;
                take(match (oversize, role) {
                    (true, _) => PageElement::Oversize(kept.length),
                    (false, PageValueRole::Record) if self.stack.is_empty() => PageElement::Whole(value),
                    (false, _) => PageElement::Record(value),
                })?;
            }
        }

        self.valued();
        Ok(used)
    }
}
