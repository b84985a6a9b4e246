//! Access tokens for SASL/OAUTHBEARER from an OpenID provider (OAuth 2.0 client credentials, RFC 6749 section
//! 4.4).
//!
//! The properties are librdkafka's own (`sasl.oauthbearer.token.endpoint.url`, `.client.id`,
//! `.client.secret`, `.scope`; `https.ca.location`). The bundled librdkafka is built without curl and cannot
//! ask by itself. Therefore these properties are taken out of its configuration, and this module asks.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use zeroize::Zeroizing;

use sluice_config::ConfigErrors;

use crate::KafkaSection;

const METHOD: &str = "sasl.oauthbearer.method";
const URL: &str = "sasl.oauthbearer.token.endpoint.url";
const ID: &str = "sasl.oauthbearer.client.id";
const SECRET: &str = "sasl.oauthbearer.client.secret";
const SCOPE: &str = "sasl.oauthbearer.scope";
const CA: &str = "https.ca.location";
/// The longest wait for one answer of the endpoint.
const CALL: Duration = Duration::from_secs(10);
/// The first pause between two tries while the endpoint is away or refuses. Each further failure doubles the
/// pause.
const PAUSE: Duration = Duration::from_secs(2);
/// An upper limit for that pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A token's life in seconds if the endpoint does not give it (RFC 6749 leaves it open).
const LIFE: u64 = 300;

/// The source of a client's access tokens.
pub(super) struct SaslTokenSource {
    url: String,
    id: String,
    secret: Zeroizing<String>,
    scope: Option<String>,
    ca: Option<Vec<u8>>,
    /// Runtime and HTTP client, built at the first request and kept.
    asking: Option<(tokio::runtime::Runtime, reqwest::Client)>,
    /// Requests that failed in a row, counted up to 4.
    failures: u32,
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

/// The answer of the endpoint.
pub(super) enum SaslTokenAnswer {
    /// A new token.
    Token(SaslToken),
    /// The credentials are wrong: no retry mends it.
    Refused(String),
    /// The endpoint did not answer, or its answer is an error that may pass.
    Outage(String),
}

/// Tells whether this property is for this module. A librdkafka without curl does not know these properties.
pub(super) fn is_ours(name: &str) -> bool {
    [METHOD, URL, ID, SECRET, SCOPE, CA].contains(&name)
}

/// Checks the rules that the form alone cannot express, without revealing the secret.
pub(super) fn check(kafka: &KafkaSection, errors: &mut ConfigErrors) {
    let given = |name: &str| kafka.properties.contains_key(name) || kafka.secrets.contains_key(name);

    // librdkafka knows the mechanism under two names.
    let mechanism = kafka.properties.get("sasl.mechanism").or(kafka.properties.get("sasl.mechanisms"));
    let by_token = mechanism.is_some_and(|mechanism| mechanism == "OAUTHBEARER");

    // The unsecured token of librdkafka is for tests and needs no endpoint.
    if by_token && !given(URL) && !given("enable.sasl.oauthbearer.unsecure.jwt") {
        let hint = format!("set {URL}, {ID} and, under kafka.secrets, {SECRET}");
        errors.add("kafka.properties", "OAUTHBEARER needs a token endpoint", Some(hint));
    }

    // An endpoint is of no use without the credentials for it.
    if given(URL) {
        for name in [ID, SECRET].into_iter().filter(|name| !given(name)) {
            errors.add(format!("kafka.properties.{name}"), "is missing", Some(format!("{URL} needs it")));
        }
    }
}

impl SaslTokenSource {
    /// Returns the source that the section names; `None` if the client logs in by other means.
    ///
    /// # Errors
    /// A secret or a file that cannot be read.
    pub(super) fn of(kafka: &KafkaSection) -> Result<Option<Self>, ConfigErrors> {
        // A value may be a secret by reference or, for all but the secret, a plain property.
        let value = |name: &str| match kafka.secrets.get(name) {
            Some(secret) => secret.reveal(&format!("kafka.secrets.{name}")).map(Some),
            None => Ok(kafka.properties.get(name).cloned()),
        };

        let (Some(url), Some(id), Some(secret)) = (value(URL)?, value(ID)?, value(SECRET)?) else {
            return Ok(None);
        };

        // The authority's certificate is read once; a wrong path is reported at the start.
        let ca = kafka.properties.get(CA).map(std::fs::read).transpose().map_err(|error| {
            ConfigErrors::one(format!("kafka.properties.{CA}"), format!("cannot be read: {error}"), None)
        })?;

        let secret = Zeroizing::new(secret);
        Ok(Some(Self { url, id, secret, scope: value(SCOPE)?, ca, asking: None, failures: 0 }))
    }

    /// Asks once, and returns the answer with the time to wait before the next request. Blocks.
    pub(super) fn ask(&mut self) -> (SaslTokenAnswer, Duration) {
        let answer = self.answer().unwrap_or_else(|answer| answer);
        let next = match &answer {
            SaslTokenAnswer::Token(token) => {
                self.failures = 0;
                let left = u64::try_from(token.ends_ms.saturating_sub(now_ms())).unwrap_or(0);
                // Like librdkafka itself: renewed after four fifths of its life.
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

    /// Sends one request and reads its answer. Both sides of the result are answers, which lets `?` end the
    /// function early.
    fn answer(&mut self) -> Result<SaslTokenAnswer, SaslTokenAnswer> {
        #[derive(Deserialize)]
        struct SaslTokenBody {
            access_token: String,
            expires_in: Option<u64>,
        }

        // The client is taken out for the request and put back after it: `block_on` needs it while `self` is
        // lent.
        let (runtime, http) = match self.asking.take() {
            Some(asking) => asking,
            None => self.client()?,
        };

        let request = http
            .post(&self.url)
            .basic_auth(&self.id, Some(self.secret.as_str()))
            .header(reqwest::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form(self.scope.as_deref()));

        // The life counts from before the request: a slow answer must not make the token seem younger.
        let asked = now_ms();

        let answered = runtime.block_on(async {
            let outage = |error: reqwest::Error| {
                // The URL is named in the text below.
                let error = error.without_url();
                let cause =
                    std::error::Error::source(&error).map_or_else(String::new, |why| format!(": {why}"));
                SaslTokenAnswer::Outage(format!("the token endpoint {}: {error}{cause}", self.url))
            };

            let answer = request.send().await.map_err(outage)?;
            let status = answer.status();
            match status.as_u16() {
                // RFC 6749 section 5.2 gives 400 for an invalid grant, scope or client.
                400 | 401 | 403 => Err(SaslTokenAnswer::Refused(format!(
                    "the token endpoint {} answers {status} to client {}: check the client id and the secret",
                    self.url, self.id
                ))),
                // Everything else, for example 503, may pass.
                _ if !status.is_success() => Err(SaslTokenAnswer::Outage(format!(
                    "the token endpoint {} answers {status}, expected 200",
                    self.url
                ))),
                _ => answer.json::<SaslTokenBody>().await.map_err(outage),
            }
        });
        self.asking = Some((runtime, http));
        let body = answered?;

        // From seconds to milliseconds. An answer with an absurd life does not overflow.
        let life = i64::try_from(body.expires_in.unwrap_or(LIFE).saturating_mul(1_000)).unwrap_or(i64::MAX);
        let (value, who) = (Zeroizing::new(body.access_token), self.id.clone());
        Ok(SaslTokenAnswer::Token(SaslToken { value, ends_ms: asked.saturating_add(life), who }))
    }

    /// Builds the runtime and the HTTP client for the endpoint.
    fn client(&self) -> Result<(tokio::runtime::Runtime, reqwest::Client), SaslTokenAnswer> {
        let outage = |error: &dyn std::fmt::Display| {
            SaslTokenAnswer::Outage(format!("building the client for the token endpoint: {error}"))
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let mut http = reqwest::Client::builder().timeout(CALL);
        if let Some(ca) = &self.ca {
            let ca = reqwest::Certificate::from_pem(ca).map_err(|error| {
                SaslTokenAnswer::Refused(format!("{CA}: expected a PEM certificate: {error}"))
            })?;
            http = http.tls_certs_merge([ca]);
        }
        Ok((runtime.map_err(|error| outage(&error))?, http.build().map_err(|error| outage(&error))?))
    }
}

/// Returns the body in the form `application/x-www-form-urlencoded`: letters, digits and `*-._` as they are,
/// a space as `+`.
fn form(scope: Option<&str>) -> String {
    let mut body = "grant_type=client_credentials".to_owned();
    if let Some(scope) = scope {
        body.push_str("&scope=");
        for byte in scope.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => body.push(byte.into()),
                b' ' => body.push('+'),
                other => body.push_str(&format!("%{other:02X}")),
            }
        }
    }
    body
}

/// Returns the time in milliseconds since the epoch.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_config::SecretReference;
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
    fn a_form_is_encoded() {
        assert_eq!(form(None), "grant_type=client_credentials");
        assert_eq!(form(Some("a b/é")), "grant_type=client_credentials&scope=a+b%2F%C3%A9");
    }

    #[test]
    fn what_is_missing_is_named() {
        let oauth = ("sasl.mechanism", "OAUTHBEARER");
        assert_eq!(mistakes(&section(&[oauth], &[])), ["kafka.properties"]);
        assert_eq!(
            mistakes(&section(&[oauth, (URL, "http://t")], &[SECRET])),
            [format!("kafka.properties.{ID}")]
        );
        assert!(mistakes(&section(&[oauth, (URL, "http://t"), (ID, "masker")], &[SECRET])).is_empty());
        assert!(mistakes(&section(&[("sasl.mechanism", "SCRAM-SHA-512")], &[])).is_empty());
    }

    #[test]
    fn an_endpoint_that_is_away_is_an_outage_and_asked_again_later_each_time() {
        let mut source = SaslTokenSource {
            url: "http://127.0.0.1:9/token".into(),
            id: "masker".into(),
            secret: Zeroizing::new("hunter2".into()),
            scope: None,
            ca: None,
            asking: None,
            failures: 0,
        };
        let (first, pause) = source.ask();
        let SaslTokenAnswer::Outage(why) = first else { panic!("nobody listens there") };
        assert!(why.contains("127.0.0.1:9") && !why.contains("hunter2"), "{why}");
        assert!(source.ask().1 > pause);
    }
}
