//! The claims this process holds, and the heartbeat that keeps them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sluice_lease::{IdClaim, JobClaims};
use sluice_runtime::status::WorkerStatus;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// Of a lease, the last part in which nothing is sent any more: what is sent must be there before somebody else looks.
const LAST: u32 = 6;

/// Claims by id.
#[derive(Default)]
pub(crate) struct HeldClaims {
    claims: Mutex<HashMap<String, (i64, ClaimHold)>>,
    /// Did the last heartbeat fail? Then nothing more is claimed.
    failing: AtomicBool,
}

/// What is known of one claim that we hold.
#[derive(Debug, Clone)]
pub(crate) struct ClaimHold {
    /// It turned out to be someone else's.
    pub(crate) lost: CancellationToken,
    /// The end of its lease, on this process's clock, which runs on while the process is stopped.
    until: Arc<Mutex<Instant>>,
}

impl ClaimHold {
    pub(crate) fn new(until: Instant) -> Self {
        Self { lost: CancellationToken::new(), until: Arc::new(Mutex::new(until)) }
    }

    /// Someone else may hold it by now, or soon: whatever is not sent yet must not be.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over_at(Instant::now())
    }

    fn is_over_at(&self, now: Instant) -> bool {
        self.lost.is_cancelled() || now >= *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn prolong(&self, until: Instant) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }
}

/// Until when something may be sent under a lease that was asked for at `asked`; the database's began later.
pub(crate) fn sendable_until(asked: Instant, lease: Duration) -> Instant {
    asked + lease - lease / LAST
}

impl HeldClaims {
    /// From now on the claim is kept alive. An older claim of the same id, whose lease passed under our own hands, is
    /// lost by that.
    pub(crate) fn insert(&self, claim: &IdClaim, until: Instant) {
        let mut held = self.lock();
        match held.get(&claim.id) {
            Some((fence, _)) if *fence == claim.fence => {}
            older => {
                if let Some((_, older)) = older {
                    older.lost.cancel();
                }
                held.insert(claim.id.clone(), (claim.fence, ClaimHold::new(until)));
            }
        }
    }

    /// A claim that is still ours.
    pub(crate) fn hold(&self, claim: &IdClaim) -> Option<ClaimHold> {
        let held = self.lock();
        let (fence, hold) = held.get(&claim.id)?;
        (*fence == claim.fence && !hold.lost.is_cancelled()).then(|| hold.clone())
    }

    /// The claim has ended, one way or another.
    pub(crate) fn remove(&self, id: &str, fence: i64) {
        let mut held = self.lock();
        if held.get(id).is_some_and(|(now, _)| *now == fence) {
            held.remove(id);
        }
    }

    pub(crate) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    fn list(&self) -> Vec<(String, i64)> {
        let mut list: Vec<_> = self.lock().iter().map(|(id, (fence, _))| (id.clone(), *fence)).collect();
        // Rows are always written in the order of their ids, so that two processes never wait for each other.
        list.sort_unstable();
        list
    }

    /// The answer to a heartbeat: these were asked for, and of them those are lost.
    fn prolonged(&self, asked: &[(String, i64)], lost: &[(String, i64)], until: Instant) {
        let held = self.lock();
        // Ended meanwhile, or claimed anew: not this claim any more.
        let same = |(id, fence): &(String, i64)| held.get(id).filter(|(now, _)| now == fence);
        for (fence, hold) in lost.iter().filter_map(same) {
            tracing::warn!(fence, "a claim was taken over by another process; letting it go");
            hold.lost.cancel();
        }
        for (_, hold) in asked.iter().filter_map(same) {
            hold.prolong(until);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (i64, ClaimHold)>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Prolongs every held claim each third of a lease, until `stop`.
pub(crate) async fn heartbeats(
    claims: JobClaims,
    held: Arc<HeldClaims>,
    lease: Duration,
    status: WorkerStatus,
    stop: CancellationToken,
) {
    let mut every = tokio::time::interval(lease / 3);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = every.tick() => {}
            () = stop.cancelled() => return,
        }
        let list = held.list();
        if list.is_empty() && !held.is_failing() {
            continue;
        }
        let until = sendable_until(Instant::now(), lease);
        let why = match tokio::time::timeout(lease / 3, claims.heartbeat(&list, lease)).await {
            Ok(Ok(lost)) => {
                held.failing.store(false, Ordering::Relaxed);
                status.neighbour("database", Ok(()));
                held.prolonged(&list, &lost, until);
                continue;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer to a heartbeat in time".to_owned(),
        };
        held.failing.store(true, Ordering::Relaxed);
        status.neighbour("database", Err(why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(id: &str, fence: i64) -> IdClaim {
        let (id, tally) = (id.to_owned(), sluice_lease::ClaimTally::default());
        let (taken_from, unwritten) = (Vec::new(), Duration::ZERO);
        IdClaim { id, fence, attempt: 1, run: 1, next_page: None, tally, taken_from, unwritten }
    }

    #[test]
    fn only_the_claim_that_was_lost_is_let_go() {
        let held = HeldClaims::default();
        let until = Instant::now() + Duration::from_secs(5);
        held.insert(&claim("a", 1), until);
        held.insert(&claim("b", 5), until);
        let (older, lost) = (held.hold(&claim("a", 1)).unwrap(), held.hold(&claim("b", 5)).unwrap());
        // "a" was claimed anew by this very process while the heartbeat ran.
        held.insert(&claim("a", 2), until);
        let asked = [("a".into(), 1), ("b".into(), 5), ("c".into(), 9)];
        held.prolonged(&asked, &asked, until);
        assert!(older.is_over() && lost.is_over());
        assert!(held.hold(&claim("b", 5)).is_none());
        assert!(held.hold(&claim("a", 2)).is_some());
        assert!(held.hold(&claim("a", 1)).is_none());
        assert_eq!(held.list(), [("a".to_owned(), 2), ("b".to_owned(), 5)]);
        held.remove("a", 1);
        assert!(held.hold(&claim("a", 2)).is_some(), "the end of an older claim does not end a newer one");
    }

    #[test]
    fn nothing_is_sent_on_a_lease_that_ends() {
        let (held, lease, now) = (HeldClaims::default(), Duration::from_secs(6), Instant::now());
        let at = |millis| now + Duration::from_millis(millis);
        held.insert(&claim("a", 1), sendable_until(now, lease));
        let hold = held.hold(&claim("a", 1)).unwrap();
        assert!(!hold.is_over_at(at(4_999)) && hold.is_over_at(at(5_000)), "a sixth of the lease is left");
        held.prolonged(&[("a".into(), 1)], &[], sendable_until(at(4_000), lease));
        assert!(!hold.is_over_at(at(8_999)) && hold.is_over_at(at(9_000)));
        // Admitted again by the same claim: what is known of it stays.
        held.insert(&claim("a", 1), at(60_000));
        assert!(held.hold(&claim("a", 1)).unwrap().is_over_at(at(9_000)));
    }
}
