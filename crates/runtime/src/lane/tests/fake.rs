//! The fake world of the lane's tests: a group of one partition, transactions, a processor and a store.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sluice_core::{
    Backoff, Fault, FlushReport, LearnError, NextOffset, Offset, Outcome, OutcomeReason, Outputs, Processor,
    ReasonClass, RecordPart, RecordRef, RefusedRow, Retry, Route, SchemaId, SchemaLookup, Store,
    StoreBacklog, StorePosition, TopicId, TopicPartition, names,
};
use sluice_kafka::{CommitPositions, KafkaSection, OutgoingRecord, PartitionStart, PollOutcome};
use tokio_util::sync::CancellationToken;

use super::super::driver::{LaneDriver, lock};
use super::super::engine::{LaneEngine, LaneWork};
use super::super::judge::SchemaSource;
use super::super::ports::{LaneGroup, LaneTransactions};
use super::super::transform::TransformWork;
use super::super::{LaneConfig, LanePace, LaneRevision};
use crate::lane::limits::DeadLetterThresholds;
use crate::status::WorkerStatus;

/// The source topic: `bad…` becomes a dead letter, `skip` is skipped, `late` is taken by a store and refused by its flush,
/// every other record is good.
pub(super) const LOG: [&str; 13] =
    ["a", "b", "bad", "c", "skip", "d", "late", "e", "f", "bad2", "g", "h", "i"];

/// A fault at the `nth` passing of a call. `lands` is whether a commit that fails took effect.
#[derive(Debug, Clone, Copy)]
pub(super) struct FaultPlan {
    pub(super) call: &'static str,
    pub(super) nth: usize,
    pub(super) retry: Retry,
    pub(super) lands: bool,
}

/// Everything outside the lane.
#[derive(Default)]
pub(super) struct FakeWorld {
    /// Outputs and letters of committed transactions, in order.
    pub(super) visible: Vec<String>,
    /// Receipts of committed transactions.
    pub(super) receipts: usize,
    /// The group's committed position.
    pub(super) committed: Option<i64>,
    /// The open transaction.
    pub(super) open: Vec<String>,
    pub(super) open_receipts: usize,
    pub(super) open_offset: Option<i64>,
    pub(super) is_open: bool,
    /// Rows of the store, by offset, and what it holds in memory.
    pub(super) rows: BTreeMap<i64, String>,
    pub(super) pending: BTreeMap<i64, String>,
    /// Rows that the store has refused for good.
    pub(super) refused: BTreeSet<i64>,
    pub(super) store_next: i64,
    pub(super) calls: BTreeMap<&'static str, usize>,
    pub(super) plan: Option<FaultPlan>,
}

pub(super) type SharedWorld = Arc<Mutex<FakeWorld>>;

impl FakeWorld {
    /// Counts a call, and returns the fault that is planned for this passing of it.
    fn pass(&mut self, call: &'static str) -> Result<(), (Fault, bool)> {
        let count = self.calls.entry(call).or_default();
        *count += 1;
        match self.plan {
            Some(plan) if plan.call == call && plan.nth == *count => {
                let fault = match plan.retry {
                    Retry::Later => Fault::outage(call, "planned"),
                    Retry::Rewind => Fault::rewind(call, "planned"),
                    Retry::Never => Fault::user(call, "planned"),
                };
                Err((fault, plan.lands))
            }
            _ => Ok(()),
        }
    }

    fn land(&mut self) {
        self.visible.append(&mut self.open);
        self.receipts += std::mem::take(&mut self.open_receipts);
        self.committed = self.open_offset.take().or(self.committed);
        self.is_open = false;
    }

    fn drop_open(&mut self) {
        self.open.clear();
        (self.open_receipts, self.open_offset, self.is_open) = (0, None, false);
    }
}

/// Transactions that are visible only once they are committed; a new producer fences an open one.
pub(super) struct FakeTransactions {
    pub(super) world: SharedWorld,
    pub(super) has_producer: bool,
}

impl FakeTransactions {
    fn pass(&self, call: &'static str) -> Result<(), Fault> {
        self.world.lock().unwrap().pass(call).map_err(|(fault, _)| fault)
    }
}

impl LaneTransactions for FakeTransactions {
    type Membership = ();

    fn prepare(&mut self) -> Result<(), Fault> {
        if !self.has_producer {
            self.pass("prepare")?;
            self.world.lock().unwrap().drop_open();
            self.has_producer = true;
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<(), Fault> {
        self.prepare()?;
        self.pass("begin")?;
        let mut world = self.world.lock().unwrap();
        assert!(!world.is_open, "a transaction is begun while one is open");
        world.is_open = true;
        Ok(())
    }

    fn send(&mut self, record: &OutgoingRecord<'_>) -> Result<(), Fault> {
        self.pass("send")?;
        let mut world = self.world.lock().unwrap();
        assert!(world.is_open && self.has_producer, "a record is sent without a transaction");
        if record.topic == names::RECEIPTS {
            world.open_receipts += 1;
        } else {
            let value = String::from_utf8(record.value.unwrap_or_default().to_vec()).unwrap();
            world.open.push(format!("{}:{value}", record.topic));
        }
        Ok(())
    }

    fn flush_by(&mut self, _: Option<Instant>) -> Result<(), Fault> {
        self.pass("flush_by")
    }

    fn send_offsets(&mut self, positions: &CommitPositions, (): &()) -> Result<(), Fault> {
        self.pass("send_offsets")?;
        self.world.lock().unwrap().open_offset = positions.values().next().map(|next| next.raw());
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Fault> {
        let mut world = self.world.lock().unwrap();
        match world.pass("commit") {
            Ok(()) => {
                assert!(world.open_receipts > 0 || world.open_offset.is_none(), "offsets without a receipt");
                world.land();
                Ok(())
            }
            Err((fault, lands)) => {
                if lands {
                    world.land();
                }
                Err(fault)
            }
        }
    }

    fn give_up(&mut self, retry: Retry) -> Result<(), Fault> {
        if retry != Retry::Rewind {
            self.has_producer = false;
            return Ok(());
        }
        match self.pass("abort") {
            Ok(()) => self.world.lock().unwrap().drop_open(),
            Err(fault) if fault.retry == Retry::Never => return Err(fault),
            Err(_) => self.has_producer = false,
        }
        Ok(())
    }

    fn serve(&mut self) {}
}

/// One partition of one topic, read from the group's position.
pub(super) struct FakeGroup<W: LaneWork> {
    pub(super) engine: Arc<Mutex<LaneEngine<W, FakeTransactions>>>,
    pub(super) world: SharedWorld,
    pub(super) position: i64,
    pub(super) paused: std::cell::Cell<bool>,
    pub(super) held: std::cell::Cell<bool>,
    pub(super) left: bool,
    pub(super) plan: Arc<GroupPlan>,
    pub(super) polls: Arc<Mutex<usize>>,
    pub(super) stop: CancellationToken,
}

/// How the group behaves.
#[derive(Debug, Default)]
pub(super) struct GroupPlan {
    /// The poll before which the partition is revoked and assigned again; lost or not.
    pub(super) revoke: Option<(usize, bool)>,
    /// The poll at which the worker has to stop. Without one it stops at the end of the log.
    pub(super) stop: Option<usize>,
}

pub(super) fn at() -> TopicPartition {
    TopicPartition::new("t", 0)
}

impl<W: LaneWork> FakeGroup<W> {
    pub(super) fn assign(&mut self) {
        let committed = self.world.lock().unwrap().committed.and_then(NextOffset::new);
        let start = lock(&self.engine).assign(&at(), committed);
        self.position = match start {
            PartitionStart::Beginning => 0,
            PartitionStart::At(next) => next.raw(),
        };
    }

    fn count_poll(&mut self) {
        let mut polls = self.polls.lock().unwrap();
        *polls += 1;
        let (now, plan) = (*polls, Arc::clone(&self.plan));
        drop(polls);
        assert!(now < 5_000, "the lane does not come to an end");
        if plan.stop == Some(now) {
            self.stop.cancel();
        }
        if let Some((poll, lost)) = plan.revoke
            && poll == now
        {
            let again = lock(&self.engine).revoke(&[at()], lost, (!lost).then_some(()));
            assert!(again.is_empty(), "the only partition has left");
            self.assign();
        }
        // Everything is committed: nothing is left to do.
        let committed = self.world.lock().unwrap().committed;
        if plan.stop.is_none() && committed == Some(LOG.len() as i64) {
            self.stop.cancel();
        }
    }
}

impl<W: LaneWork> Drop for FakeGroup<W> {
    fn drop(&mut self) {
        if !self.left {
            lock(&self.engine).revoke(&[at()], false, Some(()));
        }
    }
}

impl<W: LaneWork> LaneGroup for FakeGroup<W> {
    type Membership = ();

    fn subscribe(&self, _: &[String]) -> Result<(), Fault> {
        Ok(())
    }

    fn poll(&mut self, wait: Duration) -> Result<PollOutcome, Fault> {
        self.count_poll();
        assert!(!self.held.get(), "a lane that is held asks for records");
        let mut lent = 0;
        while lent < 3 && !self.paused.get() {
            let Some(text) = usize::try_from(self.position).ok().and_then(|index| LOG.get(index)) else {
                break;
            };
            let record = RecordRef {
                topic: "t",
                partition: 0,
                offset: Offset::new(self.position).unwrap(),
                timestamp_ms: None,
                key: None,
                value: Some(text.as_bytes()),
                headers: &[],
            };
            self.position += 1;
            lent += 1;
            if lock(&self.engine).take(&record) == ControlFlow::Break(()) {
                break;
            }
        }
        if lent == 0 {
            std::thread::park_timeout(wait.min(Duration::from_micros(100)));
            return Ok(PollOutcome::Nothing);
        }
        Ok(PollOutcome::Records(lent))
    }

    fn serve(&mut self, wait: Duration) -> Result<PollOutcome, Fault> {
        self.count_poll();
        // A real group blocks for `wait` when nothing happens; a part of it is enough here.
        std::thread::park_timeout(wait.min(Duration::from_micros(100)));
        Ok(PollOutcome::Nothing)
    }

    fn pause(&self, _: &TopicPartition, paused: bool) {
        self.paused.set(paused);
    }

    fn seek(&mut self, _: &TopicPartition, from: PartitionStart) {
        self.position = match from {
            PartitionStart::Beginning => 0,
            PartitionStart::At(next) => next.raw(),
        };
    }

    fn hold(&self, held: bool) {
        self.held.set(held);
    }

    fn membership(&self) -> Option<()> {
        Some(())
    }

    fn take_connected(&self) -> bool {
        false
    }

    fn commit_unproven(&self, _: &CommitPositions) {}
}

/// Copies records to `out`.
pub(super) struct CopyProcessor {
    pub(super) routes: Vec<String>,
    pub(super) world: SharedWorld,
}

/// Judges a text as the log's legend says.
pub(super) fn judge(text: &[u8]) -> Option<Outcome> {
    match text {
        [b'b', b'a', b'd', ..] => {
            Some(Outcome::DeadLetter(OutcomeReason::new(ReasonClass::Shape, "a good record")))
        }
        b"skip" => Some(Outcome::Skipped(OutcomeReason::new(ReasonClass::Null, "by rule"))),
        _ => None,
    }
}

impl Processor for CopyProcessor {
    fn process(&mut self, record: &RecordRef<'_>, out: &mut Outputs) -> Outcome {
        let value = record.value.unwrap();
        if let Some(outcome) = judge(value) {
            return outcome;
        }
        if self.world.lock().unwrap().pass("process").is_err() {
            // The only trouble that a processor can have: it stands still once.
            return Outcome::Uncovered(OutcomeReason::new(ReasonClass::Contract, "a contract"));
        }
        let mut draft = out.draft(Route(0));
        draft
            .value_with(|bytes| {
                bytes.extend_from_slice(value);
                Ok::<(), std::convert::Infallible>(())
            })
            .unwrap();
        draft.emit();
        Outcome::Emitted
    }

    fn learn(
        &mut self,
        _: &str,
        _: RecordPart,
        _: SchemaId,
        _: &str,
        _: &mut dyn SchemaLookup,
    ) -> Result<(), LearnError> {
        Ok(())
    }

    fn routes(&self) -> &[String] {
        &self.routes
    }
}

/// A store that keeps rows by offset and knows where it stands.
pub(super) struct RowStore(pub(super) SharedWorld);

impl Store for RowStore {
    fn name(&self) -> &'static str {
        "rows"
    }

    fn resume(&mut self, _: &TopicPartition) -> Result<Option<StorePosition>, Fault> {
        let mut world = self.0.lock().unwrap();
        world.pass("resume").map_err(|(fault, _)| fault)?;
        let topic_id = Some(TopicId([7; 16]));
        Ok(NextOffset::new(world.store_next).map(|next| StorePosition { next, topic_id }))
    }

    fn append(&mut self, record: &RecordRef<'_>) -> Outcome {
        let value = record.value.unwrap();
        if let Some(outcome) = judge(value) {
            return outcome;
        }
        let mut world = self.0.lock().unwrap();
        let offset = record.offset.raw();
        // A row that was refused before gets the same outcome again, as it would have had the first time.
        if world.refused.contains(&offset) {
            return Outcome::DeadLetter(OutcomeReason::new(ReasonClass::Type, "a row that the store takes"));
        }
        if offset >= world.store_next {
            world.pending.insert(offset, String::from_utf8(value.to_vec()).unwrap());
        }
        Outcome::Emitted
    }

    fn learn(&mut self, _: &str, _: SchemaId, _: &str) -> Result<(), LearnError> {
        Ok(())
    }

    fn pending(&self) -> StoreBacklog {
        let records = self.0.lock().unwrap().pending.len();
        StoreBacklog { records: records as u64, bytes: records }
    }

    fn flush(&mut self) -> Result<FlushReport, Fault> {
        let mut world = self.0.lock().unwrap();
        let before = world.pass("flush");
        let mut report = FlushReport::default();
        if matches!(before, Ok(()) | Err((_, true))) {
            let pending = std::mem::take(&mut world.pending);
            for (offset, row) in pending {
                world.store_next = world.store_next.max(offset + 1);
                if row == "late" {
                    world.refused.insert(offset);
                    report.refused.push(late_row(offset));
                    continue;
                }
                assert!(world.rows.insert(offset, row).is_none(), "offset {offset} lands twice");
            }
        }
        before.map(|()| report).map_err(|(fault, _)| fault)
    }

    fn forget(&mut self, _: &TopicPartition) {
        self.0.lock().unwrap().pending.clear();
    }
}

/// The record at `offset` as a store hands it back.
pub(super) fn late_row(offset: i64) -> RefusedRow {
    RefusedRow {
        at: at(),
        offset: Offset::new(offset).unwrap(),
        timestamp_ms: None,
        key: None,
        value: Some(b"late".to_vec()),
        headers: vec![],
        reason: OutcomeReason::new(ReasonClass::Type, "a row that the store takes"),
    }
}

/// A registry that is never asked.
pub(super) struct NoSchemas;

impl SchemaLookup for NoSchemas {
    fn id_of(&mut self, _: &str, _: &str) -> Result<Option<SchemaId>, Fault> {
        Ok(None)
    }
}

impl SchemaSource for NoSchemas {
    fn schema(&mut self, _: SchemaId) -> Result<Option<String>, Fault> {
        Ok(None)
    }

    fn as_lookup(&mut self) -> &mut dyn SchemaLookup {
        self
    }
}

pub(super) fn config() -> LaneConfig {
    let backoff = Backoff {
        base: Duration::from_micros(10),
        cap: Duration::from_micros(50),
        floor: Duration::from_micros(1),
    };
    LaneConfig {
        worker: "test",
        kafka: KafkaSection { brokers: "h:1".into(), properties: BTreeMap::new(), secrets: BTreeMap::new() },
        group: "g".into(),
        instance: "0".into(),
        topics: vec!["t".into()],
        memory: 1 << 20,
        // Two or three records a batch.
        pace: LanePace { interval: Duration::from_micros(200), bytes: 1 << 20, records: 2, backoff },
        limits: DeadLetterThresholds::default(),
    }
}

/// Runs a lane of `work` to its end.
pub(super) fn run<W: LaneWork>(world: &SharedWorld, work: W, plan: GroupPlan) -> Result<(), Fault> {
    println!("{:?} {plan:?}", world.lock().unwrap().plan);
    let (status, stop) = (WorkerStatus::new("test", &[]), CancellationToken::new());
    let transactions = FakeTransactions { world: Arc::clone(world), has_producer: false };
    let engine = LaneEngine::new(config(), work, Box::new(NoSchemas), transactions, status.clone());
    let (plan, polls) = (Arc::new(plan), Arc::new(Mutex::new(0)));
    let join = |engine: &Arc<Mutex<LaneEngine<W, FakeTransactions>>>| {
        let mut group = FakeGroup {
            engine: Arc::clone(engine),
            world: Arc::clone(world),
            position: 0,
            paused: std::cell::Cell::new(false),
            held: std::cell::Cell::new(false),
            left: false,
            plan: Arc::clone(&plan),
            polls: Arc::clone(&polls),
            stop: stop.clone(),
        };
        group.assign();
        Ok(group)
    };
    let (_reviser, revisions) = channel::<LaneRevision<W::Revision>>();
    LaneDriver::new(engine, join, &status, &stop).run(&revisions)
}

pub(super) fn transform(world: &SharedWorld) -> TransformWork<CopyProcessor> {
    TransformWork::new(CopyProcessor { routes: vec!["out".into()], world: Arc::clone(world) })
}
