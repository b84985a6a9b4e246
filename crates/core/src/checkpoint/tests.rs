use super::*;

fn at() -> TopicPartition {
    TopicPartition::new("t", 0)
}

fn span(first: i64, last: i64) -> OffsetSpan {
    OffsetSpan::new(Offset::new(first).unwrap(), Offset::new(last).unwrap()).unwrap()
}

fn receipt(first: i64, last: i64) -> Receipt {
    Receipt {
        at: at(),
        span: span(first, last),
        written: (last - first + 1) as u64,
        dead_lettered: 0,
        skipped: 0,
    }
}

/// Tracks, settles, and says what may be committed: a row of the truth table.
fn row(tracked: &[(i64, i64)], settled: &[(i64, i64)]) -> Option<i64> {
    let mut checkpoint = OffsetCheckpoint::new();
    for &(first, last) in tracked {
        checkpoint.track(&at(), span(first, last)).unwrap();
    }
    for &(first, last) in settled {
        checkpoint.settle(&receipt(first, last)).unwrap();
    }
    checkpoint.committable(&at()).map(NextOffset::raw)
}

#[test]
fn the_truth_table_holds() {
    assert_eq!(row(&[], &[]), None);
    assert_eq!(row(&[(0, 9)], &[]), None);
    assert_eq!(row(&[(0, 9)], &[(0, 9)]), Some(10));
    assert_eq!(row(&[(0, 9), (10, 19)], &[(10, 19)]), None);
    assert_eq!(row(&[(0, 9), (10, 19)], &[(10, 19), (0, 9)]), Some(20));
    assert_eq!(row(&[(0, 9), (12, 19)], &[(0, 9), (12, 19)]), Some(20));
    assert_eq!(row(&[(0, 9), (12, 19)], &[(0, 9)]), Some(10));
    assert_eq!(row(&[(0, 9)], &[(0, 4)]), Some(5));
    assert_eq!(row(&[(0, 9)], &[(0, 4), (8, 9)]), Some(5));
    assert_eq!(row(&[(0, 9)], &[(0, 4), (8, 9), (5, 7)]), Some(10));
    assert_eq!(row(&[(0, 9)], &[(0, 9), (0, 9)]), Some(10));
}

#[test]
fn a_receipt_for_what_was_never_read_is_refused() {
    let mut checkpoint = OffsetCheckpoint::new();
    assert!(checkpoint.settle(&receipt(0, 0)).is_err());
    checkpoint.track(&at(), span(5, 9)).unwrap();
    assert!(checkpoint.settle(&receipt(4, 6)).is_err());
    assert!(checkpoint.settle(&receipt(8, 10)).is_err());
    assert_eq!(checkpoint.committable(&at()), None);
}

#[test]
fn two_topics_partition_zero_do_not_mix() {
    let mut checkpoint = OffsetCheckpoint::new();
    let other = TopicPartition::new("u", 0);
    checkpoint.track(&at(), span(0, 9)).unwrap();
    checkpoint.track(&other, span(0, 9)).unwrap();
    checkpoint.settle(&receipt(0, 9)).unwrap();
    assert_eq!(checkpoint.committable(&at()).map(NextOffset::raw), Some(10));
    assert_eq!(checkpoint.committable(&other), None);
    assert!(checkpoint.has_pending());
}

#[test]
fn reading_backwards_is_refused() {
    let mut checkpoint = OffsetCheckpoint::new();
    checkpoint.track(&at(), span(5, 9)).unwrap();
    assert!(matches!(checkpoint.track(&at(), span(9, 12)), Err(CheckpointError::Backwards { .. })));
}

/// Against a model that is a plain set of offsets: any interleaving of tracking and settling, with gaps in
/// the log.
#[test]
fn agrees_with_a_set_of_offsets_under_random_orders() {
    let mut state: u64 = 0x5EED_0001;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) % below
    };
    for _ in 0..2_000 {
        let mut checkpoint = OffsetCheckpoint::new();
        let mut log: Vec<i64> = vec![];
        let mut next = random(5) as i64;
        let mut settled: Vec<i64> = vec![];
        for _ in 0..random(12) {
            let length = 1 + random(6) as i64;
            checkpoint.track(&at(), span(next, next + length - 1)).unwrap();
            log.extend(next..next + length);
            next += length + if random(4) == 0 { random(3) as i64 } else { 0 };
            if random(2) == 0 {
                let from = random(log.len() as u64) as usize;
                let to = from + random((log.len() - from) as u64) as usize;
                checkpoint.settle(&receipt(log[from], log[to])).unwrap();
                settled.extend(log[from]..=log[to]);
            }
            let expected =
                log.iter().take_while(|offset| settled.contains(offset)).last().map(|offset| offset + 1);
            assert_eq!(checkpoint.committable(&at()).map(NextOffset::raw), expected, "{log:?} {settled:?}");
        }
    }
}
