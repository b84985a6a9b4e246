//! One page of JSON: the records as slices of the body, and the few values that lead to the next page. The body is
//! walked once for both and once more for the records' bounds; no value tree is built.

use std::borrow::Cow;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Where in a page to look: dotted paths of object keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Paths {
    /// The records first, then what the pagination wants.
    all: Vec<Vec<String>>,
}

/// A path that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PathError {
    pub(crate) path: String,
    pub(crate) why: &'static str,
}

/// A page that is not what the configuration says. Never quotes the page.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PageError {
    #[error("not JSON (line {line}, column {column})")]
    NotJson { line: usize, column: usize },
    #[error("the JSON ends too early")]
    Truncated,
    #[error("no `{0}` in the page")]
    Missing(String),
    #[error("`{0}` is neither an array nor an object")]
    NotRecords(String),
    #[error("the value that leads to the next page is neither text, number, boolean nor null")]
    NotToken,
}

/// What was found in a page.
#[derive(Debug)]
pub(crate) struct Found<'a> {
    records: Option<&'a RawValue>,
    /// In the order the pagination asked for them; absent and null alike are `None`.
    pub(crate) values: Vec<Option<String>>,
}

impl Paths {
    /// `records` may be empty: the page itself. No path may lead through another.
    pub(crate) fn compile(records: &str, wanted: &[&str]) -> Result<Self, PathError> {
        let split = |path: &str| match path {
            "" => Vec::new(),
            path => path.split('.').map(str::to_owned).collect::<Vec<_>>(),
        };
        let all: Vec<Vec<String>> =
            std::iter::once(records).chain(wanted.iter().copied()).map(split).collect();
        for (nth, path) in all.iter().enumerate() {
            let error = |why| PathError { path: path.join("."), why };
            if path.iter().any(String::is_empty) || (nth > 0 && path.is_empty()) {
                return Err(error("has an empty part"));
            }
            let clashes = |other: &Vec<String>| path.starts_with(other) || other.starts_with(path);
            if all[..nth].iter().any(clashes) {
                return Err(error("leads through another path of this endpoint"));
            }
        }
        Ok(Self { all })
    }

    /// Walks a page once.
    pub(crate) fn find<'a>(&self, body: &'a [u8]) -> Result<Found<'a>, PageError> {
        let mut hits: Vec<Option<&'a RawValue>> = vec![None; self.all.len()];
        if self.all[0].is_empty() {
            hits[0] = Some(serde_json::from_slice(body).map_err(|error| broken(&error))?);
            // Only pages that are an array have no room for anything else.
        } else {
            let mut reader = serde_json::Deserializer::from_slice(body);
            let open: Vec<usize> = (0..self.all.len()).collect();
            let level = Level { paths: &self.all, open, depth: 0, hits: &mut hits };
            level.deserialize(&mut reader).and_then(|()| reader.end()).map_err(|error| broken(&error))?;
        }
        let records = hits[0].ok_or_else(|| PageError::Missing(self.all[0].join(".")))?;
        let first = records.get().as_bytes().first().copied();
        let records = match first {
            Some(b'[' | b'{') => Some(records),
            Some(b'n') => None,
            _ => return Err(PageError::NotRecords(self.all[0].join("."))),
        };
        let values = hits[1..].iter().map(|hit| hit.map_or(Ok(None), token)).collect::<Result<_, _>>()?;
        Ok(Found { records, values })
    }
}

impl<'a> Found<'a> {
    /// Lends each record's JSON text in order; an object is one record.
    pub(crate) fn each(&self, take: impl FnMut(&'a [u8])) -> Result<(), PageError> {
        let Some(records) = self.records else { return Ok(()) };
        let mut take = take;
        if records.get().starts_with('{') {
            take(records.get().as_bytes());
            return Ok(());
        }
        let mut reader = serde_json::Deserializer::from_str(records.get());
        reader.deserialize_seq(Elements(take)).map_err(|error| broken(&error))
    }
}

/// Category and place only: serde's own words may quote what they found.
fn broken(error: &serde_json::Error) -> PageError {
    match error.is_eof() {
        true => PageError::Truncated,
        false => PageError::NotJson { line: error.line(), column: error.column() },
    }
}

fn token(raw: &RawValue) -> Result<Option<String>, PageError> {
    match raw.get().as_bytes().first() {
        Some(b'n') => Ok(None),
        Some(b'"') => serde_json::from_str(raw.get()).map(Some).map_err(|error| broken(&error)),
        Some(b'[' | b'{') | None => Err(PageError::NotToken),
        Some(_) => Ok(Some(raw.get().to_owned())),
    }
}

/// One object on the way to the paths that are still open.
struct Level<'p, 'h, 'a> {
    paths: &'p [Vec<String>],
    open: Vec<usize>,
    depth: usize,
    hits: &'h mut Vec<Option<&'a RawValue>>,
}

impl<'a> DeserializeSeed<'a> for Level<'_, '_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Level<'_, '_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object on the way to the records")
    }

    /// `null` where an object was on the way to an optional token: what lies behind it is absent.
    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(Key(key)) = map.next_key::<Key<'a>>()? {
            let here: Vec<usize> =
                self.open.iter().copied().filter(|&nth| self.paths[nth][self.depth] == key).collect();
            match here.as_slice() {
                [] => drop(map.next_value::<IgnoredAny>()?),
                [nth, ..] if self.paths[*nth].len() == self.depth + 1 => {
                    if self.hits[*nth].replace(map.next_value()?).is_some() {
                        return Err(M::Error::custom("a key stands twice in one object"));
                    }
                }
                _ => {
                    let depth = self.depth + 1;
                    map.next_value_seed(Level {
                        paths: self.paths,
                        open: here,
                        depth,
                        hits: &mut *self.hits,
                    })?;
                }
            }
        }
        Ok(())
    }
}

/// An object's key, borrowed unless it holds escapes.
struct Key<'a>(Cow<'a, str>);

impl<'a> serde::Deserialize<'a> for Key<'a> {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'a> Visitor<'a> for Either {
            type Value = Key<'a>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, key: &'a str) -> Result<Key<'a>, E> {
                Ok(Key(Cow::Borrowed(key)))
            }

            fn visit_str<E>(self, key: &str) -> Result<Key<'a>, E> {
                Ok(Key(Cow::Owned(key.to_owned())))
            }
        }
        deserializer.deserialize_str(Either)
    }
}

/// The elements of the array of records.
struct Elements<F>(F);

impl<'a, F: FnMut(&'a [u8])> Visitor<'a> for Elements<F> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of records")
    }

    fn visit_seq<S: serde::de::SeqAccess<'a>>(mut self, mut records: S) -> Result<(), S::Error> {
        while let Some(record) = records.next_element::<&'a RawValue>()? {
            (self.0)(record.get().as_bytes());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(paths: &Paths, body: &str) -> Result<(Vec<String>, Vec<Option<String>>), PageError> {
        let found = paths.find(body.as_bytes())?;
        let mut all = Vec::new();
        found.each(|record| all.push(String::from_utf8(record.to_vec()).unwrap()))?;
        Ok((all, found.values))
    }

    #[test]
    fn records_and_token_in_either_order() {
        let paths = Paths::compile("data.items", &["data.meta.next"]).unwrap();
        for body in [
            r#"{"x":[1],"data":{"meta":{"next":"a\u0062"},"items":[{"a":1}, 2]}}"#,
            r#"{"data":{"items":[{"a":1}, 2],"meta":{"next":"ab","z":{}}}, "y":{"data":5}}"#,
        ] {
            let (all, values) = records(&paths, body).unwrap();
            assert_eq!(all, [r#"{"a":1}"#, "2"]);
            assert_eq!(values, [Some("ab".to_owned())]);
        }
    }

    #[test]
    fn the_page_itself_and_one_object() {
        let root = Paths::compile("", &[]).unwrap();
        assert_eq!(records(&root, " [1,2] ").unwrap().0, ["1", "2"]);
        let one = Paths::compile("data", &[]).unwrap();
        assert_eq!(records(&one, r#"{"data":{"tailnum":"N1"}}"#).unwrap().0, [r#"{"tailnum":"N1"}"#]);
        assert_eq!(records(&one, r#"{"data":null}"#).unwrap().0, [""; 0]);
    }

    #[test]
    fn tokens_of_any_plain_type() {
        let paths = Paths::compile("d", &["n", "m", "k.l"]).unwrap();
        let values = |body| records(&paths, body).unwrap().1;
        assert_eq!(
            values(r#"{"d":[],"n":12,"m":false,"k":null}"#),
            [Some("12".into()), Some("false".into()), None]
        );
        assert_eq!(values(r#"{"d":[],"n":null}"#), [None, None, None]);
        assert_eq!(records(&paths, r#"{"d":[],"n":[1]}"#).unwrap_err(), PageError::NotToken);
    }

    #[test]
    fn what_is_not_the_page_is_said_without_quoting_it() {
        let paths = Paths::compile("data", &[]).unwrap();
        let error = |body: &str| records(&paths, body).unwrap_err();
        assert_eq!(error("<html>secret</html>"), PageError::NotJson { line: 1, column: 1 });
        assert_eq!(error(r#"{"data":[{"a":1},{"a"#), PageError::Truncated);
        assert_eq!(error(r#"{"items":[]}"#), PageError::Missing("data".into()));
        assert_eq!(error(r#"{"data":"secret"}"#), PageError::NotRecords("data".into()));
        assert!(matches!(error(r#"{"data":[]} x"#), PageError::NotJson { .. }));
        assert!(matches!(error(r#"{"data":[],"data":[1]}"#), PageError::NotJson { .. }));
        assert!(matches!(error(r#""secret""#), PageError::NotJson { .. }));
        let mut bytes = br#"{"data":[""#.to_vec();
        bytes.extend([0xff, b'"', b']', b'}']);
        assert!(paths.find(&bytes).is_err(), "not UTF-8");
    }

    #[test]
    fn paths_that_cross_are_refused() {
        assert!(Paths::compile("data", &["data.next"]).is_err());
        assert!(Paths::compile("data..x", &[]).is_err());
        assert!(Paths::compile("", &["next"]).is_err());
        assert!(Paths::compile("data", &["data2.next", "meta.next"]).is_ok());
    }
}
