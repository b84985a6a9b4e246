//! A consumer in a group.

use std::ops::ControlFlow;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use rdkafka::{ClientConfig, TopicPartitionList};
use rdkafka_sys as sys;

use super::batch::{LentMessage, NativeBatch};
use super::callbacks::ClientCallbacks;
use super::client::{KafkaClientError, NativeClient};
use super::handle::{ConsumerHandle, millis};

/// Messages fetched by one call; the pointers alone are what this costs.
const BATCH: usize = 2_000;
/// How long leaving the group may take, callbacks included, before it is left without a word.
const CLOSE: Duration = Duration::from_secs(20);

/// A consumer of one thread: its callbacks run inside [`NativeConsumer::take_queued`], [`NativeConsumer::take_one`] and while it is dropped.
pub(crate) struct NativeConsumer {
    batch: NativeBatch,
    queue: NonNull<sys::rd_kafka_queue_t>,
    client: NativeClient,
}

// SAFETY: as for `NativeClient`; the queue is reached through `NativeConsumer` only.
unsafe impl Send for NativeConsumer {}

impl NativeConsumer {
    /// Builds a consumer; `Err` says which property is wrong.
    pub(crate) fn new(config: &ClientConfig, callbacks: ClientCallbacks) -> Result<Self, String> {
        let client = NativeClient::new(config, sys::rd_kafka_type_t::RD_KAFKA_CONSUMER, callbacks)?;
        // SAFETY: the client is live. General errors, statistics and rebalances come by the same queue as messages
        // from here on, so that they run on the thread that polls.
        let queue = unsafe {
            sys::rd_kafka_poll_set_consumer(client.rk());
            sys::rd_kafka_queue_get_consumer(client.rk())
        };
        let queue = NonNull::new(queue).ok_or("a consumer needs a group.id")?;
        Ok(Self { batch: NativeBatch::with_capacity(BATCH), queue, client })
    }

    /// The client, to ask something of it.
    pub(crate) fn handle(&self) -> ConsumerHandle<'_> {
        // SAFETY: the client lives as long as `self` is borrowed.
        unsafe { ConsumerHandle::new(self.client.handle()) }
    }

    /// Subscribes to `topics`.
    pub(crate) fn subscribe(&self, topics: &TopicPartitionList) -> Result<(), KafkaClientError> {
        // SAFETY: client and list are live.
        KafkaClientError::check(unsafe { sys::rd_kafka_subscribe(self.client.rk(), topics.ptr()) })
    }

    /// Serves callbacks and takes what is queued, without waiting. A callback may run after some of it was taken.
    pub(crate) fn take_queued(&mut self) -> usize {
        self.take(Duration::ZERO, usize::MAX)
    }

    /// Serves callbacks and waits up to `wait` for one message. What comes was fetched after every callback that ran.
    pub(crate) fn take_one(&mut self, wait: Duration) -> usize {
        self.take(wait, 1)
    }

    fn take(&mut self, wait: Duration, most: usize) -> usize {
        // SAFETY: the queue is the live queue of this client.
        let taken = unsafe { self.batch.take(self.queue.as_ptr(), millis(wait), most) };
        self.client.callbacks().resume_panic();
        taken
    }

    /// Lends what was taken, in order, until `take` breaks off; the rest is kept. How many were lent.
    pub(crate) fn lend(&mut self, take: impl FnMut(LentMessage<'_>) -> ControlFlow<()>) -> usize {
        self.batch.lend(take)
    }

    /// Is nothing kept?
    pub(crate) fn is_drained(&self) -> bool {
        self.batch.is_drained()
    }

    /// Forgets the records that are kept of a partition, and its errors too if `all`; how many messages.
    pub(crate) fn discard(&mut self, topic: &str, partition: i32, all: bool) -> usize {
        self.batch.discard(topic, partition, all)
    }

    /// The last general error since it was last asked for.
    pub(crate) fn take_trouble(&self) -> Option<KafkaClientError> {
        self.client.callbacks().take_trouble()
    }
}

impl Drop for NativeConsumer {
    fn drop(&mut self) {
        self.batch.clear();
        let rk = self.client.rk();
        let until = Instant::now() + CLOSE;
        // SAFETY: client and queue are live; leaving the group calls back through this queue, which is served here
        // until the client says that it has left, or its time is over.
        let left = unsafe {
            let asked = KafkaClientError::take(sys::rd_kafka_consumer_close_queue(rk, self.queue.as_ptr()));
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
