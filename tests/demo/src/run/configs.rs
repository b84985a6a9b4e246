//! Writes the workers' configuration files as a user would.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::layout::DemoFolders;

/// Topics of the demo's contracts.
pub(crate) const FLIGHTS: &str = "aviation.flight.v1";
pub(crate) const AIRCRAFT: &str = "aviation.aircraft.v1";
pub(crate) const MASKED_FLIGHTS: &str = "aviation.flight.masked.v1";
pub(crate) const MASKED_AIRCRAFT: &str = "aviation.aircraft.masked.v1";
pub(crate) const FACTS: &str = "aviation.flight.facts.v1";

/// Consumer groups; a store lane's group is `<group>-<store>`.
pub(crate) const MASKER: &str = "demo-masker";
pub(crate) const NORMALISER: &str = "demo-normaliser";
pub(crate) const ARCHIVE: &str = "demo-archive";
pub(crate) const DELTA: &str = "demo-delta";

/// Addresses that the configurations name.
pub(crate) struct DemoAddresses<'a> {
    pub(crate) brokers: &'a str,
    pub(crate) registry: &'a str,
    pub(crate) api: &'a str,
    pub(crate) schemas: &'a Path,
    pub(crate) database_url: &'a Path,
    pub(crate) token: &'a Path,
    pub(crate) key: &'a Path,
}

/// One process of the fleet: its name, its command line and the address of its admin pages.
pub(crate) struct DemoFleetMember {
    pub(crate) name: &'static str,
    /// `sluice run …`
    pub(crate) arguments: Vec<String>,
    pub(crate) admin: String,
}

/// The members in the order in which records pass them, each with its kind of worker.
const MEMBERS: [(&str, &str); 6] = [
    ("collector-1", "collector"),
    ("collector-2", "collector"),
    ("masker", "masker"),
    ("normaliser", "normaliser"),
    ("archive", "sink"),
    ("delta", "sink"),
];

/// Writes `apply.yaml`. It names no API.
pub(crate) fn write_apply(layout: &DemoFolders, places: &DemoAddresses<'_>) -> Result<PathBuf> {
    write(layout, "apply", &servers(places))
}

/// Writes every member's file and returns the members with their command lines.
pub(crate) fn write_members(
    layout: &DemoFolders,
    places: &DemoAddresses<'_>,
) -> Result<Vec<DemoFleetMember>> {
    let ports = free_ports(MEMBERS.len())?;
    let mut members = Vec::new();
    for ((name, kind), port) in MEMBERS.into_iter().zip(ports) {
        let admin = format!("127.0.0.1:{port}");
        let own = match name {
            "masker" => masker(places),
            "normaliser" => format!("group: {NORMALISER}\ninstance: normaliser\n"),
            "archive" => sink(ARCHIVE, "archive", &layout.archive()),
            "delta" => sink(DELTA, "delta", &layout.lake()),
            collector => collector_job(collector, places),
        };
        let text = format!("{}admin: {{listen: \"{admin}\"}}\n{own}", servers(places));
        let file = write(layout, name, &text)?;
        let mut arguments =
            vec!["run".to_owned(), kind.to_owned(), "-c".to_owned(), file.display().to_string()];
        if kind == "collector" {
            arguments.push("--once".to_owned());
        }
        members.push(DemoFleetMember { name, arguments, admin });
    }
    Ok(members)
}

fn servers(places: &DemoAddresses<'_>) -> String {
    format!(
        "kafka: {{brokers: \"{}\"}}\nregistry: {{url: \"{}\"}}\nschemas: {}\n",
        places.brokers,
        places.registry,
        quoted(places.schemas)
    )
}

fn masker(places: &DemoAddresses<'_>) -> String {
    format!(
        "group: {MASKER}\ninstance: masker\nkeys: {{pseudonym: {{1: {{file: {}}}}}}}\n",
        quoted(places.key)
    )
}

fn sink(group: &str, store: &str, path: &Path) -> String {
    format!(
        "group: {group}\ntopics: [{MASKED_FLIGHTS}, {MASKED_AIRCRAFT}, {FACTS}]\nflush_seconds: 5\nstores:\n  - {store}: {{path: {}}}\n",
        quoted(path)
    )
}

/// Returns a collector's part of its file. The demo's API refuses single requests, not the caller, so only
/// the refused request waits. Both collectors run the same job. The lease is some seconds, so that the ids of
/// a killed collector come back during the demo.
fn collector_job(instance: &str, places: &DemoAddresses<'_>) -> String {
    format!(
        "job: flights
group: demo-collector
instance: {instance}
database:
  url: {{file: {}}}
  table: tail_numbers
  id_column: tailnum
  claim: 500
  lease_seconds: 10
api:
  base_url: \"{}\"
  auth: {{bearer: {{file: {}}}}}
rate: {{retry_after: request}}
endpoints:
  - name: aircraft
    path: \"/v1/aircraft/{{id}}\"
    topic: {AIRCRAFT}
    on_status: {{\"404\": none}}
  - name: flights
    path: \"/v1/aircraft/{{id}}/flights\"
    pagination: {{kind: next_url, at: next}}
    record_path: data
    topic: {FLIGHTS}
",
        quoted(places.database_url),
        places.api,
        quoted(places.token)
    )
}

/// Returns a path as a YAML string.
fn quoted(path: &Path) -> String {
    serde_json::Value::from(path.display().to_string()).to_string()
}

fn write(layout: &DemoFolders, name: &str, text: &str) -> Result<PathBuf> {
    let file = layout.config().join(format!("{name}.yaml"));
    std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    Ok(file)
}

fn free_ports(count: usize) -> Result<Vec<u16>> {
    let held: Vec<_> = (0..count)
        .map(|_| std::net::TcpListener::bind("127.0.0.1:0"))
        .collect::<Result<_, _>>()
        .context("getting free ports")?;
    held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}
