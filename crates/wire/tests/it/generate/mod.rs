//! Schemas and values of all types, for property tests; shared with the crate's own tests.

#![allow(unreachable_pub, dead_code)]

use apache_avro::types::Value;
use apache_avro::{Days, Decimal, Duration, Millis, Months};
use proptest::prelude::*;
use proptest::strategy::Union;
use serde_json::json;

/// A type without names; rendering gives every record, enum and fixed its own.
#[derive(Debug, Clone, PartialEq)]
pub enum AvroShape {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed(usize),
    Enum(u32),
    Date,
    TimeMillis,
    TimeMicros,
    TimestampMillis,
    TimestampMicros,
    TimestampNanos,
    LocalTimestampMillis,
    LocalTimestampMicros,
    LocalTimestampNanos,
    DecimalBytes,
    DecimalFixed,
    Uuid,
    UuidFixed,
    Duration,
    Array(Box<AvroShape>),
    Map(Box<AvroShape>),
    Record(Vec<AvroShape>),
    /// null first or second, and one other.
    Optional(bool, Box<AvroShape>),
    /// Two or more, no two of a kind.
    Union(Vec<AvroShape>),
}

pub fn leaf() -> impl Strategy<Value = AvroShape> {
    prop_oneof![
        1 => Just(AvroShape::Null),
        2 => Just(AvroShape::Boolean),
        4 => Just(AvroShape::Int),
        4 => Just(AvroShape::Long),
        2 => Just(AvroShape::Float),
        2 => Just(AvroShape::Double),
        3 => Just(AvroShape::Bytes),
        6 => Just(AvroShape::String),
        2 => (1usize..20).prop_map(AvroShape::Fixed),
        2 => (1u32..70).prop_map(AvroShape::Enum),
        6 => prop::sample::select(vec![
            AvroShape::Date, AvroShape::TimeMillis, AvroShape::TimeMicros, AvroShape::TimestampMillis, AvroShape::TimestampMicros,
            AvroShape::TimestampNanos, AvroShape::LocalTimestampMillis, AvroShape::LocalTimestampMicros,
            AvroShape::LocalTimestampNanos, AvroShape::DecimalBytes, AvroShape::DecimalFixed, AvroShape::Uuid, AvroShape::UuidFixed,
            AvroShape::Duration,
        ]),
    ]
}

/// A record at the root, nested at most six levels.
pub fn root() -> impl Strategy<Value = AvroShape> {
    prop::collection::vec(nested(5), 1..5).prop_map(AvroShape::Record)
}

fn nested(levels: u32) -> BoxedStrategy<AvroShape> {
    if levels == 0 {
        return leaf().boxed();
    }
    let inner = nested(levels - 1);
    let optional = (any::<bool>(), inner.clone()).prop_map(|(first, other)| match other {
        AvroShape::Null | AvroShape::Optional(..) | AvroShape::Union(_) => other,
        other => AvroShape::Optional(first, Box::new(other)),
    });
    let union = prop::collection::vec(inner.clone(), 2..5).prop_map(|branches| {
        let mut distinct: Vec<AvroShape> = Vec::new();
        for branch in branches {
            let nested = matches!(branch, AvroShape::Optional(..) | AvroShape::Union(_));
            if !nested && !distinct.iter().any(|other| kind(other) == kind(&branch)) {
                distinct.push(branch);
            }
        }
        let others = distinct.iter().filter(|shape| **shape != AvroShape::Null).count();
        if others > 1 { AvroShape::Union(distinct) } else { AvroShape::Record(distinct) }
    });
    prop_oneof![
        3 => leaf(),
        1 => inner.clone().prop_map(|items| AvroShape::Array(Box::new(items))),
        1 => inner.clone().prop_map(|values| AvroShape::Map(Box::new(values))),
        2 => prop::collection::vec(inner, 0..4).prop_map(AvroShape::Record),
        1 => optional,
        1 => union,
    ]
    .boxed()
}

/// What may occur once in a union.
fn kind(shape: &AvroShape) -> &'static str {
    match shape {
        AvroShape::Null => "null",
        AvroShape::Boolean => "boolean",
        AvroShape::Int | AvroShape::Date | AvroShape::TimeMillis => "int",
        AvroShape::Long
        | AvroShape::TimeMicros
        | AvroShape::TimestampMillis
        | AvroShape::TimestampMicros
        | AvroShape::TimestampNanos => "long",
        AvroShape::LocalTimestampMillis
        | AvroShape::LocalTimestampMicros
        | AvroShape::LocalTimestampNanos => "long",
        AvroShape::Float => "float",
        AvroShape::Double => "double",
        AvroShape::Bytes | AvroShape::DecimalBytes => "bytes",
        AvroShape::String | AvroShape::Uuid => "string",
        AvroShape::Fixed(_) | AvroShape::DecimalFixed | AvroShape::UuidFixed | AvroShape::Duration => "fixed",
        AvroShape::Enum(_) => "enum",
        AvroShape::Array(_) => "array",
        AvroShape::Map(_) => "map",
        AvroShape::Record(_) => "record",
        AvroShape::Optional(..) | AvroShape::Union(_) => "union",
    }
}

/// The schema's JSON.
pub fn schema(shape: &AvroShape) -> serde_json::Value {
    render(shape, &mut 0)
}

fn render(shape: &AvroShape, names: &mut usize) -> serde_json::Value {
    let mut name = || {
        *names += 1;
        format!("N{names}")
    };
    let logical = |base: &str, logical: &str| json!({"type": base, "logicalType": logical});
    match shape {
        AvroShape::Date => logical("int", "date"),
        AvroShape::TimeMillis => logical("int", "time-millis"),
        AvroShape::TimeMicros => logical("long", "time-micros"),
        AvroShape::TimestampMillis => logical("long", "timestamp-millis"),
        AvroShape::TimestampMicros => logical("long", "timestamp-micros"),
        AvroShape::TimestampNanos => logical("long", "timestamp-nanos"),
        AvroShape::LocalTimestampMillis => logical("long", "local-timestamp-millis"),
        AvroShape::LocalTimestampMicros => logical("long", "local-timestamp-micros"),
        AvroShape::LocalTimestampNanos => logical("long", "local-timestamp-nanos"),
        AvroShape::DecimalBytes => {
            json!({"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 3})
        }
        AvroShape::DecimalFixed => {
            json!({"type": "fixed", "name": name(), "size": 8, "logicalType": "decimal", "precision": 12, "scale": 3})
        }
        AvroShape::Uuid => logical("string", "uuid"),
        AvroShape::UuidFixed => json!({"type": "fixed", "name": name(), "size": 16, "logicalType": "uuid"}),
        AvroShape::Duration => {
            json!({"type": "fixed", "name": name(), "size": 12, "logicalType": "duration"})
        }
        AvroShape::Fixed(size) => json!({"type": "fixed", "name": name(), "size": size}),
        AvroShape::Enum(count) => json!({"type": "enum", "name": name(), "symbols": symbols(*count)}),
        AvroShape::Array(items) => json!({"type": "array", "items": render(items, names)}),
        AvroShape::Map(values) => json!({"type": "map", "values": render(values, names)}),
        AvroShape::Record(fields) => {
            let name = name();
            let fields: Vec<_> = fields
                .iter()
                .enumerate()
                .map(|(place, field)| json!({"name": format!("f{place}"), "type": render(field, names)}))
                .collect();
            json!({"type": "record", "name": name, "fields": fields})
        }
        AvroShape::Optional(true, other) => json!(["null", render(other, names)]),
        AvroShape::Optional(false, other) => json!([render(other, names), "null"]),
        AvroShape::Union(branches) => branches.iter().map(|branch| render(branch, names)).collect(),
        plain => kind(plain).into(),
    }
}

fn symbols(count: u32) -> Vec<String> {
    (0..count).map(|symbol| format!("S{symbol}")).collect()
}

fn long() -> impl Strategy<Value = i64> {
    prop_oneof![
        -100i64..100,
        any::<i64>(),
        (0u32..63, any::<bool>()).prop_map(|(bits, minus)| {
            let edge = 1i64 << bits;
            if minus { -edge } else { edge }
        })
    ]
}

fn int() -> impl Strategy<Value = i32> {
    prop_oneof![-100i32..100, any::<i32>()]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[ -~]{0,40}", 1 => "\\PC{0,40}", 1 => "[a-z]{60,90}"]
}

/// A value of the shape.
pub fn value(shape: &AvroShape) -> BoxedStrategy<Value> {
    match shape {
        AvroShape::Null => Just(Value::Null).boxed(),
        AvroShape::Boolean => any::<bool>().prop_map(Value::Boolean).boxed(),
        AvroShape::Int => int().prop_map(Value::Int).boxed(),
        AvroShape::Long => long().prop_map(Value::Long).boxed(),
        AvroShape::Float => (-1e30f32..1e30).prop_map(Value::Float).boxed(),
        AvroShape::Double => (-1e300f64..1e300).prop_map(Value::Double).boxed(),
        AvroShape::Bytes => prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::Bytes).boxed(),
        AvroShape::String => text().prop_map(Value::String).boxed(),
        AvroShape::Fixed(size) => {
            let size = *size;
            prop::collection::vec(any::<u8>(), size).prop_map(move |bytes| Value::Fixed(size, bytes)).boxed()
        }
        AvroShape::Enum(count) => {
            (0..*count).prop_map(|place| Value::Enum(place, format!("S{place}"))).boxed()
        }
        AvroShape::Date => int().prop_map(Value::Date).boxed(),
        AvroShape::TimeMillis => int().prop_map(Value::TimeMillis).boxed(),
        AvroShape::TimeMicros => long().prop_map(Value::TimeMicros).boxed(),
        AvroShape::TimestampMillis => long().prop_map(Value::TimestampMillis).boxed(),
        AvroShape::TimestampMicros => long().prop_map(Value::TimestampMicros).boxed(),
        AvroShape::TimestampNanos => long().prop_map(Value::TimestampNanos).boxed(),
        AvroShape::LocalTimestampMillis => long().prop_map(Value::LocalTimestampMillis).boxed(),
        AvroShape::LocalTimestampMicros => long().prop_map(Value::LocalTimestampMicros).boxed(),
        AvroShape::LocalTimestampNanos => long().prop_map(Value::LocalTimestampNanos).boxed(),
        AvroShape::DecimalBytes | AvroShape::DecimalFixed => (-99_999_999_999i64..99_999_999_999)
            .prop_map(|value| Value::Decimal(Decimal::from(value.to_be_bytes())))
            .boxed(),
        AvroShape::Uuid | AvroShape::UuidFixed => {
            any::<u128>().prop_map(|bits| Value::Uuid(uuid::Uuid::from_u128(bits))).boxed()
        }
        AvroShape::Duration => any::<[u32; 3]>()
            .prop_map(|[a, b, c]| {
                Value::Duration(Duration::new(Months::new(a), Days::new(b), Millis::new(c)))
            })
            .boxed(),
        AvroShape::Array(items) => prop::collection::vec(value(items), 0..4).prop_map(Value::Array).boxed(),
        AvroShape::Map(values) => {
            prop::collection::hash_map("[a-zé]{0,12}", value(values), 0..4).prop_map(Value::Map).boxed()
        }
        AvroShape::Record(fields) => {
            let fields: Vec<_> = fields.iter().map(value).collect();
            fields
                .prop_map(|values| {
                    let named =
                        values.into_iter().enumerate().map(|(place, value)| (format!("f{place}"), value));
                    Value::Record(named.collect())
                })
                .boxed()
        }
        AvroShape::Optional(null_first, other) => {
            let null = if *null_first { 0 } else { 1 };
            let some = value(other).prop_map(move |value| Value::Union(1 - null, Box::new(value)));
            prop_oneof![1 => Just(Value::Union(null, Box::new(Value::Null))), 3 => some].boxed()
        }
        AvroShape::Union(branches) => {
            let branches = branches.iter().enumerate().map(|(place, branch)| {
                value(branch).prop_map(move |value| Value::Union(place as u32, Box::new(value))).boxed()
            });
            Union::new(branches).boxed()
        }
    }
}

/// A root record and a value of it.
pub fn record() -> impl Strategy<Value = (AvroShape, Value)> {
    root().prop_flat_map(|shape| {
        let values = value(&shape);
        (Just(shape), values)
    })
}

/// The datum, as apache-avro encodes it.
pub fn encode(schema: &apache_avro::Schema, value: Value) -> Vec<u8> {
    apache_avro::writer::datum::GenericDatumWriter::builder(schema)
        .build()
        .and_then(|writer| writer.write_value_to_vec(value))
        .expect("a generated value fits its schema")
}

/// The value, as apache-avro decodes it.
#[allow(dead_code)]
pub fn decode(schema: &apache_avro::Schema, mut datum: &[u8]) -> Value {
    let value = apache_avro::reader::datum::GenericDatumReader::builder(schema)
        .build()
        .and_then(|reader| reader.read_value(&mut datum))
        .expect("decodes");
    assert!(datum.is_empty(), "bytes left over");
    value
}
