//! Checks that Kafka lets us in. A worker asks once at its start, in order to report wrong credentials before
//! it tries anything else.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use sluice_core::{BoxError, Domain, Fault, Retry};

use super::native::SaslTokenClient;
use super::{certificate, is_denied, settings};
use crate::KafkaSection;

/// The time within which brokers have to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The time of one try. Between tries the errors that came up are looked at.
const STEP: Duration = Duration::from_millis(500);
/// More events than come up between two tries.
const EVENTS: usize = 500;

/// Keeps the error that librdkafka reports. The call that fails because of it reports a time-out only.
#[derive(Default)]
struct KnockContext {
    reported: Mutex<Option<(KnockRefusal, String)>>,
}

/// The reason why no broker answers. A later one in this list explains more: brokers that are down are often the
/// consequence of another reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum KnockRefusal {
    /// The connection is refused or gets no answer.
    Away,
    /// The host of a broker has no address.
    UnknownHost,
    /// The answer is not one of a Kafka broker.
    NoBroker,
    /// The certificate is not trusted, or the broker does not speak TLS.
    Certificate,
    /// The broker does not trust the client's certificate, or wants one.
    ClientCertificate,
    /// The broker refuses the credentials.
    Credentials,
}

impl KnockRefusal {
    /// Returns the reason that an error of librdkafka stands for.
    fn of(code: Option<RDKafkaErrorCode>, reason: &str) -> Self {
        // One side speaks TLS and the other does not: librdkafka reports a connection that was closed.
        let tls = reason.contains("SSL handshake failed") || reason.contains("incorrect security.protocol");
        match code {
            Some(code) if is_denied(code) => Self::Credentials,
            // The broker's answer to a certificate comes as an alert of TLS, on any kind of error.
            Some(_) if reason.contains("alert") && names_certificate(reason) => Self::ClientCertificate,
            Some(_) if tls => Self::Certificate,
            Some(RDKafkaErrorCode::SSL) => Self::Certificate,
            Some(RDKafkaErrorCode::BadMessage) => Self::NoBroker,
            Some(RDKafkaErrorCode::Resolve) => Self::UnknownHost,
            Some(_) | None => Self::Away,
        }
    }

    /// Returns the fault with the action that mends it.
    fn fault(self, why: impl Into<BoxError>) -> Fault {
        let doing = "asking Kafka for its brokers";
        // A worker waits for a name or a certificate: either may come while it does.
        let (domain, retry, hint) = match self {
            Self::Away => (Domain::External, Retry::Later, "start Kafka, or check kafka.brokers"),
            Self::UnknownHost => (Domain::User, Retry::Later, "check the host in kafka.brokers"),
            Self::NoBroker => {
                (Domain::User, Retry::Later, "check the port in kafka.brokers: expected a Kafka broker there")
            }
            Self::Certificate => (
                Domain::User,
                Retry::Later,
                "check security.protocol in kafka.properties, and ssl.ca.location: the authority that has signed the \
                 brokers' certificate",
            ),
            Self::ClientCertificate => (
                Domain::User,
                Retry::Later,
                "check that ssl.certificate and ssl.key are set, that the certificate has not expired, and that an \
                 authority has signed it that the brokers trust",
            ),
            Self::Credentials => (Domain::User, Retry::Never, "check kafka.properties and kafka.secrets"),
        };
        Fault::new(domain, retry, doing, why).with_hint(hint)
    }
}

impl ClientContext for KnockContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        super::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // That all brokers are down says less than the error of each of them.
        let code = error.rdkafka_error_code();
        if code == Some(RDKafkaErrorCode::AllBrokersDown) {
            return;
        }
        let refusal = KnockRefusal::of(code, reason);
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.as_ref().is_none_or(|(before, _)| *before <= refusal) {
            *reported = Some((refusal, plain_reason(reason)));
        }
    }
}

/// Returns librdkafka's reason without its own details: `ssl://host:9093/bootstrap: Connect failed (after 1ms in
/// state CONNECT)` becomes `host:9093: Connect failed`.
fn plain_reason(reason: &str) -> String {
    let reason = reason.split(" (after ").next().unwrap_or(reason);
    let Some((broker, why)) = reason.split_once(": ") else { return reason.to_owned() };

    // OpenSSL names its own source. The advice behind the reason is a hint of ours.
    let shorter =
        why.rsplit_once("SSL routines::").map(|(_, reason)| format!("SSL handshake failed: {reason}"));
    let why = shorter.as_deref().unwrap_or(why);
    let why = why.split(", verify that ").next().unwrap_or(why);

    // The broker is in front. Most messages name its address again.
    let address = broker.rsplit("://").next().and_then(|rest| rest.split('/').next()).unwrap_or(broker);
    let port = address.rsplit(':').next().unwrap_or(address);
    if why.contains(address) || why.contains(&format!(":{port} ")) {
        why.to_owned()
    } else {
        format!("{address}: {why}")
    }
}

/// Tells whether an alert is about a certificate. An authority that is not known is one of its mistakes.
fn names_certificate(alert: &str) -> bool {
    alert.contains("certificate") || alert.contains("unknown ca")
}

impl ConsumerContext for KnockContext {}

/// Returns the number of brokers that answer. Blocks for some seconds if none does.
///
/// # Errors
/// A [`Fault`] of the operator if a property, a credential, a certificate or a host is wrong, of the neighbour if no
/// broker answers.
pub fn knock(kafka: &KafkaSection) -> Result<usize, Fault> {
    let consumer: BaseConsumer<KnockContext> = settings::plain(kafka)?
        .create_with_context(KnockContext::default())
        .map_err(|error| settings::refused("building a Kafka client", error))?;
    let consumer = SaslTokenClient::new(settings::tokens(kafka)?, consumer);

    // Wrong credentials end the loop at once. Anything else may pass until the deadline.
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Ok(metadata) = consumer.fetch_metadata(None, STEP) {
            return Ok(metadata.brokers().len());
        }

        // Serves the events that have come up meanwhile. A line of the log is an event too, and looks like none.
        (0..EVENTS).for_each(|_| drop(consumer.poll(Duration::ZERO)));
        let reported = consumer.context().reported.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match reported {
            Some((KnockRefusal::Credentials, reason)) => return Err(KnockRefusal::Credentials.fault(reason)),
            // librdkafka's own reason is better than the time-out of the call.
            Some((KnockRefusal::Certificate, reason)) if Instant::now() > deadline => {
                return Err(distrust(kafka, reason));
            }
            Some((refusal, reason)) if Instant::now() > deadline => return Err(refusal.fault(reason)),
            None if Instant::now() > deadline => {
                let why = format!("{}: no answer within {PATIENCE:?}", kafka.brokers);
                return Err(KnockRefusal::Away.fault(why));
            }
            Some(_) | None => {}
        }
    }
}

/// Returns the fault of a broker whose certificate is not trusted, with the mistake of the certificate if a
/// second look shows it.
fn distrust(kafka: &KafkaSection, reason: String) -> Fault {
    // librdkafka writes the address in front of its reason.
    let broker = reason.split(": ").next().filter(|first| first.contains(':'));
    let broker = broker.unwrap_or_else(|| kafka.brokers.split(',').next().unwrap_or_default()).to_owned();
    match certificate::look(kafka, &broker) {
        Some(mistake) => {
            let hint = mistake.hint("ssl.ca.location or ssl.ca.pem");
            KnockRefusal::Certificate
                .fault(format!("the certificate of {broker} is refused: {mistake}"))
                .with_hint(hint)
        }
        None => KnockRefusal::Certificate.fault(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_names_the_address_once() {
        let refused = "127.0.0.1:9/bootstrap: Connect to ipv4#127.0.0.1:9 failed: Connection refused (after 0ms in \
                       state CONNECT)";
        assert_eq!(plain_reason(refused), "Connect to ipv4#127.0.0.1:9 failed: Connection refused");
        let hung_up =
            "ssl://kafka:9093/bootstrap: Disconnected while requesting ApiVersion (after 1ms in state X)";
        assert_eq!(plain_reason(hung_up), "kafka:9093: Disconnected while requesting ApiVersion");
        let refused = "ssl://h:9093/bootstrap: SSL handshake failed: ../ssl/statem/clnt.c:1889:tls error:0A000086:SSL \
                       routines::certificate verify failed: not verified, verify that ssl.ca.location is right";
        let plain = "h:9093: SSL handshake failed: certificate verify failed: not verified";
        assert_eq!(plain_reason(refused), plain);
        let unknown =
            "nohost:9092/bootstrap: Failed to resolve 'nohost:9092': Name or service not known (after 3ms)";
        assert_eq!(plain_reason(unknown), "Failed to resolve 'nohost:9092': Name or service not known");
    }
}
