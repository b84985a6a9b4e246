//! The repository's contracts, read and expected to say what they say.

use std::path::Path;

use sluice_contract::{
    CleanupPolicy, CompatibilityLevel, Contract, ContractSet, MaskOperation, PartitionInterval, RoleView,
    TopicRetention, WarehouseMode, dead_letter_topic,
};

use crate::files;

fn ops(contract: &Contract) -> Vec<(&str, String)> {
    contract.fields.iter().map(|field| (field.leaf.path.as_str(), field.op.to_string())).collect()
}

fn masked_ops(contract: &Contract) -> Vec<(&str, String)> {
    ops(contract).into_iter().filter(|(_, op)| op != "keep").collect()
}

/// The derived schema, byte for byte. A change here is a change for every reader of the masked topic.
fn assert_golden(contract: &Contract) {
    let name = format!("tests/golden/{}.masked.avsc", contract.id);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let derived = format!("{}\n", contract.masked_schema().json());
    if std::env::var_os("SLUICE_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, &derived).unwrap();
    }
    assert_eq!(derived, std::fs::read_to_string(&path).unwrap(), "{}", path.display());
}

fn by_id<'c>(contracts: &'c ContractSet, id: &str) -> &'c Contract {
    contracts.iter().find(|contract| contract.id == id).unwrap()
}

#[test]
fn flight() {
    let contracts = files::contracts();
    let flight = by_id(contracts, "flight");
    assert_eq!(flight.raw_topic, "aviation.flight.v1");
    assert_eq!(flight.masked_topic, "aviation.flight.masked.v1");
    assert_eq!(flight.raw_dead_letter(), "aviation.flight.v1.dead-letter");
    assert_eq!(flight.partitions, 4);
    assert_eq!(flight.retention, TopicRetention::Millis(30 * 86_400_000));
    assert_eq!(flight.cleanup, CleanupPolicy::Delete);
    assert_eq!(flight.compatibility, CompatibilityLevel::FullTransitive);
    assert_eq!(flight.record_key.leaf(), Some("tailnum"));
    assert_eq!(flight.headers, ["traceparent"]);
    assert_eq!(flight.fields.len(), 19);
    assert_eq!(masked_ops(flight), [("tailnum", "hmac: key pseudonym, domain tailnum".to_owned())]);
    let facts = flight.facts.as_ref().unwrap();
    assert_eq!(facts.topic, "aviation.flight.facts.v1");
    assert_eq!(facts.entity, ["carrier", "flight", "origin", "time_hour"]);
    assert_eq!(facts.attributes, ["tailnum", "dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"]);
    assert_eq!(contracts.by_facts_topic(&facts.topic).unwrap().id, "flight");
    assert_eq!(contracts.by_raw_topic("aviation.flight.v1").unwrap().id, "flight");
    assert_eq!(contracts.by_masked_topic("aviation.flight.masked.v1").unwrap().id, "flight");
    assert_eq!(flight.owner.contacts, ["owner@example.org"]);
    let views: Vec<(&str, RoleView)> =
        flight.roles.iter().map(|role| (role.name.as_str(), role.view)).collect();
    assert_eq!(views, [("aviation-raw-readers", RoleView::Raw), ("analysts", RoleView::Masked)]);
    assert_golden(flight);
}

#[test]
fn aircraft() {
    let contracts = files::contracts();
    let aircraft = by_id(contracts, "aircraft");
    let expected = [
        ("tailnum", "hmac: key pseudonym, domain tailnum"),
        ("model", "partial: first 4, last 0 of 8 characters"),
        ("seats", "generalise: down to steps of 50"),
        ("speed", "drop"),
    ];
    assert_eq!(masked_ops(aircraft), expected.map(|(path, op)| (path, op.to_owned())));
    assert_eq!(dead_letter_topic(&aircraft.masked_topic), "aviation.aircraft.masked.v1.dead-letter");
    assert_golden(aircraft);
}

#[test]
fn meter_reading() {
    let contracts = files::contracts();
    let reading = by_id(contracts, "meter-reading");
    let expected = [
        ("mpan", "hmac: key pseudonym, domain mpan"),
        ("account_id", "hmac: key pseudonym, domain account"),
        ("postcode", "generalise: postcode's outward part"),
        ("read_at", "generalise: down to 30m"),
        ("register", "keep"),
        ("kwh", "keep"),
    ];
    assert_eq!(ops(reading), expected.map(|(path, op)| (path, op.to_owned())));
    assert_eq!(reading.version, "1.2.0");
    assert_eq!(reading.subject_key.as_deref(), Some("account_id"));
    let partition = reading.warehouse.partition.as_ref().unwrap();
    assert_eq!(
        (partition.field.as_str(), partition.by, partition.expire_days),
        ("read_at", PartitionInterval::Day, Some(730))
    );
    assert_eq!(reading.warehouse.mode, WarehouseMode::Append);
    assert_eq!(reading.warehouse.cluster, ["mpan"]);
    assert_golden(reading);
}

#[test]
fn account_profile() {
    let contracts = files::contracts();
    let profile = by_id(contracts, "account-profile");
    assert_eq!(profile.cleanup, CleanupPolicy::Compact);
    assert_eq!(profile.retention, TopicRetention::Forever);
    assert_eq!(profile.warehouse.mode, WarehouseMode::Upsert(vec!["account_id".into()]));
    assert_eq!(profile.partitions, 4);
    let paths: Vec<&str> = profile.fields.iter().map(|field| field.leaf.path.as_str()).collect();
    let expected = [
        "account_id",
        "customer_name",
        "email",
        "phone",
        "born",
        "address.line",
        "address.postcode",
        "address.location.latitude",
        "address.location.longitude",
        "tariff",
        "annual_kwh",
        "meters[].mpan",
        "meters[].serial",
        "meters[].installed",
        "preferences{key}",
        "preferences{}",
        "updated_at",
    ];
    assert_eq!(paths, expected);
    assert_eq!(profile.field("email").unwrap().op, MaskOperation::Null);
    assert_eq!(profile.field("email").unwrap().tags, ["PII"]);
    assert_eq!(profile.field("email").unwrap().classification, "restricted");
    assert_golden(profile);
}

#[test]
fn the_order_of_the_files_does_not_matter() {
    let mut files = files::all();
    let forward = ContractSet::parse(&files).unwrap();
    files.reverse();
    let backward = ContractSet::parse(&files).unwrap();
    let ids =
        |contracts: &ContractSet| contracts.iter().map(|contract| contract.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&forward), ids(&backward));
}

/// The flight contract with another line for its retention.
fn with_retention(sla: &str) -> Result<TopicRetention, String> {
    let mut files = files::all();
    for (path, text) in &mut files {
        if path.starts_with(files::FLIGHT) {
            *text = text.replace("{property: retention, value: 30, unit: d}", sla);
        }
    }
    let contracts = ContractSet::parse(&files).map_err(|findings| findings.to_string())?;
    Ok(by_id(&contracts, "flight").retention)
}

#[test]
fn a_retention_without_end_is_a_word_or_kafkas_own_number() {
    for sla in [
        "{property: retention, value: unlimited}",
        "{property: retention, value: Unlimited, unit: d}",
        "{property: retention, value: -1}",
        "{property: retention, value: -1, unit: ms}",
    ] {
        assert_eq!(with_retention(sla), Ok(TopicRetention::Forever), "{sla}");
    }
    assert_eq!(TopicRetention::Forever.millis(), -1);
    for sla in [
        "{property: retention, value: -2, unit: d}",
        "{property: retention, value: 0, unit: d}",
        "{property: retention, value: forever, unit: d}",
    ] {
        let refused = with_retention(sla).unwrap_err();
        assert!(refused.contains("contract.odcs.yaml:17"), "{sla}: {refused}");
        assert!(refused.contains("`value: unlimited`"), "{sla}: {refused}");
    }
}

#[test]
fn a_draft_is_checked_and_not_among_the_served_contracts() {
    let mut files = files::all();
    for (path, text) in &mut files {
        if path.starts_with(files::FLIGHT) {
            *text = text.replace("status: active", "status: draft");
        }
    }
    let contracts = ContractSet::parse(&files).unwrap();
    let ids = |all: Vec<&Contract>| all.iter().map(|contract| contract.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(contracts.drafts().collect()), ["flight"]);
    assert_eq!(ids(contracts.served().collect()), ["aircraft", "account-profile", "meter-reading"]);
    assert_eq!(contracts.drafts().next().unwrap().line("status"), 7);
    // A mistake in a draft is found all the same.
    for (path, text) in &mut files {
        if path.starts_with(files::FLIGHT) {
            *text = text.replace("op: hmac", "op: hamc");
        }
    }
    assert!(ContractSet::parse(&files).is_err());
}
