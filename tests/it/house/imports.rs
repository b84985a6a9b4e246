//! The rooms that a room may import (the table in ARCHITECTURE.md), and the lints that hold unsafe code in
//! one place.

use std::process::Command;

use serde_json::Value;

use super::{assert_none, read, root};

/// The rooms of a worker. Each worker may import all of them, and no other worker.
const WORKER_ROOMS: &[&str] = &[
    "crates/core",
    "crates/config",
    "crates/failpoint",
    "crates/wire",
    "crates/contract",
    "crates/govern",
    "crates/kafka",
    "crates/runtime",
    "crates/lease",
    "crates/location",
    "crates/stores/*",
    "crates/warehouse",
];

/// Each room with the rooms that it may import. The first row that fits a room counts. `*` at the end stands
/// for every room below.
const IMPORT_TABLE: &[(&str, &[&str])] = &[
    ("crates/core", &[]),
    ("crates/config", &[]),
    ("crates/failpoint", &[]),
    ("crates/wire", &["crates/core"]),
    ("crates/contract", &["crates/core", "crates/wire"]),
    ("crates/govern", &["crates/core", "crates/wire", "crates/contract"]),
    ("crates/kafka", &["crates/core", "crates/config", "crates/failpoint"]),
    ("crates/location", &["crates/core", "crates/config"]),
    (
        "crates/runtime",
        &[
            "crates/core",
            "crates/config",
            "crates/failpoint",
            "crates/wire",
            "crates/contract",
            "crates/kafka",
        ],
    ),
    ("crates/lease", &["crates/core", "crates/config"]),
    (
        "crates/stores/*",
        &[
            "crates/core",
            "crates/config",
            "crates/failpoint",
            "crates/wire",
            "crates/contract",
            "crates/location",
        ],
    ),
    ("crates/warehouse", &["crates/core", "crates/contract", "crates/location"]),
    ("crates/stack", &[]),
    ("workers/sluice", &["crates/*", "workers/*"]),
    ("workers/*", WORKER_ROOMS),
    ("tests", &["*"]),
    ("tests/*", &["*"]),
];

/// Rooms that every room may import for its tests alone.
const TEST_ROOMS: &[&str] = &["crates/stack", "crates/warehouse", "tests"];

/// Heavy or unsafe dependencies, each with the rooms that may name it, and the rooms that may for their tests.
///
/// The package `tests` names all dependencies, so that features are resolved once for the whole workspace.
const KEPT_OUT: &[(&str, &[&str], &[&str])] = &[
    ("rdkafka", &["crates/kafka", "tests", "tests/*"], &["crates/stack", "crates/runtime"]),
    ("rdkafka-sys", &["crates/kafka", "tests", "tests/*"], &[]),
    ("datafusion", &["crates/stores/delta", "crates/warehouse", "tests"], &[]),
    ("deltalake", &["crates/stores/delta", "crates/warehouse", "tests"], &[]),
];

/// One line of a package's dependencies.
#[derive(Debug, Clone)]
struct DependencyEdge {
    /// Folder of the package, for example `crates/core`.
    from: String,
    /// Folder of a room of ours, or name of a foreign package.
    to: String,
    /// Whether `to` is a room of ours.
    ours: bool,
    /// Whether only tests and benchmarks use it.
    dev: bool,
}

/// Tells whether a room fits a pattern of the table.
fn fits(pattern: &str, room: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => room.starts_with(prefix),
        None => pattern == room,
    }
}

/// Tells whether a room fits one of the patterns.
fn fits_one(patterns: &[&str], room: &str) -> bool {
    patterns.iter().any(|pattern| fits(pattern, room))
}

/// Returns a finding for every edge that a table forbids.
fn forbidden(edges: &[DependencyEdge]) -> Vec<String> {
    let mut findings = Vec::new();
    for edge in edges {
        let DependencyEdge { from, to, ours, dev } = edge;

        // A foreign package is free unless it is in the list of those that few rooms may name.
        if !ours {
            let kept = KEPT_OUT.iter().find(|(package, ..)| package == to);
            if let Some((_, rooms, test_rooms)) = kept
                && !fits_one(rooms, from)
                && !(*dev && fits_one(test_rooms, from))
            {
                findings.push(format!("{from} names {to}: expected only in {}", rooms.join(", ")));
            }
            continue;
        }

        // A room of ours needs a row: a new room is placed before it imports anything.
        let Some((_, allowed)) = IMPORT_TABLE.iter().find(|(pattern, _)| fits(pattern, from)) else {
            findings.push(format!("{from} imports {to}, but the table has no row for {from}"));
            continue;
        };
        let is_allowed = fits_one(allowed, to) || *dev && fits_one(TEST_ROOMS, to);
        if !is_allowed {
            findings.push(format!("{from} imports {to}: expected only {}", allowed.join(", ")));
        }
    }
    findings
}

/// Returns all edges of the workspace, and the folders of its packages.
fn workspace() -> (Vec<DependencyEdge>, Vec<String>) {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline", "--manifest-path"])
        .arg(root().join("Cargo.toml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let top = format!("{}/", metadata["workspace_root"].as_str().unwrap());
    let below =
        |path: &str| path.strip_prefix(&top).map(|path| path.trim_end_matches("/Cargo.toml").to_owned());

    // A dependency of ours has the path of its folder. `kind` is null, `dev` or `build`.
    let mut edges = Vec::new();
    let mut rooms = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let from = below(package["manifest_path"].as_str().unwrap()).unwrap();
        for dependency in package["dependencies"].as_array().unwrap() {
            let ours = dependency["path"].as_str().and_then(below);
            let name = dependency["name"].as_str().unwrap().to_owned();
            edges.push(DependencyEdge {
                from: from.clone(),
                ours: ours.is_some(),
                to: ours.unwrap_or(name),
                dev: dependency["kind"] == "dev",
            });
        }
        rooms.push(from);
    }
    (edges, rooms)
}

/// Returns the findings about a package's lints: those of the workspace, and the room of unsafe code its own.
fn lint_findings(room: &str, manifest: &str) -> Vec<String> {
    let inherits = manifest.contains("[lints]\nworkspace = true\n");
    let own = manifest.contains("[lints.");
    if room == "crates/kafka" {
        let denies = manifest.contains("[lints.rust]\nunsafe_code = \"deny\"\n");
        return (!denies)
            .then(|| format!("{room}: expected lints of its own that deny unsafe_code"))
            .into_iter()
            .collect();
    }
    (!inherits || own)
        .then(|| format!("{room}: expected the workspace's lints and none of its own"))
        .into_iter()
        .collect()
}

#[test]
fn no_room_imports_a_room_that_the_table_forbids() {
    let (edges, _) = workspace();
    assert!(edges.iter().filter(|edge| edge.ours).count() > 50, "cargo metadata shows too few edges");
    assert_none(&forbidden(&edges));
}

#[test]
fn a_forbidden_edge_of_each_kind_is_found() {
    let edge = |from: &str, to: &str, dev| DependencyEdge {
        from: from.into(),
        to: to.into(),
        ours: to.contains('/') || to == "tests",
        dev,
    };
    for (from, to, dev) in [
        // Upwards, sideways, and into a store.
        ("crates/core", "crates/wire", false),
        ("crates/runtime", "workers/masker", false),
        ("crates/runtime", "crates/stores/archive", false),
        ("crates/stores/delta", "crates/kafka", false),
        ("crates/stores/delta", "crates/runtime", true),
        ("crates/stores/delta", "crates/stores/archive", false),
        ("workers/masker", "workers/normaliser", false),
        ("workers/masker", "workers/normaliser", true),
        ("workers/sink", "crates/stack", false),
        ("workers/sluice", "tests", false),
        // A room without a row.
        ("crates/attic", "crates/core", false),
        // Heavy and unsafe dependencies.
        ("crates/runtime", "rdkafka", false),
        ("workers/collector", "rdkafka", true),
        ("crates/stack", "rdkafka", false),
        ("workers/sink", "deltalake", false),
        ("crates/stores/archive", "datafusion", true),
    ] {
        assert_eq!(forbidden(&[edge(from, to, dev)]).len(), 1, "{from} → {to}");
    }
    for (from, to, dev) in [
        ("workers/sink", "crates/stack", true),
        ("crates/stores/bigquery", "crates/location", false),
        ("workers/sluice", "workers/masker", false),
        ("tests/fault", "workers/sluice", false),
        ("crates/stack", "rdkafka", true),
        ("crates/core", "thiserror", false),
    ] {
        assert_none(&forbidden(&[edge(from, to, dev)]));
    }
}

#[test]
fn the_table_of_the_architecture_is_this_table() {
    let page = read("ARCHITECTURE.md").unwrap();
    let short = |room: &str| room.rsplit('/').next().unwrap().to_owned();
    let rooms: Vec<String> = IMPORT_TABLE.iter().map(|(room, _)| short(room)).collect();

    // A row of crates: its first cell is the folder, its third the rooms and the foreign packages.
    let mut rows = 0;
    for (room, allowed) in IMPORT_TABLE.iter().filter(|(room, _)| room.starts_with("crates/")) {
        let row = page.lines().find(|line| line.starts_with(&format!("| `{room}` |")));
        let row = row.unwrap_or_else(|| panic!("ARCHITECTURE.md has no row for {room}"));
        let cell = row.split('|').nth(3).unwrap();
        let mut written: Vec<String> =
            cell.split(',').map(|word| word.trim().to_owned()).filter(|word| rooms.contains(word)).collect();
        let mut expected: Vec<String> = allowed.iter().map(|room| short(room)).collect();
        written.sort();
        expected.sort();
        assert_eq!(written, expected, "ARCHITECTURE.md, row of {room}");
        rows += 1;
    }
    assert_eq!(rows, 13);
}

#[test]
fn unsafe_code_is_in_one_place() {
    let (_, rooms) = workspace();
    let workspace = read("Cargo.toml").unwrap();
    assert!(workspace.contains("[workspace.lints.rust]\nunsafe_code = \"forbid\"\n"));
    let findings: Vec<_> = rooms
        .iter()
        .flat_map(|room| lint_findings(room, &read(&format!("{room}/Cargo.toml")).unwrap()))
        .collect();
    assert_none(&findings);

    // In its room unsafe code is allowed for one module and the modules below it.
    let allowing: Vec<String> = std::fs::read_dir(root().join("crates/kafka/src"))
        .unwrap()
        .map(|entry| format!("crates/kafka/src/{}", entry.unwrap().file_name().to_string_lossy()))
        .filter(|path| read(path).is_some_and(|text| text.contains("allow(unsafe_code)")))
        .collect();
    assert_eq!(allowing, ["crates/kafka/src/native.rs"]);
}

#[test]
fn lints_of_its_own_are_found() {
    let inherits = "[lints]\nworkspace = true\n";
    assert_none(&lint_findings("crates/core", inherits));
    for manifest in
        ["", "[lints.rust]\nunsafe_code = \"allow\"\n", "[lints]\nworkspace = true\n[lints.rust]\n"]
    {
        assert_eq!(lint_findings("crates/core", manifest).len(), 1, "{manifest}");
    }
    assert_eq!(lint_findings("crates/kafka", inherits).len(), 1);
}
