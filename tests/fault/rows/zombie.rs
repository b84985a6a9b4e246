//! Row 2: a worker stopped past its session and its transaction's time-out, then thawed, writes nothing anywhere.

use std::time::Duration;

use rand::Rng as _;
use sluice_fault::cluster::world;
use sluice_fault::trial::{FaultTrial, PATIENCE};
use sluice_tests::eventually;
use sluice_tests::worker::TestWorkerProcess;

fn feed_until_stopped(trial: &FaultTrial, worker: &TestWorkerProcess) {
    eventually("the failpoint has stopped the worker", PATIENCE, || {
        trial.feed.send(200);
        trial.feed.flush();
        worker.is_stopped().then_some(())
    });
}

#[test]
#[ignore = "make fault"]
fn a_masker_that_thaws_in_its_transaction_writes_nothing() {
    let servers = &world().direct;
    for point in ["after-produce", "after-send-offsets", "before-commit"] {
        let row = format!("r2{}", point.replace('-', ""));
        let mut trial = FaultTrial::new(&row, servers, servers);
        trial.feed.send(2_000);
        let nth = trial.rng.random_range(1..=3);
        let mut zombie = trial.masker("zombie", &[("SLUICE_FAILPOINT", &format!("{point}:{nth}:stop"))]);
        feed_until_stopped(&trial, &zombie);
        let mut other = trial.masker("other", &[]);
        trial.feed.send(2_000);
        let takeover = trial.settled();
        zombie.signal("CONT");
        trial.feed.send(2_000);
        trial.settled();
        // Whatever it had left is out by the time that everything sent after its thaw has come through it or the other.
        assert!(other.end(Duration::from_secs(60)).success(), "{}", other.log());
        zombie.kill();
        let counts = trial.holds();
        trial.tell(&format!("{point}:{nth}:stop {counts:?}, taken over after {takeover:.1?}"));
    }
}

#[test]
#[ignore = "make fault"]
fn a_sink_that_thaws_before_its_write_writes_nothing() {
    let servers = &world().direct;
    let mut trial = FaultTrial::new("r2sink", servers, servers);
    trial.feed.send(3_000);
    let mut masker = trial.masker("masker", &[]);
    let nth = trial.rng.random_range(1..=4);
    let stores = format!("{}, {}", trial.archive(), trial.lake());
    let (one, two) = ("flush_seconds: 1", "flush_seconds: 2");
    let zombie_file = trial.sink_file("zombie", "landing", &stores, one);
    let zombie = TestWorkerProcess::start_with(
        "sink",
        &zombie_file,
        &[("SLUICE_FAILPOINT", &format!("before-write:{nth}:stop"))],
    );
    feed_until_stopped(&trial, &zombie);
    let other = TestWorkerProcess::start("sink", &trial.sink_file("other", "landing", &stores, two));
    trial.settled();
    trial.landed("landing-archive");
    trial.landed("landing-delta");
    zombie.signal("CONT");
    trial.feed.send(2_000);
    trial.settled();
    trial.landed("landing-archive");
    trial.landed("landing-delta");
    for mut sink in [other, zombie] {
        sink.signal("TERM");
        sink.ended(Duration::from_secs(60));
    }
    masker.kill();
    let rows = trial.judge_landed().unwrap_or_else(|findings| panic!("r2sink is red:\n{findings}"));
    trial.tell(&format!("before-write:{nth}:stop {rows} rows"));
}
