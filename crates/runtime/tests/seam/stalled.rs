//! A store that cannot flush is not fed, keeps its membership, and misses nothing afterwards.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sluice_core::{
    Fault, FlushReport, LearnError, NextOffset, Outcome, RecordRef, SchemaId, Store, StoreBacklog,
    StorePosition, TopicPartition,
};
use sluice_runtime::config::RegistrySection;
use sluice_runtime::lane::limits::DeadLetterThresholds;
use sluice_runtime::lane::{LaneConfig, LanePace, run_store};
use sluice_runtime::registry::{BlockingRegistry, SchemaRegistry};
use sluice_runtime::status::WorkerStatus;
use tokio_util::sync::CancellationToken;

use crate::broker::{MEMORY, broker, create, eventually, feed, section};

const COUNT: u64 = 30_000;
/// The lane's own limit of a flush.
const MOST: u64 = 1_000;

#[derive(Default)]
struct ShelfControls {
    down: AtomicBool,
    slow: AtomicBool,
    /// Records in memory, and the most there ever were.
    pending: AtomicU64,
    peak: AtomicU64,
    refused: AtomicU64,
    landed: Mutex<Vec<(i32, i64)>>,
}

struct ShelfStore {
    told: Arc<ShelfControls>,
    memory: Vec<(i32, i64)>,
    landed: std::collections::BTreeMap<i32, NextOffset>,
}

impl Store for ShelfStore {
    fn name(&self) -> &'static str {
        "shelf"
    }

    fn resume(&mut self, at: &TopicPartition) -> Result<Option<StorePosition>, Fault> {
        Ok(self.landed.get(&at.partition).copied().map(StorePosition::new))
    }

    fn append(&mut self, record: &RecordRef<'_>) -> Outcome {
        // What it has it does not take again.
        if self.landed.get(&record.partition).is_some_and(|next| !next.has_yet_to_read(record.offset)) {
            return Outcome::Emitted;
        }
        self.memory.push((record.partition, record.offset.raw()));
        self.told.pending.store(self.memory.len() as u64, Ordering::Relaxed);
        self.told.peak.fetch_max(self.memory.len() as u64, Ordering::Relaxed);
        Outcome::Emitted
    }

    fn learn(&mut self, _: &str, _: SchemaId, _: &str) -> Result<(), LearnError> {
        Ok(())
    }

    fn pending(&self) -> StoreBacklog {
        StoreBacklog { records: self.memory.len() as u64, bytes: self.memory.len() * 16 }
    }

    fn flush(&mut self) -> Result<FlushReport, Fault> {
        if self.told.down.load(Ordering::Relaxed) {
            self.told.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Fault::outage("flushing", "the shelf is away"));
        }
        if self.told.slow.swap(false, Ordering::Relaxed) {
            std::thread::sleep(Duration::from_secs(14)); // longer than the group waits for a poll, see below
        }
        for (partition, offset) in &self.memory {
            self.landed.insert(*partition, NextOffset::new(offset + 1).unwrap());
        }
        self.told.landed.lock().unwrap().append(&mut self.memory);
        Ok(FlushReport::default())
    }

    fn forget(&mut self, at: &TopicPartition) {
        self.memory.retain(|(partition, _)| *partition != at.partition);
    }
}

#[test]
fn a_store_that_is_down_or_slow_is_not_fed_and_misses_nothing() {
    let stack = broker();
    create(&stack, "stalled", 2);
    let told = Arc::new(ShelfControls::default());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let registry = SchemaRegistry::new(&RegistrySection::open("http://127.0.0.1:9")).unwrap();
    let registry = BlockingRegistry::new(registry, runtime.handle().clone());
    let (status, stop) = (WorkerStatus::new("test", &[]), CancellationToken::new());
    let config = LaneConfig {
        worker: "test",
        // Whoever does not poll for so long is thrown out of the group.
        kafka: section(&stack, &[("max.poll.interval.ms", "10000")]),
        group: "stalled".into(),
        topics: vec!["stalled".into()],
        memory: MEMORY,
        pace: LanePace { interval: Duration::from_millis(100), records: MOST, ..LanePace::default() },
        instance: "one".into(),
        limits: DeadLetterThresholds::default(),
    };
    let shelf =
        ShelfStore { told: Arc::clone(&told), memory: vec![], landed: std::collections::BTreeMap::new() };
    let (saying, ended) = (status.clone(), stop.clone());
    let lane = std::thread::spawn(move || {
        run_store(config, Box::new(shelf), &std::sync::mpsc::channel().1, registry, &saying, &ended)
    });
    let landed = || told.landed.lock().unwrap().len() as u64;

    feed(&stack, "stalled", 2, 0, 1_000);
    eventually("the first records landed", || landed() == 1_000);
    told.down.store(true, Ordering::Relaxed);
    feed(&stack, "stalled", 2, 1_000, i64::try_from(COUNT).unwrap());
    eventually("flushes refused", || told.refused.load(Ordering::Relaxed) >= 3);
    let fed = told.pending.load(Ordering::Relaxed);
    let refused = told.refused.load(Ordering::Relaxed);
    eventually("more of them", || told.refused.load(Ordering::Relaxed) >= refused + 3);
    assert_eq!(told.pending.load(Ordering::Relaxed), fed, "fed although it is down");
    assert!(!status.is_ready(), "a store that is down is said to be");

    told.slow.store(true, Ordering::Relaxed);
    told.down.store(false, Ordering::Relaxed);
    let began = Instant::now();
    eventually("everything landed", || landed() >= COUNT);
    assert!(began.elapsed() > Duration::from_secs(13), "the slow flush was not met");
    stop.cancel();
    lane.join().unwrap().unwrap();
    let mut landed = std::mem::take(&mut *told.landed.lock().unwrap());
    landed.sort_unstable();
    let half = i64::try_from(COUNT).unwrap() / 2;
    let expected: Vec<(i32, i64)> = (0..2).flat_map(|p| (0..half).map(move |o| (p, o))).collect();
    assert_eq!(landed, expected, "lost or twice");
    // One fetch may go beyond the limit.
    assert!(told.peak.load(Ordering::Relaxed) <= MOST + 2_100, "{}", told.peak.load(Ordering::Relaxed));
}
