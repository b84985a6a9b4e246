//! The narrow seam to the Kafka client: everything above it deals in lent records, appended outputs, positions.
//!
//! | what | how |
//! |---|---|
//! | poll a batch | [`ConsumerGroup::poll_batch`] lends records as slices of what was fetched, under one lock of the lane's state |
//! | produce | [`KafkaProducer::send`] takes slices ([`OutgoingRecord`]), copies them, and allocates nothing of its own |
//! | commit or abort with offsets | [`KafkaProducer::send_offsets`], [`KafkaProducer::commit`], [`KafkaProducer::abort`] |
//! | assignment events | [`GroupEvents`], on the polling thread |
//!
//! librdkafka stands behind it today; the rules that it imposes are kept here and nowhere else. No name of it passes
//! upwards, so that a native client can take its place.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod admin;
mod consumer;
mod knock;
mod native;
mod positions;
mod producer;
mod range;
mod reader;
mod section;
mod settings;
mod statistics;
mod token;
mod waiting;

pub use consumer::{ConsumerGroup, GroupEvents, PartitionStart, PollOutcome};
pub use knock::knock;
pub use native::{GroupMetadata, limit_arenas};
pub use positions::{at_time, bounds, committed, outside, readable_to_now};
pub use producer::{KafkaProducer, OutgoingRecord};
pub use range::read_range;
pub use reader::{count_committed, ends, read_last, read_to_end};
pub use section::KafkaSection;
pub use settings::check as check_properties;
pub use statistics::{StatisticsObserver, observe_statistics};
pub use waiting::waiting;

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use sluice_core::Fault;

/// Positions to commit: the next offset per topic and partition.
pub type CommitPositions = std::collections::BTreeMap<sluice_core::TopicPartition, sluice_core::NextOffset>;

/// librdkafka's own words, in our log; they name brokers, topics and groups, never a record's content.
fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error => {
            tracing::error!(target: "librdkafka", facility, "{message}");
        }
        RDKafkaLogLevel::Warning => tracing::warn!(target: "librdkafka", facility, "{message}"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
            tracing::info!(target: "librdkafka", facility, "{message}")
        }
        RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, "{message}"),
    }
}

/// Is the error about us not being allowed, which no retry mends?
fn is_denied(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
    )
}

fn list_of(positions: &CommitPositions) -> Result<TopicPartitionList, Fault> {
    let mut list = TopicPartitionList::with_capacity(positions.len());
    for (at, next) in positions {
        list.add_partition_offset(&at.topic, at.partition, Offset::Offset(next.raw()))
            .map_err(|error| Fault::bug("listing offsets", error))?;
    }
    Ok(list)
}
