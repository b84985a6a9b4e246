//! Records for tests: each flight follows from its offset. A test can check the output without keeping the
//! input.

use std::sync::LazyLock;

use apache_avro::types::Value;
use sluice_core::{LearnError, Offset, Outcome, RecordRef, SchemaId, Store, TopicPartition};
use tokio::runtime::{Handle, Runtime};

pub(crate) const TOPIC: &str = "aviation.flight.masked.v1";
pub(crate) const ID: SchemaId = SchemaId(7);

pub(crate) const FLIGHT: &str = r#"{"type":"record","name":"Flight","namespace":"aviation","doc":"One departure.","fields":[
    {"name":"carrier","type":"string","doc":"Two letters."},
    {"name":"flight","type":"int","doc":"Flight number."},
    {"name":"arr_delay","type":["null","int"],"default":null},
    {"name":"time_hour","type":{"type":"long","logicalType":"timestamp-micros"}}]}"#;

/// Returns the runtime for the stores of all tests. The threads of the tests wait for it.
pub(crate) fn runtime() -> Handle {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
    });
    RUNTIME.handle().clone()
}

pub(crate) fn at(partition: i32) -> TopicPartition {
    TopicPartition::new(TOPIC, partition)
}

/// Returns the flight at an offset. Every seventh has no delay.
pub(crate) fn flight(offset: i64) -> Value {
    let delay = if offset % 7 == 0 {
        Value::Union(0, Box::new(Value::Null))
    } else {
        Value::Union(1, Box::new(Value::Int((offset % 50) as i32)))
    };
    Value::Record(vec![
        ("carrier".into(), Value::String(["UA", "B6", "EV"][offset as usize % 3].into())),
        ("flight".into(), Value::Int(offset as i32)),
        ("arr_delay".into(), delay),
        ("time_hour".into(), Value::TimestampMicros(1_357_034_400_000_000 + offset)),
    ])
}

/// Returns `value` as a Kafka record has it: framed under `id`.
pub(crate) fn framed(schema: &str, id: SchemaId, value: Value) -> Vec<u8> {
    let schema = apache_avro::Schema::parse_str(schema).unwrap();
    let mut out = Vec::new();
    sluice_wire::framing::write_prefix(id, &mut out);
    let writer = apache_avro::writer::datum::GenericDatumWriter::builder(&schema).build().unwrap();
    out.extend(writer.write_value_to_vec(value).unwrap());
    out
}

/// Hands one value to a store, as a lane does: teaches the schema when the store needs it.
pub(crate) fn give(
    store: &mut dyn Store,
    schema: &str,
    partition: i32,
    offset: i64,
    value: Option<&[u8]>,
) -> Outcome {
    try_give(store, schema, partition, offset, value).unwrap()
}

/// Does the same as [`give`] in tests where the schema may be refused.
pub(crate) fn try_give(
    store: &mut dyn Store,
    schema: &str,
    partition: i32,
    offset: i64,
    value: Option<&[u8]>,
) -> Result<Outcome, LearnError> {
    let record = RecordRef {
        topic: TOPIC,
        partition,
        offset: Offset::new(offset).unwrap(),
        timestamp_ms: Some(1_700_000_000_000 + offset),
        key: None,
        value,
        headers: &[],
    };
    match store.append(&record) {
        Outcome::NeedsSchema(_, id) => {
            store.learn(TOPIC, id, schema)?;
            Ok(store.append(&record))
        }
        outcome => Ok(outcome),
    }
}

/// Hands the flights at `offsets` of a partition to a store, and asserts that the store takes each.
pub(crate) fn feed(store: &mut dyn Store, partition: i32, offsets: std::ops::Range<i64>) {
    for offset in offsets {
        let value = framed(FLIGHT, ID, flight(offset));
        assert_eq!(give(store, FLIGHT, partition, offset, Some(&value)), Outcome::Emitted, "offset {offset}");
    }
}

/// Returns a store's position in a partition.
pub(crate) fn resume(store: &mut dyn Store, partition: i32) -> Option<i64> {
    store.resume(&at(partition)).unwrap().map(|position| position.next.raw())
}
