//! Reads JSON text (RFC 8259) value by value: no tree, and no copies except for strings with escapes.
//!
//! The reader takes the texts that serde_json takes, and differs in two things: a number with a fraction is
//! always the nearest double, and an expected key is compared in place instead of being read. It is tested
//! and fuzzed against serde_json.

use super::scalar::JsonScalar;

/// Integers of at most this many digits fit 64 bits.
const SAFE_DIGITS: usize = 18;

/// The text here is not JSON or, if the conversion has a mismatch, does not fit the schema.
#[derive(Debug)]
pub(super) struct JsonStop;

/// A position in a text.
pub(super) struct JsonCursor<'j> {
    text: &'j str,
    bytes: &'j [u8],
    at: usize,
    /// Arrays and objects that are open.
    depth: usize,
    /// The last string with escapes, decoded.
    unescaped: String,
}

impl<'j> JsonCursor<'j> {
    /// Makes a cursor at the beginning of the text.
    pub(super) fn new(text: &'j str) -> Self {
        Self { text, bytes: text.as_bytes(), at: 0, depth: 0, unescaped: String::new() }
    }

    /// Returns line and column, from 1 on, of the byte at which the cursor stopped.
    pub(super) fn position(&self) -> (usize, usize) {
        let read = self.bytes.get(..self.at).unwrap_or(self.bytes);
        let line = read.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = read.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
        (line, column)
    }

    /// Returns the byte at the cursor.
    fn here(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Returns the next byte that is not blank, and stays at it.
    pub(super) fn peek(&mut self) -> Result<u8, JsonStop> {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.here() {
            self.at += 1;
        }
        self.here().ok_or(JsonStop)
    }

    /// Fails if anything but blanks follows.
    pub(super) fn end(&mut self) -> Result<(), JsonStop> {
        match self.peek() {
            Ok(_) => Err(JsonStop),
            Err(JsonStop) => Ok(()),
        }
    }

    /// Passes over this byte. Fails if another one follows.
    fn take(&mut self, byte: u8) -> Result<(), JsonStop> {
        match self.peek()? == byte {
            true => {
                self.at += 1;
                Ok(())
            }
            false => Err(JsonStop),
        }
    }

    /// Enters the array or object that begins here. Returns how many are open now.
    pub(super) fn enter(&mut self) -> usize {
        self.at += 1;
        self.depth += 1;
        self.depth
    }

    /// Tells whether another element, or key, comes before `close`. The closing byte is passed over.
    pub(super) fn more(&mut self, first: &mut bool, close: u8) -> Result<bool, JsonStop> {
        let byte = self.peek()?;
        // The closing byte may come directly or after an element, never after a comma.
        if byte == close {
            self.at += 1;
            self.depth -= 1;
            return Ok(false);
        }

        // Every element but the first needs a comma before it.
        if !std::mem::take(first) {
            if byte != b',' {
                return Err(JsonStop);
            }
            self.at += 1;
            // A closing byte after the comma is found by the caller, who then reads neither a value nor a
            // key.
            self.peek()?;
        }
        Ok(true)
    }

    /// Tells whether the key that begins here is this name. If so, the key and its colon are passed over.
    pub(super) fn is_key(&mut self, name: &str) -> Result<bool, JsonStop> {
        // Escapes are not decoded: a key with escapes is found by `key` instead.
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let after = name.len() + 2;
        let same = rest.first() == Some(&b'"')
            && rest.get(1..after - 1) == Some(name.as_bytes())
            && rest.get(after - 1) == Some(&b'"');

        if same {
            self.at += after;
            self.take(b':')?;
        }
        Ok(same)
    }

    /// Returns the key that begins here. Its colon is passed over.
    pub(super) fn key(&mut self) -> Result<&str, JsonStop> {
        if self.peek()? != b'"' {
            return Err(JsonStop);
        }
        match self.string_at()? {
            JsonStringSpan::Plain(from, to) => {
                self.take(b':')?;
                self.text.get(from..to).ok_or(JsonStop)
            }
            JsonStringSpan::Unescaped => {
                self.take(b':')?;
                Ok(&self.unescaped)
            }
        }
    }

    /// Returns the string that begins here.
    pub(super) fn string(&mut self) -> Result<&str, JsonStop> {
        match self.string_at()? {
            JsonStringSpan::Plain(from, to) => self.text.get(from..to).ok_or(JsonStop),
            JsonStringSpan::Unescaped => Ok(&self.unescaped),
        }
    }

    /// Passes over the string that begins here and decodes it if it has escapes.
    fn string_at(&mut self) -> Result<JsonStringSpan, JsonStop> {
        // Most strings have no escapes and are borrowed from the text.
        let from = self.at + 1;
        self.at = from;
        self.plain();
        if self.here() == Some(b'"') {
            self.at += 1;
            return Ok(JsonStringSpan::Plain(from, self.at - 1));
        }

        // Decode piece by piece: plain text up to an escape, then the escape.
        self.unescaped.clear();
        let mut from = from;
        loop {
            self.unescaped.push_str(self.text.get(from..self.at).ok_or(JsonStop)?);
            match self.here() {
                Some(b'"') => break,
                Some(b'\\') => self.escape()?,
                _ => return Err(JsonStop),
            }
            from = self.at;
            self.plain();
        }
        self.at += 1;
        Ok(JsonStringSpan::Unescaped)
    }

    /// Moves to the next quote, backslash, control character or the end.
    fn plain(&mut self) {
        const ONES: u64 = 0x0101_0101_0101_0101;
        const HIGHS: u64 = 0x8080_8080_8080_8080;
        // Eight bytes at a time. Higher marks may be false, but the lowest one is always true (Mycroft's test
        // for a zero byte).
        let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
        while let Some(eight) = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk::<8>) {
            let word = u64::from_le_bytes(*eight);
            // The same test, for bytes below 0x20.
            let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
            let marks =
                zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\'))) | control;
            if marks != 0 {
                self.at += marks.trailing_zeros() as usize / 8;
                return;
            }
            self.at += 8;
        }

        // The last bytes, one by one.
        while self.here().is_some_and(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
            self.at += 1;
        }
    }

    /// Decodes one escape into `unescaped`.
    fn escape(&mut self) -> Result<(), JsonStop> {
        self.at += 1;
        let plain = match self.here().ok_or(JsonStop)? {
            byte @ (b'"' | b'\\' | b'/') => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.code_point(),
            _ => return Err(JsonStop),
        };
        self.at += 1;
        self.unescaped.push(plain);
        Ok(())
    }

    /// Decodes `u` and four digits, or two of them with a backslash between: a character beyond 16 bits in
    /// UTF-16.
    fn code_point(&mut self) -> Result<(), JsonStop> {
        let mut code = self.four_digits()?;
        // The first half of a pair must be followed by the second half.
        if (0xD800..0xDC00).contains(&code) {
            if self.bytes.get(self.at..self.at + 2) != Some(b"\\u") {
                return Err(JsonStop);
            }
            self.at += 1;
            let low = self.four_digits()?;
            if !(0xDC00..0xE000).contains(&low) {
                return Err(JsonStop);
            }
            code = 0x1_0000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        }
        // A second half alone is no character.
        self.unescaped.push(char::from_u32(code).ok_or(JsonStop)?);
        Ok(())
    }

    /// Reads the four hexadecimal digits after a `u`.
    fn four_digits(&mut self) -> Result<u32, JsonStop> {
        let digits = self.bytes.get(self.at + 1..self.at + 5).ok_or(JsonStop)?;
        let code =
            digits.iter().try_fold(0, |code, digit| Some(code << 4 | char::from(*digit).to_digit(16)?));
        self.at += 5;
        code.ok_or(JsonStop)
    }

    /// Reads the number that begins here: an integer if it is written as one and fits 64 bits, else a double
    /// with its text.
    pub(super) fn number(&mut self) -> Result<JsonScalar<'j>, JsonStop> {
        let start = self.at;
        let (magnitude, digits, whole) = self.number_at()?;
        let negative = self.bytes.get(start) == Some(&b'-');
        // "-0" is a double, because an integer has no negative zero.
        let whole = whole && (magnitude > 0 || !negative);

        // The value is known already if it cannot have overflowed.
        if whole && digits <= SAFE_DIGITS {
            let value = i128::from(magnitude);
            return Ok(JsonScalar::Integer(if negative { -value } else { value }));
        }

        // Rare: long integers and doubles are parsed from the text.
        let text = self.text.get(start..self.at).ok_or(JsonStop)?;
        let fits = |value: &i128| (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(value);
        if whole && let Some(value) = text.parse().ok().filter(fits) {
            return Ok(JsonScalar::Integer(value));
        }
        let value: f64 = text.parse().map_err(|_| JsonStop)?;
        // A number too large for a double is refused.
        if value.is_finite() { Ok(JsonScalar::Real { value, text }) } else { Err(JsonStop) }
    }

    /// Passes over a number. Returns its whole part (modulo 2⁶⁴), the digits of that part, and whether there
    /// is no other part.
    fn number_at(&mut self) -> Result<(u64, usize, bool), JsonStop> {
        // The whole part. JSON allows neither an empty one nor leading zeros.
        if self.here() == Some(b'-') {
            self.at += 1;
        }
        let first = self.at;
        let mut value = 0u64;
        while let Some(digit @ b'0'..=b'9') = self.here() {
            value = value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            self.at += 1;
        }
        let digits = self.at - first;
        if digits == 0 || digits > 1 && self.bytes.get(first) == Some(&b'0') {
            return Err(JsonStop);
        }

        // The fraction and the exponent make the number a double.
        let mut whole = true;
        if self.here() == Some(b'.') {
            self.at += 1;
            self.digits()?;
            whole = false;
        }
        if let Some(b'e' | b'E') = self.here() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.here() {
                self.at += 1;
            }
            self.digits()?;
            whole = false;
        }
        Ok((value, digits, whole))
    }

    /// Passes over one digit or more.
    fn digits(&mut self) -> Result<(), JsonStop> {
        let first = self.at;
        while let Some(b'0'..=b'9') = self.here() {
            self.at += 1;
        }
        if self.at > first { Ok(()) } else { Err(JsonStop) }
    }

    /// Passes over `true`, `false` or `null`.
    pub(super) fn word(&mut self, word: &str) -> Result<(), JsonStop> {
        if self.bytes.get(self.at..self.at + word.len()) != Some(word.as_bytes()) {
            return Err(JsonStop);
        }
        self.at += word.len();
        Ok(())
    }

    /// Passes over the value that begins here. The depth is not limited, because there is no recursion.
    pub(super) fn skip(&mut self) -> Result<(), JsonStop> {
        // The closing bytes of the arrays and objects that are open.
        let mut open = Vec::new();
        loop {
            // One value. `{` and `[` are two below their closing bytes in ASCII.
            match self.peek()? {
                byte @ (b'{' | b'[') => {
                    let close = byte + 2;
                    // An empty container is a value like any other; else its first element follows.
                    self.at += 1;
                    if self.peek()? != close {
                        open.push(close);
                        if close == b'}' {
                            self.skip_key()?;
                        }
                        continue;
                    }
                    self.at += 1;
                }
                b'"' => self.skip_string()?,
                b't' => self.word("true")?,
                b'f' => self.word("false")?,
                b'n' => self.word("null")?,
                _ => drop(self.number_at()?),
            }

            // After a value: a comma, or the ends of any number of containers.
            loop {
                let Some(close) = open.last() else { return Ok(()) };
                let byte = self.peek()?;
                if byte != b',' && byte != *close {
                    return Err(JsonStop);
                }
                self.at += 1;
                if byte == b',' {
                    if *close == b'}' {
                        self.skip_key()?;
                    }
                    break;
                }
                open.pop();
            }
        }
    }

    /// Passes over a key and its colon.
    fn skip_key(&mut self) -> Result<(), JsonStop> {
        if self.peek()? != b'"' {
            return Err(JsonStop);
        }
        self.skip_string()?;
        self.take(b':')
    }

    /// Passes over a string. Surrogates without a partner are accepted, because the text is not decoded.
    fn skip_string(&mut self) -> Result<(), JsonStop> {
        self.at += 1;
        loop {
            self.plain();
            // Stop at the quote, or step over one escape.
            match self.here() {
                Some(b'"') => break,
                Some(b'\\') => {}
                _ => return Err(JsonStop),
            }
            self.at += 1;
            match self.here() {
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
                Some(b'u') => drop(self.four_digits()?),
                _ => return Err(JsonStop),
            }
        }
        self.at += 1;
        Ok(())
    }
}

/// A string that was passed over.
enum JsonStringSpan {
    /// The string is between these positions of the text.
    Plain(usize, usize),
    /// The string has escapes; the decoded text is in `unescaped`.
    Unescaped,
}
