//! Clearance: the look at the database right before each request. Has the API asked anyone to wait?
//!
//! The API sends `Retry-After` to one replica and means all of them. Three rules keep any replica from
//! undercutting it:
//!
//! 1. The replica that receives it stops at once, and writes it to the budget's row before anything else.
//! 2. A request is sent only after the row was read, and that read began after everything else that the
//!    request had to wait for (tokens, its turn). Requests that wait at the same time share one read.
//! 3. At most [`STALE`] lie between the beginning of that read and the sending. If the process was stopped in
//!    between, or the database is slower than that, the row is read again.
//!
//! No request is therefore sent later than [`STALE`] after the hold was committed, and usually none later
//! than one read takes, about a millisecond. Requests that are on their way between the answer 429 and the
//! commit cannot be called back. If the database does not answer, no request is sent.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// The age from which a look at the database is worth nothing.
pub(crate) const STALE: Duration = Duration::from_millis(100);

/// The queue in which requests wait for a look at the database; `budget.rs` looks.
#[derive(Default)]
pub(crate) struct RequestClearance {
    /// True if no other process shares the budgets.
    alone: AtomicBool,
    /// Each sender receives the instant at which its look began.
    waiting: Mutex<Vec<oneshot::Sender<Instant>>>,
    news: Notify,
}

impl RequestClearance {
    /// Waits for a look and returns the instant at which it began. By then the process knows every hold that
    /// the look found. `None`: the database could not be read.
    pub(crate) async fn look(&self) -> Option<Instant> {
        if self.alone.load(Ordering::Relaxed) {
            return Some(Instant::now());
        }
        let (sender, receiver) = oneshot::channel();
        // Enqueue first, then notify: the notice then finds this request in the queue.
        self.lock().push(sender);
        self.news.notify_one();
        receiver.await.ok()
    }

    /// Notes that no other process shares the budgets. Looks are answered at once from then on.
    pub(crate) fn alone(&self) {
        self.alone.store(true, Ordering::Relaxed);
    }

    /// Wakes the task that looks: a request waits, or a hold must be passed on.
    pub(crate) fn notify(&self) {
        self.news.notify_one();
    }

    /// Waits until a request waits or a hold must be passed on.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    /// Takes the requests that wait now. A look that begins after this call is valid for them.
    pub(crate) fn waiting(&self) -> Vec<oneshot::Sender<Instant>> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<oneshot::Sender<Instant>>> {
        // No code panics while it holds the lock, and a list is valid at every moment.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
