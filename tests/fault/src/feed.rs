//! Sends numbered events and logs what became of each: ok, fail or unknown.
//!
//! A record is (key, sequence): its number `n` belongs to key `n % keys`, and numbers rise, so that they tell the order
//! within a key too. `fail` is made on purpose: some blocks are sent in a transaction of their own that is aborted.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::{ClientConfig, ClientContext};
use sluice_tests::TestServers;
use sluice_tests::clients::event;

/// How long a call to the cluster may take.
const CALL: Duration = Duration::from_secs(30);

/// What is known of a record that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FeedRecordFate {
    /// Nobody knows: there once, or not at all.
    #[default]
    Unknown,
    /// Acknowledged: there exactly once.
    Ok,
    /// Refused or aborted: nowhere.
    Fail,
}

/// What a feed has sent.
#[derive(Debug, Default, Clone)]
pub struct FeedLog {
    /// By number.
    pub fates: Vec<FeedRecordFate>,
    /// One past the last acknowledged record, per partition.
    pub ends: BTreeMap<i32, i64>,
}

/// Remembers what was acknowledged.
#[derive(Default)]
struct FeedLedger {
    sent: Mutex<FeedLog>,
}

impl ClientContext for FeedLedger {
    fn error(&self, _: KafkaError, _: &str) {} // brokers die here on purpose
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, _: &str, _: &str) {}
}

impl ProducerContext for FeedLedger {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, n: usize) {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(message) => {
                sent.fates[n] = FeedRecordFate::Ok;
                let end = sent.ends.entry(message.partition()).or_default();
                *end = (*end).max(message.offset() + 1);
            }
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge), _)) => {
                sent.fates[n] = FeedRecordFate::Fail;
            }
            Err(_) => {}
        }
    }
}

/// The generator of a run.
pub struct EventFeed {
    brokers: String,
    topic: String,
    schema: u32,
    keys: usize,
    producer: BaseProducer<FeedLedger>,
    aborting: Option<BaseProducer>,
}

impl EventFeed {
    /// A feed of events to `topic`, whose value schema has this id.
    pub fn new(servers: &TestServers, topic: &str, schema: u32, keys: usize) -> Self {
        let producer = config(&servers.brokers).create_with_context(FeedLedger::default()).unwrap();
        Self {
            brokers: servers.brokers.clone(),
            topic: topic.to_owned(),
            schema,
            keys,
            producer,
            aborting: None,
        }
    }

    fn ledger(&self) -> std::sync::MutexGuard<'_, FeedLog> {
        self.producer.context().sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands `count` events over; waits only while the client's queue is full.
    pub fn send(&self, count: usize) {
        let from = {
            let mut sent = self.ledger();
            let from = sent.fates.len();
            sent.fates.resize(from + count, FeedRecordFate::Unknown);
            from
        };
        for n in from..from + count {
            let (key, value) = event_of(self.schema, self.keys, n);
            let mut record = BaseRecord::with_opaque_to(&self.topic, n).key(&key[..]).payload(&value[..]);
            while let Err((error, back)) = self.producer.send(record) {
                assert!(
                    matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)),
                    "sending: {error}"
                );
                record = back;
                self.producer.poll(Duration::from_millis(5));
            }
            if n % 256 == 0 {
                self.serve();
            }
        }
    }

    /// Takes delivery reports in.
    pub fn serve(&self) {
        self.producer.poll(Duration::ZERO);
    }

    /// Waits until it is known what became of each event, or nothing more will be known.
    pub fn flush(&self) {
        let deadline = Instant::now() + Duration::from_secs(180);
        while self.producer.in_flight_count() > 0 {
            assert!(Instant::now() < deadline, "the generator's records are not acknowledged");
            self.producer.poll(Duration::from_millis(10));
        }
        self.serve();
    }

    /// Sends events in a transaction and aborts it: they lie in the log, and nobody may ever see them. What a broker's
    /// death leaves unfinished is aborted by the transaction's time-out or by the next call.
    pub fn abort(&mut self, count: usize) {
        let from = {
            let mut sent = self.ledger();
            let from = sent.fates.len();
            sent.fates.resize(from + count, FeedRecordFate::Fail);
            from
        };
        if let Err(error) = self.send_and_abort(from, count) {
            println!("feed: a transaction was left to its time-out: {error}");
            self.aborting = None;
        }
    }

    fn send_and_abort(&mut self, from: usize, count: usize) -> Result<(), KafkaError> {
        let aborting = match &self.aborting {
            Some(aborting) => aborting,
            None => {
                let mut config = config(&self.brokers);
                config.set("transactional.id", format!("feed-{}", self.topic));
                config.set("message.timeout.ms", "8000").set("transaction.timeout.ms", "10000");
                let producer: BaseProducer = config.create()?;
                producer.init_transactions(CALL)?;
                self.aborting.insert(producer)
            }
        };
        aborting.begin_transaction()?;
        for n in from..from + count {
            let (key, value) = event_of(self.schema, self.keys, n);
            let record = BaseRecord::to(&self.topic).key(&key[..]).payload(&value[..]);
            aborting.send(record).map_err(|(error, _)| error)?;
        }
        // Into the log first, or the abort would only purge them from the client's queue.
        let deadline = Instant::now() + CALL;
        while aborting.in_flight_count() > 0 && Instant::now() < deadline {
            aborting.poll(Duration::from_millis(10));
        }
        aborting.abort_transaction(CALL)
    }

    /// How many numbers were given out.
    pub fn count(&self) -> usize {
        self.ledger().fates.len()
    }

    /// How many are handed over and not yet answered.
    pub fn in_flight(&self) -> usize {
        usize::try_from(self.producer.in_flight_count()).unwrap_or(0)
    }

    /// One past the last acknowledged record, per partition.
    pub fn ends(&self) -> BTreeMap<i32, i64> {
        self.serve();
        self.ledger().ends.clone()
    }

    /// What was sent and what became of it.
    pub fn sent(&self) -> FeedLog {
        self.ledger().clone()
    }
}

fn event_of(schema: u32, keys: usize, n: usize) -> (Vec<u8>, Vec<u8>) {
    let key = format!("K{:05}", n % keys);
    let value = event(schema, &key, i64::try_from(n).unwrap(), "a note about somebody");
    (key.into_bytes(), value)
}

fn config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("client.id", "feed")
        .set("partitioner", "murmur2_random")
        .set("enable.idempotence", "true")
        .set("compression.type", "lz4")
        .set("linger.ms", "20")
        .set("queue.buffering.max.messages", "200000")
        // A broker may be away for a while; what is not known by then stays unknown.
        .set("message.timeout.ms", "120000");
    config
}
