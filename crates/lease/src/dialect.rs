//! The few words in which the databases differ.

use crate::LeaseError;

/// Which SQL is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SqlDialect {
    /// MariaDB 10.6+ and MySQL 8.0.1+.
    MySql,
    /// Postgres 9.6+.
    Postgres,
}

impl SqlDialect {
    /// By the scheme of a connection URL.
    pub fn of(url: &str) -> Result<Self, LeaseError> {
        match url.split_once("://").map(|(scheme, _)| scheme) {
            Some("mysql" | "mariadb") => Ok(Self::MySql),
            Some("postgres" | "postgresql") => Ok(Self::Postgres),
            _ => Err(LeaseError::Scheme),
        }
    }

    /// What brings a claims table of an earlier version, without priorities, up to date; once, before
    /// [`SqlDialect::migration`], which makes the index anew.
    pub fn upgrade(self) -> &'static [&'static str] {
        match self {
            Self::MySql => &["ALTER TABLE sluice_claims
                    ADD COLUMN priority BIGINT NOT NULL DEFAULT 0 AFTER state,
                    ADD COLUMN due_said BIGINT NULL AFTER due_at,
                    DROP KEY sluice_claims_due,
                    ADD KEY sluice_claims_due (job, state, priority, due_at, id)"],
            Self::Postgres => &[
                "ALTER TABLE sluice_claims
                    ADD COLUMN IF NOT EXISTS priority BIGINT NOT NULL DEFAULT 0,
                    ADD COLUMN IF NOT EXISTS due_said BIGINT",
                "DROP INDEX IF EXISTS sluice_claims_due",
            ],
        }
    }

    /// The statements that create the side tables; safe to run again. For operators whose worker may not create tables.
    pub fn migration(self) -> &'static [&'static str] {
        match self {
            Self::MySql => &[
                // utf8mb4_bin: ids that differ only in case are different ids.
                "CREATE TABLE IF NOT EXISTS sluice_claims (
                    job VARCHAR(120) NOT NULL,
                    id VARCHAR(255) NOT NULL,
                    state VARCHAR(8) NOT NULL,
                    priority BIGINT NOT NULL DEFAULT 0,
                    due_at BIGINT NOT NULL,
                    due_said BIGINT NULL,
                    lease_until BIGINT NULL,
                    attempt BIGINT NOT NULL DEFAULT 0,
                    fence BIGINT NOT NULL DEFAULT 0,
                    run BIGINT NOT NULL DEFAULT 1,
                    holder VARCHAR(255) NULL,
                    owed TEXT NULL,
                    next_page TEXT NULL,
                    pages BIGINT NOT NULL DEFAULT 0,
                    records BIGINT NOT NULL DEFAULT 0,
                    rejects BIGINT NOT NULL DEFAULT 0,
                    bytes BIGINT NOT NULL DEFAULT 0,
                    reason TEXT NULL,
                    updated_at BIGINT NOT NULL,
                    PRIMARY KEY (job, id),
                    KEY sluice_claims_due (job, state, priority, due_at, id)
                ) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
                "CREATE TABLE IF NOT EXISTS sluice_budgets (
                    budget VARCHAR(200) NOT NULL,
                    holder VARCHAR(255) NOT NULL,
                    job VARCHAR(120) NOT NULL,
                    tokens BIGINT NOT NULL DEFAULT 0,
                    wanted BIGINT NOT NULL DEFAULT 0,
                    total BIGINT NOT NULL DEFAULT 0,
                    lease_until BIGINT NOT NULL DEFAULT 0,
                    hold_until BIGINT NOT NULL DEFAULT 0,
                    per_mille BIGINT NOT NULL DEFAULT 1000,
                    changed_at BIGINT NOT NULL DEFAULT 0,
                    PRIMARY KEY (budget, holder)
                ) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
            ],
            Self::Postgres => &[
                "CREATE TABLE IF NOT EXISTS sluice_claims (
                    job TEXT COLLATE \"C\" NOT NULL,
                    id TEXT COLLATE \"C\" NOT NULL,
                    state TEXT COLLATE \"C\" NOT NULL,
                    priority BIGINT NOT NULL DEFAULT 0,
                    due_at BIGINT NOT NULL,
                    due_said BIGINT,
                    lease_until BIGINT,
                    attempt BIGINT NOT NULL DEFAULT 0,
                    fence BIGINT NOT NULL DEFAULT 0,
                    run BIGINT NOT NULL DEFAULT 1,
                    holder TEXT,
                    owed TEXT,
                    next_page TEXT,
                    pages BIGINT NOT NULL DEFAULT 0,
                    records BIGINT NOT NULL DEFAULT 0,
                    rejects BIGINT NOT NULL DEFAULT 0,
                    bytes BIGINT NOT NULL DEFAULT 0,
                    reason TEXT,
                    updated_at BIGINT NOT NULL,
                    PRIMARY KEY (job, id)
                )",
                "CREATE INDEX IF NOT EXISTS sluice_claims_due
                    ON sluice_claims (job, state, priority, due_at, id)",
                "CREATE TABLE IF NOT EXISTS sluice_budgets (
                    budget TEXT COLLATE \"C\" NOT NULL,
                    holder TEXT COLLATE \"C\" NOT NULL,
                    job TEXT COLLATE \"C\" NOT NULL,
                    tokens BIGINT NOT NULL DEFAULT 0,
                    wanted BIGINT NOT NULL DEFAULT 0,
                    total BIGINT NOT NULL DEFAULT 0,
                    lease_until BIGINT NOT NULL DEFAULT 0,
                    hold_until BIGINT NOT NULL DEFAULT 0,
                    per_mille BIGINT NOT NULL DEFAULT 1000,
                    changed_at BIGINT NOT NULL DEFAULT 0,
                    PRIMARY KEY (budget, holder)
                )",
            ],
        }
    }

    /// The database's clock in milliseconds since the epoch; constant within a statement, so that an index serves a
    /// comparison with it. (Sessions are in UTC, where MySQL's conversion is unambiguous.)
    pub(crate) const fn now(self) -> &'static str {
        match self {
            Self::MySql => "CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)",
            Self::Postgres => "(EXTRACT(EPOCH FROM statement_timestamp()) * 1000)::bigint",
        }
    }

    /// What every connection begins with. `READ COMMITTED`: InnoDB's default locks gaps, and claimers would wait. And a
    /// process that was stopped in the middle of a transaction loses it, with its locks, before a lease is over (the
    /// comment is for MariaDB; MySQL cannot do that, there the others pass over the rows until it goes on).
    pub(crate) const fn session(self) -> &'static [&'static str] {
        match self {
            Self::MySql => &[
                "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
                "SET SESSION innodb_lock_wait_timeout = 30 /*M!100300 , SESSION idle_transaction_timeout = 4 */",
            ],
            Self::Postgres => &[
                "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED",
                "SET idle_in_transaction_session_timeout = '4s'",
            ],
        }
    }

    /// Ends an `INSERT` so that a row that is already there is left alone (and no other error is hidden).
    pub(crate) const fn unless_there(self) -> &'static str {
        match self {
            Self::MySql => " ON DUPLICATE KEY UPDATE id = sluice_claims.id",
            Self::Postgres => " ON CONFLICT (job, id) DO NOTHING",
        }
    }

    /// The same for a limit's row.
    pub(crate) const fn unless_budgeted(self) -> &'static str {
        match self {
            Self::MySql => " ON DUPLICATE KEY UPDATE budget = sluice_budgets.budget",
            Self::Postgres => " ON CONFLICT (budget, holder) DO NOTHING",
        }
    }

    /// A condition on `information_schema` for where unqualified tables are made.
    pub(crate) const fn this_schema(self) -> &'static str {
        match self {
            Self::MySql => "table_schema = DATABASE()",
            Self::Postgres => "table_schema = ANY (current_schemas(false))",
        }
    }

    /// `column` as text.
    pub(crate) fn text(self, column: &str) -> String {
        let (before, after) = self.as_text();
        format!("{before}{column}{after}")
    }

    /// What makes text of what stands between.
    pub(crate) const fn as_text(self) -> (&'static str, &'static str) {
        match self {
            Self::MySql => ("CAST(", " AS CHAR CHARACTER SET utf8mb4) COLLATE utf8mb4_bin"),
            Self::Postgres => ("CAST(", " AS TEXT) COLLATE \"C\""),
        }
    }

    /// The end of a `CAST` to a whole number.
    pub(crate) const fn as_whole(self) -> &'static str {
        match self {
            Self::MySql => " AS SIGNED)",
            Self::Postgres => " AS BIGINT)",
        }
    }

    /// A null among the columns of a `SELECT`.
    pub(crate) const fn no_number(self) -> &'static str {
        match self {
            Self::MySql => "NULL",
            Self::Postgres => "CAST(NULL AS BIGINT)",
        }
    }

    /// A column of times as milliseconds since the epoch; times without a zone are in UTC.
    pub(crate) fn epoch_ms(self, column: &str) -> String {
        match self {
            Self::MySql => format!("CAST(UNIX_TIMESTAMP({column}) * 1000 AS SIGNED)"),
            Self::Postgres => format!("CAST(EXTRACT(EPOCH FROM {column}) * 1000 AS BIGINT)"),
        }
    }

    /// Behind the side table's name where rows are looked up one by one, by job and id. While the table's statistics say
    /// that it is empty, which they do for as long as the first workers fill it, InnoDB's optimiser is as happy with
    /// the other index, whose first column is the job: then each lookup reads all of the job's rows.
    pub(crate) const fn by_key(self) -> &'static str {
        match self {
            Self::MySql => "FORCE INDEX (PRIMARY)",
            Self::Postgres => "",
        }
    }

    /// `UPDATE sluice_claims there SET …` with the rows of `table`, called source, that have the same id; `set` names
    /// columns of the side table bare.
    pub(crate) fn update_from(self, table: &str, same: &str, set: &[(&str, &str)]) -> String {
        let list = |prefix: &str| {
            let items: Vec<String> =
                set.iter().map(|(column, value)| format!("{prefix}{column} = {value}")).collect();
            items.join(", ")
        };
        match self {
            Self::MySql => format!(
                "UPDATE {table} source STRAIGHT_JOIN sluice_claims there {} ON {same} SET {} WHERE ",
                self.by_key(),
                list("there.")
            ),
            Self::Postgres => {
                format!("UPDATE sluice_claims there SET {} FROM {table} source WHERE {same} AND ", list(""))
            }
        }
    }

    /// A sum as a whole number.
    pub(crate) fn whole(self, sum: &str) -> String {
        format!("CAST({sum}{}", self.as_whole())
    }

    /// Is it a name of a table or column, `schema.table` allowed?
    ///
    /// # Errors
    /// [`LeaseError::Name`].
    pub fn check_name(self, name: &str) -> Result<(), LeaseError> {
        self.name(name).map(drop)
    }

    /// A user's table or column, `schema.table` allowed, quoted.
    pub(crate) fn name(self, name: &str) -> Result<String, LeaseError> {
        let plain = |part: &str| {
            !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '$')
        };
        if !name.split('.').all(plain) {
            return Err(LeaseError::Name(name.to_owned()));
        }
        let quote = if self == Self::MySql { '`' } else { '"' };
        Ok(name.split('.').map(|part| format!("{quote}{part}{quote}")).collect::<Vec<_>>().join("."))
    }

    /// Writes the mark of the `nth` bound value, counted from 1.
    pub(crate) fn mark(self, nth: usize, out: &mut String) {
        match self {
            Self::MySql => out.push('?'),
            Self::Postgres => {
                out.push('$');
                out.push_str(&nth.to_string());
            }
        }
    }

    /// Is a server that calls itself `version` old enough to be refused? Says what is needed.
    pub(crate) fn too_old(self, version: &str) -> Option<&'static str> {
        let numbers: Vec<u32> = version
            .split(|c: char| !c.is_ascii_digit())
            .filter(|part| !part.is_empty())
            .take(2)
            .filter_map(|part| part.parse().ok())
            .collect();
        let at = (numbers.first().copied().unwrap_or(0), numbers.get(1).copied().unwrap_or(0));
        match self {
            Self::MySql if version.contains("MariaDB") => (at < (10, 6)).then_some("MariaDB 10.6"),
            Self::MySql => (at < (8, 0)).then_some("MySQL 8.0"),
            // `SELECT version()` says "PostgreSQL 15.3 (…)".
            Self::Postgres => (at < (9, 6)).then_some("PostgreSQL 9.6"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_tells_the_dialect() {
        assert_eq!(SqlDialect::of("mariadb://u:p@h/db").unwrap(), SqlDialect::MySql);
        assert_eq!(SqlDialect::of("postgresql://h/db").unwrap(), SqlDialect::Postgres);
        let error = SqlDialect::of("oracle://scott:tiger@h/db").unwrap_err().to_string();
        assert!(!error.contains("tiger"), "a URL may hold a password: {error}");
    }

    #[test]
    fn names_are_quoted_and_nothing_else_gets_through() {
        assert_eq!(SqlDialect::MySql.name("fleet.aircraft").unwrap(), "`fleet`.`aircraft`");
        assert_eq!(SqlDialect::Postgres.name("aircraft").unwrap(), "\"aircraft\"");
        for bad in ["", "a.", "a b", "a;drop", "a`b", "a\"b", "a--"] {
            assert!(SqlDialect::MySql.name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn servers_without_skip_locked_are_refused() {
        assert!(SqlDialect::MySql.too_old("10.5.29-MariaDB").is_some());
        assert!(SqlDialect::MySql.too_old("10.11.19-MariaDB-0+deb12u1").is_none());
        assert!(SqlDialect::MySql.too_old("5.7.44").is_some());
        assert!(SqlDialect::MySql.too_old("8.4.2").is_none());
        assert!(SqlDialect::Postgres.too_old("PostgreSQL 15.3 (Debian)").is_none());
    }
}
