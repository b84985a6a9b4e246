//! Keys with a schema of their own.

use super::*;

const THING: &str = r#"{"type": "record", "name": "Thing", "fields": [{"name": "id", "type": "string"}]}"#;
const TOPIC: &str = "shop.thing.v1";

/// Key and value have the same schema, and are masked differently.
fn keyed() -> MaskerProcessor {
    let leaf = |domain: &str| {
        format!(
            "{{name: id, logicalType: string, required: true, classification: restricted, customProperties: [{{property: masking, value: {{op: hmac, key: pseudonym, domain: {domain}}}}}]}}"
        )
    };
    let contract = format!(
        "apiVersion: v3.1.0\nkind: DataContract\nid: thing\nversion: 1.0.0\nstatus: active\ndomain: shop\n\
         slaProperties: [{{property: retention, value: 7, unit: d}}]\n\
         customProperties: [{{property: maskedTopic, value: shop.thing.masked.v1}}]\n\
         schema:\n  - {{name: thing, physicalName: {TOPIC}, physicalType: topic, logicalType: object, properties: [{}]}}\n\
         \x20 - {{name: key, physicalType: key, logicalType: object, properties: [{}]}}\n",
        leaf("values"),
        leaf("keys"),
    );
    let file = |name: &str, text: &str| (format!("schemas/shop/thing/{name}"), text.to_owned());
    let files = [file("value.avsc", THING), file("key.avsc", THING), file("contract.odcs.yaml", &contract)];
    let contracts = ContractSet::parse(&files).unwrap_or_else(|findings| panic!("{findings}"));
    let mut keys = KeyRing::new();
    keys.insert("pseudonym", 1, (0..32).collect::<Vec<u8>>().into()).unwrap();
    MaskerProcessor::new(&contracts, &keys).unwrap()
}

#[test]
fn a_key_has_programs_of_its_own_though_its_schema_is_the_values() {
    let (mut masker, mut known) = (keyed(), MaskerTestRegistry::default());
    let datum = framed(7, THING, r#"{"id":"Ada"}"#);
    let whole = record(TOPIC, Some(&datum), Some(&datum), &[]);
    // Asked for twice under one id: once for the key, once for the value.
    for part in [RecordPart::Key, RecordPart::Value] {
        assert_eq!(mask(&mut masker, &whole).0, Outcome::NeedsSchema(part, SchemaId(7)));
        masker.learn(TOPIC, part, SchemaId(7), THING, &mut known).unwrap();
    }
    let (outcome, out) = mask(&mut masker, &whole);
    assert_eq!((outcome, out.len()), (Outcome::Emitted, 1));
    let (key, value) = (&out[0].0, out[0].1.as_ref().unwrap());
    let (key, value) = (field(&known, key, "id"), field(&known, value, "id"));
    assert!(key.contains("1:") && value.contains("1:") && key != value, "{key} {value}");
    // A tombstone has a key.
    let (outcome, out) = mask(&mut masker, &record(TOPIC, Some(&datum), None, &[]));
    assert_eq!((outcome, field(&known, &out[0].0, "id"), &out[0].1), (Outcome::Emitted, key, &None));
}

#[test]
fn a_key_that_breaks_its_schema_is_a_dead_letter_and_one_that_is_not_covered_stands_still() {
    let (mut masker, mut known) = (keyed(), MaskerTestRegistry::default());
    let datum = framed(7, THING, r#"{"id":"Ada"}"#);
    let whole = record(TOPIC, Some(&datum), None, &[]);
    assert_eq!(mask(&mut masker, &whole).0, Outcome::NeedsSchema(RecordPart::Key, SchemaId(7)));
    masker.learn(TOPIC, RecordPart::Key, SchemaId(7), THING, &mut known).unwrap();
    let torn = &datum[..datum.len() - 1];
    for (broken, class, path) in [
        (Some(&b"Ada"[..]), ReasonClass::Framing, "(key)"),
        (Some(torn), ReasonClass::Datum, "(key).id"),
        (None, ReasonClass::Null, ""),
    ] {
        let (outcome, out) = mask(&mut masker, &record(TOPIC, broken, Some(&datum), &[]));
        let Outcome::DeadLetter(reason) = outcome else { panic!("{outcome:?}") };
        assert_eq!((reason.class, reason.path.as_str(), out.len()), (class, path, 0));
        assert!(!reason.to_string().contains("Ada"));
    }
    // A new leaf in the key: nobody has decided about it.
    let wider = THING.replace("]}", r#", {"name": "mail", "type": "string", "default": ""}]}"#);
    let newer = framed(8, &wider, r#"{"id":"Ada","mail":"ada@example.org"}"#);
    let newer = record(TOPIC, Some(&newer), None, &[]);
    assert_eq!(mask(&mut masker, &newer).0, Outcome::NeedsSchema(RecordPart::Key, SchemaId(8)));
    let refused = masker.learn(TOPIC, RecordPart::Key, SchemaId(8), &wider, &mut known).unwrap_err();
    assert!(
        matches!(&refused, LearnError::Uncovered(reason) if reason.to_string().contains("mail")),
        "{refused}"
    );
    assert_eq!(mask(&mut masker, &newer), (Outcome::NeedsSchema(RecordPart::Key, SchemaId(8)), vec![]));
}
