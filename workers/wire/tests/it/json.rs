//! JSON records to datums, read back by apache-avro.

use apache_avro::types::Value;
use proptest::prelude::*;
use sluice_wire::{FromJson, JsonError, Schema, UnknownFields, Validate};

const FLIGHT: &str = r#"{"type":"record","name":"Flight","fields":[
    {"name":"year","type":"int"},{"name":"dep_time","type":["null","int"],"default":null},
    {"name":"carrier","type":"string"},{"name":"air_time","type":["int","null"]},
    {"name":"origin","type":"string","default":"JFK"},
    {"name":"crew","type":{"type":"record","name":"Crew","fields":[{"name":"pilot","type":"string"},{"name":"seats","type":"int","default":2}]}},
    {"name":"legs","type":{"type":"array","items":{"type":"record","name":"Leg","fields":[{"name":"a","type":"int"},{"name":"b","type":"string"}]}},"default":[]},
    {"name":"tags","type":{"type":"map","values":["null","string"]},"default":{}},
    {"name":"time_hour","type":{"type":"long","logicalType":"timestamp-micros"}}]}"#;

fn run(schema: &str, json: &str) -> Result<Value, JsonError> {
    let schema = Schema::parse(schema).unwrap();
    let mut out = b"x".to_vec();
    let result = FromJson::compile(&schema).unwrap().run(json.as_bytes(), &mut out);
    match result {
        Ok(()) => {
            Validate::compile(&schema).unwrap().run(&out[1..]).unwrap();
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
        (r#","legs":[{"a":1}]"#, "legs[].b", "the field, which has no default"),
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
        Schema::parse(r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}"#).unwrap();
    let mut from_json = FromJson::compile(&schema).unwrap().unknown_fields(UnknownFields::Refuse);
    let mut out = Vec::new();
    assert!(from_json.run(br#"{"a":1,"b":2}"#, &mut out).is_err());
    assert!(from_json.run(br#"{"a":1}"#, &mut out).is_ok());
    assert_eq!(out, [2]);
}

#[test]
fn defaults_that_do_not_fit_are_found_when_compiled() {
    // apache-avro accepts some of these; the record would be broken when the field is missing.
    let endless = r#"{"type":"record","name":"E","fields":[{"name":"e","type":["null","E"],"default":null},{"name":"f","type":{"type":"map","values":"E"},"default":{}}]}"#;
    assert!(FromJson::compile(&Schema::parse(endless).unwrap()).is_ok());
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
fn tame(shape: crate::generate::Shape) -> crate::generate::Shape {
    use crate::generate::Shape as S;
    let all = |shapes: Vec<S>| S::Record(shapes.into_iter().map(tame).collect());
    match shape {
        S::Null | S::Boolean | S::Int | S::Long | S::Double | S::String | S::Enum(_) => shape,
        S::Array(inner) => S::Array(Box::new(tame(*inner))),
        S::Map(inner) => S::Map(Box::new(tame(*inner))),
        S::Optional(first, inner) => match tame(*inner) {
            S::Null => S::Null,
            inner => S::Optional(first, Box::new(inner)),
        },
        S::Record(fields) => all(fields),
        S::Union(branches) => all(branches),
        _ => S::String,
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
