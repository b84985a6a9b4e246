use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use apache_avro::Reader;
use apache_avro::types::Value;
use object_store::local::LocalFileSystem;
use object_store::{ObjectStoreExt, PutMode};
use sluice_core::RecordArchive;
use sluice_core::names::lineage;
use sluice_core::{Outcome, ReasonClass, Retry, SchemaId};
use sluice_core::{Store, StoreBacklog};
use sluice_wire::ContainerCodec;

use super::{ArchiveReader, ArchiveStore};
use crate::fixture::{FLIGHT, ID, TOPIC, at, feed, flight, framed, give, resume, runtime};

fn archive(folder: &FilePath, codec: ContainerCodec) -> ArchiveStore {
    ArchiveStore::new(Arc::new(LocalFileSystem::new_with_prefix(folder).unwrap()), codec, runtime())
}

fn objects(folder: &FilePath, partition: i32) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder.join(TOPIC).join(format!("partition={partition}"))) else {
        return vec![];
    };
    let mut found: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

fn names(folder: &FilePath, partition: i32) -> Vec<String> {
    objects(folder, partition)
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect()
}

/// (offset, flight number) of every record of an object, read by apache-avro.
fn read(object: &FilePath) -> Vec<(i64, i32)> {
    let bytes = std::fs::read(object).unwrap();
    let field = |record: &Value, name: &str| match record {
        Value::Record(fields) => fields.iter().find(|(field, _)| field == name).unwrap().1.clone(),
        other => panic!("{other:?}"),
    };
    Reader::new(&bytes[..])
        .unwrap()
        .map(|record| {
            let record = record.unwrap();
            assert_eq!(field(&record, lineage::TOPIC), Value::String(TOPIC.into()));
            match (field(&record, lineage::OFFSET), field(&record, "flight")) {
                (Value::Long(offset), Value::Int(flight)) => (offset, flight),
                other => panic!("{other:?}"),
            }
        })
        .collect()
}

fn metadata(object: &FilePath, key: &str) -> String {
    let bytes = std::fs::read(object).unwrap();
    let reader = Reader::new(&bytes[..]).unwrap();
    String::from_utf8(reader.user_metadata()[key].clone()).unwrap()
}

#[test]
fn objects_are_avro_with_lineage_and_form_a_chain() {
    for codec in [ContainerCodec::Zstandard, ContainerCodec::Deflate, ContainerCodec::Snappy] {
        let folder = tempfile::tempdir().unwrap();
        let mut store = archive(folder.path(), codec);
        assert_eq!(resume(&mut store, 2), None);
        feed(&mut store, 2, 0..5000);
        assert_eq!(store.pending().records, 5000);
        store.flush().unwrap();
        assert_eq!(store.pending(), StoreBacklog::default());
        feed(&mut store, 2, 5000..5003);
        store.flush().unwrap();
        store.flush().unwrap();

        assert_eq!(names(folder.path(), 2), ["00000000000000000000.avro", "00000000000000005000.avro"]);
        let [first, second] = &objects(folder.path(), 2)[..] else { panic!("two objects") };
        let expected: Vec<_> = (0..5000).map(|offset| (offset, offset as i32)).collect();
        assert_eq!(read(first), expected, "{codec:?}");
        assert_eq!(read(second), [(5000, 5000), (5001, 5001), (5002, 5002)]);
        for (key, value) in [
            ("sluice.topic", TOPIC),
            ("sluice.partition", "2"),
            ("sluice.from", "5000"),
            ("sluice.first", "5000"),
            ("sluice.last", "5002"),
            ("sluice.count", "3"),
            ("sluice.schema.id", "7"),
        ] {
            assert_eq!(metadata(second, key), value, "{key}");
        }
        assert_eq!(resume(&mut archive(folder.path(), codec), 2), Some(5003));
        assert_eq!(resume(&mut archive(folder.path(), codec), 3), None);
    }
}

#[test]
fn gaps_in_the_log_leave_no_gap_in_the_chain() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = archive(folder.path(), ContainerCodec::Zstandard);
    resume(&mut store, 0);
    feed(&mut store, 0, 3..6);
    store.flush().unwrap();
    feed(&mut store, 0, 9..11);
    store.flush().unwrap();
    assert_eq!(names(folder.path(), 0), ["00000000000000000000.avro", "00000000000000000006.avro"]);
    let second = &objects(folder.path(), 0)[1];
    assert_eq!((metadata(second, "sluice.from"), metadata(second, "sluice.first")), ("6".into(), "9".into()));
    assert_eq!(read(second), [(9, 9), (10, 10)]);
}

#[test]
fn a_schema_is_an_object_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = archive(folder.path(), ContainerCodec::Zstandard);
    resume(&mut store, 0);
    feed(&mut store, 0, 0..3);
    let newer = SchemaId(8);
    let value = framed(FLIGHT, newer, flight(3));
    assert_eq!(give(&mut store, FLIGHT, 0, 3, Some(&value)), Outcome::Emitted);
    feed(&mut store, 0, 4..6);
    store.flush().unwrap();
    let ids: Vec<_> = objects(folder.path(), 0).iter().map(|o| metadata(o, "sluice.schema.id")).collect();
    assert_eq!(ids, ["7", "8", "7"]);
    assert_eq!(names(folder.path(), 0)[1..], ["00000000000000000003.avro", "00000000000000000004.avro"]);
    assert_eq!(resume(&mut store, 0), Some(6));
}

#[test]
fn what_cannot_be_archived_leaves_its_neighbours_whole() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = archive(folder.path(), ContainerCodec::Zstandard);
    resume(&mut store, 0);
    feed(&mut store, 0, 0..2);
    let good = framed(FLIGHT, ID, flight(2));
    let class = |outcome| match outcome {
        Outcome::DeadLetter(reason) | Outcome::Skipped(reason) => reason.class,
        other => panic!("{other:?}"),
    };
    assert_eq!(class(give(&mut store, FLIGHT, 0, 2, Some(&good[..good.len() - 1]))), ReasonClass::Datum);
    assert_eq!(class(give(&mut store, FLIGHT, 0, 3, Some(b"\x01\0\0\0\x07"))), ReasonClass::Framing);
    assert_eq!(class(give(&mut store, FLIGHT, 0, 4, None)), ReasonClass::Null);
    // The first record of another schema is bad: no empty object may come of it.
    let other = framed(FLIGHT, SchemaId(8), flight(5));
    assert_eq!(class(give(&mut store, FLIGHT, 0, 5, Some(&other[..other.len() - 1]))), ReasonClass::Datum);
    feed(&mut store, 0, 6..7);
    store.flush().unwrap();
    assert_eq!(objects(folder.path(), 0).len(), 1);
    assert_eq!(read(&objects(folder.path(), 0)[0]), [(0, 0), (1, 1), (6, 6)]);
}

#[test]
fn the_local_object_store_refuses_to_create_what_exists() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
    let path = object_store::path::Path::from("a/b.avro");
    let create = |text: &'static str| runtime().block_on(super::put_new(&store, &path, text.into()));
    create("first").unwrap();
    assert!(matches!(create("second"), Err(object_store::Error::AlreadyExists { .. })));
    let kept = runtime().block_on(async { store.get(&path).await.unwrap().bytes().await.unwrap() });
    assert_eq!(&kept[..], b"first");
    // The control: a store that overwrites would have let the second one through.
    let overwrite = object_store::PutOptions { mode: PutMode::Overwrite, ..Default::default() };
    runtime()
        .block_on(object_store::ObjectStore::put_opts(&store, &path, "third".into(), overwrite))
        .unwrap();
}

#[test]
fn a_zombie_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut zombie = archive(folder.path(), ContainerCodec::Zstandard);
    let mut owner = archive(folder.path(), ContainerCodec::Zstandard);
    for partition in [0, 1] {
        resume(&mut zombie, partition);
    }
    feed(&mut zombie, 0, 0..4);
    // The partition goes to another worker, which reads further before it writes, and more often.
    assert_eq!(resume(&mut owner, 0), None);
    feed(&mut owner, 0, 0..6);
    owner.flush().unwrap();
    feed(&mut owner, 0, 6..9);
    owner.flush().unwrap();
    let before: Vec<_> =
        objects(folder.path(), 0).iter().map(|object| std::fs::read(object).unwrap()).collect();

    assert_eq!(zombie.flush().unwrap_err().retry, Retry::Rewind);
    assert_eq!(zombie.flush().unwrap_err().retry, Retry::Rewind, "and again, if nobody listens");
    let after: Vec<_> =
        objects(folder.path(), 0).iter().map(|object| std::fs::read(object).unwrap()).collect();
    assert_eq!(before, after);

    // Rewound, it learns where the archive stands and can take part again.
    zombie.forget(&at(0));
    assert_eq!(resume(&mut zombie, 0), Some(9));
    feed(&mut zombie, 0, 9..10);
    zombie.flush().unwrap();
    assert_eq!(names(folder.path(), 0).last().unwrap(), "00000000000000000009.avro");
    feed(&mut owner, 0, 9..12);
    assert_eq!(owner.flush().unwrap_err().retry, Retry::Rewind);
}

#[test]
fn records_read_again_are_not_archived_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = archive(folder.path(), ContainerCodec::Zstandard);
    resume(&mut store, 0);
    feed(&mut store, 0, 0..4);
    store.flush().unwrap();
    drop(store);
    // Killed before the group's offset was committed: everything comes again.
    let mut store = archive(folder.path(), ContainerCodec::Zstandard);
    assert_eq!(resume(&mut store, 0), Some(4));
    feed(&mut store, 0, 0..6);
    store.flush().unwrap();
    let all: Vec<_> =
        objects(folder.path(), 0).iter().flat_map(|object| read(object)).map(|(o, _)| o).collect();
    assert_eq!(all, [0, 1, 2, 3, 4, 5]);
}

#[test]
fn a_store_that_is_away_keeps_the_buffers() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = archive(folder.path(), ContainerCodec::Zstandard);
    resume(&mut store, 0);
    feed(&mut store, 0, 0..3);
    // A file where the topic's folder should be: nothing can be created below it.
    let obstacle = folder.path().join(TOPIC);
    std::fs::write(&obstacle, b"in the way").unwrap();
    assert_eq!(store.flush().unwrap_err().retry, Retry::Later);
    assert_eq!(store.pending().records, 3);
    feed(&mut store, 0, 3..5);
    std::fs::remove_file(&obstacle).unwrap();
    store.flush().unwrap();
    assert_eq!(read(&objects(folder.path(), 0)[0]).len(), 5);
}

/// (offset, time, value) of every archived record of a partition in a range, as a replay reads them.
fn reread(folder: &FilePath, partition: i32, range: (i64, i64)) -> Vec<(i64, Option<i64>, Vec<u8>)> {
    let mut found = vec![];
    let mut reader = ArchiveReader::open(folder, runtime()).unwrap();
    reader
        .read(&at(partition), range, &mut |record| {
            assert_eq!((record.topic, record.partition, record.key), (TOPIC, partition, None));
            found.push((record.offset.raw(), record.timestamp_ms, record.value.unwrap().to_vec()));
            Ok(())
        })
        .unwrap();
    found
}

fn covered(folder: &FilePath, partition: i32) -> Option<(i64, i64)> {
    ArchiveReader::open(folder, runtime()).unwrap().covered(&at(partition)).unwrap()
}

#[test]
fn what_is_archived_is_read_back_as_it_came_and_no_more_is_claimed() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = archive(folder.path(), ContainerCodec::Zstandard);
    resume(&mut store, 0);
    // Retention had taken what was before, and a transaction's marker lies between.
    for range in [500..540, 541..560, 560..600] {
        feed(&mut store, 0, range);
        store.flush().unwrap();
    }
    assert_eq!(names(folder.path(), 0)[0], "00000000000000000000.avro", "by its name it covers from 0 on");
    assert_eq!(covered(folder.path(), 0), Some((500, 600)));
    assert_eq!(covered(folder.path(), 1), None);
    let expected = |offsets: &mut dyn Iterator<Item = i64>| -> Vec<_> {
        offsets
            .map(|offset| (offset, Some(1_700_000_000_000 + offset), framed(FLIGHT, ID, flight(offset))))
            .collect()
    };
    assert_eq!(reread(folder.path(), 0, (0, 600)), expected(&mut (500..540).chain(541..600)));
    assert_eq!(reread(folder.path(), 0, (539, 561)), expected(&mut [539].into_iter().chain(541..561)));
    assert_eq!(reread(folder.path(), 0, (541, 542)), expected(&mut (541..542)));
    assert_eq!(reread(folder.path(), 0, (540, 541)), []);
}

/// Every type whose bytes apache-avro could write in another way than they were read.
const RICH: &str = r#"{"type":"record","name":"Rich","fields":[
    {"name":"bytes","type":"bytes"},
    {"name":"money","type":{"type":"bytes","logicalType":"decimal","precision":12,"scale":2}},
    {"name":"rate","type":{"type":"fixed","name":"Rate","size":4,"logicalType":"decimal","precision":8,"scale":3}},
    {"name":"tag","type":{"type":"fixed","name":"Tag","size":3}},
    {"name":"again","type":["null","Tag"]},
    {"name":"colour","type":{"type":"enum","name":"Colour","symbols":["RED","GREEN"]}},
    {"name":"key","type":{"type":"string","logicalType":"uuid"}},
    {"name":"day","type":{"type":"int","logicalType":"date"}},
    {"name":"clock","type":{"type":"long","logicalType":"time-micros"}},
    {"name":"local","type":{"type":"long","logicalType":"local-timestamp-millis"}},
    {"name":"ratio","type":"double"},
    {"name":"share","type":"float"},
    {"name":"yes","type":"boolean"},
    {"name":"many","type":{"type":"array","items":["null","string","long"]}},
    {"name":"named","type":{"type":"map","values":"int"}}]}"#;

/// A record of [`RICH`], written by hand from the specification: no library has looked at these bytes.
fn rich() -> Vec<u8> {
    let mut out = vec![0, 0, 0, 0, 7];
    out.extend(b"\x06\x00\xff\x7f"); // bytes
    out.extend(b"\x04\x01\x2c"); // 3.00
    out.extend(b"\xff\xff\xff\x85"); // -0.123
    out.extend(b"abc"); // a fixed
    out.extend(b"\x02xyz"); // the same fixed, in a union
    out.extend(b"\x02"); // GREEN
    out.extend(b"\x48123e4567-e89b-12d3-a456-426614174000");
    out.extend(b"\x92\x9c\x02"); // days
    out.extend(b"\x80\xad\xe2\x04"); // a time of day
    out.extend(b"\x01"); // a millisecond before 1970
    out.extend((-0.0f64).to_le_bytes());
    out.extend(1.5f32.to_le_bytes());
    out.extend(b"\x01");
    out.extend(b"\x06\x00\x02\x04hi\x04\x03\x00"); // null, "hi", -2
    out.extend(b"\x02\x02k\x0e\x00"); // one entry: a map's order is its reader's
    out
}

#[test]
fn values_of_every_type_come_back_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = archive(folder.path(), ContainerCodec::Deflate);
    resume(&mut store, 0);
    assert_eq!(give(&mut store, RICH, 0, 0, Some(&rich())), Outcome::Emitted);
    store.flush().unwrap();
    let [(_, _, value)] = &reread(folder.path(), 0, (0, 1))[..] else { panic!("one record") };
    assert_eq!(value, &rich());
}

/// Writes an object of partition 0 with the flights at `offsets`, as version 0.1 wrote it, by apache-avro. Its
/// lineage fields have the given names.
fn write_former_object(folder: &FilePath, offsets: std::ops::Range<i64>, names: [&str; 5]) {
    let [topic, partition, offset, timestamp, schema_id] = names;
    let added = format!(
        r#"{{"name":"{topic}","type":"string"}},{{"name":"{partition}","type":"int"}},
        {{"name":"{offset}","type":"long"}},{{"name":"{timestamp}","default":null,
            "type":["null",{{"type":"long","logicalType":"timestamp-millis"}}]}},
        {{"name":"{schema_id}","type":"int"}}"#
    );
    let schema = format!("{},{added}]}}", FLIGHT.strip_suffix("]}").unwrap());
    let schema = apache_avro::Schema::parse_str(&schema).unwrap();

    // The metadata that `resume` and `covered` read.
    let mut writer = apache_avro::Writer::new(&schema, vec![]).unwrap();
    for (key, value) in [
        ("sluice.topic", TOPIC.to_owned()),
        ("sluice.partition", "0".to_owned()),
        ("sluice.from", offsets.start.to_string()),
        ("sluice.first", offsets.start.to_string()),
        ("sluice.last", (offsets.end - 1).to_string()),
        ("sluice.count", (offsets.end - offsets.start).to_string()),
        ("sluice.schema.id", ID.to_string()),
    ] {
        writer.add_user_metadata(key.to_owned(), value).unwrap();
    }
    for at in offsets.clone() {
        let Value::Record(mut fields) = flight(at) else { panic!("a record") };
        let time = Value::Union(1, Box::new(Value::TimestampMillis(1_700_000_000_000 + at)));
        fields.extend([
            (topic.into(), Value::String(TOPIC.into())),
            (partition.into(), Value::Int(0)),
            (offset.into(), Value::Long(at)),
            (timestamp.into(), time),
            (schema_id.into(), Value::Int(7)),
        ]);
        writer.append_value(Value::Record(fields)).unwrap();
    }

    let chain = folder.join(TOPIC).join("partition=0");
    std::fs::create_dir_all(&chain).unwrap();
    let object = chain.join(format!("{:020}.avro", offsets.start));
    std::fs::write(object, writer.into_inner().unwrap()).unwrap();
}

/// Names of the last five fields of an object's records.
fn appended(object: &FilePath) -> Vec<String> {
    let bytes = std::fs::read(object).unwrap();
    let reader = Reader::new(&bytes[..]).unwrap();
    let apache_avro::Schema::Record(record) = reader.writer_schema() else { panic!("a record") };
    record.fields[record.fields.len() - 5..].iter().map(|field| field.name.clone()).collect()
}

#[test]
fn a_chain_of_the_former_names_is_read_and_continued_under_the_new_ones() {
    let folder = tempfile::tempdir().unwrap();
    write_former_object(folder.path(), 0..4, lineage::ALL.map(|(_, former)| former));
    assert_eq!(covered(folder.path(), 0), Some((0, 4)));

    // The writer goes on where the old object ends. Records of the old object are not archived again.
    let mut store = archive(folder.path(), ContainerCodec::Zstandard);
    assert_eq!(resume(&mut store, 0), Some(4));
    feed(&mut store, 0, 2..7);
    store.flush().unwrap();
    assert_eq!(names(folder.path(), 0), ["00000000000000000000.avro", "00000000000000000004.avro"]);
    let [former, newer] = &objects(folder.path(), 0)[..] else { panic!("two objects") };
    assert_eq!(appended(former), lineage::ALL.map(|(_, former)| former));
    assert_eq!(appended(newer), lineage::ALL.map(|(name, _)| name));

    // Both are read back as one run of records.
    assert_eq!(covered(folder.path(), 0), Some((0, 7)));
    let expected = |offsets: std::ops::Range<i64>| -> Vec<_> {
        offsets.map(|at| (at, Some(1_700_000_000_000 + at), framed(FLIGHT, ID, flight(at)))).collect()
    };
    assert_eq!(reread(folder.path(), 0, (0, 7)), expected(0..7));
    assert_eq!(reread(folder.path(), 0, (3, 5)), expected(3..5));
}

#[test]
fn an_object_with_lineage_fields_of_both_spellings_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut mixed = lineage::ALL.map(|(name, _)| name);
    (_, mixed[2]) = lineage::ALL[2];
    write_former_object(folder.path(), 0..2, mixed);
    let mut reader = ArchiveReader::open(folder.path(), runtime()).unwrap();
    assert!(reader.read(&at(0), (0, 2), &mut |_| Ok(())).is_err());
}

#[test]
fn a_record_with_a_field_of_either_spelling_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = archive(folder.path(), ContainerCodec::Zstandard);
    for name in lineage::ALL.into_iter().flat_map(|(name, former)| [name, former]) {
        let schema = FLIGHT.replace("carrier", name);
        assert!(store.learn(TOPIC, ID, &schema).is_err(), "{name}");
    }
}

#[test]
fn objects_of_others_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let partition = folder.path().join(TOPIC).join("partition=0");
    std::fs::create_dir_all(&partition).unwrap();
    let schema = apache_avro::Schema::parse_str(FLIGHT).unwrap();
    let mut writer = apache_avro::Writer::new(&schema, vec![]).unwrap();
    writer.append_value(flight(0)).unwrap();
    std::fs::write(partition.join("00000000000000000000.avro"), writer.into_inner().unwrap()).unwrap();
    let mut reader = ArchiveReader::open(folder.path(), runtime()).unwrap();
    let text = reader.covered(&at(0)).unwrap_err();
    let text = format!("{text}: {}", std::error::Error::source(&text).unwrap());
    assert!(
        text.contains("00000000000000000000.avro") && text.contains("not written by this archive"),
        "{text}"
    );
    assert!(reader.read(&at(0), (0, 1), &mut |_| Ok(())).is_err());
}
