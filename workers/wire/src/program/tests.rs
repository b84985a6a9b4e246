//! The two walks against each other, on data that is mostly broken.

use proptest::prelude::*;

use super::diagnose::check;
use crate::{Schema, Validate};

#[path = "../../tests/generate/mod.rs"]
mod generate;

fn agree(schema: &Schema, data: &[u8]) -> Result<(), TestCaseError> {
    let fast = Validate::compile(schema).unwrap().run(data);
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
        let schema = Schema::parse(&generate::schema(&shape).to_string()).unwrap();
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
        let schema = Schema::parse(&generate::schema(&shape).to_string()).unwrap();
        agree(&schema, &data)?;
    }

    #[test]
    fn both_walks_say_the_same_of_recursive_data(data in prop::collection::vec(prop_oneof![0u8..6, any::<u8>()], 0..200)) {
        for schema in crate::program::tests::RECURSIVE {
            agree(&Schema::parse(schema).unwrap(), &data)?;
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
