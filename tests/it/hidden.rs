//! Topics that nobody knew of when the fleet was started: a folder, `plan`, `apply`, and their masked rows are in the
//! warehouse. And contracts that are broken, which take nobody down.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use apache_avro::types::Value as Avro;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use sluice_tests::clients::{TestRecordSender, committed, count, event, schema_of};
use sluice_tests::contract::TestContract;
use sluice_tests::worker::TestWorkerProcess;
use sluice_tests::{binary, eventually, servers};

const WAIT: Duration = Duration::from_secs(120);
/// What every value that must not get through begins with.
const SECRET: &str = "secret-";
const RECORDS: usize = 60;

/// A contract with random fields, and data for it.
struct RandomContract {
    name: String,
    fields: Vec<RandomField>,
}

/// One field: its schema, its property, and how a value is made.
struct RandomField {
    name: String,
    schema: Value,
    property: Value,
    make: fn(&mut StdRng) -> Avro,
}

fn secret(random: &mut StdRng) -> String {
    format!("{SECRET}{:016x}", random.random::<u64>())
}

fn text(random: &mut StdRng) -> Avro {
    Avro::String(secret(random))
}

/// A policy in a contract's words; what hides is tagged.
fn policy(name: &str, logical: &str, required: bool, masking: Value) -> Value {
    let hides = masking["op"] != "keep" && masking["op"] != "generalise";
    let mut property = json!({
        "name": name, "logicalType": logical, "required": required, "classification": "internal",
        "customProperties": [{"property": "masking", "value": masking}],
    });
    if hides {
        property["tags"] = json!(["PII"]);
    }
    property
}

/// The same inside an array, a map or a branch: the tags are the field's.
fn inner(mut property: Value) -> Value {
    let object = property.as_object_mut().unwrap();
    object.remove("tags");
    if object["name"] == "" {
        object.remove("name");
    }
    property
}

fn hmac() -> Value {
    json!({"op": "hmac", "key": "pseudonym", "domain": "hidden"})
}

fn pick(random: &mut StdRng, ops: &[Value]) -> Value {
    ops[random.random_range(0..ops.len())].clone()
}

fn tagged(mut schema: Value) -> Value {
    schema["confluent:tags"] = json!(["PII"]);
    schema
}

/// Every kind of field that there is, each with some freedom.
fn field(kind: usize, name: String, random: &mut StdRng) -> RandomField {
    let hiding = [
        hmac(),
        json!({"op": "redact"}),
        json!({"op": "drop"}),
        json!({"op": "null"}),
        json!({"op": "partial", "keepFirst": 2, "length": 6}),
    ];
    let keep = || json!({"op": "keep"});
    let named = |schema: Value| json!({"name": name, "type": schema});
    let type_name = format!("T{name}");
    let (schema, property, make): (Value, Value, fn(&mut StdRng) -> Avro) = match kind {
        0 => (tagged(named(json!("string"))), policy(&name, "string", true, pick(random, &hiding)), text),
        1 => (
            tagged(named(json!(["null", "string"]))),
            policy(&name, "string", false, pick(random, &hiding)),
            |random| match random.random_bool(0.5) {
                true => Avro::Union(0, Box::new(Avro::Null)),
                false => Avro::Union(1, Box::new(text(random))),
            },
        ),
        2 => (
            named(json!({"type": "long", "logicalType": "timestamp-millis"})),
            policy(
                &name,
                "timestamp",
                true,
                pick(random, &[keep(), json!({"op": "generalise", "date": "1h"})]),
            ),
            |random| Avro::TimestampMillis(random.random_range(0..2_000_000_000_000)),
        ),
        3 => (
            named(json!({"type": "int", "logicalType": "date"})),
            policy(&name, "date", true, pick(random, &[keep(), json!({"op": "generalise", "date": "1mo"})])),
            |random| Avro::Date(random.random_range(0..20_000)),
        ),
        4 => (
            named(json!({"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2})),
            policy(&name, "number", true, keep()),
            |random| Avro::Decimal(random.random_range(0..9_999_i32).to_be_bytes().to_vec().into()),
        ),
        5 => (
            named(json!({"type": "record", "name": type_name, "fields": [
                tagged(json!({"name": "who", "type": "string"})),
                {"name": "many", "type": "int"},
                {"name": "deep", "type": {"type": "record", "name": format!("{type_name}Deep"), "fields": [
                    tagged(json!({"name": "mail", "type": ["null", "string"], "default": null}))]}},
            ]})),
            json!({"name": name, "logicalType": "object", "required": true, "properties": [
                policy("who", "string", true, pick(random, &hiding)), policy("many", "integer", true, keep()),
                {"name": "deep", "logicalType": "object", "required": true,
                 "properties": [policy("mail", "string", false, pick(random, &hiding[..2]))]},
            ]}),
            |random| {
                let deep = Avro::Record(vec![("mail".into(), Avro::Union(1, Box::new(text(random))))]);
                Avro::Record(vec![
                    ("who".into(), text(random)),
                    ("many".into(), Avro::Int(random.random())),
                    ("deep".into(), deep),
                ])
            },
        ),
        6 => (
            tagged(named(json!({"type": "array", "items": "string"}))),
            json!({"name": name, "logicalType": "array", "required": true, "tags": ["PII"],
                   "items": inner(policy("", "string", true, hmac()))}),
            |random| Avro::Array((0..random.random_range(0..4)).map(|_| text(random)).collect()),
        ),
        7 => (
            named(json!({"type": "array", "items": {"type": "record", "name": type_name, "fields": [
                tagged(json!({"name": "phone", "type": "string"})), {"name": "since", "type": "long"}]}})),
            json!({"name": name, "logicalType": "array", "required": true, "items": {"logicalType": "object",
                   "properties": [policy("phone", "string", true, pick(random, &hiding[..3])),
                                  policy("since", "integer", true, keep())]}}),
            |random| {
                let item = |random: &mut StdRng| {
                    Avro::Record(vec![
                        ("phone".into(), text(random)),
                        ("since".into(), Avro::Long(random.random())),
                    ])
                };
                Avro::Array((0..random.random_range(0..3)).map(|_| item(random)).collect())
            },
        ),
        8 => (
            tagged(named(json!(["null", "string", "long"]))),
            json!({"name": name, "logicalType": "object", "physicalType": "union", "required": false, "tags": ["PII"],
                   "properties": [inner(policy("string", "string", true, hmac())), policy("long", "integer", true, json!({"op": "generalise", "number": 1000}))]}),
            |random| match random.random_range(0..3) {
                0 => Avro::Union(0, Box::new(Avro::Null)),
                1 => Avro::Union(1, Box::new(text(random))),
                _ => Avro::Union(2, Box::new(Avro::Long(random.random()))),
            },
        ),
        9 => (
            tagged(named(json!({"type": "map", "values": "string"}))),
            json!({"name": name, "logicalType": "object", "physicalType": "map", "required": true, "tags": ["PII"],
                   "properties": [policy("key", "string", true, hmac()),
                                  inner(policy("value", "string", true, json!({"op": "redact"})))]}),
            |random| Avro::Map((0..3).map(|n| (format!("k{n}"), text(random))).collect()),
        ),
        10 => (
            named(json!({"type": "enum", "name": type_name, "symbols": ["RED", "GREEN"]})),
            policy(&name, "string", true, keep()),
            |random| match random.random_bool(0.5) {
                true => Avro::Enum(0, "RED".into()),
                false => Avro::Enum(1, "GREEN".into()),
            },
        ),
        _ => (
            named(json!("double")),
            policy(
                &name,
                "number",
                true,
                pick(random, &[keep(), json!({"op": "generalise", "number": 0.5})]),
            ),
            |random| Avro::Double(random.random()),
        ),
    };
    RandomField { name, schema, property, make }
}

impl RandomContract {
    fn new(name: &str, random: &mut StdRng) -> Self {
        let mut names = BTreeSet::new();
        while names.len() < 12 {
            let length = random.random_range(3..9);
            names.insert(
                (0..length).map(|_| char::from(random.random_range(b'a'..=b'z'))).collect::<String>(),
            );
        }
        // Every kind once, in some order.
        let mut kinds: Vec<usize> = (0..12).collect();
        for at in (1..kinds.len()).rev() {
            kinds.swap(at, random.random_range(0..=at));
        }
        let fields = kinds.into_iter().zip(names);
        Self { name: name.to_owned(), fields: fields.map(|(kind, name)| field(kind, name, random)).collect() }
    }

    fn raw(&self) -> String {
        format!("hidden.{}.v1", self.name)
    }

    fn masked(&self) -> String {
        format!("hidden.{}.masked.v1", self.name)
    }

    fn schema(&self) -> String {
        let id = tagged(json!({"name": "id", "type": "string"}));
        let fields: Vec<Value> =
            std::iter::once(id).chain(self.fields.iter().map(|f| f.schema.clone())).collect();
        json!({"type": "record", "name": "Hidden", "namespace": "hidden", "fields": fields}).to_string()
    }

    /// JSON is YAML.
    fn contract(&self) -> String {
        let id = policy("id", "string", true, hmac());
        let properties: Vec<Value> =
            std::iter::once(id).chain(self.fields.iter().map(|f| f.property.clone())).collect();
        json!({
            "apiVersion": "v3.1.0", "kind": "DataContract", "id": self.name, "version": "1.0.0", "status": "active",
            "domain": "hidden", "team": {"name": "hidden", "members": [{"username": "owner@example.org", "role": "Owner"}]},
            "slaProperties": [{"property": "retention", "value": 7, "unit": "d"}],
            "customProperties": [
                {"property": "maskedTopic", "value": self.masked()}, {"property": "recordKey", "value": "id"},
                {"property": "warehouse", "value": {"mode": "append"}}],
            "schema": [{"name": "hidden", "physicalName": self.raw(), "physicalType": "topic",
                        "logicalType": "object", "properties": properties}],
        })
        .to_string()
    }

    fn write(&self, schemas: &Path) {
        let folder = schemas.join("hidden").join(&self.name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("value.avsc"), self.schema()).unwrap();
        std::fs::write(folder.join("contract.odcs.yaml"), self.contract()).unwrap();
    }

    /// Sends records, encoded by the reference implementation.
    fn feed(&self, random: &mut StdRng) {
        let schema = apache_avro::Schema::parse_str(&self.schema()).unwrap();
        let writer = apache_avro::writer::datum::GenericDatumWriter::builder(&schema).build().unwrap();
        let (id, _) = schema_of(&servers(), &format!("{}-value", self.raw()));
        let sender = TestRecordSender::new(&servers(), &self.raw());
        for _ in 0..RECORDS {
            let key = secret(random);
            let mut fields = vec![("id".to_owned(), Avro::String(key.clone()))];
            fields.extend(self.fields.iter().map(|field| (field.name.clone(), (field.make)(random))));
            let datum = writer.write_value_to_vec(Avro::Record(fields)).unwrap();
            let value = [&[0][..], &id.to_be_bytes(), &datum].concat();
            sender.send(Some(key.as_bytes()), Some(&value));
        }
        sender.flush();
    }
}

fn sluice(arguments: &[&str], file: &Path) -> Output {
    Command::new(binary()).args(arguments).arg("-c").arg(file).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned()
}

/// Rows of a topic's table.
fn rows(lake: &Path, topic: &str) -> Vec<Value> {
    let sql = format!("SELECT * FROM \"{topic}\"");
    let output = Command::new(binary())
        .args(["sql", "--output", "json", "--lake"])
        .arg(lake)
        .arg(sql)
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

#[test]
fn hidden_topics_go_from_a_folder_to_a_masked_table_with_plan_and_apply_alone() {
    let seed: u64 = rand::rng().random();
    eprintln!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let contract = TestContract::applied("hidden-host", servers());
    let (schemas, lake, apply) =
        (contract.file("schemas"), contract.file("lake"), contract.file("apply.yaml"));
    let mut masker = TestWorkerProcess::start("masker", &contract.masker("masker"));
    let mut sink = TestWorkerProcess::start("sink", &contract.sink("sink"));
    for worker in [&masker, &sink] {
        eventually("a ready worker", WAIT, || (worker.page("/readyz").0 == 200).then_some(()));
    }
    for name in ["hidden-one", "hidden-two"] {
        let hidden = RandomContract::new(&format!("{name}-{}", seed % 1_000_000), &mut random);
        hidden.write(&schemas);
        let plan = sluice(&["plan"], &apply);
        assert_eq!(plan.status.code(), Some(2), "{}", said(&plan));
        assert!(said(&plan).contains(&hidden.masked()), "{}", said(&plan));
        let applied = sluice(&["apply"], &apply);
        assert!(applied.status.success(), "{}", said(&applied));
        hidden.feed(&mut random);
        let all = eventually("masked rows in the table", WAIT, || {
            Some(rows(&lake, &hidden.masked())).filter(|rows| rows.len() >= RECORDS)
        });
        assert_eq!(all.len(), RECORDS);
        let text = serde_json::to_string(&all).unwrap();
        assert!(!text.contains(SECRET), "a value of a masked leaf is in the table");
        let masked = committed(&servers(), &hidden.masked());
        let leaks = |bytes: &Option<Vec<u8>>| {
            bytes
                .as_ref()
                .is_some_and(|bytes| bytes.windows(SECRET.len()).any(|part| part == SECRET.as_bytes()))
        };
        assert!(!masked.iter().any(|record| leaks(&record.key) || leaks(&record.value)));
        let ids: BTreeSet<_> = all.iter().map(|row| row["id"].to_string()).collect();
        assert_eq!(ids.len(), RECORDS, "each record has its own pseudonym");
    }
    // What was served before is served still.
    let (id, _) = schema_of(&servers(), &format!("{}-value", contract.raw()));
    let sender = TestRecordSender::new(&servers(), &contract.raw());
    sender.send(Some(b"N1"), Some(&event(id, "N1", 1, "note")));
    sender.flush();
    eventually("the first contract's record", WAIT, || {
        (count(&servers(), &contract.masked()) == 1).then_some(())
    });
    let verified = sluice(&["verify", "--lake", lake.to_str().unwrap()], &apply);
    assert_eq!(verified.status.code(), Some(0), "{}", said(&verified));
    for worker in [&mut masker, &mut sink] {
        assert!(worker.end(Duration::from_secs(30)).success(), "{}", worker.log());
    }
}

#[test]
fn a_broken_contract_takes_nobody_down_and_is_said() {
    let contract = TestContract::applied("breaks", servers());
    let mut masker = TestWorkerProcess::start("masker", &contract.masker("masker"));
    eventually("a ready masker", WAIT, || (masker.page("/readyz").0 == 200).then_some(()));
    let mut random = StdRng::seed_from_u64(7);
    let sound = RandomContract::new("sound", &mut random);
    let broken = contract.file("schemas/hidden/broken");
    std::fs::create_dir_all(&broken).unwrap();
    let text = sound.contract().replace("sound", "broken");
    // A leaf loses its policy.
    std::fs::write(broken.join("contract.odcs.yaml"), text.replacen("\"masking\"", "\"mask\"", 1)).unwrap();
    std::fs::write(broken.join("value.avsc"), sound.schema()).unwrap();
    // Its own contract, too, is spoiled under the running worker.
    let own = contract.file(&format!("schemas/it/{}/contract.odcs.yaml", contract.name));
    let good = std::fs::read_to_string(&own).unwrap();
    std::fs::write(&own, good.replace("op: drop", "op: keep")).unwrap();
    eventually("both are refused in words", WAIT, || {
        let page = masker.page("/status").1;
        (page.contains("hidden/broken/contract.odcs.yaml") && page.contains("tagged PII and kept"))
            .then_some(())
    });
    assert_eq!(masker.page("/readyz").0, 200);
    let (id, _) = schema_of(&servers(), &format!("{}-value", contract.raw()));
    let sender = TestRecordSender::new(&servers(), &contract.raw());
    sender.send(Some(b"N1"), Some(&event(id, "N1", 1, "a note about somebody")));
    sender.flush();
    eventually("the record, masked as before", WAIT, || {
        (count(&servers(), &contract.masked()) == 1).then_some(())
    });
    let masked = committed(&servers(), &contract.masked());
    assert!(!masked[0].value.as_ref().unwrap().windows(6).any(|part| part == b"a note"));
    // Mended, and the sound one beside it is served once it is applied.
    std::fs::write(&own, good).unwrap();
    std::fs::remove_dir_all(&broken).unwrap();
    sound.write(&contract.file("schemas"));
    eventually("a word that it waits for apply", WAIT, || {
        masker.log().contains("a contract waits for `sluice apply`").then_some(())
    });
    assert!(sluice(&["apply"], &contract.file("apply.yaml")).status.success());
    sound.feed(&mut random);
    eventually("every record of the sound one", WAIT, || {
        (count(&servers(), &sound.masked()) >= RECORDS).then_some(())
    });
    assert!(masker.end(Duration::from_secs(30)).success(), "{}", masker.log());
}

#[test]
fn verify_names_what_differs_and_what_leaks() {
    let contract = TestContract::applied("verified", servers());
    let apply = contract.file("apply.yaml");
    let (raw_id, _) = schema_of(&servers(), &format!("{}-value", contract.raw()));
    let (masked_id, _) = schema_of(&servers(), &format!("{}-value", contract.masked()));
    let raw = TestRecordSender::new(&servers(), &contract.raw());
    raw.send(Some(b"Ada Lovelace"), Some(&event(raw_id, "Ada Lovelace", 1, "a note about somebody")));
    raw.flush();
    let sound = sluice(&["verify"], &apply);
    assert_eq!(sound.status.code(), Some(0), "{}", said(&sound));
    assert!(said(&sound).contains("the world is as the contracts have it"));
    // A record that no masker made: the id in plain text (masked datum: id, n), the note in a header's place, its key.
    let masked = TestRecordSender::new(&servers(), &contract.masked());
    let mut value = vec![0];
    value.extend(masked_id.to_be_bytes());
    value.push(24);
    value.extend(b"Ada Lovelace");
    value.push(2);
    masked.send(Some(b"2:AAAAAAAAAAAAAAAAAAAAAA"), Some(&value));
    masked.flush();
    let leaking = sluice(&["verify", "--leaks"], &apply);
    assert_eq!(leaking.status.code(), Some(1), "{}", said(&leaking));
    let text = said(&leaking);
    let masked_place = format!("topic {} partition", contract.masked());
    assert!(
        text.contains(&masked_place) && text.contains("its value holds a value of the masked leaf"),
        "{text}"
    );
    assert!(text.contains("the leaf id is not a result of its masking: expected a pseudonym"), "{text}");
    assert!(!text.contains("Ada"), "no value is shown: {text}");
    assert!(!text.contains("drift:"), "{text}");
    // A contract that asks for more than there is.
    let file = contract.file(&format!("schemas/it/{}/contract.odcs.yaml", contract.name));
    let changed = std::fs::read_to_string(&file).unwrap().replace("value: 7, unit: d", "value: 9, unit: d");
    std::fs::write(&file, changed).unwrap();
    let drifting = sluice(&["verify", "--drift", "--output", "json"], &apply);
    assert_eq!(drifting.status.code(), Some(1));
    let differences: Value = serde_json::from_slice(&drifting.stdout).unwrap();
    let all = differences.as_array().unwrap();
    assert!(all.len() >= 4 && all.iter().all(|one| one["check"] == "drift"), "{differences}");
    assert!(
        all.iter().any(|one| one["what"] == "retention.ms is 604800000, expected 777600000"),
        "{differences}"
    );
}
