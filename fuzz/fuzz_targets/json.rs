#![no_main]
//! What is read as JSON is JSON to serde_json too, the same text passed over is neither more nor less, and what comes out is a
//! datum.

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sluice_wire::{DatumSchema, DatumValidator, JsonConverter};

/// Every kind of value, as deep as one likes.
static ANY: LazyLock<DatumSchema> = LazyLock::new(|| {
    let any = r#"{"type":"record","name":"R","fields":[{"name":"a","default":null,"type":["null","boolean","long","double","string",
        {"type":"array","items":"R"},{"type":"map","values":["null","R","string"]}]},{"name":"r","type":["null","R"],"default":null}]}"#;
    DatumSchema::parse(any).expect("a schema")
});
static NONE: LazyLock<DatumSchema> =
    LazyLock::new(|| DatumSchema::parse(r#"{"type":"record","name":"N","fields":[]}"#).expect("a schema"));

fuzz_target!(|input: &[u8]| {
    let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(input).is_ok();
    let mut out = Vec::new();
    if JsonConverter::compile(&ANY).expect("compiles").run(input, &mut out).is_ok() {
        assert!(is_json, "more than JSON");
        DatumValidator::compile(&ANY).expect("compiles").run(&out).expect("a datum");
    } else {
        assert!(out.is_empty());
    }
    // serde_json follows what it passes over without a limit, and takes text for what it does not look into.
    let object = input.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    if std::str::from_utf8(input).is_ok() && object {
        let passed = JsonConverter::compile(&NONE).expect("compiles").run(input, &mut out).is_ok();
        assert_eq!(passed, is_json);
    }
});
