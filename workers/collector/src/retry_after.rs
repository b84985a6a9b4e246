//! `Retry-After` (RFC 9110, 10.2.3) and the rate headers, in the forms that servers really send.

use std::time::{Duration, SystemTime};

use chrono::{DateTime, NaiveDateTime};
use reqwest::header::HeaderMap;

use crate::config::{RawRateHeader, RawRateUnit};

/// The waits that an answer's headers name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct HeaderWaits {
    /// The wait that counts beside a status that asks for a repetition.
    pub(crate) after_refusal: Option<Duration>,
    /// The wait that counts with any status, because nothing is left of the allowance.
    pub(crate) exhausted: Option<Duration>,
}

/// The prefixes of the headers `<prefix>-remaining` and `<prefix>-reset`.
const PREFIXES: [&str; 3] = ["x-ratelimit", "ratelimit", "x-rate-limit"];
/// The ends of these names: that of the plain pair, and those of APIs that count several things.
const KINDS: [&str; 3] = ["", "-requests", "-tokens"];

/// Reads the waits in an answer's headers: `Retry-After` and its milliseconds, the `RateLimit` header of the IETF's
/// draft in two of its forms, the pairs of the common vendors, and the headers that the job names. The longest wait of
/// each kind counts.
pub(crate) fn header_waits(headers: &HeaderMap, named: &[RawRateHeader], now: SystemTime) -> HeaderWaits {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let date = text("date");
    let mut waits = HeaderWaits::default();
    let longer = |old: &mut Option<Duration>, new: Option<Duration>| *old = (*old).max(new);

    // The waits without an allowance.
    longer(&mut waits.after_refusal, text("retry-after").and_then(|asked| wait(asked, date, now)));
    for name in ["retry-after-ms", "x-ms-retry-after-ms"] {
        longer(&mut waits.after_refusal, text(name).and_then(|asked| scaled(asked, 0.001)));
    }

    // The pairs. A reset alone counts beside a refusal.
    for prefix in PREFIXES {
        for kind in KINDS {
            let remaining = text(&format!("{prefix}-remaining{kind}"));
            for reset in [format!("{prefix}-reset{kind}"), format!("{prefix}-reset-after{kind}")] {
                let Some(reset) = text(&reset).and_then(|reset| reset_wait(reset, date, now)) else {
                    continue;
                };
                longer(&mut waits.after_refusal, Some(reset).filter(|_| remaining.is_none_or(is_nothing)));
                longer(&mut waits.exhausted, Some(reset).filter(|_| remaining.is_some_and(is_nothing)));
            }
        }
    }

    // `RateLimit: limit=100, remaining=0, reset=3` (draft 7) and `RateLimit: "default";r=0;t=3` (draft 8).
    for value in headers.get_all("ratelimit").iter().filter_map(|value| value.to_str().ok()) {
        for wait in draft_waits(value) {
            longer(&mut waits.after_refusal, Some(wait));
            longer(&mut waits.exhausted, Some(wait));
        }
    }

    // The headers that the job names.
    for header in named {
        let Some(value) = text(&header.name) else { continue };
        let wait = match header.unit {
            RawRateUnit::Any => reset_wait(value, date, now),
            RawRateUnit::Milliseconds => scaled(value, 0.001),
            RawRateUnit::Minutes => scaled(value, 60.0),
        };
        match header.remaining.as_deref().map(text) {
            None => longer(&mut waits.after_refusal, wait),
            Some(left) if left.is_some_and(is_nothing) => {
                longer(&mut waits.after_refusal, wait);
                longer(&mut waits.exhausted, wait);
            }
            Some(_) => {}
        }
    }
    waits
}

/// Tells whether a number of requests that are left is none.
fn is_nothing(remaining: &str) -> bool {
    remaining.trim().parse::<f64>().is_ok_and(|left| left <= 0.0)
}

/// Returns a number of units as a wait.
fn scaled(text: &str, unit: f64) -> Option<Duration> {
    let number = text.trim().parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0)?;
    Duration::try_from_secs_f64(number * unit).ok().map(|wait| wait.min(AN_AGE))
}

/// Returns the wait until a reset: a number as in [`exhausted`], a date of HTTP or ISO 8601, or a text such as `6m0s`.
fn reset_wait(reset: &str, date: Option<&str>, now: SystemTime) -> Option<Duration> {
    let reset = reset.trim();
    if reset.parse::<f64>().is_ok() {
        return exhausted("0", reset, date, now);
    }
    if let Some(wait) = spelled_wait(reset) {
        return Some(wait);
    }
    let at = httpdate::parse_http_date(reset).ok().or_else(|| {
        let zoned = DateTime::parse_from_rfc3339(reset).map(|at| at.timestamp_millis());
        let zoned = zoned.or_else(|_| {
            NaiveDateTime::parse_from_str(reset, "%Y-%m-%dT%H:%M:%S%.f")
                .map(|at| at.and_utc().timestamp_millis())
        });
        // `2024-01-31T05:15Z`, without seconds.
        let zoned = zoned.or_else(|_| {
            let minutes = NaiveDateTime::parse_from_str(reset.trim_end_matches('Z'), "%Y-%m-%dT%H:%M");
            minutes.map(|at| at.and_utc().timestamp_millis())
        });
        let millis = u64::try_from(zoned.ok()?).ok()?;
        Some(SystemTime::UNIX_EPOCH + Duration::from_millis(millis))
    })?;
    let servers_now = date.and_then(|date| httpdate::parse_http_date(date.trim()).ok()).unwrap_or(now);
    Some(at.duration_since(servers_now).unwrap_or_default()).filter(|wait| *wait < LONGEST)
}

/// Returns a wait such as `6m0s`, `1.5s` or `250ms`.
fn spelled_wait(text: &str) -> Option<Duration> {
    let (mut rest, mut seconds) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number = rest.get(..digits)?.parse::<f64>().ok()?;
        let behind = rest.get(digits..)?;
        let end = behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len());
        let (unit, after) = behind.split_at(end);
        seconds += number
            * match unit {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3_600.0,
                "d" => 86_400.0,
                _ => return None,
            };
        rest = after;
    }
    (!text.is_empty())
        .then(|| Duration::try_from_secs_f64(seconds).ok())
        .flatten()
        .map(|wait| wait.min(AN_AGE))
}

/// Returns the waits of the policies in a `RateLimit` header of which nothing is left.
fn draft_waits(value: &str) -> Vec<Duration> {
    // Draft 7 is one dictionary, draft 8 a list of policies with parameters.
    let pairs = |text: &str| -> Vec<(String, String)> {
        let pair = |item: &str| {
            item.split_once('=').map(|(k, v)| (k.trim().to_ascii_lowercase(), v.trim().to_owned()))
        };
        text.split([';', ',']).filter_map(pair).collect()
    };
    let policies: Vec<&str> = if value.contains(';') { value.split(',').collect() } else { vec![value] };
    let waits = policies.into_iter().filter_map(|policy| {
        let pairs = pairs(policy);
        let of = |names: [&str; 2]| pairs.iter().find(|(name, _)| names.contains(&name.as_str()));
        let (_, remaining) = of(["r", "remaining"])?;
        let (_, reset) = of(["t", "reset"])?;
        is_nothing(remaining).then(|| scaled(reset, 1.0)).flatten()
    });
    waits.collect()
}

/// Returns the wait that a `Retry-After` asks for, or `None` if it holds no valid wait (the usual back-off
/// then holds).
///
/// Both forms are read: seconds and an HTTP date. Fractions of seconds occur in practice and are rounded up.
/// A date is compared with the answer's own `Date` if there is one, because our clock may be wrong and must
/// not shorten the wait. A date that has passed is no wait. NaN, infinities and negative numbers are not
/// valid.
pub(crate) fn wait(header: &str, date: Option<&str>, now: SystemTime) -> Option<Duration> {
    // Seconds, rounded up to whole milliseconds.
    let header = header.trim();
    if let Ok(seconds) = header.parse::<f64>() {
        if !seconds.is_finite() || seconds < 0.0 {
            return None;
        }
        return Duration::try_from_secs_f64((seconds * 1000.0).ceil() / 1000.0)
            .ok()
            .map(|wait| wait.min(AN_AGE));
    }

    // An HTTP date. Dates have whole seconds: the server's "now" is up to one second later than its `Date`,
    // never earlier. The difference is therefore an upper bound of the wait that the server asked for.
    let until = httpdate::parse_http_date(header).ok()?;
    let servers_now = date.and_then(|date| httpdate::parse_http_date(date.trim()).ok()).unwrap_or(now);
    Some(until.duration_since(servers_now).unwrap_or(Duration::ZERO).min(AN_AGE))
}

/// Returns the wait after an answer whose headers mean that the allowance is used up: `…-Remaining: 0` and
/// `…-Reset`. The reset is in seconds from now (IETF's RateLimit draft) or a time since 1970 in seconds or
/// milliseconds (most other APIs). `None`: the allowance is not used up, or the headers are not valid.
pub(crate) fn exhausted(
    remaining: &str,
    reset: &str,
    date: Option<&str>,
    now: SystemTime,
) -> Option<Duration> {
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
    if number(remaining)? > 0.0 {
        return None;
    }

    // The headers do not name the unit: the size of the number decides.
    let reset = number(reset).filter(|reset| *reset >= 0.0)?;
    if reset < AGES {
        return wait(&reset.to_string(), date, now);
    }
    let seconds = if reset < AGES * 1000.0 { reset } else { reset / 1000.0 };
    let until = SystemTime::UNIX_EPOCH + Duration::try_from_secs_f64(seconds).ok()?;
    let servers_now = date.and_then(|date| httpdate::parse_http_date(date.trim()).ok()).unwrap_or(now);

    // A wait beyond any real window means that the unit was guessed wrongly.
    Some(until.duration_since(servers_now).unwrap_or_default()).filter(|wait| *wait < LONGEST)
}

/// The longest wait, about 20 years. Longer waits are cut, and clocks can still count this one.
const AN_AGE: Duration = Duration::from_secs(20 * 365 * 24 * 3_600);
/// Seconds. A larger reset is a time since 1970, not a wait: 1e9 was in 2001, and as a wait it is 31 years.
const AGES: f64 = 1e9;
/// The longest window in which APIs count: a month and a few days.
const LONGEST: Duration = Duration::from_secs(35 * 24 * 3_600);

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(header: &str) -> Option<f64> {
        wait(header, None, SystemTime::UNIX_EPOCH).map(|wait| wait.as_secs_f64())
    }

    #[test]
    fn seconds_are_never_undercut() {
        assert_eq!(seconds("120"), Some(120.0));
        assert_eq!(seconds(" 0 "), Some(0.0));
        assert_eq!(seconds("1.5"), Some(1.5));
        assert_eq!(seconds("0.0001"), Some(0.001));
        assert_eq!(seconds("1e15"), Some(AN_AGE.as_secs_f64()));
    }

    #[test]
    fn nonsense_says_nothing() {
        for header in ["NaN", "-1", "inf", "-inf", "", "soon", "1e400", "1e300", "12 seconds"] {
            assert_eq!(seconds(header), None, "{header}");
        }
    }

    #[test]
    fn dates_are_read_on_the_servers_clock() {
        let (later, date) = ("Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:07 GMT");
        // Our clock is a quarter of a century ahead; the server's Date says that 30 s are meant.
        let ours = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
        assert_eq!(wait(later, Some(date), ours), Some(Duration::from_secs(30)));
        assert_eq!(wait(later, None, ours), Some(Duration::ZERO));
        assert_eq!(wait("Sunday, 06-Nov-94 08:49:37 GMT", Some(date), ours), Some(Duration::from_secs(30)));
        assert_eq!(wait("Sun Nov  6 08:49:37 1994", Some(date), ours), Some(Duration::from_secs(30)));
    }

    #[test]
    fn the_headers_of_the_draft_and_of_vendors_are_read() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let waits = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, value.parse().unwrap());
            }
            let named = [
                RawRateHeader { name: "x-pause".into(), unit: RawRateUnit::Milliseconds, remaining: None },
                RawRateHeader {
                    name: "x-next".into(),
                    unit: RawRateUnit::Any,
                    remaining: Some("x-left".into()),
                },
            ];
            let waits = header_waits(&headers, &named, now);
            (waits.after_refusal.map(|wait| wait.as_millis()), waits.exhausted.map(|wait| wait.as_millis()))
        };
        for (pairs, expected) in [
            (&[("retry-after", "2")][..], (Some(2_000), None)),
            (&[("retry-after-ms", "1500")], (Some(1_500), None)),
            (&[("ratelimit", "limit=100, remaining=0, reset=3")], (Some(3_000), Some(3_000))),
            (&[("ratelimit", "limit=100, remaining=1, reset=3")], (None, None)),
            (&[("ratelimit", r#""default";r=0;t=3"#)], (Some(3_000), Some(3_000))),
            (&[("ratelimit", r#""burst";r=5;t=9, "day";r=0;t=60"#)], (Some(60_000), Some(60_000))),
            (&[("x-ratelimit-reset", "1700000004")], (Some(4_000), None)),
            (&[("x-ratelimit-reset", "4"), ("x-ratelimit-remaining", "7")], (None, None)),
            (
                &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "2023-11-14T22:13:24Z")],
                (Some(4_000), Some(4_000)),
            ),
            (&[("x-ratelimit-reset", "2023-11-14T22:14Z")], (Some(40_000), None)),
            (&[("x-ratelimit-reset-after", "0.25")], (Some(250), None)),
            (
                &[("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "1m0.5s")],
                (Some(60_500), Some(60_500)),
            ),
            (&[("x-pause", "700")], (Some(700), None)),
            (&[("x-next", "9"), ("x-left", "0")], (Some(9_000), Some(9_000))),
            (&[("x-next", "9"), ("x-left", "1")], (None, None)),
            (&[("x-ratelimit-reset", "soon"), ("retry-after", "NaN"), ("ratelimit", ";;=,")], (None, None)),
        ] {
            assert_eq!(waits(pairs), expected, "{pairs:?}");
        }
    }

    #[test]
    fn nothing_left_means_to_wait_for_the_reset() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let wait = |remaining, reset| exhausted(remaining, reset, None, now);
        assert_eq!(wait("0", "30"), Some(Duration::from_secs(30)));
        assert_eq!(wait("0", "1700000030"), Some(Duration::from_secs(30)));
        assert_eq!(wait("0", "1700000030500"), Some(Duration::from_millis(30_500)));
        assert_eq!(wait("0", "1600000000"), Some(Duration::ZERO), "it has passed");
        for (remaining, reset) in
            [("1", "30"), ("NaN", "30"), ("0", "NaN"), ("0", "-5"), ("0", "soon"), ("", ""), ("0", "9e15")]
        {
            assert_eq!(wait(remaining, reset), None, "{remaining} {reset}");
        }
        let date = Some("Tue, 14 Nov 2023 22:13:10 GMT");
        assert_eq!(exhausted("0", "1700000030", date, now), Some(Duration::from_secs(40)));
    }
}
