//! Has anybody been told to wait? Asked of the database right before each request.
//!
//! `Retry-After` is told to one replica, and means all of them. So that none undercuts it:
//!
//! 1. whoever is told stops at once, and writes it to the limit's row before anything else;
//! 2. a request is sent only after the row was read, and that read was begun after everything else the request had to
//!    wait for (tokens, its turn). Requests that wait at the same time share one read.
//! 3. Between the beginning of that read and sending lie at most [`STALE`]; a process that was stopped in between, or
//!    a database that is slower than that, reads again.
//!
//! So no request is sent later than [`STALE`] after the hold was committed, and usually none later than one read takes,
//! about a millisecond. What is on its way when the 429 is answered, until it is committed, nobody can call back. If the
//! database does not answer, nobody asks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// The age at which a look at the database is worth nothing.
pub(crate) const STALE: Duration = Duration::from_millis(100);

/// Where requests wait for a look at the database; `budget.rs` looks.
#[derive(Default)]
pub(crate) struct RequestClearance {
    /// Nobody shares the limits.
    alone: AtomicBool,
    waiting: Mutex<Vec<oneshot::Sender<Instant>>>,
    news: Notify,
}

impl RequestClearance {
    /// When the look was begun that found nothing, or what it found is known to the process by now. `None`: nobody could
    /// look.
    pub(crate) async fn look(&self) -> Option<Instant> {
        if self.alone.load(Ordering::Relaxed) {
            return Some(Instant::now());
        }
        let (tell, told) = oneshot::channel();
        self.lock().push(tell);
        self.news.notify_one();
        told.await.ok()
    }

    pub(crate) fn alone(&self) {
        self.alone.store(true, Ordering::Relaxed);
    }

    /// There is something to look for, or to tell.
    pub(crate) fn notify(&self) {
        self.news.notify_one();
    }

    /// Somebody waits, or has something to tell.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    /// Those who wait now; a look that is begun after this is for them.
    pub(crate) fn waiting(&self) -> Vec<oneshot::Sender<Instant>> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<oneshot::Sender<Instant>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
