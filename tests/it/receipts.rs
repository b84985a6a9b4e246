//! Receipts: conservation by durable books, dead letters that stop a worker, are counted once and replayed once, and
//! ranges that are replayed until their books balance.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;
use sluice_tests::clients::{self, TestRecordSender, committed, count, event};
use sluice_tests::command::{TestCommandOutput, sluice};
use sluice_tests::contract::TestContract;
use sluice_tests::worker::TestWorkerProcess;
use sluice_tests::{eventually, servers};

const WAIT: Duration = Duration::from_secs(90);
const KEYS: i64 = 97;

/// Sends `count` events with numbers from `from` on.
fn feed(contract: &TestContract, from: i64, count: i64, note: &str) {
    let (id, _) = clients::schema_of(&contract.servers, &format!("{}-value", contract.raw()));
    let sender = TestRecordSender::new(&contract.servers, &contract.raw());
    for n in from..from + count {
        let key = format!("N{:05}", n % KEYS);
        sender.send(Some(key.as_bytes()), Some(&event(id, &key, n, note)));
    }
    sender.flush();
}

/// Sends `count` records that no contract covers.
fn poison(contract: &TestContract, count: i64) {
    let sender = TestRecordSender::new(&contract.servers, &contract.raw());
    for n in 0..count {
        let key = format!("N{:05}", n % KEYS);
        sender.send(Some(key.as_bytes()), Some(b"{}"));
    }
    sender.flush();
}

fn letters_topic(contract: &TestContract) -> String {
    format!("{}.dead-letter", contract.raw())
}

fn verify(contract: &TestContract, groups: &[String], deep: bool) -> TestCommandOutput {
    let mut args: Vec<PathBuf> =
        ["verify", "--conservation", "--output", "json", "-c"].map(Into::into).into();
    args.push(contract.file("apply.yaml"));
    for group in groups {
        args.extend(["--group".into(), group.into()]);
    }
    if deep {
        args.push("--deep".into());
    }
    sluice(args)
}

fn sum(report: &Value, group: &str, what: &str) -> u64 {
    let lines = report["lines"].as_array().unwrap();
    lines.iter().filter(|line| line["group"] == group).map(|line| line[what].as_u64().unwrap()).sum()
}

fn masked_sources(contract: &TestContract) -> (usize, usize) {
    let records = committed(&contract.servers, &contract.masked());
    let sources: BTreeSet<_> = records.iter().map(|record| record.headers["sluice.source"].clone()).collect();
    (records.len(), sources.len())
}

fn all_masked(contract: &TestContract, records: usize) {
    eventually("every record masked", WAIT, || {
        (count(&contract.servers, &contract.masked()) >= records).then_some(())
    });
}

#[test]
fn the_books_balance_through_kills_and_are_what_the_topics_hold() {
    let contract = TestContract::applied("books", servers());
    feed(&contract, 0, 10_000, "note");
    poison(&contract, 40);
    let mut masker = TestWorkerProcess::start("masker", &contract.masker("masker"));
    let mut sink = TestWorkerProcess::start("sink", &contract.sink("sink"));
    all_masked(&contract, 1);
    masker.kill();
    sink.kill();
    feed(&contract, 10_000, 10_000, "note");
    poison(&contract, 20);
    let mut masker = TestWorkerProcess::start("masker", &contract.masker("masker"));
    let mut sink = TestWorkerProcess::start("sink", &contract.sink("sink"));
    all_masked(&contract, 20_000);
    sink.kill();
    let mut sink = TestWorkerProcess::start("sink", &contract.sink("sink"));
    let groups = [
        contract.name.clone(),
        format!("{}-sink-archive", contract.name),
        format!("{}-sink-delta", contract.name),
    ];
    let report = eventually("all books at the topics' ends", WAIT, || {
        let report = verify(&contract, &groups, false).json();
        let at_end = groups.iter().all(|group| sum(&report, group, "records") >= 20_000)
            && sum(&report, &groups[0], "records") >= 20_060;
        at_end.then_some(report)
    });
    assert_eq!(sum(&report, &groups[0], "written"), 20_000);
    assert_eq!(sum(&report, &groups[0], "dead_letters"), 60);
    for group in &groups[1..] {
        assert_eq!(
            (sum(&report, group, "records"), sum(&report, group, "written")),
            (20_000, 20_000),
            "{group}"
        );
    }
    // While the workers run, and when they have ended.
    let live = verify(&contract, &groups, true);
    assert_eq!(live.code, 0, "{live:?}");
    assert!(masker.end(Duration::from_secs(20)).success());
    assert!(sink.end(Duration::from_secs(20)).success());
    let ended = verify(&contract, &groups, true);
    assert_eq!(ended.code, 0, "{ended:?}");
    // The control: a masked record that somebody wrote a second time is found by counting, and by nothing else.
    let forged = committed(&contract.servers, &contract.masked()).swap_remove(0);
    forge(&contract, &forged);
    assert_eq!(verify(&contract, &groups[..1], false).code, 0);
    let found = verify(&contract, &groups[..1], true);
    assert!(found.code == 1 && found.out.contains("miscounted"), "{found:?}");
}

/// Writes a record that is in the masked topic once more, source and all.
#[allow(clippy::disallowed_methods, reason = "a plain client is plain")]
fn forge(contract: &TestContract, record: &clients::ConsumedRecord) {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", &contract.servers.brokers).create().unwrap();
    let source = record.headers["sluice.source"].as_str();
    let topic = contract.masked();
    let mut copy = BaseRecord::<[u8], [u8]>::to(&topic)
        .headers(OwnedHeaders::new().insert(Header { key: "sluice.source", value: Some(source) }));
    copy.key = record.key.as_deref();
    copy.payload = record.value.as_deref();
    producer.send(copy).unwrap_or_else(|(error, _)| panic!("{error}"));
    producer.flush(Duration::from_secs(10)).unwrap();
}

/// What an operator does who must not: the group is told that it stands elsewhere.
fn move_group(contract: &TestContract, by: i64) -> (i32, i64, i64) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &contract.servers.brokers)
        .set("group.id", &contract.name)
        .create()
        .unwrap();
    let partitions: Vec<i32> = (0..4).collect();
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition(&contract.raw(), partition);
    }
    let known = consumer.committed_offsets(list, Duration::from_secs(10)).unwrap();
    let (partition, from) = known
        .elements()
        .iter()
        .find_map(|element| match element.offset() {
            Offset::Offset(at) => Some((element.partition(), at)),
            _ => None,
        })
        .unwrap();
    let mut moved = TopicPartitionList::new();
    moved.add_partition_offset(&contract.raw(), partition, Offset::Offset(from + by)).unwrap();
    eventually("the group takes the position", WAIT, || consumer.commit(&moved, CommitMode::Sync).ok());
    (partition, from, from + by)
}

fn replay(contract: &TestContract, partition: i32, (from, to): (i64, i64), yes: bool) -> TestCommandOutput {
    let mut args: Vec<PathBuf> =
        ["replay", "--worker", "masker", "--output", "json", "-c"].map(Into::into).into();
    args.push(contract.masker("replayer"));
    args.extend(["--topic".into(), contract.raw().into()]);
    args.extend(["--partition".into(), partition.to_string().into()]);
    args.extend(["--from".into(), from.to_string().into(), "--to".into(), to.to_string().into()]);
    if yes {
        args.push("--yes".into());
    }
    sluice(args)
}

/// Row 20 of the fault matrix.
#[test]
fn a_range_replayed_twice_during_live_traffic_is_a_range_replayed_once() {
    let contract = TestContract::applied("moved", servers());
    let groups = [contract.name.clone()];
    feed(&contract, 0, 4_000, "note");
    let mut masker = TestWorkerProcess::start("masker", &contract.masker("masker"));
    all_masked(&contract, 4_000);
    assert!(masker.end(Duration::from_secs(20)).success());
    feed(&contract, 4_000, 8_000, "note");
    let (partition, from, to) = move_group(&contract, 500);
    let mut masker = TestWorkerProcess::start("masker", &contract.masker("masker"));
    all_masked(&contract, 11_500);
    // The hole is named, offset by offset, and nothing else is.
    let report = verify(&contract, &groups, true);
    assert_eq!(report.code, 1, "{report:?}");
    let findings: Vec<Value> = report.json()["lines"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|line| line["findings"].as_array().unwrap().clone())
        .collect();
    assert_eq!(findings, [serde_json::json!({"finding": "no-receipt", "from": from, "to": to})]);
    let dry = replay(&contract, partition, (0, i64::MAX), false);
    assert_eq!((dry.code, &dry.json()["done"]["records"]), (0, &Value::from(500)), "{dry:?}");
    assert_eq!(count(&contract.servers, &contract.masked()), 11_500, "a dry run writes nothing");
    feed(&contract, 12_000, 4_000, "note");
    let once = replay(&contract, partition, (from - 100, to + 100), true);
    assert_eq!((once.code, &once.json()["done"]["written"]), (0, &Value::from(500)), "{once:?}");
    feed(&contract, 16_000, 4_000, "note");
    let twice = replay(&contract, partition, (from - 100, to + 100), true);
    assert_eq!((twice.code, &twice.json()["done"]["records"]), (0, &Value::from(0)), "{twice:?}");
    all_masked(&contract, 20_000);
    assert!(masker.end(Duration::from_secs(20)).success());
    assert_eq!(masked_sources(&contract), (20_000, 20_000));
    let report = verify(&contract, &groups, true);
    assert_eq!((report.code, sum(&report.json(), &contract.name, "written")), (0, 20_000), "{report:?}");
}

#[test]
fn too_many_dead_letters_stop_the_worker_with_nothing_of_them_written() {
    let contract = TestContract::applied("flood", servers());
    feed(&contract, 0, 200, "note");
    let mut masker = TestWorkerProcess::start("masker", &contract.masker("masker"));
    all_masked(&contract, 200);
    assert!(masker.end(Duration::from_secs(20)).success());
    poison(&contract, 5_000);
    for _ in 0..2 {
        // A restart by an orchestrator stops at the same place.
        let mut masker = TestWorkerProcess::start("masker", &contract.masker("masker"));
        let status = masker.ended(Duration::from_secs(60));
        assert_eq!(status.code(), Some(1), "{}", masker.log());
        assert!(masker.log().contains("would be dead letters"), "{}", masker.log());
        assert!(masker.log().contains("limits.dead_letters"), "{}", masker.log());
        assert_eq!(count(&contract.servers, &letters_topic(&contract)), 0);
    }
    assert_eq!(verify(&contract, std::slice::from_ref(&contract.name), true).code, 0);
    // The operator's word to let them through.
    let config = contract.masker("masker");
    let text = std::fs::read_to_string(&config).unwrap();
    let config = contract.write(
        "through.yaml",
        &format!("{text}limits: {{dead_letters: {{percent: 100, streak: 1000000}}}}\n"),
    );
    let mut masker = TestWorkerProcess::start("masker", &config);
    eventually("all of them dead letters", WAIT, || {
        (count(&contract.servers, &letters_topic(&contract)) >= 5_000).then_some(())
    });
    assert!(masker.end(Duration::from_secs(20)).success());
    let report = verify(&contract, std::slice::from_ref(&contract.name), true);
    assert_eq!((report.code, sum(&report.json(), &contract.name, "dead_letters")), (0, 5_000), "{report:?}");
}

fn dead_letters(contract: &TestContract, args: &[&str], config: &str) -> TestCommandOutput {
    let mut all: Vec<PathBuf> = vec!["dead-letters".into()];
    all.extend(args.iter().map(PathBuf::from));
    all.extend(["-c".into(), contract.file(config)]);
    sluice(all)
}

/// Lets the note be a postcode, or anything.
fn rule(contract: &TestContract, from: &str, to: &str) {
    let path = format!("schemas/it/{}/contract.odcs.yaml", contract.name);
    let text = std::fs::read_to_string(contract.file(&path)).unwrap();
    assert!(text.contains(from), "{text}");
    contract.write(&path, &text.replace(from, to));
    let applied = sluice([PathBuf::from("apply"), "-c".into(), contract.file("apply.yaml")]);
    assert_eq!(applied.code, 0, "{applied:?}");
}

#[test]
fn letters_are_replayed_once_by_the_mended_worker_during_live_traffic() {
    let contract = TestContract::written("mended", servers());
    rule(&contract, "{op: drop}", "{op: generalise, geo: outward}");
    feed(&contract, 0, 300, "SW1A 1AA");
    feed(&contract, 300, 40, "no postcode");
    let mut masker = TestWorkerProcess::start("masker", &contract.masker("masker"));
    let letters = letters_topic(&contract);
    eventually("all dead letters", WAIT, || (count(&contract.servers, &letters) >= 40).then_some(()));
    all_masked(&contract, 300);
    let list = dead_letters(&contract, &["ls", "--output", "json"], "apply.yaml");
    assert_eq!((list.code, &list.json()["unresolved"]), (1, &Value::from(40)), "{list:?}");
    let row = &list.json()["letters"][0];
    assert_eq!(
        (&row["class"], &row["path"], &row["worker"]),
        (&Value::from("masking"), &Value::from("note"), &Value::from("masker"))
    );
    assert!(!list.out.contains("no postcode"));
    // The same code says the same: nothing is written.
    let masker_letters = ["replay", "--worker", "masker", "--output", "json", "--yes"];
    let same = dead_letters(&contract, &masker_letters, "masker.yaml");
    assert_eq!((same.code, &same.json()["done"]["unchanged"]), (1, &Value::from(40)), "{same:?}");
    assert_eq!(count(&contract.servers, &letters), 40);
    assert!(masker.end(Duration::from_secs(20)).success());
    // Mended, and live traffic goes on.
    rule(&contract, "{op: generalise, geo: outward}", "{op: redact}");
    let mut masker = TestWorkerProcess::start("masker", &contract.masker("masker"));
    feed(&contract, 340, 2_000, "anything");
    let dry = dead_letters(&contract, &["replay", "--worker", "masker", "--output", "json"], "masker.yaml");
    assert_eq!(&dry.json()["done"]["out"], &Value::from(40), "{dry:?}");
    // Killed somewhere in the middle, then twice more.
    let mut killed = std::process::Command::new(sluice_tests::binary());
    killed.arg("dead-letters").args(masker_letters).arg("-c").arg(contract.file("masker.yaml"));
    let mut killed = killed.stdout(std::process::Stdio::null()).spawn().unwrap();
    eventually("a first masked letter, or the end", WAIT, || {
        (killed.try_wait().unwrap().is_some() || count(&contract.servers, &contract.masked()) > 301)
            .then_some(())
    });
    let _ = killed.kill();
    let _ = killed.wait();
    let once = dead_letters(&contract, &masker_letters, "masker.yaml");
    assert_eq!(once.code, 0, "{once:?}");
    let twice = dead_letters(&contract, &masker_letters, "masker.yaml");
    assert_eq!((twice.code, &twice.json()["done"]["chosen"]), (0, &Value::from(0)), "{twice:?}");
    all_masked(&contract, 2_340);
    assert!(masker.end(Duration::from_secs(20)).success());
    assert_eq!(masked_sources(&contract), (2_340, 2_340));
    let list = dead_letters(&contract, &["ls", "--output", "json"], "apply.yaml");
    assert_eq!((list.code, &list.json()["unresolved"]), (0, &Value::from(0)), "{list:?}");
    assert_eq!(verify(&contract, std::slice::from_ref(&contract.name), true).code, 0);
    // What is said of one letter; its value is not, because what is raw is restricted.
    let head = committed(&contract.servers, &letters)[0].headers.clone();
    let (partition, offset) = (&head["sluice.dlq.source.partition"], &head["sluice.dlq.source.offset"]);
    let one = ["show", "--topic", &contract.raw(), "--partition", partition, "--offset", offset];
    let shown = dead_letters(&contract, &one, "apply.yaml");
    assert!(shown.code == 0 && shown.out.contains("\"resolved\""), "{shown:?}");
    let refused = dead_letters(&contract, &[&one[..], &["--value"]].concat(), "apply.yaml");
    assert!(refused.code == 64 && refused.err.contains("restricted"), "{refused:?}");
}

/// A store that never gets on: the first name of the archive's chain is taken by something that is no object.
#[test]
fn a_worker_that_does_not_move_though_there_is_something_to_read_is_not_ready() {
    let contract = TestContract::applied("stuck", servers());
    feed(&contract, 0, 100, "note");
    let mut masker = TestWorkerProcess::start("masker", &contract.masker("masker"));
    all_masked(&contract, 100);
    assert!(masker.end(Duration::from_secs(20)).success());
    for partition in 0..4 {
        let folder = contract.file(&format!("archive/{}/partition={partition}", contract.masked()));
        std::fs::create_dir_all(&folder).unwrap();
        let pipe = folder.join(format!("{:020}.avro", 0));
        assert!(std::process::Command::new("mkfifo").arg(pipe).status().unwrap().success());
    }
    let config = contract.write(
        "sink.yaml",
        &format!(
            "{}group: {}-sink\nflush_seconds: 1\nstores: [{{archive: {{path: {}}}}}]\nlimits: {{watchdog_seconds: 5}}\n",
            contract.common(),
            contract.name,
            contract.file("archive").display()
        ),
    );
    let sink = TestWorkerProcess::start("sink", &config);
    eventually("the watchdog's word", WAIT, || sink.log().contains("nothing moves").then_some(()));
    assert_eq!(sink.page("/readyz").0, 503, "{}", sink.page("/status").1);
    assert_eq!(sink.page("/healthz").0, 200);
    assert!(sink.page("/status").1.contains("\"stuck\":true"));
    let metrics = sink.page("/metrics").1;
    assert!(
        metrics.lines().any(|line| line.starts_with("sluice_stuck_partitions ") && !line.ends_with(" 0"))
    );
}
