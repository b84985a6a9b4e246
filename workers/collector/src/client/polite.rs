//! The rules of the process for requests: how often, how soon, and whether at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sluice_core::Backoff;
use tokio::time::Instant;

use super::clearance::{RequestClearance, STALE};
use super::gate::{RateGate, RatePermit};
use crate::config::{BudgetConfig, RawHoldScope, RawRateHeader, RetryConfig};

/// The number of page requests in a row that found no API, from which on it is away for everyone.
const AWAY: u32 = 20;
/// The number of ids in a row that are refused with 403, from which on it is the credentials' fault.
const MOST_FORBIDDEN: u32 = 5;
/// The retry budget: retries that are free before any request has earned one, and the most that can be saved
/// up.
const BUDGET: (f64, f64) = (20.0, 200.0);

/// The budgets, holds and retries of the process. All tasks share it.
pub(crate) struct ApiPoliteness {
    /// A request takes a token from each.
    gates: Vec<Arc<RateGate>>,
    clearance: RequestClearance,
    /// No request of this process is sent before this instant.
    not_before: Mutex<Option<Instant>>,
    /// A hold that the other replicas have not received yet.
    untold: Mutex<Option<Instant>>,
    /// Retries that may still be taken.
    budget: Mutex<f64>,
    /// The part of a retry that each request earns.
    earned: f64,
    /// Page requests in a row that found no API.
    failures: AtomicU32,
    /// Pages that came.
    successes: AtomicU64,
    /// The instant at which the last page came; at first, the beginning.
    last_success: Mutex<Instant>,
    /// Requests in a row that were refused with 403, while no page had ever come.
    forbidden: AtomicU32,
    /// The number of these at which the credentials are wrong.
    most_forbidden: AtomicU32,
    /// The last trouble that was none of a single page.
    trouble: Mutex<String>,
    headers: Vec<RawRateHeader>,
    attempts: u32,
    backoff: Backoff,
    longest_wait: Duration,
    scope: RawHoldScope,
}

/// The permission to send one request now. Its tokens come back after it is dropped.
pub(crate) struct RequestPermission<'p> {
    _permits: Vec<RatePermit<'p>>,
    /// The instant at which the permission was given.
    pub(crate) at: Instant,
}

impl ApiPoliteness {
    /// Makes the rules of one process. Its gates give no token before they are leased or
    /// [`ApiPoliteness::alone`].
    pub(crate) fn new(budgets: &[BudgetConfig], retry: &RetryConfig) -> Self {
        Self {
            gates: budgets.iter().map(|budget| Arc::new(RateGate::new(budget))).collect(),
            clearance: RequestClearance::default(),
            not_before: Mutex::new(None),
            untold: Mutex::new(None),
            budget: Mutex::new(BUDGET.0),
            earned: retry.budget,
            failures: AtomicU32::new(0),
            successes: AtomicU64::new(0),
            last_success: Mutex::new(Instant::now()),
            forbidden: AtomicU32::new(0),
            most_forbidden: AtomicU32::new(MOST_FORBIDDEN),
            trouble: Mutex::default(),
            headers: retry.headers.clone(),
            attempts: retry.attempts,
            backoff: retry.backoff,
            longest_wait: retry.longest_wait,
            scope: retry.scope,
        }
    }

    /// Waits until a request may be sent. The request must then be sent at once, and the permission is held
    /// until its answer begins.
    ///
    /// # Errors
    /// The wait that the API asked everyone for, if it is longer than the job holds ids for a wait.
    pub(crate) async fn permit(&self) -> Result<RequestPermission<'_>, Duration> {
        loop {
            // A hold comes first: nothing is gained by holding tokens through it.
            if let Some(until) = self.held_until() {
                let wait = until.saturating_duration_since(Instant::now());
                if wait > self.longest_wait {
                    return Err(wait);
                }
                tokio::time::sleep_until(until).await;
            }
            // Every task takes the gates in the same order, so two tasks cannot wait for each other.
            let mut permits = Vec::with_capacity(self.gates.len());
            for gate in &self.gates {
                permits.push(gate.take().await);
            }
            if let Some(permission) = self.clear(permits).await {
                return Ok(permission);
            }
        }
    }

    /// Takes the last look before a request. `None`: the API has asked everyone to wait meanwhile, or the
    /// tokens are no longer ours because the look took too long.
    async fn clear<'p>(&self, mut permits: Vec<RatePermit<'p>>) -> Option<RequestPermission<'p>> {
        loop {
            // A process without budgets shares nothing with others.
            let looked = match permits.is_empty() {
                true => Some(Instant::now()),
                false => self.clearance.look().await,
            };
            let now = Instant::now();
            if self.held_until().is_some_and(|until| until > now) {
                return None;
            }
            // A look that is too old is repeated with the same tokens.
            if looked.is_some_and(|looked| now.saturating_duration_since(looked) < STALE) {
                let ours = permits.iter_mut().all(|permit| permit.send(now));
                return ours.then_some(RequestPermission { _permits: permits, at: now });
            }
        }
    }

    /// Returns the queue in which requests wait for a look at the database.
    pub(crate) const fn clearance(&self) -> &RequestClearance {
        &self.clearance
    }

    /// Returns the gates, for the task that leases their tokens.
    pub(crate) fn gates(&self) -> &[Arc<RateGate>] {
        &self.gates
    }

    /// Gives this process the whole budgets, because no other process shares them.
    pub(crate) fn alone(&self) {
        self.clearance.alone();
        // With a single id there is no other one to compare it with.
        self.most_forbidden.store(1, Ordering::Relaxed);
        self.gates.iter().for_each(|gate| gate.lease(gate.total(), None));
    }

    /// Notes that the API refused a request with 429: every budget is too high for it.
    pub(crate) fn refused(&self) {
        // The status does not name the limit that was exceeded.
        self.gates.iter().for_each(|gate| gate.refused());
    }

    /// Holds back the requests of every process that shares a budget until `until`.
    pub(crate) fn hold_everyone_back(&self, until: Instant) {
        // This process stops first; the others follow through the database.
        self.hold_back(until);
        let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
        *untold = Some(untold.map_or(until, |untold| untold.max(until)));
        drop(untold);
        self.clearance.notify();
    }

    /// Takes the hold that the other replicas have not received yet.
    pub(crate) fn untold(&self) -> Option<Instant> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Holds back the requests of this process until `until`.
    pub(crate) fn hold_back(&self, until: Instant) {
        // A shorter hold never undercuts a longer one.
        let mut held = self.not_before.lock().unwrap_or_else(PoisonError::into_inner);
        *held = Some(held.map_or(until, |held| held.max(until)));
    }

    /// Notes that a request is sent: it earns a part of a retry.
    pub(crate) fn request(&self) {
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        *budget = (*budget + self.earned).min(BUDGET.1);
    }

    /// Takes a retry from the retry budget, if one is left. If everything fails, retries must not double the
    /// load.
    pub(crate) fn may_retry(&self) -> bool {
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        let enough = *budget >= 1.0;
        if enough {
            *budget -= 1.0;
        }
        enough
    }

    /// Notes that a page came: the API is there.
    pub(crate) fn success(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.forbidden.store(0, Ordering::Relaxed);
        self.successes.fetch_add(1, Ordering::Relaxed);
        *self.last_success.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Notes that a page request found no API, for this reason.
    pub(crate) fn failure(&self, why: &str) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        why.clone_into(&mut self.trouble.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Notes that an id was refused with 403. Returns whether the credentials must be wrong, because no id was ever
    /// answered.
    pub(crate) fn forbidden(&self) -> bool {
        self.successes() == 0
            && self.forbidden.fetch_add(1, Ordering::Relaxed) + 1
                >= self.most_forbidden.load(Ordering::Relaxed)
    }

    /// Returns the number of pages that came.
    pub(crate) fn successes(&self) -> u64 {
        self.successes.load(Ordering::Relaxed)
    }

    /// Returns the time since the last page came.
    pub(crate) fn since_success(&self) -> Duration {
        self.last_success.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Returns the reason why the API is away, and whether there was one since the last page.
    pub(crate) fn trouble(&self) -> Option<String> {
        let failing = self.failures.load(Ordering::Relaxed) > 0;
        failing.then(|| self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Returns the headers in which the API tells how long to wait, beside the usual ones.
    pub(crate) fn headers(&self) -> &[RawRateHeader] {
        &self.headers
    }

    /// Tells whether the API is away for everyone: 20 page requests in a row have found none.
    pub(crate) fn is_away(&self) -> bool {
        self.failures.load(Ordering::Relaxed) >= AWAY
    }

    /// Returns the wait after this many failed attempts, with full jitter.
    pub(crate) fn backoff(&self, attempt: u32) -> Duration {
        self.backoff.wait(attempt, rand::random())
    }

    /// Returns the requests per page at most.
    pub(crate) const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Returns the longest wait for which a task keeps its id.
    pub(crate) const fn longest_wait(&self) -> Duration {
        self.longest_wait
    }

    /// Returns the requests that a `Retry-After` holds back.
    pub(crate) const fn scope(&self) -> RawHoldScope {
        self.scope
    }

    /// Returns the instant before which no request is sent.
    pub(crate) fn held_until(&self) -> Option<Instant> {
        *self.not_before.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn politeness(budget: f64) -> ApiPoliteness {
        let retry = RetryConfig {
            attempts: 3,
            backoff: Backoff::default(),
            longest_wait: Duration::from_secs(60),
            scope: RawHoldScope::Host,
            budget,
            max_pages: 10,
            headers: Vec::new(),
        };
        let budgets = [BudgetConfig { name: "host h".into(), per_second: 50.0 }];
        let polite = ApiPoliteness::new(&budgets, &retry);
        polite.alone();
        polite
    }

    #[tokio::test]
    async fn nobody_goes_before_the_time_that_was_asked_for() {
        let polite = politeness(0.5);
        let start = Instant::now();
        polite.hold_back(start + Duration::from_millis(120));
        polite.hold_back(start + Duration::from_millis(30));
        polite.permit().await.unwrap();
        assert!(
            start.elapsed() >= Duration::from_millis(120),
            "a shorter wish must not undercut a longer one"
        );
        polite.hold_back(start + Duration::from_secs(600));
        assert!(polite.permit().await.is_err(), "nobody holds ids for ten minutes");
    }

    #[tokio::test]
    async fn the_rate_is_kept() {
        let polite = politeness(0.5);
        let start = std::time::Instant::now();
        for _ in 0..11 {
            polite.permit().await.unwrap();
        }
        assert!(start.elapsed() >= Duration::from_millis(190), "{:?}", start.elapsed());
    }

    #[test]
    fn retries_are_earned() {
        let polite = politeness(0.1);
        let free = (0..1_000).take_while(|_| polite.may_retry()).count();
        assert_eq!(free, 20);
        for _ in 0..25 {
            polite.request();
        }
        assert!(polite.may_retry() && polite.may_retry() && !polite.may_retry());
    }

    #[test]
    fn away_means_many_failures_in_a_row() {
        let polite = politeness(0.1);
        (0..19).for_each(|_| polite.failure("x"));
        assert!(!polite.is_away());
        polite.success();
        (0..20).for_each(|_| polite.failure("x"));
        assert!(polite.is_away());
    }

    #[test]
    fn credentials_are_wrong_if_nobody_was_ever_answered() {
        let polite = ApiPoliteness { most_forbidden: AtomicU32::new(3), ..politeness(0.1) };
        assert!(!polite.forbidden() && !polite.forbidden() && polite.forbidden());
        polite.success();
        assert!((0..10).all(|_| !polite.forbidden()), "one id is private, the others are answered");
    }
}
