//! Reading the side table: for `status`, for the end of a run, and for dead ids.

use std::time::Duration;

use crate::claims::{millis, resent};
use crate::{ClaimSource, ClaimTally, JobClaims, LeaseError};

/// The state of the side table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SideTableState {
    /// The table does not exist.
    Missing,
    /// The table is of an earlier version. [`JobClaims::migrate`] upgrades it.
    Older,
    /// The table is of this version.
    There,
}

/// The times at which ids can be taken next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimOutlook {
    /// Milliseconds until the first waiting id is due (0 or less: it is due now); `None` if no id waits.
    pub due_in_ms: Option<i64>,
    /// Milliseconds until the first lease passes; `None` if no id is claimed.
    pub lease_in_ms: Option<i64>,
}

/// The number of ids in one state, and the work done for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateCount {
    /// `due`, `claimed`, `done`, `dead`, `gone` (no longer in the table, or not meeting the condition) or `erased`
    /// (taken out by an operator).
    pub state: String,
    /// Number of ids.
    pub ids: i64,
    /// Pages, records, rejects and bytes of all of them.
    pub tally: ClaimTally,
    /// How long the oldest id has been due, in milliseconds; negative if it is due later.
    pub oldest_ms: i64,
}

/// An id that cannot be completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuriedId {
    /// The id.
    pub id: String,
    /// Attempts since the id last got further.
    pub attempt: i64,
    /// The page at which it fails.
    pub next_page: Option<String>,
    /// The reason.
    pub reason: String,
    /// Milliseconds since the epoch.
    pub updated_at: i64,
}

/// The runs over an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdRuns {
    /// The id.
    pub id: String,
    /// Number of the last run that is complete; 0 if none is.
    pub complete: i64,
    /// Number of the last run that began from the beginning.
    pub whole: i64,
}

/// The most ids in one statement.
const CHUNK: usize = 500;

impl JobClaims {
    /// Returns when ids can be taken next. It reads both ends of the index and costs little, whatever the
    /// table's size.
    ///
    /// # Errors
    /// The database's errors.
    ///
    /// With `until`, only ids count whose run was due by then ([`crate::ClaimTerms::due_until`]) and that may be
    /// taken `within` this time.
    pub async fn outstanding(
        &self,
        until: Option<i64>,
        within: Duration,
    ) -> Result<ClaimOutlook, LeaseError> {
        // `claimed` is read first: an id that is given back between the two reads is then still seen as due.
        let lease_in_ms = self.first("claimed", None, within).await?;
        Ok(ClaimOutlook { due_in_ms: self.first("due", until, within).await?, lease_in_ms })
    }

    /// Returns the milliseconds until the first row in a state may be taken.
    async fn first(
        &self,
        state: &str,
        until: Option<i64>,
        within: Duration,
    ) -> Result<Option<i64>, LeaseError> {
        let mut first: Option<i64> = None;
        // One index lookup for each priority.
        for class in self.classes() {
            let statement = self.database.statement("SELECT MIN(due_at) - ").now();
            let statement = statement.text(" FROM sluice_claims WHERE job = ").bind(self.job.as_str());
            let mut statement =
                statement.text(&format!(" AND state = '{state}' AND priority = ")).bind(class);
            if let Some(until) = until {
                // The second condition keeps the search in a short range of the index.
                statement = statement.text(" AND COALESCE(due_from, due_at) <= ").bind(until);
                statement = statement.text(" AND due_at <= GREATEST(").now().text(", ").bind(until);
                statement = statement.text(") + ").bind(millis(within));
            }
            let rows = resent!("looking for the next id", self.database.rows(&statement))?;
            let at = rows.first().map(|row| row.int(0)).transpose();
            let at = at.map_err(LeaseError::while_doing("reading due times"))?.flatten();
            first = [first, at].into_iter().flatten().min();
        }
        Ok(first)
    }

    /// Returns the counts by state, in the order due, claimed, done, dead, gone, erased. It reads every row of the job.
    ///
    /// # Errors
    /// The database's errors.
    pub async fn status(&self) -> Result<Vec<StateCount>, LeaseError> {
        // Sums come back as decimals and are cast to whole numbers.
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

        // One row per state that has ids.
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

        // The database returns the groups in any order.
        let order = ["due", "claimed", "done", "dead", "gone", "erased"];
        counts.sort_by_key(|count| order.iter().position(|state| *state == count.state));
        Ok(counts)
    }

    /// Returns the dead ids, oldest first, at most `most`.
    ///
    /// # Errors
    /// The database's errors.
    pub async fn buried(&self, most: u32) -> Result<Vec<BuriedId>, LeaseError> {
        let statement = self.database.statement(
            "SELECT id, attempt, next_page, reason, updated_at FROM sluice_claims WHERE state = 'dead' AND job = ",
        );
        let statement = statement.bind(self.job.as_str()).text(" ORDER BY due_at, id LIMIT ");
        let statement = statement.bind(i64::from(most));
        let rows = resent!("listing dead ids", self.database.rows(&statement))?;
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
        buried.map_err(LeaseError::while_doing("reading dead ids"))
    }

    /// Makes dead ids due again, `id` alone or all: from the page at which they failed, or, with
    /// `from_start`, from the beginning of a new run. Returns how many.
    ///
    /// # Errors
    /// The database's errors.
    pub async fn revive(&self, id: Option<&str>, from_start: bool) -> Result<u64, LeaseError> {
        let statement =
            self.database.statement("UPDATE sluice_claims SET state = 'due', fence = fence + 1, ");
        // With a new run number, the checkpoints of the old run in Kafka do not count.
        let statement = statement.text(match from_start {
            true => "whole_run = run + 1, run = run + 1, next_page = NULL, ",
            false => "",
        });
        // All attempts are open again, and the id is due now.
        let statement = statement.text("attempt = 0, holder = NULL, due_from = NULL, due_at = ").now();
        let statement = statement.text(", updated_at = ").now();
        // An empty id has no request of its own.
        let statement = statement.text(" WHERE state = 'dead' AND id <> '' AND job = ");
        let mut statement = statement.bind(self.job.as_str());
        if let Some(id) = id {
            statement = statement.text(" AND id = ").bind(id);
        }
        resent!("reviving dead ids", self.database.execute(&statement))
    }

    /// Returns how many ids a source has. It only reads.
    ///
    /// # Errors
    /// [`LeaseError::Name`] for a table or column that is not a plain name, and the database's errors.
    pub async fn count(&self, source: &ClaimSource) -> Result<i64, LeaseError> {
        let dialect = self.dialect();
        self.check_source(source).await?;
        let id = dialect.name(&source.id_column)?;
        let table = dialect.name(&source.table)?;
        // `1 = 1` lets the operator's condition follow with AND.
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

    /// Returns the server's plan for finding the first `most` due ids: the statement of a claim, explained by
    /// the server.
    ///
    /// # Errors
    /// The database's errors.
    pub async fn plan(&self, most: u32) -> Result<String, LeaseError> {
        let statement = self.due(0, most, None).explained();
        let rows = resent!("explaining a claim", self.database.rows(&statement))?;
        Ok(rows.iter().map(crate::database::SqlRow::words).collect::<Vec<_>>().join(" / "))
    }

    /// Returns the state of the side table.
    ///
    /// # Errors
    /// The database's errors.
    pub async fn side_table(&self) -> Result<SideTableState, LeaseError> {
        Ok(match (self.has_column("job").await?, self.has_column("due_from").await?) {
            (false, _) => SideTableState::Missing,
            // The newest column tells an earlier version from this one.
            (true, false) => SideTableState::Older,
            (true, true) => SideTableState::There,
        })
    }

    /// Returns whether the side table exists and has a column.
    pub(crate) async fn has_column(&self, column: &str) -> Result<bool, LeaseError> {
        let here = self.dialect().this_schema();
        let statement = self.database.statement(&format!(
            "SELECT COUNT(*) FROM information_schema.columns WHERE table_name = 'sluice_claims' AND {here} \
             AND column_name = "
        ));
        let statement = statement.bind(column);
        let doing = LeaseError::while_doing("looking for the table sluice_claims");
        let rows = resent!("looking for the table sluice_claims", self.database.rows(&statement))?;
        let count = rows.first().map(|row| row.int(0)).transpose().map_err(doing)?;
        Ok(count.flatten().unwrap_or(0) > 0)
    }

    /// Returns the runs of these ids, or of all ids of the job. Ids that were taken out have none.
    ///
    /// # Errors
    /// The database's errors.
    pub async fn runs_of(&self, ids: Option<&[String]>) -> Result<Vec<IdRuns>, LeaseError> {
        // All ids are one statement, some are several.
        let chunks: Vec<Option<&[String]>> = match ids {
            None => vec![None],
            Some(ids) => ids.chunks(CHUNK).map(Some).collect(),
        };
        let mut all = Vec::new();
        for chunk in chunks {
            let statement = self.database.statement(
                "SELECT id, CASE WHEN state = 'done' OR (state = 'gone' AND left_state = 'done') THEN run \
                 ELSE run - 1 END, whole_run FROM sluice_claims WHERE state <> 'erased' AND job = ",
            );
            let statement = statement.bind(self.job.as_str());
            let statement = match chunk {
                None => statement,
                Some(ids) => statement.text(" AND id IN (").list(ids, |s, id| s.bind(id.as_str())).text(")"),
            };
            let rows = resent!("reading the runs of ids", self.database.rows(&statement))?;
            for row in &rows {
                let read = || -> Result<IdRuns, sqlx::Error> {
                    let int = |at| row.int(at).map(Option::unwrap_or_default);
                    Ok(IdRuns { id: row.text(0)?.unwrap_or_default(), complete: int(1)?, whole: int(2)? })
                };
                all.push(read().map_err(LeaseError::while_doing("reading the runs of ids"))?);
            }
        }
        Ok(all)
    }

    /// Makes ids due again that are not claimed: from the beginning, as a new run. Returns how many.
    ///
    /// # Errors
    /// The database's errors.
    pub async fn ask_again(&self, ids: &[String]) -> Result<u64, LeaseError> {
        let mut again = 0;
        for chunk in ids.chunks(CHUNK) {
            let statement = self.database.statement(
                "UPDATE sluice_claims SET state = 'due', whole_run = run + 1, run = run + 1, fence = fence + 1, \
                 attempt = 0, next_page = NULL, holder = NULL, due_from = NULL, due_at = ",
            );
            let statement = statement.now().text(", updated_at = ").now().text(" WHERE job = ");
            let statement = statement.bind(self.job.as_str()).text(" AND state IN ('due', 'done', 'dead')");
            let statement = statement.text(" AND id <> '' AND id IN (");
            let statement = statement.list(chunk, |s, id| s.bind(id.as_str())).text(")");
            again += resent!("making ids due again", self.database.execute(&statement))?;
        }
        Ok(again)
    }

    /// Takes an id out: it is never claimed again, whatever the table of ids says. Its row stays, without anything
    /// but the id, so that no enrolment brings it back. A process that holds it loses it. Returns whether the id was
    /// known.
    ///
    /// # Errors
    /// The database's errors.
    pub async fn forget(&self, id: &str) -> Result<bool, LeaseError> {
        let statement = self.database.statement(
            "UPDATE sluice_claims SET state = 'erased', fence = fence + 1, next_page = NULL, reason = NULL, \
             holder = NULL, lease_until = NULL, due_from = NULL, due_said = NULL, left_state = NULL, updated_at = ",
        );
        let statement = statement.now().text(" WHERE job = ").bind(self.job.as_str());
        let statement = statement.text(" AND id = ").bind(id);
        if resent!("taking an id out", self.database.execute(&statement))? > 0 {
            return Ok(true);
        }

        // An id that was never enrolled gets a row that keeps it out.
        let statement = self
            .database
            .statement("INSERT INTO sluice_claims (job, id, state, due_at, updated_at) VALUES (");
        let statement = statement.bind(self.job.as_str()).text(", ").bind(id).text(", 'erased', 0, ").now();
        let statement = statement.text(")").text(self.dialect().unless_there());
        resent!("taking an id out", self.database.execute(&statement))?;
        Ok(false)
    }
}
