//! The plan: what the contracts ask of the world, against what is there. Pure; whoever may do I/O looks at the world
//! and carries the changes out, in order.
//!
//! ```text
//!  Contracts ─► Desired ─┐
//!                        ├─► diff ─► Plan { changes (ordered), refusals }
//!  servers ──► World ────┘
//! ```
//!
//! The order is one that can be broken off anywhere and begun again: topics before what is said about them and who may
//! use them, levels of compatibility before schemas, masked schemas before the raw ones that lead to them. What destroys is no change but
//! a refusal, unless it is allowed by name.

mod acl;
mod batch;
mod desired;
mod diff;
mod place;

pub use acl::{AclPrincipals, FleetMember, MemberSeat};
pub use batch::together;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use acl::{serialize_acl, serialize_acls};
use serde::Serialize;
use sluice_core::AclRule;

use crate::compatibility::{SchemaIncompatibility, SubjectVersion};
use crate::proof::ProofLeak;
use sluice_contract::contract::CompatibilityLevel;

/// Kafka's name of the setting that says how long records stay.
pub const RETENTION: &str = "retention.ms";
/// Kafka's name of the setting that says what happens to old records.
pub const CLEANUP: &str = "cleanup.policy";

/// Everything the contracts ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DesiredState {
    /// The fleet's own topic, then topics by contract: raw, masked, facts and the dead letters of each.
    pub topics: Vec<DesiredTopic>,
    /// Subjects, masked and facts before raw.
    pub subjects: Vec<DesiredSubject>,
    /// Permissions of roles and workers, sorted.
    #[serde(serialize_with = "serialize_acls")]
    pub acls: Vec<AclRule>,
}

/// A topic as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DesiredTopic {
    /// Its name.
    pub name: String,
    /// Id of the contract that asks for it.
    pub contract: String,
    /// What it holds.
    pub purpose: TopicPurpose,
    /// Who may read it.
    pub access: TopicAccess,
    /// Partitions, at least 1.
    pub partitions: u32,
    /// Settings by Kafka's names, `retention.ms` and `cleanup.policy` among them.
    pub config: BTreeMap<String, String>,
}

/// What a topic holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TopicPurpose {
    /// Records as the producer wrote them.
    Raw,
    /// Records as the masker wrote them.
    Masked,
    /// Facts taken from masked records.
    Facts,
    /// Records that could not be handled, as they came.
    DeadLetter,
    /// What the workers account for; numbers and names of places only.
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
    /// It describes what producers write.
    pub raw: bool,
    /// It describes records that land in a table: masked ones, or facts.
    pub lands: bool,
    /// The schema that must be registered under it, as JSON text.
    pub schema: String,
    /// How its schemas may change.
    pub compatibility: CompatibilityLevel,
}

/// What is there, as far as the plan asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorldState {
    /// Topics that exist.
    pub topics: BTreeMap<String, TopicState>,
    /// Subjects that exist, or have a level of their own.
    pub subjects: BTreeMap<String, SubjectState>,
    /// Permissions that exist; `None` if the brokers have no authoriser and everybody may do everything.
    pub acls: Option<BTreeSet<AclRule>>,
}

/// A topic as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicState {
    /// How many partitions it has.
    pub partitions: u32,
    /// Settings as the broker reports them, defaults included.
    pub config: BTreeMap<String, String>,
}

/// A subject as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubjectState {
    /// The wanted schema is registered under it, in whatever version.
    pub registered: bool,
    /// It has a version, so that another one must be compatible.
    pub has_versions: bool,
    /// Its own level, if it has one.
    pub compatibility: Option<CompatibilityLevel>,
    /// Versions registered so far, in order, if the wanted schema is not among them: it must go with them.
    pub earlier: Vec<SubjectVersion>,
    /// What the registry itself says against the wanted schema; empty if nothing.
    pub incompatible: Vec<String>,
}

/// What destroys, allowed by name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlanAllowance {
    /// A shorter retention: records go that are there now.
    pub shorter_retention: bool,
    /// Another cleanup policy: compaction removes earlier records of a key, deletion removes keys.
    pub other_cleanup: bool,
    /// Permissions on our topics, groups and ids that no contract asks for are taken away.
    pub remove_acls: bool,
}

/// What would be done, and what will not be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ContractPlan {
    /// In the order in which they are to be carried out.
    pub changes: Vec<PlanChange>,
    /// Nothing is carried out while there is one.
    pub refusals: Vec<PlanRefusal>,
    /// Permissions that no contract and no worker asks for; `apply` leaves them unless it is allowed to remove them.
    #[serde(serialize_with = "serialize_acls")]
    pub extra_acls: Vec<AclRule>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "change")]
pub enum PlanChange {
    /// The topic is not there.
    CreateTopic {
        /// As it should be.
        topic: DesiredTopic,
    },
    /// It has fewer partitions than it should. Keys that are new go to other partitions from then on.
    RaisePartitions {
        /// Name of the topic.
        topic: String,
        /// As it is.
        from: u32,
        /// As it should be.
        to: u32,
    },
    /// A setting differs.
    AlterConfig {
        /// Name of the topic.
        topic: String,
        /// Name of the setting.
        key: String,
        /// As it is, if the broker says.
        from: Option<String>,
        /// As it should be.
        to: String,
    },
    /// A role or a worker has not got what it needs.
    CreateAcl {
        /// The permission.
        #[serde(serialize_with = "serialize_acl")]
        acl: AclRule,
    },
    /// Nobody asks for it.
    RemoveAcl {
        /// The permission.
        #[serde(serialize_with = "serialize_acl")]
        acl: AclRule,
    },
    /// The subject's level differs, or it has none of its own.
    SetCompatibility {
        /// Name of the subject.
        subject: String,
        /// As it is.
        from: Option<CompatibilityLevel>,
        /// As it should be.
        to: CompatibilityLevel,
    },
    /// The schema is not registered under the subject.
    RegisterSchema {
        /// Name of the subject.
        subject: String,
        /// The schema, as JSON text.
        schema: String,
        /// No schema was registered before.
        first: bool,
        /// It is the producers' own: what is derived from it is registered before.
        raw: bool,
    },
}

/// What the plan does not do, because it destroys or breaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "refusal")]
pub enum PlanRefusal {
    /// Kafka cannot take partitions away.
    FewerPartitions {
        /// Name of the topic.
        topic: String,
        /// As it is.
        is: u32,
        /// As the contract has it.
        wanted: u32,
    },
    /// Records would go that are there now.
    ShorterRetention {
        /// Name of the topic.
        topic: String,
        /// Milliseconds, -1 for ever.
        is: i64,
        /// Milliseconds.
        wanted: i64,
    },
    /// Another cleanup policy.
    OtherCleanup {
        /// Name of the topic.
        topic: String,
        /// As it is.
        is: String,
        /// As the contract has it.
        wanted: String,
    },
    /// Readers or writers of the subject would break.
    Incompatible {
        /// Name of the subject.
        subject: String,
        /// Where, and who would break.
        breaks: Vec<SchemaIncompatibility>,
        /// What the registry says besides.
        why: Vec<String>,
    },
    /// A table of the warehouse cannot take the masked schema in.
    Table {
        /// Name of the topic.
        topic: String,
        /// Path of the field.
        path: String,
        /// What stands in the way.
        why: String,
    },
    /// A leaf would get out without a masking step.
    Leak {
        /// Its way, and the file to mend.
        leak: ProofLeak,
    },
}

impl ContractPlan {
    /// Compares the two.
    pub fn diff(desired: &DesiredState, world: &WorldState, allow: PlanAllowance) -> Self {
        diff::diff(desired, world, allow)
    }

    /// The world is as the contracts have it.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.refusals.is_empty() && self.extra_acls.is_empty()
    }
}

impl TopicAccess {
    /// The word people read.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Restricted => "restricted",
            Self::Open => "open",
        }
    }
}

impl fmt::Display for PlanChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateTopic { topic } => {
                let DesiredTopic { name, partitions, access, config, .. } = topic;
                let access = access.as_str();
                write!(f, "create topic {name} ({access}, {partitions} partitions")?;
                config.iter().try_for_each(|(key, value)| write!(f, ", {key}={value}"))?;
                f.write_str(")")
            }
            Self::RaisePartitions { topic, from, to } => {
                write!(f, "topic {topic}: partitions {from} -> {to}")
            }
            Self::AlterConfig { topic, key, from: Some(from), to } => {
                write!(f, "topic {topic}: {key} {from} -> {to}")
            }
            Self::AlterConfig { topic, key, from: None, to } => write!(f, "topic {topic}: {key} -> {to}"),
            Self::CreateAcl { acl } => write!(f, "permit {acl}"),
            Self::RemoveAcl { acl } => write!(f, "no longer permit {acl}"),
            Self::SetCompatibility { subject, from: Some(from), to } => {
                write!(f, "subject {subject}: compatibility {from} -> {to}")
            }
            Self::SetCompatibility { subject, from: None, to } => {
                write!(f, "subject {subject}: compatibility -> {to}")
            }
            Self::RegisterSchema { subject, first: true, .. } => {
                write!(f, "subject {subject}: register the first schema")
            }
            Self::RegisterSchema { subject, first: false, .. } => {
                write!(f, "subject {subject}: register a new version")
            }
        }
    }
}

impl fmt::Display for PlanRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FewerPartitions { topic, is, wanted } => {
                write!(
                    f,
                    "topic {topic} has {is} partitions, the contract {wanted}: Kafka cannot take any away"
                )
            }
            Self::ShorterRetention { topic, is, wanted } => {
                write!(f, "topic {topic}: {RETENTION} {is} -> {wanted} would delete records")
            }
            Self::OtherCleanup { topic, is, wanted } => {
                write!(f, "topic {topic}: {CLEANUP} {is} -> {wanted} would delete records")
            }
            Self::Incompatible { subject, breaks, why } => {
                let found = breaks.iter().map(ToString::to_string).chain(why.iter().cloned());
                let found = found.collect::<Vec<_>>().join("; ");
                write!(f, "subject {subject}: the schema is not compatible: {found}")
            }
            Self::Table { topic, path, why } => write!(f, "table of {topic}: `{path}`: {why}"),
            Self::Leak { leak } => {
                write!(f, "{}: no masking step on this way", leak.path.join(" -> "))
            }
        }
    }
}
