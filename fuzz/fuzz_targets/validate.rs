#![no_main]
//! What validate takes, apache-avro decodes to the last byte; what it refuses has a place.

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sluice_wire::{DatumSchema, DatumValidator};

static CASES: LazyLock<Vec<(DatumSchema, DatumValidator)>> = LazyLock::new(|| {
    let compile = |schema: DatumSchema| (schema.clone(), DatumValidator::compile(&schema).expect("compiles"));
    sluice_fuzz::schemas().into_iter().map(compile).collect()
});

fuzz_target!(|input: &[u8]| {
    let Some((choice, datum)) = sluice_fuzz::split(input) else { return };
    let (schema, validate) = &CASES[choice];
    match validate.run(datum) {
        // The first schema has uuids in text, which apache-avro also parses.
        Ok(()) if choice > 0 => {
            let mut rest = datum;
            let reader = apache_avro::reader::datum::GenericDatumReader::builder(schema.avro())
                .build()
                .expect("a reader");
            reader.read_value(&mut rest).expect("decodes");
            assert!(rest.is_empty());
        }
        Ok(()) => {}
        Err(error) => {
            assert!(error.position <= datum.len());
            assert!(!error.expected.contains("please report"), "the walks differ");
        }
    }
});
