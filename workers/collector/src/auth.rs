//! Credentials on a request: fixed, fetched, or computed for each request.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use crate::client::{AnswerTrouble, TroubleKind};
use crate::config::{AuthConfig, HmacConfig, OauthConfig, RawSignatureFormat};

/// An access token is replaced when this much of its life is left. Short-lived tokens are used for half their
/// life.
const EARLY: Duration = Duration::from_secs(30);
/// The life of an access token whose answer names none (RFC 6749 only recommends to name it).
const USUAL_LIFE: Duration = Duration::from_secs(300);

/// The largest answer of a token endpoint, in bytes.
const LARGEST_TOKEN: usize = 1 << 20;

/// Puts credentials on requests to the API's own origin.
pub(crate) struct ApiAuthenticator {
    config: AuthConfig,
    /// The last access token of OAuth 2.0, and the instant at which to fetch the next one.
    token: Mutex<Option<(HeaderValue, Instant)>>,
    /// Held while a token is fetched: the other tasks wait for it instead of fetching one each.
    fetching: tokio::sync::Mutex<()>,
}

/// The headers and the query parameter that are added to one request.
#[derive(Default)]
pub(crate) struct RequestCredentials {
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) query: Option<(String, String)>,
}

/// Returns `Basic` credentials (RFC 7617).
pub(crate) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

impl ApiAuthenticator {
    /// Makes an authenticator. Nothing is fetched before the first request.
    pub(crate) fn new(config: AuthConfig) -> Self {
        Self { config, token: Mutex::default(), fetching: tokio::sync::Mutex::default() }
    }

    /// Returns the credentials of one request. They are made now, because timestamps and access tokens age.
    ///
    /// # Errors
    /// The trouble of the token endpoint (OAuth 2.0).
    pub(crate) async fn sign(
        &self,
        http: &reqwest::Client,
        url: &Url,
        body: Option<&str>,
    ) -> Result<RequestCredentials, AnswerTrouble> {
        Ok(match &self.config {
            AuthConfig::None => RequestCredentials::default(),

            // Fixed credentials.
            AuthConfig::Header(name, value) => {
                RequestCredentials { headers: vec![(name.clone(), value.clone())], query: None }
            }
            AuthConfig::Query(name, value) => {
                RequestCredentials { headers: Vec::new(), query: Some((name.clone(), value.clone())) }
            }

            // Credentials that are fetched now and then.
            AuthConfig::Oauth2(config) => {
                let token = self.token(http, config).await?;
                RequestCredentials { headers: vec![(AUTHORIZATION, token)], query: None }
            }

            // Credentials that are computed for each request.
            AuthConfig::Hmac(config) => {
                // A clock before 1970 signs with 0, and the API refuses it.
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
                let headers = signature(config, url, body, now).into();
                RequestCredentials { headers, query: None }
            }
        })
    }

    /// Notes that the API refused a request with 401. `true`: the access token may have been revoked before
    /// its time, and a new one is worth an attempt.
    pub(crate) fn refused(&self, with: &RequestCredentials) -> bool {
        let mut token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        // Another request may have been refused first: then the present token is a new one, and it stays.
        if token.as_ref().is_some_and(|(current, _)| with.headers.iter().any(|(_, value)| value == current)) {
            *token = None;
        }
        matches!(self.config, AuthConfig::Oauth2(_))
    }

    /// Returns the present access token, or fetches one.
    async fn token(
        &self,
        http: &reqwest::Client,
        config: &OauthConfig,
    ) -> Result<HeaderValue, AnswerTrouble> {
        if let Some(token) = self.current() {
            return Ok(token);
        }
        // The second look is needed: another task may have fetched a token while this one waited for the
        // lock.
        let _one = self.fetching.lock().await;
        if let Some(token) = self.current() {
            return Ok(token);
        }
        let (token, life) = fetch_token(http, config).await?;
        // A short-lived token is used for half its life. Otherwise `EARLY` would fetch one for every request.
        let fetch_at = Instant::now() + life.saturating_sub(EARLY).max(life / 2);
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some((token.clone(), fetch_at));
        Ok(token)
    }

    /// Returns the present access token, unless it must be replaced.
    fn current(&self) -> Option<HeaderValue> {
        let token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        token.as_ref().filter(|(_, until)| Instant::now() < *until).map(|(token, _)| token.clone())
    }
}

/// Fetches an access token by client credentials (RFC 6749, 4.4), and returns it with its life.
///
/// # Errors
/// [`AnswerTrouble::Denied`] if the endpoint refuses the client; otherwise trouble that may pass. No text
/// quotes the answer: it holds a secret.
async fn fetch_token(
    http: &reqwest::Client,
    config: &OauthConfig,
) -> Result<(HeaderValue, Duration), AnswerTrouble> {
    // The request.
    let form = {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        if let Some(scope) = &config.scope {
            form.append_pair("scope", scope);
        }
        form.finish()
    };
    let request = http
        .post(config.token_url.clone())
        .header(AUTHORIZATION, config.client.clone())
        .header(reqwest::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(form);

    // The status: wrong credentials stop the worker, everything else may pass.
    let away = |what: &str| AnswerTrouble::Passing {
        what: format!("the token endpoint: {what}"),
        asked: None,
        kind: TroubleKind::Unwell,
    };
    let no_token = |why: &str| away(&format!("{why} (RFC 6749, 5.1)"));
    let response = request.send().await.map_err(|error| away(&crate::client::connection_trouble(&error)))?;
    let status = response.status();
    if matches!(status.as_u16(), 400 | 401 | 403) {
        return Err(AnswerTrouble::Denied(status.as_u16()));
    }
    if !status.is_success() {
        return Err(away(&format!("it answered {status}")));
    }

    // The body, but no endless one.
    let mut response = response;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| away("its answer broke off"))? {
        body.extend_from_slice(&chunk);
        if body.len() > LARGEST_TOKEN {
            return Err(no_token("expected at most 1 MiB"));
        }
    }

    // The token and its life.
    let (token, life) = read_token(&body).map_err(no_token)?;
    let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| no_token("`access_token`: expected characters that an HTTP header can hold"))?;
    value.set_sensitive(true);
    Ok((value, life))
}

/// Reads a token endpoint's answer (RFC 6749, 5.1). Returns the access token and its life.
///
/// # Errors
/// The expectation that it does not meet.
fn read_token(body: &[u8]) -> Result<(String, Duration), &'static str> {
    let answer: Value = serde_json::from_slice(body).map_err(|_| "expected JSON")?;
    let token = match answer.get("access_token") {
        Some(Value::String(token)) => token.clone(),
        Some(_) => return Err("`access_token`: expected a text"),
        None if answer.get("error").is_some() => return Err("expected `access_token`, found `error`"),
        None => return Err("expected `access_token`"),
    };

    // Seconds. Some servers write them as text.
    let seconds = match answer.get("expires_in") {
        None | Some(Value::Null) => None,
        Some(Value::Number(seconds)) => seconds.as_f64(),
        Some(Value::String(text)) => match text.trim().parse::<f64>() {
            Ok(seconds) => Some(seconds),
            Err(_) => return Err("`expires_in`: expected a number of seconds"),
        },
        Some(_) => return Err("`expires_in`: expected a number of seconds"),
    };
    let life = seconds.filter(|life| *life > 0.0).and_then(|life| Duration::try_from_secs_f64(life).ok());
    Ok((token, life.unwrap_or(USUAL_LIFE)))
}

/// Returns the headers of signature and timestamp. `now` is in seconds since 1970.
fn signature(config: &HmacConfig, url: &Url, body: Option<&str>, now: u64) -> [(HeaderName, HeaderValue); 2] {
    // The values for the places of the text to be signed.
    let method = if body.is_some() { "POST" } else { "GET" };
    let now = now.to_string();
    let hash = hex::encode(Sha256::digest(body.unwrap_or_default()));
    let places = [
        ("{method}", method),
        ("{path}", url.path()),
        ("{query}", url.query().unwrap_or_default()),
        ("{timestamp}", &now),
        ("{body_sha256}", &hash),
    ];

    // The text is filled from left to right. A value that looks like a place is never filled again.
    let mut text = String::new();
    let mut rest = config.sign.as_str();
    'next: while !rest.is_empty() {
        for (place, value) in places {
            if let Some(after) = rest.strip_prefix(place) {
                text.push_str(value);
                rest = after;
                continue 'next;
            }
        }
        let mut letters = rest.chars();
        text.extend(letters.next());
        rest = letters.as_str();
    }

    // The signature.
    let mut mac = mac(config.secret.as_bytes());
    mac.update(text.as_bytes());
    let code = mac.finalize().into_bytes();
    let code = match config.encoding {
        RawSignatureFormat::Hex => hex::encode(code),
        RawSignatureFormat::Base64 => STANDARD.encode(code),
    };

    // The headers. The configuration has checked the prefix; digits, hexadecimal and base64 are always valid.
    let value = |text: &str| {
        let value = HeaderValue::from_str(text);
        debug_assert!(value.is_ok(), "the prefix of the signature was checked");
        value.unwrap_or(HeaderValue::from_static(""))
    };
    let mut signed = value(&format!("{}{code}", config.prefix));
    signed.set_sensitive(true);
    [(config.header.clone(), signed), (config.timestamp_header.clone(), value(&now))]
}

/// Returns the pseudonym of an id: half of its HMAC-SHA-256, in hexadecimal.
pub(crate) fn pseudonym(key: &[u8], id: &str) -> String {
    let mut mac = mac(key);
    mac.update(id.as_bytes());
    let mut code = hex::encode(mac.finalize().into_bytes());
    code.truncate(32);
    code
}

/// Begins an HMAC. It takes keys of any length (RFC 2104, 2).
#[allow(clippy::expect_used)]
fn mac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("a key of any length")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_text() {
        let config = HmacConfig {
            secret: "key".into(),
            sign: "The quick brown fox jumps over the lazy dog".into(),
            header: HeaderName::from_static("x-signature"),
            prefix: "v1=".into(),
            timestamp_header: HeaderName::from_static("x-timestamp"),
            encoding: RawSignatureFormat::Hex,
        };
        let url = Url::parse("http://h/v1/{method}?page=2").unwrap();
        let [(_, signed), (_, time)] = signature(&config, &url, None, 7);
        // The example of every HMAC-SHA-256 implementation.
        let known = "v1=f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8";
        assert_eq!((signed.to_str().unwrap(), time.to_str().unwrap()), (known, "7"));
        let sign = "{method}\n{path}\n{query}\n{timestamp}\n{body_sha256}".to_owned();
        let [(_, get), _] = signature(&HmacConfig { sign: sign.clone(), ..config.clone() }, &url, None, 7);
        let [(_, post), _] = signature(&HmacConfig { sign, ..config }, &url, Some("{}"), 7);
        assert_ne!(get, post);
        assert!(post.is_sensitive());
    }

    #[test]
    fn a_token_s_answer_is_read_in_every_form_and_its_mistake_is_named() {
        let life = |expires: &str| {
            read_token(format!(r#"{{"access_token":"t","expires_in":{expires}}}"#).as_bytes())
                .map(|(_, life)| life)
        };
        for expires in ["3599", "\"3599\"", "3599.0", "\" 3599 \""] {
            assert_eq!(life(expires), Ok(Duration::from_secs(3_599)), "{expires}");
        }
        assert_eq!(life("null"), Ok(USUAL_LIFE));
        assert_eq!(life("\"soon\"").unwrap_err(), "`expires_in`: expected a number of seconds");
        for (body, why) in [
            ("<html>", "expected JSON"),
            (r#"{"token":"t"}"#, "expected `access_token`"),
            (r#"{"error":"x"}"#, "expected `access_token`, found `error`"),
            (r#"{"access_token":7}"#, "`access_token`: expected a text"),
        ] {
            assert_eq!(read_token(body.as_bytes()).unwrap_err(), why);
        }
    }

    #[test]
    fn a_token_that_is_refused_is_forgotten_unless_there_is_a_newer_one() {
        let config = OauthConfig {
            token_url: Url::parse("http://h/token").unwrap(),
            client: HeaderValue::from_static("Basic x"),
            scope: None,
        };
        let auth = ApiAuthenticator::new(AuthConfig::Oauth2(config));
        let holds = |token: &'static str| {
            let value = HeaderValue::from_static(token);
            *auth.token.lock().unwrap() = Some((value.clone(), Instant::now() + USUAL_LIFE));
            RequestCredentials { headers: vec![(AUTHORIZATION, value)], query: None }
        };
        let old = holds("Bearer old");
        assert!(auth.refused(&old) && auth.current().is_none());
        holds("Bearer new");
        assert!(auth.refused(&old) && auth.current().is_some());
        assert!(!ApiAuthenticator::new(AuthConfig::None).refused(&old));
    }
}
