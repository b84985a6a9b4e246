//! The work of a transform lane: records through a [`Processor`] into the lane's open transaction.
//!
//! Outputs, dead letters, receipts and offsets of a batch are one Kafka transaction. While the producer's queue is full
//! the lane waits in it, no longer than a record may take to be delivered: that is its backpressure.

use sluice_core::{
    Fault, FlushReport, LearnError, Outcome, Outputs, Processor, RecordPart, RecordRef, SchemaId,
    SchemaLookup, StorePosition, TopicPartition,
};

use super::engine::LaneWork;
use super::judge::RecordJudge;
use super::outgoing::send_all;
use super::ports::LaneTransactions;
use crate::receipts::{OutcomeCounts, now_ms};
use sluice_kafka::OutgoingRecord;

/// A processor and the arena of its outputs.
pub(crate) struct TransformWork<P> {
    processor: P,
    outputs: Outputs,
}

impl<P> TransformWork<P> {
    /// The work of `processor`.
    pub(crate) fn new(processor: P) -> Self {
        Self { processor, outputs: Outputs::new() }
    }
}

impl<P: Processor> TransformWork<P> {
    /// Hands the outputs of the last record to `send`, in order, and counts them by route.
    ///
    /// # Errors
    /// As `send`; a bug if an output names a route that does not exist.
    #[inline]
    pub(crate) fn send_outputs(
        &self,
        counts: &mut OutcomeCounts,
        send: impl FnMut(&OutgoingRecord<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        send_all(&self.outputs, self.processor.routes(), counts, send)
    }

    /// The topics of its outputs.
    pub(crate) fn output_topics(&self) -> &[String] {
        self.processor.routes()
    }
}

impl<P: Processor + 'static> RecordJudge for TransformWork<P> {
    #[inline]
    fn process(&mut self, record: &RecordRef<'_>) -> Outcome {
        self.outputs.clear();
        self.outputs.set_now_ms(now_ms());
        self.processor.process(record, &mut self.outputs)
    }

    fn learn(
        &mut self,
        topic: &str,
        part: RecordPart,
        id: SchemaId,
        schema: &str,
        lookup: &mut dyn SchemaLookup,
    ) -> Result<(), LearnError> {
        self.processor.learn(topic, part, id, schema, lookup)
    }
}

impl<P: Processor + 'static> LaneWork for TransformWork<P> {
    type Revision = P;

    const WRITES_INTO_TRANSACTION: bool = true;
    /// Input and batch are the same: the batch's own size is enough.
    const LOOK_BYTES: usize = usize::MAX;
    const UNFINISHED_STOP_IS_FAULT: bool = false;

    fn neighbour(&self) -> &'static str {
        "kafka"
    }

    /// The open batch needs no end first: its outputs were made by the former processor and go out as they are.
    fn revise(&mut self, revision: P) {
        self.processor = revision;
    }

    #[inline]
    fn emit(
        &mut self,
        counts: &mut OutcomeCounts,
        transactions: &mut impl LaneTransactions,
    ) -> Result<(), Fault> {
        self.send_outputs(counts, |out| transactions.send(out))
    }

    fn routes(&self) -> &[String] {
        self.processor.routes()
    }

    /// Faults of learning are the registry's, which comes back or gets its credentials back: the partition waits.
    fn waits_for(&self, _: &Fault) -> bool {
        true
    }

    fn backlog(&self) -> Option<(usize, u64)> {
        None
    }

    /// The transaction itself is the durable place.
    fn make_durable(&mut self) -> Result<FlushReport, Fault> {
        Ok(FlushReport::default())
    }

    fn resume(&mut self, _: &TopicPartition) -> Result<Option<StorePosition>, Fault> {
        Ok(None)
    }

    fn forget(&mut self, _: &TopicPartition) {}
}
