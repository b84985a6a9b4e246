//! The API over HTTP: limits, credentials that stay with their origin, redirects by hand, retries; bodies are read by
//! whoever asked, as they arrive.

mod answer;
mod clearance;
mod gate;
mod polite;
mod window;

use std::time::{Duration, SystemTime};

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::{StatusCode, Url};
use sluice_core::Fault;
use sluice_runtime::metrics::{self, ProgressCounter};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) use answer::{AnswerTrouble, ApiAnswer, PageRefusal};
#[cfg(test)]
pub(crate) use clearance::STALE;
pub(crate) use gate::RateGate;
pub(crate) use polite::ApiPoliteness;

use crate::auth::{ApiAuthenticator, RequestCredentials};
use crate::config::{ApiConfig, ApiEndpoint, CollectorConfig, RawHoldScope, RawStatusRule};
use crate::pagination::PageSelector;
use crate::request::PageRequest;
use crate::retry_after;
use crate::tape::AnswerTape;
use crate::template::TemplateValues;

/// Redirects followed in a row.
const HOPS: usize = 5;

/// The API of a job. Shared by all tasks.
pub(crate) struct ApiClient {
    http: reqwest::Client,
    base: Url,
    /// Of every request to the API's own origin.
    headers: Vec<(HeaderName, HeaderValue)>,
    auth: ApiAuthenticator,
    max_page: u64,
    polite: ApiPoliteness,
    tape: Option<AnswerTape>,
}

/// One page, asked for until it came or there is no use in asking.
pub(crate) struct PageFetch<'a> {
    api: &'a ApiClient,
    endpoint: &'a ApiEndpoint,
    request: PageRequest,
    attempt: u32,
    /// A token that was taken back was replaced already.
    renewed: bool,
}

impl ApiClient {
    pub(crate) fn new(config: &CollectorConfig) -> Result<Self, Fault> {
        let ApiConfig { base, headers, auth, connect_timeout, timeout, longest_answer, max_page } =
            &config.api;
        let mut always = HeaderMap::new();
        always.insert(reqwest::header::ACCEPT, HeaderValue::from_static("application/json"));
        let http = reqwest::Client::builder()
            .user_agent(concat!("sluicegate/", env!("CARGO_PKG_VERSION")))
            .default_headers(always)
            .connect_timeout(*connect_timeout)
            .read_timeout(*timeout)
            .timeout(*longest_answer)
            .gzip(true)
            // Followed here, so that we decide what goes along.
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(config.concurrency)
            .build()
            .map_err(|error| Fault::user("building the HTTP client", error))?;
        Ok(Self {
            http,
            base: base.clone(),
            headers: headers.clone(),
            auth: ApiAuthenticator::new(auth.clone()),
            max_page: *max_page,
            polite: ApiPoliteness::new(&config.budgets, &config.retry),
            tape: None,
        })
    }

    /// Answers are recorded, or come from a recording.
    pub(crate) fn taped(mut self, tape: AnswerTape) -> Self {
        self.tape = Some(tape);
        self
    }

    pub(crate) const fn polite(&self) -> &ApiPoliteness {
        &self.polite
    }

    /// Is the API away for everyone, so that ids should not pay for it with their attempts?
    pub(crate) fn is_away(&self) -> bool {
        self.polite.is_away()
    }

    /// Begins to ask for a page.
    pub(crate) fn asking<'a>(
        &'a self,
        endpoint: &'a ApiEndpoint,
        values: TemplateValues<'_>,
        ask: &PageSelector<'_>,
    ) -> Result<PageFetch<'a>, PageRefusal> {
        let filled = endpoint.request.fill(&self.base, values, ask);
        let request = filled.map_err(|why| PageRefusal::Dead(why.to_owned()))?;
        Ok(PageFetch { api: self, endpoint, request, attempt: 0, renewed: false })
    }

    /// One request, redirects followed, until the answer's headers are there.
    async fn once(
        &self,
        request: &PageRequest,
        stop: &CancellationToken,
    ) -> Result<(ApiAnswer, RequestCredentials), AnswerTrouble> {
        let PageRequest { mut url, headers, mut body } = request.clone();
        if let Some(tape) = &self.tape
            && let Some(answer) = tape.play(request, self.max_page)?
        {
            return Ok((answer, RequestCredentials::default()));
        }
        for _ in 0..=HOPS {
            // Scheme, host and port: the credentials are for nobody else, nor is what the job's own headers say.
            let at_home = url.origin() == self.base.origin();
            let signed = match at_home {
                true => self.auth.sign(&self.http, &url, body.as_deref()).await?,
                false => RequestCredentials::default(),
            };
            let mut target = url.clone();
            if let Some((name, value)) = &signed.query {
                target.query_pairs_mut().append_pair(name, value);
            }
            let mut asked = match &body {
                Some(body) => {
                    self.http.post(target).header(CONTENT_TYPE, "application/json").body(body.clone())
                }
                None => self.http.get(target),
            };
            let own = self.headers.iter().chain(&headers).filter(|_| at_home);
            for (name, value) in own.chain(&signed.headers) {
                asked = asked.header(name, value);
            }
            let waits = Instant::now();
            let leave = tokio::select! {
                leave = self.polite.permit() => leave,
                () = stop.cancelled() => return Err(AnswerTrouble::Stopped),
            };
            let leave = leave.map_err(|wait| AnswerTrouble::Passing {
                what: "the API asked everybody to wait".into(),
                asked: Some(wait),
                outage: false,
            })?;
            let waited = leave.at.saturating_duration_since(waits);
            metrics::progress(ProgressCounter::RateWaitMs, waited.as_millis() as u64);
            metrics::progress(ProgressCounter::Requests, 1);
            let response = asked.send().await.map_err(|error| answer::away(&error));
            drop(leave);
            let response = response?;
            let status = response.status();
            if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
                let answer = self.listen(response);
                return match &self.tape {
                    None => Ok((answer, signed)),
                    Some(tape) => Ok((tape.record(request, answer).await?, signed)),
                };
            }
            let next = response.headers().get(LOCATION).and_then(|next| next.to_str().ok());
            url = match next.and_then(|next| url.join(next).ok()) {
                Some(next) if matches!(next.scheme(), "http" | "https") => next,
                _ => return Err(AnswerTrouble::passing(format!("{status} without a usable Location"))),
            };
            if matches!(status.as_u16(), 301..=303) {
                // As browsers do, and RFC 9110 (15.4.4) says for 303.
                body = None;
            }
        }
        Err(AnswerTrouble::Hopeless(format!("more than {HOPS} redirects in a row")))
    }

    /// What the headers say about coming again.
    fn listen(&self, response: reqwest::Response) -> ApiAnswer {
        let now = SystemTime::now();
        let headers = response.headers();
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let date = text("date");
        let asked = text("retry-after").and_then(|asked| retry_after::wait(asked, date, now));
        let status = response.status();
        if status == StatusCode::TOO_MANY_REQUESTS {
            self.polite.refused();
        }
        if asks_to_come_again(status) {
            // At once, before anybody looks at the answer.
            self.come_again(asked);
        }
        for prefix in ["x-ratelimit", "ratelimit", "x-rate-limit"] {
            let say = |what: &str| text(&format!("{prefix}-{what}"));
            if let (Some(remaining), Some(reset)) = (say("remaining"), say("reset")) {
                self.come_again(retry_after::exhausted(remaining, reset, date, now));
            }
        }
        ApiAnswer::new(response, asked, self.max_page)
    }

    /// Nobody asks for so long from now.
    fn come_again(&self, wait: Option<Duration>) {
        if let Some(wait) = wait
            && self.polite.scope() == RawHoldScope::Host
        {
            self.polite.hold_everyone_back(Instant::now() + wait);
        }
    }
}

impl PageFetch<'_> {
    /// The next answer that is worth reading; `None`: there is nothing, by rule.
    pub(crate) async fn answer(
        &mut self,
        stop: &CancellationToken,
    ) -> Result<Option<ApiAnswer>, PageRefusal> {
        loop {
            self.api.polite.request();
            let trouble = match self.api.once(&self.request, stop).await {
                Ok((answer, signed)) => match self.judge(answer) {
                    Ok(None) => {
                        self.well();
                        return Ok(None);
                    }
                    Ok(Some(answer)) => return Ok(Some(answer)),
                    Err(AnswerTrouble::Denied(401)) if !self.renewed && self.api.auth.refused(&signed) => {
                        self.renewed = true;
                        continue;
                    }
                    Err(trouble) => trouble,
                },
                Err(trouble) => trouble,
            };
            self.failed(&trouble, stop).await?;
        }
    }

    /// What is asked, for people: no credentials are in it.
    pub(crate) fn shown(&self) -> String {
        let PageRequest { url, body, .. } = &self.request;
        match body {
            None => format!("GET {url}"),
            Some(body) => format!("POST {url} {body}"),
        }
    }

    /// The answer was read to its end; keeps it if answers are recorded.
    pub(crate) fn well(&self) {
        self.api.polite.success();
    }

    /// Something was wrong with the answer: waits until the page may be asked for again, or says why it may not.
    pub(crate) async fn failed(
        &mut self,
        trouble: &AnswerTrouble,
        stop: &CancellationToken,
    ) -> Result<(), PageRefusal> {
        self.attempt += 1;
        let wait = self.after(trouble)?;
        metrics::progress(ProgressCounter::Retries, 1);
        metrics::progress(ProgressCounter::RetryWaitMs, wait.as_millis() as u64);
        tracing::debug!(endpoint = self.endpoint.name, %trouble, self.attempt, ?wait, "asking again");
        tokio::select! {
            () = tokio::time::sleep(wait) => Ok(()),
            () = stop.cancelled() => Err(PageRefusal::Stopped),
        }
    }

    /// How long to wait before the next attempt; or why there is none.
    fn after(&self, trouble: &AnswerTrouble) -> Result<Duration, PageRefusal> {
        let polite = &self.api.polite;
        let asked = match trouble {
            AnswerTrouble::Stopped => return Err(PageRefusal::Stopped),
            AnswerTrouble::Hopeless(why) => return Err(PageRefusal::Dead(why.clone())),
            AnswerTrouble::Denied(status) => {
                let why = format!(
                    "the API says {status}; nothing was skipped, mend the credentials and start again"
                );
                return Err(PageRefusal::Fatal(Fault::user("asking the API", why)));
            }
            AnswerTrouble::Passing { asked, outage, .. } => {
                if *outage {
                    polite.failure();
                }
                *asked
            }
        };
        let give_back = |pause| Err(PageRefusal::Later { pause, reason: trouble.to_string() });
        if let Some(asked) = asked.filter(|asked| *asked > polite.longest_wait()) {
            return give_back(asked);
        }
        let wait = polite.backoff(self.attempt - 1).max(asked.unwrap_or_default());
        if self.attempt >= polite.attempts() || !polite.may_retry() {
            return give_back(wait);
        }
        Ok(wait)
    }

    /// The status, by the endpoint's rules and then by the usual ones. `None`: there is nothing, by rule.
    fn judge(&self, answer: ApiAnswer) -> Result<Option<ApiAnswer>, AnswerTrouble> {
        let status = answer.status;
        match self.endpoint.on_status.get(&status) {
            Some(RawStatusRule::None) => return Ok(None),
            Some(RawStatusRule::Dead) => {
                return Err(AnswerTrouble::Hopeless(format!("the API says {status}")));
            }
            Some(RawStatusRule::Retry) => {
                self.api.come_again(answer.asked);
                return Err(AnswerTrouble::status(status, answer.asked));
            }
            None => {}
        }
        match StatusCode::from_u16(status) {
            Ok(StatusCode::NO_CONTENT) => Ok(None),
            Ok(code) if code.is_success() => match answer.encoding() {
                None => Ok(Some(answer)),
                Some(encoding) => Err(AnswerTrouble::Hopeless(format!(
                    "a page encoded as `{encoding}`, which was not asked for (only gzip is)"
                ))),
            },
            Ok(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Err(AnswerTrouble::Denied(status)),
            Ok(code) if asks_to_come_again(code) => Err(AnswerTrouble::status(status, answer.asked)),
            _ => Err(AnswerTrouble::Hopeless(format!("the API says {status}"))),
        }
    }
}

/// The server is not well, or says that it was too soon.
fn asks_to_come_again(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429)
}
