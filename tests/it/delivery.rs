//! Exactly once, whatever happens to the worker; poison in the dead-letter topic once; the partition moves on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sluice_core::names::lineage;
use sluice_tests::clients::{self, ConsumedRecord, TestRecordSender, committed, count, event};
use sluice_tests::contract::TestContract;
use sluice_tests::worker::TestWorkerProcess;
use sluice_tests::{eventually, servers};

const WAIT: Duration = Duration::from_secs(90);
const KEYS: i64 = 97;

/// Sends `count` events with numbers from `from` on; each key's numbers rise.
fn feed(contract: &TestContract, from: i64, count: i64) {
    let (id, _) = clients::schema_of(&contract.servers, &format!("{}-value", contract.raw()));
    let sender = TestRecordSender::new(&contract.servers, &contract.raw());
    for n in from..from + count {
        let key = format!("N{:05}", n % KEYS);
        sender.send(Some(key.as_bytes()), Some(&event(id, &key, n, "a note about somebody")));
    }
    sender.flush();
}

/// The number in a masked event (`id` text, then `n`), read by hand.
pub(crate) fn number(record: &ConsumedRecord) -> i64 {
    let value = record.value.as_ref().unwrap();
    let (length, at) = zigzag(value, 5);
    zigzag(value, at + length as usize).0
}

fn zigzag(bytes: &[u8], mut at: usize) -> (i64, usize) {
    let (mut value, mut shift) = (0u64, 0);
    loop {
        value |= u64::from(bytes[at] & 0x7f) << shift;
        at += 1;
        if bytes[at - 1] < 0x80 {
            return (((value >> 1) as i64) ^ -((value & 1) as i64), at);
        }
        shift += 7;
    }
}

/// Each number exactly once, each source position exactly once, each key's numbers in order.
fn oracle(records: &[ConsumedRecord], numbers: i64) {
    let seen: Vec<i64> = records.iter().map(number).collect();
    let distinct: BTreeSet<_> = seen.iter().copied().collect();
    assert_eq!((seen.len() as i64, distinct.len() as i64), (numbers, numbers), "lost or twice");
    let sources: BTreeSet<_> = records.iter().map(|record| &record.headers["sluice.source"]).collect();
    assert_eq!(sources.len() as i64, numbers, "a source position twice");
    let mut last: BTreeMap<_, i64> = BTreeMap::new();
    let mut ordered = records.to_vec();
    ordered.sort_by_key(|record| record.at);
    for record in &ordered {
        let n = number(record);
        let before = last.insert(record.key.clone(), n);
        assert!(before.is_none_or(|before| before < n), "order within a key");
    }
    assert_eq!(last.len() as i64, KEYS.min(numbers), "keys keep apart under their pseudonyms");
}

#[test]
fn two_maskers_share_the_work_and_a_sigkill_changes_nothing() {
    let contract = TestContract::applied("killed", servers());
    feed(&contract, 0, 20_000);
    let mut one = TestWorkerProcess::start("masker", &contract.masker("one"));
    let mut two = TestWorkerProcess::start("masker", &contract.masker("two"));
    eventually("the first masked records", WAIT, || {
        (count(&contract.servers, &contract.masked()) > 0).then_some(())
    });
    one.kill();
    feed(&contract, 20_000, 20_000);
    let mut again = TestWorkerProcess::start("masker", &contract.masker("one"));
    two.kill();
    eventually("every record masked", WAIT, || {
        (count(&contract.servers, &contract.masked()) >= 40_000).then_some(())
    });
    assert!(again.end(Duration::from_secs(20)).success(), "{}", again.log());
    let records = committed(&contract.servers, &contract.masked());
    oracle(&records, 40_000);
    for record in &records {
        let value = record.value.as_ref().unwrap();
        assert!(!value.windows(7).any(|bytes| bytes == b"a note "), "a dropped field came out");
    }
    assert_eq!(count(&contract.servers, &format!("{}.dead-letter", contract.raw())), 0);
}

#[test]
fn a_zombie_that_thaws_writes_nothing() {
    let contract = TestContract::applied("zombie", servers());
    feed(&contract, 0, 5_000);
    let mut zombie = TestWorkerProcess::start("masker", &contract.masker("zombie"));
    eventually("the first masked records", WAIT, || {
        (count(&contract.servers, &contract.masked()) > 0).then_some(())
    });
    zombie.signal("STOP");
    feed(&contract, 5_000, 5_000);
    // Past the session (10 s) and the transaction's time-out (10 s) the group and the log belong to the other one.
    let mut other = TestWorkerProcess::start("masker", &contract.masker("other"));
    eventually("every record masked by the other", WAIT, || {
        (count(&contract.servers, &contract.masked()) >= 10_000).then_some(())
    });
    zombie.signal("CONT");
    feed(&contract, 10_000, 1_000);
    eventually("what came later too", WAIT, || {
        (count(&contract.servers, &contract.masked()) >= 11_000).then_some(())
    });
    assert!(other.end(Duration::from_secs(30)).success(), "{}", other.log());
    zombie.kill();
    oracle(&committed(&contract.servers, &contract.masked()), 11_000);
}

/// Class it is refused with, key, value.
type PoisonRecord<'a> = (&'a str, Option<&'a [u8]>, Vec<u8>);

#[test]
fn poison_is_a_dead_letter_once_and_the_partition_moves_on() {
    let contract = TestContract::applied("poison", servers());
    let (id, _) = clients::schema_of(&contract.servers, &format!("{}-value", contract.raw()));
    let sender = TestRecordSender::new(&contract.servers, &contract.raw());
    let good = event(id, "N1", 1, "note");
    let poison: [PoisonRecord<'_>; 6] = [
        ("framing", Some(b"N1"), b"{}".to_vec()),
        ("framing", Some(b"N1"), vec![]),
        ("datum", Some(b"N1"), good[..good.len() - 1].to_vec()),
        ("datum", Some(b"N1"), [&good[..], b"x"].concat()),
        ("unknown-schema", Some(b"N1"), event(999_999, "N1", 1, "note")),
        ("null", None, good.clone()),
    ];
    sender.send(Some(b"N1"), Some(&good));
    for (_, key, value) in &poison {
        sender.send(*key, Some(value));
    }
    sender.send(Some(b"N1"), Some(&event(id, "N1", 2, "note")));
    sender.flush();
    let mut masker = TestWorkerProcess::start("masker", &contract.masker("masker"));
    let letters = format!("{}.dead-letter", contract.raw());
    eventually("all dead letters and the good records", WAIT, || {
        (count(&contract.servers, &letters) >= 6 && count(&contract.servers, &contract.masked()) >= 2)
            .then_some(())
    });
    masker.kill();
    let mut masker = TestWorkerProcess::start("masker", &contract.masker("masker"));
    sender.send(Some(b"N1"), Some(&event(id, "N1", 3, "note")));
    sender.flush();
    eventually("what came after the restart", WAIT, || {
        (count(&contract.servers, &contract.masked()) >= 3).then_some(())
    });
    assert!(masker.end(Duration::from_secs(20)).success());
    let letters = committed(&contract.servers, &letters);
    assert_eq!(letters.len(), 6, "once each");
    let mut classes: Vec<_> =
        letters.iter().map(|letter| letter.headers["sluice.dlq.class"].as_str()).collect();
    classes.sort_unstable();
    let mut expected: Vec<_> = poison.iter().map(|(class, _, _)| *class).collect();
    expected.sort_unstable();
    assert_eq!(classes, expected);
    for letter in &letters {
        assert_eq!(letter.headers["sluice.dlq.source.topic"], contract.raw());
        assert!(letter.headers["sluice.dlq.source.partition"].parse::<i32>().is_ok());
        assert!(letter.headers["sluice.dlq.source.offset"].parse::<i64>().is_ok());
        assert!(!letter.headers["sluice.dlq.reason"].is_empty());
        let came: Vec<_> = poison
            .iter()
            .filter(|(_, key, value)| {
                (key.map(<[u8]>::to_vec), Some(value)) == (letter.key.clone(), letter.value.as_ref())
            })
            .collect();
        assert_eq!(came.len(), 1, "key and value as they came");
    }
    // The log of a worker that met poison names places, not values.
    assert!(!masker.log().contains("N1"), "{}", masker.log());
}

#[test]
fn a_sink_that_is_killed_lands_every_record_once_in_both_stores() {
    let contract = TestContract::applied("landed", servers());
    feed(&contract, 0, 10_000);
    let mut masker = TestWorkerProcess::start("masker", &contract.masker("masker"));
    let mut sink = TestWorkerProcess::start("sink", &contract.sink("sink"));
    eventually("the first file in the lake", WAIT, || parquet_files(&contract).gt(&0).then_some(()));
    sink.kill();
    feed(&contract, 10_000, 10_000);
    let mut sink = TestWorkerProcess::start("sink", &contract.sink("sink"));
    let rows = || {
        let sql =
            format!("SELECT COUNT(*) AS n, COUNT(DISTINCT n) AS numbers FROM it_{}_masked_v1", contract.name);
        let output = std::process::Command::new(sluice_tests::binary())
            .args(["sql", "--output", "json", "--lake"])
            .arg(contract.file("lake"))
            .arg(sql)
            .output()
            .unwrap();
        let rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (rows[0]["n"].as_i64().unwrap_or_default(), rows[0]["numbers"].as_i64().unwrap_or_default())
    };
    eventually("every row in the lake", WAIT, || (rows().0 >= 20_000).then_some(()));
    assert!(sink.end(Duration::from_secs(30)).success(), "{}", sink.log());
    assert!(masker.end(Duration::from_secs(30)).success());
    assert_eq!(rows(), (20_000, 20_000));
    assert_eq!(archived(&contract), 20_000);
}

fn files(root: &std::path::Path, extension: &str) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(root) else { return vec![] };
    entries
        .filter_map(Result::ok)
        .flat_map(|entry| {
            let path = entry.path();
            if path.is_dir() { files(&path, extension) } else { vec![path] }
        })
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect()
}

fn parquet_files(contract: &TestContract) -> usize {
    files(&contract.file("lake"), "parquet").len()
}

/// Records in the archive by the reference implementation's reader; positions must not repeat.
fn archived(contract: &TestContract) -> usize {
    let mut positions = BTreeSet::new();
    let mut records = 0;
    for file in files(&contract.file("archive"), "avro") {
        let reader = apache_avro::Reader::new(std::fs::File::open(&file).unwrap()).unwrap();
        for value in reader {
            let apache_avro::types::Value::Record(fields) = value.unwrap() else { panic!("a record") };
            let field =
                |name: &str| format!("{:?}", fields.iter().find(|(field, _)| field == name).unwrap().1);
            positions.insert((field(lineage::PARTITION), field(lineage::OFFSET)));
            records += 1;
        }
    }
    assert_eq!(positions.len(), records, "a position twice");
    records
}
