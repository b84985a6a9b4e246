//! The engine and its driver with a fake group and fake transactions: trouble at every call, at every passing of it,
//! with every kind of fault, and a revocation at every point. After each run the miniature oracle asks that every
//! record of the log ended exactly once for readers of committed records.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sluice_core::{
    Backoff, Domain, Fault, FlushReport, LearnError, NextOffset, Offset, Outcome, OutcomeReason, Outputs,
    Processor, ReasonClass, RecordPart, RecordRef, RefusedRow, Retry, Route, SchemaId, SchemaLookup, Store,
    StoreBacklog, StorePosition, TopicId, TopicPartition, names,
};
use sluice_kafka::{CommitPositions, KafkaSection, OutgoingRecord, PartitionStart, PollOutcome};
use tokio_util::sync::CancellationToken;

use super::driver::{LaneDriver, lock};
use super::engine::{LaneEngine, LaneWork};
use super::judge::SchemaSource;
use super::ports::{LaneGroup, LaneTransactions};
use super::store::StoreWork;
use super::transform::TransformWork;
use super::{LaneConfig, LanePace, LaneRevision};
use crate::lane::limits::DeadLetterThresholds;
use crate::status::WorkerStatus;

/// The source topic: `bad…` becomes a dead letter, `skip` is skipped, `late` is taken by a store and refused by its flush,
/// every other record is good.
const LOG: [&str; 13] = ["a", "b", "bad", "c", "skip", "d", "late", "e", "f", "bad2", "g", "h", "i"];

/// A fault at the `nth` passing of a call. `lands` is whether a commit that fails took effect.
#[derive(Debug, Clone, Copy)]
struct FaultPlan {
    call: &'static str,
    nth: usize,
    retry: Retry,
    lands: bool,
}

/// Everything outside the lane.
#[derive(Default)]
struct FakeWorld {
    /// Outputs and letters of committed transactions, in order.
    visible: Vec<String>,
    /// Receipts of committed transactions.
    receipts: usize,
    /// The group's committed position.
    committed: Option<i64>,
    /// The open transaction.
    open: Vec<String>,
    open_receipts: usize,
    open_offset: Option<i64>,
    is_open: bool,
    /// Rows of the store, by offset, and what it holds in memory.
    rows: BTreeMap<i64, String>,
    pending: BTreeMap<i64, String>,
    /// Rows that the store has refused for good.
    refused: BTreeSet<i64>,
    store_next: i64,
    calls: BTreeMap<&'static str, usize>,
    plan: Option<FaultPlan>,
}

type SharedWorld = Arc<Mutex<FakeWorld>>;

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
struct FakeTransactions {
    world: SharedWorld,
    has_producer: bool,
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
struct FakeGroup<W: LaneWork> {
    engine: Arc<Mutex<LaneEngine<W, FakeTransactions>>>,
    world: SharedWorld,
    position: i64,
    paused: std::cell::Cell<bool>,
    held: std::cell::Cell<bool>,
    left: bool,
    plan: Arc<GroupPlan>,
    polls: Arc<Mutex<usize>>,
    stop: CancellationToken,
}

/// How the group behaves.
#[derive(Debug, Default)]
struct GroupPlan {
    /// The poll before which the partition is revoked and assigned again; lost or not.
    revoke: Option<(usize, bool)>,
    /// The poll at which the worker has to stop. Without one it stops at the end of the log.
    stop: Option<usize>,
}

fn at() -> TopicPartition {
    TopicPartition::new("t", 0)
}

impl<W: LaneWork> FakeGroup<W> {
    fn assign(&mut self) {
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
struct CopyProcessor {
    routes: Vec<String>,
    world: SharedWorld,
}

/// Judges a text as the log's legend says.
fn judge(text: &[u8]) -> Option<Outcome> {
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
struct RowStore(SharedWorld);

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
fn late_row(offset: i64) -> RefusedRow {
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
struct NoSchemas;

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

fn config() -> LaneConfig {
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
fn run<W: LaneWork>(world: &SharedWorld, work: W, plan: GroupPlan) -> Result<(), Fault> {
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

fn transform(world: &SharedWorld) -> TransformWork<CopyProcessor> {
    TransformWork::new(CopyProcessor { routes: vec!["out".into()], world: Arc::clone(world) })
}

fn world(plan: Option<FaultPlan>) -> SharedWorld {
    Arc::new(Mutex::new(FakeWorld { plan, ..FakeWorld::default() }))
}

/// Asks that every record of the log up to the committed position ended once, in order, and nothing else did.
fn assert_once(world: &SharedWorld, store: bool, whole: bool, what: &str) {
    let world = world.lock().unwrap();
    let committed = world.committed.unwrap_or(0);
    if whole {
        assert_eq!(committed, LOG.len() as i64, "{what}: the log is not read to its end");
    }
    let mut outputs = vec![];
    let mut letters = vec![];
    for text in &LOG[..committed as usize] {
        match judge(text.as_bytes()) {
            Some(Outcome::DeadLetter(_)) => letters.push(format!("t.dead-letter:{text}")),
            Some(_) => {}
            None if store && *text == "late" => letters.push(format!("t.dead-letter:{text}")),
            None => outputs.push(format!("out:{text}")),
        }
    }
    let (seen_letters, seen_outputs): (Vec<_>, Vec<_>) =
        world.visible.iter().cloned().partition(|line| line.starts_with("t.dead-letter"));
    assert_eq!(seen_letters, letters, "{what}: letters");
    if store {
        let rows: Vec<_> = world.rows.range(..committed).map(|(_, row)| format!("out:{row}")).collect();
        assert_eq!(rows, outputs, "{what}: rows");
        assert!(seen_outputs.is_empty());
    } else {
        assert_eq!(seen_outputs, outputs, "{what}: outputs");
    }
}

/// Every fault that can be planned at one call.
fn plans(call: &'static str, most: usize) -> impl Iterator<Item = FaultPlan> {
    let kinds = [(Retry::Later, false), (Retry::Later, true), (Retry::Rewind, false), (Retry::Never, false)];
    (1..=most).flat_map(move |nth| {
        kinds.into_iter().map(move |(retry, lands)| FaultPlan { call, nth, retry, lands })
    })
}

#[test]
fn without_trouble_every_record_ends_once_in_both_lanes() {
    for store in [false, true] {
        let world = world(None);
        let plan = GroupPlan::default();
        let ended = if store {
            run(&world, StoreWork::new(Box::new(RowStore(Arc::clone(&world)))), plan)
        } else {
            run(&world, transform(&world), plan)
        };
        ended.unwrap();
        assert_once(&world, store, true, "without trouble");
        assert!(world.lock().unwrap().receipts >= 2);
    }
}

#[test]
fn trouble_at_any_call_of_a_transform_lane_loses_and_doubles_nothing() {
    for call in ["prepare", "begin", "send", "flush_by", "send_offsets", "commit", "abort", "process"] {
        for plan in plans(call, 6) {
            let world = world(Some(plan));
            let ended = run(&world, transform(&world), GroupPlan::default());
            assert_eq!(ended.is_err(), ends(&world, plan), "{plan:?}: {ended:?}");
            assert_once(&world, false, ended.is_ok(), &format!("{plan:?}"));
        }
    }
}

#[test]
fn trouble_at_any_call_of_a_store_lane_loses_and_doubles_nothing() {
    for call in ["prepare", "begin", "send", "flush_by", "send_offsets", "commit", "abort", "flush", "resume"]
    {
        for plan in plans(call, 6) {
            // A flush that fails has written nothing, or everything and says so by the next `resume`.
            if call == "flush" && plan.lands && plan.retry == Retry::Later {
                continue;
            }
            let world = world(Some(plan));
            let ended =
                run(&world, StoreWork::new(Box::new(RowStore(Arc::clone(&world)))), GroupPlan::default());
            if call != "resume" {
                assert_eq!(ended.is_err(), ends(&world, plan), "{plan:?}: {ended:?}");
            }
            assert_once(&world, true, ended.is_ok(), &format!("{plan:?}"));
        }
    }
}

/// Does the planned fault end the lane? It does if it was met and no retry mends it.
fn ends(world: &SharedWorld, plan: FaultPlan) -> bool {
    let met = world.lock().unwrap().calls.get(plan.call).is_some_and(|count| *count >= plan.nth);
    met && plan.retry == Retry::Never && plan.call != "process"
}

#[test]
fn a_revocation_at_any_point_loses_and_doubles_nothing() {
    for lost in [false, true] {
        for poll in 1..12 {
            let plan = || GroupPlan { revoke: Some((poll, lost)), stop: None };
            let transforms = world(None);
            run(&transforms, transform(&transforms), plan()).unwrap();
            assert_once(&transforms, false, true, &format!("revoked at {poll}, lost: {lost}"));
            let stores = world(None);
            run(&stores, StoreWork::new(Box::new(RowStore(Arc::clone(&stores)))), plan()).unwrap();
            assert_once(&stores, true, true, &format!("store revoked at {poll}, lost: {lost}"));
        }
    }
}

#[test]
fn a_revocation_meets_trouble_at_any_call() {
    for call in ["begin", "send", "flush_by", "send_offsets", "commit", "abort", "flush"] {
        for plan in plans(call, 4) {
            for poll in [2, 3, 5] {
                if call == "flush" && plan.lands {
                    continue;
                }
                let group = || GroupPlan { revoke: Some((poll, false)), stop: None };
                let transforms = world(Some(plan));
                let ended = run(&transforms, transform(&transforms), group());
                assert_eq!(
                    ended.is_err(),
                    ends(&transforms, plan),
                    "{plan:?} and revoked at {poll}: {ended:?}"
                );
                assert_once(&transforms, false, ended.is_ok(), &format!("{plan:?} and revoked at {poll}"));
                let stores = world(Some(plan));
                let ended = run(&stores, StoreWork::new(Box::new(RowStore(Arc::clone(&stores)))), group());
                assert_eq!(
                    ended.is_err(),
                    ends(&stores, plan),
                    "store: {plan:?} and revoked at {poll}: {ended:?}"
                );
                assert_once(&stores, true, ended.is_ok(), &format!("store: {plan:?} and revoked at {poll}"));
            }
        }
    }
}

#[test]
fn a_lane_that_is_told_to_stop_closes_its_batch() {
    for stop in 1..8 {
        let plan = || GroupPlan { revoke: None, stop: Some(stop) };
        let transforms = world(None);
        run(&transforms, transform(&transforms), plan()).unwrap();
        assert_once(&transforms, false, false, &format!("stopped at {stop}"));
        assert!(!transforms.lock().unwrap().is_open, "a transaction is left open");
        let stores = world(None);
        run(&stores, StoreWork::new(Box::new(RowStore(Arc::clone(&stores)))), plan()).unwrap();
        assert_once(&stores, true, false, &format!("store stopped at {stop}"));
        assert!(stores.lock().unwrap().pending.is_empty(), "a stopped lane leaves records in memory");
    }
}

#[test]
fn too_many_dead_letters_stop_the_lane_and_none_of_them_is_written() {
    let world = world(None);
    let (status, stop) = (WorkerStatus::new("test", &[]), CancellationToken::new());
    let limits = DeadLetterThresholds { streak: 1, ..DeadLetterThresholds::default() };
    let transactions = FakeTransactions { world: Arc::clone(&world), has_producer: false };
    let config = LaneConfig { limits, ..config() };
    let engine =
        LaneEngine::new(config, transform(&world), Box::new(NoSchemas), transactions, status.clone());
    let join = |engine: &Arc<Mutex<LaneEngine<_, FakeTransactions>>>| {
        let mut group = FakeGroup {
            engine: Arc::clone(engine),
            world: Arc::clone(&world),
            position: 0,
            paused: std::cell::Cell::new(false),
            held: std::cell::Cell::new(false),
            left: false,
            plan: Arc::default(),
            polls: Arc::default(),
            stop: stop.clone(),
        };
        group.assign();
        Ok(group)
    };
    let (_reviser, revisions) = channel();
    let fault = LaneDriver::new(engine, join, &status, &stop).run(&revisions).unwrap_err();
    assert_eq!((fault.domain, fault.retry), (Domain::User, Retry::Never));
    let world = world.lock().unwrap();
    let written: BTreeSet<_> = world.visible.iter().map(String::as_str).collect();
    assert!(written.is_subset(&BTreeSet::from(["out:a", "out:b"])), "{written:?}");
}
