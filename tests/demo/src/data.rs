//! The data set: flights by tail number, newest first, and the aircraft.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;

use crate::table::CsvTable;

/// Columns that hold text; all others hold whole numbers.
const TEXT_COLUMNS: [&str; 9] =
    ["carrier", "tailnum", "origin", "dest", "time_hour", "type", "manufacturer", "model", "engine"];

/// Flights with a tail number, and the aircraft that flew them.
pub(crate) struct DemoDataSet {
    pub(crate) flights: CsvTable,
    pub(crate) planes: CsvTable,
    /// Row numbers of the flights of each tail number, newest first. Sorted by tail number.
    pub(crate) by_tail: BTreeMap<String, Vec<usize>>,
    plane_of: BTreeMap<String, usize>,
}

impl DemoDataSet {
    /// Reads `flights.csv[.gz]` and `planes.csv[.gz]` and keeps the months 1 to `months`.
    pub(crate) fn load(dir: &Path, months: u8) -> Result<Self> {
        Ok(Self::of(CsvTable::read(dir, "flights")?, CsvTable::read(dir, "planes")?, months))
    }

    /// Joins the two tables.
    pub(crate) fn of(mut flights: CsvTable, mut planes: CsvTable, months: u8) -> Self {
        flights.retain(|row| {
            row.get("tailnum").is_some()
                && row.number("month").is_some_and(|month| month <= i64::from(months))
        });
        let mut by_tail: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (number, row) in flights.rows().enumerate() {
            let Some(tail) = row.get("tailnum") else { continue };
            by_tail.entry(tail.to_owned()).or_default().push(number);
        }
        by_tail.values_mut().for_each(|rows| rows.reverse());
        planes.retain(|row| row.get("tailnum").is_some_and(|tail| by_tail.contains_key(tail)));
        let plane_of = planes
            .rows()
            .enumerate()
            .filter_map(|(number, row)| Some((row.get("tailnum")?.to_owned(), number)))
            .collect();
        Self { flights, planes, by_tail, plane_of }
    }

    /// Returns the aircraft's row. `None` if its registration is not in the data set, which is so for some
    /// hundred aircraft.
    pub(crate) fn plane(&self, tail: &str) -> Option<usize> {
        self.plane_of.get(tail).copied()
    }
}

/// Appends row `number` of `table` as a JSON object: numbers as numbers, `NA` as null.
pub(crate) fn write_json(table: &CsvTable, number: usize, out: &mut Vec<u8>) {
    for (index, (name, value)) in table.header().iter().zip(table.row(number).fields()).enumerate() {
        out.push(if index == 0 { b'{' } else { b',' });
        write_text(name, out);
        out.push(b':');
        match value {
            crate::table::NOT_AVAILABLE => out.extend(b"null"),
            _ if TEXT_COLUMNS.contains(&name.as_str()) => write_text(value, out),
            _ => out.extend(value.as_bytes()),
        }
    }
    out.push(b'}');
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    out.extend(serde_json::Value::from(text).to_string().as_bytes());
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Two aircraft, one unknown registration, one flight without tail number; 120 flights of N1.
    pub(crate) fn small() -> DemoDataSet {
        let mut flights = "month,carrier,tailnum,distance,dep_delay,time_hour\n".to_owned();
        for flight in 0..120 {
            flights.push_str(&format!("1,UA,N1,{flight},NA,2013-01-01T10:00:00Z\n"));
        }
        flights.push_str("1,AA,N2,10,-3,2013-01-02T10:00:00Z\n1,AA,NA,10,1,2013-01-02T10:00:00Z\n2,AA,N3,10,1,2013-02-02T10:00:00Z\n");
        let planes = "tailnum,year,type\nN1,NA,Fixed wing\nN3,1999,Fixed wing\n".to_owned();
        DemoDataSet::of(CsvTable::parse(flights).unwrap(), CsvTable::parse(planes).unwrap(), 1)
    }

    #[test]
    fn flights_without_tail_number_and_later_months_are_left_out() {
        let data = small();
        assert_eq!(data.flights.len(), 121);
        assert_eq!(data.by_tail.keys().collect::<Vec<_>>(), ["N1", "N2"]);
        assert_eq!(data.planes.len(), 1);
        assert_eq!((data.plane("N1"), data.plane("N2")), (Some(0), None));
        assert_eq!(data.flights.row(data.by_tail["N1"][0]).number("distance"), Some(119), "newest first");
    }

    #[test]
    fn a_row_becomes_json() {
        let data = small();
        let mut out = Vec::new();
        write_json(&data.flights, 0, &mut out);
        let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"month": 1, "carrier": "UA", "tailnum": "N1", "distance": 0, "dep_delay": null,
                "time_hour": "2013-01-01T10:00:00Z"})
        );
    }
}
