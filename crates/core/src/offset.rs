//! Two kinds of offset that must never be confused.
//!
//! Kafka commits the offset of the *next* record to read. Runtimes that use one integer type for both "this
//! record is at" and "go on at" have shipped off-by-one commits. Here the compiler refuses them.

use std::fmt;

/// The number of a record in its partition. Never negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(i64);

/// The offset to read on from: one past the last record that is done. Kafka commits next offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NextOffset(i64);

impl Offset {
    /// Returns the offset, or `None` for the negative numbers that Kafka uses as commands (beginning, end,
    /// stored, invalid).
    pub const fn new(raw: i64) -> Option<Self> {
        if raw < 0 { None } else { Some(Self(raw)) }
    }

    /// Returns the number as Kafka's protocol has it.
    pub const fn raw(self) -> i64 {
        self.0
    }

    /// Returns the offset to commit once this record and all records before it are done.
    pub const fn next(self) -> NextOffset {
        // No partition has i64::MAX records: the sum does not overflow.
        NextOffset(self.0 + 1)
    }
}

impl NextOffset {
    /// Returns the next offset, or `None` for negative numbers.
    pub const fn new(raw: i64) -> Option<Self> {
        if raw < 0 { None } else { Some(Self(raw)) }
    }

    /// Returns the number as Kafka's protocol has it.
    pub const fn raw(self) -> i64 {
        self.0
    }

    /// Returns true if the record at `offset` has yet to be read by a reader that goes on from here.
    pub const fn has_yet_to_read(self, offset: Offset) -> bool {
        // A next offset is itself the first one to read.
        offset.0 >= self.0
    }

    /// Returns the offset just before this one: that of the last record that is done, if the log has no gap
    /// there. `None` at the beginning of the partition.
    pub const fn last(self) -> Option<Offset> {
        // 0 - 1 is no offset, which `new` turns into `None`.
        Offset::new(self.0 - 1)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for NextOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_offset_is_one_past_the_record() {
        let at = Offset::new(41).unwrap();
        assert_eq!(at.next(), NextOffset::new(42).unwrap());
        assert!(!at.next().has_yet_to_read(at));
        assert_eq!(at.next().last(), Some(at));
        assert_eq!(NextOffset::new(0).unwrap().last(), None);
        assert!(at.next().has_yet_to_read(Offset::new(42).unwrap()));
    }

    #[test]
    fn kafkas_negative_commands_are_not_offsets() {
        assert!(Offset::new(-1001).is_none());
        assert!(NextOffset::new(-1).is_none());
    }
}
