//! The walk over a page's bytes: a state machine that can stop at any byte.

mod tokens;

use super::kept::PageValueScanner;
use super::paths::PathSet;
use super::{PageError, PagePath, PagePaths};

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
    /// The same, of a page that is its one record.
    Whole(&'a [u8]),
    /// The length in bytes of an element that is longer than the limit. Nothing of it was kept.
    Oversize(u64),
}

/// The values of a page beside its records.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct PageValues {
    /// The values of the tokens, in the order of their paths. Absent values and null are `None`.
    pub(crate) tokens: Vec<Option<String>>,
    /// The values of the probes. A container is `[]`, `{}`, `[…]` or `{…}`.
    pub(crate) probes: Vec<Option<String>>,
    /// The paths that the page has. A page whose records are null or an empty array has the records' path too.
    pub(crate) found: PathSet,
    /// True if null stands where the records should be.
    pub(crate) null_records: bool,
    /// Some keys of the objects that a path leads through.
    pub(crate) keys: Vec<String>,
}

impl PageValues {
    /// Tells whether the page has the path of the records.
    pub(crate) const fn has_records(&self) -> bool {
        self.found & 1 != 0
    }
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
    /// The container that is walked over as the value of a probe: its path, and the levels around it.
    probing: Option<(usize, usize)>,
    /// True if null stands where the records should be.
    null_records: bool,
    /// Keys of the objects that a path leads through.
    keys: Vec<String>,
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
    /// An array, with the paths that lead on through it, and the number of its present element. Without paths it is
    /// walked over.
    Array(PathSet, usize),
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
            probing: None,
            null_records: false,
            keys: Vec::new(),
            offset: 0,
            partial: Vec::new(),
        };
        cutter.restart();
        cutter
    }

    /// Makes a cutter for [`PageCutter::pick`].
    pub(crate) fn picker(path: &PagePath) -> Self {
        Self::new(&PagePaths::only(path.clone()), 0)
    }

    /// Makes a cutter for [`PageCutter::look_inside`], which finds the tokens and probes of `paths` in one record.
    pub(crate) fn inside_record(paths: &PagePaths) -> Self {
        Self::new(&paths.inside_record(), 0)
    }

    /// Returns the values in the one record of a page.
    pub(crate) fn look_inside(&mut self, record: &[u8]) -> Option<PageValues> {
        self.restart();
        self.feed(record, |_| Ok(())).ok()?;
        Some(self.take_values())
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
        self.probing = None;
        self.null_records = false;
        self.keys.clear();
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

    /// Ends the page, and returns its values.
    ///
    /// # Errors
    /// [`PageError::Truncated`] if the JSON is not complete.
    pub(crate) fn finish(&mut self) -> Result<PageValues, PageError> {
        // A page that is null ends without a delimiter.
        if self.stack.is_empty() && self.within == OpenJsonToken::Scalar && self.carry == b"null" {
            self.valued();
        }
        if self.expect != EnvelopeExpectation::End
            || self.within != OpenJsonToken::Nothing
            || !self.partial.is_empty()
        {
            return Err(PageError::Truncated(self.offset));
        }
        Ok(self.take_values())
    }

    /// Takes the values of the page.
    fn take_values(&mut self) -> PageValues {
        let mut tokens = std::mem::take(&mut self.values);
        let probes = tokens.split_off(self.paths.tokens());
        let keys = std::mem::take(&mut self.keys);
        PageValues { tokens, probes, found: self.found, null_records: self.null_records, keys }
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
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
