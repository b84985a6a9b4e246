//! Every test that docs/promises.md names exists in the file of its row.

use super::{assert_none, read};

/// Names in the second cell of a row that are no functions of Rust. Their rows name the program that checks.
fn is_function(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// Returns the texts between backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// Returns the rows of the table of tests as pairs of cells: tests, and file.
fn rows(page: &str) -> Vec<(&str, &str)> {
    let table = page.split_once("## Tests that hold them").map_or("", |(_, table)| table);
    let is_row =
        |line: &&str| line.starts_with("| ") && line.as_bytes().get(2).is_some_and(u8::is_ascii_digit);
    table
        .lines()
        .filter(is_row)
        .map(|line| {
            let cells: Vec<&str> = line.split('|').collect();
            (cells.get(2).copied().unwrap_or_default(), cells.get(3).copied().unwrap_or_default())
        })
        .collect()
}

/// Returns a finding for each row without a file, and for each test that its file does not have.
fn missing(page: &str, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut findings = Vec::new();
    for (tests, place) in rows(page) {
        let Some(file) = quoted(place).next() else {
            findings.push(format!("a row names no file: {}", tests.trim()));
            continue;
        };
        let Some(text) = read(file) else {
            findings.push(format!("{file} does not exist"));
            continue;
        };
        for name in quoted(tests).filter(|word| is_function(word)) {
            if !text.contains(&format!("fn {name}(")) {
                findings.push(format!("{file} has no test `{name}`"));
            }
        }
    }
    findings
}

#[test]
fn every_test_that_a_promise_names_exists() {
    let page = read("docs/promises.md").unwrap();
    let rows = rows(&page);
    assert!(rows.len() > 60, "the table of tests has only {} rows", rows.len());
    let names = rows.iter().flat_map(|(tests, _)| quoted(tests)).filter(|word| is_function(word)).count();
    assert!(names > 120, "the table names only {names} tests");
    assert_none(&missing(&page, read));
}

#[test]
fn every_promise_has_a_test() {
    let page = read("docs/promises.md").unwrap();
    let (promises, table) = page.split_once("## Tests that hold them").unwrap();
    let first = |text: &str| -> Vec<String> {
        let cells = text.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
        let numbers = cells.flat_map(|cell| cell.split(", ")).filter(|word| word.parse::<u8>().is_ok());
        numbers.map(str::to_owned).collect()
    };
    let tested = first(table);
    let promised = first(promises);
    assert!(promised.len() >= 8, "{promised:?}");
    for promise in promised {
        assert!(tested.contains(&promise), "promise {promise} has no row in the table of tests");
    }
}

#[test]
fn a_test_that_does_not_exist_is_found() {
    let page = "# Promises\n| 1 | `not_a_row` | `elsewhere.rs` |\n## Tests that hold them\n\
        | # | test | where |\n|---|---|---|\n\
        | 1 | `here`, `gone`, 31 of them | `a.rs` |\n\
        | 2, 3 | make demo: counts, by `Python` | `no.py` |\n\
        | 4 | `here` | nowhere |\n";
    let files = |path: &str| (path == "a.rs").then(|| "fn here() {}\nfn gone_too() {}".to_owned());
    assert_eq!(
        missing(page, files),
        ["a.rs has no test `gone`", "no.py does not exist", "a row names no file: `here`"]
    );
}
