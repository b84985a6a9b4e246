//! The point up to which an id's records were seen in earlier runs. The next run requests only the newer
//! ones.
//!
//! The highest value over *all* records of a run counts, and only once the run is complete: an API that sends
//! the newest first, or a run that breaks off, leaves no gap. Most APIs include the edge (`since=…` means
//! "not earlier than"). The records exactly at the edge are therefore remembered by hash, and passed over
//! when they come again.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime};
use serde::{Deserialize, Serialize};

/// The number of records remembered at the edge. With more of them some come again.
const EDGE: usize = 500;

/// The incremental values by endpoint. The claim's row and the page checkpoints hold them as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IncrementalMarks {
    /// Values of the runs before.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) since: BTreeMap<String, IncrementalMaximum>,
    /// Values of this run so far.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) high: BTreeMap<String, IncrementalMaximum>,
}

/// The highest value seen, in the API's spelling, and the records that have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IncrementalMaximum {
    pub(crate) value: String,
    /// Short hashes of the records that have the value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) edge: Vec<u64>,
}

impl IncrementalMarks {
    /// Tells whether no run has seen a value.
    pub(crate) fn is_empty(&self) -> bool {
        self.since.is_empty() && self.high.is_empty()
    }

    /// Returns the number of characters of its texts, or a little more.
    pub(crate) fn length(&self) -> usize {
        // A hash has at most 20 digits and a comma.
        let both = self.since.iter().chain(&self.high);
        both.map(|(endpoint, high)| endpoint.len() + high.value.len() + high.edge.len() * 21).sum()
    }

    /// Returns the marks with which the next run begins.
    pub(crate) fn after_the_run(mut self) -> Self {
        // `merge` never goes back: a run without newer records keeps the old value.
        for (endpoint, high) in std::mem::take(&mut self.high) {
            match self.since.get_mut(&endpoint) {
                Some(since) => since.merge(high),
                None => drop(self.since.insert(endpoint, high)),
            }
        }
        self
    }
}

impl IncrementalMaximum {
    /// Takes another record into account, by its value and its short hash.
    pub(crate) fn see(high: &mut Option<Self>, value: &str, hash: u64) {
        match high {
            Some(high) => match compare(value, &high.value) {
                Ordering::Less => {}
                Ordering::Equal if high.edge.len() < EDGE => high.edge.push(hash),
                // The edge is full: such a record comes again in the next run.
                Ordering::Equal => {}
                Ordering::Greater => *high = Self { value: value.to_owned(), edge: vec![hash] },
            },
            None => *high = Some(Self { value: value.to_owned(), edge: vec![hash] }),
        }
    }

    /// Joins the maximum of another part of the same run, or of a later run.
    pub(crate) fn merge(&mut self, other: Self) {
        match compare(&other.value, &self.value) {
            Ordering::Less => {}
            Ordering::Equal => {
                self.edge.extend(other.edge);
                self.edge.sort_unstable();
                self.edge.dedup();
                self.edge.truncate(EDGE);
            }
            Ordering::Greater => *self = other,
        }
    }

    /// Tells whether this very record was seen in an earlier run.
    pub(crate) fn has(&self, value: &str, hash: u64) -> bool {
        self.value == value && self.edge.contains(&hash)
    }
}

/// Tells whether a text is a time beyond now, by more than clocks differ. Numbers are not judged: they may be
/// counters. `now_ms` is in milliseconds since the epoch.
pub(crate) fn is_beyond(value: &str, now_ms: i64) -> bool {
    /// Five minutes.
    const CLOCKS: i64 = 300_000;
    let latest = now_ms.saturating_add(CLOCKS);
    let time = DateTime::parse_from_rfc3339(value)
        .or_else(|_| DateTime::parse_from_str(value, "%Y-%m-%dT%H:%M:%S%.f%#z"))
        .map(|time| time.timestamp_millis())
        .ok();
    let local = || {
        ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"]
            .iter()
            .find_map(|form| NaiveDateTime::parse_from_str(value, form).ok())
            // A local time may be half a day ahead of ours.
            .map(|time| time.and_utc().timestamp_millis() - 14 * 3_600_000)
    };
    let day = || {
        let day = NaiveDate::parse_from_str(value, "%Y-%m-%d").ok()?;
        Some(day.and_time(NaiveTime::MIN).and_utc().timestamp_millis() - 14 * 3_600_000)
    };
    time.or_else(local).or_else(day).is_some_and(|time| time > latest)
}

/// Compares numbers by size, and everything else as text (for example RFC 3339 times of one offset, or
/// ULIDs).
fn compare(one: &str, other: &str) -> Ordering {
    match (one.parse::<f64>(), other.parse::<f64>()) {
        // Large numbers can be equal as f64. The longer spelling is then the larger number.
        (Ok(left), Ok(right)) => left.total_cmp(&right).then_with(|| one.len().cmp(&other.len())),
        _ => one.cmp(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_wins_in_any_order_and_its_edge_is_remembered() {
        let mut high = None;
        for (value, hash) in [("9", 1), ("10", 2), ("8", 3), ("10", 4)] {
            IncrementalMaximum::see(&mut high, value, hash);
        }
        let high = high.unwrap();
        assert_eq!((high.value.as_str(), high.edge.as_slice()), ("10", &[2, 4][..]));
        assert!(high.has("10", 4) && !high.has("10", 5) && !high.has("9", 1));
        assert_eq!(compare("2013-01-02T00:00:00Z", "2013-01-10T00:00:00Z"), Ordering::Less);
    }

    #[test]
    fn times_beyond_now_are_told_and_counters_are_not() {
        let now = 1_700_000_000_000; // 14 November 2023
        for (value, beyond) in [
            ("9999-12-31T00:00:00Z", true),
            ("2023-11-14T22:13:21Z", false),
            ("2023-11-14T23:13:21Z", true),
            ("2023-11-15T00:13:20+0200", false),
            ("2024-01-01", true),
            ("2023-11-15 08:00:00", false),
            ("99999999999999", false),
            ("01HF", false),
        ] {
            assert_eq!(is_beyond(value, now), beyond, "{value}");
        }
        assert!(!is_beyond("9999-12-31T00:00:00Z", i64::MAX));
    }

    #[test]
    fn a_complete_run_moves_the_next_one_on_and_never_back() {
        let high =
            |value: &str, edge: &[u64]| IncrementalMaximum { value: value.into(), edge: edge.to_vec() };
        let marks = |since: IncrementalMaximum, now: IncrementalMaximum| IncrementalMarks {
            since: BTreeMap::from([("flights".to_owned(), since)]),
            high: BTreeMap::from([("flights".to_owned(), now)]),
        };
        let after = |since, now| marks(since, now).after_the_run().since["flights"].clone();
        assert_eq!(after(high("7", &[1]), high("8", &[2])), high("8", &[2]));
        assert_eq!(after(high("7", &[1]), high("7", &[2])), high("7", &[1, 2]));
        assert_eq!(after(high("7", &[1]), high("6", &[2])), high("7", &[1]));
    }
}
