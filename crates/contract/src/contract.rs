//! A contract as the fleet uses it: read and checked, with all defaults filled in.

pub use sluice_core::names::{dead_letter_topic, value_subject};
use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use sluice_wire::{DatumSchema, LeafInfo};

use crate::contracts::CONTRACT_FILE;
use crate::coverage::ancestors;
use crate::key::RecordKey;
use crate::masking::MaskOperation;

/// The status of a contract that is still being written.
const DRAFT: &str = "draft";

/// One topic's contract and all that is derived from it. Only [`crate::ContractSet::parse`] makes one.
#[derive(Debug, Clone)]
pub struct Contract {
    /// Name of the contract, unique among the contracts.
    pub id: String,
    /// Version of the contract, semantic.
    pub version: String,
    /// Status in the terms of the ODCS, for example `draft`, `active` or `deprecated`.
    pub status: String,
    /// Business domain; also the name of the folder above the contract's own.
    pub domain: String,
    /// Purpose of the data, if the contract gives one.
    pub description: Option<String>,
    /// The team that answers for the contract.
    pub owner: ContractOwner,
    /// Folder of the files, as the caller named it.
    pub folder: String,
    /// The producer's topic; restricted.
    pub raw_topic: String,
    /// The masked topic; open to analysts.
    pub masked_topic: String,
    /// Partitions of the raw topic, and so of the masked one.
    pub partitions: u32,
    /// Time for which records stay in the topic.
    pub retention: TopicRetention,
    /// Kafka's treatment of old records.
    pub cleanup: CleanupPolicy,
    /// Other topic settings, by Kafka's names.
    pub topic_config: BTreeMap<String, String>,
    /// The changes that the registry allows for schemas of the contract's subjects.
    pub compatibility: CompatibilityLevel,
    /// Writer schema of the value.
    pub value: DatumSchema,
    /// The Kafka key and its masking.
    pub record_key: RecordKey,
    /// Path of the leaf that identifies the person whose data a record is.
    pub subject_key: Option<String>,
    /// Headers that go on to masked topics; all other headers stay behind.
    pub headers: Vec<String>,
    /// Every leaf of the value, in schema order, with its policy.
    pub fields: Vec<ContractField>,
    /// The facts that the normaliser takes from the masked records.
    pub facts: Option<ContractFacts>,
    /// The warehouse's treatment of the masked records.
    pub warehouse: WarehouseSettings,
    /// The roles and their permissions.
    pub roles: Vec<ContractRole>,
    /// Operations for whole records, arrays, maps and unions of the value, by path: drop or null.
    pub(crate) subtrees: BTreeMap<String, MaskOperation>,
    /// Derived schema of the masked value.
    pub(crate) masked: DatumSchema,
    /// Lines of the contract file, by path of a leaf or path of a setting.
    pub(crate) lines: BTreeMap<String, u32>,
}

/// One leaf and its policy.
#[derive(Debug, Clone)]
pub struct ContractField {
    /// Path, type, nullability.
    pub leaf: LeafInfo,
    /// The masking operation.
    pub op: MaskOperation,
    /// `public`, `internal`, `confidential`, `restricted` or another word that the organisation uses.
    pub classification: String,
    /// Tags, sorted. The `.avsc` and the contract have the same ones.
    pub tags: Vec<String>,
}

/// The team that answers for a contract.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ContractOwner {
    /// Name of the team.
    pub team: String,
    /// User names of the members whose role is `owner`.
    pub contacts: Vec<String>,
}

/// The time for which records stay in the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum TopicRetention {
    /// A number of milliseconds, above zero.
    Millis(i64),
    /// As long as the topic exists.
    Forever,
}

/// Kafka's `cleanup.policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CleanupPolicy {
    /// Old segments are deleted.
    Delete,
    /// The last record of each key stays.
    Compact,
    /// Both.
    CompactDelete,
}

/// The registry's compatibility levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs, reason = "the registry's own words")]
pub enum CompatibilityLevel {
    None,
    Backward,
    BackwardTransitive,
    Forward,
    ForwardTransitive,
    Full,
    FullTransitive,
}

/// Facts taken from the masked records: one per record and attribute that is not null.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ContractFacts {
    /// Topic of the facts.
    pub topic: String,
    /// Kind of the entity, for example `flight`.
    pub entity_type: String,
    /// Paths of the leaves that together identify the entity.
    pub entity: Vec<String>,
    /// Path of the leaf with the time of the facts.
    pub time: String,
    /// Paths of the leaves that become facts.
    pub attributes: Vec<String>,
}

/// The warehouse's treatment of a masked topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WarehouseSettings {
    /// The effect of a record on the table.
    pub mode: WarehouseMode,
    /// Fields by which rows are clustered.
    pub cluster: Vec<String>,
    /// The partitions of the table, if it has any.
    pub partition: Option<TablePartition>,
}

/// The effect of a record on the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WarehouseMode {
    /// Adds a row.
    Append,
    /// Replaces the row with the same values in these fields; a tombstone removes it.
    Upsert(Vec<String>),
}

/// The partitions of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TablePartition {
    /// Path of a date or timestamp leaf.
    pub field: String,
    /// The interval of one partition.
    pub by: PartitionInterval,
    /// Days after which a partition may be deleted; `None` means never.
    pub expire_days: Option<u32>,
}

/// The interval of a table's partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the words of the calendar")]
pub enum PartitionInterval {
    Hour,
    Day,
    Month,
    Year,
}

/// A role and its permissions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ContractRole {
    /// Name of the role.
    pub name: String,
    /// The records that the role may read; without meaning unless `reads` is set.
    pub view: RoleView,
    /// `access: read`, the default: the role reads the records of its view.
    pub reads: bool,
    /// `access: write`: the role produces to the raw topic. `readWrite` sets this and `reads`.
    pub writes: bool,
    /// `access: operate`: the role looks at dead letters and runs replays.
    pub operates: bool,
}

/// The records that a role may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RoleView {
    /// Raw and masked.
    Raw,
    /// Masked only.
    Masked,
}

/// Returns the name of a topic's table in SQL, which needs no quotes: lower case, with an underscore for each
/// character that is no ASCII letter or digit. For example `aviation_flight_v1`.
pub fn sql_name(topic: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    let name: String = topic.chars().map(plain).collect();
    // An unquoted name cannot begin with a digit.
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
}

impl Contract {
    /// Returns the last two names of the contract's folder, `<domain>/<topic folder>`.
    pub fn folder_name(&self) -> String {
        let mut names = self.folder.rsplit('/').take(2);
        match (names.next(), names.next()) {
            (Some(topic), Some(domain)) => format!("{domain}/{topic}"),
            (topic, _) => topic.unwrap_or_default().to_owned(),
        }
    }

    /// Returns the leaf at a path with its policy.
    pub fn field(&self, path: &str) -> Option<&ContractField> {
        self.fields.iter().find(|field| field.leaf.path == path)
    }

    /// Returns the path of the contract file, as the caller named it.
    pub fn file(&self) -> String {
        match self.folder.as_str() {
            "" => CONTRACT_FILE.to_owned(),
            folder => format!("{folder}/{CONTRACT_FILE}"),
        }
    }

    /// Returns true if the contract's status is `draft`: it is checked, but neither applied nor served.
    pub fn is_draft(&self) -> bool {
        self.status.eq_ignore_ascii_case(DRAFT)
    }

    /// Returns the line of the contract file for a leaf (`address.postcode`) or a setting
    /// (`customProperties.maskedTopic`), or for the nearest path above it. 1 if the file has none of them.
    pub fn line(&self, place: &str) -> u32 {
        // The file may cover a whole record by one property: the line of that property serves its leaves.
        ancestors(place).find_map(|place| self.lines.get(place)).copied().unwrap_or(1)
    }

    /// Returns the schema of the masked topic. It follows from the value schema and the policies alone.
    pub fn masked_schema(&self) -> &DatumSchema {
        &self.masked
    }

    /// Returns the topic for dead letters of the raw topic, including those of the masker that reads it;
    /// restricted.
    pub fn raw_dead_letter(&self) -> String {
        dead_letter_topic(&self.raw_topic)
    }

    /// Returns the dead-letter topic of the masked topic; open to analysts.
    pub fn masked_dead_letter(&self) -> String {
        dead_letter_topic(&self.masked_topic)
    }
}

impl TopicRetention {
    /// Returns Kafka's `retention.ms`.
    pub const fn millis(self) -> i64 {
        match self {
            Self::Millis(millis) => millis,
            // Kafka's value for no limit.
            Self::Forever => -1,
        }
    }
}

impl CleanupPolicy {
    /// Returns Kafka's name of the policy.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Compact => "compact",
            Self::CompactDelete => "compact,delete",
        }
    }

    /// Returns true if the last record of each key stays.
    pub const fn compacts(self) -> bool {
        matches!(self, Self::Compact | Self::CompactDelete)
    }
}

impl CompatibilityLevel {
    /// All levels.
    pub const ALL: [Self; 7] = [
        Self::None,
        Self::Backward,
        Self::BackwardTransitive,
        Self::Forward,
        Self::ForwardTransitive,
        Self::Full,
        Self::FullTransitive,
    ];

    /// Returns the registry's name of the level.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Backward => "BACKWARD",
            Self::BackwardTransitive => "BACKWARD_TRANSITIVE",
            Self::Forward => "FORWARD",
            Self::ForwardTransitive => "FORWARD_TRANSITIVE",
            Self::Full => "FULL",
            Self::FullTransitive => "FULL_TRANSITIVE",
        }
    }

    /// Returns the level with this name, or `None` if there is no such level.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == word)
    }
}

impl fmt::Display for CompatibilityLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::sql_name;

    #[test]
    fn topics_get_names_that_need_no_quotes() {
        assert_eq!(sql_name("aviation.flight.masked.v1"), "aviation_flight_masked_v1");
        assert_eq!(sql_name("2013-Flights"), "_2013_flights");
    }
}
