//! The rate of the requests, and the section `limits`, where the rate's keys were before.

use schemars::JsonSchema;
use serde::Deserialize;
use sluice_runtime::config::{ConfigErrors, DeadLetterLimits, LimitsSection};

/// Rate of the requests, and bounds of the work.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawRate {
    /// Requests per second at most, over all replicas and all jobs in this database that ask the same host.
    /// No second has more than this (rounded down), with any number of replicas. Below 1 it is one request
    /// per several seconds, for example 0.5 is one per 2 s.
    pub requests_per_second: Option<f64>,
    /// A second limit, shared by all jobs that name the same key, for any host.
    pub key: Option<RawKeyLimit>,
    /// Ids in work at once.
    pub concurrency: usize,
    /// Requests that a Retry-After holds back: every request of this process and of all that share its limit
    /// (host), or only the one that received it (request).
    pub retry_after: RawHoldScope,
    /// Pages of one endpoint and id at most. More pages count as an API that never ends, and the id is dead.
    pub max_pages: u64,
    /// Headers in which the API tells how long to wait, beside those that are always read: `Retry-After`,
    /// `retry-after-ms`, `RateLimit` and `RateLimit-*` (IETF draft), `x-ratelimit-*`, `x-rate-limit-*`.
    pub headers: Vec<RawRateHeader>,
}

/// A header in which the API tells how long to wait.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawRateHeader {
    /// Name of the header.
    pub name: String,
    /// Unit of its value.
    #[serde(default)]
    pub unit: RawRateUnit,
    /// Header with the number of requests that are left. With it, the wait counts for any status once nothing is
    /// left; without it, only beside a status that asks for a repetition.
    #[serde(default)]
    pub remaining: Option<String>,
}

/// The unit of a wait in a header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawRateUnit {
    /// Seconds from now, a time since 1970, a date or a text such as `1m30s`, told apart by their form.
    #[default]
    Any,
    /// Milliseconds from now.
    Milliseconds,
    /// Minutes from now.
    Minutes,
}

/// The rate of one API key.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawKeyLimit {
    /// A name for the key, never the key itself: the database holds this name.
    pub name: String,
    /// Requests per second at most, over all jobs that name the key.
    pub requests_per_second: f64,
}

/// The requests that a Retry-After holds back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawHoldScope {
    /// Every request of this process, and of all processes that share its limit.
    #[default]
    Host,
    /// Only the request that received it.
    Request,
}

/// Limits at which the worker stops by itself, as in every worker. Of these a collector uses
/// `drain_seconds` only: it reads no partitions whose dead letters or progress could be counted.
// The keys of `rate` are read here for one release. After that the section is `LimitsSection` itself.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawCollectorLimits {
    /// The number of dead letters that stops a worker. A collector does not use it.
    pub dead_letters: DeadLetterLimits,
    /// Seconds after which a worker is not ready if nothing moves. A collector does not use it.
    #[schemars(range(min = 5, max = 3600))]
    pub watchdog_seconds: u64,
    /// Seconds that the worker has to finish after a stop signal. Keep it below Kubernetes'
    /// terminationGracePeriodSeconds (30).
    #[schemars(range(min = 1, max = 3600))]
    pub drain_seconds: u64,
    /// Former spelling of `rate.requests_per_second`.
    #[schemars(extend("deprecated" = true))]
    pub requests_per_second: Option<f64>,
    /// Former spelling of `rate.key`.
    #[schemars(extend("deprecated" = true))]
    pub key: Option<RawKeyLimit>,
    /// Former spelling of `rate.concurrency`.
    #[schemars(extend("deprecated" = true))]
    pub concurrency: Option<usize>,
    /// Former spelling of `rate.retry_after`.
    #[schemars(extend("deprecated" = true))]
    pub retry_after: Option<RawHoldScope>,
    /// Former spelling of `rate.max_pages`.
    #[schemars(extend("deprecated" = true))]
    pub max_pages: Option<u64>,
}

impl RawCollectorLimits {
    /// Separates the section `limits` from the former spelling of `rate`. Returns the limits, the rate, and
    /// the name of the section that the rate was read from.
    ///
    /// A file with the former spelling gets a warning for each key that names the new one. If the file also
    /// has a section `rate`, each former key is added to `errors`.
    pub(crate) fn split(
        self,
        rate: Option<RawRate>,
        errors: &mut ConfigErrors,
    ) -> (LimitsSection, RawRate, &'static str) {
        // A new limit that is not handed on does not compile.
        let (dead_letters, watchdog_seconds, drain_seconds) =
            (self.dead_letters, self.watchdog_seconds, self.drain_seconds);
        let limits = LimitsSection { dead_letters, watchdog_seconds, drain_seconds };

        // The former keys of this file.
        let former = [
            ("requests_per_second", self.requests_per_second.is_some()),
            ("key", self.key.is_some()),
            ("concurrency", self.concurrency.is_some()),
            ("retry_after", self.retry_after.is_some()),
            ("max_pages", self.max_pages.is_some()),
        ];
        let former: Vec<&str> = former.into_iter().filter(|(_, given)| *given).map(|(key, _)| key).collect();

        // With both spellings it is unclear which of them the operator means.
        if let Some(rate) = rate {
            for key in former {
                let hint = format!("write it as `rate.{key}`");
                errors.add(
                    format!("limits.{key}"),
                    "the former spelling; expected only the new one in a file with a section `rate`",
                    Some(hint),
                );
            }
            return (limits, rate, "rate");
        }

        // A file with neither has the defaults. One with the former spelling has them for the keys that it
        // leaves out.
        if former.is_empty() {
            return (limits, RawRate::default(), "rate");
        }
        for key in former {
            tracing::warn!(
                "`limits.{key}` is a former spelling that the next release refuses; write `rate.{key}`"
            );
        }
        let usual = RawRate::default();
        let rate = RawRate {
            requests_per_second: self.requests_per_second,
            key: self.key,
            concurrency: self.concurrency.unwrap_or(usual.concurrency),
            retry_after: self.retry_after.unwrap_or(usual.retry_after),
            max_pages: self.max_pages.unwrap_or(usual.max_pages),
            headers: usual.headers,
        };
        (limits, rate, "limits")
    }
}

impl Default for RawRate {
    fn default() -> Self {
        Self {
            requests_per_second: None,
            key: None,
            concurrency: 32,
            retry_after: RawHoldScope::default(),
            // An API that never ends is noticed late, but no honest one is cut off.
            max_pages: 100_000,
            headers: Vec::new(),
        }
    }
}

impl Default for RawCollectorLimits {
    fn default() -> Self {
        let LimitsSection { dead_letters, watchdog_seconds, drain_seconds } = LimitsSection::default();
        Self {
            dead_letters,
            watchdog_seconds,
            drain_seconds,
            requests_per_second: None,
            key: None,
            concurrency: None,
            retry_after: None,
            max_pages: None,
        }
    }
}
