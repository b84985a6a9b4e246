use super::*;
use sluice_contract::contracts::ContractSet;
use sluice_contract::finding::FindingList;

/// The record key's property once everything is dropped.
const KEY_DROPPED: &str = "{name: id, logicalType: string, required: true, classification: restricted, customProperties: [{property: masking, value: {op: drop}}]}";

fn draft() -> ContractDrafter {
    ContractDrafter {
        topic: "club.member.v1".into(),
        record_key: Some("id".into()),
        owner: Some("ada@example.org".into()),
    }
}

const SAMPLES: &str = r#"
{"id": "m1", "email": "ada@example.org", "born": "1815-12-10", "visits": 7, "no": true, "at": "2013-01-01T10:00:00Z"}
{"id": "m2", "visits": 7.5, "born": "1906-12-09", "no": false, "at": "2013-01-01T10:00:00+01:00", "address": {"line": "1 Example Street"},
 "tags": ["a", "b"], "past": [{"from": "2013-01-01"}], "empty": null}
"#;

fn samples() -> String {
    SAMPLES.replace(",\n \"tags\"", ", \"tags\"")
}

/// Puts the drafted files where they belong and reads them.
fn read(drafted: &DraftFiles, contract: &str) -> Result<ContractSet, FindingList> {
    let at = |name: &str| format!("schemas/{}/{name}", drafted.folder);
    ContractSet::parse(&[
        (at("value.avsc"), drafted.value.clone()),
        (at("contract.odcs.yaml"), contract.to_owned()),
    ])
}

#[test]
fn a_draft_is_refused_for_every_leaf_until_somebody_has_decided() {
    let drafted = draft().from_samples(&samples()).unwrap();
    assert_eq!(drafted.folder, "club/member");
    let Err(FindingList(findings)) = read(&drafted, &drafted.contract) else { panic!("accepted") };
    let paths: Vec<&str> = findings.iter().map(|finding| finding.path.as_str()).collect();
    assert_eq!(paths.len(), drafted.undecided, "{}", FindingList(findings.clone()));
    for leaf in
        ["id", "email", "born", "visits", "no", "at", "address.line", "tags[]", "past[].from", "empty"]
    {
        let finding =
            findings.iter().find(|finding| finding.path == leaf).unwrap_or_else(|| panic!("{leaf}"));
        assert_eq!(finding.message, "no decision about this leaf yet");
        assert!(finding.line > Some(1));
    }
    // Once decided, it is a contract.
    let decided = drafted
        .contract
        .replace("op: decide", "op: drop")
        .replace(KEY_DROPPED, &KEY_DROPPED.replace("op: drop", "op: hmac, key: k, domain: member"));
    let contracts = read(&drafted, &decided).unwrap_or_else(|findings| panic!("{findings}\n{decided}"));
    let contract = contracts.by_raw_topic("club.member.v1").unwrap();
    assert_eq!(contract.masked_topic, "club.member.masked.v1");
    assert_eq!(contract.owner.contacts, ["ada@example.org"]);
    assert!(contract.fields.iter().all(|field| field.classification == "restricted"));
}

#[test]
fn the_schema_holds_every_sample_and_no_more_than_was_seen() {
    let drafted = draft().from_samples(&samples()).unwrap();
    let schema: Value = serde_json::from_str(&drafted.value).unwrap();
    let of = |name: &str| {
        let fields = schema["fields"].as_array().unwrap();
        fields.iter().find(|field| field["name"] == name).unwrap()["type"].to_string()
    };
    assert_eq!(schema["name"], "Member");
    assert_eq!(of("id"), r#""string""#);
    assert_eq!(of("email"), r#"["null","string"]"#);
    assert_eq!(of("visits"), r#""double""#);
    assert_eq!(of("born"), r#"{"logicalType":"date","type":"int"}"#);
    assert_eq!(of("at"), r#"{"logicalType":"timestamp-micros","type":"long"}"#);
    assert_eq!(of("tags"), r#"["null",{"items":"string","type":"array"}]"#);
    assert!(of("past").contains(r#""name":"MemberPastItem""#));
    let parsed = DatumSchema::parse(&drafted.value).unwrap();
    let mut reader = sluice_wire::JsonConverter::compile(&parsed).unwrap();
    for line in samples().lines().filter(|line| !line.is_empty()) {
        reader.run(line.as_bytes(), &mut Vec::new()).unwrap();
    }
}

#[test]
fn maps_unions_and_tags_of_a_registered_schema_are_carried_over() {
    let schema = r#"{"type": "record", "name": "R", "namespace": "club", "fields": [
        {"name": "who", "type": "string", "confluent:tags": ["PII"]},
        {"name": "more", "type": {"type": "map", "values": "int"}},
        {"name": "either", "type": ["null", "int", {"type": "record", "name": "P", "fields": [{"name": "x", "type": "long"}]}]},
        {"name": "list", "type": {"type": "array", "items": {"type": "array", "items": "P"}}}]}"#;
    let drafted = ContractDrafter { record_key: Some("who".into()), ..draft() }.from_schema(schema).unwrap();
    let decided = drafted
        .contract
        .replace("op: decide", "op: keep")
        .replace("classification: restricted", "classification: internal")
        .replacen("op: keep", "op: hmac, key: k, domain: who", 1);
    read(&drafted, &decided).unwrap_or_else(|findings| panic!("{findings}\n{decided}"));
}

#[test]
fn what_no_schema_fits_is_refused_without_quoting_it() {
    let refused = |lines: &str| draft().from_samples(lines).unwrap_err().to_string();
    let mixed = refused("{\"a\": \"secret\"}\n{\"a\": 1}");
    assert_eq!(
        mixed,
        "field `a`: expected one type in all samples, found a number and a text; change the samples, or write the schema by hand"
    );
    assert_eq!(refused("{\"a\": 1}\n{secret"), "line 2: expected JSON (column 2)");
    assert_eq!(refused("[1]"), "line 1: expected a JSON object");
    assert!(refused("{\"a-b\": 1}").contains("field `a-b`: expected a name of a-z, A-Z, 0-9 and _"));
    assert_eq!(refused(""), "samples: expected at least one record");
    let topic = ContractDrafter { topic: "member".into(), ..draft() }.from_schema("\"int\"").unwrap_err();
    assert!(matches!(topic, DraftError::Topic(_)));
}
