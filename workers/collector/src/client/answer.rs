//! Answers of the API, and the trouble that an answer can bring.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderValue, LINK};
use sluice_core::Fault;
use sluice_runtime::metrics::{self, ProgressCounter};

use crate::page::PageError;

/// An answer whose body has still to be read. The body comes decompressed.
pub(crate) struct ApiAnswer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// The wait of a valid `Retry-After`.
    pub(crate) asked: Option<Duration>,
    source: AnswerSource,
    /// Bytes of the body so far.
    bytes: u64,
    /// The largest body in bytes.
    limit: u64,
}

/// The origin of a body.
enum AnswerSource {
    Network(reqwest::Response),
    /// A body that was recorded earlier; `None` once it was read.
    Memory(Option<Bytes>),
}

impl ApiAnswer {
    /// Wraps a response. `limit` is the largest body in bytes.
    pub(crate) fn new(response: reqwest::Response, asked: Option<Duration>, limit: u64) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, asked, source: AnswerSource::Network(response), bytes: 0, limit }
    }

    /// Makes an answer from a recording.
    pub(crate) fn recorded(status: u16, headers: HeaderMap, body: Bytes, limit: u64) -> Self {
        Self { status, headers, asked: None, source: AnswerSource::Memory(Some(body)), bytes: 0, limit }
    }

    /// Returns the next piece of the body, and `None` at its end. Memory holds no more of the body than this
    /// piece.
    ///
    /// # Errors
    /// [`AnswerTrouble::Passing`] if the connection fails; [`AnswerTrouble::Hopeless`] if the body exceeds
    /// its limit.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, AnswerTrouble> {
        let chunk = match &mut self.source {
            AnswerSource::Network(response) => response.chunk().await.map_err(|error| away(&error))?,
            AnswerSource::Memory(body) => body.take().filter(|body| !body.is_empty()),
        };

        // The limit counts decompressed bytes: a small answer may unpack to a huge one.
        let length = chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        self.bytes += length;
        metrics::progress(ProgressCounter::AnswerBytes, length);
        if self.bytes > self.limit {
            return Err(AnswerTrouble::Hopeless(format!(
                "the page has more than {} bytes (`api.max_page`)",
                self.limit
            )));
        }
        Ok(chunk)
    }

    /// Returns the number of bytes of the body that were read so far.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns all `Link` headers.
    pub(crate) fn links(&self) -> Vec<String> {
        let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
        self.headers.get_all(LINK).iter().filter_map(text).collect()
    }

    /// Returns the text of one header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Returns the encoding of a body that we cannot read. A body that was decompressed has lost this header.
    pub(crate) fn encoding(&self) -> Option<String> {
        let encoding = self.header("content-encoding")?.trim();
        // The text is no value of a record, but it comes from the API and goes into a message: keep it short
        // and plain.
        let plain: String = encoding.chars().filter(char::is_ascii_graphic).take(40).collect();
        (!plain.is_empty() && !plain.eq_ignore_ascii_case("identity")).then_some(plain)
    }

    /// Tells whether the content type is HTML.
    pub(crate) fn is_html(&self) -> bool {
        self.header("content-type").is_some_and(|kind| kind.contains("html"))
    }
}

/// Describes a connection that failed. Of the URL only the host is named, because the path holds the id.
pub(super) fn away(error: &reqwest::Error) -> AnswerTrouble {
    let what = match () {
        // All three timeouts look alike here: connect_timeout_seconds, timeout_seconds,
        // longest_answer_seconds.
        () if error.is_timeout() => "the answer did not come within the timeouts of `api`".to_owned(),
        () if error.is_connect() => {
            let host = error.url().and_then(reqwest::Url::host_str).unwrap_or("the API");
            format!("no connection to {host}: {}", last_cause(error))
        }
        () if error.is_decode() => "the body cannot be decompressed".to_owned(),
        () => "the answer broke off".to_owned(),
    };
    AnswerTrouble::Passing { what, asked: None, outage: true }
}

/// Returns the cause at the end of an error's chain, for example that a connection was refused.
fn last_cause(error: &reqwest::Error) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last.to_string()
}

/// The trouble with one answer. Its text is for an operator and holds no values of records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AnswerTrouble {
    /// The trouble may be gone next time.
    Passing {
        what: String,
        /// The API asked for this wait before the next request.
        asked: Option<Duration>,
        /// True if the API is away or unwell; false if only this page is wrong.
        outage: bool,
    },
    /// Another request cannot help: the id is dead.
    Hopeless(String),
    /// The API refused our credentials with this status: the worker stops.
    Denied(u16),
    /// The worker is stopping.
    Stopped,
}

/// The reason why a page did not come, after all retries.
#[derive(Debug)]
pub(crate) enum PageRefusal {
    /// The worker is stopping.
    Stopped,
    /// The id is given back and tried again after the pause.
    Later { pause: Duration, reason: String },
    /// The id is dead.
    Dead(String),
    /// The worker must stop.
    Fatal(Fault),
}

impl AnswerTrouble {
    /// Makes trouble that may pass and is no outage of the API.
    pub(crate) fn passing(what: impl Into<String>) -> Self {
        Self::Passing { what: what.into(), asked: None, outage: false }
    }

    /// Makes trouble from a status that asks for a repetition.
    pub(crate) fn status(status: u16, asked: Option<Duration>) -> Self {
        // Only 5xx is an outage. An API that answers 429 is well.
        Self::Passing { what: format!("the API answered {status}"), asked, outage: status >= 500 }
    }

    /// Makes trouble from a page that cannot be read. A truncated page may come whole next time, and an error
    /// page in HTML may go away. A page that has changed behind its published part will not change back.
    pub(crate) fn page(error: &PageError, html: bool) -> Self {
        if matches!(error, PageError::Changed(_)) {
            return Self::Hopeless(format!("page: {error}"));
        }
        Self::passing(if html { format!("an HTML page: {error}") } else { format!("page: {error}") })
    }
}

impl fmt::Display for AnswerTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passing { what, .. } | Self::Hopeless(what) => f.write_str(what),
            Self::Denied(status) => write!(f, "the API refused the credentials with {status}"),
            Self::Stopped => f.write_str("the worker is stopping"),
        }
    }
}
