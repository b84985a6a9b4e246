//! The topics: made, filled, counted, deleted.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

pub const PARTITIONS: i32 = 4;
/// Key and value together, as in the other benches' meter readings.
const KEY: usize = 13;
const VALUE: usize = 246;

fn admin(brokers: &str) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", brokers).create().expect("an admin client")
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}

/// Was it made? Otherwise it is there already.
pub fn create(brokers: &str, topic: &str) -> bool {
    // The records' times are made up, and long ago.
    let new = NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(1)).set("retention.ms", "-1");
    let made = wait(admin(brokers).create_topics([&new], &AdminOptions::new())).expect("an answer");
    made.iter().all(Result::is_ok)
}

pub fn delete(brokers: &str, topic: &str) {
    wait(admin(brokers).delete_topics(&[topic], &AdminOptions::new())).expect("a topic less");
}

/// Fills `topic` unless it is there already. Values hold text that compresses about as such records do.
pub fn fill(brokers: &str, topic: &str, records: u64) {
    if !create(brokers, topic) {
        return;
    }
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("linger.ms", "50")
        .set("batch.size", "1000000")
        .set("batch.num.messages", "100000")
        .set("queue.buffering.max.messages", "400000")
        .create()
        .expect("a producer");
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for number in 0..records {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let key = format!("{:0width$}", state % 1_000_000, width = KEY);
        let value = format!("{number:012}|{state:016x}|{}", "meter reading ".repeat(16));
        let mut record = BaseRecord::to(topic)
            .key(key.as_bytes())
            .payload(&value.as_bytes()[..VALUE])
            .timestamp(1_700_000_000_000 + number as i64);
        while let Err((error, back)) = producer.send(record) {
            assert_eq!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
            record = back;
            producer.poll(Duration::from_millis(1));
        }
        if number % 1000 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(Duration::from_secs(60)).expect("everything sent");
}

/// A reader of committed records must see every record once.
pub fn check(brokers: &str, topic: &str, records: u64) {
    let seen = sluice_kafka::count_committed(&section(brokers), topic).expect("a count");
    assert_eq!(seen, records, "{topic}");
}

pub fn section(brokers: &str) -> sluice_kafka::KafkaSection {
    sluice_kafka::KafkaSection {
        brokers: brokers.to_owned(),
        properties: Default::default(),
        secrets: Default::default(),
    }
}
