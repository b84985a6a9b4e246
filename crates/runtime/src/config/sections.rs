//! The sections that every worker's configuration shares.

use schemars::JsonSchema;
use serde::Deserialize;
use sluice_config::{ConfigErrors, SecretReference};

/// The schema registry, Confluent-compatible.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegistrySection {
    /// Base URL, without `/subjects`: `http://registry:8080/apis/ccompat/v7`.
    pub url: String,
    /// Bearer token, by reference.
    #[serde(default)]
    pub token: Option<SecretReference>,
    /// User and password instead of a token. At Confluent Cloud these are an API key and its secret.
    #[serde(default)]
    pub basic: Option<BasicLogin>,
    /// Certificates (PEM) of the authorities that have signed the registry's certificate, by reference. They are trusted
    /// beside the system's.
    #[serde(default)]
    pub ca: Option<SecretReference>,
}

/// User and password (RFC 7617).
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BasicLogin {
    /// User name.
    pub user: String,
    /// Password, by reference.
    pub password: SecretReference,
}

impl RegistrySection {
    /// Returns the section of a registry that asks for no credentials.
    pub fn open(url: impl Into<String>) -> Self {
        Self { url: url.into(), token: None, basic: None, ca: None }
    }

    /// Checks the rules that the form alone cannot express, without revealing a secret.
    ///
    /// # Errors
    /// All mistakes at once.
    pub fn check(&self) -> Result<(), ConfigErrors> {
        let mut errors = ConfigErrors::default();
        if self.token.is_some() && self.basic.is_some() {
            let hint = Some("a request has one Authorization header".to_owned());
            errors.add("registry", "token and basic are given; expected one of them", hint);
        }

        if self.url.starts_with("http://") && self.ca.is_some() {
            let hint = Some("write https:// in registry.url".to_owned());
            errors.add("registry.ca", "is of no use: registry.url is not https", hint);
        }
        errors.or(())
    }
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
