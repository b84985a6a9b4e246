//! What can go wrong between us and the database.

use sluice_core::Fault;

/// Trouble with claims. Losing a claim is not among them: that is an answer, [`crate::FenceAnswer::Lost`].
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The database refused or did not answer.
    #[error("{doing}: {source}")]
    Database {
        /// What was being done.
        doing: &'static str,
        /// What the driver said.
        source: sqlx::Error,
    },
    /// The connection URL is not one of ours. The URL itself is not quoted: it may hold a password.
    #[error("the database URL must begin with mysql://, mariadb://, postgres:// or postgresql://")]
    Scheme,
    /// A table or column name that would need quoting beyond what we are ready to write.
    #[error("`{0}` is not a plain table or column name (letters, digits, _ and $, parts joined by a dot)")]
    Name(String),
    /// What an id's row is to remember of its next page is longer than the column.
    #[error("a page's mark of {length} bytes (a token of the API, most likely); a row holds at most {most}")]
    TooLong {
        /// Of the mark, in bytes.
        length: usize,
        /// The longest that is taken.
        most: usize,
    },
    /// The server is too old for SKIP LOCKED.
    #[error("the database is {found}; claims need {needed} or later")]
    TooOld {
        /// What the server calls itself.
        found: String,
        /// The oldest version that will do.
        needed: &'static str,
    },
}

impl LeaseError {
    /// May the same call succeed after a pause?
    pub fn retryable(&self) -> bool {
        match self {
            Self::Database { source, .. } => match source {
                sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::Protocol(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::WorkerCrashed
                | sqlx::Error::BeginFailed => true,
                sqlx::Error::Database(error) => {
                    transient(source) || error.code().is_some_and(|code| passing(&code))
                }
                _ => false,
            },
            Self::Scheme | Self::Name(_) | Self::TooLong { .. } | Self::TooOld { .. } => false,
        }
    }

    pub(crate) fn while_doing(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Database { doing, source }
    }
}

impl From<LeaseError> for Fault {
    fn from(error: LeaseError) -> Self {
        let doing = "claims database";
        match error.retryable() {
            true => Self::outage(doing, error),
            false => Self::user(doing, error),
        }
    }
}

/// SQLSTATE classes of a server that is starting, stopping, full or disconnected (Postgres 08, 53, 57P; both, 40), or
/// that threw us out because we stood still in a transaction (Postgres 25P03, MariaDB 70100).
fn passing(code: &str) -> bool {
    ["08", "25P03", "40", "53", "57P", "70100"].iter().any(|class| code.starts_with(class))
}

/// Deadlock or serialisation failure: the server rolled back, the same statements may be sent again at once.
pub(crate) fn transient(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    if let Some(mysql) = error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
        // 1205 lock wait time-out, 1213 deadlock
        return matches!(mysql.number(), 1205 | 1213);
    }
    error.code().is_some_and(|code| matches!(&*code, "40001" | "40P01"))
}
