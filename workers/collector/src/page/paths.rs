//! Where in a page to look.

/// Dotted paths of object keys: the records first, then what the pagination wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PagePaths {
    all: Vec<Vec<String>>,
}

/// A path that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PathError {
    pub(crate) path: String,
    pub(crate) why: &'static str,
}

/// A set of paths, as bits.
pub(super) type PathSet = u32;

impl PagePaths {
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

    /// A value's path alone; no key of JSON is the records'.
    pub(super) fn only(path: &str) -> Self {
        Self { all: vec![vec!["\0".to_owned()], path.split('.').map(str::to_owned).collect()] }
    }

    /// How many there are, the records' own among them.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn text(&self, nth: usize) -> String {
        self.all.get(nth).map(|path| path.join(".")).unwrap_or_default()
    }

    pub(super) fn every(&self) -> PathSet {
        (0..self.all.len()).fold(0, |set, nth| set | (1 << nth))
    }

    /// Is the page itself the records?
    pub(super) fn at_root(&self) -> bool {
        self.all[0].is_empty()
    }

    /// Those of `open` that go through `key` at `depth`.
    pub(super) fn through(&self, open: PathSet, depth: usize, key: &[u8]) -> PathSet {
        let goes = |nth: &usize| {
            open & (1 << nth) != 0 && self.all[*nth].get(depth).is_some_and(|part| part.as_bytes() == key)
        };
        (0..self.all.len()).filter(goes).fold(0, |set, nth| set | (1 << nth))
    }

    /// The one of `open` that ends with the key at `depth`; none crosses another, so then it is the only one.
    pub(super) fn ending(&self, open: PathSet, depth: usize) -> Option<usize> {
        (0..self.all.len()).find(|&nth| open & (1 << nth) != 0 && self.all[nth].len() == depth + 1)
    }

    /// The first of `open`, for messages.
    pub(super) fn first(&self, open: PathSet) -> String {
        self.text(open.trailing_zeros() as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_cross_are_refused() {
        assert!(PagePaths::compile("data", &["data.next"]).is_err());
        assert!(PagePaths::compile("data..x", &[]).is_err());
        assert!(PagePaths::compile("", &["next"]).is_err());
        assert!(PagePaths::compile("data", &["data2.next", "meta.next"]).is_ok());
    }
}
