//! The walk over a page's bytes: a state machine that can stop at any byte.

use serde::de::IgnoredAny;

use super::kept::{PageValueScanner, is_delimiter, token};
use super::paths::PathSet;
use super::{PageError, PagePaths};

/// The levels around the records at most. The records' own depth does not count.
const MAX_DEPTH: usize = 64;
/// The longest key, scalar or wanted value outside the records, in bytes.
const MAX_TOKEN: usize = 64 << 10;
/// The byte order mark that some servers put in front of their UTF-8.
const BOM: [u8; 3] = [0xEF, 0xBB, 0xBF];

/// A piece that is cut out of a page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PageElement<'a> {
    /// The bytes of one element. Its brackets and strings are closed; the caller checks the rest.
    Record(&'a [u8]),
    /// The length in bytes of an element that is longer than the limit. Nothing of it was kept.
    Oversize(u64),
}

/// Cuts records out of one page after another.
#[derive(Debug)]
pub(crate) struct PageCutter {
    paths: PagePaths,
    /// Bytes of JSON.
    max_record: usize,
    /// The open objects and arrays around the present byte, outermost first.
    stack: Vec<EnvelopeLevel>,
    expect: EnvelopeExpectation,
    within: OpenJsonToken,
    /// The part of a key, scalar, wanted value or record that came in earlier chunks.
    carry: Vec<u8>,
    /// The paths that were met on this page.
    found: PathSet,
    /// The wanted values, in the order of their paths.
    values: Vec<Option<String>>,
    /// Bytes read of this page.
    offset: u64,
    /// The first bytes of a character that the last chunk cut in two.
    partial: Vec<u8>,
}

/// An object or array around the records.
#[derive(Debug, Clone, Copy)]
enum EnvelopeLevel {
    /// An object, with the paths that lead on through it. Zero: it is walked over.
    Object(PathSet),
    /// An array that is walked over.
    Array,
    /// The array of the records.
    Records,
}

/// The token that the grammar allows next.
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

/// The purpose of the next value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PageValueRole {
    /// The value is walked over.
    Skip,
    /// The value is on the way to these paths.
    Way(PathSet),
    /// The array of the records, or a single record.
    Records,
    /// One record.
    Record,
    /// The value of the path with this index.
    Wanted(usize),
}

/// The token that the last chunk ended in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OpenJsonToken {
    Nothing,
    /// A key, whether it has escapes, and whether the next byte is escaped.
    Key {
        escapes: bool,
        escaped: bool,
    },
    /// A string that is walked over.
    Text {
        escaped: bool,
    },
    /// A number or literal that is walked over.
    Scalar,
    /// A value that is kept.
    Kept(PageValueRole, PageValueScanner),
}

impl PageCutter {
    /// Makes a cutter for the first page. `max_record` is in bytes of JSON.
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

    /// Makes a cutter for [`PageCutter::pick`].
    pub(crate) fn picker(path: &str) -> Self {
        Self::new(&PagePaths::only(path), 0)
    }

    /// Returns the value at the picker's path in one record.
    pub(crate) fn pick(&mut self, record: &[u8]) -> Option<String> {
        // `finish` is not called: it would miss the records, and the record is whole.
        self.restart();
        self.feed(record, |_| Ok(())).ok()?;
        self.values.first_mut().and_then(Option::take)
    }

    /// Forgets the present page and prepares for the next one.
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
        // One giant record must not hold its memory for the rest of the run.
        self.carry.shrink_to(MAX_TOKEN);
        self.found = 0;
        // The first path is that of the records and has no value.
        self.values = vec![None; self.paths.len() - 1];
        self.offset = 0;
        self.partial.clear();
    }

    /// Returns the number of bytes that were read of this page.
    pub(crate) const fn offset(&self) -> u64 {
        self.offset
    }

    /// Takes the next bytes of the page, cut at any place, and calls `take` for each element that ends in
    /// them.
    ///
    /// # Errors
    /// A [`PageError`], also one of `take`. The page cannot be continued after it.
    pub(crate) fn feed(
        &mut self,
        chunk: &[u8],
        mut take: impl FnMut(PageElement<'_>) -> Result<(), PageError>,
    ) -> Result<(), PageError> {
        self.check_text(chunk)?;
        // A token may use no byte: then it has only changed the state.
        let mut rest = chunk;
        while !rest.is_empty() {
            let used = match self.within {
                OpenJsonToken::Nothing => self.between(rest)?,
                OpenJsonToken::Key { escapes, escaped } => self.key(rest, escapes, escaped)?,
                OpenJsonToken::Text { escaped } => self.text(rest, escaped),
                OpenJsonToken::Scalar => self.scalar(rest)?,
                OpenJsonToken::Kept(role, kept) => self.kept(rest, role, kept, &mut take)?,
            };
            debug_assert!(used <= rest.len(), "a token used more bytes than it was given");
            self.offset += used as u64;
            rest = rest.get(used..).unwrap_or_default();
        }
        Ok(())
    }

    /// Ends the page, and returns the values for the pagination in the order of their paths. Absent values
    /// and null are `None`.
    ///
    /// # Errors
    /// [`PageError::Truncated`] if the JSON is not complete, [`PageError::Missing`] if the page has no
    /// records' path.
    pub(crate) fn finish(&mut self) -> Result<Vec<Option<String>>, PageError> {
        if self.expect != EnvelopeExpectation::End
            || self.within != OpenJsonToken::Nothing
            || !self.partial.is_empty()
        {
            return Err(PageError::Truncated(self.offset));
        }
        // Bit 0 is the records' path. A page whose records are null or an empty array has it too.
        match self.found & 1 {
            0 => Err(PageError::Missing(self.paths.text(0))),
            _ => Ok(std::mem::take(&mut self.values)),
        }
    }

    /// Makes the error for the byte that is `used` bytes behind the present one.
    fn not_json(&self, used: usize) -> PageError {
        PageError::NotJson(self.offset + used as u64)
    }

    /// Checks that the page is UTF-8. A character may be cut in two by the chunks.
    fn check_text(&mut self, chunk: &[u8]) -> Result<(), PageError> {
        let wrong = PageError::NotText(self.offset + chunk.len() as u64);

        // The rest of a character whose first bytes came with the last chunk.
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

        // The chunk itself. An incomplete character at its end waits for the next chunk.
        match simdutf8::compat::from_utf8(rest) {
            Ok(_) => Ok(()),
            Err(error) if error.error_len().is_some() => Err(wrong),
            Err(error) => {
                self.partial.extend_from_slice(rest.get(error.valid_up_to()..).unwrap_or_default());
                Ok(())
            }
        }
    }

    /// Takes one token of the grammar, and returns the number of bytes that it used.
    fn between(&mut self, bytes: &[u8]) -> Result<usize, PageError> {
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
                b'[' | b'{' => return Err(PageError::NotToken(self.paths.text(nth))),
                _ => return Ok(self.keep(role)),
            },
            PageValueRole::Way(open) => match byte {
                b'{' => return self.open(EnvelopeLevel::Object(open), EnvelopeExpectation::KeyOrEnd, 1),
                _ if self.stack.is_empty() => return Err(self.not_json(0)),
                // `null` on the way to an optional token: the token is absent.
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

        // A number, `true`, `false` or `null` that is walked over. `scalar` checks it once it has ended.
        if !matches!(byte, b'-' | b'0'..=b'9' | b't' | b'f' | b'n') {
            return Err(self.not_json(0));
        }
        self.carry.clear();
        self.within = OpenJsonToken::Scalar;
        // Null in the place of the records: the page has no records, but their path is there.
        if role == PageValueRole::Records {
            self.found |= 1;
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
            | (Some(EnvelopeLevel::Array | EnvelopeLevel::Records), b']') => {
                self.valued();
                Ok(())
            }
            _ => Err(self.not_json(used)),
        }
    }

    /// Ends a value: next comes a comma, a closing bracket, or the end of the page.
    fn valued(&mut self) {
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

            // The path that ends here decides. A second value for one path would be ambiguous.
            role = match self.paths.ending(through, depth) {
                _ if through == 0 => PageValueRole::Skip,
                None => PageValueRole::Way(through),
                Some(nth) if self.found & (1 << nth) != 0 => {
                    return Err(PageError::Twice(self.paths.text(nth)));
                }
                // `found` is set once the value is known to be records: see `begin`.
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

    /// Reads on in a string that is walked over, and returns the number of bytes that it used.
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

    /// Reads on in a scalar that is walked over, and returns the number of bytes that it used.
    fn scalar(&mut self, bytes: &[u8]) -> Result<usize, PageError> {
        let end = bytes.iter().position(|byte| is_delimiter(*byte));
        self.carry.extend_from_slice(&bytes[..end.unwrap_or(bytes.len())]);
        if self.carry.len() > MAX_TOKEN {
            return Err(self.not_json(0));
        }
        // A number at the end of a chunk may go on in the next one.
        let Some(end) = end else { return Ok(bytes.len()) };
        serde_json::from_slice::<IgnoredAny>(&self.carry).map_err(|_| self.not_json(0))?;
        self.valued();
        Ok(end)
    }

    /// Reads on in a value that is kept, and returns the number of bytes that it used. A value that is whole
    /// in the chunk is handed over from there, without a copy.
    fn kept(
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
                // Path 0 is that of the records.
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
