//! Checks that Kafka lets us in. A worker asks once at its start, in order to report wrong credentials before
//! it tries anything else.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use sluice_core::Fault;

use super::native::SaslTokenClient;
use super::{is_denied, settings};
use crate::KafkaSection;

/// The time within which brokers have to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The time of one try. Between tries the errors that came up are looked at.
const STEP: Duration = Duration::from_millis(500);

/// Keeps the error that librdkafka reports. The call that fails because of it reports a time-out only.
#[derive(Default)]
struct KnockContext {
    reported: Mutex<Option<(KafkaError, String)>>,
}

impl ClientContext for KnockContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        super::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        // Denied access explains more than brokers that are down, which is often its consequence.
        if reported.as_ref().is_none_or(|(before, _)| !denied(before)) {
            *reported = Some((error, reason.to_owned()));
        }
    }
}

impl ConsumerContext for KnockContext {}

/// Tells whether the broker denied access.
fn denied(error: &KafkaError) -> bool {
    error.rdkafka_error_code().is_some_and(is_denied)
}

/// Returns the number of brokers that answer. Blocks for some seconds if none does.
///
/// # Errors
/// A [`Fault`] of the operator if a property or a credential is wrong, of the neighbour if no broker answers.
pub fn knock(kafka: &KafkaSection) -> Result<usize, Fault> {
    let doing = "asking Kafka for its brokers";
    let consumer: BaseConsumer<KnockContext> = settings::plain(kafka)?
        .create_with_context(KnockContext::default())
        .map_err(|error| settings::refused("building a Kafka client", error))?;
    let consumer = SaslTokenClient::new(settings::tokens(kafka)?, consumer);

    // Wrong credentials end the loop at once. Anything else may pass until the deadline.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let error = match consumer.fetch_metadata(None, STEP) {
            Ok(metadata) => return Ok(metadata.brokers().len()),
            Err(error) => error,
        };

        // Serves the errors that have come up meanwhile.
        while consumer.poll(Duration::ZERO).is_some() {}
        let reported = consumer.context().reported.lock().unwrap_or_else(PoisonError::into_inner).clone();

        match reported {
            Some((error, reason)) if denied(&error) => {
                let why = format!("{reason}: check kafka.properties and kafka.secrets");
                return Err(Fault::user(doing, why));
            }
            // librdkafka's own reason is better than the time-out of the call.
            Some((_, reason)) if Instant::now() > deadline => return Err(Fault::outage(doing, reason)),
            None if Instant::now() > deadline => return Err(Fault::outage(doing, error)),
            Some(_) | None => {}
        }
    }
}
