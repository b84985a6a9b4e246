//! The walk over a page's bytes.

use serde::de::IgnoredAny;

use super::kept::{Kept, is_delimiter, token};
use super::paths::PathSet;
use super::{PageError, Paths};

/// Levels around the records; their own depth does not count.
const MAX_DEPTH: usize = 64;
/// Longest key, scalar or wanted value outside the records.
const MAX_TOKEN: usize = 64 << 10;
/// Some servers put it in front of their UTF-8.
const BOM: [u8; 3] = [0xEF, 0xBB, 0xBF];

/// What is cut out of a page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cut<'a> {
    /// One element's bytes. Brackets and strings close; the rest is for the taker to check.
    Record(&'a [u8]),
    /// An element longer than the limit, with its length in bytes; nothing of it was kept.
    Oversize(u64),
}

/// Cuts records out of one page after another.
#[derive(Debug)]
pub(crate) struct Cutter {
    paths: Paths,
    max_record: usize,
    stack: Vec<Level>,
    expect: Expect,
    within: Within,
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
enum Level {
    /// With the paths that lead on through it.
    Object(PathSet),
    Array,
    Records,
}

/// What the grammar allows next, between tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    Value(Role),
    /// A first element, or the array's end.
    ValueOrEnd(Role),
    Key,
    KeyOrEnd,
    Colon(Role),
    CommaOrEnd,
    End,
}

/// What the next value is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
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
enum Within {
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
    Kept(Role, Kept),
}

impl Cutter {
    /// `max_record` in bytes of JSON.
    pub(crate) fn new(paths: &Paths, max_record: usize) -> Self {
        let mut cutter = Self {
            paths: paths.clone(),
            max_record,
            stack: Vec::new(),
            expect: Expect::End,
            within: Within::Nothing,
            carry: Vec::new(),
            found: 0,
            values: Vec::new(),
            offset: 0,
            partial: Vec::new(),
        };
        cutter.restart();
        cutter
    }

    /// A cutter for [`Cutter::pick`].
    pub(crate) fn picker(path: &str) -> Self {
        Self::new(&Paths::only(path), 0)
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
        let role = if self.paths.at_root() { Role::Records } else { Role::Way(self.paths.every()) };
        self.expect = Expect::Value(role);
        self.within = Within::Nothing;
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
        mut take: impl FnMut(Cut<'_>) -> Result<(), PageError>,
    ) -> Result<(), PageError> {
        self.check_text(chunk)?;
        let mut rest = chunk;
        while !rest.is_empty() {
            let used = match self.within {
                Within::Nothing => self.between(rest)?,
                Within::Key { escapes, escaped } => self.key(rest, escapes, escaped)?,
                Within::Text { escaped } => self.text(rest, escaped),
                Within::Scalar => self.scalar(rest)?,
                Within::Kept(role, kept) => self.kept(rest, role, kept, &mut take)?,
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
        if self.expect != Expect::End || self.within != Within::Nothing || !self.partial.is_empty() {
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
            (Expect::ValueOrEnd(_), b']') | (Expect::KeyOrEnd, b'}') => self.close(byte, used)?,
            (Expect::Value(role) | Expect::ValueOrEnd(role), _) => {
                let at = self.offset + used as u64;
                if self.stack.is_empty() && at < 3 && BOM.get(at as usize) == Some(&byte) {
                    return Ok(used + 1);
                }
                return self.begin(role, byte).map(|first| used + first);
            }
            (Expect::Key | Expect::KeyOrEnd, b'"') => {
                self.carry.clear();
                self.within = Within::Key { escapes: false, escaped: false };
            }
            (Expect::Colon(role), b':') => self.expect = Expect::Value(role),
            (Expect::CommaOrEnd, b',') => {
                self.expect = match self.stack.last() {
                    Some(Level::Object(_)) => Expect::Key,
                    Some(Level::Array) => Expect::Value(Role::Skip),
                    Some(Level::Records) => Expect::Value(Role::Record),
                    None => return Err(self.not_json(used)),
                };
            }
            (Expect::CommaOrEnd, b']' | b'}') => self.close(byte, used)?,
            _ => return Err(self.not_json(used)),
        }
        Ok(used + 1)
    }

    /// A value begins; answers whether its first byte is used up.
    fn begin(&mut self, role: Role, byte: u8) -> Result<usize, PageError> {
        let null = byte == b'n';
        match role {
            Role::Records => match byte {
                b'[' => return self.open(Level::Records, Expect::ValueOrEnd(Role::Record), 1),
                b'{' => return Ok(self.keep(Role::Record)),
                b'n' => {}
                // Not even the beginning of JSON says more than "not records".
                _ if self.stack.is_empty() => return Err(self.not_json(0)),
                _ => return Err(PageError::NotRecords(self.paths.text(0))),
            },
            Role::Record => return Ok(self.keep(role)),
            Role::Wanted(nth) => match byte {
                b'[' | b'{' => return Err(PageError::NotToken(self.paths.text(nth))),
                _ => return Ok(self.keep(role)),
            },
            Role::Way(open) => match byte {
                b'{' => return self.open(Level::Object(open), Expect::KeyOrEnd, 1),
                _ if self.stack.is_empty() => return Err(self.not_json(0)),
                // `null` on the way to an optional token: what lies behind it is absent.
                _ if null => {}
                _ => return Err(PageError::NotObject(self.paths.first(open))),
            },
            Role::Skip => match byte {
                b'{' => return self.open(Level::Object(0), Expect::KeyOrEnd, 1),
                b'[' => return self.open(Level::Array, Expect::ValueOrEnd(Role::Skip), 1),
                b'"' => {
                    self.within = Within::Text { escaped: false };
                    return Ok(1);
                }
                _ => {}
            },
        }
        if !matches!(byte, b'-' | b'0'..=b'9' | b't' | b'f' | b'n') {
            return Err(self.not_json(0));
        }
        self.carry.clear();
        self.within = Within::Scalar;
        if role == Role::Records {
            self.found |= 1;
        }
        Ok(0)
    }

    fn open(&mut self, level: Level, expect: Expect, used: usize) -> Result<usize, PageError> {
        if self.stack.len() >= MAX_DEPTH {
            return Err(PageError::TooDeep(MAX_DEPTH));
        }
        if matches!(level, Level::Records) {
            self.found |= 1;
        }
        self.stack.push(level);
        self.expect = expect;
        Ok(used)
    }

    fn close(&mut self, byte: u8, used: usize) -> Result<(), PageError> {
        match (self.stack.pop(), byte) {
            (Some(Level::Object(_)), b'}') | (Some(Level::Array | Level::Records), b']') => {
                self.valued();
                Ok(())
            }
            _ => Err(self.not_json(used)),
        }
    }

    /// A value has ended.
    fn valued(&mut self) {
        self.within = Within::Nothing;
        self.expect = if self.stack.is_empty() { Expect::End } else { Expect::CommaOrEnd };
    }

    fn keep(&mut self, role: Role) -> usize {
        self.carry.clear();
        self.within = Within::Kept(role, Kept::default());
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
        self.within = Within::Key { escapes, escaped };
        Ok(bytes.len())
    }

    /// A key has ended: what is its value to us?
    fn named(&mut self, escapes: bool) -> Result<(), PageError> {
        self.within = Within::Nothing;
        let open = match self.stack.last() {
            Some(Level::Object(open)) => *open,
            _ => 0,
        };
        let mut role = Role::Skip;
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
                _ if through == 0 => Role::Skip,
                None => Role::Way(through),
                Some(nth) if self.found & (1 << nth) != 0 => {
                    return Err(PageError::Twice(self.paths.text(nth)));
                }
                Some(0) => Role::Records,
                Some(nth) => {
                    self.found |= 1 << nth;
                    Role::Wanted(nth)
                }
            };
        }
        self.expect = Expect::Colon(role);
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
        self.within = Within::Text { escaped };
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
        role: Role,
        mut kept: Kept,
        take: &mut impl FnMut(Cut<'_>) -> Result<(), PageError>,
    ) -> Result<usize, PageError> {
        let limit = if role == Role::Record { self.max_record } else { MAX_TOKEN };
        let end = kept.end(bytes);
        let used = end.unwrap_or(bytes.len());
        kept.length += used as u64;
        let oversize = kept.length > limit as u64;
        let whole = end.is_some() && kept.length == used as u64;
        if !oversize && !whole {
            self.carry.extend_from_slice(&bytes[..used]);
        }
        if end.is_none() {
            self.within = Within::Kept(role, kept);
            return Ok(used);
        }
        let value = if whole { &bytes[..used] } else { self.carry.as_slice() };
        match role {
            Role::Wanted(nth) if oversize => return Err(PageError::NotToken(self.paths.text(nth))),
            Role::Wanted(nth) => {
                let value = token(value).ok_or_else(|| self.not_json(0))?;
                self.values[nth - 1] = value;
            }
            _ => {
                self.found |= 1;
                take(if oversize { Cut::Oversize(kept.length) } else { Cut::Record(value) })?;
            }
        }
        self.valued();
        Ok(used)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
