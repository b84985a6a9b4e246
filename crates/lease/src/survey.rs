//! What stands in the side table: for `status`, for the end of a run, and for the dead.

use crate::claims::resent;
use crate::{ClaimSource, ClaimTally, JobClaims, LeaseError};

/// What is there of the side table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SideTableState {
    /// None.
    Missing,
    /// One of an earlier version: [`JobClaims::migrate`] brings it up to date.
    Older,
    /// This version's.
    There,
}

/// Is there anything left to do?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimOutlook {
    /// Milliseconds until the first id that waits is due (0 or less: it is due now); `None` if none waits.
    pub due_in_ms: Option<i64>,
    /// Milliseconds until the first lease passes; `None` if no id is claimed by anyone.
    pub lease_in_ms: Option<i64>,
}

/// How many ids are in one state, and what was done for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateCount {
    /// `due`, `claimed`, `done` or `dead`.
    pub state: String,
    /// Rows.
    pub ids: i64,
    /// Pages, records, rejects and bytes over them all.
    pub tally: ClaimTally,
    /// For how long the oldest has been due, in milliseconds; negative if it is due only later.
    pub oldest_ms: i64,
}

/// An id that cannot be completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuriedId {
    /// The id.
    pub id: String,
    /// Attempts since it last got further.
    pub attempt: i64,
    /// Where it fails.
    pub next_page: Option<String>,
    /// Why.
    pub reason: String,
    /// Milliseconds since the epoch.
    pub updated_at: i64,
}

impl JobClaims {
    /// Looks at both ends of the index: cheap, whatever the table's size.
    pub async fn outstanding(&self) -> Result<ClaimOutlook, LeaseError> {
        // `claimed` is asked first: an id that is given back in between is then still seen as due.
        let lease_in_ms = self.first("claimed").await?;
        Ok(ClaimOutlook { due_in_ms: self.first("due").await?, lease_in_ms })
    }

    /// Milliseconds until the first row in a state may be taken.
    async fn first(&self, state: &str) -> Result<Option<i64>, LeaseError> {
        let mut first: Option<i64> = None;
        for class in self.classes() {
            let statement = self.database.statement("SELECT MIN(due_at) - ").now();
            let statement = statement.text(" FROM sluice_claims WHERE job = ").bind(self.job.as_str());
            let statement = statement.text(&format!(" AND state = '{state}' AND priority = ")).bind(class);
            let rows = resent!("looking for the next id", self.database.rows(&statement))?;
            let at = rows.first().map(|row| row.int(0)).transpose();
            let at = at.map_err(LeaseError::while_doing("reading due times"))?.flatten();
            first = [first, at].into_iter().flatten().min();
        }
        Ok(first)
    }

    /// Counts by state, in the order due, claimed, done, dead; reads every row of the job.
    pub async fn status(&self) -> Result<Vec<StateCount>, LeaseError> {
        let dialect = self.dialect();
        let sum = |column: &str| dialect.whole(&format!("SUM({column})"));
        let statement = self.database.statement(&format!(
            "SELECT state, COUNT(*), {}, {}, {}, {}, ",
            sum("pages"),
            sum("records"),
            sum("rejects"),
            sum("bytes")
        ));
        let statement = statement.now().text(" - MIN(due_at) FROM sluice_claims WHERE job = ");
        let statement = statement.bind(self.job.as_str()).text(" GROUP BY state");
        let rows = resent!("counting ids", self.database.rows(&statement))?;
        let read = |row: &crate::database::SqlRow| -> Result<StateCount, sqlx::Error> {
            let int = |at| row.int(at).map(Option::unwrap_or_default);
            Ok(StateCount {
                state: row.text(0)?.unwrap_or_default(),
                ids: int(1)?,
                tally: ClaimTally { pages: int(2)?, records: int(3)?, rejects: int(4)?, bytes: int(5)? },
                oldest_ms: int(6)?,
            })
        };
        let counts: Result<Vec<_>, _> = rows.iter().map(read).collect();
        let mut counts = counts.map_err(LeaseError::while_doing("reading the counts"))?;
        let order = ["due", "claimed", "done", "dead"];
        counts.sort_by_key(|count| order.iter().position(|state| *state == count.state));
        Ok(counts)
    }

    /// The dead, oldest first, at most `most`.
    pub async fn buried(&self, most: u32) -> Result<Vec<BuriedId>, LeaseError> {
        let statement = self.database.statement(
            "SELECT id, attempt, next_page, reason, updated_at FROM sluice_claims WHERE state = 'dead' AND job = ",
        );
        let statement = statement.bind(self.job.as_str()).text(" ORDER BY due_at, id LIMIT ");
        let statement = statement.bind(i64::from(most));
        let rows = resent!("listing the dead", self.database.rows(&statement))?;
        let read = |row: &crate::database::SqlRow| -> Result<BuriedId, sqlx::Error> {
            Ok(BuriedId {
                id: row.text(0)?.unwrap_or_default(),
                attempt: row.int(1)?.unwrap_or_default(),
                next_page: row.text(2)?,
                reason: row.text(3)?.unwrap_or_default(),
                updated_at: row.int(4)?.unwrap_or_default(),
            })
        };
        let buried: Result<Vec<_>, _> = rows.iter().map(read).collect();
        buried.map_err(LeaseError::while_doing("reading the dead"))
    }

    /// Makes the dead due again, `id` alone or all: from the page they failed at, or `from_start` of a new run. Answers
    /// how many.
    pub async fn revive(&self, id: Option<&str>, from_start: bool) -> Result<u64, LeaseError> {
        let statement =
            self.database.statement("UPDATE sluice_claims SET state = 'due', fence = fence + 1, ");
        // A new run: what Kafka remembers of the old one is no place to go on from.
        let statement = statement.text(match from_start {
            true => "run = run + 1, next_page = NULL, ",
            false => "",
        });
        let statement = statement.text("attempt = 0, holder = NULL, due_at = ").now();
        let statement = statement.text(", updated_at = ").now().text(" WHERE state = 'dead' AND job = ");
        let mut statement = statement.bind(self.job.as_str());
        if let Some(id) = id {
            statement = statement.text(" AND id = ").bind(id);
        }
        resent!("reviving the dead", self.database.execute(&statement))
    }

    /// How many ids a source has. Reads only.
    pub async fn count(&self, source: &ClaimSource) -> Result<i64, LeaseError> {
        let dialect = self.dialect();
        let id = dialect.name(&source.id_column)?;
        let table = dialect.name(&source.table)?;
        let mut statement = self
            .database
            .statement(&format!("SELECT COUNT(DISTINCT source.{id}) FROM {table} source WHERE 1 = 1"));
        if let Some(condition) = &source.condition {
            statement = statement.text(&format!(" AND ({condition})"));
        }
        let rows = resent!("counting ids", self.database.rows(&statement))?;
        let count = rows.first().map(|row| row.int(0)).transpose();
        count.map(|count| count.flatten().unwrap_or(0)).map_err(LeaseError::while_doing("counting ids"))
    }

    /// By what plan the server finds the first `most` due ids, in its own words: the statement of a claim, explained.
    ///
    /// # Errors
    /// The database's.
    pub async fn plan(&self, most: u32) -> Result<String, LeaseError> {
        let statement = self.due(0, most).explained();
        let rows = resent!("explaining a claim", self.database.rows(&statement))?;
        Ok(rows.iter().map(crate::database::SqlRow::words).collect::<Vec<_>>().join(" / "))
    }

    /// What is there of the side table?
    pub async fn side_table(&self) -> Result<SideTableState, LeaseError> {
        let here = self.dialect().this_schema();
        // Its newest column tells an earlier version from this one.
        let statement = self.database.statement(&format!(
            "SELECT COUNT(*), COUNT(CASE WHEN column_name = 'due_said' THEN 1 END) \
             FROM information_schema.columns WHERE table_name = 'sluice_claims' AND {here}"
        ));
        let doing = LeaseError::while_doing("looking for the side table");
        let rows = resent!("looking for the side table", self.database.rows(&statement))?;
        let count = |column| rows.first().map(|row| row.int(column)).transpose();
        let counts =
            count(0).and_then(|all| Ok((all.flatten().unwrap_or(0), count(1)?.flatten().unwrap_or(0))));
        Ok(match counts.map_err(doing)? {
            (0, _) => SideTableState::Missing,
            (_, 0) => SideTableState::Older,
            _ => SideTableState::There,
        })
    }
}
