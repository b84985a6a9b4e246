//! What the former build (commit 970d294) wrote is read and continued. The data and how they were made:
//! `tests/data/former/README.md`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::Value;
use sluice_archive::{ArchiveReader, ArchiveStore};
use sluice_core::names::lineage;
use sluice_core::{Offset, Outcome, RecordArchive as _, RecordRef, Store, TopicPartition};
use sluice_delta::{CHECKPOINT_EVERY, DeltaStore, FileCodec};
use sluice_location::Location;
use sluice_runtime::receipts::{AuditBounds, ReceiptRecord, ReceiptSegment, audit};
use sluice_warehouse::QueryFormat;
use sluice_wire::ContainerCodec;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// The topic of the archive and of the table.
const TOPIC: &str = "aviation.aircraft.masked.v1";
const PARTITIONS: i32 = 4;

/// A record of a topic, as a line of a dump.
#[derive(Deserialize)]
struct FormerTopicLine {
    offset: i64,
    key: String,
    value: String,
}

/// The committed offset of a group in a partition.
#[derive(Deserialize)]
struct FormerCommittedOffset {
    group: String,
    topic: String,
    partition: i32,
    committed: i64,
}

/// A record of [`TOPIC`] as Kafka held it.
#[derive(Deserialize)]
struct FormerKafkaRecord {
    partition: i32,
    offset: i64,
    timestamp_ms: i64,
    /// In Base64.
    value: String,
    schema: String,
}

/// Returns a file or folder of the former build.
fn former(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/former").join(name)
}

/// Reads a file of JSON lines.
fn lines<T: for<'de> Deserialize<'de>>(name: &str) -> Vec<T> {
    let text = std::fs::read_to_string(former(name)).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{line}: {why}")))
        .collect()
}

/// Returns the record that was read from Kafka, and its value.
fn kafka_record() -> (FormerKafkaRecord, Vec<u8>) {
    let text = std::fs::read_to_string(former("record.json")).unwrap();
    let record: FormerKafkaRecord = serde_json::from_str(&text).unwrap();
    let value = BASE64.decode(&record.value).unwrap();
    (record, value)
}

/// Copies a folder of the former build, so that the test may write to it.
fn copied(name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy(&former(name), folder.path());
    folder
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Returns every file below a folder with its content.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut files(&path));
        } else {
            let content = std::fs::read(&path).unwrap();
            found.insert(path, content);
        }
    }
    found
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn at(partition: i32) -> TopicPartition {
    TopicPartition::new(TOPIC, partition)
}

/// Returns the newest state of each segment of the receipts' dump, by group, topic and partition.
fn books() -> BTreeMap<(String, String, i32), Vec<ReceiptSegment>> {
    let mut newest = BTreeMap::new();
    for line in lines::<FormerTopicLine>("receipts.jsonl") {
        let ReceiptRecord::Segment(segment) = serde_json::from_str(&line.value).unwrap() else {
            panic!("the demo has replayed no letter")
        };
        newest.insert(line.key, segment);
    }
    let mut books = BTreeMap::<_, Vec<_>>::new();
    for segment in newest.into_values() {
        let chain = (segment.group.clone(), segment.topic.clone(), segment.partition);
        books.entry(chain).or_default().push(segment);
    }
    books
}

/// Returns how many records of [`TOPIC`] a group has written by the receipts, all partitions together.
fn written(group: &str) -> u64 {
    let books = books();
    let own = books.iter().filter(|((of, topic, _), _)| of == group && topic == TOPIC);
    own.flat_map(|(_, segments)| segments).map(|segment| segment.written).sum()
}

/// Returns the committed offset of a group in a partition of [`TOPIC`].
fn committed(group: &str, partition: i32) -> i64 {
    let all = lines::<FormerCommittedOffset>("committed.jsonl");
    let mut own = all.iter().filter(|one| one.group == group && one.topic == TOPIC);
    own.find(|one| one.partition == partition).unwrap().committed
}

/// Hands the value to a store at an offset, as a lane does: teaches the schema when the store needs it.
fn give(store: &mut dyn Store, partition: i32, offset: i64) {
    let (former, value) = kafka_record();
    let record = RecordRef {
        topic: TOPIC,
        partition,
        offset: Offset::new(offset).unwrap(),
        timestamp_ms: Some(former.timestamp_ms),
        key: None,
        value: Some(&value),
        headers: &[],
    };
    let mut outcome = store.append(&record);
    if let Outcome::NeedsSchema(_, id) = outcome {
        store.learn(TOPIC, id, &former.schema).unwrap();
        outcome = store.append(&record);
    }
    assert_eq!(outcome, Outcome::Emitted, "offset {offset}");
}

#[test]
fn receipts_of_the_former_build_are_read_and_overwritten_under_their_own_keys() {
    for line in lines::<FormerTopicLine>("receipts.jsonl") {
        let receipt: ReceiptRecord = serde_json::from_str(&line.value).unwrap();
        let mut sent = None;
        receipt
            .send(|out| {
                sent = Some((out.topic.to_owned(), out.key.unwrap().to_vec(), out.value.unwrap().to_vec()));
                Ok(())
            })
            .unwrap();

        // A grown segment replaces the former state only if the key has the same bytes.
        let (topic, key, value) = sent.unwrap();
        assert_eq!((topic.as_str(), String::from_utf8(key).unwrap()), ("sluice.receipts", line.key));
        let fields = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
        assert_eq!(fields(&value), fields(line.value.as_bytes()), "offset {}", line.offset);
    }
}

#[test]
fn the_books_of_the_former_build_balance() {
    let books = books();
    let positions = lines::<FormerCommittedOffset>("committed.jsonl");
    assert_eq!(books.len(), positions.len(), "every position has a receipt");
    for one in positions {
        let segments = &books[&(one.group.clone(), one.topic.clone(), one.partition)];
        let bounds = |at| AuditBounds { before: Some(at), after: Some(at), log_start: 0 };
        let held = audit(segments, bounds(one.committed));
        assert_eq!(held.findings, [], "{} in {}/{}", one.group, one.topic, one.partition);
        assert!(held.records > 0 && held.records == held.written + held.dead_letters + held.skipped);

        // The control: one offset more or less is found.
        assert_eq!(audit(segments, bounds(one.committed + 1)).findings.len(), 1);
        assert_eq!(audit(segments, bounds(one.committed - 1)).findings.len(), 1);
    }
}

#[test]
fn an_archive_of_the_former_build_is_read_back_and_its_chain_goes_on() {
    const GROUP: &str = "demo-archive-archive";
    let folder = copied("archive");
    let runtime = runtime();
    let (former, value) = kafka_record();
    let before = files(folder.path());
    let open = || ArchiveReader::open(folder.path(), runtime.handle().clone()).unwrap();
    let read = |partition: i32| {
        let mut found = Vec::new();
        let mut take = |record: &RecordRef<'_>| {
            found.push((record.offset.raw(), record.timestamp_ms, record.value.unwrap().to_vec()));
            Ok(())
        };
        open().read(&at(partition), (0, i64::MAX), &mut take).unwrap();
        found
    };

    // Every record that the receipts know is read back. One of them is compared with what Kafka held.
    let former_records: Vec<_> = (0..PARTITIONS).map(read).collect();
    let count: usize = former_records.iter().map(Vec::len).sum();
    assert_eq!(count as u64, written(GROUP));
    let same = former_records[former.partition as usize].iter().find(|(offset, ..)| *offset == former.offset);
    assert_eq!(same, Some(&(former.offset, Some(former.timestamp_ms), value.clone())));

    // The store goes on where the group was. What it reads again is not archived again.
    let location: Location = folder.path().to_str().unwrap().parse().unwrap();
    let mut store =
        ArchiveStore::new(location.open().unwrap(), ContainerCodec::Zstandard, runtime.handle().clone());
    for partition in 0..PARTITIONS {
        let end = committed(GROUP, partition);
        let (first, next) = open().covered(&at(partition)).unwrap().unwrap();
        assert_eq!((first, next), (former_records[partition as usize][0].0, end));
        assert_eq!(store.resume(&at(partition)).unwrap().unwrap().next.raw(), end, "partition {partition}");
        (end - 3..end).for_each(|offset| give(&mut store, partition, offset));
        assert_eq!(store.pending().records, 0, "they are in the archive");

        // The offset `end` itself was the marker of a transaction.
        (end + 1..end + 6).for_each(|offset| give(&mut store, partition, offset));
        store.flush().unwrap();
        let mut expected = former_records[partition as usize].clone();
        expected.extend((end + 1..end + 6).map(|at| (at, Some(former.timestamp_ms), value.clone())));
        assert_eq!(read(partition), expected);
        assert_eq!(open().covered(&at(partition)).unwrap(), Some((first, end + 6)));
    }

    // One object more in each partition, named after the end of the former chain. The others are untouched.
    let mut after = files(folder.path());
    for partition in 0..PARTITIONS {
        let name = format!("{TOPIC}/partition={partition}/{:020}.avro", committed(GROUP, partition));
        let object = folder.path().join(name);
        assert!(after.remove(&object).is_some(), "{}", object.display());
    }
    assert!(after == before, "an object of the former build has changed");
}

#[test]
fn a_table_of_the_former_build_answers_to_both_names_and_is_continued() {
    const GROUP: &str = "demo-delta-delta";
    let lake = copied("lake");
    let runtime = runtime();
    let (former, _) = kafka_record();
    let table = "aviation_aircraft_masked_v1";
    let ask = |sql: String| -> Value {
        let rows = runtime.block_on(sluice_warehouse::query(lake.path(), &sql)).unwrap();
        let mut text = Vec::new();
        sluice_warehouse::print(&rows, QueryFormat::Json, &mut text).unwrap();
        serde_json::from_slice(&text).unwrap()
    };
    let count = || ask(format!("SELECT count(*) AS n FROM {table}"))[0]["n"].as_u64().unwrap();
    let columns = || {
        let rows = ask(format!("SELECT * FROM {table} LIMIT 1"));
        rows[0].as_object().unwrap().keys().cloned().collect::<Vec<_>>()
    };

    // Every row that the receipts know. One of them is compared with the record that Kafka held.
    assert_eq!(count(), written(GROUP));
    let former_columns = columns();
    let [_, partition, offset, ..] = lineage::ALL;
    let rows = [(partition.0, offset.0), (partition.1, offset.1)].map(|(partition, offset)| {
        ask(format!(
            "SELECT tailnum, model, engines, _offset, _kafka_offset, _schema_id, _kafka_schema_id FROM {table}
             WHERE {partition} = {} AND {offset} = {}",
            former.partition, former.offset
        ))
    });
    assert_eq!(rows[0], rows[1], "both names mean the same column");
    assert_eq!(rows[0].as_array().unwrap().len(), 1);
    let row = &rows[0][0];
    assert_eq!(row["tailnum"], "1:2msC3NEN9ZFD0DKl3z4hoQ");
    assert_eq!((&row["model"], &row["engines"]), (&Value::from("737-****"), &Value::from(2)));
    assert_eq!((&row["_offset"], &row["_kafka_offset"]), (&Value::from(63), &Value::from(63)));
    assert_eq!((&row["_schema_id"], &row["_kafka_schema_id"]), (&Value::from(4), &Value::from(4)));

    // The store goes on where the group was. What it reads again is not added again.
    let handle = runtime.handle().clone();
    let mut store = DeltaStore::new(lake.path(), FileCodec::Zstd, CHECKPOINT_EVERY, handle).unwrap();
    for partition in 0..PARTITIONS {
        let end = committed(GROUP, partition);
        assert_eq!(store.resume(&at(partition)).unwrap().unwrap().next.raw(), end, "partition {partition}");
        (end - 3..end).for_each(|offset| give(&mut store, partition, offset));
    }
    assert_eq!(store.pending().records, 0, "they are in the table");
    for partition in 0..PARTITIONS {
        let end = committed(GROUP, partition);
        (end + 1..end + 6).for_each(|offset| give(&mut store, partition, offset));
    }
    store.flush().unwrap();

    // The rows are there, under the table's own columns, and another process goes on behind them.
    assert_eq!(count(), written(GROUP) + 20);
    assert_eq!(columns(), former_columns);
    for (present, former) in lineage::ALL {
        assert!(former_columns.iter().any(|name| name == former), "{former}");
        assert!(!former_columns.iter().any(|name| name == present), "{present}");
    }
    let handle = runtime.handle().clone();
    let mut restarted = DeltaStore::new(lake.path(), FileCodec::Zstd, CHECKPOINT_EVERY, handle).unwrap();
    for partition in 0..PARTITIONS {
        let next = restarted.resume(&at(partition)).unwrap().unwrap().next.raw();
        assert_eq!(next, committed(GROUP, partition) + 6);
        let highest =
            ask(format!("SELECT max(_offset) AS n FROM {table} WHERE _kafka_partition = {partition}"));
        assert_eq!(highest[0]["n"], next - 1);
    }
}
