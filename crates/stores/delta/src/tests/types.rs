//! Every Avro type on its way into a column, read back by DataFusion and, where it is installed, by Python.

use std::process::Command;

use apache_avro::types::Value;
use apache_avro::{Days, Decimal, Duration, Millis, Months};
use arrow::util::display::array_value_to_string;

use super::*;

const EVERYTHING: &str = r#"{"type":"record","name":"Everything","doc":"All there is.","fields":[
    {"name":"b","type":"boolean"},
    {"name":"i","type":"int","doc":"A small number."},
    {"name":"l","type":"long"},
    {"name":"f","type":"float"},
    {"name":"d","type":"double"},
    {"name":"s","type":"string"},
    {"name":"by","type":"bytes"},
    {"name":"fx","type":{"type":"fixed","name":"Two","size":2}},
    {"name":"e","type":{"type":"enum","name":"Light","symbols":["RED","GREEN"]}},
    {"name":"dec","type":{"type":"bytes","logicalType":"decimal","precision":20,"scale":4}},
    {"name":"small","type":{"type":"bytes","logicalType":"decimal","precision":5,"scale":2}},
    {"name":"day","type":{"type":"int","logicalType":"date"}},
    {"name":"ms","type":{"type":"long","logicalType":"timestamp-millis"}},
    {"name":"us","type":{"type":"long","logicalType":"timestamp-micros"}},
    {"name":"local","type":{"type":"long","logicalType":"local-timestamp-micros"}},
    {"name":"tod","type":{"type":"int","logicalType":"time-millis"}},
    {"name":"list","type":{"type":"array","items":["null","int"]}},
    {"name":"map","type":{"type":"map","values":"long"}},
    {"name":"rec","type":{"type":"record","name":"Inner","fields":[{"name":"x","type":"int","doc":"Inside."}]}},
    {"name":"recs","type":{"type":"array","items":"Inner"}},
    {"name":"nul","type":["null","string"]}]}"#;

fn everything(millis: i64, small: i64) -> Vec<u8> {
    let inner = |x| Value::Record(vec![("x".into(), Value::Int(x))]);
    let maybe = |value: Option<i32>| match value {
        Some(value) => Value::Union(1, Box::new(Value::Int(value))),
        None => Value::Union(0, Box::new(Value::Null)),
    };
    let fields = vec![
        ("b", Value::Boolean(true)),
        ("i", Value::Int(-5)),
        ("l", Value::Long(1 << 60)),
        ("f", Value::Float(0.5)),
        ("d", Value::Double(-2.25)),
        ("s", Value::String("žluť".into())),
        ("by", Value::Bytes(vec![0, 255])),
        ("fx", Value::Fixed(2, vec![1, 2])),
        ("e", Value::Enum(1, "GREEN".into())),
        ("dec", Value::Decimal(Decimal::from(12_345_678_901_234_567_i64.to_be_bytes()))),
        ("small", Value::Decimal(Decimal::from(small.to_be_bytes()))),
        ("day", Value::Date(15_706)),
        ("ms", Value::TimestampMillis(millis)),
        ("us", Value::TimestampMicros(1_357_034_400_000_001)),
        ("local", Value::LocalTimestampMicros(1_357_034_400_000_001)),
        ("tod", Value::TimeMillis(3_600_000)),
        ("list", Value::Array(vec![maybe(Some(1)), maybe(None), maybe(Some(3))])),
        ("map", Value::Map([("k".to_owned(), Value::Long(9))].into())),
        ("rec", inner(7)),
        ("recs", Value::Array(vec![inner(8), inner(9)])),
        ("nul", Value::Union(0, Box::new(Value::Null))),
    ];
    framed(
        EVERYTHING,
        ID,
        Value::Record(fields.into_iter().map(|(name, value)| (name.into(), value)).collect()),
    )
}

#[test]
fn every_type_arrives_exactly() {
    let lake = tempfile::tempdir().unwrap();
    let mut store = delta(lake.path());
    resume(&mut store, 0);
    let value = everything(1_357_034_400_001, 99_999);
    assert_eq!(give(&mut store, EVERYTHING, 0, 0, Some(&value)), Outcome::Emitted);
    // Valid Avro that no column can hold is told from the rest before it is in a batch.
    for (offset, value) in [(1, everything(i64::MAX, 1)), (2, everything(0, 100_000))] {
        let Outcome::DeadLetter(reason) = give(&mut store, EVERYTHING, 0, offset, Some(&value)) else {
            panic!("stored")
        };
        assert_eq!(
            (reason.class, reason.path.as_str()),
            (ReasonClass::Type, if offset == 1 { "ms" } else { "small" })
        );
    }
    store.flush().unwrap();

    let rows = query(lake.path(), "SELECT * FROM aviation_flight_masked_v1");
    let schema = rows[0].schema();
    let column = |name: &str| {
        let index = schema.index_of(name).unwrap();
        let text = array_value_to_string(rows[0].column(index), 0).unwrap();
        (schema.field(index).data_type().to_string(), text)
    };
    for (name, data_type, text) in [
        ("b", "Boolean", "true"),
        ("i", "Int32", "-5"),
        ("l", "Int64", "1152921504606846976"),
        ("f", "Float32", "0.5"),
        ("d", "Float64", "-2.25"),
        ("by", "Binary", "00ff"),
        ("fx", "Binary", "0102"),
        ("dec", "Decimal128(20, 4)", "1234567890123.4567"),
        ("small", "Decimal128(5, 2)", "999.99"),
        ("day", "Date32", "2013-01-01"),
        ("ms", "Timestamp(µs, \"UTC\")", "2013-01-01T10:00:00.001Z"),
        ("us", "Timestamp(µs, \"UTC\")", "2013-01-01T10:00:00.000001Z"),
        ("local", "Timestamp(µs)", "2013-01-01T10:00:00.000001"),
        ("tod", "Int32", "3600000"),
    ] {
        let (seen_type, seen) = column(name);
        assert_eq!((seen_type.replace("View", ""), seen), (data_type.to_owned(), text.to_owned()), "{name}");
    }
    for (name, text) in [
        ("s", "žluť"),
        ("e", "GREEN"),
        ("list", "[1, , 3]"),
        ("map", "{k: 9}"),
        ("rec", "{x: 7}"),
        ("recs", "[{x: 8}, {x: 9}]"),
        ("nul", ""),
    ] {
        assert_eq!(column(name).1, text, "{name}");
    }
    in_python(lake.path());
}

#[test]
fn a_type_without_a_column_is_refused_with_its_path() {
    let lake = tempfile::tempdir().unwrap();
    let mut store = delta(lake.path());
    resume(&mut store, 0);
    let schema = r#"{"type":"record","name":"R","fields":[{"name":"r","type":{"type":"record","name":"I","fields":[
        {"name":"span","type":{"type":"fixed","name":"D","size":12,"logicalType":"duration"}}]}}]}"#;
    let span = Value::Duration(Duration::new(Months::new(1), Days::new(2), Millis::new(3)));
    let value = Value::Record(vec![("r".into(), Value::Record(vec![("span".into(), span)]))]);
    let value = framed(schema, ID, value);
    let refused = crate::fixture::try_give(&mut store, schema, 0, 0, Some(&value)).unwrap_err();
    let sluice_core::LearnError::Uncovered(reason) = refused else { panic!("{refused}") };
    assert_eq!(reason.path, "r.span");
    assert!(!lake.path().join(TOPIC).join("_delta_log").exists(), "no table was made");
}

/// The same table through another implementation's eyes: delta-rs' Python package.
fn in_python(lake: &Path) {
    let home = std::env::var("HOME").unwrap_or_default();
    let cache = std::env::var("SLUICE_CACHE")
        .or_else(|_| std::env::var("XDG_CACHE_HOME").map(|cache| format!("{cache}/sluicegate")))
        .unwrap_or_else(|_| format!("{home}/.cache/sluicegate"));
    let python = Path::new(&cache).join("venv/bin/python");
    if !python.is_file() {
        eprintln!("not read by Python: {} is not there; make setup brings it", python.display());
        return;
    }
    let script = r#"
import sys, json, decimal, datetime
from deltalake import DeltaTable
table = DeltaTable(sys.argv[1])
fields = {field.name: field for field in table.schema().fields}
assert fields["i"].metadata["comment"] == "A small number.", fields["i"].metadata
assert not fields["i"].nullable and fields["nul"].nullable
assert table.metadata().name == "aviation.flight.masked.v1" and table.metadata().description == "All there is."
rows = table.to_pyarrow_table().to_pylist()
assert len(rows) == 1, rows
row = rows[0]
assert row["dec"] == decimal.Decimal("1234567890123.4567"), row["dec"]
assert row["ms"] == datetime.datetime(2013, 1, 1, 10, 0, 0, 1000, datetime.timezone.utc), row["ms"]
assert row["local"] == datetime.datetime(2013, 1, 1, 10, 0, 0, 1), row["local"]
assert row["list"] == [1, None, 3] and dict(row["map"]) == {"k": 9} and row["recs"] == [{"x": 8}, {"x": 9}]
assert row["e"] == "GREEN" and row["by"] == b"\x00\xff" and row["nul"] is None and row["_kafka_offset"] == 0
assert table.transaction_version("sluice/aviation.flight.masked.v1/0") == 1
"#;
    let out = Command::new(python).args(["-c", script]).arg(lake.join(TOPIC)).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}
