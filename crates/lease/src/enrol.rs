//! Enrolling ids of the user's table in the side table, with their due times and priorities if the source has
//! columns for them.

use crate::claims::{millis, resent};
use crate::database::{SqlRow, SqlStatement};
use std::time::Duration;

use crate::{ClaimSource, IdFormat, JobClaims, LeaseError, SqlDialect};

/// A source's names and expressions, quoted.
struct QuotedSourceNames {
    table: String,
    id: String,
    bare_id: String,
    due: Option<String>,
    priority: Option<String>,
}

/// The changes of an enrolment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EnrolReport {
    /// Ids that had no row. An id that two workers add at the same moment may be counted by both.
    pub new: u64,
    /// Ids that have left the source.
    pub gone: u64,
    /// Ids that had left and are back.
    pub back: u64,
    /// Dead ids that are due again.
    pub revived: u64,
    /// Ids that are too long for a row. They are not collected.
    pub too_long: u64,
    /// Whether the source has an empty id. It is dead.
    pub has_empty: bool,
}

/// The reason in the row of an empty id.
const EMPTY_ID: &str =
    "the id is empty: expected a text; without one the request would ask for all ids at once";
/// The most ids of one look for those that have left.
const GONE_AT_ONCE: usize = 10_000;
/// The most ids in one statement.
const CHUNK: usize = 500;

impl JobClaims {
    /// Adds every id of `source` that has no row yet. With a due column, ids whose time has changed become
    /// due at the new time; done and dead ids begin a new run. With a priority column, rows that are not claimed get
    /// their new priority. Ids that are no longer in the source, do not meet its condition or have no due time
    /// are not claimed until they are back. An empty id is dead.
    ///
    /// With `dead_after`, an id that has been dead for that long is due again, from its first page.
    ///
    /// # Errors
    /// The database's errors, [`LeaseError::Name`] for a table or column that is not a plain name, and
    /// [`LeaseError::BinaryId`].
    pub async fn enrol(
        &self,
        source: &ClaimSource,
        dead_after: Option<Duration>,
    ) -> Result<EnrolReport, LeaseError> {
        self.check_source(source).await?;
        let names = self.names(source)?;
        let insert = self.insertion(&names, source);
        let new = resent!("enrolling ids", self.database.execute(&insert))?;

        // Ids that are back take part in everything that follows.
        let back = self.bring_back(&names, source).await?;

        // Done ids first: an id that becomes due by this has its new time already.
        if let Some(due) = &names.due {
            let again = self.due_again(&names, due, source);
            resent!("making ids due again", self.database.execute(&again))?;
            let moved = self.moved(&names, due, source);
            resent!("moving due times", self.database.execute(&moved))?;
        }

        // Only rows that are not claimed get a new priority.
        if let Some(priority) = &names.priority {
            let statement = self.changed(&names, &[("priority", priority.as_str())], source);
            let statement =
                statement.text(&format!(" AND there.state <> 'claimed' AND there.priority <> {priority}"));
            resent!("setting priorities", self.database.execute(&statement))?;
        }

        // Ids that have left, and dead ones whose time has come.
        let gone = self.set_gone(&names, source).await?;
        let revived = match dead_after {
            Some(after) => self.revive_after(after).await?,
            None => 0,
        };
        let too_long = self.count_too_long(&names, source).await?;
        let has_empty = self.has_empty_id().await?;

        // Claims look for the priorities that exist now.
        self.set_classes(self.priorities().await?);
        Ok(EnrolReport { new, gone, back, revived, too_long, has_empty })
    }

    /// Checks that the column of the ids holds no bytes, or that their text form is named.
    pub(crate) async fn check_source(&self, source: &ClaimSource) -> Result<(), LeaseError> {
        if source.id_format.is_some() {
            return Ok(());
        }
        let dialect = self.dialect();
        let (schema, table) = match source.table.rsplit_once('.') {
            Some((schema, table)) => (Some(schema), table),
            None => (None, source.table.as_str()),
        };
        let statement = self.database.statement(&format!(
            "SELECT COUNT(*) FROM information_schema.columns WHERE data_type IN ({}) AND table_name = ",
            dialect.byte_types()
        ));
        let statement = statement.bind(table).text(" AND column_name = ").bind(source.id_column.as_str());
        let statement = match schema {
            Some(schema) => statement.text(" AND table_schema = ").bind(schema),
            None => statement.text(" AND ").text(dialect.this_schema()),
        };
        let rows = resent!("looking at the column of the ids", self.database.rows(&statement))?;
        let count = rows.first().map(|row| row.int(0)).transpose();
        match count.map_err(LeaseError::while_doing("looking at the column of the ids"))?.flatten() {
            None | Some(0) => Ok(()),
            Some(_) => Err(LeaseError::BinaryId(source.id_column.clone())),
        }
    }

    /// Gives the ids that are back in the source the state that they had.
    async fn bring_back(&self, names: &QuotedSourceNames, source: &ClaimSource) -> Result<u64, LeaseError> {
        // Mostly no id has left, and nothing has to be compared.
        let statement =
            self.database.statement("SELECT id FROM sluice_claims WHERE state = 'gone' AND job = ");
        let statement = statement.bind(self.job.as_str()).text(" LIMIT 1");
        if resent!("looking for ids that have left", self.database.rows(&statement))?.is_empty() {
            return Ok(0);
        }
        let now = self.dialect().now();
        let set = [
            ("state", "COALESCE(there.left_state, 'due')"),
            ("fence", "there.fence + 1"),
            ("updated_at", now),
        ];
        let mut statement = self.changed(names, &set, source).text(" AND there.state = 'gone'");
        if let Some(due) = &names.due {
            statement = statement.text(&format!(" AND {due} IS NOT NULL"));
        }
        resent!("bringing ids back", self.database.execute(&statement))
    }

    /// Takes the ids that are no longer in the source out of the claims. Ids in work end their run first.
    async fn set_gone(&self, names: &QuotedSourceNames, source: &ClaimSource) -> Result<u64, LeaseError> {
        let mut all = 0;
        loop {
            let statement = self.left_the_source(names, source);
            let rows = resent!("looking for ids that have left", self.whole_rows(&statement))?;
            let mut ids: Vec<String> = rows.iter().filter_map(|row| row.text(0).ok().flatten()).collect();
            ids.sort_unstable();
            let mut set = 0;
            for chunk in ids.chunks(CHUNK) {
                // `left_state` first: MySQL reads the values that were assigned further left.
                let statement = self.database.statement(
                    "UPDATE sluice_claims SET left_state = state, state = 'gone', fence = fence + 1, updated_at = ",
                );
                let statement = statement.now().text(" WHERE job = ").bind(self.job.as_str());
                let statement = statement.text(" AND state IN ('due', 'done', 'dead') AND id IN (");
                let statement = statement.list(chunk, |s, id| s.bind(id.as_str())).text(")");
                set += resent!("taking out ids that have left", self.database.execute(&statement))?;
            }
            all += set;
            // Rows that another process has claimed meanwhile are left for the next enrolment.
            if ids.len() < GONE_AT_ONCE || set == 0 {
                return Ok(all);
            }
        }
    }

    /// Runs a query that joins whole tables.
    async fn whole_rows(&self, statement: &SqlStatement) -> Result<Vec<SqlRow>, sqlx::Error> {
        let mut open = self.database.begin().await?;
        if let Some(text) = self.dialect().without_nested_loops() {
            open.execute(&self.database.statement(text)).await?;
        }
        let rows = open.rows(statement).await?;
        open.commit().await.map(|()| rows)
    }

    /// Returns the query for ids whose row waits or has ended, but which the source does not have.
    fn left_the_source(&self, names: &QuotedSourceNames, source: &ClaimSource) -> SqlStatement {
        let QuotedSourceNames { table, id, bare_id, due, .. } = names;
        // A derived table is read once, and both servers join it by its value.
        let statement = self.database.statement(&format!(
            "SELECT there.id FROM sluice_claims there LEFT JOIN (SELECT DISTINCT {id} AS source_id FROM {table} source \
             WHERE {bare_id} IS NOT NULL"
        ));
        let statement = match &source.condition {
            Some(condition) => statement.text(&format!(" AND ({condition})")),
            None => statement,
        };
        let statement = match due {
            Some(due) => statement.text(&format!(" AND {due} IS NOT NULL")),
            None => statement,
        };
        let statement = statement.text(") here ON here.source_id = there.id WHERE there.job = ");
        let statement = statement.bind(self.job.as_str());
        let statement =
            statement.text(" AND there.state IN ('due', 'done', 'dead') AND here.source_id IS NULL");
        statement.text(&format!(" LIMIT {GONE_AT_ONCE}"))
    }

    /// Makes ids due again that have been dead for this long: a new run, from the first page.
    async fn revive_after(&self, after: Duration) -> Result<u64, LeaseError> {
        let statement = self.database.statement(
            "UPDATE sluice_claims SET state = 'due', whole_run = run + 1, run = run + 1, fence = fence + 1, attempt = 0, \
             next_page = NULL, holder = NULL, due_from = NULL, due_at = ",
        );
        let statement = statement.now().text(", updated_at = ").now().text(" WHERE job = ");
        let statement = statement.bind(self.job.as_str()).text(" AND state = 'dead' AND id <> ''");
        let statement = statement.text(" AND updated_at <= ").now().text(" - ").bind(millis(after));
        resent!("making dead ids due again", self.database.execute(&statement))
    }

    /// Tells whether the empty id has a row, and is not gone or erased.
    async fn has_empty_id(&self) -> Result<bool, LeaseError> {
        let statement = self.database.statement("SELECT id FROM sluice_claims WHERE id = '' AND job = ");
        let statement = statement.bind(self.job.as_str()).text(" AND state NOT IN ('gone', 'erased')");
        Ok(!resent!("looking for an empty id", self.database.rows(&statement))?.is_empty())
    }

    /// Counts the ids that no row can hold.
    async fn count_too_long(
        &self,
        names: &QuotedSourceNames,
        source: &ClaimSource,
    ) -> Result<u64, LeaseError> {
        let fits = self.dialect().fits_id(&names.id);
        let statement = self
            .database
            .statement(&format!("SELECT COUNT(*) FROM {} source WHERE NOT ({fits})", names.table));
        let statement = match &source.condition {
            Some(condition) => statement.text(&format!(" AND ({condition})")),
            None => statement,
        };
        let rows = resent!("counting ids that are too long", self.database.rows(&statement))?;
        let count = rows.first().map(|row| row.int(0)).transpose();
        let count = count.map_err(LeaseError::while_doing("counting ids that are too long"))?.flatten();
        Ok(u64::try_from(count.unwrap_or(0)).unwrap_or(0))
    }

    /// Quotes the names of a source.
    fn names(&self, source: &ClaimSource) -> Result<QuotedSourceNames, LeaseError> {
        let dialect = self.dialect();
        // Every column is qualified: the side table has columns of the same names.
        let column = |name: &String| dialect.name(name).map(|name| format!("source.{name}"));
        let bare_id = column(&source.id_column)?;
        let due = source.due_column.as_ref().map(column).transpose()?;
        let priority = source.priority_column.as_ref().map(column).transpose()?;
        Ok(QuotedSourceNames {
            table: dialect.name(&source.table)?,
            id: match source.id_format {
                None | Some(IdFormat::Text) => dialect.text(&bare_id),
                Some(IdFormat::Uuid) => dialect.bytes_as_text(&bare_id, true),
                Some(IdFormat::Hex) => dialect.bytes_as_text(&bare_id, false),
            },
            bare_id,
            due: due.map(|due| dialect.epoch_ms(&due)),
            priority: priority.map(|priority| format!("COALESCE({priority}, 0)")),
        })
    }

    /// Returns the statement that adds ids without a row.
    fn insertion(&self, names: &QuotedSourceNames, source: &ClaimSource) -> SqlStatement {
        let QuotedSourceNames { table, id, bare_id, due, priority } = names;
        let dialect = self.dialect();

        // The columns of the SELECT list, in the order of the INSERT.
        let statement = self.database.statement(
            "INSERT INTO sluice_claims (job, id, state, reason, priority, due_said, due_at, updated_at) SELECT DISTINCT ",
        );
        // Postgres would have to be asked for the type of a bare mark in a SELECT list. The cast gives it.
        let statement = statement.text("CAST(").bind(self.job.as_str());
        let statement = statement.text(match dialect {
            SqlDialect::MySql => " AS CHAR CHARACTER SET utf8mb4)",
            SqlDialect::Postgres => " AS TEXT)",
        });
        let priority = priority.as_deref().unwrap_or("0");
        // An empty id has a row, so that it is seen, but it is never asked for.
        let statement = statement.text(&format!(
            ", {id}, CASE WHEN {id} = '' THEN 'dead' ELSE 'due' END, \
             CASE WHEN {id} = '' THEN '{EMPTY_ID}' END, {priority}, "
        ));
        let statement = match due {
            Some(due) => statement.text(&format!("{due}, {due}, ")),
            None => statement.text(dialect.no_number()).text(", ").now().text(", "),
        };

        // Of a table with repeated ids one row is enough. Existing rows are left out by the SELECT itself, so
        // that a repeated enrolment costs reads only.
        let statement = statement.now().text(&format!(
            " FROM {table} source WHERE {bare_id} IS NOT NULL \
             AND NOT EXISTS (SELECT 1 FROM sluice_claims there {} WHERE there.job = ",
            dialect.by_key()
        ));
        let mut statement = statement.bind(self.job.as_str()).text(&format!(" AND there.id = {id})"));
        statement = statement.text(" AND ").text(&dialect.fits_id(id));

        // A null time is never due; the operator's condition applies as written.
        if let Some(due) = due {
            statement = statement.text(&format!(" AND {due} IS NOT NULL"));
        }
        if let Some(condition) = &source.condition {
            statement = statement.text(&format!(" AND ({condition})"));
        }
        statement.text(dialect.unless_there())
    }

    /// Returns the statement for done and dead ids whose column has another time: a new run, due at that time.
    fn due_again(&self, names: &QuotedSourceNames, due: &str, source: &ClaimSource) -> SqlStatement {
        let now = self.dialect().now();
        // The fence grows with every change of state.
        let set = [
            ("state", "'due'"),
            ("run", "there.run + 1"),
            ("fence", "there.fence + 1"),
            ("attempt", "0"),
            ("due_from", "NULL"),
            ("due_at", due),
            ("due_said", due),
            ("updated_at", now),
        ];
        let statement = self.changed(names, &set, source);
        statement.text(&format!(
            " AND there.state IN ('done', 'dead') AND there.id <> '' AND (there.due_said IS NULL OR there.due_said <> {due})"
        ))
    }

    /// Returns the statement for waiting ids whose column has another time.
    fn moved(&self, names: &QuotedSourceNames, due: &str, source: &ClaimSource) -> SqlStatement {
        let statement = self.changed(names, &[("due_at", due), ("due_said", due)], source);
        statement.text(&format!(
            " AND there.state = 'due' AND (there.due_said IS NULL OR there.due_said <> {due})"
        ))
    }

    /// Returns an update of this job's rows from the rows of the source with the same id.
    fn changed(&self, names: &QuotedSourceNames, set: &[(&str, &str)], source: &ClaimSource) -> SqlStatement {
        // The operator's condition names the source's columns without a prefix, and columns of the side table
        // may have the same names. Therefore the condition is applied in a subquery.
        let from = match &source.condition {
            Some(condition) => format!("(SELECT * FROM {} source WHERE ({condition}))", names.table),
            None => names.table.clone(),
        };
        let same = format!("there.id = {}", names.id);
        let text = self.dialect().update_from(&from, &same, set);
        self.database.statement(&text).text("there.job = ").bind(self.job.as_str())
    }

    /// Returns the priorities of waiting and claimed rows, highest first. It costs one index lookup for each.
    async fn priorities(&self) -> Result<Vec<i64>, LeaseError> {
        let mut all = Vec::new();
        for state in ["due", "claimed"] {
            // From the highest priority down: each lookup finds the next lower one.
            let mut under: Option<i64> = None;
            loop {
                let statement =
                    self.database.statement("SELECT MAX(priority) FROM sluice_claims WHERE job = ");
                let statement = statement.bind(self.job.as_str()).text(&format!(" AND state = '{state}'"));
                let statement = match under {
                    None => statement,
                    Some(under) => statement.text(" AND priority < ").bind(under),
                };
                let rows = resent!("looking for priorities", self.database.rows(&statement))?;
                let highest = rows.first().map(|row| row.int(0)).transpose();
                let highest = highest.map_err(LeaseError::while_doing("reading priorities"))?.flatten();
                let Some(highest) = highest else { break };
                all.push(highest);
                under = Some(highest);
            }
        }

        // Priority 0 is always in the list, even if no row has it.
        all.push(0);
        all.sort_unstable_by(|one, other| other.cmp(one));
        all.dedup();
        Ok(all)
    }
}
