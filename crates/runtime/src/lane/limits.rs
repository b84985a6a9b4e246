//! When so many records are refused that it is the worker, its contract or its producer that is wrong, not the
//! records: the lane stops instead of draining its topic into dead letters. Pure.
//!
//! Counted per partition, over the records taken in since it was assigned:
//!
//! | last records | dead letters among them | in a row | with the defaults |
//! |---|---|---|---|
//! | 30 | 12 | 12 | goes on: a handful proves nothing |
//! | 100 | 100 | 100 | stops: `least` is reached, and 100 % is above 10 % |
//! | 1,000 | 100 | any | goes on: 10 % is not above 10 % |
//! | 1,000 | 101 | any | stops |
//! | 10,000 | 499 at the end | 499 | goes on |
//! | 10,000 | 500 at the end | 500 | stops: a new schema or a broken producer refuses everything from here on |
//! | 100,000 | 1,000, of which 990 long ago | 10 | goes on: only the last `window` records count |

use std::collections::VecDeque;
use std::fmt;

use sluice_core::{Domain, Fault, Offset, ReasonClass, Retry, TopicPartition};

/// How many dead letters are too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadLetterThresholds {
    /// More than so many percent of the last `window` records …
    pub percent: u64,
    /// … and not fewer than so many records, so that a small topic is judged fairly.
    pub least: u64,
    /// Records looked back on.
    pub window: u64,
    /// So many in a row, whatever came before.
    pub streak: u64,
}

impl Default for DeadLetterThresholds {
    fn default() -> Self {
        Self { percent: 10, least: 100, window: 10_000, streak: 500 }
    }
}

/// One partition's count. What a batch that is given up added is taken back, because its records come again.
#[derive(Debug, Clone, Default)]
pub struct DeadLetterGauge {
    open: GaugeTally,
    proven: GaugeTally,
}

#[derive(Debug, Clone, Default)]
struct GaugeTally {
    /// Records seen.
    seen: u64,
    /// Dead letters among the last `window`: at which record, and its offset.
    letters: VecDeque<(u64, Offset)>,
    streak: u64,
}

/// The limit was reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThresholdBreach {
    /// Dead letters …
    pub letters: u64,
    /// … among so many records.
    pub of: u64,
    /// In a row at the end.
    pub streak: u64,
    /// Offset of the first of them.
    pub first: Offset,
    /// Offset of the last.
    pub last: Offset,
}

impl DeadLetterGauge {
    /// A record that was not refused.
    pub fn passed(&mut self) {
        self.open.seen += 1;
        self.open.streak = 0;
    }

    /// A record that is to become a dead letter: too many?
    pub fn refused(&mut self, at: Offset, limits: &DeadLetterThresholds) -> Option<ThresholdBreach> {
        let tally = &mut self.open;
        tally.seen += 1;
        tally.streak += 1;
        tally.letters.push_back((tally.seen, at));
        let oldest = tally.seen.saturating_sub(limits.window);
        while tally.letters.front().is_some_and(|(seen, _)| *seen <= oldest) {
            tally.letters.pop_front();
        }
        let letters = tally.letters.len() as u64;
        let of = tally.seen.min(limits.window);
        let too_many = letters >= limits.least && letters * 100 > limits.percent * of;
        if !too_many && tally.streak < limits.streak {
            return None;
        }
        let first = tally.letters.front().map_or(at, |(_, offset)| *offset);
        Some(ThresholdBreach { letters, of, streak: tally.streak, first, last: at })
    }

    /// The open batch is committed.
    pub fn settle(&mut self) {
        self.proven.clone_from(&self.open);
    }

    /// The open batch is given up.
    pub fn give_up(&mut self) {
        self.open.clone_from(&self.proven);
    }
}

/// Why a lane stopped: told with what to do about it. The binary ends with exit code 1, for it found something.
#[derive(Debug)]
pub struct TooManyDeadLetters {
    /// Where.
    pub at: TopicPartition,
    /// What was counted.
    pub tripped: ThresholdBreach,
    /// Class of the last one.
    pub class: ReasonClass,
    /// Field path of the last one; may be empty.
    pub path: String,
}

impl fmt::Display for TooManyDeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ThresholdBreach { letters, of, streak, first, last } = &self.tripped;
        write!(
            f,
            "{letters} of the last {of} records of {} would be dead letters ({streak} in a row; offsets {first} to {last}; the \
             last one: {}",
            self.at,
            self.class.as_str()
        )?;
        if !self.path.is_empty() {
            write!(f, " at {}", self.path)?;
        }
        write!(
            f,
            "). The open batch was given up, so these are not written and the group stands before them. Mend the producer, the \
             contract or the worker and start again; `sluice dead-letters ls` shows those written before. If they are to \
             go to the dead-letter topic all the same, raise `limits.dead_letters`."
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

    /// Runs a row of the truth table: `true` is a dead letter. Which record stopped it?
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
