//! Points at which a fault test ends or stops this very process, and rules it may switch off. Debug builds only: in a
//! release build both functions are empty and the environment is not read.
//!
//! * `SLUICE_FAILPOINT=<point>:<nth>[:kill|stop]`: at the nth passing of the point the process sends itself SIGKILL
//!   (the default) or SIGSTOP.
//! * `SLUICE_SABOTAGE=<rule>`: switches one rule off, for the negative controls: a test that cannot tell a worker
//!   without the rule from one with it proves nothing.
//!
//! | point | where |
//! |---|---|
//! | `after-produce` | transform lane: the batch's records are handed over, its offsets are not |
//! | `after-send-offsets` | offsets are in the transaction, which is open |
//! | `before-commit` | everything is acknowledged; the commit is the next request |
//! | `after-commit` | the commit is answered, the lane does not know it yet |
//! | `before-write` | store lane: a batch is due, nothing of it is written |
//! | `after-write` | the store says it is durable, the group's offset is not committed |
//! | `pages-checked` | collector: the leases of a group of pages were looked at, nothing is sent |
//! | `pages-durable` | collector: a group of pages is acknowledged, no row knows of it |
//!
//! | rule | without it |
//! |---|---|
//! | `commit-before-write` | the group's offsets are committed before the store has the records |
//! | `keep-on-revoke` | a batch stays open over a revocation of its partitions |
//! | `ignore-412` | an archive object that exists is taken for one's own |
//! | `reuse-producer` | a producer whose commit may have been sent twice begins the next transaction |
//! | `no-recall` | collector, idempotent: an id is taken over without a look at what its topic has of it |
//! | `no-lease-end` | collector: pages are sent whatever became of the lease |
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

/// Passes a point; the process may end here.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn pass(_point: &str) {}

/// Is this rule switched off?
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

    /// The point that is armed, and how often it was passed.
    #[derive(Debug)]
    struct ArmedFailpoint {
        name: String,
        nth: u64,
        signal: &'static str,
        passed: AtomicU64,
    }

    impl ArmedFailpoint {
        fn parse(text: &str) -> Option<Self> {
            let mut parts = text.split(':');
            let (name, nth) = (parts.next()?.to_owned(), parts.next()?.parse().ok()?);
            let signal = match parts.next() {
                None | Some("kill") => "KILL",
                Some("stop") => "STOP",
                Some(_) => return None,
            };
            let whole = parts.next().is_none() && !name.is_empty() && nth > 0;
            whole.then(|| Self { name, nth, signal, passed: AtomicU64::new(0) })
        }

        /// Is this the passing at which it acts?
        fn hit(&self, name: &str) -> bool {
            self.name == name && self.passed.fetch_add(1, Ordering::SeqCst) + 1 == self.nth
        }
    }

    fn point() -> Option<&'static ArmedFailpoint> {
        static POINT: OnceLock<Option<ArmedFailpoint>> = OnceLock::new();
        POINT
            .get_or_init(|| {
                let text = std::env::var("SLUICE_FAILPOINT").ok()?;
                let point = ArmedFailpoint::parse(&text);
                if point.is_none() {
                    tracing::error!(text, "SLUICE_FAILPOINT is not <point>:<nth>[:kill|stop]: ignored");
                }
                point
            })
            .as_ref()
    }

    /// Passes a point; the process may end here.
    pub fn pass(name: &str) {
        let Some(point) = point().filter(|point| point.hit(name)) else { return };
        tracing::warn!(point = point.name, signal = point.signal, "failpoint");
        // No signal can be sent without `unsafe` or another crate; a shell can.
        let told = Command::new("kill").args(["-s", point.signal, &std::process::id().to_string()]).status();
        if let Err(error) = told {
            tracing::error!(%error, "failpoint: no `kill` here");
        }
        if point.signal == "KILL" {
            loop {
                std::thread::park(); // not one step further
            }
        }
    }

    /// Is this rule switched off?
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
