//! What a transform lane holds: the open transaction, where each partition stands, and what to do next.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use sluice_core::{
    Domain, Fault, LearnError, NextOffset, Outcome, OutcomeReason, Outputs, Processor, ReasonClass,
    RecordRef, Retry, SchemaId, TopicPartition,
};

use super::TransformLaneConfig;
use crate::dead_letter::DeadLetter;
use crate::lane::limits::TooManyDeadLetters;
use crate::lane::outgoing::send_all;
use crate::lane::partitions::LaneAssignment;
use crate::lane::tenure::DrainingPartitions;
use crate::lane::{LanePace, LaneStep};
use crate::metrics;
use crate::receipts::{ReceiptAuthor, ReceiptRecord, now_ms};
use crate::registry::BlockingRegistry;
use crate::status::WorkerStatus;
use sluice_kafka::{ConsumerGroup, GroupEvents, GroupMetadata, KafkaProducer, PartitionStart};

/// The open transaction.
struct TransformBatch {
    began: Instant,
    bytes: usize,
    records: u64,
}

impl TransformBatch {
    fn is_due(&self, pace: &LanePace, age: Duration) -> bool {
        pace.is_due(age, self.bytes, self.records.max(1))
    }
}

/// A lane's state, shared with the group's callbacks; one thread.
pub(super) struct TransformLaneState<P> {
    pub(super) config: TransformLaneConfig,
    transactional_id: String,
    who: ReceiptAuthor,
    pub(super) processor: P,
    registry: BlockingRegistry,
    outputs: Outputs,
    producer: Option<KafkaProducer>,
    batch: Option<TransformBatch>,
    /// A commit was asked for and has not been answered.
    in_doubt: bool,
    partitions: LaneAssignment,
    step: LaneStep,
    rejoin: bool,
    status: WorkerStatus,
}

/// How one record was handled.
enum TransformVerdict {
    Written,
    Skipped(ReasonClass),
    DeadLetter(ReasonClass),
    Stall(String),
}

/// What comes of a schema that a processor asked for.
enum TransformLearnOutcome {
    Yes,
    /// The registry does not have it.
    Unknown,
    /// Not now.
    Stall(String),
}

impl<P: Processor> TransformLaneState<P> {
    pub(super) fn new(
        config: TransformLaneConfig,
        processor: P,
        registry: BlockingRegistry,
        status: WorkerStatus,
    ) -> Self {
        Self {
            transactional_id: format!("{}-{}-{}", config.group, config.worker, config.instance),
            who: ReceiptAuthor {
                group: config.group.clone(),
                worker: config.worker.to_owned(),
                instance: config.instance.clone(),
            },
            processor,
            registry,
            outputs: Outputs::new(),
            producer: None,
            batch: None,
            in_doubt: false,
            partitions: LaneAssignment::default(),
            step: LaneStep::Continue,
            rejoin: false,
            status,
            config,
        }
    }

    /// Takes one record into the open transaction, or says why not.
    pub(super) fn take(&mut self, record: &RecordRef<'_>) -> ControlFlow<()> {
        if matches!(self.step, LaneStep::Redo(_)) {
            return ControlFlow::Break(());
        }
        let Some(partition) = self.partitions.find(record) else { return ControlFlow::Continue(()) };
        // What was fetched before a pause or a rewind took hold is read again.
        if partition.stalled.is_some() || partition.has_taken(record.offset) {
            return ControlFlow::Continue(());
        }
        let first_of_batch = partition.first.is_none();
        if first_of_batch {
            partition.first = Some(record.offset);
        }
        self.step = match self.handle(record) {
            Ok(TransformVerdict::Stall(why)) => {
                let Some(partition) = self.partitions.found() else { return ControlFlow::Break(()) };
                if first_of_batch {
                    partition.first = None;
                }
                LaneStep::Stall { at: partition.at.clone(), offset: record.offset, why }
            }
            Ok(end) => {
                if let Some(partition) = self.partitions.found() {
                    partition.next = Some(record.offset.next());
                    let counts = &mut partition.counts;
                    counts.records += 1;
                    match end {
                        TransformVerdict::Written => {
                            counts.written += 1;
                            partition.gauge.passed();
                        }
                        TransformVerdict::Skipped(class) => {
                            counts.skip(class);
                            partition.gauge.passed();
                        }
                        // The gauge was asked before the letter was sent.
                        TransformVerdict::DeadLetter(class) => counts.dead_letter(class),
                        TransformVerdict::Stall(_) => {}
                    }
                }
                let Some(batch) = &mut self.batch else { return ControlFlow::Continue(()) };
                batch.bytes += record.size();
                batch.records += 1;
                // Its age is looked at between fetches.
                return if batch.is_due(&self.config.pace, Duration::ZERO) {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                };
            }
            Err(fault) => LaneStep::Redo(fault),
        };
        ControlFlow::Break(())
    }

    fn handle(&mut self, record: &RecordRef<'_>) -> Result<TransformVerdict, Fault> {
        self.open()?;
        let mut learned = 0;
        loop {
            self.outputs.clear();
            match self.processor.process(record, &mut self.outputs) {
                Outcome::Emitted => {
                    let (Some(producer), Some(partition)) = (&mut self.producer, self.partitions.found())
                    else {
                        return Err(Fault::bug("sending outputs", "no transaction is open for them"));
                    };
                    send_all(&self.outputs, self.processor.routes(), producer, &mut partition.counts)?;
                    return Ok(TransformVerdict::Written);
                }
                Outcome::Skipped(reason) => {
                    metrics::skipped(self.config.worker, reason.class);
                    return Ok(TransformVerdict::Skipped(reason.class));
                }
                Outcome::DeadLetter(reason) => return self.dead_letter(record, &reason),
                Outcome::Uncovered(reason) => return Ok(TransformVerdict::Stall(reason.to_string())),
                // Its key may have a schema, and its value has one.
                Outcome::NeedsSchema(id) if learned == 2 => {
                    return Err(Fault::bug(
                        "learning a schema",
                        format!("schema {id} was learned and is asked for again"),
                    ));
                }
                Outcome::NeedsSchema(id) => match self.learn(record.topic, id)? {
                    TransformLearnOutcome::Yes => learned += 1,
                    TransformLearnOutcome::Stall(why) => return Ok(TransformVerdict::Stall(why)),
                    TransformLearnOutcome::Unknown => {
                        let reason = OutcomeReason::new(
                            ReasonClass::UnknownSchema,
                            format!("a registered schema; the registry has no id {id}"),
                        );
                        return self.dead_letter(record, &reason);
                    }
                },
            }
        }
    }

    fn learn(&mut self, topic: &str, id: SchemaId) -> Result<TransformLearnOutcome, Fault> {
        let schema = match self.registry.schema(id) {
            Err(fault) => {
                self.status.neighbour("registry", Err(fault.to_string()));
                return Ok(TransformLearnOutcome::Stall(fault.to_string()));
            }
            Ok(None) => return Ok(TransformLearnOutcome::Unknown),
            Ok(Some(schema)) => schema,
        };
        self.status.neighbour("registry", Ok(()));
        match self.processor.learn(topic, id, &schema, &mut self.registry) {
            Ok(()) => Ok(TransformLearnOutcome::Yes),
            Err(LearnError::Uncovered(reason)) => Ok(TransformLearnOutcome::Stall(reason.to_string())),
            Err(LearnError::Fault(fault)) if fault.domain == Domain::Internal => Err(fault),
            Err(LearnError::Fault(fault)) => Ok(TransformLearnOutcome::Stall(fault.to_string())),
        }
    }

    /// Sends the record as it came to its dead-letter topic, in the same transaction as its offset.
    fn dead_letter(
        &mut self,
        record: &RecordRef<'_>,
        reason: &OutcomeReason,
    ) -> Result<TransformVerdict, Fault> {
        if let Some(partition) = self.partitions.found()
            && let Some(tripped) = partition.gauge.refused(record.offset, &self.config.limits)
        {
            let at = partition.at.clone();
            return Err(
                TooManyDeadLetters { at, tripped, class: reason.class, path: reason.path.clone() }.into()
            );
        }
        let letter = DeadLetter { reason, worker: self.config.worker, group: &self.config.group, attempt: 1 };
        let producer = &mut self.producer;
        letter.send(record, |out| producer.as_mut().map_or(Ok(()), |producer| producer.send(out)))?;
        metrics::dead_lettered(self.config.worker, reason.class);
        tracing::info!(topic = record.topic, partition = record.partition, offset = %record.offset, %reason, "dead letter");
        Ok(TransformVerdict::DeadLetter(reason.class))
    }

    /// Builds the producer, if there is none: that takes the transactional id and fences its last holder.
    pub(super) fn prepare(&mut self) -> Result<&mut KafkaProducer, Fault> {
        match &mut self.producer {
            Some(producer) => Ok(producer),
            none => Ok(none.insert(KafkaProducer::transactional(
                &self.config.kafka,
                &self.transactional_id,
                self.config.memory,
            )?)),
        }
    }

    /// Opens a transaction unless one is open.
    fn open(&mut self) -> Result<(), Fault> {
        if self.batch.is_none() {
            self.prepare()?.begin()?;
            self.batch = Some(TransformBatch { began: Instant::now(), bytes: 0, records: 0 });
        }
        Ok(())
    }

    /// Makes the open batch visible and its offsets proven, at once; by `deadline`, if there is one.
    pub(super) fn commit(
        &mut self,
        metadata: Option<GroupMetadata>,
        deadline: Option<Instant>,
    ) -> Result<(), Fault> {
        let (Some(_), Some(producer)) = (&self.batch, &mut self.producer) else { return Ok(()) };
        let positions = self.partitions.positions();
        for receipt in self.partitions.receipts(&self.who, self.processor.routes(), now_ms()) {
            ReceiptRecord::Segment(receipt).send(|out| producer.send(out))?;
        }
        sluice_failpoint::pass("after-produce");
        producer.flush_by(deadline)?;
        if !positions.is_empty() {
            let metadata =
                metadata.ok_or_else(|| Fault::rewind("committing", "the group does not count us in"))?;
            producer.send_offsets(&positions, &metadata)?;
        }
        sluice_failpoint::pass("after-send-offsets");
        self.in_doubt = true;
        producer.commit()?;
        self.in_doubt = false;
        let records = self.batch.take().map_or(0, |batch| batch.records);
        metrics::committed(self.config.worker, records);
        self.status.neighbour("kafka", Ok(()));
        for (at, next, counts) in self.partitions.close() {
            self.status.position(&at, next, counts);
        }
        Ok(())
    }

    /// Gives the open batch up; where to read again. After a commit whose outcome nobody knows that is for the group
    /// to say: it is joined anew.
    ///
    /// # Errors
    /// Of aborting, if nothing can mend it: the lane's end.
    pub(super) fn redo(&mut self, retry: Retry) -> Result<Vec<(TopicPartition, NextOffset)>, Fault> {
        let mut end = Ok(());
        self.rejoin |= std::mem::take(&mut self.in_doubt) && retry == Retry::Later;
        if self.batch.take().is_some()
            && let Some(mut producer) = self.producer.take()
        {
            // With `Later` the producer's own state is in doubt: leave it dropped, the next one fences it.
            if retry == Retry::Rewind {
                match producer.abort() {
                    Ok(()) => self.producer = Some(producer),
                    Err(fault) if fault.retry == Retry::Never => end = Err(fault),
                    Err(fault) => tracing::warn!(%fault, "a new producer takes over"),
                }
            }
        }
        let again = self.partitions.give_up();
        end.map(|()| again)
    }

    pub(super) fn abandon(&mut self) {
        if let Err(fault) = self.redo(Retry::Rewind) {
            tracing::warn!(%fault, "the open transaction is left to its time-out");
        }
    }

    /// How long until the open batch is due by its age; for ever if none is open.
    pub(super) fn due_in(&self, now: Instant) -> Duration {
        self.batch.as_ref().map_or(Duration::MAX, |batch| {
            self.config.pace.interval.saturating_sub(now.duration_since(batch.began))
        })
    }

    /// What is to be done after a poll; commits if the batch is due.
    pub(super) fn after_poll(&mut self, group: &ConsumerGroup<Self>) -> LaneStep
    where
        P: 'static,
    {
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
        let mut step = std::mem::replace(&mut self.step, LaneStep::Continue);
        let pace = &self.config.pace;
        let due =
            self.batch.as_ref().is_some_and(|batch| batch.is_due(pace, now.duration_since(batch.began)));
        if matches!(step, LaneStep::Continue) {
            if due && let Err(fault) = self.commit(group.metadata(), None) {
                step = LaneStep::Redo(fault);
            } else if let Some(producer) = &mut self.producer {
                producer.serve();
            }
        }
        step
    }

    /// Has the group to be left and joined anew? Asked once.
    pub(super) fn take_rejoin(&mut self) -> bool {
        std::mem::take(&mut self.rejoin)
    }

    /// The group was left: nothing is ours, and whatever is still open is given up.
    pub(super) fn forget_all(&mut self) {
        self.abandon();
        let all: Vec<_> = self.partitions.iter().map(|partition| partition.at.clone()).collect();
        for at in all {
            self.partitions.remove(&at);
            self.status.released(&at);
        }
    }

    /// Lets a partition stand still for a while, longer each time in a row.
    pub(super) fn stall(&mut self, at: &TopicPartition) -> Duration {
        let backoff = self.config.pace.backoff;
        let attempts = self.status.stalled(at);
        let pause = backoff.wait(attempts, rand::random()).max(Duration::from_millis(100));
        if let Some(partition) = self.partitions.get_mut(at) {
            partition.stalled = Some((Instant::now() + pause, attempts));
        }
        pause
    }
}

impl<P: Processor + 'static> GroupEvents for TransformLaneState<P> {
    fn assigned(&mut self, at: &TopicPartition, committed: Option<NextOffset>) -> PartitionStart {
        self.partitions.add(at.clone(), committed);
        self.status.assigned(at, committed);
        match committed {
            Some(next) => {
                tracing::info!(%at, %next, "assigned");
                PartitionStart::At(next)
            }
            None => {
                tracing::info!(%at, "assigned; the group has no position here yet: from the beginning");
                PartitionStart::Beginning
            }
        }
    }

    fn revoking(
        &mut self,
        partitions: &[TopicPartition],
        lost: bool,
        metadata: Option<GroupMetadata>,
    ) -> Vec<(TopicPartition, NextOffset)> {
        tracing::info!(count = partitions.len(), lost, "partitions revoked");
        if sluice_failpoint::sabotaged("keep-on-revoke") {
            return vec![];
        }
        let mut again = vec![];
        let released = DrainingPartitions::begin(partitions, lost, Instant::now()).settle(
            self,
            |lane, deadline| lane.commit(metadata, Some(deadline)),
            |lane, fault, leaving| {
                tracing::warn!(%fault, "the open transaction is given up; whoever owns its partitions now reads them again");
                match lane.redo(fault.retry) {
                    Ok(from) => again = from,
                    // Told to the lane after the callback; until then it takes nothing in.
                    Err(fault) => lane.step = LaneStep::Redo(fault),
                }
                again.retain(|(at, _)| !leaving.contains(at));
            },
        );
        for at in released.partitions() {
            self.status.released(at);
        }
        self.partitions.release(&released);
        again
    }

    fn trouble(&mut self, fault: Fault) {
        tracing::warn!(%fault, "the group is joined anew");
        self.status.neighbour("kafka", Err(fault.to_string()));
        self.rejoin = true;
    }
}
