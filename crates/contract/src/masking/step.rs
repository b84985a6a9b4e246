//! Rounding down: dates and times to a calendar step, numbers to a multiple or into buckets, coordinates to a
//! grid.
//!
//! Rounding is always towards minus infinity, so that a value and its rounded form are on the same side of
//! zero and of 1970.

use std::fmt;

/// A step on the calendar or the clock, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DateStep {
    /// A whole number of seconds, counted from 1970-01-01T00:00:00Z.
    Seconds(i64),
    /// A whole number of weeks; weeks begin on Monday.
    Weeks(i64),
    /// A whole number of months, counted from January of year 0.
    Months(i64),
}

/// Seconds of a day.
const DAY: i64 = 86_400;

impl DateStep {
    /// Reads `30m`, `1h`, `1d`, `1w`, `1mo`, `1q`, `1y` (or the words `hour`, `day`, `week`, `month`,
    /// `quarter`, `year`).
    ///
    /// # Errors
    /// Returns a message with the allowed forms.
    pub fn parse(text: &str) -> Result<Self, String> {
        // A number and a unit. Without a number it is one unit.
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (count, unit) = text.split_at(digits);
        let count = if count.is_empty() { Ok(1) } else { count.parse::<i64>() };
        let wrong =
            || format!("`{text}` is not a step: expected a number from 1 and one of s, m, h, d, w, mo, q, y");
        let count = count.ok().filter(|count| (1..=100_000).contains(count)).ok_or_else(wrong)?;

        // `m` is a minute; a month is `mo`.
        match unit.trim() {
            "s" | "second" => Ok(Self::Seconds(count)),
            "m" | "min" | "minute" => Ok(Self::Seconds(count * 60)),
            "h" | "hour" => Ok(Self::Seconds(count * 3600)),
            "d" | "day" => Ok(Self::Seconds(count * DAY)),
            "w" | "week" => Ok(Self::Weeks(count)),
            "mo" | "month" => Ok(Self::Months(count)),
            "q" | "quarter" => Ok(Self::Months(count * 3)),
            "y" | "year" => Ok(Self::Months(count * 12)),
            _ => Err(wrong()),
        }
    }

    /// Returns true if the step is a whole number of days, weeks or months, so that a date can be rounded to
    /// it.
    pub fn whole_days(self) -> bool {
        !matches!(self, Self::Seconds(seconds) if seconds % DAY != 0)
    }

    /// Returns true if the step divides a day, so that a time of day can be rounded to it.
    pub fn divides_a_day(self) -> bool {
        matches!(self, Self::Seconds(seconds) if DAY % seconds == 0)
    }

    /// Returns the seconds of the shortest interval that the step makes. A month has at least 28 days.
    pub fn least_seconds(self) -> i64 {
        match self {
            Self::Seconds(seconds) => seconds,
            Self::Weeks(weeks) => weeks.saturating_mul(7 * DAY),
            Self::Months(months) => months.saturating_mul(28 * DAY),
        }
    }

    /// Returns the seconds of the longest interval that the step makes.
    pub fn most_seconds(self) -> i64 {
        match self {
            Self::Seconds(_) | Self::Weeks(_) => self.least_seconds(),
            Self::Months(months) => months.saturating_mul(31 * DAY),
        }
    }

    /// Rounds an instant down, counted from 1970 in `per_second` units per second. `None` if the result does
    /// not fit.
    pub fn floor_instant(self, instant: i64, per_second: i64) -> Option<i64> {
        match self {
            Self::Seconds(seconds) => floor_multiple(instant, seconds.checked_mul(per_second)?),
            Self::Weeks(_) | Self::Months(_) => {
                // The steps of the calendar begin at midnight.
                let day = per_second.checked_mul(DAY)?;
                self.floor_day(instant.div_euclid(day))?.checked_mul(day)
            }
        }
    }

    /// Rounds a date down, counted in days from 1970-01-01. `None` if the result does not fit, or if the step
    /// is not a whole number of days.
    pub fn floor_day(self, days: i64) -> Option<i64> {
        // 1970-01-01 was a Thursday: the Monday before it is day -3.
        const MONDAY: i64 = -3;
        match self {
            Self::Seconds(seconds) if seconds % DAY == 0 => floor_multiple(days, seconds / DAY),
            Self::Seconds(_) => None,
            Self::Weeks(weeks) => {
                floor_multiple(days.checked_sub(MONDAY)?, weeks.checked_mul(7)?)?.checked_add(MONDAY)
            }
            Self::Months(months) => {
                // Counted in months from January of year 0.
                let (year, month) = year_and_month(days);
                let floored = floor_multiple(year.checked_mul(12)?.checked_add(month - 1)?, months)?;
                Some(first_day_of(floored.div_euclid(12), floored.rem_euclid(12) + 1))
            }
        }
    }
}

impl fmt::Display for DateStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // The largest unit that divides the step.
            Self::Seconds(seconds) if seconds % DAY == 0 => write!(f, "{}d", seconds / DAY),
            Self::Seconds(seconds) if seconds % 3600 == 0 => write!(f, "{}h", seconds / 3600),
            Self::Seconds(seconds) if seconds % 60 == 0 => write!(f, "{}m", seconds / 60),
            Self::Seconds(seconds) => write!(f, "{seconds}s"),
            Self::Weeks(weeks) => write!(f, "{weeks}w"),
            Self::Months(months) if months % 12 == 0 => write!(f, "{}y", months / 12),
            Self::Months(months) => write!(f, "{months}mo"),
        }
    }
}

/// Returns the largest multiple of `step` that is not above `value`; `None` if it does not fit. `step` is
/// positive.
pub(crate) fn floor_multiple(value: i64, step: i64) -> Option<i64> {
    value.checked_sub(value.checked_rem_euclid(step)?)
}

/// Returns the same for fractions. If the step is one over a whole number (0.1, 0.25), it divides by that
/// number, so that the result is the number that people would write (51.3, not 51.300000000000004).
pub(crate) fn floor_fraction(value: f64, step: f64) -> f64 {
    // A tolerance, because 0.1 is not exact as a float.
    let parts = (1.0 / step).round();
    if parts >= 1.0 && (parts * step - 1.0).abs() < 1e-9 {
        (value * parts).floor() / parts
    } else {
        (value / step).floor() * step
    }
}

/// Returns year and month (1 to 12) of a day, counted from 1970-01-01, in the proleptic Gregorian calendar.
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn year_and_month(days: i64) -> (i64, i64) {
    // Years begin in March, and 400 of them make an era of 146 097 days. Day 0 becomes 0000-03-01.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month)
}

/// Returns the days from 1970-01-01 to the first of a month. Same source, `days_from_civil`.
fn first_day_of(year: i64, month: i64) -> i64 {
    // The inverse: January and February belong to the year before.
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    const MICROS: i64 = 1_000_000;
    /// 2013-01-01T10:17:42.5Z, a Tuesday.
    const INSTANT: i64 = 1_357_035_462_500_000;

    fn at(step: &str) -> i64 {
        DateStep::parse(step).unwrap().floor_instant(INSTANT, MICROS).unwrap() / MICROS
    }

    #[test]
    fn instants_go_to_the_start_of_their_step() {
        assert_eq!(at("30m"), 1_357_034_400); // 10:00
        assert_eq!(at("5m"), 1_357_035_300); // 10:15
        assert_eq!(at("1h"), 1_357_034_400);
        assert_eq!(at("1d"), 1_356_998_400); // 2013-01-01
        assert_eq!(at("1w"), 1_356_912_000); // Monday 2012-12-31
        assert_eq!(at("month"), 1_356_998_400);
        assert_eq!(at("q"), 1_356_998_400);
        assert_eq!(at("10y"), 1_262_304_000); // 2010-01-01
    }

    #[test]
    fn before_1970_it_still_goes_down() {
        let day = DateStep::parse("1d").unwrap();
        assert_eq!(day.floor_instant(-1, MICROS), Some(-86_400 * MICROS));
        assert_eq!(DateStep::parse("1y").unwrap().floor_day(-1), Some(-365)); // 1969-12-31 -> 1969-01-01
        assert_eq!(DateStep::parse("1mo").unwrap().floor_day(-719_528), Some(-719_528)); // 0000-01-01
        assert_eq!(DateStep::parse("1w").unwrap().floor_day(0), Some(-3));
    }

    #[test]
    fn months_agree_with_the_calendar_day_by_day() {
        // 0000-03-01 begins Hinnant's era; walk 800 years around it and compare with plain counting.
        let (mut year, mut month, mut day) = (-399_i64, 1_i64, first_day_of(-399, 1));
        while year < 401 {
            let leap = year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0);
            let length = match month {
                2 => 28 + i64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            assert_eq!(first_day_of(year, month), day);
            for ahead in [0, 1, length - 1] {
                assert_eq!(year_and_month(day + ahead), (year, month));
            }
            day += length;
            (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
        }
        assert_eq!(first_day_of(1970, 1), 0);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(DateStep::parse("1d").unwrap().floor_instant(i64::MIN, MICROS), None);
        assert_eq!(DateStep::parse("1mo").unwrap().floor_instant(i64::MIN, MICROS), None);
        for wrong in ["", "0m", "-1d", "30", "1 fortnight", "99999999999999999999d", "1.5h"] {
            assert!(DateStep::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn fractions_end_where_one_would_write_them() {
        assert_eq!(floor_fraction(51.347, 0.1), 51.3);
        assert_eq!(floor_fraction(-0.12, 0.1), -0.2);
        assert_eq!(floor_fraction(7.6, 2.5), 7.5);
        assert_eq!(floor_fraction(120.0, 50.0), 100.0);
    }
}
