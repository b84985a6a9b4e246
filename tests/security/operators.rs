//! Operators (`access: operate`): dead letters and replays with the permissions of the role and nothing besides.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use sluice_tests::clients::{TestRecordSender, count};
use sluice_tests::worker::TestWorkerProcess;
use sluice_tests::{binary, eventually};

use crate::fleet::{SecurityFleet, scram, servers};

/// Runs a command as `user`; its exit code and what it printed.
fn run(args: &[&str], config: &std::path::Path) -> (Option<i32>, String) {
    let output = Command::new(binary()).args(args).arg("-c").arg(config).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn an_operator_lists_letters_and_replays_with_what_the_role_gives() {
    let fleet = SecurityFleet::applied("operated");
    let sender = TestRecordSender::new(&servers(), &fleet.raw());
    sender.send(Some(b"poison"), Some(b"{}"));
    sender.flush();
    fleet.feed(0, 3);
    let mut masker = TestWorkerProcess::start("masker", &fleet.worker("masker", &scram("masker")));
    let letters = format!("{}.dead-letter", fleet.raw());
    eventually("records and a letter", Duration::from_secs(90), || {
        (count(&servers(), &fleet.masked()) >= 3 && count(&servers(), &letters) >= 1).then_some(())
    });
    assert!(masker.end(Duration::from_secs(20)).success(), "{}", masker.log());

    let apply = fleet.apply_file(&scram("operators"));
    let (code, said) = run(&["dead-letters", "ls", "--output", "json"], &apply);
    assert_eq!(code, Some(1), "{said}");
    let listed: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!(listed["unresolved"], 1, "{said}");

    let config = fleet.worker("masker", &scram("operators"));
    let letters = ["dead-letters", "replay", "--worker", "masker", "--yes", "--output", "json"];
    let (code, said) = run(&letters, &config);
    assert_eq!(code, Some(1), "refused as before: {said}");
    let done: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!(done["done"]["unchanged"], 1, "{said}");

    // Records that came after the masker ended are the live worker's; a group without a position is an operator's.
    let raw = fleet.raw();
    let range = ["replay", "--worker", "masker", "--topic", &raw, "--yes", "--output", "json"];
    let (code, said) = run(&range, &config);
    assert_eq!(code, Some(0), "{said}");
    let config = fleet.worker("normaliser", &scram("operators"));
    let masked = fleet.masked();
    let range = ["replay", "--worker", "normaliser", "--topic", &masked, "--yes", "--output", "json"];
    let (code, said) = run(&range, &config);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(count(&servers(), &fleet.facts()), 3, "the span that nobody had done: {said}");

    // Nothing beyond: a live masker's id is not an operator's to take.
    let mut masker = TestWorkerProcess::start("masker", &fleet.worker("masker", &scram("operators")));
    assert_eq!(masker.ended(Duration::from_secs(90)).code(), Some(64), "{}", masker.log());
    assert!(masker.log().to_lowercase().contains("authoriz"), "{}", masker.log());
}
