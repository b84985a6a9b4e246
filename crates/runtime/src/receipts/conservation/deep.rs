//! `--deep`: reads the topics themselves and compares the number of their records with the receipts.
//!
//! Records are counted as a `read_committed` consumer sees them, without transaction markers and aborted
//! records. Outputs name their source: masked records in the header `sluice.source`, facts in their fields. A
//! letter that is in the topic twice counts once. An output of a replayed letter does not belong to the
//! segment.
//!
//! Retention and compaction remove records and add none. In a topic that has lost records already, only
//! *more* records than the receipt has are a finding.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use sluice_core::{Fault, RecordRef, TopicPartition, names};
use sluice_wire::{DatumSchema, LeafProjection, LeafValue, framing};

use super::ConservationReport;
use crate::config::KafkaSection;
use crate::dead_letter::{DeadLetterHead, topic_of};
use crate::receipts::{
    AuditFinding, DeadLetterIdentity, FateKind, ReceiptBooks, ReceiptChain, ReceiptSegment,
};
use sluice_kafka::admin::KafkaAdmin;
use sluice_kafka::{bounds, read_to_end};

/// Fields of a fact that name its source.
const FACT_SOURCE: [&str; 3] = ["source_topic", "source_partition", "source_offset"];

/// The records counted for one segment.
#[derive(Default, Clone)]
struct SegmentRecount {
    /// Records in the source topic.
    records: u64,
    /// Output records, by topic.
    outputs: BTreeMap<String, u64>,
    /// Dead letters, each identity once.
    letters: u64,
    /// Masked records whose source has another masked record.
    twice: u64,
}

/// The segments of one chain with their counts.
struct RecountLedger {
    /// Sorted by first offset.
    segments: Vec<ReceiptSegment>,
    /// One count for each segment, in the same order.
    counted: Vec<SegmentRecount>,
    /// Source offsets of the chain's letters that were seen.
    letters: HashSet<i64>,
    /// Source offsets whose masked record was seen.
    masked: HashSet<i64>,
}

impl RecountLedger {
    /// Returns the segment that covers `offset`, with its count. `None` if no segment covers it.
    fn at(&mut self, offset: i64) -> Option<(&ReceiptSegment, &mut SegmentRecount)> {
        debug_assert_eq!(self.segments.len(), self.counted.len(), "every segment has a count");
        // The last segment that begins at or before the offset. It covers the offset only if it does not end
        // before.
        let index = self.segments.partition_point(|segment| segment.first <= offset).checked_sub(1)?;
        let segment = self.segments.get(index).filter(|segment| offset < segment.next)?;
        Some((segment, self.counted.get_mut(index)?))
    }
}

/// Reads every topic that the receipts name and adds the differences to `report`, which must come from the
/// same books. `fact` is the fleet's fact schema; `progress` is called with the name of each topic. Memory
/// grows with the number of masked records, eight bytes and a little each.
///
/// # Errors
/// A [`Fault`] if Kafka does not answer or the fact schema lacks the source's fields.
pub async fn count(
    kafka: &KafkaSection,
    books: &ReceiptBooks,
    report: &mut ConservationReport,
    fact: Option<&DatumSchema>,
    mut progress: impl FnMut(&str),
) -> Result<(), Fault> {
    // A ledger for each chain, with all counts at 0.
    let mut ledgers: BTreeMap<ReceiptChain, RecountLedger> = BTreeMap::new();
    for chain in books.chains() {
        let segments = books.segments(chain);
        let counted = vec![SegmentRecount::default(); segments.len()];
        let ledger = RecountLedger { segments, counted, letters: HashSet::new(), masked: HashSet::new() };
        ledgers.insert(chain.clone(), ledger);
    }

    // The topics to read: sources, outputs, and the dead-letter topics of the sources.
    let sources: BTreeSet<String> = ledgers.keys().map(|chain| chain.at.topic.to_string()).collect();
    let outputs: BTreeSet<String> =
        ledgers.values().flat_map(|l| &l.segments).flat_map(|s| s.outputs.keys().cloned()).collect();
    let mut names: Vec<String> = sources.union(&outputs).cloned().collect();
    names.extend(sources.iter().map(|source| topic_of(source)));

    // A topic is lossy if it is compacted, or if the log of one of its partitions no longer begins at 0.
    let admin = KafkaAdmin::new(kafka)?;
    let mut lossy = BTreeSet::new();
    for (name, topic) in admin.topics(&names).await? {
        let compacted = topic.config.get("cleanup.policy").is_some_and(|policy| policy.contains("compact"));
        let mut truncated = false;
        for partition in 0..topic.partitions {
            truncated |= bounds(kafka, &TopicPartition::new(name.as_str(), partition))?.0 > 0;
        }
        if compacted || truncated {
            lossy.insert(name);
        }
    }

    // Records and letters of each source. Several groups may have read the same source.
    for source in &sources {
        progress(source);
        read_to_end(kafka, source, &mut BTreeMap::new(), |record| {
            for_chains(&mut ledgers, source, record.partition, |_, ledger| {
                if let Some((_, counted)) = ledger.at(record.offset.raw()) {
                    counted.records += 1;
                }
            });
        })?;

        let letters = topic_of(source);
        progress(&letters);
        read_to_end(kafka, &letters, &mut BTreeMap::new(), |record| count_letter(record, &mut ledgers))?;
    }

    // Outputs. A record without a source, for example of another producer, belongs to no segment.
    let facts = fact.map(|schema| LeafProjection::compile(schema, &FACT_SOURCE)).transpose();
    let facts = facts.map_err(|error| Fault::bug("reading the fact schema", error))?;
    for output in &outputs {
        progress(output);
        read_to_end(kafka, output, &mut BTreeMap::new(), |record| {
            let header = source_header(record);
            let masked = header.is_some();
            if let Some((topic, partition, offset)) =
                header.or_else(|| source_of_fact(record, facts.as_ref()))
            {
                for_chains(&mut ledgers, &topic, partition, |chain, ledger| {
                    count_output(output, offset, masked, chain, ledger, books);
                });
            }
        })?;
    }

    for (chain, ledger) in &ledgers {
        report.add(chain, compare(ledger, &lossy));
    }
    Ok(())
}

/// Calls `with` for the chain of every group that read this partition.
fn for_chains(
    ledgers: &mut BTreeMap<ReceiptChain, RecountLedger>,
    topic: &str,
    partition: i32,
    mut with: impl FnMut(&ReceiptChain, &mut RecountLedger),
) {
    let fits = |chain: &ReceiptChain| chain.at.partition == partition && &*chain.at.topic == topic;
    ledgers.iter_mut().filter(|(chain, _)| fits(chain)).for_each(|(chain, ledger)| with(chain, ledger));
}

/// Counts a letter for the segment that covers the refused record.
fn count_letter(record: &RecordRef<'_>, ledgers: &mut BTreeMap<ReceiptChain, RecountLedger>) {
    let Some(head) = DeadLetterHead::read(record) else { return };
    let DeadLetterIdentity { group, at, offset } = head.identity();
    // An identity counts once: a replay that refuses the record again adds a letter with the same identity.
    if let Some(ledger) = ledgers.get_mut(&ReceiptChain { group, at })
        && ledger.letters.insert(offset)
        && let Some((_, counted)) = ledger.at(offset)
    {
        counted.letters += 1;
    }
}

/// Counts an output record whose source is `offset` of the chain's partition.
fn count_output(
    output: &str,
    offset: i64,
    masked: bool,
    chain: &ReceiptChain,
    ledger: &mut RecountLedger,
    books: &ReceiptBooks,
) {
    // The receipt counted a replayed letter as a dead letter, so its output is not among the segment's
    // outputs.
    let letter = DeadLetterIdentity { group: chain.group.clone(), at: chain.at.clone(), offset };
    let by_replay = books.fate(&letter).is_some_and(|fate| fate.fate == FateKind::Out);

    // An output of another group with the same source.
    let Some((segment, _)) = ledger.at(offset) else { return };
    if !segment.outputs.contains_key(output) && !by_replay {
        return;
    }

    // A source has at most one masked record, whether the lane or a replay wrote it.
    let again = masked && !ledger.masked.insert(offset);
    let Some((_, counted)) = ledger.at(offset) else {
        debug_assert!(false, "a segment covers the offset, as it did above");
        return;
    };
    counted.twice += u64::from(again);
    if !by_replay {
        *counted.outputs.entry(output.to_owned()).or_default() += 1;
    }
}

/// Returns the differences between receipts and counts.
fn compare(ledger: &RecountLedger, lossy: &BTreeSet<String>) -> Vec<AuditFinding> {
    let mut findings = vec![];
    for (segment, counted) in ledger.segments.iter().zip(&ledger.counted) {
        let mut check = |what: String, topic: &str, receipt: u64, counted: u64| {
            // Fewer records are legal in a topic that loses records; more never are.
            let fewer_is_legal = lossy.contains(topic);
            if counted > receipt || (counted < receipt && !fewer_is_legal) {
                let (from, to) = (segment.first, segment.next);
                findings.push(AuditFinding::Miscounted { from, to, what, receipt, counted });
            }
        };

        // Source, outputs and letters, each against the number in the receipt.
        check(format!("records in {}", segment.topic), &segment.topic, segment.records, counted.records);
        for (topic, receipt) in &segment.outputs {
            let there = counted.outputs.get(topic).copied().unwrap_or_default();
            check(format!("outputs in {topic}"), topic, *receipt, there);
        }
        let letters = topic_of(&segment.topic);
        check(format!("dead letters in {letters}"), &letters, segment.dead_lettered(), counted.letters);

        // No topic may have a second masked record of the same source. The empty name is never lossy.
        check("second masked records of one source".to_owned(), "", 0, counted.twice);
    }
    findings
}

/// Reads topic, partition and offset of the source from a masked record's header.
fn source_header(record: &RecordRef<'_>) -> Option<(String, i32, i64)> {
    let header = record.headers.iter().find(|header| header.name == names::SOURCE_HEADER)?;
    // From the right, as the partition and the offset have no slash.
    let mut parts = std::str::from_utf8(header.value?).ok()?.rsplitn(3, '/');
    let offset = parts.next()?.parse().ok()?;
    let partition = parts.next()?.parse().ok()?;
    Some((parts.next()?.to_owned(), partition, offset))
}

/// Reads topic, partition and offset of the source from a fact's fields. `None` if the record is no fact.
fn source_of_fact(record: &RecordRef<'_>, facts: Option<&LeafProjection>) -> Option<(String, i32, i64)> {
    let (_, datum) = framing::split(record.value?).ok()?;
    // Indices are those of `FACT_SOURCE`.
    let (mut topic, mut partition, mut offset) = (None, None, None);
    let read = facts?.run(datum, |index, leaf| match (index, leaf) {
        (0, LeafValue::String(text)) => topic = Some(text.to_owned()),
        (1, LeafValue::Int(number)) => partition = Some(number),
        (2, LeafValue::Long(number)) => offset = Some(number),
        _ => {}
    });
    read.ok()?;
    Some((topic?, partition?, offset?))
}
