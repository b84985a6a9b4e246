//! Derives librdkafka's configuration from one memory setting and the operator's properties. Pure, except
//! that it reveals secrets.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use sluice_core::names::READER_GROUP;
use sluice_core::{BoxError, Fault};

use super::token;
use sluice_config::ConfigErrors;

use crate::KafkaSection;

/// Properties that carry the promises. An operator cannot change them. Each has the reason.
const OURS: &[(&str, &str)] = &[
    ("enable.auto.commit", "offsets move only over receipts"),
    ("enable.auto.offset.store", "offsets move only over receipts"),
    ("auto.offset.reset", "a lost position must stop the worker, not restart it elsewhere"),
    ("isolation.level", "only committed records are read"),
    ("enable.idempotence", "exactly once needs it"),
    ("acks", "exactly once needs acks=all"),
    ("transactional.id", "it names the worker's slot: set `instance`"),
    ("group.id", "set `group`"),
    ("bootstrap.servers", "set `kafka.brokers`"),
    ("partitioner", "co-partitioning with Java producers needs murmur2_random"),
    ("retry.backoff.ms", "it tells whether a request may have been sent twice"),
    ("retry.backoff.max.ms", "it tells whether a request may have been sent twice"),
    ("queue.buffering.max.kbytes", "derived from `memory`"),
    ("queued.max.messages.kbytes", "derived from `memory`"),
    ("queue.buffering.max.messages", "derived from `memory`"),
    ("queued.min.messages", "derived from `memory`"),
    ("fetch.max.bytes", "derived from `memory`"),
    ("fetch.message.max.bytes", "derived from `memory`"),
    ("delivery.report.only.error", "the report of a delivered record frees the record"),
];

/// Properties whose values are secrets. They must not be written in the open.
const SECRETS: [&str; 7] = [
    "sasl.password",
    "sasl.oauthbearer.token",
    "ssl.key.pem",
    "ssl.key.password",
    "ssl.keystore.password",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.config",
];

/// Finds properties that an operator may not set.
///
/// # Errors
/// All of them at once, each with the reason.
pub fn check(kafka: &KafkaSection) -> Result<(), ConfigErrors> {
    let mut errors = ConfigErrors::default();
    if kafka.brokers.trim().is_empty() {
        errors.add("kafka.brokers", "is empty", Some("expected host:port, separated by commas".into()));
    }

    // A promise cannot be changed by way of the secrets either.
    for name in kafka.properties.keys().chain(kafka.secrets.keys()) {
        if let Some((_, why)) = OURS.iter().find(|(ours, _)| ours == name) {
            errors.add(format!("kafka.properties.{name}"), "cannot be set", Some((*why).into()));
        }
    }

    // The value is not quoted: it may be the secret itself.
    for name in kafka.properties.keys() {
        if SECRETS.contains(&name.as_str()) {
            errors.add(
                format!("kafka.properties.{name}"),
                "is a secret; expected under kafka.secrets",
                Some("write it there as {env: NAME} or {file: path}".into()),
            );
        }
    }

    token::check(kafka, &mut errors);
    errors.or(())
}

/// Returns the source of access tokens for a client that logs in by token.
pub(super) fn tokens(kafka: &KafkaSection) -> Result<Option<token::SaslTokenSource>, Fault> {
    token::SaslTokenSource::of(kafka).map_err(|errors| Fault::user("reading Kafka's secrets", errors))
}

/// Builds the configuration that all clients share: brokers, back-off, the operator's properties and secrets.
fn base(kafka: &KafkaSection) -> Result<ClientConfig, Fault> {
    check(kafka).map_err(|errors| Fault::user("reading the Kafka section", errors))?;
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &kafka.brokers).set("client.id", "sluice");
    // A neighbour that is away is tried again quickly at first, then every few seconds.
    config.set("reconnect.backoff.ms", "100").set("reconnect.backoff.max.ms", "5000");
    config.set("topic.metadata.refresh.interval.ms", "60000").set("log.connection.close", "false");

    // The properties of the token endpoint are ours: a librdkafka without curl does not know them.
    for (name, value) in kafka.properties.iter().filter(|(name, _)| !token::is_ours(name)) {
        config.set(name, token::translated(name, value));
    }
    for (name, secret) in kafka.secrets.iter().filter(|(name, _)| !token::is_ours(name)) {
        let value = secret
            .reveal(&format!("kafka.secrets.{name}"))
            .map_err(|errors| Fault::user("reading Kafka's secrets", errors))?;
        config.set(name, value);
    }
    Ok(config)
}

/// Builds the configuration of a client without a group and without promises: metadata, watermarks,
/// administration.
pub(super) fn plain(kafka: &KafkaSection) -> Result<ClientConfig, Fault> {
    base(kafka)
}

/// Builds the configuration of a reader of committed records whose partitions are assigned by hand.
pub(super) fn reader(kafka: &KafkaSection) -> Result<ClientConfig, Fault> {
    let mut config = base(kafka)?;
    config
        .set("group.id", READER_GROUP)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed")
        .set("check.crcs", "true")
        // Readers read to an end: the end of a partition is an event for them.
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", "20")
        .set("fetch.queue.backoff.ms", "20")
        .set("queued.max.messages.kbytes", "16384");
    Ok(config)
}

/// Builds the configuration of a group's member. Only receipts move the group's offsets. `memory` is the
/// memory of the whole process, in bytes.
pub(super) fn group(kafka: &KafkaSection, group: &str, memory: usize) -> Result<ClientConfig, Fault> {
    let mut config = base(kafka)?;
    let queue = consumer_queue(memory);
    statistics(&mut config, kafka);

    config
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // The start is chosen on assignment: the committed position, the store's own, or the beginning for a
        // new group.
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .set("check.crcs", "true")
        .set("fetch.wait.max.ms", "50")
        // The default of 1,000 ms lets the fetcher sleep while the queue runs dry: the speed of a copy falls
        // to a third.
        .set("fetch.queue.backoff.ms", "20")
        .set("queued.max.messages.kbytes", (queue / 1024).to_string())
        .set("queued.min.messages", (queue / FETCHED).clamp(1_000, 100_000).to_string())
        .set("fetch.max.bytes", (queue / OVERSHOOT).clamp(1 << 20, 16 << 20).to_string())
        .set("fetch.message.max.bytes", (queue / OVERSHOOT / 4).clamp(128 << 10, 4 << 20).to_string());

    // With the protocol `consumer` (KIP-848) the brokers own these settings, and librdkafka refuses them.
    let modern = kafka
        .properties
        .get("group.protocol")
        .is_some_and(|protocol| protocol.eq_ignore_ascii_case("consumer"));
    if !modern {
        default(&mut config, kafka, "partition.assignment.strategy", "cooperative-sticky");
        // A dead worker's partitions move after its session. The others learn of the move by their next
        // heartbeat.
        default(&mut config, kafka, "session.timeout.ms", "8000");
        default(&mut config, kafka, "heartbeat.interval.ms", "1000");
    }
    Ok(config)
}

/// The time that librdkafka waits before it sends a request again, in milliseconds.
const RETRY_BACKOFF_MS: u64 = 500;
/// The shortest such wait: librdkafka takes off up to a fifth at random (`RD_KAFKA_RETRY_JITTER_PERCENT`). A
/// tenth more is for clocks.
pub(super) const LEAST_RETRY: Duration = Duration::from_millis(RETRY_BACKOFF_MS * 7 / 10);

/// The largest record that is handed to the client, in bytes, if the memory allows it.
const LARGEST_MESSAGE: usize = 16 << 20;

/// Builds the configuration of a producer. `transactional_id` makes it transactional; `memory` is the memory
/// of the whole process, in bytes.
pub(super) fn producer(
    kafka: &KafkaSection,
    transactional_id: Option<&str>,
    memory: usize,
) -> Result<ClientConfig, Fault> {
    let mut config = base(kafka)?;
    statistics(&mut config, kafka);

    config
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("partitioner", "murmur2_random")
        .set("socket.nagle.disable", "true")
        // The broker decides which records are too large. librdkafka's own limit is below Kafka's default and
        // would stop the worker.
        .set("message.max.bytes", (memory / 8).clamp(1 << 20, LARGEST_MESSAGE).to_string())
        .set("retry.backoff.ms", RETRY_BACKOFF_MS.to_string())
        .set("queue.buffering.max.kbytes", (producer_queue(memory) / 1024).to_string())
        .set("queue.buffering.max.messages", (producer_queue(memory) / MESSAGE).to_string())
        // Reports of success come to the lane's thread, which drops them and frees the records that it
        // allocated. With reports of failures only, librdkafka's thread frees the records. The two threads
        // then meet in the allocator and in queue counters for every record, and a copy takes more CPU
        // (benches/RESULTS.md has the figures).
        .set("delivery.report.only.error", "false")
        // Must be below transaction.timeout.ms, or a message could outlive its transaction.
        .set("message.timeout.ms", "8000");

    // Defaults that an operator may change.
    default(&mut config, kafka, "compression.type", "lz4");
    default(&mut config, kafka, "linger.ms", "5");
    // librdkafka's default of a million bytes, or less where the batches of several partitions would fill the
    // queue.
    default(
        &mut config,
        kafka,
        "batch.size",
        &(producer_queue(memory) / 16).clamp(65_536, 1_000_000).to_string(),
    );

    if let Some(id) = transactional_id {
        config.set("transactional.id", id);
        // After a SIGKILL readers wait for an open transaction at most this long. A restart with the same id
        // ends it at once.
        default(&mut config, kafka, TRANSACTION_TIMEOUT, &TRANSACTION_TIMEOUT_MS.to_string());
    }
    Ok(config)
}

/// Returns the time after which the coordinator ends an open transaction.
pub(super) fn transaction_timeout(kafka: &KafkaSection) -> Duration {
    let set = kafka.properties.get(TRANSACTION_TIMEOUT).and_then(|millis| millis.parse().ok());
    Duration::from_millis(set.unwrap_or(TRANSACTION_TIMEOUT_MS))
}

/// The property with that time, in milliseconds.
const TRANSACTION_TIMEOUT: &str = "transaction.timeout.ms";
/// The default of that property.
const TRANSACTION_TIMEOUT_MS: u64 = 10_000;

/// The cost of a message in librdkafka's producer besides its bytes, in bytes.
const MESSAGE: usize = 160;
/// The cost of a message in librdkafka's consumer besides its bytes, in bytes: an operation in its queue, and
/// its headers.
const FETCHED: usize = 320;
/// One fetch is smaller than the queue by this factor. librdkafka looks at the queue's limit before it sends
/// a request, it does not count [`FETCHED`], and the answer is compressed: a megabyte of small records may
/// become twenty.
const OVERSHOOT: usize = 16;

/// Returns the size of the consumer's queue in bytes: an eighth of the memory, for fetched records.
fn consumer_queue(memory: usize) -> usize {
    (memory / 8).max(1 << 20)
}

/// Returns the size of the producer's queue in bytes: an eighth of the memory, for records to be sent.
fn producer_queue(memory: usize) -> usize {
    (memory / 8).max(1 << 20)
}

/// Turns statistics on. They are parsed on the lane's thread; every five seconds the cost does not matter.
fn statistics(config: &mut ClientConfig, kafka: &KafkaSection) {
    default(config, kafka, "statistics.interval.ms", "5000");
}

/// Sets a property unless the operator has set it.
fn default(config: &mut ClientConfig, kafka: &KafkaSection, name: &str, value: &str) {
    if !kafka.properties.contains_key(name) {
        config.set(name, value);
    }
}

/// Turns a client that could not be built into a fault of the operator: a property is wrong.
pub(super) fn refused(doing: &str, error: impl Into<BoxError>) -> Fault {
    let hint = "check kafka.properties: names and values are librdkafka's own";
    // The text of rdkafka's own error has the value, which may be a secret.
    let why = match error.into().downcast::<KafkaError>().map(|error| *error) {
        Ok(KafkaError::ClientConfig(_, _, name, _)) => {
            format!("`{name}` is not a property, or has a wrong value").into()
        }
        Ok(error) => BoxError::from(error),
        Err(error) => error,
    };
    Fault::user(doing.to_owned(), why).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn what_carries_the_promises_cannot_be_set() {
        let properties = BTreeMap::from([
            ("acks".to_owned(), "1".to_owned()),
            ("sasl.password".to_owned(), "hunter2".to_owned()),
        ]);
        let errors =
            check(&KafkaSection { brokers: " ".into(), properties, secrets: BTreeMap::new() }).unwrap_err();
        let text = errors.to_string();
        assert_eq!(errors.0.len(), 3, "{text}");
        assert!(!text.contains("hunter2"));
    }

    #[test]
    fn buffers_follow_the_memory_setting() {
        let kafka =
            KafkaSection { brokers: "h:1".into(), properties: BTreeMap::new(), secrets: BTreeMap::new() };
        let config = group(&kafka, "g", 128 << 20).unwrap();
        assert_eq!(config.get("queued.max.messages.kbytes"), Some("16384"));
        // A queue of the smallest records, and a fetch of them behind it, stay below a quarter of the memory.
        let number = |name: &str| config.get(name).unwrap().parse::<usize>().unwrap();
        assert!(number("queued.min.messages") * FETCHED <= 16 << 20);
        assert!(number("fetch.max.bytes") <= 1 << 20 && number("fetch.message.max.bytes") <= 256 << 10);
        let config = producer(&kafka, Some("t"), 128 << 20).unwrap();
        assert_eq!(config.get("queue.buffering.max.kbytes"), Some("16384"));
    }
}
