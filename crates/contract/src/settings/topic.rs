//! The topic itself: its name, its partitions, how long records stay.

use std::collections::BTreeMap;

use crate::contract::{CleanupPolicy, TopicRetention, WarehouseMode, WarehouseSettings};
use crate::finding::{FindingReport, did_you_mean};
use crate::odcs;
use crate::section::{ContractSection, SectionPlace, number};
use crate::yaml::{YamlContent, YamlNode};

/// Partitions unless the contract says otherwise.
const PARTITIONS: u32 = 4;

/// May a topic be called so? Reported if not.
pub(super) fn legal(topic: &str, line: u32, path: &str, report: &mut FindingReport<'_>) -> bool {
    // Kafka's rule, less the twelve characters of `.dead-letter`.
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let ok =
        !topic.is_empty() && topic.len() <= 237 && topic.chars().all(legal) && !matches!(topic, "." | "..");
    if !ok {
        let message = format!("`{topic}` is not a topic's name");
        let hint = Some("up to 237 of a-z, A-Z, 0-9, dot, underscore, hyphen".to_owned());
        report.add(line, path, message, hint);
    }
    ok
}

/// Settings of the raw topic, and so of the masked one.
pub(super) struct TopicSettings {
    pub(super) partitions: u32,
    pub(super) cleanup: CleanupPolicy,
    pub(super) config: BTreeMap<String, String>,
}

/// Reads them; a topic that the warehouse upserts from is compacted unless the contract says otherwise.
pub(super) fn settings(
    document: &YamlNode,
    warehouse: &WarehouseSettings,
    report: &mut FindingReport<'_>,
) -> TopicSettings {
    let upserts = matches!(warehouse.mode, WarehouseMode::Upsert(_));
    let cleanup = if upserts { CleanupPolicy::Compact } else { CleanupPolicy::Delete };
    let mut settings = TopicSettings { partitions: PARTITIONS, cleanup, config: BTreeMap::new() };
    let Some(node) = odcs::custom(document, "topic") else { return settings };
    let place = SectionPlace::Key("customProperties.topic".to_owned());
    let Some(section) = ContractSection::open(node, place, &["partitions", "cleanup", "config"], report)
    else {
        return settings;
    };
    if let Some(partitions) = section.whole("partitions", 1, 10_000, report) {
        settings.partitions = u32::try_from(partitions).unwrap_or(PARTITIONS);
    }
    if let Some(word) = section.text("cleanup", report) {
        match word {
            "delete" => settings.cleanup = CleanupPolicy::Delete,
            "compact" => settings.cleanup = CleanupPolicy::Compact,
            "compact,delete" | "delete,compact" => settings.cleanup = CleanupPolicy::CompactDelete,
            other => {
                let hint = did_you_mean(other, ["delete", "compact", "compact,delete"]);
                let message = "must be `delete`, `compact` or `compact,delete`";
                section.refuse("cleanup", section.line(), message, hint, report);
            }
        }
    }
    if let Some(config) = section.get("config") {
        settings.config = topic_config(config, report);
    }
    settings
}

fn topic_config(node: &YamlNode, report: &mut FindingReport<'_>) -> BTreeMap<String, String> {
    let path = "customProperties.topic.config";
    let mut config = BTreeMap::new();
    let YamlContent::Map(entries) = &node.content else {
        report.add(node.line, path, "must be a map", None);
        return config;
    };
    for (key, value) in entries {
        let text = match &value.content {
            YamlContent::Text(text) => text.clone(),
            YamlContent::Integer(number) => number.to_string(),
            YamlContent::Boolean(value) => value.to_string(),
            _ => {
                report.add(
                    value.line,
                    format!("{path}.{key}"),
                    "must be a text, a number or a boolean",
                    None,
                );
                continue;
            }
        };
        let said_elsewhere = match key.as_str() {
            "retention.ms" => Some("slaProperties: [{property: retention, …}]"),
            "cleanup.policy" => Some("topic: {cleanup: …}"),
            _ => None,
        };
        match said_elsewhere {
            Some(place) => {
                let message = "is said elsewhere in the contract";
                report.add(value.line, format!("{path}.{key}"), message, Some(format!("`{place}`")));
            }
            None => {
                config.insert(key.clone(), text);
            }
        }
    }
    config
}

/// Reads the retention, which must be said unless the topic is only compacted.
pub(super) fn retention(
    document: &YamlNode,
    cleanup: CleanupPolicy,
    report: &mut FindingReport<'_>,
) -> TopicRetention {
    let slas = document.get("slaProperties").map(YamlNode::items).unwrap_or_default();
    let index = slas.iter().position(|sla| sla.text_at("property") == Some("retention"));
    let Some((index, sla)) = index.and_then(|index| slas.get(index).map(|sla| (index, sla))) else {
        if cleanup != CleanupPolicy::Compact {
            let hint = Some("add `- {property: retention, value: 30, unit: d}`".to_owned());
            report.add(document.line, "slaProperties.retention", "no retention is said", hint);
        }
        return TopicRetention::Forever;
    };
    let unit = match sla.text_at("unit") {
        Some("y" | "yr" | "year" | "years") => Some(365.0 * 86_400_000.0),
        Some("w" | "week" | "weeks") => Some(7.0 * 86_400_000.0),
        Some("d" | "day" | "days") => Some(86_400_000.0),
        Some("h" | "hour" | "hours") => Some(3_600_000.0),
        Some("m" | "min" | "minute" | "minutes") => Some(60_000.0),
        Some("s" | "second" | "seconds") => Some(1_000.0),
        Some("ms") => Some(1.0),
        _ => None,
    };
    let path = format!("slaProperties.{index}");
    let Some(unit) = unit else {
        let hint = Some("one of y, w, d, h, m, s, ms".to_owned());
        report.add(sla.line, format!("{path}.unit"), "retention has no unit that is known", hint);
        return TopicRetention::Forever;
    };
    let millis = sla.get("value").and_then(number).map(|value| value * unit);
    match millis {
        // A century is the most that makes sense, and far from the limits of exact numbers.
        Some(millis) if (1.0..=100.0 * 365.0 * 86_400_000.0).contains(&millis) => {
            TopicRetention::Millis(millis as i64)
        }
        _ => {
            let message = "retention must be a number above zero, at most a hundred years";
            report.add(sla.line, format!("{path}.value"), message, None);
            TopicRetention::Forever
        }
    }
}
