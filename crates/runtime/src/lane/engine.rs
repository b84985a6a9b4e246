//! The state machine of every lane, without I/O of its own: which records are taken in, when a batch is closed, and
//! what happens after trouble. A transform lane and a store lane differ in their [`LaneWork`] alone.
//!
//! ```text
//!                  record                due                     durable
//!   ┌──────┐ ────────────────► ┌──────┐ ─────► make_durable ──────────────► commit ──► ┌──────┐
//!   │ idle │                   │ open │   (a store flushes,   letters, receipts and     │ idle │
//!   └──────┘ ◄──────────────── └──────┘    a transform does   offsets: one transaction  └──────┘
//!              given up: read     ▲        nothing)                │
//!              again from its     │            │ fails: Later      │ fails: Rewind ─► abort, give up, read again
//!              first records      └────────────┘ (flush again)     │ fails: Later  ─► drop the producer, give up
//!                                                                  └ outcome unknown ─► join the group again: its
//!                                                                    positions tell whether the commit landed
//! ```
//!
//! | where a fault comes from | `Retry::Later` | `Retry::Rewind` | `Retry::Never` |
//! |---|---|---|---|
//! | a record | give up, read again | give up, read again | the lane ends |
//! | `make_durable` | keep the batch, try again after a back-off | give up, read again | the lane ends |
//! | the transaction before its commit | drop the producer, give up, read again | abort, give up, read again | the lane ends |
//! | the commit itself | drop the producer, join the group again | abort, give up, read again | the lane ends |
//! | a revocation while the partitions are still ours | as above, then the partitions go | as above | the lane ends after the callback |
//! | a revocation after they were lost | nothing is written for them | | |

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use sluice_core::{
    Fault, FlushReport, Header, NextOffset, OutcomeReason, RecordRef, RefusedRow, Retry, SchemaId,
    SchemaLookup, StorePosition, TopicPartition,
};
use sluice_kafka::{CommitPositions, GroupEvents, GroupMetadata, PartitionStart};

use super::judge::{RecordJudge, RecordVerdict, SchemaSource, judge_record};
use super::limits::{ThresholdBreach, TooManyDeadLetters};
use super::outbox::DeadLetterOutbox;
use super::partitions::LaneAssignment;
use super::ports::{KafkaTransactions, LaneGroup, LaneTransactions};
use super::tenure::DrainingPartitions;
use super::{LaneConfig, LaneStep};
use crate::dead_letter::{DeadLetter, DeadLetterLog};
use crate::metrics;
use crate::receipts::{OutcomeCounts, ReceiptAuthor, ReceiptRecord, now_ms};
use crate::status::WorkerStatus;

/// A partition stands still at least this long before it is tried again.
const SHORTEST_STALL: Duration = Duration::from_millis(100);

/// What a lane does with its records.
pub(super) trait LaneWork: RecordJudge + Send + 'static {
    /// What a change of contracts brings besides the topics.
    type Revision: Send;

    /// Outputs go into a transaction that is open from a batch's first record on. Otherwise a transaction is opened
    /// once the batch is durable elsewhere.
    const WRITES_INTO_TRANSACTION: bool;

    /// The input after which a lane is asked whether its batch is due, in bytes.
    const LOOK_BYTES: usize;

    /// A lane that has to stop and cannot close its batch ends with the fault; otherwise with a warning.
    const UNFINISHED_STOP_IS_FAULT: bool;

    /// The neighbour that its faults are about, for the status page: `kafka`, `archive`, `delta`.
    fn neighbour(&self) -> &'static str;

    /// Goes on with what a change of contracts brought.
    fn revise(&mut self, revision: Self::Revision);

    /// Hands the outputs of the record that was just written to the open transaction, and counts them.
    ///
    /// # Errors
    /// As [`LaneTransactions::send`].
    fn emit(
        &mut self,
        counts: &mut OutcomeCounts,
        transactions: &mut impl LaneTransactions,
    ) -> Result<(), Fault>;

    /// The topics of its outputs; a route is an index into them.
    fn routes(&self) -> &[String];

    /// Does a fault in learning a schema pass by itself, so that the partition waits for it?
    fn waits_for(&self, fault: &Fault) -> bool;

    /// What the batch holds in memory: bytes and records. `None` if input and memory are the same.
    fn backlog(&self) -> Option<(usize, u64)>;

    /// Makes everything taken in durable, all or nothing per partition, but for the rows that the report names. Runs
    /// without the group.
    ///
    /// # Errors
    /// [`Retry::Later`]: buffers are kept. [`Retry::Rewind`]: somebody else wrote. [`Retry::Never`]: stop.
    fn make_durable(&mut self) -> Result<FlushReport, Fault>;

    /// A partition is this lane's from now on, or is read again: nothing of it is in memory. Returns the store's own
    /// position where there is one.
    ///
    /// # Errors
    /// A [`Fault`] if the store cannot be asked.
    fn resume(&mut self, at: &TopicPartition) -> Result<Option<StorePosition>, Fault>;

    /// Drops what is in memory of a partition.
    fn forget(&mut self, at: &TopicPartition);
}

/// The open batch.
#[derive(Debug)]
struct LaneBatch {
    began: Instant,
    /// Bytes and records of input.
    bytes: usize,
    records: u64,
    /// Bytes since the lane was last asked whether it is due.
    unlooked: usize,
    /// `make_durable` has succeeded since the last record.
    durable: bool,
}

/// How one record was handled, for its partition's counts.
enum RecordEnd {
    Counted,
    Stall(String),
}

/// A source of schemas whose health is shown on the status page.
struct StatusSource {
    source: Box<dyn SchemaSource + Send>,
    status: WorkerStatus,
}

impl SchemaLookup for StatusSource {
    fn id_of(&mut self, subject: &str, schema: &str) -> Result<Option<SchemaId>, Fault> {
        self.source.id_of(subject, schema)
    }
}

impl SchemaSource for StatusSource {
    fn schema(&mut self, id: SchemaId) -> Result<Option<String>, Fault> {
        let answer = self.source.schema(id);
        let health = answer.as_ref().map(|_| ()).map_err(ToString::to_string);
        self.status.neighbour("registry", health);
        answer
    }

    fn as_lookup(&mut self) -> &mut dyn SchemaLookup {
        self
    }
}

/// A lane's state, shared with the group's callbacks. One thread uses it at a time.
pub(super) struct LaneEngine<W, T> {
    pub(super) config: LaneConfig,
    pub(super) work: W,
    source: StatusSource,
    transactions: T,
    author: ReceiptAuthor,
    batch: Option<LaneBatch>,
    /// A transaction was begun and not ended.
    transaction_open: bool,
    /// A commit was asked for and has not been answered.
    in_doubt: bool,
    outbox: DeadLetterOutbox,
    letter_log: DeadLetterLog,
    partitions: LaneAssignment,
    step: LaneStep,
    rejoin: bool,
    status: WorkerStatus,
}

impl<W: LaneWork, T: LaneTransactions> LaneEngine<W, T> {
    /// An engine without partitions. `source` answers for schemas.
    pub(super) fn new(
        config: LaneConfig,
        work: W,
        source: Box<dyn SchemaSource + Send>,
        transactions: T,
        status: WorkerStatus,
    ) -> Self {
        let author = ReceiptAuthor {
            group: config.group.clone(),
            worker: config.worker.to_owned(),
            instance: config.instance.clone(),
        };
        Self {
            config,
            work,
            source: StatusSource { source, status: status.clone() },
            transactions,
            author,
            batch: None,
            transaction_open: false,
            in_doubt: false,
            outbox: DeadLetterOutbox::default(),
            letter_log: DeadLetterLog::default(),
            partitions: LaneAssignment::default(),
            step: LaneStep::Continue,
            rejoin: false,
            status,
        }
    }

    /// Takes one record into the open batch, or notes why not. Breaks off when the loop has something to do.
    pub(super) fn take(&mut self, record: &RecordRef<'_>) -> ControlFlow<()> {
        // Trouble that the loop has not seen yet, or a group that is about to be left: nothing more is taken in.
        if self.rejoin || matches!(self.step, LaneStep::GiveUp(_)) {
            return ControlFlow::Break(());
        }

        // What was fetched before a revocation, a pause or a seek took hold is not this lane's, or is read again.
        let Some(index) = self.partitions.find(record) else { return ControlFlow::Continue(()) };
        let partition = self.partitions.at(index);
        if partition.stalled.is_some() || partition.has_taken(record.offset) {
            return ControlFlow::Continue(());
        }

        // The first record of a batch is where its partition is read again if the batch is given up.
        let first_of_batch = partition.first.is_none();
        if first_of_batch {
            partition.first = Some(record.offset);
        }
        match self.handle(index, record) {
            Ok(RecordEnd::Counted) => self.count_in(index, record),
            Ok(RecordEnd::Stall(why)) => {
                let partition = self.partitions.at(index);
                if first_of_batch {
                    partition.first = None;
                }
                self.step = LaneStep::Stall { at: partition.at.clone(), offset: record.offset, why };
                ControlFlow::Break(())
            }
            Err(fault) => {
                self.step = LaneStep::GiveUp(fault);
                ControlFlow::Break(())
            }
        }
    }

    /// Counts a record that was taken in, and breaks off if its batch is full.
    fn count_in(&mut self, index: usize, record: &RecordRef<'_>) -> ControlFlow<()> {
        let partition = self.partitions.at(index);
        partition.next = Some(record.offset.next());
        partition.counts.records += 1;

        let Some(batch) = &mut self.batch else {
            debug_assert!(false, "a record was handled without a batch");
            return ControlFlow::Continue(());
        };
        batch.bytes += record.size();
        batch.records += 1;
        batch.unlooked += record.size();
        batch.durable = false;

        // The batch's age is looked at between fetches.
        // A store keeps records in another form than they came in: it is asked after each `LOOK_BYTES`.
        let full =
            W::WRITES_INTO_TRANSACTION && self.config.pace.is_due(Duration::ZERO, batch.bytes, batch.records);
        if full || batch.unlooked >= W::LOOK_BYTES {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    /// Judges a record and carries the verdict out.
    fn handle(&mut self, index: usize, record: &RecordRef<'_>) -> Result<RecordEnd, Fault> {
        self.open_batch()?;

        match judge_record(&mut self.work, &mut self.source, record)? {
            RecordVerdict::Written => {
                let partition = self.partitions.at(index);
                self.work.emit(&mut partition.counts, &mut self.transactions)?;
                partition.counts.written += 1;
                partition.gauge.passed();
            }
            RecordVerdict::Skipped(reason) => {
                metrics::skipped(self.config.worker, reason.class);
                let partition = self.partitions.at(index);
                partition.counts.skip(reason.class);
                partition.gauge.passed();
            }
            RecordVerdict::DeadLetter(reason) => self.refuse(index, record, &reason)?,
            RecordVerdict::Uncovered(reason) => return Ok(RecordEnd::Stall(reason.to_string())),
            // A neighbour that is away is waited for: nothing is dead-lettered for it.
            RecordVerdict::Unavailable(fault) if self.work.waits_for(&fault) => {
                return Ok(RecordEnd::Stall(fault.to_string()));
            }
            RecordVerdict::Unavailable(fault) => return Err(fault),
        }
        Ok(RecordEnd::Counted)
    }

    /// Writes a record as it came to its dead-letter topic: into the open transaction, or kept for the next one.
    fn refuse(&mut self, index: usize, record: &RecordRef<'_>, reason: &OutcomeReason) -> Result<(), Fault> {
        let tripped = self.partitions.at(index).gauge.refused(record.offset, &self.config.limits);
        self.write_letter(index, record, reason, tripped)
    }

    /// Writes the letter unless `tripped` says that there are too many.
    fn write_letter(
        &mut self,
        index: usize,
        record: &RecordRef<'_>,
        reason: &OutcomeReason,
        tripped: Option<ThresholdBreach>,
    ) -> Result<(), Fault> {
        // Too many letters stop the lane before the next one is written.
        let partition = self.partitions.at(index);
        if let Some(tripped) = tripped {
            let (at, class, path) = (partition.at.clone(), reason.class, reason.path.clone());
            return Err(TooManyDeadLetters { at, tripped, class, path }.into());
        }
        partition.counts.dead_letter(reason.class);

        let letter = DeadLetter { reason, worker: self.config.worker, group: &self.config.group, attempt: 1 };
        if self.transaction_open {
            letter.send(record, |out| self.transactions.send(out))?;
        } else {
            let at = partition.at.clone();
            letter.send(record, |out| {
                self.outbox.keep(at, out);
                Ok(())
            })?;
        }

        metrics::dead_lettered(self.config.worker, reason.class);
        let place = (i64::from(record.partition), record.offset.raw());
        self.letter_log.note(record.topic, place, reason);
        Ok(())
    }

    /// Opens a batch unless one is open, and the transaction that it writes into.
    #[inline]
    fn open_batch(&mut self) -> Result<(), Fault> {
        if self.batch.is_some() {
            return Ok(());
        }
        if W::WRITES_INTO_TRANSACTION {
            self.begin_transaction()?;
        }
        self.batch =
            Some(LaneBatch { began: Instant::now(), bytes: 0, records: 0, unlooked: 0, durable: false });
        Ok(())
    }

    fn begin_transaction(&mut self) -> Result<(), Fault> {
        self.transactions.begin()?;
        self.transaction_open = true;
        Ok(())
    }

    /// Takes the transactional id, so that the first record does not wait for it and a transaction whose end is not
    /// known is settled.
    ///
    /// # Errors
    /// A [`Fault`] if the id cannot be taken.
    pub(super) fn prepare(&mut self) -> Result<(), Fault> {
        self.transactions.prepare()
    }

    /// Returns the time until the open batch is due by its age; for ever if none is open.
    pub(super) fn due_in(&self, now: Instant) -> Duration {
        self.batch.as_ref().map_or(Duration::MAX, |batch| {
            self.config.pace.interval.saturating_sub(now.duration_since(batch.began))
        })
    }

    /// Is there a batch, and is it time to close it? `now` asks for any batch at all.
    pub(super) fn is_due(&self, now: bool) -> bool {
        let Some(batch) = &self.batch else { return false };
        let (bytes, records) = self.work.backlog().unwrap_or((batch.bytes, batch.records));
        now || self.config.pace.is_due(batch.began.elapsed(), bytes + self.outbox.bytes(), records.max(1))
    }

    /// Lets partitions go on whose time has come, and returns the loop's next step.
    pub(super) fn after_poll<G: LaneGroup>(&mut self, group: &G) -> LaneStep {
        let now = Instant::now();
        for partition in self.partitions.iter_mut() {
            if partition.stalled.is_some_and(|(until, _)| now >= until) {
                partition.stalled = None;
                group.pause(&partition.at, false);
            }
        }
        if let Some(batch) = &mut self.batch {
            batch.unlooked = 0;
        }
        self.transactions.serve();
        self.letter_log.write_due(now);
        std::mem::replace(&mut self.step, LaneStep::Continue)
    }

    /// Returns the span of closing the open batch: its worker, and its input in records and bytes.
    pub(super) fn batch_span(&self) -> tracing::Span {
        let (records, bytes) = self.batch.as_ref().map_or((0, 0), |batch| (batch.records, batch.bytes));
        tracing::debug_span!("batch", worker = self.config.worker, records, bytes)
    }

    /// Makes the open batch durable, if that is not done. The batch can then be committed.
    ///
    /// # Errors
    /// As [`LaneWork::make_durable`].
    pub(super) fn make_durable(&mut self) -> Result<(), Fault> {
        let Some(batch) = &mut self.batch else { return Ok(()) };
        // A transaction is its own durable place, and a batch without records has nothing to write.
        if batch.durable || batch.records == 0 || W::WRITES_INTO_TRANSACTION {
            batch.durable = true;
            return Ok(());
        }
        let report = self.work.make_durable()?;
        self.status.neighbour(self.work.neighbour(), Ok(()));

        // Rows that only the flush refused were counted as written when they were appended. A batch whose refusals are
        // too many is never committed: it is not durable before all of them are letters.
        for row in report.refused {
            self.refuse_row(&row)?;
        }
        if let Some(batch) = &mut self.batch {
            batch.durable = true;
        }
        Ok(())
    }

    /// Turns a row that a store refused after it was appended into a dead letter of the batch.
    fn refuse_row(&mut self, row: &RefusedRow) -> Result<(), Fault> {
        let headers: Vec<Header<'_>> =
            row.headers.iter().map(|(name, value)| Header { name, value: value.as_deref() }).collect();
        let record = RecordRef {
            topic: &row.at.topic,
            partition: row.at.partition,
            offset: row.offset,
            timestamp_ms: row.timestamp_ms,
            key: row.key.as_deref(),
            value: row.value.as_deref(),
            headers: &headers,
        };
        let Some(index) = self.partitions.find(&record) else {
            return Err(Fault::bug(
                "flushing",
                format!("the store refused a row of {}, which is not the lane's", row.at),
            ));
        };
        let partition = self.partitions.at(index);
        partition.counts.written = partition.counts.written.saturating_sub(1);
        let tripped = partition.gauge.refused_late(row.offset, &self.config.limits);
        self.write_letter(index, &record, &row.reason, tripped)
    }

    /// Makes a durable batch visible and its offsets proven, in one transaction; by `deadline`, if there is one.
    ///
    /// # Errors
    /// A [`Fault`]; the batch is still open and has to be given up.
    pub(super) fn commit(
        &mut self,
        membership: Option<T::Membership>,
        deadline: Option<Instant>,
    ) -> Result<(), Fault> {
        let Some(batch) = &self.batch else { return Ok(()) };
        debug_assert!(batch.durable, "a batch is committed that is not durable");
        let span = tracing::debug_span!("commit", worker = self.config.worker, records = batch.records);
        let _entered = span.enter();
        let (records, positions) = (batch.records, self.partitions.positions());

        // A batch whose every record stands still, or was revoked, has nothing to prove.
        if positions.is_empty() && !self.transaction_open {
            self.batch = None;
            return Ok(());
        }
        let membership = match (membership, positions.is_empty()) {
            (None, false) => {
                return Err(Fault::rewind("committing", "the group does not count this lane in"));
            }
            (membership, _) => membership,
        };

        // Letters that waited for the batch, then a receipt per partition.
        if !self.transaction_open {
            self.begin_transaction()?;
        }
        let transactions = &mut self.transactions;
        self.outbox.send_all(|out| transactions.send(out))?;
        for receipt in self.partitions.receipts(&self.author, self.work.routes(), now_ms()) {
            ReceiptRecord::Segment(receipt).send(|out| transactions.send(out))?;
        }
        sluice_failpoint::pass("after-produce");

        // Everything is acknowledged before the offsets join the transaction.
        transactions.flush_by(deadline)?;
        if let (Some(membership), false) = (&membership, positions.is_empty()) {
            transactions.send_offsets(&positions, membership)?;
        }
        sluice_failpoint::pass("after-send-offsets");

        // From here until the answer it is unknown whether the batch is visible.
        self.in_doubt = true;
        transactions.commit()?;
        self.in_doubt = false;

        // The batch is proven.
        self.transaction_open = false;
        self.batch = None;
        self.outbox.clear();
        metrics::committed(self.config.worker, records);
        self.status.neighbour("kafka", Ok(()));
        for (at, next, counts) in self.partitions.close() {
            self.status.position(&at, next, counts);
        }
        Ok(())
    }

    /// Gives the open batch up, and returns where each of its partitions has to be read again. After a commit whose
    /// outcome is unknown only the group's positions tell it: the group is joined again.
    ///
    /// # Errors
    /// Of the abort or of the store, if nothing can mend it: the lane's end.
    pub(super) fn give_up(&mut self, retry: Retry) -> Result<Vec<(TopicPartition, NextOffset)>, Fault> {
        let all = self.partitions.all();
        self.give_up_with(retry, &all)
    }

    /// Gives the open batch up; `staying` are the partitions that are read again by this lane.
    fn give_up_with(
        &mut self,
        retry: Retry,
        staying: &[TopicPartition],
    ) -> Result<Vec<(TopicPartition, NextOffset)>, Fault> {
        let mut again = self.drop_batch(retry)?;
        again.retain(|(at, _)| staying.contains(at));

        // A store forgets its rows in memory and returns its position: it may be further on than the group, and adds
        // nothing twice.
        for at in staying {
            self.work.forget(at);
            match self.work.resume(at) {
                Ok(_) => {}
                Err(fault) if fault.retry == Retry::Never => return Err(fault),
                Err(fault) => {
                    self.status.neighbour(self.work.neighbour(), Err(fault.to_string()));
                    self.rejoin = true;
                    again.clear();
                    break;
                }
            }
        }
        Ok(again)
    }

    /// Drops the open batch: its transaction, its letters and its counts. Returns the first records of its partitions.
    fn drop_batch(&mut self, retry: Retry) -> Result<Vec<(TopicPartition, NextOffset)>, Fault> {
        self.rejoin |= std::mem::take(&mut self.in_doubt) && retry == Retry::Later;

        // The transaction first: nothing of the batch may become visible any more.
        let ended = match std::mem::take(&mut self.transaction_open) {
            true => self.transactions.give_up(retry),
            false => Ok(()),
        };
        self.batch = None;
        self.outbox.clear();
        let again = self.partitions.give_up();
        ended.map(|()| again)
    }

    /// Lets go of everything: the group was left, or is about to be, with nothing further written. Returns the step
    /// that was still to be taken.
    pub(super) fn forget_all(&mut self) -> LaneStep {
        if self.batch.is_some()
            && let Err(fault) = self.drop_batch(Retry::Rewind)
        {
            tracing::warn!(%fault, "the open transaction is left to its time-out");
        }
        for at in self.partitions.all() {
            self.work.forget(&at);
            self.partitions.remove(&at);
            self.status.released(&at);
        }
        self.rejoin = false;
        std::mem::replace(&mut self.step, LaneStep::Continue)
    }

    /// Returns whether the group has to be left and joined again. Asked once.
    pub(super) fn take_rejoin(&mut self) -> bool {
        std::mem::take(&mut self.rejoin)
    }

    /// Lets a partition stand still for a while, longer each time in a row, and returns how long.
    pub(super) fn stall(&mut self, at: &TopicPartition) -> Duration {
        let attempts = self.status.stalled(at);
        let pause = self.config.pace.backoff.wait(attempts, rand::random()).max(SHORTEST_STALL);
        if let Some(partition) = self.partitions.get_mut(at) {
            partition.stalled = Some((Instant::now() + pause, attempts));
        }
        pause
    }

    /// Returns what was taken in and is not proven: for the negative control of the fault tests.
    pub(super) fn unproven_positions(&self) -> CommitPositions {
        self.partitions.positions()
    }

    /// Takes a partition over from the group's position.
    pub(super) fn assign(&mut self, at: &TopicPartition, committed: Option<NextOffset>) -> PartitionStart {
        self.work.forget(at);
        self.outbox.forget(at);
        self.partitions.add(at.clone(), committed);
        self.status.assigned(at, committed);

        // The group's position counts: everything before it has its receipt. The store's is shown beside it.
        let start = committed.map_or(PartitionStart::Beginning, PartitionStart::At);
        match self.work.resume(at) {
            Ok(stored) => tracing::info!(%at, ?committed, ?stored, ?start, "partition assigned"),
            Err(fault) => {
                // The store cannot be asked: the group is left again before anything is read.
                self.status.neighbour(self.work.neighbour(), Err(fault.to_string()));
                self.rejoin = true;
            }
        }
        start
    }

    /// Settles partitions that leave, before the group is answered. Returns where partitions that stay have to be read
    /// again.
    pub(super) fn revoke(
        &mut self,
        leaving: &[TopicPartition],
        lost: bool,
        membership: Option<T::Membership>,
    ) -> Vec<(TopicPartition, NextOffset)> {
        tracing::info!(count = leaving.len(), lost, "partitions revoked");
        if sluice_failpoint::sabotaged("keep-on-revoke") {
            return vec![];
        }

        // What is in flight is finished if the partitions are still ours, and given up if not.
        let mut again = vec![];
        let released = DrainingPartitions::begin(leaving, lost, Instant::now()).settle(
            self,
            |lane, deadline| {
                lane.make_durable()?;
                lane.commit(membership, Some(deadline))
            },
            |lane, fault, leaving| again = lane.give_up_leaving(fault, leaving),
        );

        for at in released.partitions() {
            self.work.forget(at);
            self.outbox.forget(at);
            self.status.released(at);
        }
        self.partitions.release(&released);
        again
    }

    /// Gives up what is in flight for partitions that leave. A transaction holds the records of all partitions, so it
    /// takes those that stay with it; without one, what is in memory of those that stay, stays.
    fn give_up_leaving(
        &mut self,
        fault: Fault,
        leaving: &[TopicPartition],
    ) -> Vec<(TopicPartition, NextOffset)> {
        tracing::warn!(%fault, "what is in flight is given up; the partitions' next owner reads it again");
        let retry = fault.retry;
        let mut again = vec![];
        if self.transaction_open {
            let mut staying = self.partitions.all();
            staying.retain(|at| !leaving.contains(at));
            match self.give_up_with(retry, &staying) {
                Ok(from) => again = from,
                Err(fault) => self.step = LaneStep::GiveUp(fault),
            }
        }
        // A fault that no retry mends ends the lane; the loop sees it after the callback.
        if retry == Retry::Never {
            self.step = LaneStep::GiveUp(fault);
        }
        again
    }

    /// The group could not be asked where it stands: it is joined again.
    pub(super) fn note_trouble(&mut self, fault: &Fault) {
        tracing::warn!(%fault, "the group is joined again");
        self.status.neighbour("kafka", Err(fault.to_string()));
        self.rejoin = true;
    }
}

impl<W: LaneWork> GroupEvents for LaneEngine<W, KafkaTransactions> {
    fn assigned(&mut self, at: &TopicPartition, committed: Option<NextOffset>) -> PartitionStart {
        self.assign(at, committed)
    }

    fn revoking(
        &mut self,
        partitions: &[TopicPartition],
        lost: bool,
        metadata: Option<GroupMetadata>,
    ) -> Vec<(TopicPartition, NextOffset)> {
        self.revoke(partitions, lost, metadata)
    }

    fn trouble(&mut self, fault: Fault) {
        self.note_trouble(&fault);
    }
}
