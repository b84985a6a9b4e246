//! Reads the topics' records and the groups' positions with its own Kafka client (`read_committed`).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};

const PATIENCE: Duration = Duration::from_secs(20);
/// A scan that sees no record for this time is given up.
const SILENCE: Duration = Duration::from_secs(60);

/// A topic read from its beginning to its end.
#[derive(Debug, Default, Clone)]
pub(crate) struct DemoTopicScan {
    /// Committed records.
    pub(crate) records: i64,
    /// One past the last record, for each partition that holds records.
    pub(crate) next: BTreeMap<i32, i64>,
}

/// A Kafka client for counts and positions.
pub(crate) struct DemoTopicReader {
    brokers: String,
    client: BaseConsumer,
    groups: BTreeMap<String, BaseConsumer>,
}

impl DemoTopicReader {
    pub(crate) fn new(brokers: &str) -> Result<Self> {
        let client = client(brokers, "demo-onlooker")?;
        Ok(Self { brokers: brokers.to_owned(), client, groups: BTreeMap::new() })
    }

    /// Returns about the number of records in a topic. It counts offsets, and transactions take some of them.
    pub(crate) fn about(&self, topic: &str) -> i64 {
        let ends = || -> Result<i64> {
            let mut sum = 0;
            for partition in self.partitions(topic)? {
                let (low, high) = self.client.fetch_watermarks(topic, partition, PATIENCE)?;
                sum += high - low;
            }
            Ok(sum)
        };
        ends().unwrap_or(0) // for the progress bar only
    }

    /// Returns a group's committed offsets in a topic, summed over its partitions. It is for the progress
    /// bar.
    pub(crate) fn progress(&mut self, group: &str, topic: &str) -> i64 {
        self.committed(group, topic).map(|offsets| offsets.values().sum()).unwrap_or(0)
    }

    /// Returns a group's committed offsets by partition.
    pub(crate) fn committed(&mut self, group: &str, topic: &str) -> Result<BTreeMap<i32, i64>> {
        let partitions = self.partitions(topic)?;
        if !self.groups.contains_key(group) {
            self.groups.insert(group.to_owned(), client(&self.brokers, group)?);
        }
        let mut asked = TopicPartitionList::new();
        for partition in partitions {
            asked.add_partition(topic, partition);
        }
        let Some(consumer) = self.groups.get(group) else { bail!("no client for group {group}") };
        let answer = consumer
            .committed_offsets(asked, PATIENCE)
            .with_context(|| format!("offsets of group {group}"))?;
        let known = answer.elements().into_iter().filter_map(|at| match at.offset() {
            Offset::Offset(next) => Some((at.partition(), next)),
            _ => None,
        });
        Ok(known.collect())
    }

    /// Tells whether a group has committed past every record of a scan.
    pub(crate) fn reached(&mut self, group: &str, topic: &str, scan: &DemoTopicScan) -> Result<bool> {
        let committed = self.committed(group, topic)?;
        Ok(scan.next.iter().all(|(partition, next)| committed.get(partition).is_some_and(|at| at >= next)))
    }

    /// Reads a topic from its beginning to its present end.
    pub(crate) fn scan(
        &self,
        topic: &str,
        mut look: impl FnMut(&BorrowedMessage<'_>),
    ) -> Result<DemoTopicScan> {
        let consumer = client(&self.brokers, "demo-onlooker")?;
        let mut assignment = TopicPartitionList::new();
        let partitions = self.partitions(topic)?;
        for partition in &partitions {
            assignment.add_partition_offset(topic, *partition, Offset::Beginning)?;
        }
        consumer.assign(&assignment).with_context(|| format!("reading {topic}"))?;
        let mut scan = DemoTopicScan::default();
        let mut open: Vec<i32> = partitions;
        let mut heard = Instant::now();
        while !open.is_empty() {
            match consumer.poll(Duration::from_millis(500)) {
                Some(Ok(message)) => {
                    look(&message);
                    scan.records += 1;
                    scan.next.insert(message.partition(), message.offset() + 1);
                    heard = Instant::now();
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => open.retain(|other| *other != partition),
                Some(Err(error)) => return Err(error).with_context(|| format!("reading {topic}")),
                None if heard.elapsed() > SILENCE => bail!("{topic}: no end in {} s", SILENCE.as_secs()),
                None => {}
            }
        }
        Ok(scan)
    }

    fn partitions(&self, topic: &str) -> Result<Vec<i32>> {
        let metadata = self
            .client
            .fetch_metadata(Some(topic), PATIENCE)
            .with_context(|| format!("looking for {topic}"))?;
        let partitions: Vec<i32> = metadata
            .topics()
            .iter()
            .flat_map(|topic| topic.partitions().iter().map(|partition| partition.id()))
            .collect();
        if partitions.is_empty() {
            bail!("topic {topic} is not there");
        }
        Ok(partitions)
    }
}

fn client(brokers: &str, group: &str) -> Result<BaseConsumer> {
    ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", group) // asked for its offsets; never joined
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("queued.max.messages.kbytes", "32768")
        .create()
        .context("making a Kafka client")
}
