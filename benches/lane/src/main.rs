//! What a lane costs: consume, transform to nothing, produce, in transactions; beside plain copies on librdkafka.
//!
//! `bench-lane` starts a broker of its own, fills a topic, and runs every way of copying it as a child process of its
//! own, one after another, several rounds interleaved. Printed are medians, one JSON object a line: `name`, `value`,
//! `unit`, `peer`, `peer_value`; of ratios by round also `low` and `high`, the middle 95 % of medians drawn from them.
//!
//! Environment: `RECORDS` (2,000,000), `ROUNDS` (3), `ONLY` (ways, by comma), `BROKERS` (a broker that is up already).

mod data;
mod ours;
mod peers;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

/// A way of reading and copying, and how it is run in a child.
type LaneBenchWay = (&'static str, fn(&LaneBenchJob) -> LaneBenchResult);

const WAYS: &[LaneBenchWay] = &[
    ("peer-copy", peers::copy),
    ("peer-copy-batch", peers::copy_by_batch),
    ("peer-copy-tx", peers::copy_in_transactions),
    ("seam-copy", ours::copy),
    ("seam-copy-tx", ours::copy_in_transactions),
    ("transform", ours::transform),
    ("transform-tx", ours::transform_in_transactions),
    ("lane-tx", ours::lane),
    ("peer-consume", peers::consume),
    ("seam-consume", ours::consume),
];

/// What a child has to do.
pub struct LaneBenchJob {
    pub brokers: String,
    pub input: String,
    pub output: String,
    pub records: u64,
    pub run: String,
}

/// How it went: seconds from the first record to the last commit.
pub struct LaneBenchResult {
    pub records: u64,
    pub seconds: f64,
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if args.get(1).is_some_and(|arg| arg == "child") {
        return child(&args[2..]);
    }
    let number =
        |name: &str, or: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(or);
    let (records, rounds) = (number("RECORDS", 2_000_000), number("ROUNDS", 3));
    let only: Option<Vec<String>> =
        std::env::var("ONLY").ok().map(|text| text.split(',').map(str::to_owned).collect());
    let mut ways: Vec<&str> = WAYS.iter().map(|(name, _)| *name).collect();
    if let Some(only) = &only {
        ways.retain(|way| only.iter().any(|wanted| wanted == way));
    }
    let (stack, brokers) = match std::env::var("BROKERS") {
        Ok(brokers) => (None, brokers),
        Err(_) => {
            let stack = sluice_stack::ServerStack::builder().kafka(1).start().expect("a broker");
            let brokers = stack.brokers().to_owned();
            (Some(stack), brokers)
        }
    };
    // Every commit of a lane carries its receipts.
    data::create(&brokers, sluice_runtime::receipts::TOPIC);
    let input = format!("bench.lane.{records}");
    data::fill(&brokers, &input, records);
    let mut runs: BTreeMap<&str, Vec<LaneBenchFigures>> = BTreeMap::new();
    for round in 0..rounds {
        for name in &ways {
            let run = format!("{name}-{}-{round}", std::process::id());
            let output = format!("bench.lane.out.{run}");
            assert!(data::create(&brokers, &output), "a topic of that name is there");
            let measured = measure(name, &brokers, &input, &output, records, &run);
            eprintln!(
                "{name:<16} round {round}: {:.2} CPU-s/M, {:.0} k records/s, {:.0} MiB",
                measured.cpu,
                measured.rate / 1e3,
                measured.rss
            );
            if !name.ends_with("consume") {
                data::check(&brokers, &output, records);
            }
            data::delete(&brokers, &output);
            runs.entry(name).or_default().push(measured);
        }
        // The next round begins with another: none always runs behind the same one.
        ways.rotate_left(1);
    }
    report(&runs);
    drop(stack);
}

struct LaneBenchFigures {
    cpu: f64,
    rate: f64,
    rss: f64,
}

fn measure(
    name: &str,
    brokers: &str,
    input: &str,
    output: &str,
    records: u64,
    run: &str,
) -> LaneBenchFigures {
    let before = cpu(libc::RUSAGE_CHILDREN);
    let child = Command::new(std::env::current_exe().expect("this program"))
        .args(["child", name, brokers, input, output, &records.to_string(), run])
        .stderr(Stdio::inherit())
        .output()
        .expect("a child");
    assert!(child.status.success(), "{name} failed");
    let cpu = cpu(libc::RUSAGE_CHILDREN) - before;
    let said: Value = serde_json::from_slice(&child.stdout).expect("a line of JSON");
    assert_eq!(said["records"], records, "{name} did not copy everything");
    let seconds = said["seconds"].as_f64().unwrap_or(f64::NAN);
    LaneBenchFigures {
        cpu: cpu / records as f64 * 1e6,
        rate: records as f64 / seconds,
        rss: said["rss_kib"].as_f64().unwrap_or(f64::NAN) / 1024.0,
    }
}

fn child(args: &[String]) {
    let [name, brokers, input, output, records, run] = args else { panic!("child: wrong arguments") };
    let (_, way) = WAYS.iter().find(|(known, _)| known == name).expect("a way of that name");
    let job = LaneBenchJob {
        brokers: brokers.clone(),
        input: input.clone(),
        output: output.clone(),
        records: records.parse().expect("a number"),
        run: run.clone(),
    };
    let ran = way(&job);
    println!("{}", json!({"records": ran.records, "seconds": ran.seconds, "rss_kib": peak_kib()}));
}

/// User and system seconds of this process, or of all children that have ended.
fn cpu(who: libc::c_int) -> f64 {
    // SAFETY: `usage` is a plain struct of numbers that the call fills.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(who, &raw mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 * 1e-6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn report(runs: &BTreeMap<&str, Vec<LaneBenchFigures>>) {
    let all = |name: &str, of: fn(&LaneBenchFigures) -> f64| {
        runs.get(name).map(|runs| median(runs.iter().map(of).collect()))
    };
    let figures: [(&str, &str, fn(&LaneBenchFigures) -> f64); 3] = [
        ("cpu", "CPU-s per million records", |m| m.cpu),
        ("rate", "records/s", |m| m.rate),
        ("rss", "MiB", |m| m.rss),
    ];
    let pairs = [
        ("lane-tx", "peer-copy-tx"),
        ("lane-tx", "peer-copy"),
        ("lane-tx", "transform"),
        ("transform-tx", "transform"),
        ("lane-tx", "seam-copy"),
        ("seam-copy-tx", "seam-copy"),
        ("seam-copy", "peer-copy"),
        ("seam-copy", "peer-copy-batch"),
        ("seam-consume", "peer-consume"),
    ];
    for (ours, peer) in pairs {
        // Of the two runs of a round, which lie close together in time: a machine's pace changes more than the ways do.
        let (Some(one), Some(other)) = (runs.get(ours), runs.get(peer)) else { continue };
        for (figure, of) in [("rate", (|m| m.rate) as fn(&LaneBenchFigures) -> f64), ("cpu", |m| m.cpu)] {
            let ratios: Vec<f64> = one.iter().zip(other).map(|(one, other)| of(one) / of(other)).collect();
            let (low, high) = between(&ratios);
            println!(
                "{}",
                json!({"name": format!("{ours}.{figure}_by_round"), "value": round(median(ratios)), "unit": "of the peer's",
                       "peer": peer, "low": round(low), "high": round(high)})
            );
        }
        for (figure, unit, of) in figures {
            if let (Some(value), Some(peer_value)) = (all(ours, of), all(peer, of)) {
                let name = format!("{ours}.{figure}");
                println!(
                    "{}",
                    json!({"name": name, "value": round(value), "unit": unit, "peer": peer, "peer_value": round(peer_value)})
                );
            }
        }
    }
}

/// Of an even number of values the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let (left, right) = values.split_at(values.len() / 2);
    match (left.last(), right.first()) {
        (Some(left_most), Some(first)) if left.len() == right.len() => (left_most + first) / 2.0,
        (_, Some(first)) => *first,
        _ => f64::NAN,
    }
}

/// The middle 95 % of 2,000 medians of as many values drawn from these (the bootstrap, Efron 1979; a fixed seed).
fn between(values: &[f64]) -> (f64, f64) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        values.get(state as usize % values.len().max(1)).copied().unwrap_or(f64::NAN)
    };
    let mut medians: Vec<f64> =
        (0..2000).map(|_| median((0..values.len()).map(|_| draw()).collect())).collect();
    medians.sort_by(f64::total_cmp);
    (medians[50], medians[1949])
}

fn round(value: f64) -> f64 {
    if value > 1000.0 { value.round() } else { (value * 1000.0).round() / 1000.0 }
}

/// The time since the first record, if there was one.
#[derive(Clone, Copy)]
pub struct FirstRecordClock(Option<Instant>);

impl FirstRecordClock {
    pub fn new() -> Self {
        Self(None)
    }

    pub fn start(&mut self) {
        self.0.get_or_insert_with(Instant::now);
    }

    pub fn seconds(&self) -> f64 {
        self.0.map_or(f64::NAN, |began| began.elapsed().as_secs_f64())
    }
}
