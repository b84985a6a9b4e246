//! Audits the books of one group in one partition. Pure; the truth table is at the head of [`super`].

use std::fmt;

use serde::Serialize;

use super::segment::{ReceiptOrigin, ReceiptSegment};

/// The offsets with which the receipts are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditBounds {
    /// The group's committed offset before the receipts were read. The receipts must reach it.
    pub before: Option<i64>,
    /// The group's committed offset after the receipts were read. The receipts must not reach beyond it.
    pub after: Option<i64>,
    /// First offset that is still in the log.
    pub log_start: i64,
}

/// A range of offsets in which conservation does not hold. Ranges are half-open: `from` is in, `to` is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "finding", rename_all = "kebab-case")]
pub enum AuditFinding {
    /// Offsets before the group's position that no receipt covers.
    NoReceipt {
        /// First offset.
        from: i64,
        /// One past the last.
        to: i64,
    },
    /// Offsets that two receipts cover.
    Twice {
        /// First offset.
        from: i64,
        /// One past the last.
        to: i64,
    },
    /// Offsets beyond the group's position that a receipt covers. Their records will be handled again.
    NotCommitted {
        /// First offset.
        from: i64,
        /// One past the last.
        to: i64,
    },
    /// The number of records that ended differs from the number taken in.
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
    /// The number of records in a topic, counted one by one, differs from the receipt's number (`--deep`).
    Miscounted {
        /// First offset.
        from: i64,
        /// One past the last.
        to: i64,
        /// Kind of the counted records, for example `outputs in club.member.masked.v1`.
        what: String,
        /// Number in the receipt.
        receipt: u64,
        /// Number counted.
        counted: u64,
    },
}

impl fmt::Display for AuditFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Findings are half-open; an operator reads both ends as included.
        let last = |to: &i64| to - 1;
        match self {
            // Too few or too many receipts.
            Self::NoReceipt { from, to } => {
                write!(f, "offsets {from}–{}: committed without a receipt; expected one receipt", last(to))
            }
            Self::Twice { from, to } => {
                write!(f, "offsets {from}–{}: two receipts, handled twice; expected one receipt", last(to))
            }

            // A receipt without a commit.
            Self::NotCommitted { from, to } => {
                write!(
                    f,
                    "offsets {from}–{}: a receipt, but not committed; the group will handle them again",
                    last(to)
                )
            }

            // Counts that do not agree.
            Self::Unbalanced { from, to, records, ended } => {
                write!(
                    f,
                    "offsets {from}–{}: expected {records} records to end, as taken in, but {ended} ended",
                    last(to)
                )
            }
            Self::Miscounted { from, to, what, receipt, counted } => {
                write!(
                    f,
                    "offsets {from}–{}: {what}: expected {receipt} by the receipt, counted {counted}",
                    last(to)
                )
            }
        }
    }
}

/// The sums of one group's books in one partition, and the findings.
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
    /// Ranges in which conservation does not hold; empty if it holds.
    pub findings: Vec<AuditFinding>,
}

/// Adds the segments up and follows their chain. The order of `segments` does not matter.
pub fn audit(segments: &[ReceiptSegment], known: AuditBounds) -> ReceiptAudit {
    let mut audit = ReceiptAudit { segments: segments.len(), ..ReceiptAudit::default() };
    let mut chain: Vec<&ReceiptSegment> = segments.iter().collect();
    chain.sort_by_key(|segment| (segment.first, segment.next));

    // Each segment has to begin where the ones before it end. `end` is the highest end so far, with its
    // origin.
    let mut end: Option<(i64, ReceiptOrigin)> = None;
    for segment in &chain {
        audit.add(segment);
        match end {
            // The first segment. If the group had a position, the records before it are owed as far as the
            // log has them.
            None if segment.origin == ReceiptOrigin::Position => {
                audit.missing(known.log_start, segment.first)
            }
            None => {}
            // A replay from the archive lies before the log; the first record of the log may come some
            // offsets later.
            Some((end, ReceiptOrigin::Replay))
                if segment.origin == ReceiptOrigin::Beginning && end <= segment.first => {}
            // A break is a gap or an overlap, never both.
            Some((end, _)) => {
                audit.missing(end, segment.first);
                let to = end.min(segment.next);
                if segment.first < to {
                    audit.findings.push(AuditFinding::Twice { from: segment.first, to });
                }
            }
        }

        // A segment inside its predecessor does not move the end.
        if end.is_none_or(|(end, _)| segment.next >= end) {
            end = Some((segment.next, segment.origin));
        }
    }
    audit.first = chain.first().map(|segment| segment.first);
    audit.next = end.map(|(end, _)| end);

    // The chain has to reach the position that was committed before the receipts were read.
    if let Some(committed) = known.before {
        audit.missing(audit.next.unwrap_or(known.log_start), committed);
    }

    // It must not reach beyond the position that was committed after they were read. A replay into a group
    // that never ran leaves no position behind; every other segment does.
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

/// Returns the parts of `from..to` that no segment covers, in order, as half-open ranges.
pub fn uncovered(segments: &[ReceiptSegment], from: i64, to: i64) -> Vec<(i64, i64)> {
    let mut spans: Vec<(i64, i64)> = segments.iter().map(|segment| (segment.first, segment.next)).collect();
    spans.sort_unstable();

    // `at` is the first offset that no span seen so far covers. Spans may overlap.
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

    // The rest behind the last span.
    if at < to {
        open.push((at, to));
    }
    open
}

impl ReceiptAudit {
    /// Adds a segment's counts to the sums and checks that they balance.
    fn add(&mut self, segment: &ReceiptSegment) {
        self.records += segment.records;
        self.written += segment.written;
        self.outputs += segment.outputs.values().sum::<u64>();
        self.dead_letters += segment.dead_lettered();
        self.skipped += segment.skips();

        // A segment may have fewer records than offsets, because gaps are legal, but never more. A segment
        // that ends before it begins has no width and is a finding as soon as it has a record.
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

    /// Adds the finding that no receipt covers `from..to`, unless the range is empty.
    fn missing(&mut self, from: i64, to: i64) {
        if from < to {
            self.findings.push(AuditFinding::NoReceipt { from, to });
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
