//! Configuration: YAML → JSON value → the worker's JSON schema → serde → the worker's own checks.
//!
//! The schema is derived from the raw struct, so that every mistake of form is found at once, with its path
//! and a hint. The worker adds the findings of its own checks to the same list. No setting falls back to a
//! default in silence.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod check;
mod line;
mod natural;
mod secret;
mod size;

use std::fmt;
use std::path::Path;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

pub use secret::SecretReference;
pub use size::MemorySize;

/// One mistake in a configuration or in a contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file with the mistake and the line in it, if they are known.
    pub place: Option<FilePlace>,
    /// Path of the setting, for example `kafka.brokers`, an option of the command line, or the file for a
    /// mistake of the file as a whole.
    pub path: String,
    /// The mistake. Never quotes a value, which may be a secret.
    pub message: String,
    /// The way to mend it, if there is one to name.
    pub hint: Option<String>,
    /// The part of the input that has the mistake.
    pub origin: MistakeOrigin,
}

/// A file and a line in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePlace {
    /// The file, as the caller named it.
    pub file: String,
    /// The line, from 1. `None` if the mistake concerns the file as a whole.
    pub line: Option<u32>,
}

/// The part of the input that has a mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MistakeOrigin {
    /// A configuration file, an option, a secret, or a file that one of them names.
    Setting,
    /// A contract or a view: it can be read, and it is refused.
    Contract,
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
        self.0.push(ConfigError {
            place: None,
            path: path.into(),
            message: message.into(),
            hint,
            origin: MistakeOrigin::Setting,
        });
    }

    /// Returns `value` if the list is empty, and the list as an error otherwise.
    pub fn or<T>(self, value: T) -> Result<T, Self> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }

    /// Adds file and line to the mistakes whose settings the file has. The file is read again; one that cannot be
    /// read adds nothing.
    #[must_use]
    pub fn in_file(self, file: &Path) -> Self {
        match std::fs::read_to_string(file) {
            Ok(text) => self.in_text(&text, &file.display().to_string()),
            Err(_) => self,
        }
    }

    /// Adds the name and line of a YAML text to the mistakes whose settings the text has.
    fn in_text(mut self, text: &str, name: &str) -> Self {
        let lines = line::SettingLines::read(text);
        for error in self.0.iter_mut().filter(|error| error.place.is_none()) {
            let line = lines.as_ref().and_then(|lines| lines.find(&error.path));
            if line.is_some() {
                error.place = Some(FilePlace { file: name.to_owned(), line });
            }
        }
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `file:line: path: message (hint)`, as compilers write it: editors jump to the place.
        if let Some(FilePlace { file, line }) = &self.place {
            f.write_str(file)?;
            if let Some(line) = line {
                write!(f, ":{line}")?;
            }
            f.write_str(": ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One mistake is one line. Several have a headline.
        if let [error] = &self.0[..] {
            return error.fmt(f);
        }
        write!(f, "{} mistakes:", self.0.len())?;
        for error in &self.0 {
            write!(f, "\n  {error}")?;
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
        let hint = match error.kind() {
            std::io::ErrorKind::PermissionDenied => "let this user read it".into(),
            _ => "give a YAML file with -c".into(),
        };
        ConfigErrors::one(path.display().to_string(), format!("cannot be read: {error}"), Some(hint))
    })?;
    parse(&text, &path.display().to_string())
}

/// Reads a YAML text into `Raw`. Messages call the text `name`.
///
/// # Errors
/// As [`load`], but for the unreadable file.
pub fn parse<Raw: DeserializeOwned + JsonSchema>(text: &str, name: &str) -> Result<Raw, ConfigErrors> {
    // The schema check and serde both read a JSON value. The snippet of the parser's message would quote the file.
    let mut value: serde_json::Value = serde_saphyr::from_str(text).map_err(|error| {
        let line = error.location().and_then(|at| u32::try_from(at.line()).ok());
        let mut errors = ConfigErrors::one("", format!("not YAML: {}", plain_words(&error)), None);
        for error in &mut errors.0 {
            error.place = Some(FilePlace { file: name.to_owned(), line });
            error.hint =
                Some("mend the file at this line; indent with blanks, and quote texts with `: `".into());
        }
        errors
    })?;

    // Spellings such as `10s` become the form that the schema has.
    let schema = check::schema_of::<Raw>().to_value();
    natural::read_spellings(&mut value, &schema);

    // The schema finds every mistake at once; serde would stop at the first one.
    check::against_schema(&value, &schema, name).map_err(|errors| errors.in_text(text, name))?;

    // A mistake here is one that the schema cannot express, for example in a custom deserialiser.
    serde_json::from_value(value).map_err(|error| ConfigErrors::one(name, error.to_string(), None))
}

/// Returns the parser's message without the position, which is in front of it, and without words for programmers.
fn plain_words(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let words = text.split(" at line ").next().unwrap_or_default();
    words.split(", set DuplicateKeyPolicy").next().unwrap_or_default().to_owned()
}

/// Returns the JSON schema of a worker's configuration, for editors and for the chart.
pub fn schema<Raw: JsonSchema>() -> serde_json::Value {
    let mut schema = check::schema_of::<Raw>().to_value();
    natural::allow_spellings(&mut schema);
    schema
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
        for path in ["kafka.broker", "kafka.properties", "memory", "colour"] {
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
