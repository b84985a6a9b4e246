//! One budget of requests that all tasks of the process share. It is fed with tokens that the replicas share
//! (`budget.rs`).

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::window::{ARRIVAL, RateToken, RateWindow, tokens};
use crate::config::BudgetConfig;

/// Gives tokens to requests in the order in which the requests came.
pub(crate) struct RateGate {
    name: String,
    /// Tokens of the whole budget, over all replicas.
    total: u32,
    /// The time for which a token is out after its request.
    span: Duration,
    window: Mutex<RateWindow>,
    /// Signals that tokens came back or that the lease changed.
    changed: Notify,
    /// Signals that a request waits and no lease holds a token for it.
    hungry: Notify,
    /// Held by the request whose turn it is. Tokio's mutex is fair, which keeps the order of arrival.
    turn: tokio::sync::Mutex<()>,
    /// Requests that wait for a token.
    waiting: AtomicU32,
    /// Requests that the API refused with 429 since the last [`RateGate::demand`].
    refused: AtomicU32,
}

/// A token for one request. A token that is dropped unsent is back at once, otherwise one span after the
/// answer.
pub(crate) struct RatePermit<'g> {
    gate: &'g RateGate,
    token: RateToken,
    sent: bool,
}

/// The figures by which the replicas share out a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RateDemand {
    /// Tokens that could be used.
    pub(crate) wanted: u32,
    /// Tokens that cannot be given away yet.
    pub(crate) held: u32,
    /// Requests that the API refused with 429 since the last look.
    pub(crate) refused: u32,
}

impl RateGate {
    /// Makes a gate without a lease. It gives no token before [`RateGate::lease`].
    pub(crate) fn new(config: &BudgetConfig) -> Self {
        let (total, span) = tokens(config.per_second);
        Self {
            name: config.name.clone(),
            total,
            span,
            window: Mutex::new(RateWindow::new(span)),
            changed: Notify::new(),
            hungry: Notify::new(),
            turn: tokio::sync::Mutex::default(),
            waiting: AtomicU32::new(0),
            refused: AtomicU32::new(0),
        }
    }

    /// Returns the budget's name in the database, for example `host https://api.example.org`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the tokens of the whole budget.
    pub(crate) const fn total(&self) -> u32 {
        self.total
    }

    /// Returns the time after its last request for which the API may still count a token.
    pub(crate) fn tail(&self) -> Duration {
        self.span.saturating_add(ARRIVAL)
    }

    /// Waits for a token.
    pub(crate) async fn take(&self) -> RatePermit<'_> {
        let _waiting = RateWaitGuard::new(&self.waiting);
        let _turn = self.turn.lock().await;
        loop {
            // The notice is enabled before the window is read: no change in between is missed.
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let now = Instant::now();
            let taken = self.lock().take(now);
            match taken {
                Ok(token) => return RatePermit { gate: self, token, sent: false },
                Err(Some(at)) => tokio::select! {
                    () = tokio::time::sleep_until(at) => {}
                    () = changed => {}
                },
                // Only a new lease can help.
                Err(None) => {
                    self.hungry.notify_one();
                    changed.await;
                }
            }
        }
    }

    /// Sets the lease: this process has `capacity` tokens until `until`, or without an end.
    pub(crate) fn lease(&self, capacity: u32, until: Option<Instant>) {
        self.lock().lease(capacity, until);
        self.changed.notify_waiters();
    }

    /// Waits until a request waits without a lease.
    pub(crate) async fn hungry(&self) {
        self.hungry.notified().await;
    }

    /// Counts a request that the API refused with 429.
    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns this process's share of the demand, and begins to count refusals from 0.
    pub(crate) fn demand(&self) -> RateDemand {
        let waiting = self.waiting.load(Ordering::Relaxed);
        let mut window = self.lock();
        let out = window.out(Instant::now());
        // If a request waits, the process could use any number. Otherwise it wants a quarter more than it
        // uses, and at least one token: an idle replica can then begin without a wait.
        let wanted = if waiting > 0 { self.total } else { (out + out / 4 + 1).min(self.total) };
        // The lease covers tokens that are unused, and tokens can still be out after a smaller lease.
        let held = out.max(window.capacity());
        RateDemand { wanted, held, refused: self.refused.swap(0, Ordering::Relaxed) }
    }

    fn lock(&self) -> MutexGuard<'_, RateWindow> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RatePermit<'_> {
    /// Notes that the request is sent now. `false`: the token is no longer ours, because the lease has passed
    /// or too much time has passed since the token was taken. The request must then not be sent.
    pub(crate) fn send(&mut self, now: Instant) -> bool {
        self.sent = self.gate.lock().sent(self.token, now);
        self.sent
    }
}

impl Drop for RatePermit<'_> {
    fn drop(&mut self) {
        // The lock is released before the waiting requests wake.
        {
            let mut window = self.gate.lock();
            match self.sent {
                true => window.answered(self.token, Instant::now()),
                false => window.unused(self.token),
            }
        }
        self.gate.changed.notify_waiters();
    }
}

/// Counts a waiting request for as long as it waits, also if its task is aborted.
struct RateWaitGuard<'c>(&'c AtomicU32);

impl<'c> RateWaitGuard<'c> {
    fn new(count: &'c AtomicU32) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for RateWaitGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn gate(per_second: f64) -> Arc<RateGate> {
        Arc::new(RateGate::new(&BudgetConfig { name: "host h".into(), per_second }))
    }

    #[tokio::test]
    async fn whoever_asks_first_is_served_first_and_nobody_without_a_lease() {
        let gate = gate(100.0);
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = tokio::task::JoinSet::new();
        for nth in 0..5 {
            let (waiting, order) = (Arc::clone(&gate), Arc::clone(&order));
            tasks.spawn(async move {
                assert!(waiting.take().await.send(Instant::now()));
                order.lock().unwrap().push(nth);
            });
            tokio::task::yield_now().await;
        }
        gate.hungry().await;
        assert!(order.lock().unwrap().is_empty());
        assert_eq!(gate.demand(), RateDemand { wanted: 100, held: 0, refused: 0 });
        gate.lease(50, None);
        while tasks.join_next().await.is_some() {}
        assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4]);
        let demand = gate.demand();
        assert_eq!((demand.wanted, demand.held), (7, 50), "five were used, and a few more may be");
    }
}
