//! Looks at the groups' positions and the workers' memory while faults happen, and measures recoveries.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sluice_tests::TestServers;

use crate::reading::GroupPositionReader;

/// How often it looks; the resolution of all recovery times.
const PERIOD: Duration = Duration::from_millis(100);

/// By partition.
pub(super) type ChaosOffsets = BTreeMap<i32, i64>;

/// One fault and what came after it.
#[derive(Debug, Clone)]
pub(super) struct ChaosBlow {
    /// What was done.
    pub(super) kind: &'static str,
    /// When.
    pub(super) hit: Instant,
    /// The groups whose progress it may stop, where they stood, and what was there to be done.
    before: Vec<(usize, ChaosOffsets, ChaosOffsets)>,
    /// Until any of those groups committed something again.
    pub(super) first_commit: Option<Duration>,
    /// Until every partition of every group that had work was committed beyond where it stood.
    pub(super) all_moving: Option<Duration>,
    /// Until everything that was there at the blow was committed.
    pub(super) caught_up: Option<Duration>,
}

/// What is known at a moment.
#[derive(Debug, Default)]
pub(super) struct ChaosObservations {
    /// Positions, by group.
    pub(super) positions: Vec<ChaosOffsets>,
    /// Blows in their order.
    pub(super) blows: Vec<ChaosBlow>,
    /// Workers that are looked at: name, process id.
    pub(super) pids: BTreeMap<String, u32>,
    /// Peak resident bytes and descriptors per worker's name, over all its lives.
    pub(super) peaks: BTreeMap<String, (u64, usize)>,
}

/// The watcher's thread; ends when dropped.
pub(super) struct ChaosWatch {
    seen: Arc<Mutex<ChaosObservations>>,
    over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl ChaosWatch {
    /// Watches groups, each in one topic.
    pub(super) fn start(servers: &TestServers, groups: &[(String, String)]) -> Self {
        let seen = Arc::new(Mutex::new(ChaosObservations {
            positions: vec![ChaosOffsets::new(); groups.len()],
            ..ChaosObservations::default()
        }));
        let over = Arc::new(AtomicBool::new(false));
        let asked: Vec<_> =
            groups.iter().map(|(group, topic)| GroupPositionReader::new(servers, group, topic)).collect();
        let (shared, ended) = (Arc::clone(&seen), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                for (index, group) in asked.iter().enumerate() {
                    if let Some(now) = group.now() {
                        lock(&shared).positions[index].extend(now);
                    }
                }
                let mut seen = lock(&shared);
                seen.look();
                drop(seen);
                std::thread::sleep(PERIOD); // positions have no event
            }
        });
        Self { seen, over, thread: Some(thread) }
    }

    /// What is known now.
    pub(super) fn seen(&self) -> MutexGuard<'_, ChaosObservations> {
        lock(&self.seen)
    }

    /// A fault happens now; `work` is, per group it may stop, how far there is something to do.
    pub(super) fn blow(&self, kind: &'static str, work: Vec<(usize, ChaosOffsets)>) {
        let mut seen = self.seen();
        let before =
            work.into_iter().map(|(group, ends)| (group, seen.positions[group].clone(), ends)).collect();
        let blow = ChaosBlow {
            kind,
            hit: Instant::now(),
            before,
            first_commit: None,
            all_moving: None,
            caught_up: None,
        };
        seen.blows.push(blow);
    }

    /// Has every blow been recovered from?
    pub(super) fn recovered(&self) -> bool {
        self.seen().blows.iter().all(|blow| blow.caught_up.is_some() && blow.all_moving.is_some())
    }
}

impl Drop for ChaosWatch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(seen: &Mutex<ChaosObservations>) -> MutexGuard<'_, ChaosObservations> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ChaosObservations {
    fn look(&mut self) {
        for (name, pid) in &self.pids {
            let peak = self.peaks.entry(name.clone()).or_default();
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
            let kib: u64 =
                line.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or_default();
            let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
            *peak = (peak.0.max(kib * 1024), peak.1.max(descriptors));
        }
        let positions = &self.positions;
        for blow in &mut self.blows {
            let after = blow.hit.elapsed();
            let moved = |(group, before, ends): &(usize, ChaosOffsets, ChaosOffsets), partition: &i32| {
                let at = |of: &ChaosOffsets| of.get(partition).copied().unwrap_or(0);
                at(&positions[*group]) > at(before) || at(before) >= at(ends)
            };
            let any = |one: &(usize, ChaosOffsets, ChaosOffsets)| {
                positions[one.0].iter().any(|(p, at)| one.1.get(p) < Some(at))
            };
            if blow.first_commit.is_none() && blow.before.iter().any(any) {
                blow.first_commit = Some(after);
            }
            if blow.all_moving.is_none()
                && blow.before.iter().all(|one| one.2.keys().all(|partition| moved(one, partition)))
            {
                blow.all_moving = Some(after);
            }
            let done = |(group, _, ends): &(usize, ChaosOffsets, ChaosOffsets)| {
                ends.iter()
                    .all(|(partition, end)| positions[*group].get(partition).is_some_and(|at| at >= end))
            };
            if blow.caught_up.is_none() && blow.before.iter().all(done) {
                blow.caught_up = Some(after);
            }
        }
    }
}
