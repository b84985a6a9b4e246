//! How often, how soon, and whether at all: one for the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sluice_core::Backoff;
use tokio::time::Instant;

use super::clearance::{RequestClearance, STALE};
use super::gate::{RateGate, RatePermit};
use crate::config::{BudgetConfig, RawHoldScope, RetryConfig};

/// Page requests in a row that found no API; then it is away for everyone.
const AWAY: u32 = 20;
/// Retries that may be taken before any request has earned one, and that can be saved up at most.
const BUDGET: (f64, f64) = (20.0, 200.0);

/// The process's manners.
pub(crate) struct ApiPoliteness {
    gates: Vec<Arc<RateGate>>,
    clearance: RequestClearance,
    not_before: Mutex<Option<Instant>>,
    /// How far in time others have not been told to hold back.
    untold: Mutex<Option<Instant>>,
    budget: Mutex<f64>,
    earned: f64,
    failures: AtomicU32,
    attempts: u32,
    backoff: Backoff,
    longest_wait: Duration,
    scope: RawHoldScope,
}

/// Leave to send one request now.
pub(crate) struct RequestPermission<'p> {
    _permits: Vec<RatePermit<'p>>,
    /// When it was given.
    pub(crate) at: Instant,
}

impl ApiPoliteness {
    pub(crate) fn new(budgets: &[BudgetConfig], retry: &RetryConfig) -> Self {
        Self {
            gates: budgets.iter().map(|budget| Arc::new(RateGate::new(budget))).collect(),
            clearance: RequestClearance::default(),
            not_before: Mutex::new(None),
            untold: Mutex::new(None),
            budget: Mutex::new(BUDGET.0),
            earned: retry.budget,
            failures: AtomicU32::new(0),
            attempts: retry.attempts,
            backoff: retry.backoff,
            longest_wait: retry.longest_wait,
            scope: retry.scope,
        }
    }

    /// Waits until a request may be sent, which must then be at once. What comes back is held until its answer begins. An
    /// error says how long everybody has been asked to wait, if that is longer than ids are held for.
    pub(crate) async fn permit(&self) -> Result<RequestPermission<'_>, Duration> {
        loop {
            if let Some(until) = self.held_until() {
                let wait = until.saturating_duration_since(Instant::now());
                if wait > self.longest_wait {
                    return Err(wait);
                }
                tokio::time::sleep_until(until).await;
            }
            let mut permits = Vec::with_capacity(self.gates.len());
            for gate in &self.gates {
                permits.push(gate.take().await);
            }
            if let Some(leave) = self.cleared(permits).await {
                return Ok(leave);
            }
        }
    }

    /// The last look before a request; `None`: everybody has been asked to wait meanwhile, or it took too long.
    async fn cleared<'p>(&self, mut permits: Vec<RatePermit<'p>>) -> Option<RequestPermission<'p>> {
        loop {
            // A process without limits shares nothing with others.
            let looked = match permits.is_empty() {
                true => Some(Instant::now()),
                false => self.clearance.look().await,
            };
            let now = Instant::now();
            if self.held_until().is_some_and(|until| until > now) {
                return None;
            }
            if looked.is_some_and(|looked| now.saturating_duration_since(looked) < STALE) {
                let ours = permits.iter_mut().all(|permit| permit.send(now));
                return ours.then_some(RequestPermission { _permits: permits, at: now });
            }
        }
    }

    /// Who looks at the database for requests.
    pub(crate) const fn clearance(&self) -> &RequestClearance {
        &self.clearance
    }

    /// The limits, for whoever shares them out.
    pub(crate) fn gates(&self) -> &[Arc<RateGate>] {
        &self.gates
    }

    /// The limits are this process's own: nobody shares them.
    pub(crate) fn alone(&self) {
        self.clearance.alone();
        self.gates.iter().for_each(|gate| gate.lease(gate.total(), None));
    }

    /// The API refused a request with 429: every limit is too high for it.
    pub(crate) fn refused(&self) {
        self.gates.iter().for_each(|gate| gate.refused());
    }

    /// No request before `until`, from nobody who shares a limit.
    pub(crate) fn hold_everyone_back(&self, until: Instant) {
        self.hold_back(until);
        let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
        *untold = Some(untold.map_or(until, |untold| untold.max(until)));
        drop(untold);
        self.clearance.notify();
    }

    /// What others are to be told, once.
    pub(crate) fn untold(&self) -> Option<Instant> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// No request of this process before `until`.
    pub(crate) fn hold_back(&self, until: Instant) {
        let mut held = self.not_before.lock().unwrap_or_else(PoisonError::into_inner);
        *held = Some(held.map_or(until, |held| held.max(until)));
    }

    /// A request is sent: it earns a part of a retry.
    pub(crate) fn request(&self) {
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        *budget = (*budget + self.earned).min(BUDGET.1);
    }

    /// Takes a retry from the budget, if there is one: when everything fails, retries must not double the load.
    pub(crate) fn may_retry(&self) -> bool {
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        let enough = *budget >= 1.0;
        if enough {
            *budget -= 1.0;
        }
        enough
    }

    pub(crate) fn success(&self) {
        self.failures.store(0, Ordering::Relaxed);
    }

    pub(crate) fn failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn is_away(&self) -> bool {
        self.failures.load(Ordering::Relaxed) >= AWAY
    }

    pub(crate) fn backoff(&self, attempt: u32) -> Duration {
        self.backoff.wait(attempt, rand::random())
    }

    pub(crate) const fn attempts(&self) -> u32 {
        self.attempts
    }

    pub(crate) const fn longest_wait(&self) -> Duration {
        self.longest_wait
    }

    pub(crate) const fn scope(&self) -> RawHoldScope {
        self.scope
    }

    fn held_until(&self) -> Option<Instant> {
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
        (0..19).for_each(|_| polite.failure());
        assert!(!polite.is_away());
        polite.success();
        (0..20).for_each(|_| polite.failure());
        assert!(polite.is_away());
    }
}
