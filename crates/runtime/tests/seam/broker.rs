//! One broker for all tests of this binary, topics of their own for each, and a lane's least state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use sluice_core::{Fault, NextOffset, TopicPartition};
use sluice_kafka::{GroupEvents, GroupMetadata, KafkaProducer, OutgoingRecord, PartitionStart, read_to_end};
use sluice_runtime::config::KafkaSection;
use sluice_stack::ServerStack;

pub(crate) const MEMORY: usize = 64 << 20;
pub(crate) const WAIT: Duration = Duration::from_secs(60);

/// Ended, and its folder removed, with the last test that holds it.
pub(crate) fn broker() -> Arc<ServerStack> {
    static STACK: Mutex<Weak<ServerStack>> = Mutex::new(Weak::new());
    let mut shared = STACK.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let stack = Arc::new(ServerStack::builder().kafka(1).start().expect("Kafka starts"));
        // Every lane's commits carry receipts.
        create(&stack, sluice_runtime::receipts::TOPIC, 1);
        *shared = Arc::downgrade(&stack);
        stack
    })
}

pub(crate) fn section(stack: &ServerStack, properties: &[(&str, &str)]) -> KafkaSection {
    let properties = properties.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    KafkaSection { brokers: stack.brokers().to_owned(), properties, secrets: BTreeMap::new() }
}

pub(crate) fn admin(stack: &ServerStack) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", stack.brokers()).create().unwrap()
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

pub(crate) fn create(stack: &ServerStack, topic: &str, partitions: i32) {
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    for made in block_on(admin(stack).create_topics([&new], &AdminOptions::new())).unwrap() {
        made.unwrap();
    }
}

/// Sends values `from..to`, as text, each to the partition of its remainder; its key is that remainder.
pub(crate) fn feed(stack: &ServerStack, topic: &str, partitions: i32, from: i64, to: i64) {
    let mut producer = KafkaProducer::idempotent(&section(stack, &[]), MEMORY).unwrap();
    for number in from..to {
        let (key, value) = ((number % i64::from(partitions)).to_string(), number.to_string());
        producer
            .send(&OutgoingRecord {
                topic,
                partition: Some(i32::try_from(number % i64::from(partitions)).unwrap()),
                key: Some(key.as_bytes()),
                value: Some(value.as_bytes()),
                timestamp_ms: None,
                headers: &[],
            })
            .unwrap();
    }
    producer.flush().unwrap();
}

pub(crate) fn number(bytes: Option<&[u8]>) -> i64 {
    std::str::from_utf8(bytes.unwrap()).unwrap().parse().unwrap()
}

/// The committed values of a topic, per partition in order.
pub(crate) fn values(stack: &ServerStack, topic: &str) -> BTreeMap<i32, Vec<i64>> {
    let mut seen: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
    read_to_end(&section(stack, &[]), topic, &mut BTreeMap::new(), |record| {
        seen.entry(record.partition).or_default().push(number(record.value));
    })
    .unwrap();
    seen
}

/// `0..count`, each once, and each key's in order: `keys` values of a remainder share one.
pub(crate) fn oracle(seen: &BTreeMap<i32, Vec<i64>>, count: i64, keys: i64) {
    let all: Vec<i64> = seen.values().flatten().copied().collect();
    let distinct: BTreeSet<i64> = all.iter().copied().collect();
    let missing: Vec<i64> = (0..count).filter(|n| !distinct.contains(n)).take(5).collect();
    assert!(missing.is_empty(), "missing, first of them: {missing:?}");
    assert_eq!(all.len(), distinct.len(), "something is there twice");
    for values in seen.values() {
        let mut last = BTreeMap::new();
        for value in values {
            let before = last.insert(value % keys, *value);
            assert!(before.is_none_or(|before| before < *value), "{value} after {before:?}");
        }
    }
}

pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + WAIT;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {WAIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(20)); // another thread's progress: no event to wait for
    }
}

/// The least that a lane's state can be.
#[derive(Default)]
pub(crate) struct MinimalLaneState {
    pub(crate) owned: BTreeSet<TopicPartition>,
    pub(crate) seen: Vec<(i32, i64)>,
    pub(crate) lost: u32,
    pub(crate) troubles: Vec<String>,
}

impl GroupEvents for MinimalLaneState {
    fn assigned(&mut self, at: &TopicPartition, committed: Option<NextOffset>) -> PartitionStart {
        self.owned.insert(at.clone());
        committed.map_or(PartitionStart::Beginning, PartitionStart::At)
    }

    fn revoking(
        &mut self,
        partitions: &[TopicPartition],
        lost: bool,
        _: Option<GroupMetadata>,
    ) -> Vec<(TopicPartition, NextOffset)> {
        self.lost += u32::from(lost);
        self.owned.retain(|at| !partitions.contains(at));
        vec![]
    }

    fn trouble(&mut self, fault: Fault) {
        self.troubles.push(fault.to_string());
    }
}
