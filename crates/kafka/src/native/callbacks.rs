//! The callbacks of librdkafka: five `extern "C"` functions around one set of closures.

use std::any::Any;
use std::ffi::{c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka_sys as sys;

use super::client::{KafkaClientError, words};
use super::handle::{AssignmentChange, ConsumerHandle, RebalanceList};
use crate::is_denied;
use crate::token::SaslTokenSource;

/// Takes a change of assignment. It has to answer through the handle.
type RebalanceCallback = dyn Fn(&ConsumerHandle<'_>, AssignmentChange, &mut RebalanceList<'_>) + Send + Sync;
/// Takes statistics as JSON.
type StatisticsCallback = dyn Fn(&[u8]) + Send + Sync;

/// The callbacks of a client. They live as long as the client.
#[derive(Default)]
pub(crate) struct ClientCallbacks {
    /// A change of assignment, on the polling thread.
    pub on_rebalance: Option<Box<RebalanceCallback>>,
    /// Statistics as JSON, on the polling thread.
    pub on_statistics: Option<Box<StatisticsCallback>>,
    /// The source of access tokens, for a client that logs in by token.
    pub tokens: Option<SaslTokenSource>,
    /// The last general error that was not yet taken. An error about denied access outlasts the errors that
    /// follow from it.
    trouble: Mutex<Option<KafkaClientError>>,
    /// The first delivery that failed since the last call of [`ClientCallbacks::take_failed`].
    failed: Mutex<Option<KafkaClientError>>,
    /// A panic inside a callback, carried over the C frames to the caller that polled.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl ClientCallbacks {
    /// Runs a callback and keeps its panic.
    fn run(&self, callback: impl FnOnce()) {
        // A panic must not unwind into C. It is resumed once the polling call has returned.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(callback)) {
            *lock(&self.panic) = Some(panic);
        }
    }

    /// Takes the last general error since the last call (brokers down, authentication, …).
    pub(super) fn take_trouble(&self) -> Option<KafkaClientError> {
        lock(&self.trouble).take()
    }

    /// Takes the first delivery that failed since the last call.
    pub(super) fn take_failed(&self) -> Option<KafkaClientError> {
        lock(&self.failed).take()
    }

    /// Resumes a panic that a callback left. Call it after everything that may have run callbacks.
    pub(super) fn resume_panic(&self) {
        // The lock is released before the panic goes on.
        let panic = lock(&self.panic).take();
        if let Some(panic) = panic {
            std::panic::resume_unwind(panic);
        }
    }
}

/// Locks a mutex, also after a panic of its holder.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sets the callbacks in the configuration of a client that is not built yet.
///
/// # Safety
/// `conf` is live, and `callbacks` outlives the client that is built from it.
pub(super) unsafe fn set(
    conf: *mut sys::rd_kafka_conf_t,
    kind: sys::rd_kafka_type_t,
    callbacks: *const ClientCallbacks,
) {
    // SAFETY: by this function's contract; the functions live for ever.
    unsafe {
        sys::rd_kafka_conf_set_opaque(conf, callbacks.cast_mut().cast());
        sys::rd_kafka_conf_set_log_cb(conf, Some(on_log));
        sys::rd_kafka_conf_set_error_cb(conf, Some(on_error));
        sys::rd_kafka_conf_set_stats_cb(conf, Some(on_statistics));
        if kind == sys::rd_kafka_type_t::RD_KAFKA_CONSUMER {
            sys::rd_kafka_conf_set_rebalance_cb(conf, Some(on_rebalance));
        } else {
            sys::rd_kafka_conf_set_dr_msg_cb(conf, Some(on_delivery));
        }
    }
}

/// Writes a line of librdkafka's log to ours. It runs on any thread of librdkafka.
extern "C" fn on_log(
    _: *const sys::rd_kafka_t,
    level: c_int,
    facility: *const c_char,
    message: *const c_char,
) {
    let level = match level {
        // The numbers are those of syslog.
        0..=3 => RDKafkaLogLevel::Error,
        4 => RDKafkaLogLevel::Warning,
        5 | 6 => RDKafkaLogLevel::Info,
        _ => RDKafkaLogLevel::Debug,
    };
    // SAFETY: librdkafka lends two C strings for the length of the call.
    let (facility, message) = unsafe { (words(facility), words(message)) };
    crate::log(level, &facility, &message);
}

/// Returns the callbacks of a client.
///
/// # Safety
/// `opaque` is the `ClientCallbacks` of a live client, as set by `Client::new`.
unsafe fn callbacks<'a>(opaque: *mut c_void) -> &'a ClientCallbacks {
    // SAFETY: by this function's contract; `Client` keeps the `Arc` until after the last callback.
    unsafe { &*opaque.cast::<ClientCallbacks>() }
}

/// Notes a general error of the client.
extern "C" fn on_error(rk: *mut sys::rd_kafka_t, code: c_int, reason: *const c_char, opaque: *mut c_void) {
    // SAFETY: `opaque` is ours, `reason` a C string lent for the length of the call, `rk` the live client that calls;
    // the buffer has the length that is passed.
    unsafe {
        let callbacks = callbacks(opaque);
        callbacks.run(|| {
            let mut error = KafkaClientError::of(code_of(code));
            error.text = words(reason);

            // The code of a fatal error is a label only. The real code and its text have to be asked for.
            if error.code == RDKafkaErrorCode::Fatal {
                let mut text = [0 as c_char; 512];
                error.code = sys::rd_kafka_fatal_error(rk, text.as_mut_ptr(), text.len()).into();
                error.fatal = true;
            }

            tracing::warn!(%error, "Kafka client: librdkafka reported an error");
            // Errors that follow from denied access must not hide it.
            let mut trouble = lock(&callbacks.trouble);
            if trouble.as_ref().is_none_or(|before| !is_denied(before.code)) {
                *trouble = Some(error);
            }
        });
    }
}

/// Turns the plain number of the error callback into a code. A number that this version does not know is a
/// failure.
fn code_of(code: c_int) -> sys::rd_kafka_resp_err_t {
    sys::rd_kafka_resp_err_t::try_from(code).unwrap_or(sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__FAIL)
}

/// Hands statistics on. The answer 0 leaves their memory with librdkafka.
extern "C" fn on_statistics(
    _: *mut sys::rd_kafka_t,
    json: *mut c_char,
    length: usize,
    opaque: *mut c_void,
) -> c_int {
    // SAFETY: `opaque` is ours; `json` holds `length` bytes for the length of the call, as we answer 0 below.
    unsafe {
        let callbacks = callbacks(opaque);
        if let Some(take) = &callbacks.on_statistics
            && !json.is_null()
        {
            let json = std::slice::from_raw_parts(json.cast_const().cast::<u8>(), length);
            callbacks.run(|| take(json));
        }
    }
    0
}

/// Hands a change of assignment on. Every code but that of an assignment takes partitions away.
extern "C" fn on_rebalance(
    rk: *mut sys::rd_kafka_t,
    code: sys::rd_kafka_resp_err_t,
    list: *mut sys::rd_kafka_topic_partition_list_t,
    opaque: *mut c_void,
) {
    // An error of the group comes as a code of its own, and takes the partitions away as well.
    let change = match code {
        sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => AssignmentChange::Assign,
        _ => AssignmentChange::Revoke,
    };
    // SAFETY: `opaque` is ours; `rk` is the client that calls and `list` its list, both live for the length of the
    // call, and nothing else touches the list meanwhile.
    unsafe {
        let callbacks = callbacks(opaque);
        if let Some(take) = &callbacks.on_rebalance
            && let (Some(rk), Some(list)) = (NonNull::new(rk), NonNull::new(list))
        {
            let (handle, mut list) = (ConsumerHandle::new(rk), RebalanceList::new(list));
            callbacks.run(|| take(&handle, change, &mut list));
        }
    }
}

/// Notes the first delivery that failed. Reports of success end here.
extern "C" fn on_delivery(
    _: *mut sys::rd_kafka_t,
    message: *const sys::rd_kafka_message_t,
    opaque: *mut c_void,
) {
    // SAFETY: `opaque` is ours, the message is lent for the length of the call; only its code is read.
    unsafe {
        if let Err(error) = KafkaClientError::check((*message).err) {
            lock(&callbacks(opaque).failed).get_or_insert(error);
        }
    }
}
