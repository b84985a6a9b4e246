//! The engine and its driver with a fake group and fake transactions: trouble at every call, at every passing of it,
//! with every kind of fault, and a revocation at every point. After each run the miniature oracle asks that every
//! record of the log ended exactly once for readers of committed records.

mod fake;

use std::collections::BTreeSet;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use sluice_core::{Domain, Outcome, Retry};
use tokio_util::sync::CancellationToken;

use self::fake::*;
use super::LaneConfig;
use super::driver::LaneDriver;
use super::engine::LaneEngine;
use super::store::StoreWork;
use crate::lane::limits::DeadLetterThresholds;
use crate::status::WorkerStatus;

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
fn a_lane_that_has_to_stop_closes_its_batch() {
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
