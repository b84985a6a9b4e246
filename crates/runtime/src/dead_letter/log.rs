//! Dead letters in the log: one line for each reason and interval, with the number of letters.
//!
//! A worker that refuses a million records must not write a million lines. The first letter of a reason is
//! shown at once; its further letters are counted and shown together at the end of the interval.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sluice_core::{OutcomeReason, ReasonClass};

/// The time in which the letters of one reason share a line.
const INTERVAL: Duration = Duration::from_secs(30);
/// Most reasons that have lines of their own in one interval. A path can have many forms.
const REASONS: usize = 20;
/// The reason under which the letters beyond [`REASONS`] are counted.
const OTHERS: &str = "other reasons, which the dead letters' headers name";

/// Counts dead letters by reason until their lines are due. Without a clock of its own.
#[derive(Debug, Default)]
pub struct DeadLetterLog {
    waiting: BTreeMap<LetterReasonKey, LetterRun>,
    /// The end of the running interval, once a line was written.
    until: Option<Instant>,
}

/// A reason without the byte position, which differs from record to record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct LetterReasonKey {
    topic: String,
    class: &'static str,
    reason: String,
}

/// The letters of one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
struct LetterRun {
    count: u64,
    /// Partition and offset of the first one.
    first: (i64, i64),
}

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterLine {
    /// The topic of the refused records.
    pub topic: String,
    /// The class of the reason.
    pub class: &'static str,
    /// The place in the record and the expectation. Never a value.
    pub reason: String,
    /// The number of letters since the last line with this reason.
    pub count: u64,
    /// Partition of the first of them.
    pub partition: i64,
    /// Offset of the first of them.
    pub offset: i64,
}

impl DeadLetterLog {
    /// Counts one letter about the record at `partition` and `offset` of `topic`.
    pub fn note(&mut self, topic: &str, (partition, offset): (i64, i64), reason: &OutcomeReason) {
        self.note_text(topic, (partition, offset), reason.class, &without_position(reason));
    }

    /// Counts one letter whose reason is a text already.
    pub fn note_text(&mut self, topic: &str, first: (i64, i64), class: ReasonClass, reason: &str) {
        let mut key =
            LetterReasonKey { topic: topic.to_owned(), class: class.as_str(), reason: reason.to_owned() };
        if !self.waiting.contains_key(&key) && self.waiting.len() >= REASONS {
            OTHERS.clone_into(&mut key.reason);
        }
        self.waiting.entry(key).or_insert(LetterRun { count: 0, first }).count += 1;
    }

    /// Returns the lines that are due at `now`: all that wait, unless the interval of the last lines runs.
    pub fn take_due(&mut self, now: Instant) -> Vec<DeadLetterLine> {
        if self.waiting.is_empty() || self.until.is_some_and(|until| now < until) {
            return Vec::new();
        }
        self.until = Some(now + INTERVAL);
        self.take_all()
    }

    /// Returns all lines, whether they are due or not.
    pub fn take_all(&mut self) -> Vec<DeadLetterLine> {
        let lines = std::mem::take(&mut self.waiting).into_iter();
        let line = |(key, run): (LetterReasonKey, LetterRun)| DeadLetterLine {
            topic: key.topic,
            class: key.class,
            reason: key.reason,
            count: run.count,
            partition: run.first.0,
            offset: run.first.1,
        };
        lines.map(line).collect()
    }

    /// Writes the lines that are due at `now` to the log.
    pub fn write_due(&mut self, now: Instant) {
        self.take_due(now).iter().for_each(DeadLetterLine::write);
    }
}

impl Drop for DeadLetterLog {
    /// Writes the lines that wait: the letters of the last interval must not be missing.
    fn drop(&mut self) {
        self.take_all().iter().for_each(DeadLetterLine::write);
    }
}

impl DeadLetterLine {
    /// Writes the line at level WARN.
    fn write(&self) {
        let Self { topic, class, reason, count, partition, offset } = self;
        tracing::warn!(topic, class, reason, count, partition, offset, "dead letters");
    }
}

/// Returns the reason's text without the byte position.
fn without_position(reason: &OutcomeReason) -> String {
    OutcomeReason { position: None, ..reason.clone() }.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(path: &str, position: usize) -> OutcomeReason {
        OutcomeReason::new(ReasonClass::Datum, "an int").at(path, Some(position))
    }

    #[test]
    fn the_first_letter_is_shown_at_once_and_the_others_are_counted_for_an_interval() {
        let (mut log, start) = (DeadLetterLog::default(), Instant::now());
        assert!(log.take_due(start).is_empty());
        log.note("t", (0, 7), &reason("visits", 3));
        let [first] = &log.take_due(start)[..] else { panic!("one line") };
        assert_eq!((first.count, first.partition, first.offset), (1, 0, 7));
        assert_eq!(first.reason, "field visits: expected an int");

        // A thousand more, at different bytes, and one of another field: two lines.
        for offset in 8..1008 {
            log.note("t", (0, offset), &reason("visits", usize::try_from(offset).unwrap()));
        }
        log.note("t", (1, 0), &reason("born", 0));
        assert!(log.take_due(start + INTERVAL / 2).is_empty());
        let lines = log.take_due(start + INTERVAL);
        assert_eq!(lines.iter().map(|line| line.count).collect::<Vec<_>>(), [1, 1000]);
        assert_eq!(lines[1].offset, 8);

        // A quiet time ends the interval.
        log.note("t", (0, 2000), &reason("visits", 0));
        assert_eq!(log.take_due(start + INTERVAL * 3).len(), 1);
    }

    #[test]
    fn reasons_without_end_share_one_line() {
        let mut log = DeadLetterLog::default();
        for number in 0..500 {
            log.note("t", (0, number), &reason(&format!("map{{{number}}}"), 0));
        }
        let lines = log.take_all();
        assert_eq!(lines.len(), REASONS + 1);
        assert_eq!(lines.iter().map(|line| line.count).sum::<u64>(), 500);
        let others: Vec<u64> =
            lines.iter().filter(|line| line.reason == OTHERS).map(|line| line.count).collect();
        assert_eq!(others, [480]);
    }
}
