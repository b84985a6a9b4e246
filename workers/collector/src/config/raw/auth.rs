//! Credentials, as an operator writes them: always by reference.

use schemars::JsonSchema;
use serde::Deserialize;
use sluice_runtime::config::Secret;

/// Credentials.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RawAuth {
    /// `Authorization: Bearer …`
    Bearer(Secret),
    /// `Authorization: Basic …`
    Basic(RawBasic),
    /// An API key in a header of the API's own.
    Header(RawKeyHeader),
    /// An API key in a query parameter. Redirects and next pages elsewhere do not get it.
    Query(RawKeyHeader),
    /// OAuth 2.0 client credentials (RFC 6749, 4.4): a token is fetched, used, and fetched anew before it expires or
    /// when the API refuses it.
    Oauth2(RawOauth2),
    /// Every request is signed with a shared secret, HMAC-SHA-256 (RFC 2104).
    Hmac(RawHmac),
}

/// Name and password.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawBasic {
    /// User name.
    pub user: String,
    /// Password, by reference.
    pub password: Secret,
}

/// An API key in a header or a query parameter.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawKeyHeader {
    /// Name of the header or parameter.
    pub name: String,
    /// Key, by reference.
    pub value: Secret,
}

/// Where tokens come from.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawOauth2 {
    /// The token endpoint.
    pub token_url: String,
    /// Client id.
    pub client_id: String,
    /// Client secret, by reference; sent as Basic credentials to the token endpoint only.
    pub client_secret: Secret,
    /// Scopes, separated by blanks.
    #[serde(default)]
    pub scope: Option<String>,
}

/// How a request is signed.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawHmac {
    /// The shared secret, by reference.
    pub secret: Secret,
    /// What is signed: text with `{method}`, `{path}`, `{query}`, `{timestamp}` (seconds since 1970), `{body_sha256}` (hexadecimal).
    #[serde(default = "signed_text")]
    pub sign: String,
    /// Header that takes the signature.
    #[serde(default = "signature_header")]
    pub header: String,
    /// What stands before the signature in it: `HMAC-SHA256 `
    #[serde(default)]
    pub prefix: String,
    /// Header that takes the timestamp.
    #[serde(default = "timestamp_header")]
    pub timestamp_header: String,
    /// Hexadecimal or base64.
    #[serde(default)]
    pub encoding: RawEncoding,
}

/// How a signature is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawEncoding {
    /// Lower-case hexadecimal.
    #[default]
    Hex,
    /// Standard alphabet, padded.
    Base64,
}

fn signed_text() -> String {
    "{method}\n{path}\n{query}\n{timestamp}\n{body_sha256}".into()
}

fn signature_header() -> String {
    "x-signature".into()
}

fn timestamp_header() -> String {
    "x-timestamp".into()
}
