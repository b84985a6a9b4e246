//! What a topic no longer has is done again from the archive: the same facts, byte for byte, and once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::Value;
use sluice_tests::clients::{TestRecordSender, committed, count, event, schema_of, zigzag};
use sluice_tests::command::{TestCommandOutput, sluice};
use sluice_tests::contract::{SCHEMA, TestContract};
use sluice_tests::worker::TestWorkerProcess;
use sluice_tests::{eventually, servers};

const WAIT: Duration = Duration::from_secs(90);
const RECORDS: i64 = 3_000;
/// Attributes of an entity that are facts.
const ATTRIBUTES: usize = 2;

/// The test contract with a time, lists within a record, and facts.
fn with_facts(name: &str) -> TestContract {
    let contract = TestContract::written(name, servers());
    let fields = SCHEMA.strip_suffix("]}").unwrap();
    let more = r#",{"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},{"name":"m","type":"long"}]}"#;
    contract.write(&format!("schemas/it/{name}/value.avsc"), &format!("{fields}{more}"));
    let path = format!("schemas/it/{name}/contract.odcs.yaml");
    let odcs = std::fs::read_to_string(contract.file(&path)).unwrap();
    let field = |name: &str, kind: &str| {
        format!(
            "      - {{name: \"{name}\", logicalType: {kind}, required: true, classification: internal, customProperties: [{{property: masking, value: {{op: keep}}}}]}}\n"
        )
    };
    let facts = format!(
        "  - {{property: facts, value: {{topic: it.{name}.facts.v1, entityType: event, entity: [id], time: at, attributes: [\"n\", m]}}}}\n"
    );
    let odcs = odcs.replace(
        "customProperties:\n  - {property: masked",
        &format!("customProperties:\n{facts}  - {{property: masked"),
    );
    assert!(odcs.contains("facts"), "{odcs}");
    contract.write(&path, &format!("{odcs}{}{}", field("at", "timestamp"), field("m", "integer")));
    let fact = concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas/sluice/fact/value.avsc");
    std::fs::create_dir_all(contract.file("schemas/sluice/fact")).unwrap();
    std::fs::copy(fact, contract.file("schemas/sluice/fact/value.avsc")).unwrap();
    let applied = sluice([PathBuf::from("apply"), "-c".into(), contract.file("apply.yaml")]);
    assert_eq!(applied.code, 0, "{applied:?}");
    contract
}

fn feed(contract: &TestContract) {
    let (id, _) = schema_of(&contract.servers, &format!("{}-value", contract.raw()));
    let sender = TestRecordSender::new(&contract.servers, &contract.raw());
    for n in 0..RECORDS {
        let key = format!("N{:05}", n % 97);
        let mut value = event(id, &key, n, "note");
        zigzag(1_767_225_600_000 + n, &mut value);
        zigzag(-n, &mut value);
        sender.send(Some(key.as_bytes()), Some(&value));
    }
    sender.flush();
}

fn normaliser(contract: &TestContract, group: &str) -> PathBuf {
    let text = format!(
        "{}admin: {{listen: \"127.0.0.1:0\"}}\ngroup: {group}\ninstance: {group}\ncommit_ms: 100\n",
        contract.common()
    );
    contract.write(&format!("{group}.yaml"), &text)
}

/// Deletes every masked record, as retention would.
fn forget_masked(contract: &TestContract) {
    let config = ClientConfig::new().set("bootstrap.servers", &contract.servers.brokers).clone();
    let consumer: BaseConsumer = config.create().unwrap();
    let topic = contract.masked();
    let metadata = consumer.fetch_metadata(Some(&topic), WAIT).unwrap();
    let mut all = TopicPartitionList::new();
    for partition in metadata.topics()[0].partitions() {
        let (_, end) = consumer.fetch_watermarks(&topic, partition.id(), WAIT).unwrap();
        all.add_partition_offset(&topic, partition.id(), Offset::Offset(end)).unwrap();
    }
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(admin.delete_records(&all, &AdminOptions::new())).unwrap();
}

fn replay(contract: &TestContract, config: PathBuf, archive: bool, yes: bool) -> TestCommandOutput {
    let mut args: Vec<PathBuf> =
        ["replay", "--worker", "normaliser", "--output", "json", "-c"].map(Into::into).into();
    args.extend([config, "--topic".into(), contract.masked().into()]);
    if archive {
        args.extend(["--from-archive".into(), contract.file("archive")]);
    }
    if yes {
        args.push("--yes".into());
    }
    sluice(args)
}

#[test]
fn facts_of_records_that_left_the_topic_are_made_from_the_archive_and_once() {
    let contract = with_facts("rebuilt");
    let facts = format!("it.{}.facts.v1", contract.name);
    let expected = RECORDS as usize * ATTRIBUTES;
    feed(&contract);
    let mut workers = [
        TestWorkerProcess::start("masker", &contract.masker("masker")),
        TestWorkerProcess::start("normaliser", &normaliser(&contract, "rebuilt-live")),
        TestWorkerProcess::start("sink", &contract.sink("sink")),
    ];
    eventually("every fact", WAIT, || (count(&contract.servers, &facts) >= expected).then_some(()));
    eventually("everything archived", WAIT, || {
        let group = format!("{}-sink-archive", contract.name);
        let args = ["verify", "--conservation", "--output", "json", "--group", &group, "-c"];
        let report = sluice(args.map(PathBuf::from).into_iter().chain([contract.file("apply.yaml")])).json();
        let records = |line: &Value| line["records"].as_i64().unwrap_or(0);
        let archived: i64 = report["lines"].as_array().unwrap().iter().map(records).sum();
        (archived >= RECORDS).then_some(())
    });
    for worker in &mut workers {
        assert!(worker.end(Duration::from_secs(30)).success(), "{}", worker.log());
    }
    forget_masked(&contract);

    let again = || normaliser(&contract, "rebuilt-again");
    let without = replay(&contract, again(), false, true);
    assert_eq!((without.code, &without.json()["done"]["records"]), (0, &Value::from(0)), "{without:?}");
    let dry = replay(&contract, again(), true, false);
    assert_eq!((dry.code, &dry.json()["done"]["records"]), (0, &Value::from(RECORDS)), "{dry:?}");
    assert_eq!(count(&contract.servers, &facts), expected, "a dry run writes nothing");
    for records in [RECORDS, 0] {
        let done = replay(&contract, again(), true, true);
        assert_eq!((done.code, &done.json()["done"]["records"]), (0, &Value::from(records)), "{done:?}");
    }
    // Made twice, by the live group and by this one: each fact is there twice, the same to the last byte.
    let mut seen: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    for fact in committed(&contract.servers, &facts) {
        *seen.entry(fact.value.unwrap()).or_default() += 1;
    }
    assert_eq!(seen.len(), expected);
    assert_eq!(seen.into_values().collect::<BTreeSet<_>>(), BTreeSet::from([2]));
}
