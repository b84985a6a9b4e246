//! Does Kafka let us in? Asked once at the start, so that wrong credentials are said before anything else is tried.

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

/// How long brokers may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
const STEP: Duration = Duration::from_millis(500);

/// Remembers what librdkafka says is wrong; the call that fails for it only says that it timed out.
#[derive(Default)]
struct KnockContext {
    heard: Mutex<Option<(KafkaError, String)>>,
}

impl ClientContext for KnockContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        super::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        // What we are not allowed to do says more than that all brokers are down, which follows from it.
        if heard.as_ref().is_none_or(|(before, _)| !denied(before)) {
            *heard = Some((error, reason.to_owned()));
        }
    }
}

impl ConsumerContext for KnockContext {}

fn denied(error: &KafkaError) -> bool {
    error.rdkafka_error_code().is_some_and(is_denied)
}

/// How many brokers answer. Blocks for some seconds if none does.
///
/// # Errors
/// A [`Fault`] of the operator if a property or a credential is wrong, of the neighbour if nobody answers.
pub fn knock(kafka: &KafkaSection) -> Result<usize, Fault> {
    let doing = "asking Kafka for its brokers";
    let consumer: BaseConsumer<KnockContext> = settings::plain(kafka)?
        .create_with_context(KnockContext::default())
        .map_err(|error| settings::refused("building a Kafka client", error))?;
    let consumer = SaslTokenClient::new(settings::tokens(kafka)?, consumer);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let error = match consumer.fetch_metadata(None, STEP) {
            Ok(metadata) => return Ok(metadata.brokers().len()),
            Err(error) => error,
        };
        // Serves the errors that have come up meanwhile.
        while consumer.poll(Duration::ZERO).is_some() {}
        let heard = consumer.context().heard.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match heard {
            Some((error, reason)) if denied(&error) => {
                let why = format!("{reason}: mend kafka.properties and kafka.secrets");
                return Err(Fault::user(doing, why));
            }
            Some((_, reason)) if Instant::now() > deadline => return Err(Fault::outage(doing, reason)),
            None if Instant::now() > deadline => return Err(Fault::outage(doing, error)),
            Some(_) | None => {}
        }
    }
}
