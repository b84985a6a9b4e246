//! Other people's code reads what we write: Kafka's own console consumer, fastavro, and Python's HMAC.

use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sluice_stack::StackInstallation;
use sluice_tests::clients::{self, TestRecordSender, committed, count, event};
use sluice_tests::contract::TestContract;
use sluice_tests::worker::TestWorkerProcess;
use sluice_tests::{eventually, servers};

const DECODE: &str = r#"
import base64, hashlib, hmac, io, json, sys
import fastavro
job = json.load(sys.stdin)
schema = fastavro.parse_schema(json.loads(job["schema"]))
key = base64.b64decode(job["key"])
def pseudonym(text):
    digest = hmac.new(key, b"it\x00" + text.encode(), hashlib.sha256).digest()
    return "1:" + base64.urlsafe_b64encode(digest[:16]).decode().rstrip("=")
masked = {pseudonym(text): text for text in job["ids"]}
out = []
for value in job["values"]:
    stream = io.BytesIO(base64.b64decode(value))
    record = fastavro.schemaless_reader(stream, schema)
    assert stream.read() == b"", "bytes after the record"
    assert sorted(record) == ["id", "n"], record
    out.append([masked[record["id"]], record["n"]])
json.dump(sorted(out), sys.stdout)
"#;

#[test]
fn kafkas_own_consumer_and_fastavro_read_the_masked_topic() {
    let contract = TestContract::applied("foreign", servers());
    let (id, _) = clients::schema_of(&contract.servers, &format!("{}-value", contract.raw()));
    let sender = TestRecordSender::new(&contract.servers, &contract.raw());
    let ids: Vec<_> = (0..50).map(|n| format!("person-{n}")).collect();
    for (n, person) in ids.iter().enumerate() {
        sender.send(Some(person.as_bytes()), Some(&event(id, person, n as i64, "note")));
    }
    sender.flush();
    let mut masker = TestWorkerProcess::start("masker", &contract.masker("masker"));
    eventually("every record masked", Duration::from_secs(60), || {
        (count(&contract.servers, &contract.masked()) >= 50).then_some(())
    });
    assert!(masker.end(Duration::from_secs(20)).success());

    let installation = StackInstallation::here();
    let java = Command::new("java")
        .args(["-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", &installation.kafka_class_path().unwrap()])
        .args([
            "org.apache.kafka.tools.consumer.ConsoleConsumer",
            "--bootstrap-server",
            &contract.servers.brokers,
        ])
        .args([
            "--topic",
            &contract.masked(),
            "--from-beginning",
            "--max-messages",
            "50",
            "--timeout-ms",
            "30000",
        ])
        .args([
            "--isolation-level",
            "read_committed",
            "--property",
            "print.key=true",
            "--property",
            "print.value=false",
        ])
        .output()
        .unwrap();
    let keys = String::from_utf8_lossy(&java.stdout).lines().filter(|line| line.starts_with("1:")).count();
    assert_eq!(
        keys,
        50,
        "{}\n{}",
        String::from_utf8_lossy(&java.stdout),
        String::from_utf8_lossy(&java.stderr)
    );

    let (masked_id, schema) = clients::schema_of(&contract.servers, &format!("{}-value", contract.masked()));
    let values: Vec<_> = committed(&contract.servers, &contract.masked())
        .into_iter()
        .map(|record| {
            let value = record.value.unwrap();
            assert_eq!(value[..5], [&[0], &masked_id.to_be_bytes()[..]].concat());
            STANDARD.encode(&value[5..])
        })
        .collect();
    let key = std::fs::read_to_string(contract.file("key")).unwrap();
    let job = serde_json::json!({"schema": schema, "ids": ids, "values": values, "key": key.trim()});
    let mut python = Command::new(installation.python().unwrap())
        .args(["-c", DECODE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut python.stdin.take().unwrap(), job.to_string().as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    let mut decoded: Vec<(String, i64)> = serde_json::from_slice(&output.stdout).unwrap();
    decoded.sort_by_key(|(_, n)| *n);
    let expected: Vec<_> = ids.iter().cloned().zip(0i64..).collect();
    assert_eq!(decoded, expected);
}
