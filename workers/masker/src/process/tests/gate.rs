//! Keys, headers and times: nothing beside the value carries what the value's masking took.

use super::*;

const TOPIC: &str = "shop.order.v1";

/// A contract with a leaf of the given Avro type as key, and more custom properties.
fn contract(key: &str, key_mask: &str, record_key: &str, more: &str) -> (String, ContractSet) {
    let value = format!(
        r#"{{"type": "record", "name": "Order", "fields": [{{"name": "id", "type": {key}}}, {{"name": "at", "type": {{"type": "long", "logicalType": "timestamp-millis"}}}}]}}"#
    );
    let logical = if key.contains("string") { "string" } else { "integer" };
    let text = format!(
        "apiVersion: v3.1.0\nkind: DataContract\nid: order\nversion: 1.0.0\nstatus: active\ndomain: shop\n\
         slaProperties: [{{property: retention, value: 7, unit: d}}]\n\
         customProperties:\n  - {{property: maskedTopic, value: shop.order.masked.v1}}\n\
         \x20 - {{property: recordKey, value: {record_key}}}\n{more}\
         schema:\n  - name: order\n    physicalName: {TOPIC}\n    physicalType: topic\n    logicalType: object\n    properties:\n\
         \x20     - {{name: id, logicalType: {logical}, required: true, classification: internal, customProperties: [{{property: masking, value: {key_mask}}}]}}\n\
         \x20     - {{name: at, logicalType: timestamp, required: true, classification: internal, customProperties: [{{property: masking, value: {{op: generalise, date: 1h}}}}]}}\n"
    );
    let file = |name: &str, text: &str| (format!("schemas/shop/order/{name}"), text.to_owned());
    let files = [file("value.avsc", &value), file("contract.odcs.yaml", &text)];
    (value, ContractSet::parse(&files).unwrap_or_else(|findings| panic!("{findings}")))
}

/// A masker that has learned the contract's schema as id 1.
fn ready(schema: &str, contracts: &ContractSet) -> MaskerProcessor {
    let mut keys = KeyRing::new();
    keys.insert("pseudonym", 1, (0..32).collect::<Vec<u8>>().into()).unwrap();
    let mut masker = MaskerProcessor::new(contracts, &keys).unwrap();
    let mut known = MaskerTestRegistry::default();
    masker.learn(TOPIC, RecordPart::Value, SchemaId(1), schema, &mut known).unwrap();
    masker
}

const KEEP: &str = "{op: keep}";
const HMAC: &str = "{op: hmac, key: pseudonym, domain: order}";

/// The masked key of a record, or the class of its dead letter.
fn key_of(masker: &mut MaskerProcessor, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Vec<u8>, String> {
    match mask(masker, &record(TOPIC, key, value, &[])) {
        (Outcome::Emitted, out) => Ok(out[0].0.clone()),
        (Outcome::DeadLetter(reason), out) => {
            assert!(out.is_empty());
            assert!(!reason.to_string().contains("Street"), "{reason}");
            Err(format!("{} {}", reason.class.as_str(), reason.path))
        }
        (other, _) => panic!("{other:?}"),
    }
}

#[test]
fn a_key_that_is_not_its_fields_text_is_a_dead_letter_kept_or_not() {
    for op in [KEEP, HMAC] {
        let (schema, contracts) = contract("\"string\"", op, "id", "");
        let mut masker = ready(&schema, &contracts);
        let value = framed(1, &schema, r#"{"id": "o-1", "at": "2026-01-01T10:20:30Z"}"#);
        assert!(key_of(&mut masker, Some(b"o-1"), Some(&value)).is_ok());
        for other in [&b"1 Secret Street"[..], b"", b"O-1", b"o-1 ", b"\xff\xfe"] {
            assert_eq!(key_of(&mut masker, Some(other), Some(&value)), Err("masking id".to_owned()), "{op}");
        }
    }
    for kind in ["\"int\"", "\"long\""] {
        let (schema, contracts) = contract(kind, KEEP, "id", "");
        let mut masker = ready(&schema, &contracts);
        let value = framed(1, &schema, r#"{"id": 42, "at": "2026-01-01T10:20:30Z"}"#);
        assert_eq!(key_of(&mut masker, Some(b"42"), Some(&value)), Ok(b"42".to_vec()));
        for other in [&b"042"[..], b"+42", b"43", b"42.0", b"1 Secret Street"] {
            assert_eq!(key_of(&mut masker, Some(other), Some(&value)), Err("masking id".to_owned()));
        }
    }
}

#[test]
fn the_key_of_a_tombstone_reads_as_its_field() {
    let uuid = r#"{"type": "string", "logicalType": "uuid"}"#;
    for (kind, fine, wrong) in [
        ("\"int\"", &["7", "-1"][..], &["1 Secret Street", "07", "2147483648", ""][..]),
        ("\"long\"", &["2147483648"], &["x", "1e3"]),
        (
            uuid,
            &["0b9f5cba-2d3e-4f0c-9d0a-6c3c9f6f1f10"],
            &["1 Secret Street", "0b9f5cba2d3e4f0c9d0a6c3c9f6f1f10"],
        ),
        ("\"string\"", &["anything"], &[]),
    ] {
        let (schema, contracts) = contract(kind, KEEP, "id", "");
        let mut masker = ready(&schema, &contracts);
        for key in fine {
            assert!(key_of(&mut masker, Some(key.as_bytes()), None).is_ok(), "{kind} {key}");
        }
        for key in wrong {
            assert!(key_of(&mut masker, Some(key.as_bytes()), None).is_err(), "{kind} {key}");
        }
    }
}

#[test]
fn a_key_that_is_nobodys_leaf_is_dropped_hashed_or_kept_as_the_contract_decides() {
    let bare = |op: &str, class: &str| format!("{{classification: {class}, masking: {op}}}");
    let masked = |record_key: &str, key: Option<&[u8]>| {
        let (schema, contracts) = contract("\"string\"", HMAC, record_key, "");
        let mut masker = ready(&schema, &contracts);
        let value = framed(1, &schema, r#"{"id": "o-1", "at": "2026-01-01T10:20:30Z"}"#);
        let (outcome, out) = mask(&mut masker, &record(TOPIC, key, Some(&value), &[]));
        assert_eq!(outcome, Outcome::Emitted, "{record_key}");
        out[0].0.clone()
    };
    for key in [None, Some(&b"Jane Doe"[..])] {
        assert_eq!(masked("none", key), b"");
        assert_eq!(masked(&bare("{op: drop}", "restricted"), key), b"");
    }
    assert_eq!(masked(&bare(KEEP, "internal"), Some(b"\x00\x01")), b"\x00\x01");
    let hashed = masked(&bare(HMAC, "restricted"), Some(b"Jane Doe"));
    assert!(hashed.starts_with(b"1:") && hashed.len() == 24);

    // Without a key a tombstone deletes nothing.
    let (schema, contracts) = contract("\"string\"", HMAC, "none", "");
    assert!(key_of(&mut ready(&schema, &contracts), Some(b"k"), None).is_err());
}

#[test]
fn a_header_goes_through_its_operation() {
    let headers = "  - {property: headers, value: {allow: [traceparent, {name: user-email, classification: restricted, tags: [PII], masking: {op: hmac, key: pseudonym, domain: email}}, {name: note, classification: confidential, masking: {op: redact, with: gone}}, {name: phone, classification: restricted, masking: {op: partial, keepLast: 2, length: 6}}, {name: cookie, classification: restricted, masking: {op: \"null\"}}]}}\n";
    let (schema, contracts) = contract("\"string\"", HMAC, "id", headers);
    let mut masker = ready(&schema, &contracts);
    let value = framed(1, &schema, r#"{"id": "o-1", "at": "2026-01-01T10:20:30Z"}"#);
    let given = [
        Header { name: "traceparent", value: Some(b"00-1") },
        Header { name: "user-email", value: Some(b"ada@example.org") },
        Header { name: "User-Email", value: Some(b"ada@example.org") },
        Header { name: "note", value: Some(b"Ada called") },
        Header { name: "phone", value: Some(b"07700900123") },
        Header { name: "cookie", value: Some(b"session=Ada") },
    ];
    let (outcome, out) = mask(&mut masker, &record(TOPIC, Some(b"o-1"), Some(&value), &given));
    assert_eq!(outcome, Outcome::Emitted);
    let [source, trace, email, rest @ ..] = &out[0].2[..] else { panic!("{:?}", out[0].2) };
    assert_eq!((source.as_str(), trace.as_str()), ("sluice.source=shop.order.v1/3/42", "traceparent=00-1"));
    assert!(email.starts_with("user-email=1:") && !email.contains("ada"), "{email}");
    assert_eq!(rest, ["note=gone", "phone=****23", "cookie="]);

    // A text that an operation cannot take makes a dead letter that does not quote it.
    let given = [Header { name: "phone", value: Some(b"\xffAda") }];
    let (outcome, _) = mask(&mut masker, &record(TOPIC, Some(b"o-1"), Some(&value), &given));
    let Outcome::DeadLetter(reason) = outcome else { panic!("{outcome:?}") };
    assert_eq!((reason.path.as_str(), reason.to_string().contains("Ada")), ("(header).phone", false));
}

/// The time of a masked record whose own time is 2026-01-01T10:20:30Z, masked at 2026-03-04T05:06:07Z.
fn time(more: &str) -> Option<i64> {
    let (schema, contracts) = contract("\"string\"", HMAC, "id", more);
    let mut masker = ready(&schema, &contracts);
    let value = framed(1, &schema, r#"{"id": "o-1", "at": "2026-01-01T10:20:30Z"}"#);
    let mut out = Outputs::new();
    out.set_now_ms(1_772_600_767_000);
    let own =
        RecordRef { timestamp_ms: Some(1_767_262_830_000), ..record(TOPIC, Some(b"o-1"), Some(&value), &[]) };
    assert_eq!(masker.process(&own, &mut out), Outcome::Emitted);
    out.iter().next().unwrap().timestamp_ms
}

#[test]
fn a_records_time_does_not_show_a_masked_event_time() {
    // No leaf is named as event time: the record's own time goes on.
    assert_eq!(time(""), Some(1_767_262_830_000));
    // The time of masking, down to the leaf's step: 05:00.
    let masked = Some(1_772_600_400_000);
    assert_eq!(time("  - {property: eventTime, value: at}\n"), masked);
    assert_eq!(
        time("  - {property: warehouse, value: {mode: append, partition: {field: at, by: day}}}\n"),
        masked
    );
    // The contract decides otherwise.
    let own = "  - {property: eventTime, value: at}\n  - {property: recordTime, value: own}\n";
    assert_eq!(time(own), Some(1_767_262_830_000));
    assert_eq!(time("  - {property: recordTime, value: masking}\n"), Some(1_772_600_767_000));
}
