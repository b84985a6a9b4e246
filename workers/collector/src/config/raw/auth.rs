//! Credentials as an operator writes them: secrets are always references.

use schemars::JsonSchema;
use serde::Deserialize;
use sluice_runtime::config::SecretReference;

/// Credentials.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RawAuth {
    /// `Authorization: Bearer …`
    Bearer(SecretReference),
    /// `Authorization: Basic …`
    Basic(RawBasicAuth),
    /// An API key in a header of the API's own.
    Header(RawKeyHeader),
    /// An API key in a query parameter. Redirects and next pages at other origins do not get it.
    Query(RawKeyHeader),
    /// OAuth 2.0 client credentials (RFC 6749, 4.4). An access token is fetched, used, and replaced before it
    /// expires or when the API refuses it.
    Oauth2(RawOauthClient),
    /// Every request is signed with a shared secret by HMAC-SHA-256 (RFC 2104).
    Hmac(RawHmacSignature),
}

/// Name and password.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawBasicAuth {
    /// User name.
    pub user: String,
    /// Password, by reference.
    pub password: SecretReference,
}

/// An API key in a header or a query parameter.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawKeyHeader {
    /// Name of the header or parameter.
    pub name: String,
    /// Key, by reference.
    pub value: SecretReference,
}

/// The source of access tokens.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawOauthClient {
    /// URL of the token endpoint.
    pub token_url: String,
    /// Client id.
    pub client_id: String,
    /// Client secret, by reference. It is sent as Basic credentials, to the token endpoint only.
    pub client_secret: SecretReference,
    /// Scopes, separated by blanks.
    #[serde(default)]
    pub scope: Option<String>,
}

/// The signature of a request.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawHmacSignature {
    /// The shared secret, by reference.
    pub secret: SecretReference,
    /// The text that is signed, with the places `{method}`, `{path}`, `{query}`, `{timestamp}` (seconds since
    /// 1970) and `{body_sha256}` (hexadecimal).
    #[serde(default = "signed_text")]
    pub sign: String,
    /// Header that takes the signature.
    #[serde(default = "signature_header")]
    pub header: String,
    /// Text before the signature in its header, for example `HMAC-SHA256 `.
    #[serde(default)]
    pub prefix: String,
    /// Header that takes the timestamp.
    #[serde(default = "timestamp_header")]
    pub timestamp_header: String,
    /// Spelling of the signature: `hex` or `base64`.
    #[serde(default)]
    pub encoding: RawSignatureFormat,
}

/// The spelling of a signature.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawSignatureFormat {
    /// Lower-case hexadecimal.
    #[default]
    Hex,
    /// Standard alphabet, padded.
    Base64,
}

// The defaults of single keys.

/// Returns a text with every part of a request: no part can be changed without a new signature.
fn signed_text() -> String {
    "{method}\n{path}\n{query}\n{timestamp}\n{body_sha256}".into()
}

fn signature_header() -> String {
    "x-signature".into()
}

fn timestamp_header() -> String {
    "x-timestamp".into()
}
