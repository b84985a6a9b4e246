//! A fetched batch. Its records are lent one after another. Those that were not lent are kept for the next
//! time.
//!
//! ```text
//!  rd_kafka_consume_batch_queue ─► [m0 m1 m2 m3 m4 m5]        callbacks run here, and nowhere else
//!                                         ▲ next
//!                     lent, destroyed ────┴──── kept: lent by the next call, or discarded by seek and revoke
//! ```

use std::ffi::CStr;
use std::ops::ControlFlow;
use std::ptr;

use rdkafka_sys as sys;
use sluice_core::{Header, Offset, RecordRef};

use super::client::{KafkaClientError, words};

/// Up to this number of headers, a record is lent without an allocation. The headers of a record with more go
/// to the heap.
const FEW: usize = 16;

/// There is always room for this number of further messages.
const ROOM: usize = 64;

/// A message of the queue.
pub(crate) enum LentMessage<'a> {
    /// A record.
    Record(&'a RecordRef<'a>),
    /// Trouble with a partition or the group.
    Failed(KafkaClientError),
}

/// Messages taken from the consumer's queue. The batch must be emptied before the consumer is destroyed;
/// `Member` sees to it.
pub(super) struct NativeBatch {
    messages: Vec<*mut sys::rd_kafka_message_t>,
    /// The first message that was not lent yet. Those before it are destroyed.
    next: usize,
}

// SAFETY: the messages are owned by this batch alone, and librdkafka lets any thread read and destroy them.
unsafe impl Send for NativeBatch {}

impl NativeBatch {
    /// Makes room for `most` messages.
    pub(super) fn with_capacity(most: usize) -> Self {
        Self { messages: Vec::with_capacity(most.max(1)), next: 0 }
    }

    /// Tells whether no message is left to lend.
    pub(super) fn is_drained(&self) -> bool {
        self.next == self.messages.len()
    }

    /// Takes at most `most` messages and puts them behind the kept ones. Waits up to `wait_ms` until they are
    /// there. Returns the number of messages that came.
    ///
    /// # Safety
    /// `queue` is the live queue of the consumer whose messages these are.
    pub(super) unsafe fn take(
        &mut self,
        queue: *mut sys::rd_kafka_queue_t,
        wait_ms: i32,
        most: usize,
    ) -> usize {
        // Only the pointers of messages that were lent and destroyed are dropped here.
        self.messages.drain(..self.next);
        self.next = 0;

        // Kept messages may fill the batch, but polling has to go on. A lane that keeps messages has paused,
        // and therefore few messages come.
        self.messages.reserve(ROOM);
        let length = self.messages.len();
        let room = (self.messages.capacity() - length).min(most);
        // SAFETY: the queue is live. librdkafka writes at most `room` pointers behind the `length` that are there,
        // within the capacity; the length is raised by exactly those it says it wrote (a negative answer is none).
        unsafe {
            let free = self.messages.as_mut_ptr().add(length);
            let taken = sys::rd_kafka_consume_batch_queue(queue, wait_ms, free, room);
            let taken = usize::try_from(taken).unwrap_or(0).min(room);
            self.messages.set_len(length + taken);
            taken
        }
    }

    /// Lends the messages in order until `take` breaks off. Returns the number of messages that were lent.
    pub(super) fn lend(&mut self, mut take: impl FnMut(LentMessage<'_>) -> ControlFlow<()>) -> usize {
        let mut lent = 0;
        let mut topic: (*const sys::rd_kafka_topic_t, &str) = (ptr::null(), "");
        while let Some(&message) = self.messages.get(self.next) {
            // The message counts as lent before `take` sees it: a panic must not lend it twice.
            self.next += 1;
            lent += 1;
            let held = MessageGuard(message);
            // SAFETY: `held` owns the message, which lives until the end of this turn. A topic lives while any message
            // holds it; `topic` is only used with a message of that very topic. The name is ASCII (the broker's rule).
            let message = unsafe { &*held.0 };

            // The name of the topic is read again only when the topic changes.
            if message.rkt.cast_const() != topic.0 && !message.rkt.is_null() {
                // SAFETY: as above.
                let name = unsafe { CStr::from_ptr(sys::rd_kafka_topic_name(message.rkt)) };
                topic = (message.rkt, name.to_str().unwrap_or(""));
            }
            if lend_one(message, topic.1, &mut take).is_break() {
                break;
            }
        }
        lent
    }

    /// Forgets the kept records of a partition, and its errors too if `all`. Returns the number of messages
    /// that were dropped.
    pub(super) fn discard(&mut self, topic: &str, partition: i32, all: bool) -> usize {
        // Messages that stay move together, in their order.
        let mut kept = self.next;
        for at in self.next..self.messages.len() {
            let message = self.messages[at];
            // SAFETY: messages behind `next` are ours and live, and so are their topics.
            let (name, number, is_record) = unsafe { place_of(message) };
            if number == partition && name == topic && (all || is_record) {
                drop(MessageGuard(message));
            } else {
                self.messages[kept] = message;
                kept += 1;
            }
        }

        let gone = self.messages.len() - kept;
        self.messages.truncate(kept);
        gone
    }

    /// Destroys the kept messages.
    pub(super) fn clear(&mut self) {
        for message in self.messages.drain(..).skip(std::mem::take(&mut self.next)) {
            drop(MessageGuard(message));
        }
    }
}

impl Drop for NativeBatch {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A message that is destroyed at the end of its scope, also when the code that it was lent to panics.
struct MessageGuard(*mut sys::rd_kafka_message_t);

impl Drop for MessageGuard {
    fn drop(&mut self) {
        // SAFETY: a message is held once: `next` has moved past it, or it was taken out of the batch.
        unsafe { sys::rd_kafka_message_destroy(self.0) }
    }
}

/// Returns topic, partition, and whether the message is a record.
///
/// # Safety
/// `message` is live, and the answer is not used after it.
unsafe fn place_of<'a>(message: *mut sys::rd_kafka_message_t) -> (&'a str, i32, bool) {
    // SAFETY: by this function's contract; the topic lives with the message that holds it.
    unsafe {
        let rkt = (*message).rkt;
        let name = if rkt.is_null() {
            ""
        } else {
            CStr::from_ptr(sys::rd_kafka_topic_name(rkt)).to_str().unwrap_or("")
        };
        let is_record = (*message).err == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
        (name, (*message).partition, is_record)
    }
}

/// Lends one message: a record with its headers, or an error.
fn lend_one(
    message: &sys::rd_kafka_message_t,
    topic: &str,
    take: &mut impl FnMut(LentMessage<'_>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    // librdkafka hands errors over as messages, in their place among the records.
    if message.err != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        let mut error = KafkaClientError::of(message.err);
        // SAFETY: the message is live; the text lives with it and is copied.
        error.text = unsafe { words(sys::rd_kafka_message_errstr(message)) };
        error.fatal = message.err == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__FATAL;
        return take(LentMessage::Failed(error));
    }

    // Every record has an offset. A message without one has nothing to lend.
    let Some(offset) = Offset::new(message.offset) else {
        return ControlFlow::Continue(());
    };

    // The record, first without its headers.
    let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    // SAFETY: the message is live, `kind` is ours.
    let timestamp = unsafe { sys::rd_kafka_message_timestamp(message, &raw mut kind) };
    let known = kind != sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    let mut record = RecordRef {
        topic,
        partition: message.partition,
        offset,
        timestamp_ms: known.then_some(timestamp),
        // SAFETY: librdkafka's pointers and lengths of a live message; null is a null key or a tombstone.
        key: unsafe { slice(message.key, message.key_len) },
        // SAFETY: as above.
        value: unsafe { slice(message.payload, message.len) },
        headers: &[],
    };

    // Most records have no headers.
    let mut headers = ptr::null_mut();
    // SAFETY: the message is live and owns the list it hands out.
    let found = unsafe { sys::rd_kafka_message_headers(message, &raw mut headers) };
    if found != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR || headers.is_null() {
        return take(LentMessage::Record(&record));
    }
    // SAFETY: the list is live as long as its message.
    let count = unsafe { sys::rd_kafka_header_cnt(headers) };

    // A few headers fit on the stack. More of them go to the heap.
    let mut few = [Header { name: "", value: None }; FEW];
    let mut many = vec![];
    let list = match few.get_mut(..count) {
        Some(list) => list,
        None => {
            many.resize(count, Header { name: "", value: None });
            &mut many[..]
        }
    };

    for (index, header) in list.iter_mut().enumerate() {
        // SAFETY: as above, and `index` is below the count.
        *header = unsafe { header_at(headers, index) };
    }
    record.headers = list;
    take(LentMessage::Record(&record))
}

/// Returns the bytes behind a pointer; null is `None`.
///
/// # Safety
/// `pointer` is null or the start of `length` bytes that live as long as the answer.
unsafe fn slice<'a>(pointer: *mut std::ffi::c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: by this function's contract.
    (!pointer.is_null()).then(|| unsafe { std::slice::from_raw_parts(pointer.cast_const().cast(), length) })
}

/// Returns one header of a list.
///
/// # Safety
/// `headers` is a live list of more than `index` headers that lives as long as the answer.
unsafe fn header_at<'a>(headers: *mut sys::rd_kafka_headers_t, index: usize) -> Header<'a> {
    let (mut name, mut value, mut length) = (ptr::null(), ptr::null(), 0);
    // SAFETY: by this function's contract; the name ends in a zero, the value has `length` bytes or is null.
    unsafe {
        sys::rd_kafka_header_get_all(headers, index, &raw mut name, &raw mut value, &raw mut length);
        Header {
            name: if name.is_null() { "" } else { CStr::from_ptr(name).to_str().unwrap_or("") },
            value: slice(value.cast_mut(), length),
        }
    }
}
