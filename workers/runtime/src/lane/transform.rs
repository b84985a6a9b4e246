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
//! A revoked partition is settled inside the callback: commit if it is still ours, abort if it is not.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::ConsumerGroupMetadata;
use sluice_core::{
    Domain, Fault, LearnError, NextOffset, Outcome, Outputs, Processor, RecordRef, Retry, TopicPartition,
};
use tokio_util::sync::CancellationToken;

use super::partitions::Partitions;
use super::{Pace, Step};
use crate::config::KafkaSection;
use crate::dead_letter::DeadLetter;
use crate::failpoint;
use crate::kafka::{Group, GroupEvents, Outgoing, Polled, Producer, Start};
use crate::metrics;
use crate::registry::BlockingRegistry;
use crate::status::Status;

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
    pub pace: Pace,
}

/// Runs a lane until `stop`, then commits what is open and leaves the group. Blocks: give it a thread of its own.
///
/// # Errors
/// A [`Fault`] that no retry can mend.
pub fn run<P: Processor + 'static>(
    config: TransformLaneConfig,
    processor: P,
    registry: BlockingRegistry,
    status: &Status,
    stop: &CancellationToken,
) -> Result<(), Fault> {
    let state = Arc::new(Mutex::new(State {
        transactional_id: format!("{}-{}-{}", config.group, config.worker, config.instance),
        processor,
        registry,
        outputs: Outputs::new(),
        producer: None,
        batch: None,
        partitions: Partitions::default(),
        step: Step::Continue,
        again: vec![],
        rejoin: false,
        status: status.clone(),
        config,
    }));
    let config = |state: &State<P>| {
        (
            state.config.kafka.clone(),
            state.config.group.clone(),
            state.config.topics.clone(),
            state.config.memory,
        )
    };
    let (kafka, name, topics, memory) = config(&lock(&state));
    let mut group = Group::join(&kafka, &name, &topics, memory, Arc::clone(&state))?;
    let mut attempt = 0u32;
    loop {
        if stop.is_cancelled() {
            // Bound to a value first: the guard must be gone before leaving the group calls back into the state.
            let done = lock(&state).commit(group.metadata());
            if let Err(fault) = done {
                tracing::warn!(%fault, "the open transaction is given up; it will be read again");
                lock(&state).abandon();
            }
            return Ok(());
        }
        match group.poll(Duration::from_millis(50), |record| lock(&state).take(record))? {
            Polled::Record => attempt = 0,
            Polled::Nothing => {}
            Polled::Outage(fault) => status.neighbour("kafka", Err(fault.to_string())),
        }
        let (step, again, rejoin) = lock(&state).after_poll(&group);
        if rejoin {
            wait(stop, lock(&state).config.pace.backoff.wait(attempt, rand::random()));
            attempt += 1;
            drop(group);
            group = Group::join(&kafka, &name, &topics, memory, Arc::clone(&state))?;
            continue;
        }
        for (at, from) in again {
            go_back(&group, &at, from);
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
            Step::Redo(fault) => {
                if fault.retry == Retry::Never {
                    lock(&state).abandon();
                    return Err(fault);
                }
                tracing::warn!(%fault, attempt, "the batch is given up and read again");
                status.neighbour("kafka", Err(fault.to_string()));
                let again = lock(&state).redo(fault.retry);
                for (at, from) in again {
                    go_back(&group, &at, from);
                }
                wait(stop, lock(&state).config.pace.backoff.wait(attempt, rand::random()));
                attempt += 1;
            }
        }
    }
}

fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn go_back<E: GroupEvents>(group: &Group<E>, at: &TopicPartition, from: NextOffset) {
    // A partition that went away in the meantime is its new owner's to read.
    if let Err(fault) = group.seek(at, Start::At(from)) {
        tracing::debug!(%fault, %at, "not ours any more");
    }
}

fn wait(stop: &CancellationToken, time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until && !stop.is_cancelled() {
        std::thread::park_timeout(Duration::from_millis(20).min(time));
    }
}

struct Batch {
    began: Instant,
    bytes: usize,
    records: u64,
}

struct State<P> {
    config: TransformLaneConfig,
    transactional_id: String,
    processor: P,
    registry: BlockingRegistry,
    outputs: Outputs,
    producer: Option<Producer>,
    batch: Option<Batch>,
    partitions: Partitions,
    step: Step,
    /// Where to read again after a batch was given up inside a rebalance.
    again: Vec<(TopicPartition, NextOffset)>,
    rejoin: bool,
    status: Status,
}

impl<P: Processor> State<P> {
    /// Takes one record into the open transaction, or says why not.
    fn take(&mut self, record: &RecordRef<'_>) {
        let Some(partition) = self.partitions.find(record) else { return };
        if partition.stalled.is_some() {
            return; // fetched before the pause took hold; it is read again
        }
        let first_of_batch = partition.first.is_none();
        if first_of_batch {
            partition.first = Some(record.offset);
        }
        let at = partition.at.clone();
        self.step = match self.handle(record) {
            Ok(Handled::Done(tally)) => {
                if let Some(partition) = self.partitions.get_mut(&at) {
                    partition.next = Some(record.offset.next());
                    tally(&mut partition.tally);
                    partition.stalled = None;
                }
                if let Some(batch) = &mut self.batch {
                    batch.bytes += record.size();
                    batch.records += 1;
                }
                Step::Continue
            }
            Ok(Handled::Stall(why)) => {
                if first_of_batch && let Some(partition) = self.partitions.get_mut(&at) {
                    partition.first = None;
                }
                Step::Stall { at, offset: record.offset, why }
            }
            Err(fault) => Step::Redo(fault),
        };
    }

    fn handle(&mut self, record: &RecordRef<'_>) -> Result<Handled, Fault> {
        self.open()?;
        let mut learned = None;
        loop {
            self.outputs.clear();
            match self.processor.process(record, &mut self.outputs) {
                Outcome::Emitted => {
                    self.send_outputs()?;
                    return Ok(Handled::Done(|tally| tally.written += 1));
                }
                Outcome::Skipped(reason) => {
                    metrics::skipped(self.config.worker, reason.class);
                    return Ok(Handled::Done(|tally| tally.skipped += 1));
                }
                Outcome::DeadLetter(reason) => {
                    let letter = DeadLetter { reason: &reason, worker: self.config.worker, attempt: 1 };
                    letter.send(record, |out| {
                        self.producer.as_mut().map_or(Ok(()), |producer| producer.send(out))
                    })?;
                    metrics::dead_lettered(self.config.worker, reason.class);
                    tracing::info!(topic = record.topic, partition = record.partition, offset = %record.offset, %reason, "dead letter");
                    return Ok(Handled::Done(|tally| tally.dead_lettered += 1));
                }
                Outcome::Uncovered(reason) => return Ok(Handled::Stall(reason.to_string())),
                Outcome::NeedsSchema(id) if learned == Some(id) => {
                    return Err(Fault::bug(
                        "learning a schema",
                        format!("schema {id} was learned and is asked for again"),
                    ));
                }
                Outcome::NeedsSchema(id) => match self.registry.schema(id) {
                    Err(fault) => {
                        self.status.neighbour("registry", Err(fault.to_string()));
                        return Ok(Handled::Stall(fault.to_string()));
                    }
                    Ok(None) => {
                        let reason = sluice_core::Reason::new(
                            sluice_core::Class::UnknownSchema,
                            format!("a registered schema; the registry has no id {id}"),
                        );
                        let letter = DeadLetter { reason: &reason, worker: self.config.worker, attempt: 1 };
                        letter.send(record, |out| {
                            self.producer.as_mut().map_or(Ok(()), |producer| producer.send(out))
                        })?;
                        metrics::dead_lettered(self.config.worker, reason.class);
                        return Ok(Handled::Done(|tally| tally.dead_lettered += 1));
                    }
                    Ok(Some(schema)) => {
                        self.status.neighbour("registry", Ok(()));
                        match self.processor.learn(record.topic, id, &schema, &mut self.registry) {
                            Ok(()) => learned = Some(id),
                            Err(LearnError::Uncovered(reason)) => {
                                return Ok(Handled::Stall(reason.to_string()));
                            }
                            Err(LearnError::Fault(fault)) if fault.domain == Domain::Internal => {
                                return Err(fault);
                            }
                            Err(LearnError::Fault(fault)) => return Ok(Handled::Stall(fault.to_string())),
                        }
                    }
                },
            }
        }
    }

    fn send_outputs(&mut self) -> Result<(), Fault> {
        let Some(producer) = &mut self.producer else { return Ok(()) };
        let routes = self.processor.routes();
        for out in self.outputs.iter() {
            let topic = routes
                .get(usize::from(out.route.0))
                .ok_or_else(|| Fault::bug("routing an output", format!("no route {}", out.route.0)))?;
            let headers: Vec<_> = out.headers().collect();
            producer.send(&Outgoing {
                topic,
                partition: None,
                key: out.key,
                value: out.value,
                timestamp_ms: out.timestamp_ms,
                headers: &headers,
            })?;
        }
        Ok(())
    }

    /// Opens a transaction unless one is open.
    fn open(&mut self) -> Result<(), Fault> {
        if self.batch.is_some() {
            return Ok(());
        }
        let producer = match &mut self.producer {
            Some(producer) => producer,
            none => none.insert(Producer::transactional(
                &self.config.kafka,
                &self.transactional_id,
                self.config.memory,
            )?),
        };
        producer.begin()?;
        self.batch = Some(Batch { began: Instant::now(), bytes: 0, records: 0 });
        Ok(())
    }

    /// Makes the open batch visible and its offsets proven, at once.
    fn commit(&mut self, metadata: Option<ConsumerGroupMetadata>) -> Result<(), Fault> {
        let (Some(_), Some(producer)) = (&self.batch, &mut self.producer) else { return Ok(()) };
        let positions = self.partitions.positions();
        failpoint::pass("after-produce");
        if !positions.is_empty() {
            let metadata =
                metadata.ok_or_else(|| Fault::rewind("committing", "the group does not count us in"))?;
            producer.send_offsets(&positions, &metadata)?;
        }
        failpoint::pass("after-send-offsets");
        producer.commit()?;
        let records = self.batch.take().map_or(0, |batch| batch.records);
        metrics::committed(self.config.worker, records);
        self.status.neighbour("kafka", Ok(()));
        for (at, next, tally) in self.partitions.close() {
            self.status.position(&at, next, [tally.written, tally.dead_lettered, tally.skipped]);
        }
        Ok(())
    }

    /// Gives the open batch up; where to read again.
    fn redo(&mut self, retry: Retry) -> Vec<(TopicPartition, NextOffset)> {
        if self.batch.take().is_some()
            && let Some(mut producer) = self.producer.take()
        {
            // With `Later` the producer's own state is in doubt: leave it dropped, the next one fences it.
            if retry == Retry::Rewind {
                match producer.abort() {
                    Ok(()) => self.producer = Some(producer),
                    Err(fault) => tracing::warn!(%fault, "a new producer takes over"),
                }
            }
        }
        self.partitions.give_up()
    }

    fn abandon(&mut self) {
        self.redo(Retry::Rewind);
    }

    /// What is to be done after a poll; commits if the batch is due.
    fn after_poll<E: GroupEvents>(
        &mut self,
        group: &Group<E>,
    ) -> (Step, Vec<(TopicPartition, NextOffset)>, bool) {
        let now = Instant::now();
        for partition in self.partitions.iter_mut() {
            if let Some((until, _)) = partition.stalled
                && now >= until
            {
                // Its attempt count is kept in `stall` through `step`; here it is only let go on.
                partition.stalled = None;
                group.pause(&partition.at, false);
            }
        }
        let mut step = std::mem::replace(&mut self.step, Step::Continue);
        let due = self.batch.as_ref().is_some_and(|batch| {
            self.config.pace.is_due(now.duration_since(batch.began), batch.bytes, batch.records.max(1))
        });
        if matches!(step, Step::Continue) {
            if due && let Err(fault) = self.commit(group.metadata()) {
                step = Step::Redo(fault);
            } else if let Some(producer) = &mut self.producer {
                producer.serve();
            }
        }
        (step, std::mem::take(&mut self.again), std::mem::take(&mut self.rejoin))
    }

    /// Lets a partition stand still for a while, longer each time in a row.
    fn stall(&mut self, at: &TopicPartition) -> Duration {
        let backoff = self.config.pace.backoff;
        let attempts = self.status.stalled(at);
        let pause = backoff.wait(attempts, rand::random()).max(Duration::from_millis(100));
        if let Some(partition) = self.partitions.get_mut(at) {
            partition.stalled = Some((Instant::now() + pause, attempts));
        }
        pause
    }
}

enum Handled {
    Done(fn(&mut super::partitions::Tally)),
    Stall(String),
}

impl<P: Processor + 'static> GroupEvents for State<P> {
    fn assigned(&mut self, at: &TopicPartition, committed: Option<NextOffset>) -> Start {
        self.partitions.add(at.clone());
        match committed {
            Some(next) => {
                tracing::info!(%at, %next, "assigned");
                Start::At(next)
            }
            None => {
                tracing::info!(%at, "assigned; the group has no position here yet: from the beginning");
                Start::Beginning
            }
        }
    }

    fn revoking(
        &mut self,
        partitions: &[TopicPartition],
        lost: bool,
        metadata: Option<ConsumerGroupMetadata>,
    ) {
        tracing::info!(count = partitions.len(), lost, "partitions revoked");
        if failpoint::sabotaged("keep-on-revoke") {
            return;
        }
        let done = if lost {
            Err(Fault::rewind("leaving partitions", "they were lost"))
        } else {
            self.commit(metadata)
        };
        if let Err(fault) = done {
            tracing::warn!(%fault, "the open transaction is given up; whoever owns its partitions now reads them again");
            let again = self.redo(fault.retry);
            self.again.extend(again.into_iter().filter(|(at, _)| !partitions.contains(at)));
        }
        for at in partitions {
            self.partitions.remove(at);
            self.status.released(at);
        }
    }

    fn trouble(&mut self, fault: Fault) {
        self.status.neighbour("kafka", Err(fault.to_string()));
        self.rejoin = true;
    }
}
