//! The checks at the end of a run: all counts and sums have to add up.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::lake::DemoLake;
use super::report::DemoCheck;
use crate::api::BROKEN;
use crate::truth::DemoTruth;

/// Limit of every worker's resident memory, in bytes.
const MOST_MEMORY: u64 = 256 << 20;

/// Committed records of every topic, and of the archive.
#[derive(Debug, Default)]
pub(crate) struct DemoCounts {
    pub(crate) flights: i64,
    pub(crate) aircraft: i64,
    pub(crate) masked_flights: i64,
    pub(crate) masked_aircraft: i64,
    pub(crate) facts: i64,
    pub(crate) archived: i64,
    /// Worker → its dead letters in all topics.
    pub(crate) dead_letters: BTreeMap<String, i64>,
    /// Dead letters that lack reason, source topic, partition or offset.
    pub(crate) mute_dead_letters: i64,
}

impl DemoCounts {
    pub(crate) fn dead(&self, worker: &str) -> i64 {
        self.dead_letters.get(worker).copied().unwrap_or(0)
    }

    pub(crate) fn landed(&self) -> i64 {
        self.masked_flights + self.masked_aircraft + self.facts
    }
}

/// Compares the counts of topics and archive with the CSV files.
pub(crate) fn of_topics(truth: &DemoTruth, counts: &DemoCounts, ids: i64) -> Vec<DemoCheck> {
    let broken = i64::try_from(BROKEN).unwrap_or(0);
    vec![
        DemoCheck::equal("ids in the table = distinct tail numbers", truth.tails, ids),
        DemoCheck::equal("raw flights = flights in the CSV", truth.flights, counts.flights),
        DemoCheck::equal("raw aircraft = aircraft in the CSV", truth.aircraft, counts.aircraft),
        DemoCheck::equal(
            "dead letters = records that break the schema",
            broken,
            counts.dead_letters.values().sum::<i64>(),
        ),
        DemoCheck::equal("dead letters by the collectors", broken, counts.dead("collector")),
        DemoCheck::equal("dead letters without reason or source", 0, counts.mute_dead_letters),
        DemoCheck::equal("masked flights = raw flights", counts.flights, counts.masked_flights),
        DemoCheck::equal("masked aircraft = raw aircraft", counts.aircraft, counts.masked_aircraft),
        DemoCheck::equal("facts = values that are there in the CSV", truth.facts_in_all(), counts.facts),
        DemoCheck::equal("records in the archive = records in its topics", counts.landed(), counts.archived),
    ]
}

/// Compares sums over the lake with the CSV files. Returns the checks and the number of rows in the lake.
pub(crate) fn of_lake(
    truth: &DemoTruth,
    counts: &DemoCounts,
    lake: &DemoLake,
) -> Result<(Vec<DemoCheck>, i64)> {
    let flights = lake.number("SELECT COUNT(*) AS n FROM aviation_flight_masked_v1")?;
    let aircraft = lake.number("SELECT COUNT(*) AS n FROM aviation_aircraft_masked_v1")?;
    let facts = lake.number("SELECT COUNT(*) AS n FROM aviation_flight_facts_v1")?;
    let mut checks = vec![
        DemoCheck::equal("lake: flights", truth.flights, flights),
        DemoCheck::equal("lake: aircraft", truth.aircraft, aircraft),
        DemoCheck::equal("lake: facts", counts.facts, facts),
        DemoCheck::equal(
            "lake: facts that differ",
            facts,
            lake.number("SELECT COUNT(DISTINCT fact_id) AS n FROM aviation_flight_facts_v1")?,
        ),
        DemoCheck::equal(
            "lake: distinct masked tail numbers",
            truth.tails,
            lake.number("SELECT COUNT(DISTINCT tailnum) AS n FROM aviation_flight_masked_v1")?,
        ),
    ];

    let by_attribute =
        lake.rows("SELECT attribute AS k, COUNT(*) AS v FROM aviation_flight_facts_v1 GROUP BY 1")?;
    checks.push(DemoCheck::equal("lake: facts by attribute", numbers(&truth.facts), grouped(&by_attribute)));
    let by_carrier =
        lake.rows("SELECT carrier AS k, SUM(distance) AS v FROM aviation_flight_masked_v1 GROUP BY 1")?;
    checks.push(DemoCheck::equal(
        "lake: sum of distance by carrier",
        numbers(&truth.distance_by_carrier),
        grouped(&by_carrier),
    ));

    // Sums and counts are whole numbers and are compared exactly. The mean is their quotient.
    let joined = "FROM aviation_flight_masked_v1 f JOIN aviation_aircraft_masked_v1 a ON f.tailnum = a.tailnum \
                  WHERE f.arr_delay IS NOT NULL GROUP BY 1";
    let rows =
        lake.rows(&format!("SELECT a.manufacturer AS k, COUNT(*) AS n, SUM(f.arr_delay) AS v {joined}"))?;
    let expected: Map<String, Value> = truth
        .delay_by_manufacturer
        .iter()
        .map(|(maker, (n, sum))| (maker.clone(), json!([n, sum])))
        .collect();
    let actual: Map<String, Value> = rows.iter().map(|row| (key(row), json!([row["n"], row["v"]]))).collect();
    checks.push(DemoCheck::equal(
        "lake: arrival delay by manufacturer, through the masked join",
        expected,
        actual,
    ));
    let means = lake.rows(&format!("SELECT a.manufacturer AS k, AVG(f.arr_delay) AS v {joined}"))?;
    let off = means.iter().filter(|row| !mean_holds(truth, row)).count();
    checks.push(DemoCheck::equal("lake: mean arrival delays that differ from the CSV's", 0, off));
    Ok((checks, flights + aircraft + facts))
}

/// Checks that there are no raw tail numbers in open places. `leaks` maps a topic to its hits in keys, values
/// and headers; `in_logs` counts the hits in the logs.
pub(crate) fn of_leaks(leaks: &BTreeMap<String, i64>, in_logs: i64) -> Vec<DemoCheck> {
    let mut checks: Vec<DemoCheck> = leaks
        .iter()
        .map(|(place, hits)| DemoCheck::equal(format!("raw tail numbers in {place}"), 0, *hits))
        .collect();
    checks.push(DemoCheck::equal("raw tail numbers in the logs", 0, in_logs));
    checks
}

/// Checks the memory of every worker.
pub(crate) fn of_memory<'a>(peaks: impl Iterator<Item = (&'a str, u64)>) -> Vec<DemoCheck> {
    peaks
        .map(|(name, peak)| DemoCheck::at_most(format!("peak resident bytes of {name}"), MOST_MEMORY, peak))
        .collect()
}

fn mean_holds(truth: &DemoTruth, row: &Value) -> bool {
    let Some((count, sum)) = truth.delay_by_manufacturer.get(&key(row)) else { return false };
    let expected = *sum as f64 / *count as f64;
    row["v"].as_f64().is_some_and(|actual| (actual - expected).abs() <= 1e-9 * expected.abs().max(1.0))
}

fn key(row: &Value) -> String {
    row["k"].as_str().unwrap_or_default().to_owned()
}

fn grouped(rows: &[Value]) -> Value {
    rows.iter().map(|row| (key(row), row["v"].clone())).collect::<Map<_, _>>().into()
}

fn numbers(groups: &BTreeMap<String, i64>) -> Value {
    groups
        .iter()
        .filter(|(_, value)| **value != 0)
        .map(|(key, value)| (key.clone(), json!(value)))
        .collect::<Map<_, _>>()
        .into()
}
