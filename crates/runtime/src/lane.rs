//! A lane is one OS thread that owns one consumer and, where it produces, one transactional producer.

pub mod limits;
mod outgoing;
mod partitions;
pub mod store;
mod tenure;
pub mod transform;

use std::time::Duration;

use sluice_core::Backoff;

/// How a worker's lanes batch and wait. Pure numbers, taken from its configuration.
#[derive(Debug, Clone, Copy)]
pub struct LanePace {
    /// A batch (transaction, flush) is closed when its first record is this old.
    pub interval: Duration,
    /// … or when it holds so many bytes of input. For a transaction this bounds what is read again after trouble, not
    /// memory: outputs leave as they are made.
    pub bytes: usize,
    /// … or so many records.
    pub records: u64,
    /// Waits after trouble.
    pub backoff: Backoff,
}

impl Default for LanePace {
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(250),
            bytes: 128 << 20,
            records: 500_000,
            backoff: Backoff::default(),
        }
    }
}

impl LanePace {
    /// Is a batch of this age and size to be closed?
    pub fn is_due(&self, age: Duration, bytes: usize, records: u64) -> bool {
        records > 0 && (age >= self.interval || bytes >= self.bytes || records >= self.records)
    }
}

/// What the lane's loop has to do after a record or a rebalance.
#[derive(Debug)]
enum LaneStep {
    /// Read on.
    Continue,
    /// Stand still on one partition: its next record cannot be handled now. Other partitions go on.
    Stall { at: sluice_core::TopicPartition, offset: sluice_core::Offset, why: String },
    /// Give the open batch up and read it again.
    Redo(sluice_core::Fault),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_batch_is_never_due() {
        let pace = LanePace::default();
        assert!(!pace.is_due(Duration::from_secs(9), 0, 0));
        assert!(pace.is_due(Duration::from_secs(9), 10, 1));
        assert!(pace.is_due(Duration::ZERO, pace.bytes, 1));
        assert!(!pace.is_due(Duration::ZERO, 10, 1));
    }
}
