//! Pages that move while they are read. An API that counts pages over a changing table repeats rows when others come
//! in before them, and leaves rows out when others go; the job cannot undo that, but it can notice.

use std::collections::HashSet;
use std::fmt;

/// What was noticed behind one page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DriftNotice {
    /// The API says another total than before.
    TotalMoved { before: u64, now: u64 },
    /// So many records of this page stood in the one before too.
    Overlap(u64),
    /// Fewer or more records came than the API said there are.
    TotalUntrue { said: u64, came: u64 },
}

impl fmt::Display for DriftNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TotalMoved { before, now } => write!(f, "the API said {before} records in all, now {now}"),
            Self::Overlap(records) => write!(f, "{records} records stood in the page before too"),
            Self::TotalUntrue { said, came } => {
                write!(f, "the API said {said} records in all, but {came} came")
            }
        }
    }
}

/// What is remembered of one endpoint's pages of one id.
#[derive(Debug, Default)]
pub(crate) struct PageDriftDetector {
    total: Option<u64>,
    before: HashSet<u64>,
    came: u64,
    /// From a page in the middle nothing can be said about how many came.
    partly: bool,
}

impl PageDriftDetector {
    /// Begins at a page, counted from 0.
    pub(crate) fn begin(page: u64) -> Self {
        Self { partly: page > 0, ..Self::default() }
    }

    /// A page with its total, the hashes of its first records and its number of records.
    pub(crate) fn page(&mut self, total: Option<&str>, hashes: &[u64], records: u64) -> Vec<DriftNotice> {
        let mut noticed = Vec::new();
        self.came += records;
        if let Some(now) = total.and_then(|total| total.parse().ok())
            && let Some(before) = self.total.replace(now).filter(|before| *before != now)
        {
            noticed.push(DriftNotice::TotalMoved { before, now });
        }
        let overlap = hashes.iter().filter(|hash| self.before.contains(hash)).count() as u64;
        if overlap > 0 {
            noticed.push(DriftNotice::Overlap(overlap));
        }
        self.before.clear();
        self.before.extend(hashes);
        noticed
    }

    /// The last page was read.
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
