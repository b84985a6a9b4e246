//! JSON records to datums, read back by apache-avro.

use apache_avro::types::Value;
use proptest::prelude::*;
use serde::Deserialize;
use serde::de::IgnoredAny;
use sluice_wire::{DatumSchema, DatumValidator, JsonConverter, JsonError, UnknownFields};

const FLIGHT: &str = r#"{"type":"record","name":"Flight","fields":[
    {"name":"year","type":"int"},{"name":"dep_time","type":["null","int"],"default":null},
    {"name":"carrier","type":"string"},{"name":"air_time","type":["int","null"]},
    {"name":"origin","type":"string","default":"JFK"},
    {"name":"crew","type":{"type":"record","name":"Crew","fields":[{"name":"pilot","type":"string"},{"name":"seats","type":"int","default":2}]}},
    {"name":"legs","type":{"type":"array","items":{"type":"record","name":"Leg","fields":[{"name":"a","type":"int"},{"name":"b","type":"string"}]}},"default":[]},
    {"name":"tags","type":{"type":"map","values":["null","string"]},"default":{}},
    {"name":"time_hour","type":{"type":"long","logicalType":"timestamp-micros"}}]}"#;

fn run(schema: &str, json: &str) -> Result<Value, JsonError> {
    let schema = DatumSchema::parse(schema).unwrap();
    let mut out = b"x".to_vec();
    let result = JsonConverter::compile(&schema).unwrap().run(json.as_bytes(), &mut out);
    match result {
        Ok(()) => {
            DatumValidator::compile(&schema).unwrap().run(&out[1..]).unwrap();
            Ok(crate::generate::decode(schema.avro(), &out[1..]))
        }
        Err(error) => {
            assert_eq!(out, b"x", "an error leaves nothing behind");
            Err(error)
        }
    }
}

fn field<'v>(value: &'v Value, name: &str) -> &'v Value {
    let Value::Record(fields) = value else { panic!("no record") };
    &fields.iter().find(|(there, _)| there == name).unwrap().1
}

#[test]
fn fields_in_any_order_with_defaults() {
    let value = run(
        FLIGHT,
        r#" {"time_hour": "2013-01-01T10:00:00Z", "unknown": {"a": [1, {}]}, "legs": [{"b": "y", "a": 1}, {"a": 2, "b": "z"}],
            "crew": {"pilot": "P"}, "tags": {"k": null, "l": "v"}, "carrier": "UA", "year": 2013.0, "air_time": 227} "#,
    )
    .unwrap();
    assert_eq!(field(&value, "year"), &Value::Int(2013));
    assert_eq!(field(&value, "dep_time"), &Value::Union(0, Box::new(Value::Null)));
    assert_eq!(field(&value, "air_time"), &Value::Union(0, Box::new(Value::Int(227))));
    assert_eq!(field(&value, "origin"), &Value::String("JFK".into()));
    assert_eq!(field(field(&value, "crew"), "seats"), &Value::Int(2));
    assert_eq!(field(&value, "time_hour"), &Value::TimestampMicros(1_357_034_400_000_000));
    let Value::Array(legs) = field(&value, "legs") else { unreachable!() };
    assert_eq!(field(&legs[0], "b"), &Value::String("y".into()));
    assert_eq!(field(&legs[1], "a"), &Value::Int(2));
}

#[test]
fn errors_name_the_path_and_never_the_value() {
    let base = |change: &str| {
        format!(r#"{{"carrier":"UA","air_time":null,"crew":{{"pilot":"P"}},"time_hour":0,"year":1{change}}}"#)
    };
    assert!(run(FLIGHT, &base("")).is_ok());
    for (change, path, expected) in [
        (r#","origin":7654321"#, "origin", "a string"),
        (r#","dep_time":"7654321""#, "dep_time", "an integer of 32 bits"),
        (r#","dep_time":3000000000"#, "dep_time", "an integer of 32 bits"),
        (r#","dep_time":1.5"#, "dep_time", "an integer of 32 bits"),
        (r#","dep_time":{"a":7654321}"#, "dep_time", "an integer of 32 bits"),
        (r#","legs":[{"a":1,"b":"x"},{"a":"7654321"}]"#, "legs[].a", "an integer of 32 bits"),
        (r#","legs":[{"a":1}]"#, "legs[].b", "a value, because the field has no default"),
        (r#","legs":7654321"#, "legs", "an array"),
        (r#","tags":{"k":7654321}"#, "tags{}", "a string"),
        (r#","year":2"#, "year", "each field once"),
    ] {
        let error = run(FLIGHT, &base(change)).unwrap_err();
        assert_eq!((error.path.as_str(), &*error.expected), (path, expected), "{change}");
        assert!(!error.to_string().contains("7654321"));
    }
    for broken in ["", "7", "[]", "{", r#"{"year":}"#, "{} {}", "null", "\"x\""] {
        run(FLIGHT, broken).unwrap_err();
    }
    let deep = format!(r#"{{"unknown":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    run(FLIGHT, &deep).unwrap_err();
}

#[test]
fn unknown_fields_can_be_refused() {
    let schema =
        DatumSchema::parse(r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}"#).unwrap();
    let mut from_json = JsonConverter::compile(&schema).unwrap().unknown_fields(UnknownFields::Refuse);
    let mut out = Vec::new();
    assert!(from_json.run(br#"{"a":1,"b":2}"#, &mut out).is_err());
    assert!(from_json.run(br#"{"a":1}"#, &mut out).is_ok());
    assert_eq!(out, [2]);
}

#[test]
fn defaults_that_do_not_fit_are_found_when_compiled() {
    // apache-avro accepts some of these; the record would be broken when the field is missing.
    let endless = r#"{"type":"record","name":"E","fields":[{"name":"e","type":["null","E"],"default":null},{"name":"f","type":{"type":"map","values":"E"},"default":{}}]}"#;
    assert!(JsonConverter::compile(&DatumSchema::parse(endless).unwrap()).is_ok());
}

fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Boolean(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::Long(value) => (*value).into(),
        Value::Double(value) => (*value).into(),
        Value::String(value) | Value::Enum(_, value) => value.clone().into(),
        Value::Array(items) => items.iter().map(json).collect(),
        Value::Map(entries) => entries.iter().map(|(key, value)| (key.clone(), json(value))).collect(),
        // Backwards, to be put in order again.
        Value::Record(fields) => {
            fields.iter().rev().map(|(name, value)| (name.clone(), json(value))).collect()
        }
        Value::Union(_, inner) => json(inner),
        _ => unreachable!(),
    }
}

/// The same shape of types that JSON has as well; what a union would take is not always its first fit.
fn tame(shape: crate::generate::AvroShape) -> crate::generate::AvroShape {
    use crate::generate::AvroShape;
    let all = |shapes: Vec<AvroShape>| AvroShape::Record(shapes.into_iter().map(tame).collect());
    match shape {
        AvroShape::Null
        | AvroShape::Boolean
        | AvroShape::Int
        | AvroShape::Long
        | AvroShape::Double
        | AvroShape::String
        | AvroShape::Enum(_) => shape,
        AvroShape::Array(inner) => AvroShape::Array(Box::new(tame(*inner))),
        AvroShape::Map(inner) => AvroShape::Map(Box::new(tame(*inner))),
        AvroShape::Optional(first, inner) => match tame(*inner) {
            AvroShape::Null => AvroShape::Null,
            inner => AvroShape::Optional(first, Box::new(inner)),
        },
        AvroShape::Record(fields) => all(fields),
        AvroShape::Union(branches) => all(branches),
        _ => AvroShape::String,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_json_can_say_arrives(
        (shape, value) in crate::generate::root().prop_map(tame).prop_flat_map(|shape| {
            let values = crate::generate::value(&shape);
            (Just(shape), values)
        })
    ) {
        let read = run(&crate::generate::schema(&shape).to_string(), &json(&value).to_string());
        prop_assert_eq!(read, Ok(value));
    }
}

/// A record with the one field `a` of this type, or with none.
fn reader(field: Option<&str>) -> JsonConverter {
    let fields = field.map(|kind| format!(r#"{{"name":"a","type":"{kind}"}}"#)).unwrap_or_default();
    let schema = format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#);
    JsonConverter::compile(&DatumSchema::parse(&schema).unwrap()).unwrap()
}

/// What serde_json reads of the same field.
#[derive(Deserialize)]
struct FieldHolder<T> {
    a: T,
}

/// Pieces put together at random: mostly broken, often nearly whole.
fn pieced(pieces: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(pieces), 0..24).prop_map(|pieces| pieces.concat())
}

const VALUES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\"k\":",
    "\"v\"",
    "{}",
    "[]",
    "[1]",
    "{\"k\":1}",
    "null",
    "true",
    "false",
    "nul",
    "0",
    "1",
    "-",
    "-0",
    "01",
    "1.5",
    ".",
    "e",
    "E+",
    "1e400",
    "\\",
    "\\n",
    "\\u00e9",
    "\\ud83d",
    "\\u12",
    " ",
    "\n",
    "\t",
    "\u{1}",
    "\u{e9}",
    "longer than eight bytes",
];
const STRINGS: &[&str] = &[
    "a",
    "abcdefg",
    "abcdefgh",
    "\u{e9}",
    "\u{1f600}",
    "\\\"",
    "\\\\",
    "\\/",
    "\\b",
    "\\f",
    "\\n",
    "\\r",
    "\\t",
    "\\u0000",
    "\\u00e9",
    "\\ud83d\\ude00",
    "\\ud83d",
    "\\ude00",
    "\\uD83D\\n",
    "\\u12",
    "\\x",
    "\\",
    "\"",
    "\u{1f}",
    "\u{7f}",
    " ",
    "{",
    ",",
];
const NUMBERS: &[&str] = &[
    "-",
    "+",
    "0",
    "1",
    "7",
    "9",
    "00",
    "123456789",
    "999999999999999999",
    "18446744073709551615",
    ".",
    ".5",
    "e",
    "E",
    "e+",
    "E-",
    "1e3",
    "308",
    "309",
    " ",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// What is passed over is JSON to us if it is to serde_json.
    #[test]
    fn whatever_is_passed_over_is_json(text in pieced(VALUES)) {
        let text = format!(r#"{{"x":{text}}}"#);
        let theirs = serde_json::from_str::<IgnoredAny>(&text).is_ok();
        prop_assert_eq!(reader(None).run(text.as_bytes(), &mut vec![]).is_ok(), theirs, "{}", text);
    }

    #[test]
    fn strings_are_what_serde_json_reads(text in pieced(STRINGS)) {
        let text = format!(r#"{{"a":"{text}"}}"#);
        let mut ours = Vec::new();
        let read = reader(Some("string")).run(text.as_bytes(), &mut ours);
        match serde_json::from_str::<FieldHolder<String>>(&text) {
            Ok(FieldHolder { a }) => {
                prop_assert_eq!(read, Ok(()), "{}", text);
                prop_assert!(ours.ends_with(a.as_bytes()), "{}", text);
                prop_assert!(ours.len() <= a.len() + 2);
            }
            Err(_) => prop_assert!(read.is_err(), "{}", text),
        }
    }

    /// Taken where serde_json takes them, and the nearest double.
    #[test]
    fn numbers_are_the_nearest_doubles(number in pieced(NUMBERS)) {
        let text = format!(r#"{{"a":{number}}}"#);
        let mut ours = Vec::new();
        let read = reader(Some("double")).run(text.as_bytes(), &mut ours);
        prop_assert_eq!(read.is_ok(), serde_json::from_str::<FieldHolder<f64>>(&text).is_ok(), "{}", text);
        if read.is_ok() {
            let nearest: f64 = number.trim().parse().unwrap();
            prop_assert_eq!(ours, nearest.to_le_bytes(), "{}", text);
        }
    }
}

#[test]
fn integers_keep_every_digit() {
    for (text, long) in [
        ("9223372036854775807", Some(i64::MAX)),
        ("-9223372036854775808", Some(i64::MIN)),
        ("-0", Some(0)),
        ("0", Some(0)),
        ("999999999999999999", Some(999_999_999_999_999_999)),
        ("-1000000000000000000", Some(-1_000_000_000_000_000_000)),
        ("9223372036854775808", None),
        ("18446744073709551616", None),
        ("100000000000000000000000000000000000000000", None),
    ] {
        let mut out = Vec::new();
        let read = reader(Some("long")).run(format!(r#"{{"a":{text}}}"#).as_bytes(), &mut out);
        assert_eq!(read.is_ok(), long.is_some(), "{text}");
        if let Some(long) = long {
            let value = crate::generate::decode(&apache_avro::Schema::Long, &out);
            assert_eq!(value, Value::Long(long), "{text}");
        }
    }
}

#[test]
fn commas_and_colons_stand_between_and_nowhere_else() {
    let read = |text: &str| reader(Some("long")).run(text.as_bytes(), &mut vec![]);
    assert_eq!(read(" { \"b\" : [ ] , \"a\" : 1 , \"c\" : { } } "), Ok(()));
    for text in [
        r#"{"a":1,}"#,
        r#"{"a":1, }"#,
        r#"{,"a":1}"#,
        r#"{"a" 1}"#,
        r#"{"a":1 "b":2}"#,
        r#"{"a":1,,"b":2}"#,
        r#"{"a":1]"#,
        r#"{"a":1}}"#,
    ] {
        assert!(read(text).is_err(), "{text}");
    }
}

#[test]
fn arrays_and_objects_are_not_followed_for_ever() {
    let schema = r#"{"type":"record","name":"R","fields":[{"name":"r","type":["null","R"],"default":null}]}"#;
    let nested = |depth: usize| format!("{}null{}", r#"{"r":"#.repeat(depth), "}".repeat(depth));
    assert!(run(schema, &nested(64)).is_ok(), "as deep as a datum may be");
    for depth in [65, 100_000] {
        let error = run(schema, &nested(depth)).unwrap_err();
        assert_eq!(error.expected, "at most 64 levels of records, arrays and maps");
    }
    // Passed over, it may be as deep as it likes.
    let deep = format!(r#"{{"unknown":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert!(run(schema, &deep).is_ok());
}
