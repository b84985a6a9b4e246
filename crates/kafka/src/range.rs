//! Reading a range of offsets of one partition, outside any group.

use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use sluice_core::{Fault, RecordRef, TopicPartition};

use super::{reader, settings};
use crate::KafkaSection;

/// No record and no end of the partition for this long: the brokers are away.
const STALLED: Duration = Duration::from_secs(30);

/// Lends every committed record from offset `from` up to, not including, `to` to `take`, in order.
///
/// # Errors
/// What `take` says, or a [`Fault`] if Kafka does not answer or `from` is no longer in the log.
pub fn read_range(
    kafka: &KafkaSection,
    at: &TopicPartition,
    (from, to): (i64, i64),
    mut take: impl FnMut(&RecordRef<'_>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let consumer = reader::open(kafka, settings::reader(kafka)?.set("auto.offset.reset", "error"))?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&at.topic, at.partition, rdkafka::Offset::Offset(from))
        .map_err(|error| Fault::bug("listing partitions", error))?;
    consumer.assign(&list).map_err(|error| Fault::bug("assigning partitions", error))?;
    let mut last = Instant::now();
    loop {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) if message.offset() >= to => return Ok(()),
            Some(Ok(message)) => {
                last = Instant::now();
                let mut taken = Ok(());
                reader::with_record(&message, |record| taken = take(record))?;
                taken?;
                if message.offset() + 1 >= to {
                    return Ok(());
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(()),
            Some(Err(error))
                if error.rdkafka_error_code() == Some(rdkafka::error::RDKafkaErrorCode::AutoOffsetReset) =>
            {
                return Err(Fault::user(format!("reading {at} from offset {from}"), error));
            }
            Some(Err(error)) => tracing::debug!(%error, %at, "reading a range"),
            None if last.elapsed() > STALLED => {
                return Err(Fault::outage(format!("reading {at}"), "no answer for 30 s"));
            }
            None => {}
        }
    }
}
