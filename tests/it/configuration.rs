//! Bad configuration: every mistake at once, with path and hint, exit 64 or, for a contract, 1, no secret in the output.

use std::process::Command;
use std::time::Duration;

use sluice_tests::contract::TestContract;
use sluice_tests::worker::TestWorkerProcess;
use sluice_tests::{TestServers, binary};

fn nowhere() -> TestServers {
    // Port 9 (discard) has no listener here: a server that is not there.
    TestServers { brokers: "127.0.0.1:9".into(), registry: "http://127.0.0.1:9".into() }
}

fn run(kind: &str, text: &str) -> (Option<i32>, String) {
    let contract = TestContract::written("configuration", nowhere());
    let file = contract.write("bad.yaml", text);
    let output = Command::new(binary()).args(["run", kind, "-c"]).arg(&file).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn every_mistake_is_named_at_once_and_no_value_is_quoted() {
    let (code, text) = run(
        "masker",
        "kafka: {broker: 'hunter2'}\nregistry: {url: 7}\ncolour: hunter2\nmemory: much\nkeys: {}\ncommit_ms: 1\n",
    );
    assert_eq!(code, Some(64), "{text}");
    for expected in [
        "kafka.broker: no such key",
        "did you mean `brokers`?",
        "registry.url",
        "colour",
        "memory",
        "`schemas` is missing",
        "commit_ms",
    ] {
        assert!(text.contains(expected), "`{expected}` is not in:\n{text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn properties_that_carry_the_promises_and_missing_keys_are_refused_together() {
    let contract = TestContract::written("promises", nowhere());
    let text = format!(
        "kafka: {{brokers: 'h:1', properties: {{acks: '1', sasl.password: hunter2}}}}\nregistry: {{url: 'http://h'}}\nschemas: {}\nkeys: {{other: {{1: {{file: /no/such/file}}}}}}\n",
        contract.file("schemas").display()
    );
    let file = contract.write("bad.yaml", &text);
    let output = Command::new(binary()).args(["run", "masker", "-c"]).arg(&file).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{text}");
    for expected in ["kafka.properties.acks", "kafka.properties.sasl.password", "keys.other.1"] {
        assert!(text.contains(expected), "`{expected}` is not in:\n{text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn a_contract_with_an_unmasked_leaf_stops_the_worker_with_file_and_line() {
    let contract = TestContract::written("leaky", nowhere());
    let path = contract.file("schemas/it/leaky/contract.odcs.yaml");
    let text = std::fs::read_to_string(&path).unwrap().replace("{op: drop}", "{op: keep}");
    std::fs::write(&path, text).unwrap();
    let output =
        Command::new(binary()).args(["run", "masker", "-c"]).arg(contract.masker("masker")).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("contract.odcs.yaml:") && text.contains("note"), "{text}");
}

#[test]
fn servers_that_are_not_there_are_said_and_waited_for_and_sigterm_ends_the_wait() {
    let contract = TestContract::written("nowhere", nowhere());
    let mut worker = TestWorkerProcess::start("masker", &contract.masker("masker"));
    let (ready, _) = worker.page("/readyz");
    let (health, _) = worker.page("/healthz");
    assert_eq!((health, ready), (200, 503));
    sluice_tests::eventually("a word about Kafka in the log", Duration::from_secs(20), || {
        worker.log().contains("does not answer; trying again with back-off").then_some(())
    });
    let (_, status) = worker.page("/status");
    assert!(status.contains("\"ready\":false") && status.contains("kafka"), "{status}");
    assert!(worker.end(Duration::from_secs(20)).success(), "{}", worker.log());
}

#[test]
fn the_schema_of_every_configuration_is_printed() {
    for worker in ["collector", "masker", "normaliser", "sink", "apply"] {
        let output = Command::new(binary()).args(["config-schema", worker]).output().unwrap();
        let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(schema["additionalProperties"], false, "{worker}");
    }
}
