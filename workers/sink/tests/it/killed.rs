//! SIGKILL at any moment, again and again: every record ends up in each store exactly once.
//!
//! The parent starts this very test as a child that writes to one store, kills it around its flushes, and starts it
//! again until it gets through. What the child did is then read back from the stores alone.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use apache_avro::types::Value;
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use sluice_core::Store;
use sluice_core::names::lineage::OFFSET;
use sluice_core::{Offset, Outcome, RecordPart, RecordRef, SchemaId, TopicPartition};
use sluice_sink::StoreConfig;
use sluice_sink::config::{ArchiveSection, BlockCodec, DeltaSection, TableCodec};
use sluice_warehouse as warehouse;

const FOLDER: &str = "SLUICE_TEST_KILLED_FOLDER";
const STORE: &str = "SLUICE_TEST_KILLED_STORE";
const TOPIC: &str = "kill.me.v1";
const SCHEMA: &str = r#"{"type":"record","name":"Number","fields":[{"name":"n","type":"long"}]}"#;
const LAST: i64 = 2400;
/// Records a flush, so that there are many flushes to be killed in.
const STEP: i64 = 20;
const KILLS: usize = 25;
/// Flushes a child that is to be killed may make: then it waits for its end, so that no fast machine gets through.
const FLUSHES: i64 = 4;
const ENDLESS: &str = "SLUICE_TEST_KILLED_ENDLESS";

fn configs(folder: &Path) -> [StoreConfig; 2] {
    [
        StoreConfig::Archive(ArchiveSection { path: folder.join("archive"), codec: BlockCodec::default() }),
        StoreConfig::Delta(DeltaSection {
            path: folder.join("lake"),
            codec: TableCodec::default(),
            checkpoint_every: 5,
        }),
    ]
}

/// The child: writes what its store does not have yet, and says so before and after each flush.
#[test]
#[ignore = "the other test's child"]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let which: usize = std::env::var(STORE).unwrap().parse().unwrap();
    let mut store = configs(&folder)[which].build(runtime.handle()).unwrap();
    let from =
        store.resume(&TopicPartition::new(TOPIC, 0)).unwrap().map_or(0, |position| position.next.raw());
    let until = if std::env::var_os(ENDLESS).is_some() { LAST } else { LAST.min(from + FLUSHES * STEP) };
    for offset in from..until {
        take(store.as_mut(), offset);
        if (offset + 1) % STEP == 0 {
            say("flushing");
            store.flush().unwrap();
            say("flushed");
        }
    }
    if until < LAST {
        // Held until it is killed; the end of its input is the end of its parent.
        let _ = std::io::stdin().read(&mut [0]);
        return;
    }
    say("done");
}

/// Past the test harness, which would keep it back.
fn say(text: &str) {
    let mut out = std::io::stderr().lock();
    writeln!(out, "{text}").unwrap();
    out.flush().unwrap();
}

fn take(store: &mut dyn Store, offset: i64) {
    let mut value = vec![0, 0, 0, 0, 1];
    // Zigzag varint, as Avro writes a long.
    let mut rest = (offset as u64) << 1;
    while rest >= 0x80 {
        value.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    value.push(rest as u8);
    let record = RecordRef {
        topic: TOPIC,
        partition: 0,
        offset: Offset::new(offset).unwrap(),
        timestamp_ms: None,
        key: None,
        value: Some(&value),
        headers: &[],
    };
    if store.append(&record) == Outcome::NeedsSchema(RecordPart::Value, SchemaId(1)) {
        store.learn(TOPIC, SchemaId(1), SCHEMA).unwrap();
        assert_eq!(store.append(&record), Outcome::Emitted);
    }
}

/// How a child ended.
#[derive(PartialEq, Eq)]
enum ChildEnd {
    Through,
    /// Killed between "flushing" and "flushed".
    InFlush,
    Between,
}

/// Starts the child; kills it `after` it has said so many lines and so long has passed.
fn run(folder: &Path, store: usize, after: Option<(usize, Duration)>) -> ChildEnd {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "killed::child", "--ignored", "--nocapture"]);
    if after.is_none() {
        command.env(ENDLESS, "1");
    }
    let mut child = command
        .env(FOLDER, folder)
        .env(STORE, store.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut lines = 0;
    let mut seen = String::new();
    loop {
        let mut line = String::new();
        if said.read_line(&mut line).unwrap() == 0 {
            break;
        }
        lines += usize::from(line.starts_with("flush"));
        seen.push_str(&line);
        if let Some((count, pause)) = after
            && lines == count
        {
            // Not a wait for anything: the kill is to land anywhere in a flush.
            let began = Instant::now();
            while began.elapsed() < pause {
                std::hint::spin_loop();
            }
            child.kill().unwrap();
            said.read_to_string(&mut seen).unwrap();
            break;
        }
    }
    let through = child.wait().unwrap().success();
    assert!(through || after.is_some(), "{seen}");
    match seen.lines().rfind(|line| line.starts_with("flush")) {
        _ if through => ChildEnd::Through,
        Some("flushing") => ChildEnd::InFlush,
        _ => ChildEnd::Between,
    }
}

#[test]
fn killed_at_any_moment_nothing_is_lost_or_repeated() {
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    println!("seed {seed}");
    let mut state = seed;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let folder = tempfile::tempdir().unwrap();
    for store in 0..configs(folder.path()).len() {
        let mut in_flush = 0;
        for _ in 0..KILLS {
            // An odd line is "flushing". How long a flush takes is the machine's affair, from microseconds to tens of
            // milliseconds: so the pauses are spread over all of these.
            let line = 1 + 2 * random(3) as usize + usize::from(random(5) == 0);
            let pause = Duration::from_micros((1 << random(15)) + random(50));
            in_flush += usize::from(run(folder.path(), store, Some((line, pause))) == ChildEnd::InFlush);
        }
        assert!(run(folder.path(), store, None) == ChildEnd::Through, "it gets through in the end");
        println!("store {store}: killed {KILLS} times, {in_flush} of them in a flush");
        assert!(in_flush >= KILLS / 5, "hardly ever killed in a flush: this proves nothing");
    }

    let expected: Vec<i64> = (0..LAST).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let sql = format!("SELECT n, {OFFSET} FROM \"{TOPIC}\" ORDER BY {OFFSET}");
    let rows = runtime.block_on(warehouse::query(&folder.path().join("lake"), &sql)).unwrap();
    let column = |index: usize| -> Vec<i64> {
        let values = |batch: &RecordBatch| batch.column(index).as_primitive::<Int64Type>().values().to_vec();
        rows.iter().flat_map(values).collect()
    };
    assert_eq!(column(0), expected, "delta");
    assert_eq!(column(1), expected, "delta's lineage");
    assert_eq!(archived(&folder.path().join("archive")), expected, "archive");
}

fn archived(archive: &Path) -> Vec<i64> {
    let mut objects: Vec<_> = std::fs::read_dir(archive.join(TOPIC).join("partition=0"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        // What a killed process left half written has another name, and is no object.
        .filter(|path| path.extension().is_some_and(|extension| extension == "avro"))
        .collect();
    objects.sort();
    let mut numbers = Vec::new();
    for object in objects {
        for record in apache_avro::Reader::new(&std::fs::read(object).unwrap()[..]).unwrap() {
            let Value::Record(fields) = record.unwrap() else { panic!("no record") };
            let Value::Long(n) = fields[0].1 else { panic!("no long") };
            numbers.push(n);
        }
    }
    numbers
}
