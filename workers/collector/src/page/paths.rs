//! The paths in a page that a job looks at.

/// Dotted paths of object keys: the records first, then the values for the pagination.
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

/// A set of paths. Bit n is the path with the index n.
pub(super) type PathSet = u32;

impl PagePaths {
    /// Splits the paths at their dots. `records` may be empty, for the page itself.
    ///
    /// # Errors
    /// A [`PathError`] for an empty key, and for a path that leads through another one.
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
                return Err(error("expected a key on both sides of every dot"));
            }
            // The cutter gives each value one purpose: it is kept, or it is on the way to others.
            let clashes = |other: &Vec<String>| path.starts_with(other) || other.starts_with(path);
            if all[..nth].iter().any(clashes) {
                return Err(error("expected a path that leads through no other path of this endpoint"));
            }
        }
        Ok(Self { all })
    }

    /// Makes the path of a single value, without records.
    pub(super) fn only(path: &str) -> Self {
        // The records need a path as well: `\0` is a key that no API uses.
        Self { all: vec![vec!["\0".to_owned()], path.split('.').map(str::to_owned).collect()] }
    }

    /// Returns the number of paths, the records' path included.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Returns the dotted path with this index.
    pub(super) fn text(&self, nth: usize) -> String {
        debug_assert!(nth < self.all.len(), "there is no path {nth}");
        self.all.get(nth).map(|path| path.join(".")).unwrap_or_default()
    }

    /// Returns the set of all paths.
    pub(super) fn every(&self) -> PathSet {
        (0..self.all.len()).fold(0, |set, nth| set | (1 << nth))
    }

    /// Tells whether the page itself is the records.
    pub(super) fn at_root(&self) -> bool {
        self.all[0].is_empty()
    }

    /// Returns the paths of `open` that have `key` at `depth`.
    pub(super) fn through(&self, open: PathSet, depth: usize, key: &[u8]) -> PathSet {
        let goes = |nth: &usize| {
            open & (1 << nth) != 0 && self.all[*nth].get(depth).is_some_and(|part| part.as_bytes() == key)
        };
        (0..self.all.len()).filter(goes).fold(0, |set, nth| set | (1 << nth))
    }

    /// Returns the path of `open` that ends with the key at `depth`. No path leads through another, so it is
    /// the only one.
    pub(super) fn ending(&self, open: PathSet, depth: usize) -> Option<usize> {
        (0..self.all.len()).find(|&nth| open & (1 << nth) != 0 && self.all[nth].len() == depth + 1)
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

    #[test]
    fn paths_that_cross_are_refused() {
        assert!(PagePaths::compile("data", &["data.next"]).is_err());
        assert!(PagePaths::compile("data..x", &[]).is_err());
        assert!(PagePaths::compile("", &["next"]).is_err());
        assert!(PagePaths::compile("data", &["data2.next", "meta.next"]).is_ok());
    }
}
