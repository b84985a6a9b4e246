//! Writes about many held ids in one statement. They are fenced like single writes, for a fraction of the
//! work on either side.

use std::collections::HashSet;
use std::time::Duration;

use crate::claims::{millis, resent};
use crate::database::SqlStatement;
use crate::fenced::written;
use crate::{ClaimMark, ClaimTally, FenceAnswer, IdClaim, JobClaims, LeaseError, SqlDialect};

/// The progress of one held id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimCheckpoint {
    /// The id.
    pub id: String,
    /// The fence of its claim.
    pub fence: i64,
    /// The position and the work that the row has to remember.
    pub mark: ClaimMark,
}

/// The most ids in one statement.
const MOST: usize = 64;

impl JobClaims {
    /// The longest text of a mark, in bytes. MySQL's TEXT holds 65,535. Of a longer text MariaDB 10.11
    /// silently keeps some bytes from the middle if the statement is about several rows.
    pub const LONGEST_MARK: usize = 60_000;

    /// Records that the id got to `mark`. Its attempts count from here: an id is dead when it gets no
    /// further, not when it is long.
    ///
    /// # Errors
    /// [`LeaseError::TooLong`] for a mark beyond [`JobClaims::LONGEST_MARK`], and the database's errors.
    pub async fn checkpoint(&self, claim: &IdClaim, mark: &ClaimMark) -> Result<FenceAnswer, LeaseError> {
        Ok(only(&self.checkpoint_all(&[ClaimCheckpoint::of(claim, mark.clone())]).await?))
    }

    /// Records that the id is complete. With `every` it is due again that long after it was due, as its next run:
    /// a run that takes long does not move the ones after it. Times that have passed are left out.
    ///
    /// # Errors
    /// The database's errors.
    pub async fn done(
        &self,
        claim: &IdClaim,
        tally: ClaimTally,
        every: Option<Duration>,
    ) -> Result<FenceAnswer, LeaseError> {
        let mark = ClaimMark { next_page: None, tally };
        Ok(only(&self.done_all(&[ClaimCheckpoint::of(claim, mark)], every).await?))
    }

    /// Does [`JobClaims::checkpoint`] for each of these ids. Returns the answers in their order.
    ///
    /// # Errors
    /// As for [`JobClaims::checkpoint`]; some of the ids may be written then.
    pub async fn checkpoint_all(&self, entries: &[ClaimCheckpoint]) -> Result<Vec<FenceAnswer>, LeaseError> {
        // The present attempt got further, so it is the first one again.
        let set = |statement: SqlStatement| statement.text("attempt = 1");
        fitting(entries)?;
        let mut lost = HashSet::new();
        for chunk in in_order(entries).chunks(MOST) {
            let statement = self.many(chunk, set);
            let kept = resent!("writing page checkpoints", self.database.execute(&statement))?;
            // Fewer rows than ids: a second statement finds the lost ones. That is rare.
            if kept != chunk.len() as u64 {
                lost.extend(self.lost_of(&held(chunk, 0)).await?);
            }
        }
        Ok(answers(entries, &lost, 0))
    }

    /// Does [`JobClaims::done`] for each of these ids. Returns the answers in their order. The next page of a
    /// mark is for the next run, which finds it as [`IdClaim::next_page`]. A repeated call changes nothing.
    ///
    /// # Errors
    /// As for [`JobClaims::checkpoint`]; some of the ids may be written then.
    pub async fn done_all(
        &self,
        entries: &[ClaimCheckpoint],
        every: Option<Duration>,
    ) -> Result<Vec<FenceAnswer>, LeaseError> {
        let set = |statement| complete(statement, every, self.dialect());
        fitting(entries)?;
        let mut lost = HashSet::new();
        for chunk in in_order(entries).chunks(MOST) {
            let statement = self.many(chunk, set);
            let kept = resent!("writing that ids are done", self.database.execute(&statement))?;
            if kept != chunk.len() as u64 {
                // Rows that this call ended have the next fence, the new state and no holder. A process that
                // took one over has that fence too, but is its holder. An id that was claimed again since
                // then counts as lost, which is true by now.
                let state = if every.is_some() { "due" } else { "done" };
                lost.extend(self.not_ended(&held(chunk, 1), state).await?);
            }
        }
        Ok(answers(entries, &lost, 1))
    }

    /// Returns an `UPDATE` of these rows: each to its own mark, and all as `set` asks. The number of rows in
    /// the text is a power of two, and the surplus rows match nothing. Therefore a connection prepares only a
    /// few different statements.
    fn many(&self, entries: &[&ClaimCheckpoint], set: impl Fn(SqlStatement) -> SqlStatement) -> SqlStatement {
        // The three parts of the statement: the new values by row, the rows to change, and the assignments.
        let rows = |mut statement: SqlStatement| {
            for nth in 0..entries.len().next_power_of_two() {
                statement = row(statement, nth, entries.get(nth).copied());
            }
            statement
        };
        let same = |statement: SqlStatement| {
            let statement = statement.text("job = ").bind(self.job.as_str());
            statement.text(" AND id = this_id AND fence = this_fence")
        };
        let set = |statement| {
            let statement = set(statement).text(
                ", next_page = to_page, pages = to_pages, records = to_records, rejects = to_rejects, bytes = to_bytes",
            );
            written(statement)
        };

        // The dialects order the parts differently, and values are bound in the order of the text.
        match self.dialect() {
            SqlDialect::MySql => {
                let statement = rows(self.database.statement("UPDATE ("));
                let statement = statement.text(") source STRAIGHT_JOIN sluice_claims ");
                set(same(statement.text(SqlDialect::MySql.by_key()).text(" ON ")).text(" SET "))
            }
            SqlDialect::Postgres => {
                let statement = set(self.database.statement("UPDATE sluice_claims SET ")).text(" FROM (");
                same(rows(statement).text(") source WHERE "))
            }
        }
    }
}

impl ClaimCheckpoint {
    /// Returns the checkpoint of a claim at `mark`.
    pub fn of(claim: &IdClaim, mark: ClaimMark) -> Self {
        Self { id: claim.id.clone(), fence: claim.fence, mark }
    }
}

/// Adds the assignments for a complete id, except those of its mark.
fn complete(statement: SqlStatement, every: Option<Duration>, dialect: SqlDialect) -> SqlStatement {
    let statement =
        // The fence grows: a late write of the former holder matches nothing.
        statement.text("attempt = 0, fence = fence + 1, reason = NULL, holder = NULL, owed = NULL, ");
    let statement = statement.text("lease_until = NULL, ");
    match every {
        None => statement.text("state = 'done', due_at = ").now(),
        Some(every) if every.is_zero() => statement.text("state = 'due', run = run + 1, due_at = ").now(),
        Some(every) => {
            // The first of the times `due_from + n * every` that is not about to come. Rows of an earlier version
            // do not know when they were due.
            let (slack, every) = (millis(due_slack(every)), millis(every).max(1));
            let statement = statement.text("state = 'due', run = run + 1, due_at = COALESCE(due_from + ");
            let statement = statement.bind(every).text(" * (GREATEST(").now().text(" + ").bind(slack);
            let statement = statement.text(" - due_from, 0)").text(dialect.whole_division()).bind(every);
            statement.text(" + 1), ").now().text(" + ").bind(every).text(")")
        }
    }
    // Assigned last: MySQL reads the values that were assigned further left.
    .text(", due_from = NULL")
}

/// Returns how much before its time an id may be taken by a run that ends by itself: a fifth of the time between its
/// runs, two minutes at most. A CronJob that starts as often as its ids are due starts a little early at times.
pub fn due_slack(every: Duration) -> Duration {
    (every / 5).min(Duration::from_secs(120))
}

/// Returns the answer about a single id.
fn only(answers: &[FenceAnswer]) -> FenceAnswer {
    debug_assert_eq!(answers.len(), 1, "one id has one answer");
    answers.first().copied().unwrap_or(FenceAnswer::Lost)
}

/// Adds the `nth` row of new values. Without an entry it is a surplus row, whose null id matches nothing.
fn row(statement: SqlStatement, nth: usize, entry: Option<&ClaimCheckpoint>) -> SqlStatement {
    let ClaimTally { pages, records, rejects, bytes } =
        entry.map(|entry| entry.mark.tally).unwrap_or_default();
    // Every value is typed, because a bare mark in a SELECT list has no column to take its type from.
    let statement = statement.text(if nth == 0 { "SELECT " } else { " UNION ALL SELECT " });
    let statement = statement.typed_text(entry.map(|entry| entry.id.as_str())).text(" AS this_id, ");
    let statement = statement.typed_int(entry.map_or(0, |entry| entry.fence)).text(" AS this_fence, ");
    let statement = statement.typed_text(entry.and_then(|entry| entry.mark.next_page.as_deref()));
    let statement = statement.text(" AS to_page, ").typed_int(pages).text(" AS to_pages, ");
    let statement = statement.typed_int(records).text(" AS to_records, ").typed_int(rejects);
    statement.text(" AS to_rejects, ").typed_int(bytes).text(" AS to_bytes")
}

/// Checks that every mark fits its column.
fn fitting(entries: &[ClaimCheckpoint]) -> Result<(), LeaseError> {
    let length = |entry: &ClaimCheckpoint| entry.mark.next_page.as_ref().map_or(0, String::len);
    match entries.iter().map(length).find(|length| *length > JobClaims::LONGEST_MARK) {
        Some(length) => Err(LeaseError::TooLong { length, most: JobClaims::LONGEST_MARK }),
        None => Ok(()),
    }
}

/// Sorts the entries by id. Rows are always written in this order, so that two processes never wait for each
/// other.
fn in_order(entries: &[ClaimCheckpoint]) -> Vec<&ClaimCheckpoint> {
    let mut entries: Vec<&ClaimCheckpoint> = entries.iter().collect();
    entries.sort_unstable_by(|one, other| one.id.cmp(&other.id));
    entries
}

/// Returns the ids with the fences that their rows have after the write, which adds `steps` to them.
fn held(entries: &[&ClaimCheckpoint], steps: i64) -> Vec<(String, i64)> {
    entries.iter().map(|entry| (entry.id.clone(), entry.fence + steps)).collect()
}

/// Returns the answers in the order of `entries`.
fn answers(entries: &[ClaimCheckpoint], lost: &HashSet<(String, i64)>, steps: i64) -> Vec<FenceAnswer> {
    let lost =
        |entry: &ClaimCheckpoint| !lost.is_empty() && lost.contains(&(entry.id.clone(), entry.fence + steps));
    entries.iter().map(|entry| if lost(entry) { FenceAnswer::Lost } else { FenceAnswer::Kept }).collect()
}
