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
    hint: Option<String>,
}

impl Fault {
    /// Returns a fault of `domain` that happened while `doing` something.
    pub fn new(domain: Domain, retry: Retry, doing: impl Into<String>, source: impl Into<BoxError>) -> Self {
        Self { domain, retry, doing: doing.into(), source: source.into(), hint: None }
    }

    /// Adds the action that mends the fault, for example `check kafka.brokers`.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Returns the action that mends the fault, if one is known.
    pub fn hint(&self) -> Option<&str> {
        // A fault that wraps another one is mended as the inner one is.
        self.hint.as_deref().or_else(|| self.source.downcast_ref::<Self>().and_then(Self::hint))
    }

    /// Returns the operation and all causes, without the hint.
    pub fn message(&self) -> String {
        // The operation comes first: an operator looks for the place before the cause.
        format!("{}: {}", self.doing, full_text(self.source.as_ref()))
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
        f.write_str(&self.message())?;
        match self.hint() {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Fault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The cause keeps its type, so that callers can look for a certain error.
        Some(self.source.as_ref())
    }
}

/// Returns an error with all its causes as one text, in which each phrase occurs once.
///
/// Some errors write their cause into their own text, others leave it to the chain of sources. A cause that the
/// text holds already is left out.
pub fn full_text(error: &(dyn std::error::Error + 'static)) -> String {
    // A fault's hint belongs behind all causes.
    let own_text = |error: &(dyn std::error::Error + 'static)| {
        error.downcast_ref::<Fault>().map_or_else(|| error.to_string(), Fault::message)
    };

    let mut text = own_text(error);
    let mut source = error.source();
    while let Some(cause) = source {
        let own = own_text(cause);
        if !text.contains(&own) {
            text.push_str(": ");
            text.push_str(&own);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error that names its cause, and one that does not.
    #[derive(Debug, thiserror::Error)]
    enum CallError {
        #[error("the call failed: {0}")]
        Repeating(#[source] std::io::Error),
        #[error("the call failed")]
        Silent(#[source] std::io::Error),
    }

    #[test]
    fn every_cause_is_in_the_text_once() {
        let refused = || std::io::Error::other("connection refused");
        for error in [CallError::Repeating(refused()), CallError::Silent(refused())] {
            let inner = Fault::outage("asking", error).with_hint("start it");
            assert_eq!(inner.to_string(), "asking: the call failed: connection refused (start it)");
            let outer = Fault::outage("planning", inner);
            assert_eq!(outer.to_string(), "planning: asking: the call failed: connection refused (start it)");
            assert_eq!(full_text(&outer), "planning: asking: the call failed: connection refused");
        }
        let drained = Fault::outage("draining", "not done within 20s");
        assert_eq!(full_text(&drained), "draining: not done within 20s");
    }
}
