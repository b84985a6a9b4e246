//! Kafka's ACLs, from the contracts' roles and from the least that each worker needs.
//!
//! Roles with `view: raw` read raw topics. Every role that reads also reads masked topics. No other role
//! reads anything. Producers (`access: write`) write the raw topic. Operators (`access: operate`) read dead
//! letters, and have the permissions on a contract's topics that a replay needs. A worker has the permissions
//! that its own calls need (Kafka's table of operations and resources,
//! <https://kafka.apache.org/documentation/#operations_resources_and_protocols>) and no others. They follow
//! from the worker's [`WorkerAccess`]. A test removes each of them in turn.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde::ser::{SerializeSeq, SerializeStruct, Serializer};
use sluice_core::names::{NamePattern, READER_GROUP, RECEIPTS, replay_transactional_id};
use sluice_core::{ANY, AclOperation, AclResource, AclRule};

use super::{DesiredState, DesiredTopic, TopicAccess, WorldState};
use sluice_contract::contract::{Contract, ContractRole, RoleView, dead_letter_topic};
use sluice_contract::contracts::ContractSet;
use sluice_contract::{ContractSelection, WorkerAccess};

/// Kafka's name of the cluster as a resource.
const CLUSTER: &str = "kafka-cluster";

/// Name of the command `sluice apply`, which has permissions of its own.
pub const APPLY: &str = "apply";
/// Name of the command `sluice verify`, which has permissions of its own.
pub const VERIFY: &str = "verify";

/// The principals of a worker or command, and the group that it reads by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberSeat {
    /// `User:name`, one or more; none if every principal serves a part of the contracts.
    pub principals: Vec<String>,
    /// Its `group`: the consumer group, and the prefix of its transactional ids.
    pub group: String,
    /// Workers of the group that serve a part of the contracts.
    pub shares: Vec<SeatShare>,
}

/// The principals of workers that serve a part of the contracts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeatShare {
    /// `User:name`, one or more.
    pub principals: Vec<String>,
    /// The contracts that they serve.
    pub contracts: ContractSelection,
}

/// Principals of roles, workers and commands. The principal of one that is missing here is `User:<its name>`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AclPrincipals {
    /// Role of a contract → the principals that have it.
    pub roles: BTreeMap<String, Vec<String>>,
    /// Name of a worker or command → the principals that run it, and its group.
    pub members: BTreeMap<String, MemberSeat>,
}

impl MemberSeat {
    /// Returns the seat of a worker or command that the operator has not configured: `User:<name>`, group
    /// `<name>`.
    pub fn usual(name: &str) -> Self {
        Self { principals: vec![format!("User:{name}")], group: name.to_owned(), shares: vec![] }
    }
}

impl AclPrincipals {
    /// Returns the configured seat of a worker or command, or its usual one.
    fn seat(&self, name: &str) -> MemberSeat {
        self.members.get(name).cloned().unwrap_or_else(|| MemberSeat::usual(name))
    }

    /// Returns the configured principals of a role, or `User:<role>`.
    fn of_role(&self, role: &str) -> Vec<String> {
        self.roles.get(role).cloned().unwrap_or_else(|| vec![format!("User:{role}")])
    }
}

impl DesiredTopic {
    /// Tells whether a role of the topic's contract may read its records: open topics are for every role, restricted
    /// ones for those that read raw records.
    pub fn is_open_to(&self, role: &ContractRole) -> bool {
        self.access == TopicAccess::Open || (role.reads && role.view == RoleView::Raw)
    }
}

/// Serialises a permission as an object with one field for each part.
pub(super) fn serialize_acl<S: Serializer>(acl: &AclRule, serializer: S) -> Result<S::Ok, S::Error> {
    let mut object = serializer.serialize_struct("Acl", 6)?;
    object.serialize_field("principal", &acl.principal)?;
    object.serialize_field("host", &acl.host)?;
    object.serialize_field("resource", acl.resource.as_str())?;
    object.serialize_field("name", &acl.name)?;
    object.serialize_field("prefixed", &acl.prefixed)?;
    object.serialize_field("operation", acl.operation.as_str())?;
    object.end()
}

/// Serialises permissions as a list of objects.
pub(super) fn serialize_acls<S: Serializer>(acls: &[AclRule], serializer: S) -> Result<S::Ok, S::Error> {
    struct AclObject<'a>(&'a AclRule);
    impl Serialize for AclObject<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serialize_acl(self.0, serializer)
        }
    }
    let mut list = serializer.serialize_seq(Some(acls.len()))?;
    for acl in acls {
        list.serialize_element(&AclObject(acl))?;
    }
    list.end()
}

/// Collects the permissions of one set of principals.
struct GrantBuilder<'a> {
    all: &'a mut BTreeSet<AclRule>,
    principals: Vec<String>,
}

impl GrantBuilder<'_> {
    /// Grants each principal each operation on a resource, from every host.
    fn add(&mut self, resource: AclResource, name: &str, prefixed: bool, operations: &[AclOperation]) {
        for principal in &self.principals {
            self.all.extend(operations.iter().map(|operation| AclRule {
                principal: principal.clone(),
                host: ANY.to_owned(),
                resource,
                name: name.to_owned(),
                prefixed,
                operation: *operation,
            }));
        }
    }

    /// Grants operations on one topic by its full name.
    fn topic(&mut self, name: &str, operations: &[AclOperation]) {
        self.add(AclResource::Topic, name, false, operations);
    }

    /// Grants one operation on each group or transactional id of a list.
    fn patterns(&mut self, resource: AclResource, names: &[NamePattern], operation: AclOperation) {
        for NamePattern { text, prefixed } in names {
            self.add(resource, text, *prefixed, &[operation]);
        }
    }
}

/// Returns every permission that the contracts and the workers ask for, sorted, each once.
pub(super) fn of(
    contracts: &ContractSet,
    topics: &[DesiredTopic],
    workers: &[WorkerAccess],
    principals: &AclPrincipals,
) -> Vec<AclRule> {
    let mut all = BTreeSet::new();

    // The roles of each contract.
    for contract in contracts.served() {
        for role in &contract.roles {
            let mut grants = GrantBuilder { all: &mut all, principals: principals.of_role(&role.name) };
            if role.writes {
                grants.topic(&contract.raw_topic, &[AclOperation::Write]);
            }
            if role.operates {
                operator(contract, workers, principals, &mut grants);
            }
            if !role.reads {
                continue;
            }

            // Readers: open topics for all of them, restricted ones only with `view: raw`.
            for topic in topics.iter().filter(|topic| topic.contract == contract.id) {
                if topic.is_open_to(role) {
                    grants.topic(&topic.name, &[AclOperation::Read]);
                }
            }
            // Consumers need a group. Each role may use the groups whose names begin with the role's name.
            grants.add(AclResource::Group, &format!("{}-", role.name), true, &[AclOperation::Read]);
        }
    }

    // The workers.
    for worker in workers {
        let MemberSeat { principals, group, shares } = principals.seat(worker.name);
        let mut grants = GrantBuilder { all: &mut all, principals };
        contracts.served().for_each(|contract| contract_topics(worker, contract, &mut grants));
        worker_seat(worker, &group, &mut grants);
        for share in shares {
            let mut grants = GrantBuilder { all: &mut all, principals: share.principals };
            seat_share(worker, &group, &share.contracts, contracts, &mut grants);
        }
    }

    // The commands. The check of conservation compares receipts with the positions of the workers' groups.
    apply(topics, &mut GrantBuilder { all: &mut all, principals: principals.seat(APPLY).principals });
    let mut grants = GrantBuilder { all: &mut all, principals: principals.seat(VERIFY).principals };
    verify(topics, &mut grants);
    for worker in workers {
        let groups = (worker.groups)(&principals.seat(worker.name).group);
        grants.patterns(AclResource::Group, &groups, AclOperation::Describe);
    }
    all.into_iter().collect()
}

/// Grants a worker its permissions on the topics of one contract.
fn contract_topics(worker: &WorkerAccess, contract: &Contract, grants: &mut GrantBuilder<'_>) {
    use AclOperation::{Read, Write};
    for topic in (worker.reads)(contract) {
        grants.topic(&topic, &[Read]);
    }
    for topic in (worker.writes)(contract) {
        grants.topic(&topic, &[Write]);
    }
    for topic in worker.letter_sources(contract) {
        grants.topic(&dead_letter_topic(&topic), &[Write]);
    }
}

/// Grants the permissions of a worker that serves a part of the contracts.
fn seat_share(
    worker: &WorkerAccess,
    group: &str,
    part: &ContractSelection,
    contracts: &ContractSet,
    grants: &mut GrantBuilder<'_>,
) {
    worker_seat(worker, group, grants);
    for contract in contracts.served() {
        if part.covers(contract) {
            contract_topics(worker, contract, grants);
            continue;
        }

        // A member leads the group and assigns the partitions of all members. It must see the topics of the others,
        // or they get none; it cannot read them.
        for topic in (worker.reads)(contract) {
            grants.topic(&topic, &[AclOperation::Describe]);
        }
    }
}

/// Grants a worker the permissions that do not depend on contracts: its groups, its transactional ids, its own
/// topics.
fn worker_seat(worker: &WorkerAccess, group: &str, grants: &mut GrantBuilder<'_>) {
    use AclOperation::{Create, Describe, Read, Write};

    // A worker that commits a group's position also writes the receipt for it.
    let groups = (worker.groups)(group);
    if !groups.is_empty() {
        grants.topic(RECEIPTS, &[Write]);
    }
    grants.patterns(AclResource::Group, &groups, Read);
    grants.patterns(AclResource::TransactionalId, &(worker.transactional_ids)(group), Write);

    // Topics of its own are read outside any group, and librdkafka asks for a group's coordinator even so.
    for prefix in worker.own_topics {
        grants.add(AclResource::Topic, prefix, true, &[Read, Write, Create]);
        grants.add(AclResource::Group, READER_GROUP, false, &[Describe]);
    }
}

/// Grants the permissions that `sluice dead-letters` and `sluice replay` need for one contract. A replay acts
/// in the name of the live worker.
fn operator(
    contract: &Contract,
    workers: &[WorkerAccess],
    principals: &AclPrincipals,
    grants: &mut GrantBuilder<'_>,
) {
    use AclOperation::{Describe, Read, Write};

    // A replay reads the inputs of its worker and writes the outputs.
    for worker in workers.iter().filter(|worker| worker.replays) {
        for topic in (worker.reads)(contract) {
            grants.topic(&topic, &[Read]);
        }
        for topic in (worker.writes)(contract) {
            grants.topic(&topic, &[Write]);
        }

        // The replay's own transactional id keeps it from fencing the live worker's producers. It commits a
        // first position for a group that has none.
        let MemberSeat { group, .. } = principals.seat(worker.name);
        let replay = replay_transactional_id(&group, worker.name);
        grants.add(AclResource::TransactionalId, &replay, false, &[Write]);
        grants.patterns(AclResource::Group, &(worker.groups)(&group), Read);
    }
    // An operator may read masked records also where no worker that replays reads them.
    grants.topic(&contract.masked_topic, &[Read]);

    // A replay reads dead letters, and writes those that are refused again. The receipts record both.
    let facts = contract.facts.as_ref().map(|facts| facts.topic.as_str());
    let sources = [Some(contract.raw_topic.as_str()), Some(contract.masked_topic.as_str()), facts];
    for source in sources.into_iter().flatten() {
        grants.topic(&dead_letter_topic(source), &[Read, Write]);
    }
    grants.topic(RECEIPTS, &[Read, Write]);
    grants.add(AclResource::Group, READER_GROUP, false, &[Describe]);
}

/// Grants `apply` its permissions. The first run needs a user who has more: it makes these.
fn apply(topics: &[DesiredTopic], grants: &mut GrantBuilder<'_>) {
    use AclOperation::{Alter, AlterConfigs, Create, Describe, DescribeConfigs};
    // Create is for topics of future contracts, Alter and Describe are for ACLs.
    grants.add(AclResource::Cluster, CLUSTER, false, &[Create, Alter, Describe]);
    for topic in topics {
        grants.topic(&topic.name, &[Describe, Alter, DescribeConfigs, AlterConfigs]);
    }
}

/// Grants `verify` its permissions: it reads everything and changes nothing.
fn verify(topics: &[DesiredTopic], grants: &mut GrantBuilder<'_>) {
    use AclOperation::{Describe, DescribeConfigs, Read};
    grants.add(AclResource::Cluster, CLUSTER, false, &[Describe]);
    grants.add(AclResource::Group, READER_GROUP, false, &[Describe]);
    for topic in topics {
        grants.topic(&topic.name, &[Read, DescribeConfigs]);
    }
}

/// Returns the missing permissions and the extra ones: permissions on the fleet's topics, groups and
/// transactional ids that neither a contract nor a worker asks for. Both lists are empty if the broker has no
/// authoriser.
pub(super) fn compare(desired: &DesiredState, world: &WorldState) -> (Vec<AclRule>, Vec<AclRule>) {
    let Some(is) = &world.acls else { return (vec![], vec![]) };
    let wanted: BTreeSet<&AclRule> = desired.acls.iter().collect();
    let missing = desired.acls.iter().filter(|acl| !is.contains(*acl)).cloned().collect();
    let extra = is.iter().filter(|acl| !wanted.contains(acl) && touches(acl, desired)).cloned().collect();
    (missing, extra)
}

/// Returns true if the permission covers a topic, group or transactional id of the fleet.
fn touches(acl: &AclRule, desired: &DesiredState) -> bool {
    let topics = || desired.topics.iter().any(|topic| overlap(acl, &topic.name, false));
    let members = || {
        desired
            .acls
            .iter()
            .any(|ours| ours.resource == acl.resource && overlap(acl, &ours.name, ours.prefixed))
    };
    match acl.resource {
        AclResource::Topic => topics() || members(),
        AclResource::Group | AclResource::TransactionalId => members(),
        // The cluster can serve others too. Permissions on it are its owner's business.
        AclResource::Cluster => false,
    }
}

/// Returns true if there is a name that both the permission and `name` (a prefix if `prefixed`) cover.
fn overlap(acl: &AclRule, name: &str, prefixed: bool) -> bool {
    match (acl.prefixed, prefixed) {
        // `*` as a literal name means every name. As a prefix it is an ordinary character.
        (false, _) if acl.name == ANY => true,
        (false, false) => acl.name == name,
        (true, false) => name.starts_with(&acl.name),
        (false, true) => acl.name.starts_with(name),
        (true, true) => name.starts_with(&acl.name) || acl.name.starts_with(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(resource: AclResource, name: &str, prefixed: bool) -> AclRule {
        let (principal, host) = ("User:somebody".to_owned(), ANY.to_owned());
        AclRule { principal, host, resource, name: name.to_owned(), prefixed, operation: AclOperation::Read }
    }

    #[test]
    fn a_wildcard_or_a_prefix_over_our_topics_is_found() {
        let raw = "aviation.flight.v1";
        for (name, prefixed, meant) in [
            (raw, false, true),
            ("*", false, true),
            ("aviation.", true, true),
            ("aviation.flight.v1.dead", true, false),
            ("other", false, false),
            ("other.", true, false),
        ] {
            assert_eq!(overlap(&acl(AclResource::Topic, name, prefixed), raw, false), meant, "{name}");
        }
        assert!(overlap(&acl(AclResource::Group, "lake-delta", false), "lake-", true));
        assert!(overlap(&acl(AclResource::Group, "la", true), "lake-", true));
    }
}
