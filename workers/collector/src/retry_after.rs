//! `Retry-After` (RFC 9110, 10.2.3), as servers really send it.

use std::time::{Duration, SystemTime};

/// How long to wait, or `None` where the header says nothing sound (then the usual back-off holds).
///
/// Both forms are read: seconds (fractions are seen in the wild and rounded up) and an HTTP date. A date is compared
/// with the answer's own `Date` where there is one, so that a clock that is wrong here undercuts nothing; a date that
/// has passed is no wait. NaN, infinities and negative numbers say nothing.
pub(crate) fn wait(header: &str, date: Option<&str>, now: SystemTime) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse::<f64>() {
        if !seconds.is_finite() || seconds < 0.0 {
            return None;
        }
        return Duration::try_from_secs_f64((seconds * 1000.0).ceil() / 1000.0)
            .ok()
            .map(|wait| wait.min(AN_AGE));
    }
    let until = httpdate::parse_http_date(header).ok()?;
    let servers_now = date.and_then(|date| httpdate::parse_http_date(date.trim()).ok()).unwrap_or(now);
    // Dates have whole seconds: the server's "now" may be up to one second later than its `Date` says, never earlier,
    // so the difference is an upper bound of what it asked for.
    Some(until.duration_since(servers_now).unwrap_or(Duration::ZERO).min(AN_AGE))
}

/// How long to wait after an answer that says that nothing is left: `…-Remaining: 0` and `…-Reset`, as seconds from now
/// (IETF's RateLimit draft) or as a time since 1970 in seconds or milliseconds (most others). `None` where something is
/// left, or the headers say nothing sound.
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
    let reset = number(reset).filter(|reset| *reset >= 0.0)?;
    if reset < AGES {
        return wait(&reset.to_string(), date, now);
    }
    let seconds = if reset < AGES * 1000.0 { reset } else { reset / 1000.0 };
    let until = SystemTime::UNIX_EPOCH + Duration::try_from_secs_f64(seconds).ok()?;
    let servers_now = date.and_then(|date| httpdate::parse_http_date(date.trim()).ok()).unwrap_or(now);
    // Far beyond any sound window: a unit that was guessed wrongly.
    Some(until.duration_since(servers_now).unwrap_or_default()).filter(|wait| *wait < LONGEST)
}

/// Nobody waits longer, and clocks can still count it.
const AN_AGE: Duration = Duration::from_secs(20 * 365 * 24 * 3_600);
/// Seconds: more is a time since 1970, not a wait.
const AGES: f64 = 1e9;
/// The longest window that APIs count in.
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
