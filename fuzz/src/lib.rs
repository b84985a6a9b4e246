//! What the targets share. An input is one byte that chooses the schema, then the datum.

use std::borrow::Cow;

use sluice_wire::{
    DatumSchema, LeafAction, LeafFn, LeafInfo, LeafKind, LeafPolicy, LeafType, LeafValue, LeafWriter,
};

/// Every construct a walk has an instruction for. No uuid text: apache-avro, the second opinion, reads it.
pub const SCHEMAS: [&str; 14] = [
    include_str!("../../benches/wire/schema/MeterReading.avsc"),
    r#"{"type":"record","name":"L","fields":[{"name":"v","type":"long"},{"name":"next","type":["null","L"]}]}"#,
    r#"{"type":"record","name":"T","fields":[{"name":"n","type":"string"},{"name":"c","type":{"type":"array","items":"T"}}]}"#,
    r#"{"type":"record","name":"J","fields":[{"name":"v","type":["null","boolean","double","string",{"type":"array","items":"J"},{"type":"map","values":"J"}]}]}"#,
    r#"{"type":"record","name":"A","fields":[{"name":"b","type":{"type":"record","name":"B","fields":[{"name":"a","type":["null","A"]},{"name":"n","type":"int"}]}},{"name":"again","type":"B"}]}"#,
    r#"{"type":"record","name":"N","fields":[{"name":"a","type":{"type":"array","items":"null"}},{"name":"b","type":{"type":"array","items":{"type":"array","items":"null"}}}]}"#,
    r#"{"type":"record","name":"P","fields":[{"name":"a","type":"boolean"},{"name":"b","type":"int"},{"name":"c","type":"long"},{"name":"d","type":"float"},{"name":"e","type":"double"},{"name":"f","type":"bytes"},{"name":"g","type":"string"},{"name":"h","type":{"type":"fixed","name":"F","size":3}},{"name":"i","type":{"type":"enum","name":"E","symbols":["X","Y","Z"]}}]}"#,
    r#"{"type":"record","name":"O","fields":[{"name":"a","type":["null","int"]},{"name":"b","type":["long","null"]},{"name":"c","type":["null","string"]},{"name":"d","type":["null","double"]},{"name":"e","type":["null","bytes"]},{"name":"f","type":["boolean","null"]}]}"#,
    r#"{"type":"record","name":"M","fields":[{"name":"a","type":{"type":"map","values":"string"}},{"name":"b","type":{"type":"map","values":{"type":"array","items":"boolean"}}},{"name":"c","type":{"type":"map","values":"double"}}]}"#,
    r#"{"type":"record","name":"Q","fields":[{"name":"a","type":{"type":"array","items":"int"}},{"name":"b","type":{"type":"array","items":"bytes"}},{"name":"c","type":{"type":"array","items":"double"}},{"name":"d","type":{"type":"array","items":["null","long"]}}]}"#,
    r#"{"type":"record","name":"U","fields":[{"name":"a","type":["int","string","null",{"type":"array","items":"long"}]},{"name":"b","type":["null",{"type":"record","name":"V","fields":[{"name":"x","type":["null","string"]},{"name":"y","type":"int"}]}]}]}"#,
    r#"{"type":"record","name":"D","fields":[{"name":"a","type":{"type":"array","items":{"type":"record","name":"I","fields":[{"name":"m","type":{"type":"map","values":{"type":"array","items":{"type":"record","name":"K","fields":[{"name":"t","type":["null","string"]},{"name":"w","type":"double"}]}}}}]}}}]}"#,
    r#"{"type":"record","name":"Z","fields":[{"name":"a","type":{"type":"array","items":{"type":"record","name":"E","fields":[{"name":"n","type":"null"},{"name":"z","type":{"type":"fixed","name":"Y","size":0}}]}}},{"name":"s","type":"string"}]}"#,
    r#"{"type":"record","name":"X","fields":[{"name":"self","type":"X"}]}"#,
];

/// The schema and the datum of an input.
pub fn split(input: &[u8]) -> Option<(usize, &[u8])> {
    let (&choice, datum) = input.split_first()?;
    Some((usize::from(choice) % SCHEMAS.len(), datum))
}

/// All of them, parsed.
pub fn schemas() -> Vec<DatumSchema> {
    SCHEMAS.iter().map(|schema| DatumSchema::parse(schema).expect("a schema")).collect()
}

struct FuzzRedaction;

impl LeafFn for FuzzRedaction {
    fn output(&self, _input: &LeafType) -> Result<serde_json::Value, String> {
        Ok("string".into())
    }

    fn apply(&self, _leaf: LeafValue<'_>, out: &mut LeafWriter<'_>) -> Result<(), Cow<'static, str>> {
        out.string("redacted");
        Ok(())
    }

    fn name(&self) -> &str {
        "redact"
    }
}

/// Every fate in turn, by the path's letters.
pub struct FuzzTurnPolicy(pub u32);

impl LeafPolicy for FuzzTurnPolicy {
    fn action(&self, leaf: &LeafInfo) -> Option<LeafAction> {
        let sum = leaf.path.bytes().fold(self.0, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        Some(match sum % 4 {
            _ if leaf.path.contains(['<', '{']) => LeafAction::Keep,
            0 => LeafAction::Keep,
            1 => LeafAction::Drop,
            2 if leaf.leaf.kind != LeafKind::Null => LeafAction::Null,
            3 if leaf.leaf.kind != LeafKind::Null => LeafAction::Replace(std::sync::Arc::new(FuzzRedaction)),
            _ => LeafAction::Keep,
        })
    }
}
