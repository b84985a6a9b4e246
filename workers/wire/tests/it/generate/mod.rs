//! Schemas and values of all types, for property tests; shared with the crate's own tests.

#![allow(unreachable_pub, dead_code)]

use apache_avro::types::Value;
use apache_avro::{Days, Decimal, Duration, Millis, Months};
use proptest::prelude::*;
use proptest::strategy::Union;
use serde_json::json;

/// A type without names; rendering gives every record, enum and fixed its own.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
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
    Array(Box<Shape>),
    Map(Box<Shape>),
    Record(Vec<Shape>),
    /// null first or second, and one other.
    Optional(bool, Box<Shape>),
    /// Two or more, no two of a kind.
    Union(Vec<Shape>),
}

pub fn leaf() -> impl Strategy<Value = Shape> {
    prop_oneof![
        1 => Just(Shape::Null),
        2 => Just(Shape::Boolean),
        4 => Just(Shape::Int),
        4 => Just(Shape::Long),
        2 => Just(Shape::Float),
        2 => Just(Shape::Double),
        3 => Just(Shape::Bytes),
        6 => Just(Shape::String),
        2 => (1usize..20).prop_map(Shape::Fixed),
        2 => (1u32..70).prop_map(Shape::Enum),
        6 => prop::sample::select(vec![
            Shape::Date, Shape::TimeMillis, Shape::TimeMicros, Shape::TimestampMillis, Shape::TimestampMicros,
            Shape::TimestampNanos, Shape::LocalTimestampMillis, Shape::LocalTimestampMicros,
            Shape::LocalTimestampNanos, Shape::DecimalBytes, Shape::DecimalFixed, Shape::Uuid, Shape::UuidFixed,
            Shape::Duration,
        ]),
    ]
}

/// A record at the root, nested at most six levels.
pub fn root() -> impl Strategy<Value = Shape> {
    prop::collection::vec(nested(5), 1..5).prop_map(Shape::Record)
}

fn nested(levels: u32) -> BoxedStrategy<Shape> {
    if levels == 0 {
        return leaf().boxed();
    }
    let inner = nested(levels - 1);
    let optional = (any::<bool>(), inner.clone()).prop_map(|(first, other)| match other {
        Shape::Null | Shape::Optional(..) | Shape::Union(_) => other,
        other => Shape::Optional(first, Box::new(other)),
    });
    let union = prop::collection::vec(inner.clone(), 2..5).prop_map(|branches| {
        let mut distinct: Vec<Shape> = Vec::new();
        for branch in branches {
            let nested = matches!(branch, Shape::Optional(..) | Shape::Union(_));
            if !nested && !distinct.iter().any(|other| kind(other) == kind(&branch)) {
                distinct.push(branch);
            }
        }
        let others = distinct.iter().filter(|shape| **shape != Shape::Null).count();
        if others > 1 { Shape::Union(distinct) } else { Shape::Record(distinct) }
    });
    prop_oneof![
        3 => leaf(),
        1 => inner.clone().prop_map(|items| Shape::Array(Box::new(items))),
        1 => inner.clone().prop_map(|values| Shape::Map(Box::new(values))),
        2 => prop::collection::vec(inner, 0..4).prop_map(Shape::Record),
        1 => optional,
        1 => union,
    ]
    .boxed()
}

/// What may occur once in a union.
fn kind(shape: &Shape) -> &'static str {
    use Shape as S;
    match shape {
        S::Null => "null",
        S::Boolean => "boolean",
        S::Int | S::Date | S::TimeMillis => "int",
        S::Long | S::TimeMicros | S::TimestampMillis | S::TimestampMicros | S::TimestampNanos => "long",
        S::LocalTimestampMillis | S::LocalTimestampMicros | S::LocalTimestampNanos => "long",
        S::Float => "float",
        S::Double => "double",
        S::Bytes | S::DecimalBytes => "bytes",
        S::String | S::Uuid => "string",
        S::Fixed(_) | S::DecimalFixed | S::UuidFixed | S::Duration => "fixed",
        S::Enum(_) => "enum",
        S::Array(_) => "array",
        S::Map(_) => "map",
        S::Record(_) => "record",
        S::Optional(..) | S::Union(_) => "union",
    }
}

/// The schema's JSON.
pub fn schema(shape: &Shape) -> serde_json::Value {
    render(shape, &mut 0)
}

fn render(shape: &Shape, names: &mut usize) -> serde_json::Value {
    use Shape as S;
    let mut name = || {
        *names += 1;
        format!("N{names}")
    };
    let logical = |base: &str, logical: &str| json!({"type": base, "logicalType": logical});
    match shape {
        S::Date => logical("int", "date"),
        S::TimeMillis => logical("int", "time-millis"),
        S::TimeMicros => logical("long", "time-micros"),
        S::TimestampMillis => logical("long", "timestamp-millis"),
        S::TimestampMicros => logical("long", "timestamp-micros"),
        S::TimestampNanos => logical("long", "timestamp-nanos"),
        S::LocalTimestampMillis => logical("long", "local-timestamp-millis"),
        S::LocalTimestampMicros => logical("long", "local-timestamp-micros"),
        S::LocalTimestampNanos => logical("long", "local-timestamp-nanos"),
        S::DecimalBytes => json!({"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 3}),
        S::DecimalFixed => {
            json!({"type": "fixed", "name": name(), "size": 8, "logicalType": "decimal", "precision": 12, "scale": 3})
        }
        S::Uuid => logical("string", "uuid"),
        S::UuidFixed => json!({"type": "fixed", "name": name(), "size": 16, "logicalType": "uuid"}),
        S::Duration => json!({"type": "fixed", "name": name(), "size": 12, "logicalType": "duration"}),
        S::Fixed(size) => json!({"type": "fixed", "name": name(), "size": size}),
        S::Enum(count) => json!({"type": "enum", "name": name(), "symbols": symbols(*count)}),
        S::Array(items) => json!({"type": "array", "items": render(items, names)}),
        S::Map(values) => json!({"type": "map", "values": render(values, names)}),
        S::Record(fields) => {
            let name = name();
            let fields: Vec<_> = fields
                .iter()
                .enumerate()
                .map(|(place, field)| json!({"name": format!("f{place}"), "type": render(field, names)}))
                .collect();
            json!({"type": "record", "name": name, "fields": fields})
        }
        S::Optional(true, other) => json!(["null", render(other, names)]),
        S::Optional(false, other) => json!([render(other, names), "null"]),
        S::Union(branches) => branches.iter().map(|branch| render(branch, names)).collect(),
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
pub fn value(shape: &Shape) -> BoxedStrategy<Value> {
    use Shape as S;
    match shape {
        S::Null => Just(Value::Null).boxed(),
        S::Boolean => any::<bool>().prop_map(Value::Boolean).boxed(),
        S::Int => int().prop_map(Value::Int).boxed(),
        S::Long => long().prop_map(Value::Long).boxed(),
        S::Float => (-1e30f32..1e30).prop_map(Value::Float).boxed(),
        S::Double => (-1e300f64..1e300).prop_map(Value::Double).boxed(),
        S::Bytes => prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::Bytes).boxed(),
        S::String => text().prop_map(Value::String).boxed(),
        S::Fixed(size) => {
            let size = *size;
            prop::collection::vec(any::<u8>(), size).prop_map(move |bytes| Value::Fixed(size, bytes)).boxed()
        }
        S::Enum(count) => (0..*count).prop_map(|place| Value::Enum(place, format!("S{place}"))).boxed(),
        S::Date => int().prop_map(Value::Date).boxed(),
        S::TimeMillis => int().prop_map(Value::TimeMillis).boxed(),
        S::TimeMicros => long().prop_map(Value::TimeMicros).boxed(),
        S::TimestampMillis => long().prop_map(Value::TimestampMillis).boxed(),
        S::TimestampMicros => long().prop_map(Value::TimestampMicros).boxed(),
        S::TimestampNanos => long().prop_map(Value::TimestampNanos).boxed(),
        S::LocalTimestampMillis => long().prop_map(Value::LocalTimestampMillis).boxed(),
        S::LocalTimestampMicros => long().prop_map(Value::LocalTimestampMicros).boxed(),
        S::LocalTimestampNanos => long().prop_map(Value::LocalTimestampNanos).boxed(),
        S::DecimalBytes | S::DecimalFixed => (-99_999_999_999i64..99_999_999_999)
            .prop_map(|value| Value::Decimal(Decimal::from(value.to_be_bytes())))
            .boxed(),
        S::Uuid | S::UuidFixed => {
            any::<u128>().prop_map(|bits| Value::Uuid(uuid::Uuid::from_u128(bits))).boxed()
        }
        S::Duration => any::<[u32; 3]>()
            .prop_map(|[a, b, c]| {
                Value::Duration(Duration::new(Months::new(a), Days::new(b), Millis::new(c)))
            })
            .boxed(),
        S::Array(items) => prop::collection::vec(value(items), 0..4).prop_map(Value::Array).boxed(),
        S::Map(values) => {
            prop::collection::hash_map("[a-zé]{0,12}", value(values), 0..4).prop_map(Value::Map).boxed()
        }
        S::Record(fields) => {
            let fields: Vec<_> = fields.iter().map(value).collect();
            fields
                .prop_map(|values| {
                    let named =
                        values.into_iter().enumerate().map(|(place, value)| (format!("f{place}"), value));
                    Value::Record(named.collect())
                })
                .boxed()
        }
        S::Optional(null_first, other) => {
            let null = if *null_first { 0 } else { 1 };
            let some = value(other).prop_map(move |value| Value::Union(1 - null, Box::new(value)));
            prop_oneof![1 => Just(Value::Union(null, Box::new(Value::Null))), 3 => some].boxed()
        }
        S::Union(branches) => {
            let branches = branches.iter().enumerate().map(|(place, branch)| {
                value(branch).prop_map(move |value| Value::Union(place as u32, Box::new(value))).boxed()
            });
            Union::new(branches).boxed()
        }
    }
}

/// A root record and a value of it.
pub fn record() -> impl Strategy<Value = (Shape, Value)> {
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
