//! Configuration: YAML → JSON value → the worker's JSON schema → serde → the worker's own checks.
//!
//! The schema is derived from the raw struct, so that every mistake of form is found at once, with its path
//! and a hint. The worker adds the findings of its own checks to the same list. No setting falls back to a
//! default in silence.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod check;
mod secret;
mod size;

use std::fmt;
use std::path::Path;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

pub use secret::SecretReference;
pub use size::MemorySize;

/// One mistake in a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Path of the setting, for example `kafka.brokers`, or the file for a mistake of the file as a whole.
    pub path: String,
    /// The mistake. Never quotes a value, which may be a secret.
    pub message: String,
    /// The way to mend it, if there is one to name.
    pub hint: Option<String>,
}

/// All mistakes of a configuration at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl ConfigErrors {
    /// Returns a list with one mistake.
    pub fn one(path: impl Into<String>, message: impl Into<String>, hint: Option<String>) -> Self {
        let mut errors = Self::default();
        errors.add(path, message, hint);
        errors
    }

    /// Adds a mistake. `path` and `message` are as in [`ConfigError`].
    pub fn add(&mut self, path: impl Into<String>, message: impl Into<String>, hint: Option<String>) {
        self.0.push(ConfigError { path: path.into(), message: message.into(), hint });
    }

    /// Returns `value` if the list is empty, and the list as an error otherwise.
    pub fn or<T>(self, value: T) -> Result<T, Self> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        writeln!(f, "{count} mistake{} in the configuration:", if count == 1 { "" } else { "s" })?;

        // One line per mistake, and the hint below it.
        for error in &self.0 {
            write!(f, "  {}: {}", error.path, error.message)?;
            if let Some(hint) = &error.hint {
                write!(f, "\n      hint: {hint}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Reads a YAML file into `Raw`.
///
/// # Errors
/// [`ConfigErrors`] with all mistakes of form: unreadable file, broken YAML, unknown or missing keys, wrong
/// types.
pub fn load<Raw: DeserializeOwned + JsonSchema>(path: &Path) -> Result<Raw, ConfigErrors> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        ConfigErrors::one(
            path.display().to_string(),
            format!("cannot be read: {error}"),
            Some("give a file with -c".into()),
        )
    })?;
    parse(&text, &path.display().to_string())
}

/// Reads a YAML text into `Raw`. Messages call the text `name`.
///
/// # Errors
/// As [`load`], but for the unreadable file.
pub fn parse<Raw: DeserializeOwned + JsonSchema>(text: &str, name: &str) -> Result<Raw, ConfigErrors> {
    // The schema check and serde both read a JSON value.
    let value: serde_json::Value = serde_saphyr::from_str(text)
        .map_err(|error| ConfigErrors::one(name, format!("not YAML: {error}"), None))?;

    // The schema finds every mistake at once; serde would stop at the first one.
    check::against_schema::<Raw>(&value, name)?;

    // A mistake here is one that the schema cannot express, for example in a custom deserialiser.
    serde_json::from_value(value).map_err(|error| ConfigErrors::one(name, error.to_string(), None))
}

/// Returns the JSON schema of a worker's configuration, for editors and for the chart.
pub fn schema<Raw: JsonSchema>() -> serde_json::Value {
    check::schema_of::<Raw>().to_value()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct RawBrokers {
        brokers: String,
        #[serde(default)]
        properties: std::collections::BTreeMap<String, String>,
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct RawTestConfig {
        kafka: RawBrokers,
        memory: MemorySize,
        #[serde(default)]
        token: Option<SecretReference>,
    }

    #[test]
    fn every_mistake_is_reported_at_once_with_path_and_hint() {
        let text = "kafka: {broker: hunter2, properties: 5}\nmemory: [1]\ncolour: red\n";
        let errors = parse::<RawTestConfig>(text, "f.yaml").unwrap_err();
        let paths: Vec<_> = errors.0.iter().map(|e| e.path.as_str()).collect();
        for path in ["kafka", "kafka.broker", "kafka.properties", "memory", "colour"] {
            assert!(paths.contains(&path), "{path} is not among {paths:?}");
        }
        let text = errors.to_string();
        assert!(text.contains("did you mean `brokers`?"), "{text}");
        assert!(!text.contains("hunter2") && !text.contains("red"), "values must not be printed: {text}");
    }

    #[test]
    fn a_good_file_is_read() {
        let raw: RawTestConfig =
            parse("kafka: {brokers: 'h:1'}\nmemory: 64MiB\ntoken: {env: T}\n", "f").unwrap();
        assert_eq!((raw.kafka.brokers.as_str(), raw.memory.bytes()), ("h:1", 64 << 20));
        assert!(raw.token.is_some() && raw.kafka.properties.is_empty());
    }
}
