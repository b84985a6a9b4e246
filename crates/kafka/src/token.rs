//! Tokens for SASL/OAUTHBEARER from an OpenID provider (OAuth 2.0 client credentials, RFC 6749 section 4.4).
//!
//! The properties are librdkafka's own (`sasl.oauthbearer.token.endpoint.url`, `.client.id`, `.client.secret`,
//! `.scope`; `https.ca.location`). The bundled librdkafka is built without curl and cannot ask by itself, so they are
//! taken out of its configuration and the asking is done here.

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
const CALL: Duration = Duration::from_secs(10);
/// Between two tries while the endpoint is away or refuses.
const PAUSE: Duration = Duration::from_secs(2);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A token's life if the endpoint does not say (RFC 6749 leaves it open).
const LIFE: u64 = 300;

/// Where tokens come from.
pub(super) struct SaslTokenSource {
    url: String,
    id: String,
    secret: Zeroizing<String>,
    scope: Option<String>,
    ca: Option<Vec<u8>>,
    asking: Option<(tokio::runtime::Runtime, reqwest::Client)>,
    failures: u32,
}

/// A token as librdkafka takes it.
pub(super) struct SaslToken {
    /// The token itself: a secret.
    pub value: Zeroizing<String>,
    /// When it ends, in milliseconds since the epoch.
    pub ends_ms: i64,
    /// Whose it is, for logs.
    pub who: String,
}

/// What the endpoint said.
pub(super) enum SaslTokenAnswer {
    /// Here it is.
    Token(SaslToken),
    /// The credentials are wrong: no retry mends it.
    Refused(String),
    /// It did not answer, or with something that may pass.
    Outage(String),
}

/// Is this property for us, and unknown to a librdkafka without curl?
pub(super) fn is_ours(name: &str) -> bool {
    [METHOD, URL, ID, SECRET, SCOPE, CA].contains(&name)
}

/// Everything that the form alone cannot say, without revealing the secret.
pub(super) fn check(kafka: &KafkaSection, errors: &mut ConfigErrors) {
    let given = |name: &str| kafka.properties.contains_key(name) || kafka.secrets.contains_key(name);
    let mechanism = kafka.properties.get("sasl.mechanism").or(kafka.properties.get("sasl.mechanisms"));
    let by_token = mechanism.is_some_and(|mechanism| mechanism == "OAUTHBEARER");
    if by_token && !given(URL) && !given("enable.sasl.oauthbearer.unsecure.jwt") {
        let hint = format!("set {URL}, {ID} and, under kafka.secrets, {SECRET}");
        errors.add("kafka.properties", "OAUTHBEARER without a place to get tokens from", Some(hint));
    }
    if given(URL) {
        for name in [ID, SECRET].into_iter().filter(|name| !given(name)) {
            errors.add(format!("kafka.properties.{name}"), "is missing", Some(format!("{URL} needs it")));
        }
    }
}

impl SaslTokenSource {
    /// The source that the section names; `None` if it logs in otherwise.
    ///
    /// # Errors
    /// A secret or a file that cannot be read.
    pub(super) fn of(kafka: &KafkaSection) -> Result<Option<Self>, ConfigErrors> {
        let value = |name: &str| match kafka.secrets.get(name) {
            Some(secret) => secret.reveal(&format!("kafka.secrets.{name}")).map(Some),
            None => Ok(kafka.properties.get(name).cloned()),
        };
        let (Some(url), Some(id), Some(secret)) = (value(URL)?, value(ID)?, value(SECRET)?) else {
            return Ok(None);
        };
        let ca = kafka.properties.get(CA).map(std::fs::read).transpose().map_err(|error| {
            ConfigErrors::one(format!("kafka.properties.{CA}"), format!("cannot be read: {error}"), None)
        })?;
        let secret = Zeroizing::new(secret);
        Ok(Some(Self { url, id, secret, scope: value(SCOPE)?, ca, asking: None, failures: 0 }))
    }

    /// Asks once, and says when to ask again. Blocks.
    pub(super) fn ask(&mut self) -> (SaslTokenAnswer, Duration) {
        let answer = self.answer().unwrap_or_else(|answer| answer);
        let next = match &answer {
            SaslTokenAnswer::Token(token) => {
                self.failures = 0;
                let left = u64::try_from(token.ends_ms.saturating_sub(now_ms())).unwrap_or(0);
                // librdkafka's own habit: at four fifths of its life.
                Duration::from_millis(left / 5 * 4).max(Duration::from_secs(1))
            }
            SaslTokenAnswer::Refused(_) | SaslTokenAnswer::Outage(_) => {
                self.failures = (self.failures + 1).min(4);
                (PAUSE * 2_u32.pow(self.failures - 1)).min(PAUSE_MAX)
            }
        };
        (answer, next)
    }

    fn answer(&mut self) -> Result<SaslTokenAnswer, SaslTokenAnswer> {
        #[derive(Deserialize)]
        struct SaslTokenBody {
            access_token: String,
            expires_in: Option<u64>,
        }
        let (runtime, http) = match self.asking.take() {
            Some(asking) => asking,
            None => self.client()?,
        };
        let request = http
            .post(&self.url)
            .basic_auth(&self.id, Some(self.secret.as_str()))
            .header(reqwest::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form(self.scope.as_deref()));
        let asked = now_ms();
        let answered = runtime.block_on(async {
            let outage = |error: reqwest::Error| {
                let error = error.without_url();
                let cause =
                    std::error::Error::source(&error).map_or_else(String::new, |why| format!(": {why}"));
                SaslTokenAnswer::Outage(format!("the token endpoint {}: {error}{cause}", self.url))
            };
            let answer = request.send().await.map_err(outage)?;
            let status = answer.status();
            match status.as_u16() {
                // 400 is what RFC 6749 section 5.2 gives for an invalid grant, scope or client.
                400 | 401 | 403 => Err(SaslTokenAnswer::Refused(format!(
                    "the token endpoint {} answers {status} to client {}",
                    self.url, self.id
                ))),
                _ if !status.is_success() => {
                    Err(SaslTokenAnswer::Outage(format!("the token endpoint {} answers {status}", self.url)))
                }
                _ => answer.json::<SaslTokenBody>().await.map_err(outage),
            }
        });
        self.asking = Some((runtime, http));
        let body = answered?;
        let life = i64::try_from(body.expires_in.unwrap_or(LIFE).saturating_mul(1_000)).unwrap_or(i64::MAX);
        let (value, who) = (Zeroizing::new(body.access_token), self.id.clone());
        Ok(SaslTokenAnswer::Token(SaslToken { value, ends_ms: asked.saturating_add(life), who }))
    }

    fn client(&self) -> Result<(tokio::runtime::Runtime, reqwest::Client), SaslTokenAnswer> {
        let outage = |error: &dyn std::fmt::Display| {
            SaslTokenAnswer::Outage(format!("preparing to ask for tokens: {error}"))
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let mut http = reqwest::Client::builder().timeout(CALL);
        if let Some(ca) = &self.ca {
            let ca = reqwest::Certificate::from_pem(ca)
                .map_err(|error| SaslTokenAnswer::Refused(format!("{CA} is no certificate: {error}")))?;
            http = http.tls_certs_merge([ca]);
        }
        Ok((runtime.map_err(|error| outage(&error))?, http.build().map_err(|error| outage(&error))?))
    }
}

/// `application/x-www-form-urlencoded`: letters, digits and `*-._` as they are, a space as `+`.
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
