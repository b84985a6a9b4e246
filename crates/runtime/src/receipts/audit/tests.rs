use std::collections::BTreeMap;

use super::*;

/// A segment of full, written offsets that began at the group's position.
pub(in crate::receipts) fn segment(first: i64, next: i64) -> ReceiptSegment {
    let records = u64::try_from(next - first).unwrap();
    ReceiptSegment {
        group: "g".into(),
        topic: "t".into(),
        partition: 0,
        first,
        next,
        origin: ReceiptOrigin::Position,
        records,
        written: records,
        outputs: BTreeMap::from([("out".to_owned(), records)]),
        dead_letters: BTreeMap::new(),
        skipped: BTreeMap::new(),
        worker: "masker".into(),
        instance: "a-0".into(),
        version: "0".into(),
        began_ms: 0,
        grown_ms: 0,
    }
}

fn from(origin: ReceiptOrigin, first: i64, next: i64) -> ReceiptSegment {
    ReceiptSegment { origin, ..segment(first, next) }
}

fn findings(segments: &[ReceiptSegment], committed: Option<i64>, log_start: i64) -> Vec<AuditFinding> {
    audit(segments, AuditBounds { before: committed, after: committed, log_start }).findings
}

#[test]
fn the_truth_table_of_conservation_holds() {
    use ReceiptOrigin::{Beginning, Replay};
    let none = |from, to| vec![AuditFinding::NoReceipt { from, to }];
    let begun = || from(Beginning, 0, 10);
    assert_eq!(findings(&[], None, 0), []);
    assert_eq!(findings(&[], Some(10), 0), none(0, 10));
    assert_eq!(findings(&[segment(10, 20), begun()], Some(20), 0), []);
    assert_eq!(findings(&[begun(), segment(12, 20)], Some(20), 0), none(10, 12));
    assert_eq!(findings(&[begun(), segment(8, 20)], Some(20), 0), [AuditFinding::Twice { from: 8, to: 10 }]);
    assert_eq!(findings(&[begun()], Some(12), 0), none(10, 12));
    assert_eq!(findings(&[begun()], Some(8), 0), [AuditFinding::NotCommitted { from: 8, to: 10 }]);
    assert_eq!(findings(&[begun()], None, 0), [AuditFinding::NotCommitted { from: 0, to: 10 }]);
    assert_eq!(findings(&[segment(5, 10)], Some(10), 0), none(0, 5));
    assert_eq!(findings(&[segment(5, 10)], Some(10), 5), []);
    assert_eq!(findings(&[segment(5, 10)], Some(10), 7), []);
    assert_eq!(findings(&[from(Beginning, 5, 10)], Some(10), 0), []);
    assert_eq!(findings(&[begun(), from(Beginning, 20, 30)], Some(30), 20), none(10, 20));
    let unbalanced = ReceiptSegment { records: 8, written: 7, ..begun() };
    assert_eq!(
        findings(&[unbalanced], Some(10), 0),
        [AuditFinding::Unbalanced { from: 0, to: 10, records: 8, ended: 7 }]
    );
    let skipped = BTreeMap::from([("null".to_owned(), 1)]);
    let gaps = ReceiptSegment { records: 8, written: 7, skipped, ..begun() };
    assert_eq!(findings(&[gaps], Some(10), 0), []);
    let more = ReceiptSegment { records: 11, written: 11, ..begun() };
    assert!(matches!(findings(&[more], Some(10), 0)[..], [AuditFinding::Unbalanced { .. }]));
    assert_eq!(findings(&[begun(), segment(20, 30), from(Replay, 10, 20)], Some(30), 0), []);
    // From the archive first, then the log from where it begins.
    assert_eq!(findings(&[from(Replay, 0, 10), from(Beginning, 12, 30)], Some(30), 12), []);
    assert_eq!(findings(&[from(Replay, 3, 10)], None, 0), []);
}

#[test]
fn a_group_that_works_meanwhile_is_no_finding() {
    let known = AuditBounds { before: Some(10), after: Some(30), log_start: 0 };
    assert_eq!(audit(&[from(ReceiptOrigin::Beginning, 0, 20)], known).findings, []);
    assert_eq!(
        audit(&[from(ReceiptOrigin::Beginning, 0, 9)], known).findings,
        [AuditFinding::NoReceipt { from: 9, to: 10 }]
    );
    let ahead = audit(&[from(ReceiptOrigin::Beginning, 0, 31)], known).findings;
    assert_eq!(ahead, [AuditFinding::NotCommitted { from: 30, to: 31 }]);
}

/// Against a model that counts, offset by offset, how many receipts speak of it.
#[test]
fn agrees_with_counting_every_offset() {
    let mut state: u64 = 0x5EED_0006;
    let mut random = move |below: i64| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((state >> 33) % below as u64) as i64
    };
    for round in 0..5_000 {
        let mut chain: Vec<ReceiptSegment> = vec![];
        let mut at = random(3);
        for _ in 0..1 + random(6) {
            let first = (at + [0, 0, 0, 1 + random(3), -random(4)][random(5) as usize]).max(0);
            let next = first + 1 + random(8);
            chain.push(segment(first, next));
            at = next;
        }
        // Keys are unique per first offset: the later one has overwritten the earlier.
        let mut unique: BTreeMap<i64, ReceiptSegment> = BTreeMap::new();
        unique.extend(chain.into_iter().map(|segment| (segment.first, segment)));
        let mut chain: Vec<ReceiptSegment> = unique.into_values().collect();
        if random(2) == 0 {
            chain.reverse();
        }
        let committed = random(50);
        let log_start = random(4);
        let times = |offset: i64| {
            chain.iter().filter(|segment| (segment.first..segment.next).contains(&offset)).count()
        };
        let end = chain.iter().map(|segment| segment.next).max().unwrap();
        let begin = chain.iter().map(|segment| segment.first).min().unwrap();
        // What lies before the chain is only asked of what is still in the log; a gap inside the chain is always one.
        let holds = (begin.min(log_start)..committed).all(|offset| times(offset) > 0)
            && (begin..end).all(|offset| times(offset) == 1)
            && end <= committed;
        let found = findings(&chain, Some(committed), log_start);
        assert_eq!(
            found.is_empty(),
            holds,
            "round {round}: {chain:?} committed {committed} start {log_start}: {found:?}"
        );
        for finding in &found {
            match *finding {
                AuditFinding::NoReceipt { from, to } => assert!((from..to).all(|offset| times(offset) == 0)),
                AuditFinding::Twice { from, to } => assert!((from..to).all(|offset| times(offset) >= 2)),
                AuditFinding::NotCommitted { from, to } => assert_eq!((from, to), (committed, end)),
                _ => panic!("round {round}: {finding:?}"),
            }
        }
        let (from, to) = (random(30), random(60));
        let open: Vec<i64> =
            uncovered(&chain, from, to).into_iter().flat_map(|(from, to)| from..to).collect();
        let expected: Vec<i64> = (from..to).filter(|offset| times(*offset) == 0).collect();
        assert_eq!(open, expected, "round {round}: {from}..{to} of {chain:?}");
    }
}
