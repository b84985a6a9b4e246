//! The lane of a sink's store: offsets are committed only over a flush that the store says is durable.
//!
//! The store itself is the truth about where it stands: on every assignment reading starts at the later of what the
//! store holds and what the group remembers, so a crash between a durable write and its commit repeats nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::ConsumerGroupMetadata;
use sluice_core::{
    Checkpoint, Class, Fault, LearnError, NextOffset, Outcome, Reason, Receipt, RecordRef, Retry, SchemaId,
    Span, TopicPartition,
};
use tokio_util::sync::CancellationToken;

use super::partitions::Partitions;
use super::{Pace, Step};
use crate::config::KafkaSection;
use crate::dead_letter::DeadLetter;
use crate::failpoint;
use crate::kafka::{Group, GroupEvents, Polled, Positions, Producer, Start};
use crate::metrics;
use crate::registry::BlockingRegistry;
use crate::status::Status;

/// What a store holds in memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pending {
    /// Records appended since the last flush.
    pub records: u64,
    /// Their size in memory, in bytes.
    pub bytes: usize,
}

/// A place that records are landed in, owned by one lane thread.
pub trait Store: Send + 'static {
    /// Its name, for the consumer group, metrics and logs: `archive`, `delta`.
    fn name(&self) -> &'static str;

    /// Where the store itself stands for a partition; `None` if it holds nothing of it.
    ///
    /// # Errors
    /// A [`Fault`] if the store cannot be asked.
    fn resume(&mut self, at: &TopicPartition) -> Result<Option<NextOffset>, Fault>;

    /// Takes one record into memory.
    fn append(&mut self, record: &RecordRef<'_>) -> Outcome;

    /// Teaches it a writer schema.
    ///
    /// # Errors
    /// [`LearnError::Uncovered`] if the store cannot hold it, a fault if the outside cannot be asked.
    fn learn(&mut self, topic: &str, id: SchemaId, schema: &str) -> Result<(), LearnError>;

    /// What is in memory.
    fn pending(&self) -> Pending;

    /// Makes everything appended durable, all or nothing per partition.
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
}

/// One store's lane.
pub struct StoreLane;

impl StoreLane {
    /// Runs until `stop`, then flushes, commits and leaves the group. Blocks: give it a thread of its own.
    ///
    /// # Errors
    /// A [`Fault`] that no retry can mend.
    pub fn run(
        config: StoreLaneConfig,
        store: Box<dyn Store>,
        registry: BlockingRegistry,
        status: &Status,
        stop: &CancellationToken,
    ) -> Result<(), Fault> {
        let (kafka, name, topics, memory, pace) =
            (config.kafka.clone(), config.group.clone(), config.topics.clone(), config.memory, config.pace);
        let state = Arc::new(Mutex::new(State {
            letters: None,
            partitions: Partitions::default(),
            checkpoint: Checkpoint::new(),
            spans: BTreeMap::new(),
            began: None,
            step: Step::Continue,
            rejoin: false,
            unflushed: Positions::new(),
            status: status.clone(),
            config,
            store,
            registry,
        }));
        let mut group = Group::join(&kafka, &name, &topics, memory, Arc::clone(&state))?;
        let mut attempt = 0u32;
        loop {
            let stopping = stop.is_cancelled();
            if !stopping {
                match group.poll(Duration::from_millis(50), |record| lock(&state).take(record))? {
                    Polled::Record => attempt = 0,
                    Polled::Nothing => {}
                    Polled::Outage(fault) => status.neighbour("kafka", Err(fault.to_string())),
                }
            }
            let (step, rejoin) = lock(&state).after_poll(&group, stopping);
            if stopping && matches!(step, Step::Continue) {
                return Ok(());
            }
            if rejoin {
                wait(pace.backoff.wait(attempt, rand::random()));
                attempt += 1;
                drop(group);
                group = Group::join(&kafka, &name, &topics, memory, Arc::clone(&state))?;
                continue;
            }
            match step {
                Step::Continue => {}
                Step::Stall { at, offset, why } => {
                    group.pause(&at, true);
                    if let Some(from) = NextOffset::new(offset.raw()) {
                        go_back(&group, &at, from);
                    }
                    let pause = lock(&state).stall(&at);
                    tracing::warn!(%at, %offset, why, ?pause, "partition stands still");
                }
                Step::Redo(fault) if fault.retry == Retry::Never => return Err(fault),
                Step::Redo(fault) => {
                    tracing::warn!(%fault, attempt, "trouble with the store");
                    lock(&state).trouble_with_store(&fault);
                    if stopping {
                        return Err(fault); // what was not flushed is read again after the restart
                    }
                    if fault.retry == Retry::Rewind {
                        let again = lock(&state).rewind()?;
                        for (at, from) in again {
                            seek(&group, &at, from);
                        }
                    }
                    wait(pace.backoff.wait(attempt, rand::random()));
                    attempt += 1;
                }
            }
        }
    }
}

fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn go_back<E: GroupEvents>(group: &Group<E>, at: &TopicPartition, from: NextOffset) {
    seek(group, at, Start::At(from));
}

fn seek<E: GroupEvents>(group: &Group<E>, at: &TopicPartition, start: Start) {
    if let Err(fault) = group.seek(at, start) {
        tracing::debug!(%fault, %at, "not ours any more");
    }
}

/// While a store is down nothing is fetched; librdkafka keeps the membership alive between polls.
fn wait(time: Duration) {
    std::thread::park_timeout(time.min(Duration::from_secs(5)));
}

struct State {
    config: StoreLaneConfig,
    store: Box<dyn Store>,
    registry: BlockingRegistry,
    /// Made for the first dead letter.
    letters: Option<Producer>,
    partitions: Partitions,
    checkpoint: Checkpoint,
    /// The spans taken in since the last flush, per partition.
    spans: BTreeMap<TopicPartition, Span>,
    began: Option<Instant>,
    step: Step,
    rejoin: bool,
    /// Proven but not yet committed to the group.
    unflushed: Positions,
    status: Status,
}

impl State {
    fn take(&mut self, record: &RecordRef<'_>) {
        let Some(partition) = self.partitions.find(record) else { return };
        if partition.stalled.is_some() {
            return;
        }
        // A partition that was rewound may still lend what was fetched before.
        if partition.next.is_some_and(|next| !next.has_yet_to_read(record.offset)) {
            return;
        }
        let at = partition.at.clone();
        let before = partition.tally;
        self.step = match self.handle(record) {
            Ok(None) => self.track(&at, record),
            Ok(Some(why)) => Step::Stall { at, offset: record.offset, why },
            Err(fault) => {
                if let Some(partition) = self.partitions.get_mut(&at) {
                    partition.tally = before;
                }
                Step::Redo(fault)
            }
        };
    }

    fn track(&mut self, at: &TopicPartition, record: &RecordRef<'_>) -> Step {
        let span = Span::one(record.offset);
        if let Err(error) = self.checkpoint.track(at, span) {
            return Step::Redo(Fault::rewind("taking a record in", error));
        }
        self.spans.entry(at.clone()).and_modify(|known| known.last = record.offset).or_insert(span);
        if let Some(partition) = self.partitions.get_mut(at) {
            partition.next = Some(record.offset.next());
        }
        self.began.get_or_insert_with(Instant::now);
        Step::Continue
    }

    /// `Some(why)` if the partition has to stand still.
    fn handle(&mut self, record: &RecordRef<'_>) -> Result<Option<String>, Fault> {
        let mut learned = None;
        loop {
            match self.store.append(record) {
                Outcome::Emitted => self.tally(record, |tally| tally.written += 1),
                Outcome::Skipped(reason) => {
                    metrics::skipped(self.config.worker, reason.class);
                    self.tally(record, |tally| tally.skipped += 1);
                }
                Outcome::DeadLetter(reason) => self.dead_letter(record, &reason)?,
                Outcome::Uncovered(reason) => return Ok(Some(reason.to_string())),
                Outcome::NeedsSchema(id) if learned == Some(id) => {
                    return Err(Fault::bug(
                        "learning a schema",
                        format!("schema {id} was learned and is asked for again"),
                    ));
                }
                Outcome::NeedsSchema(id) => match self.registry.schema(id) {
                    Err(fault) => return Ok(Some(fault.to_string())),
                    Ok(None) => {
                        let reason = Reason::new(
                            Class::UnknownSchema,
                            format!("a registered schema; the registry has no id {id}"),
                        );
                        self.dead_letter(record, &reason)?;
                    }
                    Ok(Some(schema)) => match self.store.learn(record.topic, id, &schema) {
                        Ok(()) => {
                            learned = Some(id);
                            continue;
                        }
                        Err(LearnError::Uncovered(reason)) => return Ok(Some(reason.to_string())),
                        Err(LearnError::Fault(fault)) if fault.retry == Retry::Later => {
                            return Ok(Some(fault.to_string()));
                        }
                        Err(LearnError::Fault(fault)) => return Err(fault),
                    },
                },
            }
            return Ok(None);
        }
    }

    fn tally(&mut self, record: &RecordRef<'_>, count: impl FnOnce(&mut super::partitions::Tally)) {
        if let Some(partition) = self.partitions.find(record) {
            count(&mut partition.tally);
        }
    }

    fn dead_letter(&mut self, record: &RecordRef<'_>, reason: &Reason) -> Result<(), Fault> {
        let producer = match &mut self.letters {
            Some(producer) => producer,
            none => none.insert(Producer::idempotent(&self.config.kafka, self.config.memory)?),
        };
        let letter = DeadLetter { reason, worker: self.config.worker, attempt: 1 };
        letter.send(record, |out| producer.send(out))?;
        metrics::dead_lettered(self.config.worker, reason.class);
        self.tally(record, |tally| tally.dead_lettered += 1);
        Ok(())
    }

    fn after_poll<E: GroupEvents>(&mut self, group: &Group<E>, stopping: bool) -> (Step, bool) {
        let now = Instant::now();
        for partition in self.partitions.iter_mut() {
            if let Some((until, _)) = partition.stalled
                && now >= until
            {
                partition.stalled = None;
                group.pause(&partition.at, false);
            }
        }
        let mut step = std::mem::replace(&mut self.step, Step::Continue);
        if matches!(step, Step::Continue) {
            let pending = self.store.pending();
            let age = self.began.map_or(Duration::ZERO, |began| now.duration_since(began));
            let due =
                self.began.is_some() && self.config.pace.is_due(age, pending.bytes, pending.records.max(1));
            let due = due || (stopping && self.began.is_some());
            if due && failpoint::sabotaged("commit-before-write") {
                let taken_in = self.partitions.positions();
                let _ = group.commit(&taken_in);
            }
            if due && let Err(fault) = self.flush() {
                step = Step::Redo(fault);
            } else if let Err(fault) = self.commit(group) {
                step = Step::Redo(fault);
            }
        }
        (step, std::mem::take(&mut self.rejoin))
    }

    /// Durable write, then receipts.
    fn flush(&mut self) -> Result<(), Fault> {
        if let Some(producer) = &mut self.letters {
            producer.flush()?;
        }
        let began = Instant::now();
        let pending = self.store.pending();
        failpoint::pass("before-write");
        self.store.flush()?;
        failpoint::pass("after-write");
        metrics::flushed(self.store.name(), pending.records, pending.bytes, began.elapsed());
        self.status.neighbour(self.store.name(), Ok(()));
        self.began = None;
        for (at, span) in std::mem::take(&mut self.spans) {
            let Some(partition) = self.partitions.get_mut(&at) else { continue };
            let tally = std::mem::take(&mut partition.tally);
            let receipt = Receipt {
                at: at.clone(),
                span,
                written: tally.written,
                dead_lettered: tally.dead_lettered,
                skipped: tally.skipped,
            };
            self.checkpoint.settle(&receipt).map_err(|error| Fault::bug("settling a receipt", error))?;
            if let Some(next) = self.checkpoint.committable(&at) {
                partition.committed = Some(next);
                self.status.position(&at, next, [tally.written, tally.dead_lettered, tally.skipped]);
                self.unflushed.insert(at, next);
            }
        }
        Ok(())
    }

    fn commit<E: GroupEvents>(&mut self, group: &Group<E>) -> Result<(), Fault> {
        if self.unflushed.is_empty() {
            return Ok(());
        }
        let positions = std::mem::take(&mut self.unflushed);
        // The store holds them already: a commit that fails costs a second look at assignment, never a record.
        if let Err(fault) = group.commit(&positions) {
            tracing::warn!(%fault, "the group does not take the positions; the store remembers them");
        }
        Ok(())
    }

    fn trouble_with_store(&mut self, fault: &Fault) {
        self.status.neighbour(self.store.name(), Err(fault.to_string()));
    }

    /// Forgets everything in memory; where to read each partition again.
    fn rewind(&mut self) -> Result<Vec<(TopicPartition, Start)>, Fault> {
        let all: Vec<_> =
            self.partitions.iter().map(|partition| (partition.at.clone(), partition.committed)).collect();
        let mut again = vec![];
        for (at, committed) in all {
            self.drop_buffers(&at);
            self.partitions.add(at.clone());
            let start = Self::start(self.store.resume(&at)?, committed);
            again.push((at, start));
        }
        self.began = None;
        Ok(again)
    }

    fn drop_buffers(&mut self, at: &TopicPartition) {
        self.store.forget(at);
        self.spans.remove(at);
        self.checkpoint.forget(at);
    }

    fn start(stored: Option<NextOffset>, committed: Option<NextOffset>) -> Start {
        stored.max(committed).map_or(Start::Beginning, Start::At)
    }

    fn stall(&mut self, at: &TopicPartition) -> Duration {
        let attempts = self.status.stalled(at);
        let pause = self.config.pace.backoff.wait(attempts, rand::random()).max(Duration::from_millis(100));
        if let Some(partition) = self.partitions.get_mut(at) {
            partition.stalled = Some((Instant::now() + pause, attempts));
        }
        pause
    }
}

impl GroupEvents for State {
    fn assigned(&mut self, at: &TopicPartition, committed: Option<NextOffset>) -> Start {
        self.drop_buffers(at);
        self.partitions.add(at.clone());
        match self.store.resume(at) {
            Ok(stored) => {
                if let Some(partition) = self.partitions.get_mut(at) {
                    partition.committed = stored.max(committed);
                }
                let start = Self::start(stored, committed);
                tracing::info!(%at, ?stored, ?committed, ?start, store = self.store.name(), "assigned");
                start
            }
            Err(fault) => {
                // Unknown ground: take the group's word for now, and leave again before anything is read.
                self.trouble_with_store(&fault);
                self.rejoin = true;
                committed.map_or(Start::Beginning, Start::At)
            }
        }
    }

    fn revoking(&mut self, partitions: &[TopicPartition], lost: bool, _: Option<ConsumerGroupMetadata>) {
        tracing::info!(count = partitions.len(), lost, store = self.store.name(), "partitions revoked");
        // What is in memory is written if it is still ours; if that fails, the new owner reads it again.
        if !lost
            && self.began.is_some()
            && let Err(fault) = self.flush()
        {
            tracing::warn!(%fault, "not flushed; the next owner reads it again");
        }
        for at in partitions {
            self.drop_buffers(at);
            self.partitions.remove(at);
            self.unflushed.remove(at);
            self.status.released(at);
        }
    }

    fn trouble(&mut self, fault: Fault) {
        self.status.neighbour("kafka", Err(fault.to_string()));
        self.rejoin = true;
    }
}
