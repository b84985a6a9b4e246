//! What the contracts do to records, checked with another implementation of Avro.

use std::collections::HashMap;

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use proptest::prelude::*;
use sluice_contract::{Contract, ContractSet, KeyRing, MaskingError};
use sluice_wire::{DatumPatch, DatumSchema, PatchRunError};
use zeroize::Zeroizing;

use crate::files;

/// One contract's walk, from record to record as an analyst decodes it.
struct MaskFixture {
    schema: DatumSchema,
    patch: DatumPatch,
}

impl MaskFixture {
    fn of(contract: &Contract, keys: &KeyRing) -> Self {
        let patch = DatumPatch::compile(&contract.value, &contract.policy(keys).unwrap()).unwrap();
        assert_eq!(patch.derived().json(), contract.masked_schema().json());
        Self { schema: contract.value.clone(), patch }
    }

    fn bytes(&self, record: &Value) -> Result<Vec<u8>, PatchRunError> {
        let record = record.clone().resolve(self.schema.avro()).unwrap();
        let writer = GenericDatumWriter::builder(self.schema.avro()).build().unwrap();
        let datum = writer.write_value_to_vec(record).unwrap();
        let mut out = Vec::new();
        self.patch.run(&datum, &mut out)?;
        Ok(out)
    }

    fn decoded(&self, record: &Value) -> Value {
        let bytes = self.bytes(record).unwrap();
        let mut rest = bytes.as_slice();
        let reader = GenericDatumReader::builder(self.patch.derived().avro()).build().unwrap();
        let decoded = reader.read_value(&mut rest).unwrap();
        assert!(rest.is_empty());
        decoded
    }
}

fn contract<'c>(contracts: &'c ContractSet, id: &str) -> &'c Contract {
    contracts.iter().find(|contract| contract.id == id).unwrap()
}

fn masking(id: &str) -> MaskFixture {
    MaskFixture::of(contract(files::contracts(), id), &files::keys())
}

fn record(fields: Vec<(&str, Value)>) -> Value {
    Value::Record(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn some(value: Value) -> Value {
    Value::Union(1, Box::new(value))
}

fn none() -> Value {
    Value::Union(0, Box::new(Value::Null))
}

fn at<'v>(value: &'v Value, path: &[&str]) -> &'v Value {
    let value = match value {
        Value::Union(_, inner) => inner,
        other => other,
    };
    let [first, rest @ ..] = path else { return value };
    let Value::Record(fields) = value else { panic!("{value:?} has no {first}") };
    at(&fields.iter().find(|(name, _)| name == first).unwrap_or_else(|| panic!("no {first}")).1, rest)
}

fn string(value: &Value) -> &str {
    match value {
        Value::String(text) => text,
        other => panic!("{other:?} is not a string"),
    }
}

const ACCOUNT: &str = "0b9f5cba-2d3e-4f0c-9d0a-6c3c9f6f1f10";

struct SamplePerson<'a> {
    account: &'a str,
    name: &'a str,
    email: Option<&'a str>,
    phone: &'a str,
    line: &'a str,
    mpan: &'a str,
    serial: &'a str,
    preference: &'a str,
}

fn profile(person: &SamplePerson<'_>) -> Value {
    let location = record(vec![("latitude", Value::Double(51.5014)), ("longitude", Value::Double(-0.1419))]);
    let meter = record(vec![
        ("mpan", text(person.mpan)),
        ("serial", text(person.serial)),
        ("installed", Value::Date(15_706)), // 2013-01-01
    ]);
    record(vec![
        ("account_id", text(person.account)),
        ("customer_name", text(person.name)),
        ("email", person.email.map_or_else(none, |email| some(text(email)))),
        ("phone", some(text(person.phone))),
        ("born", some(Value::Date(3_000))), // 1978-03-20
        (
            "address",
            record(vec![
                ("line", text(person.line)),
                ("postcode", text("sw1a 1aa")),
                ("location", some(location)),
            ]),
        ),
        ("tariff", Value::Enum(2, "TIME_OF_USE".into())),
        ("annual_kwh", some(Value::Int(3_123))),
        ("meters", Value::Array(vec![meter.clone(), meter])),
        ("preferences", Value::Map(HashMap::from([("language".into(), text(person.preference))]))),
        ("updated_at", Value::TimestampMicros(1_357_035_462_500_000)),
    ])
}

const PERSON: SamplePerson<'static> = SamplePerson {
    account: ACCOUNT,
    name: "Ada Example",
    email: Some("ada@example.org"),
    phone: "+447700900123",
    line: "1 Example Street",
    mpan: "1200023305967",
    serial: "E6S1234567890",
    preference: "Welsh",
};

#[test]
fn every_operation_does_what_it_says() {
    let masked = masking("account-profile").decoded(&profile(&PERSON));
    assert_eq!(string(at(&masked, &["customer_name"])), "REDACTED");
    assert_eq!(*at(&masked, &["email"]), Value::Null);
    assert_eq!(string(at(&masked, &["phone"])), "******23");
    assert_eq!(*at(&masked, &["born"]), Value::Date(2_922)); // 1978-01-01
    assert_eq!(string(at(&masked, &["address", "postcode"])), "SW1A");
    assert_eq!(*at(&masked, &["address", "location", "latitude"]), Value::Double(51.5));
    assert_eq!(*at(&masked, &["address", "location", "longitude"]), Value::Double(-0.2));
    assert_eq!(*at(&masked, &["annual_kwh"]), Value::Int(3_000));
    assert_eq!(*at(&masked, &["tariff"]), Value::Enum(2, "TIME_OF_USE".into()));
    assert_eq!(*at(&masked, &["updated_at"]), Value::TimestampMicros(1_357_035_462_500_000));
    let Value::Array(meters) = at(&masked, &["meters"]) else { panic!() };
    let Value::Record(meter) = &meters[1] else { panic!() };
    assert_eq!(meter.len(), 2);
    assert_eq!(*at(&meters[1], &["installed"]), Value::Date(15_706));
    let Value::Map(preferences) = at(&masked, &["preferences"]) else { panic!() };
    assert_eq!(preferences["language"], text("REDACTED"));
    assert!(string(at(&masked, &["account_id"])).starts_with("2:"), "the latest epoch");
    assert_eq!(string(at(&masked, &["account_id"])).len(), 24);
}

#[test]
fn a_leaf_that_is_refused_makes_the_record_a_dead_letter_without_quoting_it() {
    let masking = masking("meter-reading");
    let reading = record(vec![
        ("mpan", text("1200023305967")),
        ("account_id", text(ACCOUNT)),
        ("postcode", some(text("1 Secret Road"))),
        ("read_at", Value::TimestampMicros(0)),
        ("register", text("01")),
        ("kwh", Value::Decimal(apache_avro::Decimal::from(vec![0, 0, 0, 0, 48, 57]))),
    ]);
    let error = masking.bytes(&reading).unwrap_err();
    assert!(matches!(&error, PatchRunError::Refused { path, .. } if path == "postcode"), "{error}");
    assert!(!error.to_string().contains("Secret"), "{error}");
}

#[test]
fn a_missing_key_is_an_error_and_never_plain_text() {
    let contracts = files::contracts();
    let flight = contract(contracts, "flight");
    assert!(
        matches!(flight.policy(&KeyRing::new()), Err(MaskingError::Key { path, .. }) if path == "tailnum")
    );
    assert!(flight.key_mask(&KeyRing::new()).is_err());
}

#[test]
fn a_schema_with_more_than_the_contract_covers_does_not_compile() {
    let contracts = files::contracts();
    let policy = contract(contracts, "aircraft").policy(&files::keys()).unwrap();
    let json = contract(contracts, "aircraft").value.json();
    let compile = |json: &str| {
        DatumPatch::compile(&DatumSchema::parse(json).unwrap(), &policy).err().map(|e| e.to_string())
    };
    assert_eq!(compile(json), None);
    let with_owner =
        json.replacen(r#"{"name": "year""#, r#"{"name": "owner", "type": "string"}, {"name": "year""#, 1);
    assert_eq!(compile(&with_owner).unwrap(), "no policy for: owner");
    let other_type =
        json.replacen(r#"{"name": "seats", "type": "int""#, r#"{"name": "seats", "type": "string""#, 1);
    assert_ne!(other_type, json);
    assert_eq!(compile(&other_type).unwrap(), "no policy for: seats");
}

proptest! {
    /// One domain, one pseudonym: in two topics, in a field and in the Kafka key, and under one epoch only.
    #[test]
    fn the_same_in_is_the_same_out_across_topics(tailnum in "\\PC{0,24}", other in "\\PC{0,24}") {
        let contracts = files::contracts();
        let (flight, aircraft) = (contract(contracts, "flight"), contract(contracts, "aircraft"));
        let keys = files::keys();
        let field = |contract: &Contract, tailnum: &str| -> String {
            let masked = MaskFixture::of(contract, &keys).decoded(&sample(contract, tailnum));
            string(at(&masked, &["tailnum"])).to_owned()
        };
        let key = |contract: &Contract, tailnum: &str| -> String {
            let mut out = Vec::new();
            contract.key_mask(&keys).unwrap().apply(tailnum.as_bytes(), &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let masked = field(flight, &tailnum);
        prop_assert_eq!(&masked, &field(aircraft, &tailnum));
        prop_assert_eq!(&masked, &key(flight, &tailnum));
        prop_assert_eq!(&masked, &key(aircraft, &tailnum));
        prop_assert_eq!(masked == field(aircraft, &other), tailnum == other);

        let mut newer = KeyRing::new();
        newer.insert("pseudonym", 3, Zeroizing::new((1..=64).collect())).unwrap();
        let mut out = Vec::new();
        flight.key_mask(&newer).unwrap().apply(tailnum.as_bytes(), &mut out).unwrap();
        prop_assert!(out.starts_with(b"3:"));
        prop_assert_ne!(&out[2..], &masked.as_bytes()[2..]);
    }

    /// What is dropped, nulled, redacted or made a pseudonym leaves none of its bytes.
    #[test]
    fn no_byte_of_a_masked_leaf_is_left(
        account in "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}",
        secrets in proptest::collection::vec("[a-zA-Z0-9 ]{8,40}", 6),
        given in any::<bool>(),
    ) {
        let person = SamplePerson {
            account: &account,
            name: &secrets[0],
            email: given.then_some(secrets[1].as_str()),
            phone: "+447700900123",
            line: &secrets[2],
            mpan: &secrets[3],
            serial: &secrets[4],
            preference: &secrets[5],
        };
        let bytes = masking("account-profile").bytes(&profile(&person)).unwrap();
        for secret in secrets.iter().chain([&account]) {
            let piece = &secret.as_bytes()[..8];
            prop_assert!(!bytes.windows(8).any(|window| window == piece), "{secret:?}");
        }
    }
}

/// A record of the contract with that tail number and nothing else of interest.
fn sample(contract: &Contract, tailnum: &str) -> Value {
    let apache_avro::Schema::Record(schema) = contract.value.avro() else { panic!() };
    let fields = schema.fields.iter().map(|field| {
        let value = match (&field.schema, field.name.as_str()) {
            (_, "tailnum") => text(tailnum),
            (apache_avro::Schema::String, _) => text("some text"),
            (apache_avro::Schema::Int, _) => Value::Int(149),
            (apache_avro::Schema::Union(_), _) => some(Value::Int(7)),
            _ => Value::TimestampMicros(0),
        };
        (field.name.clone(), value)
    });
    Value::Record(fields.collect())
}
