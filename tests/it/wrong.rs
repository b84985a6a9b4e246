//! Wrong usages: for each the exit code, one line that names the place and the action, no phrase twice, no panic, and
//! the same as JSON.

mod addresses;
mod contracts;
mod files;
mod pipes;
mod settings;
mod stand_in;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;

use serde_json::Value;
use sluice_tests::command::{TestCommandOutput, sluice_within_patience as sluice};
use sluice_tests::contract::TestContract;
use sluice_tests::servers;

/// One wrong usage.
struct WrongUsage {
    name: String,
    args: Vec<String>,
    code: i32,
    /// The message names this place.
    place: String,
    /// The message names this action.
    action: String,
}

/// Returns a wrong usage. `args` is split at blanks; a file of the contract's folder is written `@name`.
fn wrong(files: &Path, name: &str, args: &str, code: i32, place: &str, action: &str) -> WrongUsage {
    let expand = |arg: &str| match arg.split_once('@') {
        Some((before, file)) => format!("{before}{}", files.join(file).display()),
        None => arg.to_owned(),
    };
    WrongUsage {
        name: name.to_owned(),
        args: args.split(' ').map(expand).collect(),
        code,
        place: place.to_owned(),
        action: action.to_owned(),
    }
}

/// Runs all usages, several at a time because most of them wait, and returns the mistakes in their messages.
fn mistakes(usages: Vec<WrongUsage>) -> Vec<String> {
    let (queue, found) = (Mutex::new(usages), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap().pop();
                    let Some(usage) = next else { break };
                    // The lock is taken after the commands have run.
                    let more = mistakes_of(&usage);
                    found.lock().unwrap().extend(more);
                }
            });
        }
    });
    found.into_inner().unwrap()
}

/// Returns the mistakes in the messages of one usage, as text and as JSON.
fn mistakes_of(usage: &WrongUsage) -> Vec<String> {
    let text = sluice(&usage.args);
    let json = sluice(usage.args.iter().map(String::as_str).chain(["--output", "json"]));
    let mut found = vec![];
    let mut expect = |holds: bool, what: String, output: &TestCommandOutput| {
        if !holds {
            let (name, args) = (&usage.name, usage.args.join(" "));
            found.push(format!(
                "{name}: {what}\n  sluice {args}\n  {}: {}{}",
                output.code, output.out, output.err
            ));
        }
    };

    // The text: one line with place and action.
    expect(text.code == usage.code, format!("expected exit code {}", usage.code), &text);
    let line = line_of(&text.err, usage);
    expect(line.is_some(), format!("no line has `{}` and `{}`", usage.place, usage.action), &text);
    let by_clap = text.err.contains("Usage: ");
    if let Some(twice) = line.filter(|_| !by_clap).and_then(|line| repeated(&line)) {
        expect(false, format!("`{twice}` occurs twice"), &text);
    }
    expect(!text.err.contains("panicked"), "a panic".to_owned(), &text);

    // The same as JSON, on standard output.
    expect(json.code == usage.code, format!("expected exit code {} with JSON", usage.code), &json);
    let report: Value =
        json.out.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
    let errors = report["errors"].as_array().cloned().unwrap_or_default();
    let has = |error: &Value| {
        let part = |key: &str| match &error[key] {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => String::new(),
        };
        let [file, line, path, message, hint] = ["file", "line", "path", "message", "hint"].map(part);
        let whole = format!("{file}:{line}: {path}: {message} ({hint})");
        whole.contains(&usage.place) && whole.contains(&usage.action)
    };
    expect(report["exit_code"] == usage.code, "JSON has another exit code".to_owned(), &json);
    expect(errors.iter().any(has), "no error of the JSON has place and action".to_owned(), &json);
    let logs = usage.args.first().is_some_and(|command| command == "run");
    expect(logs || json.err.is_empty(), "expected nothing beside the JSON".to_owned(), &json);
    found
}

/// Returns the line with place and action. A mistake in the arguments or in a statement has them in several lines.
fn line_of(text: &str, usage: &WrongUsage) -> Option<String> {
    let whole = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let usage_follows = ["For more information, try", "Usage: ", " | ", "SQL statements"]
        .iter()
        .any(|words| text.contains(words));
    let lines = if usage_follows { vec![whole.as_str()] } else { text.lines().collect() };
    lines
        .into_iter()
        .find(|line| line.contains(&usage.place) && line.contains(&usage.action))
        .map(str::to_owned)
}

/// Returns a phrase of four words that occurs twice in a line.
fn repeated(line: &str) -> Option<String> {
    let words: Vec<&str> = line.split(|c: char| c.is_whitespace() || "()".contains(c)).collect();
    let mut seen = BTreeSet::new();
    words
        .windows(4)
        .map(|words| words.join(" "))
        .filter(|phrase| phrase.len() >= 15)
        .find(|phrase| !seen.insert(phrase.clone()))
}

/// Fails with all mistakes at once.
fn assert_none(found: &[String]) {
    assert!(found.is_empty(), "{} mistakes:\n\n{}", found.len(), found.join("\n\n"));
}

/// Returns a contract's folder on the servers of this test binary, with the files that the usages name.
fn folder(name: &str) -> TestContract {
    let contract = TestContract::written(name, servers());
    contract.masker("masker");
    contract.sink("sink");
    contract.write("text", "not a folder\n");
    contract.write("database", "postgres://user:hunter2@127.0.0.1:9/ids");
    contract.write("job.yaml", &job(&contract, "http://127.0.0.1:9"));
    contract
}

/// Returns a collector's job that asks the API at `api`.
fn job(contract: &TestContract, api: &str) -> String {
    format!(
        "{}job: wrong\ngroup: collector\ndatabase: {{url: {{file: {}}}, table: ids, id_column: id}}\n\
         api: {{base_url: \"{api}\"}}\nretry: {{attempts: 1}}\n\
         endpoints: [{{name: e, path: \"/v1/{{id}}\", topic: {}}}]\n",
        contract.common(),
        contract.file("database").display(),
        contract.raw()
    )
}

/// Writes `name`, which is the file `of` with a change. Fails if the file does not have the text that is changed.
fn changed(contract: &TestContract, name: &str, of: &str, from: &str, to: &str) {
    let text = std::fs::read_to_string(contract.file(of)).unwrap();
    assert!(text.contains(from), "{of} has no `{from}`:\n{text}");
    contract.write(name, &text.replacen(from, to, 1));
}

#[test]
fn the_table_of_wrong_usages_is_long_enough() {
    let contract = folder("count");
    let all = [
        files::command_line(&contract),
        files::files(&contract),
        settings::settings(&contract),
        settings::sections(&contract),
        contracts::contracts(&contract),
        contracts::queries(&contract),
        addresses::kafka(&contract),
        addresses::registry(&contract),
        addresses::others(&contract),
    ];
    let count: usize = all.iter().map(Vec::len).sum();
    assert!(count >= 80, "{count}");
}
