//! Plain readers that know nothing of Sluicegate: topics as `read_committed` clients see them, positions of groups.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use sluice_tests::TestServers;

/// How long a broker may take to answer while others are dying.
const CALL: Duration = Duration::from_secs(20);

fn consumer(servers: &TestServers, group: &str) -> BaseConsumer {
    configured(servers, group, "read_committed")
}

fn configured(servers: &TestServers, group: &str, isolation: &str) -> BaseConsumer {
    ClientConfig::new()
        .set("bootstrap.servers", &servers.brokers)
        .set("client.id", "oracle")
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("isolation.level", isolation)
        .set("enable.partition.eof", "true")
        .set("fetch.queue.backoff.ms", "20")
        .set("queued.max.messages.kbytes", "32768")
        .create()
        .unwrap()
}

/// The partitions of a topic.
fn partitions(consumer: &BaseConsumer, topic: &str) -> Vec<i32> {
    let metadata = consumer.fetch_metadata(Some(topic), CALL).unwrap();
    let found = metadata.topics().iter().find(|found| found.name() == topic).unwrap();
    found.partitions().iter().map(rdkafka::metadata::MetadataPartition::id).collect()
}

/// Lends every committed record of a topic, up to its end as it is now, to `take`; each partition in its order.
pub fn committed(servers: &TestServers, topic: &str, take: impl FnMut(&BorrowedMessage<'_>)) {
    let consumer = consumer(servers, "oracle");
    let from = partitions(&consumer, topic).into_iter().map(|partition| (partition, 0)).collect();
    read(&consumer, topic, &from, take);
}

/// One past the last committed record of every partition of a topic that holds any: read from behind, since markers and
/// aborted records may follow it.
pub fn committed_ends(servers: &TestServers, topic: &str) -> BTreeMap<i32, i64> {
    let consumer = consumer(servers, "oracle");
    let mut open = ends(servers, topic);
    let (mut found, mut reach) = (BTreeMap::new(), 1_000);
    while !open.is_empty() {
        let from = open.iter().map(|(partition, end)| (*partition, (end - reach).max(0))).collect();
        read(&consumer, topic, &from, |message| {
            found.insert(message.partition(), message.offset() + 1);
        });
        open.retain(|partition, end| *end > reach && !found.contains_key(partition));
        reach *= 10;
    }
    found
}

/// Lends every committed record from the given offsets on to `take`.
fn read(
    consumer: &BaseConsumer,
    topic: &str,
    from: &BTreeMap<i32, i64>,
    mut take: impl FnMut(&BorrowedMessage<'_>),
) {
    let mut open: BTreeSet<i32> = from.keys().copied().collect();
    let mut list = TopicPartitionList::new();
    for (partition, offset) in from {
        list.add_partition_offset(topic, *partition, Offset::Offset(*offset)).unwrap();
    }
    consumer.assign(&list).unwrap();
    let mut last = Instant::now();
    while !open.is_empty() {
        assert!(last.elapsed() < Duration::from_secs(90), "{topic} has no end: partitions {open:?}");
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                last = Instant::now();
                take(&message);
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(open.remove(&partition)),
            Some(Err(error)) => eprintln!("oracle: reading {topic}: {error}"),
            None => {}
        }
    }
}

/// How many committed records a topic holds.
pub fn count(servers: &TestServers, topic: &str) -> u64 {
    let mut count = 0;
    committed(servers, topic, |_| count += 1);
    count
}

/// The end of every partition of a topic (the high watermark; transaction markers count).
pub fn ends(servers: &TestServers, topic: &str) -> BTreeMap<i32, i64> {
    let consumer = consumer(servers, "oracle");
    let end = |partition| Some((partition, consumer.fetch_watermarks(topic, partition, CALL).ok()?.1));
    partitions(&consumer, topic).into_iter().filter_map(end).collect()
}

/// A header as text.
pub fn header(message: &BorrowedMessage<'_>, name: &str) -> Option<String> {
    let found = message.headers()?.iter().find(|header| header.key == name)?;
    Some(String::from_utf8_lossy(found.value?).into_owned())
}

/// The number of an event of the tests' schema, raw or masked: `id` text, then `n`; read by hand.
pub fn number(value: &[u8]) -> Option<i64> {
    let (length, at) = zigzag(value, 5)?;
    let at = at.checked_add(usize::try_from(length).ok()?)?;
    zigzag(value, at).map(|(n, _)| n)
}

fn zigzag(bytes: &[u8], mut at: usize) -> Option<(i64, usize)> {
    let (mut value, mut shift) = (0u64, 0);
    loop {
        let byte = *bytes.get(at)?;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        at += 1;
        if byte < 0x80 {
            return Some((((value >> 1) as i64) ^ -((value & 1) as i64), at));
        }
        shift += 7;
    }
}

/// `topic/partition/offset`, as the header `sluice.source` has it.
pub fn source(text: &str) -> Option<(i32, i64)> {
    let (rest, offset) = text.rsplit_once('/')?;
    let (_, partition) = rest.rsplit_once('/')?;
    Some((partition.parse().ok()?, offset.parse().ok()?))
}

/// Waits at the end of a topic for what comes, committed or not.
pub struct TopicTailReader(BaseConsumer);

impl TopicTailReader {
    /// Stands at the end of every partition when it comes back.
    pub fn new(servers: &TestServers, topic: &str) -> Self {
        let consumer = configured(servers, "oracle", "read_uncommitted");
        read(&consumer, topic, &ends(servers, topic), |_| ());
        Self(consumer)
    }

    /// When the next record came; `None` if none did.
    pub fn next(&self, within: Duration) -> Option<Instant> {
        let until = Instant::now() + within;
        while Instant::now() < until {
            if let Some(Ok(_)) = self.0.poll(Duration::from_millis(100)) {
                return Some(Instant::now());
            }
        }
        None
    }
}

/// Asks where a group stands; joins nothing.
pub struct GroupPositionReader {
    consumer: BaseConsumer,
    list: TopicPartitionList,
}

impl GroupPositionReader {
    /// Of `group` in `topic`.
    pub fn new(servers: &TestServers, group: &str, topic: &str) -> Self {
        // Else the answer waits while any transaction holds offsets of the group; what is told is committed either way.
        let consumer = configured(servers, group, "read_uncommitted");
        let mut list = TopicPartitionList::new();
        for partition in partitions(&consumer, topic) {
            list.add_partition(topic, partition);
        }
        Self { consumer, list }
    }

    /// By partition; those without a position are left out. `None` while nobody answers.
    pub fn now(&self) -> Option<BTreeMap<i32, i64>> {
        let committed = self.consumer.committed_offsets(self.list.clone(), Duration::from_secs(5)).ok()?;
        let known = committed.elements().into_iter().filter_map(|element| match element.offset() {
            Offset::Offset(next) => Some((element.partition(), next)),
            _ => None,
        });
        Some(known.collect())
    }
}
