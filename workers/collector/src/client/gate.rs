//! One limit that all tasks of the process share, fed with tokens that the replicas share (`budget.rs`).

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::window::{ARRIVAL, RateToken, RateWindow, tokens};
use crate::config::BudgetConfig;

/// Gives tokens in the order in which they were asked for.
pub(crate) struct RateGate {
    name: String,
    /// The whole limit.
    total: u32,
    span: Duration,
    window: Mutex<RateWindow>,
    /// Tokens came back, or the lease changed.
    changed: Notify,
    /// Somebody waits and there is no lease to wait for.
    hungry: Notify,
    turn: tokio::sync::Mutex<()>,
    waiting: AtomicU32,
    refused: AtomicU32,
}

/// A token for one request. Dropped unsent it is back at once, otherwise some time after.
pub(crate) struct RatePermit<'g> {
    gate: &'g RateGate,
    token: RateToken,
    sent: bool,
}

/// What the replicas share out by.
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

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) const fn total(&self) -> u32 {
        self.total
    }

    /// How long after its last request a token may still be counted by the API.
    pub(crate) fn tail(&self) -> Duration {
        self.span.saturating_add(ARRIVAL)
    }

    /// Waits for a token.
    pub(crate) async fn take(&self) -> RatePermit<'_> {
        let _waiting = RateWaitGuard::new(&self.waiting);
        let _turn = self.turn.lock().await;
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // From here on no change is missed.
            changed.as_mut().enable();
            let now = Instant::now();
            let taken = self.lock().take(now);
            match taken {
                Ok(token) => return RatePermit { gate: self, token, sent: false },
                Err(Some(at)) => tokio::select! {
                    () = tokio::time::sleep_until(at) => {}
                    () = changed => {}
                },
                Err(None) => {
                    self.hungry.notify_one();
                    changed.await;
                }
            }
        }
    }

    /// From now on `capacity` tokens are ours, until then.
    pub(crate) fn lease(&self, capacity: u32, until: Option<Instant>) {
        self.lock().lease(capacity, until);
        self.changed.notify_waiters();
    }

    /// Somebody waits without a lease.
    pub(crate) async fn hungry(&self) {
        self.hungry.notified().await;
    }

    /// A request was refused with 429.
    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// What to ask the others for.
    pub(crate) fn demand(&self) -> RateDemand {
        let waiting = self.waiting.load(Ordering::Relaxed);
        let mut window = self.lock();
        let out = window.out(Instant::now());
        let wanted = if waiting > 0 { self.total } else { (out + out / 4 + 1).min(self.total) };
        let held = out.max(window.capacity());
        RateDemand { wanted, held, refused: self.refused.swap(0, Ordering::Relaxed) }
    }

    fn lock(&self) -> MutexGuard<'_, RateWindow> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RatePermit<'_> {
    /// The request is sent now. `false`: too much time has passed since the token was taken, it is not ours any more.
    pub(crate) fn send(&mut self, now: Instant) -> bool {
        self.sent = self.gate.lock().sent(self.token, now);
        self.sent
    }
}

impl Drop for RatePermit<'_> {
    fn drop(&mut self) {
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
