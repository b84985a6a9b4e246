//! The claims this process holds, and the heartbeat that keeps them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sluice_lease::{Claim, Claims};
use sluice_runtime::status::Status;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// Claims by id, each with its fence and a token that is cancelled when it turns out to be someone else's.
#[derive(Default)]
pub(crate) struct Held {
    claims: Mutex<HashMap<String, (i64, CancellationToken)>>,
    /// Did the last heartbeat fail? Then nothing more is claimed.
    failing: AtomicBool,
}

impl Held {
    /// From now on the claim is kept alive. An older claim of the same id, whose lease passed under our own hands, is
    /// lost by that.
    pub(crate) fn insert(&self, claim: &Claim) {
        let older = self.lock().insert(claim.id.clone(), (claim.fence, CancellationToken::new()));
        if let Some((_, older)) = older {
            older.cancel();
        }
    }

    /// The token of a claim that is still ours.
    pub(crate) fn token(&self, claim: &Claim) -> Option<CancellationToken> {
        let held = self.lock();
        let (fence, token) = held.get(&claim.id)?;
        (*fence == claim.fence && !token.is_cancelled()).then(|| token.clone())
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

    fn lost(&self, lost: &[(String, i64)]) {
        let held = self.lock();
        for (id, fence) in lost {
            // Ended meanwhile, or claimed anew: not this claim any more.
            if let Some((now, token)) = held.get(id)
                && now == fence
            {
                tracing::warn!(fence, "a claim was taken over by another process; letting it go");
                token.cancel();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (i64, CancellationToken)>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Prolongs every held claim each third of a lease, until `stop`.
pub(crate) async fn heartbeats(
    claims: Claims,
    held: Arc<Held>,
    lease: Duration,
    status: Status,
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
        let why = match tokio::time::timeout(lease / 3, claims.heartbeat(&list, lease)).await {
            Ok(Ok(lost)) => {
                held.failing.store(false, Ordering::Relaxed);
                status.neighbour("database", Ok(()));
                held.lost(&lost);
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

    fn claim(id: &str, fence: i64) -> Claim {
        let (id, tally) = (id.to_owned(), sluice_lease::Tally::default());
        Claim { id, fence, attempt: 1, run: 1, next_page: None, tally, taken_from: Vec::new() }
    }

    #[test]
    fn only_the_claim_that_was_lost_is_let_go() {
        let held = Held::default();
        held.insert(&claim("a", 1));
        held.insert(&claim("b", 5));
        let token = held.token(&claim("b", 5)).unwrap();
        // "a" was claimed anew by this very process while the heartbeat ran.
        held.insert(&claim("a", 2));
        held.lost(&[("a".into(), 1), ("b".into(), 5), ("c".into(), 9)]);
        assert!(token.is_cancelled());
        assert!(held.token(&claim("b", 5)).is_none());
        assert!(held.token(&claim("a", 2)).is_some());
        assert!(held.token(&claim("a", 1)).is_none());
        assert_eq!(held.list(), [("a".to_owned(), 2), ("b".to_owned(), 5)]);
        held.remove("a", 1);
        assert!(held.token(&claim("a", 2)).is_some(), "the end of an older claim does not end a newer one");
    }
}
