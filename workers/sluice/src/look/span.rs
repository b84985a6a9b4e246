//! `--from` and `--to`: a point in time, or a time ago.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDate, Utc};

/// A point in time as the command line takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LookTime {
    /// `start`: the first record of the topic.
    Start,
    /// Milliseconds since the epoch.
    At(i64),
    /// Milliseconds before now.
    Ago(i64),
}

/// The text is no point in time.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LookTimeError;

impl fmt::Display for LookTimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected `start`, a time ago as 90s, 15m, 2h, 7d or 4w, a time as 2026-11-27T10:00:00Z, or a date")
    }
}

impl std::error::Error for LookTimeError {}

impl FromStr for LookTime {
    type Err = LookTimeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "start" {
            return Ok(Self::Start);
        }

        // A number and a unit.
        let unit = [("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 604_800_000)];
        if let Some((number, millis)) =
            unit.iter().find_map(|(unit, millis)| Some((text.strip_suffix(unit)?, millis)))
            && let Ok(number) = number.parse::<u32>()
        {
            return Ok(Self::Ago(i64::from(number) * millis));
        }

        // A time with its zone, or the first moment of a day in UTC.
        let day = || Some(text.parse::<NaiveDate>().ok()?.and_hms_opt(0, 0, 0)?.and_utc());
        let time = DateTime::parse_from_rfc3339(text).map(|time| time.to_utc()).ok().or_else(day);
        time.map(|time| Self::At(time.timestamp_millis())).ok_or(LookTimeError)
    }
}

impl LookTime {
    /// Returns milliseconds since the epoch, or `None` for the start of the topic.
    pub(super) fn millis(self, now: DateTime<Utc>) -> Option<i64> {
        match self {
            Self::Start => None,
            Self::At(millis) => Some(millis),
            Self::Ago(millis) => Some(now.timestamp_millis() - millis),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_start_an_age_an_instant_or_a_day() {
        assert_eq!("start".parse(), Ok(LookTime::Start));
        assert_eq!("2h".parse(), Ok(LookTime::Ago(7_200_000)));
        assert_eq!("4w".parse(), Ok(LookTime::Ago(2_419_200_000)));
        assert_eq!("1970-01-01T01:00:00+01:00".parse(), Ok(LookTime::At(0)));
        assert_eq!("1970-01-02".parse(), Ok(LookTime::At(86_400_000)));
        for wrong in ["", "h", "2", "2y", "-2h", "2026-11-27T10:00:00", "yesterday", "99999999999d"] {
            assert_eq!(wrong.parse::<LookTime>(), Err(LookTimeError), "{wrong}");
        }
    }
}
