//! Rows 10 and 13: a sink whose disk is full, for a moment and for ten minutes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use sluice_fault::cluster::world;
use sluice_fault::landed::{self, ArchivePositionCounts};
use sluice_fault::trial::{FaultTrial, PATIENCE, WorkerPeak};
use sluice_tests::eventually;
use sluice_tests::worker::TestWorkerProcess;

/// A file system of its own in memory; gone when dropped.
struct MemoryDisk(PathBuf);

impl MemoryDisk {
    /// Needs to be root; `None` with the reason said otherwise.
    fn mount(at: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(at)
            .status();
        if status.is_ok_and(|status| status.success()) {
            return Some(Self(at.to_path_buf()));
        }
        println!("not run: only root can mount a small disk here");
        None
    }

    fn resize(&self, size: &str) {
        let options = format!("remount,size={size}");
        let status = Command::new("mount").args(["-o", &options]).arg(&self.0).status();
        assert!(status.is_ok_and(|status| status.success()), "remount");
    }
}

impl Drop for MemoryDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["--lazy"]).arg(&self.0).status();
    }
}

/// Archive and lake on one small disk.
fn stores(disk: &Path) -> String {
    format!(
        "{{archive: {{path: {}}}}}, {{delta: {{path: {}}}}}",
        disk.join("archive").display(),
        disk.join("lake").display()
    )
}

fn judge(trial: &FaultTrial, disk: &Path) -> u64 {
    let mut placed = ArchivePositionCounts::default();
    sluice_fault::reading::committed(&trial.direct, &trial.contract.masked(), |message| {
        use rdkafka::message::Message as _;
        placed.expect((message.partition(), message.offset()));
    });
    landed::archive(&disk.join("archive"), &mut placed);
    landed::lake(&disk.join("lake"), &trial.contract.masked(), &placed)
        .unwrap_or_else(|findings| panic!("red:\n{findings}"));
    placed.verdict().unwrap_or_else(|findings| panic!("red:\n{findings}"))
}

/// Every object that is there can be read to its end.
fn no_partial_object(disk: &Path) {
    let mut placed = ArchivePositionCounts::default();
    landed::archive(&disk.join("archive"), &mut placed);
    let findings = placed.verdict().err();
    assert_eq!(findings.map_or(0, |findings| findings.count("partial")), 0);
}

#[test]
#[ignore = "make fault"]
fn a_full_disk_leaves_no_partial_object_and_loses_nothing() {
    let servers = &world().direct;
    let trial = FaultTrial::new("r10disk", servers, servers);
    let folder = trial.contract.file("disk");
    let Some(disk) = MemoryDisk::mount(&folder, "192k") else { return };
    let masker = trial.masker("masker", &[]);
    let file = trial.sink_file("sink", "landing", &stores(&folder), "flush_seconds: 1");
    let mut sink = TestWorkerProcess::start("sink", &file);
    eventually("the disk is full", PATIENCE, || {
        trial.feed.send(500);
        trial.feed.flush();
        sink.log().contains("No space left").then_some(())
    });
    assert!(sink.has_ended().is_none(), "an outage is waited for:\n{}", sink.log());
    assert!(!sink.log().contains("panicked"), "it is an error, not a panic:\n{}", sink.log());
    no_partial_object(&folder);
    // Killed in the middle of it, too.
    sink.kill();
    no_partial_object(&folder);
    let mut sink = TestWorkerProcess::start("sink", &file);
    trial.feed.send(2_000);
    trial.settled();
    disk.resize("256m");
    trial.landed("landing-archive");
    trial.landed("landing-delta");
    assert!(sink.end(Duration::from_secs(60)).success(), "{}", sink.log());
    drop(masker);
    let rows = judge(&trial, &folder);
    trial.tell(&format!("{rows} rows, once each"));
}

/// How far the feed is ahead of the masker at most: enough that it is never idle.
const AHEAD: i64 = 300_000;

/// A sink that cannot write, with a topic that fills at full speed all the while: whatever the masker can take.
///
/// Judged is what the sink has allocated. With `SLUICE_JUDGED`, the path of a release build that is to be the sink, also
/// what is resident: of a build for tests over a hundred megabytes are the program itself.
fn a_stalled_sink(row: &str, stall: Duration) {
    const MEMORY: u64 = 192 << 20; // what the sink is told
    let servers = &world().direct;
    let mut trial = FaultTrial::new(row, servers, servers);
    let folder = trial.contract.file("disk");
    let Some(disk) = MemoryDisk::mount(&folder, "16k") else { return };
    trial.default_timeouts();
    let masker = trial.masker("masker", &[]);
    let file = trial.sink_file("sink", "landing", &stores(&folder), "memory: 192MiB\nflush_seconds: 1");
    let judged = std::env::var_os("SLUICE_JUDGED").map(PathBuf::from);
    let mut sink = match &judged {
        Some(program) => TestWorkerProcess::start_program(program, "sink", &file, &[]),
        None => TestWorkerProcess::start("sink", &file),
    };
    let (began, mut peak) = (Instant::now(), WorkerPeak::default());
    let (positions, mut masked) = (trial.positions(), 0);
    while began.elapsed() < stall {
        masked = positions.now().map_or(masked, |now| now.values().sum());
        // Some tenths of a second's worth between two looks.
        for _ in 0..10 {
            if trial.feed.in_flight() < 100_000 && i64::try_from(trial.feed.count()).unwrap() < masked + AHEAD
            {
                trial.feed.send(2_000);
            } else {
                trial.feed.serve();
                std::thread::sleep(Duration::from_millis(5)); // what others take in has no event
            }
        }
        peak.look(&sink);
    }
    trial.feed.flush();
    let (log, input) = (sink.log(), masked);
    assert!(sink.has_ended().is_none(), "it waits:\n{log}");
    assert!(log.contains("No space left"), "it did not stall:\n{log}");
    assert!(!log.contains("partitions revoked"), "evicted from its group:\n{log}");
    assert!(!log.contains("panicked"), "it is an error, not a panic:\n{log}");
    assert!(peak.own < MEMORY, "{peak:?}");
    disk.resize("8g");
    let (released, stalled) = (Instant::now(), peak);
    trial.settled_within(Duration::from_secs(600), &mut [(&sink, &mut peak)]);
    for group in ["landing-archive", "landing-delta"] {
        trial.landed_within(group, Duration::from_secs(1_800), &mut [(&sink, &mut peak)]);
    }
    let recovery = released.elapsed();
    peak.look(&sink);
    assert!(sink.end(Duration::from_secs(60)).success(), "{}", sink.log());
    drop(masker);
    let rows = judge(&trial, &folder);
    trial.tell(&format!(
        "{rows} rows, {input} of them while it stalled for {stall:?}, landed {recovery:.1?} after its end; stalled \
         {stalled:?}, then {peak:?}"
    ));
    assert!(peak.own < MEMORY, "while catching up: {peak:?}");
    assert!(judged.is_none() || peak.bytes < MEMORY, "resident: {peak:?}");
}

#[test]
#[ignore = "make fault"]
fn a_sink_that_cannot_write_keeps_its_memory_and_its_place() {
    a_stalled_sink("r13short", Duration::from_secs(20));
}

#[test]
#[ignore = "make fault"]
fn ten_minutes_of_a_sink_that_cannot_write() {
    a_stalled_sink("r13long", Duration::from_secs(600));
}
