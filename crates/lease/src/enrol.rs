//! Enrolling ids of the user's table in the side table, with their due times and priorities if the source has
//! columns for them.

use crate::claims::resent;
use crate::database::SqlStatement;
use crate::{ClaimSource, JobClaims, LeaseError, SqlDialect};

/// A source's names and expressions, quoted.
struct QuotedSourceNames {
    table: String,
    id: String,
    bare_id: String,
    due: Option<String>,
    priority: Option<String>,
}

impl JobClaims {
    /// Adds every id of `source` that has no row yet. With a due column, ids whose time has changed become
    /// due at the new time; done ids begin a new run. With a priority column, rows that are not claimed get
    /// their new priority. Returns how many ids were new. An id that two workers add at the same moment may
    /// be counted by both.
    ///
    /// # Errors
    /// The database's errors, and [`LeaseError::Name`] for a table or column that is not a plain name.
    pub async fn enrol(&self, source: &ClaimSource) -> Result<u64, LeaseError> {
        let names = self.names(source)?;
        let insert = self.insertion(&names, source);
        let new = resent!("enrolling ids", self.database.execute(&insert))?;

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

        // Claims look for the priorities that exist now.
        self.set_classes(self.priorities().await?);
        Ok(new)
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
            id: dialect.text(&bare_id),
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
            "INSERT INTO sluice_claims (job, id, state, priority, due_said, due_at, updated_at) SELECT DISTINCT ",
        );
        // Postgres would have to be asked for the type of a bare mark in a SELECT list. The cast gives it.
        let statement = statement.text("CAST(").bind(self.job.as_str());
        let statement = statement.text(match dialect {
            SqlDialect::MySql => " AS CHAR CHARACTER SET utf8mb4)",
            SqlDialect::Postgres => " AS TEXT)",
        });
        let priority = priority.as_deref().unwrap_or("0");
        let statement = statement.text(&format!(", {id}, 'due', {priority}, "));
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

        // A null time is never due; the operator's condition applies as written.
        if let Some(due) = due {
            statement = statement.text(&format!(" AND {due} IS NOT NULL"));
        }
        if let Some(condition) = &source.condition {
            statement = statement.text(&format!(" AND ({condition})"));
        }
        statement.text(dialect.unless_there())
    }

    /// Returns the statement for done ids whose column has another time: a new run, due at that time.
    fn due_again(&self, names: &QuotedSourceNames, due: &str, source: &ClaimSource) -> SqlStatement {
        let now = self.dialect().now();
        // The fence grows with every change of state.
        let set = [
            ("state", "'due'"),
            ("run", "there.run + 1"),
            ("fence", "there.fence + 1"),
            ("attempt", "0"),
            ("due_at", due),
            ("due_said", due),
            ("updated_at", now),
        ];
        let statement = self.changed(names, &set, source);
        statement.text(&format!(
            " AND there.state = 'done' AND (there.due_said IS NULL OR there.due_said <> {due})"
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
