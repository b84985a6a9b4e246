//! Reads a range of offsets of one partition, outside any group.

use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use sluice_core::{Fault, RecordRef, TopicPartition};

use super::{reader, settings};
use crate::KafkaSection;

/// If neither a record nor the end of the partition comes for this long, the brokers are away.
const STALLED: Duration = Duration::from_secs(30);

/// Lends every committed record from offset `from` up to, not including, `to` to `take`, in order.
///
/// # Errors
/// The error of `take`, or a [`Fault`] if Kafka does not answer or `from` is no longer in the log.
pub fn read_range(
    kafka: &KafkaSection,
    at: &TopicPartition,
    (from, to): (i64, i64),
    mut take: impl FnMut(&RecordRef<'_>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    // With `error` a missing `from` is reported. The reader's own setting would quietly go on elsewhere.
    let consumer = reader::open(kafka, settings::reader(kafka)?.set("auto.offset.reset", "error"))?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&at.topic, at.partition, rdkafka::Offset::Offset(from))
        .map_err(|error| Fault::bug("listing partitions", error))?;
    consumer.assign(&list).map_err(|error| Fault::bug("assigning partitions", error))?;

    // The range may end in transaction markers, which are never lent. Then the end of the partition ends the
    // reading.
    let mut last = Instant::now();
    loop {
        match consumer.poll(Duration::from_millis(100)) {
            // Compaction or markers may have removed the offset before `to`.
            Some(Ok(message)) if message.offset() >= to => return Ok(()),
            Some(Ok(message)) => {
                last = Instant::now();
                let mut taken = Ok(());
                reader::with_record(&message, |record| taken = take(record))?;
                taken?;

                // The last record of the range: the next poll might wait for a record in vain.
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
            Some(Err(error)) => {
                tracing::debug!(%error, %at, "reading a range: an error came; the reader keeps polling");
            }
            None if last.elapsed() > STALLED => {
                let why = "the brokers sent neither a record nor an end of the partition for 30 s";
                return Err(Fault::outage(format!("reading {at}"), why));
            }
            None => {}
        }
    }
}
