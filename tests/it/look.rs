//! `sluice topics`, `tail`, `get` and `version`: a look at topics and records, by the role that may.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};
use serde_json::Value;
use sluice_tests::clients::{TestRecordSender, committed, count, event, schema_of};
use sluice_tests::command::{TestCommandOutput, sluice};
use sluice_tests::contract::TestContract;
use sluice_tests::worker::TestWorkerProcess;
use sluice_tests::{binary, eventually, servers};

const WAIT: Duration = Duration::from_secs(90);
/// Good records, over this number of keys.
const RECORDS: i64 = 200;
const KEYS: i64 = 10;
/// A key whose record is in another partition than murmur2 gives.
const STRAY: &str = "stray";
/// A key whose last record is a tombstone.
const GONE: &str = "N00000";
const ROLES: &str = "roles:\n\
    \x20 - {role: raw-readers, access: read, customProperties: [{property: view, value: raw}]}\n\
    \x20 - {role: analysts, access: read, customProperties: [{property: view, value: masked}]}\n";

/// One contract for all tests of this file, with records in its raw and its masked topic.
fn contract() -> &'static TestContract {
    static CONTRACT: OnceLock<TestContract> = OnceLock::new();
    CONTRACT.get_or_init(|| {
        let contract = TestContract::written("look", servers());
        let file = "schemas/it/look/contract.odcs.yaml";
        let text = std::fs::read_to_string(contract.file(file)).unwrap();
        let text = text.replacen("customProperties:\n  - {property: maskedTopic", &format!("{ROLES}customProperties:\n  - {{property: topic, value: {{partitions: 4}}}}\n  - {{property: maskedTopic"), 1);
        contract.write(file, &text);
        let applied = look(&contract, &["apply"]);
        assert_eq!(applied.code, 0, "{applied:?}");
        feed(&contract);

        // The masker writes in transactions: their markers lie among the records.
        let mut masker = TestWorkerProcess::start("masker", &contract.masker("one"));
        let wanted = usize::try_from(RECORDS).unwrap() + 2;
        eventually("masked records", WAIT, || (count(&contract.servers, &contract.masked()) >= wanted).then_some(()));
        eventually("dead letters", WAIT, || {
            (count(&contract.servers, &format!("{}.dead-letter", contract.raw())) >= 3).then_some(())
        });
        assert!(masker.end(Duration::from_secs(20)).success(), "{}", masker.log());
        contract
    })
}

/// Sends good records, a tombstone, three that cannot be decoded, and one in a partition that is not its key's.
fn feed(contract: &TestContract) {
    let (id, _) = schema_of(&contract.servers, &format!("{}-value", contract.raw()));
    let sender = TestRecordSender::new(&contract.servers, &contract.raw());
    for n in 0..RECORDS {
        let key = format!("N{:05}", n % KEYS);
        sender.send(Some(key.as_bytes()), Some(&event(id, &key, n, "a note")));
    }
    sender.flush();
    sender.send(Some(GONE.as_bytes()), None);
    sender.send(Some(b"bad 1"), Some(b"no framing"));
    sender.send(Some(b"bad 2"), Some(&[0, 0, 0, 0, 0, 7]));
    let mut torn = event(id, "bad 3", 1, "torn");
    torn.truncate(9);
    sender.send(Some(b"bad 3"), Some(&torn));
    sender.flush();

    // The partition after the key's own.
    let producer: ThreadedProducer<_> =
        ClientConfig::new().set("bootstrap.servers", &contract.servers.brokers).create().unwrap();
    let partition = (sluice_kafka::partition_of(STRAY.as_bytes(), 4) + 1) % 4;
    let value = event(id, STRAY, 4_711, "elsewhere");
    producer
        .send(BaseRecord::to(&contract.raw()).partition(partition).key(STRAY.as_bytes()).payload(&value))
        .unwrap_or_else(|(error, _)| panic!("{error}"));
    #[allow(clippy::disallowed_methods, reason = "a plain client is plain: nothing here is measured")]
    producer.flush(Duration::from_secs(30)).unwrap();
}

/// Runs `sluice <args> -c apply.yaml`.
fn look(contract: &TestContract, args: &[&str]) -> TestCommandOutput {
    let config = contract.file("apply.yaml");
    sluice(args.iter().copied().chain(["-c", config.to_str().unwrap()]))
}

/// The records of an output, one JSON object a line.
fn lines(output: &TestCommandOutput) -> Vec<Value> {
    assert_eq!(output.code, 0, "{output:?}");
    output.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The numbers of the records' values.
fn numbers(records: &[Value]) -> Vec<i64> {
    records.iter().filter_map(|record| record["value"]["n"].as_i64()).collect()
}

#[test]
fn topics_are_listed_with_kind_size_and_the_time_of_the_newest_record() {
    let contract = contract();
    let rows = look(contract, &["topics", "--output", "json"]).json();
    let row = |topic: &str| {
        let found = rows.as_array().unwrap().iter().find(|row| row["topic"] == topic);
        found.unwrap_or_else(|| panic!("{topic}: {rows}")).clone()
    };
    let (raw, masked) = (row(&contract.raw()), row(&contract.masked()));
    assert_eq!((&raw["kind"], &masked["kind"]), (&"raw".into(), &"masked".into()));
    assert_eq!((&raw["partitions"], &raw["contract"]), (&4.into(), &"look".into()));
    assert_eq!(raw["retention_ms"], 604_800_000);
    assert!(raw["records_about"].as_i64().unwrap() >= RECORDS + 5, "{raw}");

    // The masked topic ends with the marker of a transaction, and its newest record is known all the same.
    assert!(masked["newest_record"].as_str().unwrap().starts_with("20"), "{masked}");
    let letters = row(&format!("{}.dead-letter", contract.masked()));
    assert_eq!((&letters["kind"], &letters["newest_record"]), (&"dead letter".into(), &Value::Null));

    let table = look(contract, &["topics", "--contract", "look"]);
    assert!(table.out.contains("no records") && table.out.contains("7 d"), "{table:?}");
    let unknown = look(contract, &["topics", "--contract", "lok"]);
    assert!(unknown.code == 64 && unknown.err.contains("did you mean `look`?"), "{unknown:?}");
}

#[test]
fn a_raw_topic_is_shown_to_a_role_that_reads_raw_records_and_to_no_other() {
    let contract = contract();
    let (raw, masked) = (contract.raw(), contract.masked());
    let letters = format!("{raw}.dead-letter");
    for topic in [&raw, &letters] {
        for role in [&[][..], &["--as", "analysts"]] {
            let refused = look(contract, &[&["tail", topic][..], role].concat());
            assert_eq!((refused.code, refused.out.as_str()), (64, ""), "{refused:?}");
            assert!(refused.err.contains("--as raw-readers") && refused.err.contains(&masked), "{refused:?}");
        }
        assert_eq!(
            lines(&look(contract, &["tail", topic, "--as", "raw-readers", "--output", "json", "-n", "2"]))
                .len(),
            2
        );
    }

    let refused = look(contract, &["get", &raw, GONE]);
    assert_eq!((refused.code, refused.out.as_str()), (64, ""), "{refused:?}");
    let unknown = look(contract, &["tail", &masked, "--as", "raw-reader"]);
    assert!(unknown.code == 64 && unknown.err.contains("did you mean `raw-readers`?"), "{unknown:?}");
    let unknown = look(contract, &["tail", "it.lok.masked.v1"]);
    assert!(unknown.code == 64 && unknown.err.contains(&format!("did you mean `{masked}`?")), "{unknown:?}");
}

#[test]
fn a_tail_shows_every_record_and_the_reason_why_one_cannot_be_decoded() {
    let contract = contract();
    let tail = ["tail", &contract.raw(), "--as", "raw-readers", "--from", "start", "--output", "json"];
    let records = lines(&look(contract, &tail));
    assert_eq!(records.len() as i64, RECORDS + 5);
    assert_eq!(numbers(&records).into_iter().collect::<BTreeSet<_>>().len() as i64, RECORDS + 1);

    let by_key = |key: &str| records.iter().filter(|record| record["key"] == key).collect::<Vec<_>>();
    let tombstone = by_key(GONE).pop().unwrap();
    assert_eq!((&tombstone["tombstone"], &tombstone["value"]), (&true.into(), &Value::Null));
    for (key, reason) in [("bad 1", "magic byte"), ("bad 2", "no schema 0"), ("bad 3", "field")] {
        let error = by_key(key)[0]["value_error"].as_str().unwrap_or_default();
        assert!(error.contains(reason), "{key}: {error}");
    }

    // The same as text, for a terminal.
    let text = look(contract, &["tail", &contract.raw(), "--as", "raw-readers", "--from", "start"]);
    assert_eq!(text.out.lines().count() as i64, RECORDS + 5);
    assert!(text.out.contains(&format!(" {GONE} (tombstone)")), "{}", text.out);
    assert!(text.out.contains(" \"bad 3\" (cannot be decoded: "), "{}", text.out);
}

#[test]
fn a_tail_shows_the_newest_records_and_those_that_the_comparisons_take() {
    let contract = contract();
    let masked = contract.masked();
    let newest = lines(&look(contract, &["tail", &masked, "--output", "json", "-n", "7"]));
    assert_eq!(newest.len(), 7);
    let same = |record: &&Value| record["tombstone"] == true || record["value"]["id"] == record["key"];
    assert_eq!(newest.iter().filter(same).count(), 7, "{newest:?}");
    assert!(newest[0]["headers"].to_string().contains("sluice.source"), "{:?}", newest[0]);

    let filter = ["tail", &masked, "--output", "json", "--where", "n >= 190 and n < 195"];
    let mut found = numbers(&lines(&look(contract, &filter)));
    found.sort_unstable();
    assert_eq!(found, [190, 191, 192, 193, 194]);

    let key = newest[0]["key"].as_str().unwrap();
    let of_key = lines(&look(contract, &["tail", &masked, "--output", "json", "--from", "1h", "--key", key]));
    assert!(!of_key.is_empty() && of_key.iter().all(|record| record["key"] == key), "{of_key:?}");
    let future = look(contract, &["tail", &masked, "--from", "2100-01-01"]);
    assert_eq!((future.code, future.out.as_str()), (0, ""), "{future:?}");
    assert!(future.err.contains("no record"), "{future:?}");

    // The masked records have no note.
    let unknown = look(contract, &["tail", &masked, "--where", "note is null"]);
    assert!(unknown.code == 64 && unknown.err.contains("no field `note`"), "{unknown:?}");
    let wrong = look(contract, &["tail", &masked, "--from", "yesterday"]);
    assert!(wrong.err.contains("expected `start`, a time ago"), "{wrong:?}");
}

#[test]
fn the_newest_record_of_a_key_is_found_and_all_of_them() {
    let contract = contract();
    let raw = contract.raw();
    let get = |key: &str, more: &[&str]| {
        look(contract, &[&["get", &raw, key, "--as", "raw-readers", "--output", "json"][..], more].concat())
    };
    let found = get("N00003", &[]);
    assert_eq!(numbers(&lines(&found)), [RECORDS - KEYS + 3]);
    assert_eq!(found.err, "");
    assert_eq!(
        numbers(&lines(&get("N00003", &["--all"]))),
        (0..RECORDS / KEYS).map(|n| n * KEYS + 3).collect::<Vec<_>>()
    );
    assert_eq!(lines(&get(GONE, &[]))[0]["tombstone"], true);

    // A record that another producer has put elsewhere.
    let stray = get(STRAY, &[]);
    assert_eq!(numbers(&lines(&stray)), [4_711]);
    assert!(stray.err.contains("murmur2") && stray.err.contains("the other 3"), "{stray:?}");

    // No such key, and no such time.
    let none = get("N99999", &[]);
    assert_eq!((none.code, none.out.as_str()), (1, ""), "{none:?}");
    assert!(!none.err.contains("N99999"), "a key can be a person's: {none:?}");
    assert_eq!(get("N00003", &["--to", "2020-01-01"]).code, 1);
    assert_eq!(get("N00003", &["--from", "2100-01-01"]).code, 1);
    assert_eq!(
        lines(&get("N00003", &["--all", "--from", "1h", "--to", "2100-01-01"])).len() as i64,
        RECORDS / KEYS
    );

    // The key of a masked topic is the pseudonym.
    let masked = contract.masked();
    let records = committed(&contract.servers, &masked);
    let gone = records.iter().find(|record| record.value.is_none()).unwrap().key.clone();
    let record = records.into_iter().find(|record| record.value.is_some() && record.key != gone).unwrap();
    let pseudonym = String::from_utf8(record.key.unwrap()).unwrap();
    let found = look(contract, &["get", &masked, &pseudonym, "--output", "json"]);
    assert_eq!(lines(&found)[0]["value"]["id"], pseudonym.as_str());
    assert_eq!(found.err, "", "the masked record is in the partition of its pseudonym");
}

#[test]
fn a_tail_follows_and_ends_quietly_when_its_reader_has_gone() {
    let contract = TestContract::applied("look-follow", servers());
    let (id, _) = schema_of(&contract.servers, &format!("{}-value", contract.masked()));
    let sender = TestRecordSender::new(&contract.servers, &contract.masked());
    // A masked event has an id and a number.
    let masked = |n: i64| {
        let mut value = event(id, "k", n, "");
        value.pop();
        value
    };
    (0..5_000).for_each(|n| sender.send(Some(b"k"), Some(&masked(n))));
    sender.flush();

    let start = |more: &[&str]| {
        let mut command = Command::new(binary());
        command.args(["tail", &contract.masked(), "-c"]).arg(contract.file("apply.yaml")).args(more);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };

    // `sluice tail … | head -1`.
    let mut child = start(&["--from", "start"]);
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    out.read_line(&mut first).unwrap();
    drop(out);
    let ended = child.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), String::from_utf8_lossy(&ended.stderr).as_ref()), (Some(0), ""));
    assert!(first.contains(r#" k {"id":"k","n":0}"#), "{first}");

    // A record that comes later is shown, and it is the last one of `-n`.
    let mut child = start(&["--from", "start", "--follow", "-n", "5001"]);
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    for _ in 0..5_000 {
        line.clear();
        out.read_line(&mut line).unwrap();
    }
    sender.send(Some(b"k"), Some(&masked(-1)));
    sender.flush();
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with(" k {\"id\":\"k\",\"n\":-1}\n"), "{rest}");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_broker_that_is_away_and_a_topic_that_is_missing_are_named() {
    let contract = TestContract::written("look-missing", servers());
    let missing = look(&contract, &["tail", &contract.masked()]);
    assert!(
        missing.code == 64
            && missing.err.contains(&contract.masked())
            && missing.err.contains("sluice apply"),
        "{missing:?}"
    );
    let rows = look(&contract, &["topics", "--output", "json"]).json();
    assert_eq!(rows[0]["partitions"], Value::Null, "{rows}");

    let text = std::fs::read_to_string(contract.file("apply.yaml")).unwrap();
    contract.write("apply.yaml", &text.replacen(&contract.servers.brokers, "127.0.0.1:1", 1));
    let away = look(&contract, &["tail", &contract.masked()]);
    assert!(away.code == 75 && away.err.contains("127.0.0.1:1"), "{away:?}");
}

#[test]
fn the_version_names_commit_profile_and_client() {
    let version = sluice(["version", "--output", "json"]).json();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    assert!(version["librdkafka"]["version"].as_str().unwrap().starts_with("2."), "{version}");
    assert!(version["profile"].is_string() && version["features"].is_array(), "{version}");
    let text = sluice(["version"]);
    assert!(text.code == 0 && text.out.contains("librdkafka  2."), "{text:?}");
}
