//! The work of a store lane: records into a [`Store`], whose flush has to be durable before offsets are committed.
//!
//! Two truths, in order. The *store* knows what it holds and adds nothing twice. The *group's position* says what is
//! accounted for: it moves in one Kafka transaction with the receipts and the dead letters of what was flushed
//! ([`receipts`](crate::receipts)). A crash between the two leaves the store ahead of the group. The records between
//! them are read again, and the store answers for each as it did the first time without adding it. So letters and
//! receipts that were never written are written then, and none is written twice.

use std::time::Instant;

use sluice_core::{
    Fault, FlushReport, LearnError, Outcome, RecordPart, RecordRef, Retry, SchemaId, SchemaLookup, Store,
    StorePosition, TopicPartition,
};

use super::engine::LaneWork;
use super::judge::RecordJudge;
use super::ports::LaneTransactions;
use crate::metrics;
use crate::receipts::OutcomeCounts;

/// A store, owned by one lane.
pub(super) struct StoreWork {
    store: Box<dyn Store>,
}

impl StoreWork {
    /// The work of `store`.
    pub(super) fn new(store: Box<dyn Store>) -> Self {
        Self { store }
    }
}

impl RecordJudge for StoreWork {
    fn process(&mut self, record: &RecordRef<'_>) -> Outcome {
        self.store.append(record)
    }

    fn learn(
        &mut self,
        topic: &str,
        _: RecordPart,
        id: SchemaId,
        schema: &str,
        _: &mut dyn SchemaLookup,
    ) -> Result<(), LearnError> {
        self.store.learn(topic, id, schema)
    }
}

impl LaneWork for StoreWork {
    type Revision = ();

    const WRITES_INTO_TRANSACTION: bool = false;
    /// A store keeps records in another form than they came in: it is asked how much it holds after each mebibyte.
    const LOOK_BYTES: usize = 1 << 20;
    const UNFINISHED_STOP_IS_FAULT: bool = true;

    fn neighbour(&self) -> &'static str {
        self.store.name()
    }

    fn revise(&mut self, (): ()) {}

    /// The store has taken the record itself.
    fn emit(&mut self, _: &mut OutcomeCounts, _: &mut impl LaneTransactions) -> Result<(), Fault> {
        Ok(())
    }

    fn routes(&self) -> &[String] {
        &[]
    }

    /// A store that can be reached again goes on by itself; one that refuses stops the lane.
    fn waits_for(&self, fault: &Fault) -> bool {
        fault.retry == Retry::Later
    }

    fn backlog(&self) -> Option<(usize, u64)> {
        let pending = self.store.pending();
        Some((pending.bytes, pending.records))
    }

    fn make_durable(&mut self) -> Result<FlushReport, Fault> {
        let pending = self.store.pending();
        let span = tracing::debug_span!(
            "flush",
            store = self.store.name(),
            records = pending.records,
            bytes = pending.bytes
        );
        let _entered = span.enter();
        let began = Instant::now();

        sluice_failpoint::pass("before-write");
        let report = self.store.flush()?;
        sluice_failpoint::pass("after-write");

        metrics::flushed(self.store.name(), pending.records, pending.bytes, began.elapsed());
        Ok(report)
    }

    fn resume(&mut self, at: &TopicPartition) -> Result<Option<StorePosition>, Fault> {
        self.store.resume(at)
    }

    fn forget(&mut self, at: &TopicPartition) {
        self.store.forget(at);
    }
}
