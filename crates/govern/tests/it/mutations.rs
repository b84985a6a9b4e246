//! Ways to break a contract, each refused at its exact place, with nothing else reported and a hint where one helps.

use sluice_contract::{ContractFinding, ContractSet, FindingList};

use crate::files::{self, ACCOUNT_PROFILE, FLIGHT, METER_READING};

/// One change of one file, and the one finding it must lead to.
struct ContractMutation {
    /// The folder.
    at: &'static str,
    /// The file that is changed.
    file: &'static str,
    /// What is replaced, everywhere in it.
    from: &'static str,
    to: &'static str,
    /// Path and message of the finding, which is always in the contract file.
    path: &'static str,
    message: &'static str,
    /// Part of the hint.
    hint: &'static str,
}

const CONTRACT: &str = "contract.odcs.yaml";
const VALUE: &str = "value.avsc";

fn change(at: &'static str, from: &'static str, to: &'static str) -> ContractMutation {
    ContractMutation { at, file: CONTRACT, from, to, path: "", message: "", hint: "" }
}

impl ContractMutation {
    fn in_the_value(mut self) -> Self {
        self.file = VALUE;
        self
    }

    fn refused(mut self, path: &'static str, message: &'static str) -> Self {
        (self.path, self.message) = (path, message);
        self
    }

    fn hint(mut self, hint: &'static str) -> Self {
        self.hint = hint;
        self
    }

    fn findings(&self) -> Vec<ContractFinding> {
        let mut files = files::all();
        let name = format!("{}/{}", self.at, self.file);
        let (_, text) = files.iter_mut().find(|(path, _)| *path == name).unwrap();
        let mutated = text.replace(self.from, self.to);
        assert_ne!(*text, mutated, "`{}` is not in {name}", self.from);
        *text = mutated;
        match ContractSet::parse(&files) {
            Ok(_) => Vec::new(),
            Err(FindingList(findings)) => findings,
        }
    }

    fn check(&self) {
        let findings = self.findings();
        let shown = FindingList(findings.clone());
        let [finding] = &findings[..] else { panic!("`{}` -> `{}`: {shown}", self.from, self.to) };
        assert_eq!(finding.path, self.path, "{shown}");
        assert_eq!(finding.file, format!("{}/{CONTRACT}", self.at), "{shown}");
        assert!(finding.message.contains(self.message), "{shown}");
        assert!(finding.hint.as_deref().unwrap_or_default().contains(self.hint), "{shown}");
        assert!(finding.line.is_some_and(|line| line > 0), "{shown}");
        // The line of the finding is where the change was made, if it was made in this file and on one line.
        if self.file == CONTRACT && !self.to.contains('\n') {
            let files = files::all();
            let (_, text) = files.iter().find(|(path, _)| *path == finding.file).unwrap();
            let mutated = text.replace(self.from, self.to);
            let at =
                text.lines().zip(mutated.lines()).position(|(before, after)| before != after).unwrap() + 1;
            assert_eq!(finding.line.unwrap() as usize, at, "{shown}");
        }
    }
}

#[test]
fn of_leaves() {
    let mutations = [
        // A leaf without a property, in the contract, in the schema, and deep inside.
        change(METER_READING, "      - {name: register,", "      #\n      # {name: register,")
            .refused("register", "without a policy")
            .hint("add"),
        change(
            METER_READING,
            r#"{"name": "register","#,
            r#"{"name": "owner", "type": "string"}, {"name": "register","#,
        )
        .in_the_value()
        .refused("owner", "without a policy"),
        change(
            ACCOUNT_PROFILE,
            r#"{"name": "installed","#,
            r#"{"name": "site", "type": "string"}, {"name": "installed","#,
        )
        .in_the_value()
        .refused("meters[].site", "without a policy"),
        change(
            METER_READING,
            r#""name": "register", "type": "string""#,
            r#""name": "register", "type": ["int", "string"]"#,
        )
        .in_the_value()
        .refused("register", "whole record, array, map or union"),
        // A property for nothing.
        change(METER_READING, "      - {name: mpan,", "      - {name: extra, logicalType: string, classification: public, customProperties: [{property: masking, value: {op: keep}}]}\n      - {name: mpan,")
            .refused("extra", "no such field"),
        // Given twice.
        change(METER_READING, "      - {name: kwh,", "      - {name: register, logicalType: string, required: true, classification: internal, customProperties: [{property: masking, value: {op: keep}}]}\n      - {name: kwh,")
            .refused("register", "twice"),
        change(METER_READING, "classification: internal, customProperties: [{property: masking, value: {op: generalise", "customProperties: [{property: masking, value: {op: generalise")
            .refused("read_at", "no classification")
            .hint("restricted"),
        // Tags, either side.
        change(METER_READING, "confidential, tags: [QUASI]", "confidential, tags: [PII]").refused("postcode", "tags differ").hint("both"),
        change(METER_READING, r#"["QUASI"]"#, r#"["QUASI", "PII"]"#).in_the_value().refused("postcode", "tags differ"),
        change(METER_READING, "{name: register, logicalType: string", "{name: register, logicalType: integer")
            .refused("register", "logicalType is `integer`")
            .hint("`logicalType: string`"),
        change(METER_READING, "{name: register, logicalType: string, required: true", "{name: register, logicalType: string")
            .refused("register", "may not be null")
            .hint("required: true"),
        change(METER_READING, "{name: postcode, logicalType: string", "{name: postcode, logicalType: string, required: true")
            .refused("postcode", "may be null"),
    ];
    mutations.iter().for_each(ContractMutation::check);
}

#[test]
fn of_masking() {
    let outward = "{op: generalise, geo: outward}";
    let mutations = [
        change(METER_READING, "value: {op: generalise, geo: outward}", "value: {op: keep}").refused("postcode", "kept as it is"),
        change(METER_READING, outward, "{op: hmca, key: pseudonym, domain: postcode}")
            .refused("postcode", "unknown masking operation `hmca`")
            .hint("`hmac`"),
        change(METER_READING, outward, "{op: encrypt, key: pseudonym}").refused("postcode", "`encrypt` is not available yet"),
        change(METER_READING, outward, "{op: fpe, key: pseudonym}").refused("postcode", "`fpe` is not available yet"),
        change(METER_READING, outward, "{op: scan}").refused("postcode", "`scan` is not available yet"),
        change(METER_READING, outward, "{geo: outward}").refused("postcode", "no `op`"),
        change(METER_READING, outward, "{op: hmac, key: pseudonym}").refused("postcode", "masking.domain: `domain` is missing"),
        change(METER_READING, outward, "{op: hmac, domain: postcode}").refused("postcode", "masking.key: `key` is missing"),
        change(METER_READING, outward, "{op: partial, keepFrist: 2, keepLast: 1}")
            .refused("postcode", "masking.keepFrist: unknown key")
            .hint("`keepFirst`"),
        change(METER_READING, outward, "{op: partial, keepFirst: 4, length: 4}").refused("postcode", "more than the 4"),
        change(METER_READING, outward, "{op: generalise}").refused("postcode", "exactly one of"),
        change(METER_READING, outward, "{op: generalise, date: 1d}").refused("postcode", "does not fit"),
        change(METER_READING, "date: 30m", "date: 30 fortnights").refused("read_at", "is not a step"),
        change(METER_READING, "{op: generalise, date: 30m}", "{op: generalise, number: 50}").refused("read_at", "does not fit"),
        change(ACCOUNT_PROFILE, "{op: generalise, date: 1mo}", "{op: partial, keepFirst: 4}")
            .refused("meters[].installed", "needs a string"),
        change(ACCOUNT_PROFILE, "date: 1y", "date: 30m").refused("born", "whole days"),
        change(ACCOUNT_PROFILE, "number: 500", "number: 0.5").refused("annual_kwh", "does not fit"),
        change(ACCOUNT_PROFILE, "{name: key, logicalType: string, required: true, classification: internal, customProperties: [{property: masking, value: {op: keep}}]}", "{name: key, logicalType: string, required: true, classification: internal, customProperties: [{property: masking, value: {op: redact}}]}")
            .refused("preferences{key}", "could make two keys equal"),
    ];
    mutations.iter().for_each(ContractMutation::check);
}

#[test]
fn of_settings() {
    let mutations = [
        change(METER_READING, "value: mpan}", "value: mapn}")
            .refused("customProperties.recordKey", "`mapn` is not a leaf")
            .hint("`mpan`"),
        change(METER_READING, "property: recordKey, value: mpan", "property: recordKey, value: postcode")
            .refused("customProperties.recordKey", "may be null"),
        change(METER_READING, "property: recordKey, value: mpan", "property: recordKey, value: kwh")
            .refused("customProperties.recordKey", "expected a string"),
        change(METER_READING, "field: read_at", "field: register")
            .refused("customProperties.warehouse.partition.field", "expected a date"),
        change(METER_READING, "cluster: [mpan]", "cluster: [mapn]")
            .refused("customProperties.warehouse.cluster", "not a leaf"),
        change(METER_READING, "mode: append", "mode: apend")
            .refused("customProperties.warehouse.mode", "`apend`")
            .hint("`append`"),
        change(METER_READING, "mode: append", "mode: upsert")
            .refused("customProperties.warehouse.key", "needs a key"),
        change(METER_READING, "FULL_TRANSITIVE", "FULL_TRANSITIV")
            .refused("customProperties.compatibility", "not a level")
            .hint("`FULL_TRANSITIVE`"),
        change(METER_READING, "unit: d}", "unit: fortnight}")
            .refused("slaProperties.0.unit", "no known unit"),
        change(METER_READING, "value: 30, unit: d", "value: 0, unit: d")
            .refused("slaProperties.0.value", "above zero"),
        change(METER_READING, "allow: [traceparent]", "allow: [sluice.source]")
            .refused("customProperties.headers.allow", "fleet's own"),
        change(METER_READING, "property: view, value: raw", "property: view, value: all")
            .refused("roles.0", "expected `raw` or `masked`"),
        change(METER_READING, "metering.meter-reading.masked.v1", "metering meter-reading")
            .refused("customProperties.maskedTopic", "not a legal topic name"),
        change(METER_READING, "physicalType: topic", "physicalType: table")
            .refused("schema.0.physicalType", "expected a topic"),
        change(METER_READING, "domain: metering\n", "domain: smart\n")
            .refused("domain", "the folder is `metering`"),
        change(METER_READING, "kind: DataContract", "kind: Contract").refused("kind", "standard"),
        change(FLIGHT, "attributes: [tailnum,", "attributes: [tailnun,")
            .refused("customProperties.facts.attributes", "not a leaf")
            .hint("`tailnum`"),
        change(FLIGHT, "time: time_hour", "time: hour")
            .refused("customProperties.facts.time", "expected a date"),
        change(FLIGHT, "entity: [carrier,", "entity: [dep_time,")
            .refused("customProperties.facts.entity", "may be null"),
    ];
    mutations.iter().for_each(ContractMutation::check);
}

/// The findings as `file:line path`, sorted.
fn places(files: &[(String, String)]) -> Vec<String> {
    let Err(FindingList(findings)) = ContractSet::parse(files) else { return Vec::new() };
    findings
        .iter()
        .map(|finding| format!("{}: {}: {}", finding.file, finding.path, finding.message))
        .collect()
}

fn edited(name: &str, edit: impl FnOnce(&str) -> String) -> Vec<(String, String)> {
    let mut files = files::all();
    let (_, text) = files.iter_mut().find(|(path, _)| path == name).unwrap();
    *text = edit(text);
    files
}

#[test]
fn a_masking_property_with_a_typing_mistake_is_no_masking() {
    let name = format!("{METER_READING}/{CONTRACT}");
    let places = places(&edited(&name, |text| text.replace("property: masking", "property: maskng")));
    assert_eq!(places.len(), 12, "{places:#?}");
    for leaf in ["mpan", "account_id", "postcode", "read_at", "register", "kwh"] {
        assert!(places.contains(&format!("{name}: {leaf}: unknown custom property `maskng`")), "{places:#?}");
        assert!(
            places.contains(&format!("{name}: {leaf}: no masking: no leaf is kept by default")),
            "{places:#?}"
        );
    }
}

#[test]
fn all_findings_of_all_files_come_at_once() {
    let mut files = files::all();
    for (path, text) in &mut files {
        if path.ends_with("meter-reading/contract.odcs.yaml") {
            *text = text.replace("op: keep", "op: keeep").replace("unit: d}", "unit: x}");
        } else if path.ends_with("flight/value.avsc") {
            *text = text.replace("\"int\"", "\"integer\"");
        } else if path.ends_with("account-profile/contract.odcs.yaml") {
            text.push_str("  - [not: closed\n");
        }
    }
    let places = places(&files);
    for file in ["aviation/flight/value.avsc", "metering/account-profile/contract.odcs.yaml"] {
        assert!(places.iter().any(|place| place.starts_with(&format!("schemas/{file}: "))), "{places:#?}");
    }
    let of_reading = places.iter().filter(|place| place.contains("meter-reading")).count();
    assert_eq!(of_reading, 3, "{places:#?}");
}

#[test]
fn two_contracts_cannot_share_a_topic_an_id_or_a_domain_with_two_keys() {
    let name = format!("{METER_READING}/{CONTRACT}");
    let places_with = |from: &str, to: &str| places(&edited(&name, |text| text.replace(from, to)));
    let folder = ACCOUNT_PROFILE;
    assert_eq!(
        places_with("metering.meter-reading.v1", "metering.account-profile.masked.v1"),
        [
            format!(
                "{name}: schema.0.physicalName: the topic `metering.account-profile.masked.v1.dead-letter` is used by {folder}, too"
            ),
            format!(
                "{name}: schema.0.physicalName: the topic `metering.account-profile.masked.v1` is used by {folder}, too"
            ),
        ]
    );
    assert_eq!(
        places_with("id: meter-reading", "id: account-profile"),
        [format!("{name}: id: the id `account-profile` is used by {folder}, too")]
    );
    let places = places_with("key: pseudonym, domain: account", "key: other, domain: account");
    let [place] = &places[..] else { panic!("{places:#?}") };
    assert!(
        place.contains("account_id: the domain `account` has the key `other` here and `pseudonym` in"),
        "{place}"
    );
    let places = places_with("masked.v1", "v1");
    assert!(!places.is_empty(), "raw and masked are one topic");
}

#[test]
fn missing_and_surplus_files_are_named() {
    let without = |name: &str| -> Vec<String> {
        places(&files::all().into_iter().filter(|(path, _)| !path.ends_with(name)).collect::<Vec<_>>())
    };
    assert_eq!(
        without("meter-reading/value.avsc"),
        ["schemas/metering/meter-reading/contract.odcs.yaml: : no value.avsc beside it"]
    );
    assert!(
        without("meter-reading/contract.odcs.yaml")[0].contains("a topic without a contract is not carried")
    );
    assert!(
        without("sluice/fact/value.avsc")[0]
            .contains("customProperties.facts: facts need the fleet's own schema")
    );
    assert!(places(&[])[0].contains("no contract.odcs.yaml"));
    let mut files = files::all();
    files.push((format!("{METER_READING}/key.avsc"), "\"string\"".into()));
    assert!(places(&files).iter().any(|place| place.contains("key.avsc") && place.contains("key's leaves")));
}

#[test]
fn what_the_standard_does_not_know_is_refused_with_the_name_it_knows() {
    let name = format!("{METER_READING}/{CONTRACT}");
    let files = edited(&name, |text| text.replace("slaProperties:", "slaPropertes:"));
    let Err(FindingList(findings)) = ContractSet::parse(&files) else { panic!("read") };
    let hint = findings
        .iter()
        .find_map(|finding| finding.hint.as_deref().filter(|hint| hint.contains("slaProperties`")));
    assert_eq!(hint, Some("did you mean `slaProperties`?"), "{}", FindingList(findings.clone()));
}

/// Five hundred contracts are read and planned; `make bench-plan` says how fast.
#[test]
fn five_hundred_contracts_are_read_and_planned() {
    let source = files::all();
    let mut many: Vec<(String, String)> =
        source.iter().filter(|(path, _)| path.contains("sluice/fact")).cloned().collect();
    for n in 0..500 {
        for (path, text) in source.iter().filter(|(path, _)| path.starts_with(ACCOUNT_PROFILE)) {
            let path = path.replace("account-profile", &format!("account-profile-{n}"));
            many.push((path, text.replace("account-profile", &format!("account-profile-{n}"))));
        }
    }
    let contracts = ContractSet::parse(&many).unwrap_or_else(|findings| panic!("{findings}"));
    let desired = sluice_govern::plan::DesiredState::of(&contracts, &crate::workers::WORKERS);
    let plan = sluice_govern::plan::ContractPlan::diff(&desired, &Default::default(), Default::default());
    assert_eq!(contracts.iter().count(), 500);
    // The topic of receipts is the one that no contract asks for.
    assert_eq!(plan.changes.len(), 1 + 500 * (4 + 2 + 2));
}
