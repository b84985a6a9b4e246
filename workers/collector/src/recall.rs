//! Finding the records that a dead holder had published without updating the row (idempotent mode). Without
//! transactions a page, or some of its records, may be in its topic while the id's row still names it as the
//! next page. A process that takes the id over reads the end of the topics first. Of the next page it
//! publishes only the records that are not there.
//!
//! ```text
//!   row: page 7 is next          topic: … page 6 │ page 7, by the one that died │ …
//!   └ written this long ago ──────► read from here, and a little before ──────────► its end
//! ```
//!
//! A record counts as published if its header `sluice.page` names the same job, id, run, endpoint and page,
//! and if topic, key, value and the other headers are equal. Records that the API has changed are therefore
//! published, and only records that are in the topic are left out. The former holder may still be alive, but
//! it sends nothing more while this reads, because it sends nothing on a lease that is about to end
//! (`held.rs`). One case remains: a process that is stopped between its last look at the lease and the
//! network, for longer than the lease. Each page in that gap comes a second time when the process goes on.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest as _, Sha256};
use sluice_core::{Fault, Header, NextOffset, Outputs, RecordRef, Retry};
use sluice_runtime::config::KafkaSection;
use sluice_runtime::retry::until_answered;
use sluice_runtime::status::WorkerStatus;
use tokio_util::sync::CancellationToken;

use crate::collect::{CollectionProgress, page_key};
use crate::job::CollectorJob;
use crate::process::LETTERS;
use crate::publisher::EndpointTopics;
use crate::takeover::blocking;

pub(crate) use sluice_core::names::PAGE_HEADER as PAGE;
/// The greatest difference that is expected between the clocks of two collectors, and of brokers that write
/// the time themselves. With a greater difference pages could come twice; none would be missing.
const CLOCKS: Duration = Duration::from_secs(10);
/// The furthest look back. If an id waits for longer after its holder's death, its next page may come twice.
const FURTHEST: Duration = Duration::from_secs(3_600);

/// Hashes of the records of one page that are published already, and how often each is.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct PageRecall(HashMap<[u8; 16], u32>);

/// The pages to find, by [`page_key`]: the number of the record to begin at, and the records that were found.
type RecallSearch = HashMap<String, (u64, PageRecall)>;

/// Finds the published records of the next page of each of these ids, which were taken over.
///
/// # Errors
/// A [`Fault`] that no retry mends.
pub(crate) async fn recall(
    job: &CollectorJob,
    mut taken: Vec<CollectionProgress>,
    status: &WorkerStatus,
    stop: &CancellationToken,
) -> Result<Vec<CollectionProgress>, Fault> {
    let Some(unwritten) = taken.iter().map(|id| id.claim.unwritten).max() else { return Ok(taken) };
    if sluice_failpoint::sabotaged("no-recall") {
        return Ok(taken);
    }

    // The search begins at the oldest of the last writes: a former holder published only after it.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let since = now.saturating_sub(unwritten.min(FURTHEST)).saturating_sub(CLOCKS);
    let since = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);

    // The pages to find, and the topics in which they can be.
    let mut sought = RecallSearch::new();
    let mut topics = HashSet::new();
    for id in &taken {
        let Some(at) = &id.at else { continue };
        let from = at.part.as_ref().map_or(0, |part| part.records);
        sought
            .insert(page_key(&job.config.job, &id.claim.id, id.claim.run, at), (from, PageRecall::default()));
        let endpoints = job.config.endpoints.iter().zip(&job.targets);
        for (_, target) in endpoints.filter(|(endpoint, _)| endpoint.name == at.endpoint) {
            topics.extend([target.topics.records.clone(), target.topics.letters.clone()]);
        }
    }

    // Each topic is read once for all ids. A failed read begins with the pages as they were before it.
    for topic in topics {
        let looked = until_answered("kafka", status, stop, || {
            let (kafka, topic, sought) = (job.config.kafka.clone(), topic.clone(), sought.clone());
            blocking(move || look(&kafka, &topic, since, sought))
        })
        .await;
        sought = match looked {
            Ok(found) => found,
            Err(fault) if fault.retry == Retry::Never => {
                // A producer needs the right to write only. Without the right to read, the ids go on all the
                // same.
                tracing::warn!(
                    %fault,
                    "no permission to read the topics: the next page of each id taken over may be published \
                     twice; permit this worker to read them"
                );
                return Ok(taken);
            }
            Err(fault) => return Err(fault),
        };
    }

    // Each id gets the records of its own next page.
    for id in &mut taken {
        let Some(at) = &id.at else { continue };
        let found = sought.remove(&page_key(&job.config.job, &id.claim.id, id.claim.run, at));
        id.recalled = found.map(|(_, recalled)| recalled).filter(|recalled| !recalled.0.is_empty());
    }

    // The number of ids whose next page is published in part or whole.
    let pages = taken.iter().filter(|id| id.recalled.is_some()).count();
    tracing::info!(ids = taken.len(), pages, "ids taken over; `pages` of them have a published next page");
    Ok(taken)
}

/// Reads a topic from a time to its end and notes the records of the pages to find.
fn look(
    kafka: &KafkaSection,
    topic: &str,
    since: i64,
    mut sought: RecallSearch,
) -> Result<RecallSearch, Fault> {
    let ends = sluice_kafka::ends(kafka, topic)?;
    let partitions: Vec<_> = ends.keys().cloned().collect();
    let starts = sluice_kafka::at_time(kafka, &partitions, since)?;
    // A partition without records since that time is not read.
    let mut from: BTreeMap<i32, NextOffset> =
        ends.into_iter().map(|(at, end)| (at.partition, starts.get(&at).copied().unwrap_or(end))).collect();
    sluice_kafka::read_to_end(kafka, topic, &mut from, |record| note(&mut sought, record))?;
    Ok(sought)
}

/// Notes a record if it belongs to one of the pages to find.
fn note(sought: &mut RecallSearch, record: &RecordRef<'_>) {
    let page = record.headers.iter().find(|header| header.name == PAGE).and_then(|header| header.value);
    let Some(page) = page.and_then(|page| std::str::from_utf8(page).ok()) else { return };
    let Some((page, from)) = parse(page) else { return };

    // Parts in front of the row's position are complete and not asked for again.
    if let Some((first, recalled)) = sought.get_mut(page)
        && from >= *first
    {
        let print = print(record.topic, record.key, record.value, record.headers.iter().copied());
        *recalled.0.entry(print).or_default() += 1;
    }
}

/// Splits the header `job/id/run/endpoint/page[+from]/hash` into the page's key and the number of the record
/// at which the part begins. Only the id may hold slashes, so that it is split from the end.
fn parse(header: &str) -> Option<(&str, u64)> {
    let (page, _hash) = header.rsplit_once('/')?;
    let (before, number) = page.rsplit_once('/')?;
    match number.split_once('+') {
        None => Some((page, 0)),
        Some((number, from)) => Some((page.get(..before.len() + 1 + number.len())?, from.parse().ok()?)),
    }
}

/// Returns a hash of a record without its offset and time: half of a SHA-256.
fn print<'a>(
    topic: &str,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: impl Iterator<Item = Header<'a>>,
) -> [u8; 16] {
    let mut hash = Sha256::new();

    // Every field is preceded by its length, and null has a length of its own: different records differ in
    // the hash.
    let mut add = |bytes: Option<&[u8]>| {
        hash.update(bytes.map_or(u64::MAX, |bytes| bytes.len() as u64).to_le_bytes());
        hash.update(bytes.unwrap_or_default());
    };
    add(Some(topic.as_bytes()));
    add(key);
    add(value);

    // The page header is left out: it differs between parts that hold the same record.
    for header in headers.filter(|header| header.name != PAGE) {
        add(Some(header.name.as_bytes()));
        add(header.value);
    }

    let mut print = [0; 16];
    print.copy_from_slice(&hash.finalize()[..16]);
    print
}

impl PageRecall {
    /// Removes the records from `outputs` that are published already. Each found record removes one.
    pub(crate) fn sift(&mut self, topics: &Arc<EndpointTopics>, outputs: &mut Outputs) {
        let mut rest = Outputs::new();
        for record in outputs.iter() {
            let topic = if record.route == LETTERS { &topics.letters } else { &topics.records };
            let print = print(topic, record.key, record.value, record.headers());
            // A page may hold equal records; only as many are removed as were found.
            if let Some(count) = self.0.get_mut(&print).filter(|count| **count > 0) {
                *count -= 1;
                continue;
            }

            // All others are copied unchanged.
            let mut draft = rest.draft(record.route);
            draft.timestamp_ms(record.timestamp_ms);
            if let Some(key) = record.key {
                draft.key(key);
            }
            if let Some(value) = record.value {
                crate::process::value(&mut draft, value);
            }
            for header in record.headers() {
                draft.header(header.name, header.value);
            }
            draft.emit();
        }
        *outputs = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoints::PagePosition;
    use crate::process::RECORDS;
    use sluice_core::Offset;

    fn topics() -> Arc<EndpointTopics> {
        Arc::new(EndpointTopics { records: "t".into(), letters: "t.dead-letter".into() })
    }

    fn outputs(values: &[&str]) -> Outputs {
        let mut outputs = Outputs::new();
        for text in values {
            let mut draft = outputs.draft(RECORDS);
            draft.key(b"k").header("h", Some(b"v"));
            crate::process::value(&mut draft, text.as_bytes());
            draft.emit();
        }
        outputs
    }

    fn give(sought: &mut RecallSearch, page: &str, value: &str) {
        let headers =
            [Header { name: "h", value: Some(b"v") }, Header { name: PAGE, value: Some(page.as_bytes()) }];
        let (offset, timestamp_ms) = (Offset::new(0).unwrap(), None);
        let (key, value) = (Some(&b"k"[..]), Some(value.as_bytes()));
        note(
            sought,
            &RecordRef { topic: "t", partition: 0, offset, timestamp_ms, key, value, headers: &headers },
        );
    }

    #[test]
    fn what_is_there_already_is_left_out_and_nothing_else() {
        let at = PagePosition { page: 7, ..PagePosition::first("e") };
        let key = page_key("job", "a/b+1", 2, &at);
        assert_eq!(key, "job/a/b+1/2/e/7");
        let mut sought = RecallSearch::from([(key.clone(), (3, PageRecall::default()))]);
        for (page, value) in [
            ("job/a/b+1/2/e/7+3/hash", "one"),
            ("job/a/b+1/2/e/7+5/hash", "two"),
            // Before the part that the row knows of, another page, another run, another id, no page at all.
            ("job/a/b+1/2/e/7/hash", "three"),
            ("job/a/b+1/2/e/8/hash", "three"),
            ("job/a/b+1/1/e/7+3/hash", "three"),
            ("job/b+1/2/e/7+3/hash", "three"),
            ("nonsense", "three"),
        ] {
            give(&mut sought, page, value);
        }
        let (_, mut recalled) = sought.remove(&key).unwrap();
        let mut page = outputs(&["one", "one", "three", "two"]);
        recalled.sift(&topics(), &mut page);
        let left: Vec<_> = page.iter().map(|record| record.value.unwrap().to_vec()).collect();
        assert_eq!(left, [b"one".to_vec(), b"three".to_vec()], "of two equal records one was there");
        let first = page.iter().next().unwrap();
        assert_eq!((first.key, first.headers().count()), (Some(&b"k"[..]), 1));
    }
}
