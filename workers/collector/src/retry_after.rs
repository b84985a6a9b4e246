//! `Retry-After` (RFC 9110, 10.2.3) and the rate headers, in the forms that servers really send.

use std::time::{Duration, SystemTime};

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
