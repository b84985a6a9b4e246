//! The plan: the difference between the state that the contracts ask for and the state of the servers.
//!
//! ```text
//!  ContractSet ─► DesiredState ─┐
//!                               ├─► diff ─► ContractPlan { changes (ordered), refusals }
//!  servers ─────► WorldState ───┘
//! ```
//!
//! The module is pure. Its callers read the servers and carry the changes out, in order.
//!
//! `apply` may stop between any two changes and start again. The order of the changes makes this safe: topics
//! come before their settings and permissions, compatibility levels before schemas, masked schemas before the
//! raw schemas that lead to them. A change that destroys data is a refusal, unless [`PlanAllowance`] allows
//! it by name.

mod acl;
mod batch;
mod desired;
mod diff;
mod owner;
mod place;
mod sentence;
mod summary;

pub use acl::{APPLY, AclPrincipals, MemberSeat, SeatShare, VERIFY};
pub use batch::together;
pub use owner::PlanOwnership;
pub(crate) use sentence::time_text;
pub use summary::{ChangeEffect, PlanSummary};

use std::collections::{BTreeMap, BTreeSet};

use acl::{serialize_acl, serialize_acls};
use serde::Serialize;
use sluice_core::AclRule;

use crate::compatibility::{SchemaIncompatibility, SubjectVersion};
use crate::proof::ProofLeak;
use sluice_contract::contract::CompatibilityLevel;

/// Kafka's name of the setting for the time that records stay, in milliseconds; -1 for ever.
pub const RETENTION: &str = "retention.ms";
/// Kafka's name of the setting for the treatment of old records: `delete`, `compact` or both.
pub const CLEANUP: &str = "cleanup.policy";
/// Kafka's name of the setting for the copies that must have a record before it counts as written.
pub const MIN_COPIES: &str = "min.insync.replicas";

/// Everything that the contracts ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DesiredState {
    /// The topic of receipts, then the topics of each contract: raw, masked and facts, each with its dead
    /// letters.
    pub topics: Vec<DesiredTopic>,
    /// Subjects. Those of masked topics and facts come before those of raw topics.
    pub subjects: Vec<DesiredSubject>,
    /// Permissions of roles and workers, sorted.
    #[serde(serialize_with = "serialize_acls")]
    pub acls: Vec<AclRule>,
    /// Copies of each new topic, at least 1.
    pub copies: u32,
}

/// A topic as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DesiredTopic {
    /// Its name.
    pub name: String,
    /// Id of the contract that asks for it.
    pub contract: String,
    /// The kind of records that it holds.
    pub purpose: TopicPurpose,
    /// Who may read it.
    pub access: TopicAccess,
    /// Partitions, at least 1.
    pub partitions: u32,
    /// Settings by Kafka's names, `retention.ms` and `cleanup.policy` among them.
    pub config: BTreeMap<String, String>,
}

/// The kind of records that a topic holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TopicPurpose {
    /// Records as the producer wrote them.
    Raw,
    /// Records as the masker wrote them.
    Masked,
    /// Facts taken from masked records.
    Facts,
    /// Records that could not be handled, key and value unchanged.
    DeadLetter,
    /// The workers' receipts: numbers, and names of topics and groups, but no value of a record.
    Receipts,
}

/// Who may read a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TopicAccess {
    /// Only roles that the contract gives `view: raw`, and the workers that need it.
    Restricted,
    /// Every role of the contract.
    Open,
}

/// A subject of the registry as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DesiredSubject {
    /// Its name.
    pub subject: String,
    /// Id of the contract that asks for it.
    pub contract: String,
    /// The topic whose values, or keys, it describes.
    pub topic: String,
    /// The subject describes the producers' records.
    pub raw: bool,
    /// The subject describes records that land in a table: masked records, or facts.
    pub lands: bool,
    /// The schema that must be registered under it, as JSON text.
    pub schema: String,
    /// The compatibility that the registry must demand of a new version.
    pub compatibility: CompatibilityLevel,
}

/// The state of the servers, as far as the plan needs it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorldState {
    /// Topics that exist.
    pub topics: BTreeMap<String, TopicState>,
    /// Subjects that exist, or have a compatibility level of their own.
    pub subjects: BTreeMap<String, SubjectState>,
    /// Permissions that exist; `None` if the brokers have no authoriser, so that every client may do
    /// everything.
    pub acls: Option<BTreeSet<AclRule>>,
}

/// A topic as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicState {
    /// The number of its partitions.
    pub partitions: u32,
    /// The copies of the partition that has the fewest; 0 if they are not known.
    pub copies: u32,
    /// Settings as the broker reports them, defaults included.
    pub config: BTreeMap<String, String>,
}

/// A subject as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubjectState {
    /// The wanted schema is registered under the subject, in any version.
    pub registered: bool,
    /// The subject has at least one version. A new version must be compatible.
    pub has_versions: bool,
    /// The subject's own level; `None` if the registry's default applies.
    pub compatibility: Option<CompatibilityLevel>,
    /// The registered versions, in order; empty if the wanted schema is one of them. It must be compatible
    /// with them.
    pub earlier: Vec<SubjectVersion>,
    /// The registry's own reasons against the wanted schema; empty if it has none.
    pub incompatible: Vec<String>,
}

/// Destructive changes that the operator allows by name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlanAllowance {
    /// A shorter retention. Kafka deletes records that exist now.
    pub shorter_retention: bool,
    /// Another cleanup policy. Compaction removes earlier records of a key, deletion removes keys.
    pub other_cleanup: bool,
    /// The removal of permissions on the fleet's topics, groups and ids that no contract asks for.
    pub remove_acls: bool,
}

/// The changes that `apply` makes, and the ones that it refuses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ContractPlan {
    /// The changes, in the order in which they must be carried out.
    pub changes: Vec<PlanChange>,
    /// The refused changes. While there is one, `apply` carries out nothing.
    pub refusals: Vec<PlanRefusal>,
    /// Permissions that no contract and no worker asks for. `apply` removes them only if it is allowed to.
    #[serde(serialize_with = "serialize_acls")]
    pub extra_acls: Vec<AclRule>,
    /// Topics that have one copy, or would get one: a broken disk loses their records.
    pub one_copy: Vec<String>,
}

/// One change of the world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "change")]
pub enum PlanChange {
    /// The topic does not exist.
    CreateTopic {
        /// The topic as it should be.
        topic: DesiredTopic,
        /// Copies of each of its partitions.
        copies: u32,
    },
    /// The topic has fewer partitions than it should. From then on, keys can go to other partitions than
    /// before.
    RaisePartitions {
        /// Name of the topic.
        topic: String,
        /// Its present number of partitions.
        from: u32,
        /// Its future number of partitions.
        to: u32,
    },
    /// A setting differs.
    AlterConfig {
        /// Name of the topic.
        topic: String,
        /// Name of the setting.
        key: String,
        /// Its present value, if the broker reports one.
        from: Option<String>,
        /// Its future value.
        to: String,
    },
    /// A role or a worker lacks a permission that it needs.
    CreateAcl {
        /// The permission.
        #[serde(serialize_with = "serialize_acl")]
        acl: AclRule,
    },
    /// No contract and no worker asks for the permission.
    RemoveAcl {
        /// The permission.
        #[serde(serialize_with = "serialize_acl")]
        acl: AclRule,
    },
    /// The subject's level differs, or it has none of its own.
    SetCompatibility {
        /// Name of the subject.
        subject: String,
        /// Its present level; `None` if it has none of its own.
        from: Option<CompatibilityLevel>,
        /// Its future level.
        to: CompatibilityLevel,
    },
    /// The schema is not registered under the subject.
    RegisterSchema {
        /// Name of the subject.
        subject: String,
        /// The schema, as JSON text.
        schema: String,
        /// The subject has no schema yet.
        first: bool,
        /// The schema is the producers' own. The schemas derived from it are registered before it.
        raw: bool,
    },
}

/// A change that the plan refuses, because it destroys data or breaks readers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "refusal")]
pub enum PlanRefusal {
    /// The contract asks for fewer partitions. Kafka cannot remove partitions.
    FewerPartitions {
        /// Name of the topic.
        topic: String,
        /// The topic's number of partitions.
        is: u32,
        /// The contract's number of partitions.
        wanted: u32,
    },
    /// The contract asks for a shorter retention. Kafka would delete records that exist now.
    ShorterRetention {
        /// Name of the topic.
        topic: String,
        /// The topic's retention in milliseconds, -1 for ever.
        is: i64,
        /// The contract's retention in milliseconds.
        wanted: i64,
    },
    /// The contract asks for another cleanup policy.
    OtherCleanup {
        /// Name of the topic.
        topic: String,
        /// The topic's policy.
        is: String,
        /// The contract's policy.
        wanted: String,
    },
    /// Readers or writers of the subject would break.
    Incompatible {
        /// Name of the subject.
        subject: String,
        /// The fields, and the readers or records that would break.
        breaks: Vec<SchemaIncompatibility>,
        /// The registry's own reasons, if ours are missing.
        why: Vec<String>,
    },
    /// A table of the warehouse cannot store records of the masked schema.
    Table {
        /// Name of the topic.
        topic: String,
        /// Path of the field.
        path: String,
        /// The reason.
        why: String,
    },
    /// A leaf would reach an open place without a masking step.
    Leak {
        /// The leaf's way, and the file to mend.
        leak: ProofLeak,
    },
}

impl ContractPlan {
    /// Returns the changes that lead from `world` to `desired`, and the ones that are refused.
    pub fn diff(desired: &DesiredState, world: &WorldState, allow: PlanAllowance) -> Self {
        diff::diff(desired, world, allow)
    }

    /// Returns true if the world is as the contracts ask, without a permission too many.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.refusals.is_empty() && self.extra_acls.is_empty()
    }
}

impl TopicAccess {
    /// Returns the word for the operator.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Restricted => "restricted",
            Self::Open => "open",
        }
    }
}
