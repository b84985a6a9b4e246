//! What the integration tests share: the stack, a contract of their own each, workers as child processes, and plain
//! Kafka clients that know nothing of Sluicegate.
//!
//! A test drives the binary as a user would: by configuration files, topics and signals.

pub mod clients;
pub mod command;
pub mod contract;
pub mod worker;

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use sluice_stack::ServerStack;

/// Where Kafka and the registry of this test binary are.
#[derive(Debug, Clone)]
pub struct TestServers {
    /// Bootstrap servers.
    pub brokers: String,
    /// Base URL of the registry.
    pub registry: String,
}

/// One Kafka and one registry for all tests of a binary, started by the first that asks. They end with the process:
/// the kernel ends each server when its parent is gone.
pub fn servers() -> TestServers {
    static SERVERS: OnceLock<TestServers> = OnceLock::new();
    SERVERS
        .get_or_init(|| {
            let started = ServerStack::builder().kafka(1).registry().start();
            let stack = started.unwrap_or_else(|error| panic!("the stack does not start: {error}"));
            let servers = TestServers {
                brokers: stack.brokers().to_owned(),
                registry: stack.registry_url().to_owned(),
            };
            Box::leak(Box::new(stack)); // it lives as long as the process
            servers
        })
        .clone()
}

/// The binary under test: `$SLUICE_BIN`, or `sluice` beside this program or the folder it is in.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("SLUICE_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().unwrap_or_default();
    // A program lies beside it, a test one folder below.
    let mut places = test.ancestors().skip(1).take(2).map(|folder| folder.join("sluice"));
    places
        .find(|place| place.is_file())
        .unwrap_or_else(|| panic!("no `sluice` beside or above {}: `make build` makes it", test.display()))
}

/// Waits until `ready` has an answer, looking again every 50 ms; there is no event to wait for in another process.
pub fn eventually<T>(what: &str, within: Duration, mut ready: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
