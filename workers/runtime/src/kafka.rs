//! The narrow seam to the Kafka client: everything above it deals in lent records, appended outputs, positions.
//!
//! rdkafka (librdkafka) stands behind it today; see `design/delivery.md` for the rules that librdkafka imposes, which
//! are kept here and nowhere else.

pub mod admin;
mod consumer;
mod producer;
mod reader;
mod settings;

pub use consumer::{Group, GroupEvents, Polled, Start};
pub use producer::{Outgoing, Producer};
pub use reader::{count_committed, ends, read_to_end};
pub use settings::check as check_properties;

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;

/// Positions to commit: the next offset per topic and partition.
pub type Positions = std::collections::BTreeMap<sluice_core::TopicPartition, sluice_core::NextOffset>;

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
fn is_denied(error: &KafkaError) -> bool {
    use rdkafka::types::RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::Authentication
                | Code::SaslAuthenticationFailed
                | Code::TopicAuthorizationFailed
                | Code::GroupAuthorizationFailed
                | Code::ClusterAuthorizationFailed
                | Code::TransactionalIdAuthorizationFailed
        )
    )
}
