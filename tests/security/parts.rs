//! Maskers that serve a part of the contracts, each as a principal of its own: one group, and no sight of the other's
//! records.

use std::time::Duration;

use sluice_core::{AclOperation, AclResource};
use sluice_tests::clients::{TestRecordSender, count, schema_of};
use sluice_tests::command::sluice;
use sluice_tests::eventually;
use sluice_tests::worker::TestWorkerProcess;

use crate::fleet::{SecurityFleet, admin, event, plain, scram, servers};

const WAIT: Duration = Duration::from_secs(90);

#[test]
fn each_part_has_a_principal_that_cannot_read_the_others_topics() {
    let _alone = crate::fleet::SHARED_PERMISSIONS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let fleet = SecurityFleet::written("part-left");
    fleet.write_also("part-right");
    let part =
        |side: &str| format!("{{contracts: [\"sec/part-{side}\"], principals: [\"User:masker-{side}\"]}}");
    let access = format!(
        "{}access: {{workers: {{masker: {{group: {}, parts: [{}, {}]}}}}}}\n",
        fleet.common(&plain()),
        fleet.group("masker"),
        part("left"),
        part("right")
    );
    let config = fleet.write("parts.yaml", &access).display().to_string();
    let applied = sluice(["apply", "-c", &config]);
    assert_eq!(applied.code, 0, "{applied:?}");

    // Only Describe on the other's topic, which the leader of the group needs.
    let on = |principal: &str, topic: &str| {
        let acls = admin().acls().unwrap().unwrap();
        let mut found: Vec<AclOperation> = acls
            .into_iter()
            .filter(|acl| {
                acl.principal == principal && acl.resource == AclResource::Topic && acl.name == topic
            })
            .map(|acl| acl.operation)
            .collect();
        found.sort();
        found
    };
    assert_eq!(on("User:masker-left", "sec.part-left.v1"), [AclOperation::Read]);
    assert_eq!(on("User:masker-left", "sec.part-right.v1"), [AclOperation::Describe]);
    assert_eq!(on("User:masker-left", "sec.part-right.masked.v1"), []);

    // Both in one group: whichever leads it hands the other its partitions.
    let start = |side: &str| {
        let text =
            std::fs::read_to_string(fleet.worker("masker", &scram(&format!("masker-{side}")))).unwrap();
        let text = format!("{text}contracts: [\"sec/part-{side}\"]\n");
        TestWorkerProcess::start("masker", &fleet.write(&format!("{side}.yaml"), &text))
    };
    let mut maskers = [start("left"), start("right")];
    for side in ["left", "right"] {
        let topic = format!("sec.part-{side}.v1");
        let (id, _) = schema_of(&servers(), &format!("{topic}-value"));
        let sender = TestRecordSender::new(&servers(), &topic);
        for n in 0..200 {
            let key = format!("person-{n:05}");
            sender.send(Some(key.as_bytes()), Some(&event(id, &key, n)));
        }
        sender.flush();
    }
    for side in ["left", "right"] {
        eventually("every record masked", WAIT, || {
            (count(&servers(), &format!("sec.part-{side}.masked.v1")) >= 200).then_some(())
        });
    }
    for masker in &mut maskers {
        assert!(masker.end(Duration::from_secs(20)).success(), "{}", masker.log());
    }
}
