//! The expected results, computed directly from the CSV files: no Avro, no Kafka, no SQL.

use std::collections::BTreeMap;

use crate::data::DemoDataSet;

/// Attributes of a flight that become facts, by their names in the contract.
pub(crate) const ATTRIBUTES: [&str; 6] =
    ["tailnum", "dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"];

/// Counts and sums over the whole data set.
#[derive(Debug, Default)]
pub(crate) struct DemoTruth {
    pub(crate) flights: i64,
    pub(crate) tails: i64,
    pub(crate) aircraft: i64,
    /// Attribute → flights that have it.
    pub(crate) facts: BTreeMap<String, i64>,
    /// Carrier → sum of distance, in miles.
    pub(crate) distance_by_carrier: BTreeMap<String, i64>,
    /// Manufacturer → (flights with an arrival delay, sum of the delays in minutes), flights of known
    /// aircraft only.
    pub(crate) delay_by_manufacturer: BTreeMap<String, (i64, i64)>,
}

impl DemoTruth {
    pub(crate) fn of(data: &DemoDataSet) -> Self {
        let mut truth = Self {
            flights: count(data.flights.len()),
            tails: count(data.by_tail.len()),
            aircraft: count(data.planes.len()),
            ..Self::default()
        };
        for row in data.flights.rows() {
            for attribute in ATTRIBUTES {
                *truth.facts.entry(attribute.to_owned()).or_default() +=
                    i64::from(row.get(attribute).is_some());
            }
            let carrier = row.get("carrier").unwrap_or_default().to_owned();
            *truth.distance_by_carrier.entry(carrier).or_default() += row.number("distance").unwrap_or(0);
            let plane =
                row.get("tailnum").and_then(|tail| data.plane(tail)).map(|number| data.planes.row(number));
            let maker = plane.and_then(|plane| plane.get("manufacturer"));
            if let (Some(maker), Some(delay)) = (maker, row.number("arr_delay")) {
                let entry = truth.delay_by_manufacturer.entry(maker.to_owned()).or_default();
                entry.0 += 1;
                entry.1 += delay;
            }
        }
        truth
    }

    pub(crate) fn facts_in_all(&self) -> i64 {
        self.facts.values().sum()
    }
}

fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::CsvTable;

    #[test]
    fn sums_are_taken_over_what_is_there() {
        let flights = "month,carrier,tailnum,distance,arr_delay,dep_time\n\
            1,UA,N1,100,10,500\n1,UA,N1,100,NA,NA\n1,AA,N2,7,5,1\n";
        let planes = "tailnum,manufacturer\nN1,BOEING\n";
        let data = DemoDataSet::of(
            CsvTable::parse(flights.to_owned()).unwrap(),
            CsvTable::parse(planes.to_owned()).unwrap(),
            12,
        );
        let truth = DemoTruth::of(&data);
        assert_eq!((truth.flights, truth.tails, truth.aircraft), (3, 2, 1));
        assert_eq!((truth.facts["tailnum"], truth.facts["arr_delay"], truth.facts["air_time"]), (3, 2, 0));
        assert_eq!(truth.facts_in_all(), 3 + 2 + 2);
        assert_eq!(truth.distance_by_carrier, BTreeMap::from([("UA".into(), 200), ("AA".into(), 7)]));
        assert_eq!(truth.delay_by_manufacturer, BTreeMap::from([("BOEING".into(), (1, 10))]));
    }
}
