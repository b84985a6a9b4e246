//! Who may do what: Kafka's ACLs from the contracts' roles and from the least that each worker needs.
//!
//! Whoever the contract gives `view: raw` reads raw topics; every role that reads sees what is masked; nobody else
//! reads anything. Producers (`access: write`) write the raw topic; operators (`access: operate`) look at dead letters
//! and do with a contract's topics what a replay of masker or normaliser does. A worker gets what its own calls ask for
//! (Kafka's table of operations and resources,
//! <https://kafka.apache.org/documentation/#operations_resources_and_protocols>) and nothing beyond; a test takes each
//! of them away in turn.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::{Access, Desired, RECEIPTS, Topic, World};
use crate::contract::{Contract, View, dead_letter_topic};
use crate::contracts::Contracts;

/// Prefix of the topics that collectors keep their page checkpoints in.
const COLLECTOR_TOPICS: &str = "sluice.collector.";
/// Group by whose name topics are read outside any group: librdkafka asks for its coordinator, and no more.
pub const READER_GROUP: &str = "sluice-reader";
/// Kafka's name of the cluster as a resource.
const CLUSTER: &str = "kafka-cluster";
/// A name that stands for every one.
const ANY: &str = "*";

/// One permission: what is not permitted by any is refused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Acl {
    /// Who, `User:name`.
    pub principal: String,
    /// From where; `*` for anywhere.
    pub host: String,
    /// The kind of thing.
    pub resource: Resource,
    /// Its name, or the beginning of its name.
    pub name: String,
    /// The name is a beginning (Kafka's `PREFIXED`), not the whole (`LITERAL`).
    pub prefixed: bool,
    /// What may be done with it.
    pub operation: Operation,
}

/// Kinds of things that permissions are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "Kafka's own words")]
pub enum Resource {
    Topic,
    Group,
    TransactionalId,
    Cluster,
}

/// What may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "Kafka's own words")]
pub enum Operation {
    All,
    Read,
    Write,
    Create,
    Delete,
    Alter,
    Describe,
    ClusterAction,
    DescribeConfigs,
    AlterConfigs,
    IdempotentWrite,
}

/// Who runs as what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the workers' and commands' names")]
pub enum Member {
    Collector,
    Masker,
    Normaliser,
    Sink,
    Apply,
    Verify,
}

/// A member's principals and the group it reads by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// `User:name`, one or more.
    pub principals: Vec<String>,
    /// Its `group`: consumer group and prefix of transactional ids.
    pub group: String,
}

/// Principals of roles and members. What it does not name is called as the role or member itself, `User:<name>`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Principals {
    /// Role of a contract → who has it.
    pub roles: BTreeMap<String, Vec<String>>,
    /// Member → who runs it.
    pub members: BTreeMap<Member, Seat>,
}

impl Member {
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

impl Seat {
    /// The seat of a member that nothing is said of.
    pub fn usual(member: Member) -> Self {
        let name = member.as_str();
        Self { principals: vec![format!("User:{name}")], group: name.to_owned() }
    }
}

impl Principals {
    fn seat(&self, member: Member) -> Seat {
        self.members.get(&member).cloned().unwrap_or_else(|| Seat::usual(member))
    }

    fn of_role(&self, role: &str) -> Vec<String> {
        self.roles.get(role).cloned().unwrap_or_else(|| vec![format!("User:{role}")])
    }
}

/// Collects one principal set's permissions.
struct Grants<'a> {
    all: &'a mut BTreeSet<Acl>,
    principals: Vec<String>,
}

impl Grants<'_> {
    fn add(&mut self, resource: Resource, name: &str, prefixed: bool, operations: &[Operation]) {
        for principal in &self.principals {
            self.all.extend(operations.iter().map(|operation| Acl {
                principal: principal.clone(),
                host: ANY.to_owned(),
                resource,
                name: name.to_owned(),
                prefixed,
                operation: *operation,
            }));
        }
    }

    fn topic(&mut self, name: &str, operations: &[Operation]) {
        self.add(Resource::Topic, name, false, operations);
    }
}

/// Every permission that the contracts and the workers ask for, sorted.
pub(super) fn of(contracts: &Contracts, topics: &[Topic], principals: &Principals) -> Vec<Acl> {
    let mut all = BTreeSet::new();
    for contract in contracts.iter() {
        for role in &contract.roles {
            let mut grants = Grants { all: &mut all, principals: principals.of_role(&role.name) };
            if role.writes {
                grants.topic(&contract.raw_topic, &[Operation::Write]);
            }
            if role.operates {
                operator(contract, principals, &mut grants);
            }
            if !role.reads {
                continue;
            }
            for topic in topics.iter().filter(|topic| topic.contract == contract.id) {
                if topic.access == Access::Open || role.view == View::Raw {
                    grants.topic(&topic.name, &[Operation::Read]);
                }
            }
            // Consumers need a group; each role has the names that begin with its own.
            grants.add(Resource::Group, &format!("{}-", role.name), true, &[Operation::Read]);
        }
    }
    let seats = |member| principals.seat(member);
    for member in Member::ALL {
        let Seat { principals, group } = seats(member);
        let mut grants = Grants { all: &mut all, principals };
        match member {
            Member::Apply => apply(topics, &mut grants),
            Member::Verify => {
                verify(topics, &mut grants);
                // Where each group stands is half of what conservation is checked against.
                for reader in [Member::Masker, Member::Normaliser, Member::Sink] {
                    let group = seats(reader).group;
                    let (name, prefixed) = match reader {
                        Member::Sink => (format!("{group}-"), true),
                        _ => (group, false),
                    };
                    grants.add(Resource::Group, &name, prefixed, &[Operation::Describe]);
                }
            }
            Member::Collector | Member::Masker | Member::Normaliser | Member::Sink => {
                contracts.iter().for_each(|contract| worker(member, contract, &mut grants));
                seat(member, &group, &mut grants);
            }
        }
    }
    all.into_iter().collect()
}

/// What a worker does with the topics of one contract.
fn worker(member: Member, contract: &Contract, grants: &mut Grants<'_>) {
    use Operation::{Read, Write};
    let (raw, masked) = (contract.raw_topic.as_str(), contract.masked_topic.as_str());
    let facts = contract.facts.as_ref().map(|facts| facts.topic.as_str());
    let mut reads = |topic: &str| {
        grants.topic(topic, &[Read]);
        grants.topic(&dead_letter_topic(topic), &[Write]);
    };
    match (member, facts) {
        (Member::Masker, _) => {
            reads(raw);
            grants.topic(masked, &[Write]);
        }
        (Member::Normaliser, Some(facts)) => {
            reads(masked);
            grants.topic(facts, &[Write]);
        }
        (Member::Sink, facts) => [Some(masked), facts].into_iter().flatten().for_each(reads),
        (Member::Collector, _) => {
            grants.topic(raw, &[Write]);
            grants.topic(&dead_letter_topic(raw), &[Write]);
        }
        (Member::Normaliser, None) | (Member::Apply | Member::Verify, _) => {}
    }
}

/// What `sluice dead-letters` and `sluice replay` do for one contract, in the live worker's name.
fn operator(contract: &Contract, principals: &Principals, grants: &mut Grants<'_>) {
    use Operation::{Describe, Read, Write};
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
    grants.add(Resource::Group, READER_GROUP, false, &[Describe]);
    for member in [Member::Masker, Member::Normaliser] {
        let Seat { group, .. } = principals.seat(member);
        let replay = format!("{group}-{}-replay", member.as_str());
        grants.add(Resource::TransactionalId, &replay, false, &[Write]);
        // A group without a position is given one.
        grants.add(Resource::Group, &group, false, &[Read]);
    }
}

/// What a worker needs whatever the contracts say: its group, its transactional ids, its own topics.
fn seat(member: Member, group: &str, grants: &mut Grants<'_>) {
    use Operation::{Create, Describe, Read, Write};
    match member {
        Member::Masker | Member::Normaliser => {
            grants.topic(RECEIPTS, &[Write]);
            grants.add(Resource::Group, group, false, &[Read]);
            let slots = format!("{group}-{}-", member.as_str());
            grants.add(Resource::TransactionalId, &slots, true, &[Write]);
        }
        // Each store reads as a group of its own, <group>-<store>.
        Member::Sink => {
            grants.topic(RECEIPTS, &[Write]);
            grants.add(Resource::Group, &format!("{group}-"), true, &[Read]);
            grants.add(Resource::TransactionalId, &format!("{group}-"), true, &[Write]);
        }
        Member::Collector => {
            grants.add(Resource::TransactionalId, &format!("{group}-"), true, &[Write]);
            grants.add(Resource::Topic, COLLECTOR_TOPICS, true, &[Read, Write, Create]);
            grants.add(Resource::Group, READER_GROUP, false, &[Describe]);
        }
        Member::Apply | Member::Verify => {}
    }
}

/// `apply` itself, once someone with more rights has run it for the first time.
fn apply(topics: &[Topic], grants: &mut Grants<'_>) {
    use Operation::{Alter, AlterConfigs, Create, Describe, DescribeConfigs};
    // Create: topics that no contract knows yet. Alter and Describe: ACLs.
    grants.add(Resource::Cluster, CLUSTER, false, &[Create, Alter, Describe]);
    for topic in topics {
        grants.topic(&topic.name, &[Describe, Alter, DescribeConfigs, AlterConfigs]);
    }
}

/// `verify` looks at everything and changes nothing.
fn verify(topics: &[Topic], grants: &mut Grants<'_>) {
    use Operation::{Describe, DescribeConfigs, Read};
    grants.add(Resource::Cluster, CLUSTER, false, &[Describe]);
    grants.add(Resource::Group, READER_GROUP, false, &[Describe]);
    for topic in topics {
        grants.topic(&topic.name, &[Read, DescribeConfigs]);
    }
}

/// What is missing, and what is there besides: permissions on our topics, groups and transactional ids that nobody
/// asked for. Nothing if the broker has no authoriser.
pub(super) fn compare(desired: &Desired, world: &World) -> (Vec<Acl>, Vec<Acl>) {
    let Some(is) = &world.acls else { return (vec![], vec![]) };
    let wanted: BTreeSet<&Acl> = desired.acls.iter().collect();
    let missing = desired.acls.iter().filter(|acl| !is.contains(*acl)).cloned().collect();
    let extra = is.iter().filter(|acl| !wanted.contains(acl) && touches(acl, desired)).cloned().collect();
    (missing, extra)
}

/// Is it about something of ours?
fn touches(acl: &Acl, desired: &Desired) -> bool {
    let topics = || desired.topics.iter().any(|topic| overlap(acl, &topic.name, false));
    let members = || {
        desired
            .acls
            .iter()
            .any(|ours| ours.resource == acl.resource && overlap(acl, &ours.name, ours.prefixed))
    };
    match acl.resource {
        Resource::Topic => topics() || members(),
        Resource::Group | Resource::TransactionalId => members(),
        // Rights over the whole cluster are the cluster's owner's to give.
        Resource::Cluster => false,
    }
}

/// Is there a name that both mean?
fn overlap(acl: &Acl, name: &str, prefixed: bool) -> bool {
    match (acl.prefixed, prefixed) {
        (false, _) if acl.name == ANY => true,
        (false, false) => acl.name == name,
        (true, false) => name.starts_with(&acl.name),
        (false, true) => acl.name.starts_with(name),
        (true, true) => name.starts_with(&acl.name) || acl.name.starts_with(name),
    }
}

impl Resource {
    /// Kafka's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::Group => "group",
            Self::TransactionalId => "transactional id",
            Self::Cluster => "cluster",
        }
    }
}

impl Operation {
    /// Kafka's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "All",
            Self::Read => "Read",
            Self::Write => "Write",
            Self::Create => "Create",
            Self::Delete => "Delete",
            Self::Alter => "Alter",
            Self::Describe => "Describe",
            Self::ClusterAction => "ClusterAction",
            Self::DescribeConfigs => "DescribeConfigs",
            Self::AlterConfigs => "AlterConfigs",
            Self::IdempotentWrite => "IdempotentWrite",
        }
    }
}

impl fmt::Display for Acl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { principal, host, resource, name, prefixed, operation } = self;
        write!(f, "{principal} {} {} {name}", operation.as_str(), resource.as_str())?;
        if *prefixed {
            f.write_str("*")?;
        }
        if host != ANY {
            write!(f, " from {host}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(resource: Resource, name: &str, prefixed: bool) -> Acl {
        let (principal, host) = ("User:somebody".to_owned(), ANY.to_owned());
        Acl { principal, host, resource, name: name.to_owned(), prefixed, operation: Operation::Read }
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
            assert_eq!(overlap(&acl(Resource::Topic, name, prefixed), raw, false), meant, "{name}");
        }
        assert!(overlap(&acl(Resource::Group, "lake-delta", false), "lake-", true));
        assert!(overlap(&acl(Resource::Group, "la", true), "lake-", true));
    }

    #[test]
    fn people_read_who_what_and_where() {
        let mut shown = acl(Resource::TransactionalId, "masker-", true);
        shown.host = "10.0.0.1".into();
        assert_eq!(shown.to_string(), "User:somebody Read transactional id masker-* from 10.0.0.1");
    }
}
