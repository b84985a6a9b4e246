mod evolution;
mod spelling;
mod types;
mod views;
mod zombie;

use std::path::Path;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use sluice_core::{Outcome, ReasonClass, Retry};
use sluice_core::{Store, StoreBacklog};

use super::{DeltaStore, FileCodec};
use crate::fixture::{FLIGHT, ID, TOPIC, at, feed, flight, framed, give, resume, runtime};
use sluice_warehouse as warehouse;

fn delta(lake: &Path) -> DeltaStore {
    DeltaStore::new(lake, FileCodec::Zstd, 4, runtime()).unwrap()
}

fn query(lake: &Path, sql: &str) -> Vec<RecordBatch> {
    runtime().block_on(warehouse::query(lake, sql)).unwrap()
}

/// The one number that a query answers with.
fn number(lake: &Path, sql: &str) -> i64 {
    let batches = query(lake, sql);
    batches[0].column(0).as_primitive::<Int64Type>().value(0)
}

fn flights(lake: &Path) -> i64 {
    number(lake, "SELECT count(*) FROM aviation_flight_masked_v1")
}

/// Offsets of a partition, in order.
fn offsets(lake: &Path, partition: i32) -> Vec<i64> {
    let sql = format!(
        "SELECT _kafka_offset FROM \"{TOPIC}\" WHERE _kafka_partition = {partition} ORDER BY _kafka_offset"
    );
    let batches = query(lake, &sql);
    batches.iter().flat_map(|b| b.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
}

fn commits(lake: &Path) -> usize {
    let log = std::fs::read_dir(lake.join(TOPIC).join("_delta_log")).unwrap();
    log.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|e| e == "json")).count()
}

#[test]
fn rows_and_positions_arrive_together_and_are_read_back() {
    let lake = tempfile::tempdir().unwrap();
    let mut store = delta(lake.path());
    assert_eq!((resume(&mut store, 0), resume(&mut store, 1)), (None, None));
    feed(&mut store, 0, 0..20_000);
    feed(&mut store, 1, 5..10);
    assert_eq!(store.pending().records, 20_005);
    assert_eq!(commits(lake.path()), 1, "the table, empty");
    store.flush().unwrap();
    assert_eq!(store.pending(), StoreBacklog::default());
    assert_eq!(commits(lake.path()), 2, "one commit for all partitions");
    store.flush().unwrap();
    assert_eq!(commits(lake.path()), 2, "nothing waits, nothing is committed");

    let mut restarted = delta(lake.path());
    assert_eq!((resume(&mut restarted, 0), resume(&mut restarted, 1)), (Some(20_000), Some(10)));
    assert_eq!(resume(&mut restarted, 2), None);

    assert_eq!(flights(lake.path()), 20_005);
    assert_eq!(offsets(lake.path(), 1), [5, 6, 7, 8, 9]);
    // Every column agrees with the offset that the row was made from.
    let wrong = "SELECT count(*) FROM aviation_flight_masked_v1 WHERE flight <> _kafka_offset
        OR (arr_delay IS DISTINCT FROM (CASE WHEN _kafka_offset % 7 = 0 THEN NULL ELSE _kafka_offset % 50 END))
        OR carrier <> (CASE _kafka_offset % 3 WHEN 0 THEN 'UA' WHEN 1 THEN 'B6' ELSE 'EV' END)
        OR _kafka_topic <> 'aviation.flight.masked.v1' OR _kafka_schema_id <> 7
        OR arrow_cast(time_hour, 'Int64') <> 1357034400000000 + _kafka_offset
        OR arrow_cast(_kafka_timestamp, 'Int64') <> (1700000000000 + _kafka_offset) * 1000";
    assert_eq!(number(lake.path(), wrong), 0);
}

#[test]
fn positions_outlive_checkpoints_and_the_log_entries_before_them() {
    let lake = tempfile::tempdir().unwrap();
    let mut store = delta(lake.path());
    resume(&mut store, 0);
    for batch in 0..9 {
        feed(&mut store, 0, batch * 10..batch * 10 + 10);
        store.flush().unwrap();
    }
    let log = lake.path().join(TOPIC).join("_delta_log");
    for version in [3, 7] {
        assert!(log.join(format!("{version:020}.checkpoint.parquet")).is_file(), "checkpoint {version}");
    }
    for version in 0..7 {
        std::fs::remove_file(log.join(format!("{version:020}.json"))).unwrap();
    }
    let mut restarted = delta(lake.path());
    assert_eq!(resume(&mut restarted, 0), Some(90));
    feed(&mut restarted, 0, 80..100);
    restarted.flush().unwrap();
    assert_eq!(offsets(lake.path(), 0), (0..100).collect::<Vec<_>>());
}

#[test]
fn records_read_again_are_not_added_again() {
    let lake = tempfile::tempdir().unwrap();
    let mut store = delta(lake.path());
    resume(&mut store, 0);
    feed(&mut store, 0, 0..50);
    store.flush().unwrap();
    // Killed with rows in memory: they are gone, and come again with the ones before them.
    feed(&mut store, 0, 50..70);
    drop(store);
    let mut store = delta(lake.path());
    assert_eq!(resume(&mut store, 0), Some(50));
    feed(&mut store, 0, 0..70);
    assert_eq!(store.pending().records, 20);
    store.flush().unwrap();
    assert_eq!(offsets(lake.path(), 0), (0..70).collect::<Vec<_>>());
}

#[test]
fn what_is_forgotten_is_not_written_and_the_rest_is() {
    let lake = tempfile::tempdir().unwrap();
    let mut store = delta(lake.path());
    for partition in [0, 1] {
        resume(&mut store, partition);
    }
    // Both partitions share batches; some are sealed, some are still being filled.
    for offset in 0..6000 {
        feed(&mut store, (offset % 2) as i32, offset..offset + 1);
    }
    feed(&mut store, 0, 6000..9000);
    store.forget(&at(0));
    assert_eq!(store.pending().records, 3000);
    feed(&mut store, 1, 6001..6002);
    store.flush().unwrap();
    assert_eq!(flights(lake.path()), 3001);
    assert_eq!(resume(&mut store, 0), None);
    assert_eq!(resume(&mut store, 1), Some(6002));
}

#[test]
fn what_cannot_be_stored_leaves_its_neighbours_whole() {
    let lake = tempfile::tempdir().unwrap();
    let mut store = delta(lake.path());
    resume(&mut store, 0);
    feed(&mut store, 0, 0..2);
    let good = framed(FLIGHT, ID, flight(2));
    let class = |outcome| match outcome {
        Outcome::DeadLetter(reason) | Outcome::Skipped(reason) => reason.class,
        other => panic!("{other:?}"),
    };
    assert_eq!(class(give(&mut store, FLIGHT, 0, 2, Some(&good[..good.len() - 1]))), ReasonClass::Datum);
    assert_eq!(class(give(&mut store, FLIGHT, 0, 3, Some(b"\x01\0\0\0\x07"))), ReasonClass::Framing);
    assert_eq!(class(give(&mut store, FLIGHT, 0, 4, None)), ReasonClass::Null);
    feed(&mut store, 0, 5..6);
    store.flush().unwrap();
    assert_eq!(offsets(lake.path(), 0), [0, 1, 5]);
    assert_eq!(resume(&mut store, 0), Some(6));
}

#[test]
fn a_table_that_cannot_be_written_keeps_the_rows() {
    let lake = tempfile::tempdir().unwrap();
    let mut store = delta(lake.path());
    resume(&mut store, 0);
    feed(&mut store, 0, 0..30);
    // A file where the table should be.
    let (table, aside) = (lake.path().join(TOPIC), lake.path().join("aside"));
    std::fs::rename(&table, &aside).unwrap();
    std::fs::write(&table, b"in the way").unwrap();
    assert_eq!(store.flush().unwrap_err().retry, Retry::Later);
    assert_eq!(store.pending().records, 30);
    std::fs::remove_file(&table).unwrap();
    std::fs::rename(&aside, &table).unwrap();
    store.flush().unwrap();
    assert_eq!(flights(lake.path()), 30);
}

#[test]
fn a_query_says_what_is_wrong_with_it() {
    let lake = tempfile::tempdir().unwrap();
    let mut store = delta(lake.path());
    resume(&mut store, 0);
    feed(&mut store, 0, 0..3);
    store.flush().unwrap();
    let ask =
        |sql: &str| runtime().block_on(warehouse::query(lake.path(), sql)).map_err(|error| error.to_string());
    let unknown = ask("SELECT * FROM nope").unwrap_err();
    assert!(unknown.starts_with("there is no table or view `nope`"), "{unknown}");
    assert!(unknown.ends_with("tables: aviation_flight_masked_v1"), "{unknown}");
    assert!(ask("SELECT nope FROM aviation_flight_masked_v1").unwrap_err().contains("carrier"));
    assert!(ask("SELEC 1").is_err());
    assert!(ask("DROP TABLE aviation_flight_masked_v1").is_err());
    assert!(ask("INSERT INTO aviation_flight_masked_v1 SELECT * FROM aviation_flight_masked_v1").is_err());
    assert!(ask("CREATE TABLE x AS SELECT * FROM aviation_flight_masked_v1").is_err());
    let empty = ask("SELECT carrier FROM aviation_flight_masked_v1 WHERE flight < 0").unwrap();
    assert_eq!((empty[0].num_rows(), empty[0].num_columns()), (0, 1));
    let elsewhere = runtime().block_on(warehouse::query(&lake.path().join("x"), "SELECT 1"));
    assert!(elsewhere.unwrap_err().to_string().starts_with("no lake at"));
}
