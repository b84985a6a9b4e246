//! Access tokens from an OpenID provider (OAuth 2.0 client credentials, RFC 6749 section 4.4).

use std::time::Duration;

use serde::Deserialize;
use sluice_config::ConfigErrors;
use zeroize::Zeroizing;

use super::{CA, ID, LIFE, SCOPE, SECRET, SaslToken, SaslTokenAnswer, URL, now_ms};
use crate::KafkaSection;

/// The longest wait for one answer of the endpoint.
const CALL: Duration = Duration::from_secs(10);

/// A token endpoint and the credentials for it.
pub(super) struct TokenEndpoint {
    url: String,
    id: String,
    secret: Zeroizing<String>,
    scope: Option<String>,
    ca: Option<Vec<u8>>,
    /// Runtime and HTTP client, built at the first request and kept.
    asking: Option<(tokio::runtime::Runtime, reqwest::Client)>,
}

impl TokenEndpoint {
    /// Returns the endpoint that the section names, if it names one.
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
        Ok(Some(Self { url, id, secret, scope: value(SCOPE)?, ca, asking: None }))
    }

    /// Asks once. Blocks.
    pub(super) fn ask(&mut self) -> SaslTokenAnswer {
        self.answer().unwrap_or_else(|answer| answer)
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

#[cfg(test)]
mod tests {
    use super::super::{SaslTokenKind, SaslTokenSource};
    use super::*;

    #[test]
    fn a_form_is_encoded() {
        assert_eq!(form(None), "grant_type=client_credentials");
        assert_eq!(form(Some("a b/é")), "grant_type=client_credentials&scope=a+b%2F%C3%A9");
    }

    #[test]
    fn an_endpoint_that_is_away_is_an_outage_and_asked_again_later_each_time() {
        let endpoint = TokenEndpoint {
            url: "http://127.0.0.1:9/token".into(),
            id: "masker".into(),
            secret: Zeroizing::new("hunter2".into()),
            scope: None,
            ca: None,
            asking: None,
        };
        let mut source = SaslTokenSource { kind: SaslTokenKind::Endpoint(endpoint), failures: 0 };
        let (first, pause) = source.ask();
        let SaslTokenAnswer::Outage(why) = first else { panic!("nobody listens there") };
        assert!(why.contains("127.0.0.1:9") && !why.contains("hunter2"), "{why}");
        assert!(source.ask().1 > pause);
    }
}
