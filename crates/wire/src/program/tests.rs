//! The two walks against each other, on data that is mostly broken.

use proptest::prelude::*;

use super::diagnose::check;
use crate::{DatumSchema, DatumValidator};

#[path = "../../tests/it/generate/mod.rs"]
mod generate;

fn agree(schema: &DatumSchema, data: &[u8]) -> Result<(), TestCaseError> {
    let fast = DatumValidator::compile(schema).unwrap().run(data);
    let slow = check(schema, data);
    prop_assert_eq!(fast, slow);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn both_walks_say_the_same_of_a_damaged_datum(
        (shape, value) in generate::record(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..4), 1..6),
    ) {
        let schema = DatumSchema::parse(&generate::schema(&shape).to_string()).unwrap();
        let mut data = generate::encode(schema.avro(), value);
        for (place, byte, how) in damage {
            let at = place.index(data.len() + 1);
            match how {
                0 => data.insert(at, byte),
                1 if at < data.len() => data[at] = byte,
                2 if at < data.len() => data[at] ^= 1 << (byte % 8),
                3 if at < data.len() => { data.remove(at); }
                _ => data.push(byte),
            }
            agree(&schema, &data)?;
        }
    }

    #[test]
    fn both_walks_say_the_same_of_noise(shape in generate::root(), data in prop::collection::vec(any::<u8>(), 0..60)) {
        let schema = DatumSchema::parse(&generate::schema(&shape).to_string()).unwrap();
        agree(&schema, &data)?;
    }

    #[test]
    fn both_walks_say_the_same_of_runs_of_ints(
        optional in prop::collection::vec(0u8..3, 6..14),
        last in any::<bool>(),
        data in prop::collection::vec(prop_oneof![8 => 0u8..4, 4 => Just(2u8), 2 => Just(0x80u8), 1 => any::<u8>()], 6..60),
    ) {
        let types = [r#""int""#, r#"["null","int"]"#, r#"["int","null"]"#];
        let fields = optional.iter().enumerate().map(|(place, &of)| {
            // One order of the null in most of them, so that they are one run.
            let of = if last && of == 1 { 2 } else if last || of == 0 { of } else { 1 };
            format!(r#"{{"name":"f{place}","type":{}}}"#, types[usize::from(of)])
        });
        let fields = fields.collect::<Vec<_>>().join(",");
        let schema = format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#);
        let schema = DatumSchema::parse(&schema).unwrap();
        // Cut where the record ends, if it ends, so that whole ones are among them.
        for end in 0..=data.len() {
            agree(&schema, &data[..end])?;
        }
    }

    #[test]
    fn both_walks_say_the_same_of_recursive_data(data in prop::collection::vec(prop_oneof![0u8..6, any::<u8>()], 0..200)) {
        for schema in crate::program::tests::RECURSIVE {
            agree(&DatumSchema::parse(schema).unwrap(), &data)?;
        }
    }
}

/// Types that contain themselves, in every way there is.
pub(crate) const RECURSIVE: [&str; 5] = [
    r#"{"type":"record","name":"List","fields":[{"name":"value","type":"long"},{"name":"next","type":["null","List"]}]}"#,
    r#"{"type":"record","name":"Tree","fields":[{"name":"name","type":"string"},{"name":"children","type":{"type":"array","items":"Tree"}}]}"#,
    r#"{"type":"record","name":"Json","fields":[{"name":"value","type":["null","boolean","double","string",
        {"type":"array","items":"Json"},{"type":"map","values":"Json"}]}]}"#,
    r#"{"type":"record","name":"A","fields":[{"name":"b","type":{"type":"record","name":"B","fields":[
        {"name":"a","type":["null","A"]},{"name":"n","type":"int"}]}},{"name":"again","type":"B"}]}"#,
    r#"{"type":"record","name":"Endless","fields":[{"name":"self","type":"Endless"}]}"#,
];
