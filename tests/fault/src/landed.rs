//! What landed in the stores, read with other people's readers, against what the topic holds.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use apache_avro::types::Value;
use sluice_core::names::lineage;

use crate::oracle::OracleFindings;

/// Set on positions that the topic holds.
const EXPECTED: u8 = 0x80;

/// Positions of a topic, and how often each was found in the archive.
#[derive(Debug, Default)]
pub struct ArchivePositionCounts {
    partitions: BTreeMap<i32, Vec<u8>>,
    findings: OracleFindings,
    count: u64,
}

impl ArchivePositionCounts {
    /// The topic holds a record there.
    pub fn expect(&mut self, at: (i32, i64)) {
        *self.slot(at) |= EXPECTED;
        self.count += 1;
    }

    /// The archive holds a record that says it comes from there.
    pub fn found(&mut self, at: (i32, i64), file: &Path) {
        let slot = self.slot(at);
        *slot += u8::from(*slot & !EXPECTED < 100);
        match *slot {
            slot if slot & EXPECTED == 0 => {
                self.findings.add("ghost", || format!("archived {at:?} in {}", file.display()));
            }
            slot if slot & !EXPECTED > 1 => {
                self.findings.add("twice", || format!("archived {at:?} again in {}", file.display()));
            }
            _ => {}
        }
    }

    fn slot(&mut self, at: (i32, i64)) -> &mut u8 {
        let partition = self.partitions.entry(at.0).or_default();
        let index = usize::try_from(at.1).unwrap();
        if partition.len() <= index {
            partition.resize(index + 1, 0);
        }
        &mut partition[index]
    }

    /// How many records, if each is there once.
    ///
    /// # Errors
    /// What is not.
    pub fn verdict(mut self) -> Result<u64, OracleFindings> {
        for (partition, slots) in &self.partitions {
            for (offset, _) in slots.iter().enumerate().filter(|(_, slot)| **slot == EXPECTED) {
                self.findings.add("lost", || format!("not archived: ({partition}, {offset})"));
            }
        }
        if self.findings.is_empty() { Ok(self.count) } else { Err(self.findings) }
    }
}

/// Every file below `root` with this extension.
pub fn files(root: &Path, extension: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(root) else { return vec![] };
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    let mut all: Vec<_> = paths
        .flat_map(|path| if path.is_dir() { files(&path, extension) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    all.sort();
    all
}

/// Reads every object of an archive with the reference implementation's reader, on every core. One that is not whole is a
/// finding.
pub fn archive(root: &Path, placed: &mut ArchivePositionCounts) {
    let files = files(root, "avro");
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        let (sender, receiver) = std::sync::mpsc::sync_channel(threads);
        for _ in 0..threads {
            let (sender, next, files) = (sender.clone(), &next, &files);
            scope.spawn(move || {
                while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if sender.send((file, positions(file))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for (file, (positions, broken)) in receiver {
            positions.into_iter().for_each(|at| placed.found(at, file));
            if let Some(error) = broken {
                placed.findings.add("partial", || format!("{}: {error}", file.display()));
            }
        }
    });
}

/// Where the records of an object say they come from, and why it could not be read on.
fn positions(file: &Path) -> (Vec<(i32, i64)>, Option<apache_avro::Error>) {
    let opened = std::fs::File::open(file).unwrap();
    let mut found = vec![];
    let reader = match apache_avro::Reader::new(std::io::BufReader::new(opened)) {
        Ok(reader) => reader,
        Err(error) => return (found, Some(error)),
    };
    for value in reader {
        match value {
            Ok(Value::Record(fields)) => {
                let number = |name: &str| match fields.iter().rev().find(|(field, _)| field == name) {
                    Some((_, Value::Int(n))) => i64::from(*n),
                    Some((_, Value::Long(n))) => *n,
                    other => panic!("{name} of {}: {other:?}", file.display()),
                };
                found.push((i32::try_from(number(lineage::PARTITION)).unwrap(), number(lineage::OFFSET)));
            }
            Ok(other) => panic!("{}: {other:?}", file.display()),
            Err(error) => return (found, Some(error)),
        }
    }
    (found, None)
}

/// Offsets that are summed up together when the lake is asked.
const BUCKET: usize = 1000;

/// Asks the warehouse for every thousand offsets of every partition how many rows there are, and for the sums of their
/// offsets and of their squares: a row lost, repeated or exchanged for another changes one of them. A lake that is not
/// there passes.
///
/// # Errors
/// What does not equal the topic.
pub fn lake(root: &Path, topic: &str, placed: &ArchivePositionCounts) -> Result<(), OracleFindings> {
    if !root.exists() {
        return Ok(());
    }
    let table = topic.replace(['.', '-'], "_");
    let (partition, offset) = (lineage::PARTITION, lineage::OFFSET);
    let sql = format!(
        "SELECT {partition} AS p, {offset} / {BUCKET} AS b, COUNT(*) AS n, SUM({offset} % {BUCKET}) AS s, \
         SUM(({offset} % {BUCKET}) * ({offset} % {BUCKET})) AS q FROM {table} GROUP BY {partition}, {offset} / {BUCKET}"
    );
    let mut command = Command::new(sluice_tests::binary());
    let output = command.args(["sql", "--output", "json", "--lake"]).arg(root).arg(sql).output().unwrap();
    assert!(output.status.success(), "sluice sql: {}", String::from_utf8_lossy(&output.stderr));
    let rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut seen: BTreeMap<(i64, i64), [i64; 3]> = BTreeMap::new();
    for row in rows.as_array().into_iter().flatten() {
        let of = |name: &str| row[name].as_i64().unwrap_or(-1);
        seen.insert((of("p"), of("b")), [of("n"), of("s"), of("q")]);
    }
    let mut findings = OracleFindings::default();
    for (partition, slots) in &placed.partitions {
        for (bucket, slots) in slots.chunks(BUCKET).enumerate() {
            let mut want = [0; 3];
            for (at, _) in slots.iter().enumerate().filter(|(_, slot)| **slot & EXPECTED != 0) {
                let at = at as i64;
                want = [want[0] + 1, want[1] + at, want[2] + at * at];
            }
            let found = seen.remove(&(i64::from(*partition), bucket as i64)).unwrap_or_default();
            if found != want {
                let from = bucket * BUCKET;
                findings
                    .add("lake", || format!("partition {partition} from {from}: {found:?}, not {want:?}"));
            }
        }
    }
    for ((partition, bucket), found) in seen {
        findings
            .add("lake", || format!("partition {partition}, bucket {bucket}: {found:?}, not in the topic"));
    }
    if findings.is_empty() { Ok(()) } else { Err(findings) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_expected_once_and_found_once() {
        let file = Path::new("x.avro");
        let placed = |found: &[i64]| {
            let mut placed = ArchivePositionCounts::default();
            placed.expect((0, 1));
            placed.expect((0, 3));
            found.iter().for_each(|offset| placed.found((0, *offset), file));
            placed.verdict()
        };
        assert_eq!(placed(&[1, 3]).unwrap(), 2);
        assert_eq!(placed(&[1]).unwrap_err().count("lost"), 1);
        assert_eq!(placed(&[1, 3, 3]).unwrap_err().count("twice"), 1);
        assert_eq!(placed(&[1, 2, 3]).unwrap_err().count("ghost"), 1);
    }
}
