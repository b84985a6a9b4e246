//! References to secrets.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

use super::ConfigErrors;

/// A reference to a secret: `{env: NAME}` or `{file: path}`. A configuration never holds the secret itself.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SecretReference {
    /// Name of an environment variable.
    Env(String),
    /// Path of a file; a trailing line break is not part of the secret.
    File(String),
}

impl SecretReference {
    /// Reads the secret. `path` is the setting that holds the reference, for messages.
    ///
    /// # Errors
    /// Fails if the variable is not set, or if the file cannot be read. The error names the variable or file,
    /// and never quotes its content.
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
                // Most editors end a file with a line break, which is not part of the secret.
                .map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
                .map_err(|error| {
                    let hint = "give the path of a file that this user can read".to_owned();
                    ConfigErrors::one(path, format!("{file} cannot be read: {error}"), Some(hint))
                }),
        }
    }
}

// Written out, so that a derived form never shows more than the reference.
impl fmt::Debug for SecretReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "Secret(env {name})"),
            Self::File(file) => write!(f, "Secret(file {file})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", SecretReference::Env("TOKEN".into())), "Secret(env TOKEN)");
    }
}
