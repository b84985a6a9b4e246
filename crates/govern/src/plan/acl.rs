//! Who may do what: Kafka's ACLs from the contracts' roles and from the least that each worker needs.
//!
//! Whoever the contract gives `view: raw` reads raw topics; every role that reads sees what is masked; nobody else
//! reads anything. Producers (`access: write`) write the raw topic; operators (`access: operate`) look at dead letters
//! and do with a contract's topics what a replay of masker or normaliser does. A worker gets what its own calls ask for
//! (Kafka's table of operations and resources,
//! <https://kafka.apache.org/documentation/#operations_resources_and_protocols>) and nothing beyond; a test takes each
//! of them away in turn.

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

/// Who runs as what.
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
    /// Its `group`: consumer group and prefix of transactional ids.
    pub group: String,
}

/// Principals of roles and members. What it does not name is called as the role or member itself, `User:<name>`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AclPrincipals {
    /// Role of a contract → who has it.
    pub roles: BTreeMap<String, Vec<String>>,
    /// Member → who runs it.
    pub members: BTreeMap<FleetMember, MemberSeat>,
}

impl FleetMember {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Collector, Self::Masker, Self::Normaliser, Self::Sink, Self::Apply, Self::Verify];

    /// Its name.
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
    /// The seat of a member that nothing is said of.
    pub fn usual(member: FleetMember) -> Self {
        let name = member.as_str();
        Self { principals: vec![format!("User:{name}")], group: name.to_owned() }
    }
}

impl AclPrincipals {
    fn seat(&self, member: FleetMember) -> MemberSeat {
        self.members.get(&member).cloned().unwrap_or_else(|| MemberSeat::usual(member))
    }

    fn of_role(&self, role: &str) -> Vec<String> {
        self.roles.get(role).cloned().unwrap_or_else(|| vec![format!("User:{role}")])
    }
}

/// Writes a permission as an object of its parts.
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

/// Writes permissions as a list of objects.
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

/// Collects one principal set's permissions.
struct GrantBuilder<'a> {
    all: &'a mut BTreeSet<AclRule>,
    principals: Vec<String>,
}

impl GrantBuilder<'_> {
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

    fn topic(&mut self, name: &str, operations: &[AclOperation]) {
        self.add(AclResource::Topic, name, false, operations);
    }
}

/// Every permission that the contracts and the workers ask for, sorted.
pub(super) fn of(
    contracts: &ContractSet,
    topics: &[DesiredTopic],
    principals: &AclPrincipals,
) -> Vec<AclRule> {
    let mut all = BTreeSet::new();
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
            for topic in topics.iter().filter(|topic| topic.contract == contract.id) {
                if topic.access == TopicAccess::Open || role.view == RoleView::Raw {
                    grants.topic(&topic.name, &[AclOperation::Read]);
                }
            }
            // Consumers need a group; each role has the names that begin with its own.
            grants.add(AclResource::Group, &format!("{}-", role.name), true, &[AclOperation::Read]);
        }
    }
    let seats = |member| principals.seat(member);
    for member in FleetMember::ALL {
        let MemberSeat { principals, group } = seats(member);
        let mut grants = GrantBuilder { all: &mut all, principals };
        match member {
            FleetMember::Apply => apply(topics, &mut grants),
            FleetMember::Verify => {
                verify(topics, &mut grants);
                // Where each group stands is half of what conservation is checked against.
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

/// What a worker does with the topics of one contract.
fn worker(member: FleetMember, contract: &Contract, grants: &mut GrantBuilder<'_>) {
    use AclOperation::{Read, Write};
    let (raw, masked) = (contract.raw_topic.as_str(), contract.masked_topic.as_str());
    let facts = contract.facts.as_ref().map(|facts| facts.topic.as_str());
    let mut reads = |topic: &str| {
        grants.topic(topic, &[Read]);
        grants.topic(&dead_letter_topic(topic), &[Write]);
    };
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
        (FleetMember::Normaliser, None) | (FleetMember::Apply | FleetMember::Verify, _) => {}
    }
}

/// What `sluice dead-letters` and `sluice replay` do for one contract, in the live worker's name.
fn operator(contract: &Contract, principals: &AclPrincipals, grants: &mut GrantBuilder<'_>) {
    use AclOperation::{Describe, Read, Write};
    let facts = contract.facts.as_ref().map(|facts| facts.topic.as_str());
    let masked = contract.masked_topic.as_str();
    grants.topic(&contract.raw_topic, &[Read]);
    grants.topic(masked, &[Read, Write]);
    facts.into_iter().for_each(|facts| grants.topic(facts, &[Write]));
    let sources = [Some(contract.raw_topic.as_str()), Some(masked), facts];
    for source in sources.into_iter().flatten() {
        grants.topic(&dead_letter_topic(source), &[Read, Write]);
    }
    grants.topic(RECEIPTS, &[Read, Write]);
    grants.add(AclResource::Group, READER_GROUP, false, &[Describe]);
    for member in [FleetMember::Masker, FleetMember::Normaliser] {
        let MemberSeat { group, .. } = principals.seat(member);
        let replay = format!("{group}-{}-replay", member.as_str());
        grants.add(AclResource::TransactionalId, &replay, false, &[Write]);
        // A group without a position is given one.
        grants.add(AclResource::Group, &group, false, &[Read]);
    }
}

/// What a worker needs whatever the contracts say: its group, its transactional ids, its own topics.
fn seat(member: FleetMember, group: &str, grants: &mut GrantBuilder<'_>) {
    use AclOperation::{Create, Describe, Read, Write};
    match member {
        FleetMember::Masker | FleetMember::Normaliser => {
            grants.topic(RECEIPTS, &[Write]);
            grants.add(AclResource::Group, group, false, &[Read]);
            let slots = format!("{group}-{}-", member.as_str());
            grants.add(AclResource::TransactionalId, &slots, true, &[Write]);
        }
        // Each store reads as a group of its own, <group>-<store>.
        FleetMember::Sink => {
            grants.topic(RECEIPTS, &[Write]);
            grants.add(AclResource::Group, &format!("{group}-"), true, &[Read]);
            grants.add(AclResource::TransactionalId, &format!("{group}-"), true, &[Write]);
        }
        FleetMember::Collector => {
            grants.add(AclResource::TransactionalId, &format!("{group}-"), true, &[Write]);
            grants.add(AclResource::Topic, COLLECTOR_TOPICS, true, &[Read, Write, Create]);
            grants.add(AclResource::Group, READER_GROUP, false, &[Describe]);
        }
        FleetMember::Apply | FleetMember::Verify => {}
    }
}

/// `apply` itself, once someone with more rights has run it for the first time.
fn apply(topics: &[DesiredTopic], grants: &mut GrantBuilder<'_>) {
    use AclOperation::{Alter, AlterConfigs, Create, Describe, DescribeConfigs};
    // Create: topics that no contract knows yet. Alter and Describe: ACLs.
    grants.add(AclResource::Cluster, CLUSTER, false, &[Create, Alter, Describe]);
    for topic in topics {
        grants.topic(&topic.name, &[Describe, Alter, DescribeConfigs, AlterConfigs]);
    }
}

/// `verify` looks at everything and changes nothing.
fn verify(topics: &[DesiredTopic], grants: &mut GrantBuilder<'_>) {
    use AclOperation::{Describe, DescribeConfigs, Read};
    grants.add(AclResource::Cluster, CLUSTER, false, &[Describe]);
    grants.add(AclResource::Group, READER_GROUP, false, &[Describe]);
    for topic in topics {
        grants.topic(&topic.name, &[Read, DescribeConfigs]);
    }
}

/// What is missing, and what is there besides: permissions on our topics, groups and transactional ids that nobody
/// asked for. Nothing if the broker has no authoriser.
pub(super) fn compare(desired: &DesiredState, world: &WorldState) -> (Vec<AclRule>, Vec<AclRule>) {
    let Some(is) = &world.acls else { return (vec![], vec![]) };
    let wanted: BTreeSet<&AclRule> = desired.acls.iter().collect();
    let missing = desired.acls.iter().filter(|acl| !is.contains(*acl)).cloned().collect();
    let extra = is.iter().filter(|acl| !wanted.contains(acl) && touches(acl, desired)).cloned().collect();
    (missing, extra)
}

/// Is it about something of ours?
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
        // Rights over the whole cluster are the cluster's owner's to give.
        AclResource::Cluster => false,
    }
}

/// Is there a name that both mean?
fn overlap(acl: &AclRule, name: &str, prefixed: bool) -> bool {
    match (acl.prefixed, prefixed) {
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
