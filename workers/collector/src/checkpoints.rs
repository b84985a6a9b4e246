//! Page checkpoints in Kafka: a page and the memory of it are committed together.
//!
//! In transactional mode every page is published together with a record in the job's compacted checkpoint
//! topic: key `<id>/<endpoint>`, value JSON ([`PageCheckpoint`]). The former holder of an id may be dead,
//! slow or only cut off from the database. A process that takes the id over takes these steps, in this order:
//!
//! ```text
//!  1. the database gives it the id and a higher fence       (the old holder's database writes match no row)
//!  2. it takes the old holder's transactional id            (the old holder's open transaction is aborted,
//!                                                            and nothing it sends from now on becomes
//!                                                            visible: KIP-98)
//!  3. under that id it writes a barrier to every partition  (in log order behind all commits of the old
//!                                                            holder)
//!  4. it reads the topic until it has seen the barriers     (a read_committed reader stops at the first
//!                                                            transaction still open, of any producer;
//!                                                            reaching the end alone proves nothing)
//!  5. it goes on behind the newest checkpoint of the run
//! ```

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sluice_core::{Fault, NextOffset, RecordRef};
use sluice_kafka::{KafkaProducer, OutgoingRecord};
use sluice_lease::{ClaimTally, IdClaim, JobClaims};
use sluice_runtime::config::KafkaSection;

use crate::incremental::IncrementalMarks;
use crate::process::PartMark;

/// The position from which an id goes on: before this page. Its text is part of the claim's row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PagePosition {
    pub(crate) endpoint: String,
    /// 0-based.
    pub(crate) page: u64,
    /// The token to request the page with; `None` for the first page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    /// The first records of the page, if they are published already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) part: Option<PartMark>,
}

/// The memory of a claim's row between two holders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RowMark {
    #[serde(flatten)]
    pub(crate) at: PagePosition,
    #[serde(default, skip_serializing_if = "IncrementalMarks::is_empty")]
    pub(crate) marks: IncrementalMarks,
}

/// The value of a checkpoint record: the progress of the id behind the page that it was written with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PageCheckpoint {
    pub(crate) run: i64,
    /// The position to go on from; `None` if every endpoint is complete.
    pub(crate) at: Option<PagePosition>,
    #[serde(default, skip_serializing_if = "IncrementalMarks::is_empty")]
    pub(crate) marks: IncrementalMarks,
    pub(crate) pages: i64,
    pub(crate) records: i64,
    pub(crate) rejects: i64,
    pub(crate) bytes: i64,
}

/// The checkpoint topic as far as it was read: the newest checkpoint per id. It is filled only when an id is
/// taken over.
#[derive(Default)]
pub(crate) struct CheckpointLog {
    /// The next offset to read, by partition.
    from: BTreeMap<i32, NextOffset>,
    newest: HashMap<String, PageCheckpoint>,
    /// Partition and nonce of the barriers that were read.
    barriers: HashSet<(i32, Vec<u8>)>,
}

/// Bytes of a row's mark besides the texts of an API: names, numbers, a part's hash.
const BESIDE: usize = 1_000;
/// Beginning of a barrier's key. Keys of barriers hold no `/`, keys of checkpoints always do.
const BARRIER: &str = "barrier";
/// How long to wait for a barrier: longer than any transaction may stay open.
const PATIENCE: Duration = Duration::from_secs(150);

impl PagePosition {
    /// Returns the first page of an endpoint.
    pub(crate) fn first(endpoint: &str) -> Self {
        Self { endpoint: endpoint.to_owned(), page: 0, token: None, part: None }
    }
}

impl RowMark {
    /// Returns the mark as the JSON text of the row.
    pub(crate) fn to_text(&self) -> String {
        // Structs of texts and numbers always have a JSON form.
        let text = serde_json::to_string(self);
        debug_assert!(text.is_ok(), "a row's mark has a JSON form");
        text.unwrap_or_default()
    }

    /// Reads a row's text; `None` if it is not a mark.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Returns whether a row can hold this mark. The API chooses the length of the texts in it.
    pub(crate) fn fits(at: &PagePosition, marks: &IncrementalMarks) -> bool {
        let texts = at.endpoint.len() + at.token.as_ref().map_or(0, String::len) + marks.length();
        // Nearly all marks are far from the limit, and need not be written to find out: JSON makes at most
        // six bytes of one.
        let most = JobClaims::LONGEST_MARK - BESIDE;
        texts * 6 <= most || Self { at: at.clone(), marks: marks.clone() }.to_text().len() <= most
    }
}

impl PageCheckpoint {
    /// Returns the checkpoint of a run at a position.
    pub(crate) fn new(
        run: i64,
        at: Option<PagePosition>,
        marks: IncrementalMarks,
        tally: ClaimTally,
    ) -> Self {
        let ClaimTally { pages, records, rejects, bytes } = tally;
        Self { run, at, marks, pages, records, rejects, bytes }
    }

    /// Returns the work done in the run.
    pub(crate) const fn tally(&self) -> ClaimTally {
        ClaimTally { pages: self.pages, records: self.records, rejects: self.rejects, bytes: self.bytes }
    }

    /// Returns the value of the checkpoint record.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        // Structs of texts and numbers always have a JSON form.
        let bytes = serde_json::to_vec(self);
        debug_assert!(bytes.is_ok(), "a checkpoint has a JSON form");
        bytes.unwrap_or_default()
    }
}

/// Returns the key of a checkpoint record.
pub(crate) fn key(id: &str, endpoint: &str) -> String {
    format!("{id}/{endpoint}")
}

impl CheckpointLog {
    /// Returns the checkpoint to go on from, or `None` if the claim's row is further in this run. If both are
    /// equally far, the checkpoint counts: only here a complete id differs from one that was not begun.
    pub(crate) fn newest(&self, claim: &IdClaim) -> Option<&PageCheckpoint> {
        let newest = self.newest.get(&claim.id)?;
        (newest.run == claim.run && newest.pages >= claim.tally.pages).then_some(newest)
    }

    /// Reads on until the barriers marked `nonce` were seen in all of `partitions`. Blocks.
    ///
    /// # Errors
    /// An outage if a transaction of another producer stays open in front of a barrier, and Kafka's faults.
    pub(crate) fn read_behind(
        &mut self,
        kafka: &KafkaSection,
        topic: &str,
        partitions: &[i32],
        nonce: &[u8],
    ) -> Result<(), Fault> {
        let started = Instant::now();
        loop {
            // `read_to_end` ends at the first open transaction, which may be in front of the barrier.
            let mut from = std::mem::take(&mut self.from);
            let read = sluice_kafka::read_to_end(kafka, topic, &mut from, |record| self.take(record));
            self.from = from;
            read?;

            // Nonces are used once, so that the barriers of this takeover can be forgotten.
            if partitions.iter().all(|&partition| self.barriers.contains(&(partition, nonce.to_vec()))) {
                self.barriers.clear();
                return Ok(());
            }

            // Longer than a transaction may stay open: this does not end by itself soon.
            if started.elapsed() > PATIENCE {
                let why =
                    "expected to see the barrier within 150 s; another producer's transaction stays open";
                return Err(Fault::outage(format!("reading {topic} to a barrier"), why));
            }

            // A transaction is open in front of the barrier. Transactions last milliseconds, and this thread
            // may block.
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Takes in one record of the topic: a barrier or a checkpoint. Any other record is passed over.
    fn take(&mut self, record: &RecordRef<'_>) {
        let Some(key) = record.key.and_then(|key| std::str::from_utf8(key).ok()) else { return };
        if key.starts_with(BARRIER) && !key.contains('/') {
            self.barriers.insert((record.partition, record.value.unwrap_or_default().to_vec()));
            return;
        }

        // Ids may hold slashes, endpoints may not.
        let Some((id, _)) = key.rsplit_once('/') else { return };
        let Some(value) = record.value.and_then(|value| serde_json::from_slice::<PageCheckpoint>(value).ok())
        else {
            return;
        };

        // The newest checkpoint is the one that got furthest. Parts of one page differ in their records only.
        let far = |of: &PageCheckpoint| (of.run, of.pages, of.records + of.rejects);
        let newer = |old: &PageCheckpoint| far(&value) >= far(old);
        if self.newest.get(id).is_none_or(newer) {
            self.newest.insert(id.to_owned(), value);
        }
    }
}

/// Returns the partitions of the checkpoint topic.
pub(crate) fn partitions(kafka: &KafkaSection, topic: &str) -> Result<Vec<i32>, Fault> {
    Ok(sluice_kafka::ends(kafka, topic)?.into_keys().map(|at| at.partition).collect())
}

/// Takes a holder's transactional id away from it and writes barriers in its name. Blocks.
///
/// # Errors
/// Kafka's faults. A fault of the transaction is an outage: trying again helps.
pub(crate) fn fence(
    kafka: &KafkaSection,
    holder: &str,
    topic: &str,
    partitions: &[i32],
    nonce: &[u8],
) -> Result<(), Fault> {
    // From here on the holder's producer is fenced, and its open transaction is aborted (KIP-98).
    let mut producer = KafkaProducer::transactional(kafka, holder, 8 << 20)?;
    let mut written = || {
        producer.begin()?;
        for &partition in partitions {
            producer.send(&barrier(topic, partition, &barrier_key(partition), nonce))?;
        }
        producer.commit()
    };

    // Another process may fence the same holder at this moment, or the holder may have taken its id back.
    // Neither is a mistake; the next try finds out.
    written().map_err(|fault: Fault| Fault::outage(format!("fencing the holder {holder}"), fault.to_string()))
}

/// Returns the key under which compaction keeps one barrier per partition.
pub(crate) fn barrier_key(partition: i32) -> String {
    format!("{BARRIER}-{partition}")
}

/// Returns the barrier record of one partition.
pub(crate) fn barrier<'a>(
    topic: &'a str,
    partition: i32,
    key: &'a str,
    nonce: &'a [u8],
) -> OutgoingRecord<'a> {
    OutgoingRecord {
        topic,
        partition: Some(partition),
        key: Some(key.as_bytes()),
        value: Some(nonce),
        timestamp_ms: None,
        headers: &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_core::Offset;

    fn tally(pages: i64) -> ClaimTally {
        ClaimTally { pages, records: pages * 50, rejects: 0, bytes: 0 }
    }

    fn give(log: &mut CheckpointLog, key: &str, value: &[u8]) {
        let offset = Offset::new(0).unwrap();
        let (key, value) = (Some(key.as_bytes()), Some(value));
        log.take(&RecordRef {
            topic: "t",
            partition: 0,
            offset,
            timestamp_ms: None,
            key,
            value,
            headers: &[],
        });
    }

    fn claim(run: i64, pages: i64) -> IdClaim {
        let id = "a/b".to_owned();
        let tally = tally(pages);
        let (taken_from, unwritten) = (vec!["x".into()], Duration::ZERO);
        IdClaim { id, fence: 2, attempt: 2, run, next_page: None, tally, taken_from, unwritten }
    }

    fn checkpoint(at: Option<PagePosition>, tally: ClaimTally) -> Vec<u8> {
        PageCheckpoint::new(1, at, IncrementalMarks::default(), tally).to_bytes()
    }

    #[test]
    fn the_newest_checkpoint_of_the_run_wins_over_the_row() {
        let mut log = CheckpointLog::default();
        let at = PagePosition { endpoint: "flights".into(), page: 2, token: Some("t".into()), part: None };
        // Ids may hold slashes, endpoints not.
        give(&mut log, &key("a/b", "aircraft"), &checkpoint(Some(PagePosition::first("flights")), tally(1)));
        give(&mut log, &key("a/b", "flights"), &checkpoint(Some(at.clone()), tally(3)));
        // Compaction may leave an older one of another key behind a newer one.
        give(&mut log, &key("a/b", "aircraft"), &checkpoint(None, tally(1)));
        assert_eq!(log.newest(&claim(1, 2)).unwrap().at, Some(at));
        assert_eq!(log.newest(&claim(1, 4)), None, "the row is further");
        assert_eq!(log.newest(&claim(2, 0)), None, "another run");
    }

    /// Records of the checkpoint topic as the former build (commit 970d294) wrote them:
    /// `tests/data/former/README.md`.
    const FORMER: &str = include_str!("../../../tests/data/former/checkpoints.jsonl");

    #[test]
    fn checkpoints_of_the_former_build_are_gone_on_from() {
        let mut log = CheckpointLog::default();
        for line in FORMER.lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let (record, value) = (line["key"].as_str().unwrap(), line["value"].as_str().unwrap());
            let checkpoint: PageCheckpoint = serde_json::from_str(value).unwrap();
            assert_eq!(String::from_utf8(checkpoint.to_bytes()).unwrap(), value, "nothing of it is lost");

            // Whoever takes the id over at this moment goes on behind this page.
            give(&mut log, record, value.as_bytes());
            let (id, endpoint) = record.rsplit_once('/').unwrap();
            assert_eq!(key(id, endpoint), record);
            let row = IdClaim { id: id.to_owned(), ..claim(1, 0) };
            assert_eq!(log.newest(&row), Some(&checkpoint), "{line}");

            // The position is written to the claim's row in the same spelling.
            if let Some(at) = checkpoint.at {
                let text = serde_json::to_string(&at).unwrap();
                assert_eq!(RowMark::parse(&text), Some(RowMark { at, marks: checkpoint.marks }));
            }
        }
        let complete = IdClaim { id: "N10575".into(), ..claim(1, 7) };
        assert_eq!(
            log.newest(&complete).map(|newest| newest.at.clone()),
            Some(None),
            "all its pages are there"
        );
    }

    #[test]
    fn barriers_and_foreign_records_are_no_checkpoints() {
        let mut log = CheckpointLog::default();
        give(&mut log, &barrier_key(0), b"nonce");
        give(&mut log, "a/flights", b"not json");
        assert!(log.newest.is_empty());
        assert!(log.barriers.contains(&(0, b"nonce".to_vec())));
    }

    #[test]
    fn of_two_parts_of_a_page_the_later_one_counts() {
        let mut log = CheckpointLog::default();
        let at = |records| PagePosition {
            part: Some(PartMark { records, hash: "h".into() }),
            ..PagePosition::first("flights")
        };
        for records in [10, 20] {
            let tally = ClaimTally { records, ..tally(1) };
            give(&mut log, &key("a/b", "flights"), &checkpoint(Some(at(records as u64)), tally));
        }
        assert_eq!(log.newest(&claim(1, 1)).unwrap().at, Some(at(20)));
    }

    #[test]
    fn marks_come_back_from_their_text() {
        let at = PagePosition { endpoint: "flights".into(), page: 7, token: None, part: None };
        let plain = RowMark { at: at.clone(), marks: IncrementalMarks::default() };
        assert_eq!(plain.to_text(), r#"{"endpoint":"flights","page":7}"#);
        let mut marks = IncrementalMarks::default();
        let high = crate::incremental::IncrementalMaximum { value: "9".into(), edge: vec![u64::MAX] };
        marks.since.insert("flights".into(), high);
        for mark in [plain, RowMark { at, marks }] {
            assert_eq!(RowMark::parse(&mark.to_text()), Some(mark));
        }
        assert_eq!(RowMark::parse("{}"), None);
    }
}
