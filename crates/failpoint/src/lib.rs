//! Points at which a fault test kills or stops its own process, and rules that it may switch off. Debug
//! builds only: in a release build both functions are empty, and the environment is not read.
//!
//! * `SLUICE_FAILPOINT=<point>:<nth>[:kill|stop]`: at the nth passing of the point the process sends itself
//!   SIGKILL (the default) or SIGSTOP.
//! * `SLUICE_SABOTAGE=<rule>`: switches one rule off, for the negative controls. A test that stays green
//!   without the rule proves nothing about the rule.
//!
//! | point | state of the worker |
//! |---|---|
//! | `after-produce` | transform lane: the producer has the batch's records, but not its offsets |
//! | `after-send-offsets` | offsets are in the transaction, which is open |
//! | `before-commit` | everything is acknowledged; the commit is the next request |
//! | `after-commit` | the broker has answered the commit, the lane does not know it yet |
//! | `before-write` | store lane: a batch is due, no record of it is written |
//! | `after-write` | the store has acknowledged the write, the group's offset is not committed |
//! | `pages-checked` | collector: the leases of a group of pages are checked, no page is sent |
//! | `pages-durable` | collector: a group of pages is acknowledged, no row of the database has it |
//!
//! | rule | behaviour without it |
//! |---|---|
//! | `commit-before-write` | the group's offsets are committed before the store has the records |
//! | `keep-on-revoke` | a batch stays open over a revocation of its partitions |
//! | `ignore-412` | an archive object that exists already counts as the lane's own |
//! | `reuse-producer` | a producer whose commit may have been sent twice begins the next transaction |
//! | `no-recall` | collector, idempotent: an id is taken over without a search for its pages in the topic |
//! | `no-lease-end` | collector: pages are sent even if the lease has ended |
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

/// Passes a point. The process ends or stops here if the point is armed.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn pass(_point: &str) {}

/// Returns true if the rule is switched off.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn sabotaged(_rule: &str) -> bool {
    false
}

#[cfg(debug_assertions)]
pub use armed::{pass, sabotaged};

#[cfg(debug_assertions)]
mod armed {
    use std::process::Command;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// The point that is armed, and the number of times it was passed.
    #[derive(Debug)]
    struct ArmedFailpoint {
        name: String,
        /// The passing at which the process is killed or stopped, from 1.
        nth: u64,
        /// Name of the signal for the command `kill`.
        signal: &'static str,
        passed: AtomicU64,
    }

    impl ArmedFailpoint {
        /// Reads `<point>:<nth>[:kill|stop]`; `None` for any other text.
        fn parse(text: &str) -> Option<Self> {
            let mut parts = text.split(':');
            let (name, nth) = (parts.next()?.to_owned(), parts.next()?.parse().ok()?);
            let signal = match parts.next() {
                None | Some("kill") => "KILL",
                Some("stop") => "STOP",
                Some(_) => return None,
            };
            // A point that would never act is a mistake: the test would be green for the wrong reason.
            let whole = parts.next().is_none() && !name.is_empty() && nth > 0;
            whole.then(|| Self { name, nth, signal, passed: AtomicU64::new(0) })
        }

        /// Counts a passing and returns true if it is the one at which the point acts.
        fn hit(&self, name: &str) -> bool {
            // Other points are not counted. Several threads may pass at once: exactly one of them is the nth.
            self.name == name && self.passed.fetch_add(1, Ordering::SeqCst) + 1 == self.nth
        }
    }

    /// Returns the armed point, if there is one. The environment is read once.
    fn point() -> Option<&'static ArmedFailpoint> {
        static POINT: OnceLock<Option<ArmedFailpoint>> = OnceLock::new();
        POINT
            .get_or_init(|| {
                // A mistake does not end the process: the fault test fails by itself, because nothing
                // happens.
                let text = std::env::var("SLUICE_FAILPOINT").ok()?;
                let point = ArmedFailpoint::parse(&text);
                if point.is_none() {
                    tracing::error!(text, "SLUICE_FAILPOINT is ignored: expected <point>:<nth>[:kill|stop]");
                }
                point
            })
            .as_ref()
    }

    /// Passes a point. The process ends or stops here if the point is armed.
    pub fn pass(name: &str) {
        let Some(point) = point().filter(|point| point.hit(name)) else { return };
        tracing::warn!(point = point.name, signal = point.signal, "failpoint");

        // To send a signal needs `unsafe` or another crate. The command `kill` can do it.
        let sent = Command::new("kill").args(["-s", point.signal, &std::process::id().to_string()]).status();
        if let Err(error) = sent {
            tracing::error!(%error, "failpoint: the command `kill` cannot be run");
        }

        // The signal may arrive a moment later. The thread must not go past the point in that time.
        if point.signal == "KILL" {
            loop {
                std::thread::park();
            }
        }
    }

    /// Returns true if the rule is switched off.
    pub fn sabotaged(rule: &str) -> bool {
        static RULE: OnceLock<Option<String>> = OnceLock::new();
        RULE.get_or_init(|| std::env::var("SLUICE_SABOTAGE").ok()).as_deref() == Some(rule)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_point_acts_once_at_its_nth_passing() {
            let point = ArmedFailpoint::parse("after-write:2:stop").unwrap();
            assert_eq!(point.signal, "STOP");
            let hits =
                ["after-write", "before-write", "after-write", "after-write"].map(|name| point.hit(name));
            assert_eq!(hits, [false, false, true, false]);
        }

        #[test]
        fn what_is_no_point_is_refused() {
            for text in ["", "x", "x:0", "x:one", "x:1:hang", "x:1:kill:y", ":1"] {
                assert!(ArmedFailpoint::parse(text).is_none(), "{text}");
            }
            assert_eq!(ArmedFailpoint::parse("x:1").unwrap().signal, "KILL");
        }
    }
}
