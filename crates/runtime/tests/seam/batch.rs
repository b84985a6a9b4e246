//! Batches: what is lent, what is kept, what a seek, a pause and a lost position do.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rdkafka::admin::AdminOptions;
use rdkafka::{Offset, TopicPartitionList};
use sluice_core::{Header, NextOffset, Retry, TopicPartition};
use sluice_kafka::{ConsumerGroup, KafkaProducer, OutgoingRecord, PartitionStart, PollOutcome};
use sluice_stack::ServerStack;

use crate::broker::{MEMORY, MinimalLaneState, WAIT, admin, block_on, broker, create, feed, section};

const TICK: Duration = Duration::from_millis(50);

fn join(
    stack: &ServerStack,
    name: &str,
    topic: &str,
) -> (ConsumerGroup<MinimalLaneState>, Arc<Mutex<MinimalLaneState>>) {
    let state = Arc::new(Mutex::new(MinimalLaneState::default()));
    let group =
        ConsumerGroup::join(&section(stack, &[]), name, &[topic.to_owned()], MEMORY, Arc::clone(&state));
    (group.unwrap(), state)
}

/// Polls until `count` records were seen, breaking off where `breaks` says.
fn read(
    group: &mut ConsumerGroup<MinimalLaneState>,
    state: &Arc<Mutex<MinimalLaneState>>,
    count: usize,
    mut breaks: impl FnMut() -> bool,
) {
    let deadline = Instant::now() + WAIT;
    while state.lock().unwrap().seen.len() < count {
        assert!(Instant::now() < deadline, "{} of {count}", state.lock().unwrap().seen.len());
        let polled = group.poll_batch(TICK, |state, record| {
            state.seen.push((record.partition, record.offset.raw()));
            if breaks() || state.seen.len() == count {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        polled.unwrap();
    }
}

fn by_partition(seen: &[(i32, i64)]) -> BTreeMap<i32, Vec<i64>> {
    let mut all: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
    for (partition, offset) in seen {
        all.entry(*partition).or_default().push(*offset);
    }
    all
}

#[test]
fn what_is_broken_off_is_lent_first_the_next_time() {
    let stack = broker();
    create(&stack, "broken-off", 3);
    feed(&stack, "broken-off", 3, 0, 9_000);
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let (mut group, state) = join(&stack, "broken-off", "broken-off");
    read(&mut group, &state, 9_000, || random.random_ratio(1, 7));
    for (partition, offsets) in by_partition(&state.lock().unwrap().seen) {
        assert_eq!(offsets, (0..3_000).collect::<Vec<_>>(), "partition {partition}");
    }
}

#[test]
fn a_seek_forgets_what_was_fetched_of_its_partition_and_no_other() {
    let stack = broker();
    create(&stack, "sought", 2);
    feed(&stack, "sought", 2, 0, 8_000);
    let (mut group, state) = join(&stack, "sought", "sought");
    read(&mut group, &state, 777, || false);
    let seen = std::mem::take(&mut state.lock().unwrap().seen);
    let (partition, reached) = *seen.last().unwrap();
    let other: i64 = seen.iter().filter(|(p, _)| *p != partition).count() as i64;
    let back = reached / 2;
    group.seek(&TopicPartition::new("sought", partition), PartitionStart::At(NextOffset::new(back).unwrap()));
    let left = usize::try_from(4_000 - back + 4_000 - other).unwrap();
    read(&mut group, &state, left, || false);
    let state = state.lock().unwrap();
    assert!(state.troubles.is_empty(), "{:?}", state.troubles);
    let all = by_partition(&state.seen);
    assert_eq!(all[&partition], (back..4_000).collect::<Vec<_>>());
    assert_eq!(all.get(&(1 - partition)).cloned().unwrap_or_default(), (other..4_000).collect::<Vec<_>>());
}

#[test]
fn a_held_group_lends_nothing_stays_a_member_and_misses_nothing() {
    let stack = broker();
    create(&stack, "held", 2);
    feed(&stack, "held", 2, 0, 20_000);
    let (mut group, state) = join(&stack, "held", "held");
    read(&mut group, &state, 1_001, || false);
    group.hold(true);
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        assert!(!matches!(group.serve(TICK).unwrap(), PollOutcome::Records(_)));
    }
    assert_eq!(state.lock().unwrap().owned.len(), 2, "thrown out");
    assert_eq!(state.lock().unwrap().seen.len(), 1_001);
    group.hold(false);
    read(&mut group, &state, 20_000, || false);
    for (partition, offsets) in by_partition(&state.lock().unwrap().seen) {
        assert_eq!(offsets, (0..10_000).collect::<Vec<_>>(), "partition {partition}");
    }
}

/// Key, value, time, headers.
type SeamRecord = (Option<&'static [u8]>, Option<&'static [u8]>, Option<i64>, Vec<(String, Option<Vec<u8>>)>);

#[test]
fn slices_come_as_they_were_sent() {
    let stack = broker();
    create(&stack, "slices", 1);
    let many: Vec<_> = (0..40u8).map(|n| (format!("h{n}"), Some(vec![n; usize::from(n)]))).collect();
    let sent: Vec<SeamRecord> = vec![
        (Some(b"key"), Some(b"value"), Some(1_234), vec![]),
        (None, Some(b"no key"), Some(5), vec![("a".into(), Some(b"1".to_vec())), ("a".into(), None)]),
        (Some(b""), Some(b""), Some(6), vec![("empty".into(), Some(vec![]))]),
        (Some(b"tombstone"), None, Some(7), many),
    ];
    let mut producer = KafkaProducer::idempotent(&section(&stack, &[]), MEMORY).unwrap();
    for (key, value, timestamp_ms, headers) in &sent {
        let headers: Vec<Header<'_>> =
            headers.iter().map(|(name, value)| Header { name, value: value.as_deref() }).collect();
        let out = OutgoingRecord {
            topic: "slices",
            partition: Some(0),
            key: *key,
            value: *value,
            timestamp_ms: *timestamp_ms,
            headers: &headers,
        };
        producer.send(&out).unwrap();
    }
    producer.flush().unwrap();
    let (mut group, _) = join(&stack, "slices", "slices");
    let mut seen = 0;
    let deadline = Instant::now() + WAIT;
    while seen < sent.len() {
        assert!(Instant::now() < deadline, "{seen} came");
        group
            .poll_batch(TICK, |_, record| {
                let (key, value, timestamp_ms, headers) = &sent[seen];
                assert_eq!((record.key, record.value, record.timestamp_ms), (*key, *value, *timestamp_ms));
                let came: Vec<_> =
                    record.headers.iter().map(|h| (h.name.to_owned(), h.value.map(<[u8]>::to_vec))).collect();
                assert_eq!(&came, headers);
                seen += 1;
                ControlFlow::Continue(())
            })
            .unwrap();
    }
}

#[test]
fn a_position_that_is_gone_from_the_log_stops_the_worker() {
    let stack = broker();
    create(&stack, "gone", 1);
    feed(&stack, "gone", 1, 0, 100);
    let at = TopicPartition::new("gone", 0);
    {
        let (mut group, state) = join(&stack, "gone", "gone");
        read(&mut group, &state, 10, || false);
        group.commit(&BTreeMap::from([(at, NextOffset::new(10).unwrap())])).unwrap();
    }
    let mut list = TopicPartitionList::new();
    list.add_partition_offset("gone", 0, Offset::Offset(50)).unwrap();
    let deleted = block_on(admin(&stack).delete_records(&list, &AdminOptions::new())).unwrap();
    assert_eq!(deleted.elements()[0].error(), Ok(()));
    let (mut group, state) = join(&stack, "gone", "gone");
    let deadline = Instant::now() + WAIT;
    let fault = loop {
        assert!(Instant::now() < deadline, "no fault; seen: {:?}", state.lock().unwrap().seen.first());
        match group.poll_batch(TICK, |state, record| {
            state.seen.push((record.partition, record.offset.raw()));
            ControlFlow::Continue(())
        }) {
            Ok(_) => {}
            Err(fault) => break fault,
        }
    };
    assert_eq!(fault.retry, Retry::Never, "{fault}");
    assert!(fault.to_string().contains("nothing was skipped"), "{fault}");
    assert!(state.lock().unwrap().seen.is_empty(), "read on elsewhere");
}

#[test]
fn the_end_of_a_hold_does_not_resume_a_partition_that_stands_still() {
    let stack = broker();
    create(&stack, "paused-and-held", 2);
    feed(&stack, "paused-and-held", 2, 0, 4_000);
    let (mut group, state) = join(&stack, "paused-and-held", "paused-and-held");
    read(&mut group, &state, 1, || true);
    let still = TopicPartition::new("paused-and-held", 0);

    // As a lane does: the partition is paused and sought to the record that cannot be handled now.
    group.pause(&still, true);
    group.seek(&still, PartitionStart::At(NextOffset::new(0).unwrap()));
    let other_seen = state.lock().unwrap().seen.iter().filter(|(partition, _)| *partition == 1).count();
    state.lock().unwrap().seen.clear();

    // A hold comes and goes; only the other partition is read on.
    group.hold(true);
    group.serve(TICK).unwrap();
    group.hold(false);
    read(&mut group, &state, 2_000 - other_seen, || false);
    // The brokers have had time to answer: a partition that was resumed would be lent by now.
    let until = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until {
        let polled = group.poll_batch(TICK, |state, record| {
            state.seen.push((record.partition, record.offset.raw()));
            ControlFlow::Continue(())
        });
        polled.unwrap();
    }
    assert!(state.lock().unwrap().seen.iter().all(|(partition, _)| *partition == 1), "it was read meanwhile");

    // A partition that may go on while everything is held waits for the end of the hold.
    state.lock().unwrap().seen.clear();
    group.hold(true);
    group.pause(&still, false);
    let until = Instant::now() + Duration::from_secs(1);
    while Instant::now() < until {
        assert!(!matches!(group.serve(TICK).unwrap(), PollOutcome::Records(_)));
    }
    assert!(state.lock().unwrap().seen.is_empty());
    group.hold(false);
    read(&mut group, &state, 2_000, || false);
    let seen = by_partition(&state.lock().unwrap().seen);
    assert_eq!(seen[&0], (0..2_000).collect::<Vec<_>>());
}
