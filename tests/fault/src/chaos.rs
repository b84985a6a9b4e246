//! The long run: full load, random faults on everything, the oracle at the end.
//!
//! Three brokers, two maskers and two sinks (archive and lake). Faults come one after the other, each when the one before
//! is recovered from: SIGKILL of a worker, SIGSTOP and SIGCONT, a worker that joins and leaves, SIGKILL and SIGSTOP of a
//! broker. A worker that ends by itself (a fenced one does) is started again, as whoever runs it would.

mod watch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use serde_json::json;
use sluice_tests::worker::TestWorkerProcess;

use crate::cluster::FaultCluster;
use crate::feed::EventFeed;
use crate::oracle::{OracleCounts, OracleFindings};
use crate::reading;
use crate::trial::{FaultTrial, PATIENCE};
use watch::{ChaosBlow, ChaosOffsets, ChaosWatch};

/// Records that may wait before the maskers: full load, and a bound on what lies in the log.
const BACKLOG: i64 = 100_000;
/// The groups that are watched.
const MASKERS: usize = 0;
const SINKS: [usize; 2] = [1, 2];

/// How long, with which seed, and where the workers' logs go at the end.
#[derive(Debug, Clone)]
pub struct ChaosOptions {
    /// Minutes of load and faults.
    pub minutes: f64,
    /// Repeats a run's choices.
    pub seed: Option<u64>,
    /// Most records per second; 0 is as fast as the fleet takes them.
    pub rate: usize,
    /// Where the workers' logs are copied to.
    pub logs: Option<PathBuf>,
}

const FAULTS: [&str; 7] =
    ["kill-masker", "kill-sink", "stop-masker", "stop-sink", "join-and-leave", "kill-broker", "stop-broker"];

struct ChaosWorkerSlot {
    name: &'static str,
    kind: &'static str,
    file: PathBuf,
    worker: TestWorkerProcess,
}

/// Runs it; `true` if everything held.
///
/// # Errors
/// The report cannot be made.
pub fn run(options: &ChaosOptions) -> anyhow::Result<bool> {
    let cluster = FaultCluster::start();
    let servers = cluster.servers();
    let mut trial = FaultTrial::seeded("chaos", &servers, &servers, options.seed);
    trial.default_timeouts();
    let groups = [
        (trial.group().to_owned(), trial.contract.raw()),
        ("landing-archive".to_owned(), trial.contract.masked()),
        ("landing-delta".to_owned(), trial.contract.masked()),
    ];
    let stores = format!("{}, {}", trial.archive(), trial.lake());
    let slots = [("masker-0", "masker"), ("masker-1", "masker"), ("sink-0", "sink"), ("sink-1", "sink")];
    let slots = slots.map(|(name, kind)| {
        let file = match kind {
            "masker" => trial.masker_file(name, ""),
            _ => trial.sink_file(name, "landing", &stores, "flush_seconds: 5"),
        };
        ChaosWorkerSlot { name, kind, worker: TestWorkerProcess::start(kind, &file), file }
    });
    let extra = trial.masker_file("masker-extra", "");
    let watch = ChaosWatch::start(&servers, &groups);
    let over = AtomicBool::new(false);
    let rng = trial.rng.clone();
    let feed = Mutex::new(&mut trial.feed);
    let began = Instant::now();
    let mut run = ChaosRun { cluster, slots: slots.into(), extra, watch: &watch, rng, exits: vec![] };
    std::thread::scope(|scope| {
        scope.spawn(|| load(&feed, &over, &watch, options.rate));
        while began.elapsed() < Duration::from_secs_f64(options.minutes * 60.0) {
            run.rest();
            run.fault(&feed, &servers, &groups[1].1);
            if !run.recover() {
                break;
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    let loaded = began.elapsed();
    println!("chaos: the load is over after {loaded:.0?}; waiting for the rest");
    let verdict = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        run.restart_ended();
        trial.feed.flush();
        trial.settled_within(Duration::from_secs(300), &mut []);
        for group in ["landing-archive", "landing-delta"] {
            trial.landed(group);
        }
        run.restart_ended();
        for slot in &mut run.slots {
            slot.worker.signal("TERM");
            slot.worker.ended(PATIENCE);
        }
        println!("chaos: everything has landed after {:.0?}; the oracle reads it", began.elapsed());
        trial.judge_all()
    }));
    if let Some(logs) = &options.logs {
        keep_logs(trial.contract.dir(), logs)?;
    }
    let (counts, rows) = verdict.map_err(|_| anyhow::anyhow!("the rest did not come through; see above"))?;
    let holds = counts.is_ok() && rows.is_ok() && run.watch.recovered();
    run.report(&counts, &rows, loaded, holds)?;
    Ok(holds)
}

/// Feeds as fast as the maskers take it; now and then something that is aborted.
fn load(feed: &Mutex<&mut EventFeed>, over: &AtomicBool, watch: &ChaosWatch, rate: usize) {
    let (began, mut last_abort, mut sent) = (Instant::now(), Instant::now(), 0usize);
    while !over.load(Ordering::Relaxed) {
        let mut feed = feed.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting =
            feed.ends().values().sum::<i64>() - watch.seen().positions[MASKERS].values().sum::<i64>();
        let slow = rate > 0 && sent as f64 > began.elapsed().as_secs_f64() * rate as f64;
        if waiting < BACKLOG && feed.in_flight() < 50_000 && !slow {
            feed.send(1_000);
            sent += 1_000;
            if last_abort.elapsed() > Duration::from_secs(20) {
                feed.abort(50);
                last_abort = Instant::now();
            }
            drop(feed);
        } else {
            drop(feed);
            std::thread::sleep(Duration::from_millis(5)); // the backlog is full
        }
    }
}

struct ChaosRun<'a> {
    cluster: FaultCluster,
    slots: Vec<ChaosWorkerSlot>,
    extra: PathBuf,
    watch: &'a ChaosWatch,
    rng: StdRng,
    /// Workers that ended by themselves: name and how.
    exits: Vec<String>,
}

impl ChaosRun<'_> {
    /// A few seconds without a fault.
    fn rest(&mut self) {
        let until = Instant::now() + Duration::from_millis(self.rng.random_range(1_000..8_000));
        while Instant::now() < until {
            self.look();
        }
    }

    /// Waits until the last fault is recovered from; `false` if that takes too long.
    fn recover(&mut self) -> bool {
        let began = Instant::now();
        while !self.watch.recovered() {
            self.look();
            if began.elapsed() > PATIENCE {
                println!("chaos: no recovery within {PATIENCE:?}");
                return false;
            }
        }
        if let Some(blow) = self.watch.seen().blows.last() {
            let seconds = |time: Option<Duration>| time.map_or(-1.0, |time| time.as_secs_f64());
            println!(
                "chaos: {}: first commit {:.1} s, all partitions {:.1} s, caught up {:.1} s",
                blow.kind,
                seconds(blow.first_commit),
                seconds(blow.all_moving),
                seconds(blow.caught_up)
            );
        }
        true
    }

    fn look(&mut self) {
        self.watch.seen().pids =
            self.slots.iter().map(|slot| (slot.name.to_owned(), slot.worker.pid())).collect();
        self.restart_ended();
        std::thread::sleep(Duration::from_millis(100)); // processes have no event
    }

    fn restart_ended(&mut self) {
        for slot in &mut self.slots {
            if let Some(status) = slot.worker.has_ended() {
                let log = slot.worker.log();
                let last = log.lines().rev().find(|line| line.contains("ERROR") || !line.starts_with('{'));
                println!("chaos: {} ended by itself ({status}): {}", slot.name, last.unwrap_or_default());
                self.exits.push(format!("{}: {status}", slot.name));
                slot.worker = TestWorkerProcess::start(slot.kind, &slot.file);
            }
        }
    }

    fn fault(&mut self, feed: &Mutex<&mut EventFeed>, servers: &sluice_tests::TestServers, masked: &str) {
        let kind = *FAULTS.choose(&mut self.rng).unwrap_or(&FAULTS[0]);
        let source: ChaosOffsets = feed.lock().unwrap_or_else(PoisonError::into_inner).ends();
        let landed = || reading::ends(servers, masked);
        let work = match kind {
            "kill-sink" | "stop-sink" => SINKS.map(|group| (group, landed())).to_vec(),
            _ => vec![(MASKERS, source)],
        };
        let (which, pause) = (self.rng.random_range(0..2), self.rng.random_range(2_000..20_000));
        let pause = Duration::from_millis(pause);
        self.watch.blow(kind, work);
        match kind {
            "kill-masker" | "kill-sink" => {
                let slot = &mut self.slots[which + if kind == "kill-sink" { 2 } else { 0 }];
                slot.worker.kill();
                slot.worker = TestWorkerProcess::start(slot.kind, &slot.file);
            }
            "stop-masker" | "stop-sink" => {
                let slot = &self.slots[which + if kind == "stop-sink" { 2 } else { 0 }];
                slot.worker.signal("STOP");
                std::thread::sleep(pause); // the fault itself
                slot.worker.signal("CONT");
            }
            "join-and-leave" => {
                let mut extra = TestWorkerProcess::start("masker", &self.extra);
                std::thread::sleep(pause); // the fault itself
                if extra.has_ended().is_none() {
                    extra.signal("TERM");
                    extra.ended(PATIENCE);
                }
            }
            kind => {
                let broker = self.rng.random_range(1..=3);
                if kind == "kill-broker" {
                    self.cluster.kill(broker);
                    std::thread::sleep(pause / 2); // the fault itself
                    self.cluster.revive(broker);
                } else {
                    self.cluster.signal(broker, "STOP");
                    std::thread::sleep(pause); // the fault itself
                    self.cluster.signal(broker, "CONT");
                }
                self.cluster.in_sync(masked, PATIENCE);
            }
        }
    }

    fn report(
        &self,
        counts: &Result<OracleCounts, OracleFindings>,
        rows: &Result<u64, OracleFindings>,
        loaded: Duration,
        holds: bool,
    ) -> anyhow::Result<()> {
        let seen = self.watch.seen();
        let mut kinds: BTreeMap<&str, Vec<&ChaosBlow>> = BTreeMap::new();
        for blow in &seen.blows {
            kinds.entry(blow.kind).or_default().push(blow);
            kinds.entry("all").or_default().push(blow);
        }
        let table: BTreeMap<_, _> = kinds
            .into_iter()
            .map(|(kind, blows)| {
                let figures = |of: fn(&ChaosBlow) -> Option<Duration>| {
                    let mut all: Vec<f64> =
                        blows.iter().filter_map(|blow| of(blow)).map(|time| time.as_secs_f64()).collect();
                    all.sort_by(f64::total_cmp);
                    json!({"median": all.get(all.len() / 2), "worst": all.last()})
                };
                let row = json!({
                    "faults": blows.len(),
                    "first_commit_s": figures(|blow| blow.first_commit),
                    "all_partitions_s": figures(|blow| blow.all_moving),
                    "caught_up_s": figures(|blow| blow.caught_up),
                });
                (kind.to_owned(), row)
            })
            .collect();
        let peaks: BTreeMap<_, _> = seen
            .peaks
            .iter()
            .map(|(name, (bytes, descriptors))| {
                (name.clone(), json!({"peak_mib": bytes >> 20, "descriptors": descriptors}))
            })
            .collect();
        let words =
            |result: Option<String>, error: Option<String>| error.map_or(json!(result), |error| json!(error));
        let line = json!({
            "name": "chaos",
            "holds": holds,
            "minutes": loaded.as_secs_f64() / 60.0,
            "oracle": words(counts.as_ref().ok().map(|c| format!("{c:?}")), counts.as_ref().err().map(ToString::to_string)),
            "landed": words(rows.as_ref().ok().map(|r| format!("{r:?}")), rows.as_ref().err().map(ToString::to_string)),
            "recovery": table,
            "ended_by_themselves": self.exits,
            "workers": peaks,
        });
        println!("{}", serde_json::to_string(&line).context("writing the report")?);
        Ok(())
    }
}

fn keep_logs(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("making {}", to.display()))?;
    for entry in std::fs::read_dir(from).with_context(|| format!("reading {}", from.display()))?.flatten() {
        if entry.path().extension().is_some_and(|found| found == "log") {
            std::fs::copy(entry.path(), to.join(entry.file_name())).context("copying a log")?;
        }
    }
    Ok(())
}
