//! Writes about an id that is held: each names the fence it was given, and matches one row or none.

use std::time::Duration;

use crate::claims::{millis, resent};
use crate::database::SqlStatement;
use crate::{ClaimTally, IdClaim, JobClaims, LeaseError};

/// The answer to a fenced write.
#[must_use = "a lost claim must not be worked on any more"]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FenceAnswer {
    /// The claim was still ours and the write is durable.
    Kept,
    /// Someone else holds the id, or it was ended: nothing was written, let go.
    Lost,
}

/// How far an id is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClaimMark {
    /// Where to go on; `None` is the beginning.
    pub next_page: Option<String>,
    /// What was done so far in this run, in total (not since the last mark: a repeated write changes nothing).
    pub tally: ClaimTally,
}

/// Why an id is given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimReleaseReason {
    /// We stop; the attempt does not count and the id is due at once.
    Back,
    /// It failed for now: the attempt counts and the id is due after the pause.
    Failed {
        /// How long to leave it alone.
        pause: Duration,
        /// In words, without values.
        reason: String,
    },
}

/// Rows named in one statement at most: far below the servers' limits on bound values.
const CHUNK: usize = 500;

impl JobClaims {
    /// Prolongs the leases of `held`, by `(id, fence)`. Answers the ids that are ours no more.
    pub async fn heartbeat(
        &self,
        held: &[(String, i64)],
        lease: Duration,
    ) -> Result<Vec<(String, i64)>, LeaseError> {
        let mut lost = Vec::new();
        for chunk in held.chunks(CHUNK) {
            let statement = self.database.statement("UPDATE sluice_claims SET lease_until = ").now();
            let statement = statement.text(" + ").bind(millis(lease)).text(", due_at = ").now();
            let statement = statement.text(" + ").bind(millis(lease));
            let statement = self.these(statement, chunk);
            let kept = resent!("prolonging leases", self.database.execute(&statement))?;
            if kept != chunk.len() as u64 {
                lost.extend(self.lost_of(chunk).await?);
            }
        }
        Ok(lost)
    }

    /// What the holders in [`IdClaim::taken_from`] had done is known, and they can do no more: nobody is owed a fencing
    /// for these ids any longer. Lost ones are passed over.
    pub async fn taken_over(&self, held: &[(String, i64)]) -> Result<u64, LeaseError> {
        let mut noted = 0;
        for chunk in held.chunks(CHUNK) {
            let statement = self.database.statement("UPDATE sluice_claims SET owed = NULL");
            let statement = self.these(statement, chunk);
            noted += resent!("noting that a holder is fenced", self.database.execute(&statement))?;
        }
        Ok(noted)
    }

    /// Gives back ids that were not begun, at once and without counting the attempt. Lost ones are passed over.
    pub async fn release_untouched(&self, held: &[(String, i64)]) -> Result<u64, LeaseError> {
        let mut given = 0;
        for chunk in held.chunks(CHUNK) {
            let statement =
                self.database.statement("UPDATE sluice_claims SET state = 'due', fence = fence + 1, ");
            let statement = statement.text("attempt = GREATEST(attempt - 1, 0), holder = NULL, ");
            let statement = statement.text("lease_until = NULL, due_at = ").now();
            let statement = self.these(statement, chunk);
            given += resent!("giving ids back", self.database.execute(&statement))?;
        }
        Ok(given)
    }

    /// The id cannot be completed: kept with the page it fails at and the reason, until [`JobClaims::revive`].
    pub async fn dead(
        &self,
        claim: &IdClaim,
        mark: &ClaimMark,
        reason: &str,
    ) -> Result<FenceAnswer, LeaseError> {
        let statement =
            self.database.statement("UPDATE sluice_claims SET state = 'dead', fence = fence + 1, ");
        let statement = statement.text("owed = NULL, lease_until = NULL, reason = ").bind(reason).text(", ");
        let statement = self.this(written(marked(statement, mark)), claim);
        one(resent!("writing that an id is dead", self.database.execute(&statement)))
    }

    /// Gives an id back at `mark`. If it got no further in our hands, whoever was owed a fencing still is, and since when
    /// it got no further stays known.
    pub async fn release(
        &self,
        claim: &IdClaim,
        mark: &ClaimMark,
        given: &ClaimReleaseReason,
    ) -> Result<FenceAnswer, LeaseError> {
        let statement =
            self.database.statement("UPDATE sluice_claims SET state = 'due', fence = fence + 1, ");
        let statement = statement.text("holder = NULL, lease_until = NULL, ");
        let statement = match given {
            ClaimReleaseReason::Back => statement.text("attempt = GREATEST(attempt - 1, 0), due_at = ").now(),
            ClaimReleaseReason::Failed { pause, reason } => {
                let statement = statement.text("reason = ").bind(reason.as_str()).text(", due_at = ").now();
                statement.text(" + ").bind(millis(*pause))
            }
        };
        let statement = marked(statement.text(", "), mark);
        let statement = match mark.tally == claim.tally {
            true => statement,
            false => written(statement.text(", owed = NULL")),
        };
        let statement = self.this(statement, claim);
        one(resent!("giving an id back", self.database.execute(&statement)))
    }

    /// ` WHERE` this one claim.
    fn this(&self, statement: SqlStatement, claim: &IdClaim) -> SqlStatement {
        let statement = statement.text(" WHERE job = ").bind(self.job.as_str());
        let statement = statement.text(" AND id = ").bind(claim.id.as_str());
        statement.text(" AND fence = ").bind(claim.fence)
    }

    /// ` WHERE` any of these claims. The bare list of ids lets the primary key serve it in every server.
    fn these(&self, statement: SqlStatement, held: &[(String, i64)]) -> SqlStatement {
        let statement = statement.text(" WHERE job = ").bind(self.job.as_str());
        let statement = statement.text(" AND id IN (").list(held, |s, (id, _)| s.bind(id.as_str()));
        let statement = statement.text(") AND (id, fence) IN (");
        statement
            .list(held, |s, (id, fence)| s.text("(").bind(id.as_str()).text(", ").bind(*fence).text(")"))
            .text(")")
    }

    /// Those whose row has another fence by now.
    pub(crate) async fn lost_of(&self, held: &[(String, i64)]) -> Result<Vec<(String, i64)>, LeaseError> {
        self.without(self.these(self.database.statement("SELECT id FROM sluice_claims"), held), held).await
    }

    /// Those whose row has another fence or state by now, or a holder.
    pub(crate) async fn not_ended(
        &self,
        held: &[(String, i64)],
        state: &str,
    ) -> Result<Vec<(String, i64)>, LeaseError> {
        let statement = self.these(self.database.statement("SELECT id FROM sluice_claims"), held);
        let statement = statement.text(" AND holder IS NULL AND state = ").bind(state);
        self.without(statement, held).await
    }

    /// Those that the statement does not find.
    async fn without(
        &self,
        statement: SqlStatement,
        held: &[(String, i64)],
    ) -> Result<Vec<(String, i64)>, LeaseError> {
        let rows = resent!("asking which claims are ours", self.database.rows(&statement))?;
        let ours: std::collections::HashSet<String> =
            rows.iter().filter_map(|row| row.text(0).ok().flatten()).collect();
        Ok(held.iter().filter(|(id, _)| !ours.contains(id)).cloned().collect())
    }
}

fn marked(statement: SqlStatement, mark: &ClaimMark) -> SqlStatement {
    let ClaimTally { pages, records, rejects, bytes } = mark.tally;
    let statement = statement.text("next_page = ").bind(mark.next_page.as_deref());
    let statement = statement.text(", pages = ").bind(pages).text(", records = ").bind(records);
    statement.text(", rejects = ").bind(rejects).text(", bytes = ").bind(bytes)
}

pub(crate) fn written(statement: SqlStatement) -> SqlStatement {
    statement.text(", updated_at = ").now()
}

fn one(matched: Result<u64, LeaseError>) -> Result<FenceAnswer, LeaseError> {
    matched.map(|rows| if rows == 1 { FenceAnswer::Kept } else { FenceAnswer::Lost })
}
