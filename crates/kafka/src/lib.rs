//! The narrow seam to the Kafka client. The code above this crate deals in lent records, appended outputs and
//! positions.
//!
//! | task | call |
//! |---|---|
//! | poll a batch | [`ConsumerGroup::poll_batch`] lends records as slices of the fetched data, under one lock of the lane's state |
//! | produce | [`KafkaProducer::send`] takes slices ([`OutgoingRecord`]), copies them, and allocates nothing of its own |
//! | commit or abort with offsets | [`KafkaProducer::send_offsets`], [`KafkaProducer::commit`], [`KafkaProducer::abort`] |
//! | assignment events | [`GroupEvents`], on the polling thread |
//!
//! Today librdkafka does the work behind the seam. The rules that librdkafka imposes are kept here and
//! nowhere else. No name of librdkafka passes upwards, which allows a native client to take its place.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod admin;
mod certificate;
mod consumer;
mod knock;
mod native;
mod positions;
mod producer;
mod range;
mod reader;
mod scan;
mod section;
mod settings;
mod statistics;
mod token;
mod version;
mod waiting;

pub use certificate::CertificateMistake;
pub use consumer::{ConsumerGroup, GroupEvents, PartitionStart, PollOutcome};
pub use knock::knock;
pub use native::{GroupMetadata, limit_arenas, partition_of};
pub use positions::{at_time, bounds, committed, outside, readable_to_now};
pub use producer::{KafkaProducer, OutgoingRecord};
pub use range::read_range;
pub use reader::{count_committed, ends, read_last, read_to_end};
pub use scan::{KafkaScanner, PartitionWindows};
pub use section::KafkaSection;
pub use settings::check as check_properties;
pub use statistics::{StatisticsObserver, observe_statistics};
pub use version::{ClientVersion, client_version};
pub use waiting::waiting;

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use sluice_core::Fault;

/// Positions to commit: the next offset of each topic and partition.
pub type CommitPositions = std::collections::BTreeMap<sluice_core::TopicPartition, sluice_core::NextOffset>;

/// Writes a log line of librdkafka to our log. Such lines name brokers, topics and groups, never a record's
/// content.
fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        // The workers' log has one level for all errors.
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

/// Tells whether the broker denied us access. No retry mends that; the operator has to act.
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

/// Turns positions into librdkafka's list.
///
/// # Errors
/// A bug if librdkafka refuses an offset: a [`sluice_core::NextOffset`] is never negative.
fn list_of(positions: &CommitPositions) -> Result<TopicPartitionList, Fault> {
    let mut list = TopicPartitionList::with_capacity(positions.len());
    for (at, next) in positions {
        list.add_partition_offset(&at.topic, at.partition, Offset::Offset(next.raw()))
            .map_err(|error| Fault::bug("listing offsets", error))?;
    }
    Ok(list)
}
