//! Do the books of one group in one partition balance? Pure; the truth table is at the head of [`super`].

use std::fmt;

use serde::Serialize;

use super::segment::{ReceiptOrigin, ReceiptSegment};

/// What is known beside the receipts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditBounds {
    /// The group's committed offset, asked for before the receipts were read: they must reach it.
    pub before: Option<i64>,
    /// The same, asked for afterwards: they must not reach beyond it.
    pub after: Option<i64>,
    /// First offset that is still in the log.
    pub log_start: i64,
}

/// A range of offsets in which conservation does not hold. Ranges are half-open: `from` is in, `to` is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "finding", rename_all = "kebab-case")]
pub enum AuditFinding {
    /// Behind the group's position, and nothing says what became of these offsets.
    NoReceipt {
        /// First offset.
        from: i64,
        /// One past the last.
        to: i64,
    },
    /// Two receipts speak of the same offsets.
    Twice {
        /// First offset.
        from: i64,
        /// One past the last.
        to: i64,
    },
    /// Receipts beyond the group's position: these records will be done again.
    NotCommitted {
        /// First offset.
        from: i64,
        /// One past the last.
        to: i64,
    },
    /// More, or fewer, records ended than were taken in.
    Unbalanced {
        /// First offset.
        from: i64,
        /// One past the last.
        to: i64,
        /// Records taken in.
        records: u64,
        /// Records that ended: written, dead-lettered or skipped.
        ended: u64,
    },
    /// The topics themselves, counted record by record, say something else than the receipt (`--deep`).
    Miscounted {
        /// First offset.
        from: i64,
        /// One past the last.
        to: i64,
        /// What was counted.
        what: String,
        /// As the receipt has it.
        receipt: u64,
        /// As counted.
        counted: u64,
    },
}

impl fmt::Display for AuditFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = |to: &i64| to - 1;
        match self {
            Self::NoReceipt { from, to } => {
                write!(f, "offsets {from}–{}: no receipt says what became of them", last(to))
            }
            Self::Twice { from, to } => {
                write!(f, "offsets {from}–{}: two receipts; they were handled twice", last(to))
            }
            Self::NotCommitted { from, to } => {
                write!(
                    f,
                    "offsets {from}–{}: done, but the group stands before them and will do them again",
                    last(to)
                )
            }
            Self::Unbalanced { from, to, records, ended } => {
                write!(f, "offsets {from}–{}: {records} records came in, {ended} ended", last(to))
            }
            Self::Miscounted { from, to, what, receipt, counted } => {
                write!(
                    f,
                    "offsets {from}–{}: {what}: the receipt says {receipt}, {counted} are there",
                    last(to)
                )
            }
        }
    }
}

/// What the books of one group in one partition come to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ReceiptAudit {
    /// Segments seen.
    pub segments: usize,
    /// First offset of the chain; `None` without segments.
    pub first: Option<i64>,
    /// One past its last offset.
    pub next: Option<i64>,
    /// Records taken in.
    pub records: u64,
    /// Records written.
    pub written: u64,
    /// Output records.
    pub outputs: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// Skips.
    pub skipped: u64,
    /// Where it does not hold; empty if it does.
    pub findings: Vec<AuditFinding>,
}

/// Adds the segments up and follows their chain.
pub fn audit(segments: &[ReceiptSegment], known: AuditBounds) -> ReceiptAudit {
    let mut audit = ReceiptAudit { segments: segments.len(), ..ReceiptAudit::default() };
    let mut chain: Vec<&ReceiptSegment> = segments.iter().collect();
    chain.sort_by_key(|segment| (segment.first, segment.next));
    let mut end: Option<(i64, ReceiptOrigin)> = None;
    for segment in &chain {
        audit.add(segment);
        match end {
            None if segment.origin == ReceiptOrigin::Position => {
                audit.missing(known.log_start, segment.first)
            }
            None => {}
            // A replay from the archive lies before the log; the first record of the log may come some offsets later.
            Some((end, ReceiptOrigin::Replay))
                if segment.origin == ReceiptOrigin::Beginning && end <= segment.first => {}
            Some((end, _)) => {
                audit.missing(end, segment.first);
                let to = end.min(segment.next);
                if segment.first < to {
                    audit.findings.push(AuditFinding::Twice { from: segment.first, to });
                }
            }
        }
        if end.is_none_or(|(end, _)| segment.next >= end) {
            end = Some((segment.next, segment.origin));
        }
    }
    audit.first = chain.first().map(|segment| segment.first);
    audit.next = end.map(|(end, _)| end);
    if let Some(committed) = known.before {
        audit.missing(audit.next.unwrap_or(known.log_start), committed);
    }
    // A replay into a group that never ran leaves no position behind; anything else does.
    let live = chain.iter().any(|segment| segment.origin != ReceiptOrigin::Replay);
    if let (Some(first), Some(next)) = (audit.first, audit.next)
        && (live || known.after.is_some())
    {
        let from = known.after.unwrap_or(first);
        if from < next {
            audit.findings.push(AuditFinding::NotCommitted { from, to: next });
        }
    }
    audit
}

/// The parts of `from..to` that no segment covers, in order.
pub fn uncovered(segments: &[ReceiptSegment], from: i64, to: i64) -> Vec<(i64, i64)> {
    let mut spans: Vec<(i64, i64)> = segments.iter().map(|segment| (segment.first, segment.next)).collect();
    spans.sort_unstable();
    let mut open = vec![];
    let mut at = from;
    for (first, next) in spans {
        if first >= to {
            break;
        }
        if first > at {
            open.push((at, first));
        }
        at = at.max(next);
    }
    if at < to {
        open.push((at, to));
    }
    open
}

impl ReceiptAudit {
    fn add(&mut self, segment: &ReceiptSegment) {
        self.records += segment.records;
        self.written += segment.written;
        self.outputs += segment.outputs.values().sum::<u64>();
        self.dead_letters += segment.dead_lettered();
        self.skipped += segment.skips();
        let ended = segment.written + segment.dead_lettered() + segment.skips();
        let width = u64::try_from(segment.next - segment.first).unwrap_or(0);
        if ended != segment.records || segment.records > width {
            self.findings.push(AuditFinding::Unbalanced {
                from: segment.first,
                to: segment.next,
                records: segment.records,
                ended,
            });
        }
    }

    fn missing(&mut self, from: i64, to: i64) {
        if from < to {
            self.findings.push(AuditFinding::NoReceipt { from, to });
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
