//! Kafka's ACLs, from the contracts' roles and from the least that each worker needs.
//!
//! Roles with `view: raw` read raw topics. Every role that reads also reads masked topics. No other role
//! reads anything. Producers (`access: write`) write the raw topic. Operators (`access: operate`) read dead
//! letters, and have the permissions on a contract's topics that a replay of masker or normaliser needs. A
//! worker has the permissions that its own calls need (Kafka's table of operations and resources,
//! <https://kafka.apache.org/documentation/#operations_resources_and_protocols>) and no others. A test
//! removes each of them in turn.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde::ser::{SerializeSeq, SerializeStruct, Serializer};
use sluice_core::names::{COLLECTOR_TOPICS, READER_GROUP, RECEIPTS};
use sluice_core::{ANY, AclOperation, AclResource, AclRule};

use super::{DesiredState, DesiredTopic, TopicAccess, WorldState};
use sluice_contract::contract::{Contract, RoleView, dead_letter_topic};
use sluice_contract::contracts::ContractSet;

/// Kafka's name of the cluster as a resource.
const CLUSTER: &str = "kafka-cluster";

/// A worker or command that has permissions of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the workers' and commands' names")]
pub enum FleetMember {
    Collector,
    Masker,
    Normaliser,
    Sink,
    Apply,
    Verify,
}

/// A member's principals and the group it reads by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberSeat {
    /// `User:name`, one or more.
    pub principals: Vec<String>,
    /// Its `group`: the consumer group, and the prefix of its transactional ids.
    pub group: String,
}

/// Principals of roles and members. The principal of a role or member that is missing here is `User:<its
/// name>`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AclPrincipals {
    /// Role of a contract → the principals that have it.
    pub roles: BTreeMap<String, Vec<String>>,
    /// Member → the principals that run it, and its group.
    pub members: BTreeMap<FleetMember, MemberSeat>,
}

impl FleetMember {
    /// All members, in the order of the enum.
    pub const ALL: [Self; 6] =
        [Self::Collector, Self::Masker, Self::Normaliser, Self::Sink, Self::Apply, Self::Verify];

    /// Returns the member's name, which is also its default group and user.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Collector => "collector",
            Self::Masker => "masker",
            Self::Normaliser => "normaliser",
            Self::Sink => "sink",
            Self::Apply => "apply",
            Self::Verify => "verify",
        }
    }
}

impl MemberSeat {
    /// Returns the seat of a member that the operator has not configured: `User:<name>`, group `<name>`.
    pub fn usual(member: FleetMember) -> Self {
        let name = member.as_str();
        Self { principals: vec![format!("User:{name}")], group: name.to_owned() }
    }
}

impl AclPrincipals {
    /// Returns the configured seat of a member, or its usual one.
    fn seat(&self, member: FleetMember) -> MemberSeat {
        self.members.get(&member).cloned().unwrap_or_else(|| MemberSeat::usual(member))
    }

    /// Returns the configured principals of a role, or `User:<role>`.
    fn of_role(&self, role: &str) -> Vec<String> {
        self.roles.get(role).cloned().unwrap_or_else(|| vec![format!("User:{role}")])
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
}

/// Returns every permission that the contracts and the workers ask for, sorted, each once.
pub(super) fn of(
    contracts: &ContractSet,
    topics: &[DesiredTopic],
    principals: &AclPrincipals,
) -> Vec<AclRule> {
    let mut all = BTreeSet::new();

    // The roles of each contract.
    for contract in contracts.iter() {
        for role in &contract.roles {
            let mut grants = GrantBuilder { all: &mut all, principals: principals.of_role(&role.name) };
            if role.writes {
                grants.topic(&contract.raw_topic, &[AclOperation::Write]);
            }
            if role.operates {
                operator(contract, principals, &mut grants);
            }
            if !role.reads {
                continue;
            }

            // Readers: open topics for all of them, restricted ones only with `view: raw`.
            for topic in topics.iter().filter(|topic| topic.contract == contract.id) {
                if topic.access == TopicAccess::Open || role.view == RoleView::Raw {
                    grants.topic(&topic.name, &[AclOperation::Read]);
                }
            }
            // Consumers need a group. Each role may use the groups whose names begin with the role's name.
            grants.add(AclResource::Group, &format!("{}-", role.name), true, &[AclOperation::Read]);
        }
    }

    // The workers, and the commands `apply` and `verify`.
    let seats = |member| principals.seat(member);
    for member in FleetMember::ALL {
        let MemberSeat { principals, group } = seats(member);
        let mut grants = GrantBuilder { all: &mut all, principals };
        match member {
            FleetMember::Apply => apply(topics, &mut grants),
            FleetMember::Verify => {
                verify(topics, &mut grants);
                // The check of conservation compares receipts with the positions of these groups.
                for reader in [FleetMember::Masker, FleetMember::Normaliser, FleetMember::Sink] {
                    let group = seats(reader).group;
                    let (name, prefixed) = match reader {
                        FleetMember::Sink => (format!("{group}-"), true),
                        _ => (group, false),
                    };
                    grants.add(AclResource::Group, &name, prefixed, &[AclOperation::Describe]);
                }
            }
            FleetMember::Collector | FleetMember::Masker | FleetMember::Normaliser | FleetMember::Sink => {
                contracts.iter().for_each(|contract| worker(member, contract, &mut grants));
                seat(member, &group, &mut grants);
            }
        }
    }
    all.into_iter().collect()
}

/// Grants a worker its permissions on the topics of one contract.
fn worker(member: FleetMember, contract: &Contract, grants: &mut GrantBuilder<'_>) {
    use AclOperation::{Read, Write};
    let (raw, masked) = (contract.raw_topic.as_str(), contract.masked_topic.as_str());
    let facts = contract.facts.as_ref().map(|facts| facts.topic.as_str());

    // A worker that reads a topic also writes its dead letters.
    let mut reads = |topic: &str| {
        grants.topic(topic, &[Read]);
        grants.topic(&dead_letter_topic(topic), &[Write]);
    };

    // The way of a record: collector, raw topic, masker, masked topic, normaliser, facts topic, sink.
    match (member, facts) {
        (FleetMember::Masker, _) => {
            reads(raw);
            grants.topic(masked, &[Write]);
        }
        (FleetMember::Normaliser, Some(facts)) => {
            reads(masked);
            grants.topic(facts, &[Write]);
        }
        (FleetMember::Sink, facts) => [Some(masked), facts].into_iter().flatten().for_each(reads),
        (FleetMember::Collector, _) => {
            grants.topic(raw, &[Write]);
            grants.topic(&dead_letter_topic(raw), &[Write]);
        }
        // A contract without facts is of no use to the normaliser. Commands get their permissions elsewhere.
        (FleetMember::Normaliser, None) | (FleetMember::Apply | FleetMember::Verify, _) => {}
    }
}

/// Grants the permissions that `sluice dead-letters` and `sluice replay` need for one contract. A replay acts
/// in the name of the live worker.
fn operator(contract: &Contract, principals: &AclPrincipals, grants: &mut GrantBuilder<'_>) {
    use AclOperation::{Describe, Read, Write};

    // A replay reads the inputs of masker and normaliser and writes their outputs.
    let facts = contract.facts.as_ref().map(|facts| facts.topic.as_str());
    let masked = contract.masked_topic.as_str();
    grants.topic(&contract.raw_topic, &[Read]);
    grants.topic(masked, &[Read, Write]);
    facts.into_iter().for_each(|facts| grants.topic(facts, &[Write]));

    // A replay reads dead letters, and writes those that are refused again. The receipts record both.
    let sources = [Some(contract.raw_topic.as_str()), Some(masked), facts];
    for source in sources.into_iter().flatten() {
        grants.topic(&dead_letter_topic(source), &[Read, Write]);
    }
    grants.topic(RECEIPTS, &[Read, Write]);
    grants.add(AclResource::Group, READER_GROUP, false, &[Describe]);

    // The replay's own transactional id keeps it from fencing the live worker's producers.
    for member in [FleetMember::Masker, FleetMember::Normaliser] {
        let MemberSeat { group, .. } = principals.seat(member);
        let replay = format!("{group}-{}-replay", member.as_str());
        grants.add(AclResource::TransactionalId, &replay, false, &[Write]);
        // The replay commits a first position for a group that has none.
        grants.add(AclResource::Group, &group, false, &[Read]);
    }
}

/// Grants a worker the permissions that do not depend on contracts: its group, its transactional ids, its own
/// topics.
fn seat(member: FleetMember, group: &str, grants: &mut GrantBuilder<'_>) {
    use AclOperation::{Create, Describe, Read, Write};
    match member {
        // Each lane has a transactional id of its own, <group>-<worker>-<slot>.
        FleetMember::Masker | FleetMember::Normaliser => {
            grants.topic(RECEIPTS, &[Write]);
            grants.add(AclResource::Group, group, false, &[Read]);
            let slots = format!("{group}-{}-", member.as_str());
            grants.add(AclResource::TransactionalId, &slots, true, &[Write]);
        }

        // Each store has a group of its own, <group>-<store>.
        FleetMember::Sink => {
            grants.topic(RECEIPTS, &[Write]);
            grants.add(AclResource::Group, &format!("{group}-"), true, &[Read]);
            grants.add(AclResource::TransactionalId, &format!("{group}-"), true, &[Write]);
        }

        // A collector reads no contract's topic, but creates, reads and writes topics of its own.
        FleetMember::Collector => {
            grants.add(AclResource::TransactionalId, &format!("{group}-"), true, &[Write]);
            grants.add(AclResource::Topic, COLLECTOR_TOPICS, true, &[Read, Write, Create]);
            grants.add(AclResource::Group, READER_GROUP, false, &[Describe]);
        }

        // The commands get their permissions from `apply` and `verify` below.
        FleetMember::Apply | FleetMember::Verify => {}
    }
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
