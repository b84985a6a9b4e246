//! The peers: plain copies on librdkafka as one would write them, tuned, with a static assignment.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use rdkafka_sys as sys;

use crate::data::PARTITIONS;
use crate::{FirstRecordClock, LaneBenchJob, LaneBenchResult};

const CALL: Duration = Duration::from_secs(30);
/// As often as a lane commits by default.
const INTERVAL: Duration = Duration::from_millis(250);

fn consumer(job: &LaneBenchJob) -> BaseConsumer {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &job.brokers)
        .set("group.id", &job.run)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("isolation.level", "read_committed")
        .set("fetch.min.bytes", "524288")
        .set("fetch.wait.max.ms", "20")
        .set("fetch.message.max.bytes", "4194304")
        .set("queued.min.messages", "200000")
        .set("queued.max.messages.kbytes", "131072")
        // With the default of a second the fetcher sleeps while the queue runs dry.
        .set("fetch.queue.backoff.ms", "20")
        .create()
        .expect("a consumer");
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(&job.input, partition, Offset::Beginning).expect("a partition");
    }
    consumer.assign(&list).expect("an assignment");
    consumer
}

fn producer(job: &LaneBenchJob, transactional: bool) -> BaseProducer {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &job.brokers)
        .set("compression.type", "lz4")
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("partitioner", "murmur2_random")
        .set("linger.ms", if transactional { "5" } else { "50" })
        .set("socket.nagle.disable", "true")
        .set("batch.size", "1000000")
        .set("batch.num.messages", "100000")
        .set("queue.buffering.max.messages", "400000")
        .set("queue.buffering.max.kbytes", "262144")
        .set("retry.backoff.ms", "10");
    if transactional {
        config.set("transactional.id", &job.run);
    }
    config.create().expect("a producer")
}

/// Both crate's own waits step by 100 ms.
fn flush(producer: &BaseProducer) {
    while producer.in_flight_count() > 0 {
        // SAFETY: the client is live.
        unsafe { sys::rd_kafka_flush(producer.client().native_ptr(), 1) };
        producer.poll(Duration::ZERO);
    }
}

fn send(producer: &BaseProducer, mut record: BaseRecord<'_, [u8], [u8]>) {
    while let Err((error, back)) = producer.send(record) {
        assert_eq!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
        record = back;
        producer.poll(Duration::from_millis(1));
    }
}

fn list(job: &LaneBenchJob, next: &BTreeMap<i32, i64>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in next {
        list.add_partition_offset(&job.input, *partition, Offset::Offset(*offset)).expect("a partition");
    }
    list
}

/// One message at a time, counted.
pub fn consume(job: &LaneBenchJob) -> LaneBenchResult {
    let consumer = consumer(job);
    let (mut records, mut bytes, mut clock) = (0, 0, FirstRecordClock::new());
    while records < job.records {
        if let Some(message) = consumer.poll(Duration::from_millis(200)) {
            let message = message.expect("a message");
            clock.start();
            records += 1;
            bytes += message.payload_len() + message.key_len();
        }
    }
    assert!(bytes > 0);
    LaneBenchResult { records, seconds: clock.seconds() }
}

pub fn copy(job: &LaneBenchJob) -> LaneBenchResult {
    copy_with(job, false)
}

pub fn copy_in_transactions(job: &LaneBenchJob) -> LaneBenchResult {
    copy_with(job, true)
}

/// One message at a time, unchanged; flushed and committed by the interval.
fn copy_with(job: &LaneBenchJob, transactional: bool) -> LaneBenchResult {
    let (consumer, producer) = (consumer(job), producer(job, transactional));
    if transactional {
        producer.init_transactions(CALL).expect("a transactional id");
    }
    let (mut records, mut clock, mut open, mut last) = (0, FirstRecordClock::new(), false, Instant::now());
    let mut next = BTreeMap::new();
    while records < job.records {
        if let Some(message) = consumer.poll(Duration::from_millis(200)) {
            let message = message.expect("a message");
            clock.start();
            if transactional && !open {
                producer.begin_transaction().expect("a transaction");
                (open, last) = (true, Instant::now());
            }
            records += 1;
            let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&job.output);
            record.key = message.key();
            record.payload = message.payload();
            record.timestamp = message.timestamp().to_millis();
            send(&producer, record);
            next.insert(message.partition(), message.offset() + 1);
            if records % 1000 == 0 {
                producer.poll(Duration::ZERO);
            }
        }
        // The clock is not read for every message.
        if !next.is_empty() && ((records % 1000 == 0 && last.elapsed() >= INTERVAL) || records == job.records)
        {
            flush(&producer);
            if transactional {
                let group = consumer.group_metadata().expect("the group's metadata");
                producer.send_offsets_to_transaction(&list(job, &next), &group, CALL).expect("offsets");
                producer.commit_transaction(CALL).expect("a commit");
                open = false;
            } else {
                consumer.commit(&list(job, &next), CommitMode::Sync).expect("a commit");
            }
            last = Instant::now();
        }
    }
    LaneBenchResult { records, seconds: clock.seconds() }
}

/// By `rd_kafka_consume_batch_queue`, without transactions: the least that librdkafka's consumer side can cost.
pub fn copy_by_batch(job: &LaneBenchJob) -> LaneBenchResult {
    let (consumer, producer) = (consumer(job), producer(job, false));
    let (mut records, mut clock, mut last) = (0, FirstRecordClock::new(), Instant::now());
    let mut next = BTreeMap::new();
    // SAFETY: the queue belongs to the live consumer and is destroyed before it; each message is read while it lives
    // and destroyed once; the array is as long as is said.
    unsafe {
        let queue = sys::rd_kafka_queue_get_consumer(consumer.client().native_ptr());
        let mut batch = vec![std::ptr::null_mut(); 10_000];
        while records < job.records {
            let taken = sys::rd_kafka_consume_batch_queue(queue, 20, batch.as_mut_ptr(), batch.len());
            for &message in &batch[..usize::try_from(taken).unwrap_or(0)] {
                clock.start();
                let lent = &*message;
                assert!(lent.err == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR, "a message");
                records += 1;
                let bytes =
                    |from: *mut libc::c_void, length| std::slice::from_raw_parts(from.cast::<u8>(), length);
                let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&job.output);
                record.key = Some(bytes(lent.key, lent.key_len));
                record.payload = Some(bytes(lent.payload, lent.len));
                record.timestamp = Some(sys::rd_kafka_message_timestamp(message, std::ptr::null_mut()));
                send(&producer, record);
                next.insert(lent.partition, lent.offset + 1);
                sys::rd_kafka_message_destroy(message);
            }
            producer.poll(Duration::ZERO);
            if !next.is_empty() && (last.elapsed() >= INTERVAL || records >= job.records) {
                flush(&producer);
                consumer.commit(&list(job, &next), CommitMode::Sync).expect("a commit");
                last = Instant::now();
            }
        }
        sys::rd_kafka_queue_destroy(queue);
    }
    LaneBenchResult { records, seconds: clock.seconds() }
}
