//! Tests of the house itself: imports between rooms, tests that the promises name, and the documents and
//! deployment files of each worker and store. They read files and start no server.
//!
//! Every check is a pure function that returns its findings, and is tested with a mistake of each kind.

mod fleet;
mod imports;
mod promises;

use std::path::PathBuf;

/// Returns the repository's root.
fn root() -> PathBuf {
    let tests = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the package of the tests is a folder below the root").to_owned()
}

/// Returns the text of a file, or `None` if it does not exist. `path` is relative to the repository's root.
fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(root().join(path)).ok()
}

/// Returns the names of the folders in a folder, in order. `path` is relative to the repository's root.
fn folders(path: &str) -> Vec<String> {
    let entries = std::fs::read_dir(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Fails with all findings, one on each line.
fn assert_none(findings: &[String]) {
    assert!(findings.is_empty(), "\n  {}\n", findings.join("\n  "));
}
