//! A contract as the fleet uses it: read, checked, nothing left to guess.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use sluice_wire::{DatumSchema, LeafInfo};

use crate::contracts::CONTRACT_FILE;
use crate::coverage::ancestors;
use crate::key::RecordKey;
use crate::masking::MaskOperation;

/// One topic's contract and everything derived from it. Made only by [`crate::ContractSet::parse`].
#[derive(Debug, Clone)]
pub struct Contract {
    /// Its name among the contracts.
    pub id: String,
    /// Version of the contract, semantic.
    pub version: String,
    /// `draft`, `active`, `deprecated` …, in the words of the ODCS.
    pub status: String,
    /// Business domain, and the folder above the contract's own.
    pub domain: String,
    /// What it is for, if said.
    pub description: Option<String>,
    /// Who answers for it.
    pub owner: ContractOwner,
    /// Folder of the files, as the caller named it.
    pub folder: String,
    /// The producer's topic; restricted.
    pub raw_topic: String,
    /// The masked topic; open to analysts.
    pub masked_topic: String,
    /// Partitions of the raw topic, and so of the masked one.
    pub partitions: u32,
    /// How long records stay.
    pub retention: TopicRetention,
    /// What Kafka does with old records.
    pub cleanup: CleanupPolicy,
    /// More topic settings, by Kafka's names.
    pub topic_config: BTreeMap<String, String>,
    /// How schemas of its subjects may change.
    pub compatibility: CompatibilityLevel,
    /// Writer schema of the value.
    pub value: DatumSchema,
    /// What the Kafka key is, and how it is masked.
    pub record_key: RecordKey,
    /// Path of the leaf that says whose data a record is.
    pub subject_key: Option<String>,
    /// Headers that go on to masked topics; every other one stays behind.
    pub headers: Vec<String>,
    /// Every leaf of the value, in schema order, with its policy.
    pub fields: Vec<ContractField>,
    /// Which facts are taken from the masked records.
    pub facts: Option<ContractFacts>,
    /// How the warehouse keeps the masked records.
    pub warehouse: WarehouseSettings,
    /// Who may read what.
    pub roles: Vec<ContractRole>,
    pub(crate) subtrees: BTreeMap<String, MaskOperation>,
    pub(crate) masked: DatumSchema,
    /// Lines of the contract file: of leaves by path, of settings by place.
    pub(crate) lines: BTreeMap<String, u32>,
}

/// One leaf and what the contract says of it.
#[derive(Debug, Clone)]
pub struct ContractField {
    /// Path, type, nullability.
    pub leaf: LeafInfo,
    /// What becomes of it.
    pub op: MaskOperation,
    /// `public`, `internal`, `confidential`, `restricted` or a word of the house.
    pub classification: String,
    /// Tags, sorted; the same in the `.avsc` and in the contract.
    pub tags: Vec<String>,
}

/// Who answers for a contract.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ContractOwner {
    /// Name of the team.
    pub team: String,
    /// User names of its members in the role `ContractOwner`.
    pub contacts: Vec<String>,
}

/// How long records stay in the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum TopicRetention {
    /// So many milliseconds.
    Millis(i64),
    /// As long as the topic is there.
    Forever,
}

/// Kafka's `cleanup.policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CleanupPolicy {
    /// Old segments are deleted.
    Delete,
    /// The last record of a key stays.
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
    /// Topic they go to.
    pub topic: String,
    /// What kind of thing the entity is.
    pub entity_type: String,
    /// Paths of the leaves that together name the entity.
    pub entity: Vec<String>,
    /// Path of the leaf that says when.
    pub time: String,
    /// Paths of the leaves that become facts.
    pub attributes: Vec<String>,
}

/// How the warehouse keeps a masked topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WarehouseSettings {
    /// What a record does to the table.
    pub mode: WarehouseMode,
    /// Fields that rows are kept together by.
    pub cluster: Vec<String>,
    /// How the table is divided.
    pub partition: Option<TablePartition>,
}

/// What a record does to the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WarehouseMode {
    /// Adds a row.
    Append,
    /// Replaces the row with the same values in these fields; a tombstone removes it.
    Upsert(Vec<String>),
}

/// How a table is divided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TablePartition {
    /// Path of a date or timestamp leaf.
    pub field: String,
    /// The step.
    pub by: PartitionInterval,
    /// Days after which a part may go, if ever.
    pub expire_days: Option<u32>,
}

/// Step of a table's partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the words of the calendar")]
pub enum PartitionInterval {
    Hour,
    Day,
    Month,
    Year,
}

/// A role and what it sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ContractRole {
    /// Name of the role.
    pub name: String,
    /// Raw records, or masked ones only; means nothing unless it reads.
    pub view: RoleView,
    /// `access: read`, the default: it reads what its view shows.
    pub reads: bool,
    /// `access: write`: it is a producer of the raw topic. `readWrite`: both.
    pub writes: bool,
    /// `access: operate`: it looks at dead letters and runs replays.
    pub operates: bool,
}

/// What a role sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RoleView {
    /// Raw and masked.
    Raw,
    /// Masked only.
    Masked,
}

/// Name of the dead-letter topic of a topic. It is as restricted as the topic itself.
pub fn dead_letter_topic(topic: &str) -> String {
    format!("{topic}.dead-letter")
}

/// Name of the subject of a topic's values (TopicNameStrategy).
pub fn value_subject(topic: &str) -> String {
    format!("{topic}-value")
}

/// Name by which SQL knows a topic's table without quotes: lower case, and an underscore for everything else that is
/// no letter or digit.
pub fn sql_name(topic: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    let name: String = topic.chars().map(plain).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
}

impl Contract {
    /// The policy of the leaf at a path.
    pub fn field(&self, path: &str) -> Option<&ContractField> {
        self.fields.iter().find(|field| field.leaf.path == path)
    }

    /// The contract file, as the caller named it.
    pub fn file(&self) -> String {
        match self.folder.as_str() {
            "" => CONTRACT_FILE.to_owned(),
            folder => format!("{folder}/{CONTRACT_FILE}"),
        }
    }

    /// Line of the contract file that speaks of a leaf (`address.postcode`) or a setting
    /// (`customProperties.maskedTopic`), or of the nearest place above it; 1 if none does.
    pub fn line(&self, place: &str) -> u32 {
        ancestors(place).find_map(|place| self.lines.get(place)).copied().unwrap_or(1)
    }

    /// Schema of the masked topic: derived from the value schema and the policies, deterministic.
    pub fn masked_schema(&self) -> &DatumSchema {
        &self.masked
    }

    /// Dead letters of the raw topic (and of the masker that reads it); restricted.
    pub fn raw_dead_letter(&self) -> String {
        dead_letter_topic(&self.raw_topic)
    }

    /// Dead letters of the masked topic; open.
    pub fn masked_dead_letter(&self) -> String {
        dead_letter_topic(&self.masked_topic)
    }
}

impl TopicRetention {
    /// Kafka's `retention.ms`.
    pub const fn millis(self) -> i64 {
        match self {
            Self::Millis(millis) => millis,
            Self::Forever => -1,
        }
    }
}

impl CleanupPolicy {
    /// Kafka's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Compact => "compact",
            Self::CompactDelete => "compact,delete",
        }
    }

    /// Does the last record of a key stay?
    pub const fn compacts(self) -> bool {
        matches!(self, Self::Compact | Self::CompactDelete)
    }
}

impl CompatibilityLevel {
    /// Every level.
    pub const ALL: [Self; 7] = [
        Self::None,
        Self::Backward,
        Self::BackwardTransitive,
        Self::Forward,
        Self::ForwardTransitive,
        Self::Full,
        Self::FullTransitive,
    ];

    /// The registry's word.
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

    /// The level of that word.
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
