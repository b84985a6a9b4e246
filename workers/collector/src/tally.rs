//! The counters of a run, and their summary.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sluice_core::names::dead_letter as names;
use sluice_core::{OutRecord, Outputs, ReasonClass};
use sluice_lease::EnrolReport;
use sluice_runtime::dead_letter::DeadLetterLog;

use crate::process::LETTERS;

/// The counters of one process. Every task adds to them.
#[derive(Debug)]
pub(crate) struct CollectorCounters {
    started: Instant,
    done: AtomicU64,
    dead: AtomicU64,
    released: AtomicU64,
    lost: AtomicU64,
    taken_over: AtomicU64,
    pages: AtomicU64,
    records: AtomicU64,
    rejects: AtomicU64,
    bytes: AtomicU64,
    drifts: AtomicU64,
    claimed: AtomicU64,
    too_long: AtomicU64,
    empty: AtomicBool,
    /// The dead letters that the log has not shown yet.
    letters: Mutex<DeadLetterLog>,
}

/// The work of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectorSummary {
    /// Ids whose last page is durable.
    pub done: u64,
    /// Ids that were given up.
    pub dead: u64,
    /// Ids that were given back for later.
    pub released: u64,
    /// Ids that another process took over.
    pub lost: u64,
    /// Ids taken over from a holder whose lease had passed.
    pub taken_over: u64,
    /// Pages published by this process.
    pub pages: u64,
    /// Records published in these pages.
    pub records: u64,
    /// Records that went to a dead-letter topic.
    pub rejects: u64,
    /// Bytes of page bodies, decompressed.
    pub bytes: u64,
    /// How often pages were found to have moved while they were read.
    pub drifts: u64,
    /// Time since the run began.
    pub time: Duration,
    /// What someone has to look at after the run, as sentences: dead ids, ids that were left out, paths that no page
    /// had. A run with `once` ends with exit code 1 for them.
    pub findings: Vec<String>,
}

impl Default for CollectorCounters {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            done: AtomicU64::default(),
            dead: AtomicU64::default(),
            released: AtomicU64::default(),
            lost: AtomicU64::default(),
            taken_over: AtomicU64::default(),
            pages: AtomicU64::default(),
            records: AtomicU64::default(),
            rejects: AtomicU64::default(),
            bytes: AtomicU64::default(),
            drifts: AtomicU64::default(),
            claimed: AtomicU64::default(),
            too_long: AtomicU64::default(),
            empty: AtomicBool::default(),
            letters: Mutex::default(),
        }
    }
}

impl CollectorCounters {
    /// Counts a page, or a part of one with `pages` 0.
    pub(crate) fn page(&self, pages: u64, records: u64, rejects: u64, bytes: u64) {
        self.pages.fetch_add(pages, Ordering::Relaxed);
        self.records.fetch_add(records, Ordering::Relaxed);
        self.rejects.fetch_add(rejects, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts the dead letters among the outputs of a page for the log, and returns their number.
    pub(crate) fn letters(&self, outputs: &Outputs) -> usize {
        let letters = outputs.iter().filter(|record| record.route == LETTERS);
        let mut log = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        letters.map(|letter| note_letter(&mut log, &letter)).count()
    }

    /// Writes the dead letters to the log whose line is due.
    pub(crate) fn write_letters(&self) {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner).write_due(Instant::now());
    }

    /// Counts a complete id.
    pub(crate) fn done(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a dead id.
    pub(crate) fn dead(&self) {
        self.dead.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts ids that were given back.
    pub(crate) fn released(&self, ids: u64) {
        self.released.fetch_add(ids, Ordering::Relaxed);
    }

    /// Counts an id that another process holds.
    pub(crate) fn lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts ids that were taken over.
    pub(crate) fn taken_over(&self, ids: u64) {
        self.taken_over.fetch_add(ids, Ordering::Relaxed);
    }

    /// Counts ids that were claimed.
    pub(crate) fn claimed(&self, ids: u64) {
        self.claimed.fetch_add(ids, Ordering::Relaxed);
    }

    /// Returns the number of ids that were claimed.
    pub(crate) fn claims(&self) -> u64 {
        self.claimed.load(Ordering::Relaxed)
    }

    /// Notes the ids that are not collected, as of the last enrolment.
    pub(crate) fn enrolled(&self, report: &EnrolReport) {
        self.too_long.store(report.too_long, Ordering::Relaxed);
        self.empty.store(report.has_empty, Ordering::Relaxed);
    }

    /// Counts a sign of moving pages.
    pub(crate) fn drifted(&self) {
        self.drifts.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns sentences about the ids that are not collected.
    fn findings(&self) -> Vec<String> {
        let mut findings = Vec::new();
        let dead = self.dead.load(Ordering::Relaxed);
        if dead > 0 {
            findings.push(format!("{dead} ids died in this run; `sluice collector dead` names the reasons"));
        }
        if self.empty.load(Ordering::Relaxed) {
            findings
                .push("an id is empty and is not collected; leave it out with `database.where`".to_owned());
        }
        let too_long = self.too_long.load(Ordering::Relaxed);
        if too_long > 0 {
            findings.push(format!(
                "{too_long} ids are too long for a row of sluice_claims and are not collected; expected at most 255 \
                 characters"
            ));
        }
        findings
    }

    /// Returns the counters as they are now.
    pub(crate) fn summary(&self) -> CollectorSummary {
        // Relaxed: the counters are only shown, and no decision depends on their order.
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CollectorSummary {
            done: read(&self.done),
            dead: read(&self.dead),
            released: read(&self.released),
            lost: read(&self.lost),
            taken_over: read(&self.taken_over),
            pages: read(&self.pages),
            records: read(&self.records),
            rejects: read(&self.rejects),
            bytes: read(&self.bytes),
            drifts: read(&self.drifts),
            time: self.started.elapsed(),
            findings: self.findings(),
        }
    }
}

/// Counts one dead letter for the log, by its own headers.
fn note_letter(log: &mut DeadLetterLog, letter: &OutRecord<'_>) {
    let text = |name: &str| {
        let value = letter.headers().find(|header| header.name == name).and_then(|header| header.value);
        String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
    };
    let number = |name: &str| text(name).parse().unwrap_or_default();
    let place = (number(names::SOURCE_PARTITION), number(names::SOURCE_OFFSET));

    // The byte differs from record to record, and would make a line of each.
    let reason = text(names::REASON);
    let reason = reason.split(" (byte ").next().unwrap_or_default();
    log.note_text(&text(names::SOURCE_TOPIC), place, ReasonClass::Shape, reason);
}

impl fmt::Display for CollectorSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.time.as_secs_f64();
        // The first moment of a run must not be divided by zero.
        let rate = self.records as f64 / seconds.max(0.001);
        write!(
            f,
            "{} ids done, {} dead, {} given back, {} lost, {} taken over; {} pages, {} records, {} rejects, \
             {:.1} MB in {seconds:.1} s ({rate:.0} records/s)",
            self.done,
            self.dead,
            self.released,
            self.lost,
            self.taken_over,
            self.pages,
            self.records,
            self.rejects,
            self.bytes as f64 / 1e6,
        )?;

        // Moving pages are mentioned only if they were seen.
        match self.drifts {
            0 => Ok(()),
            drifts => write!(f, "; pages moved {drifts} times while they were read"),
        }
    }
}
