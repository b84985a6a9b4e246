//! What comes back, and what is wrong with it.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderValue, LINK};
use sluice_core::Fault;
use sluice_runtime::metrics::{self, ProgressCounter};

use crate::page::PageError;

/// An answer whose body is still to come, decompressed.
pub(crate) struct ApiAnswer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// Sound `Retry-After`.
    pub(crate) asked: Option<Duration>,
    source: AnswerSource,
    bytes: u64,
    limit: u64,
}

enum AnswerSource {
    Network(reqwest::Response),
    /// Recorded earlier.
    Memory(Option<Bytes>),
}

impl ApiAnswer {
    pub(crate) fn new(response: reqwest::Response, asked: Option<Duration>, limit: u64) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, asked, source: AnswerSource::Network(response), bytes: 0, limit }
    }

    /// One that was recorded.
    pub(crate) fn recorded(status: u16, headers: HeaderMap, body: Bytes, limit: u64) -> Self {
        Self { status, headers, asked: None, source: AnswerSource::Memory(Some(body)), bytes: 0, limit }
    }

    /// The next piece of the body; never more of it in memory than that.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, AnswerTrouble> {
        let chunk = match &mut self.source {
            AnswerSource::Network(response) => response.chunk().await.map_err(|error| away(&error))?,
            AnswerSource::Memory(body) => body.take().filter(|body| !body.is_empty()),
        };
        let length = chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        self.bytes += length;
        metrics::progress(ProgressCounter::AnswerBytes, length);
        if self.bytes > self.limit {
            return Err(AnswerTrouble::Hopeless(format!("a page of more than {} bytes", self.limit)));
        }
        Ok(chunk)
    }

    /// Of the body, so far.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// All `Link` headers.
    pub(crate) fn links(&self) -> Vec<String> {
        let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
        self.headers.get_all(LINK).iter().filter_map(text).collect()
    }

    /// One header's text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// How the body is encoded, if we cannot read it: what we have decompressed has no such header any more.
    pub(crate) fn encoding(&self) -> Option<String> {
        let encoding = self.header("content-encoding")?.trim();
        // No value of a record, but the API's text all the same.
        let plain: String = encoding.chars().filter(char::is_ascii_graphic).take(40).collect();
        (!plain.is_empty() && !plain.eq_ignore_ascii_case("identity")).then_some(plain)
    }

    /// The content type says HTML.
    pub(crate) fn is_html(&self) -> bool {
        self.header("content-type").is_some_and(|kind| kind.contains("html"))
    }
}

/// A neighbour that did not answer. The URL is left out: it holds the id.
pub(super) fn away(error: &reqwest::Error) -> AnswerTrouble {
    let what = match () {
        () if error.is_timeout() => "nothing came in time",
        () if error.is_connect() => "no connection",
        () if error.is_decode() => "a body that cannot be decompressed",
        () => "the answer broke off",
    };
    AnswerTrouble::Passing { what: what.to_owned(), asked: None, outage: true }
}

/// What is wrong with one answer. Words for an operator; no values of records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AnswerTrouble {
    /// May be gone next time.
    Passing {
        what: String,
        /// Not earlier than this.
        asked: Option<Duration>,
        /// The API is not there or not well, rather than this page of it.
        outage: bool,
    },
    /// Asking again cannot help: the id is dead.
    Hopeless(String),
    /// Our credentials are refused: the worker stops.
    Denied(u16),
    /// We are stopping.
    Stopped,
}

/// Why a page did not come, after all retries.
#[derive(Debug)]
pub(crate) enum PageRefusal {
    /// We are stopping.
    Stopped,
    /// Give the id back and try after the pause.
    Later { pause: Duration, reason: String },
    /// The id is dead.
    Dead(String),
    /// The worker must stop.
    Fatal(Fault),
}

impl AnswerTrouble {
    pub(crate) fn passing(what: impl Into<String>) -> Self {
        Self::Passing { what: what.into(), asked: None, outage: false }
    }

    pub(crate) fn status(status: u16, asked: Option<Duration>) -> Self {
        // A 429 is the API being well and saying so.
        Self::Passing { what: format!("the API says {status}"), asked, outage: status >= 500 }
    }

    /// A page that cannot be read: half of it may come whole next time, and an error page in HTML may go away. One that
    /// has changed behind its published part will not change back.
    pub(crate) fn page(error: &PageError, html: bool) -> Self {
        if matches!(error, PageError::Changed(_)) {
            return Self::Hopeless(format!("a page that is {error}"));
        }
        Self::passing(if html { format!("an HTML page: {error}") } else { format!("a page that is {error}") })
    }
}

impl fmt::Display for AnswerTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passing { what, .. } | Self::Hopeless(what) => f.write_str(what),
            Self::Denied(status) => write!(f, "the API says {status}"),
            Self::Stopped => f.write_str("stopping"),
        }
    }
}
