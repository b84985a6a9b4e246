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

use sluice_core::{Fault, LearnError, NextOffset, Outcome, RecordRef, Retry, SchemaId, TopicPartition};
use tokio_util::sync::CancellationToken;

use self::state::State;
use super::limits::Limits;
use super::{Pace, Step};
use crate::config::KafkaSection;
use crate::kafka::{Group, Polled, Start};
use crate::registry::BlockingRegistry;
use crate::status::Status;

/// The longest wait for a first record: so soon a lane sees that it is to stop.
const TICK: Duration = Duration::from_millis(50);
/// A flush that takes longer pauses the lane, so that the group can be polled meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest wait between two attempts to flush.
const RETRY: Duration = Duration::from_secs(5);

/// What a store holds in memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pending {
    /// Records appended since the last flush.
    pub records: u64,
    /// Their size in memory, in bytes.
    pub bytes: usize,
}

/// A place that records are landed in, owned by one lane.
pub trait Store: Send + 'static {
    /// Its name, for the consumer group, metrics and logs: `archive`, `delta`.
    fn name(&self) -> &'static str;

    /// Where the store itself stands for a partition; `None` if it holds nothing of it.
    ///
    /// # Errors
    /// A [`Fault`] if the store cannot be asked.
    fn resume(&mut self, at: &TopicPartition) -> Result<Option<NextOffset>, Fault>;

    /// Takes one record into memory. One that the store holds already is not added, and answered for as it was then.
    fn append(&mut self, record: &RecordRef<'_>) -> Outcome;

    /// Teaches it a writer schema.
    ///
    /// # Errors
    /// [`LearnError::Uncovered`] if the store cannot hold it, a fault if the outside cannot be asked.
    fn learn(&mut self, topic: &str, id: SchemaId, schema: &str) -> Result<(), LearnError>;

    /// What is in memory.
    fn pending(&self) -> Pending;

    /// Makes everything appended durable, all or nothing per partition. Runs on a thread of its own, so that the
    /// group is polled however long it takes.
    ///
    /// # Errors
    /// [`Retry::Later`]: buffers are kept, flush again. [`Retry::Rewind`]: someone else wrote; the lane forgets and
    /// reads again from [`Store::resume`]. [`Retry::Never`]: stop.
    fn flush(&mut self) -> Result<(), Fault>;

    /// Drops what is in memory of a partition.
    fn forget(&mut self, at: &TopicPartition);
}

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
    pub pace: Pace,
    /// Names this process among the group's; a restart under the same name takes over at once.
    pub instance: String,
    /// How many dead letters stop the lane.
    pub limits: Limits,
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
        status: &Status,
        stop: &CancellationToken,
    ) -> Result<(), Fault> {
        let (kafka, name, memory, pace) =
            (config.kafka.clone(), config.group.clone(), config.memory, config.pace);
        let state = Arc::new(Mutex::new(State::new(config, store, registry, status.clone())));
        let join = || {
            let topics = lock(&state).config.topics.clone();
            Group::join(&kafka, &name, &topics, memory, Arc::clone(&state))
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
                    None => group.poll_batch(TICK, State::take)?,
                };
                match polled {
                    Polled::Records(_) => attempt = 0,
                    Polled::Nothing if group.take_connected() => status.neighbour("kafka", Ok(())),
                    Polled::Nothing => {}
                    Polled::Outage(fault) => status.neighbour("kafka", Err(fault.to_string())),
                }
            }
            let mut step = lock(&state).after_poll(&group);
            let waits = !stopping && blocked.is_some_and(|until| Instant::now() < until);
            if matches!(step, Step::Continue) && !waits && lock(&state).is_due(stopping) {
                lock(&state).sabotage(&group);
                match flush(&state, &mut group, blocked.is_some())? {
                    Ok(()) => {
                        if blocked.take().is_some() {
                            group.hold(false);
                        }
                    }
                    Err(fault) => step = Step::Redo(fault),
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
            if stopping && matches!(step, Step::Continue) {
                return Ok(());
            }
            match step {
                Step::Continue => {}
                Step::Stall { at, offset, why } => {
                    group.pause(&at, true);
                    if let Some(from) = NextOffset::new(offset.raw()) {
                        group.seek(&at, Start::At(from));
                    }
                    let pause = lock(&state).stall(&at);
                    tracing::warn!(%at, %offset, why, ?pause, "partition stands still");
                }
                Step::Redo(fault) if fault.retry == Retry::Never => {
                    // Nothing of the open batch is to be written on the way out.
                    lock(&state).forget_all();
                    return Err(fault);
                }
                Step::Redo(fault) => {
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
fn flush(state: &Mutex<State>, group: &mut Group<State>, held: bool) -> Result<Result<(), Fault>, Fault> {
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
