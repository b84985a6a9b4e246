//! Row 1: SIGKILL at every point at which a worker holds more than it has told.

use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use rand::Rng as _;
use sluice_fault::cluster::world;
use sluice_fault::trial::{FaultTrial, PATIENCE, WorkerPeak};
use sluice_tests::worker::TestWorkerProcess;

/// Feeds until the failpoint has ended the worker.
fn until_killed(trial: &FaultTrial, worker: &mut TestWorkerProcess) {
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = worker.has_ended() {
            break status;
        }
        assert!(Instant::now() < deadline, "the failpoint is not reached:\n{}", worker.log());
        trial.feed.send(200);
        trial.feed.flush();
    };
    assert_eq!(status.signal(), Some(9), "{}", worker.log());
}

fn a_masker_killed(row: &str, point: &str) {
    let servers = &world().direct;
    let mut trial = FaultTrial::new(row, servers, servers);
    trial.feed.send(5_000);
    trial.feed.abort(50);
    trial.feed.flush();
    let nth = trial.rng.random_range(1..=4);
    let mut masker = trial.masker("one", &[("SLUICE_FAILPOINT", &format!("{point}:{nth}"))]);
    until_killed(&trial, &mut masker);
    let killed = Instant::now();
    let mut again = trial.masker("one", &[]);
    trial.feed.send(5_000);
    trial.settled();
    let recovery = killed.elapsed();
    let mut peak = WorkerPeak::default();
    peak.look(&again);
    assert!(again.end(Duration::from_secs(60)).success(), "{}", again.log());
    let counts = trial.holds();
    trial.tell(&format!("{point}:{nth} {counts:?}, caught up after {recovery:.1?}, {peak:?}"));
}

fn a_sink_killed(row: &str, point: &str) {
    let servers = &world().direct;
    let mut trial = FaultTrial::new(row, servers, servers);
    trial.feed.send(5_000);
    let mut masker = trial.masker("masker", &[]);
    let nth = trial.rng.random_range(1..=4);
    let stores = format!("{}, {}", trial.archive(), trial.lake());
    let file = trial.sink_file("sink", "landing", &stores, "flush_seconds: 1");
    let mut sink =
        TestWorkerProcess::start_with("sink", &file, &[("SLUICE_FAILPOINT", &format!("{point}:{nth}"))]);
    until_killed(&trial, &mut sink);
    let killed = Instant::now();
    let mut again = TestWorkerProcess::start("sink", &file);
    trial.settled();
    trial.landed("landing-archive");
    trial.landed("landing-delta");
    let recovery = killed.elapsed();
    let mut peak = WorkerPeak::default();
    peak.look(&again);
    assert!(again.end(Duration::from_secs(60)).success(), "{}", again.log());
    masker.kill();
    trial.holds();
    let rows = trial.judge_landed().unwrap_or_else(|findings| panic!("{row} is red:\n{findings}"));
    trial.tell(&format!("{point}:{nth} {rows} rows, caught up after {recovery:.1?}, {peak:?}"));
}

#[test]
fn a_masker_killed_after_produce_changes_nothing() {
    a_masker_killed("r1produce", "after-produce");
}

#[test]
#[ignore = "make fault"]
fn a_masker_killed_after_send_offsets_changes_nothing() {
    a_masker_killed("r1offsets", "after-send-offsets");
}

#[test]
#[ignore = "make fault"]
fn a_masker_killed_before_its_commit_changes_nothing() {
    a_masker_killed("r1before", "before-commit");
}

#[test]
#[ignore = "make fault"]
fn a_masker_killed_right_after_its_commit_changes_nothing() {
    a_masker_killed("r1after", "after-commit");
}

#[test]
fn a_sink_killed_between_write_and_offset_changes_nothing() {
    a_sink_killed("r1write", "after-write");
}

#[test]
#[ignore = "make fault"]
fn a_sink_killed_before_its_write_changes_nothing() {
    a_sink_killed("r1nowrite", "before-write");
}

/// With everything at its defaults, time-outs and batches too.
#[test]
#[ignore = "make fault"]
fn recovery_after_sigkill_takes_less_than_fifteen_seconds() {
    let servers = &world().direct;
    let mut trial = FaultTrial::new("r1recovery", servers, servers);
    trial.default_timeouts();
    let file = trial.masker_file("one", "");
    let mut masker = TestWorkerProcess::start("masker", &file);
    trial.feed.send(20_000);
    trial.settled();
    let mut all = vec![];
    for _ in 0..5 {
        trial.feed.send(5_000);
        trial.feed.flush();
        std::thread::sleep(Duration::from_millis(trial.rng.random_range(0..300))); // anywhere within a batch
        masker.kill();
        let killed = Instant::now();
        trial.feed.send(5_000);
        masker = TestWorkerProcess::start("masker", &file);
        trial.settled();
        all.push(killed.elapsed());
    }
    assert!(masker.end(Duration::from_secs(60)).success(), "{}", masker.log());
    trial.holds();
    trial.tell(&format!("recovery after SIGKILL at default settings: {all:.1?}"));
    let worst = all.into_iter().max().unwrap();
    assert!(worst < Duration::from_secs(15), "{worst:?}");
}
