//! The reasons for which a stack does not start.

use std::path::PathBuf;

/// The reason for which a stack did not start, with the action to take.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// A program or an archive that a server is made of is not on this machine.
    #[error("{what} is not installed: expected {looked_for}; run setup/setup.sh")]
    NotInstalled {
        /// Its name for a reader.
        what: &'static str,
        /// The file or the names that were expected.
        looked_for: String,
    },
    /// The operating system refused something.
    #[error("could not {doing}: {source}")]
    Io {
        /// The action that was tried, for example `create /tmp/stack`.
        doing: String,
        /// The error of the system.
        source: std::io::Error,
    },
    /// A program that prepares a server's directory failed.
    #[error("{what} failed ({status}):\n{output}")]
    Preparation {
        /// The action of the program, for example `making a certificate`.
        what: String,
        /// The exit status of the program.
        status: String,
        /// The last lines that the program wrote.
        output: String,
    },
    /// A server ended before it was ready.
    #[error("{server} ended before it was ready ({status}); the end of its log, {log}:\n{tail}")]
    Exited {
        /// The server's name.
        server: String,
        /// The exit status of the server.
        status: String,
        /// Its log file.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// A server was alive and did not become ready in time.
    #[error(
        "{server} was not ready after {seconds} s; its last answer: {last}; the end of its log, {log}:\n{tail}"
    )]
    NotReady {
        /// The server's name.
        server: String,
        /// The time that was waited, in seconds.
        seconds: u64,
        /// The result of the last probe.
        last: String,
        /// Its log file.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// There is no server of that name in this stack.
    #[error("no server named {0} in this stack: expected kafka-1 (and so on), registry, mariadb or postgres")]
    Unknown(String),
}

impl StackError {
    /// Makes a closure for `map_err`: `doing` names the action that the system refused.
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }
}
