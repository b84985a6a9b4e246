//! `sluice wire`: what a person with a poison record in hand sees.

use std::io::Write as _;
use std::process::{Command, Stdio};

use sluice_tests::binary;
use sluice_tests::contract::SCHEMA;

fn wire(arguments: &[&str], input: &str) -> (Option<i32>, Vec<serde_json::Value>) {
    let mut child = Command::new(binary())
        .arg("wire")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    (output.status.code(), lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

#[test]
fn check_answers_every_line_and_exits_1_if_one_is_broken() {
    // {"id": "a", "n": 1, "note": "b"}, and the same cut short.
    let good = format!("{{\"schema\": {SCHEMA}, \"datum\": \"AmECAmI=\"}}\n").replace('\n', " ") + "\n";
    let torn = good.replace("AmECAmI=", "AmECAg==");
    assert_eq!(wire(&["check"], &good), (Some(0), vec![serde_json::json!({"valid": true})]));
    let (code, answers) = wire(&["check"], &(good + &torn));
    assert_eq!(
        (code, answers.len(), &answers[1]["valid"], &answers[1]["path"]),
        (Some(1), 2, &false.into(), &"note".into())
    );
    assert!(answers[1]["position"].is_u64() && answers[1]["expected"].is_string());
}

#[test]
fn patch_masks_with_keys_from_files_and_explain_shows_the_program() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).unwrap();
        dir.path().join(name).display().to_string()
    };
    let key = format!("pseudonym:1={}", at("key", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"));
    let policy = at(
        "policy.json",
        r#"{"id": {"op": "hmac", "key": "pseudonym", "domain": "it"}, "n": {"op": "keep"}, "note": {"op": "drop"}}"#,
    );
    let schema = at("value.avsc", SCHEMA);
    let line = format!("{{\"schema\": {SCHEMA}, \"datum\": \"AmECAmI=\"}}").replace('\n', " ");
    let (code, answers) = wire(&["patch", "--policy", &policy, "--key", &key], &line);
    assert_eq!((code, &answers[0]["valid"]), (Some(0), &true.into()));
    let fields: Vec<_> = answers[0]["schema"]["fields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|field| field["name"].as_str().unwrap())
        .collect();
    assert_eq!(fields, ["id", "n"]);
    let output =
        Command::new(binary()).args(["wire", "explain", &schema, &policy, "--key", &key]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for leaf in ["id", "n", "note", "hmac", "drop", "keep"] {
        assert!(text.contains(leaf), "`{leaf}` is not in:\n{text}");
    }
}
