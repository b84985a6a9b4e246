//! Access tokens for SASL/OAUTHBEARER, by three ways.
//!
//! | way | properties |
//! |---|---|
//! | an OpenID provider ([`endpoint`]) | librdkafka's own: `sasl.oauthbearer.token.endpoint.url`, `.client.id`, `.client.secret`, `.scope`; `https.ca.location` |
//! | a file that an agent renews ([`file`]) | under `kafka.secrets`: `sasl.oauthbearer.token: {file: path}` |
//! | an identity of AWS, for Amazon MSK (`aws`) | `sasl.mechanism: AWS_MSK_IAM` and `aws.region`, with the feature `aws` |
//!
//! The bundled librdkafka is built without curl and cannot ask by itself. Therefore these properties are taken
//! out of its configuration, and this module asks.

#[cfg(feature = "aws")]
mod aws;
mod endpoint;
mod file;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use zeroize::Zeroizing;

use sluice_config::{ConfigErrors, SecretReference};

use crate::KafkaSection;

const METHOD: &str = "sasl.oauthbearer.method";
const URL: &str = "sasl.oauthbearer.token.endpoint.url";
const ID: &str = "sasl.oauthbearer.client.id";
const SECRET: &str = "sasl.oauthbearer.client.secret";
const SCOPE: &str = "sasl.oauthbearer.scope";
const CA: &str = "https.ca.location";
/// The token itself, by reference.
const TOKEN: &str = "sasl.oauthbearer.token";
/// Region of an Amazon MSK cluster.
const REGION: &str = "aws.region";
/// The mechanism of Amazon MSK as Java's clients name it. On the wire it is OAUTHBEARER.
const MSK: &str = "AWS_MSK_IAM";
/// librdkafka's name of the mechanism.
const BEARER: &str = "OAUTHBEARER";

/// The first pause between two tries while a token cannot be had. Each further failure doubles the pause.
const PAUSE: Duration = Duration::from_secs(2);
/// An upper limit for that pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A token's life in seconds if nothing gives it (RFC 6749 leaves it open).
const LIFE: u64 = 300;

/// The source of a client's access tokens.
pub(super) struct SaslTokenSource {
    kind: SaslTokenKind,
    /// Requests that failed in a row, counted up to 4.
    failures: u32,
}

/// The ways to a token.
enum SaslTokenKind {
    Endpoint(endpoint::TokenEndpoint),
    File(file::TokenFile),
    #[cfg(feature = "aws")]
    Aws(aws::AwsTokenSigner),
}

/// An access token as librdkafka takes it.
pub(super) struct SaslToken {
    /// The token itself: a secret.
    pub value: Zeroizing<String>,
    /// The end of its life, in milliseconds since the epoch.
    pub ends_ms: i64,
    /// The name of its owner, for logs.
    pub who: String,
}

/// The answer of a source.
pub(super) enum SaslTokenAnswer {
    /// A new token.
    Token(SaslToken),
    /// The credentials are wrong: no retry mends it.
    Refused(String),
    /// The source did not answer, or its answer is an error that may pass.
    Outage(String),
}

/// Tells whether this property is for this module. librdkafka does not know these properties.
pub(super) fn is_ours(name: &str) -> bool {
    [METHOD, URL, ID, SECRET, SCOPE, CA, TOKEN, REGION].contains(&name)
}

/// Returns librdkafka's value of a property: its name of a mechanism.
pub(super) fn translated<'a>(name: &str, value: &'a str) -> &'a str {
    if is_mechanism(name) && value.eq_ignore_ascii_case(MSK) { BEARER } else { value }
}

/// Tells whether the property names the mechanism. librdkafka knows it under two names.
fn is_mechanism(name: &str) -> bool {
    ["sasl.mechanism", "sasl.mechanisms"].contains(&name)
}

/// Returns the mechanism that the section names.
fn mechanism(kafka: &KafkaSection) -> Option<&str> {
    kafka.properties.iter().find(|(name, _)| is_mechanism(name)).map(|(_, value)| value.as_str())
}

/// Tells whether the section asks for a log-in to Amazon MSK.
fn by_msk(kafka: &KafkaSection) -> bool {
    mechanism(kafka).is_some_and(|mechanism| mechanism.eq_ignore_ascii_case(MSK))
}

/// Checks the rules that the form alone cannot express, without revealing the secret.
pub(super) fn check(kafka: &KafkaSection, errors: &mut ConfigErrors) {
    let given = |name: &str| kafka.properties.contains_key(name) || kafka.secrets.contains_key(name);
    let by_token = mechanism(kafka).is_some_and(|mechanism| mechanism == BEARER);

    // The unsecured token of librdkafka is for tests and needs no source.
    if by_token && !given(URL) && !given(TOKEN) && !given("enable.sasl.oauthbearer.unsecure.jwt") {
        let hint = format!(
            "under kafka.secrets set {TOKEN}: {{file: path}}, or set {URL}, {ID} and, under kafka.secrets, {SECRET}"
        );
        errors.add("kafka.properties", "OAUTHBEARER needs a source of tokens", Some(hint));
    }

    // An endpoint is of no use without the credentials for it.
    if given(URL) {
        for name in [ID, SECRET].into_iter().filter(|name| !given(name)) {
            errors.add(format!("kafka.properties.{name}"), "is missing", Some(format!("{URL} needs it")));
        }
    }

    // A token ends, and only a file can hold the next one.
    if let Some(reference) = kafka.secrets.get(TOKEN) {
        let path = format!("kafka.secrets.{TOKEN}");
        if matches!(reference, SecretReference::Env(_)) {
            let hint = "a token ends, and an environment variable cannot be renewed".to_owned();
            errors.add(path.clone(), "expected {file: path}", Some(hint));
        }
        if !by_token {
            errors.add(path.clone(), "is of no use without sasl.mechanism: OAUTHBEARER", None);
        }
        if given(URL) {
            errors.add(path, format!("and {URL} are given; expected one of them"), None);
        }
    }

    check_msk(kafka, errors);
}

/// Checks the rules of a log-in to Amazon MSK.
fn check_msk(kafka: &KafkaSection, errors: &mut ConfigErrors) {
    let region = format!("kafka.properties.{REGION}");
    match (by_msk(kafka), cfg!(feature = "aws")) {
        (true, false) => {
            let hint = "use a binary that is built with `--features aws`".to_owned();
            errors.add(
                "kafka.properties.sasl.mechanism",
                "this build cannot log in to Amazon MSK",
                Some(hint),
            );
        }
        (true, true) if region_of(kafka).is_none() => {
            let hint = "kafka.brokers does not name it; for example eu-west-1".to_owned();
            errors.add(region, "is missing", Some(hint));
        }
        (false, _) if kafka.properties.contains_key(REGION) => {
            errors.add(region, format!("is of no use without sasl.mechanism: {MSK}"), None);
        }
        (true, true) | (false, _) => {}
    }
}

/// Returns the region of an MSK cluster: the property, or else the part of a broker's name, for example
/// `b-1.shop.abcdef.c2.kafka.eu-west-1.amazonaws.com`.
fn region_of(kafka: &KafkaSection) -> Option<&str> {
    let named = || {
        let host = kafka.brokers.split([',', ':']).next()?.trim();
        let (before, _) = host.split_once(".amazonaws.com")?;
        let (rest, region) = before.rsplit_once('.')?;
        // `kafka` for provisioned clusters, `kafka-serverless` for the others.
        rest.rsplit('.').next().is_some_and(|service| service.starts_with("kafka")).then_some(region)
    };
    kafka.properties.get(REGION).map(String::as_str).or_else(named)
}

impl SaslTokenSource {
    /// Returns the source that the section names; `None` if the client logs in by other means.
    ///
    /// # Errors
    /// A secret or a file that cannot be read.
    pub(super) fn of(kafka: &KafkaSection) -> Result<Option<Self>, ConfigErrors> {
        let endpoint = endpoint::TokenEndpoint::of(kafka)?.map(SaslTokenKind::Endpoint);
        let file = file::TokenFile::of(kafka)?.map(SaslTokenKind::File);
        let kind = endpoint.or(file);
        #[cfg(feature = "aws")]
        let kind = kind.or_else(|| aws::AwsTokenSigner::of(kafka).map(SaslTokenKind::Aws));
        Ok(kind.map(|kind| Self { kind, failures: 0 }))
    }

    /// Asks once, and returns the answer with the time to wait before the next request. Blocks.
    pub(super) fn ask(&mut self) -> (SaslTokenAnswer, Duration) {
        let answer = match &mut self.kind {
            SaslTokenKind::Endpoint(endpoint) => endpoint.ask(),
            SaslTokenKind::File(file) => file.read(now_ms()),
            #[cfg(feature = "aws")]
            SaslTokenKind::Aws(signer) => signer.ask(),
        };

        let next = match &answer {
            SaslTokenAnswer::Token(token) => {
                self.failures = 0;
                let left = u64::try_from(token.ends_ms.saturating_sub(now_ms())).unwrap_or(0);
                // Like librdkafka itself: renewed after four fifths of its life. A file that still holds the
                // same token then is read again after four fifths of the rest, and so on.
                Duration::from_millis(left / 5 * 4).max(Duration::from_secs(1))
            }
            // 2 s, 4 s, 8 s, and from then on 16 s. A refusal may end when the operator mends the account.
            SaslTokenAnswer::Refused(_) | SaslTokenAnswer::Outage(_) => {
                self.failures = (self.failures + 1).min(4);
                (PAUSE * 2_u32.pow(self.failures - 1)).min(PAUSE_MAX)
            }
        };
        (answer, next)
    }
}

/// Returns the time in milliseconds since the epoch.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn section(properties: &[(&str, &str)], secrets: &[&str]) -> KafkaSection {
        KafkaSection {
            brokers: "h:1".into(),
            properties: properties.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            secrets: secrets
                .iter()
                .map(|name| ((*name).to_owned(), SecretReference::File("/no/such/file".into())))
                .collect::<BTreeMap<_, _>>(),
        }
    }

    fn mistakes(kafka: &KafkaSection) -> Vec<String> {
        let mut errors = ConfigErrors::default();
        check(kafka, &mut errors);
        errors.0.into_iter().map(|error| error.path).collect()
    }

    #[test]
    fn what_is_missing_is_named() {
        let oauth = ("sasl.mechanism", BEARER);
        assert_eq!(mistakes(&section(&[oauth], &[])), ["kafka.properties"]);
        assert_eq!(
            mistakes(&section(&[oauth, (URL, "http://t")], &[SECRET])),
            [format!("kafka.properties.{ID}")]
        );
        assert!(mistakes(&section(&[oauth, (URL, "http://t"), (ID, "masker")], &[SECRET])).is_empty());
        assert!(mistakes(&section(&[("sasl.mechanism", "SCRAM-SHA-512")], &[])).is_empty());
    }

    #[test]
    fn a_token_by_reference_is_in_a_file_and_the_only_source() {
        let (oauth, path) = (("sasl.mechanism", BEARER), format!("kafka.secrets.{TOKEN}"));
        assert!(mistakes(&section(&[oauth], &[TOKEN])).is_empty());
        assert_eq!(mistakes(&section(&[], &[TOKEN])), std::slice::from_ref(&path));
        let both = section(&[oauth, (URL, "http://t"), (ID, "masker")], &[SECRET, TOKEN]);
        assert_eq!(mistakes(&both), std::slice::from_ref(&path));
        let mut by_env = section(&[oauth], &[]);
        by_env.secrets.insert(TOKEN.to_owned(), SecretReference::Env("TOKEN".into()));
        assert_eq!(mistakes(&by_env), [path]);
    }

    #[test]
    fn the_region_of_a_cluster_is_read_from_its_brokers() {
        let mut kafka = section(&[("sasl.mechanism", MSK)], &[]);
        assert_eq!(region_of(&kafka), None);
        for brokers in [
            "b-1.shop.abcdef.c2.kafka.eu-west-1.amazonaws.com:9098,b-2:9098",
            "boot-x.c1.kafka-serverless.eu-west-1.amazonaws.com:9098",
            "b-1.shop.kafka.eu-west-1.amazonaws.com.cn:9098",
        ] {
            kafka.brokers = brokers.to_owned();
            assert_eq!(region_of(&kafka), Some("eu-west-1"), "{brokers}");
        }
        kafka.properties.insert(REGION.to_owned(), "us-east-1".to_owned());
        assert_eq!(region_of(&kafka), Some("us-east-1"));
        assert_eq!(mistakes(&kafka).is_empty(), cfg!(feature = "aws"));
        assert_eq!(translated("sasl.mechanism", MSK), BEARER);
        assert_eq!(translated("sasl.username", MSK), MSK);
    }
}
