//! The API over HTTP: limits, credentials that stay with their origin, redirects by hand, bounded answers, retries.

mod answer;
mod polite;

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use reqwest::header::{DATE, HeaderMap, HeaderName, HeaderValue, LINK, LOCATION, RETRY_AFTER};
use reqwest::{StatusCode, Url};
use sluice_core::Fault;
use sluice_runtime::metrics::{self, Progress};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) use answer::{Answer, Refusal, Trouble};
pub(crate) use polite::Politeness;

use crate::config::{ApiConfig, Config, Endpoint, RawOnStatus, RawScope};
use crate::pagination::Ask;
use crate::retry_after;

/// Redirects followed in a row.
const HOPS: usize = 5;

/// The API of a job. Shared by all tasks.
pub(crate) struct Api {
    http: reqwest::Client,
    base: Url,
    credentials: Option<(HeaderName, HeaderValue)>,
    max_page: usize,
    polite: Politeness,
}

/// `Basic` credentials (RFC 7617).
pub(crate) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

impl Api {
    pub(crate) fn new(config: &Config) -> Result<Self, Fault> {
        let ApiConfig { base, headers, credentials, connect_timeout, timeout, max_page } = &config.api;
        let doing = "building the HTTP client";
        let header = |name: &str, value: &str| -> Result<(HeaderName, HeaderValue), Fault> {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| Fault::user(doing, error))?;
            let value = HeaderValue::from_str(value).map_err(|error| Fault::user(doing, error))?;
            Ok((name, value))
        };
        let mut always = HeaderMap::new();
        always.insert(reqwest::header::ACCEPT, HeaderValue::from_static("application/json"));
        for (name, value) in headers {
            let (name, value) = header(name, value)?;
            always.insert(name, value);
        }
        let credentials = match credentials {
            None => None,
            Some((name, value)) => {
                let (name, mut value) = header(name, value)?;
                value.set_sensitive(true);
                Some((name, value))
            }
        };
        let http = reqwest::Client::builder()
            .user_agent(concat!("sluicegate/", env!("CARGO_PKG_VERSION")))
            .default_headers(always)
            .connect_timeout(*connect_timeout)
            .timeout(*timeout)
            .gzip(true)
            // Followed here, so that we decide what goes along.
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(config.concurrency)
            .build()
            .map_err(|error| Fault::user(doing, error))?;
        let polite = Politeness::new(config.requests_per_second, &config.retry);
        Ok(Self { http, base: base.clone(), credentials, max_page: *max_page, polite })
    }

    /// Is the API away for everyone, so that ids should not pay for it with their attempts?
    pub(crate) fn is_away(&self) -> bool {
        self.polite.is_away()
    }

    /// Asks for a page until `accept` takes the answer, the retries are spent, or `stop`.
    pub(crate) async fn page<T>(
        &self,
        endpoint: &Endpoint,
        id: &str,
        ask: &Ask<'_>,
        stop: &CancellationToken,
        mut accept: impl FnMut(&Answer) -> Result<T, Trouble>,
    ) -> Result<Option<T>, Refusal> {
        let url = self.url(endpoint, id, ask).map_err(Refusal::Dead)?;
        let mut attempt = 0;
        loop {
            tokio::select! {
                () = self.polite.permit() => {}
                () = stop.cancelled() => return Err(Refusal::Stopped),
            }
            self.polite.request();
            let answered = self.once(&url).await;
            let taken =
                answered.and_then(|answer| self.judge(endpoint, answer)).and_then(|answer| match answer {
                    None => Ok(None),
                    Some(answer) => accept(&answer).map(Some),
                });
            let trouble = match taken {
                Ok(taken) => {
                    self.polite.success();
                    return Ok(taken);
                }
                Err(trouble) => trouble,
            };
            attempt += 1;
            let wait = self.after(&trouble, attempt)?;
            metrics::progress(Progress::Retries, 1);
            tracing::debug!(endpoint = endpoint.name, %trouble, attempt, ?wait, "asking again");
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => return Err(Refusal::Stopped),
            }
        }
    }

    /// How long to wait before the next attempt; or why there is none.
    fn after(&self, trouble: &Trouble, attempt: u32) -> Result<Duration, Refusal> {
        match trouble {
            Trouble::Hopeless(why) => return Err(Refusal::Dead(why.clone())),
            Trouble::Denied(status) => {
                let why = format!(
                    "the API says {status}; nothing was skipped, mend the credentials and start again"
                );
                return Err(Refusal::Fatal(Fault::user("asking the API", why)));
            }
            Trouble::Passing { asked, outage, .. } => {
                if *outage {
                    self.polite.failure();
                }
                if let Some(asked) = asked
                    && self.polite.scope() == RawScope::Host
                {
                    self.polite.hold_back(Instant::now() + *asked);
                }
            }
        }
        let asked = match trouble {
            Trouble::Passing { asked, .. } => *asked,
            Trouble::Denied(_) | Trouble::Hopeless(_) => None,
        };
        let give_back = |pause| Err(Refusal::Later { pause, reason: trouble.to_string() });
        if let Some(asked) = asked.filter(|asked| *asked > self.polite.longest_wait()) {
            return give_back(asked);
        }
        let wait = self.polite.backoff(attempt - 1).max(asked.unwrap_or_default());
        if attempt >= self.polite.attempts() || !self.polite.may_retry() {
            return give_back(wait);
        }
        Ok(wait)
    }

    fn url(&self, endpoint: &Endpoint, id: &str, ask: &Ask<'_>) -> Result<Url, String> {
        let first = format!("{}{}", self.base.as_str().trim_end_matches('/'), endpoint.path.fill(id));
        let mut url = Url::parse(&first).map_err(|_| "the id does not make a URL".to_owned())?;
        match ask {
            Ask::Plain => {}
            Ask::Query(name, value) => drop(url.query_pairs_mut().append_pair(name, value)),
            Ask::Url(next) => {
                url = url.join(next).map_err(|_| "the next page's URL is not a URL".to_owned())?;
                if !matches!(url.scheme(), "http" | "https") {
                    return Err("the next page's URL is not http or https".to_owned());
                }
            }
        }
        Ok(url)
    }

    /// One request, redirects followed, the whole body read.
    async fn once(&self, url: &Url) -> Result<Answer, Trouble> {
        let mut url = url.clone();
        for _ in 0..=HOPS {
            metrics::progress(Progress::Requests, 1);
            let mut request = self.http.get(url.clone());
            // Scheme, host and port: the credentials are for nobody else.
            if let Some((name, value)) = &self.credentials
                && url.origin() == self.base.origin()
            {
                request = request.header(name, value);
            }
            let response = request.send().await.map_err(|error| away(&error))?;
            let status = response.status();
            if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
                return self.body(response).await;
            }
            let target = response.headers().get(LOCATION).and_then(|target| target.to_str().ok());
            let target = target.and_then(|target| url.join(target).ok());
            url = match target {
                Some(target) if matches!(target.scheme(), "http" | "https") => target,
                _ => return Err(Trouble::passing(format!("{status} without a usable Location"))),
            };
        }
        Err(Trouble::Hopeless(format!("more than {HOPS} redirects in a row")))
    }

    async fn body(&self, mut response: reqwest::Response) -> Result<Answer, Trouble> {
        let status = response.status();
        let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
        let headers = response.headers();
        let date = headers.get(DATE).and_then(text);
        let asked = headers.get(RETRY_AFTER).and_then(text);
        let asked = asked.and_then(|asked| retry_after::wait(&asked, date.as_deref(), SystemTime::now()));
        let links = headers.get_all(LINK).iter().filter_map(text).collect();
        let html = headers
            .get(reqwest::header::CONTENT_TYPE)
            .and_then(text)
            .is_some_and(|kind| kind.contains("html"));
        let mut body = Vec::new();
        if status.is_success() {
            while let Some(chunk) = response.chunk().await.map_err(|error| away(&error))? {
                if body.len() + chunk.len() > self.max_page {
                    return Err(Trouble::Hopeless(format!("a page of more than {} bytes", self.max_page)));
                }
                body.extend_from_slice(&chunk);
            }
        }
        metrics::progress(Progress::AnswerBytes, body.len() as u64);
        Ok(Answer { status: status.as_u16(), body, links, asked, html })
    }

    /// The status, by the endpoint's rules and then by the usual ones. `None`: there is nothing, by rule.
    fn judge(&self, endpoint: &Endpoint, answer: Answer) -> Result<Option<Answer>, Trouble> {
        let status = answer.status;
        match endpoint.on_status.get(&status) {
            Some(RawOnStatus::None) => return Ok(None),
            Some(RawOnStatus::Dead) => return Err(Trouble::Hopeless(format!("the API says {status}"))),
            Some(RawOnStatus::Retry) => return Err(Trouble::status(status, answer.asked)),
            None => {}
        }
        match StatusCode::from_u16(status) {
            Ok(StatusCode::NO_CONTENT) => Ok(None),
            Ok(code) if code.is_success() => Ok(Some(answer)),
            Ok(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Err(Trouble::Denied(status)),
            Ok(code) if code.is_server_error() || matches!(status, 408 | 425 | 429) => {
                Err(Trouble::status(status, answer.asked))
            }
            _ => Err(Trouble::Hopeless(format!("the API says {status}"))),
        }
    }
}

/// A neighbour that did not answer. The URL is left out: it holds the id.
fn away(error: &reqwest::Error) -> Trouble {
    let what = match () {
        () if error.is_timeout() => "no answer in time",
        () if error.is_connect() => "no connection",
        () if error.is_decode() => "a body that cannot be decompressed",
        () => "the answer broke off",
    };
    Trouble::Passing { what: what.to_owned(), asked: None, outage: true }
}
