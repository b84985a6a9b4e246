//! The two ports of a lane's engine: the group that feeds it, and the transactions that it writes to. Each has one
//! implementation on Kafka and one fake in the engine's tests.

use std::time::{Duration, Instant};

use sluice_core::{Fault, Retry, TopicPartition};
use sluice_kafka::{
    CommitPositions, ConsumerGroup, GroupMetadata, KafkaProducer, OutgoingRecord, PartitionStart, PollOutcome,
};

use super::engine::{LaneEngine, LaneWork};
use crate::config::KafkaSection;

/// The group that feeds a lane. Assignments and revocations reach the engine from inside [`LaneGroup::poll`],
/// [`LaneGroup::serve`] and when the group is dropped.
pub(super) trait LaneGroup {
    /// The group's generation, which fences offsets that are sent in a transaction.
    type Membership;

    /// Changes the subscription; partitions of topics that stay are kept.
    ///
    /// # Errors
    /// A [`Fault`] of the user if the client refuses the names.
    fn subscribe(&self, topics: &[String]) -> Result<(), Fault>;

    /// Hands records to the engine; waits up to `wait` if there are none.
    ///
    /// # Errors
    /// A [`Fault`] that ends the lane.
    fn poll(&mut self, wait: Duration) -> Result<PollOutcome, Fault>;

    /// Serves the group without handing out records.
    ///
    /// # Errors
    /// As [`LaneGroup::poll`].
    fn serve(&mut self, wait: Duration) -> Result<PollOutcome, Fault>;

    /// Stops or resumes one partition.
    fn pause(&self, at: &TopicPartition, paused: bool);

    /// Moves the reading position of a partition. The caller must not hold the engine.
    fn seek(&mut self, at: &TopicPartition, from: PartitionStart);

    /// Stops or resumes everything, partitions that come later included.
    fn hold(&self, held: bool);

    /// Returns the generation; `None` while the group does not count this lane in.
    fn membership(&self) -> Option<Self::Membership>;

    /// Returns whether a connection was seen since the last call.
    fn take_connected(&self) -> bool;

    /// Commits positions outside any transaction: only for the negative control of the fault tests.
    fn commit_unproven(&self, positions: &CommitPositions);
}

/// The transactions that a lane writes to: one at a time, under one transactional id.
pub(super) trait LaneTransactions: Send + 'static {
    /// As [`LaneGroup::Membership`].
    type Membership;

    /// Takes the transactional id unless it is held already. That fences the last holder and settles its transaction.
    ///
    /// # Errors
    /// A [`Fault`] if the id cannot be taken.
    fn prepare(&mut self) -> Result<(), Fault>;

    /// Begins a transaction, after [`LaneTransactions::prepare`].
    ///
    /// # Errors
    /// A [`Fault`] of the producer.
    fn begin(&mut self) -> Result<(), Fault>;

    /// Adds a record to the open transaction.
    ///
    /// # Errors
    /// A [`Fault`] of the producer; internal if no transaction can be open.
    fn send(&mut self, record: &OutgoingRecord<'_>) -> Result<(), Fault>;

    /// Waits until every record is acknowledged, at most until `deadline`.
    ///
    /// # Errors
    /// A [`Fault`] if one is not.
    fn flush_by(&mut self, deadline: Option<Instant>) -> Result<(), Fault>;

    /// Adds the group's next offsets to the open transaction.
    ///
    /// # Errors
    /// A [`Fault`] of the producer.
    fn send_offsets(
        &mut self,
        positions: &CommitPositions,
        membership: &Self::Membership,
    ) -> Result<(), Fault>;

    /// Makes the transaction visible.
    ///
    /// # Errors
    /// [`Retry::Later`] if it is unknown whether it is.
    fn commit(&mut self) -> Result<(), Fault>;

    /// Ends the open transaction after trouble. With [`Retry::Rewind`] it is aborted; with any other the producer's
    /// own state is in doubt, and it is dropped: the next one fences it (KIP-98).
    ///
    /// # Errors
    /// A [`Fault`] that no new producer mends.
    fn give_up(&mut self, retry: Retry) -> Result<(), Fault>;

    /// Serves delivery reports while nothing else is done.
    fn serve(&mut self);
}

/// Transactions on a Kafka producer that is built when it is first needed, and again after it was dropped.
pub(super) struct KafkaTransactions {
    kafka: KafkaSection,
    transactional_id: String,
    memory: usize,
    producer: Option<KafkaProducer>,
}

impl KafkaTransactions {
    /// Transactions under `transactional_id`; no call is made yet. `memory` is the lane's share, in bytes.
    pub(super) fn new(kafka: KafkaSection, transactional_id: String, memory: usize) -> Self {
        Self { kafka, transactional_id, memory, producer: None }
    }

    /// Returns the producer; the engine calls nothing that needs one before `begin`.
    #[inline]
    fn producer(&mut self) -> Result<&mut KafkaProducer, Fault> {
        self.producer.as_mut().ok_or_else(|| Fault::bug("writing to a transaction", "no transaction is open"))
    }
}

impl LaneTransactions for KafkaTransactions {
    type Membership = GroupMetadata;

    fn prepare(&mut self) -> Result<(), Fault> {
        if self.producer.is_none() {
            let made = KafkaProducer::transactional(&self.kafka, &self.transactional_id, self.memory)?;
            self.producer = Some(made);
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<(), Fault> {
        self.prepare()?;
        let begun = self.producer()?.begin();
        // A producer that cannot begin is in doubt itself: the next attempt builds another one.
        if begun.as_ref().is_err_and(|fault| fault.retry == Retry::Later) {
            self.producer = None;
        }
        begun
    }

    #[inline]
    fn send(&mut self, record: &OutgoingRecord<'_>) -> Result<(), Fault> {
        self.producer()?.send(record)
    }

    fn flush_by(&mut self, deadline: Option<Instant>) -> Result<(), Fault> {
        self.producer()?.flush_by(deadline)
    }

    fn send_offsets(&mut self, positions: &CommitPositions, membership: &GroupMetadata) -> Result<(), Fault> {
        self.producer()?.send_offsets(positions, membership)
    }

    fn commit(&mut self) -> Result<(), Fault> {
        self.producer()?.commit()
    }

    fn give_up(&mut self, retry: Retry) -> Result<(), Fault> {
        let Some(mut producer) = self.producer.take() else { return Ok(()) };
        if retry != Retry::Rewind {
            return Ok(());
        }
        match producer.abort() {
            Ok(()) => {
                self.producer = Some(producer);
                Ok(())
            }
            Err(fault) if fault.retry == Retry::Never => Err(fault),
            Err(fault) => {
                tracing::warn!(%fault, "the abort failed; a new producer takes over under the same id");
                Ok(())
            }
        }
    }

    fn serve(&mut self) {
        if let Some(producer) = &mut self.producer {
            producer.serve();
        }
    }
}

impl<W: LaneWork> LaneGroup for ConsumerGroup<LaneEngine<W, KafkaTransactions>> {
    type Membership = GroupMetadata;

    fn subscribe(&self, topics: &[String]) -> Result<(), Fault> {
        ConsumerGroup::subscribe(self, topics)
    }

    fn poll(&mut self, wait: Duration) -> Result<PollOutcome, Fault> {
        self.poll_batch(wait, LaneEngine::take)
    }

    fn serve(&mut self, wait: Duration) -> Result<PollOutcome, Fault> {
        ConsumerGroup::serve(self, wait)
    }

    fn pause(&self, at: &TopicPartition, paused: bool) {
        ConsumerGroup::pause(self, at, paused);
    }

    fn seek(&mut self, at: &TopicPartition, from: PartitionStart) {
        ConsumerGroup::seek(self, at, from);
    }

    fn hold(&self, held: bool) {
        ConsumerGroup::hold(self, held);
    }

    fn membership(&self) -> Option<GroupMetadata> {
        self.metadata()
    }

    fn take_connected(&self) -> bool {
        ConsumerGroup::take_connected(self)
    }

    fn commit_unproven(&self, positions: &CommitPositions) {
        if let Err(fault) = self.commit(positions) {
            tracing::warn!(%fault, "positions without proof are not committed");
        }
    }
}
