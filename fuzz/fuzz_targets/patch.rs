#![no_main]
//! A patch takes what validate takes, and what comes out is a datum of the derived schema.

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sluice_wire::{DatumPatch, DatumValidator};

struct FuzzPatchCase {
    validate: DatumValidator,
    patches: Vec<(DatumPatch, DatumValidator)>,
}

static CASES: LazyLock<Vec<FuzzPatchCase>> = LazyLock::new(|| {
    let compile = |schema| {
        let patches = (0..4).map(|turn| {
            let patch = DatumPatch::compile(&schema, &sluice_fuzz::FuzzTurnPolicy(turn)).expect("compiles");
            let derived = DatumValidator::compile(patch.derived()).expect("compiles");
            (patch, derived)
        });
        FuzzPatchCase {
            validate: DatumValidator::compile(&schema).expect("compiles"),
            patches: patches.collect(),
        }
    };
    sluice_fuzz::schemas().into_iter().map(compile).collect()
});

fuzz_target!(|input: &[u8]| {
    let Some((choice, datum)) = sluice_fuzz::split(input) else { return };
    let case = &CASES[choice];
    let valid = case.validate.run(datum).is_ok();
    let mut out = Vec::new();
    for (patch, derived) in &case.patches {
        out.clear();
        assert_eq!(patch.run(datum, &mut out).is_ok(), valid);
        match valid {
            true => derived.run(&out).expect("a datum of the derived schema"),
            false => assert!(out.is_empty()),
        }
    }
});
