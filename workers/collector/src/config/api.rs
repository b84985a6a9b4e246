//! The checks of the API's section and its credentials.

use std::time::Duration;

use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};
use sluice_runtime::config::ConfigErrors;

use super::merge;
use super::raw::{RawApi, RawAuth, RawHmacSignature, RawOauthClient, RawSignatureFormat};

/// The places that a text to be signed may have.
pub(crate) const SIGNED: [&str; 5] = ["method", "path", "query", "timestamp", "body_sha256"];

/// The API after every check.
pub(crate) struct ApiConfig {
    pub(crate) base: Url,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// Goes to the API's own origin, and to the trusted ones.
    pub(crate) auth: AuthConfig,
    /// Further origins that get credentials and headers.
    pub(crate) trusted: Vec<url::Origin>,
    pub(crate) connect_timeout: Duration,
    /// The time until an answer begins, and between any two pieces of it.
    pub(crate) timeout: Duration,
    pub(crate) longest_answer: Duration,
    /// Bytes after decompression.
    pub(crate) max_page: u64,
}

/// Credentials with their secrets. Never printed.
#[derive(Clone)]
pub(crate) enum AuthConfig {
    None,
    Header(HeaderName, HeaderValue),
    /// Name and value of a query parameter.
    Query(String, String),
    Oauth2(OauthConfig),
    Hmac(HmacConfig),
}

/// The client credentials of OAuth 2.0 (RFC 6749, 4.4).
#[derive(Clone)]
pub(crate) struct OauthConfig {
    pub(crate) token_url: Url,
    /// `Authorization` for the token endpoint.
    pub(crate) client: HeaderValue,
    pub(crate) scope: Option<String>,
}

/// The signature of every request by HMAC-SHA-256 (RFC 2104).
#[derive(Clone)]
pub(crate) struct HmacConfig {
    pub(crate) secret: String,
    /// The text to be signed, with places from [`SIGNED`].
    pub(crate) sign: String,
    pub(crate) header: HeaderName,
    /// The text before the signature in its header.
    pub(crate) prefix: String,
    pub(crate) timestamp_header: HeaderName,
    pub(crate) encoding: RawSignatureFormat,
}

/// Checks the API's section and reads its secrets. `None`: an error was added.
pub(super) fn check(raw: &RawApi, errors: &mut ConfigErrors) -> Option<ApiConfig> {
    // Every part is checked before the first `?`: an operator sees all mistakes at once.
    let auth = check_auth(raw.auth.as_ref(), errors);
    let mut headers = Vec::new();
    for (name, value) in &raw.headers {
        let sound = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value));
        match sound {
            (Ok(name), Ok(value)) => headers.push((name, value)),
            // The value is not quoted: operators put keys there too.
            _ => errors.add(
                format!("api.headers.{name}"),
                "expected a name and a value that an HTTP header can have",
                None,
            ),
        }
    }

    // A timeout of 0 would refuse every request.
    for (path, seconds) in [
        ("api.connect_timeout_seconds", raw.connect_timeout_seconds),
        ("api.timeout_seconds", raw.timeout_seconds),
        ("api.longest_answer_seconds", raw.longest_answer_seconds),
    ] {
        if seconds == 0 {
            errors.add(path, "expected at least 1", None);
        }
    }
    if raw.max_record.bytes() < 1 << 10 {
        errors.add("api.max_record", "expected at least 1KiB", None);
    }

    let mut trusted = Vec::new();
    for (nth, origin) in raw.trusted_origins.iter().enumerate() {
        let path = format!("api.trusted_origins[{nth}]");
        if let Some(url) = check_url(&path, origin, errors) {
            trusted.push(url.origin());
        }
    }
    let base = check_url("api.base_url", &raw.base_url, errors)?;
    if base.query().is_some() || base.fragment().is_some() {
        // The endpoint's path would become a part of it.
        let hint = "put the parameters under `query` of each endpoint".to_owned();
        errors.add("api.base_url", "expected a URL without query and fragment", Some(hint));
    }
    Some(ApiConfig {
        base,
        headers,
        trusted,
        auth: auth?,
        connect_timeout: Duration::from_secs(raw.connect_timeout_seconds),
        timeout: Duration::from_secs(raw.timeout_seconds),
        longest_answer: Duration::from_secs(raw.longest_answer_seconds),
        max_page: raw.max_page.bytes() as u64,
    })
}

/// Checks a URL of an HTTP server. It must not hold credentials, because URLs are logged.
fn check_url(path: &str, text: &str, errors: &mut ConfigErrors) -> Option<Url> {
    let url = match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => url,
        _ => {
            let hint = "for example https://api.example.org".to_owned();
            errors.add(path, "expected an http or https URL", Some(hint));
            return None;
        }
    };
    if !url.username().is_empty() || url.password().is_some() {
        errors.add(path, "expected a URL without credentials", Some("put them under api.auth".into()));
    }
    Some(url)
}

/// Checks the credentials and reads their secrets. No section is no credentials.
fn check_auth(raw: Option<&RawAuth>, errors: &mut ConfigErrors) -> Option<AuthConfig> {
    // A line break inside a secret would end the header: the value is checked before a request carries it.
    let secret = |value: String, path: &str, errors: &mut ConfigErrors| match HeaderValue::from_str(&value) {
        Ok(mut value) => {
            value.set_sensitive(true);
            Some(value)
        }
        Err(_) => {
            let hint = "look for line breaks in the secret".to_owned();
            errors.add(path, "expected characters that an HTTP header can hold", Some(hint));
            None
        }
    };

    match raw {
        None => Some(AuthConfig::None),

        // Fixed headers.
        Some(RawAuth::Bearer(token)) => {
            let token = merge(token.reveal("api.auth.bearer"), errors)?;
            let value = secret(format!("Bearer {token}"), "api.auth", errors)?;
            Some(AuthConfig::Header(reqwest::header::AUTHORIZATION, value))
        }
        Some(RawAuth::Basic(basic)) => {
            let password = merge(basic.password.reveal("api.auth.basic.password"), errors)?;
            let value = secret(crate::auth::basic(&basic.user, &password), "api.auth", errors)?;
            Some(AuthConfig::Header(reqwest::header::AUTHORIZATION, value))
        }
        Some(RawAuth::Header(key)) => {
            let name = check_header("api.auth.header.name", &key.name, errors);
            let value = merge(key.value.reveal("api.auth.header.value"), errors)?;
            Some(AuthConfig::Header(name?, secret(value, "api.auth", errors)?))
        }

        // A query parameter is percent-encoded: it can hold any text.
        Some(RawAuth::Query(key)) => {
            let value = merge(key.value.reveal("api.auth.query.value"), errors)?;
            Some(AuthConfig::Query(key.name.clone(), value))
        }

        // Credentials that are made while the worker runs.
        Some(RawAuth::Oauth2(raw)) => check_oauth2(raw, errors).map(AuthConfig::Oauth2),
        Some(RawAuth::Hmac(raw)) => check_hmac(raw, errors).map(AuthConfig::Hmac),
    }
}

/// Checks an OAuth 2.0 client and reads its secret.
fn check_oauth2(raw: &RawOauthClient, errors: &mut ConfigErrors) -> Option<OauthConfig> {
    let token_url = check_url("api.auth.oauth2.token_url", &raw.token_url, errors);
    let secret = merge(raw.client_secret.reveal("api.auth.oauth2.client_secret"), errors)?;
    let client = HeaderValue::from_str(&crate::auth::basic(&raw.client_id, &secret));
    debug_assert!(client.is_ok(), "base64 is a valid header value");
    let mut client = client.ok()?;
    client.set_sensitive(true);
    Some(OauthConfig { token_url: token_url?, client, scope: raw.scope.clone() })
}

/// Checks the rules of a signature and reads its secret.
fn check_hmac(raw: &RawHmacSignature, errors: &mut ConfigErrors) -> Option<HmacConfig> {
    let header_name = check_header("api.auth.hmac.header", &raw.header, errors);
    let timestamp_header = check_header("api.auth.hmac.timestamp_header", &raw.timestamp_header, errors);

    // Every `{…}` of the text must be a known place. A typing error would be signed as it is, and the API
    // would only answer that the signature is wrong.
    let mut rest = raw.sign.as_str();
    while let Some((_, after)) = rest.split_once('{') {
        let place = after.split_once('}').map_or(after, |(place, _)| place);
        if !SIGNED.contains(&place) {
            let hint = format!("expected one of {}", SIGNED.map(|place| format!("{{{place}}}")).join(", "));
            errors.add("api.auth.hmac.sign", format!("unknown place `{{{place}}}`"), Some(hint));
        }
        rest = after;
    }
    if HeaderValue::from_str(&raw.prefix).is_err() {
        errors.add("api.auth.hmac.prefix", "expected characters that an HTTP header can hold", None);
    }

    let secret = merge(raw.secret.reveal("api.auth.hmac.secret"), errors)?;
    Some(HmacConfig {
        secret,
        sign: raw.sign.clone(),
        header: header_name?,
        prefix: raw.prefix.clone(),
        timestamp_header: timestamp_header?,
        encoding: raw.encoding,
    })
}

/// Checks the name of a header.
fn check_header(path: &str, name: &str, errors: &mut ConfigErrors) -> Option<HeaderName> {
    let name = HeaderName::from_bytes(name.as_bytes()).ok();
    if name.is_none() {
        errors.add(path, "expected a header name", None);
    }
    name
}
