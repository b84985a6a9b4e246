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

/// The most messages that one call fetches. Only the pointers cost memory.
const BATCH: usize = 2_000;
/// The time that leaving the group may take, callbacks included. After it the consumer goes without an answer
/// of the coordinator.
const CLOSE: Duration = Duration::from_secs(20);

/// A consumer of one thread. Its callbacks run inside [`NativeConsumer::take_queued`],
/// [`NativeConsumer::take_one`] and while it is dropped.
pub(crate) struct NativeConsumer {
    batch: NativeBatch,
    queue: NonNull<sys::rd_kafka_queue_t>,
    client: NativeClient,
}

// SAFETY: as for `NativeClient`; the queue is reached through `NativeConsumer` only.
unsafe impl Send for NativeConsumer {}

impl NativeConsumer {
    /// Builds a consumer. `Err` names the property that is wrong.
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

    /// Returns the client for calls that do not fetch.
    pub(crate) fn handle(&self) -> ConsumerHandle<'_> {
        // SAFETY: the client lives as long as `self` is borrowed.
        unsafe { ConsumerHandle::new(self.client.handle()) }
    }

    /// Subscribes to `topics`.
    pub(crate) fn subscribe(&self, topics: &TopicPartitionList) -> Result<(), KafkaClientError> {
        // SAFETY: client and list are live.
        KafkaClientError::check(unsafe { sys::rd_kafka_subscribe(self.client.rk(), topics.ptr()) })
    }

    /// Serves callbacks and takes the queued messages, without waiting. A callback may run after some of them
    /// were taken. Returns the number of messages.
    pub(crate) fn take_queued(&mut self) -> usize {
        self.take(Duration::ZERO, usize::MAX)
    }

    /// Serves callbacks and waits up to `wait` for one message. Such a message was fetched after every
    /// callback that ran. Returns the number of messages.
    pub(crate) fn take_one(&mut self, wait: Duration) -> usize {
        self.take(wait, 1)
    }

    /// Takes at most `most` messages and resumes a panic of the callbacks.
    fn take(&mut self, wait: Duration, most: usize) -> usize {
        // SAFETY: the queue is the live queue of this client.
        let taken = unsafe { self.batch.take(self.queue.as_ptr(), millis(wait), most) };
        self.client.callbacks().resume_panic();
        taken
    }

    /// Lends the taken messages in order until `take` breaks off. The rest is kept. Returns the number of
    /// messages that were lent.
    pub(crate) fn lend(&mut self, take: impl FnMut(LentMessage<'_>) -> ControlFlow<()>) -> usize {
        self.batch.lend(take)
    }

    /// Tells whether no message is kept.
    pub(crate) fn is_drained(&self) -> bool {
        self.batch.is_drained()
    }

    /// Forgets the kept records of a partition, and its errors too if `all`. Returns the number of messages
    /// that were dropped.
    pub(crate) fn discard(&mut self, topic: &str, partition: i32, all: bool) -> usize {
        self.batch.discard(topic, partition, all)
    }

    /// Takes the last general error since the last call.
    pub(crate) fn take_trouble(&self) -> Option<KafkaClientError> {
        self.client.callbacks().take_trouble()
    }
}

impl Drop for NativeConsumer {
    fn drop(&mut self) {
        // Messages hold the consumer: they go first.
        self.batch.clear();

        // Leave the group. The lane's callbacks give its partitions back meanwhile.
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

        // The others of the group wait for this member until its session ends.
        if !left {
            tracing::warn!(
                "the consumer did not leave its group in time; the coordinator removes it after session.timeout.ms"
            );
        }
        // SAFETY: the queue is ours, and not used any more; the client follows when its field is dropped.
        unsafe { sys::rd_kafka_queue_destroy(self.queue.as_ptr()) }

        if !std::thread::panicking() {
            self.client.callbacks().resume_panic();
        }
    }
}
