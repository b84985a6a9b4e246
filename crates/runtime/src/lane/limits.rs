//! The limit of dead letters. Above it the worker, its contract or the producer is wrong, and not the
//! records. The lane then stops and does not drain its topic into dead letters. Pure.
//!
//! The count is per partition, over the records taken in since the partition was assigned:
//!
//! | last records | dead letters among them | in a row | with the defaults |
//! |---|---|---|---|
//! | 30 | 12 | 12 | goes on: a few records prove nothing |
//! | 100 | 100 | 100 | stops: `least` is reached, and 100 % is above 10 % |
//! | 1,000 | 100 | any | goes on: 10 % is not above 10 % |
//! | 1,000 | 101 | any | stops |
//! | 10,000 | 499 at the end | 499 | goes on |
//! | 10,000 | 500 at the end | 500 | stops: a new schema or a broken producer refuses everything from here on |
//! | 100,000 | 1,000, of which 990 long ago | 10 | goes on: only the last `window` records count |

use std::collections::VecDeque;
use std::fmt;

use sluice_core::{Domain, Fault, Offset, ReasonClass, Retry, TopicPartition};

/// The numbers of dead letters from which on a lane stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadLetterThresholds {
    /// The lane stops if more than this percentage of the last `window` records are dead letters …
    pub percent: u64,
    /// … and they are at least this number of records. A few bad records of a small topic do not stop a lane.
    pub least: u64,
    /// The number of latest records that are judged.
    pub window: u64,
    /// The lane also stops at this number of dead letters in a row, whatever came before.
    pub streak: u64,
}

impl Default for DeadLetterThresholds {
    fn default() -> Self {
        Self { percent: 10, least: 100, window: 10_000, streak: 500 }
    }
}

/// One partition's count. A batch that is given up takes its records back, because they are read again.
#[derive(Debug, Clone, Default)]
pub struct DeadLetterGauge {
    /// The count with the open batch.
    open: GaugeTally,
    /// The count up to the last commit.
    proven: GaugeTally,
}

#[derive(Debug, Clone, Default)]
struct GaugeTally {
    /// Number of records.
    seen: u64,
    /// Dead letters among the last `window` records, in order: the record's number in `seen`, and its offset.
    letters: VecDeque<(u64, Offset)>,
    /// Dead letters in a row, up to the last record.
    streak: u64,
}

/// The counts at which a limit was reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThresholdBreach {
    /// Number of dead letters …
    pub letters: u64,
    /// … among this number of records.
    pub of: u64,
    /// Dead letters in a row at the end.
    pub streak: u64,
    /// Offset of the first dead letter in the window.
    pub first: Offset,
    /// Offset of the last dead letter.
    pub last: Offset,
}

impl DeadLetterGauge {
    /// Counts a record that was not refused.
    pub fn passed(&mut self) {
        self.open.seen += 1;
        self.open.streak = 0;
    }

    /// Counts a record that is to become a dead letter. Returns the counts if a limit is reached.
    pub fn refused(&mut self, at: Offset, limits: &DeadLetterThresholds) -> Option<ThresholdBreach> {
        let tally = &mut self.open;
        tally.seen += 1;
        tally.streak += 1;
        tally.letters.push_back((tally.seen, at));

        // Dead letters that have left the window no longer count.
        let oldest = tally.seen.saturating_sub(limits.window);
        while tally.letters.front().is_some_and(|(seen, _)| *seen <= oldest) {
            tally.letters.pop_front();
        }

        // A partition may have fewer records than the window is long.
        let letters = tally.letters.len() as u64;
        let of = tally.seen.min(limits.window);
        let too_many = letters >= limits.least && letters * 100 > limits.percent * of;
        if !too_many && tally.streak < limits.streak {
            return None;
        }

        // A window of 0 records holds no letter; the refused record is then the first and the last one.
        let first = tally.letters.front().map_or(at, |(_, offset)| *offset);
        Some(ThresholdBreach { letters, of, streak: tally.streak, first, last: at })
    }

    /// Counts a record that was counted as good and is to become a dead letter after all. Returns the breach of the
    /// thresholds, if it is one. The streak stays as it is, because such records do not come in order.
    pub fn refused_late(&mut self, at: Offset, limits: &DeadLetterThresholds) -> Option<ThresholdBreach> {
        let streak = std::mem::take(&mut self.open.streak);
        self.open.seen = self.open.seen.saturating_sub(1);
        let breach = self.refused(at, limits);
        self.open.streak = streak;
        breach
    }

    /// Makes the open count the proven one: the open batch is committed.
    pub fn settle(&mut self) {
        self.proven.clone_from(&self.open);
    }

    /// Goes back to the proven count: the open batch is given up.
    pub fn give_up(&mut self) {
        self.open.clone_from(&self.proven);
    }
}

/// The reason of a lane's stop, with the action for the operator. The binary ends with exit code 1, the code
/// of a finding.
#[derive(Debug)]
pub struct TooManyDeadLetters {
    /// The partition.
    pub at: TopicPartition,
    /// The counts.
    pub tripped: ThresholdBreach,
    /// Class of the last dead letter.
    pub class: ReasonClass,
    /// Field path of the last dead letter; may be empty.
    pub path: String,
}

impl fmt::Display for TooManyDeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The finding: where, how many, which offsets.
        let ThresholdBreach { letters, of, streak, first, last } = &self.tripped;
        write!(
            f,
            "{}: {letters} of the last {of} records would be dead letters ({streak} in a row, offsets {first} to \
             {last}). The last one: class {}",
            self.at,
            self.class.as_str()
        )?;
        // An empty path is a reason about the record as a whole.
        if !self.path.is_empty() {
            write!(f, ", field {}", self.path)?;
        }

        // The state that the lane leaves behind, and the choices of the operator.
        write!(
            f,
            ". The open batch was given up: these dead letters are not written, and the group's position is before \
             them. Mend the producer, the contract or the worker and start it again. `sluice dead-letters ls` lists \
             earlier dead letters. To write these as dead letters all the same, raise `limits.dead_letters`."
        )
    }
}

impl std::error::Error for TooManyDeadLetters {}

impl From<TooManyDeadLetters> for Fault {
    fn from(limit: TooManyDeadLetters) -> Self {
        Self::new(Domain::User, Retry::Never, "stopped by the limit of dead letters", limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a row of the truth table, in which `true` is a dead letter. Returns the number of the record that
    /// reaches the limit.
    fn stops_at(records: impl IntoIterator<Item = bool>) -> Option<usize> {
        let mut gauge = DeadLetterGauge::default();
        records.into_iter().enumerate().find_map(|(at, refused)| {
            if !refused {
                gauge.passed();
                return None;
            }
            gauge.refused(Offset::new(at as i64).unwrap(), &DeadLetterThresholds::default()).map(|_| at + 1)
        })
    }

    fn every(nth: usize, of: usize) -> Vec<bool> {
        (1..=of).map(|at| at % nth == 0).collect()
    }

    #[test]
    fn the_truth_table_of_limits_holds() {
        let good = |count| vec![false; count];
        let bad = |count| vec![true; count];
        assert_eq!(stops_at([good(18), bad(12)].concat()), None);
        assert_eq!(stops_at(bad(100)), Some(100));
        assert_eq!(stops_at(every(10, 1_000)), None);
        assert_eq!(stops_at([every(10, 1_000), bad(1)].concat()), Some(1_001));
        assert_eq!(stops_at([good(9_501), bad(499)].concat()), None);
        assert_eq!(stops_at([good(9_500), bad(500)].concat()), Some(10_000));
        assert_eq!(stops_at([good(20_000), every(10, 9_900), good(70_000), bad(10)].concat()), None);
        assert_eq!(stops_at(every(11, 1_000_000)), None);
    }

    #[test]
    fn records_that_come_again_are_counted_once() {
        let limits = DeadLetterThresholds::default();
        let mut gauge = DeadLetterGauge::default();
        for _ in 0..50 {
            for offset in 0..60 {
                assert_eq!(gauge.refused(Offset::new(offset).unwrap(), &limits), None);
            }
            gauge.give_up();
        }
        for offset in 0..60 {
            assert_eq!(gauge.refused(Offset::new(offset).unwrap(), &limits), None);
        }
        gauge.settle();
        let tripped = (60..).find_map(|offset| gauge.refused(Offset::new(offset).unwrap(), &limits));
        let (first, last) = (Offset::new(0).unwrap(), Offset::new(99).unwrap());
        assert_eq!(tripped, Some(ThresholdBreach { letters: 100, of: 100, streak: 100, first, last }));
    }
}
