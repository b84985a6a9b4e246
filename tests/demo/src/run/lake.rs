//! Asks the warehouse as an analyst does, with `sluice sql`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Returns the query for the delay by manufacturer and age at departure. Manufacturers with fewer than
/// `least` flights are left out.
pub(crate) fn delay_by_manufacturer_and_age(least: i64) -> String {
    format!(
        "SELECT a.manufacturer, CASE WHEN 2013 - a.year < 5 THEN ' 0-4' WHEN 2013 - a.year < 10 THEN ' 5-9' \
         WHEN 2013 - a.year < 15 THEN '10-14' WHEN 2013 - a.year < 20 THEN '15-19' \
         WHEN a.year IS NULL THEN 'unknown' ELSE '20+' END AS years_old, \
         COUNT(*) AS flights, COUNT(DISTINCT f.tailnum) AS aircraft, \
         ROUND(AVG(f.dep_delay), 1) AS dep_delay, ROUND(AVG(f.arr_delay), 1) AS arr_delay \
         FROM aviation_flight_masked_v1 f JOIN aviation_aircraft_masked_v1 a ON f.tailnum = a.tailnum \
         GROUP BY 1, 2 HAVING COUNT(*) >= {least} ORDER BY 1, 2"
    )
}

/// The lake and the program that queries it.
pub(crate) struct DemoLake {
    pub(crate) sluice: PathBuf,
    pub(crate) dir: PathBuf,
}

impl DemoLake {
    /// Returns the rows as JSON objects.
    pub(crate) fn rows(&self, sql: &str) -> Result<Vec<Value>> {
        let text = self.ask(sql, "json")?;
        serde_json::from_str(&text)
            .with_context(|| format!("`sluice sql` did not answer with an array of JSON: {sql}"))
    }

    /// Returns the number in the first row.
    pub(crate) fn number(&self, sql: &str) -> Result<i64> {
        let rows = self.rows(sql)?;
        let first = rows.first().and_then(Value::as_object).and_then(|row| row.values().next());
        first.and_then(Value::as_i64).with_context(|| format!("no number came from: {sql}"))
    }

    /// Returns the answer as a text table.
    pub(crate) fn table(&self, sql: &str) -> Result<String> {
        self.ask(sql, "table")
    }

    fn ask(&self, sql: &str, output: &str) -> Result<String> {
        let answer = Command::new(&self.sluice)
            .args(["sql", "--output", output, "--lake"])
            .arg(&self.dir)
            .arg(sql)
            .stdin(Stdio::null())
            .output()
            .context("running `sluice sql`")?;
        if !answer.status.success() {
            bail!(
                "`sluice sql` failed ({}) on {sql}:\n{}",
                answer.status,
                String::from_utf8_lossy(&answer.stderr)
            );
        }
        String::from_utf8(answer.stdout).context("`sluice sql` answered with bytes that are no text")
    }
}

/// Returns the path of a topic's table, for display.
pub(crate) fn table_path(lake: &Path, topic: &str) -> String {
    lake.join(topic).display().to_string()
}
