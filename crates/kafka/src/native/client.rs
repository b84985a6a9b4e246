//! A client's handle. It is made here, asked for errors, and destroyed within a time limit.

use std::ffi::{CStr, c_char, c_int};
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka_sys as sys;

use super::callbacks::{self, ClientCallbacks};
use super::token::SaslTokenKeeper;

/// The time that a client may take to be destroyed. After it the client is left to itself: with its
/// coordinator away it can hang.
const DESTROY: Duration = Duration::from_secs(10);

/// An error of librdkafka with the actions that it allows.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{code}{}{text}", if text.is_empty() { "" } else { ": " })]
pub(crate) struct KafkaClientError {
    /// The code.
    pub code: RDKafkaErrorCode,
    /// librdkafka's own text. It names brokers, topics and groups, never a record's content.
    pub text: String,
    /// The client cannot be used any more.
    pub fatal: bool,
    /// The same call with the same arguments may work.
    pub retriable: bool,
    /// The transaction has to be aborted.
    pub abortable: bool,
}

impl KafkaClientError {
    /// Builds an error of a code alone: no text, and no action that could help.
    pub(super) fn of(code: sys::rd_kafka_resp_err_t) -> Self {
        Self { code: code.into(), text: String::new(), fatal: false, retriable: false, abortable: false }
    }

    /// Turns a code into a result.
    pub(super) fn check(code: sys::rd_kafka_resp_err_t) -> Result<(), Self> {
        match code {
            sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
            code => Err(Self::of(code)),
        }
    }

    /// Takes a `rd_kafka_error_t *` over; null is success.
    ///
    /// # Safety
    /// `error` is null or was just returned by librdkafka, and is not used afterwards.
    pub(super) unsafe fn take(error: *mut sys::rd_kafka_error_t) -> Result<(), Self> {
        if error.is_null() {
            return Ok(());
        }
        // SAFETY: `error` is a live error object that we own by this function's contract; it is read, then destroyed
        // once. Its string lives as long as it does and is copied.
        unsafe {
            let taken = Self {
                code: sys::rd_kafka_error_code(error).into(),
                text: words(sys::rd_kafka_error_string(error)),
                fatal: sys::rd_kafka_error_is_fatal(error) != 0,
                retriable: sys::rd_kafka_error_is_retriable(error) != 0,
                abortable: sys::rd_kafka_error_txn_requires_abort(error) != 0,
            };
            sys::rd_kafka_error_destroy(error);
            Err(taken)
        }
    }
}

/// Copies a C string as text; null is empty.
///
/// # Safety
/// `text` is null or a string that ends in a zero and lives during the call.
pub(super) unsafe fn words(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: not null, and a live C string by this function's contract; it is copied.
    unsafe { CStr::from_ptr(text).to_string_lossy().into_owned() }
}

/// A librdkafka client.
pub(super) struct NativeClient {
    rk: NonNull<sys::rd_kafka_t>,
    callbacks: Arc<ClientCallbacks>,
    /// The thread that renews the client's access tokens. It ends before the client does.
    keeper: Option<SaslTokenKeeper>,
}

// SAFETY: librdkafka's handle may be used from any thread, and `ClientCallbacks` is Send and Sync by its fields.
unsafe impl Send for NativeClient {}
// SAFETY: as above; nothing of it is changed but by its drop.
unsafe impl Sync for NativeClient {}

impl NativeClient {
    /// Builds a client. `Err` names the property that is wrong.
    pub(super) fn new(
        config: &ClientConfig,
        kind: sys::rd_kafka_type_t,
        mut callbacks: ClientCallbacks,
    ) -> Result<Self, String> {
        let tokens = callbacks.tokens.take();
        let callbacks = Arc::new(callbacks);

        // The full text of the error would quote the value.
        let native = config.create_native_config().map_err(|error| match error {
            // Without the value: it may be a secret.
            KafkaError::ClientConfig(_, why, name, _) => format!("{name}: {why}"),
            error => error.to_string(),
        })?;

        let mut error = [0 as c_char; 512];
        // SAFETY: `native` is a live configuration. `NativeClient` keeps the callbacks until the client is destroyed. `error`
        // has the length that is passed, and ends in a zero whenever it was written.
        let rk = unsafe {
            callbacks::set(native.ptr(), kind, Arc::as_ptr(&callbacks));
            sys::rd_kafka_new(kind, native.ptr(), error.as_mut_ptr(), error.len())
        };

        match NonNull::new(rk) {
            Some(rk) => {
                // The client owns the configuration now. Only a refused configuration is still ours to free.
                let _taken = ManuallyDrop::new(native);
                // SAFETY: the client lives until `NativeClient` is dropped, which drops the keeper first.
                let keeper = tokens.map(|source| unsafe { SaslTokenKeeper::start(source, rk.as_ptr()) });
                Ok(Self { rk, callbacks, keeper })
            }
            // SAFETY: `error` is a local array that librdkafka ended with a zero.
            None => Err(unsafe { words(error.as_ptr()) }),
        }
    }

    /// Returns the handle. It is live as long as `self`.
    pub(super) fn handle(&self) -> NonNull<sys::rd_kafka_t> {
        self.rk
    }

    /// Returns the handle as a pointer for C calls.
    pub(super) fn rk(&self) -> *mut sys::rd_kafka_t {
        self.rk.as_ptr()
    }

    /// Returns the client's callbacks.
    pub(super) fn callbacks(&self) -> &ClientCallbacks {
        &self.callbacks
    }
}

impl Drop for NativeClient {
    fn drop(&mut self) {
        /// The handle and its callbacks on their way to the thread that destroys them.
        struct ClosingClient {
            rk: NonNull<sys::rd_kafka_t>,
            /// librdkafka calls back until the handle is gone.
            _callbacks: Arc<ClientCallbacks>,
        }
        // SAFETY: as for `NativeClient`.
        unsafe impl Send for ClosingClient {}
        impl ClosingClient {
            /// Destroys the handle. Blocks until librdkafka's threads have ended.
            fn destroy(self) {
                // SAFETY: the handle is ours alone: `NativeClient` is being dropped, and every borrower of it is gone. The
                // callbacks, which are held here, outlive this call. The flag keeps a consumer from waiting for its group:
                // `Member` has left it already, or has given up on it.
                unsafe {
                    sys::rd_kafka_destroy_flags(
                        self.rk.as_ptr(),
                        sys::RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE as c_int,
                    );
                }
            }
        }

        // The keeper's thread uses the handle: it has to end first.
        self.keeper = None;

        // A thread of its own destroys the client, and this one waits for it no longer than `DESTROY`.
        let last = ClosingClient { rk: self.rk, _callbacks: Arc::clone(&self.callbacks) };
        let (done, ended) = mpsc::channel();
        let thread = std::thread::Builder::new().name("kafka-close".into()).spawn(move || {
            last.destroy();
            let _ = done.send(());
        });

        // Without a thread the handle leaks, and a few threads leak with it. That is better than a lane that
        // never ends.
        if thread.is_err() || ended.recv_timeout(DESTROY).is_err() {
            tracing::warn!("a Kafka client did not end within 10 s and is left behind");
        }
    }
}
