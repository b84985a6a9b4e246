//! Tables that grow while they are written to.

use apache_avro::types::Value;
use sluice_core::{LearnError, SchemaId};

use super::*;
use crate::fixture::try_give;

const NEWER: SchemaId = SchemaId(8);
/// A field more, one less, and one that may be null now.
const GROWN: &str = r#"{"type":"record","name":"Flight","namespace":"aviation","fields":[
    {"name":"carrier","type":["null","string"]},
    {"name":"arr_delay","type":["null","int"]},
    {"name":"gate","type":"string","doc":"Where it left."},
    {"name":"time_hour","type":{"type":"long","logicalType":"timestamp-micros"}}]}"#;

fn grown(offset: i64) -> Vec<u8> {
    let null = || Value::Union(0, Box::new(Value::Null));
    let value = Value::Record(vec![
        ("carrier".into(), null()),
        ("arr_delay".into(), null()),
        ("gate".into(), Value::String(format!("A{offset}"))),
        ("time_hour".into(), Value::TimestampMicros(offset)),
    ]);
    framed(GROWN, NEWER, value)
}

#[test]
fn a_table_grows_while_rows_of_the_older_schema_wait() {
    let lake = tempfile::tempdir().unwrap();
    let mut store = delta(lake.path());
    resume(&mut store, 0);
    feed(&mut store, 0, 0..5);
    assert_eq!(give(&mut store, GROWN, 0, 5, Some(&grown(5))), Outcome::Emitted);
    feed(&mut store, 0, 6..8);
    store.flush().unwrap();
    assert_eq!(offsets(lake.path(), 0), (0..8).collect::<Vec<_>>());
    let rows = |condition: &str| {
        number(lake.path(), &format!("SELECT count(*) FROM aviation_flight_masked_v1 WHERE {condition}"))
    };
    assert_eq!(rows("gate IS NULL AND carrier IS NOT NULL AND flight = _kafka_offset"), 7);
    assert_eq!(rows("gate = 'A5' AND carrier IS NULL AND flight IS NULL AND _kafka_schema_id = 8"), 1);

    // A restarted writer of the older schema finds the table grown and writes on.
    let mut restarted = delta(lake.path());
    resume(&mut restarted, 0);
    feed(&mut restarted, 0, 8..10);
    restarted.flush().unwrap();
    assert_eq!(rows("gate IS NULL"), 9);
}

#[test]
fn two_writers_grow_a_table_under_each_other() {
    let lake = tempfile::tempdir().unwrap();
    let (mut a, mut b) = (delta(lake.path()), delta(lake.path()));
    resume(&mut a, 0);
    resume(&mut b, 1);
    feed(&mut a, 0, 0..3);
    assert_eq!(give(&mut b, GROWN, 1, 0, Some(&grown(0))), Outcome::Emitted);
    a.flush().unwrap();
    b.flush().unwrap();
    feed(&mut a, 0, 3..6);
    a.flush().unwrap();
    assert_eq!(offsets(lake.path(), 0), (0..6).collect::<Vec<_>>());
    assert_eq!(number(lake.path(), "SELECT count(*) FROM aviation_flight_masked_v1 WHERE gate = 'A0'"), 1);
}

#[test]
fn a_conflict_is_refused_with_path_and_types_and_disturbs_nothing() {
    let lake = tempfile::tempdir().unwrap();
    let mut store = delta(lake.path());
    resume(&mut store, 0);
    feed(&mut store, 0, 0..3);
    let changed = FLIGHT.replace(r#""name":"flight","type":"int""#, r#""name":"flight","type":"string""#);
    let value = [&[0, 0, 0, 0, 9][..], b"anything"].concat();
    let Err(LearnError::Uncovered(reason)) = try_give(&mut store, &changed, 0, 3, Some(&value)) else {
        panic!("a string where the table has an int");
    };
    assert_eq!((reason.class, reason.path.as_str()), (ReasonClass::Type, "flight"));
    assert!(reason.expected.contains("the table has Int32, the records have Utf8"), "{reason}");
    store.flush().unwrap();
    assert_eq!(flights(lake.path()), 3);
}

#[test]
fn a_table_with_demands_that_are_not_understood_is_left_alone() {
    let lake = tempfile::tempdir().unwrap();
    let mut store = delta(lake.path());
    resume(&mut store, 0);
    feed(&mut store, 0, 0..3);
    store.flush().unwrap();
    drop(store);
    let demand = r#"{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":["deletionVectors"],"writerFeatures":["deletionVectors","checkConstraints"]}}"#;
    std::fs::write(lake.path().join(TOPIC).join(format!("_delta_log/{:020}.json", 2)), demand).unwrap();
    let mut store = delta(lake.path());
    resume(&mut store, 0);
    let value = framed(FLIGHT, ID, flight(3));
    let Err(LearnError::Fault(fault)) = try_give(&mut store, FLIGHT, 0, 3, Some(&value)) else {
        panic!("accepted")
    };
    assert_eq!(fault.retry, Retry::Never);
}
