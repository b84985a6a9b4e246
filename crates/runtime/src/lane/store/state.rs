//! What a store lane holds: what was taken in, what is proven, and what to do next.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use sluice_core::{
    Fault, LearnError, NextOffset, OffsetCheckpoint, OffsetSpan, Outcome, OutcomeReason, ReasonClass,
    Receipt, RecordRef, Retry, SchemaId, Store, TopicPartition,
};

use super::StoreLaneConfig;
use super::letters::DeadLetterOutbox;
use crate::dead_letter::DeadLetter;
use crate::lane::LaneStep;
use crate::lane::limits::TooManyDeadLetters;
use crate::lane::partitions::LaneAssignment;
use crate::lane::tenure::DrainingPartitions;
use crate::metrics;
use crate::receipts::{OutcomeCounts, ReceiptAuthor, ReceiptRecord, now_ms};
use crate::registry::BlockingRegistry;
use crate::status::WorkerStatus;
use sluice_kafka::{
    CommitPositions, ConsumerGroup, GroupEvents, GroupMetadata, KafkaProducer, PartitionStart,
};

/// So many bytes are taken in before the store is asked how much it holds.
const LOOK: usize = 1 << 20;

/// A lane's state, shared with the group's callbacks.
pub(super) struct StoreLaneState {
    pub(super) config: StoreLaneConfig,
    store: Box<dyn Store>,
    registry: BlockingRegistry,
    who: ReceiptAuthor,
    /// For receipts, dead letters and offsets, which are one transaction.
    producer: Option<KafkaProducer>,
    letters: DeadLetterOutbox,
    partitions: LaneAssignment,
    checkpoint: OffsetCheckpoint,
    began: Option<Instant>,
    /// Bytes taken in since the store was last asked how much it holds.
    unlooked: usize,
    step: LaneStep,
    rejoin: bool,
    /// Durable in the store, but not yet accounted for and committed to the group.
    uncommitted: CommitPositions,
    status: WorkerStatus,
}

/// What comes of a schema that a store asked for.
enum StoreLearnOutcome {
    Yes,
    /// The registry does not have it.
    Unknown,
    /// Not now.
    Stall(String),
}

impl StoreLaneState {
    pub(super) fn new(
        config: StoreLaneConfig,
        store: Box<dyn Store>,
        registry: BlockingRegistry,
        status: WorkerStatus,
    ) -> Self {
        Self {
            who: ReceiptAuthor {
                group: config.group.clone(),
                worker: config.worker.to_owned(),
                instance: config.instance.clone(),
            },
            producer: None,
            letters: DeadLetterOutbox::default(),
            partitions: LaneAssignment::default(),
            checkpoint: OffsetCheckpoint::new(),
            began: None,
            unlooked: 0,
            step: LaneStep::Continue,
            rejoin: false,
            uncommitted: CommitPositions::new(),
            status,
            config,
            store,
            registry,
        }
    }

    /// Takes one record into the store's memory, or says why not.
    pub(super) fn take(&mut self, record: &RecordRef<'_>) -> ControlFlow<()> {
        let Some(partition) = self.partitions.find(record) else { return ControlFlow::Continue(()) };
        // What was fetched before a pause or a rewind took hold is read again.
        if partition.stalled.is_some() || partition.has_taken(record.offset) {
            return ControlFlow::Continue(());
        }
        match self.handle(record) {
            Ok(None) => {
                let Some(partition) = self.partitions.found() else { return ControlFlow::Break(()) };
                partition.first.get_or_insert(record.offset);
                partition.next = Some(record.offset.next());
                partition.counts.records += 1;
                partition.fresh = OffsetSpan::new(
                    partition.fresh.map_or(record.offset, |fresh| fresh.first),
                    record.offset,
                );
                self.began.get_or_insert_with(Instant::now);
                self.unlooked += record.size();
                if self.unlooked < LOOK {
                    return ControlFlow::Continue(());
                }
            }
            Ok(Some(why)) => {
                let Some(partition) = self.partitions.found() else { return ControlFlow::Break(()) };
                self.step = LaneStep::Stall { at: partition.at.clone(), offset: record.offset, why };
            }
            Err(mut fault) => {
                // The record was lent and not taken in: it has to be read again, whatever the trouble was.
                if fault.retry == Retry::Later {
                    fault.retry = Retry::Rewind;
                }
                self.step = LaneStep::Redo(fault);
            }
        }
        ControlFlow::Break(())
    }

    /// `Some(why)` if the partition has to stand still.
    fn handle(&mut self, record: &RecordRef<'_>) -> Result<Option<String>, Fault> {
        let mut learned = None;
        loop {
            match self.store.append(record) {
                Outcome::Emitted => self.count(|counts| counts.written += 1),
                Outcome::Skipped(reason) => {
                    metrics::skipped(self.config.worker, reason.class);
                    self.count(|counts| counts.skip(reason.class));
                }
                Outcome::DeadLetter(reason) => self.dead_letter(record, &reason)?,
                Outcome::Uncovered(reason) => return Ok(Some(reason.to_string())),
                Outcome::NeedsSchema(id) if learned == Some(id) => {
                    return Err(Fault::bug(
                        "learning a schema",
                        format!("schema {id} was learned and is asked for again"),
                    ));
                }
                Outcome::NeedsSchema(id) => match self.learn(record.topic, id)? {
                    StoreLearnOutcome::Yes => {
                        learned = Some(id);
                        continue;
                    }
                    StoreLearnOutcome::Stall(why) => return Ok(Some(why)),
                    StoreLearnOutcome::Unknown => {
                        let reason = OutcomeReason::new(
                            ReasonClass::UnknownSchema,
                            format!("a registered schema; the registry has no id {id}"),
                        );
                        self.dead_letter(record, &reason)?;
                    }
                },
            }
            return Ok(None);
        }
    }

    fn learn(&mut self, topic: &str, id: SchemaId) -> Result<StoreLearnOutcome, Fault> {
        let schema = match self.registry.schema(id) {
            Err(fault) => return Ok(StoreLearnOutcome::Stall(fault.to_string())),
            Ok(None) => return Ok(StoreLearnOutcome::Unknown),
            Ok(Some(schema)) => schema,
        };
        match self.store.learn(topic, id, &schema) {
            Ok(()) => Ok(StoreLearnOutcome::Yes),
            Err(LearnError::Uncovered(reason)) => Ok(StoreLearnOutcome::Stall(reason.to_string())),
            Err(LearnError::Fault(fault)) if fault.retry == Retry::Later => {
                Ok(StoreLearnOutcome::Stall(fault.to_string()))
            }
            Err(LearnError::Fault(fault)) => Err(fault),
        }
    }

    /// Counts the record that is being handled.
    fn count(&mut self, count: impl FnOnce(&mut OutcomeCounts)) {
        if let Some(partition) = self.partitions.found() {
            count(&mut partition.counts);
            partition.gauge.passed();
        }
    }

    /// Keeps a letter about the record that is being handled until its batch is durable.
    fn dead_letter(&mut self, record: &RecordRef<'_>, reason: &OutcomeReason) -> Result<(), Fault> {
        let Some(partition) = self.partitions.found() else { return Ok(()) };
        let at = partition.at.clone();
        if let Some(tripped) = partition.gauge.refused(record.offset, &self.config.limits) {
            return Err(
                TooManyDeadLetters { at, tripped, class: reason.class, path: reason.path.clone() }.into()
            );
        }
        partition.counts.dead_letter(reason.class);
        let letter = DeadLetter { reason, worker: self.config.worker, group: &self.config.group, attempt: 1 };
        let letters = &mut self.letters;
        letter.send(record, |out| {
            letters.keep(at, out);
            Ok(())
        })?;
        metrics::dead_lettered(self.config.worker, reason.class);
        tracing::info!(topic = record.topic, partition = record.partition, offset = %record.offset, %reason, "dead letter");
        Ok(())
    }

    /// Lets partitions go on whose time has come, and tracks what was taken in; what is to be done next.
    pub(super) fn after_poll(&mut self, group: &ConsumerGroup<Self>) -> LaneStep {
        let now = Instant::now();
        self.unlooked = 0;
        for partition in self.partitions.iter_mut() {
            if let Some((until, _)) = partition.stalled
                && now >= until
            {
                partition.stalled = None;
                group.pause(&partition.at, false);
            }
        }
        match (std::mem::replace(&mut self.step, LaneStep::Continue), self.track()) {
            (LaneStep::Continue, Err(fault)) => LaneStep::Redo(fault),
            (step, _) => step,
        }
    }

    /// Takes what was read since the last time into the checkpoint, a run per partition.
    fn track(&mut self) -> Result<(), Fault> {
        for partition in self.partitions.iter_mut() {
            if let Some(span) = partition.fresh.take() {
                self.checkpoint
                    .track(&partition.at, span)
                    .map_err(|error| Fault::rewind("taking records in", error))?;
            }
        }
        Ok(())
    }

    /// Is there something to flush, and is it time? `now` asks for anything at all.
    pub(super) fn is_due(&self, now: bool) -> bool {
        let Some(began) = self.began else { return false };
        let pending = self.store.pending();
        let bytes = pending.bytes + self.letters.bytes();
        now || self.config.pace.is_due(began.elapsed(), bytes, pending.records.max(1))
    }

    /// Durable write, and what it proves. What is proven is to be committed next, before anything else is taken in.
    pub(super) fn flush(&mut self) -> Result<(), Fault> {
        self.track()?;
        let began = Instant::now();
        let pending = self.store.pending();
        sluice_failpoint::pass("before-write");
        self.store.flush()?;
        sluice_failpoint::pass("after-write");
        metrics::flushed(self.store.name(), pending.records, pending.bytes, began.elapsed());
        self.status.neighbour(self.store.name(), Ok(()));
        self.began = None;
        for partition in self.partitions.iter_mut() {
            let (Some(first), Some(next)) = (partition.first, partition.next) else { continue };
            let Some(span) = next.last().and_then(|last| OffsetSpan::new(first, last)) else { continue };
            let [written, dead_lettered, skipped] = partition.counts.totals();
            let receipt = Receipt { at: partition.at.clone(), span, written, dead_lettered, skipped };
            self.checkpoint.settle(&receipt).map_err(|error| Fault::bug("settling a receipt", error))?;
            if let Some(next) = self.checkpoint.committable(&partition.at) {
                self.uncommitted.insert(partition.at.clone(), next);
            }
        }
        Ok(())
    }

    /// For the negative control of the fault tests: the group is told what was only taken in.
    pub(super) fn sabotage(&self, group: &ConsumerGroup<Self>) {
        if sluice_failpoint::sabotaged("commit-before-write") {
            let _ = group.commit(&self.partitions.positions());
        }
    }

    /// Is something durable and not yet committed?
    pub(super) fn has_uncommitted(&self) -> bool {
        !self.uncommitted.is_empty()
    }

    /// Dead letters, receipts and the group's positions of what the store has: one transaction, by `deadline` if there
    /// is one.
    ///
    /// # Errors
    /// A [`Fault`]; the group is then joined anew and says where to go on. What the store has already is judged again
    /// and not added.
    pub(super) fn commit(
        &mut self,
        metadata: Option<GroupMetadata>,
        deadline: Option<Instant>,
    ) -> Result<(), Fault> {
        if self.uncommitted.is_empty() {
            return Ok(());
        }
        let done = self.transact(metadata, deadline);
        if let Err(fault) = &done {
            // Whether it landed or not, the group will say: nothing of it may be sent a second time.
            self.rejoin = true;
            self.uncommitted.clear();
            self.letters.clear();
            self.partitions.give_up();
            if let Some(mut producer) = self.producer.take()
                && fault.retry == Retry::Rewind
                && producer.abort().is_ok()
            {
                self.producer = Some(producer);
            }
            return done;
        }
        self.status.neighbour("kafka", Ok(()));
        self.uncommitted.clear();
        self.letters.clear();
        for (at, next, counts) in self.partitions.close() {
            self.status.position(&at, next, counts);
        }
        done
    }

    /// Builds the producer, if there is none: that takes the transactional id, and settles whatever its last holder
    /// left open.
    pub(super) fn prepare(&mut self) -> Result<(), Fault> {
        if self.producer.is_none() {
            let ReceiptAuthor { group, worker, instance } = &self.who;
            let id = format!("{group}-{worker}-{instance}");
            self.producer = Some(KafkaProducer::transactional(&self.config.kafka, &id, self.config.memory)?);
        }
        Ok(())
    }

    fn transact(&mut self, metadata: Option<GroupMetadata>, deadline: Option<Instant>) -> Result<(), Fault> {
        let metadata =
            metadata.ok_or_else(|| Fault::rewind("committing", "the group does not count us in"))?;
        let receipts = self.partitions.receipts(&self.who, &[], now_ms());
        self.prepare()?;
        let Some(producer) = &mut self.producer else { return Ok(()) };
        producer.begin()?;
        self.letters.send(producer)?;
        for receipt in receipts {
            ReceiptRecord::Segment(receipt).send(|out| producer.send(out))?;
        }
        producer.flush_by(deadline)?;
        producer.send_offsets(&self.uncommitted, &metadata)?;
        producer.commit()
    }

    pub(super) fn trouble_with_store(&mut self, fault: &Fault) {
        self.status.neighbour(self.store.name(), Err(fault.to_string()));
    }

    /// Forgets everything in memory; where to read each partition again. While the store cannot be asked, nowhere: the
    /// group is joined anew.
    ///
    /// # Errors
    /// The store's, if no retry can mend it.
    pub(super) fn rewind(&mut self) -> Result<Vec<(TopicPartition, PartitionStart)>, Fault> {
        let all: Vec<_> =
            self.partitions.iter().map(|partition| (partition.at.clone(), partition.committed)).collect();
        let mut again = vec![];
        self.began = None;
        for (at, committed) in all {
            self.drop_buffers(&at);
            self.partitions.add(at.clone(), committed);
            match self.store.resume(&at) {
                Ok(_) => {}
                Err(fault) if fault.retry == Retry::Never => return Err(fault),
                Err(fault) => {
                    self.trouble_with_store(&fault);
                    self.rejoin = true;
                    return Ok(vec![]);
                }
            }
            again.push((at, Self::start(committed)));
        }
        Ok(again)
    }

    /// Nothing is ours any more: the group was left, or is about to be, with nothing further written.
    pub(super) fn forget_all(&mut self) {
        let all: Vec<_> = self.partitions.iter().map(|partition| partition.at.clone()).collect();
        for at in all {
            self.drop_buffers(&at);
            self.partitions.remove(&at);
            self.status.released(&at);
        }
        self.began = None;
        self.uncommitted.clear();
    }

    /// Has the group to be left and joined anew? Asked once.
    pub(super) fn take_rejoin(&mut self) -> bool {
        std::mem::take(&mut self.rejoin)
    }

    fn drop_buffers(&mut self, at: &TopicPartition) {
        self.store.forget(at);
        self.letters.forget(at);
        self.checkpoint.forget(at);
        self.uncommitted.remove(at);
    }

    /// Where the group stands: everything behind it has its receipt. The store may be further on, if the last flush was
    /// not followed by its commit; it knows that, and adds nothing twice.
    fn start(committed: Option<NextOffset>) -> PartitionStart {
        committed.map_or(PartitionStart::Beginning, PartitionStart::At)
    }

    /// Lets a partition stand still for a while, longer each time in a row.
    pub(super) fn stall(&mut self, at: &TopicPartition) -> Duration {
        let attempts = self.status.stalled(at);
        let pause = self.config.pace.backoff.wait(attempts, rand::random()).max(Duration::from_millis(100));
        if let Some(partition) = self.partitions.get_mut(at) {
            partition.stalled = Some((Instant::now() + pause, attempts));
        }
        pause
    }
}

impl GroupEvents for StoreLaneState {
    fn assigned(&mut self, at: &TopicPartition, committed: Option<NextOffset>) -> PartitionStart {
        self.drop_buffers(at);
        self.partitions.add(at.clone(), committed);
        self.status.assigned(at, committed);
        match self.store.resume(at) {
            Ok(stored) => {
                let start = Self::start(committed);
                tracing::info!(%at, ?stored, ?committed, ?start, store = self.store.name(), "assigned");
                start
            }
            Err(fault) => {
                // Unknown ground: take the group's word for now, and leave again before anything is read.
                self.trouble_with_store(&fault);
                self.rejoin = true;
                committed.map_or(PartitionStart::Beginning, PartitionStart::At)
            }
        }
    }

    fn revoking(
        &mut self,
        partitions: &[TopicPartition],
        lost: bool,
        metadata: Option<GroupMetadata>,
    ) -> Vec<(TopicPartition, NextOffset)> {
        tracing::info!(count = partitions.len(), lost, store = self.store.name(), "partitions revoked");
        // What is in memory is written if it is still ours; if that fails, the new owner reads it again. What is in
        // memory of partitions that stay, stays.
        let released = DrainingPartitions::begin(partitions, lost, Instant::now()).settle(
            self,
            |lane, deadline| {
                if lane.began.is_some() {
                    lane.flush()?;
                }
                lane.commit(metadata, Some(deadline))
            },
            |_, fault, _| tracing::warn!(%fault, "not flushed; the next owner reads it again"),
        );
        for at in released.partitions() {
            self.drop_buffers(at);
            self.status.released(at);
        }
        self.partitions.release(&released);
        vec![]
    }

    fn trouble(&mut self, fault: Fault) {
        tracing::warn!(%fault, "the group is joined anew");
        self.status.neighbour("kafka", Err(fault.to_string()));
        self.rejoin = true;
    }
}
