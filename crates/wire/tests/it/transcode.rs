//! Protobuf bytes read back by prost-reflect, which knows nothing of how they were made.

use apache_avro::Decimal;
use apache_avro::types::Value;
use prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto,
    FileDescriptorProto, FileDescriptorSet, MessageOptions,
};
use prost_reflect::{DescriptorPool, DynamicMessage, MapKey, Value as Proto};
use sluice_wire::{DatumSchema, ProtobufTranscoder, SchemaError};

const SCHEMA: &str = r#"{"type":"record","name":"R","fields":[
    {"name":"flag","type":"boolean"},{"name":"small","type":"int"},{"name":"wide","type":"int"},{"name":"zig","type":"long"},
    {"name":"at","type":{"type":"long","logicalType":"timestamp-micros"}},
    {"name":"single","type":"float"},{"name":"ratio","type":"double"},
    {"name":"text","type":["null","string"]},{"name":"blob","type":"bytes"},
    {"name":"amount","type":{"type":"bytes","logicalType":"decimal","precision":12,"scale":3}},
    {"name":"id","type":{"type":"fixed","name":"Id","size":16,"logicalType":"uuid"}},
    {"name":"suit","type":{"type":"enum","name":"Suit","symbols":["A","B"]}},{"name":"word","type":"Suit"},
    {"name":"numbers","type":{"type":"array","items":"long"}},
    {"name":"lines","type":{"type":"array","items":{"type":"record","name":"Line","fields":[
        {"name":"sku","type":"string"},{"name":"below","type":["null","Line"]}]}}},
    {"name":"tags","type":{"type":"map","values":"string"}}]}"#;

fn field(name: &str, number: i32, label: Label, kind: Type, of: Option<&str>) -> FieldDescriptorProto {
    FieldDescriptorProto {
        name: Some(name.into()),
        number: Some(number),
        label: Some(label.into()),
        r#type: Some(kind.into()),
        type_name: of.map(str::to_owned),
        ..Default::default()
    }
}

fn descriptor() -> DescriptorProto {
    let one = |name, number, kind| field(name, number, Label::Optional, kind, None);
    let entry = DescriptorProto {
        name: Some("TagsEntry".into()),
        field: vec![one("key", 1, Type::String), one("value", 2, Type::String)],
        options: Some(MessageOptions { map_entry: Some(true), ..Default::default() }),
        ..Default::default()
    };
    let line = DescriptorProto {
        name: Some("Line".into()),
        field: vec![
            one("sku", 1, Type::String),
            field("below", 2, Label::Optional, Type::Message, Some(".R.Line")),
        ],
        ..Default::default()
    };
    let value = |name: &str, number| EnumValueDescriptorProto {
        name: Some(name.into()),
        number: Some(number),
        ..Default::default()
    };
    DescriptorProto {
        name: Some("R".into()),
        field: vec![
            one("flag", 1, Type::Bool),
            one("small", 2, Type::Int32),
            one("wide", 3, Type::Int64),
            one("zig", 4, Type::Sint64),
            one("at", 5, Type::Int64),
            one("single", 6, Type::Double),
            one("ratio", 7, Type::Double),
            one("text", 8, Type::String),
            one("blob", 9, Type::Bytes),
            one("amount", 10, Type::String),
            one("id", 11, Type::String),
            field("suit", 12, Label::Optional, Type::Enum, Some(".R.Suit")),
            one("word", 2000, Type::String),
            field("numbers", 14, Label::Repeated, Type::Int64, None),
            field("lines", 15, Label::Repeated, Type::Message, Some(".R.Line")),
            field("tags", 16, Label::Repeated, Type::Message, Some(".R.TagsEntry")),
        ],
        nested_type: vec![entry, line],
        enum_type: vec![EnumDescriptorProto {
            name: Some("Suit".into()),
            value: vec![value("NONE", 0), value("B", 7), value("A", -3)],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn message(bytes: &[u8]) -> DynamicMessage {
    let file = FileDescriptorProto {
        name: Some("r.proto".into()),
        message_type: vec![descriptor()],
        ..Default::default()
    };
    let pool = DescriptorPool::from_file_descriptor_set(FileDescriptorSet { file: vec![file] }).unwrap();
    DynamicMessage::decode(pool.get_message_by_name("R").unwrap(), bytes).unwrap()
}

fn record(text: Option<&str>, sku: &str) -> Value {
    let optional = |value: Option<Value>| match value {
        Some(value) => Value::Union(1, Box::new(value)),
        None => Value::Union(0, Box::new(Value::Null)),
    };
    let line = |below| {
        Value::Record(vec![("sku".into(), Value::String(sku.into())), ("below".into(), optional(below))])
    };
    let fields = vec![
        ("flag", Value::Boolean(true)),
        ("small", Value::Int(-5)),
        ("wide", Value::Int(i32::MIN)),
        ("zig", Value::Long(i64::MIN)),
        ("at", Value::TimestampMicros(-1)),
        ("single", Value::Float(0.25)),
        ("ratio", Value::Double(-2.5)),
        ("text", optional(text.map(|text| Value::String(text.into())))),
        ("blob", Value::Bytes(vec![0, 255])),
        ("amount", Value::Decimal(Decimal::from((-12_345i64).to_be_bytes()))),
        ("id", Value::Uuid(uuid::Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff))),
        ("suit", Value::Enum(0, "A".into())),
        ("word", Value::Enum(1, "B".into())),
        ("numbers", Value::Array(vec![Value::Long(1), Value::Long(-1)])),
        ("lines", Value::Array(vec![line(Some(line(Some(line(None))))), line(None)])),
        ("tags", Value::Map([("k".to_owned(), Value::String("v".into()))].into())),
    ];
    Value::Record(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

#[test]
fn prost_reads_what_avro_wrote() {
    let schema = DatumSchema::parse(SCHEMA).unwrap();
    let transcode = ProtobufTranscoder::compile(&schema, &descriptor()).unwrap();
    let long_sku = "s".repeat(200);
    for (text, sku) in [(Some("naïve"), "x"), (None, ""), (Some(""), long_sku.as_str())] {
        let datum = crate::generate::encode(schema.avro(), record(text, sku));
        let mut out = b"before".to_vec();
        transcode.run(&datum, &mut out).unwrap();
        let message = message(&out[6..]);
        let get = |name: &str| message.get_field_by_name(name).unwrap().into_owned();
        assert_eq!(get("flag"), Proto::Bool(true));
        assert_eq!(get("small"), Proto::I32(-5));
        assert_eq!(get("wide"), Proto::I64(i64::from(i32::MIN)));
        assert_eq!(get("zig"), Proto::I64(i64::MIN));
        assert_eq!(get("at"), Proto::I64(-1));
        assert_eq!(get("single"), Proto::F64(0.25));
        assert_eq!(get("ratio"), Proto::F64(-2.5));
        assert_eq!(message.has_field_by_name("text"), text.is_some());
        assert_eq!(get("text"), Proto::String(text.unwrap_or_default().into()));
        assert_eq!(get("blob"), Proto::Bytes(vec![0, 255].into()));
        assert_eq!(get("amount"), Proto::String("-12.345".into()));
        assert_eq!(get("id"), Proto::String("00112233-4455-6677-8899-aabbccddeeff".into()));
        assert_eq!(get("suit"), Proto::EnumNumber(-3));
        assert_eq!(get("word"), Proto::String("B".into()));
        assert_eq!(get("numbers"), Proto::List(vec![Proto::I64(1), Proto::I64(-1)]));
        let Proto::Map(tags) = get("tags") else { unreachable!() };
        assert_eq!(tags.get(&MapKey::String("k".into())), Some(&Proto::String("v".into())));
        let Proto::List(lines) = get("lines") else { unreachable!() };
        assert_eq!(lines.len(), 2);
        let below =
            |line: &Proto| line.as_message().unwrap().get_field_by_name("below").unwrap().into_owned();
        let deepest = below(&below(&lines[0]));
        let deepest = deepest.as_message().unwrap();
        assert_eq!(*deepest.get_field_by_name("sku").unwrap(), Proto::String(sku.into()));
        assert!(!deepest.has_field_by_name("below"));
        assert_eq!(message.unknown_fields().count(), 0);
        for cut in 0..datum.len() {
            let mut out = b"before".to_vec();
            transcode.run(&datum[..cut], &mut out).unwrap_err();
            assert_eq!(out, b"before");
        }
    }
}

#[test]
fn what_does_not_fit_is_found_when_compiled() {
    let refused = |schema: &str, fields: Vec<FieldDescriptorProto>| {
        let descriptor = DescriptorProto { name: Some("R".into()), field: fields, ..Default::default() };
        let schema = format!(r#"{{"type":"record","name":"R","fields":[{{"name":"a","type":{schema}}}]}}"#);
        match ProtobufTranscoder::compile(&DatumSchema::parse(&schema).unwrap(), &descriptor) {
            Err(SchemaError::Unsupported { .. }) => {}
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("{schema} should be refused"),
        }
    };
    let a = |label, kind| vec![field("a", 1, label, kind, None)];
    refused(r#""long""#, a(Label::Optional, Type::Int32));
    refused(r#""double""#, a(Label::Optional, Type::Float));
    refused(r#""string""#, vec![]);
    refused(r#""long""#, a(Label::Repeated, Type::Int64));
    refused(r#"{"type":"array","items":"long"}"#, a(Label::Optional, Type::Int64));
    refused(r#"{"type":"array","items":["null","long"]}"#, a(Label::Repeated, Type::Int64));
    refused(r#"["null","long"]"#, a(Label::Required, Type::Int64));
    refused(r#"["long","string"]"#, a(Label::Optional, Type::Int64));
    let mut with_another = a(Label::Optional, Type::Int64);
    with_another.push(field("b", 2, Label::Required, Type::Int64, None));
    refused(r#""long""#, with_another);
}
