//! The paths in a page that a job looks at.
//!
//! | spelling | meaning |
//! |---|---|
//! | `meta.next` | the key `next` in the object at `meta` |
//! | `'@odata.nextLink'`, `["@odata.nextLink"]`, `@odata\.nextLink` | one key with a dot in it |
//! | `items[0].id` | the first element of an array |
//! | `edges[*].node`, `edges.*.node` | every element of an array, or every value of an object |
//! | `$.meta.next`, `$['meta']['next']` | JSONPath's spelling of the same |

use std::fmt;

/// An element of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PathElement {
    /// The value of this key in an object. A key of digits is also an element's number in an array.
    Key(String),
    /// The element with this number in an array.
    Index(usize),
    /// Every element of an array, or every value of an object.
    Every,
}

/// One path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PagePath {
    elements: Vec<PathElement>,
    /// True if a job may end without ever having seen it.
    optional: bool,
}

/// The paths of an endpoint: the records first, then tokens, then probes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PagePaths {
    all: Vec<PagePath>,
    /// The number of tokens. A token is a short text, a number, a boolean or null.
    tokens: usize,
}

/// A path that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PathError {
    pub(crate) path: String,
    pub(crate) why: &'static str,
}

/// A set of paths. Bit n is the path with the index n.
pub(crate) type PathSet = u32;

/// The most paths of one endpoint: a [`PathSet`] has one bit for each.
const MOST: usize = 32;

impl PagePath {
    /// Parses a path. An empty text is the page itself.
    ///
    /// # Errors
    /// The reason why the text is no path.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        const KEY: &str = "expected a key on both sides of every dot";
        let mut elements = Vec::new();
        // JSONPath begins at `$`.
        let mut rest = match text.strip_prefix('$') {
            Some(rest) if rest.is_empty() || rest.starts_with(['.', '[']) => {
                rest.strip_prefix('.').unwrap_or(rest)
            }
            _ => text,
        };
        let mut first = true;
        while !rest.is_empty() {
            if let Some(inside) = rest.strip_prefix('[') {
                let (element, behind) = bracket(inside)?;
                elements.push(element);
                rest = behind;
            } else {
                // A dot stands between two keys, and before no bracket.
                let begin = if first { rest } else { rest.strip_prefix('.').ok_or(KEY)? };
                let (element, behind) = key(begin)?;
                elements.push(element.ok_or(KEY)?);
                rest = behind;
            }
            first = false;
        }
        Ok(Self { elements, optional: false })
    }

    /// Makes a path of keys that are taken as they are.
    pub(crate) fn of_keys(keys: &[String]) -> Self {
        Self { elements: keys.iter().cloned().map(PathElement::Key).collect(), optional: false }
    }

    /// Makes the path optional, if `optional`.
    pub(crate) fn or_optional(mut self, optional: bool) -> Self {
        self.optional |= optional;
        self
    }

    /// Tells whether the path is the page itself.
    pub(crate) fn is_root(&self) -> bool {
        self.elements.is_empty()
    }

    /// Tells whether several values of a page can have this path.
    fn is_many(&self) -> bool {
        self.elements.contains(&PathElement::Every)
    }

    /// Tells whether one of the paths leads through the other.
    fn crosses(&self, other: &Self) -> bool {
        let same = |(one, other): (&PathElement, &PathElement)| {
            one == other || matches!(one, PathElement::Every) || matches!(other, PathElement::Every)
        };
        self.elements.iter().zip(&other.elements).all(same)
    }
}

impl fmt::Display for PagePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, element) in self.elements.iter().enumerate() {
            match element {
                PathElement::Key(key) if key.contains(['.', '[', '\'', '"', '\\']) || key.is_empty() => {
                    write!(f, "['{key}']")?;
                }
                PathElement::Key(key) if nth == 0 => f.write_str(key)?,
                PathElement::Key(key) => write!(f, ".{key}")?,
                PathElement::Index(at) => write!(f, "[{at}]")?,
                PathElement::Every => f.write_str("[*]")?,
            }
        }
        Ok(())
    }
}

/// Reads what follows `[`, up to `]`. Returns the element and the rest.
fn bracket(inside: &str) -> Result<(PathElement, &str), &'static str> {
    const CLOSE: &str = "expected a `]` after every `[`";
    if let Some(quote @ ('\'' | '"')) = inside.chars().next() {
        let (key, behind) = quoted(&inside[1..], quote)?;
        return Ok((PathElement::Key(key), behind.strip_prefix(']').ok_or(CLOSE)?));
    }
    let (text, behind) = inside.split_once(']').ok_or(CLOSE)?;
    let element = match text.trim() {
        "*" | "" => PathElement::Every,
        number => PathElement::Index(
            number.parse().map_err(|_| "expected a number, `*` or a quoted key between `[` and `]`")?,
        ),
    };
    Ok((element, behind))
}

/// Reads a key up to the next dot or bracket. Returns `None` for an empty one.
fn key(text: &str) -> Result<(Option<PathElement>, &str), &'static str> {
    if let Some(quote @ ('\'' | '"')) = text.chars().next() {
        let (key, behind) = quoted(&text[1..], quote)?;
        return Ok((Some(PathElement::Key(key)), behind));
    }
    let mut key = String::new();
    let mut letters = text.char_indices();
    let mut plain = true;
    while let Some((at, letter)) = letters.next() {
        match letter {
            '.' | '[' => return Ok((named(key, plain), &text[at..])),
            // A backslash takes the next character as it is.
            '\\' => {
                plain = false;
                key.extend(letters.next().map(|(_, escaped)| escaped));
            }
            letter => key.push(letter),
        }
    }
    Ok((named(key, plain), ""))
}

/// Returns the element of a key without quotes.
fn named(key: String, plain: bool) -> Option<PathElement> {
    match key.as_str() {
        "" => None,
        "*" if plain => Some(PathElement::Every),
        _ => Some(PathElement::Key(key)),
    }
}

/// Reads a key up to its closing quote.
fn quoted(text: &str, quote: char) -> Result<(String, &str), &'static str> {
    let mut key = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => key.extend(letters.next().map(|(_, escaped)| escaped)),
            letter if letter == quote => return Ok((key, &text[at + letter.len_utf8()..])),
            letter => key.push(letter),
        }
    }
    Err("expected a closing quote")
}

impl PagePaths {
    /// Puts the paths of an endpoint together. `records` may be the page itself. A probe that leads through another
    /// path and is not `wanted` is left out.
    ///
    /// # Errors
    /// A [`PathError`] for a path that leads through another one.
    pub(crate) fn compile(
        records: PagePath,
        tokens: Vec<PagePath>,
        probes: Vec<PagePath>,
    ) -> Result<Self, PathError> {
        let count = tokens.len();
        let mut all = vec![records];
        for path in tokens.into_iter().chain(probes) {
            let error = |why| PathError { path: path.to_string(), why };
            if path.is_root() {
                return Err(error("expected at least one key"));
            }
            // The cutter gives each value one purpose: it is kept, or it is on the way to others. Where the page
            // itself is the records, the other paths are looked for in its one record.
            if all.iter().filter(|other| !other.is_root()).any(|other| path.crosses(other)) {
                return Err(error("expected a path that leads through no other path of this endpoint"));
            }
            all.push(path);
        }
        if all.len() > MOST {
            return Err(PathError {
                path: String::new(),
                why: "expected fewer paths and conditions in one endpoint",
            });
        }
        Ok(Self { all, tokens: count })
    }

    /// Adds a probe, unless it leads through another path. Returns its index among the probes.
    pub(crate) fn add_probe(&mut self, path: PagePath) -> Option<usize> {
        if self.all.len() >= MOST
            || self.all.iter().filter(|other| !other.is_root()).any(|other| path.crosses(other))
        {
            return None;
        }
        self.all.push(path);
        Some(self.all.len() - 2 - self.tokens)
    }

    /// Makes the path of a single value, without records.
    pub(super) fn only(path: PagePath) -> Self {
        // The records need a path as well: `\0` is a key that no API uses.
        Self { all: vec![PagePath::of_keys(&["\0".to_owned()]), path], tokens: 1 }
    }

    /// Returns the same tokens and probes without records, for the one record of a page that is its record.
    pub(crate) fn inside_record(&self) -> Self {
        let mut all = self.all.clone();
        all[0] = PagePath::of_keys(&["\0".to_owned()]);
        Self { all, tokens: self.tokens }
    }

    /// Returns the number of paths, the records' path included.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Returns the number of tokens.
    pub(crate) const fn tokens(&self) -> usize {
        self.tokens
    }

    /// Tells whether the path with this index takes containers too.
    pub(super) const fn is_probe(&self, nth: usize) -> bool {
        nth > self.tokens
    }

    /// Tells whether several values of a page can have the path with this index.
    pub(super) fn is_many(&self, nth: usize) -> bool {
        self.all.get(nth).is_some_and(PagePath::is_many)
    }

    /// Returns the path with this index as text.
    pub(super) fn text(&self, nth: usize) -> String {
        debug_assert!(nth < self.all.len(), "there is no path {nth}");
        self.all.get(nth).map(ToString::to_string).unwrap_or_default()
    }

    /// Returns the paths of records and tokens that are not optional and not in `seen`, as text.
    pub(crate) fn unseen(&self, seen: PathSet) -> Vec<String> {
        let missing =
            |nth: &usize| seen & (1 << nth) == 0 && !self.all[*nth].optional && !self.all[*nth].is_root();
        (0..=self.tokens).filter(missing).map(|nth| self.text(nth)).collect()
    }

    /// Returns the set of all paths.
    pub(super) fn every(&self) -> PathSet {
        (0..self.all.len()).fold(0, |set, nth| set | (1 << nth))
    }

    /// Tells whether the page itself is the records.
    pub(crate) fn at_root(&self) -> bool {
        self.all[0].is_root()
    }

    /// Returns the paths of `open` that have `key` at `depth`.
    pub(super) fn through(&self, open: PathSet, depth: usize, key: &[u8]) -> PathSet {
        self.matching(open, depth, |element| match element {
            PathElement::Key(name) => name.as_bytes() == key,
            PathElement::Every => true,
            PathElement::Index(_) => false,
        })
    }

    /// Returns the paths of `open` that have the element `at` of an array at `depth`.
    pub(super) fn through_element(&self, open: PathSet, depth: usize, at: usize) -> PathSet {
        self.matching(open, depth, |element| match element {
            PathElement::Index(index) => *index == at,
            PathElement::Every => true,
            PathElement::Key(digits) => digits.parse() == Ok(at),
        })
    }

    /// Returns the paths of `open` that can lead through an array at `depth`.
    pub(super) fn through_array(&self, open: PathSet, depth: usize) -> PathSet {
        self.matching(open, depth, |element| match element {
            PathElement::Index(_) | PathElement::Every => true,
            PathElement::Key(digits) => digits.parse::<usize>().is_ok(),
        })
    }

    fn matching(&self, open: PathSet, depth: usize, fits: impl Fn(&PathElement) -> bool) -> PathSet {
        let goes =
            |nth: &usize| open & (1 << nth) != 0 && self.all[*nth].elements.get(depth).is_some_and(&fits);
        (0..self.all.len()).filter(goes).fold(0, |set, nth| set | (1 << nth))
    }

    /// Returns the path of `open` that ends with the element at `depth`. No path leads through another, so it is
    /// the only one.
    pub(super) fn ending(&self, open: PathSet, depth: usize) -> Option<usize> {
        (0..self.all.len()).find(|&nth| open & (1 << nth) != 0 && self.all[nth].elements.len() == depth + 1)
    }

    /// Returns the first path of a set that is not empty, for messages.
    pub(super) fn first(&self, open: PathSet) -> String {
        debug_assert!(open != 0, "expected at least one path");
        self.text(open.trailing_zeros() as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> PagePath {
        PagePath::parse(text).unwrap()
    }

    #[test]
    fn paths_that_cross_are_refused() {
        let compile = |records, token| PagePaths::compile(path(records), vec![path(token)], Vec::new());
        assert!(compile("data", "data.next").is_err());
        assert!(compile("data[*].items", "data[0].next").is_ok());
        assert!(compile("data[*]", "data[0].next").is_err());
        assert!(compile("", "next").is_ok(), "it is looked for in the one record");
        assert!(compile("data", "data2.next").is_ok());
    }

    #[test]
    fn every_key_can_be_named() {
        let odata = PagePath::of_keys(&["@odata.nextLink".to_owned()]);
        for text in [
            "'@odata.nextLink'",
            "\"@odata.nextLink\"",
            "['@odata.nextLink']",
            "@odata\\.nextLink",
            "$['@odata.nextLink']",
        ] {
            assert_eq!(path(text), odata, "{text}");
        }
        let deep = [
            PathElement::Key("a".into()),
            PathElement::Every,
            PathElement::Index(3),
            PathElement::Key("b c".into()),
        ];
        for text in ["a[*][3].b c", "$.a.*[3]['b c']", "a[][ 3 ].'b c'"] {
            assert_eq!(path(text).elements, deep, "{text}");
        }
        assert_eq!(path("\\*").elements, [PathElement::Key("*".into())]);
        assert_eq!(path("a[*].b").to_string(), "a[*].b");
        assert_eq!(path("'@odata.nextLink'").to_string(), "['@odata.nextLink']");
        for broken in ["a..b", ".a", "a.", "a[", "a[x]", "'a", "a['b]"] {
            assert!(PagePath::parse(broken).is_err(), "{broken}");
        }
    }
}
