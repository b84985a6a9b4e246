//! The lane of a sink's store: offsets are committed only over a flush that the store says is durable.
//!
//! Two truths, in order. The *store* knows what it holds and adds nothing twice. The *group's position* says what is
//! accounted for: it moves in one Kafka transaction with the receipts and the dead letters of what was flushed
//! ([`receipts`](crate::receipts)). A crash between the two leaves the store ahead: what lies between is read again, and
//! the store answers for each record as it did the first time without adding it, so that letters and receipts that were
//! never written are written now, and those that were are not written again.
//!
//! Backpressure: a store that cannot flush, or takes long, pauses everything the lane reads; the group is still
//! polled. Reading goes on only when a flush has emptied the store again (the gap between the two is what keeps it from
//! flapping: pausing drops what was fetched ahead).
//!
//! ```text
//!            due ─► flush ──ok──► commit (letters, receipts, offsets) ─► reading
//!  reading ──────────┤                                    ▲
//!                    ├─ longer than PATIENCE: hold, serve the group ── ok ──┤ let go
//!                    └─ fails: hold, serve the group, flush again after a back-off ── ok ──┘
//! ```

mod letters;
mod state;

use std::panic::resume_unwind;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sluice_core::{Fault, NextOffset, Retry, Store};
use tokio_util::sync::CancellationToken;

use self::state::StoreLaneState;
use super::limits::DeadLetterThresholds;
use super::{LanePace, LaneStep};
use crate::config::KafkaSection;
use crate::registry::BlockingRegistry;
use crate::status::WorkerStatus;
use sluice_kafka::{ConsumerGroup, PartitionStart, PollOutcome};

/// The longest wait for a first record: so soon a lane sees that it is to stop.
const TICK: Duration = Duration::from_millis(50);
/// A flush that takes longer pauses the lane, so that the group can be polled meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest wait between two attempts to flush.
const RETRY: Duration = Duration::from_secs(5);

/// What a store lane needs to know before it starts.
pub struct StoreLaneConfig {
    /// Worker name.
    pub worker: &'static str,
    /// Kafka.
    pub kafka: KafkaSection,
    /// Consumer group; each store has its own, so that a slow one never stalls the others.
    pub group: String,
    /// Topics to land.
    pub topics: Vec<String>,
    /// The process's memory setting, in bytes.
    pub memory: usize,
    /// When to flush.
    pub pace: LanePace,
    /// Names this process among the group's; a restart under the same name takes over at once.
    pub instance: String,
    /// How many dead letters stop the lane.
    pub limits: DeadLetterThresholds,
}

/// One store's lane.
pub struct StoreLane;

impl StoreLane {
    /// Runs until `stop`, reading other topics whenever `revisions` says so, then flushes, commits and leaves the
    /// group. Blocks: give it a thread of its own.
    ///
    /// # Errors
    /// A [`Fault`] that no retry can mend.
    pub fn run(
        config: StoreLaneConfig,
        store: Box<dyn Store>,
        revisions: &Receiver<Vec<String>>,
        registry: BlockingRegistry,
        status: &WorkerStatus,
        stop: &CancellationToken,
    ) -> Result<(), Fault> {
        let (kafka, name, memory, pace) =
            (config.kafka.clone(), config.group.clone(), config.memory, config.pace);
        let state = Arc::new(Mutex::new(StoreLaneState::new(config, store, registry, status.clone())));
        let join = || {
            let topics = lock(&state).config.topics.clone();
            ConsumerGroup::join(&kafka, &name, &topics, memory, Arc::clone(&state))
        };
        let mut group = join()?;
        let mut attempt = 0u32;
        // While the store cannot flush: when to try again.
        let mut blocked: Option<Instant> = None;
        loop {
            let stopping = stop.is_cancelled();
            if let Ok(topics) = revisions.try_recv() {
                group.subscribe(&topics)?;
                lock(&state).config.topics = topics;
            }
            if !stopping {
                let polled = match blocked {
                    Some(until) => group.serve(until.saturating_duration_since(Instant::now()).min(TICK))?,
                    None => group.poll_batch(TICK, StoreLaneState::take)?,
                };
                match polled {
                    PollOutcome::Records(_) => attempt = 0,
                    PollOutcome::Nothing if group.take_connected() => status.neighbour("kafka", Ok(())),
                    PollOutcome::Nothing => {}
                    PollOutcome::Outage(fault) => status.neighbour("kafka", Err(fault.to_string())),
                }
            }
            let mut step = lock(&state).after_poll(&group);
            let waits = !stopping && blocked.is_some_and(|until| Instant::now() < until);
            if matches!(step, LaneStep::Continue) && !waits && lock(&state).is_due(stopping) {
                lock(&state).sabotage(&group);
                match flush(&state, &mut group, blocked.is_some())? {
                    Ok(()) => {
                        if blocked.take().is_some() {
                            group.hold(false);
                        }
                    }
                    Err(fault) => step = LaneStep::Redo(fault),
                }
            }
            if lock(&state).has_uncommitted() {
                let metadata = group.metadata();
                let done = lock(&state).commit(metadata, None);
                if let Err(fault) = done {
                    tracing::warn!(%fault, "not committed; the group says where to go on");
                    status.neighbour("kafka", Err(fault.to_string()));
                    if stopping || fault.retry == Retry::Never {
                        lock(&state).forget_all();
                        return Err(fault);
                    }
                }
            }
            if stopping && matches!(step, LaneStep::Continue) {
                return Ok(());
            }
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
                LaneStep::Redo(fault) if fault.retry == Retry::Never => {
                    // Nothing of the open batch is to be written on the way out.
                    lock(&state).forget_all();
                    return Err(fault);
                }
                LaneStep::Redo(fault) => {
                    tracing::warn!(%fault, attempt, "trouble with the store");
                    lock(&state).trouble_with_store(&fault);
                    if stopping {
                        return Err(fault); // what was not flushed is read again after the restart
                    }
                    if fault.retry == Retry::Rewind {
                        let again = lock(&state).rewind()?;
                        for (at, from) in again {
                            group.seek(&at, from);
                        }
                    }
                    if blocked.is_none() {
                        group.hold(true);
                    }
                    let pause = pace.backoff.wait(attempt, rand::random()).min(RETRY);
                    blocked = Some(Instant::now() + pause);
                    attempt += 1;
                }
            }
            // Nothing to flush any more (rewound, revoked): nothing to wait for either.
            if blocked.is_some_and(|until| Instant::now() >= until) && !lock(&state).is_due(true) {
                blocked = None;
                group.hold(false);
            }
            let rejoin = lock(&state).take_rejoin();
            if rejoin {
                std::thread::park_timeout(pace.backoff.wait(attempt, rand::random()).min(RETRY));
                attempt += 1;
                drop(group);
                lock(&state).forget_all();
                blocked = None;
                // The id before the group: that settles a transaction whose end is not known.
                let prepared = lock(&state).prepare();
                if let Err(fault) = prepared
                    && fault.retry == Retry::Never
                {
                    return Err(fault);
                }
                group = join()?;
            }
        }
    }
}

/// Flushes on a thread of its own; from [`PATIENCE`] on everything is paused and the group polled meanwhile. The state
/// stays locked by the flush: a rebalance that comes by waits for it.
fn flush(
    state: &Mutex<StoreLaneState>,
    group: &mut ConsumerGroup<StoreLaneState>,
    held: bool,
) -> Result<Result<(), Fault>, Fault> {
    std::thread::scope(|scope| {
        let (done, ended) = mpsc::channel();
        let flushing = scope.spawn(move || {
            let result = lock(state).flush();
            let _ = done.send(());
            result
        });
        let mut served = Ok(());
        if !held && ended.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            group.hold(true);
            while served.is_ok() && !flushing.is_finished() {
                served = group.serve(TICK).map(|_| ());
            }
            group.hold(false);
        } else if held {
            while served.is_ok() && !flushing.is_finished() {
                served = group.serve(Duration::from_millis(5)).map(|_| ());
            }
        }
        let result = flushing.join().unwrap_or_else(|panic| resume_unwind(panic));
        served.map(|()| result)
    })
}

fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
