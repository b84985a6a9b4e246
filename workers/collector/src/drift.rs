//! Page drift: pages that move while they are read. An API that counts pages over a changing table repeats
//! rows when others come in before them, and leaves rows out when others go. The job cannot undo that, but it
//! can notice it.

use std::collections::HashSet;
use std::fmt;

/// A sign of page drift.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DriftNotice {
    /// The API names another total than before.
    TotalMoved { before: u64, now: u64 },
    /// The number of records of this page that were in the page before too.
    Overlap(u64),
    /// Fewer or more records came than the API announced.
    TotalUntrue { said: u64, came: u64 },
}

impl fmt::Display for DriftNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TotalMoved { before, now } => {
                write!(f, "the API announced {before} records in all, now {now}")
            }
            Self::Overlap(records) => write!(f, "{records} records were in the page before too"),
            Self::TotalUntrue { said, came } => {
                write!(f, "the API announced {said} records in all, but {came} came")
            }
        }
    }
}

/// Watches the pages of one endpoint of one id.
#[derive(Debug, Default)]
pub(crate) struct PageDriftDetector {
    /// The total that the API named last.
    total: Option<u64>,
    /// Hashes of the first records of the page before.
    before: HashSet<u64>,
    /// Records so far.
    came: u64,
    /// True if the walk began in the middle: the records of the pages before were not counted.
    partly: bool,
}

impl PageDriftDetector {
    /// Begins at a page, counted from 0.
    pub(crate) fn begin(page: u64) -> Self {
        Self { partly: page > 0, ..Self::default() }
    }

    /// Compares a page with the one before. `total` is the API's text, `hashes` are those of the page's first
    /// records, and `records` is the number of its records.
    pub(crate) fn page(&mut self, total: Option<&str>, hashes: &[u64], records: u64) -> Vec<DriftNotice> {
        let mut noticed = Vec::new();
        self.came += records;
        // A total that is no number is ignored: it may be a text such as "many".
        if let Some(now) = total.and_then(|total| total.parse().ok())
            && let Some(before) = self.total.replace(now).filter(|before| *before != now)
        {
            noticed.push(DriftNotice::TotalMoved { before, now });
        }
        // Rows that came in before this page push the last rows of the page before into it.
        let overlap = hashes.iter().filter(|hash| self.before.contains(hash)).count() as u64;
        if overlap > 0 {
            noticed.push(DriftNotice::Overlap(overlap));
        }
        self.before.clear();
        self.before.extend(hashes);
        noticed
    }

    /// Compares the number of records with the total after the last page.
    pub(crate) fn end(&self) -> Option<DriftNotice> {
        let said = self.total.filter(|said| !self.partly && *said != self.came)?;
        Some(DriftNotice::TotalUntrue { said, came: self.came })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_that_stand_still_are_quiet() {
        let mut drift = PageDriftDetector::begin(0);
        assert_eq!(drift.page(Some("4"), &[1, 2], 2), []);
        assert_eq!(drift.page(Some("4"), &[3, 4], 2), []);
        assert_eq!(drift.end(), None);
    }

    #[test]
    fn pages_that_grow_shrink_or_lie_are_noticed() {
        let mut drift = PageDriftDetector::begin(0);
        drift.page(Some("4"), &[1, 2], 2);
        let noticed = drift.page(Some("5"), &[2, 3], 2);
        assert_eq!(noticed, [DriftNotice::TotalMoved { before: 4, now: 5 }, DriftNotice::Overlap(1)]);
        assert_eq!(drift.end(), Some(DriftNotice::TotalUntrue { said: 5, came: 4 }));
        let mut resumed = PageDriftDetector::begin(3);
        resumed.page(Some("9"), &[1], 1);
        assert_eq!(resumed.end(), None, "the pages before were counted by someone else");
    }
}
