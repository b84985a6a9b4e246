//! The oracle: what went in and what came out, record by record.
//!
//! | it finds | when |
//! |---|---|
//! | lost | a record in the source topic has neither output nor dead letter |
//! | twice | it has more than one |
//! | ghost | an output's source does not exist, holds another number, or was aborted |
//! | order | within a key an output comes after one with a higher number |
//! | generator | an acknowledged number is not in the source, or an aborted or refused one is |
//! | committed | the group's position is not one past the last record of a partition |
//!
//! A torn batch, of which a part became visible and the rest was done again, shows as *twice*; one whose offsets were
//! committed without its outputs as *lost*. Offsets that hold no record (transaction markers, aborted records) are legal.
//!
//! Pure and frugal: a run of fifty million records takes about 300 MB.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use crate::feed::{FeedLog, FeedRecordFate};

/// How many findings of a kind are told one by one.
const TOLD: usize = 5;

/// What was found, by kind; nothing is what is wanted.
#[derive(Debug, Default)]
pub struct OracleFindings {
    kinds: BTreeMap<&'static str, (u64, Vec<String>)>,
}

impl OracleFindings {
    pub(crate) fn add(&mut self, kind: &'static str, what: impl FnOnce() -> String) {
        let (count, told) = self.kinds.entry(kind).or_default();
        *count += 1;
        if told.len() < TOLD {
            told.push(what());
        }
    }

    /// Was nothing found?
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// How many of a kind.
    pub fn count(&self, kind: &str) -> u64 {
        self.kinds.get(kind).map_or(0, |(count, _)| *count)
    }
}

impl fmt::Display for OracleFindings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, (count, told)) in &self.kinds {
            writeln!(f, "{kind}: {count}, such as {}", told.join("; "))?;
        }
        Ok(())
    }
}

/// What adds up when nothing was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OracleCounts {
    /// Records that the source topic holds.
    pub sources: u64,
    /// Their outputs.
    pub outputs: u64,
    /// Their dead letters.
    pub letters: u64,
    /// Numbers that were aborted or refused, and are nowhere.
    pub failed: u64,
}

/// A record of the source topic.
#[derive(Clone, Copy, Default)]
struct OracleSourceRecord {
    /// Its number plus one; 0: no record at this offset; `POISON`: a record without a number.
    number: u32,
    exits: u8,
}

const POISON: u32 = u32::MAX;

/// Takes in source first, then outputs and letters in the order of their partitions, then positions.
pub struct RecordOracle {
    sent: FeedLog,
    seen: Vec<u8>,
    sources: BTreeMap<i32, Vec<OracleSourceRecord>>,
    last_of_key: HashMap<Vec<u8>, u32>,
    findings: OracleFindings,
    counts: OracleCounts,
}

impl RecordOracle {
    /// An oracle for what a feed has sent.
    pub fn new(sent: FeedLog) -> Self {
        let seen = vec![0; sent.fates.len()];
        Self {
            sent,
            seen,
            sources: BTreeMap::new(),
            last_of_key: HashMap::new(),
            findings: OracleFindings::default(),
            counts: OracleCounts::default(),
        }
    }

    /// A record of the source topic; `number` is `None` for poison that was put there on purpose.
    pub fn source(&mut self, at: (i32, i64), number: Option<i64>) {
        self.counts.sources += 1;
        let number = match number {
            None => POISON,
            Some(n) => match usize::try_from(n).ok().and_then(|n| self.seen.get_mut(n)) {
                None => {
                    self.findings.add("generator", || format!("{at:?} holds {n}, which was never sent"));
                    POISON
                }
                Some(seen) => {
                    *seen = seen.saturating_add(1);
                    u32::try_from(n).unwrap_or(POISON - 1) + 1
                }
            },
        };
        let partition = self.sources.entry(at.0).or_default();
        let index = usize::try_from(at.1).unwrap_or_default();
        if partition.len() <= index {
            partition.resize(index + 1, OracleSourceRecord::default());
        }
        partition[index] = OracleSourceRecord { number, exits: 0 };
    }

    fn leave(&mut self, source: (i32, i64), what: &'static str) -> Option<u32> {
        let index = usize::try_from(source.1).unwrap_or(usize::MAX);
        let found = self.sources.get_mut(&source.0).and_then(|partition| partition.get_mut(index));
        let found = found.filter(|found| found.number > 0);
        let Some(found) = found else {
            self.findings.add("ghost", || format!("{what} of {source:?}, where no committed record is"));
            return None;
        };
        found.exits = found.exits.saturating_add(1);
        let (number, again) = (found.number, found.exits > 1);
        if again {
            self.findings.add("twice", || format!("{what} of {source:?} again"));
        }
        Some(number)
    }

    /// An output, with the place it says it comes from and the number it carries.
    pub fn output(&mut self, key: &[u8], source: (i32, i64), n: i64) {
        self.counts.outputs += 1;
        let Some(number) = self.leave(source, "an output") else { return };
        if i64::from(number) != n + 1 {
            self.findings.add("ghost", || format!("the output of {source:?} carries {n}"));
            return;
        }
        match self.last_of_key.get_mut(key) {
            Some(last) if *last > number => {
                let last = *last;
                self.findings.add("order", || format!("{n} after {} within a key", last - 1));
            }
            Some(last) => *last = number,
            None => drop(self.last_of_key.insert(key.to_vec(), number)),
        }
    }

    /// A dead letter, with the place it says it comes from.
    pub fn letter(&mut self, source: (i32, i64)) {
        self.counts.letters += 1;
        self.leave(source, "a dead letter");
    }

    /// Where the group stands in a partition of the source topic.
    pub fn committed(&mut self, positions: &BTreeMap<i32, i64>) {
        for (partition, records) in &self.sources {
            let end = records.iter().rposition(|record| record.number > 0).map_or(0, |last| last as i64 + 1);
            let position = positions.get(partition).copied().unwrap_or(0);
            if position != end {
                self.findings.add("committed", || format!("partition {partition}: {position}, not {end}"));
            }
        }
    }

    /// What adds up, or what does not.
    ///
    /// # Errors
    /// Everything that was found.
    pub fn verdict(mut self) -> Result<OracleCounts, OracleFindings> {
        for (partition, records) in &self.sources {
            for (offset, record) in records.iter().enumerate() {
                if record.number > 0 && record.exits == 0 {
                    self.findings.add("lost", || format!("({partition}, {offset})"));
                }
            }
        }
        for (n, (fate, seen)) in self.sent.fates.iter().zip(&self.seen).enumerate() {
            let legal = match fate {
                FeedRecordFate::Ok => *seen == 1,
                FeedRecordFate::Fail => *seen == 0,
                FeedRecordFate::Unknown => *seen <= 1,
            };
            if !legal {
                self.findings.add("generator", || format!("{n} is {fate:?} and there {seen} times"));
            }
            self.counts.failed += u64::from(*fate == FeedRecordFate::Fail);
        }
        let OracleCounts { sources, outputs, letters, .. } = self.counts;
        if sources != outputs + letters && self.findings.is_empty() {
            self.findings.add("lost", || format!("{sources} records, {outputs} outputs, {letters} letters"));
        }
        if self.findings.is_empty() { Ok(self.counts) } else { Err(self.findings) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers 0, 1, 3 at offsets 0, 1, 3 of partition 0; 2 was aborted.
    fn oracle() -> RecordOracle {
        let fates =
            vec![FeedRecordFate::Ok, FeedRecordFate::Ok, FeedRecordFate::Fail, FeedRecordFate::Unknown];
        let mut oracle = RecordOracle::new(FeedLog { fates, ends: BTreeMap::new() });
        for n in [0, 1, 3] {
            oracle.source((0, n), Some(n));
        }
        oracle
    }

    fn verdict(
        outputs: &[(&[u8], i64, i64)],
        letters: &[i64],
        committed: i64,
    ) -> Result<OracleCounts, OracleFindings> {
        let mut oracle = oracle();
        for (key, source, n) in outputs {
            oracle.output(key, (0, *source), *n);
        }
        for source in letters {
            oracle.letter((0, *source));
        }
        oracle.committed(&BTreeMap::from([(0, committed)]));
        oracle.verdict()
    }

    #[test]
    fn what_adds_up_passes() {
        let counts = verdict(&[(b"a", 0, 0), (b"a", 3, 3)], &[1], 4).unwrap();
        assert_eq!(counts, OracleCounts { sources: 3, outputs: 2, letters: 1, failed: 1 });
    }

    #[test]
    fn each_kind_of_wrong_is_found() {
        let good: [(&[u8], i64, i64); 3] = [(b"a", 0, 0), (b"a", 1, 1), (b"b", 3, 3)];
        assert_eq!(verdict(&good[..2], &[], 4).unwrap_err().count("lost"), 1);
        assert_eq!(verdict(&good, &[1], 4).unwrap_err().count("twice"), 1);
        assert_eq!(verdict(&[good[1], good[0], good[2]], &[], 4).unwrap_err().count("order"), 1);
        assert_eq!(
            verdict(&[good[0], good[1], good[2], (b"c", 2, 2)], &[], 4).unwrap_err().count("ghost"),
            1
        );
        assert_eq!(verdict(&[good[0], good[1], (b"b", 3, 1)], &[], 4).unwrap_err().count("ghost"), 1);
        assert_eq!(verdict(&good, &[], 3).unwrap_err().count("committed"), 1);
        let mut aborted = oracle();
        aborted.source((0, 2), Some(2));
        assert_eq!(aborted.verdict().unwrap_err().count("generator"), 1);
    }
}
