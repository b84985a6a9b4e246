//! A year of flights and their facts through both stores in one process: how long, and how much memory.
//!
//! Run by itself, because resident memory is the process's: `cargo test -p sluice-sink --test it -- --ignored --nocapture volume`.

use std::time::Instant;

use sluice_core::Store;
use sluice_core::names::lineage::OFFSET;
use sluice_core::{Offset, Outcome, RecordRef, SchemaId, TopicPartition};
use sluice_sink::StoreConfig;
use sluice_sink::config::{ArchiveSection, BlockCodec, DeltaSection, TableCodec};
use sluice_warehouse as warehouse;

const FLIGHTS: &str = include_str!("../../../../schemas/aviation/flight/value.avsc");
const FACTS: &str = include_str!("../../../../schemas/sluice/fact/value.avsc");
const PARTITIONS: i64 = 6;
/// What the fleet promises of a worker, in KiB.
const LIMIT_KIB: u64 = 256 * 1024;

fn zigzag(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn text(value: &str, out: &mut Vec<u8>) {
    zigzag(value.len() as i64, out);
    out.extend_from_slice(value.as_bytes());
}

/// A masked tail number as the masker makes them: all different for different aircraft, of no use to compression.
fn masked(n: i64) -> String {
    let mixed = (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("1:{:016x}{:06x}", mixed, mixed >> 40)
}

fn flight(n: i64, out: &mut Vec<u8>) {
    for value in [2013, 1 + n % 12, 1 + n % 28] {
        zigzag(value, out);
    }
    let nullable = |value: i64, out: &mut Vec<u8>| {
        zigzag(1, out);
        zigzag(value, out);
    };
    nullable(500 + n % 1800, out);
    zigzag(515 + n % 1800, out);
    nullable(n % 97 - 20, out);
    nullable(800 + n % 1500, out);
    zigzag(819 + n % 1500, out);
    nullable(n % 131 - 40, out);
    text(["UA", "B6", "EV", "DL"][n as usize % 4], out);
    zigzag(n % 6000, out);
    text(&masked(n % 4043), out);
    text(["EWR", "LGA", "JFK"][n as usize % 3], out);
    text(["IAH", "MIA", "BQN", "ATL", "ORD"][n as usize % 5], out);
    nullable(20 + n % 600, out);
    for value in [n % 4983, n % 24, n % 60, 1_357_034_400_000_000 + n * 94_000_000] {
        zigzag(value, out);
    }
}

fn fact(n: i64, out: &mut Vec<u8>) {
    text(&format!("{:032x}", (n as u128).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)), out);
    text(&format!("UA/{}/EWR/2013-01-{:02}T10:00:00Z", n / 6 % 6000, 1 + n % 28), out);
    text("aviation.flight", out);
    text(["tailnum", "dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"][n as usize % 6], out);
    text(&(n % 600).to_string(), out);
    zigzag(1, out);
    zigzag(1_357_034_400_000_000 + n * 15_000_000, out);
    zigzag(1_700_000_000_000_000 + n, out);
    text("aviation.flight.masked.v1", out);
    zigzag(n % PARTITIONS, out);
    zigzag(n / 6, out);
}

struct VolumeLoad {
    topic: &'static str,
    id: SchemaId,
    schema: &'static str,
    records: i64,
    write: fn(i64, &mut Vec<u8>),
}

/// What the kernel counts for this process, in KiB.
fn memory(counter: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(counter)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn land(store: &mut dyn Store, load: &VolumeLoad) -> (u64, usize) {
    for partition in 0..PARTITIONS as i32 {
        store.resume(&TopicPartition::new(load.topic, partition)).unwrap();
    }
    let (mut flushes, mut bytes, mut value) = (0, 0, Vec::new());
    for n in 0..load.records {
        value.clear();
        sluice_wire::framing::write_prefix(load.id, &mut value);
        (load.write)(n, &mut value);
        bytes += value.len();
        let record = RecordRef {
            topic: load.topic,
            partition: (n % PARTITIONS) as i32,
            offset: Offset::new(n / PARTITIONS).unwrap(),
            timestamp_ms: Some(1_700_000_000_000 + n),
            key: None,
            value: Some(&value),
            headers: &[],
        };
        match store.append(&record) {
            Outcome::NeedsSchema(_, id) => {
                store.learn(load.topic, id, load.schema).unwrap();
                assert_eq!(store.append(&record), Outcome::Emitted);
            }
            outcome => assert_eq!(outcome, Outcome::Emitted),
        }
        if store.pending().bytes >= 16 << 20 {
            store.flush().unwrap();
            flushes += 1;
        }
    }
    store.flush().unwrap();
    (flushes + 1, bytes)
}

#[test]
#[ignore = "takes a minute; measures the whole process"]
fn a_year_of_flights_and_facts_fits() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let loads = [
        VolumeLoad {
            topic: "aviation.flight.masked.v1",
            id: SchemaId(1),
            schema: FLIGHTS,
            records: 334_264,
            write: flight,
        },
        VolumeLoad {
            topic: "aviation.flight.facts.v1",
            id: SchemaId(2),
            schema: FACTS,
            records: 2_000_000,
            write: fact,
        },
    ];
    let stores = [
        StoreConfig::Archive(ArchiveSection {
            path: folder.path().join("archive"),
            codec: BlockCodec::default(),
        }),
        StoreConfig::Delta(DeltaSection {
            path: folder.path().join("lake"),
            codec: TableCodec::default(),
            checkpoint_every: 20,
        }),
    ];
    let before = memory("VmRSS");
    // Both at once, as in the worker: each on a thread of its own.
    std::thread::scope(|scope| {
        for config in &stores {
            let (runtime, loads) = (runtime.handle().clone(), &loads);
            scope.spawn(move || {
                let mut store = config.build(&runtime).unwrap();
                for load in loads {
                    let began = Instant::now();
                    let (flushes, bytes) = land(store.as_mut(), load);
                    println!(
                        "{:8} {:28} {:>9} records, {:>4} MiB, {flushes:>3} flushes, {:.1} s, {} KiB resident",
                        store.name(),
                        load.topic,
                        load.records,
                        bytes >> 20,
                        began.elapsed().as_secs_f64(),
                        memory("VmRSS")
                    );
                }
            });
        }
    });
    let peak = memory("VmHWM");
    println!("before {before} KiB, peak {peak} KiB of {LIMIT_KIB} KiB");
    assert!(peak < LIMIT_KIB, "{peak} KiB");
    for load in &loads {
        let sql = format!("SELECT count(*) AS n, count(DISTINCT {OFFSET}) AS d FROM \"{}\"", load.topic);
        let began = Instant::now();
        let answer = runtime.block_on(warehouse::query(&folder.path().join("lake"), &sql)).unwrap();
        let count = answer[0].column(0).as_any().downcast_ref::<arrow::array::Int64Array>().unwrap().value(0);
        assert_eq!(count, load.records);
        println!("counted {count} rows in {:.1} s", began.elapsed().as_secs_f64());
    }
}
