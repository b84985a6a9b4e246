//! The reasons why a call to the registry failed.

use sluice_core::{Domain, Fault, Retry, full_text};
use sluice_kafka::CertificateMistake;

/// The reason why a call to the registry failed. No text holds a credential.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The registry refuses the credentials.
    #[error("{url} refuses the credentials ({status})")]
    Credentials {
        /// Base URL, without credentials.
        url: String,
        /// 401 or 403.
        status: u16,
    },
    /// The registry's certificate is not trusted, has expired, or is for another name.
    #[error("the certificate of {url} is refused: {mistake}")]
    Certificate {
        /// Base URL, without credentials.
        url: String,
        /// The reason.
        mistake: CertificateMistake,
    },
    /// There is no registry under this path.
    #[error("{url} answers 404 for /subjects; expected a schema registry there")]
    WrongPath {
        /// Base URL, without credentials.
        url: String,
    },
    /// The configuration's URL is none.
    #[error("registry.url is not an address")]
    NotAnAddress,
    /// The registry cannot be reached, or the call took too long.
    #[error("{url}: {why}")]
    Unreachable {
        /// Base URL, without credentials.
        url: String,
        /// The reason.
        why: String,
    },
    /// The schema does not fit an earlier version of its subject.
    #[error("the registry refuses the schema as incompatible with an earlier version")]
    Incompatible,
    /// The registry refuses the schema itself, for example because it is no valid Avro.
    #[error("the registry refuses the schema (error code {code})")]
    SchemaRefused {
        /// The registry's own code.
        code: u32,
    },
    /// An answer of a registry that is neither a success nor one of the errors above.
    #[error("status {status}, error code {code}; expected a success")]
    Unexpected {
        /// HTTP status.
        status: u16,
        /// The registry's own code; 0 for an answer without one.
        code: u32,
    },
    /// An answer that no registry gives, for example a proxy's page.
    #[error("status {status}; expected a schema registry's answer")]
    NotARegistry {
        /// HTTP status.
        status: u16,
    },
    /// The answer is longer than 4 MiB.
    #[error("the answer is too large; expected at most 4 MiB")]
    TooLarge,
}

impl RegistryError {
    /// Returns the reason of a call that got no answer. `url` is the base URL without credentials.
    pub(super) fn of(error: reqwest::Error, url: String) -> Self {
        // The URL may hold a password.
        let error = error.without_url();
        if let Some(mistake) = CertificateMistake::of(&error) {
            return Self::Certificate { url, mistake };
        }
        if error.is_builder() {
            return Self::NotAnAddress;
        }
        if error.is_timeout() {
            return Self::Unreachable { url, why: "no answer in time".to_owned() };
        }

        Self::Unreachable { url, why: full_text(&error) }
    }

    /// Returns the fault that happened while `doing` something.
    pub(super) fn fault(self, doing: impl Into<String>) -> Fault {
        match &self {
            Self::Credentials { .. } => Fault::user(doing, self)
                .with_hint("check registry.basic or registry.token, and the account's rights"),
            Self::WrongPath { .. } | Self::NotAnAddress => Fault::user(doing, self).with_hint(
                "check the path in registry.url: the base of Confluent's API, for example \
                 http://registry:8080/apis/ccompat/v7",
            ),
            Self::Incompatible | Self::SchemaRefused { .. } => Fault::user(doing, self),
            // A certificate can be renewed while a worker waits: it asks again.
            Self::Certificate { mistake, .. } => {
                let hint = mistake.hint("registry.ca");
                Fault::new(Domain::User, Retry::Later, doing, self).with_hint(hint)
            }
            // The operator mends a name and an address. A worker waits: a name may appear, and a proxy's page may go.
            Self::Unreachable { why, .. } if why.contains("lookup address") => {
                Fault::new(Domain::User, Retry::Later, doing, self)
                    .with_hint("check the host in registry.url")
            }
            Self::NotARegistry { status } if *status < 500 => {
                Fault::new(Domain::User, Retry::Later, doing, self).with_hint("check registry.url")
            }
            Self::Unreachable { .. } => {
                Fault::outage(doing, self).with_hint("start the registry, or check registry.url")
            }
            Self::Unexpected { .. } | Self::NotARegistry { .. } | Self::TooLarge => {
                Fault::outage(doing, self)
            }
        }
    }
}
