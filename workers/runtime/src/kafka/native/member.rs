//! A consumer in a group.

use std::ops::ControlFlow;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use rdkafka::{ClientConfig, TopicPartitionList};
use rdkafka_sys as sys;

use super::batch::{Batch, Lent};
use super::callbacks::Callbacks;
use super::client::{Client, ClientError};
use super::handle::{Handle, millis};

/// Messages fetched by one call; the pointers alone are what this costs.
const BATCH: usize = 2_000;
/// How long leaving the group may take, callbacks included, before it is left without a word.
const CLOSE: Duration = Duration::from_secs(20);

/// A consumer of one thread: its callbacks run inside [`Member::take_queued`], [`Member::take_one`] and while it is dropped.
pub(in crate::kafka) struct Member {
    batch: Batch,
    queue: NonNull<sys::rd_kafka_queue_t>,
    client: Client,
}

// SAFETY: as for `Client`; the queue is reached through `Member` only.
unsafe impl Send for Member {}

impl Member {
    /// Builds a consumer; `Err` says which property is wrong.
    pub(in crate::kafka) fn new(config: &ClientConfig, callbacks: Callbacks) -> Result<Self, String> {
        let client = Client::new(config, sys::rd_kafka_type_t::RD_KAFKA_CONSUMER, callbacks)?;
        // SAFETY: the client is live. General errors, statistics and rebalances come by the same queue as messages
        // from here on, so that they run on the thread that polls.
        let queue = unsafe {
            sys::rd_kafka_poll_set_consumer(client.rk());
            sys::rd_kafka_queue_get_consumer(client.rk())
        };
        let queue = NonNull::new(queue).ok_or("a consumer needs a group.id")?;
        Ok(Self { batch: Batch::with_capacity(BATCH), queue, client })
    }

    /// The client, to ask something of it.
    pub(in crate::kafka) fn handle(&self) -> Handle<'_> {
        // SAFETY: the client lives as long as `self` is borrowed.
        unsafe { Handle::new(self.client.handle()) }
    }

    /// Subscribes to `topics`.
    pub(in crate::kafka) fn subscribe(&self, topics: &TopicPartitionList) -> Result<(), ClientError> {
        // SAFETY: client and list are live.
        ClientError::check(unsafe { sys::rd_kafka_subscribe(self.client.rk(), topics.ptr()) })
    }

    /// Serves callbacks and takes what is queued, without waiting. A callback may run after some of it was taken.
    pub(in crate::kafka) fn take_queued(&mut self) -> usize {
        self.take(Duration::ZERO, usize::MAX)
    }

    /// Serves callbacks and waits up to `wait` for one message. What comes was fetched after every callback that ran.
    pub(in crate::kafka) fn take_one(&mut self, wait: Duration) -> usize {
        self.take(wait, 1)
    }

    fn take(&mut self, wait: Duration, most: usize) -> usize {
        // SAFETY: the queue is the live queue of this client.
        let taken = unsafe { self.batch.take(self.queue.as_ptr(), millis(wait), most) };
        self.client.callbacks().resume_panic();
        taken
    }

    /// Lends what was taken, in order, until `take` breaks off; the rest is kept. How many were lent.
    pub(in crate::kafka) fn lend(&mut self, take: impl FnMut(Lent<'_>) -> ControlFlow<()>) -> usize {
        self.batch.lend(take)
    }

    /// Is nothing kept?
    pub(in crate::kafka) fn is_drained(&self) -> bool {
        self.batch.is_drained()
    }

    /// Forgets the records that are kept of a partition, and its errors too if `all`; how many messages.
    pub(in crate::kafka) fn discard(&mut self, topic: &str, partition: i32, all: bool) -> usize {
        self.batch.discard(topic, partition, all)
    }

    /// The last general error since it was last asked for.
    pub(in crate::kafka) fn take_trouble(&self) -> Option<ClientError> {
        self.client.callbacks().take_trouble()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.batch.clear();
        let rk = self.client.rk();
        let until = Instant::now() + CLOSE;
        // SAFETY: client and queue are live; leaving the group calls back through this queue, which is served here
        // until the client says that it has left, or its time is over.
        let left = unsafe {
            let asked = ClientError::take(sys::rd_kafka_consumer_close_queue(rk, self.queue.as_ptr()));
            let mut left = asked.is_err() || sys::rd_kafka_consumer_closed(rk) != 0;
            while !left && Instant::now() < until {
                self.batch.take(self.queue.as_ptr(), 20, 1);
                self.batch.clear();
                left = sys::rd_kafka_consumer_closed(rk) != 0;
            }
            left
        };
        if !left {
            tracing::warn!("the group was not left in time; its coordinator will notice by itself");
        }
        // SAFETY: the queue is ours, and not used any more; the client follows when its field is dropped.
        unsafe { sys::rd_kafka_queue_destroy(self.queue.as_ptr()) }
        if !std::thread::panicking() {
            self.client.callbacks().resume_panic();
        }
    }
}
