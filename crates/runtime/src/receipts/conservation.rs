//! `sluice verify --conservation`: the books of every group, audited against the groups' positions and the logs.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use sluice_core::{Fault, TopicPartition};

use super::{AuditBounds, AuditFinding, ReceiptAudit, ReceiptBooks, ReceiptChain, audit};
use crate::config::KafkaSection;
use sluice_kafka::{bounds, committed};

pub mod deep;

/// One group in one partition.
#[derive(Debug, Clone, Serialize)]
pub struct ConservationLine {
    /// Consumer group.
    pub group: String,
    /// Worker name, as the latest receipt has it.
    pub worker: String,
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Where the group stood when the receipts had been read.
    pub committed: Option<i64>,
    /// The sums, and where they do not hold.
    #[serde(flatten)]
    pub audit: ReceiptAudit,
}

/// What the audit of all groups found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ConservationReport {
    /// One line per group, topic and partition.
    pub lines: Vec<ConservationLine>,
    /// Offsets of the receipts' topic whose records are no receipts.
    pub unreadable: Vec<i64>,
}

impl ConservationReport {
    /// Does conservation hold everywhere?
    pub fn holds(&self) -> bool {
        self.unreadable.is_empty() && self.lines.iter().all(|line| line.audit.findings.is_empty())
    }

    /// Adds findings to the line of `chain`.
    fn add(&mut self, chain: &ReceiptChain, findings: Vec<AuditFinding>) {
        let line = self.lines.iter_mut().find(|line| {
            line.group == chain.group
                && line.partition == chain.at.partition
                && *line.topic == *chain.at.topic
        });
        if let Some(line) = line {
            line.audit.findings.extend(findings);
        }
    }
}

/// Audits every group that has receipts, or those among `only` if it names any. Also true while workers are at work: positions are asked for before and
/// after the receipts are read.
///
/// # Errors
/// A [`Fault`] if Kafka does not answer or there are no receipts at all.
pub fn verify(kafka: &KafkaSection, only: &[String]) -> Result<(ConservationReport, ReceiptBooks), Fault> {
    let mut books = ReceiptBooks::open(kafka)?;
    books.keep(only);
    let before = positions(kafka, &books)?;
    books.catch_up(kafka)?;
    books.keep(only);
    let after = positions(kafka, &books)?;
    let topics: BTreeSet<&TopicPartition> = books.chains().map(|chain| &chain.at).collect();
    let mut starts = BTreeMap::new();
    for at in topics {
        starts.insert(at.clone(), bounds(kafka, at)?.0);
    }
    let mut report = ConservationReport { lines: vec![], unreadable: books.unreadable.clone() };
    for chain in books.chains() {
        let segments = books.segments(chain);
        let known = AuditBounds {
            before: before.get(chain).copied(),
            after: after.get(chain).copied(),
            log_start: starts.get(&chain.at).copied().unwrap_or_default(),
        };
        let latest = segments.iter().max_by_key(|segment| segment.grown_ms);
        report.lines.push(ConservationLine {
            group: chain.group.clone(),
            worker: latest.map_or_else(String::new, |segment| segment.worker.clone()),
            topic: chain.at.topic.to_string(),
            partition: chain.at.partition,
            committed: known.after,
            audit: audit(&segments, known),
        });
    }
    Ok((report, books))
}

fn positions(kafka: &KafkaSection, books: &ReceiptBooks) -> Result<BTreeMap<ReceiptChain, i64>, Fault> {
    let mut groups: BTreeMap<&str, Vec<TopicPartition>> = BTreeMap::new();
    for chain in books.chains() {
        groups.entry(&chain.group).or_default().push(chain.at.clone());
    }
    let mut found = BTreeMap::new();
    for (group, partitions) in groups {
        for (at, next) in committed(kafka, group, partitions)? {
            found.insert(ReceiptChain { group: group.to_owned(), at }, next.raw());
        }
    }
    Ok(found)
}
