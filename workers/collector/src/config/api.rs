//! What is checked about the API and its credentials.

use std::time::Duration;

use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};
use sluice_runtime::config::ConfigErrors;

use super::merge;
use super::raw::{RawApi, RawAuth, RawHmacSignature, RawOauthClient, RawSignatureFormat};

/// Places that a text to be signed may have.
pub(crate) const SIGNED: [&str; 5] = ["method", "path", "query", "timestamp", "body_sha256"];

pub(crate) struct ApiConfig {
    pub(crate) base: Url,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// Go to the API's own origin only.
    pub(crate) auth: AuthConfig,
    pub(crate) connect_timeout: Duration,
    pub(crate) timeout: Duration,
    pub(crate) longest_answer: Duration,
    pub(crate) max_page: u64,
}

/// Credentials, revealed. Never printed.
#[derive(Clone)]
pub(crate) enum AuthConfig {
    None,
    Header(HeaderName, HeaderValue),
    Query(String, String),
    Oauth2(OauthConfig),
    Hmac(HmacConfig),
}

#[derive(Clone)]
pub(crate) struct OauthConfig {
    pub(crate) token_url: Url,
    /// `Authorization` for the token endpoint.
    pub(crate) client: HeaderValue,
    pub(crate) scope: Option<String>,
}

#[derive(Clone)]
pub(crate) struct HmacConfig {
    pub(crate) secret: String,
    pub(crate) sign: String,
    pub(crate) header: HeaderName,
    pub(crate) prefix: String,
    pub(crate) timestamp_header: HeaderName,
    pub(crate) encoding: RawSignatureFormat,
}

pub(super) fn check(raw: &RawApi, errors: &mut ConfigErrors) -> Option<ApiConfig> {
    let auth = auth(raw.auth.as_ref(), errors);
    let mut headers = Vec::new();
    for (name, value) in &raw.headers {
        let sound = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value));
        match sound {
            (Ok(name), Ok(value)) => headers.push((name, value)),
            _ => errors.add(format!("api.headers.{name}"), "is not a valid header", None),
        }
    }
    for (path, seconds) in [
        ("api.connect_timeout_seconds", raw.connect_timeout_seconds),
        ("api.timeout_seconds", raw.timeout_seconds),
        ("api.longest_answer_seconds", raw.longest_answer_seconds),
    ] {
        if seconds == 0 {
            errors.add(path, "must be at least 1", None);
        }
    }
    if raw.max_record.bytes() < 1 << 10 {
        errors.add("api.max_record", "must be at least 1KiB", None);
    }
    let base = url("api.base_url", &raw.base_url, errors)?;
    Some(ApiConfig {
        base,
        headers,
        auth: auth?,
        connect_timeout: Duration::from_secs(raw.connect_timeout_seconds),
        timeout: Duration::from_secs(raw.timeout_seconds),
        longest_answer: Duration::from_secs(raw.longest_answer_seconds),
        max_page: raw.max_page.bytes() as u64,
    })
}

fn url(path: &str, text: &str, errors: &mut ConfigErrors) -> Option<Url> {
    let url = match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => url,
        _ => {
            errors.add(path, "is not an http or https URL", Some("https://api.example.org".into()));
            return None;
        }
    };
    if !url.username().is_empty() || url.password().is_some() {
        errors.add(path, "holds credentials", Some("put them under api.auth".into()));
    }
    Some(url)
}

fn auth(raw: Option<&RawAuth>, errors: &mut ConfigErrors) -> Option<AuthConfig> {
    let secret = |value: String, path: &str, errors: &mut ConfigErrors| match HeaderValue::from_str(&value) {
        Ok(mut value) => {
            value.set_sensitive(true);
            Some(value)
        }
        Err(_) => {
            let hint = "look for line breaks in the secret".to_owned();
            errors.add(path, "holds characters that no header may hold", Some(hint));
            None
        }
    };
    match raw {
        None => Some(AuthConfig::None),
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
            let name = header("api.auth.header.name", &key.name, errors);
            let value = merge(key.value.reveal("api.auth.header.value"), errors)?;
            Some(AuthConfig::Header(name?, secret(value, "api.auth", errors)?))
        }
        Some(RawAuth::Query(key)) => {
            let value = merge(key.value.reveal("api.auth.query.value"), errors)?;
            Some(AuthConfig::Query(key.name.clone(), value))
        }
        Some(RawAuth::Oauth2(raw)) => oauth2(raw, errors).map(AuthConfig::Oauth2),
        Some(RawAuth::Hmac(raw)) => hmac(raw, errors).map(AuthConfig::Hmac),
    }
}

fn oauth2(raw: &RawOauthClient, errors: &mut ConfigErrors) -> Option<OauthConfig> {
    let token_url = url("api.auth.oauth2.token_url", &raw.token_url, errors);
    let secret = merge(raw.client_secret.reveal("api.auth.oauth2.client_secret"), errors)?;
    let mut client = HeaderValue::from_str(&crate::auth::basic(&raw.client_id, &secret)).ok()?;
    client.set_sensitive(true);
    Some(OauthConfig { token_url: token_url?, client, scope: raw.scope.clone() })
}

fn hmac(raw: &RawHmacSignature, errors: &mut ConfigErrors) -> Option<HmacConfig> {
    let header_name = header("api.auth.hmac.header", &raw.header, errors);
    let timestamp_header = header("api.auth.hmac.timestamp_header", &raw.timestamp_header, errors);
    let mut rest = raw.sign.as_str();
    while let Some((_, after)) = rest.split_once('{') {
        let place = after.split_once('}').map_or(after, |(place, _)| place);
        if !SIGNED.contains(&place) {
            let hint = SIGNED.map(|place| format!("{{{place}}}")).join(", ");
            errors.add("api.auth.hmac.sign", format!("`{{{place}}}` is not known"), Some(hint));
        }
        rest = after;
    }
    if HeaderValue::from_str(&raw.prefix).is_err() {
        errors.add("api.auth.hmac.prefix", "holds characters that no header may hold", None);
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

fn header(path: &str, name: &str, errors: &mut ConfigErrors) -> Option<HeaderName> {
    let name = HeaderName::from_bytes(name.as_bytes()).ok();
    if name.is_none() {
        errors.add(path, "is not a header name", None);
    }
    name
}
