//! Data made to hurt a decoder, and the wounds that others have had.

use std::time::{Duration, Instant};

use sluice_wire::{DatumError, DatumSchema, DatumValidator, MAX_NESTING, SchemaError};

fn refused(schema: &str, datum: &[u8]) -> DatumError {
    let schema = DatumSchema::parse(schema).unwrap();
    let begin = Instant::now();
    let error = DatumValidator::compile(&schema).unwrap().run(datum).expect_err("should be refused");
    assert!(begin.elapsed() < Duration::from_secs(1), "took {:?}", begin.elapsed());
    assert!(!error.expected.contains("please report"), "{error}");
    error
}

fn accepted(schema: &str, datum: &[u8]) {
    let schema = DatumSchema::parse(schema).unwrap();
    DatumValidator::compile(&schema).unwrap().run(datum).unwrap();
}

fn long(value: i64) -> Vec<u8> {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    let mut out = Vec::new();
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
    out
}

const LONGS: &str = r#"{"type":"array","items":"long"}"#;
const NULLS: &str = r#"{"type":"array","items":"null"}"#;
const NULL_LISTS: &str = r#"{"type":"array","items":{"type":"array","items":"null"}}"#;
const STRINGS: &str = r#"{"type":"map","values":"string"}"#;

/// apache-avro #581, #582: a count is believed before a byte of it is seen.
#[test]
fn counts_of_any_size_and_sign_allocate_nothing_and_end_at_once() {
    for schema in [LONGS, NULLS, NULL_LISTS, STRINGS] {
        for count in [i64::MAX, i64::MIN, i64::MIN + 1, 1 << 40, -(1 << 40), 1_000_000, -1_000_000] {
            for tail in [vec![], vec![0], vec![0; 64], long(i64::MAX), long(0)] {
                refused(schema, &[long(count), tail].concat());
            }
        }
    }
}

/// apache-avro #639: items that take no bytes multiply for free.
#[test]
fn items_without_bytes_are_bounded_by_the_datum() {
    accepted(NULLS, &[long(1000), vec![0]].concat());
    assert_eq!(
        refused(NULLS, &[long(1_000_000), vec![0]].concat()).expected,
        "no more items than the datum has bytes"
    );
    // Many blocks, each within the bound, do not get around it.
    let blocks = [long(1000).repeat(40), vec![0]].concat();
    refused(NULLS, &blocks);
    let inner = [long(1000), vec![0]].concat();
    refused(NULL_LISTS, &[long(40), inner.repeat(40), vec![0]].concat());
    let empty = r#"{"type":"array","items":{"type":"record","name":"E","fields":[
        {"name":"n","type":"null"},{"name":"z","type":{"type":"fixed","name":"Z","size":0}}]}}"#;
    refused(empty, &[long(1 << 50), vec![0]].concat());
    accepted(empty, &[long(7), vec![0]].concat());
}

/// arrow-rs #10234: an overlong varint that wrapped silently in release builds.
#[test]
fn varints_that_overflow_are_refused() {
    let eleven = [vec![0x80; 10], vec![0]].concat();
    let too_big = [vec![0xff; 9], vec![0x02]].concat();
    let minus_one_in_eleven = [vec![0xff; 10], vec![0x01]].concat();
    for bytes in [eleven, too_big, minus_one_in_eleven] {
        for padding in [0, 20] {
            let datum = [bytes.clone(), vec![0; padding]].concat();
            for schema in [r#""long""#, r#""int""#, r#""string""#, r#""bytes""#, LONGS, STRINGS] {
                assert_eq!(refused(schema, &datum).position, 0);
            }
        }
    }
    for outside in [i64::from(i32::MAX) + 1, i64::from(i32::MIN) - 1, i64::MAX, i64::MIN] {
        refused(r#""int""#, &long(outside));
        accepted(r#""long""#, &long(outside));
    }
    for edge in [i64::from(i32::MAX), i64::from(i32::MIN), 0, -1] {
        accepted(r#""int""#, &long(edge));
    }
}

#[test]
fn lengths_below_zero_or_beyond_the_datum_are_refused() {
    for schema in [r#""string""#, r#""bytes""#] {
        for len in [-1, i64::MIN, i64::MAX, 4, i64::from(u32::MAX)] {
            refused(schema, &[long(len), b"abc".to_vec()].concat());
        }
        accepted(schema, &[long(3), b"abc".to_vec()].concat());
    }
}

#[test]
fn text_that_is_not_utf8_is_refused_with_its_place() {
    for bad in [&b"\xff"[..], b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"] {
        for before in [0, 1, 15, 16, 40] {
            let text = [vec![b'a'; before], bad.to_vec()].concat();
            let datum = [long(text.len() as i64), text].concat();
            let error = refused(r#""string""#, &datum);
            assert_eq!((&*error.expected, error.position), ("UTF-8", 1 + before));
            let map = [long(1), datum.clone(), vec![0], vec![0]].concat();
            assert_eq!(refused(STRINGS, &map).path, "{key}");
        }
    }
}

#[test]
fn indices_out_of_range_are_refused() {
    let union = r#"["null","string","long"]"#;
    let symbols = r#"{"type":"enum","name":"E","symbols":["A","B","C"]}"#;
    let optional = r#"["null","long"]"#;
    for index in [-1, 3, 64, i64::from(i32::MAX), i64::MIN, i64::MAX] {
        for schema in [union, symbols, optional] {
            refused(schema, &[long(index), vec![0]].concat());
        }
    }
    refused(optional, &[long(2), vec![0]].concat());
    for byte in 2..=u8::MAX {
        refused(r#""boolean""#, &[byte]);
        refused(r#"{"type":"array","items":"boolean"}"#, &[2, byte, 0]);
    }
}

/// apache-avro #642: no limit to recursion.
#[test]
fn recursion_ends_at_the_limit() {
    let list = r#"{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}"#;
    let of = |levels: usize| [vec![2; levels - 1], vec![0]].concat();
    accepted(list, &of(MAX_NESTING));
    let error = refused(list, &of(MAX_NESTING + 1));
    assert_eq!(error.path.matches("next").count(), MAX_NESTING);
    refused(list, &vec![2; 10_000_000]);
    let endless = r#"{"type":"record","name":"E","fields":[{"name":"self","type":"E"}]}"#;
    refused(endless, &[]);
    let arrays =
        r#"{"type":"record","name":"T","fields":[{"name":"t","type":{"type":"array","items":"T"}}]}"#;
    refused(arrays, &vec![2; 1_000_000]);
    let wide = r#"{"type":"record","name":"W","fields":[{"name":"a","type":"W"},{"name":"b","type":"W"}]}"#;
    refused(wide, &[0; 100]);
}

/// Two readers that differ on a block's size would see two datums in the same bytes.
#[test]
fn a_blocks_size_must_be_what_its_items_take() {
    let block = |size: i64| [long(-2), long(size), long(5), long(6), vec![0]].concat();
    accepted(LONGS, &block(2));
    for size in [0, 1, 3, 4, -1, i64::MIN, i64::MAX] {
        refused(LONGS, &block(size));
    }
    let entries = [long(1), b"a".to_vec(), long(1), b"b".to_vec()].concat();
    accepted(STRINGS, &[long(-1), long(4), entries.clone(), vec![0]].concat());
    refused(STRINGS, &[long(-1), long(3), entries, vec![0]].concat());
    // Several blocks, mixed forms.
    accepted(
        LONGS,
        &[long(1), long(9), long(-1), long(1), long(8), long(2), long(1), long(2), vec![0]].concat(),
    );
}

#[test]
fn bytes_after_the_datum_are_refused() {
    let error = refused(r#""long""#, &[2, 0]);
    assert_eq!((error.position, &*error.expected), (1, "the end of the datum"));
    refused(r#""null""#, &[0]);
    accepted(r#""null""#, &[]);
}

#[test]
fn the_path_says_where() {
    let schema = r#"{"type":"record","name":"R","fields":[
        {"name":"a","type":{"type":"array","items":{"type":"record","name":"I","fields":[
            {"name":"m","type":{"type":"map","values":["null","boolean","string"]}}]}}}]}"#;
    let datum = [2, 2, 2, b'k', 2, 7];
    let error = refused(schema, &datum);
    assert_eq!(error.path, "a[].m{}<boolean>");
    assert_eq!(error.position, 5);
    assert!(!error.to_string().contains('7'), "{error}");
}

/// A deep chain of references in a flat text; a schema that doubles with each record.
#[test]
fn schemas_that_are_deep_or_explode() {
    let chain = |count: usize| {
        let records = (1..count).map(|n| {
            format!(r#"{{"name":"f{n}","type":{{"type":"record","name":"R{n}","fields":[{{"name":"x","type":"R{}"}}]}}}}"#, n - 1)
        });
        let fields: Vec<String> = records.collect();
        format!(
            r#"{{"type":"record","name":"Root","fields":[{{"name":"f0","type":{{"type":"record","name":"R0","fields":[]}}}},{}]}}"#,
            fields.join(",")
        )
    };
    assert!(DatumSchema::parse(&chain(60)).is_ok());
    assert_eq!(DatumSchema::parse(&chain(3000)).unwrap_err(), SchemaError::TooDeep);

    let mut fields = vec![
        r#"{"name":"f0","type":{"type":"record","name":"D0","fields":[{"name":"x","type":"int"}]}}"#
            .to_owned(),
    ];
    for n in 1..60 {
        let below = n - 1;
        fields.push(format!(
            r#"{{"name":"f{n}","type":{{"type":"record","name":"D{n}","fields":[{{"name":"a","type":"D{below}"}},{{"name":"b","type":"D{below}"}}]}}}}"#
        ));
    }
    let doubling = format!(r#"{{"type":"record","name":"Root","fields":[{}]}}"#, fields.join(","));
    let schema = DatumSchema::parse(&doubling).unwrap();
    let begin = Instant::now();
    assert!(schema.leaves().is_empty());
    DatumValidator::compile(&schema).unwrap().run(&[0; 100]).unwrap_err();
    assert!(begin.elapsed() < Duration::from_secs(2), "took {:?}", begin.elapsed());
}

#[test]
fn what_is_no_schema() {
    let deep = format!("{}\"int\"{}", r#"{"type":"array","items":"#.repeat(5000), "}".repeat(5000));
    for text in ["", "{", "7", "\"strange\"", r#"{"type":"record"}"#, r#"{"type":"array"}"#, deep.as_str()] {
        assert!(DatumSchema::parse(text).is_err());
    }
}

/// A valid datum of another schema is refused or is a valid datum of this one: nothing else may happen.
#[test]
fn the_wrong_schema_for_a_valid_datum() {
    let meter = r#"{"type":"record","name":"M","fields":[{"name":"id","type":"string"},{"name":"n","type":"long"},
        {"name":"tags","type":{"type":"map","values":"string"}}]}"#;
    let datum =
        [long(3), b"abc".to_vec(), long(7), long(1), long(1), b"k".to_vec(), long(1), b"v".to_vec(), vec![0]]
            .concat();
    accepted(meter, &datum);
    for other in [LONGS, NULLS, STRINGS, r#""double""#, r#""string""#, r#"["null","string"]"#] {
        refused(other, &datum);
    }
}
