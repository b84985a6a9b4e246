//! Writes about many held ids in one statement: as fenced as one by one, for a fraction of the work on either side.

use std::collections::HashSet;
use std::time::Duration;

use crate::claims::{millis, resent};
use crate::database::Statement;
use crate::fenced::written;
use crate::{Claim, Claims, Dialect, Fenced, LeaseError, Mark, Tally};

/// How far a held id is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The id.
    pub id: String,
    /// The fence it was given with.
    pub fence: i64,
    /// Where it stands.
    pub mark: Mark,
}

/// Ids in one statement at most.
const MOST: usize = 64;

impl Claims {
    /// Bytes of a mark's text at most. MySQL's TEXT holds 65,535; of more, MariaDB 10.11 keeps some bytes in the middle
    /// of a statement about many without a word.
    pub const LONGEST_MARK: usize = 60_000;

    /// Records that the id got to `mark`. Its attempts count from here: an id is dead when it gets no further, not
    /// when it is long.
    pub async fn checkpoint(&self, claim: &Claim, mark: &Mark) -> Result<Fenced, LeaseError> {
        Ok(only(&self.checkpoint_all(&[Entry::of(claim, mark.clone())]).await?))
    }

    /// The id is complete. With `every` it is due again that long after now, as its next run.
    pub async fn done(
        &self,
        claim: &Claim,
        tally: Tally,
        every: Option<Duration>,
    ) -> Result<Fenced, LeaseError> {
        let mark = Mark { next_page: None, tally };
        Ok(only(&self.done_all(&[Entry::of(claim, mark)], every).await?))
    }

    /// [`Claims::checkpoint`] for each of these; answers in their order.
    pub async fn checkpoint_all(&self, entries: &[Entry]) -> Result<Vec<Fenced>, LeaseError> {
        let set = |statement: Statement| statement.text("attempt = 1");
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

    /// [`Claims::done`] for each of these; answers in their order. What a mark says of the next page is a word for the
    /// next run, which finds it as [`Claim::next_page`]. Said twice, an id is as done as before.
    pub async fn done_all(
        &self,
        entries: &[Entry],
        every: Option<Duration>,
    ) -> Result<Vec<Fenced>, LeaseError> {
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
    fn many(&self, entries: &[&Entry], set: impl Fn(Statement) -> Statement) -> Statement {
        let rows = |mut statement: Statement| {
            for nth in 0..entries.len().next_power_of_two() {
                statement = row(statement, nth, entries.get(nth).copied());
            }
            statement
        };
        let same = |statement: Statement| {
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
            Dialect::MySql => {
                let statement = rows(self.database.statement("UPDATE ("));
                let statement = statement.text(") source STRAIGHT_JOIN sluice_claims ");
                set(same(statement.text(Dialect::MySql.by_key()).text(" ON ")).text(" SET "))
            }
            Dialect::Postgres => {
                let statement = set(self.database.statement("UPDATE sluice_claims SET ")).text(" FROM (");
                same(rows(statement).text(") source WHERE "))
            }
        }
    }
}

impl Entry {
    /// The claim stands at `mark`.
    pub fn of(claim: &Claim, mark: Mark) -> Self {
        Self { id: claim.id.clone(), fence: claim.fence, mark }
    }
}

/// The row of an id that is complete, but for its mark.
fn complete(statement: Statement, every: Option<Duration>) -> Statement {
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
fn only(answers: &[Fenced]) -> Fenced {
    answers.first().copied().unwrap_or(Fenced::Lost)
}

fn row(statement: Statement, nth: usize, entry: Option<&Entry>) -> Statement {
    let Tally { pages, records, rejects, bytes } = entry.map(|entry| entry.mark.tally).unwrap_or_default();
    let statement = statement.text(if nth == 0 { "SELECT " } else { " UNION ALL SELECT " });
    let statement = statement.typed_text(entry.map(|entry| entry.id.as_str())).text(" AS this_id, ");
    let statement = statement.typed_int(entry.map_or(0, |entry| entry.fence)).text(" AS this_fence, ");
    let statement = statement.typed_text(entry.and_then(|entry| entry.mark.next_page.as_deref()));
    let statement = statement.text(" AS to_page, ").typed_int(pages).text(" AS to_pages, ");
    let statement = statement.typed_int(records).text(" AS to_records, ").typed_int(rejects);
    statement.text(" AS to_rejects, ").typed_int(bytes).text(" AS to_bytes")
}

fn fitting(entries: &[Entry]) -> Result<(), LeaseError> {
    let length = |entry: &Entry| entry.mark.next_page.as_ref().map_or(0, String::len);
    match entries.iter().map(length).find(|length| *length > Claims::LONGEST_MARK) {
        Some(length) => Err(LeaseError::TooLong { length, most: Claims::LONGEST_MARK }),
        None => Ok(()),
    }
}

/// Rows are always written in the order of their ids, so that two processes never wait for each other.
fn in_order(entries: &[Entry]) -> Vec<&Entry> {
    let mut entries: Vec<&Entry> = entries.iter().collect();
    entries.sort_unstable_by(|one, other| one.id.cmp(&other.id));
    entries
}

/// The rows as they are after the write, whose fence has moved on by `steps`.
fn held(entries: &[&Entry], steps: i64) -> Vec<(String, i64)> {
    entries.iter().map(|entry| (entry.id.clone(), entry.fence + steps)).collect()
}

fn answers(entries: &[Entry], lost: &HashSet<(String, i64)>, steps: i64) -> Vec<Fenced> {
    let lost = |entry: &Entry| !lost.is_empty() && lost.contains(&(entry.id.clone(), entry.fence + steps));
    entries.iter().map(|entry| if lost(entry) { Fenced::Lost } else { Fenced::Kept }).collect()
}
