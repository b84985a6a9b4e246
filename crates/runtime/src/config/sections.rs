//! The sections that every worker's configuration shares.

use schemars::JsonSchema;
use serde::Deserialize;
use sluice_config::SecretReference;

/// The schema registry, Confluent-compatible.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegistrySection {
    /// Base URL, without `/subjects`: `http://registry:8080/apis/ccompat/v7`.
    pub url: String,
    /// Bearer token, by reference.
    #[serde(default)]
    pub token: Option<SecretReference>,
}

/// Where `/healthz`, `/readyz`, `/metrics` and `/status` listen.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdminSection {
    /// `host:port`; port 0 takes a free one and says which in the log.
    pub listen: String,
}

impl Default for AdminSection {
    fn default() -> Self {
        Self { listen: "127.0.0.1:0".into() }
    }
}
