//! The table of tail numbers that the collector works through.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use sqlx::Connection;

use crate::data::DemoDataSet;

/// Number of rows in one INSERT.
const AT_ONCE: usize = 500;

/// Options of `sluice-demo ids`.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoIdsOptions {
    /// Folder with flights.csv[.gz] and planes.csv[.gz]
    #[arg(long)]
    data: PathBuf,
    /// Only the first months of the year
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u8).range(1..=12))]
    months: u8,
    /// `mysql://` or `postgres://` URL of the database; it has a password and is given by the environment
    #[arg(long, env = "SLUICE_DATABASE_URL", hide_env_values = true)]
    database_url: String,
}

/// Fills the table from the data. A second call changes nothing.
pub(crate) async fn fill(options: &DemoIdsOptions) -> Result<()> {
    let data = DemoDataSet::load(&options.data, options.months)?;
    let tails: Vec<&str> = data.by_tail.keys().map(String::as_str).collect();
    let rows = load(&options.database_url, &tails).await?;
    println!("{rows} tail numbers in the table tail_numbers");
    Ok(())
}

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
