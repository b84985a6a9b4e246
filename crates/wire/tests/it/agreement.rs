//! The programs against apache-avro, over generated schemas and values.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use crate::generate::{AvroShape, decode, encode, record};
use apache_avro::types::Value;
use proptest::prelude::*;
use sluice_wire::{
    DatumPatch, DatumSchema, DatumValidator, LeafAction, LeafFn, LeafInfo, LeafKind, LeafPolicy,
    LeafProjection, LeafType, LeafValue, LeafWriter, LineageFrame, RecordLineage,
};

/// Every leaf becomes this text.
struct ConstantTextFn;

impl LeafFn for ConstantTextFn {
    fn output(&self, _input: &LeafType) -> Result<serde_json::Value, String> {
        Ok("string".into())
    }

    fn apply(&self, leaf: LeafValue<'_>, out: &mut LeafWriter<'_>) -> Result<(), Cow<'static, str>> {
        assert_ne!(leaf, LeafValue::Null, "null stays null");
        out.string_parts(&[b"red", b"acted"]);
        Ok(())
    }

    fn name(&self) -> &str {
        "redact"
    }
}

/// One of four fates by the path's hash.
struct HashPolicy(u64);

#[derive(Debug, PartialEq, Clone, Copy)]
enum LeafFate {
    Keep,
    Drop,
    Null,
    Redact,
}

impl HashPolicy {
    fn fate(&self, path: &str, null: bool) -> LeafFate {
        let mut hasher = DefaultHasher::new();
        (self.0, path).hash(&mut hasher);
        let fates = [LeafFate::Keep, LeafFate::Drop, LeafFate::Null, LeafFate::Redact];
        let fate = fates[(hasher.finish() % 4) as usize];
        match fate {
            // What one branch of a union, or the values of a map without its keys, cannot be.
            _ if path.contains('<') => LeafFate::Keep,
            LeafFate::Drop if path.contains('{') => LeafFate::Keep,
            LeafFate::Null if path.contains("{key}") => LeafFate::Keep,
            LeafFate::Redact if path.ends_with("{key}") => LeafFate::Keep,
            LeafFate::Redact | LeafFate::Null if null => LeafFate::Keep,
            fate => fate,
        }
    }
}

impl LeafPolicy for HashPolicy {
    fn action(&self, leaf: &LeafInfo) -> Option<LeafAction> {
        Some(match self.fate(&leaf.path, leaf.leaf.kind == LeafKind::Null) {
            LeafFate::Keep => LeafAction::Keep,
            LeafFate::Drop => LeafAction::Drop,
            LeafFate::Null => LeafAction::Null,
            LeafFate::Redact => LeafAction::Replace(Arc::new(ConstantTextFn)),
        })
    }
}

/// What the policy should do to a value, said a second time and another way; `None` is dropped.
fn mask(policy: &HashPolicy, shape: &AvroShape, value: Value, path: &str) -> Option<Value> {
    match (shape, value) {
        (AvroShape::Record(fields), Value::Record(values)) => {
            let mut kept = Vec::new();
            for (field, (name, value)) in fields.iter().zip(values) {
                let dot = if path.is_empty() { "" } else { "." };
                if let Some(value) = mask(policy, field, value, &format!("{path}{dot}{name}")) {
                    kept.push((name, value));
                }
            }
            let gone = !fields.is_empty() && !path.is_empty() && all_dropped(policy, shape, path);
            if gone { None } else { Some(Value::Record(kept)) }
        }
        (AvroShape::Array(items), Value::Array(values)) => {
            let path = format!("{path}[]");
            if all_dropped(policy, items, &path) {
                return None;
            }
            Some(Value::Array(
                values.into_iter().filter_map(|value| mask(policy, items, value, &path)).collect(),
            ))
        }
        (AvroShape::Map(inner), Value::Map(values)) => {
            let path = format!("{path}{{}}");
            let values =
                values.into_iter().filter_map(|(key, value)| Some((key, mask(policy, inner, value, &path)?)));
            Some(Value::Map(values.collect()))
        }
        (AvroShape::Optional(null_first, inner), Value::Union(place, value)) => {
            if all_dropped(policy, inner, path) {
                return None;
            }
            if is_leaf(inner) && policy.fate(path, false) == LeafFate::Null {
                return Some(Value::Union(0, Box::new(Value::Null)));
            }
            let is_null = (place == 0) == *null_first;
            let value = if is_null { *value } else { mask(policy, inner, *value, path)? };
            Some(Value::Union(place, Box::new(value)))
        }
        (AvroShape::Union(_), value) => Some(value),
        (_, value) => match policy.fate(path, *shape == AvroShape::Null) {
            LeafFate::Keep => Some(value),
            LeafFate::Drop => None,
            LeafFate::Null => Some(Value::Union(0, Box::new(Value::Null))),
            LeafFate::Redact => Some(Value::String("redacted".into())),
        },
    }
}

fn is_leaf(shape: &AvroShape) -> bool {
    !matches!(
        shape,
        AvroShape::Record(_)
            | AvroShape::Array(_)
            | AvroShape::Map(_)
            | AvroShape::Optional(..)
            | AvroShape::Union(_)
    )
}

/// Whether the schema of what comes out has no place for it.
fn all_dropped(policy: &HashPolicy, shape: &AvroShape, path: &str) -> bool {
    match shape {
        AvroShape::Record(fields) => {
            let dot = if path.is_empty() { "" } else { "." };
            let mut fields = fields.iter().enumerate();
            fields.len() > 0
                && fields.all(|(n, field)| all_dropped(policy, field, &format!("{path}{dot}f{n}")))
        }
        AvroShape::Array(items) => all_dropped(policy, items, &format!("{path}[]")),
        AvroShape::Optional(_, inner) => all_dropped(policy, inner, path),
        AvroShape::Map(_) | AvroShape::Union(_) => false,
        leaf => policy.fate(path, *leaf == AvroShape::Null) == LeafFate::Drop,
    }
}

/// Wanted leaves outside arrays, maps and unions, with the values they should have.
fn wanted(shape: &AvroShape, value: Option<&Value>, path: &str, found: &mut Vec<(String, Option<Value>)>) {
    match (shape, value) {
        (AvroShape::Record(fields), value) => {
            for (n, field) in fields.iter().enumerate() {
                let dot = if path.is_empty() { "" } else { "." };
                let inner = match value {
                    Some(Value::Record(values)) => Some(&values[n].1),
                    _ => None,
                };
                wanted(field, inner, &format!("{path}{dot}f{n}"), found);
            }
        }
        (AvroShape::Optional(_, inner), Some(Value::Union(_, value))) => {
            let value = if **value == Value::Null { None } else { Some(&**value) };
            wanted(inner, value, path, found);
        }
        (AvroShape::Optional(_, inner), _) => wanted(inner, None, path, found),
        (AvroShape::Array(_) | AvroShape::Map(_) | AvroShape::Union(_), _) => {}
        (_, value) => found.push((path.to_owned(), value.cloned())),
    }
}

fn same(leaf: LeafValue<'_>, value: &Option<Value>) -> bool {
    match (leaf, value) {
        (LeafValue::Null, None | Some(Value::Null)) => true,
        (LeafValue::Boolean(a), Some(Value::Boolean(b))) => a == *b,
        (LeafValue::Int(a), Some(Value::Int(b) | Value::Date(b) | Value::TimeMillis(b))) => a == *b,
        (LeafValue::Long(a), Some(value)) => match value {
            Value::Long(b) | Value::TimeMicros(b) | Value::TimestampMillis(b) | Value::TimestampMicros(b) => {
                a == *b
            }
            Value::TimestampNanos(b) | Value::LocalTimestampMillis(b) => a == *b,
            Value::LocalTimestampMicros(b) | Value::LocalTimestampNanos(b) => a == *b,
            _ => false,
        },
        (LeafValue::Float(a), Some(Value::Float(b))) => a == *b,
        (LeafValue::Double(a), Some(Value::Double(b))) => a == *b,
        (LeafValue::Bytes(a), Some(Value::Bytes(b))) => a == b,
        (LeafValue::Bytes(a) | LeafValue::Fixed(a), Some(Value::Decimal(b))) => {
            Vec::<u8>::try_from(b).is_ok_and(|b| a.ends_with(&b))
        }
        (LeafValue::String(a), Some(Value::String(b))) => a == b,
        (LeafValue::String(a), Some(Value::Uuid(b))) => a == b.to_string(),
        (LeafValue::Fixed(a), Some(Value::Uuid(b))) => a == b.as_bytes(),
        (LeafValue::Fixed(a), Some(Value::Fixed(_, b))) => a == b,
        (LeafValue::Fixed(a), Some(Value::Duration(b))) => a == <[u8; 12]>::from(*b),
        (LeafValue::Enum { index, symbol }, Some(Value::Enum(b, name))) => index == *b && symbol == name,
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn validate_takes_what_apache_avro_writes_and_no_truncation_of_it((shape, value) in record()) {
        let schema = DatumSchema::parse(&crate::generate::schema(&shape).to_string()).unwrap();
        let validate = DatumValidator::compile(&schema).unwrap();
        let datum = encode(schema.avro(), value);
        prop_assert_eq!(validate.run(&datum), Ok(()));
        for cut in 0..datum.len() {
            prop_assert!(validate.run(&datum[..cut]).is_err(), "cut at {}", cut);
        }
        let more = [&datum[..], &[0]].concat();
        let refused = validate.run(&more).unwrap_err();
        prop_assert_eq!((refused.position, refused.path.as_str()), (datum.len(), ""));
    }

    #[test]
    fn patch_then_decode_is_decode_then_mask((shape, value) in record(), seed in any::<u64>()) {
        let schema = DatumSchema::parse(&crate::generate::schema(&shape).to_string()).unwrap();
        let policy = HashPolicy(seed);
        let patch = DatumPatch::compile(&schema, &policy).unwrap();
        let datum = encode(schema.avro(), value.clone());
        let mut out = b"before".to_vec();
        patch.run(&datum, &mut out).unwrap();
        prop_assert_eq!(&out[..6], b"before");
        DatumValidator::compile(patch.derived()).unwrap().run(&out[6..]).unwrap();
        let expected = mask(&policy, &shape, value, "").unwrap_or(Value::Record(Vec::new()));
        prop_assert_eq!(decode(patch.derived().avro(), &out[6..]), expected, "{}", patch.explain());
        for cut in 0..datum.len() {
            out.truncate(6);
            prop_assert!(patch.run(&datum[..cut], &mut out).is_err());
            prop_assert_eq!(&out[..], b"before");
        }
    }

    #[test]
    fn project_hands_out_what_apache_avro_decodes((shape, value) in record()) {
        let schema = DatumSchema::parse(&crate::generate::schema(&shape).to_string()).unwrap();
        let datum = encode(schema.avro(), value.clone());
        let mut found = Vec::new();
        wanted(&shape, Some(&value), "", &mut found);
        let paths: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
        let project = LeafProjection::compile(&schema, &paths).unwrap();
        let mut seen = Vec::new();
        project.run(&datum, |place, leaf| seen.push((place, leaf))).unwrap();
        prop_assert_eq!(seen.iter().map(|(place, _)| *place).collect::<Vec<_>>(), (0..paths.len()).collect::<Vec<_>>());
        for (place, leaf) in seen {
            prop_assert!(same(leaf, &found[place].1), "{}: {:?} {:?}", found[place].0, leaf, found[place].1);
        }
    }

    #[test]
    fn frame_is_the_datum_and_its_lineage((shape, value) in record(), offset in any::<i64>(), at in any::<Option<i64>>()) {
        let schema = DatumSchema::parse(&crate::generate::schema(&shape).to_string()).unwrap();
        let frame = LineageFrame::compile(&schema, true, &[("f0".into(), "renamed".into())]).unwrap();
        let datum = encode(schema.avro(), value.clone());
        let lineage = RecordLineage { topic: "t", partition: 3, offset, timestamp_ms: at, schema_id: 9 };
        let mut block = Vec::new();
        frame.append(&datum, &lineage, &mut block).unwrap();
        let Value::Record(mut fields) = value else { unreachable!() };
        fields[0].0 = "renamed".into();
        let at = match at {
            Some(at) => Value::Union(1, Box::new(Value::TimestampMillis(at))),
            None => Value::Union(0, Box::new(Value::Null)),
        };
        let lineage = [("_kafka_topic", Value::String("t".into())), ("_kafka_partition", Value::Int(3)), ("_kafka_offset", Value::Long(offset)),
            ("_kafka_timestamp", at), ("_kafka_schema_id", Value::Int(9))];
        fields.extend(lineage.map(|(name, value)| (name.to_owned(), value)));
        prop_assert_eq!(decode(frame.extended().avro(), &block), Value::Record(fields));
    }

    #[test]
    fn every_path_listed_is_distinct_and_a_leaf(shape in crate::generate::root()) {
        let schema = DatumSchema::parse(&crate::generate::schema(&shape).to_string()).unwrap();
        let mut paths: Vec<String> = schema.leaves().into_iter().map(|leaf| leaf.path).collect();
        let count = paths.len();
        paths.sort();
        paths.dedup();
        prop_assert_eq!(paths.len(), count);
    }
}

/// A property test is worth what its generator makes.
#[test]
fn the_generator_makes_deep_and_varied_data() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let (mut deepest, mut bytes, mut text) = (0, 0, String::new());
    for _ in 0..400 {
        let (shape, value) = record().new_tree(&mut runner).unwrap().current();
        let json = crate::generate::schema(&shape).to_string();
        bytes += encode(DatumSchema::parse(&json).unwrap().avro(), value).len();
        let depth = format!("{shape:?}").chars().fold((0, 0), |(open, most): (i32, i32), c| match c {
            '(' => (open + 1, most.max(open + 1)),
            ')' => (open - 1, most),
            _ => (open, most),
        });
        deepest = deepest.max(depth.1);
        text.push_str(&json);
    }
    assert!(deepest >= 5, "{deepest}");
    assert!(bytes > 400 * 40, "{bytes}");
    for kind in [
        "\"array\"",
        "\"map\"",
        "\"enum\"",
        "\"fixed\"",
        "\"uuid\"",
        "\"decimal\"",
        "\"duration\"",
        "\"null\"",
    ] {
        assert!(text.matches(kind).count() > 10, "{kind}");
    }
}
