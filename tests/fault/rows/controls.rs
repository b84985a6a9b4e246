//! The negative controls: workers with one rule switched off. If the oracle stays green it proves nothing.

use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use sluice_fault::cluster::world;
use sluice_fault::oracle::OracleFindings;
use sluice_fault::trial::{FaultTrial, PATIENCE};
use sluice_tests::worker::TestWorkerProcess;

#[test]
#[ignore = "make fault"]
fn committing_before_writing_turns_the_oracle_red() {
    let servers = &world().direct;
    let trial = FaultTrial::new("c1commit", servers, servers);
    trial.feed.send(5_000);
    let mut masker = trial.masker("masker", &[]);
    trial.settled();
    masker.end(Duration::from_secs(60));
    let file = trial.sink_file("sink", "landing", &trial.archive(), "flush_seconds: 1");
    let sabotaged = [("SLUICE_SABOTAGE", "commit-before-write"), ("SLUICE_FAILPOINT", "before-write:1")];
    let mut sink = TestWorkerProcess::start_with("sink", &file, &sabotaged);
    assert_eq!(sink.ended(PATIENCE).signal(), Some(9), "{}", sink.log());
    let mut again = TestWorkerProcess::start("sink", &file);
    trial.landed("landing-archive");
    again.end(Duration::from_secs(60));
    let findings = trial.judge_landed().expect_err("the oracle is blind to it");
    assert!(findings.count("lost") > 0, "{findings}");
    println!("found as it should be:\n{findings}");
}

#[test]
#[ignore = "make fault"]
fn keeping_a_batch_over_a_revocation_turns_the_oracle_red() {
    let servers = &world().direct;
    let trial = FaultTrial::new("c2revoke", servers, servers);
    trial.feed.send(4_000);
    // Its batches stay open for seconds, so that one is open when the second worker comes.
    let file = trial.masker_file("one", "commit_ms: 5000");
    let one = TestWorkerProcess::start_with("masker", &file, &[("SLUICE_SABOTAGE", "keep-on-revoke")]);
    trial.settled();
    let mut two = None;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(15) {
        trial.feed.send(100);
        trial.feed.serve();
        if began.elapsed() > Duration::from_secs(1) {
            two.get_or_insert_with(|| trial.masker("two", &[]));
        }
        std::thread::sleep(Duration::from_millis(20)); // the pace of the input
    }
    trial.feed.send(1_000); // whoever set the group back is overtaken by these
    trial.settled();
    drop((one, two));
    let findings = trial.judge().expect_err("the oracle is blind to it");
    assert!(findings.count("twice") > 0, "{findings}");
    println!("found as it should be:\n{findings}");
}

/// Two sinks of different groups write one archive by mistake, and cut their batches differently.
fn an_archive_with_two_writers(row: &str, environment: &[(&str, &str)]) -> Result<u64, OracleFindings> {
    let servers = &world().direct;
    let trial = FaultTrial::new(row, servers, servers);
    trial.feed.send(1_000);
    let mut masker = trial.masker("masker", &[]);
    let one = trial.sink_file("one", "one", &trial.archive(), "flush_seconds: 1");
    let two = trial.sink_file("two", "two", &trial.archive(), "flush_seconds: 2");
    let mut sinks = [one, two].map(|file| TestWorkerProcess::start_with("sink", &file, environment));
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(12) {
        trial.feed.send(50);
        trial.feed.serve();
        std::thread::sleep(Duration::from_millis(20)); // the pace of the input
    }
    trial.settled();
    masker.end(Duration::from_secs(60));
    // The one that always loses finds nothing left to read and commits nothing: the archive itself is asked.
    let deadline = Instant::now() + Duration::from_secs(40);
    while trial.judge_landed().is_err() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(500)); // an archive has no event
    }
    for sink in &mut sinks {
        sink.end(Duration::from_secs(60));
    }
    trial.judge_landed()
}

#[test]
#[ignore = "make fault"]
fn two_sinks_on_one_archive_still_land_each_record_once() {
    an_archive_with_two_writers("c3two", &[]).unwrap_or_else(|findings| panic!("red:\n{findings}"));
}

#[test]
#[ignore = "make fault"]
fn ignoring_that_an_object_exists_turns_the_oracle_red() {
    let verdict = an_archive_with_two_writers("c3ignore", &[("SLUICE_SABOTAGE", "ignore-412")]);
    let findings = verdict.expect_err("the oracle is blind to it");
    println!("found as it should be:\n{findings}");
}
