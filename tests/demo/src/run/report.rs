//! The result of a run: `report.json` and the printed tables.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Value, json};

/// The whole report.
#[derive(Debug, Default, Serialize)]
pub(crate) struct DemoReport {
    /// Tells whether every check held.
    pub(crate) ok: bool,
    /// Seconds from the start of the servers until the last worker had written everything.
    pub(crate) seconds: f64,
    pub(crate) stages: Vec<DemoStage>,
    pub(crate) checks: Vec<DemoCheck>,
    /// Counts of the external API's requests and answers in this run.
    pub(crate) api: Value,
    /// Delay by manufacturer and age.
    pub(crate) answer: Value,
    /// Folders and addresses to look at.
    pub(crate) places: Value,
}

/// One stage on the way of a record.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct DemoStage {
    pub(crate) name: String,
    #[serde(rename = "in")]
    pub(crate) taken: i64,
    pub(crate) out: i64,
    pub(crate) dead_letters: i64,
    pub(crate) skipped: i64,
    pub(crate) seconds: f64,
    pub(crate) peak_rss_bytes: u64,
    /// Number of processes; more than one if the worker was killed and started again.
    pub(crate) starts: u32,
}

/// A check: expected and actual value.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct DemoCheck {
    pub(crate) name: String,
    pub(crate) expected: Value,
    pub(crate) actual: Value,
    pub(crate) ok: bool,
}

impl DemoCheck {
    /// Creates a check that both values are equal.
    pub(crate) fn equal(
        name: impl Into<String>,
        expected: impl Into<Value>,
        actual: impl Into<Value>,
    ) -> Self {
        let (expected, actual) = (expected.into(), actual.into());
        Self { name: name.into(), ok: expected == actual, expected, actual }
    }

    /// Creates a check that the actual value is not above the limit.
    pub(crate) fn at_most(name: impl Into<String>, most: u64, actual: u64) -> Self {
        Self { name: name.into(), ok: actual <= most, expected: json!(most), actual: json!(actual) }
    }
}

impl DemoReport {
    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("writing the report")?;
        std::fs::write(file, text + "\n").with_context(|| format!("writing {}", file.display()))
    }

    /// Returns the stages and the checks as text tables.
    pub(crate) fn tables(&self) -> String {
        let mut text = format!(
            "\n{:<12} {:>11} {:>11} {:>8} {:>8} {:>8} {:>9} {:>7}\n",
            "stage", "in", "out", "dead", "skipped", "seconds", "peak MiB", "starts"
        );
        for stage in &self.stages {
            text += &format!(
                "{:<12} {:>11} {:>11} {:>8} {:>8} {:>8.1} {:>9.0} {:>7}\n",
                stage.name,
                thousands(stage.taken),
                thousands(stage.out),
                stage.dead_letters,
                stage.skipped,
                stage.seconds,
                stage.peak_rss_bytes as f64 / f64::from(1 << 20),
                stage.starts
            );
        }
        let failed: Vec<&DemoCheck> = self.checks.iter().filter(|check| !check.ok).collect();
        text += &format!("\n{} of {} checks hold\n", self.checks.len() - failed.len(), self.checks.len());
        for check in &self.checks {
            let mark = if check.ok { "ok  " } else { "NOT " };
            text += &format!("  {mark} {}: {}\n", check.name, shown(check));
        }
        text
    }
}

fn shown(check: &DemoCheck) -> String {
    let short = |value: &Value| match value {
        Value::Number(number) => number.as_i64().map_or_else(|| number.to_string(), thousands),
        Value::Object(map) => format!("{} groups", map.len()),
        other => other.to_string(),
    };
    if check.ok {
        return short(&check.actual);
    }
    // Of two maps only the entries that differ are shown.
    if let (Value::Object(expected), Value::Object(actual)) = (&check.expected, &check.actual) {
        let keys: std::collections::BTreeSet<&String> = expected.keys().chain(actual.keys()).collect();
        let differing = keys.into_iter().filter(|key| expected.get(*key) != actual.get(*key)).take(5);
        let lines =
            differing.map(|key| format!("{key}: expected {:?}, is {:?}", expected.get(key), actual.get(key)));
        return lines.collect::<Vec<_>>().join("; ");
    }
    format!("expected {}, is {}", short(&check.expected), short(&check.actual))
}

/// Returns a number with separators, for example 1234567 as 1,234,567.
pub(crate) fn thousands(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 12, 123, 1234, -1_234_567].map(thousands), ["0", "12", "123", "1,234", "-1,234,567"]);
    }

    #[test]
    fn what_does_not_add_up_is_shown() {
        let mut report = DemoReport::default();
        report.checks.push(DemoCheck::equal("rows", 3, 3));
        report.checks.push(DemoCheck::equal("sums", json!({"UA": 1, "AA": 2}), json!({"UA": 1, "AA": 3})));
        let text = report.tables();
        assert!(text.contains("1 of 2 checks hold") && text.contains("NOT  sums: AA: expected"), "{text}");
    }
}
