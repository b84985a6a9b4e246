//! `sluice verify --conservation`: the books of every group, audited against the groups' positions and the
//! logs.

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
    /// Worker name in the latest receipt.
    pub worker: String,
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// The group's committed offset after the receipts were read; `None` if it has none.
    pub committed: Option<i64>,
    /// The sums and the findings.
    #[serde(flatten)]
    pub audit: ReceiptAudit,
}

/// The audit of all groups.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ConservationReport {
    /// One line per group, topic and partition.
    pub lines: Vec<ConservationLine>,
    /// Offsets of the receipts' topic whose records are no receipts.
    pub unreadable: Vec<i64>,
}

impl ConservationReport {
    /// Tells whether conservation holds everywhere.
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
        debug_assert!(line.is_some(), "the report has a line for every chain of its books");
        if let Some(line) = line {
            line.audit.findings.extend(findings);
        }
    }
}

/// Audits every group that has receipts, or only the groups in `only` if it is not empty. The report is
/// correct while workers run, because positions are read before and after the receipts.
///
/// # Errors
/// A [`Fault`] if Kafka does not answer or the receipts' topic does not exist.
pub fn verify(kafka: &KafkaSection, only: &[String]) -> Result<(ConservationReport, ReceiptBooks), Fault> {
    // A position that is older than the receipts must be covered by them, and one that is newer must cover
    // them. The first reading only finds the groups to ask for.
    let mut books = ReceiptBooks::open(kafka)?;
    books.keep(only);
    let before = read_positions(kafka, &books)?;
    books.catch_up(kafka)?;
    books.keep(only);
    let after = read_positions(kafka, &books)?;

    // Several groups read the same partition; its log is asked for once.
    let topics: BTreeSet<&TopicPartition> = books.chains().map(|chain| &chain.at).collect();
    let mut starts = BTreeMap::new();
    for at in topics {
        starts.insert(at.clone(), bounds(kafka, at)?.0);
    }

    // One line for each chain.
    let mut report = ConservationReport { lines: vec![], unreadable: books.unreadable.clone() };
    for chain in books.chains() {
        let segments = books.segments(chain);
        debug_assert!(starts.contains_key(&chain.at), "every chain's partition was asked for");
        let known = AuditBounds {
            before: before.get(chain).copied(),
            after: after.get(chain).copied(),
            log_start: starts.get(&chain.at).copied().unwrap_or_default(),
        };

        // Two workers may have used the group one after the other. The latest one is named.
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

/// Reads the committed offset of every chain. A chain without one is left out.
///
/// # Errors
/// A [`Fault`] if Kafka does not answer.
fn read_positions(kafka: &KafkaSection, books: &ReceiptBooks) -> Result<BTreeMap<ReceiptChain, i64>, Fault> {
    // Kafka answers for one group at a time, with all of its partitions.
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
