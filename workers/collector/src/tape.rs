//! An API's answers, recorded into a folder and played from it: a job's own tests need no API.
//!
//! One file per request, named after a hash of method, path, query and body; JSON that can be read, mended and
//! committed. What was asked with credentials is recorded without them. Bodies are as the API sent them: a folder of
//! recordings is as confidential as the raw topic.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr as _;

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, SET_COOKIE};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::client::{AnswerTrouble, ApiAnswer};
use crate::request::PageRequest;

/// Recordings are held in memory whole.
const LARGEST: usize = 64 << 20;

/// A folder of answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerTape {
    /// Ask the API and keep its answers here; an answer that is there already is replaced.
    Record(PathBuf),
    /// Ask nobody.
    Replay(PathBuf),
}

/// One file.
#[derive(Serialize, Deserialize)]
struct TapedAnswer {
    /// For people: method, path and query.
    request: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    status: u16,
    headers: BTreeMap<String, String>,
    answer: String,
}

impl AnswerTape {
    /// The recorded answer, if answers are played.
    pub(crate) fn play(&self, request: &PageRequest, limit: u64) -> Result<Option<ApiAnswer>, AnswerTrouble> {
        let Self::Replay(folder) = self else { return Ok(None) };
        let (name, shown) = name(request);
        let file = folder.join(&name);
        let text = std::fs::read_to_string(&file).map_err(|error| {
            AnswerTrouble::Hopeless(format!(
                "no recording of {shown} ({name}: {error}); make one with --record"
            ))
        })?;
        let recorded: TapedAnswer = serde_json::from_str(&text)
            .map_err(|error| AnswerTrouble::Hopeless(format!("{name} is not a recording: {error}")))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &recorded.headers {
            if let (Ok(name), Ok(value)) = (HeaderName::from_str(name), HeaderValue::from_str(value)) {
                headers.append(name, value);
            }
        }
        Ok(Some(ApiAnswer::recorded(recorded.status, headers, Bytes::from(recorded.answer), limit)))
    }

    /// Reads the answer to its end and keeps it.
    pub(crate) async fn record(
        &self,
        request: &PageRequest,
        mut answer: ApiAnswer,
    ) -> Result<ApiAnswer, AnswerTrouble> {
        let Self::Record(folder) = self else { return Ok(answer) };
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            body.extend_from_slice(&chunk);
            if body.len() > LARGEST {
                return Err(AnswerTrouble::Hopeless(format!(
                    "an answer of more than {LARGEST} bytes to be recorded"
                )));
            }
        }
        let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
        let kept = answer.headers.iter().filter(|(name, _)| **name != SET_COOKIE);
        let (name, shown) = name(request);
        let recorded = TapedAnswer {
            request: shown,
            body: request.body.clone(),
            status: answer.status,
            headers: kept.filter_map(|(name, value)| Some((name.to_string(), text(value)?))).collect(),
            // What is not UTF-8 is no JSON either; the replay stumbles over the same place.
            answer: String::from_utf8_lossy(&body).into_owned(),
        };
        let written = std::fs::create_dir_all(folder).and_then(|()| {
            let text = serde_json::to_string_pretty(&recorded).unwrap_or_default();
            std::fs::write(folder.join(&name), text + "\n")
        });
        written.map_err(|error| AnswerTrouble::Hopeless(format!("{name} cannot be written: {error}")))?;
        let asked = answer.asked;
        let mut played = ApiAnswer::recorded(answer.status, answer.headers, body.into(), u64::MAX);
        played.asked = asked;
        Ok(played)
    }
}

/// File name, and the request for people. The host is not part of it: recordings are moved between environments.
fn name(request: &PageRequest) -> (String, String) {
    let PageRequest { url, body, .. } = request;
    let method = if body.is_some() { "POST" } else { "GET" };
    let query = url.query().map_or_else(String::new, |query| format!("?{query}"));
    let shown = format!("{method} {}{query}", url.path());
    let hash = Sha256::digest(format!("{shown}\n{}", body.as_deref().unwrap_or_default()));
    (format!("{}.json", hex::encode(&hash[..8])), shown)
}
