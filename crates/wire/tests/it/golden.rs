//! A second and a third opinion: files written by fastavro and by Java's Avro (generators in `golden/`).

use std::borrow::Cow;
use std::io::Read;
use std::sync::Arc;

use apache_avro::types::Value;
use sluice_wire::{
    DatumPatch, DatumSchema, DatumValidator, LeafAction, LeafFn, LeafInfo, LeafKind, LeafPolicy, LeafType,
    LeafValue, LeafWriter,
};

const FILES: [&str; 5] = [
    "fastavro-null.avro",
    "fastavro-deflate.avro",
    "java-null.avro",
    "java-deflate.avro",
    "java-blocking.avro",
];

fn golden(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn long(data: &mut &[u8]) -> i64 {
    let (mut value, mut shift) = (0u64, 0);
    loop {
        let (&byte, rest) = data.split_first().unwrap();
        *data = rest;
        value |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            return (value >> 1) as i64 ^ -((value & 1) as i64);
        }
    }
}

fn bytes<'d>(data: &mut &'d [u8]) -> &'d [u8] {
    let len = long(data) as usize;
    let (bytes, rest) = data.split_at(len);
    *data = rest;
    bytes
}

/// The datums of a file with one record a block.
fn datums(file: &[u8]) -> Vec<Vec<u8>> {
    let mut data = file.strip_prefix(b"Obj\x01").unwrap();
    let mut deflate = false;
    loop {
        let count = long(&mut data);
        if count == 0 {
            break;
        }
        if count < 0 {
            long(&mut data);
        }
        for _ in 0..count.unsigned_abs() {
            let (key, value) = (bytes(&mut data), bytes(&mut data));
            deflate |= key == b"avro.codec" && value == b"deflate";
        }
    }
    let mut data = &data[16..];
    let mut datums = Vec::new();
    while !data.is_empty() {
        assert_eq!(long(&mut data), 1);
        let packed = bytes(&mut data);
        let mut datum = Vec::new();
        match deflate {
            true => drop(flate2::read::DeflateDecoder::new(packed).read_to_end(&mut datum).unwrap()),
            false => datum.extend_from_slice(packed),
        }
        datums.push(datum);
        data = &data[16..];
    }
    datums
}

fn schema() -> DatumSchema {
    DatumSchema::parse(std::str::from_utf8(&golden("golden.avsc")).unwrap()).unwrap()
}

#[test]
fn every_record_is_valid_and_no_truncation_of_it() {
    let validate = DatumValidator::compile(&schema()).unwrap();
    for file in FILES {
        let datums = datums(&golden(file));
        assert_eq!(datums.len(), 24, "{file}");
        for datum in datums {
            assert_eq!(validate.run(&datum), Ok(()), "{file}");
            for cut in 0..datum.len() {
                validate.run(&datum[..cut]).unwrap_err();
            }
        }
    }
}

/// Otherwise the file would prove nothing about block sizes.
#[test]
fn the_blocking_encoder_wrote_sizes() {
    let (plain, blocking) = (datums(&golden("java-null.avro")), datums(&golden("java-blocking.avro")));
    let longer = plain.iter().zip(&blocking).filter(|(plain, blocking)| blocking.len() > plain.len()).count();
    assert!(longer > 10, "{longer}");
}

struct LengthFn;

impl LeafFn for LengthFn {
    fn output(&self, input: &LeafType) -> Result<serde_json::Value, String> {
        match input.kind {
            LeafKind::String | LeafKind::Bytes => Ok("long".into()),
            _ => Err("only texts and bytes have a length".into()),
        }
    }

    fn apply(&self, leaf: LeafValue<'_>, out: &mut LeafWriter<'_>) -> Result<(), Cow<'static, str>> {
        match leaf {
            LeafValue::String(text) => out.long(text.len() as i64),
            LeafValue::Bytes(bytes) => out.long(bytes.len() as i64),
            _ => return Err("only texts and bytes have a length".into()),
        }
        Ok(())
    }

    fn name(&self) -> &str {
        "length"
    }
}

struct GoldenPolicy;

impl LeafPolicy for GoldenPolicy {
    fn action(&self, leaf: &LeafInfo) -> Option<LeafAction> {
        Some(match leaf.path.as_str() {
            "string" | "list.value" | "map{}[]" | "decimal_bytes" => LeafAction::Replace(Arc::new(LengthFn)),
            "bytes" | "items[].suit" | "timestamp_micros" => LeafAction::Drop,
            "int" | "optional_last" | "nested.suit" => LeafAction::Null,
            _ => LeafAction::Keep,
        })
    }
}

/// What `GoldenPolicy` should do, on apache-avro's values.
fn mask(value: Value) -> Value {
    let null = || Value::Union(0, Box::new(Value::Null));
    let len = |text: &Value| match text {
        Value::String(text) => Value::Long(text.len() as i64),
        Value::Union(_, inner) => match &**inner {
            Value::String(text) => Value::Union(1, Box::new(Value::Long(text.len() as i64))),
            _ => Value::Union(0, Box::new(Value::Null)),
        },
        _ => unreachable!(),
    };
    fn list(value: Value) -> Value {
        match value {
            Value::Union(1, inner) => {
                let Value::Record(fields) = *inner else { unreachable!() };
                let fields = fields.into_iter().map(|(name, value)| match (name.as_str(), value) {
                    ("value", Value::String(text)) => (name, Value::Long(text.len() as i64)),
                    (_, next) => (name, list(next)),
                });
                Value::Union(1, Box::new(Value::Record(fields.collect())))
            }
            null => null,
        }
    }
    let Value::Record(fields) = value else { unreachable!() };
    let fields = fields.into_iter().filter_map(|(name, value)| {
        let value = match (name.as_str(), value) {
            ("bytes" | "timestamp_micros", _) => return None,
            ("int" | "optional_last", _) => null(),
            ("string", text) => len(&text),
            ("decimal_bytes", Value::Decimal(decimal)) => {
                Value::Long(Vec::<u8>::try_from(&decimal).unwrap().len() as i64)
            }
            ("list", value) => list(value),
            ("map", Value::Map(entries)) => Value::Map(
                entries
                    .into_iter()
                    .map(|(key, value)| match value {
                        Value::Array(items) => (key, Value::Array(items.iter().map(len).collect())),
                        _ => unreachable!(),
                    })
                    .collect(),
            ),
            ("nested", Value::Record(mut fields)) => {
                fields[0].1 = null();
                Value::Record(fields)
            }
            ("items", Value::Array(items)) => Value::Array(
                items
                    .into_iter()
                    .map(|item| match item {
                        Value::Record(mut fields) => {
                            fields.remove(0);
                            Value::Record(fields)
                        }
                        _ => unreachable!(),
                    })
                    .collect(),
            ),
            (_, value) => value,
        };
        Some((name, value))
    });
    Value::Record(fields.collect())
}

#[test]
fn patched_records_read_as_masked_values() {
    let schema = schema();
    let patch = DatumPatch::compile(&schema, &GoldenPolicy).unwrap();
    for file in FILES {
        for datum in datums(&golden(file)) {
            let mut out = Vec::new();
            patch.run(&datum, &mut out).unwrap();
            let expected = mask(crate::generate::decode(schema.avro(), &datum));
            assert_eq!(crate::generate::decode(patch.derived().avro(), &out), expected, "{file}");
        }
    }
}

/// One record type under two policies: two definitions, and the first keeps the name.
#[test]
fn the_derived_schema_names_each_form_once() {
    let patch = DatumPatch::compile(&schema(), &GoldenPolicy).unwrap();
    let derived: serde_json::Value = serde_json::from_str(patch.derived().json()).unwrap();
    let field = |name: &str| {
        let fields = derived["fields"].as_array().unwrap();
        fields.iter().find(|field| field["name"] == name).cloned().unwrap_or_default()
    };
    assert_eq!(derived["doc"], "Every type and every logical type of the 1.12 specification.");
    assert_eq!(derived["namespace"], "sluice.golden");
    assert_eq!(field("nested")["type"]["name"], "Nested");
    assert_eq!(field("items")["type"]["items"]["name"], "Nested_items");
    assert_eq!(field("bytes"), serde_json::Value::Null);
    assert_eq!(field("int")["type"], serde_json::json!(["null", "int"]));
    assert_eq!(field("int")["default"], serde_json::Value::Null);
    assert!(field("int").as_object().unwrap().contains_key("default"));
    assert!(!field("optional_last").as_object().unwrap().contains_key("doc"));
    let again = DatumPatch::compile(&schema(), &GoldenPolicy).unwrap();
    assert_eq!(again.derived().json(), patch.derived().json());
}
