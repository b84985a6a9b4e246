//! How partitions leave a lane, as types: consuming → [`DrainingPartitions`] → [`ReleasedPartitions`].
//!
//! ```text
//!  consuming ──revoked──► Draining(deadline) ──still ours: finish (commit, flush)──┐
//!                             │                                  │ failed, late    ├──► Released ─► forgotten
//!                             └──lost: somebody else owns them───┴──► give up ─────┘
//! ```
//!
//! All three steps happen inside the revoke callback, before the group gets its answer. Only a
//! [`DrainingPartitions`] makes a [`ReleasedPartitions`], and only a [`ReleasedPartitions`] takes partitions
//! out of a lane ([`LaneAssignment::release`](super::partitions::LaneAssignment::release)). A partition with
//! half-done work therefore cannot leave a lane.

use std::time::{Duration, Instant};

use sluice_core::{Fault, TopicPartition};

/// The time that a lane has to finish its open batch while the group waits. Well within
/// `max.poll.interval.ms`, and no less than the time that a record may take to be delivered.
const DRAIN: Duration = Duration::from_secs(10);

/// Partitions that are about to leave the lane. No more records are taken in; the open batch is finished or
/// given up.
#[must_use = "the partitions are still the lane's"]
pub(super) struct DrainingPartitions<'a> {
    leaving: &'a [TopicPartition],
    /// Another member of the group owns them already.
    lost: bool,
    deadline: Instant,
}

/// Partitions without a record in the open batch.
#[must_use = "the partitions are still the lane's"]
pub(super) struct ReleasedPartitions<'a>(&'a [TopicPartition]);

impl<'a> DrainingPartitions<'a> {
    /// Begins to drain `leaving` at `now`. `lost` if another member owns the partitions already.
    pub(super) fn begin(leaving: &'a [TopicPartition], lost: bool, now: Instant) -> Self {
        Self { leaving, lost, deadline: now + DRAIN }
    }

    /// Calls `finish` to make the open batch durable by the deadline. Calls `give_up` if the partitions are
    /// lost or `finish` fails.
    pub(super) fn settle<T>(
        self,
        lane: &mut T,
        finish: impl FnOnce(&mut T, Instant) -> Result<(), Fault>,
        give_up: impl FnOnce(&mut T, Fault, &[TopicPartition]),
    ) -> ReleasedPartitions<'a> {
        let done = if self.lost {
            // The new owner reads these records again: nothing may be written for them here.
            Err(Fault::rewind("leaving partitions", "another member of the group owns them already"))
        } else {
            finish(lane, self.deadline)
        };

        // Either way no record of the batch is in flight afterwards.
        if let Err(fault) = done {
            give_up(lane, fault, self.leaving);
        }
        ReleasedPartitions(self.leaving)
    }
}

impl<'a> ReleasedPartitions<'a> {
    /// Returns the partitions.
    pub(super) fn partitions(&self) -> &'a [TopicPartition] {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default, PartialEq, Eq, Debug)]
    struct SettleCalls {
        finished: bool,
        given_up: bool,
    }

    fn settle(lost: bool, works: bool) -> SettleCalls {
        let leaving = [TopicPartition::new("t", 0)];
        let mut seen = SettleCalls::default();
        let now = Instant::now();
        let released = DrainingPartitions::begin(&leaving, lost, now).settle(
            &mut seen,
            |seen, deadline| {
                assert_eq!(deadline, now + DRAIN);
                seen.finished = true;
                if works { Ok(()) } else { Err(Fault::outage("committing", "no answer")) }
            },
            |seen, _, which| {
                assert_eq!(which.len(), 1);
                seen.given_up = true;
            },
        );
        assert_eq!(released.partitions(), leaving);
        seen
    }

    #[test]
    fn what_is_ours_is_finished_and_what_fails_is_given_up() {
        assert_eq!(settle(false, true), SettleCalls { finished: true, given_up: false });
        assert_eq!(settle(false, false), SettleCalls { finished: true, given_up: true });
    }

    #[test]
    fn nothing_is_written_for_what_was_lost() {
        assert_eq!(settle(true, true), SettleCalls { finished: false, given_up: true });
    }
}
