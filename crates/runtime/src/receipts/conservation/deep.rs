//! `--deep`: the topics themselves are read and counted, record by record, against what the receipts say.
//!
//! Counted as a `read_committed` consumer sees them, so transaction markers and what was aborted are not there.
//! Outputs say where they come from: masked records in the header `sluice.source`, facts in their fields. A letter
//! that is there twice is one letter; an output that a replayed letter brought is not the segment's.
//!
//! Retention and compaction take records away and add none: of a topic that has lost records already, only *more*
//! than the receipt says is a finding.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use sluice_core::{Fault, RecordRef, TopicPartition};
use sluice_wire::{DatumSchema, LeafProjection, LeafValue, framing};

use super::ConservationReport;
use crate::config::KafkaSection;
use crate::dead_letter::{DeadLetterHead, topic_of};
use crate::receipts::{
    AuditFinding, DeadLetterIdentity, FateKind, ReceiptBooks, ReceiptChain, ReceiptSegment,
};
use sluice_kafka::admin::KafkaAdmin;
use sluice_kafka::{bounds, read_to_end};

/// Header that says where a masked record came from.
const SOURCE: &str = "sluice.source";
/// Fields of a fact that say where it came from.
const FACT_SOURCE: [&str; 3] = ["source_topic", "source_partition", "source_offset"];

/// What was counted for one segment.
#[derive(Default, Clone)]
struct SegmentRecount {
    records: u64,
    outputs: BTreeMap<String, u64>,
    letters: u64,
    twice: u64,
}

struct RecountLedger {
    segments: Vec<ReceiptSegment>,
    counted: Vec<SegmentRecount>,
    /// Letters of the chain that were seen, by source offset.
    letters: HashSet<i64>,
    /// Source offsets whose masked record was seen.
    masked: HashSet<i64>,
}

impl RecountLedger {
    fn at(&mut self, offset: i64) -> Option<(&ReceiptSegment, &mut SegmentRecount)> {
        let index = self.segments.partition_point(|segment| segment.first <= offset).checked_sub(1)?;
        let segment = self.segments.get(index).filter(|segment| offset < segment.next)?;
        Some((segment, self.counted.get_mut(index)?))
    }
}

/// Reads every topic that the receipts speak of and adds what does not agree to `report`. `fact` is the fleet's fact
/// schema. Memory grows with the number of masked records, eight bytes and a little each.
///
/// # Errors
/// A [`Fault`] if Kafka does not answer or the fact schema is another.
pub async fn count(
    kafka: &KafkaSection,
    books: &ReceiptBooks,
    report: &mut ConservationReport,
    fact: Option<&DatumSchema>,
    mut progress: impl FnMut(&str),
) -> Result<(), Fault> {
    let mut ledgers: BTreeMap<ReceiptChain, RecountLedger> = BTreeMap::new();
    for chain in books.chains() {
        let segments = books.segments(chain);
        let counted = vec![SegmentRecount::default(); segments.len()];
        let ledger = RecountLedger { segments, counted, letters: HashSet::new(), masked: HashSet::new() };
        ledgers.insert(chain.clone(), ledger);
    }
    let sources: BTreeSet<String> = ledgers.keys().map(|chain| chain.at.topic.to_string()).collect();
    let outputs: BTreeSet<String> =
        ledgers.values().flat_map(|l| &l.segments).flat_map(|s| s.outputs.keys().cloned()).collect();
    let mut names: Vec<String> = sources.union(&outputs).cloned().collect();
    names.extend(sources.iter().map(|source| topic_of(source)));
    let admin = KafkaAdmin::new(kafka)?;
    let mut lossy = BTreeSet::new();
    for (name, topic) in admin.topics(&names).await? {
        let compacted = topic.config.get("cleanup.policy").is_some_and(|policy| policy.contains("compact"));
        let mut begun = false;
        for partition in 0..topic.partitions {
            begun |= bounds(kafka, &TopicPartition::new(name.as_str(), partition))?.0 > 0;
        }
        if compacted || begun {
            lossy.insert(name);
        }
    }
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
        read_to_end(kafka, &letters, &mut BTreeMap::new(), |record| letter(record, &mut ledgers))?;
    }
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
                    emitted(output, offset, masked, chain, ledger, books);
                });
            }
        })?;
    }
    for (chain, ledger) in &ledgers {
        report.add(chain, compare(ledger, &lossy));
    }
    Ok(())
}

fn for_chains(
    ledgers: &mut BTreeMap<ReceiptChain, RecountLedger>,
    topic: &str,
    partition: i32,
    mut with: impl FnMut(&ReceiptChain, &mut RecountLedger),
) {
    let fits = |chain: &ReceiptChain| chain.at.partition == partition && &*chain.at.topic == topic;
    ledgers.iter_mut().filter(|(chain, _)| fits(chain)).for_each(|(chain, ledger)| with(chain, ledger));
}

fn letter(record: &RecordRef<'_>, ledgers: &mut BTreeMap<ReceiptChain, RecountLedger>) {
    let Some(head) = DeadLetterHead::read(record) else { return };
    let DeadLetterIdentity { group, at, offset } = head.identity();
    if let Some(ledger) = ledgers.get_mut(&ReceiptChain { group, at })
        && ledger.letters.insert(offset)
        && let Some((_, counted)) = ledger.at(offset)
    {
        counted.letters += 1;
    }
}

fn emitted(
    output: &str,
    offset: i64,
    masked: bool,
    chain: &ReceiptChain,
    ledger: &mut RecountLedger,
    books: &ReceiptBooks,
) {
    let letter = DeadLetterIdentity { group: chain.group.clone(), at: chain.at.clone(), offset };
    let by_replay = books.fate(&letter).is_some_and(|fate| fate.fate == FateKind::Out);
    let Some((segment, _)) = ledger.at(offset) else { return };
    if !segment.outputs.contains_key(output) && !by_replay {
        return; // another group's output of the same source
    }
    // A masked record has one source and a source one masked record, whoever wrote it.
    let again = masked && !ledger.masked.insert(offset);
    let Some((_, counted)) = ledger.at(offset) else { return };
    counted.twice += u64::from(again);
    if !by_replay {
        *counted.outputs.entry(output.to_owned()).or_default() += 1;
    }
}

fn compare(ledger: &RecountLedger, lossy: &BTreeSet<String>) -> Vec<AuditFinding> {
    let mut findings = vec![];
    for (segment, counted) in ledger.segments.iter().zip(&ledger.counted) {
        let mut check = |what: String, topic: &str, receipt: u64, counted: u64| {
            let fewer_is_legal = lossy.contains(topic);
            if counted > receipt || (counted < receipt && !fewer_is_legal) {
                let (from, to) = (segment.first, segment.next);
                findings.push(AuditFinding::Miscounted { from, to, what, receipt, counted });
            }
        };
        check(format!("records in {}", segment.topic), &segment.topic, segment.records, counted.records);
        for (topic, receipt) in &segment.outputs {
            let there = counted.outputs.get(topic).copied().unwrap_or_default();
            check(format!("outputs in {topic}"), topic, *receipt, there);
        }
        let letters = topic_of(&segment.topic);
        check(format!("dead letters in {letters}"), &letters, segment.dead_lettered(), counted.letters);
        check("masked records that are there twice".to_owned(), "", 0, counted.twice);
    }
    findings
}

fn source_header(record: &RecordRef<'_>) -> Option<(String, i32, i64)> {
    let header = record.headers.iter().find(|header| header.name == SOURCE)?;
    let mut parts = std::str::from_utf8(header.value?).ok()?.rsplitn(3, '/');
    let offset = parts.next()?.parse().ok()?;
    let partition = parts.next()?.parse().ok()?;
    Some((parts.next()?.to_owned(), partition, offset))
}

fn source_of_fact(record: &RecordRef<'_>, facts: Option<&LeafProjection>) -> Option<(String, i32, i64)> {
    let (_, datum) = framing::split(record.value?).ok()?;
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
