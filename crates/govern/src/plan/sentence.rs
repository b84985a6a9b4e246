//! Changes and refusals as sentences for the operator: the thing first, then the change of it.

use std::fmt;

use super::{CLEANUP, DesiredTopic, PlanChange, PlanRefusal, RETENTION};

impl fmt::Display for PlanChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Topics. A new one shows every setting, because the reviewer sees it nowhere else.
            Self::CreateTopic { topic, copies } => {
                let DesiredTopic { name, partitions, access, config, .. } = topic;
                let (partitions, copies) = (count(*partitions, "partition"), count(*copies, "copy"));
                write!(f, "topic {name}: create it ({}, {partitions}, {copies}", access.as_str())?;
                config.iter().try_for_each(|(key, value)| write!(f, ", {key} {}", shown(key, value)))?;
                f.write_str(")")
            }
            Self::RaisePartitions { topic, from, to } => {
                write!(f, "topic {topic}: raise the partitions from {from} to {to}")
            }
            Self::AlterConfig { topic, key, from: Some(from), to } => {
                write!(f, "topic {topic}: change {key} from {} to {}", shown(key, from), shown(key, to))
            }
            Self::AlterConfig { topic, key, from: None, to } => {
                write!(f, "topic {topic}: set {key} {}", shown(key, to))
            }

            // Permissions.
            Self::CreateAcl { acl } => write!(f, "permission: allow {acl}"),
            Self::RemoveAcl { acl } => write!(f, "permission: no longer allow {acl}"),

            // Subjects. The schema's text is too long for a line; the JSON output has it.
            Self::SetCompatibility { subject, from: Some(from), to } => {
                write!(f, "subject {subject}: change compatibility from {from} to {to}")
            }
            Self::SetCompatibility { subject, from: None, to } => {
                write!(f, "subject {subject}: set compatibility {to}")
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
            // Topics: the present and the wanted value, then the damage.
            Self::FewerPartitions { topic, is, wanted } => {
                write!(
                    f,
                    "topic {topic}: {wanted} partitions instead of {is}: Kafka cannot remove partitions"
                )
            }
            Self::ShorterRetention { topic, is, wanted } => {
                let (is, wanted) = (shown(RETENTION, &is.to_string()), shown(RETENTION, &wanted.to_string()));
                write!(f, "topic {topic}: {RETENTION} from {is} to {wanted} would delete records")
            }
            Self::OtherCleanup { topic, is, wanted } => {
                write!(f, "topic {topic}: {CLEANUP} from {is} to {wanted} would delete records")
            }

            // Subjects: every broken field, so that the author can mend all of them at once.
            Self::Incompatible { subject, breaks, why } => {
                let found = breaks.iter().map(ToString::to_string).chain(why.iter().cloned());
                let found = found.collect::<Vec<_>>().join("; ");
                write!(f, "subject {subject}: the schema is not compatible: {found}")
            }

            // Tables and views. The hint of a leak is printed by the caller, as for every refusal.
            Self::Table { topic, path, why } => write!(f, "table of {topic}: `{path}`: {why}"),
            Self::Leak { leak } => {
                write!(f, "{}: no masking step on this way", leak.path.join(" -> "))
            }
        }
    }
}

/// Returns a number with its noun, for example `4 partitions`, `1 copy`.
fn count(number: u32, noun: &str) -> String {
    match (number, noun.strip_suffix('y')) {
        (1, _) => format!("1 {noun}"),
        (_, Some(stem)) => format!("{number} {stem}ies"),
        (_, None) => format!("{number} {noun}s"),
    }
}

/// Returns the value of a setting as the operator reads it: `2592000000 (30 days)`.
fn shown(key: &str, value: &str) -> String {
    match value.parse() {
        Ok(millis) if key == RETENTION => format!("{value} ({})", time_text(millis)),
        _ => value.to_owned(),
    }
}

/// Returns a retention in the largest unit that divides it, for example `30 days`; `for ever` below zero.
pub(crate) fn time_text(millis: i64) -> String {
    if millis < 0 {
        return "for ever".to_owned();
    }
    let units = [(86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1_000, "second")];
    match units.into_iter().find(|(unit, _)| millis >= *unit && millis % unit == 0) {
        Some((unit, word)) if millis == unit => format!("1 {word}"),
        Some((unit, word)) => format!("{} {word}s", millis / unit),
        None => format!("{millis} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retention_is_shown_in_the_unit_that_people_use() {
        let shown = [-1, 2_592_000_000, 86_400_000, 5_400_000, 1_000, 1_001].map(time_text);
        assert_eq!(shown, ["for ever", "30 days", "1 day", "90 minutes", "1 second", "1001 ms"]);
        assert_eq!(
            [count(1, "copy"), count(3, "copy"), count(2, "partition")],
            ["1 copy", "3 copies", "2 partitions"]
        );
    }
}
