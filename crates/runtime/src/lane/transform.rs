//! The lane of masker and normaliser: what a record becomes and the offset that says so are one Kafka transaction.
//!
//! ```text
//!  poll ─► process ─► send ─┐        due ─► send_offsets(next, group metadata) ─► commit ─► proven
//!    ▲                      │                    │ abortable            │ timed out, fatal
//!    └──────────────────────┘                    ▼                      ▼
//!                              abort, seek to the batch's first    drop the producer, build it anew with the
//!                              record of each partition, again     same id (fences what is in flight), again
//! ```
//!
//! A commit whose outcome is not known is not repeated: the group is joined anew, and says whether it landed.
//!
//! A revoked partition is settled inside the callback: commit if it is still ours, abort if it is not
//! ([`tenure`](super::tenure)). While the producer's queue is full the lane waits in it, no longer than a record may
//! take to be delivered: that is its backpressure.

mod state;

use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sluice_core::{Fault, NextOffset, Processor, Retry};
use tokio_util::sync::CancellationToken;

use self::state::TransformLaneState;
use super::limits::DeadLetterThresholds;
use super::{LanePace, LaneStep};
use crate::config::KafkaSection;
use crate::fleet::LaneRevision;
use crate::registry::BlockingRegistry;
use crate::status::WorkerStatus;
use sluice_kafka::{ConsumerGroup, PartitionStart, PollOutcome};

/// The longest wait for a first record: so soon a lane sees that it is to stop.
const TICK: Duration = Duration::from_millis(50);

/// Everything a transform lane needs to know before it starts.
pub struct TransformLaneConfig {
    /// Worker name, for headers, metrics and the transactional id.
    pub worker: &'static str,
    /// Kafka.
    pub kafka: KafkaSection,
    /// Consumer group.
    pub group: String,
    /// Names this process among the group's; a restart under the same name takes over at once.
    pub instance: String,
    /// Topics to read.
    pub topics: Vec<String>,
    /// The process's memory setting, in bytes.
    pub memory: usize,
    /// When to commit.
    pub pace: LanePace,
    /// How many dead letters stop the lane.
    pub limits: DeadLetterThresholds,
}

/// Runs a lane until `stop`, then commits what is open and leaves the group. Blocks: give it a thread of its own.
///
/// # Errors
/// A [`Fault`] that no retry can mend.
pub fn run<P: Processor + 'static>(
    config: TransformLaneConfig,
    processor: P,
    revisions: &Receiver<LaneRevision<P>>,
    registry: BlockingRegistry,
    status: &WorkerStatus,
    stop: &CancellationToken,
) -> Result<(), Fault> {
    let (kafka, name, memory, pace) =
        (config.kafka.clone(), config.group.clone(), config.memory, config.pace);
    let state = Arc::new(Mutex::new(TransformLaneState::new(config, processor, registry, status.clone())));
    let join = || {
        let topics = lock(&state).config.topics.clone();
        ConsumerGroup::join(&kafka, &name, &topics, memory, Arc::clone(&state))
    };
    let mut group = join()?;
    // While the group lets us in, the id is taken, so that the first record does not wait for it.
    if let Err(fault) = lock(&state).prepare()
        && fault.retry == Retry::Never
    {
        return Err(fault);
    }
    let mut attempt = 0u32;
    loop {
        if stop.is_cancelled() {
            // Bound to a value first: the guard must be gone before leaving the group calls back into the state.
            let done = lock(&state).commit(group.metadata(), None);
            if let Err(fault) = done {
                tracing::warn!(%fault, "the open transaction is given up; it will be read again");
                lock(&state).abandon();
            }
            return Ok(());
        }
        // The open batch needs no end first: what it holds was made by the former processor and goes out as it is.
        if let Ok(LaneRevision { processor, topics }) = revisions.try_recv() {
            group.subscribe(&topics)?;
            let mut state = lock(&state);
            (state.processor, state.config.topics) = (processor, topics);
        }
        let wait_for = lock(&state).due_in(Instant::now()).min(TICK);
        match group.poll_batch(wait_for, TransformLaneState::take)? {
            PollOutcome::Records(_) => attempt = 0,
            PollOutcome::Nothing if group.take_connected() => status.neighbour("kafka", Ok(())),
            PollOutcome::Nothing => {}
            PollOutcome::Outage(fault) => status.neighbour("kafka", Err(fault.to_string())),
        }
        let step = lock(&state).after_poll(&group);
        match step {
            LaneStep::Continue => {}
            LaneStep::Stall { at, offset, why } => {
                group.pause(&at, true);
                if let Some(from) = NextOffset::new(offset.raw()) {
                    group.seek(&at, PartitionStart::At(from));
                }
                let pause = lock(&state).stall(&at);
                tracing::warn!(%at, %offset, why, ?pause, "partition stands still");
            }
            LaneStep::Redo(fault) => {
                if fault.retry == Retry::Never {
                    lock(&state).abandon();
                    return Err(fault);
                }
                tracing::warn!(%fault, attempt, "the batch is given up and read again");
                status.neighbour("kafka", Err(fault.to_string()));
                let again = lock(&state).redo(fault.retry);
                for (at, from) in again? {
                    group.seek(&at, PartitionStart::At(from));
                }
                wait(stop, pace.backoff.wait(attempt, rand::random()));
                attempt += 1;
            }
        }
        let rejoin = lock(&state).take_rejoin();
        if rejoin {
            wait(stop, pace.backoff.wait(attempt, rand::random()));
            attempt += 1;
            drop(group);
            lock(&state).forget_all();
            // The id before the group: taking it settles a transaction whose end is not known, so that the group's
            // positions say which it was.
            let prepared = lock(&state).prepare().map(|_| ());
            if let Err(fault) = prepared
                && fault.retry == Retry::Never
            {
                return Err(fault);
            }
            group = join()?;
        }
    }
}

fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wait(stop: &CancellationToken, time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until && !stop.is_cancelled() {
        std::thread::park_timeout(Duration::from_millis(20).min(time));
    }
}
