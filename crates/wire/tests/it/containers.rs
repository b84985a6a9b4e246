//! Container files read back by apache-avro, for every codec.

use apache_avro::types::Value;
use sluice_wire::{ContainerCodec, ContainerWriter, DatumSchema, LineageFrame, RecordLineage};

const SCHEMA: &str = r#"{"type":"record","name":"R","namespace":"a.b","fields":[
    {"name":"id","type":"long"},{"name":"text","type":"string"},
    {"name":"in","type":{"type":"record","name":"In","fields":[{"name":"x","type":"int"}]}},
    {"name":"again","type":"In"}]}"#;

fn record(id: i64) -> Value {
    let inner = |x| Value::Record(vec![("x".into(), Value::Int(x))]);
    Value::Record(vec![
        ("id".into(), Value::Long(id)),
        ("text".into(), Value::String("text ".repeat(id as usize % 7))),
        ("in".into(), inner(1)),
        ("again".into(), inner(2)),
    ])
}

#[test]
fn every_codec_reads_back_with_lineage() {
    let schema = DatumSchema::parse(SCHEMA).unwrap();
    let renames = [("text".to_owned(), "words".to_owned()), ("in.x".to_owned(), "y".to_owned())];
    let frame = LineageFrame::compile(&schema, true, &renames).unwrap();
    for codec in
        [ContainerCodec::Null, ContainerCodec::Deflate, ContainerCodec::Snappy, ContainerCodec::Zstandard]
    {
        let mut file = Vec::new();
        let metadata = [("sluice.topic", &b"t"[..])];
        let mut container = ContainerWriter::new(frame.extended(), codec, &metadata, [7; 16], &mut file);
        let mut raw = Vec::new();
        for block in 0..3 {
            raw.clear();
            for n in 0..100 {
                let offset = block * 100 + n;
                let datum = crate::generate::encode(schema.avro(), record(offset));
                let lineage = RecordLineage {
                    topic: "t",
                    partition: 1,
                    offset,
                    timestamp_ms: (n % 2 == 0).then_some(offset),
                    schema_id: 5,
                };
                frame.append(&datum, &lineage, &mut raw).unwrap();
                // A bad record leaves the block as it was.
                frame.append(&datum[..datum.len() - 1], &lineage, &mut raw).unwrap_err();
            }
            container.block(100, &raw, &mut file).unwrap();
        }
        container.block(0, &[], &mut file).unwrap();
        let reader = apache_avro::Reader::new(&file[..]).unwrap();
        assert_eq!(reader.user_metadata().get("sluice.topic").unwrap(), b"t");
        let values: Vec<Value> = reader.map(|value| value.unwrap()).collect();
        assert_eq!(values.len(), 300, "{codec:?}");
        for (offset, value) in (0i64..).zip(values) {
            let Value::Record(fields) = value else { unreachable!() };
            let field = |name: &str| &fields.iter().find(|(there, _)| there == name).unwrap().1;
            assert_eq!(field("id"), &Value::Long(offset));
            assert_eq!(field("words"), &Value::String("text ".repeat(offset as usize % 7)));
            assert_eq!(field("in"), &Value::Record(vec![("y".into(), Value::Int(1))]));
            assert_eq!(field("_kafka_offset"), &Value::Long(offset));
            assert_eq!(field("_kafka_partition"), &Value::Int(1));
            assert_eq!(field("_kafka_schema_id"), &Value::Int(5));
            let at = if offset % 2 == 0 {
                Value::Union(1, Box::new(Value::TimestampMillis(offset)))
            } else {
                Value::Union(0, Box::new(Value::Null))
            };
            assert_eq!(field("_kafka_timestamp"), &at);
        }
    }
}

#[test]
fn without_lineage_and_renames_the_schema_is_the_writers() {
    let schema = DatumSchema::parse(SCHEMA).unwrap();
    let frame = LineageFrame::compile(&schema, false, &[]).unwrap();
    assert_eq!(frame.extended().json(), schema.json());
}

#[test]
fn names_that_are_unknown_or_taken_are_refused() {
    let schema = DatumSchema::parse(SCHEMA).unwrap();
    for (path, name) in [("none", "x"), ("in.none", "x"), ("id.x", "y"), ("id", "text"), ("id", "not a name")]
    {
        assert!(
            LineageFrame::compile(&schema, true, &[(path.to_owned(), name.to_owned())]).is_err(),
            "{path} {name}"
        );
    }
    // The names of lineage are reserved in both spellings.
    for name in sluice_core::names::lineage::ALL.into_iter().flat_map(|(name, former)| [name, former]) {
        let taken = r#"{"type":"record","name":"R","fields":[{"name":"NAME","type":"long"}]}"#;
        let taken = DatumSchema::parse(&taken.replace("NAME", name)).unwrap();
        assert!(LineageFrame::compile(&taken, true, &[]).is_err(), "{name}");
        assert!(LineageFrame::compile(&taken, false, &[]).is_ok(), "{name}");
    }
    assert!(LineageFrame::compile(&DatumSchema::parse("\"long\"").unwrap(), true, &[]).is_err());
}

/// Only the outermost record has lineage; the ones inside it are as they were.
#[test]
fn a_record_that_contains_itself_is_framed_once() {
    let list = r#"{"type":"record","name":"L","namespace":"n.s","doc":"d","fields":[
        {"name":"v","type":"long"},{"name":"next","type":["null","L"],"default":null},{"name":"other","type":["null","n.s.L"]}]}"#;
    let schema = DatumSchema::parse(list).unwrap();
    let frame = LineageFrame::compile(&schema, true, &[]).unwrap();
    let lineage = RecordLineage { topic: "t", partition: 1, offset: 2, timestamp_ms: None, schema_id: 5 };
    let mut block = Vec::new();
    frame.append(&[2, 2, 4, 0, 0, 2, 6, 0, 0], &lineage, &mut block).unwrap();
    let Value::Record(fields) = crate::generate::decode(frame.extended().avro(), &block) else {
        unreachable!()
    };
    assert_eq!(fields.len(), 8);
    assert_eq!(fields[5], ("_kafka_offset".to_owned(), Value::Long(2)));
    let inner = |v| {
        let null = || Value::Union(0, Box::new(Value::Null));
        let fields = vec![("v".into(), Value::Long(v)), ("next".into(), null()), ("other".into(), null())];
        Value::Union(1, Box::new(Value::Record(fields)))
    };
    assert_eq!((&fields[1].1, &fields[2].1), (&inner(2), &inner(3)));
}
