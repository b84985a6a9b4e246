//! Shared parts of the integration tests: the stack, one contract for each test, workers as child processes,
//! and plain Kafka clients that do not use Sluicegate's code.
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

/// Addresses of Kafka and the registry of this test binary.
#[derive(Debug, Clone)]
pub struct TestServers {
    /// Bootstrap servers.
    pub brokers: String,
    /// Base URL of the registry.
    pub registry: String,
}

/// Returns one Kafka and one registry for all tests of a binary. The first call starts them. They end with
/// the process, because the kernel ends each server when its parent is gone.
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
            // Dropping the stack would end the servers, and they have to live as long as the process.
            Box::leak(Box::new(stack));
            servers
        })
        .clone()
}

/// Returns the binary under test: `$SLUICE_BIN`, or else `sluice` in the folder of this program or in the
/// folder above.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("SLUICE_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().unwrap_or_default();
    // Cargo puts `sluice` beside a program, and tests one folder below.
    let mut places = test.ancestors().skip(1).take(2).map(|folder| folder.join("sluice"));
    places
        .find(|place| place.is_file())
        .unwrap_or_else(|| panic!("no `sluice` beside or above {}: `make build` makes it", test.display()))
}

/// Waits until `ready` returns a value, and asks again every 50 ms: another process has no event to wait for.
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
