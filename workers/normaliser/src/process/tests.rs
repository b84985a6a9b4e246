//! The normaliser over the repository's own contracts.

use sluice_core::Offset;
use sluice_wire::JsonConverter;

use super::*;

const FLIGHT_SCHEMA: &str = include_str!("../../../../schemas/aviation/flight/value.avsc");
const FACT_SCHEMA: &str = include_str!("../../../../schemas/sluice/fact/value.avsc");
const FLIGHT: &str = r#"{"year":2013,"month":1,"day":1,"dep_time":517,"sched_dep_time":515,"dep_delay":-2,"arr_time":830,
 "sched_arr_time":819,"arr_delay":null,"carrier":"UA","flight":1545,"tailnum":"1:abc","origin":"EWR","dest":"IAH",
 "air_time":227,"distance":1400,"hour":5,"minute":15,"time_hour":"2013-01-01T10:00:00Z"}"#;

struct NormaliserTestRegistry;

impl SchemaLookup for NormaliserTestRegistry {
    fn id_of(&mut self, _: &str, _: &str) -> Result<Option<SchemaId>, Fault> {
        Ok(Some(SchemaId(77)))
    }
}

fn normaliser() -> NormaliserProcessor {
    let files = [
        ("schemas/aviation/flight/value.avsc", FLIGHT_SCHEMA),
        (
            "schemas/aviation/flight/contract.odcs.yaml",
            include_str!("../../../../schemas/aviation/flight/contract.odcs.yaml"),
        ),
        ("schemas/sluice/fact/value.avsc", FACT_SCHEMA),
    ];
    let files: Vec<_> = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    let mut normaliser = NormaliserProcessor::new(&ContractSet::parse(&files).unwrap()).unwrap();
    // The masked schema keeps every field of this contract and their types, so the raw one stands for it here.
    normaliser
        .learn(
            "aviation.flight.masked.v1",
            RecordPart::Value,
            SchemaId(1),
            FLIGHT_SCHEMA,
            &mut NormaliserTestRegistry,
        )
        .unwrap();
    normaliser
}

fn framed(json: &str) -> Vec<u8> {
    let mut out = vec![];
    framing::write_prefix(SchemaId(1), &mut out);
    JsonConverter::compile(&DatumSchema::parse(FLIGHT_SCHEMA).unwrap())
        .unwrap()
        .run(json.as_bytes(), &mut out)
        .unwrap();
    out
}

fn record(offset: i64, value: Option<&[u8]>) -> RecordRef<'_> {
    RecordRef {
        topic: "aviation.flight.masked.v1",
        partition: 2,
        offset: Offset::new(offset).unwrap(),
        timestamp_ms: Some(1_700_000_000_000),
        key: Some(b"1:abc"),
        value,
        headers: &[],
    }
}

/// The facts of a record, each leaf as text, in the order of the fact schema; and the key.
fn facts(
    normaliser: &mut NormaliserProcessor,
    record: &RecordRef<'_>,
) -> (Outcome, Vec<(String, Vec<String>)>) {
    let mut out = Outputs::new();
    let outcome = normaliser.process(record, &mut out);
    let project = LeafProjection::compile(&DatumSchema::parse(FACT_SCHEMA).unwrap(), &FACT_FIELDS).unwrap();
    let all = out
        .iter()
        .map(|fact| {
            assert_eq!(
                fact.timestamp_ms, record.timestamp_ms,
                "retention counts from the record's time, not the event's"
            );
            let (id, datum) = framing::split(fact.value.unwrap()).unwrap();
            assert_eq!(id, SchemaId(77));
            let mut fields = vec![String::new(); FACT_FIELDS.len()];
            project
                .run(datum, |index, leaf| {
                    let mut text = vec![];
                    text::value(leaf, &mut text);
                    fields[index] = String::from_utf8(text).unwrap();
                })
                .unwrap();
            (String::from_utf8(fact.key.unwrap().to_vec()).unwrap(), fields)
        })
        .collect();
    (outcome, all)
}

#[test]
fn one_fact_per_attribute_that_is_not_null() {
    let value = framed(FLIGHT);
    let (outcome, all) = facts(&mut normaliser(), &record(42, Some(&value)));
    assert_eq!(outcome, Outcome::Emitted);
    let names: Vec<_> = all.iter().map(|(_, fields)| fields[3].as_str()).collect();
    assert_eq!(
        names,
        ["tailnum", "dep_time", "dep_delay", "arr_time", "air_time"],
        "arr_delay is null: no fact"
    );
    let (key, delay) = &all[2];
    assert_eq!(key, "UA/1545/EWR/2013-01-01T10:00:00Z");
    assert_eq!(
        delay[1..],
        [
            key.as_str(),
            "flight",
            "dep_delay",
            "-2",
            "LONG",
            "1357034400000000",
            "1700000000000000",
            "aviation.flight.masked.v1",
            "2",
            "42"
        ]
    );
    assert_eq!(delay[0].len(), 32);
}

#[test]
fn the_same_record_gives_the_same_facts_and_another_offset_gives_others() {
    let mut normaliser = normaliser();
    let value = framed(FLIGHT);
    let (_, once) = facts(&mut normaliser, &record(42, Some(&value)));
    let (_, twice) = facts(&mut normaliser, &record(42, Some(&value)));
    assert_eq!(once, twice);
    let (_, other) = facts(&mut normaliser, &record(43, Some(&value)));
    let ids =
        |all: &[(String, Vec<String>)]| all.iter().map(|(_, fields)| fields[0].clone()).collect::<Vec<_>>();
    let all: std::collections::BTreeSet<_> = ids(&once).into_iter().chain(ids(&other)).collect();
    assert_eq!(all.len(), 10, "ids must not repeat");
}

#[test]
fn a_tombstone_takes_no_fact_back_and_a_torn_record_is_a_dead_letter() {
    let mut normaliser = normaliser();
    assert!(matches!(facts(&mut normaliser, &record(1, None)).0, Outcome::Skipped(_)));
    let value = framed(FLIGHT);
    for cut in 0..value.len() {
        let (outcome, all) = facts(&mut normaliser, &record(1, Some(&value[..cut])));
        assert!(matches!(outcome, Outcome::DeadLetter(_)), "cut at {cut}: {outcome:?}");
        assert!(all.is_empty());
    }
}
