//! The sections that every worker's configuration shares.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use super::ConfigErrors;

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
    pub secrets: BTreeMap<String, Secret>,
}

impl fmt::Debug for KafkaSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names only: a value may be a secret that was put in the wrong place.
        let names: Vec<_> = self.properties.keys().chain(self.secrets.keys()).collect();
        f.debug_struct("KafkaSection").field("brokers", &self.brokers).field("properties", &names).finish()
    }
}

/// The schema registry, Confluent-compatible.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegistrySection {
    /// Base URL, without `/subjects`: `http://registry:8080/apis/ccompat/v7`.
    pub url: String,
    /// Bearer token, by reference.
    #[serde(default)]
    pub token: Option<Secret>,
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

/// A reference to a secret: `{env: NAME}` or `{file: path}`. The secret itself never stands in a configuration.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Secret {
    /// Name of an environment variable.
    Env(String),
    /// Path of a file; a trailing line break is not part of the secret.
    File(String),
}

impl Secret {
    /// Reads it.
    ///
    /// # Errors
    /// Says which variable or file is missing, under `path`; never what was found.
    pub fn reveal(&self, path: &str) -> Result<String, ConfigErrors> {
        match self {
            Self::Env(name) => std::env::var(name).map_err(|_| {
                ConfigErrors::one(
                    path,
                    format!("environment variable {name} is not set"),
                    Some(format!("set {name}, or use {{file: …}}")),
                )
            }),
            Self::File(file) => std::fs::read_to_string(file)
                .map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
                .map_err(|error| ConfigErrors::one(path, format!("{file} cannot be read: {error}"), None)),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "Secret(env {name})"),
            Self::File(file) => write!(f, "Secret(file {file})"),
        }
    }
}

/// An amount of memory: `192MiB`, `1GiB`, or a number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(usize);

impl Size {
    /// So many mebibytes.
    pub const fn mib(count: usize) -> Self {
        Self(count << 20)
    }

    /// In bytes.
    pub const fn bytes(self) -> usize {
        self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let number: usize = text.get(..digits)?.parse().ok()?;
        let shift = match text.get(digits..)?.trim() {
            "" | "B" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            _ => return None,
        };
        number.checked_mul(1usize << shift).map(Self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Bytes(usize),
            Text(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Bytes(bytes) => Ok(Self(bytes)),
            Form::Text(text) => {
                Self::parse(&text).ok_or_else(|| serde::de::Error::custom("expected a size such as 192MiB"))
            }
        }
    }
}

impl JsonSchema for Size {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "pattern": "^[0-9]+ ?(B|KiB|MiB|GiB)?$",
            "minimum": 0,
            "description": "A size such as 192MiB (B, KiB, MiB, GiB)."
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_and_limits() {
        assert_eq!(Size::parse("192MiB"), Some(Size::mib(192)));
        assert_eq!(Size::parse("17"), Some(Size(17)));
        assert_eq!(Size::parse("1 GiB").map(Size::bytes), Some(1 << 30));
        assert_eq!(Size::parse("12MB"), None);
        assert_eq!(Size::parse("99999999999999999GiB"), None);
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", Secret::Env("TOKEN".into())), "Secret(env TOKEN)");
    }
}
