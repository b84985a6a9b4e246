#![no_main]
//! A frame takes what validate takes; a block's record is a datum of the extended schema.

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sluice_wire::{DatumValidator, LineageFrame, RecordLineage};

static CASES: LazyLock<Vec<(DatumValidator, LineageFrame, DatumValidator)>> = LazyLock::new(|| {
    let compile = |schema| {
        let frame = LineageFrame::compile(&schema, true, &[]).expect("compiles");
        let extended = DatumValidator::compile(frame.extended()).expect("compiles");
        (DatumValidator::compile(&schema).expect("compiles"), frame, extended)
    };
    sluice_fuzz::schemas().into_iter().map(compile).collect()
});

fuzz_target!(|input: &[u8]| {
    let Some((choice, datum)) = sluice_fuzz::split(input) else { return };
    let (validate, frame, extended) = &CASES[choice];
    let lineage = RecordLineage { topic: "t", partition: 1, offset: 2, timestamp_ms: Some(3), schema_id: 4 };
    let mut block = b"before".to_vec();
    let framed = frame.append(datum, &lineage, &mut block).is_ok();
    assert_eq!(framed, validate.run(datum).is_ok());
    match framed {
        true => extended.run(&block[6..]).expect("a datum of the extended schema"),
        false => assert_eq!(block, b"before"),
    }
});
