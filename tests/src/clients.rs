//! Plain clients, directly on rdkafka: a producer of framed records and a reader of committed records.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::TestServers;

/// A record that a reader has received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumedRecord {
    /// Partition and offset.
    pub at: (i32, i64),
    /// Key.
    pub key: Option<Vec<u8>>,
    /// Value.
    pub value: Option<Vec<u8>>,
    /// Headers as text.
    pub headers: BTreeMap<String, String>,
}

/// Sends records to a topic and waits until all are acknowledged.
pub struct TestRecordSender {
    producer: ThreadedProducer<DefaultProducerContext>,
    topic: String,
}

impl TestRecordSender {
    /// Creates a sender to `topic`.
    pub fn new(servers: &TestServers, topic: &str) -> Self {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", &servers.brokers)
            .set("partitioner", "murmur2_random")
            .set("linger.ms", "5")
            .create()
            .unwrap_or_else(|error| panic!("a producer: {error}"));
        Self { producer, topic: topic.to_owned() }
    }

    /// Hands one record to the producer.
    pub fn send(&self, key: Option<&[u8]>, value: Option<&[u8]>) {
        let mut record = BaseRecord::<[u8], [u8]>::to(&self.topic);
        record.key = key;
        record.payload = value;
        self.producer.send(record).unwrap_or_else(|(error, _)| panic!("sending: {error}"));
    }

    /// Waits for the acknowledgements.
    #[allow(clippy::disallowed_methods, reason = "a plain client is plain: nothing here is measured")]
    pub fn flush(&self) {
        self.producer.flush(Duration::from_secs(30)).unwrap_or_else(|error| panic!("flushing: {error}"));
    }
}

/// Returns every record that a `read_committed` reader sees in a topic, up to its present end.
pub fn committed(servers: &TestServers, topic: &str) -> Vec<ConsumedRecord> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &servers.brokers)
        .set("group.id", "it-reader")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .create()
        .unwrap_or_else(|error| panic!("a consumer: {error}"));

    // Every partition is read from its beginning; the group is never joined.
    let metadata = consumer
        .fetch_metadata(Some(topic), Duration::from_secs(10))
        .unwrap_or_else(|error| panic!("metadata of {topic}: {error}"));
    let mut list = TopicPartitionList::new();
    let mut open = BTreeSet::new();
    for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
        let _ = list.add_partition_offset(topic, partition.id(), Offset::Beginning);
        open.insert(partition.id());
    }
    consumer.assign(&list).unwrap_or_else(|error| panic!("assigning {topic}: {error}"));

    // A partition is finished when librdkafka reports its end.
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut all = vec![];
    while !open.is_empty() {
        assert!(Instant::now() < deadline, "{topic} has no end");
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => all.push(ConsumedRecord {
                at: (message.partition(), message.offset()),
                key: message.key().map(<[u8]>::to_vec),
                value: message.payload().map(<[u8]>::to_vec),
                headers: message.headers().map_or_else(BTreeMap::new, |headers| {
                    headers
                        .iter()
                        .map(|h| {
                            (
                                h.key.to_owned(),
                                String::from_utf8_lossy(h.value.unwrap_or_default()).into_owned(),
                            )
                        })
                        .collect()
                }),
            }),
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(open.remove(&partition)),
            Some(Err(error)) => panic!("reading {topic}: {error}"),
            None => {}
        }
    }
    all
}

/// Returns the number of committed records in a topic.
pub fn count(servers: &TestServers, topic: &str) -> usize {
    committed(servers, topic).len()
}

/// Returns the newest schema of a subject: its id and its text.
pub fn schema_of(servers: &TestServers, subject: &str) -> (u32, String) {
    let url = format!("{}/subjects/{subject}/versions/latest", servers.registry);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.unwrap_or_else(|error| panic!("tokio: {error}"));
    let body: serde_json::Value = runtime.block_on(async {
        let answer = reqwest::get(&url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
        answer.json().await.unwrap_or_else(|error| panic!("{url}: {error}"))
    });
    let id =
        body["id"].as_u64().and_then(|id| u32::try_from(id).ok()).unwrap_or_else(|| panic!("{url}: {body}"));
    (id, body["schema"].as_str().unwrap_or_default().to_owned())
}

/// Returns one framed event of [`crate::contract::SCHEMA`]. The bytes are written by hand, so that the test
/// trusts no encoder of the fleet.
pub fn event(schema_id: u32, id: &str, n: i64, note: &str) -> Vec<u8> {
    let mut out = vec![0];
    out.extend_from_slice(&schema_id.to_be_bytes());
    text(id, &mut out);
    zigzag(n, &mut out);
    text(note, &mut out);
    out
}

/// Appends a string in Avro's encoding: its length and its bytes.
fn text(text: &str, out: &mut Vec<u8>) {
    zigzag(text.len() as i64, out);
    out.extend_from_slice(text.as_bytes());
}

/// Appends a long in Avro's encoding, a zig-zag varint.
pub fn zigzag(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push((rest as u8 & 0x7f) | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}
