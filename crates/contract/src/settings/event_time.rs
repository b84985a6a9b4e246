//! The time by which a masked record is kept: the record's own, or the time of masking.
//!
//! A record's timestamp is often the time in one of its leaves. If that leaf is masked, the timestamp must not
//! show it.

use crate::contract::{Contract, RecordTime, TopicRetention};
use crate::finding::{FindingReport, did_you_mean};
use crate::masking::{GeneraliseRule, MaskOperation};
use crate::odcs;
use crate::yaml::YamlNode;

/// The settings `eventTime` and `recordTime`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TimeSettings<'n> {
    /// The leaf with the time at which the thing happened that the record is about.
    pub(crate) event_time: Option<&'n str>,
    /// True for the record's own timestamp, false for the time of masking; `None` leaves the decision to the
    /// masking of the event time.
    pub(crate) keeps_own: Option<bool>,
}

/// Reads both settings. Mistakes are reported.
pub(super) fn read<'n>(document: &'n YamlNode, report: &mut FindingReport<'_>) -> TimeSettings<'n> {
    let mut settings = TimeSettings::default();
    if let Some(node) = odcs::custom(document, "eventTime") {
        settings.event_time = node.text();
        if settings.event_time.is_none() {
            let hint = Some("write the path of a date or a timestamp".to_owned());
            report.add(node.line, "customProperties.eventTime", "expected a leaf", hint);
        }
    }
    if let Some(node) = odcs::custom(document, "recordTime") {
        match node.text() {
            Some("own") => settings.keeps_own = Some(true),
            Some("masking") => settings.keeps_own = Some(false),
            other => {
                let hint = other.and_then(|word| did_you_mean(word, ["own", "masking"]));
                let hint =
                    hint.unwrap_or_else(|| "`own`: the record's; `masking`: the time of masking".to_owned());
                let message = "expected `own` or `masking`";
                report.add(node.line, "customProperties.recordTime", message, Some(hint));
            }
        }
    }
    settings
}

/// Returns the time of a contract's masked records.
pub(crate) fn record_time(contract: &Contract, keeps_own: Option<bool>) -> RecordTime {
    let leaf = contract.event_time.as_deref().and_then(|path| contract.field(path));
    let step = match leaf.map(|field| &field.op) {
        Some(MaskOperation::Generalise(GeneraliseRule::Date(step))) => Some(*step),
        _ => None,
    };
    let is_masked = leaf.is_some_and(|field| !field.op.keeps());
    if keeps_own.unwrap_or(!is_masked) {
        return RecordTime::Own;
    }

    // A step as long as the retention would make new records old enough to be deleted.
    let is_shorter = |seconds: i64| match contract.retention {
        TopicRetention::Forever => true,
        TopicRetention::Millis(retention) => seconds.saturating_mul(1000) < retention,
    };
    RecordTime::Masking { step: step.filter(|step| is_shorter(step.most_seconds())) }
}
