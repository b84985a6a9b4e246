//! The differences between the databases.

use crate::LeaseError;

/// The SQL dialect of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SqlDialect {
    /// MariaDB 10.6+ and MySQL 8.0.17+.
    MySql,
    /// Postgres 9.6+.
    Postgres,
}

impl SqlDialect {
    /// Returns the dialect for the scheme of a connection URL.
    ///
    /// # Errors
    /// [`LeaseError::Scheme`] for any other scheme.
    pub fn of(url: &str) -> Result<Self, LeaseError> {
        match url.split_once("://").map(|(scheme, _)| scheme) {
            Some("mysql" | "mariadb") => Ok(Self::MySql),
            Some("postgres" | "postgresql") => Ok(Self::Postgres),
            // The URL is not quoted in the error: it may hold a password.
            _ => Err(LeaseError::Scheme),
        }
    }

    /// Returns the steps that upgrade a claims table of an earlier version: the name of a column that the step adds,
    /// and its statements. A step is run once, if its column is missing, before [`SqlDialect::migration`], which
    /// creates the index of this version.
    pub fn upgrade(self) -> &'static [(&'static str, &'static [&'static str])] {
        match self {
            // MySQL changes columns and index in one statement. The collation of the first versions ignored
            // blanks at the end of an id.
            Self::MySql => &[
                (
                    "due_said",
                    &["ALTER TABLE sluice_claims
                    ADD COLUMN priority BIGINT NOT NULL DEFAULT 0 AFTER state,
                    ADD COLUMN due_said BIGINT NULL AFTER due_at,
                    DROP KEY sluice_claims_due,
                    ADD KEY sluice_claims_due (job, state, priority, due_at, id)"],
                ),
                (
                    "due_from",
                    &["ALTER TABLE sluice_claims
                    ADD COLUMN due_from BIGINT NULL AFTER due_said,
                    ADD COLUMN left_state VARCHAR(8) NULL AFTER due_from,
                    ADD COLUMN whole_run BIGINT NOT NULL DEFAULT 1 AFTER left_state,
                    CONVERT TO CHARACTER SET utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!80017 COLLATE utf8mb4_0900_bin */"],
                ),
            ],
            // Postgres makes the new index in the migration, which follows.
            Self::Postgres => &[
                (
                    "due_said",
                    &[
                        "ALTER TABLE sluice_claims
                    ADD COLUMN IF NOT EXISTS priority BIGINT NOT NULL DEFAULT 0,
                    ADD COLUMN IF NOT EXISTS due_said BIGINT",
                        "DROP INDEX IF EXISTS sluice_claims_due",
                    ],
                ),
                (
                    "due_from",
                    &["ALTER TABLE sluice_claims
                    ADD COLUMN IF NOT EXISTS due_from BIGINT,
                    ADD COLUMN IF NOT EXISTS left_state TEXT COLLATE \"C\",
                    ADD COLUMN IF NOT EXISTS whole_run BIGINT NOT NULL DEFAULT 1"],
                ),
            ],
        }
    }

    /// Returns the statements that create the side tables. They can be repeated. They are public for
    /// operators whose worker may not create tables.
    pub fn migration(self) -> &'static [&'static str] {
        match self {
            Self::MySql => &[
                // A binary collation without padding: ids that differ in case or in blanks at their end are
                // different ids. It has one name in MariaDB and another in MySQL; each server reads the comment
                // that is meant for it. Times are milliseconds since the epoch. TEXT holds 65,535 bytes, which
                // bounds the mark of a next page.
                "CREATE TABLE IF NOT EXISTS sluice_claims (
                    job VARCHAR(120) NOT NULL,
                    id VARCHAR(255) NOT NULL,
                    state VARCHAR(8) NOT NULL,
                    priority BIGINT NOT NULL DEFAULT 0,
                    due_at BIGINT NOT NULL,
                    due_said BIGINT NULL,
                    due_from BIGINT NULL,
                    left_state VARCHAR(8) NULL,
                    whole_run BIGINT NOT NULL DEFAULT 1,
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
                ) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!80017 COLLATE utf8mb4_0900_bin */",
                // A budget has one row of its own, with an empty holder, and one row per replica.
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

            // Postgres: the collation "C" compares bytes, as utf8mb4_bin does.
            Self::Postgres => &[
                "CREATE TABLE IF NOT EXISTS sluice_claims (
                    job TEXT COLLATE \"C\" NOT NULL,
                    id TEXT COLLATE \"C\" NOT NULL,
                    state TEXT COLLATE \"C\" NOT NULL,
                    priority BIGINT NOT NULL DEFAULT 0,
                    due_at BIGINT NOT NULL,
                    due_said BIGINT,
                    due_from BIGINT,
                    left_state TEXT COLLATE \"C\",
                    whole_run BIGINT NOT NULL DEFAULT 1,
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
                // Postgres has no index clause in CREATE TABLE.
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

    /// Returns the expression for the database's clock in milliseconds since the epoch. It is constant within
    /// a statement, so that an index serves a comparison with it. (Sessions are in UTC, where MySQL's
    /// conversion is unambiguous.)
    pub(crate) const fn now(self) -> &'static str {
        match self {
            Self::MySql => "CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)",
            Self::Postgres => "(EXTRACT(EPOCH FROM statement_timestamp()) * 1000)::bigint",
        }
    }

    /// Returns the settings with which every connection begins. `READ COMMITTED`, because InnoDB's default
    /// locks gaps and claimers would wait for each other. The idle time-out: a process that is stopped in the
    /// middle of a transaction loses the transaction and its locks before a lease is over. (The comment in
    /// the text is for MariaDB. MySQL has no such time-out; there the others pass over the locked rows until
    /// the process goes on.)
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

    /// Returns the end of an `INSERT` that leaves an existing row alone and hides no other error.
    pub(crate) const fn unless_there(self) -> &'static str {
        match self {
            Self::MySql => " ON DUPLICATE KEY UPDATE id = sluice_claims.id",
            Self::Postgres => " ON CONFLICT (job, id) DO NOTHING",
        }
    }

    /// Returns the same for a row of a budget.
    pub(crate) const fn unless_budgeted(self) -> &'static str {
        match self {
            Self::MySql => " ON DUPLICATE KEY UPDATE budget = sluice_budgets.budget",
            Self::Postgres => " ON CONFLICT (budget, holder) DO NOTHING",
        }
    }

    /// Returns a condition on `information_schema` for the schema in which unqualified tables are created.
    pub(crate) const fn this_schema(self) -> &'static str {
        match self {
            Self::MySql => "table_schema = DATABASE()",
            Self::Postgres => "table_schema = ANY (current_schemas(false))",
        }
    }

    /// Returns an expression for `column` as text.
    pub(crate) fn text(self, column: &str) -> String {
        let (before, after) = self.as_text();
        format!("{before}{column}{after}")
    }

    /// Returns the text before and after an expression that make text of it.
    pub(crate) const fn as_text(self) -> (&'static str, &'static str) {
        match self {
            Self::MySql => (
                "CAST(",
                " AS CHAR CHARACTER SET utf8mb4) /*M! COLLATE utf8mb4_nopad_bin */ /*!80017 COLLATE utf8mb4_0900_bin */",
            ),
            Self::Postgres => ("CAST(", " AS TEXT) COLLATE \"C\""),
        }
    }

    /// Returns the end of a `CAST` to a whole number.
    pub(crate) const fn as_whole(self) -> &'static str {
        match self {
            Self::MySql => " AS SIGNED)",
            Self::Postgres => " AS BIGINT)",
        }
    }

    /// Returns a null number for a `SELECT` list.
    pub(crate) const fn no_number(self) -> &'static str {
        match self {
            Self::MySql => "NULL",
            Self::Postgres => "CAST(NULL AS BIGINT)",
        }
    }

    /// Returns an expression for a column of times in milliseconds since the epoch. Times without a zone are
    /// in UTC. No time is left out: Postgres' `infinity` is never (null), `-infinity` and MySQL's zero date are
    /// due at once.
    pub(crate) fn epoch_ms(self, column: &str) -> String {
        match self {
            // UNIX_TIMESTAMP knows no time before 1970 and, on most servers, none after 2038.
            Self::MySql => format!(
                "CASE WHEN {column} IS NOT NULL THEN COALESCE(\
                 CAST(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', {column}) / 1000 AS SIGNED), 0) END"
            ),
            Self::Postgres => format!(
                "CASE WHEN isfinite({column}) THEN CAST(EXTRACT(EPOCH FROM {column}) * 1000 AS BIGINT) \
                 WHEN {column} < now() THEN 0 END"
            ),
        }
    }

    /// Returns an expression for a column of bytes as text: a uuid with hyphens if the value has 16 bytes and
    /// `uuid` is true, otherwise hexadecimal digits.
    pub(crate) fn bytes_as_text(self, column: &str, uuid: bool) -> String {
        let digits = match self {
            Self::MySql => format!("LOWER(HEX({column}))"),
            Self::Postgres => format!("encode({column}, 'hex')"),
        };
        if !uuid {
            return self.text(&digits);
        }
        let length = match self {
            Self::MySql => format!("LENGTH({column})"),
            Self::Postgres => format!("octet_length({column})"),
        };
        let part = |from: u8, count: u8| format!("SUBSTR({digits}, {from}, {count})");
        let parts = [part(1, 8), part(9, 4), part(13, 4), part(17, 4), part(21, 12)].join(", ");
        self.text(&format!("CASE WHEN {length} = 16 THEN CONCAT_WS('-', {parts}) ELSE {digits} END"))
    }

    /// Returns a condition that a text expression is short enough for an id. MySQL's column holds 255
    /// characters, and an entry of Postgres' index about 2,700 bytes.
    pub(crate) fn fits_id(self, text: &str) -> String {
        match self {
            Self::MySql => format!("CHAR_LENGTH({text}) <= 255"),
            Self::Postgres => format!("octet_length({text}) <= 2000"),
        }
    }

    /// Returns the names of the column types that hold bytes.
    pub(crate) const fn byte_types(self) -> &'static str {
        match self {
            Self::MySql => "'binary', 'varbinary', 'tinyblob', 'blob', 'mediumblob', 'longblob', 'bit'",
            Self::Postgres => "'bytea'",
        }
    }

    /// Returns a statement for a transaction that joins whole tables, if the server could choose to compare each row
    /// with each: statistics of a new table call it empty.
    pub(crate) const fn without_nested_loops(self) -> Option<&'static str> {
        match self {
            Self::MySql => None,
            Self::Postgres => Some("SET LOCAL enable_nestloop = off"),
        }
    }

    /// Returns the operator of a division of whole numbers.
    pub(crate) const fn whole_division(self) -> &'static str {
        match self {
            Self::MySql => " DIV ",
            Self::Postgres => " / ",
        }
    }

    /// Returns the index hint behind the side table's name for lookups of single rows by job and id. While
    /// the first workers fill the table, its statistics still call it empty. InnoDB's optimiser then also
    /// chooses the other index, whose first column is the job, and each lookup reads all rows of the job.
    pub(crate) const fn by_key(self) -> &'static str {
        match self {
            Self::MySql => "FORCE INDEX (PRIMARY)",
            Self::Postgres => "",
        }
    }

    /// Returns the beginning of an `UPDATE sluice_claims there SET …` with the rows of `table`, called
    /// source, for which `same` holds. `set` names columns of the side table without a prefix.
    pub(crate) fn update_from(self, table: &str, same: &str, set: &[(&str, &str)]) -> String {
        // MySQL wants the table's name before each column, Postgres refuses it.
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

    /// Returns an expression for a sum as a whole number.
    pub(crate) fn whole(self, sum: &str) -> String {
        format!("CAST({sum}{}", self.as_whole())
    }

    /// Checks that a text is a name of a table or column; `schema.table` is allowed.
    ///
    /// # Errors
    /// [`LeaseError::Name`].
    pub fn check_name(self, name: &str) -> Result<(), LeaseError> {
        self.name(name).map(drop)
    }

    /// Returns the quoted name of a user's table or column; `schema.table` is allowed.
    pub(crate) fn name(self, name: &str) -> Result<String, LeaseError> {
        // A plain name holds no quote, so that quoting it is enough.
        let plain = |part: &str| {
            !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '$')
        };
        if !name.split('.').all(plain) {
            return Err(LeaseError::Name(name.to_owned()));
        }
        let quote = if self == Self::MySql { '`' } else { '"' };
        Ok(name.split('.').map(|part| format!("{quote}{part}{quote}")).collect::<Vec<_>>().join("."))
    }

    /// Appends the mark of the `nth` bound value, counted from 1.
    pub(crate) fn mark(self, nth: usize, out: &mut String) {
        match self {
            Self::MySql => out.push('?'),
            Self::Postgres => {
                out.push('$');
                out.push_str(&nth.to_string());
            }
        }
    }

    /// Returns the oldest accepted version if a server with the version text `version` is older.
    pub(crate) fn too_old(self, version: &str) -> Option<&'static str> {
        // The first three numbers of the text are major and minor version and patch; a missing one counts as 0.
        let numbers: Vec<u32> = version
            .split(|c: char| !c.is_ascii_digit())
            .filter(|part| !part.is_empty())
            .take(3)
            .filter_map(|part| part.parse().ok())
            .collect();
        let number = |nth: usize| numbers.get(nth).copied().unwrap_or(0);
        let at = (number(0), number(1), number(2));
        match self {
            Self::MySql if version.contains("MariaDB") => (at < (10, 6, 0)).then_some("MariaDB 10.6"),
            // The first one with a binary collation without padding.
            Self::MySql => (at < (8, 0, 17)).then_some("MySQL 8.0.17"),
            // `SELECT version()` begins with "PostgreSQL 15.3 (…)".
            Self::Postgres => (at < (9, 6, 0)).then_some("PostgreSQL 9.6"),
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
        assert!(
            SqlDialect::MySql.too_old("8.0.16").is_some() && SqlDialect::MySql.too_old("8.0.17").is_none()
        );
        assert!(SqlDialect::MySql.too_old("8.4.2").is_none());
        assert!(SqlDialect::Postgres.too_old("PostgreSQL 15.3 (Debian)").is_none());
    }
}
