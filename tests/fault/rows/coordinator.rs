//! Row 8: every answer a coordinator or a leader may give, and what the producer makes of it.
//!
//! librdkafka's own mock cluster answers with the error that is asked for, once; everything else it answers as Kafka would.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey as Api, RDKafkaRespErr as Answer};
use sluice_core::{Fault, NextOffset, Retry, TopicPartition};
use sluice_kafka::{
    CommitPositions, ConsumerGroup, GroupEvents, GroupMetadata, KafkaProducer, OutgoingRecord, PartitionStart,
};
use sluice_runtime::config::KafkaSection;

const MEMORY: usize = 32 << 20;

/// A lane that takes whatever it is given.
struct SilentGroupEvents;

impl GroupEvents for SilentGroupEvents {
    fn assigned(&mut self, _: &TopicPartition, _: Option<NextOffset>) -> PartitionStart {
        PartitionStart::Beginning
    }

    fn revoking(
        &mut self,
        _: &[TopicPartition],
        _: bool,
        _: Option<GroupMetadata>,
    ) -> Vec<(TopicPartition, NextOffset)> {
        vec![]
    }

    fn trouble(&mut self, _: Fault) {}
}

/// One transaction of one record; the first fault and the call that gave it.
fn transaction(
    producer: &mut KafkaProducer,
    group: &mut ConsumerGroup<SilentGroupEvents>,
) -> Result<(), (&'static str, Fault)> {
    let out = OutgoingRecord {
        topic: "out",
        partition: None,
        key: Some(b"k"),
        value: Some(b"v"),
        timestamp_ms: None,
        headers: &[],
    };
    let positions = CommitPositions::from([(TopicPartition::new("in", 0), NextOffset::new(1).unwrap())]);
    producer.begin().map_err(|fault| ("begin", fault))?;
    producer.send(&out).map_err(|fault| ("send", fault))?;
    producer.flush().map_err(|fault| ("flush", fault))?;
    let metadata = group.metadata().expect("a member");
    producer.send_offsets(&positions, &metadata).map_err(|fault| ("send_offsets", fault))?;
    producer.commit().map_err(|fault| ("commit", fault))
}

/// What is expected of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ProducerReaction {
    /// The same call again; the transaction is committed.
    Mended,
    /// Abort, the same producer again.
    Abort,
    /// A new producer with the same id.
    Anew,
    /// The worker stops.
    Stop,
}

fn met(result: &Result<(), (&'static str, Fault)>) -> ProducerReaction {
    match result.as_ref().map_err(|(_, fault)| fault.retry) {
        Ok(()) => ProducerReaction::Mended,
        Err(Retry::Rewind) => ProducerReaction::Abort,
        Err(Retry::Later) => ProducerReaction::Anew,
        Err(Retry::Never) => ProducerReaction::Stop,
    }
}

const ANSWERS: &[(Api, Answer, ProducerReaction)] = {
    use Answer::*;
    use Api::*;
    use ProducerReaction::*;
    &[
        (EndTxn, RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, Mended),
        (EndTxn, RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE, Mended),
        (EndTxn, RD_KAFKA_RESP_ERR_NOT_COORDINATOR, Mended),
        (EndTxn, RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS, Mended),
        (EndTxn, RD_KAFKA_RESP_ERR__TRANSPORT, Mended),
        (EndTxn, RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID, Abort),
        (EndTxn, RD_KAFKA_RESP_ERR_INVALID_TXN_STATE, Anew),
        (EndTxn, RD_KAFKA_RESP_ERR_PRODUCER_FENCED, Stop),
        (EndTxn, RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, Stop),
        (EndTxn, RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED, Stop),
        (AddOffsetsToTxn, RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE, Mended),
        (AddOffsetsToTxn, RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS, Mended),
        (AddOffsetsToTxn, RD_KAFKA_RESP_ERR__TRANSPORT, Mended),
        (AddOffsetsToTxn, RD_KAFKA_RESP_ERR_INVALID_TXN_STATE, Anew),
        (AddOffsetsToTxn, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, Stop),
        (TxnOffsetCommit, RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, Mended),
        (TxnOffsetCommit, RD_KAFKA_RESP_ERR__TRANSPORT, Mended),
        (TxnOffsetCommit, RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION, Abort),
        (TxnOffsetCommit, RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID, Abort),
        (TxnOffsetCommit, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, Stop),
        (AddPartitionsToTxn, RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS, Mended),
        (AddPartitionsToTxn, RD_KAFKA_RESP_ERR__TRANSPORT, Mended),
        // Told by the records that were purged; the abort then tells that the id was taken, and it is taken anew.
        (AddPartitionsToTxn, RD_KAFKA_RESP_ERR_PRODUCER_FENCED, Abort),
        (Produce, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, Mended),
        (Produce, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, Mended),
        (Produce, RD_KAFKA_RESP_ERR__TRANSPORT, Mended),
        (Produce, RD_KAFKA_RESP_ERR_INVALID_RECORD, Abort),
        (Produce, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, Stop),
    ]
};

/// Transactions until one is committed: what an abort has purged may show in the one after it.
const TRIES: usize = 4;

/// Is the way on open after a fault? As a lane goes on: abort and again, or a new producer.
fn goes_on(
    mut producer: KafkaProducer,
    group: &mut ConsumerGroup<SilentGroupEvents>,
    anew: impl Fn() -> KafkaProducer,
) -> Result<(), String> {
    let mut last = String::new();
    for _ in 0..TRIES {
        match transaction(&mut producer, group) {
            Ok(()) => return Ok(()),
            Err((call, fault)) => {
                last = format!("{call}: {fault}");
                if fault.retry != Retry::Rewind || producer.abort().is_err() {
                    producer = anew();
                }
            }
        }
    }
    Err(last)
}

#[test]
#[ignore = "make fault"]
fn every_answer_of_a_coordinator_is_mended_aborted_renewed_or_stops() {
    let mock = MockCluster::new(1).unwrap();
    mock.create_topic("in", 1, 1).unwrap();
    mock.create_topic("out", 1, 1).unwrap();
    let kafka = KafkaSection {
        brokers: mock.bootstrap_servers(),
        properties: Default::default(),
        secrets: Default::default(),
    };
    let mut group = ConsumerGroup::join(
        &kafka,
        "lane",
        &["in".to_owned()],
        MEMORY,
        Arc::new(Mutex::new(SilentGroupEvents)),
    )
    .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while group.assignment().is_empty() {
        assert!(Instant::now() < deadline, "no assignment");
        group.serve(Duration::from_millis(20)).unwrap();
    }
    let mut wrong = vec![];
    for (row, (api, answer, want)) in ANSWERS.iter().enumerate() {
        let said = format!("{api:?} answered {answer:?}");
        let take = || KafkaProducer::transactional(&kafka, &format!("slot-{row}"), MEMORY).unwrap();
        let mut producer = take();
        transaction(&mut producer, &mut group).map_err(|(call, fault)| format!("{call}: {fault}")).unwrap();
        mock.request_errors(*api, &[*answer]);
        let result = transaction(&mut producer, &mut group);
        let found = met(&result);
        if found != *want {
            wrong.push(format!("{said}: {found:?}, not {want:?}: {result:?}"));
        }
        if found == ProducerReaction::Anew || (found == ProducerReaction::Abort && producer.abort().is_err())
        {
            drop(producer);
            producer = take();
        }
        if found != ProducerReaction::Stop
            && let Err(why) = goes_on(producer, &mut group, take)
        {
            wrong.push(format!("{said}: no way on: {why}"));
        }
        mock.clear_request_errors(*api);
        group.serve(Duration::ZERO).unwrap(); // stays a member
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
