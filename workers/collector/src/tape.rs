//! Recordings: an API's answers are recorded into a folder and played from it. A job's own tests then need no
//! API.
//!
//! There is one file per request, named after a hash of method, path, query and body. It is JSON that can be
//! read, mended and committed. Requests are recorded without their credentials. Bodies are recorded as the
//! API sent them: a folder of recordings is as confidential as the raw topic.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr as _;

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, SET_COOKIE};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::client::{AnswerTrouble, ApiAnswer};
use crate::request::PageRequest;

/// The largest answer that is recorded, in bytes. Memory holds a whole recording.
const LARGEST: usize = 64 << 20;

/// A folder of answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerTape {
    /// Asks the API and keeps its answers here. An answer that exists already is replaced.
    Record(PathBuf),
    /// Takes all answers from here and sends no request.
    Replay(PathBuf),
}

/// One file.
#[derive(Serialize, Deserialize)]
struct TapedAnswer {
    /// Method, path and query, for a reader of the file. The file's name identifies the request.
    request: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    status: u16,
    headers: BTreeMap<String, String>,
    answer: String,
}

impl AnswerTape {
    /// Returns the recorded answer, or `None` if answers are recorded now.
    ///
    /// # Errors
    /// [`AnswerTrouble::Hopeless`] if the recording does not exist or cannot be read.
    pub(crate) fn play(&self, request: &PageRequest, limit: u64) -> Result<Option<ApiAnswer>, AnswerTrouble> {
        let Self::Replay(folder) = self else { return Ok(None) };
        let (name, shown) = name(request);
        let file = folder.join(&name);
        let text = std::fs::read_to_string(&file).map_err(|error| {
            AnswerTrouble::Hopeless(format!(
                "no recording of {shown} ({name}: {error}); make one with --record"
            ))
        })?;
        let recorded: TapedAnswer = serde_json::from_str(&text).map_err(|error| {
            AnswerTrouble::Hopeless(format!(
                "{name}: expected a recording ({error}); make it again with --record"
            ))
        })?;
        // Headers that a hand has broken are left out.
        let mut headers = HeaderMap::new();
        for (name, value) in &recorded.headers {
            if let (Ok(name), Ok(value)) = (HeaderName::from_str(name), HeaderValue::from_str(value)) {
                headers.append(name, value);
            }
        }
        Ok(Some(ApiAnswer::recorded(
            recorded.status,
            headers,
            request.url.clone(),
            Bytes::from(recorded.answer),
            limit,
        )))
    }

    /// Reads the answer to its end, keeps it, and returns it for reading once more.
    ///
    /// # Errors
    /// The trouble of reading; [`AnswerTrouble::Hopeless`] if the answer is too large or cannot be written.
    pub(crate) async fn record(
        &self,
        request: &PageRequest,
        mut answer: ApiAnswer,
    ) -> Result<ApiAnswer, AnswerTrouble> {
        let Self::Record(folder) = self else { return Ok(answer) };

        // The whole body, up to the bound.
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            body.extend_from_slice(&chunk);
            if body.len() > LARGEST {
                return Err(AnswerTrouble::Hopeless(format!(
                    "the answer has more than {LARGEST} bytes and cannot be recorded"
                )));
            }
        }

        // The file. Cookies are credentials.
        let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
        let kept = answer.headers.iter().filter(|(name, _)| **name != SET_COOKIE);
        let (name, shown) = name(request);
        let recorded = TapedAnswer {
            request: shown,
            body: request.body.clone(),
            status: answer.status,
            headers: kept.filter_map(|(name, value)| Some((name.to_string(), text(value)?))).collect(),
            // A body that is not UTF-8 is no JSON either: the replay fails at the same place.
            answer: String::from_utf8_lossy(&body).into_owned(),
        };
        let written = std::fs::create_dir_all(folder).and_then(|()| {
            let text = serde_json::to_string_pretty(&recorded)?;
            std::fs::write(folder.join(&name), text + "\n")
        });
        written.map_err(|error| {
            AnswerTrouble::Hopeless(format!("the recording {name} cannot be written: {error}"))
        })?;

        // The body was read: the answer continues from memory. Its size was checked while it was read.
        let asked = answer.asked;
        let mut played =
            ApiAnswer::recorded(answer.status, answer.headers, answer.url, body.into(), u64::MAX);
        played.asked = asked;
        Ok(played)
    }
}

/// Returns the name of a request's file, and the request for a reader of it. The host is not part of the
/// name: recordings are moved between environments.
fn name(request: &PageRequest) -> (String, String) {
    let PageRequest { url, body, .. } = request;
    let method = if body.is_some() { "POST" } else { "GET" };
    let query = url.query().map_or_else(String::new, |query| format!("?{query}"));
    let shown = format!("{method} {}{query}", url.path());
    // Eight bytes of a hash tell the requests of one job apart.
    let hash = Sha256::digest(format!("{shown}\n{}", body.as_deref().unwrap_or_default()));
    (format!("{}.json", hex::encode(&hash[..8])), shown)
}
