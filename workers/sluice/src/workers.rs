//! The fleet's workers. A new worker is its folder and one line in this list.

use sluice_contract::WorkerAccess;
use sluice_runtime::descriptor::WorkerDescriptor;

/// All workers, in the order of a record's way through them.
pub(crate) static WORKERS: [&WorkerDescriptor; 4] = [
    &sluice_collector::DESCRIPTOR,
    &sluice_masker::DESCRIPTOR,
    &sluice_normaliser::DESCRIPTOR,
    &sluice_sink::DESCRIPTOR,
];

/// Returns the names of the workers.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    WORKERS.iter().map(|worker| worker.access.name)
}

/// Returns the names of the workers that handle single records again. A sink is not among them: it knows from
/// its store which records it has.
pub(crate) fn replay_names() -> impl Iterator<Item = &'static str> {
    WORKERS.iter().filter(|worker| worker.replay.is_some()).map(|worker| worker.access.name)
}

/// Returns the worker of a name.
pub(crate) fn find(name: &str) -> Option<&'static WorkerDescriptor> {
    WORKERS.iter().copied().find(|worker| worker.access.name == name)
}

/// Returns the Kafka resources of the workers, for their permissions.
pub(crate) fn access() -> Vec<WorkerAccess> {
    WORKERS.iter().map(|worker| worker.access).collect()
}

// The access of the workers as the tests of the plan have it.
#[cfg(test)]
#[path = "../../../crates/govern/tests/it/workers.rs"]
mod plan_workers;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use sluice_core::AclResource::{Group, Topic, TransactionalId};
    use sluice_core::{AclOperation, AclResource};
    use sluice_govern::plan::DesiredState;

    use super::*;

    /// Kind and name of a thing, whether the name is a prefix, and the operation.
    type PermissionRow = (AclResource, &'static str, bool, AclOperation);

    fn desired(workers: &[WorkerAccess]) -> DesiredState {
        let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas");
        DesiredState::of(&sluice_runtime::contracts::load(&schemas).unwrap(), workers)
    }

    #[test]
    fn the_tests_of_the_plan_use_the_access_of_the_real_workers() {
        assert_eq!(desired(&access()).acls, desired(&plan_workers::WORKERS).acls);
    }

    #[test]
    fn a_worker_replays_exactly_if_its_permissions_allow_it() {
        for worker in WORKERS {
            assert_eq!(worker.replay.is_some(), worker.access.replays, "{}", worker.access.name);
        }
    }

    /// Each row is a principal with all its permissions on one contract's topics, on groups and on ids.
    #[test]
    fn the_truth_table_of_permissions_holds() {
        use AclOperation::{Create, Describe, Read, Write};
        let (raw, masked) = ("aviation.flight.v1", "aviation.flight.masked.v1");
        let facts = "aviation.flight.facts.v1";
        let (raw_letters, masked_letters, facts_letters) = (
            "aviation.flight.v1.dead-letter",
            "aviation.flight.masked.v1.dead-letter",
            "aviation.flight.facts.v1.dead-letter",
        );
        let rows: [(&str, &[PermissionRow]); 4] = [
            (
                "User:collector",
                &[
                    (Topic, raw, false, Write),
                    (Topic, raw_letters, false, Write),
                    (Topic, "sluice.collector.", true, Read),
                    (Topic, "sluice.collector.", true, Write),
                    (Topic, "sluice.collector.", true, Create),
                    (Group, "sluice-reader", false, Describe),
                    (TransactionalId, "collector-", true, Write),
                ],
            ),
            (
                "User:masker",
                &[
                    (Topic, raw, false, Read),
                    (Topic, raw_letters, false, Write),
                    (Topic, masked, false, Write),
                    (Topic, "sluice.receipts", false, Write),
                    (Group, "masker", false, Read),
                    (TransactionalId, "masker-masker-", true, Write),
                ],
            ),
            (
                "User:normaliser",
                &[
                    (Topic, masked, false, Read),
                    (Topic, masked_letters, false, Write),
                    (Topic, facts, false, Write),
                    (Topic, "sluice.receipts", false, Write),
                    (Group, "normaliser", false, Read),
                    (TransactionalId, "normaliser-normaliser-", true, Write),
                ],
            ),
            (
                "User:sink",
                &[
                    (Topic, masked, false, Read),
                    (Topic, masked_letters, false, Write),
                    (Topic, facts, false, Read),
                    (Topic, facts_letters, false, Write),
                    (Topic, "sluice.receipts", false, Write),
                    (Group, "sink-", true, Read),
                    (TransactionalId, "sink-", true, Write),
                ],
            ),
        ];

        let acls = desired(&access()).acls;
        for (principal, expected) in rows {
            // Permissions on the topics of other contracts are of the same kind.
            let own = |name: &str| name.starts_with("aviation.flight.") || !name.contains(".v1");
            let found: Vec<_> = acls
                .iter()
                .filter(|acl| acl.principal == principal && own(&acl.name))
                .map(|acl| (acl.resource, acl.name.as_str(), acl.prefixed, acl.operation))
                .collect();
            assert_eq!(found.len(), expected.len(), "{principal}: {found:?}");
            for permission in expected {
                assert!(found.contains(permission), "{principal} lacks {permission:?}");
            }
        }
    }
}
