//! A fault is trouble of the worker or its neighbours, never of a record.

use std::fmt;

/// Any error, boxed, as it is handed up to whoever decides.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// Who can mend it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Domain {
    /// The operator: configuration, credentials, a missing topic.
    User,
    /// A neighbour: broker, registry, store, API, network.
    External,
    /// Us: a bug.
    Internal,
}

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Retry {
    /// The same again after a pause.
    Later,
    /// Put the state back to the last durable point, then again.
    Rewind,
    /// Stop the worker: no retry can help.
    Never,
}

/// Trouble with its domain, what to do about it, and where it came from.
#[derive(Debug)]
pub struct Fault {
    /// Who can mend it.
    pub domain: Domain,
    /// What to do.
    pub retry: Retry,
    /// What was being done, in words for an operator; holds no record's values.
    pub doing: String,
    source: BoxError,
}

impl Fault {
    /// A fault of `domain` while `doing` something.
    pub fn new(domain: Domain, retry: Retry, doing: impl Into<String>, source: impl Into<BoxError>) -> Self {
        Self { domain, retry, doing: doing.into(), source: source.into() }
    }

    /// A neighbour did not answer or answered with an error that may pass.
    pub fn outage(doing: impl Into<String>, source: impl Into<BoxError>) -> Self {
        Self::new(Domain::External, Retry::Later, doing, source)
    }

    /// Someone else owns what we were about to write, or a transaction was aborted: go back to the last durable point.
    pub fn rewind(doing: impl Into<String>, source: impl Into<BoxError>) -> Self {
        Self::new(Domain::External, Retry::Rewind, doing, source)
    }

    /// The operator must act.
    pub fn user(doing: impl Into<String>, source: impl Into<BoxError>) -> Self {
        Self::new(Domain::User, Retry::Never, doing, source)
    }

    /// Should not happen: a bug of ours.
    pub fn bug(doing: impl Into<String>, source: impl Into<BoxError>) -> Self {
        Self::new(Domain::Internal, Retry::Never, doing, source)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.doing, self.source)
    }
}

impl std::error::Error for Fault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.source.as_ref())
    }
}
