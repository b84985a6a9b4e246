//! The content of a page: bytes from the data set, without clock and network.

use std::collections::BTreeMap;

use super::breakage;
use crate::data::{DemoDataSet, write_json};

/// Flights per page.
pub(crate) const PER_PAGE: usize = 50;

/// A page's bytes and the number of its records, broken ones included.
pub(crate) struct DemoPage {
    pub(crate) json: Vec<u8>,
    pub(crate) records: usize,
}

/// Makes pages from the data set.
pub(crate) struct DemoPageSource {
    data: DemoDataSet,
    broken: BTreeMap<(String, u64), Vec<usize>>,
}

impl DemoPageSource {
    pub(crate) fn new(data: DemoDataSet, seed: u64) -> Self {
        let broken = breakage::places(seed, &data, PER_PAGE);
        Self { data, broken }
    }

    /// Returns the aircraft, if it is known.
    pub(crate) fn aircraft(&self, tail: &str) -> Option<DemoPage> {
        let mut json = Vec::with_capacity(300);
        write_json(&self.data.planes, self.data.plane(tail)?, &mut json);
        Some(DemoPage { json, records: 1 })
    }

    /// Returns one page of an aircraft's flights, from 1. `None` if there is no such tail number or page.
    pub(crate) fn flights(&self, tail: &str, page: u64) -> Option<DemoPage> {
        let rows = self.data.by_tail.get(tail)?;
        let pages = rows.len().div_ceil(PER_PAGE);
        let index = usize::try_from(page).ok()?.checked_sub(1).filter(|index| *index < pages)?;
        let chunk = &rows[index * PER_PAGE..rows.len().min((index + 1) * PER_PAGE)];
        let mut json = Vec::with_capacity(chunk.len() * 320 + 100);
        json.extend(b"{\"data\":[");
        for (number, row) in chunk.iter().enumerate() {
            if number > 0 {
                json.push(b',');
            }
            write_json(&self.data.flights, *row, &mut json);
        }
        let extra = self.broken.get(&(tail.to_owned(), page)).map_or(&[][..], Vec::as_slice);
        for kind in extra {
            json.push(b',');
            json.extend(breakage::record(&self.data, chunk[0], *kind).to_string().as_bytes());
        }
        let next = if index + 1 < pages {
            format!("\"/v1/aircraft/{tail}/flights?page={}\"", page + 1)
        } else {
            "null".to_owned()
        };
        json.extend(format!("],\"page\":{page},\"pages\":{pages},\"next\":{next}}}").as_bytes());
        Some(DemoPage { json, records: chunk.len() + extra.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::tests::small;

    #[test]
    fn the_pages_of_all_tails_hold_every_flight_once_and_the_broken_ones() {
        let pages = DemoPageSource::new(small(), 7);
        let (mut records, mut seen) = (0, Vec::new());
        for tail in ["N1", "N2"] {
            let mut page = 1;
            loop {
                let answer = pages.flights(tail, page).unwrap();
                let json: serde_json::Value = serde_json::from_slice(&answer.json).unwrap();
                assert_eq!(json["data"].as_array().unwrap().len(), answer.records);
                records += answer.records;
                seen.push((tail, page));
                if json["next"].is_null() {
                    break;
                }
                page += 1;
                assert_eq!(json["next"], format!("/v1/aircraft/{tail}/flights?page={page}"));
            }
        }
        assert_eq!(records, 121 + breakage::BROKEN);
        assert_eq!(seen, [("N1", 1), ("N1", 2), ("N1", 3), ("N2", 1)]);
    }

    #[test]
    fn what_does_not_exist_is_not_there() {
        let pages = DemoPageSource::new(small(), 7);
        assert!(pages.flights("N1", 4).is_none() && pages.flights("N1", 0).is_none());
        assert!(pages.flights("N9", 1).is_none() && pages.aircraft("N2").is_none());
        assert!(pages.aircraft("N1").is_some());
    }
}
