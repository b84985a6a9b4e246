//! The errors of the claims database, and which of them pass by themselves.

use sluice_core::{Domain, Fault, Retry};

/// An error of the claims database. A lost claim is not an error; it is the answer
/// [`crate::FenceAnswer::Lost`].
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The database refused the statement or did not answer.
    #[error("{doing}: {source}")]
    Database {
        /// The action that failed, for example `claiming ids`.
        doing: &'static str,
        /// The driver's error.
        source: sqlx::Error,
    },
    /// No connection could be made.
    #[error("connecting to the database at {address}: {source}")]
    Connection {
        /// Host, port and database of the URL, without user and password.
        address: String,
        /// The driver's error.
        source: sqlx::Error,
    },
    /// The connection URL has an unknown scheme. The message does not quote the URL, because it may hold a
    /// password.
    #[error("database URL: expected the scheme mysql://, mariadb://, postgres:// or postgresql://")]
    Scheme,
    /// A table or column name needs more quoting than this crate writes.
    #[error(
        "table or column `{0}`: expected a plain name of letters, digits, _ and $, its parts joined by a dot"
    )]
    Name(String),
    /// The id's column holds bytes, and the configuration does not name their text form.
    #[error(
        "column `{0}`: expected a column of texts, numbers or uuids, found one of bytes; set \
         `database.id_format` to uuid, hex or text"
    )]
    BinaryId(String),
    /// The text that an id's row has to remember of its next page is longer than the column.
    #[error(
        "next page of an id: expected a mark of at most {most} bytes, found {length}; the API's page token \
         is probably too long"
    )]
    TooLong {
        /// Length of the mark in bytes.
        length: usize,
        /// The longest mark that a row holds, in bytes.
        most: usize,
    },
    /// The server is too old for `SKIP LOCKED`.
    #[error("database server: expected {needed} or later, found {found}; upgrade the server")]
    TooOld {
        /// The server's own version text.
        found: String,
        /// The oldest version that is accepted.
        needed: &'static str,
    },
}

impl LeaseError {
    /// Returns whether the same call may succeed after a pause.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Database { source, .. } | Self::Connection { source, .. } => match source {
                // The connection failed, or none was free.
                sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::Protocol(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::WorkerCrashed
                | sqlx::Error::BeginFailed => true,
                // The server answered. Its SQLSTATE tells a passing trouble from a mistake.
                sqlx::Error::Database(error) => transient(source) || is_passing(&**error),
                _ => false,
            },
            // The configuration, the server or the API has to change first.
            Self::Scheme | Self::Name(_) | Self::BinaryId(_) | Self::TooLong { .. } | Self::TooOld { .. } => {
                false
            }
        }
    }

    /// Returns a function that adds the failed action to a driver's error.
    pub(crate) fn while_doing(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Database { doing, source }
    }
}

impl From<LeaseError> for Fault {
    fn from(error: LeaseError) -> Self {
        let doing = "claims database";
        let hint = error.connection_hint();

        // Trouble that does not pass needs the operator. A host's name and a certificate are the operator's to mend
        // too, but a worker waits for them: either may come while it does.
        let fault = match error.retryable() {
            true if error.is_misaddressed() => Self::new(Domain::User, Retry::Later, doing, error),
            true => Self::outage(doing, error),
            false => Self::user(doing, error),
        };
        match hint {
            Some(hint) => fault.with_hint(hint),
            None => fault,
        }
    }
}

impl LeaseError {
    /// Tells whether the host has no address, or whether TLS fails.
    fn is_misaddressed(&self) -> bool {
        match self {
            // The system's resolver has no error kind of its own.
            Self::Connection { source: sqlx::Error::Io(error), .. } => {
                error.to_string().contains("lookup address")
            }
            Self::Connection { source: sqlx::Error::Tls(_), .. } => true,
            _ => false,
        }
    }

    /// Returns the action that mends a connection.
    fn connection_hint(&self) -> Option<&'static str> {
        let Self::Connection { source, .. } = self else { return None };
        Some(match source {
            sqlx::Error::Io(_) if self.is_misaddressed() => "check the host in database.url",
            sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut => "start the database, or check database.url",
            sqlx::Error::Tls(_) => "check the TLS parameters in database.url, and the server's certificate",
            _ => "check user, password and database in database.url",
        })
    }
}

/// Numbers of MariaDB and MySQL for a passing state whose SQLSTATE does not tell it: read-only during a failover
/// (1290, 1792, 1836), a statement's time is up (1969, 3024), too many connections (1203, 1226), out of memory or
/// disk (1021, 1037, 1038, 1041, 1114, 1206), a shutdown (1053, 1077), a killed or broken connection (1158 to
/// 1161, 1317, 1927), a member of a group or cluster that is not ready (1047, 3101).
const PASSING_NUMBERS: [u16; 23] = [
    1021, 1037, 1038, 1041, 1047, 1053, 1077, 1114, 1158, 1159, 1160, 1161, 1203, 1206, 1226, 1290, 1317,
    1792, 1836, 1927, 1969, 3024, 3101,
];

/// Returns whether the server is in a passing state: starting, stopping, full, disconnected (Postgres 08, 53, 57P,
/// 58; both, 40), read-only during a failover (25006), or it ended a transaction that was idle for too long
/// (Postgres 25P03, MariaDB 70100), or a statement or its wait for a lock took too long (57014, 55P03).
fn is_passing(error: &dyn sqlx::error::DatabaseError) -> bool {
    if let Some(mysql) = error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>()
        && PASSING_NUMBERS.contains(&mysql.number())
    {
        return true;
    }
    let classes = ["08", "25006", "25P03", "40", "53", "55P03", "57014", "57P", "58", "70100"];
    error.code().is_some_and(|code| classes.iter().any(|class| code.starts_with(class)))
}

/// Returns whether the error is a deadlock or a serialisation failure. The server has rolled back, and the
/// same statements may be sent again at once.
pub(crate) fn transient(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    if let Some(mysql) = error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
        // MySQL and MariaDB: 1205 is a lock wait time-out, 1213 a deadlock.
        return matches!(mysql.number(), 1205 | 1213);
    }

    // Postgres: 40001 is a serialisation failure, 40P01 a deadlock.
    error.code().is_some_and(|code| matches!(&*code, "40001" | "40P01"))
}
