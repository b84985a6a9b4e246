//! How often, how soon, and whether at all: one for the process.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use sluice_core::Backoff;
use tokio::time::Instant;

use crate::config::{RawScope, RetryConfig};

/// Page requests in a row that found no API; then it is away for everyone.
const AWAY: u32 = 20;
/// Retries that may be taken before any request has earned one, and that can be saved up at most.
const BUDGET: (f64, f64) = (20.0, 200.0);

/// The process's manners.
pub(crate) struct Politeness {
    rate: Option<DefaultDirectRateLimiter>,
    not_before: Mutex<Option<Instant>>,
    budget: Mutex<f64>,
    earned: f64,
    failures: AtomicU32,
    attempts: u32,
    backoff: Backoff,
    longest_wait: Duration,
    scope: RawScope,
}

impl Politeness {
    pub(crate) fn new(requests_per_second: Option<f64>, retry: &RetryConfig) -> Self {
        Self {
            rate: requests_per_second.and_then(quota).map(RateLimiter::direct),
            not_before: Mutex::new(None),
            budget: Mutex::new(BUDGET.0),
            earned: retry.budget,
            failures: AtomicU32::new(0),
            attempts: retry.attempts,
            backoff: retry.backoff,
            longest_wait: retry.longest_wait,
            scope: retry.scope,
        }
    }

    /// Waits until a request may be sent.
    pub(crate) async fn permit(&self) {
        loop {
            if let Some(rate) = &self.rate {
                rate.until_ready().await;
            }
            // Asked for after the rate's own wait: what was said meanwhile holds too.
            match self.held_until() {
                Some(until) if until > Instant::now() => tokio::time::sleep_until(until).await,
                _ => return,
            }
        }
    }

    /// No request before `until`.
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

    pub(crate) const fn scope(&self) -> RawScope {
        self.scope
    }

    fn held_until(&self) -> Option<Instant> {
        *self.not_before.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Evenly spread; at high rates a hundredth of a second's worth may come together, timers are no finer.
fn quota(per_second: f64) -> Option<Quota> {
    let burst = NonZeroU32::new((per_second / 100.0) as u32).unwrap_or(NonZeroU32::MIN);
    Quota::with_period(Duration::from_secs_f64(1.0 / per_second)).map(|quota| quota.allow_burst(burst))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn politeness(rate: Option<f64>, budget: f64) -> Politeness {
        let retry = RetryConfig {
            attempts: 3,
            backoff: Backoff::default(),
            longest_wait: Duration::from_secs(60),
            scope: RawScope::Host,
            budget,
            max_pages: 10,
        };
        Politeness::new(rate, &retry)
    }

    #[tokio::test]
    async fn nobody_goes_before_the_time_that_was_asked_for() {
        let polite = politeness(None, 0.5);
        let start = Instant::now();
        polite.hold_back(start + Duration::from_millis(120));
        polite.hold_back(start + Duration::from_millis(30));
        polite.permit().await;
        assert!(
            start.elapsed() >= Duration::from_millis(120),
            "a shorter wish must not undercut a longer one"
        );
    }

    #[tokio::test]
    async fn the_rate_is_kept() {
        let polite = politeness(Some(50.0), 0.5);
        let start = std::time::Instant::now();
        for _ in 0..11 {
            polite.permit().await;
        }
        assert!(start.elapsed() >= Duration::from_millis(190), "{:?}", start.elapsed());
    }

    #[test]
    fn retries_are_earned() {
        let polite = politeness(None, 0.1);
        let free = (0..1_000).take_while(|_| polite.may_retry()).count();
        assert_eq!(free, 20);
        for _ in 0..25 {
            polite.request();
        }
        assert!(polite.may_retry() && polite.may_retry() && !polite.may_retry());
    }

    #[test]
    fn away_means_many_failures_in_a_row() {
        let polite = politeness(None, 0.1);
        (0..19).for_each(|_| polite.failure());
        assert!(!polite.is_away());
        polite.success();
        (0..20).for_each(|_| polite.failure());
        assert!(polite.is_away());
    }
}
