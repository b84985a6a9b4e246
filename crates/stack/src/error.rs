//! Why a stack did not come up.

use std::path::PathBuf;

/// Why a stack did not come up, in words that say what to do next.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// A program or an archive that a server is made of is not on this machine.
    #[error("{what} is not here (looked for {looked_for}): run setup/setup.sh")]
    NotInstalled {
        /// What it is, in words.
        what: &'static str,
        /// Where it was looked for.
        looked_for: String,
    },
    /// The operating system refused something.
    #[error("could not {doing}: {source}")]
    Io {
        /// What was tried.
        doing: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A program that prepares a server's directory failed.
    #[error("{what} failed ({status}):\n{output}")]
    Preparation {
        /// What was run, in words.
        what: String,
        /// How it ended.
        status: String,
        /// The last lines that it wrote.
        output: String,
    },
    /// A server ended before it was ready.
    #[error("{server} ended before it was ready ({status}); the end of its log, {log}:\n{tail}")]
    Exited {
        /// The server's name.
        server: String,
        /// How it ended.
        status: String,
        /// Its log file.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// A server was alive and did not become ready in time.
    #[error("{server} was not ready after {seconds} s (last: {last}); the end of its log, {log}:\n{tail}")]
    NotReady {
        /// The server's name.
        server: String,
        /// How long it was waited for.
        seconds: u64,
        /// What the last probe met.
        last: String,
        /// Its log file.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// There is no server of that name in this stack.
    #[error("no server named {0} in this stack")]
    Unknown(String),
}

impl StackError {
    /// For `map_err`: what was being done when the system refused.
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }
}
