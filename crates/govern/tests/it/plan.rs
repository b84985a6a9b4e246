//! The plan against worlds that are empty, as wanted, behind, and in the way.

use std::collections::{BTreeMap, BTreeSet};

use sluice_contract::CompatibilityLevel;
use sluice_core::{AclOperation, AclResource, AclRule};
use sluice_govern::plan::{
    AclPrincipals, ContractPlan, DesiredState, MIN_COPIES, MemberSeat, PlanAllowance, PlanChange,
    PlanOwnership, PlanRefusal, PlanSummary, SubjectState, TopicAccess, TopicPurpose, TopicState, WorldState,
};

use crate::files;
use crate::workers::WORKERS;

fn desired() -> DesiredState {
    DesiredState::of(files::contracts(), &WORKERS)
}

/// A world in which everything is as wanted.
fn as_wanted(desired: &DesiredState) -> WorldState {
    let topics = desired.topics.iter().map(|topic| {
        (
            topic.name.clone(),
            TopicState { partitions: topic.partitions, copies: 2, config: topic.config.clone() },
        )
    });
    let subjects = desired.subjects.iter().map(|subject| {
        let state = SubjectState {
            registered: true,
            has_versions: true,
            compatibility: Some(subject.compatibility),
            ..SubjectState::default()
        };
        (subject.subject.clone(), state)
    });
    let acls = Some(desired.acls.iter().cloned().collect());
    WorldState { topics: topics.collect(), subjects: subjects.collect(), acls }
}

const RAW: &str = "aviation.flight.v1";

fn with(change: impl FnOnce(&mut WorldState), allow: PlanAllowance) -> ContractPlan {
    let desired = desired();
    let mut world = as_wanted(&desired);
    change(&mut world);
    ContractPlan::diff(&desired, &world, allow)
}

fn raw_topic(change: impl FnOnce(&mut TopicState)) -> ContractPlan {
    with(|world| change(world.topics.get_mut(RAW).unwrap()), PlanAllowance::default())
}

#[test]
fn every_contract_has_its_topics_and_what_is_raw_is_restricted() {
    let desired = desired();
    let names: Vec<&str> = desired.topics.iter().map(|topic| topic.name.as_str()).collect();
    assert_eq!(names.len(), 19);
    assert!(names.contains(&"sluice.receipts"));
    for flight in ["", ".masked", ".facts"] {
        for letters in ["", ".dead-letter"] {
            assert!(names.contains(&format!("aviation.flight{flight}.v1{letters}").as_str()));
        }
    }
    for topic in &desired.topics {
        let open = topic.name.contains(".masked.")
            || topic.name.contains(".facts.")
            || topic.purpose == TopicPurpose::Receipts;
        assert_eq!(
            topic.access,
            if open { TopicAccess::Open } else { TopicAccess::Restricted },
            "{}",
            topic.name
        );
        assert_eq!(topic.purpose == TopicPurpose::DeadLetter, topic.name.ends_with(".dead-letter"));
    }
    let config = |name: &str| desired.topics.iter().find(|topic| topic.name == name).unwrap().config.clone();
    let setting = |retention: &str, cleanup: &str| {
        BTreeMap::from([("retention.ms".into(), retention.into()), ("cleanup.policy".into(), cleanup.into())])
    };
    assert_eq!(config(RAW), setting("2592000000", "delete"));
    // A megabyte as Kafka has it, and room for headers on what is made of a record.
    let larger = |mut setting: BTreeMap<String, String>, bytes: i64| {
        setting.insert("max.message.bytes".into(), bytes.to_string());
        setting
    };
    let masked = larger(setting("-1", "compact"), 1_048_588 + 65_536);
    assert_eq!(config("metering.account-profile.masked.v1"), masked);
    let letters = larger(setting("2592000000", "delete"), 1_048_588 + 65_536);
    assert_eq!(config("metering.account-profile.v1.dead-letter"), letters);
}

#[test]
fn masked_schemas_come_before_raw_ones() {
    let subjects: Vec<String> = desired().subjects.into_iter().map(|subject| subject.subject).collect();
    let at = |name: &str| subjects.iter().position(|subject| subject == name).unwrap();
    assert!(at("aviation.flight.masked.v1-value") < at("aviation.flight.v1-value"));
    assert!(at("aviation.flight.facts.v1-value") < at("aviation.flight.v1-value"));
    assert_eq!(subjects.len(), 9);
}

#[test]
fn in_an_empty_world_everything_is_made_and_in_the_wanted_one_nothing() {
    let desired = desired();
    let plan = ContractPlan::diff(&desired, &WorldState::default(), PlanAllowance::default());
    assert!(plan.refusals.is_empty());
    let count = |kind: fn(&PlanChange) -> bool| plan.changes.iter().filter(|change| kind(change)).count();
    assert_eq!(count(|change| matches!(change, PlanChange::CreateTopic { .. })), 19);
    assert_eq!(count(|change| matches!(change, PlanChange::SetCompatibility { from: None, .. })), 9);
    assert_eq!(count(|change| matches!(change, PlanChange::RegisterSchema { first: true, .. })), 9);
    assert!(ContractPlan::diff(&desired, &as_wanted(&desired), PlanAllowance::default()).is_empty());
}

#[test]
fn what_is_behind_is_brought_on() {
    let plan = raw_topic(|topic| topic.partitions = 2);
    assert_eq!(plan.changes, [PlanChange::RaisePartitions { topic: RAW.into(), from: 2, to: 4 }]);
    let plan = raw_topic(|topic| drop(topic.config.insert("retention.ms".into(), "1000".into())));
    assert_eq!(
        plan.changes[0].to_string(),
        "topic aviation.flight.v1: change retention.ms from 1000 (1 second) to 2592000000 (30 days)"
    );
    let subject = "aviation.flight.v1-value";
    let plan = with(
        |world| {
            let state = world.subjects.get_mut(subject).unwrap();
            state.registered = false;
            state.compatibility = Some(CompatibilityLevel::Backward);
        },
        PlanAllowance::default(),
    );
    let [set, register] = &plan.changes[..] else { panic!("{plan:?}") };
    assert_eq!(
        set.to_string(),
        format!("subject {subject}: change compatibility from BACKWARD to FULL_TRANSITIVE")
    );
    assert!(
        matches!(register, PlanChange::RegisterSchema { first: false, schema, .. } if schema.contains("tailnum"))
    );
}

#[test]
fn what_destroys_is_refused() {
    let plan = raw_topic(|topic| topic.partitions = 8);
    assert_eq!(plan.refusals, [PlanRefusal::FewerPartitions { topic: RAW.into(), is: 8, wanted: 4 }]);
    assert!(plan.changes.is_empty());
    for is in [-1, 2_592_000_001] {
        let plan = raw_topic(|topic| drop(topic.config.insert("retention.ms".into(), is.to_string())));
        let refusal = PlanRefusal::ShorterRetention { topic: RAW.into(), is, wanted: 2_592_000_000 };
        assert_eq!(plan.refusals, [refusal]);
        assert!(plan.changes.is_empty());
    }
    let plan = raw_topic(|topic| drop(topic.config.insert("cleanup.policy".into(), "compact".into())));
    assert!(matches!(&plan.refusals[..], [PlanRefusal::OtherCleanup { .. }]));
    let plan = with(
        |world| {
            let state = world.subjects.get_mut("aviation.flight.masked.v1-value").unwrap();
            state.registered = false;
            state.incompatible = vec!["reader field missing".into()];
        },
        PlanAllowance::default(),
    );
    assert!(matches!(&plan.refusals[..], [PlanRefusal::Incompatible { .. }]));
    assert!(plan.changes.is_empty());
}

#[test]
fn what_destroys_is_done_if_it_is_allowed_by_name() {
    let allow = PlanAllowance { shorter_retention: true, other_cleanup: true, remove_acls: false };
    let plan = with(
        |world| {
            let topic = world.topics.get_mut(RAW).unwrap();
            topic.config.insert("retention.ms".into(), "-1".into());
            topic.config.insert("cleanup.policy".into(), "compact".into());
        },
        allow,
    );
    assert!(plan.refusals.is_empty());
    assert_eq!(plan.changes.len(), 2);
}

/// Topics that a principal may do something with.
fn topics_of(desired: &DesiredState, principal: &str, operation: AclOperation) -> Vec<String> {
    let fits = |acl: &&AclRule| {
        acl.principal == principal && acl.operation == operation && acl.resource == AclResource::Topic
    };
    desired.acls.iter().filter(fits).map(|acl| acl.name.clone()).collect()
}

#[test]
fn raw_topics_are_read_by_raw_roles_and_the_masker_alone() {
    let desired = desired();
    let readers = |topic: &str| {
        let reads = |acl: &&AclRule| {
            acl.resource == AclResource::Topic && acl.name == topic && acl.operation == AclOperation::Read
        };
        desired.acls.iter().filter(reads).map(|acl| acl.principal.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(
        readers("metering.meter-reading.v1"),
        ["User:masker", "User:metering-raw-readers", "User:verify"]
    );
    assert!(readers("metering.meter-reading.masked.v1").contains(&"User:analysts"));
    let masked = topics_of(&desired, "User:analysts", AclOperation::Read);
    let open = |name: &String| name.contains(".masked.") || name.contains(".facts.");
    assert!(!masked.is_empty() && masked.iter().all(open), "{masked:?}");
    assert!(topics_of(&desired, "User:analysts", AclOperation::Write).is_empty());
    let sink = topics_of(&desired, "User:sink", AclOperation::Read);
    assert!(!sink.is_empty() && sink.iter().all(open), "{sink:?}");
}

#[test]
fn principals_and_groups_are_whom_the_operator_names() {
    let mut principals = AclPrincipals::default();
    principals.roles.insert("analysts".into(), vec!["User:ann".into(), "User:bob".into()]);
    let seat = MemberSeat { principals: vec!["User:m".into()], group: "hide".into(), shares: vec![] };
    principals.members.insert("masker".into(), seat);
    let desired = DesiredState::with(files::contracts(), &WORKERS, &principals);
    let who = |who: &str| desired.acls.iter().filter(|acl| acl.principal == who).count();
    assert!(who("User:ann") > 0 && who("User:ann") == who("User:bob"));
    assert_eq!(who("User:analysts") + who("User:masker"), 0);
    let ids: Vec<_> = desired
        .acls
        .iter()
        .filter(|acl| acl.principal == "User:m" && acl.resource == AclResource::TransactionalId)
        .map(|acl| (acl.name.as_str(), acl.prefixed, acl.operation))
        .collect();
    assert_eq!(ids, [("hide-masker-", true, AclOperation::Write)]);
}

#[test]
fn permissions_are_added_reported_and_removed_only_if_allowed() {
    let all = desired().acls;
    let missing = all[0].clone();
    let stranger = AclRule {
        principal: "User:stranger".into(),
        host: "*".into(),
        resource: AclResource::Topic,
        name: "aviation.".into(),
        prefixed: true,
        operation: AclOperation::Read,
    };
    let elsewhere = AclRule { name: "payroll.".into(), ..stranger.clone() };
    let change = |world: &mut WorldState| {
        let acls = world.acls.as_mut().unwrap();
        acls.remove(&missing);
        acls.extend([stranger.clone(), elsewhere.clone()]);
    };
    let plan = with(change, PlanAllowance::default());
    assert_eq!(plan.changes, [PlanChange::CreateAcl { acl: missing.clone() }]);
    assert_eq!(plan.extra_acls, std::slice::from_ref(&stranger));
    assert!(!plan.is_empty());
    let plan = with(change, PlanAllowance { remove_acls: true, ..PlanAllowance::default() });
    assert_eq!(plan.changes[1], PlanChange::RemoveAcl { acl: stranger.clone() });
    assert!(plan.extra_acls.is_empty());
    let open = with(|world| world.acls = None, PlanAllowance::default());
    assert!(open.is_empty(), "brokers without an authoriser know no permissions");
}

#[test]
fn sentences_name_the_thing_first_and_the_summary_counts_them() {
    let plan = with(
        |world| {
            world.topics.remove("aviation.flight.facts.v1");
            world.topics.get_mut(RAW).unwrap().partitions = 8;
            let state = world.subjects.get_mut("aviation.flight.v1-value").unwrap();
            state.compatibility = None;
        },
        PlanAllowance::default(),
    );
    let sentences: Vec<String> = plan.changes.iter().map(ToString::to_string).collect();
    assert_eq!(
        sentences,
        [
            "topic aviation.flight.facts.v1: create it (open, 4 partitions, 1 copy, cleanup.policy delete, \
             max.message.bytes 1114124, retention.ms 2592000000 (30 days))",
            "subject aviation.flight.v1-value: set compatibility FULL_TRANSITIVE",
        ]
    );
    assert_eq!(plan.summary(), PlanSummary { create: 2, change: 0, remove: 0, refused: 1 });
    assert_eq!(plan.summary().to_string(), "2 to create, 1 refused");
    assert_eq!(
        plan.refusals[0].to_string(),
        format!("topic {RAW}: 4 partitions instead of 8: Kafka cannot remove partitions")
    );
}

#[test]
fn a_topic_of_three_copies_waits_for_two_of_them_and_one_copy_is_a_warning() {
    // New topics: the number of copies decides.
    for (copies, expected) in [(1, None), (2, None), (3, Some("2")), (4, Some("2"))] {
        let plan = ContractPlan::diff(
            &desired().with_copies(copies),
            &WorldState::default(),
            PlanAllowance::default(),
        );
        for change in &plan.changes {
            let PlanChange::CreateTopic { topic, copies: each } = change else { continue };
            assert_eq!(topic.config.get(MIN_COPIES).map(String::as_str), expected, "{copies}");
            assert_eq!(*each, copies);
        }
        assert_eq!(plan.one_copy.len(), if copies == 1 { 19 } else { 0 });
    }

    // Topics that exist: their own copies decide, and a stricter value stays.
    for (copies, present, expected) in
        [(3, "1", true), (3, "2", false), (3, "3", false), (2, "1", false), (1, "1", false)]
    {
        let change = |topic: &mut TopicState| {
            topic.copies = copies;
            topic.config.insert(MIN_COPIES.into(), present.into());
        };
        let plan = raw_topic(change);
        let changed = plan.changes.iter().any(
            |change| matches!(change, PlanChange::AlterConfig { key, to, .. } if key == MIN_COPIES && to == "2"),
        );
        assert_eq!(changed, expected, "{copies} copies, {present}");
        assert_eq!(plan.one_copy, if copies == 1 { vec![RAW.to_owned()] } else { vec![] });
    }
}

#[test]
fn a_retention_without_end_is_planned_and_an_end_to_it_is_refused() {
    let mut contracts = files::all();
    for (_, text) in &mut contracts {
        *text = text
            .replace("{property: retention, value: 30, unit: d}", "{property: retention, value: unlimited}");
    }
    let endless = sluice_contract::ContractSet::parse(&contracts).unwrap();
    let wanted = DesiredState::of(&endless, &WORKERS);
    let plan = ContractPlan::diff(&wanted, &as_wanted(&desired()), PlanAllowance::default());
    let raw =
        plan.changes.iter().map(ToString::to_string).find(|text| text.starts_with(&format!("topic {RAW}:")));
    assert_eq!(
        raw.as_deref(),
        Some("topic aviation.flight.v1: change retention.ms from 2592000000 (30 days) to -1 (for ever)")
    );
    let back = ContractPlan::diff(&desired(), &as_wanted(&wanted), PlanAllowance::default());
    assert!(back.refusals.contains(&PlanRefusal::ShorterRetention {
        topic: RAW.into(),
        is: -1,
        wanted: 2_592_000_000
    }));
    assert!(back.refusals[0].to_string().contains("from -1 (for ever) to 2592000000 (30 days)"));
}

#[test]
fn nothing_is_planned_for_a_draft() {
    let mut contracts = files::all();
    for (path, text) in &mut contracts {
        if path.starts_with(files::FLIGHT) {
            *text = text.replace("status: active", "status: draft");
        }
    }
    let contracts = sluice_contract::ContractSet::parse(&contracts).unwrap();
    let wanted = DesiredState::of(&contracts, &WORKERS);
    assert!(!wanted.topics.iter().any(|topic| topic.contract == "flight"));
    assert!(!wanted.subjects.iter().any(|subject| subject.contract == "flight"));
    assert!(!wanted.acls.iter().any(|acl| acl.name.contains("aviation.flight.")));
    assert!(wanted.topics.iter().any(|topic| topic.contract == "aircraft"));
}

#[test]
fn a_plan_for_one_contract_has_its_changes_and_refusals_alone() {
    let desired = desired();
    let owners = PlanOwnership::of(&desired);
    let mut world = WorldState { acls: Some(BTreeSet::new()), ..as_wanted(&desired) };
    world.topics.remove("aviation.flight.masked.v1");
    for topic in [RAW, "metering.meter-reading.v1"] {
        world.topics.get_mut(topic).unwrap().partitions = 8;
    }
    let whole = ContractPlan::diff(&desired, &world, PlanAllowance::default());
    let mut plan = whole.clone();
    let left_out = plan.keep_only(&BTreeSet::from(["flight".to_owned()]), &owners);
    let count = |plan: &ContractPlan| plan.changes.len() + plan.refusals.len();
    assert_eq!(left_out + count(&plan), count(&whole));
    assert_eq!(plan.refusals, [PlanRefusal::FewerPartitions { topic: RAW.into(), is: 8, wanted: 4 }]);
    assert!(plan.changes.len() > 5);
    for change in &plan.changes {
        assert_eq!(owners.of_change(change), ["flight"], "{change}");
    }
    // The permissions of groups and ids are shared by all contracts.
    assert!(!plan.changes.iter().any(|change| change.to_string().contains("group masker")));
}

#[test]
fn a_choice_of_contracts_hides_no_leak_of_theirs() {
    let leak = |contract: &str| PlanRefusal::Leak {
        leak: sluice_govern::ProofLeak {
            contract: contract.into(),
            file: "schemas/aviation/views/v.sql".into(),
            line: 1,
            path: vec!["a".into()],
            hint: String::new(),
        },
    };
    let refusals = vec![leak("flight"), leak("meter-reading"), leak("")];
    let mut plan = ContractPlan { refusals, ..ContractPlan::default() };
    plan.keep_only(&BTreeSet::from(["flight".to_owned()]), &PlanOwnership::of(&desired()));
    // A leak of an unknown contract may be one of theirs.
    assert_eq!(plan.refusals, [leak("flight"), leak("")]);
}
