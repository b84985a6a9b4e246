//! The walk over a page's bytes.

use serde::de::IgnoredAny;

use super::kept::{PageValueScanner, is_delimiter, token};
use super::paths::PathSet;
use super::{PageError, PagePaths};

/// Levels around the records; their own depth does not count.
const MAX_DEPTH: usize = 64;
/// Longest key, scalar or wanted value outside the records.
const MAX_TOKEN: usize = 64 << 10;
/// Some servers put it in front of their UTF-8.
const BOM: [u8; 3] = [0xEF, 0xBB, 0xBF];

/// What is cut out of a page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PageElement<'a> {
    /// One element's bytes. Brackets and strings close; the rest is for the taker to check.
    Record(&'a [u8]),
    /// An element longer than the limit, with its length in bytes; nothing of it was kept.
    Oversize(u64),
}

/// Cuts records out of one page after another.
#[derive(Debug)]
pub(crate) struct PageCutter {
    paths: PagePaths,
    max_record: usize,
    stack: Vec<EnvelopeLevel>,
    expect: EnvelopeExpectation,
    within: OpenJsonToken,
    /// What of a key, scalar, wanted value or record lies in earlier chunks.
    carry: Vec<u8>,
    /// Paths that were met.
    found: PathSet,
    values: Vec<Option<String>>,
    offset: u64,
    /// The first bytes of a character that the last chunk cut in two.
    partial: Vec<u8>,
}

/// An object or array around the records.
#[derive(Debug, Clone, Copy)]
enum EnvelopeLevel {
    /// With the paths that lead on through it.
    Object(PathSet),
    Array,
    Records,
}

/// What the grammar allows next, between tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EnvelopeExpectation {
    Value(PageValueRole),
    /// A first element, or the array's end.
    ValueOrEnd(PageValueRole),
    Key,
    KeyOrEnd,
    Colon(PageValueRole),
    CommaOrEnd,
    End,
}

/// What the next value is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PageValueRole {
    Skip,
    /// On the way to these paths.
    Way(PathSet),
    Records,
    Record,
    /// Value of the path with this place.
    Wanted(usize),
}

/// The token that the last chunk ended in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OpenJsonToken {
    Nothing,
    /// A key: are there escapes in it, and is the next byte escaped?
    Key {
        escapes: bool,
        escaped: bool,
    },
    /// A string that nobody wants.
    Text {
        escaped: bool,
    },
    /// A number or literal that nobody wants.
    Scalar,
    /// A value that is kept.
    Kept(PageValueRole, PageValueScanner),
}

impl PageCutter {
    /// `max_record` in bytes of JSON.
    pub(crate) fn new(paths: &PagePaths, max_record: usize) -> Self {
        let mut cutter = Self {
            paths: paths.clone(),
            max_record,
            stack: Vec::new(),
            expect: EnvelopeExpectation::End,
            within: OpenJsonToken::Nothing,
            carry: Vec::new(),
            found: 0,
            values: Vec::new(),
            offset: 0,
            partial: Vec::new(),
        };
        cutter.restart();
        cutter
    }

    /// A cutter for [`PageCutter::pick`].
    pub(crate) fn picker(path: &str) -> Self {
        Self::new(&PagePaths::only(path), 0)
    }

    /// The value that stands in one record at the picker's path.
    pub(crate) fn pick(&mut self, record: &[u8]) -> Option<String> {
        self.restart();
        self.feed(record, |_| Ok(())).ok()?;
        self.values.first_mut().and_then(Option::take)
    }

    /// Forgets the page it was in.
    pub(crate) fn restart(&mut self) {
        self.stack.clear();
        let role = if self.paths.at_root() {
            PageValueRole::Records
        } else {
            PageValueRole::Way(self.paths.every())
        };
        self.expect = EnvelopeExpectation::Value(role);
        self.within = OpenJsonToken::Nothing;
        self.carry.clear();
        // One giant record must not hold its memory for good.
        self.carry.shrink_to(MAX_TOKEN);
        self.found = 0;
        self.values = vec![None; self.paths.len() - 1];
        self.offset = 0;
        self.partial.clear();
    }

    /// Bytes read of this page.
    pub(crate) const fn offset(&self) -> u64 {
        self.offset
    }

    /// Takes the next bytes of the page, however they are cut.
    ///
    /// # Errors
    /// A [`PageError`], `take`'s own included; the page is then of no use.
    pub(crate) fn feed(
        &mut self,
        chunk: &[u8],
        mut take: impl FnMut(PageElement<'_>) -> Result<(), PageError>,
    ) -> Result<(), PageError> {
        self.check_text(chunk)?;
        let mut rest = chunk;
        while !rest.is_empty() {
            let used = match self.within {
                OpenJsonToken::Nothing => self.between(rest)?,
                OpenJsonToken::Key { escapes, escaped } => self.key(rest, escapes, escaped)?,
                OpenJsonToken::Text { escaped } => self.text(rest, escaped),
                OpenJsonToken::Scalar => self.scalar(rest)?,
                OpenJsonToken::Kept(role, kept) => self.kept(rest, role, kept, &mut take)?,
            };
            self.offset += used as u64;
            rest = rest.get(used..).unwrap_or_default();
        }
        Ok(())
    }

    /// The page has ended: what the pagination wanted, in its order; absent and null alike are `None`.
    ///
    /// # Errors
    /// [`PageError::Truncated`], [`PageError::Missing`].
    pub(crate) fn finish(&mut self) -> Result<Vec<Option<String>>, PageError> {
        if self.expect != EnvelopeExpectation::End
            || self.within != OpenJsonToken::Nothing
            || !self.partial.is_empty()
        {
            return Err(PageError::Truncated(self.offset));
        }
        match self.found & 1 {
            0 => Err(PageError::Missing(self.paths.text(0))),
            _ => Ok(std::mem::take(&mut self.values)),
        }
    }

    fn not_json(&self, used: usize) -> PageError {
        PageError::NotJson(self.offset + used as u64)
    }

    /// Characters may lie across chunks.
    fn check_text(&mut self, chunk: &[u8]) -> Result<(), PageError> {
        let wrong = PageError::NotText(self.offset + chunk.len() as u64);
        let mut rest = chunk;
        while let [first, more @ ..] = rest
            && !self.partial.is_empty()
        {
            self.partial.push(*first);
            rest = more;
            match simdutf8::compat::from_utf8(&self.partial) {
                Ok(_) => self.partial.clear(),
                Err(error) if error.error_len().is_some() => return Err(wrong),
                Err(_) => {}
            }
        }
        match simdutf8::compat::from_utf8(rest) {
            Ok(_) => Ok(()),
            Err(error) if error.error_len().is_some() => Err(wrong),
            Err(error) => {
                self.partial.extend_from_slice(rest.get(error.valid_up_to()..).unwrap_or_default());
                Ok(())
            }
        }
    }

    /// One step of the grammar; answers how many bytes it used.
    fn between(&mut self, bytes: &[u8]) -> Result<usize, PageError> {
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        let Some(used) = bytes.iter().position(|byte| !blank(byte)) else { return Ok(bytes.len()) };
        let byte = bytes[used];
        match (self.expect, byte) {
            (EnvelopeExpectation::ValueOrEnd(_), b']') | (EnvelopeExpectation::KeyOrEnd, b'}') => {
                self.close(byte, used)?
            }
            (EnvelopeExpectation::Value(role) | EnvelopeExpectation::ValueOrEnd(role), _) => {
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
                self.expect = match self.stack.last() {
                    Some(EnvelopeLevel::Object(_)) => EnvelopeExpectation::Key,
                    Some(EnvelopeLevel::Array) => EnvelopeExpectation::Value(PageValueRole::Skip),
                    Some(EnvelopeLevel::Records) => EnvelopeExpectation::Value(PageValueRole::Record),
                    None => return Err(self.not_json(used)),
                };
            }
            (EnvelopeExpectation::CommaOrEnd, b']' | b'}') => self.close(byte, used)?,
            _ => return Err(self.not_json(used)),
        }
        Ok(used + 1)
    }

    /// A value begins; answers whether its first byte is used up.
    fn begin(&mut self, role: PageValueRole, byte: u8) -> Result<usize, PageError> {
        let null = byte == b'n';
        match role {
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
                // Not even the beginning of JSON says more than "not records".
                _ if self.stack.is_empty() => return Err(self.not_json(0)),
                _ => return Err(PageError::NotRecords(self.paths.text(0))),
            },
            PageValueRole::Record => return Ok(self.keep(role)),
            PageValueRole::Wanted(nth) => match byte {
                b'[' | b'{' => return Err(PageError::NotToken(self.paths.text(nth))),
                _ => return Ok(self.keep(role)),
            },
            PageValueRole::Way(open) => match byte {
                b'{' => return self.open(EnvelopeLevel::Object(open), EnvelopeExpectation::KeyOrEnd, 1),
                _ if self.stack.is_empty() => return Err(self.not_json(0)),
                // `null` on the way to an optional token: what lies behind it is absent.
                _ if null => {}
                _ => return Err(PageError::NotObject(self.paths.first(open))),
            },
            PageValueRole::Skip => match byte {
                b'{' => return self.open(EnvelopeLevel::Object(0), EnvelopeExpectation::KeyOrEnd, 1),
                b'[' => {
                    return self.open(
                        EnvelopeLevel::Array,
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
        if !matches!(byte, b'-' | b'0'..=b'9' | b't' | b'f' | b'n') {
            return Err(self.not_json(0));
        }
        self.carry.clear();
        self.within = OpenJsonToken::Scalar;
        if role == PageValueRole::Records {
            self.found |= 1;
        }
        Ok(0)
    }

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

    fn close(&mut self, byte: u8, used: usize) -> Result<(), PageError> {
        match (self.stack.pop(), byte) {
            (Some(EnvelopeLevel::Object(_)), b'}')
            | (Some(EnvelopeLevel::Array | EnvelopeLevel::Records), b']') => {
                self.valued();
                Ok(())
            }
            _ => Err(self.not_json(used)),
        }
    }

    /// A value has ended.
    fn valued(&mut self) {
        self.within = OpenJsonToken::Nothing;
        self.expect =
            if self.stack.is_empty() { EnvelopeExpectation::End } else { EnvelopeExpectation::CommaOrEnd };
    }

    fn keep(&mut self, role: PageValueRole) -> usize {
        self.carry.clear();
        self.within = OpenJsonToken::Kept(role, PageValueScanner::default());
        0
    }

    fn key(&mut self, bytes: &[u8], mut escapes: bool, mut escaped: bool) -> Result<usize, PageError> {
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
        self.carry.extend_from_slice(bytes);
        if self.carry.len() > MAX_TOKEN {
            return Err(self.not_json(0));
        }
        self.within = OpenJsonToken::Key { escapes, escaped };
        Ok(bytes.len())
    }

    /// A key has ended: what is its value to us?
    fn named(&mut self, escapes: bool) -> Result<(), PageError> {
        self.within = OpenJsonToken::Nothing;
        let open = match self.stack.last() {
            Some(EnvelopeLevel::Object(open)) => *open,
            _ => 0,
        };
        let mut role = PageValueRole::Skip;
        if open != 0 {
            let depth = self.stack.len() - 1;
            let through = if escapes {
                let quoted = [b"\"", self.carry.as_slice(), b"\""].concat();
                let key: String = serde_json::from_slice(&quoted).map_err(|_| self.not_json(0))?;
                self.paths.through(open, depth, key.as_bytes())
            } else {
                self.paths.through(open, depth, &self.carry)
            };
            role = match self.paths.ending(through, depth) {
                _ if through == 0 => PageValueRole::Skip,
                None => PageValueRole::Way(through),
                Some(nth) if self.found & (1 << nth) != 0 => {
                    return Err(PageError::Twice(self.paths.text(nth)));
                }
                Some(0) => PageValueRole::Records,
                Some(nth) => {
                    self.found |= 1 << nth;
                    PageValueRole::Wanted(nth)
                }
            };
        }
        self.expect = EnvelopeExpectation::Colon(role);
        Ok(())
    }

    fn text(&mut self, bytes: &[u8], mut escaped: bool) -> usize {
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

    fn scalar(&mut self, bytes: &[u8]) -> Result<usize, PageError> {
        let end = bytes.iter().position(|byte| is_delimiter(*byte));
        self.carry.extend_from_slice(&bytes[..end.unwrap_or(bytes.len())]);
        if self.carry.len() > MAX_TOKEN {
            return Err(self.not_json(0));
        }
        let Some(end) = end else { return Ok(bytes.len()) };
        serde_json::from_slice::<IgnoredAny>(&self.carry).map_err(|_| self.not_json(0))?;
        self.valued();
        Ok(end)
    }

    /// A value that is kept: handed over straight from the chunk if all of it lies there.
    fn kept(
        &mut self,
        bytes: &[u8],
        role: PageValueRole,
        mut kept: PageValueScanner,
        take: &mut impl FnMut(PageElement<'_>) -> Result<(), PageError>,
    ) -> Result<usize, PageError> {
        let limit = if role == PageValueRole::Record { self.max_record } else { MAX_TOKEN };
        let end = kept.end(bytes);
        let used = end.unwrap_or(bytes.len());
        kept.length += used as u64;
        let oversize = kept.length > limit as u64;
        let whole = end.is_some() && kept.length == used as u64;
        if !oversize && !whole {
            self.carry.extend_from_slice(&bytes[..used]);
        }
        if end.is_none() {
            self.within = OpenJsonToken::Kept(role, kept);
            return Ok(used);
        }
        let value = if whole { &bytes[..used] } else { self.carry.as_slice() };
        match role {
            PageValueRole::Wanted(nth) if oversize => return Err(PageError::NotToken(self.paths.text(nth))),
            PageValueRole::Wanted(nth) => {
                let value = token(value).ok_or_else(|| self.not_json(0))?;
                self.values[nth - 1] = value;
            }
            _ => {
                self.found |= 1;
                take(if oversize { PageElement::Oversize(kept.length) } else { PageElement::Record(value) })?;
            }
        }
        self.valued();
        Ok(used)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
