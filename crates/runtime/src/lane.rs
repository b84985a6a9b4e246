//! A lane is one OS thread that owns one consumer and, where it produces, one transactional producer.
//!
//! ```text
//!             ports.rs                 engine.rs                        driver.rs
//!  group ──► LaneGroup ──records──► LaneEngine<LaneWork> ──► LaneStep ──► LaneDriver ──► group, transactions
//!                                     ▲            ▲
//!                        transform.rs ┘            └ store.rs
//! ```
//!
//! The engine is a state machine without I/O of its own; its head has the table of faults. The driver is the loop that
//! carries its steps out. A transform lane and a store lane differ in their work alone.

mod driver;
mod engine;
pub(crate) mod judge;
pub mod limits;
mod outbox;
mod outgoing;
mod partitions;
mod ports;
pub mod publish;
mod store;
mod tenure;
pub(crate) mod transform;

#[cfg(test)]
mod tests;

use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sluice_core::{Backoff, Fault, Offset, Processor, Store, TopicPartition, names};
use sluice_kafka::{ConsumerGroup, KafkaSection};
use tokio_util::sync::CancellationToken;

use self::driver::LaneDriver;
use self::engine::{LaneEngine, LaneWork};
use self::limits::DeadLetterThresholds;
use self::ports::KafkaTransactions;
use self::store::StoreWork;
use self::transform::TransformWork;
use crate::registry::BlockingRegistry;
use crate::status::WorkerStatus;

/// The limits of a batch and the waits after trouble: numbers from a worker's configuration.
#[derive(Debug, Clone, Copy)]
pub struct LanePace {
    /// A batch (transaction, flush) is closed when its first record is this old.
    pub interval: Duration,
    /// … or when it holds this number of bytes of input. For a transaction this bounds the records that are read again
    /// after trouble, not memory: outputs leave as they are made.
    pub bytes: usize,
    /// … or this number of records.
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
    /// Returns whether a batch of this age and size is to be closed.
    pub fn is_due(&self, age: Duration, bytes: usize, records: u64) -> bool {
        records > 0 && (age >= self.interval || bytes >= self.bytes || records >= self.records)
    }
}

/// The settings of one lane.
#[derive(Debug, Clone)]
pub struct LaneConfig {
    /// Worker name, for headers, metrics and the transactional id.
    pub worker: &'static str,
    /// Kafka.
    pub kafka: KafkaSection,
    /// Consumer group. Each store has its own, so that a slow one never stalls the others.
    pub group: String,
    /// Names this lane among the group's; a restart under the same name takes over at once.
    pub instance: String,
    /// Topics to read.
    pub topics: Vec<String>,
    /// The lane's share of the process's memory, in bytes.
    pub memory: usize,
    /// When to close a batch.
    pub pace: LanePace,
    /// How many dead letters stop the lane.
    pub limits: DeadLetterThresholds,
}

/// The changes that a lane goes on with when contracts change.
pub struct LaneRevision<R> {
    /// A new processor for a transform lane; nothing for a store lane.
    pub revision: R,
    /// Topics to read from now on.
    pub topics: Vec<String>,
}

/// The loop's next step after a poll.
#[derive(Debug)]
enum LaneStep {
    /// Read on.
    Continue,
    /// Stand still on one partition: its next record cannot be handled now. Other partitions go on.
    Stall { at: TopicPartition, offset: Offset, why: String },
    /// Keep the open batch and try to close it again later.
    TryAgain(Fault),
    /// Give the open batch up and read it again.
    GiveUp(Fault),
    /// The same after the batch's transaction failed: Kafka is the neighbour in trouble.
    Uncommitted(Fault),
}

/// Runs a lane of `processor` until `stop`, then commits the open batch and leaves the group. Blocks: give it a thread
/// of its own.
///
/// # Errors
/// A [`Fault`] that no retry can mend.
pub fn run_transform<P: Processor + 'static>(
    config: LaneConfig,
    processor: P,
    revisions: &Receiver<LaneRevision<P>>,
    registry: BlockingRegistry,
    status: &WorkerStatus,
    stop: &CancellationToken,
) -> Result<(), Fault> {
    run(config, TransformWork::new(processor), revisions, registry, status, stop)
}

/// Runs a lane of `store` until `stop`, then flushes, commits and leaves the group. Blocks: give it a thread of its
/// own.
///
/// # Errors
/// A [`Fault`] that no retry can mend.
pub fn run_store(
    config: LaneConfig,
    store: Box<dyn Store>,
    revisions: &Receiver<LaneRevision<()>>,
    registry: BlockingRegistry,
    status: &WorkerStatus,
    stop: &CancellationToken,
) -> Result<(), Fault> {
    run(config, StoreWork::new(store), revisions, registry, status, stop)
}

fn run<W: LaneWork>(
    config: LaneConfig,
    work: W,
    revisions: &Receiver<LaneRevision<W::Revision>>,
    registry: BlockingRegistry,
    status: &WorkerStatus,
    stop: &CancellationToken,
) -> Result<(), Fault> {
    let id = names::transactional_id(&config.group, config.worker, &config.instance);
    let transactions = KafkaTransactions::new(config.kafka.clone(), id, config.memory);
    let engine = LaneEngine::new(config, work, Box::new(registry), transactions, status.clone());
    LaneDriver::new(engine, join, status, stop).run(revisions)
}

/// Joins the engine's group with a new consumer.
fn join<W: LaneWork>(
    engine: &Arc<Mutex<LaneEngine<W, KafkaTransactions>>>,
) -> Result<ConsumerGroup<LaneEngine<W, KafkaTransactions>>, Fault> {
    let LaneConfig { kafka, group, topics, memory, .. } = driver::lock(engine).config.clone();
    ConsumerGroup::join(&kafka, &group, &topics, memory, Arc::clone(engine))
}

#[cfg(test)]
mod pace_tests {
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
