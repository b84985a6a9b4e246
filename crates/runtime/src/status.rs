//! The state of a worker as `/status`, `/readyz` and its metrics show it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluice_core::{NextOffset, TopicPartition};

use crate::{dead_letter, metrics};

/// State of a neighbour before the first call to it.
const NOT_ASKED: &str = "not asked yet";

/// The state of one worker process, shared by all of its parts; cheap to clone.
#[derive(Debug, Clone)]
pub struct WorkerStatus(Arc<Mutex<StatusFields>>);

/// The fields behind the lock.
#[derive(Debug, Default)]
struct StatusFields {
    worker: &'static str,
    /// Neighbours, and for each that is away the reason.
    neighbours: BTreeMap<String, Option<String>>,
    /// The partitions that this process holds.
    partitions: BTreeMap<TopicPartition, PartitionStatus>,
    /// Further entries of `/status`, for example `contracts_refused`.
    notes: BTreeMap<&'static str, Value>,
    draining: bool,
}

/// The state of one partition. The counts begin at its assignment.
#[derive(Debug, Default)]
struct PartitionStatus {
    /// The durable next offset, if it is known.
    next: Option<NextOffset>,
    written: u64,
    dead_lettered: u64,
    skipped: u64,
    /// Number of times in a row that its next record could not be handled.
    stalled: u32,
    /// Time of its assignment or last commit.
    moved: Option<Instant>,
    /// It has not moved for the watchdog's patience, and there is something to read.
    stuck: bool,
}

impl WorkerStatus {
    /// Creates the state of a worker that has not asked anything yet. It is not ready until every neighbour
    /// in `expects` has answered.
    pub fn new(worker: &'static str, expects: &[&str]) -> Self {
        let neighbours =
            expects.iter().map(|name| ((*name).to_owned(), Some(NOT_ASKED.to_owned()))).collect();
        Self(Arc::new(Mutex::new(StatusFields { worker, neighbours, ..StatusFields::default() })))
    }

    /// Locks the fields. A thread that panicked leaves them usable: each update is complete or a plain count.
    fn lock(&self) -> MutexGuard<'_, StatusFields> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that a neighbour answered, or the reason why it is away. The log shows changes only.
    pub fn neighbour(&self, name: &str, answer: Result<(), String>) {
        let why = answer.err();
        let mut inner = self.lock();

        // The first answer is a change too, whichever it is.
        let before = inner.neighbours.get(name);
        let changed = before
            .is_none_or(|before| before.is_some() != why.is_some() || before.as_deref() == Some(NOT_ASKED));
        if changed {
            match &why {
                None => tracing::info!(neighbour = name, "the neighbour answers"),
                Some(why) => {
                    tracing::warn!(
                        neighbour = name,
                        why,
                        "the neighbour does not answer; trying again with back-off"
                    )
                }
            }
            metrics::neighbour(name, why.is_none());
        }

        // The reason is always the newest one, logged or not.
        inner.neighbours.insert(name.to_owned(), why);
    }

    /// Records that a partition was assigned to this process. `next` is its next offset, if it is known.
    pub fn assigned(&self, at: &TopicPartition, next: Option<NextOffset>) {
        // The watchdog's patience begins now.
        let partition = PartitionStatus { next, moved: Some(Instant::now()), ..PartitionStatus::default() };
        self.lock().partitions.insert(at.clone(), partition);
    }

    /// Returns this process's partitions that have not moved for `patience`, each with its next offset.
    pub fn standing(&self, patience: Duration) -> Vec<(TopicPartition, Option<NextOffset>)> {
        let inner = self.lock();
        // A partition without a time was never assigned here; nothing is known about its pace.
        let still = inner
            .partitions
            .iter()
            .filter(|(_, partition)| partition.moved.is_some_and(|moved| moved.elapsed() >= patience));
        still.map(|(at, partition)| (at.clone(), partition.next)).collect()
    }

    /// Records whether a partition is stuck. `next` is its next offset at the watchdog's look; if it has
    /// moved since, the call changes nothing.
    pub fn stuck(&self, at: &TopicPartition, next: Option<NextOffset>, stuck: bool) {
        let mut inner = self.lock();
        let Some(partition) = inner.partitions.get_mut(at).filter(|partition| partition.next == next) else {
            return;
        };

        // Logged when the partition becomes stuck, not at every look of the watchdog.
        if stuck && !partition.stuck {
            tracing::warn!(
                %at,
                next_offset = next.map(NextOffset::raw),
                "the partition has something to read and nothing moves; the worker is not ready"
            );
        }
        partition.stuck = stuck;
        metrics::stuck(inner.partitions.values().filter(|partition| partition.stuck).count());
    }

    /// Returns the next offset of each of this process's partitions. The records from there on are not
    /// committed.
    pub fn positions(&self) -> Vec<(TopicPartition, Option<NextOffset>)> {
        self.lock().partitions.iter().map(|(at, partition)| (at.clone(), partition.next)).collect()
    }

    /// Records that a batch became durable. `counts` are the numbers of its records that were written,
    /// dead-lettered and skipped.
    pub fn position(&self, at: &TopicPartition, next: NextOffset, counts: [u64; 3]) {
        metrics::position(&at.topic, at.partition, next.raw());

        // A commit proves that the partition moves, so it is neither stalled nor stuck.
        let mut inner = self.lock();
        let partition = inner.partitions.entry(at.clone()).or_default();
        partition.next = Some(next);
        partition.written += counts[0];
        partition.dead_lettered += counts[1];
        partition.skipped += counts[2];
        partition.stalled = 0;
        partition.moved = Some(Instant::now());
        if std::mem::take(&mut partition.stuck) {
            tracing::info!(%at, "the partition moves again");
            metrics::stuck(inner.partitions.values().filter(|partition| partition.stuck).count());
        }
    }

    /// Records that a partition's next record could not be handled. Returns the number of times in a row.
    pub fn stalled(&self, at: &TopicPartition) -> u32 {
        let mut inner = self.lock();
        let partition = inner.partitions.entry(at.clone()).or_default();
        // The next commit sets it back to 0. The lane takes the number for its back-off.
        partition.stalled += 1;
        partition.stalled
    }

    /// Records that a partition has left this process.
    pub fn released(&self, at: &TopicPartition) {
        // Its state belongs to the next holder. An old one would keep this process from being ready.
        metrics::released(&at.topic, at.partition);
        self.lock().partitions.remove(at);
    }

    /// Shows `value` under `key` at `/status`.
    pub fn note(&self, key: &'static str, value: Value) {
        self.lock().notes.insert(key, value);
    }

    /// Records that the worker drains. It is not ready from now on, so that traffic goes elsewhere while the
    /// open batches end.
    pub fn draining(&self) {
        self.lock().draining = true;
    }

    /// Tells whether the worker is ready: every neighbour answers, no partition is stalled or stuck, and it
    /// does not drain.
    pub fn is_ready(&self) -> bool {
        let inner = self.lock();
        !inner.draining
            && inner.neighbours.values().all(Option::is_none)
            && inner.partitions.values().all(|p| p.stalled == 0 && !p.stuck)
    }

    /// Returns the page at `/status`.
    pub fn page(&self) -> Value {
        // Before the lock is taken: `is_ready` takes it too.
        let ready = self.is_ready();
        let inner = self.lock();
        let partitions: Vec<_> = inner
            .partitions
            .iter()
            .map(|(at, partition)| {
                json!({
                    "topic": &*at.topic, "partition": at.partition,
                    "next_offset": partition.next.map(NextOffset::raw),
                    "written": partition.written, "dead_lettered": partition.dead_lettered,
                    "skipped": partition.skipped,
                    "stalled": partition.stalled > 0, "stuck": partition.stuck,
                })
            })
            .collect();

        // A neighbour is shown as `ok` or with the reason why it is away.
        let neighbours: BTreeMap<_, _> = inner
            .neighbours
            .iter()
            .map(|(name, why)| (name, why.as_deref().map_or_else(|| json!("ok"), |why| json!(why))))
            .collect();

        json!({
            "worker": inner.worker, "version": dead_letter::VERSION,
            "ready": ready, "draining": inner.draining,
            "neighbours": neighbours, "partitions": partitions, "notes": inner.notes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_only_when_every_neighbour_answered() {
        let status = WorkerStatus::new("masker", &["kafka", "registry"]);
        assert!(!status.is_ready());
        status.neighbour("kafka", Ok(()));
        assert!(!status.is_ready());
        status.neighbour("registry", Ok(()));
        assert!(status.is_ready());
        status.neighbour("registry", Err("connection refused".into()));
        assert!(!status.is_ready());
        assert_eq!(status.page()["neighbours"]["registry"], "connection refused");
    }

    #[test]
    fn a_partition_that_does_not_move_though_there_is_something_to_read_is_not_ready() {
        let status = WorkerStatus::new("masker", &[]);
        let at = TopicPartition::new("t", 0);
        let five = NextOffset::new(5);
        status.assigned(&at, five);
        assert_eq!(status.standing(Duration::from_secs(60)), []);
        assert_eq!(status.standing(Duration::ZERO), [(at.clone(), five)]);
        status.stuck(&at, five, false);
        assert!(status.is_ready(), "an idle topic is no trouble");
        status.stuck(&at, five, true);
        assert!(!status.is_ready());
        assert_eq!(status.page()["partitions"][0]["stuck"], true);
        status.position(&at, NextOffset::new(6).unwrap(), [1, 0, 0]);
        status.stuck(&at, five, true);
        assert!(status.is_ready(), "the watchdog looked before it moved");
    }

    #[test]
    fn a_partition_that_stands_still_is_not_ready_until_it_moves() {
        let status = WorkerStatus::new("masker", &[]);
        let at = TopicPartition::new("t", 0);
        assert_eq!(status.stalled(&at), 1);
        assert!(!status.is_ready());
        status.position(&at, NextOffset::new(5).unwrap(), [1, 0, 0]);
        assert!(status.is_ready());
        status.draining();
        assert!(!status.is_ready());
    }
}
