//! Rows 5, 6, 7: what a network does to requests and answers, frame by frame.

use std::time::Duration;

use rand::Rng as _;
use sluice_fault::cluster::world;
use sluice_fault::oracle::{OracleCounts, OracleFindings};
use sluice_fault::proxy::{ProxyAction, ProxyDirection, api};
use sluice_fault::seed;
use sluice_fault::trial::{FaultTrial, PATIENCE};
use sluice_tests::eventually;
use sluice_tests::worker::TestWorkerProcess;

/// Broker's answers to an EndTxn of a producer that was fenced: INVALID_PRODUCER_EPOCH, PRODUCER_FENCED.
const FENCED: [i16; 2] = [47, 90];

/// Where the delayed EndTxn is.
enum EndTxnStage {
    Awaited(u32),
    Held,
    Ended,
    Released,
}

/// Row 5: an EndTxn is held, the client cut off; it asks again and is answered; what was held arrives within the next
/// transaction, after a part of that one's records. Gives the broker's answer to it, and the verdict.
fn an_end_that_comes_late(
    row: &str,
    environment: &[(&str, &str)],
) -> (Vec<i16>, Result<OracleCounts, OracleFindings>) {
    let world = world();
    let mut trial = FaultTrial::new(row, &world.fronted, &world.direct);
    let mut state = EndTxnStage::Awaited(trial.rng.random_range(1..=3));
    world.proxy.plan(row, move |way, request| match (&mut state, way, request.api) {
        (EndTxnStage::Awaited(left), ProxyDirection::Request, api::END_TXN) if request.last_byte == 1 => {
            *left -= 1;
            if *left > 0 {
                return ProxyAction::Pass;
            }
            state = EndTxnStage::Held;
            ProxyAction::Hold
        }
        (EndTxnStage::Held, ProxyDirection::Response, api::END_TXN) => {
            state = EndTxnStage::Ended;
            ProxyAction::Pass
        }
        (EndTxnStage::Ended, ProxyDirection::Response, api::PRODUCE) => {
            state = EndTxnStage::Released;
            ProxyAction::Release
        }
        _ => ProxyAction::Pass,
    });
    let mut masker =
        TestWorkerProcess::start_with("masker", &trial.masker_file("one", "commit_ms: 1000"), environment);
    // Records come all the time, so that a transaction is made of many requests.
    let answers = eventually("the delayed EndTxn is answered", PATIENCE, || {
        trial.feed.send(50);
        trial.feed.serve();
        Some(world.proxy.released(row)).filter(|answers| !answers.is_empty())
    });
    trial.feed.send(2_000);
    trial.settled();
    masker.end(Duration::from_secs(60));
    world.proxy.clear(row);
    let verdict = trial.judge();
    trial.tell(&format!("the late EndTxn was answered {answers:?}: {verdict:?}"));
    (answers, verdict)
}

#[test]
fn an_end_of_transaction_that_comes_late_ends_nothing() {
    let (answers, verdict) = an_end_that_comes_late("r5late", &[]);
    assert!(answers.iter().all(|code| FENCED.contains(code)), "{answers:?}");
    verdict.unwrap_or_else(|findings| panic!("red:\n{findings}"));
}

#[test]
#[ignore = "make fault"]
fn without_a_new_producer_a_late_end_of_transaction_turns_the_oracle_red() {
    let (answers, verdict) = an_end_that_comes_late("r5control", &[("SLUICE_SABOTAGE", "reuse-producer")]);
    assert_eq!(answers, [0], "the broker takes it");
    let findings = verdict.expect_err("the oracle is blind to it");
    println!("found as it should be:\n{findings}");
}

#[test]
#[ignore = "make fault"]
fn produce_requests_whose_answers_are_lost_are_written_once() {
    let world = world();
    let trial = FaultTrial::new("r6lost", &world.fronted, &world.direct);
    let (_, mut rng) = seed::seeded("r6plan", None);
    let (mut answers, mut lost) = (0, 0);
    let mut next = rng.random_range(2..6);
    world.proxy.plan("r6lost", move |way, request| {
        if way == ProxyDirection::Response && request.api == api::PRODUCE && lost < 8 {
            answers += 1;
            if answers == next {
                lost += 1;
                next += rng.random_range(1..8);
                return ProxyAction::Cut;
            }
        }
        ProxyAction::Pass
    });
    let mut masker = TestWorkerProcess::start("masker", &trial.masker_file("one", "commit_ms: 200"));
    for _ in 0..200 {
        trial.feed.send(100);
        trial.feed.serve();
        std::thread::sleep(Duration::from_millis(20)); // the pace of the input
    }
    trial.settled();
    masker.end(Duration::from_secs(60));
    world.proxy.clear("r6lost");
    let counts = trial.holds();
    trial.tell(&format!("eight answers lost, {counts:?}"));
}

/// librdkafka waits for the answer for a minute, and in other cases for ever; the lane does not.
#[test]
#[ignore = "make fault"]
fn a_coordinator_that_never_answers_does_not_hold_a_lane() {
    let world = world();
    let trial = FaultTrial::new("r7silent", &world.fronted, &world.direct);
    let mut swallowed = false;
    world.proxy.plan("r7silent", move |way, request| {
        if !swallowed && way == ProxyDirection::Response && request.api == api::TXN_OFFSET_COMMIT {
            swallowed = true;
            return ProxyAction::Swallow;
        }
        ProxyAction::Pass
    });
    let mut masker = trial.masker("one", &[]);
    trial.feed.send(2_000);
    trial.feed.flush();
    eventually("the lane gives the call up", Duration::from_secs(40), || {
        masker.log().contains("the producer is left behind").then_some(())
    });
    trial.feed.send(2_000);
    let recovery = trial.settled();
    assert!(masker.end(Duration::from_secs(60)).success(), "{}", masker.log());
    world.proxy.clear("r7silent");
    let counts = trial.holds();
    trial.tell(&format!("{counts:?}, {recovery:.1?} after it was given up"));
}

#[test]
#[ignore = "make fault"]
fn a_network_that_delays_cuts_and_swallows_ends_in_no_deadlock() {
    let world = world();
    let mut trial = FaultTrial::new("r7network", &world.fronted, &world.direct);
    trial.property("socket.timeout.ms", "5000");
    let (_, mut rng) = seed::seeded("r7plan", None);
    let mut swallowed = 0;
    world.proxy.plan("r7network", move |_, _| match rng.random_range(0..1000) {
        0..4 => ProxyAction::Cut,
        4 if swallowed < 5 => {
            swallowed += 1;
            ProxyAction::Swallow
        }
        5..100 => ProxyAction::Delay(Duration::from_millis(rng.random_range(1..120))),
        _ => ProxyAction::Pass,
    });
    let mut masker = TestWorkerProcess::start("masker", &trial.masker_file("one", "commit_ms: 200"));
    for _ in 0..1_000 {
        trial.feed.send(20);
        trial.feed.serve();
        std::thread::sleep(Duration::from_millis(20)); // the pace of the input
    }
    world.proxy.clear("r7network");
    let recovery = trial.settled();
    masker.end(Duration::from_secs(60));
    let counts = trial.holds();
    trial.tell(&format!("{counts:?}, caught up {recovery:.1?} after the last trouble"));
}
