//! A producer. Records are handed over as slices. It writes transactions, and it notes failures of delivery.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rdkafka::{ClientConfig, TopicPartitionList};
use rdkafka_sys as sys;
use sluice_core::Header;

use super::callbacks::ClientCallbacks;
use super::client::{KafkaClientError, NativeClient};
use super::handle::{GroupMetadata, c_string, millis};
use crate::OutgoingRecord;

/// The time that one call that ends a transaction waits. With -1 it would wait without limit.
const STEP_MS: c_int = 5_000;

/// A topic's name and librdkafka's handle for it. With the handle at hand, no record pays for looking the
/// topic up.
struct NativeTopic {
    name: Box<str>,
    handle: *mut sys::rd_kafka_topic_t,
}

/// A producer of one thread.
pub(crate) struct NativeProducer {
    /// The topics of earlier records, in the order of their first record.
    topics: Vec<NativeTopic>,
    /// The index of the last record's topic.
    last: usize,
    /// Shared with calls that may never come back; see [`NativeProducer::send_offsets`].
    client: Arc<NativeClient>,
}

// SAFETY: as for `NativeClient`; the topics' handles are reached through `NativeProducer` only.
unsafe impl Send for NativeProducer {}

impl NativeProducer {
    /// Builds a producer. `Err` names the property that is wrong.
    pub(crate) fn new(config: &ClientConfig, callbacks: ClientCallbacks) -> Result<Self, String> {
        let client = NativeClient::new(config, sys::rd_kafka_type_t::RD_KAFKA_PRODUCER, callbacks)?;
        Ok(Self { topics: vec![], last: 0, client: Arc::new(client) })
    }

    /// Hands a record to the client, which copies it.
    ///
    /// # Errors
    /// `QueueFull` while too many records are under way: the record was not taken, try again.
    pub(crate) fn produce(&mut self, record: &OutgoingRecord<'_>) -> Result<(), KafkaClientError> {
        use sys::rd_kafka_vtype_t as Kind;
        let topic = self.topic(record.topic)?;

        // The parts of the call. They are half a kilobyte, of which a record sets a tenth: the memory is not
        // cleared first.
        let mut parts = [const { MaybeUninit::<sys::rd_kafka_vu_t>::uninit() }; 7];
        let mut count = 0;
        let mut add = |vtype, u| {
            if let Some(part) = parts.get_mut(count) {
                part.write(sys::rd_kafka_vu_t { vtype, u });
                count += 1;
            }
        };

        // Topic and flags are always set. A part that the record does not have is left out.
        add(Kind::RD_KAFKA_VTYPE_RKT, ProduceValue { rkt: topic });
        add(Kind::RD_KAFKA_VTYPE_MSGFLAGS, ProduceValue { i: sys::RD_KAFKA_MSG_F_COPY as c_int });
        if let Some(partition) = record.partition {
            add(Kind::RD_KAFKA_VTYPE_PARTITION, ProduceValue { i32_: partition });
        }
        if let Some(key) = record.key {
            add(Kind::RD_KAFKA_VTYPE_KEY, memory(key));
        }
        if let Some(value) = record.value {
            add(Kind::RD_KAFKA_VTYPE_VALUE, memory(value));
        }
        if let Some(timestamp) = record.timestamp_ms {
            add(Kind::RD_KAFKA_VTYPE_TIMESTAMP, ProduceValue { i64_: timestamp });
        }

        // Only records with headers allocate a list. The list is ours until librdkafka has taken the record.
        let headers =
            if record.headers.is_empty() { None } else { Some(NativeHeaders::new(record.headers)?) };
        if let Some(headers) = &headers {
            add(Kind::RD_KAFKA_VTYPE_HEADERS, ProduceValue { headers: headers.0 });
        }

        // SAFETY: the client and the topic are live; the first `count` parts are set, each with the member that its
        // kind says, and no other is read; key and value are lent for the call, which copies them.
        let done = unsafe {
            KafkaClientError::take(sys::rd_kafka_produceva(self.client.rk(), parts.as_ptr().cast(), count))
        };

        // A record that was refused leaves its headers with us: they are dropped here.
        if done.is_ok()
            && let Some(headers) = headers
        {
            headers.taken();
        }
        done
    }

    /// Returns the handle of a topic, and makes it at the topic's first record.
    fn topic(&mut self, name: &str) -> Result<*mut sys::rd_kafka_topic_t, KafkaClientError> {
        // Most records go to the same topic as the record before.
        if self.topics.get(self.last).is_none_or(|topic| *topic.name != *name) {
            self.last = match self.topics.iter().position(|topic| *topic.name == *name) {
                // The topic is known, but another record came between.
                Some(index) => index,
                None => {
                    let c_name = c_string(name)?;
                    // SAFETY: client and name are live; without a configuration the client's own is taken.
                    let handle = unsafe {
                        sys::rd_kafka_topic_new(self.client.rk(), c_name.as_ptr(), ptr::null_mut())
                    };
                    if handle.is_null() {
                        let code = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC;
                        return Err(KafkaClientError::of(code));
                    }
                    self.topics.push(NativeTopic { name: name.into(), handle });
                    self.topics.len() - 1
                }
            };
        }

        self.topics
            .get(self.last)
            .map(|topic| topic.handle)
            .ok_or_else(|| KafkaClientError::of(sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC))
    }

    /// Serves callbacks, waiting up to `wait` for one.
    pub(crate) fn serve(&self, wait: Duration) {
        // SAFETY: the client is live.
        unsafe { sys::rd_kafka_poll(self.client.rk(), millis(wait)) };
        self.client.callbacks().resume_panic();
    }

    /// Sends the records that wait for a full batch at once, and waits up to a millisecond for the answers.
    pub(crate) fn flush_step(&self) {
        // SAFETY: the client is live.
        unsafe { sys::rd_kafka_flush(self.client.rk(), 1) };
        self.client.callbacks().resume_panic();
    }

    /// Returns the number of records that are neither acknowledged nor failed, and of callbacks not yet
    /// served.
    pub(crate) fn in_flight(&self) -> usize {
        // SAFETY: the client is live.
        usize::try_from(unsafe { sys::rd_kafka_outq_len(self.client.rk()) }).unwrap_or(0)
    }

    /// Fails the records that are queued and not under way.
    pub(crate) fn purge(&self) {
        // SAFETY: the client is live.
        let _ = unsafe { sys::rd_kafka_purge(self.client.rk(), sys::RD_KAFKA_PURGE_F_QUEUE as c_int) };
    }

    /// Takes the first delivery that failed since the last call.
    pub(crate) fn take_failed(&self) -> Option<KafkaClientError> {
        self.client.callbacks().take_failed()
    }

    /// Takes the transactional id and fences its former holder.
    pub(crate) fn init_transactions(&self, wait: Duration) -> Result<(), KafkaClientError> {
        // SAFETY: the client is live; the answer is ours.
        unsafe { KafkaClientError::take(sys::rd_kafka_init_transactions(self.client.rk(), millis(wait))) }
    }

    /// Opens a transaction.
    pub(crate) fn begin(&self) -> Result<(), KafkaClientError> {
        // SAFETY: the client is live; the answer is ours.
        unsafe { KafkaClientError::take(sys::rd_kafka_begin_transaction(self.client.rk())) }
    }

    /// Adds consumed offsets to the transaction. Gives up after `within`; then the producer is of no further
    /// use.
    ///
    /// librdkafka's call waits for a coordinator without a limit of its own. If the coordinator is not
    /// available while all connections are well, the call waits for one of the connections to change
    /// (`rd_kafka_coord_req_fsm`), which may never happen. Therefore the call runs on a thread of its own,
    /// and that thread keeps the client for as long as it needs it.
    pub(crate) fn send_offsets(
        &self,
        offsets: &TopicPartitionList,
        group: &GroupMetadata,
        within: Duration,
    ) -> Result<(), KafkaClientError> {
        // The thread may outlive this call: it gets its own references and copies.
        let (client, offsets, group) = (Arc::clone(&self.client), offsets.clone(), group.clone());
        let (done, answer) = mpsc::channel();
        let call = move || {
            // SAFETY: client, list and metadata live until the call is back; the answer is ours. -1: the
            // transaction's time-out.
            let result = unsafe {
                KafkaClientError::take(sys::rd_kafka_send_offsets_to_transaction(
                    client.rk(),
                    offsets.ptr(),
                    group.as_ptr(),
                    -1,
                ))
            };

            // The client goes before the answer. The receiver may drop the last client, and it must be the
            // one that waits for the client's end.
            drop(client);
            let _ = done.send(result);
        };

        // Both errors below ask for a new producer.
        let timed_out = || {
            let mut error = KafkaClientError::of(sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__TIMED_OUT);
            error.text = format!("no answer within {within:?}; the producer is left behind");
            error
        };

        match std::thread::Builder::new().name("send-offsets".into()).spawn(call) {
            Ok(_) => answer.recv_timeout(within).unwrap_or_else(|_| Err(timed_out())),
            Err(error) => {
                let mut refused =
                    KafkaClientError::of(sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE);
                refused.text = format!("starting a thread: {error}");
                Err(refused)
            }
        }
    }

    /// Commits. A time-out is retriable: the same call goes on where the last one stopped.
    pub(crate) fn commit(&self) -> Result<(), KafkaClientError> {
        // SAFETY: the client is live; the answer is ours.
        unsafe { KafkaClientError::take(sys::rd_kafka_commit_transaction(self.client.rk(), STEP_MS)) }
    }

    /// Aborts. A time-out is retriable: the same call goes on where the last one stopped.
    pub(crate) fn abort(&self) -> Result<(), KafkaClientError> {
        // SAFETY: the client is live; the answer is ours.
        unsafe { KafkaClientError::take(sys::rd_kafka_abort_transaction(self.client.rk(), STEP_MS)) }
    }
}

impl Drop for NativeProducer {
    fn drop(&mut self) {
        for topic in self.topics.drain(..) {
            // SAFETY: each handle is ours and destroyed once, before its client.
            unsafe { sys::rd_kafka_topic_destroy(topic.handle) }
        }
    }
}

/// The value of one part of a produce call.
type ProduceValue = sys::rd_kafka_vu_s__bindgen_ty_1;

/// Lends bytes to a produce call.
fn memory(bytes: &[u8]) -> ProduceValue {
    let ptr = bytes.as_ptr().cast_mut().cast::<c_void>();
    ProduceValue { mem: sys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 { ptr, size: bytes.len() } }
}

/// A list of headers that is ours until a record takes it.
struct NativeHeaders(*mut sys::rd_kafka_headers_t);

impl NativeHeaders {
    /// Copies the headers of a record into a list.
    fn new(headers: &[Header<'_>]) -> Result<Self, KafkaClientError> {
        // SAFETY: the list is new and ours; names and values are lent with their lengths and copied. A null value is
        // none, and its length then says nothing.
        unsafe {
            let list = Self(sys::rd_kafka_headers_new(headers.len()));
            for header in headers {
                let (value, length) = match header.value {
                    Some(value) => (value.as_ptr().cast::<c_void>(), value.len()),
                    None => (ptr::null(), 0),
                };
                KafkaClientError::check(sys::rd_kafka_header_add(
                    list.0,
                    header.name.as_ptr().cast(),
                    header.name.len().cast_signed(),
                    value,
                    length.cast_signed(),
                ))?;
            }
            Ok(list)
        }
    }

    /// Gives the list up: the record owns it now.
    fn taken(mut self) {
        self.0 = ptr::null_mut();
    }
}

impl Drop for NativeHeaders {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: ours, as no record has taken it.
            unsafe { sys::rd_kafka_headers_destroy(self.0) }
        }
    }
}
