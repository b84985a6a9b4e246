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

/// Address of `/healthz`, `/readyz`, `/metrics` and `/status`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdminSection {
    /// `host:port`. Port 0 takes a free port; the log shows its number.
    pub listen: String,
}

impl Default for AdminSection {
    fn default() -> Self {
        // The loop-back address: the admin pages are open to other hosts only if the configuration asks for
        // it.
        Self { listen: "127.0.0.1:0".into() }
    }
}
