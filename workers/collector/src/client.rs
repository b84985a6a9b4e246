//! Requests to the API over HTTP: the rate, credentials that stay with their origin, redirects followed by
//! hand, and retries. The caller reads the bodies as they arrive.

mod answer;
mod clearance;
mod gate;
mod polite;
mod unpack;
mod window;

use std::time::{Duration, SystemTime};

use reqwest::header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::{StatusCode, Url};
use sluice_core::Fault;
use sluice_runtime::metrics::{self, ProgressCounter};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) use answer::{AnswerTrouble, ApiAnswer, PageRefusal, TroubleKind, connection_trouble};
#[cfg(test)]
pub(crate) use clearance::STALE;
pub(crate) use gate::RateGate;
pub(crate) use polite::ApiPoliteness;

use crate::auth::{ApiAuthenticator, RequestCredentials};
use crate::config::{ApiConfig, ApiEndpoint, AuthConfig, CollectorConfig, RawHoldScope, RawStatusRule};
use crate::pagination::PageSelector;
use crate::request::PageRequest;
use crate::retry_after;
use crate::tape::AnswerTape;
use crate::template::TemplateValues;

/// The pause of an id that was refused with 403 before any other was answered.
const FORBIDDEN_PAUSE: Duration = Duration::from_secs(1);
/// The number of redirects that are followed in a row.
const HOPS: usize = 5;

/// The API of a job. All tasks share it.
pub(crate) struct ApiClient {
    http: reqwest::Client,
    base: Url,
    /// Headers of every request to the API's own origin.
    headers: Vec<(HeaderName, HeaderValue)>,
    auth: ApiAuthenticator,
    /// Further origins that get headers and credentials.
    trusted: Vec<url::Origin>,
    /// Name of the query parameter with the credentials.
    secret_parameter: Option<String>,
    /// The largest page in bytes after decompression.
    max_page: u64,
    polite: ApiPoliteness,
    tape: Option<AnswerTape>,
}

/// The requests for one page. They are repeated until the page came or another request would be useless.
pub(crate) struct PageFetch<'a> {
    api: &'a ApiClient,
    endpoint: &'a ApiEndpoint,
    request: PageRequest,
    /// The number of attempts that have failed.
    attempt: u32,
    /// True once a revoked access token was replaced. A second 401 then ends the worker.
    renewed: bool,
}

impl ApiClient {
    /// Builds the HTTP client of a job.
    ///
    /// # Errors
    /// A [`Fault`] if the client cannot be built, for example because the TLS back end cannot be initialised.
    pub(crate) fn new(config: &CollectorConfig) -> Result<Self, Fault> {
        let ApiConfig { base, headers, auth, trusted, connect_timeout, timeout, longest_answer, max_page } =
            &config.api;

        // One connection pool for all tasks, with room for every id in work.
        let mut always = HeaderMap::new();
        always.insert(reqwest::header::ACCEPT, HeaderValue::from_static("application/json"));
        let http = reqwest::Client::builder()
            .user_agent(concat!("sluicegate/", env!("CARGO_PKG_VERSION")))
            .default_headers(always)
            .connect_timeout(*connect_timeout)
            .read_timeout(*timeout)
            .timeout(*longest_answer)
            // Bodies are unpacked in `answer.rs`: with all their members, in bounded pieces.
            .gzip(false)
            // `send_once` follows redirects itself: it decides which headers go to which origin.
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(config.concurrency)
            .build()
            .map_err(|error| Fault::user("building the HTTP client", error))?;

        Ok(Self {
            http,
            base: base.clone(),
            headers: headers.clone(),
            auth: ApiAuthenticator::new(auth.clone()),
            trusted: trusted.clone(),
            secret_parameter: match auth {
                AuthConfig::Query(name, _) => Some(name.clone()),
                _ => None,
            },
            max_page: *max_page,
            polite: ApiPoliteness::new(&config.budgets, &config.retry),
            tape: None,
        })
    }

    /// Makes the client record its answers, or take them from a recording.
    pub(crate) fn taped(mut self, tape: AnswerTape) -> Self {
        self.tape = Some(tape);
        self
    }

    /// Returns the rates and the retry rules of this process.
    pub(crate) const fn polite(&self) -> &ApiPoliteness {
        &self.polite
    }

    /// Tells whether the API is away for everyone. Ids then do not pay for the outage with their attempts.
    pub(crate) fn is_away(&self) -> bool {
        self.polite.is_away()
    }

    /// Prepares the requests for one page.
    ///
    /// # Errors
    /// [`PageRefusal::Dead`] if id and page token do not make a valid request.
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

    /// Sends one request, follows redirects, and returns when the answer's headers have arrived. The
    /// credentials that the request carried are returned beside the answer.
    async fn send_once(
        &self,
        request: &PageRequest,
        stop: &CancellationToken,
    ) -> Result<(ApiAnswer, RequestCredentials), AnswerTrouble> {
        let PageRequest { mut url, headers, mut body } = request.clone();

        // A recording replaces the network.
        if let Some(tape) = &self.tape
            && let Some(answer) = tape.play(request, self.max_page)?
        {
            return Ok((answer, RequestCredentials::default()));
        }

        for _ in 0..=HOPS {
            // An origin is scheme, host and port. Credentials and the job's own headers go to the API's
            // origin only: a redirect or a next page may lead to a server of somebody else.
            let at_home = self.is_home(&url);
            let signed = match at_home {
                true => self.auth.sign(&self.http, &url, body.as_deref()).await?,
                false => RequestCredentials::default(),
            };

            // The request of this hop. Query credentials are added to a copy: `url` stays free of secrets.
            let mut target = self.without_secret(&url);
            if let Some((name, value)) = &signed.query {
                target.query_pairs_mut().append_pair(name, value);
            }

            // Each header once: the endpoint's replace those of the API's section and ours.
            let mut all = HeaderMap::new();
            all.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
            if body.is_some() {
                all.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            }
            let own = self.headers.iter().chain(&headers).filter(|_| at_home);
            for (name, value) in own.chain(&signed.headers) {
                all.insert(name, value.clone());
            }
            let hop = match &body {
                Some(body) => self.http.post(target).body(body.clone()),
                None => self.http.get(target),
            };
            let hop = hop.headers(all);

            // Wait for the rate. Redirects count as well, because the API counts them.
            let waits = Instant::now();
            let permission = tokio::select! {
                permission = self.polite.permit() => permission,
                () = stop.cancelled() => return Err(AnswerTrouble::Stopped),
            };
            let permission = permission.map_err(|wait| AnswerTrouble::Passing {
                what: "the API asked for a pause before the next request".into(),
                asked: Some(wait),
                kind: TroubleKind::Busy,
            })?;
            let waited = permission.at.saturating_duration_since(waits);
            metrics::progress(ProgressCounter::RateWaitMs, waited.as_millis() as u64);
            metrics::progress(ProgressCounter::Requests, 1);

            // The tokens are held until the answer begins or the request fails; `window.rs` counts from that
            // moment.
            let response = hop.send().await.map_err(|error| answer::away(&error));
            drop(permission);
            let response = response?;

            // Anything but a redirect ends the loop.
            let status = response.status();
            if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
                let answer = self.heed_pauses(response, url);
                return match &self.tape {
                    None => Ok((answer, signed)),
                    Some(tape) => Ok((tape.record(request, answer).await?, signed)),
                };
            }

            // The next hop. A Location may be relative to the present URL.
            let next = response.headers().get(LOCATION).and_then(|next| next.to_str().ok());
            url = match next.and_then(|next| url.join(next).ok()) {
                Some(next) if matches!(next.scheme(), "http" | "https") => next,
                _ => {
                    return Err(AnswerTrouble::passing(format!(
                        "the API answered {status} without a usable Location: expected an http or https URL"
                    )));
                }
            };
            if matches!(status.as_u16(), 301..=303) {
                // The method becomes GET: RFC 9110 (15.4.4) requires it for 303, and browsers do it for 301
                // and 302.
                body = None;
            }
        }
        Err(AnswerTrouble::Hopeless(format!("the API sent more than {HOPS} redirects in a row")))
    }

    /// Tells whether a URL's origin gets headers and credentials.
    fn is_home(&self, url: &Url) -> bool {
        let origin = url.origin();
        origin == self.base.origin() || self.trusted.contains(&origin)
    }

    /// Returns a URL without the parameter that carries credentials, which some APIs repeat in their links. It is put
    /// back when a request is sent.
    pub(crate) fn without_secret(&self, url: &Url) -> Url {
        let mut bare = url.clone();
        if let Some(secret) = &self.secret_parameter
            && url.query_pairs().any(|(name, _)| name == secret.as_str())
        {
            let others: Vec<(String, String)> = url
                .query_pairs()
                .filter(|(name, _)| name != secret.as_str())
                .map(|(k, v)| (k.into(), v.into()))
                .collect();
            bare.set_query(None);
            if !others.is_empty() {
                bare.query_pairs_mut().extend_pairs(others);
            }
        }
        bare
    }

    /// Reads the pauses that the headers ask for, and holds requests back accordingly.
    fn heed_pauses(&self, response: reqwest::Response, url: Url) -> ApiAnswer {
        let waits = retry_after::header_waits(response.headers(), self.polite.headers(), SystemTime::now());

        // A wait counts with a status that asks for a repetition. Some APIs say "too fast" with 403.
        let status = response.status();
        if status == StatusCode::TOO_MANY_REQUESTS {
            self.polite.refused();
        }
        let refused = asks_to_come_again(status) || status == StatusCode::FORBIDDEN;
        let asked = waits.after_refusal.max(waits.exhausted);

        // The hold begins now, before the body is read: other tasks may be about to send. An exhausted allowance in
        // a good answer is a pause as well.
        self.hold_host(asked.filter(|_| refused));
        self.hold_host(waits.exhausted);
        ApiAnswer::new(response, url, asked, self.max_page)
    }

    /// Holds back every request to the host for this time from now, unless the job limits holds to single
    /// requests.
    pub(crate) fn hold_host(&self, wait: Option<Duration>) {
        if let Some(wait) = wait
            && self.polite.scope() == RawHoldScope::Host
        {
            self.polite.hold_everyone_back(Instant::now() + wait);
        }
    }
}

impl PageFetch<'_> {
    /// Returns the next answer that can be read as a page. `None`: a rule or the status 204 defines that the
    /// endpoint has no records for this id.
    ///
    /// # Errors
    /// The [`PageRefusal`] after which no further request is sent.
    pub(crate) async fn answer(
        &mut self,
        stop: &CancellationToken,
    ) -> Result<Option<ApiAnswer>, PageRefusal> {
        loop {
            // Every request earns a part of a retry.
            self.api.polite.request();

            // Only trouble leaves this match.
            let trouble = match self.api.send_once(&self.request, stop).await {
                Ok((answer, signed)) => match self.judge(answer) {
                    Ok(None) => {
                        self.well();
                        return Ok(None);
                    }
                    // The caller reads the body and calls `well` or `failed`.
                    Ok(Some(answer)) => return Ok(Some(answer)),
                    // An access token may be revoked early. One attempt with a new one is free.
                    Err(AnswerTrouble::Denied(401)) if !self.renewed && self.api.auth.refused(&signed) => {
                        self.renewed = true;
                        continue;
                    }
                    Err(trouble) => trouble,
                },
                Err(trouble) => trouble,
            };

            // Wait, or end with the refusal.
            self.failed(&trouble, stop).await?;
        }
    }

    /// Returns the request as text for an operator. It holds no credentials.
    pub(crate) fn shown(&self) -> String {
        let PageRequest { url, body, .. } = &self.request;
        match body {
            None => format!("GET {url}"),
            Some(body) => format!("POST {url} {body}"),
        }
    }

    /// Notes that the answer was read to its end: the API is there.
    pub(crate) fn well(&self) {
        self.api.polite.success();
    }

    /// Notes that the answer was unusable, and waits until the page may be requested again.
    ///
    /// # Errors
    /// The [`PageRefusal`] if the page may not be requested again.
    pub(crate) async fn failed(
        &mut self,
        trouble: &AnswerTrouble,
        stop: &CancellationToken,
    ) -> Result<(), PageRefusal> {
        self.attempt += 1;
        let wait = self.wait_after(trouble)?;
        metrics::progress(ProgressCounter::Retries, 1);
        metrics::progress(ProgressCounter::RetryWaitMs, wait.as_millis() as u64);
        tracing::debug!(
            endpoint = self.endpoint.name,
            %trouble,
            self.attempt,
            ?wait,
            "the request failed and is repeated after the wait"
        );
        tokio::select! {
            () = tokio::time::sleep(wait) => Ok(()),
            () = stop.cancelled() => Err(PageRefusal::Stopped),
        }
    }

    /// Returns the wait before the next attempt, or the reason why no further attempt is made.
    fn wait_after(&self, trouble: &AnswerTrouble) -> Result<Duration, PageRefusal> {
        let polite = &self.api.polite;

        // Only passing trouble is worth another request.
        let asked = match trouble {
            AnswerTrouble::Stopped => return Err(PageRefusal::Stopped),
            AnswerTrouble::Hopeless(why) => return Err(PageRefusal::Dead(why.clone())),
            AnswerTrouble::Denied(status) => {
                let why = format!(
                    "the API refused the credentials with {status}; nothing was skipped; mend `api.auth` and \
                     start again"
                );
                return Err(PageRefusal::Fatal(Fault::user("asking the API", why)));
            }
            AnswerTrouble::Forbidden if polite.forbidden() => {
                let why = "the API answered 403 for every id so far; nothing was skipped; mend `api.auth`, or give 403 \
                           a meaning with `on_status` of the endpoint, and start again";
                return Err(PageRefusal::Fatal(Fault::user("asking the API", why)));
            }
            // Others are answered: the id is refused, not the credentials.
            AnswerTrouble::Forbidden if polite.successes() > 0 => {
                let why = "the API refused this id with 403, and others are answered; `on_status` of the endpoint can \
                           give 403 another meaning (none, retry)";
                return Err(PageRefusal::Dead(why.to_owned()));
            }
            // It is not known yet whose fault it is: the id comes again after others.
            AnswerTrouble::Forbidden => {
                let reason = trouble.to_string();
                return Err(PageRefusal::Later { pause: FORBIDDEN_PAUSE, reason, kind: TroubleKind::Busy });
            }
            AnswerTrouble::Passing { asked, kind, what } => {
                if matches!(kind, TroubleKind::Unwell | TroubleKind::Away) {
                    polite.failure(what);
                }
                *asked
            }
        };

        // A long pause gives the id back: the task can then work on another one.
        let kind = match trouble {
            AnswerTrouble::Passing { kind, .. } => *kind,
            _ => TroubleKind::Page,
        };
        let give_back = |pause| Err(PageRefusal::Later { pause, reason: trouble.to_string(), kind });
        if let Some(asked) = asked.filter(|asked| *asked > polite.longest_wait()) {
            return give_back(asked);
        }

        // The API's own wish is never undercut by the back-off.
        let wait = polite.backoff(self.attempt - 1).max(asked.unwrap_or_default());
        if self.attempt >= polite.attempts() || !polite.may_retry() {
            return give_back(wait);
        }
        Ok(wait)
    }

    /// Judges the status by the endpoint's rules, then by the usual ones. `None`: the endpoint has no records
    /// here.
    fn judge(&self, answer: ApiAnswer) -> Result<Option<ApiAnswer>, AnswerTrouble> {
        let status = answer.status;

        // The job's rules come first and may reverse the usual meaning.
        match self.endpoint.on_status.get(&status) {
            Some(RawStatusRule::None) => return Ok(None),
            Some(RawStatusRule::Dead) => {
                return Err(AnswerTrouble::Hopeless(format!("the API answered {status}")));
            }
            Some(RawStatusRule::Retry) => {
                self.api.hold_host(answer.asked);
                return Err(AnswerTrouble::status(status, answer.asked));
            }
            None => {}
        }

        // The usual meaning of the status.
        match StatusCode::from_u16(status) {
            Ok(StatusCode::NO_CONTENT) => Ok(None),
            Ok(code) if code.is_success() => match answer.encoding() {
                None => Ok(Some(answer)),
                Some(encoding) => Err(AnswerTrouble::Hopeless(format!(
                    "the page is encoded as `{encoding}`: expected gzip or no encoding"
                ))),
            },
            // Too fast, said with 403.
            Ok(StatusCode::FORBIDDEN) if answer.asked.is_some() => {
                Err(AnswerTrouble::status(status, answer.asked))
            }
            Ok(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) if !self.api.is_home(&answer.url) => {
                let origin = answer.url.origin().ascii_serialization();
                Err(AnswerTrouble::Hopeless(format!(
                    "the page is at another origin ({origin}), which gets no credentials and answered {status}; if it \
                     belongs to the API, name it in `api.trusted_origins`"
                )))
            }
            Ok(StatusCode::UNAUTHORIZED) => Err(AnswerTrouble::Denied(status)),
            Ok(StatusCode::FORBIDDEN) => Err(AnswerTrouble::Forbidden),
            Ok(code) if asks_to_come_again(code) => Err(AnswerTrouble::status(status, answer.asked)),
            _ => Err(AnswerTrouble::Hopeless(format!("the API answered {status}"))),
        }
    }
}

/// Tells whether the status means that the server is unwell (5xx) or that the request came too soon.
fn asks_to_come_again(status: StatusCode) -> bool {
    // 408 Request Timeout, 425 Too Early (RFC 8470), 429 Too Many Requests (RFC 6585).
    status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429)
}
