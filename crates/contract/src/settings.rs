//! The settings of a contract file, which are all its contents but the leaves: topic, retention, keys,
//! headers, warehouse, facts, roles.

mod event_time;
mod headers;
mod record_key;
mod topic;

use std::collections::BTreeMap;

use sluice_core::names::MEMBERS;

use crate::contract::{
    CleanupPolicy, CompatibilityLevel, ContractFacts, ContractHeader, ContractOwner, ContractRole,
    PartitionInterval, RoleView, TablePartition, TopicRetention, WarehouseMode, WarehouseSettings,
};
use crate::finding::{FindingReport, did_you_mean};
use crate::masking::MaskingFloors;
use crate::odcs;
use crate::section::{ContractSection, SectionPlace};
use crate::yaml::YamlNode;

/// Custom properties of a contract that the fleet knows.
const KNOWN: [&str; 11] = [
    "compatibility",
    "maskedTopic",
    "subjectKey",
    "recordKey",
    "headers",
    "warehouse",
    "facts",
    "topic",
    "eventTime",
    "recordTime",
    "rawLocation",
];

pub(crate) use event_time::{TimeSettings, record_time};
pub(crate) use record_key::KeySetting;

/// The settings of a contract file, checked one by one. References to leaves are not checked yet.
pub(crate) struct ContractSettings<'n> {
    pub(crate) id: &'n str,
    pub(crate) version: &'n str,
    pub(crate) status: &'n str,
    pub(crate) domain: &'n str,
    pub(crate) description: Option<&'n str>,
    pub(crate) owner: ContractOwner,
    pub(crate) raw_topic: &'n str,
    pub(crate) masked_topic: &'n str,
    pub(crate) partitions: u32,
    pub(crate) retention: TopicRetention,
    pub(crate) cleanup: CleanupPolicy,
    pub(crate) topic_config: BTreeMap<String, String>,
    pub(crate) compatibility: CompatibilityLevel,
    pub(crate) is_adopted: bool,
    pub(crate) record_key: KeySetting<'n>,
    pub(crate) time: TimeSettings<'n>,
    pub(crate) subject_key: Option<&'n str>,
    pub(crate) raw_location: Option<&'n str>,
    pub(crate) headers: Vec<ContractHeader>,
    pub(crate) facts: Option<ContractFacts>,
    pub(crate) warehouse: WarehouseSettings,
    pub(crate) roles: Vec<ContractRole>,
    /// The schema object of the topic's value.
    pub(crate) object: &'n YamlNode,
}

/// Reads all settings. Every mistake is reported. `None` if a setting is missing that has no default.
pub(crate) fn read<'n>(
    document: &'n YamlNode,
    floors: &MaskingFloors,
    report: &mut FindingReport<'_>,
) -> Option<ContractSettings<'n>> {
    // Names and topics.
    odcs::check_custom(document, &KNOWN, "customProperties", report);
    let domain = top(document, "domain", "the business domain, which is also the name of the folder", report);
    let object = object(document, report);
    let raw_topic = object.and_then(|object| raw_topic(object, report));
    let masked_topic = text(document, "maskedTopic", report);
    let line = odcs::custom(document, "maskedTopic").map_or(document.line, |node| node.line);
    let masked_topic =
        masked_topic.filter(|topic| topic::legal(topic, line, "customProperties.maskedTopic", report));

    // The rest. The warehouse comes before the topic: its mode decides about the topic's default cleanup.
    let warehouse = warehouse(document, report);
    let of_topic = topic::settings(document, &warehouse, report);
    let record_key = record_key::read(document, of_topic.cleanup, report);
    let time = event_time::read(document, report);
    let retention = topic::retention(document, of_topic.cleanup, report);
    let compatibility = compatibility(document, report);
    let headers = headers::read(document, floors, report);
    let raw_location =
        odcs::custom(document, "rawLocation").and_then(|_| text(document, "rawLocation", report));
    let facts = facts(document, report);
    let roles = roles(document, report);

    // Only now may a missing setting end the reading: all mistakes have been reported.
    Some(ContractSettings {
        // The standard's JSON schema requires these three.
        id: document.text_at("id")?,
        version: document.text_at("version")?,
        status: document.text_at("status")?,
        domain: domain?,
        description: document.get("description").and_then(|node| node.text_at("purpose")),
        owner: owner(document),
        raw_topic: raw_topic?,
        masked_topic: masked_topic?,
        partitions: of_topic.partitions,
        retention,
        cleanup: of_topic.cleanup,
        topic_config: of_topic.config,
        compatibility,
        is_adopted: of_topic.is_adopted,
        record_key: record_key?,
        time,
        raw_location,
        subject_key: odcs::custom(document, "subjectKey").and_then(YamlNode::text),
        headers,
        facts,
        warehouse,
        roles,
        object: object?,
    })
}

/// Returns a text at the top of the document that must be there. `hint` describes it.
fn top<'n>(document: &'n YamlNode, key: &str, hint: &str, report: &mut FindingReport<'_>) -> Option<&'n str> {
    let text = document.text_at(key);
    if text.is_none() {
        report.add(document.line, key, format!("`{key}` is missing"), Some(hint.to_owned()));
    }
    text
}

/// Returns a custom property that is a text and must be there.
fn text<'n>(document: &'n YamlNode, name: &str, report: &mut FindingReport<'_>) -> Option<&'n str> {
    let path = format!("customProperties.{name}");
    match odcs::custom(document, name) {
        None => {
            let hint = format!("add `- {{property: {name}, value: …}}`");
            report.add(document.line, path, format!("`{name}` is missing"), Some(hint));
            None
        }
        Some(node) => {
            let text = node.text().filter(|text| !text.is_empty());
            if text.is_none() {
                report.add(node.line, path, "expected a text that is not empty", None);
            }
            text
        }
    }
}

/// Returns true if this schema object describes the records' key.
pub(crate) fn is_key(object: &YamlNode) -> bool {
    object.text_at("physicalType") == Some("key")
}

/// Returns the schema object of the value. There is exactly one, and at most one for the key, which `key`
/// reads.
fn object<'n>(document: &'n YamlNode, report: &mut FindingReport<'_>) -> Option<&'n YamlNode> {
    // At most one object for the key.
    let all = document.get("schema").map(YamlNode::items).unwrap_or_default();
    let mut keys = all.iter().filter(|object| is_key(object)).skip(1);
    if let Some(second) = keys.next() {
        report.add(
            second.line,
            "schema",
            "a second object with `physicalType: key`: expected at most one",
            None,
        );
    }

    // Exactly one object for the value.
    let mut objects = all.iter().filter(|object| !is_key(object));
    let first = objects.next();
    if first.is_none() {
        report.add(document.line, "schema", "`schema` is missing: expected one object for the value", None);
    }
    if let Some(second) = objects.next() {
        let hint = Some("a key with a schema of its own is an object with `physicalType: key`".to_owned());
        report.add(second.line, "schema", "a second object: expected one topic per contract", hint);
        return None;
    }
    first
}

/// Returns the raw topic, which is the physical name of the value's object.
fn raw_topic<'n>(object: &'n YamlNode, report: &mut FindingReport<'_>) -> Option<&'n str> {
    // The standard knows other kinds of objects, for example tables.
    if object.text_at("physicalType") != Some("topic") {
        let hint = Some("write `physicalType: topic`".to_owned());
        let line = object.get("physicalType").unwrap_or(object).line;
        report.add(line, "schema.0.physicalType", "expected a topic", hint);
    }

    // The name must be legal for the topic and for its dead-letter topic.
    match object.text_at("physicalName") {
        None => {
            let hint = Some("`physicalName: <the raw topic>`".to_owned());
            report.add(object.line, "schema.0.physicalName", "`physicalName` is missing", hint);
            None
        }
        Some(topic) => {
            let line = object.get("physicalName").unwrap_or(object).line;
            topic::legal(topic, line, "schema.0.physicalName", report).then_some(topic)
        }
    }
}

/// Returns the registry's level; the default is `BACKWARD`, as in the registry.
fn compatibility(document: &YamlNode, report: &mut FindingReport<'_>) -> CompatibilityLevel {
    let Some(node) = odcs::custom(document, "compatibility") else { return CompatibilityLevel::Backward };
    let word = node.text().unwrap_or_default();
    // The default after a mistake is never used: a contract with findings is not made.
    CompatibilityLevel::named(word).unwrap_or_else(|| {
        let words = CompatibilityLevel::ALL.map(CompatibilityLevel::as_str);
        let hint = did_you_mean(word, words).unwrap_or_else(|| format!("one of {}", words.join(", ")));
        let message = format!("`{word}` is not a level of compatibility");
        report.add(node.line, "customProperties.compatibility", message, Some(hint));
        CompatibilityLevel::Backward
    })
}

/// Returns the warehouse's settings; the default is a table that records are appended to.
fn warehouse(document: &YamlNode, report: &mut FindingReport<'_>) -> WarehouseSettings {
    // The defaults, and the section.
    let mut warehouse =
        WarehouseSettings { mode: WarehouseMode::Append, cluster: Vec::new(), partition: None };
    let Some(node) = odcs::custom(document, "warehouse") else { return warehouse };
    let place = SectionPlace::Key("customProperties.warehouse".to_owned());
    let Some(section) = ContractSection::open(node, place, &["mode", "key", "cluster", "partition"], report)
    else {
        return warehouse;
    };

    // The mode and the key, which belong together.
    let owned = |texts: Vec<(&str, u32)>| texts.into_iter().map(|(text, _)| text.to_owned()).collect();
    let key: Vec<String> = owned(section.texts("key", report));
    match section.required_text("mode", report) {
        Some("append") if key.is_empty() => {}
        Some("append") => section.refuse("key", section.line(), "a key needs `mode: upsert`", None, report),
        Some("upsert") if key.is_empty() => {
            section.refuse("key", section.line(), "`mode: upsert` needs a key", None, report);
        }
        Some("upsert") => warehouse.mode = WarehouseMode::Upsert(key),
        Some(other) => {
            let hint = did_you_mean(other, ["append", "upsert"]);
            let message = format!("expected `append` or `upsert`, found `{other}`");
            section.refuse("mode", section.line(), message, hint, report);
        }
        // `required_text` has reported it.
        None => {}
    }

    // The layout of the table.
    warehouse.cluster = owned(section.texts("cluster", report));
    warehouse.partition = section.get("partition").and_then(|node| table_partition(node, report));
    warehouse
}

/// Reads the partitions of the table. `None` if anything is missing or wrong, which is then reported.
fn table_partition(node: &YamlNode, report: &mut FindingReport<'_>) -> Option<TablePartition> {
    let place = SectionPlace::Key("customProperties.warehouse.partition".to_owned());
    let section = ContractSection::open(node, place, &["field", "by", "expireDays"], report)?;
    let field = section.required_text("field", report);
    let by = section.required_text("by", report).and_then(|word| match word {
        "hour" => Some(PartitionInterval::Hour),
        "day" => Some(PartitionInterval::Day),
        "month" => Some(PartitionInterval::Month),
        "year" => Some(PartitionInterval::Year),
        other => {
            let hint = did_you_mean(other, ["hour", "day", "month", "year"]);
            section.refuse("by", section.line(), "expected hour, day, month or year", hint, report);
            None
        }
    });
    // At most a hundred years.
    let expire_days =
        section.whole("expireDays", 1, 36_500, report).and_then(|days| u32::try_from(days).ok());
    Some(TablePartition { field: field?.to_owned(), by: by?, expire_days })
}

/// Reads the section of the facts. `None` if there is none, or if anything is missing, which is then
/// reported.
fn facts(document: &YamlNode, report: &mut FindingReport<'_>) -> Option<ContractFacts> {
    // The section.
    let node = odcs::custom(document, "facts")?;
    let place = SectionPlace::Key("customProperties.facts".to_owned());
    let known = ["topic", "entity", "entityType", "time", "attributes"];
    let section = ContractSection::open(node, place, &known, report)?;

    // The topic, and the single texts.
    let topic = section.required_text("topic", report);
    let topic =
        topic.filter(|topic| topic::legal(topic, section.line(), "customProperties.facts.topic", report));
    let entity_type = section.required_text("entityType", report);
    let time = section.required_text("time", report);

    // The lists of paths. Facts without an entity or an attribute do not exist.
    let mut paths = |key: &str| -> Vec<String> {
        let texts = section.texts(key, report);
        if texts.is_empty() {
            section.refuse(key, section.line(), format!("`{key}` needs at least one path"), None, report);
        }
        texts.into_iter().map(|(text, _)| text.to_owned()).collect()
    };
    let (entity, attributes) = (paths("entity"), paths("attributes"));

    Some(ContractFacts {
        topic: topic?.to_owned(),
        entity_type: entity_type?.to_owned(),
        entity,
        time: time?.to_owned(),
        attributes,
    })
}

/// Reads the roles. A role with a mistake is reported and left out.
fn roles(document: &YamlNode, report: &mut FindingReport<'_>) -> Vec<ContractRole> {
    let mut roles = Vec::new();
    for (index, node) in document.get("roles").map(YamlNode::items).unwrap_or_default().iter().enumerate() {
        // The standard requires a name: its absence is a finding of its own.
        let Some(name) = node.text_at("role") else { continue };
        let path = format!("roles.{index}");
        odcs::check_custom(node, &["view"], &path, report);
        if let Some(why) = unfit_role(name) {
            let hint = Some(
                "expected letters, digits, dots, underscores and hyphens, for example `analysts`".to_owned(),
            );
            report.add(node.line, path.clone(), format!("`{name}` is no name for a role: {why}"), hint);
            continue;
        }

        // The access. An unknown word must not give a permission.
        let (reads, writes, operates) = match node.text_at("access") {
            None | Some("read") => (true, false, false),
            Some("write") => (false, true, false),
            Some("readWrite") => (true, true, false),
            Some("operate") => (false, false, true),
            Some(_) => {
                let hint = Some("`read`, `write`, `readWrite` or `operate`".to_owned());
                report.add(node.line, path, format!("the access of the role `{name}` is not known"), hint);
                continue;
            }
        };

        // The view. A role that reads must name it: there is no default.
        let view = match odcs::custom(node, "view").and_then(YamlNode::text) {
            Some("raw") => RoleView::Raw,
            Some("masked") => RoleView::Masked,
            None if !reads => RoleView::Masked,
            _ => {
                let message = format!("the role `{name}` needs a view: expected `raw` or `masked`");
                let hint = "add `customProperties: [{property: view, value: masked}]` (or raw)".to_owned();
                report.add(node.line, path, message, Some(hint));
                continue;
            }
        };

        roles.push(ContractRole { name: name.to_owned(), view, reads, writes, operates });
    }
    roles
}

/// Returns the reason why a role cannot have this name. Its Kafka principal is `User:<name>`.
fn unfit_role(name: &str) -> Option<&'static str> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name == "*" {
        return Some("`User:*` is everybody");
    }
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(legal) || name.len() > 200
    {
        return Some("it has other characters than a name has");
    }
    if name.eq_ignore_ascii_case("anonymous") {
        return Some("`User:ANONYMOUS` is everybody who does not log in");
    }
    let is_member = MEMBERS.iter().any(|member| member.eq_ignore_ascii_case(name));
    is_member.then_some("it is the name of one of the fleet's workers or commands")
}

/// Returns the team that answers for the contract; empty if the file names none.
fn owner(document: &YamlNode) -> ContractOwner {
    let Some(team) = document.get("team") else { return ContractOwner::default() };
    // Up to version 3.0 of the standard a team is the list of its members.
    let members = team.get("members").unwrap_or(team).items();
    let is_owner = |role: &str| role.eq_ignore_ascii_case("owner");
    let owners = members.iter().filter(|member| member.text_at("role").is_some_and(is_owner));
    ContractOwner {
        team: team.text_at("name").unwrap_or_default().to_owned(),
        contacts: owners.filter_map(|member| member.text_at("username")).map(str::to_owned).collect(),
    }
}
