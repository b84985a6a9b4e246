//! Each worker and each store has its documents and deployment files: chart template, compose service, page,
//! metrics and alert.

use std::process::Command;

use serde_json::Value;
use sluice_tests::binary;

use super::{assert_none, folders, read};

/// The binary's folder is no worker.
const BINARY: &str = "sluice";

/// The file of all metrics.
const METRICS: &str = "crates/runtime/src/metrics.rs";

/// The template of the chart's alerts.
const RULES: &str = "helm/sluicegate/templates/prometheusrule.yaml";

/// Metrics that an alert may name although no code registers them yet: the pages say from which version on they exist.
/// Nothing is added here; what is registered leaves the list.
const PENDING: [&str; 2] = ["sluice_held", "sluice_retention_seconds"];

/// Returns the names of metrics in a text, each once and in order: `sluice_` and small letters.
fn metrics(text: &str) -> Vec<String> {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let mut names: Vec<String> = text
        .split(|c| !word(c))
        .filter(|name| name.len() > "sluice_".len() && name.starts_with("sluice_"))
        .map(str::to_owned)
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Returns a section of a page: the text between its heading and the next one.
fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let start = page.split_once(&format!("\n## {heading}\n")).map_or("", |(_, rest)| rest);
    start.split("\n## ").next().unwrap_or_default()
}

/// Returns the findings about one service of the compose file.
fn service_findings(worker: &str, compose: &str) -> Vec<String> {
    let compose: Value = match serde_saphyr::from_str(compose) {
        Ok(compose) => compose,
        Err(error) => return vec![format!("docker-compose.yml: {error}")],
    };
    let service = &compose["services"][worker];
    if service.is_null() {
        return vec![format!("docker-compose.yml has no service {worker}")];
    }

    let mut findings = Vec::new();
    let file = format!("/config/{worker}.yaml");
    for (key, expected) in [
        ("build", Value::from(".")),
        ("profiles", Value::from(vec!["fleet"])),
        ("command", Value::from(vec!["run", worker, "-c", file.as_str()])),
    ] {
        if service[key] != expected {
            findings.push(format!("docker-compose.yml: service {worker}: {key}: expected {expected}"));
        }
    }
    for key in ["restart", "healthcheck", "depends_on"] {
        if service[key].is_null() {
            findings.push(format!("docker-compose.yml: service {worker}: {key} is missing"));
        }
    }
    findings
}

/// Returns the findings about a worker's files. `read` returns the text of a file.
fn worker_findings(worker: &str, read: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let mut findings = Vec::new();

    // Deployment: the chart's template, the compose service and its configuration.
    for path in [format!("helm/sluicegate/templates/{worker}.yaml"), format!("setup/compose/{worker}.yaml")] {
        if read(&path).is_none() {
            findings.push(format!("{worker}: {path} does not exist"));
        }
    }
    findings.extend(service_findings(worker, &read("docker-compose.yml").unwrap_or_default()));

    // The page names metrics that exist, and an alert watches one of them.
    let path = format!("docs/workers/{worker}.md");
    let Some(page) = read(&path) else {
        findings.push(format!("{worker}: {path} does not exist"));
        return findings;
    };
    let named = metrics(section(&page, "Metrics"));
    let known = read(METRICS).unwrap_or_default();
    let watched = metrics(&read(RULES).unwrap_or_default());
    for name in named.iter().filter(|name| !known.contains(&format!("\"{name}\""))) {
        findings.push(format!("{path}: the metric {name} is not in {METRICS}"));
    }
    if named.is_empty() {
        findings.push(format!("{path}: the section Metrics names no metric"));
    } else if !named.iter().any(|name| watched.contains(name)) {
        findings.push(format!("{path}: no alert in {RULES} uses a metric of this page"));
    }
    findings
}

/// Returns the findings about a store's files.
fn store_findings(store: &str, read: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let mut findings = Vec::new();
    let path = format!("docs/stores/{store}.md");
    if read(&path).is_none() {
        findings.push(format!("{store}: {path} does not exist"));
    }
    let link = format!("](../stores/{store}.md)");
    if !read("docs/workers/sink.md").is_some_and(|page| page.contains(&link)) {
        findings.push(format!("docs/workers/sink.md has no link to {path}"));
    }
    findings
}

/// Returns the names of the alerts in the chart's rules.
fn alerts(rules: &str) -> Vec<String> {
    rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).map(str::to_owned).collect()
}

/// Returns a finding for each alert without a page, or without a row in the list of pages.
fn alert_findings(read: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let mut findings = Vec::new();
    let list = read("docs/runbooks/README.md").unwrap_or_default();
    for alert in alerts(&read(RULES).unwrap_or_default()) {
        if read(&format!("docs/runbooks/{alert}.md")).is_none() {
            findings.push(format!("{alert}: docs/runbooks/{alert}.md does not exist"));
        }
        if !list.contains(&format!("[{alert}]({alert}.md)")) {
            findings.push(format!("{alert}: docs/runbooks/README.md does not list it"));
        }
    }
    findings
}

/// Returns a finding for each metric of the chart's rules that no code registers, but for the pending ones, and for
/// each pending one that is registered or in no rule.
fn alert_metric_findings(pending: &[&str], read: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let known = read(METRICS).unwrap_or_default();
    let registered = |name: &str| known.contains(&format!("\"{name}\""));
    let named = metrics(&read(RULES).unwrap_or_default());
    let mut findings = Vec::new();
    for name in named.iter().filter(|name| !registered(name) && !pending.contains(&name.as_str())) {
        findings.push(format!("{RULES}: the metric {name} is not in {METRICS}"));
    }
    for name in pending {
        if registered(name) {
            findings.push(format!(
                "{name} is registered: take it out of PENDING, and its page's note on versions"
            ));
        } else if !named.iter().any(|used| used == name) {
            findings.push(format!("{name} is in no alert: take it out of PENDING"));
        }
    }
    findings
}

/// Returns the workers' names: the folders of `workers` but the binary's.
fn workers() -> Vec<String> {
    let mut names = folders("workers");
    names.retain(|name| name != BINARY);
    names
}

#[test]
fn every_worker_has_chart_compose_page_metrics_and_alert() {
    let workers = workers();
    assert!(workers.len() >= 4, "{workers:?}");
    let findings: Vec<_> = workers.iter().flat_map(|worker| worker_findings(worker, &read)).collect();
    assert_none(&findings);
}

#[test]
fn every_store_has_a_page() {
    let stores = folders("crates/stores");
    assert!(stores.len() >= 2, "{stores:?}");
    let findings: Vec<_> = stores.iter().flat_map(|store| store_findings(store, &read)).collect();
    assert_none(&findings);
}

#[test]
fn every_alert_has_a_runbook() {
    let names = alerts(&read(RULES).unwrap());
    assert!(names.len() >= 7, "{names:?}");
    assert_none(&alert_findings(&read));
}

#[test]
fn every_metric_of_an_alert_is_registered() {
    assert!(metrics(&read(RULES).unwrap()).len() >= 10);
    assert_none(&alert_metric_findings(&PENDING, &read));

    // A metric without code, one that is no longer pending, and one that no alert names.
    assert_eq!(alert_metric_findings(&["sluice_held"], &read).len(), 1);
    let [held, retention] = PENDING;
    assert_eq!(alert_metric_findings(&[held, retention, "sluice_kafka_lag"], &read).len(), 1);
    assert_eq!(alert_metric_findings(&[held, retention, "sluice_gone"], &read).len(), 1);
}

#[test]
fn the_configurations_of_compose_fit_their_schemas() {
    for name in workers().iter().map(String::as_str).chain(["apply"]) {
        let output = Command::new(binary()).args(["config-schema", name]).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let schema: Value = serde_json::from_slice(&output.stdout).unwrap();

        let text = read(&format!("setup/compose/{name}.yaml"))
            .unwrap_or_else(|| panic!("setup/compose/{name}.yaml"));
        let file: Value = serde_saphyr::from_str(&text).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let mistakes: Vec<_> = validator
            .iter_errors(&file)
            .map(|mistake| format!("setup/compose/{name}.yaml: {}: {mistake}", mistake.instance_path()))
            .collect();
        assert_none(&mistakes);

        // The negative control: the schema is closed.
        let mut wrong = file;
        wrong["colour"] = Value::from("red");
        assert!(!validator.is_valid(&wrong), "{name}");
    }
}

#[test]
fn every_missing_file_of_a_worker_store_or_alert_is_found() {
    let compose = "services:\n  painter:\n    build: .\n    profiles: [fleet]\n    restart: always\n    \
        command: [run, painter, -c, /config/painter.yaml]\n    healthcheck: {}\n    depends_on: {}\n";
    let whole = [
        ("helm/sluicegate/templates/painter.yaml", ""),
        ("setup/compose/painter.yaml", ""),
        ("docker-compose.yml", compose),
        (
            "docs/workers/painter.md",
            "# Painter\n\n## Metrics\n\n`sluice_paint_total`\n\n## End\n`sluice_brush`",
        ),
        ("docs/workers/sink.md", "[oil](../stores/oil.md)"),
        ("docs/stores/oil.md", ""),
        ("docs/runbooks/README.md", "[SluiceDry](SluiceDry.md)"),
        ("docs/runbooks/SluiceDry.md", ""),
        (METRICS, "\"sluice_paint_total\""),
        (RULES, "- alert: SluiceDry\n  expr: sluice_paint_total{} > 0"),
    ];
    let findings = |files: &[(&str, &str)]| {
        let read =
            |path: &str| files.iter().find(|(name, _)| *name == path).map(|(_, text)| (*text).to_owned());
        [worker_findings("painter", &read), store_findings("oil", &read), alert_findings(&read)].concat()
    };
    assert_none(&findings(&whole));

    // Without any one of the files something is missing. Without rules there is no alert to look for.
    for (gone, _) in whole {
        let rest: Vec<_> = whole.into_iter().filter(|(name, _)| *name != gone).collect();
        assert!(!findings(&rest).is_empty(), "{gone}");
    }

    // A service that runs another worker or is in no profile, a metric that does not exist, an alert of others.
    for (path, from, to) in [
        ("docker-compose.yml", "run, painter", "run, other"),
        ("docker-compose.yml", "[fleet]", "[]"),
        ("docker-compose.yml", "healthcheck", "comment"),
        ("docs/workers/painter.md", "sluice_paint_total", "sluice_gone_total"),
        ("docs/workers/painter.md", "sluice_paint_total", "none"),
        (RULES, "sluice_paint_total", "sluice_other_total"),
        (RULES, "SluiceDry", "SluiceWet"),
    ] {
        let text = whole.iter().find(|(name, _)| *name == path).unwrap().1.replace(from, to);
        let wrong: Vec<_> = whole
            .into_iter()
            .map(|(name, old)| (name, if name == path { text.as_str() } else { old }))
            .collect();
        assert!(!findings(&wrong).is_empty(), "{path}: {from} → {to}");
    }
}
