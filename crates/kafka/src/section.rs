//! The section of a worker's configuration for the connection to Kafka.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use sluice_config::SecretReference;

/// Where Kafka is and how to talk to it.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaSection {
    /// Bootstrap servers, `host:port,host:port`.
    pub brokers: String,
    /// Further librdkafka properties (security.protocol, sasl.mechanism, …); those that carry the promises cannot be changed.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
    /// Properties whose values are secrets (sasl.password, ssl.key.password, …), by reference.
    #[serde(default)]
    pub secrets: BTreeMap<String, SecretReference>,
}

impl fmt::Debug for KafkaSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names only: a value may be a secret that was put in the wrong place.
        let names: Vec<_> = self.properties.keys().chain(self.secrets.keys()).collect();
        f.debug_struct("KafkaSection").field("brokers", &self.brokers).field("properties", &names).finish()
    }
}
