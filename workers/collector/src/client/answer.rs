//! What comes back, and what is wrong with it.

use std::fmt;
use std::time::Duration;

use sluice_core::Fault;

use crate::page::PageError;

/// An answer with its whole body.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Decompressed; empty unless the status is a success.
    pub(crate) body: Vec<u8>,
    /// `Link` headers.
    pub(crate) links: Vec<String>,
    /// Sound `Retry-After`.
    pub(crate) asked: Option<Duration>,
    /// The content type says HTML.
    pub(crate) html: bool,
}

/// What is wrong with one answer. Words for an operator; no values of records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// May be gone next time.
    Passing {
        what: String,
        /// Not earlier than this.
        asked: Option<Duration>,
        /// The API is not there or not well, rather than this page of it.
        outage: bool,
    },
    /// Asking again cannot help: the id is dead.
    Hopeless(String),
    /// Our credentials are refused: the worker stops.
    Denied(u16),
}

/// Why a page did not come, after all retries.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// We are stopping.
    Stopped,
    /// Give the id back and try after the pause.
    Later { pause: Duration, reason: String },
    /// The id is dead.
    Dead(String),
    /// The worker must stop.
    Fatal(Fault),
}

impl Trouble {
    pub(crate) fn passing(what: impl Into<String>) -> Self {
        Self::Passing { what: what.into(), asked: None, outage: false }
    }

    pub(crate) fn status(status: u16, asked: Option<Duration>) -> Self {
        // A 429 is the API being well and saying so.
        Self::Passing { what: format!("the API says {status}"), asked, outage: status >= 500 }
    }

    /// A page that cannot be read: half of it may come whole next time, and an error page in HTML may go away.
    pub(crate) fn page(error: &PageError, html: bool) -> Self {
        Self::passing(if html { format!("an HTML page: {error}") } else { format!("a page that is {error}") })
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passing { what, .. } | Self::Hopeless(what) => f.write_str(what),
            Self::Denied(status) => write!(f, "the API says {status}"),
        }
    }
}
