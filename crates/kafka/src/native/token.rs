//! A client that logs in by token. A thread beside it hands it a fresh token before the old one ends.
//!
//! librdkafka would ask for a token by an event on the client's main queue. An admin client never polls that
//! queue, and a batch call does not serve it. To hand the token over unasked works for every kind of client,
//! on whichever thread it is polled.

use std::ffi::{CString, c_char};
use std::ops::Deref;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;

use rdkafka::ClientContext;
use rdkafka::admin::AdminClient;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka_sys as sys;

use crate::token::{SaslToken, SaslTokenAnswer, SaslTokenSource};

/// A client and, if it logs in by token, the thread that renews its tokens. The thread ends before the client
/// does.
pub(crate) struct SaslTokenClient<T> {
    // Fields are dropped in this order: the keeper's thread has ended before the client goes.
    _keeper: Option<SaslTokenKeeper>,
    client: T,
}

/// A type with a librdkafka client that lives as long as the value itself.
pub(crate) trait HandleOwner {
    /// Returns the client's handle.
    fn handle(&self) -> *mut sys::rd_kafka_t;
}

impl<C: ClientContext> HandleOwner for AdminClient<C> {
    fn handle(&self) -> *mut sys::rd_kafka_t {
        self.inner().native_ptr()
    }
}

impl<C: ConsumerContext> HandleOwner for BaseConsumer<C> {
    fn handle(&self) -> *mut sys::rd_kafka_t {
        self.client().native_ptr()
    }
}

impl<T: HandleOwner> SaslTokenClient<T> {
    /// Takes a client over. `source` is the source of its tokens, if it needs any.
    pub(crate) fn new(source: Option<SaslTokenSource>, client: T) -> Self {
        let keeper = source.map(|source| {
            // SAFETY: `client` owns the handle and is dropped after the keeper, whose drop waits for its thread; it
            // is only lent out by reference, so it cannot go earlier.
            unsafe { SaslTokenKeeper::start(source, client.handle()) }
        });
        Self { _keeper: keeper, client }
    }
}

impl<T> Deref for SaslTokenClient<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.client
    }
}

/// The thread that renews tokens. Dropping it ends the thread and waits for it.
pub(super) struct SaslTokenKeeper {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl SaslTokenKeeper {
    /// Starts to renew a client's tokens.
    ///
    /// # Safety
    /// The client lives until the keeper was dropped.
    pub(super) unsafe fn start(source: SaslTokenSource, rk: *mut sys::rd_kafka_t) -> Self {
        let client = ClientPointer(rk);
        let (stop, stopped) = mpsc::channel::<()>();

        // The thread asks, hands the answer over, and sleeps until the next request or the keeper's drop.
        let thread = std::thread::Builder::new().name("kafka-token".into()).spawn(move || {
            let mut source = source;
            loop {
                let (answer, next) = source.ask();
                match answer {
                    SaslTokenAnswer::Token(token) => client.set(&token),
                    SaslTokenAnswer::Refused(why) => client.refuse(&why),
                    // The old token may have life left. librdkafka reports it when brokers refuse the token.
                    SaslTokenAnswer::Outage(why) => {
                        tracing::warn!(
                            why,
                            "no new access token for Kafka: keeping the old one and asking again"
                        )
                    }
                }

                // The channel's end is the order to stop.
                match stopped.recv_timeout(next) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        });

        // Without the thread the client never logs in, and its callers report that.
        if let Err(error) = &thread {
            tracing::error!(%error, "the thread that renews access tokens for Kafka did not start");
        }
        Self { stop: Some(stop), thread: thread.ok() }
    }
}

impl Drop for SaslTokenKeeper {
    fn drop(&mut self) {
        // Wakes the thread from its sleep. A request that is under way is waited for.
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The client's handle on its way to the thread.
struct ClientPointer(*mut sys::rd_kafka_t);

// SAFETY: librdkafka's handle may be used from any thread.
unsafe impl Send for ClientPointer {}

impl ClientPointer {
    /// Hands a token to the client.
    fn set(&self, token: &SaslToken) {
        // A C string cannot hold a zero byte.
        let (Ok(value), Ok(who)) = (CString::new(token.value.as_str()), CString::new(token.who.as_str()))
        else {
            return self
                .refuse("the token endpoint's answer holds a zero byte; expected printable characters");
        };

        let mut words = [0 as c_char; 256];
        // SAFETY: the client is live (`SaslTokenKeeper::start`); both strings live during the call and are copied; `words` has
        // the length that is passed. Extensions: none.
        let code = unsafe {
            sys::rd_kafka_oauthbearer_set_token(
                self.0,
                value.as_ptr(),
                token.ends_ms,
                who.as_ptr(),
                std::ptr::null_mut(),
                0,
                words.as_mut_ptr(),
                words.len(),
            )
        };

        // librdkafka's text for this quotes the token's characters: it is not repeated.
        if code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            self.refuse(
                "librdkafka refused the access token: expected printable characters and an end in the future",
            );
        }
    }

    /// Tells the client that there is no token. The client reports an authentication error to the thread that
    /// polls it.
    fn refuse(&self, why: &str) {
        tracing::error!(why, "no access token for Kafka");
        if let Ok(why) = CString::new(why) {
            // SAFETY: the client is live (`SaslTokenKeeper::start`); the text lives during the call and is copied.
            unsafe { sys::rd_kafka_oauthbearer_set_token_failure(self.0, why.as_ptr()) };
        }
    }
}
