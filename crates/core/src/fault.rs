//! A fault is trouble of the worker or of a neighbour, never of a record.

use std::fmt;

/// Any error, boxed, on its way up to the code that decides about it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// The party that can mend a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Domain {
    /// The operator: configuration, credentials, a missing topic.
    User,
    /// A neighbour: broker, registry, store, API, network.
    External,
    /// The code itself: a bug.
    Internal,
}

/// The action that a fault asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Retry {
    /// Try the same again after a pause.
    Later,
    /// Put the state back to the last durable point, then try again.
    Rewind,
    /// Stop the worker: no retry can help.
    Never,
}

/// Trouble of the worker or of a neighbour, with its domain, the action to take and its cause.
#[derive(Debug)]
pub struct Fault {
    /// The party that can mend it.
    pub domain: Domain,
    /// The action to take.
    pub retry: Retry,
    /// The operation that failed, as a text for the operator, for example `reading topic a.v1`. Holds no
    /// values of records.
    pub doing: String,
    source: BoxError,
}

impl Fault {
    /// Returns a fault of `domain` that happened while `doing` something.
    pub fn new(domain: Domain, retry: Retry, doing: impl Into<String>, source: impl Into<BoxError>) -> Self {
        Self { domain, retry, doing: doing.into(), source: source.into() }
    }

    /// Returns the fault of a neighbour that did not answer, or that answered with an error that may pass.
    pub fn outage(doing: impl Into<String>, source: impl Into<BoxError>) -> Self {
        Self::new(Domain::External, Retry::Later, doing, source)
    }

    /// Returns the fault of a write that another process owns, or of an aborted transaction: the worker goes
    /// back to the last durable point.
    pub fn rewind(doing: impl Into<String>, source: impl Into<BoxError>) -> Self {
        Self::new(Domain::External, Retry::Rewind, doing, source)
    }

    /// Returns a fault that only the operator can mend, for example by changing the configuration.
    pub fn user(doing: impl Into<String>, source: impl Into<BoxError>) -> Self {
        Self::new(Domain::User, Retry::Never, doing, source)
    }

    /// Returns the fault of a state that must not occur: a bug in Sluicegate.
    pub fn bug(doing: impl Into<String>, source: impl Into<BoxError>) -> Self {
        Self::new(Domain::Internal, Retry::Never, doing, source)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The operation comes first: an operator looks for the place before the cause.
        write!(f, "{}: {}", self.doing, self.source)
    }
}

impl std::error::Error for Fault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The cause keeps its type, so that callers can look for a certain error.
        Some(self.source.as_ref())
    }
}
