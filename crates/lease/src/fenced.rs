//! Writes about a held id. Each names the fence of its claim and matches one row or none.

use std::time::Duration;

use crate::claims::{millis, resent};
use crate::database::SqlStatement;
use crate::{ClaimTally, IdClaim, JobClaims, LeaseError};

/// The answer to a fenced write.
#[must_use = "a lost claim must not be worked on any more"]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FenceAnswer {
    /// The claim was still held by this process, and the write is durable.
    Kept,
    /// Another process holds the id, or the id was ended. Nothing was written; let go of it.
    Lost,
}

/// The progress of an id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClaimMark {
    /// The position to go on from; `None` is the beginning.
    pub next_page: Option<String>,
    /// The work done in this run in total, not since the last mark. Therefore a repeated write changes
    /// nothing.
    pub tally: ClaimTally,
}

/// The reason for giving an id back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimReleaseReason {
    /// The process stops. The attempt does not count, and the id is due at once.
    Back,
    /// The id failed for now. The attempt counts, and the id is due after the pause.
    Failed {
        /// How long to leave the id alone.
        pause: Duration,
        /// The reason in plain text, without values of records.
        reason: String,
    },
    /// The API asked for a wait, or is away for everyone. The attempt does not count, and the id is due after the
    /// pause.
    Waits {
        /// How long to leave the id alone.
        pause: Duration,
        /// The reason in plain text, without values of records.
        reason: String,
    },
}

/// The most rows named in one statement: far below the servers' limits on bound values.
const CHUNK: usize = 500;

impl JobClaims {
    /// Prolongs the leases of `held`, given by `(id, fence)`. Returns the ids that are lost.
    ///
    /// # Errors
    /// The database's errors. Some leases may be prolonged then.
    pub async fn heartbeat(
        &self,
        held: &[(String, i64)],
        lease: Duration,
    ) -> Result<Vec<(String, i64)>, LeaseError> {
        let mut lost = Vec::new();
        for chunk in held.chunks(CHUNK) {
            // `due_at` follows the lease, because the index finds passed leases by it.
            let statement = self.database.statement("UPDATE sluice_claims SET lease_until = ").now();
            let statement = statement.text(" + ").bind(millis(lease)).text(", due_at = ").now();
            let statement = statement.text(" + ").bind(millis(lease));
            let statement = self.these(statement, chunk);
            let kept = resent!("prolonging leases", self.database.execute(&statement))?;
            // Fewer rows than ids: another process took some of them over.
            if kept != chunk.len() as u64 {
                lost.extend(self.lost_of(chunk).await?);
            }
        }
        Ok(lost)
    }

    /// Records that the holders in [`IdClaim::taken_from`] are fenced and that everything they had done is
    /// known. They are removed from the rows' list of holders to fence. Lost ids are passed over. Returns how
    /// many rows changed.
    ///
    /// # Errors
    /// The database's errors. The next holder fences them once more then.
    pub async fn taken_over(&self, held: &[(String, i64)]) -> Result<u64, LeaseError> {
        let mut noted = 0;
        for chunk in held.chunks(CHUNK) {
            let statement = self.database.statement("UPDATE sluice_claims SET owed = NULL");
            let statement = self.these(statement, chunk);
            noted += resent!("noting that a holder is fenced", self.database.execute(&statement))?;
        }
        Ok(noted)
    }

    /// Gives back ids that were not begun, due at once and without counting the attempt. Lost ids are passed
    /// over. Returns how many were given back.
    ///
    /// # Errors
    /// The database's errors. The leases pass by themselves then.
    pub async fn release_untouched(&self, held: &[(String, i64)]) -> Result<u64, LeaseError> {
        let mut given = 0;
        for chunk in held.chunks(CHUNK) {
            let statement =
                self.database.statement("UPDATE sluice_claims SET state = 'due', fence = fence + 1, ");
            let statement = statement.text("attempt = GREATEST(attempt - 1, 0), holder = NULL, ");
            let statement = statement.text("lease_until = NULL, due_at = ").now();
            let statement = self.these(statement, chunk);
            // Not an error if it is fewer: the others belong to other holders by now.
            given += resent!("giving ids back", self.database.execute(&statement))?;
        }
        Ok(given)
    }

    /// Records that the id cannot be completed. Its row keeps the page at which it fails and the reason,
    /// until [`JobClaims::revive`].
    ///
    /// # Errors
    /// The database's errors.
    pub async fn dead(
        &self,
        claim: &IdClaim,
        mark: &ClaimMark,
        reason: &str,
    ) -> Result<FenceAnswer, LeaseError> {
        let statement =
            self.database.statement("UPDATE sluice_claims SET state = 'dead', fence = fence + 1, ");
        let statement = statement
            .text("owed = NULL, due_from = NULL, lease_until = NULL, reason = ")
            .bind(reason)
            .text(", ");
        let statement = self.this(written(marked(statement, mark)), claim);
        one(resent!("writing that an id is dead", self.database.execute(&statement)))
    }

    /// Gives an id back at `mark`. If it got no further in this process, the list of holders to fence and the
    /// time of the last progress stay as they are.
    ///
    /// # Errors
    /// The database's errors. The lease passes by itself then.
    pub async fn release(
        &self,
        claim: &IdClaim,
        mark: &ClaimMark,
        given: &ClaimReleaseReason,
    ) -> Result<FenceAnswer, LeaseError> {
        let statement =
            self.database.statement("UPDATE sluice_claims SET state = 'due', fence = fence + 1, ");
        let statement = statement.text("holder = NULL, lease_until = NULL, ");

        // A process that stops does not use up an attempt; a failure does.
        let statement = match given {
            ClaimReleaseReason::Back => statement.text("attempt = GREATEST(attempt - 1, 0), due_at = ").now(),
            ClaimReleaseReason::Failed { pause, reason } => {
                let statement = statement.text("reason = ").bind(reason.as_str()).text(", due_at = ").now();
                statement.text(" + ").bind(millis(*pause))
            }
            ClaimReleaseReason::Waits { pause, reason } => {
                let statement = statement.text("attempt = GREATEST(attempt - 1, 0), reason = ");
                let statement = statement.bind(reason.as_str()).text(", due_at = ").now();
                statement.text(" + ").bind(millis(*pause))
            }
        };

        // Progress is a grown tally. Only then are the former holders settled and the time of the write
        // renewed.
        let statement = marked(statement.text(", "), mark);
        let statement = match mark.tally == claim.tally {
            true => statement,
            false => written(statement.text(", owed = NULL")),
        };

        let statement = self.this(statement, claim);
        one(resent!("giving an id back", self.database.execute(&statement)))
    }

    /// Adds ` WHERE` for this one claim.
    fn this(&self, statement: SqlStatement, claim: &IdClaim) -> SqlStatement {
        let statement = statement.text(" WHERE job = ").bind(self.job.as_str());
        let statement = statement.text(" AND id = ").bind(claim.id.as_str());
        statement.text(" AND fence = ").bind(claim.fence)
    }

    /// Adds ` WHERE` for any of these claims. With the bare list of ids, every server uses the primary key.
    fn these(&self, statement: SqlStatement, held: &[(String, i64)]) -> SqlStatement {
        let statement = statement.text(" WHERE job = ").bind(self.job.as_str());
        let statement = statement.text(" AND id IN (").list(held, |s, (id, _)| s.bind(id.as_str()));
        let statement = statement.text(") AND (id, fence) IN (");
        statement
            .list(held, |s, (id, fence)| s.text("(").bind(id.as_str()).text(", ").bind(*fence).text(")"))
            .text(")")
    }

    /// Returns the claims whose row has another fence by now.
    pub(crate) async fn lost_of(&self, held: &[(String, i64)]) -> Result<Vec<(String, i64)>, LeaseError> {
        self.without(self.these(self.database.statement("SELECT id FROM sluice_claims"), held), held).await
    }

    /// Returns the claims whose row has another fence or state by now, or a holder.
    pub(crate) async fn not_ended(
        &self,
        held: &[(String, i64)],
        state: &str,
    ) -> Result<Vec<(String, i64)>, LeaseError> {
        let statement = self.these(self.database.statement("SELECT id FROM sluice_claims"), held);
        let statement = statement.text(" AND holder IS NULL AND state = ").bind(state);
        self.without(statement, held).await
    }

    /// Returns the claims that the statement does not find.
    async fn without(
        &self,
        statement: SqlStatement,
        held: &[(String, i64)],
    ) -> Result<Vec<(String, i64)>, LeaseError> {
        let rows = resent!("reading which claims are still held", self.database.rows(&statement))?;
        // Fences are part of the statement, so that the ids alone identify the claims.
        let ours: std::collections::HashSet<String> =
            rows.iter().filter_map(|row| row.text(0).ok().flatten()).collect();
        Ok(held.iter().filter(|(id, _)| !ours.contains(id)).cloned().collect())
    }
}

/// Adds the assignments of a mark.
fn marked(statement: SqlStatement, mark: &ClaimMark) -> SqlStatement {
    let ClaimTally { pages, records, rejects, bytes } = mark.tally;
    let statement = statement.text("next_page = ").bind(mark.next_page.as_deref());
    let statement = statement.text(", pages = ").bind(pages).text(", records = ").bind(records);
    statement.text(", rejects = ").bind(rejects).text(", bytes = ").bind(bytes)
}

/// Adds the assignment that notes progress at this time.
pub(crate) fn written(statement: SqlStatement) -> SqlStatement {
    statement.text(", updated_at = ").now()
}

/// Turns the number of matched rows into an answer.
fn one(matched: Result<u64, LeaseError>) -> Result<FenceAnswer, LeaseError> {
    // Job and id are the primary key: there is at most one row.
    matched.map(|rows| if rows == 1 { FenceAnswer::Kept } else { FenceAnswer::Lost })
}
