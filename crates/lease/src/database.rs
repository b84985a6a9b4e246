//! One way to speak to either server: a statement with its values, and rows read by position.

use sqlx::mysql::{MySqlPool, MySqlPoolOptions, MySqlRow};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use sqlx::{AssertSqlSafe, Connection as _, Encode, Executor, MySql, Postgres, Row as _, Type};

use crate::pooler::{PoolerMode, find_pooler};
use crate::{LeaseError, SqlDialect};

/// A pool of connections to one of the servers.
#[derive(Clone)]
pub(crate) enum SqlDatabase {
    MySql(MySqlPool),
    Postgres(PgPool, PoolerMode),
}

/// An open transaction. It rolls back if it is dropped.
pub(crate) enum SqlTransaction {
    MySql(sqlx::Transaction<'static, MySql>),
    Postgres(sqlx::Transaction<'static, Postgres>, PoolerMode),
}

/// SQL text in the server's dialect, with the values of its marks. The text comes only from this crate or
/// from an operator's configuration. Ids and everything else that comes from data are bound as values.
pub(crate) struct SqlStatement {
    dialect: SqlDialect,
    text: String,
    values: Vec<SqlValue>,
}

/// A bound value.
pub(crate) enum SqlValue {
    Text(Option<String>),
    Int(i64),
}

/// A row of either server.
pub(crate) enum SqlRow {
    MySql(MySqlRow),
    Postgres(PgRow),
}

impl SqlDatabase {
    /// Opens a pool of at most `connections`. The first connection is made now.
    ///
    /// # Errors
    /// [`LeaseError::Scheme`] for an unknown scheme, and [`LeaseError::Connection`] if no connection can be made.
    pub(crate) async fn connect(url: &str, connections: u32) -> Result<Self, LeaseError> {
        let patience = std::time::Duration::from_secs(10);
        let dialect = SqlDialect::of(url)?;
        let failed = |source| LeaseError::Connection { address: address_of(url), source };

        // A first connection by itself (`find_pooler` makes Postgres'): a pool would try a refused one again until its
        // patience ends, and then report the time-out alone. Every connection of the pool begins with the session's settings.
        match dialect {
            SqlDialect::MySql => {
                let pool = MySqlPoolOptions::new().max_connections(connections).acquire_timeout(patience);
                let pool = pool.after_connect(move |connection, _| {
                    Box::pin(async move {
                        for text in dialect.session() {
                            connection.execute(*text).await?;
                        }
                        Ok(())
                    })
                });
                // sqlx knows one scheme for both servers.
                let url = url.replacen("mariadb://", "mysql://", 1);
                try_connection(&url, patience).await.map_err(failed)?;
                pool.connect(&url).await.map(Self::MySql).map_err(failed)
            }
            SqlDialect::Postgres => {
                // A pooler refuses the parameter unless it is configured for it, and no float is read here.
                let options = url.parse::<PgConnectOptions>().map_err(failed)?.extra_float_digits(None);
                let mode = find_pooler(&options, patience).await.map_err(failed)?;

                let pool = PgPoolOptions::new().max_connections(connections).acquire_timeout(patience);
                let pool = pool.after_connect(move |connection, _| {
                    Box::pin(async move {
                        // Behind a pooler a session's settings would reach the connections of others. There
                        // each transaction sets them for itself.
                        let settings = if mode == PoolerMode::None { dialect.session() } else { &[] };
                        for text in settings {
                            connection.execute(*text).await?;
                        }
                        Ok(())
                    })
                });
                pool.connect_with(options).await.map(|pool| Self::Postgres(pool, mode)).map_err(failed)
            }
        }
    }

    /// Returns the server's dialect.
    pub(crate) const fn dialect(&self) -> SqlDialect {
        match self {
            Self::MySql(_) => SqlDialect::MySql,
            Self::Postgres(..) => SqlDialect::Postgres,
        }
    }

    /// Returns whether each transaction may get another connection of the server.
    pub(crate) const fn is_pooled(&self) -> bool {
        matches!(self, Self::Postgres(_, PoolerMode::PerTransaction))
    }

    /// Begins a statement in the server's dialect.
    pub(crate) fn statement(&self, text: &str) -> SqlStatement {
        SqlStatement { dialect: self.dialect(), text: text.to_owned(), values: Vec::new() }
    }

    /// Begins a transaction.
    pub(crate) async fn begin(&self) -> Result<SqlTransaction, sqlx::Error> {
        match self {
            Self::MySql(pool) => pool.begin().await.map(SqlTransaction::MySql),
            Self::Postgres(pool, mode) => match mode {
                PoolerMode::None => pool.begin().await,
                PoolerMode::PerTransaction => pool.begin_with(PoolerMode::BEGIN).await,
            }
            .map(|open| SqlTransaction::Postgres(open, *mode)),
        }
    }

    /// Runs one statement by itself. Returns how many rows it matched.
    pub(crate) async fn execute(&self, statement: &SqlStatement) -> Result<u64, sqlx::Error> {
        match self {
            Self::MySql(pool) => {
                bound::<MySql>(statement).execute(pool).await.map(|done| done.rows_affected())
            }
            Self::Postgres(pool, PoolerMode::None) => {
                bound::<Postgres>(statement).execute(pool).await.map(|done| done.rows_affected())
            }
            Self::Postgres(..) => {
                let mut open = self.begin().await?;
                let matched = open.execute(statement).await?;
                open.commit().await.map(|()| matched)
            }
        }
    }

    /// Runs one query by itself and returns its rows.
    pub(crate) async fn rows(&self, statement: &SqlStatement) -> Result<Vec<SqlRow>, sqlx::Error> {
        match self {
            Self::MySql(pool) => wrap(bound::<MySql>(statement).fetch_all(pool).await, SqlRow::MySql),
            Self::Postgres(pool, PoolerMode::None) => {
                wrap(bound::<Postgres>(statement).fetch_all(pool).await, SqlRow::Postgres)
            }
            Self::Postgres(..) => {
                let mut open = self.begin().await?;
                let rows = open.rows(statement).await?;
                open.commit().await.map(|()| rows)
            }
        }
    }

    /// Runs a statement of the schema, unprepared, because not every server prepares DDL.
    pub(crate) async fn define(&self, text: &'static str) -> Result<(), sqlx::Error> {
        match self {
            Self::MySql(pool) => pool.execute(text).await.map(drop),
            Self::Postgres(pool, _) => pool.execute(text).await.map(drop),
        }
    }

    /// Closes the connections.
    pub(crate) async fn close(&self) {
        match self {
            Self::MySql(pool) => pool.close().await,
            Self::Postgres(pool, _) => pool.close().await,
        }
    }
}

impl SqlTransaction {
    /// Runs one statement in the transaction. Returns how many rows it matched.
    pub(crate) async fn execute(&mut self, statement: &SqlStatement) -> Result<u64, sqlx::Error> {
        match self {
            Self::MySql(open) => {
                bound::<MySql>(statement).execute(&mut **open).await.map(|done| done.rows_affected())
            }
            Self::Postgres(open, mode) => {
                let query = bound::<Postgres>(statement).persistent(*mode == PoolerMode::None);
                query.execute(&mut **open).await.map(|done| done.rows_affected())
            }
        }
    }

    /// Runs one query in the transaction and returns its rows.
    pub(crate) async fn rows(&mut self, statement: &SqlStatement) -> Result<Vec<SqlRow>, sqlx::Error> {
        match self {
            Self::MySql(open) => wrap(bound::<MySql>(statement).fetch_all(&mut **open).await, SqlRow::MySql),
            Self::Postgres(open, mode) => {
                let query = bound::<Postgres>(statement).persistent(*mode == PoolerMode::None);
                wrap(query.fetch_all(&mut **open).await, SqlRow::Postgres)
            }
        }
    }

    /// Commits the transaction.
    pub(crate) async fn commit(self) -> Result<(), sqlx::Error> {
        match self {
            Self::MySql(open) => open.commit().await,
            Self::Postgres(open, _) => open.commit().await,
        }
    }
}

impl SqlStatement {
    /// Appends SQL text.
    pub(crate) fn text(mut self, text: &str) -> Self {
        self.text.push_str(text);
        self
    }

    /// Turns the statement into a request for its plan.
    pub(crate) fn explained(mut self) -> Self {
        self.text.insert_str(0, "EXPLAIN ");
        self
    }

    /// Appends the expression for the database's clock.
    pub(crate) fn now(self) -> Self {
        let now = self.dialect.now();
        self.text(now)
    }

    /// Binds a value and appends its mark.
    pub(crate) fn bind(mut self, value: impl Into<SqlValue>) -> Self {
        self.values.push(value.into());
        // Marks are counted from 1, so that the value goes in first.
        self.dialect.mark(self.values.len(), &mut self.text);
        self
    }

    /// Binds a text with a cast, for places where the server cannot take the type from a column.
    pub(crate) fn typed_text(self, value: Option<&str>) -> Self {
        let (before, after) = self.dialect.as_text();
        self.text(before).bind(value).text(after)
    }

    /// Binds a number with a cast, for the same places.
    pub(crate) fn typed_int(self, value: i64) -> Self {
        let after = self.dialect.as_whole();
        self.text("CAST(").bind(value).text(after)
    }

    /// Appends `item, item, …`. `write` appends each item.
    pub(crate) fn list<T>(mut self, items: &[T], write: impl Fn(Self, &T) -> Self) -> Self {
        for (nth, item) in items.iter().enumerate() {
            if nth > 0 {
                self.text.push_str(", ");
            }
            self = write(self, item);
        }
        self
    }
}

impl SqlRow {
    /// Returns the text of a column, counted from 0; `None` for null.
    pub(crate) fn text(&self, at: usize) -> Result<Option<String>, sqlx::Error> {
        match self {
            Self::MySql(row) => row.try_get(at),
            Self::Postgres(row) => row.try_get(at),
        }
    }

    /// Returns the text of every text column, for a person to read.
    pub(crate) fn words(&self) -> String {
        let count = match self {
            Self::MySql(row) => row.len(),
            Self::Postgres(row) => row.len(),
        };
        // A column of another type fails to decode and is left out.
        let words: Vec<String> = (0..count).filter_map(|at| self.text(at).ok().flatten()).collect();
        words.join(" ").trim().to_owned()
    }

    /// Returns the whole number of a column, counted from 0; `None` for null.
    pub(crate) fn int(&self, at: usize) -> Result<Option<i64>, sqlx::Error> {
        match self {
            Self::MySql(row) => row.try_get(at),
            Self::Postgres(row) => row.try_get(at),
        }
    }
}

impl From<i64> for SqlValue {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<&str> for SqlValue {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}

impl From<Option<&str>> for SqlValue {
    fn from(value: Option<&str>) -> Self {
        Self::Text(value.map(str::to_owned))
    }
}

/// Makes one connection to MariaDB or MySQL and closes it.
async fn try_connection(url: &str, patience: std::time::Duration) -> Result<(), sqlx::Error> {
    let made = tokio::time::timeout(patience, sqlx::MySqlConnection::connect(url)).await;
    made.map_err(|_| sqlx::Error::PoolTimedOut)??.close().await
}

/// Returns host, port and database of a URL, without user, password and parameters.
fn address_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let behind_login = rest.rsplit_once('@').map_or(rest, |(_, address)| address);
    behind_login.split('?').next().unwrap_or_default().to_owned()
}

/// Makes a driver's query of a statement and its values.
fn bound<DB>(statement: &SqlStatement) -> sqlx::query::Query<'_, DB, DB::Arguments>
where
    DB: sqlx::Database,
    i64: for<'q> Encode<'q, DB> + Type<DB>,
    Option<String>: for<'q> Encode<'q, DB> + Type<DB>,
{
    // Safe by the rule of [`SqlStatement`]: its text holds no data.
    let mut query = sqlx::query::<DB>(AssertSqlSafe(statement.text.clone()));
    for value in &statement.values {
        query = match value {
            SqlValue::Text(text) => query.bind(text.clone()),
            SqlValue::Int(int) => query.bind(*int),
        };
    }
    query
}

/// Wraps a driver's rows.
fn wrap<R>(rows: Result<Vec<R>, sqlx::Error>, row: fn(R) -> SqlRow) -> Result<Vec<SqlRow>, sqlx::Error> {
    rows.map(|rows| rows.into_iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_neither_user_nor_password() {
        assert_eq!(address_of("postgres://u:p@ss@db:5432/app?sslmode=require"), "db:5432/app");
        assert_eq!(address_of("mysql://db/app"), "db/app");
    }
}
