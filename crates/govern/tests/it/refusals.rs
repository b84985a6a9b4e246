//! What `plan` refuses: mutations of the repository's own contracts, each at its exact place, against a world in which
//! the contracts as they are have been applied.

use sluice_contract::ContractSet;
use sluice_govern::compatibility::SubjectVersion;
use sluice_govern::plan::{
    ContractPlan, DesiredState, PlanAllowance, PlanRefusal, SubjectState, TopicState, WorldState,
};
use sluice_govern::{LeakProof, SqlViewSet};

use crate::files::{self, ACCOUNT_PROFILE, FLIGHT, METER_READING};

/// What a mutation does.
enum MutationChange {
    /// Replaces a text, everywhere in a file.
    Edit(String, &'static str, &'static str),
    /// Replaces texts in two files: schema and contract move together.
    Both([(String, &'static str, &'static str); 2]),
    /// Adds a file.
    Add(String, &'static str),
}

struct PlanMutation {
    what: &'static str,
    change: MutationChange,
    /// Part of what is said: the place with the path.
    at: &'static str,
    /// Part of what is said: the reason.
    why: &'static str,
}

fn contract(folder: &str, from: &'static str, to: &'static str) -> MutationChange {
    MutationChange::Edit(format!("{folder}/contract.odcs.yaml"), from, to)
}

fn value(folder: &str, from: &'static str, to: &'static str) -> MutationChange {
    MutationChange::Edit(format!("{folder}/value.avsc"), from, to)
}

fn view(sql: &'static str) -> MutationChange {
    MutationChange::Add("schemas/metering/views/bad.sql".into(), sql)
}

/// The world as the unmutated contracts have made it.
fn applied() -> WorldState {
    let desired = DesiredState::of(files::contracts(), &crate::workers::WORKERS);
    let topics = desired.topics.iter().map(|topic| {
        (
            topic.name.clone(),
            TopicState { partitions: topic.partitions, copies: 2, config: topic.config.clone() },
        )
    });
    let subjects = desired.subjects.iter().map(|subject| {
        let state = SubjectState {
            has_versions: true,
            compatibility: Some(subject.compatibility),
            earlier: vec![SubjectVersion { number: 1, schema: subject.schema.clone() }],
            ..SubjectState::default()
        };
        (subject.subject.clone(), state)
    });
    WorldState { topics: topics.collect(), subjects: subjects.collect(), acls: None }
}

/// What `plan` says against these files: findings, or refusals with their place.
fn refused(files: &[(String, String)]) -> Vec<String> {
    let contracts = match ContractSet::parse(files) {
        Ok(contracts) => contracts,
        Err(findings) => return checked(&findings),
    };
    let views = match SqlViewSet::parse(files, &contracts) {
        Ok(views) => views,
        Err(findings) => return checked(&findings),
    };
    let desired = DesiredState::of(&contracts, &crate::workers::WORKERS);
    let mut world = applied();
    for subject in &desired.subjects {
        if let Some(state) = world.subjects.get_mut(&subject.subject) {
            state.registered = state.earlier[0].schema == subject.schema;
        }
    }
    let mut plan = ContractPlan::diff(&desired, &world, PlanAllowance::default());
    let leaks = LeakProof::of(&contracts, &views).leaks;
    plan.refusals.extend(leaks.into_iter().map(|leak| PlanRefusal::Leak { leak }));
    let say = |refusal: &PlanRefusal| {
        let (file, line) = refusal.place(&contracts).expect("a place");
        assert!(line > 0 && !refusal.hint().is_empty());
        format!("{file}:{line}: {refusal}")
    };
    plan.refusals.iter().map(say).collect()
}

fn checked(findings: &sluice_contract::FindingList) -> Vec<String> {
    for finding in &findings.0 {
        assert!(finding.line.is_some_and(|line| line > 0), "no line: {finding}");
        assert!(finding.hint.as_deref().is_some_and(|hint| !hint.is_empty()), "no hint: {finding}");
    }
    findings.0.iter().map(ToString::to_string).collect()
}

fn mutations() -> Vec<PlanMutation> {
    let m = |what, change, at, why| PlanMutation { what, change, at, why };
    let outward = "{op: generalise, geo: outward}";
    vec![
        // Views.
        m(
            "a view selects a raw column",
            view("SELECT mpan FROM metering_meter_reading_v1"),
            "metering/views/bad.sql:1: metering.meter-reading.v1 mpan -> table metering_meter_reading_v1.mpan -> view bad.mpan",
            "no masking step",
        ),
        m(
            "a view hides a raw column in an expression",
            view("SELECT md5(concat(account_id, 'x')) AS x FROM metering_meter_reading_v1"),
            "metering.meter-reading.v1 account_id -> table metering_meter_reading_v1.account_id -> view bad.x",
            "no masking step",
        ),
        m(
            "a view filters by a raw column",
            view(
                "SELECT m.kwh FROM metering_meter_reading_masked_v1 m WHERE EXISTS (SELECT 1 FROM metering_account_profile_v1 p WHERE p.email = 'a')",
            ),
            "metering.account-profile.v1 email -> table metering_account_profile_v1.email -> view bad.(rows)",
            "no masking step",
        ),
        m(
            "a view selects a raw field of a record",
            view("SELECT p.address.line FROM metering_account_profile_v1 AS p"),
            "metering.account-profile.v1 address.line -> table metering_account_profile_v1.address.line -> view bad.line",
            "no masking step",
        ),
        m(
            "a view unites masked and raw",
            view(
                "SELECT mpan FROM metering_meter_reading_masked_v1 UNION ALL SELECT mpan FROM metering_meter_reading_v1",
            ),
            "metering.meter-reading.v1 mpan -> table metering_meter_reading_v1.mpan -> view bad.mpan",
            "no masking step",
        ),
        m(
            "a view selects a column that was dropped",
            view("SELECT p.address.line FROM metering_account_profile_masked_v1 AS p"),
            "metering/views/bad.sql:1",
            "there is no such field in `address`",
        ),
        m(
            "a view reads what is not there",
            view("SELECT name FROM customers"),
            "metering/views/bad.sql:1",
            "no table or view `customers`",
        ),
        // Readers.
        m(
            "a masked field is dropped that readers need",
            contract(
                FLIGHT,
                "{name: distance, logicalType: integer, required: true, classification: public, customProperties: [{property: masking, value: {op: keep}}]}",
                "{name: distance, logicalType: integer, required: true, classification: public, customProperties: [{property: masking, value: {op: drop}}]}",
            ),
            "contract.odcs.yaml:59: subject aviation.flight.masked.v1-value",
            "`distance`: the writer has no such field, and the reader has no default for it (readers of version 1 would break)",
        ),
        m(
            "a masking changes the type of a masked field",
            contract(
                ACCOUNT_PROFILE,
                "{op: generalise, number: 500}",
                "{op: generalise, number: [1000, 5000]}",
            ),
            "subject metering.account-profile.masked.v1-value",
            "`annual_kwh`: int cannot be read as string",
        ),
        m(
            "a raw field changes its type",
            MutationChange::Both([
                (
                    format!("{FLIGHT}/value.avsc"),
                    r#"{"name": "distance", "type": "int""#,
                    r#"{"name": "distance", "type": "string""#,
                ),
                (
                    format!("{FLIGHT}/contract.odcs.yaml"),
                    "{name: distance, logicalType: integer",
                    "{name: distance, logicalType: string",
                ),
            ]),
            "subject aviation.flight.v1-value",
            "`distance`: int cannot be read as string",
        ),
        m(
            "a new field is covered but has no default",
            MutationChange::Both([
                (
                    format!("{METER_READING}/value.avsc"),
                    r#"{"name": "register","#,
                    r#"{"name": "phase", "type": "int"}, {"name": "register","#,
                ),
                (
                    format!("{METER_READING}/contract.odcs.yaml"),
                    "      - {name: register,",
                    "      - {name: phase, logicalType: integer, required: true, classification: internal, customProperties: [{property: masking, value: {op: keep}}]}\n      - {name: register,",
                ),
            ]),
            "subject metering.meter-reading.masked.v1-value",
            "`phase`: the writer has no such field, and the reader has no default for it (records of version 1 could not be read)",
        ),
        // Leaves without a decision.
        m(
            "an untagged new field",
            value(
                METER_READING,
                r#"{"name": "register","#,
                r#"{"name": "owner", "type": "string"}, {"name": "register","#,
            ),
            "contract.odcs.yaml:26: owner:",
            "without a policy",
        ),
        m(
            "a new field inside an array",
            value(
                ACCOUNT_PROFILE,
                r#"{"name": "installed","#,
                r#"{"name": "site", "type": "string"}, {"name": "installed","#,
            ),
            "meters[].site:",
            "without a policy",
        ),
        m(
            "a new branch of a union",
            value(
                METER_READING,
                r#""name": "register", "type": "string""#,
                r#""name": "register", "type": ["int", "string"]"#,
            ),
            "contract.odcs.yaml:36: register:",
            "whole record, array, map or union",
        ),
        m(
            "a leaf without a decision",
            contract(METER_READING, outward, "{op: decide}"),
            "contract.odcs.yaml:34: postcode:",
            "no decision about this leaf yet",
        ),
        m(
            "no classification",
            contract(
                METER_READING,
                "classification: internal, customProperties: [{property: masking, value: {op: generalise",
                "customProperties: [{property: masking, value: {op: generalise",
            ),
            "contract.odcs.yaml:35: read_at:",
            "no classification",
        ),
        m(
            "no masking",
            contract(
                METER_READING,
                "classification: confidential, tags: [QUASI], customProperties: [{property: masking, value: {op: generalise, geo: outward}}]",
                "classification: confidential, tags: [QUASI]",
            ),
            "contract.odcs.yaml:34: postcode:",
            "no masking",
        ),
        m(
            "tags differ, in the contract",
            contract(METER_READING, "confidential, tags: [QUASI]", "confidential"),
            "contract.odcs.yaml:34: postcode:",
            "tags differ",
        ),
        m(
            "tags differ, in the schema",
            value(METER_READING, r#", "confluent:tags": ["QUASI"]"#, ""),
            "contract.odcs.yaml:34: postcode:",
            "tags differ",
        ),
        m(
            "a tagged leaf is kept",
            contract(METER_READING, outward, "{op: keep}"),
            "contract.odcs.yaml:34: postcode:",
            "kept as it is",
        ),
        m(
            "a restricted leaf is kept",
            contract(
                METER_READING,
                "classification: internal, customProperties: [{property: masking, value: {op: keep}}]",
                "classification: restricted, customProperties: [{property: masking, value: {op: keep}}]",
            ),
            "contract.odcs.yaml:36: register:",
            "restricted and kept",
        ),
        m(
            "an unknown operation",
            contract(METER_READING, outward, "{op: hash}"),
            "contract.odcs.yaml:34: postcode:",
            "unknown masking operation",
        ),
        m(
            "an operation that is not built",
            contract(METER_READING, outward, "{op: encrypt, key: pseudonym}"),
            "contract.odcs.yaml:34: postcode:",
            "not available yet",
        ),
        // Key and headers.
        m(
            "a key with a schema that is not covered",
            MutationChange::Add(format!("{METER_READING}/key.avsc"), "\"string\""),
            "key.avsc:1",
            "does not cover the key's leaves",
        ),
        m(
            "an object for a key that has no schema",
            contract(
                METER_READING,
                "\nschema:\n",
                "\nschema:\n  - {name: key, physicalType: key, logicalType: object, properties: [{name: key, logicalType: string, required: true, classification: internal, customProperties: [{property: masking, value: {op: keep}}]}]}\n",
            ),
            "contract.odcs.yaml:26: schema:",
            "no key.avsc beside it",
        ),
        m(
            "a key whose masking could make two one",
            contract(METER_READING, "property: recordKey, value: mpan", "property: recordKey, value: kwh"),
            "contract.odcs.yaml:22: customProperties.recordKey:",
            "expected a string",
        ),
        m(
            "a header of the fleet's own",
            contract(METER_READING, "allow: [traceparent]", "allow: [sluice.source]"),
            "contract.odcs.yaml:23: customProperties.headers.allow:",
            "fleet's own",
        ),
        // What destroys.
        m(
            "a shorter retention",
            contract(METER_READING, "value: 30, unit: d", "value: 29, unit: d"),
            "contract.odcs.yaml:13: topic metering.meter-reading.v1:",
            "from 2592000000 (30 days) to 2505600000 (29 days) would delete records",
        ),
        m(
            "fewer partitions",
            contract(FLIGHT, "{partitions: 4}", "{partitions: 2}"),
            "topic aviation.flight.v1: 2 partitions instead of 4",
            "Kafka cannot remove partitions",
        ),
        m(
            "another cleanup",
            contract(FLIGHT, "{partitions: 4}", "{partitions: 4, cleanup: compact}"),
            "topic aviation.flight.v1: cleanup.policy from delete to compact",
            "would delete records",
        ),
        m(
            "facts of a field that is gone",
            contract(FLIGHT, "attributes: [tailnum,", "attributes: [speed,"),
            "customProperties.facts.attributes:",
            "not a leaf",
        ),
    ]
}

#[test]
fn every_mutation_of_the_example_contracts_is_refused_at_plan_with_its_exact_place() {
    let mutations = mutations();
    let architecture = include_str!("../../../../docs/promises.md");
    let told = format!("with_its_exact_place`: {} of them", mutations.len());
    assert!(architecture.contains(&told), "docs/promises.md does not say `{told}`");
    assert_eq!(refused(&crate::views::with_views()), [""; 0], "the contracts as they are");
    for PlanMutation { what, change, at, why } in mutations {
        let mut files = crate::views::with_views();
        let mut edit = |name: &str, from: &str, to: &str| {
            let (_, text) =
                files.iter_mut().find(|(path, _)| path == name).unwrap_or_else(|| panic!("{name}"));
            let mutated = text.replace(from, to);
            assert_ne!(*text, mutated, "{what}: `{from}` is not in {name}");
            *text = mutated;
        };
        match change {
            MutationChange::Edit(name, from, to) => edit(&name, from, to),
            MutationChange::Both(edits) => edits.iter().for_each(|(name, from, to)| edit(name, from, to)),
            MutationChange::Add(name, text) => files.push((name, text.to_owned())),
        }
        let said = refused(&files);
        assert!(
            said.iter().any(|line| line.contains(at) && line.contains(why)),
            "{what}: expected `{at}` … `{why}`, was said:\n{}",
            said.join("\n")
        );
    }
}
