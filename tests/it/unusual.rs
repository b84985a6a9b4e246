//! Folders that are legal and unlike the examples, from `tests/data/unusual`: `plan`, `apply`, and their records are
//! masked rows, by workers that had been started before. What is not legal is told with file, line and hint.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use sluice_tests::clients::{TestRecordSender, committed, schema_of};
use sluice_tests::command::{TestCommandOutput, sluice};
use sluice_tests::contract::TestContract;
use sluice_tests::worker::TestWorkerProcess;
use sluice_tests::{eventually, servers};
use sluice_wire::{DatumSchema, JsonConverter};

const WAIT: Duration = Duration::from_secs(120);
/// What every text that must not get through begins with.
const SECRET: &str = "secret-";

struct UnusualFolder {
    name: &'static str,
    raw: &'static str,
    masked: &'static str,
    /// As some editors write files: a byte order mark in front, lines that end in two characters.
    windows: bool,
    /// What the table is asked, and the answer.
    sql: &'static str,
    rows: &'static str,
}

const ODD: [UnusualFolder; 7] = [
    UnusualFolder {
        name: "tree",
        raw: "odd.tree.v1",
        masked: "odd.tree.masked.v1",
        windows: true,
        sql: "SELECT label, weight FROM odd_tree_masked_v1 ORDER BY weight",
        rows: r#"[{"label":null,"weight":0.25},{"label":"REDACTED","weight":1.5}]"#,
    },
    UnusualFolder {
        name: "mixed",
        raw: "odd.mixed.v1",
        masked: "odd.mixed.masked.v1",
        windows: false,
        sql: "SELECT colour, price, huge, born, owner.name AS who, owner.age AS age, array_length(grid) AS n, \
              \"unknownLogical\" AS land, flag, ratio FROM odd_mixed_masked_v1 WHERE colour = 'GREEN'",
        rows: r#"[{"colour":"GREEN","price":12.3456,"huge":"12345678901234567890.5000000000","born":"1980-01-01","who":"s***","age":null,"n":2,"land":"GB","flag":false,"ratio":0.5}]"#,
    },
    UnusualFolder {
        name: "keyed",
        raw: "odd.keyed.v1",
        masked: "odd.keyed.masked.v1",
        windows: true,
        sql: "SELECT note, total FROM odd_keyed_masked_v1 ORDER BY total",
        rows: r#"[{"note":"***","total":-5},{"note":"***","total":5}]"#,
    },
    UnusualFolder {
        name: "plainkey",
        raw: "odd.plainkey.v1",
        masked: "odd.plainkey.masked.v1",
        windows: false,
        sql: "SELECT \"on\" FROM odd_plainkey_masked_v1",
        rows: r#"[{"on":true}]"#,
    },
    UnusualFolder {
        name: "styles",
        raw: "odd.styles.v1",
        masked: "odd.styles.masked.v1",
        windows: true,
        sql: "SELECT amount, note FROM odd_styles_masked_v1 ORDER BY amount",
        rows: r#"[{"amount":-0.01,"note":null},{"amount":12.3,"note":null}]"#,
    },
    UnusualFolder {
        name: "names",
        raw: "odd.Names-1.v1",
        masked: "odd.Names_Masked-1.v1",
        windows: false,
        sql: "SELECT \"select\", \"from\", via, _private FROM odd_names_masked_1_v1",
        rows: r#"[{"select":7,"from":{"key":"REDACTED","value":"GB"},"via":["DE","GB"],"_private":{"why":""}}]"#,
    },
    UnusualFolder {
        name: "gone",
        raw: "odd.gone.v1",
        masked: "odd.gone.masked.v1",
        windows: false,
        sql: "SELECT friends FROM odd_gone_masked_v1",
        rows: r#"[{"friends":null}]"#,
    },
];

fn data(odd: &UnusualFolder, file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/unusual").join(odd.name).join(file)
}

fn write(odd: &UnusualFolder, contract: &TestContract) {
    let folder = contract.file(&format!("schemas/odd/{}", odd.name));
    std::fs::create_dir_all(&folder).unwrap();
    for file in ["value.avsc", "key.avsc", "contract.odcs.yaml"] {
        let Ok(mut text) = std::fs::read_to_string(data(odd, file)) else { continue };
        if odd.windows {
            text = format!("\u{feff}{}", text.replace('\n', "\r\n"));
        }
        std::fs::write(folder.join(file), text).unwrap();
    }
}

/// A datum of the newest schema of a subject, framed.
fn framed(subject: &str, json: &Value) -> Vec<u8> {
    let (id, schema) = schema_of(&servers(), subject);
    let mut out = [&[0][..], &id.to_be_bytes()].concat();
    let mut reader = JsonConverter::compile(&DatumSchema::parse(&schema).unwrap()).unwrap();
    reader.run(json.to_string().as_bytes(), &mut out).unwrap_or_else(|error| panic!("{subject}: {error}"));
    out
}

/// Sends the records; how many.
fn feed(odd: &UnusualFolder) -> usize {
    let sender = TestRecordSender::new(&servers(), odd.raw);
    let text = std::fs::read_to_string(data(odd, "records.json")).unwrap();
    for line in text.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let key = match (data(odd, "key.avsc").exists(), &record["key"]) {
            (false, Value::String(text)) => text.clone().into_bytes(),
            (_, key) => framed(&format!("{}-key", odd.raw), key),
        };
        let value = framed(&format!("{}-value", odd.raw), &record["value"]);
        sender.send(Some(&key), Some(&value));
    }
    sender.flush();
    text.lines().count()
}

fn run(command: &str, contract: &TestContract) -> TestCommandOutput {
    let apply = contract.file("apply.yaml");
    sluice([command.as_ref(), "-c".as_ref(), apply.as_os_str()])
}

fn ask(contract: &TestContract, sql: &str) -> TestCommandOutput {
    let (lake, schemas) = (contract.file("lake"), contract.file("schemas"));
    let [lake, schemas] = [lake, schemas].map(|path| path.to_str().unwrap().to_owned());
    sluice(["sql", "--output", "json", "--lake", &lake, "--schemas", &schemas, sql])
}

#[test]
fn folders_that_are_legal_and_unusual_become_masked_tables_by_plan_and_apply_alone() {
    let contract = TestContract::applied("odd-host", servers());
    let mut masker = TestWorkerProcess::start("masker", &contract.masker("masker"));
    let mut sink = TestWorkerProcess::start("sink", &contract.sink("sink"));
    for worker in [&masker, &sink] {
        eventually("a ready worker", WAIT, || (worker.page("/readyz").0 == 200).then_some(()));
    }
    ODD.iter().for_each(|odd| write(odd, &contract));
    let views = contract.file("schemas/odd/views");
    std::fs::create_dir_all(&views).unwrap();
    std::fs::write(
        views.join("heavy.sql"),
        "-- Of odd_light.\r\nSELECT weight FROM odd_light WHERE weight > 1",
    )
    .unwrap();
    std::fs::write(views.join("odd_light.sql"), "\u{feff}SELECT weight FROM odd_tree_masked_v1").unwrap();
    let plan = run("plan", &contract);
    assert_eq!(plan.code, 2, "{}{}", plan.out, plan.err);
    assert!(!plan.out.contains("refused"), "{}", plan.out);
    let applied = run("apply", &contract);
    assert_eq!(applied.code, 0, "{}{}", applied.out, applied.err);
    let again = run("plan", &contract);
    assert_eq!(again.code, 0, "{}{}", again.out, again.err);
    let counts: Vec<usize> = ODD.iter().map(feed).collect();
    for (odd, count) in ODD.iter().zip(counts) {
        let table = format!("SELECT count(*) AS n FROM \"{}\"", odd.masked);
        eventually(&format!("{count} rows of {}", odd.name), WAIT, || {
            let answer = ask(&contract, &table);
            (answer.code == 0 && answer.json()[0]["n"] == count).then_some(())
        });
        let answer = ask(&contract, odd.sql);
        assert_eq!(answer.code, 0, "{}: {}", odd.name, answer.err);
        let expected: Value = serde_json::from_str(odd.rows).unwrap();
        assert_eq!(answer.json(), expected, "{}", odd.name);
        let whole = ask(&contract, &format!("SELECT * FROM \"{}\"", odd.masked)).out;
        assert!(!whole.contains(SECRET), "{}: a masked text is in the table", odd.name);
        for record in committed(&servers(), odd.masked) {
            for bytes in [record.key, record.value].into_iter().flatten() {
                assert!(!bytes.windows(SECRET.len()).any(|part| part == SECRET.as_bytes()), "{}", odd.name);
            }
        }
        assert_eq!(committed(&servers(), &format!("{}.dead-letter", odd.raw)).len(), 0, "{}", odd.name);
    }
    // A view of a view.
    assert_eq!(ask(&contract, "SELECT * FROM heavy").out.trim(), r#"[{"weight":1.5}]"#);
    let verified = sluice([
        "verify",
        "-c",
        contract.file("apply.yaml").to_str().unwrap(),
        "--lake",
        contract.file("lake").to_str().unwrap(),
    ]);
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
    for worker in [&mut masker, &mut sink] {
        assert!(worker.end(Duration::from_secs(30)).success(), "{}", worker.log());
    }
}

#[test]
fn folders_that_are_not_legal_are_told_with_file_line_and_hint() {
    let contract = TestContract::written("odd-illegal", servers());
    let folder = contract.file("schemas/odd/tree");
    let edits: [(&str, &str, &str, &str); 12] = [
        ("value.avsc", "\"Node\"", "\"Nobody\"", "value.avsc:1"),
        ("value.avsc", "\"type\": \"double\"", "\"type\": \"doubel\"", "value.avsc:1"),
        ("value.avsc", "{\n  \"type\": \"record\"", "[{\n  \"type\": \"record\"", "value.avsc:"),
        ("value.avsc", "\"fields\": [\n", "\"fields\": [,\n", "value.avsc:3"),
        ("contract.odcs.yaml", "op: redact", "op: redcat", "contract.odcs.yaml:18: label"),
        ("contract.odcs.yaml", "status: active", "status: active\nstatus: draft", "contract.odcs.yaml:6"),
        ("contract.odcs.yaml", "domain: odd", "domain: [odd", "contract.odcs.yaml:"),
        ("contract.odcs.yaml", "unit: days", "unit: fortnights", "contract.odcs.yaml:7"),
        ("contract.odcs.yaml", "version: 1.0.0", "version: 1.0", "contract.odcs.yaml:4"),
        (
            "contract.odcs.yaml",
            "value: {op: drop}}]}\n      - {name: children",
            "value: {op: \"null\"}}]}\n      - {name: children",
            "contract.odcs.yaml:21: parent",
        ),
        ("contract.odcs.yaml", "value: id}", "value: label}", "contract.odcs.yaml:10"),
        ("contract.odcs.yaml", "name: weight", "name: wieght", "contract.odcs.yaml:19"),
    ];
    for (file, from, to, place) in edits {
        write(&ODD[0], &contract);
        for name in ["value.avsc", "contract.odcs.yaml"] {
            let text = std::fs::read_to_string(data(&ODD[0], name)).unwrap();
            let edited = if name == file {
                text.replacen(from, to, if from == "\"Node\"" { 9 } else { 1 })
            } else {
                text.clone()
            };
            assert!(name != file || edited != text, "`{from}` is not in {file}");
            std::fs::write(folder.join(name), edited).unwrap();
        }
        let plan = run("plan", &contract);
        assert_eq!(plan.code, 1, "{from} -> {to}: {}{}", plan.out, plan.err);
        let told = plan.err.lines().find(|line| line.contains(place));
        assert!(told.is_some(), "{from} -> {to}: no `{place}` in\n{}", plan.err);
        assert!(plan.err.contains("hint") || plan.err.contains('('), "{}", plan.err);
    }
    // Not dropped: data may hold themselves, columns may not.
    write(&ODD[0], &contract);
    let text = std::fs::read_to_string(data(&ODD[0], "contract.odcs.yaml")).unwrap();
    let kept: Vec<&str> = text.lines().filter(|line| !line.contains("name: parent")).collect();
    std::fs::write(folder.join("contract.odcs.yaml"), kept.join("\n")).unwrap();
    let plan = run("plan", &contract);
    assert_eq!(plan.code, 1, "{}{}", plan.out, plan.err);
    assert!(
        plan.out.contains("table of odd.tree.masked.v1: `parent`: a record that holds itself"),
        "{}",
        plan.out
    );
    // Files that are no contract's.
    write(&ODD[0], &contract);
    for name in ["address.avsc", "second.odcs.yaml"] {
        std::fs::write(folder.join(name), "{}").unwrap();
        let plan = run("plan", &contract);
        assert!(
            plan.code == 1 && plan.err.contains(name) && plan.err.contains("not a file of a contract"),
            "{}",
            plan.err
        );
        std::fs::remove_file(folder.join(name)).unwrap();
    }
    std::fs::write(folder.join("value.avsc"), r#"{"type": "array", "items": "string"}"#).unwrap();
    let plan = run("plan", &contract);
    assert!(plan.code == 1 && plan.err.contains("the value is not a record"), "{}", plan.err);
}
