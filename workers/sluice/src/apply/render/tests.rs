use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use sluice_contract::ContractSet;
use sluice_govern::plan::{
    AclPrincipals, DesiredState, PlanAllowance, PlanOwnership, TopicState, WorldState,
};

use super::*;

/// The repository's contracts against a world that has one topic with too many partitions.
fn inspection(only: &[&str], edit: impl Fn(&str) -> String) -> FleetInspection {
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas");
    let mut files = sluice_runtime::contracts::open(&schemas).unwrap().files;
    files.iter_mut().for_each(|(_, text)| *text = edit(text));
    let contracts = ContractSet::parse(&files).unwrap();
    let desired = DesiredState::with(&contracts, &crate::workers::access(), &AclPrincipals::default());
    let crowded = TopicState { partitions: 8, copies: 1, config: BTreeMap::new() };
    let topics = BTreeMap::from([("aviation.flight.v1".to_owned(), crowded)]);
    let world = WorldState { topics, acls: Some(BTreeSet::new()), ..WorldState::default() };
    let mut plan = ContractPlan::diff(&desired, &world, PlanAllowance::default());
    let owners = PlanOwnership::of(&desired);
    let only: BTreeSet<String> = only.iter().map(|id| (*id).to_owned()).collect();
    let left_out = if only.is_empty() { 0 } else { plan.keep_only(&only, &owners) };
    FleetInspection { plan, contracts, owners, tables: Vec::new(), only, left_out }
}

/// The text without its colours.
fn plain(inspection: &FleetInspection) -> String {
    anstream::adapter::strip_str(&text(inspection)).to_string()
}

#[test]
fn the_text_is_grouped_by_contract_and_ends_with_the_numbers() {
    let inspection = inspection(&[], str::to_owned);
    let text = plain(&inspection);
    let headings: Vec<&str> = text.lines().filter(|line| line.starts_with(['c', 's'])).collect();
    let headings: Vec<&str> = headings.iter().map(|line| line.split(" (").next().unwrap()).collect();
    let expected =
        ["aircraft", "flight", "account-profile", "meter-reading"].map(|id| format!("contract {id}"));
    assert_eq!(headings[..4], expected);
    assert_eq!(headings[4..], ["shared by all contracts"]);
    assert!(
        text.contains("  + subject aviation.flight.v1-value: set compatibility FULL_TRANSITIVE\n"),
        "{text}"
    );
    assert!(text.contains("  ! refused: topic aviation.flight.v1: 4 partitions instead of 8"), "{text}");
    assert!(text.contains("flight/contract.odcs.yaml:"), "{text}");
    let summary = inspection.plan.summary();
    assert_eq!(
        text.lines().last(),
        Some(format!("{} to create, 2 to change, 1 refused", summary.create).as_str())
    );
}

#[test]
fn a_choice_shows_one_contract_and_the_number_of_what_it_leaves_out() {
    let inspection = inspection(&["flight"], str::to_owned);
    let text = plain(&inspection);
    assert!(text.contains("contract flight"), "{text}");
    assert!(!text.contains("contract aircraft") && !text.contains("shared by all contracts"), "{text}");
    assert!(text.contains(&format!("left out by --only: {} changes", inspection.left_out)), "{text}");
    assert!(inspection.left_out > 20);
}

#[test]
fn a_draft_is_named_with_the_place_of_its_status() {
    let draft = |text: &str| match text.contains("id: flight\n") {
        true => text.replace("status: active", "status: draft"),
        false => text.to_owned(),
    };
    let inspection = inspection(&[], draft);
    let text = plain(&inspection);
    assert!(text.contains("contract flight is a draft and is not applied; set `status: active`"), "{text}");
    assert!(text.contains("contract.odcs.yaml:7)"), "{text}");
    assert!(!text.contains("aviation.flight.v1:"), "{text}");
    assert_eq!(json(&inspection).unwrap()["drafts"][0]["contract"], "flight");
}

#[test]
fn the_json_has_numbers_and_the_contract_of_each_change() {
    let inspection = inspection(&[], str::to_owned);
    let whole = json(&inspection).unwrap();
    assert_eq!(whole["summary"]["refused"], 1);
    assert_eq!(whole["summary"]["create"], inspection.plan.summary().create);
    let changes = whole["changes"].as_array().unwrap();
    assert!(changes.iter().all(|change| change["effect"].is_string()));
    let owned = |id: &str| changes.iter().filter(|change| change["contract"] == id).count();
    assert!(owned("flight") > 5 && owned("aircraft") > 5);
    let shared = changes.iter().filter(|change| change["contract"].is_null());
    assert!(shared.clone().count() > 0 && shared.clone().all(|change| change["topic"]["purpose"] != "raw"));
    let refusal = &whole["refusals"][0];
    assert_eq!((&refusal["refusal"], &refusal["contract"]), (&json!("fewer-partitions"), &json!("flight")));
    assert!(refusal["message"].as_str().unwrap().contains("Kafka cannot remove partitions"));
    assert!(refusal["line"].is_u64() && refusal["hint"].is_string());
}

#[test]
fn a_warning_names_three_topics_with_one_copy_and_the_number_of_the_others() {
    let warnings = warnings(&inspection(&[], str::to_owned).plan);
    let [warning] = &warnings[..] else { panic!("{warnings:?}") };
    assert!(warning.starts_with("19 topics have one copy"), "{warning}");
    assert!(warning.contains(" and 16 more"), "{warning}");
    let none = ContractPlan::default();
    assert!(super::warnings(&none).is_empty());
}
