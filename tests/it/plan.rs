//! `plan` and `apply` as an operator uses them: exit codes, one contract of several, drafts, a terminal.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use sluice_tests::clients::{TestRecordSender, count, event, schema_of};
use sluice_tests::command::{TestCommandOutput, sluice};
use sluice_tests::contract::TestContract;
use sluice_tests::worker::TestWorkerProcess;
use sluice_tests::{binary, eventually, servers};

const WAIT: Duration = Duration::from_secs(120);

fn run(contract: &TestContract, args: &[&str]) -> TestCommandOutput {
    let apply = contract.file("apply.yaml");
    sluice(args.iter().map(AsRef::as_ref).chain(["-c".as_ref(), apply.as_os_str()]))
}

/// Writes a second contract beside the first, with the first one's text.
fn second(contract: &TestContract, name: &str, status: &str) {
    let first = contract.file(&format!("schemas/it/{}", contract.name));
    let folder = contract.file(&format!("schemas/it/{name}"));
    std::fs::create_dir_all(&folder).unwrap();
    for file in ["value.avsc", "contract.odcs.yaml"] {
        let text = std::fs::read_to_string(first.join(file)).unwrap();
        let text = text.replace(&contract.name, name).replace("status: active", &format!("status: {status}"));
        std::fs::write(folder.join(file), text).unwrap();
    }
}

/// Runs `apply` on a terminal of its own with this answer.
fn on_terminal(contract: &TestContract, answer: &str) -> (i32, String) {
    let line = format!("{} apply -c {}", binary().display(), contract.file("apply.yaml").display());
    let mut child = Command::new("script")
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(format!("{answer}\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    drop(input);
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn plan_ends_with_two_for_changes_and_one_contract_can_be_applied_alone() {
    let contract = TestContract::written("plan-first", servers());
    second(&contract, "plan-second", "active");

    // Everything is new. The numbers of text and JSON are the same.
    let plan = run(&contract, &["plan"]);
    assert_eq!(plan.code, 2, "{}{}", plan.out, plan.err);
    assert!(!plan.out.contains('\u{1b}'), "no colours without a terminal: {}", plan.out);
    let json = run(&contract, &["plan", "--output", "json"]);
    assert_eq!(json.code, 2);
    let summary = &json.json()["summary"];
    assert_eq!((&summary["change"], &summary["refused"]), (&0.into(), &0.into()));
    assert_eq!(plan.out.lines().last().unwrap(), format!("{} to create", summary["create"]));

    // Only one of them is applied.
    let applied = run(&contract, &["apply", "--only", "plan-second"]);
    assert_eq!(applied.code, 0, "{}{}", applied.out, applied.err);
    assert!(!applied.out.contains("it.plan-first."), "{}", applied.out);
    assert_eq!(run(&contract, &["plan", "--only", "plan-second"]).code, 0);
    assert_eq!(run(&contract, &["plan", "--only", "plan-first"]).code, 2);

    // A wrong name, and a topic's name.
    for (name, hint) in
        [("plan-secnod", "did you mean `plan-second`?"), ("it.plan-first.v1", "did you mean `plan-first`?")]
    {
        let wrong = run(&contract, &["plan", "--only", name]);
        assert!(wrong.code == 64 && wrong.err.contains(hint), "{name}: {}", wrong.err);
    }

    // A refusal of one contract is 1, and does not stop the other one.
    let file = contract.file("schemas/it/plan-second/contract.odcs.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("value: 7, unit: d", "value: 1, unit: d")).unwrap();
    let refused = run(&contract, &["plan"]);
    assert_eq!(refused.code, 1, "{}", refused.out);
    assert!(refused.out.contains("from 604800000 (7 days) to 86400000 (1 day)"), "{}", refused.out);
    assert_eq!(run(&contract, &["apply"]).code, 1);
    assert_eq!(run(&contract, &["apply", "--only", "plan-first"]).code, 0);

    // What takes something away needs a second word where no terminal is.
    let unseen = run(&contract, &["apply", "--allow"]);
    assert!(unseen.code == 64 && unseen.err.contains("--yes"), "{}", unseen.err);
    assert_eq!(run(&contract, &["apply", "--allow", "--yes"]).code, 0);
    let nothing = run(&contract, &["plan"]);
    assert_eq!(nothing.code, 0, "{}", nothing.out);
}

#[test]
fn a_leak_of_a_contract_is_refused_whichever_contract_is_chosen_with_it() {
    let contract = TestContract::written("plan-leak", servers());
    second(&contract, "plan-tight", "active");
    let views = contract.file("schemas/it/views");
    std::fs::create_dir_all(&views).unwrap();
    std::fs::write(views.join("leaking.sql"), "SELECT note FROM it_plan_leak_v1").unwrap();
    let leaking = run(&contract, &["plan", "--only", "plan-leak"]);
    assert_eq!(leaking.code, 1, "{}", leaking.out);
    assert!(leaking.out.contains("no masking step on this way"), "{}", leaking.out);
    assert_eq!(run(&contract, &["plan", "--only", "plan-tight"]).code, 2);
    assert_eq!(run(&contract, &["plan"]).code, 1);
}

#[test]
fn on_a_terminal_apply_shows_the_plan_in_colour_and_takes_only_yes() {
    let contract = TestContract::written("plan-asked", servers());
    let (code, text) = on_terminal(&contract, "y");
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("create it (restricted") && text.contains("\u{1b}["), "{text}");
    assert!(text.contains("nothing was changed"), "{text}");
    assert_eq!(run(&contract, &["plan"]).code, 2, "nothing was changed");
    let (code, text) = on_terminal(&contract, "yes");
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("changes were made"), "{text}");
    assert_eq!(run(&contract, &["plan"]).code, 0);
}

#[test]
fn a_draft_is_neither_applied_nor_served_until_it_is_active() {
    let contract = TestContract::applied("plan-live", servers());
    second(&contract, "plan-draft", "draft");
    let plan = run(&contract, &["plan"]);
    assert_eq!(plan.code, 0, "{}", plan.out);
    assert!(plan.out.contains("contract plan-draft is a draft and is not applied"), "{}", plan.out);
    let applied = run(&contract, &["apply"]);
    assert!(applied.code == 0 && applied.out.contains("plan-draft is a draft"), "{}", applied.out);

    // The masker says that it does not serve the draft.
    let mut masker = TestWorkerProcess::start("masker", &contract.masker("masker"));
    let status = eventually("the contracts that the masker serves", WAIT, || {
        let status: serde_json::Value = serde_json::from_str(&masker.page("/status").1).ok()?;
        status["notes"]["contracts_draft"].is_array().then_some(status)
    });
    assert_eq!(status["notes"]["contracts"], serde_json::json!(["plan-live"]), "{status}");
    assert_eq!(status["notes"]["contracts_draft"], serde_json::json!(["plan-draft"]), "{status}");
    assert!(masker.log().contains("a contract is a draft"), "{}", masker.log());

    // Active and applied, it is served without a restart.
    second(&contract, "plan-draft", "active");
    assert_eq!(run(&contract, &["plan"]).code, 2);
    assert_eq!(run(&contract, &["apply"]).code, 0);
    let (id, _) = schema_of(&servers(), "it.plan-draft.v1-value");
    let sender = TestRecordSender::new(&servers(), "it.plan-draft.v1");
    sender.send(Some(b"N1"), Some(&event(id, "N1", 1, "note")));
    sender.flush();
    eventually("the former draft's record", WAIT, || {
        (count(&servers(), "it.plan-draft.masked.v1") == 1).then_some(())
    });
    assert!(masker.end(Duration::from_secs(30)).success(), "{}", masker.log());
}
