//! Keys with a schema of their own.

use sluice_contract::{ContractSet, FindingList, KeyRing};
use sluice_govern::plan::DesiredState;
use sluice_govern::{LeakProof, SqlViewSet};
use sluice_wire::DatumPatch;

use crate::files;

const KEY: &str = r#"{"type": "record", "name": "OrderKey", "namespace": "shop", "fields": [
    {"name": "customer", "type": "string", "confluent:tags": ["PII"]},
    {"name": "place", "type": {"type": "record", "name": "Place", "fields": [{"name": "shop", "type": "int"}]}}]}"#;
const VALUE: &str = r#"{"type": "record", "name": "Order", "namespace": "shop", "fields": [{"name": "total", "type": "long"}]}"#;
const CUSTOMER: &str = "{name: customer, logicalType: string, required: true, classification: restricted, tags: [PII], customProperties: [{property: masking, value: {op: hmac, key: pseudonym, domain: customer}}]}";
const SHOP: &str = "{name: shop, logicalType: integer, required: true, classification: internal, customProperties: [{property: masking, value: {op: keep}}]}";

fn contract(key: &str) -> String {
    format!(
        "apiVersion: v3.1.0\nkind: DataContract\nid: order\nversion: 1.0.0\nstatus: active\ndomain: shop\n\
         slaProperties: [{{property: retention, value: 7, unit: d}}]\n\
         customProperties:\n  - {{property: maskedTopic, value: shop.order.masked.v1}}\n\
         schema:\n\
         \x20 - name: order\n    physicalName: shop.order.v1\n    physicalType: topic\n    logicalType: object\n    properties:\n\
         \x20     - {{name: total, logicalType: integer, required: true, classification: internal, customProperties: [{{property: masking, value: {{op: keep}}}}]}}\n\
         {key}"
    )
}

/// The object for [`KEY`].
fn of_record(customer: &str) -> String {
    format!(
        "  - name: order_key\n    physicalType: key\n    logicalType: object\n    properties:\n      - {customer}\n      - {{name: place, logicalType: object, required: true, properties: [{SHOP}]}}\n"
    )
}

fn parse(key_avsc: &str, contract: &str) -> Result<ContractSet, FindingList> {
    let file = |name: &str, text: &str| (format!("schemas/shop/order/{name}"), text.to_owned());
    ContractSet::parse(&[
        file("value.avsc", VALUE),
        file("key.avsc", key_avsc),
        file("contract.odcs.yaml", contract),
    ])
}

fn refused(key_avsc: &str, contract: &str) -> Vec<String> {
    let findings = parse(key_avsc, contract).expect_err("accepted").0;
    assert!(findings.iter().all(|finding| finding.line.is_some() && finding.hint.is_some()), "{findings:?}");
    findings.iter().map(ToString::to_string).collect()
}

#[test]
fn a_key_with_a_schema_is_covered_masked_registered_and_proven() {
    let contracts = parse(KEY, &contract(&of_record(CUSTOMER))).unwrap_or_else(|found| panic!("{found}"));
    let order = contracts.iter().next().unwrap();
    let key = order.record_key.schema().unwrap();
    let paths: Vec<&str> = key.fields.iter().map(|field| field.leaf.path.as_str()).collect();
    assert_eq!(paths, ["customer", "place.shop"]);
    assert_eq!(order.line("(key).customer"), 21);
    // What the masker compiles derives what is registered.
    let policy = order.key_policy(&files::keys()).unwrap().unwrap();
    let patch = DatumPatch::compile(&key.schema, &policy).unwrap();
    assert_eq!(patch.derived().json(), key.masked_schema().json());
    let mut masked = vec![];
    patch.run(&[&[6][..], b"Ada", &[8]].concat(), &mut masked).unwrap();
    assert!(masked.starts_with(b"\x302:") && masked.ends_with(&[8]) && masked.len() == 26, "{masked:?}");
    assert!(order.key_policy(&KeyRing::new()).is_err(), "its secret is missing");
    assert!(order.key_mask(&files::keys()).is_err(), "it is no text");
    // Both subjects, the derived one first.
    let desired = DesiredState::of(&contracts, &crate::workers::WORKERS);
    let subjects: Vec<&str> = desired.subjects.iter().map(|subject| subject.subject.as_str()).collect();
    assert_eq!(
        subjects,
        [
            "shop.order.masked.v1-key",
            "shop.order.masked.v1-value",
            "shop.order.v1-key",
            "shop.order.v1-value"
        ]
    );
    assert!(desired.subjects.iter().all(|subject| subject.raw != subject.subject.contains("masked")));
    assert!(!desired.subjects[0].lands && desired.subjects[1].lands, "no sink lands keys");
    let proof = LeakProof::of(&contracts, &SqlViewSet::default());
    assert!(proof.holds() && proof.leaves().count() == 1, "{}", proof.text());
    let text = proof.text();
    for line in [
        "(key).customer [PII, restricted]",
        "hmac: key pseudonym, domain customer -> shop.order.masked.v1 (key).customer",
        "as it is -> shop.order.v1.dead-letter (key).customer (restricted)",
    ] {
        assert!(text.contains(line), "no `{line}` in\n{text}");
    }
}

#[test]
fn a_key_that_is_no_record_has_one_property_called_key() {
    let key = |name: &str| {
        format!(
            "  - {{name: k, physicalType: key, logicalType: object, properties: [{{name: {name}, logicalType: string, required: true, classification: restricted, customProperties: [{{property: masking, value: {{op: hmac, key: pseudonym, domain: d}}}}]}}]}}\n"
        )
    };
    let contracts = parse("\"string\"", &contract(&key("key"))).unwrap_or_else(|found| panic!("{found}"));
    let order = contracts.iter().next().unwrap();
    let schema = order.record_key.schema().unwrap();
    assert_eq!((schema.fields.len(), schema.masked_schema().json()), (1, "\"string\""));
    let patch =
        DatumPatch::compile(&schema.schema, &order.key_policy(&files::keys()).unwrap().unwrap()).unwrap();
    let mut masked = vec![];
    patch.run(b"\x06Ada", &mut masked).unwrap();
    assert!(masked.starts_with(b"\x302:"), "{masked:?}");
    assert!(LeakProof::of(&contracts, &SqlViewSet::default()).text().contains("\n  (key) [restricted]\n"));
    let other = refused("\"string\"", &contract(&key("text")));
    assert!(other.iter().any(|found| found.contains("a leaf of the key without a policy") && found.contains("{name: key")), "{other:?}");
}

#[test]
fn what_could_make_two_keys_one_or_is_not_said_is_refused() {
    let with = |customer: &str| refused(KEY, &contract(&of_record(customer)));
    let masking = "{op: hmac, key: pseudonym, domain: customer}";
    for op in ["{op: drop}", "{op: \"null\"}", "{op: redact}", "{op: partial, keepFirst: 1, length: 4}"] {
        let found = with(&CUSTOMER.replace(masking, op));
        assert!(
            found.iter().any(|line| line.contains(":21: (key).customer:") && line.contains("two keys equal")),
            "{op}: {found:?}"
        );
    }
    let kept = with(&CUSTOMER.replace(masking, "{op: keep}"));
    assert!(kept.iter().any(|line| line.contains("tagged PII and kept")), "{kept:?}");
    let dropped = contract(&of_record(CUSTOMER)).replace(
        &format!("properties: [{SHOP}]"),
        "classification: internal, customProperties: [{property: masking, value: {op: drop}}]",
    );
    let dropped = refused(KEY, &dropped);
    assert!(
        dropped.iter().any(|line| line.contains("(key).place:") && line.contains("two keys equal")),
        "{dropped:?}"
    );
    let uncovered = with(SHOP);
    assert!(
        uncovered.iter().any(|line| line.contains("customer: a leaf of the key without a policy")),
        "{uncovered:?}"
    );
    let map = r#"{"type": "map", "values": "string"}"#;
    let of_map =
        format!("  - {{name: k, physicalType: key, logicalType: object, properties: [{CUSTOMER}]}}\n");
    assert!(!refused(map, &contract(&of_map)).is_empty());
    let record = KEY.replace(r#""type": "string""#, r#""type": {"type": "map", "values": "string"}"#);
    let of_map = of_record(
        "{name: customer, logicalType: object, physicalType: map, required: true, tags: [PII], properties: [{name: key, logicalType: string, required: true, classification: internal, customProperties: [{property: masking, value: {op: keep}}]}, {name: value, logicalType: string, required: true, classification: internal, customProperties: [{property: masking, value: {op: keep}}]}]}",
    );
    let found = refused(&record, &contract(&of_map));
    assert!(found.iter().any(|line| line.contains("a map has no order")), "{found:?}");
    // Said twice; two of them; said of nothing.
    let twice = contract(&of_record(CUSTOMER))
        .replace("customProperties:\n", "customProperties:\n  - {property: recordKey, value: total}\n");
    assert!(refused(KEY, &twice)[0].contains("the key is given twice"), "{twice}");
    let two = contract(&format!("{0}{0}", of_record(CUSTOMER)));
    assert!(refused(KEY, &two)[0].contains("a second object with `physicalType: key`"));
    let broken = refused("{\"type\": \"record\"}", &contract(&of_record(CUSTOMER)));
    assert!(broken.iter().any(|line| line.starts_with("schemas/shop/order/key.avsc:1")), "{broken:?}");
}
