//! A log-in to a broker of ours that checks tokens as Amazon MSK does: with `--features aws` only.

#![cfg(feature = "aws")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output};

use sluice_core::Domain;
use sluice_kafka::{KafkaSection, knock};
use sluice_stack::{ServerStack, StackInstallation, TokenHandler};

/// The variable by which the child process learns the broker's address.
const BROKER: &str = "SLUICE_TEST_MSK_BROKER";
/// The key that the broker knows: the example of AWS's documentation.
const KEY: &str = "AKIAIOSFODNN7EXAMPLE";
/// Its secret.
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

/// Compiles the class that checks tokens.
fn handler(folder: PathBuf) -> TokenHandler {
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/MskTokenValidator.java");
    let class_path = StackInstallation::here().kafka_class_path().unwrap();
    let compiled = Command::new("javac").args(["-cp", &class_path, "-d"]).arg(&folder).arg(source).output();
    let compiled = compiled.expect("javac is not there: this test needs a JDK");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    TokenHandler { class_path: folder, class: "MskTokenValidator".to_owned() }
}

/// Runs [`the_environment_logs_in`] in a process of its own: AWS's identity is in the environment.
fn log_in(broker: &str, environment: &[(&str, &str)]) -> Output {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "the_environment_logs_in", "--include-ignored", "--nocapture"]);
    // Nothing of this machine: no profile, no role of an instance.
    child.env("AWS_CONFIG_FILE", "/dev/null").env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
    child.env("AWS_EC2_METADATA_DISABLED", "true").env(BROKER, broker);
    child.envs(environment.iter().copied()).output().unwrap()
}

#[test]
fn an_identity_of_aws_logs_in_and_a_wrong_one_is_refused_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let handler = handler(folder.path().to_owned());
    let stack = ServerStack::builder().kafka(1).guarded(&["masker"]).token_handler(handler).start();
    let stack = stack.unwrap_or_else(|error| panic!("the stack does not start: {error}"));
    let broker = stack.guard().unwrap().handled();

    let right = [("AWS_ACCESS_KEY_ID", KEY), ("AWS_SECRET_ACCESS_KEY", SECRET)];
    let output = log_in(&broker, &right);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("brokers: 1"), "{said}\n{}", String::from_utf8_lossy(&output.stderr));

    // A secret that is not the key's: the broker's words, and no secret.
    let output = log_in(&broker, &[("AWS_ACCESS_KEY_ID", KEY), ("AWS_SECRET_ACCESS_KEY", "hunter2")]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("refused: ") && said.contains("invalid_token"), "{said}");
    assert!(!said.contains("hunter2") && !said.contains("X-Amz"), "{said}");

    // No identity at all.
    let output = log_in(&broker, &[]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("no identity of AWS was found"), "{said}");
}

#[test]
#[ignore = "the child process of the test above"]
fn the_environment_logs_in() {
    let Ok(brokers) = std::env::var(BROKER) else { return };
    let properties = [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "AWS_MSK_IAM"),
        ("aws.region", "eu-west-1"),
    ];
    let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let section = KafkaSection { brokers, properties: BTreeMap::from(properties), secrets: BTreeMap::new() };
    match knock(&section) {
        Ok(brokers) => println!("brokers: {brokers}"),
        Err(fault) if fault.domain == Domain::User => println!("refused: {fault}"),
        Err(fault) => println!("away: {fault}"),
    }
}
