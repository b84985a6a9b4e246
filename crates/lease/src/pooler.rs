//! Poolers between this process and Postgres. PgBouncer in transaction mode, and others, give each transaction any of
//! their connections to the server. A prepared statement with a name is then on another connection than the one that
//! runs it: at best the server knows no such statement, at worst it runs another one of that name.

use std::collections::HashSet;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection as _, Row as _};

/// The way in which connections of the server are given to this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PoolerMode {
    /// Each connection of ours has one of the server for itself.
    None,
    /// Each transaction may get another one. Statements have no names and run in transactions.
    PerTransaction,
}

impl PoolerMode {
    /// The beginning of a transaction behind a pooler, with the settings that a session of our own would have.
    pub(crate) const BEGIN: &str =
        "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL idle_in_transaction_session_timeout = '4s'";
}

/// How often two connections are asked for the process that serves them.
const LOOKS: usize = 5;
/// The time to wait for a second connection. A pooler with a single one for each session would never give it.
const SECOND: Duration = Duration::from_secs(3);

/// Finds out how connections are given to this process: two open connections of a session's own are served by two
/// processes, which do not change.
///
/// # Errors
/// The driver's error if there is no connection within `patience`.
pub(crate) async fn find_pooler(
    options: &PgConnectOptions,
    patience: Duration,
) -> Result<PoolerMode, sqlx::Error> {
    let first = tokio::time::timeout(patience, PgConnection::connect_with(options)).await;
    let mut one = first.map_err(|_| sqlx::Error::PoolTimedOut)??;

    // Without a second connection nothing can be shared with it.
    let second = tokio::time::timeout(SECOND, PgConnection::connect_with(options)).await;
    let Ok(Ok(mut other)) = second else { return Ok(PoolerMode::None) };

    // A pooler that gives the connection that was used last shows at the first look, one that takes turns at the
    // second.
    let (mut ours, mut others) = (HashSet::new(), HashSet::new());
    for _ in 0..LOOKS {
        ours.insert(serving_process(&mut one).await?);
        others.insert(serving_process(&mut other).await?);
    }
    let apart = ours.len() == 1 && others.len() == 1 && ours.is_disjoint(&others);

    // A failed farewell changes nothing.
    let _ = tokio::join!(one.close(), other.close());
    Ok(if apart { PoolerMode::None } else { PoolerMode::PerTransaction })
}

/// Returns the number of the server's process that runs this statement, which is not prepared.
async fn serving_process(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    sqlx::raw_sql("SELECT pg_backend_pid()").fetch_one(connection).await?.try_get(0)
}
