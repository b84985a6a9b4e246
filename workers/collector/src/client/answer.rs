//! Answers of the API, and the trouble that an answer can bring.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Url;
use reqwest::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, LINK, TRANSFER_ENCODING};
use sluice_core::Fault;
use sluice_runtime::metrics::{self, ProgressCounter};

use super::unpack::GzipUnpacker;
use crate::page::PageError;

/// An answer whose body has still to be read. The body comes decompressed.
pub(crate) struct ApiAnswer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// The URL that was answered, without credentials. Relative URLs in the page are relative to it.
    pub(crate) url: Url,
    /// The wait that the headers ask for.
    pub(crate) asked: Option<Duration>,
    /// Whether the end of the body is certain, by a length or by the protocol.
    delimited: bool,
    source: AnswerSource,
    /// Bytes of the body so far.
    bytes: u64,
    /// The largest body in bytes.
    limit: u64,
}

/// The origin of a body.
enum AnswerSource {
    Network(Box<reqwest::Response>),
    /// A compressed body.
    Packed(Box<reqwest::Response>, Box<GzipUnpacker>),
    /// A body that was recorded earlier; `None` once it was read.
    Memory(Option<Bytes>),
}

impl ApiAnswer {
    /// Wraps a response. `limit` is the largest body in bytes.
    pub(crate) fn new(response: reqwest::Response, url: Url, asked: Option<Duration>, limit: u64) -> Self {
        let (status, mut headers) = (response.status().as_u16(), response.headers().clone());
        let delimited = headers.contains_key(CONTENT_LENGTH)
            || headers.contains_key(TRANSFER_ENCODING)
            || response.version() >= reqwest::Version::HTTP_2;

        // The names of codings have no case, and one has two (RFC 9110, 8.4.1). A charset is no coding, but some
        // servers write it there.
        let coding = headers.get(CONTENT_ENCODING).and_then(|value| value.to_str().ok());
        let coding = coding.map(|coding| coding.trim().to_ascii_lowercase()).unwrap_or_default();
        let response = Box::new(response);
        let source = match coding.as_str() {
            "gzip" | "x-gzip" => {
                headers.remove(CONTENT_ENCODING);
                headers.remove(CONTENT_LENGTH);
                AnswerSource::Packed(response, Box::default())
            }
            "" | "identity" | "none" | "binary" | "8bit" | "utf-8" | "utf8" | "us-ascii" | "ascii" => {
                headers.remove(CONTENT_ENCODING);
                AnswerSource::Network(response)
            }
            _ => AnswerSource::Network(response),
        };
        Self { status, headers, url, asked, delimited, source, bytes: 0, limit }
    }

    /// Makes an answer from a recording.
    pub(crate) fn recorded(status: u16, headers: HeaderMap, url: Url, body: Bytes, limit: u64) -> Self {
        let source = AnswerSource::Memory(Some(body));
        Self { status, headers, url, asked: None, delimited: true, source, bytes: 0, limit }
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
            AnswerSource::Packed(response, unpacker) => loop {
                // Pieces of bounded size come out of what has arrived, then more arrives.
                let unpacked = unpacker.next_piece().map_err(|_| undecodable())?;
                if let Some(piece) = unpacked {
                    break Some(piece);
                }
                match response.chunk().await.map_err(|error| away(&error))? {
                    Some(packed) => unpacker.feed(packed),
                    None => break unpacker.finish().map_err(|_| undecodable())?,
                }
            },
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
    pub(crate) fn links(&self) -> Vec<Vec<u8>> {
        self.headers.get_all(LINK).iter().map(|value| value.as_bytes().to_vec()).collect()
    }

    /// Returns the bytes of one header.
    pub(crate) fn header_bytes(&self, name: &str) -> Option<&[u8]> {
        self.headers.get(name).map(|value| value.as_bytes())
    }

    /// Tells whether the body was read to its end and was empty. An answer whose end is only that of its connection
    /// may have lost its body.
    pub(crate) const fn is_empty(&self) -> bool {
        self.bytes == 0 && self.delimited
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

/// Describes a request that failed. The URL is left out because it holds the id.
pub(super) fn away(error: &reqwest::Error) -> AnswerTrouble {
    let kind = if error.is_connect() { TroubleKind::Away } else { TroubleKind::Unwell };
    AnswerTrouble::Passing { what: connection_trouble(error), asked: None, kind }
}

/// Describes a body that cannot be decompressed.
fn undecodable() -> AnswerTrouble {
    AnswerTrouble::Passing {
        what: "the body cannot be decompressed".to_owned(),
        asked: None,
        kind: TroubleKind::Unwell,
    }
}

/// Returns what went wrong with a connection. Of the URL only the host is named, because the path holds the id.
pub(crate) fn connection_trouble(error: &reqwest::Error) -> String {
    // All three timeouts look alike here: connect_timeout_seconds, timeout_seconds, longest_answer_seconds.
    if error.is_timeout() {
        return "the answer did not come within the timeouts of `api`".to_owned();
    }
    if !error.is_connect() {
        return "the answer broke off".to_owned();
    }
    let host = error.url().and_then(reqwest::Url::host_str).unwrap_or("the API");
    format!("no connection to {host}: {}", last_cause(error))
}

/// Returns the cause at the end of an error's chain, for example that a connection was refused.
fn last_cause(error: &reqwest::Error) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last.to_string()
}

/// The kind of trouble that may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TroubleKind {
    /// Only this page is wrong.
    Page,
    /// The API asks for a wait. This is never an attempt.
    Busy,
    /// The API is unwell: a status 5xx, no answer, an answer that broke off.
    Unwell,
    /// There is no connection to the API. This is never an attempt.
    Away,
}

/// The trouble with one answer. Its text is for an operator and holds no values of records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AnswerTrouble {
    /// The trouble may be gone next time.
    Passing {
        what: String,
        /// The API asked for this wait before the next request.
        asked: Option<Duration>,
        kind: TroubleKind,
    },
    /// Another request cannot help: the id is dead.
    Hopeless(String),
    /// The API refused our credentials with this status: the worker stops.
    Denied(u16),
    /// The API refused this id with 403. If others are answered, it is the id's trouble.
    Forbidden,
    /// The worker is stopping.
    Stopped,
}

/// The reason why a page did not come, after all retries.
#[derive(Debug)]
pub(crate) enum PageRefusal {
    /// The worker is stopping.
    Stopped,
    /// The id is given back and tried again after the pause.
    Later { pause: Duration, reason: String, kind: TroubleKind },
    /// The id is dead.
    Dead(String),
    /// The worker must stop.
    Fatal(Fault),
}

impl AnswerTrouble {
    /// Makes trouble that may pass and is no outage of the API.
    pub(crate) fn passing(what: impl Into<String>) -> Self {
        Self::Passing { what: what.into(), asked: None, kind: TroubleKind::Page }
    }

    /// Makes trouble from a status that asks for a repetition.
    pub(crate) fn status(status: u16, asked: Option<Duration>) -> Self {
        // A status with a wait is a wish, also 503. Without one, 5xx is an outage; an API that answers 429 is well.
        let kind = match status {
            _ if asked.is_some() => TroubleKind::Busy,
            403 | 425 | 429 => TroubleKind::Busy,
            500.. => TroubleKind::Unwell,
            _ => TroubleKind::Page,
        };
        Self::Passing { what: format!("the API answered {status}"), asked, kind }
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
            Self::Forbidden => f.write_str("the API refused this id with 403"),
            Self::Stopped => f.write_str("the worker is stopping"),
        }
    }
}
