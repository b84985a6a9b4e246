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
    assert!(
        contract
            .fields
            .iter()
            .all(|field| field.classification == sluice_contract::DataClassification::Restricted)
    );
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
    // The name of a field may be a value, for example that of a person.
    let name = refused("{\"ok\": 1, \"Ada L\": 1}");
    assert!(name.starts_with("samples: expected keys of a-z") && name.contains("key 2 of 2"), "{name}");
    assert!(!name.contains("Ada"), "{name}");
    assert_eq!(refused(""), "samples: expected at least one record");
    let topic = ContractDrafter { topic: "member".into(), ..draft() }.from_schema("\"int\"").unwrap_err();
    assert!(matches!(topic, DraftError::Topic(_)));
}

/// Names of the fields of the drafted record, in order.
fn names(drafted: &DraftFiles) -> Vec<String> {
    let schema: Value = serde_json::from_str(&drafted.value).unwrap();
    let fields = schema["fields"].as_array().unwrap().iter();
    fields.map(|field| field["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn fields_keep_the_order_of_the_samples() {
    let drafted = draft()
        .from_samples("{\"z\": 1, \"id\": \"a\"}\n{\"id\": \"b\", \"m\": 2, \"a\": 1, \"z\": 3}")
        .unwrap();
    assert_eq!(names(&drafted), ["z", "id", "m", "a"]);
    let places: Vec<_> = ["{name: z,", "{name: id,", "{name: m,", "{name: a,"]
        .map(|name| drafted.contract.find(name).unwrap())
        .into();
    assert!(places.is_sorted(), "{}", drafted.contract);
}

#[test]
fn samples_may_be_lines_pretty_records_or_arrays() {
    let one = r#"{"id": "m1", "visits": 7}"#;
    let two = "{\n  \"id\": \"m2\",\n  \"visits\": 8.5\n}";
    let expected = draft().from_samples(&format!("{one}\n{two}")).unwrap();
    assert!(expected.value.contains("\"double\""), "{}", expected.value);
    for samples in [
        format!("[{one},\n{two}]"),
        format!("{two}{one}"),
        format!("[]\n[{one}]\n\n[{two}]\n"),
        format!("[\n{two}\n,{one}]"),
    ] {
        assert_eq!(draft().from_samples(&samples).unwrap(), expected, "{samples}");
    }
    let wrong = draft().from_samples("[{\"id\": 1},\n \"secret\"]").unwrap_err().to_string();
    assert_eq!(wrong, "line 2: expected a JSON object");
}

#[test]
fn money_is_asked_about_with_the_scale_that_the_samples_have() {
    let drafted = draft()
        .from_samples(r#"{"id": "a", "unitPrice": 1.125, "total": 7, "speed": 1.5, "vat": 0.2}"#)
        .unwrap();
    let line = |name: &str| {
        drafted.contract.lines().find(|line| line.contains(&format!("{{name: {name},"))).unwrap()
    };
    assert!(
        line("unitPrice").contains("# money? ") && line("unitPrice").contains("\"scale\": 3"),
        "{}",
        line("unitPrice")
    );
    assert!(line("vat").contains("\"scale\": 2"), "{}", line("vat"));
    assert!(line("total").contains("# money in whole units or in cents?"), "{}", line("total"));
    assert!(!line("speed").contains("money"));
    assert_eq!(drafted.remarks.len(), 3, "{:?}", drafted.remarks);
    // The comment's type is one that Avro knows.
    let decimal = line("unitPrice").split("value.avsc: ").nth(1).unwrap();
    DatumSchema::parse(decimal).unwrap();
    // A registered schema has no samples: the name and the type are enough.
    let schema = r#"{"type": "record", "name": "R", "fields": [{"name": "price", "type": "double"}, {"name": "cost", "type": "long"}]}"#;
    let registered = draft().from_schema(schema).unwrap();
    assert_eq!(registered.contract.matches("# money? ").count(), 1, "{}", registered.contract);
}

#[test]
fn tags_are_suggested_in_both_files_alike() {
    let drafted = draft()
        .from_samples(r#"{"id": "m1", "first_name": "Ada", "born": "1815-12-10", "visits": 7, "home": {"postCode": "W1A 1AA"}, "emails": ["a@example.org"]}"#)
        .unwrap();
    let tagged = |name: &str, tag: &str| {
        let line = drafted.contract.lines().find(|line| line.contains(&format!("name: {name}"))).unwrap();
        line.contains(&format!("tags: [{tag}]"))
    };
    assert!(
        tagged("first_name", "PII") && tagged("born", "QUASI") && tagged("postCode", "QUASI"),
        "{}",
        drafted.contract
    );
    assert!(!tagged("visits", "PII"));
    assert!(drafted.value.contains(r#""confluent:tags":["PII"]"#), "{}", drafted.value);
    // Once decided, nothing differs between the files.
    let decided = drafted
        .contract
        .replace("op: decide", "op: drop")
        .replace(KEY_DROPPED, &KEY_DROPPED.replace("op: drop", "op: hmac, key: k, domain: member"));
    read(&drafted, &decided).unwrap_or_else(|findings| panic!("{findings}\n{decided}"));
    // The schema of a subject is not changed.
    let schema = r#"{"type": "record", "name": "R", "fields": [{"name": "email", "type": "string"}]}"#;
    assert!(!draft().from_schema(schema).unwrap().value.contains("confluent:tags"));
}

#[test]
fn postcodes_of_a_known_country_have_its_rule_and_others_are_said_to_have_none() {
    let comment = |field: &str, texts: &[&str]| {
        let lines: Vec<String> =
            texts.iter().map(|text| format!("{{\"id\": \"a\", \"{field}\": \"{text}\"}}")).collect();
        let drafted = draft().from_samples(&lines.join("\n")).unwrap();
        let line = drafted
            .contract
            .lines()
            .find(|line| line.contains(&format!("name: {field}")))
            .unwrap()
            .to_owned();
        line.split_once("# ").map(|(_, comment)| comment.to_owned()).unwrap_or_default()
    };
    assert!(
        comment("postcode", &["SW1A 1AA", "M1 1AE"])
            .contains("British postcodes? {op: generalise, geo: outward}")
    );
    assert!(comment("where", &["SW1A 1AA", "M1 1AE"]).contains("British"), "the form alone is enough");
    assert!(comment("plz", &["10115", "80331"]).is_empty(), "five digits can be anything");
    assert!(comment("zip", &["10115", "94103-1234"]).contains("five digits"));
    assert!(comment("postcode", &["1012 AB"]).contains("Dutch"));
    let mixed = comment("postcode", &["SW1A 1AA", "10115"]);
    assert!(mixed.contains("several countries") && mixed.contains("British ones alone"), "{mixed}");
}

#[test]
fn an_object_with_many_unlike_keys_is_a_map_and_no_key_is_shown() {
    // Names of members as keys, a few in each record; numbers in the keys; keys that are no names.
    let few = |number: usize| {
        format!("{{\"id\": \"a\", \"by\": {{\"secret{}\": 1, \"secret{}\": 2}}}}", number * 2, number * 2 + 1)
    };
    let lines: Vec<String> = (0..40).map(few).collect();
    let words: Vec<String> = (0..70).map(|n| format!("\"secret{}\": 1", "x".repeat(n))).collect();
    let addresses: Vec<String> =
        (0..5).map(|n| format!("\"secret{n}@example.org\": {{\"n\": {n}}}")).collect();
    for samples in [
        lines.join("\n"),
        format!("{{\"id\": \"a\", \"by\": {{{}}}}}", words.join(", ")),
        format!("{{\"id\": \"a\", \"by\": {{{}}}}}", addresses.join(", ")),
    ] {
        let drafted = draft().from_samples(&samples).unwrap();
        assert_eq!(names(&drafted), ["id", "by"]);
        assert!(drafted.value.contains("\"type\":\"map\""), "{}", drafted.value);
        assert!(drafted.contract.contains("keys may name somebody"), "{}", drafted.contract);
        assert!(drafted.remarks[0].contains("`by` is a map"), "{:?}", drafted.remarks);
        for text in [&drafted.value, &drafted.contract, &drafted.remarks.join("")] {
            assert!(!text.contains("secret"), "{text}");
        }
        // The draft's own samples fit it.
        let parsed = DatumSchema::parse(&drafted.value).unwrap();
        let mut reader = sluice_wire::JsonConverter::compile(&parsed).unwrap();
        for line in samples.lines() {
            reader.run(line.as_bytes(), &mut Vec::new()).unwrap();
        }
    }

    // Values of several types fit no map. The message has no key either.
    let mixed: Vec<String> =
        (0..20).map(|n| format!("\"secret{n}\": {}", if n % 2 == 0 { "1" } else { "\"a\"" })).collect();
    let refused =
        draft().from_samples(&format!("{{\"by\": {{{}}}}}", mixed.join(", "))).unwrap_err().to_string();
    assert_eq!(
        refused,
        "field `by{}`: expected one type in all samples, found a number and a text; change the samples, or write the schema by hand"
    );
}

#[test]
fn an_object_with_a_field_for_each_thing_stays_a_record() {
    // Twenty fields that every record has, and five that are seldom there.
    let record = |number: usize| {
        let mut fields: Vec<String> = ('a'..='t')
            .map(|letter| format!("\"field_{letter}\": {}", if letter < 'k' { "1" } else { "\"x\"" }))
            .collect();
        if number == 0 {
            fields.extend(('a'..='e').map(|letter| format!("\"rare_{letter}\": true")));
        }
        format!("{{\"id\": \"a\", \"of\": {{{}}}}}", fields.join(", "))
    };
    let lines: Vec<String> = (0..10).map(record).collect();
    let drafted = draft().from_samples(&lines.join("\n")).unwrap();
    assert!(!drafted.value.contains("\"map\""), "{}", drafted.value);
    assert_eq!(drafted.undecided, 26);
}
