//! The claims that this process holds, and the heartbeat that prolongs their leases.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sluice_lease::{IdClaim, JobClaims};
use sluice_runtime::status::WorkerStatus;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// The last part of a lease (a sixth) in which nothing more is sent. Everything that was sent must have
/// arrived before another process reads the topics.
const LAST: u32 = 6;

/// The held claims by id.
#[derive(Default)]
pub(crate) struct HeldClaims {
    /// Fence and hold of each claim.
    claims: Mutex<HashMap<String, (i64, ClaimHold)>>,
    /// Whether the last heartbeat failed. Nothing more is claimed then.
    failing: AtomicBool,
}

/// The state of one held claim, shared with the task that works on it.
#[derive(Debug, Clone)]
pub(crate) struct ClaimHold {
    /// Cancelled when another process turns out to hold the claim.
    pub(crate) lost: CancellationToken,
    /// The time until which something may be sent, on this process's clock, which goes on while the process
    /// is stopped.
    until: Arc<Mutex<Instant>>,
}

impl ClaimHold {
    /// Returns a hold under which something may be sent until `until`.
    pub(crate) fn new(until: Instant) -> Self {
        Self { lost: CancellationToken::new(), until: Arc::new(Mutex::new(until)) }
    }

    /// Returns whether another process may hold the claim now or soon. Then nothing more may be sent.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over_at(Instant::now())
    }

    fn is_over_at(&self, now: Instant) -> bool {
        self.lost.is_cancelled() || now >= *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the end of the hold.
    fn prolong(&self, until: Instant) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }
}

/// Returns until when something may be sent under a lease that was requested at `asked`. The database's lease
/// began later and therefore ends later.
pub(crate) fn sendable_until(asked: Instant, lease: Duration) -> Instant {
    asked + lease - lease / LAST
}

impl HeldClaims {
    /// Adds a claim, which is kept alive from now on. An older claim of the same id, whose lease passed in
    /// this process, is lost by that.
    pub(crate) fn insert(&self, claim: &IdClaim, until: Instant) {
        let mut held = self.lock();
        match held.get(&claim.id) {
            // The same claim again: its hold stays, and with it everything the heartbeat knows.
            Some((fence, _)) if *fence == claim.fence => {}
            older => {
                if let Some((_, older)) = older {
                    older.lost.cancel();
                }
                held.insert(claim.id.clone(), (claim.fence, ClaimHold::new(until)));
            }
        }
    }

    /// Returns the hold of a claim if it is still held.
    pub(crate) fn hold(&self, claim: &IdClaim) -> Option<ClaimHold> {
        let held = self.lock();
        let (fence, hold) = held.get(&claim.id)?;
        (*fence == claim.fence && !hold.lost.is_cancelled()).then(|| hold.clone())
    }

    /// Removes a claim that has ended. A newer claim of the same id stays.
    pub(crate) fn remove(&self, id: &str, fence: i64) {
        let mut held = self.lock();
        if held.get(id).is_some_and(|(now, _)| *now == fence) {
            held.remove(id);
        }
    }

    /// Returns whether the last heartbeat failed.
    pub(crate) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// Returns all claims as `(id, fence)`.
    fn list(&self) -> Vec<(String, i64)> {
        let mut list: Vec<_> = self.lock().iter().map(|(id, (fence, _))| (id.clone(), *fence)).collect();
        // Rows are always written in the order of their ids, so that two processes never wait for each other.
        list.sort_unstable();
        list
    }

    /// Applies the answer to a heartbeat for the claims `asked`, of which `lost` are lost.
    fn prolonged(&self, asked: &[(String, i64)], lost: &[(String, i64)], until: Instant) {
        let held = self.lock();
        // A claim that ended in the meantime, or that was followed by a newer claim of the same id, is not
        // touched.
        let same = |(id, fence): &(String, i64)| held.get(id).filter(|(now, _)| now == fence);
        for (fence, hold) in lost.iter().filter_map(same) {
            tracing::warn!(fence, "a claim was taken over by another process; letting it go");
            hold.lost.cancel();
        }

        // Prolonging a lost claim is harmless: its token is cancelled.
        for (_, hold) in asked.iter().filter_map(same) {
            hold.prolong(until);
        }
    }

    /// Locks the table. A panic of another task leaves it usable.
    fn lock(&self) -> MutexGuard<'_, HashMap<String, (i64, ClaimHold)>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Prolongs every held claim three times per lease, until `stop`.
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

        // Without claims a heartbeat is sent only to learn whether the database answers again.
        let list = held.list();
        if list.is_empty() && !held.is_failing() {
            continue;
        }

        // The new end is counted from before the request, because the answer may come late.
        let until = sendable_until(Instant::now(), lease);
        let why = match tokio::time::timeout(lease / 3, claims.heartbeat(&list, lease)).await {
            Ok(Ok(lost)) => {
                held.failing.store(false, Ordering::Relaxed);
                status.neighbour("database", Ok(()));
                held.prolonged(&list, &lost, until);
                continue;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "heartbeat: expected an answer within a third of a lease".to_owned(),
        };

        // The claims stay until their holds are over; the next heartbeat may still save them.
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
