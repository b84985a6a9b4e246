//! The records that break the schema. They are additional, so that the good records are exactly the data set.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::mixed;
use crate::data::{DemoDataSet, write_json};

/// Number of additional records that break the schema.
pub(crate) const BROKEN: usize = 12;

/// Returns the pages that hold broken records, with the kinds of breakage: (tail, page from 1) → kinds.
pub(crate) fn places(seed: u64, data: &DemoDataSet, per_page: usize) -> BTreeMap<(String, u64), Vec<usize>> {
    let tails: Vec<(&String, &Vec<usize>)> = data.by_tail.iter().collect();
    let mut places: BTreeMap<(String, u64), Vec<usize>> = BTreeMap::new();
    if tails.is_empty() {
        return places;
    }
    for kind in 0..BROKEN {
        let dice = mixed(seed, &[b"broken", &kind.to_be_bytes()]);
        let (tail, rows) = tails[usize::try_from(dice >> 1).unwrap_or(0) % tails.len()];
        let pages = u64::try_from(rows.len().div_ceil(per_page).max(1)).unwrap_or(1);
        places.entry((tail.clone(), 1 + (dice >> 40) % pages)).or_default().push(kind);
    }
    places
}

/// Returns a copy of flight `row` that is broken in one of several ways, from 0 to 7.
pub(crate) fn record(data: &DemoDataSet, row: usize, kind: usize) -> Value {
    let mut text = Vec::new();
    write_json(&data.flights, row, &mut text);
    let Ok(Value::Object(mut flight)) = serde_json::from_slice(&text) else { return Value::Null };
    let set =
        |flight: &mut Map<String, Value>, field: &str, value: Value| flight.insert(field.to_owned(), value);
    match kind % 8 {
        0 => drop(set(&mut flight, "distance", json!("far"))),
        1 => drop(flight.remove("carrier")),
        2 => drop(set(&mut flight, "origin", Value::Null)),
        3 => drop(set(&mut flight, "year", json!("two thousand and thirteen"))),
        4 => drop(set(&mut flight, "time_hour", json!("yesterday"))),
        5 => drop(set(&mut flight, "flight", json!(99_999_999_999_i64))), // no int of 32 bits
        6 => drop(set(&mut flight, "hour", json!(5.5))),
        _ => drop(set(&mut flight, "dest", json!({"airport": "BOS"}))),
    }
    Value::Object(flight)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::tests::small;

    #[test]
    fn all_have_a_place_on_a_page_that_exists() {
        let data = small();
        let places = places(7, &data, 50);
        assert_eq!(places.values().map(Vec::len).sum::<usize>(), BROKEN);
        for (tail, page) in places.keys() {
            let pages = data.by_tail[tail].len().div_ceil(50);
            assert!((1..=pages as u64).contains(page), "{tail} {page}");
        }
    }

    #[test]
    fn each_kind_differs_from_the_good_record() {
        let data = small();
        let mut good = Vec::new();
        write_json(&data.flights, 0, &mut good);
        let good: Value = serde_json::from_slice(&good).unwrap();
        for kind in 0..8 {
            assert_ne!(record(&data, 0, kind), good, "{kind}");
        }
    }
}
