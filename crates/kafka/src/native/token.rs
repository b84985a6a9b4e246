//! A client that logs in by token: a thread beside it hands it a fresh one before the old one ends.
//!
//! librdkafka would ask for a token by an event on the client's main queue, which an admin client never polls and a
//! batch call does not serve. Handing it over unasked works for every kind of client, whoever polls it.

use std::ffi::{CString, c_char};
use std::ops::Deref;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;

use rdkafka::ClientContext;
use rdkafka::admin::AdminClient;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka_sys as sys;

use crate::token::{SaslToken, SaslTokenAnswer, SaslTokenSource};

/// A client and, if it logs in by token, the thread that keeps it in tokens. The thread ends before the client does.
pub(crate) struct SaslTokenClient<T> {
    // Fields are dropped in this order: the keeper's thread is over before the client is gone.
    _keeper: Option<SaslTokenKeeper>,
    client: T,
}

/// Whatever has a librdkafka client that lives as long as itself.
pub(crate) trait HandleOwner {
    /// The client's handle.
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
    /// Takes a client over; `source` is where its tokens come from, if it needs any.
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

/// The thread; dropping it ends and awaits it.
pub(super) struct SaslTokenKeeper {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl SaslTokenKeeper {
    /// Starts to keep a client in tokens.
    ///
    /// # Safety
    /// The client lives until the keeper was dropped.
    pub(super) unsafe fn start(source: SaslTokenSource, rk: *mut sys::rd_kafka_t) -> Self {
        let client = ClientPointer(rk);
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = std::thread::Builder::new().name("kafka-token".into()).spawn(move || {
            let mut source = source;
            loop {
                let (answer, next) = source.ask();
                match answer {
                    SaslTokenAnswer::Token(token) => client.set(&token),
                    SaslTokenAnswer::Refused(why) => client.refuse(&why),
                    // The old token may have life left; librdkafka says it when brokers refuse it.
                    SaslTokenAnswer::Outage(why) => {
                        tracing::warn!(why, "no new token for Kafka; trying again")
                    }
                }
                match stopped.recv_timeout(next) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        });
        if let Err(error) = &thread {
            tracing::error!(%error, "starting the thread that keeps tokens");
        }
        Self { stop: Some(stop), thread: thread.ok() }
    }
}

impl Drop for SaslTokenKeeper {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct ClientPointer(*mut sys::rd_kafka_t);

// SAFETY: librdkafka's handle may be used from any thread.
unsafe impl Send for ClientPointer {}

impl ClientPointer {
    fn set(&self, token: &SaslToken) {
        let (Ok(value), Ok(who)) = (CString::new(token.value.as_str()), CString::new(token.who.as_str()))
        else {
            return self.refuse("the token endpoint's answer holds a zero byte");
        };
        let mut words = [0 as c_char; 256];
        // SAFETY: the client is live (`SaslTokenKeeper::start`); both strings live during the call and are copied; `words` is
        // as long as is said. Extensions: none.
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
        if code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            // librdkafka's words on this quote the token's characters: not repeated.
            self.refuse(
                "librdkafka does not take the token: expired on arrival, or not made of printable characters",
            );
        }
    }

    /// The client reports it as an authentication error to whoever polls it.
    fn refuse(&self, why: &str) {
        tracing::error!(why, "no token for Kafka");
        if let Ok(why) = CString::new(why) {
            // SAFETY: the client is live (`SaslTokenKeeper::start`); the text lives during the call and is copied.
            unsafe { sys::rd_kafka_oauthbearer_set_token_failure(self.0, why.as_ptr()) };
        }
    }
}
