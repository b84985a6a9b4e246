//! What a worker says of itself: at `/status`, `/readyz`, and in its metrics.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluice_core::{NextOffset, TopicPartition};

use crate::{dead_letter, metrics};

/// What stands at a neighbour's place before it was asked.
const NOT_ASKED: &str = "not asked yet";

/// Shared by everything in one process; cheap to clone.
#[derive(Debug, Clone)]
pub struct WorkerStatus(Arc<Mutex<StatusFields>>);

#[derive(Debug, Default)]
struct StatusFields {
    worker: &'static str,
    /// Neighbours and, for those that are away, why.
    neighbours: BTreeMap<String, Option<String>>,
    partitions: BTreeMap<TopicPartition, PartitionStatus>,
    notes: BTreeMap<&'static str, Value>,
    draining: bool,
}

#[derive(Debug, Default)]
struct PartitionStatus {
    next: Option<NextOffset>,
    written: u64,
    dead_lettered: u64,
    skipped: u64,
    /// Times in a row that it had to stand still.
    stalled: u32,
    /// When it was assigned or last moved.
    moved: Option<Instant>,
    /// It has not moved for long, and there is something to read.
    stuck: bool,
}

impl WorkerStatus {
    /// Nothing known yet: not ready until every neighbour that `expects` names has answered.
    pub fn new(worker: &'static str, expects: &[&str]) -> Self {
        let neighbours =
            expects.iter().map(|name| ((*name).to_owned(), Some(NOT_ASKED.to_owned()))).collect();
        Self(Arc::new(Mutex::new(StatusFields { worker, neighbours, ..StatusFields::default() })))
    }

    fn lock(&self) -> MutexGuard<'_, StatusFields> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A neighbour answered, or is away; said in the log when that changes.
    pub fn neighbour(&self, name: &str, answer: Result<(), String>) {
        let why = answer.err();
        let mut inner = self.lock();
        let before = inner.neighbours.get(name);
        let changed = before
            .is_none_or(|before| before.is_some() != why.is_some() || before.as_deref() == Some(NOT_ASKED));
        if changed {
            match &why {
                None => tracing::info!(neighbour = name, "answers"),
                Some(why) => {
                    tracing::warn!(neighbour = name, why, "does not answer; trying again with back-off")
                }
            }
            metrics::neighbour(name, why.is_none());
        }
        inner.neighbours.insert(name.to_owned(), why);
    }

    /// A partition is ours; `next` is where it stands, if anything is known.
    pub fn assigned(&self, at: &TopicPartition, next: Option<NextOffset>) {
        let partition = PartitionStatus { next, moved: Some(Instant::now()), ..PartitionStatus::default() };
        self.lock().partitions.insert(at.clone(), partition);
    }

    /// Our partitions that have not moved for `patience`, and where each stands.
    pub fn standing(&self, patience: Duration) -> Vec<(TopicPartition, Option<NextOffset>)> {
        let inner = self.lock();
        let still = inner
            .partitions
            .iter()
            .filter(|(_, partition)| partition.moved.is_some_and(|moved| moved.elapsed() >= patience));
        still.map(|(at, partition)| (at.clone(), partition.next)).collect()
    }

    /// The watchdog's word on a partition that stood at `next` when it looked; void if it has moved since.
    pub fn stuck(&self, at: &TopicPartition, next: Option<NextOffset>, stuck: bool) {
        let mut inner = self.lock();
        let Some(partition) = inner.partitions.get_mut(at).filter(|partition| partition.next == next) else {
            return;
        };
        if stuck && !partition.stuck {
            tracing::warn!(%at, next_offset = next.map(NextOffset::raw), "there is something to read and nothing moves: not ready");
        }
        partition.stuck = stuck;
        metrics::stuck(inner.partitions.values().filter(|partition| partition.stuck).count());
    }

    /// Where each of our partitions stands: what is from there on is not done.
    pub fn positions(&self) -> Vec<(TopicPartition, Option<NextOffset>)> {
        self.lock().partitions.iter().map(|(at, partition)| (at.clone(), partition.next)).collect()
    }

    /// A batch became durable; `counts` are records written, dead-lettered and skipped in it.
    pub fn position(&self, at: &TopicPartition, next: NextOffset, counts: [u64; 3]) {
        metrics::position(&at.topic, at.partition, next.raw());
        let mut inner = self.lock();
        let partition = inner.partitions.entry(at.clone()).or_default();
        partition.next = Some(next);
        partition.written += counts[0];
        partition.dead_lettered += counts[1];
        partition.skipped += counts[2];
        partition.stalled = 0;
        partition.moved = Some(Instant::now());
        if std::mem::take(&mut partition.stuck) {
            tracing::info!(%at, "moves again");
            metrics::stuck(inner.partitions.values().filter(|partition| partition.stuck).count());
        }
    }

    /// A partition stands still; how many times in a row it has.
    pub fn stalled(&self, at: &TopicPartition) -> u32 {
        let mut inner = self.lock();
        let partition = inner.partitions.entry(at.clone()).or_default();
        partition.stalled += 1;
        partition.stalled
    }

    /// A partition is no longer ours.
    pub fn released(&self, at: &TopicPartition) {
        metrics::released(&at.topic, at.partition);
        self.lock().partitions.remove(at);
    }

    /// Shows `value` under `key` at `/status`.
    pub fn note(&self, key: &'static str, value: Value) {
        self.lock().notes.insert(key, value);
    }

    /// From now on not ready: traffic goes elsewhere while what is in flight ends.
    pub fn draining(&self) {
        self.lock().draining = true;
    }

    /// Ready: every neighbour answers, no partition stands still or is stuck, not draining.
    pub fn is_ready(&self) -> bool {
        let inner = self.lock();
        !inner.draining
            && inner.neighbours.values().all(Option::is_none)
            && inner.partitions.values().all(|p| p.stalled == 0 && !p.stuck)
    }

    /// The page at `/status`.
    pub fn page(&self) -> Value {
        let ready = self.is_ready();
        let inner = self.lock();
        let partitions: Vec<_> = inner
            .partitions
            .iter()
            .map(|(at, partition)| {
                json!({
                    "topic": &*at.topic, "partition": at.partition, "next_offset": partition.next.map(NextOffset::raw),
                    "written": partition.written, "dead_lettered": partition.dead_lettered, "skipped": partition.skipped,
                    "stalled": partition.stalled > 0, "stuck": partition.stuck,
                })
            })
            .collect();
        let neighbours: BTreeMap<_, _> = inner
            .neighbours
            .iter()
            .map(|(name, why)| (name, why.as_deref().map_or_else(|| json!("ok"), |why| json!(why))))
            .collect();
        json!({
            "worker": inner.worker, "version": dead_letter::VERSION, "ready": ready, "draining": inner.draining,
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
