//! The paths of an endpoint that the pages of a run had. A path that no page had is a mistake of the job's file, or a
//! change of the API. If it were not reported, all records behind it would be missing in silence.

use crate::page::{PagePaths, PageValues, PathSet};

/// The most keys that a message names.
const KEYS: usize = 24;

/// The paths that one endpoint's pages had.
#[derive(Debug, Default)]
pub(crate) struct PathSightings {
    pages: u64,
    seen: PathSet,
    /// Keys of the objects that the paths lead through; never values.
    keys: Vec<String>,
}

impl PathSightings {
    /// Notes the paths of a page.
    pub(crate) fn note(&mut self, values: &PageValues) {
        self.pages += 1;
        self.seen |= values.found;
        for key in &values.keys {
            if self.keys.len() < KEYS && !self.keys.contains(key) {
                self.keys.push(key.clone());
            }
        }
    }

    /// Returns a sentence for each path that no page had.
    pub(crate) fn report(&self, endpoint: &str, paths: &PagePaths) -> Vec<String> {
        if self.pages == 0 {
            return Vec::new();
        }
        let keys = match self.keys.is_empty() {
            true => "the pages had no keys there".to_owned(),
            false => format!("the pages had the keys {}", self.keys.join(", ")),
        };
        let sentence = |path: String| {
            format!(
                "endpoint {endpoint}: expected `{path}` in some page, but none of {} had it; {keys}; mend the path, or \
                 say `optional: true`",
                self.pages
            )
        };
        paths.unseen(self.seen).into_iter().map(sentence).collect()
    }
}
