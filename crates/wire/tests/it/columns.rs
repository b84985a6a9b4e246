//! Arrow batches: good records in, bad ones out before they can spoil anything.

use apache_avro::types::Value;
use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use sluice_wire::DatumSchema;
use sluice_wire::columns::ColumnBatchBuilder;

const SCHEMA: &str = r#"{"type":"record","name":"R","fields":[
    {"name":"n","type":"long"},{"name":"text","type":["null","string"],"default":null},
    {"name":"id","type":{"type":"string","logicalType":"uuid"}},
    {"name":"items","type":{"type":"array","items":"int"}}]}"#;

fn datum(schema: &DatumSchema, n: i64) -> Vec<u8> {
    let text = match n % 3 {
        0 => Value::Union(0, Box::new(Value::Null)),
        _ => Value::Union(1, Box::new(Value::String(format!("text {n}")))),
    };
    let items = (0..n % 4).map(|item| Value::Int(item as i32)).collect();
    crate::generate::encode(
        schema.avro(),
        Value::Record(vec![
            ("n".into(), Value::Long(n)),
            ("text".into(), text),
            ("id".into(), Value::Uuid(uuid::Uuid::from_u128(n as u128))),
            ("items".into(), Value::Array(items)),
        ]),
    )
}

fn bad_uuid() -> Vec<u8> {
    [&[2, 0, 72][..], &[b'z'; 36], &[0]].concat()
}

/// arrow-rs #8212, #9231: a failed record leaves columns of different lengths.
#[test]
fn bad_records_between_good_ones_leave_no_trace() {
    let schema = DatumSchema::parse(SCHEMA).unwrap();
    let mut columns = ColumnBatchBuilder::compile(&schema, None).unwrap();
    for round in 0..2 {
        let mut bytes = 0;
        for n in 0..50 {
            let good = datum(&schema, n);
            for cut in 0..good.len() {
                columns.append(&good[..cut]).unwrap_err();
            }
            let error = columns.append(&bad_uuid()).unwrap_err();
            assert_eq!(
                (error.path.as_str(), error.position, &*error.expected),
                ("id", 2, "the text of a uuid")
            );
            columns.append(&good).unwrap();
            bytes += good.len();
            assert_eq!((columns.rows() as i64, columns.bytes()), (n + 1, bytes), "round {round}");
        }
        let batch = columns.flush().unwrap();
        assert_eq!((batch.num_rows(), columns.rows(), columns.bytes()), (50, 0, 0));
        assert_eq!(batch.schema(), columns.schema());
        let numbers = batch.column(0).as_primitive::<Int64Type>();
        assert!((0..50).all(|n| numbers.value(n) == n as i64));
        let text = batch.column(1);
        assert!((0..50).all(|n| text.is_null(n) == (n % 3 == 0)));
        let items = batch.column(3).as_list::<i32>();
        assert!((0..50).all(|n| items.value(n).len() == n % 4));
    }
    assert_eq!(columns.flush().unwrap().num_rows(), 0);
}

#[test]
fn a_newer_reader_schema() {
    let writer = DatumSchema::parse(SCHEMA).unwrap();
    let reader = DatumSchema::parse(
        r#"{"type":"record","name":"R","fields":[{"name":"added","type":"int","default":7},{"name":"n","type":"long"}]}"#,
    )
    .unwrap();
    let mut columns = ColumnBatchBuilder::compile(&writer, Some(&reader)).unwrap();
    for n in 0..10 {
        columns.append(&datum(&writer, n)).unwrap();
    }
    let batch = columns.flush().unwrap();
    assert_eq!(
        batch.schema().fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(),
        ["added", "n"]
    );
    assert!(batch.column(0).as_primitive::<Int32Type>().iter().all(|value| value == Some(7)));
    assert!(batch.column(1).as_primitive::<Int64Type>().iter().eq((0..10).map(Some)));
}

#[test]
fn types_that_arrow_has_no_columns_for() {
    let recursive = r#"{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}"#;
    assert!(ColumnBatchBuilder::compile(&DatumSchema::parse(recursive).unwrap(), None).is_err());
    assert!(ColumnBatchBuilder::compile(&DatumSchema::parse("\"long\"").unwrap(), None).is_err());
    let schema = DatumSchema::parse(SCHEMA).unwrap();
    assert_eq!(
        *ColumnBatchBuilder::compile(&schema, None).unwrap().schema().field(0).data_type(),
        DataType::Int64
    );
}
