//! The table of tail numbers that the collector works through.

use anyhow::{Context, Result, bail};
use sqlx::Connection;

/// Number of rows in one INSERT.
const AT_ONCE: usize = 500;

/// Puts `ids` into `tail_numbers`. Existing rows stay. Returns the number of rows in the table.
pub(crate) async fn load(url: &str, ids: &[&str]) -> Result<i64> {
    let table = "CREATE TABLE IF NOT EXISTS tail_numbers (tailnum VARCHAR(10) PRIMARY KEY)";
    if url.starts_with("mysql://") {
        let mut connection = sqlx::MySqlConnection::connect(url).await.context("connecting to MariaDB")?;
        sqlx::raw_sql(table).execute(&mut connection).await.context("creating tail_numbers")?;
        for some in ids.chunks(AT_ONCE) {
            let mut insert =
                sqlx::QueryBuilder::<sqlx::MySql>::new("INSERT IGNORE INTO tail_numbers (tailnum) ");
            insert.push_values(some, |mut row, id| {
                row.push_bind(*id);
            });
            insert.build().execute(&mut connection).await.context("filling tail_numbers")?;
        }
        sqlx::query_scalar("SELECT COUNT(*) FROM tail_numbers")
            .fetch_one(&mut connection)
            .await
            .context("counting tail_numbers")
    } else if url.starts_with("postgres://") {
        let mut connection = sqlx::PgConnection::connect(url).await.context("connecting to PostgreSQL")?;
        sqlx::raw_sql(table).execute(&mut connection).await.context("creating tail_numbers")?;
        for some in ids.chunks(AT_ONCE) {
            let mut insert = sqlx::QueryBuilder::<sqlx::Postgres>::new("INSERT INTO tail_numbers (tailnum) ");
            insert.push_values(some, |mut row, id| {
                row.push_bind(*id);
            });
            insert.push(" ON CONFLICT DO NOTHING");
            insert.build().execute(&mut connection).await.context("filling tail_numbers")?;
        }
        sqlx::query_scalar("SELECT COUNT(*) FROM tail_numbers")
            .fetch_one(&mut connection)
            .await
            .context("counting tail_numbers")
    } else {
        bail!("neither a MariaDB nor a PostgreSQL address")
    }
}
