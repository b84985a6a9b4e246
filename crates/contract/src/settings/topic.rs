//! The topic itself: its name, its partitions, and the time for which records stay.

use std::collections::BTreeMap;

use crate::contract::{CleanupPolicy, TopicRetention, WarehouseMode, WarehouseSettings};
use crate::finding::{FindingReport, did_you_mean};
use crate::odcs;
use crate::section::{ContractSection, SectionPlace, number};
use crate::yaml::{YamlContent, YamlNode};

/// The default number of partitions.
const PARTITIONS: u32 = 4;
/// The retention of records that stay for ever. Kafka's own `-1` is read too.
const UNLIMITED: &str = "unlimited";

/// Returns true if a topic can have this name. An illegal name is reported.
pub(super) fn legal(topic: &str, line: u32, path: &str, report: &mut FindingReport<'_>) -> bool {
    // Kafka allows 249 characters; `.dead-letter` needs twelve of them.
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let ok =
        !topic.is_empty() && topic.len() <= 237 && topic.chars().all(legal) && !matches!(topic, "." | "..");
    if !ok {
        let message = format!("`{topic}` is not a legal topic name");
        let hint = Some("expected up to 237 of a-z, A-Z, 0-9, dot, underscore, hyphen".to_owned());
        report.add(line, path, message, hint);
    }
    ok
}

/// Settings of the raw topic, which the masked topic shares.
pub(super) struct TopicSettings {
    pub(super) partitions: u32,
    pub(super) cleanup: CleanupPolicy,
    pub(super) config: BTreeMap<String, String>,
}

/// Reads the topic's settings. By default a topic that the warehouse upserts from is compacted, and any other
/// topic deletes old records.
pub(super) fn settings(
    document: &YamlNode,
    warehouse: &WarehouseSettings,
    report: &mut FindingReport<'_>,
) -> TopicSettings {
    // The defaults: an upsert needs only the last record of each key.
    let upserts = matches!(warehouse.mode, WarehouseMode::Upsert(_));
    let cleanup = if upserts { CleanupPolicy::Compact } else { CleanupPolicy::Delete };
    let mut settings = TopicSettings { partitions: PARTITIONS, cleanup, config: BTreeMap::new() };

    // The section.
    let Some(node) = odcs::custom(document, "topic") else { return settings };
    let place = SectionPlace::Key("customProperties.topic".to_owned());
    let Some(section) = ContractSection::open(node, place, &["partitions", "cleanup", "config"], report)
    else {
        return settings;
    };

    // The single settings.
    if let Some(partitions) = section.whole("partitions", 1, 10_000, report) {
        // `whole` has checked the bounds, so that the number fits.
        settings.partitions = u32::try_from(partitions).unwrap_or(PARTITIONS);
    }
    if let Some(word) = section.text("cleanup", report) {
        match word {
            "delete" => settings.cleanup = CleanupPolicy::Delete,
            "compact" => settings.cleanup = CleanupPolicy::Compact,
            "compact,delete" | "delete,compact" => settings.cleanup = CleanupPolicy::CompactDelete,
            other => {
                let hint = did_you_mean(other, ["delete", "compact", "compact,delete"]);
                let message = "expected `delete`, `compact` or `compact,delete`";
                section.refuse("cleanup", section.line(), message, hint, report);
            }
        }
    }
    if let Some(config) = section.get("config") {
        settings.config = topic_config(config, report);
    }
    settings
}

/// Reads other topic settings, by Kafka's names. Kafka checks names and values itself when they are applied.
fn topic_config(node: &YamlNode, report: &mut FindingReport<'_>) -> BTreeMap<String, String> {
    // The map.
    let path = "customProperties.topic.config";
    let mut config = BTreeMap::new();
    let YamlContent::Map(entries) = &node.content else {
        report.add(node.line, path, "expected a map", None);
        return config;
    };

    // Each setting as a text, which is the form that Kafka takes.
    for (key, value) in entries {
        let text = match &value.content {
            YamlContent::Text(text) => text.clone(),
            YamlContent::Integer(number) => number.to_string(),
            YamlContent::Boolean(value) => value.to_string(),
            _ => {
                report.add(
                    value.line,
                    format!("{path}.{key}"),
                    "expected a text, a number or a boolean",
                    None,
                );
                continue;
            }
        };

        // Two settings have places of their own, and a second value would contradict the first.
        let own_setting = match key.as_str() {
            "retention.ms" => Some("slaProperties: [{property: retention, …}]"),
            "cleanup.policy" => Some("topic: {cleanup: …}"),
            _ => None,
        };
        match own_setting {
            Some(place) => {
                let message = "has a setting of its own in the contract";
                report.add(value.line, format!("{path}.{key}"), message, Some(format!("use `{place}`")));
            }
            None => {
                config.insert(key.clone(), text);
            }
        }
    }
    config
}

/// Reads the retention. It must be given unless the topic is only compacted.
pub(super) fn retention(
    document: &YamlNode,
    cleanup: CleanupPolicy,
    report: &mut FindingReport<'_>,
) -> TopicRetention {
    // Find the property.
    let slas = document.get("slaProperties").map(YamlNode::items).unwrap_or_default();
    let index = slas.iter().position(|sla| sla.text_at("property") == Some("retention"));
    let Some((index, sla)) = index.and_then(|index| slas.get(index).map(|sla| (index, sla))) else {
        // A compacted topic keeps the last record of each key without end. Others need a decision.
        if cleanup != CleanupPolicy::Compact {
            let hint = "add `- {property: retention, value: 30, unit: d}`, or `value: unlimited`".to_owned();
            let hint = Some(hint);
            report.add(document.line, "slaProperties.retention", "the retention is missing", hint);
        }
        return TopicRetention::Forever;
    };

    // Without end: a word, or Kafka's own number for it. Then a unit has no meaning.
    let value = sla.get("value");
    let is_endless = |value: &YamlNode| match &value.content {
        YamlContent::Text(text) => text.eq_ignore_ascii_case(UNLIMITED),
        YamlContent::Integer(number) => *number == -1,
        _ => false,
    };
    if value.is_some_and(is_endless) {
        return TopicRetention::Forever;
    }

    // Its unit, in milliseconds. A year has 365 days.
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
        let hint = Some("expected one of y, w, d, h, m, s, ms".to_owned());
        report.add(sla.line, format!("{path}.unit"), "the retention has no known unit", hint);
        return TopicRetention::Forever;
    };

    // Its value.
    let millis = value.and_then(number).map(|value| value * unit);
    match millis {
        // A hundred years is more than any topic needs, and far from the limits of exact numbers.
        Some(millis) if (1.0..=100.0 * 365.0 * 86_400_000.0).contains(&millis) => {
            TopicRetention::Millis(millis as i64)
        }
        _ => {
            let message = "expected a retention above zero and of at most a hundred years";
            let hint = Some(format!("use `value: {UNLIMITED}` for records that stay for ever"));
            report.add(sla.line, format!("{path}.value"), message, hint);
            TopicRetention::Forever
        }
    }
}
