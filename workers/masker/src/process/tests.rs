//! The masker over the repository's own contracts.

mod gate;
mod keyed;

use std::collections::BTreeMap;

use sluice_core::{Header, Offset};
use sluice_wire::{JsonConverter, LeafProjection};

use super::*;

const FILES: [(&str, &str); 4] = [
    ("schemas/aviation/flight/value.avsc", include_str!("../../../../schemas/aviation/flight/value.avsc")),
    (
        "schemas/aviation/flight/contract.odcs.yaml",
        include_str!("../../../../schemas/aviation/flight/contract.odcs.yaml"),
    ),
    (
        "schemas/aviation/aircraft/value.avsc",
        include_str!("../../../../schemas/aviation/aircraft/value.avsc"),
    ),
    (
        "schemas/aviation/aircraft/contract.odcs.yaml",
        include_str!("../../../../schemas/aviation/aircraft/contract.odcs.yaml"),
    ),
];
const FACT: (&str, &str) =
    ("schemas/sluice/fact/value.avsc", include_str!("../../../../schemas/sluice/fact/value.avsc"));
const FLIGHT: &str = r#"{"year":2013,"month":1,"day":1,"dep_time":517,"sched_dep_time":515,"dep_delay":2,"arr_time":830,
 "sched_arr_time":819,"arr_delay":null,"carrier":"UA","flight":1545,"tailnum":"N14228","origin":"EWR","dest":"IAH",
 "air_time":227,"distance":1400,"hour":5,"minute":15,"time_hour":"2013-01-01T10:00:00Z"}"#;
const AIRCRAFT: &str = r#"{"tailnum":"N14228","year":1999,"type":"Fixed wing multi engine","manufacturer":"BOEING",
 "model":"737-824","engines":2,"seats":149,"speed":null,"engine":"Turbo-fan"}"#;

/// A registry that knows whatever is asked, and gives ids by subject.
#[derive(Default)]
struct MaskerTestRegistry {
    schemas: BTreeMap<u32, String>,
}

impl SchemaLookup for MaskerTestRegistry {
    fn id_of(&mut self, _: &str, schema: &str) -> Result<Option<SchemaId>, Fault> {
        let id = 100 + u32::try_from(self.schemas.len()).unwrap();
        self.schemas.insert(id, schema.to_owned());
        Ok(Some(SchemaId(id)))
    }
}

struct EmptyMaskerRegistry;

impl SchemaLookup for EmptyMaskerRegistry {
    fn id_of(&mut self, _: &str, _: &str) -> Result<Option<SchemaId>, Fault> {
        Ok(None)
    }
}

fn contracts() -> ContractSet {
    let files: Vec<_> =
        FILES.iter().chain([&FACT]).map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    ContractSet::parse(&files).unwrap()
}

fn masker() -> MaskerProcessor {
    let mut keys = KeyRing::new();
    keys.insert("pseudonym", 1, (0..32).collect::<Vec<u8>>().into()).unwrap();
    MaskerProcessor::new(&contracts(), &keys).unwrap()
}

fn framed(id: u32, schema: &str, json: &str) -> Vec<u8> {
    let mut out = vec![];
    framing::write_prefix(SchemaId(id), &mut out);
    JsonConverter::compile(&DatumSchema::parse(schema).unwrap())
        .unwrap()
        .run(json.as_bytes(), &mut out)
        .unwrap();
    out
}

fn record<'a>(
    topic: &'a str,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: &'a [Header<'a>],
) -> RecordRef<'a> {
    RecordRef {
        topic,
        partition: 3,
        offset: Offset::new(42).unwrap(),
        timestamp_ms: Some(7),
        key,
        value,
        headers,
    }
}

/// Key, value and headers of an output.
type MaskedOutput = (Vec<u8>, Option<Vec<u8>>, Vec<String>);

/// Masks one record; the outcome, and what came out.
fn mask(masker: &mut MaskerProcessor, record: &RecordRef<'_>) -> (Outcome, Vec<MaskedOutput>) {
    let mut out = Outputs::new();
    let outcome = masker.process(record, &mut out);
    let all = out
        .iter()
        .map(|o| {
            let headers = o
                .headers()
                .map(|h| format!("{}={}", h.name, String::from_utf8_lossy(h.value.unwrap_or_default())))
                .collect();
            (o.key.unwrap_or_default().to_vec(), o.value.map(<[u8]>::to_vec), headers)
        })
        .collect();
    (outcome, all)
}

fn field(known: &MaskerTestRegistry, framed: &[u8], path: &str) -> String {
    let (id, datum) = framing::split(framed).unwrap();
    let schema = DatumSchema::parse(&known.schemas[&id.0]).unwrap();
    let mut text = String::new();
    LeafProjection::compile(&schema, &[path])
        .unwrap()
        .run(datum, |_, leaf| text = format!("{leaf:?}"))
        .unwrap();
    text
}

#[test]
fn a_flight_and_its_aircraft_mask_to_the_same_pseudonym_and_key() {
    let (mut masker, mut known) = (masker(), MaskerTestRegistry::default());
    let (flight, aircraft) = (FILES[0].1, FILES[2].1);
    masker.learn("aviation.flight.v1", RecordPart::Value, SchemaId(1), flight, &mut known).unwrap();
    masker.learn("aviation.aircraft.v1", RecordPart::Value, SchemaId(2), aircraft, &mut known).unwrap();
    let (one, two) = (framed(1, flight, FLIGHT), framed(2, aircraft, AIRCRAFT));
    let (outcome, flights) =
        mask(&mut masker, &record("aviation.flight.v1", Some(b"N14228"), Some(&one), &[]));
    assert_eq!(outcome, Outcome::Emitted);
    let (_, aircrafts) = mask(&mut masker, &record("aviation.aircraft.v1", Some(b"N14228"), Some(&two), &[]));
    let pseudonym = field(&known, flights[0].1.as_ref().unwrap(), "tailnum");
    assert_eq!(pseudonym, field(&known, aircrafts[0].1.as_ref().unwrap(), "tailnum"));
    assert_eq!(pseudonym, format!("String({:?})", String::from_utf8(flights[0].0.clone()).unwrap()));
    assert!(pseudonym.contains("1:"), "{pseudonym}");
    for (key, value, headers) in flights.iter().chain(&aircrafts) {
        for bytes in [key, value.as_ref().unwrap()]
            .into_iter()
            .map(Vec::as_slice)
            .chain(headers.iter().map(String::as_bytes))
        {
            assert!(!bytes.windows(6).any(|window| window == b"N14228"), "the raw tail number came out");
        }
    }
}

#[test]
fn only_allowed_headers_and_the_source_come_out() {
    let (mut masker, mut known) = (masker(), MaskerTestRegistry::default());
    masker.learn("aviation.flight.v1", RecordPart::Value, SchemaId(1), FILES[0].1, &mut known).unwrap();
    let value = framed(1, FILES[0].1, FLIGHT);
    let headers = [
        Header { name: "traceparent", value: Some(b"00-1") },
        Header { name: "owner", value: Some(b"Jane") },
    ];
    let (_, out) = mask(&mut masker, &record("aviation.flight.v1", Some(b"N14228"), Some(&value), &headers));
    assert_eq!(out[0].2, ["sluice.source=aviation.flight.v1/3/42", "traceparent=00-1"]);
}

#[test]
fn what_is_broken_is_a_dead_letter_and_leaves_nothing_behind() {
    let (mut masker, mut known) = (masker(), MaskerTestRegistry::default());
    masker.learn("aviation.flight.v1", RecordPart::Value, SchemaId(1), FILES[0].1, &mut known).unwrap();
    let value = framed(1, FILES[0].1, FLIGHT);
    for cut in 0..value.len() {
        let (outcome, out) =
            mask(&mut masker, &record("aviation.flight.v1", Some(b"N14228"), Some(&value[..cut]), &[]));
        let Outcome::DeadLetter(reason) = outcome else { panic!("cut at {cut}: {outcome:?}") };
        assert!(out.is_empty());
        assert!(!reason.to_string().contains("N14228"));
    }
    let (outcome, _) = mask(&mut masker, &record("aviation.flight.v1", None, Some(&value), &[]));
    assert!(matches!(outcome, Outcome::DeadLetter(reason) if reason.class == ReasonClass::Null));
}

#[test]
fn a_schema_is_asked_for_once_and_a_tombstone_needs_none() {
    let (mut masker, mut known) = (masker(), MaskerTestRegistry::default());
    let value = framed(9, FILES[0].1, FLIGHT);
    let flight = record("aviation.flight.v1", Some(b"N14228"), Some(&value), &[]);
    assert_eq!(mask(&mut masker, &flight).0, Outcome::NeedsSchema(RecordPart::Value, SchemaId(9)));
    masker.learn("aviation.flight.v1", RecordPart::Value, SchemaId(9), FILES[0].1, &mut known).unwrap();
    assert_eq!(mask(&mut masker, &flight).0, Outcome::Emitted);
    let (outcome, out) = mask(&mut masker, &record("aviation.aircraft.v1", Some(b"N1"), None, &[]));
    assert_eq!((outcome, out[0].1.clone()), (Outcome::Emitted, None));
    assert_ne!(out[0].0, b"N1");
}

#[test]
fn a_new_field_without_a_policy_does_not_pass() {
    let mut masker = masker();
    let wider =
        FILES[0].1.replacen(r#""fields": ["#, r#""fields": [{"name": "pilot", "type": "string"},"#, 1);
    assert_ne!(wider, FILES[0].1);
    let error = masker
        .learn(
            "aviation.flight.v1",
            RecordPart::Value,
            SchemaId(5),
            &wider,
            &mut MaskerTestRegistry::default(),
        )
        .unwrap_err();
    assert!(
        matches!(&error, LearnError::Uncovered(reason) if reason.to_string().contains("pilot")),
        "{error}"
    );
    let value = framed(5, FILES[0].1, FLIGHT);
    let (outcome, out) = mask(&mut masker, &record("aviation.flight.v1", Some(b"N1"), Some(&value), &[]));
    assert_eq!((outcome, out.len()), (Outcome::NeedsSchema(RecordPart::Value, SchemaId(5)), 0));
}

#[test]
fn an_unregistered_masked_schema_is_an_outage_not_a_dead_letter() {
    let error = masker()
        .learn("aviation.flight.v1", RecordPart::Value, SchemaId(1), FILES[0].1, &mut EmptyMaskerRegistry)
        .unwrap_err();
    assert!(
        matches!(&error, LearnError::Fault(fault) if fault.retry == sluice_core::Retry::Later),
        "{error}"
    );
}
