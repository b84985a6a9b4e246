//! Writes about many held ids in one statement: as fenced as one by one, for a fraction of the work on either side.

use std::collections::HashSet;
use std::time::Duration;

use crate::claims::{millis, resent};
use crate::database::SqlStatement;
use crate::fenced::written;
use crate::{ClaimMark, ClaimTally, FenceAnswer, IdClaim, JobClaims, LeaseError, SqlDialect};

/// How far a held id is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimCheckpoint {
    /// The id.
    pub id: String,
    /// The fence it was given with.
    pub fence: i64,
    /// Where it stands.
    pub mark: ClaimMark,
}

/// Ids in one statement at most.
const MOST: usize = 64;

impl JobClaims {
    /// Bytes of a mark's text at most. MySQL's TEXT holds 65,535; of more, MariaDB 10.11 keeps some bytes in the middle
    /// of a statement about many without a word.
    pub const LONGEST_MARK: usize = 60_000;

    /// Records that the id got to `mark`. Its attempts count from here: an id is dead when it gets no further, not
    /// when it is long.
    pub async fn checkpoint(&self, claim: &IdClaim, mark: &ClaimMark) -> Result<FenceAnswer, LeaseError> {
        Ok(only(&self.checkpoint_all(&[ClaimCheckpoint::of(claim, mark.clone())]).await?))
    }

    /// The id is complete. With `every` it is due again that long after now, as its next run.
    pub async fn done(
        &self,
        claim: &IdClaim,
        tally: ClaimTally,
        every: Option<Duration>,
    ) -> Result<FenceAnswer, LeaseError> {
        let mark = ClaimMark { next_page: None, tally };
        Ok(only(&self.done_all(&[ClaimCheckpoint::of(claim, mark)], every).await?))
    }

    /// [`JobClaims::checkpoint`] for each of these; answers in their order.
    pub async fn checkpoint_all(&self, entries: &[ClaimCheckpoint]) -> Result<Vec<FenceAnswer>, LeaseError> {
        let set = |statement: SqlStatement| statement.text("attempt = 1");
        fitting(entries)?;
        let mut lost = HashSet::new();
        for chunk in in_order(entries).chunks(MOST) {
            let statement = self.many(chunk, set);
            let kept = resent!("writing page checkpoints", self.database.execute(&statement))?;
            if kept != chunk.len() as u64 {
                lost.extend(self.lost_of(&held(chunk, 0)).await?);
            }
        }
        Ok(answers(entries, &lost, 0))
    }

    /// [`JobClaims::done`] for each of these; answers in their order. What a mark says of the next page is a word for the
    /// next run, which finds it as [`IdClaim::next_page`]. Said twice, an id is as done as before.
    pub async fn done_all(
        &self,
        entries: &[ClaimCheckpoint],
        every: Option<Duration>,
    ) -> Result<Vec<FenceAnswer>, LeaseError> {
        let set = |statement| complete(statement, every);
        fitting(entries)?;
        let mut lost = HashSet::new();
        for chunk in in_order(entries).chunks(MOST) {
            let statement = self.many(chunk, set);
            let kept = resent!("writing that ids are done", self.database.execute(&statement))?;
            if kept != chunk.len() as u64 {
                // Ours have the next fence now, are what we made them, and nobody holds them. Whoever took one over has
                // that fence too, and holds it; one that was taken since then is called lost, which is true by now.
                let state = if every.is_some() { "due" } else { "done" };
                lost.extend(self.not_ended(&held(chunk, 1), state).await?);
            }
        }
        Ok(answers(entries, &lost, 1))
    }

    /// `UPDATE` of these rows, each to its own mark, and as `set` says. The number of rows is a power of two (the others
    /// match nothing), so that a connection prepares only so many statements.
    fn many(&self, entries: &[&ClaimCheckpoint], set: impl Fn(SqlStatement) -> SqlStatement) -> SqlStatement {
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
        // Values are bound in the order of the text.
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
    /// The claim stands at `mark`.
    pub fn of(claim: &IdClaim, mark: ClaimMark) -> Self {
        Self { id: claim.id.clone(), fence: claim.fence, mark }
    }
}

/// The row of an id that is complete, but for its mark.
fn complete(statement: SqlStatement, every: Option<Duration>) -> SqlStatement {
    let statement =
        statement.text("attempt = 0, fence = fence + 1, reason = NULL, holder = NULL, owed = NULL, ");
    let statement = statement.text("lease_until = NULL, ");
    match every {
        None => statement.text("state = 'done', due_at = ").now(),
        Some(pause) => {
            let statement = statement.text("state = 'due', run = run + 1, due_at = ").now();
            statement.text(" + ").bind(millis(pause))
        }
    }
}

/// The answer about one.
fn only(answers: &[FenceAnswer]) -> FenceAnswer {
    answers.first().copied().unwrap_or(FenceAnswer::Lost)
}

fn row(statement: SqlStatement, nth: usize, entry: Option<&ClaimCheckpoint>) -> SqlStatement {
    let ClaimTally { pages, records, rejects, bytes } =
        entry.map(|entry| entry.mark.tally).unwrap_or_default();
    let statement = statement.text(if nth == 0 { "SELECT " } else { " UNION ALL SELECT " });
    let statement = statement.typed_text(entry.map(|entry| entry.id.as_str())).text(" AS this_id, ");
    let statement = statement.typed_int(entry.map_or(0, |entry| entry.fence)).text(" AS this_fence, ");
    let statement = statement.typed_text(entry.and_then(|entry| entry.mark.next_page.as_deref()));
    let statement = statement.text(" AS to_page, ").typed_int(pages).text(" AS to_pages, ");
    let statement = statement.typed_int(records).text(" AS to_records, ").typed_int(rejects);
    statement.text(" AS to_rejects, ").typed_int(bytes).text(" AS to_bytes")
}

fn fitting(entries: &[ClaimCheckpoint]) -> Result<(), LeaseError> {
    let length = |entry: &ClaimCheckpoint| entry.mark.next_page.as_ref().map_or(0, String::len);
    match entries.iter().map(length).find(|length| *length > JobClaims::LONGEST_MARK) {
        Some(length) => Err(LeaseError::TooLong { length, most: JobClaims::LONGEST_MARK }),
        None => Ok(()),
    }
}

/// Rows are always written in the order of their ids, so that two processes never wait for each other.
fn in_order(entries: &[ClaimCheckpoint]) -> Vec<&ClaimCheckpoint> {
    let mut entries: Vec<&ClaimCheckpoint> = entries.iter().collect();
    entries.sort_unstable_by(|one, other| one.id.cmp(&other.id));
    entries
}

/// The rows as they are after the write, whose fence has moved on by `steps`.
fn held(entries: &[&ClaimCheckpoint], steps: i64) -> Vec<(String, i64)> {
    entries.iter().map(|entry| (entry.id.clone(), entry.fence + steps)).collect()
}

fn answers(entries: &[ClaimCheckpoint], lost: &HashSet<(String, i64)>, steps: i64) -> Vec<FenceAnswer> {
    let lost =
        |entry: &ClaimCheckpoint| !lost.is_empty() && lost.contains(&(entry.id.clone(), entry.fence + steps));
    entries.iter().map(|entry| if lost(entry) { FenceAnswer::Lost } else { FenceAnswer::Kept }).collect()
}
