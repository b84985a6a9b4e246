//! Limits that replicas share. A limit is a number of *tokens*; each replica leases some of them for a few seconds,
//! renews while it works, and lets requests out only on tokens it holds. Nobody asks the database per request, no two
//! clocks are compared, and a replica that dies gives its tokens back by not renewing.
//!
//! ```text
//!  sluice_budgets    budget            holder   job      tokens  wanted  lease_until   hold_until  per_mille
//!                    host https://api  ''       ''                                     (Retry-After)  800     the limit
//!                    host https://api  pod-1    flights    40     100    …                                    a replica
//!                    host https://api  pod-2    flights    40     100    …
//! ```
//!
//! What the API tells one replica ("come back in a minute") stands on the limit's row too: written at once
//! ([`SharedBudgets::hold`]), and read by everyone before each request ([`SharedBudgets::held`]), by its key, waiting for nobody.
//!
//! Renewals of one limit wait for each other on the limit's own row. What is leased never exceeds the limit: a replica
//! is given at most what the others' leases leave, and counts as holding what it may still be using until it has said
//! that it uses less. So when a third replica comes, the first two shrink at their next renewal and give at the one
//! after that.

use std::time::Duration;

use crate::LeaseError;
use crate::claims::{millis, resent};
use crate::database::{SqlDatabase, SqlRow, SqlTransaction};
use crate::shares::{BudgetDemand, shares};

/// The limits that one replica takes part in.
#[derive(Clone)]
pub struct SharedBudgets {
    pub(crate) database: SqlDatabase,
    pub(crate) job: String,
    pub(crate) holder: String,
}

/// What a replica says when it renews.
#[derive(Debug, Clone)]
pub struct BudgetRequest<'a> {
    /// Name of the limit.
    pub budget: &'a str,
    /// The limit as this replica knows it, in tokens. If replicas differ, the lowest counts.
    pub total: u32,
    /// Tokens it could use.
    pub wanted: u32,
    /// Tokens it may be using now, whatever it is given.
    pub held: u32,
    /// Requests that were refused for being too many since the last renewal.
    pub refused: u32,
    /// How long the tokens are leased.
    pub lease: Duration,
}

/// After a refusal the limit is cut to so much of itself, in thousandths; it grows back by [`GROWTH`] each second.
const CUT: i64 = 700;
const GROWTH: i64 = 50;
/// Never below so much of what was declared, in thousandths.
const FLOOR: i64 = 50;
/// Between two changes of the limit, in milliseconds.
const STEP: i64 = 1_000;
/// Times are kept in whole milliseconds, cut off: a hold is written so much longer.
const ROUNDING: Duration = Duration::from_millis(2);
/// What does not divide goes round this often, in milliseconds.
const TURN: i64 = 5_000;

/// The limit's own row.
struct BudgetLimit {
    per_mille: i64,
    changed_at: i64,
    now: i64,
}

/// A replica's row.
struct Lease {
    want: BudgetDemand,
    tokens: i64,
    total: i64,
    until: i64,
}

impl SharedBudgets {
    /// Renews the lease on one limit's tokens, or takes a first one. Answers how many there are to use from now on.
    ///
    /// # Errors
    /// The database's. The tokens of the last grant may be used until their lease passes.
    pub async fn renew(&self, request: &BudgetRequest<'_>) -> Result<u32, LeaseError> {
        resent!("sharing a limit", self.renew_once(request))
    }

    /// From the moment this is written nobody may ask for so long; a longer hold is not shortened. For limits that
    /// tokens are leased of.
    ///
    /// # Errors
    /// The database's; then nobody else knows.
    pub async fn hold(&self, budgets: &[&str], hold: Duration) -> Result<(), LeaseError> {
        let hold = millis(hold.saturating_add(ROUNDING));
        let statement =
            self.database.statement("UPDATE sluice_budgets SET hold_until = GREATEST(hold_until, ");
        let statement = statement.now().text(" + ").bind(hold).text(") WHERE holder = '' AND budget IN (");
        let statement = statement.list(budgets, |s, budget| s.bind(*budget)).text(")");
        resent!("telling everyone to wait", self.database.execute(&statement)).map(drop)
    }

    /// For how long from now nobody may ask, by the longest of these limits' holds. Waits for nobody's renewal.
    ///
    /// # Errors
    /// The database's; then nobody knows, and nobody may ask.
    pub async fn held(&self, budgets: &[&str]) -> Result<Duration, LeaseError> {
        let statement = self.database.statement("SELECT MAX(hold_until) - ").now();
        let statement = statement.text(" FROM sluice_budgets WHERE holder = '' AND budget IN (");
        let statement = statement.list(budgets, |s, budget| s.bind(*budget)).text(")");
        let rows = resent!("asking whether to wait", self.database.rows(&statement))?;
        let hold = rows.first().map(|row| row.int(0)).transpose();
        let hold = hold.map_err(LeaseError::while_doing("reading a hold"))?.flatten().unwrap_or(0);
        Ok(Duration::from_millis(u64::try_from(hold).unwrap_or(0)))
    }

    /// Wants nothing any more; what is still in use stays leased for `tail`.
    ///
    /// # Errors
    /// The database's; the lease passes by itself then.
    pub async fn give_back(&self, budget: &str, held: u32, tail: Duration) -> Result<(), LeaseError> {
        let statement = self.database.statement("UPDATE sluice_budgets SET wanted = 0, tokens = ");
        let statement = statement.bind(i64::from(held)).text(", lease_until = ").now().text(" + ");
        let statement = statement.bind(millis(tail)).text(" WHERE budget = ").bind(budget);
        let statement = statement.text(" AND holder = ").bind(self.holder.as_str());
        resent!("giving a limit's tokens back", self.database.execute(&statement)).map(drop)
    }

    async fn renew_once(&self, request: &BudgetRequest<'_>) -> Result<u32, sqlx::Error> {
        let mut open = self.database.begin().await?;
        let limit = match self.limit(&mut open, request.budget).await? {
            Some(limit) => limit,
            None => {
                self.make(&mut open, request.budget).await?;
                self.limit(&mut open, request.budget).await?.ok_or(sqlx::Error::RowNotFound)?
            }
        };
        let now = limit.now;
        let leases = self.leases(&mut open, request.budget).await?;
        let (live, passed): (Vec<_>, Vec<_>) = leases.into_iter().partition(|lease| lease.until > now);
        let limit = limit.after(request);
        let tokens = grant(&live, &self.want(request), request, limit.per_mille, now / TURN);
        if !passed.is_empty() {
            let statement = self.database.statement("DELETE FROM sluice_budgets WHERE budget = ");
            let statement = statement.bind(request.budget).text(" AND holder <> '' AND holder <> ");
            let statement = statement.bind(self.holder.as_str()).text(" AND lease_until <= ").bind(now);
            open.execute(&statement).await?;
        }
        let statement = self.database.statement("UPDATE sluice_budgets SET per_mille = ");
        let statement = statement.bind(limit.per_mille).text(", changed_at = ").bind(limit.changed_at);
        let statement = statement.text(" WHERE budget = ").bind(request.budget).text(" AND holder = ''");
        open.execute(&statement).await?;
        self.write(&mut open, request, tokens.max(request.held), now).await?;
        open.commit().await?;
        Ok(tokens)
    }

    async fn limit(
        &self,
        open: &mut SqlTransaction,
        budget: &str,
    ) -> Result<Option<BudgetLimit>, sqlx::Error> {
        let statement = self.database.statement("SELECT per_mille, changed_at, ").now();
        let statement = statement.text(" FROM sluice_budgets WHERE budget = ").bind(budget);
        let rows = open.rows(&statement.text(" AND holder = '' FOR UPDATE")).await?;
        let read = |row: &SqlRow| -> Result<BudgetLimit, sqlx::Error> {
            let int = |at| row.int(at).map(Option::unwrap_or_default);
            Ok(BudgetLimit { per_mille: int(0)?, changed_at: int(1)?, now: int(2)? })
        };
        rows.first().map(read).transpose()
    }

    async fn make(&self, open: &mut SqlTransaction, budget: &str) -> Result<(), sqlx::Error> {
        let statement = self.database.statement("INSERT INTO sluice_budgets (budget, holder, job) VALUES (");
        let statement = statement.bind(budget).text(", '', '')");
        // Two replicas that begin together: the second one waits for the first and finds its row.
        open.execute(&statement.text(self.database.dialect().unless_budgeted())).await.map(drop)
    }

    async fn leases(&self, open: &mut SqlTransaction, budget: &str) -> Result<Vec<Lease>, sqlx::Error> {
        let statement = self.database.statement(
            "SELECT holder, job, tokens, wanted, total, lease_until FROM sluice_budgets WHERE budget = ",
        );
        let rows = open.rows(&statement.bind(budget).text(" AND holder <> ''")).await?;
        let read = |row: &SqlRow| -> Result<Lease, sqlx::Error> {
            let int = |at| row.int(at).map(Option::unwrap_or_default);
            let want = BudgetDemand {
                holder: row.text(0)?.unwrap_or_default(),
                job: row.text(1)?.unwrap_or_default(),
                tokens: u32::try_from(int(3)?).unwrap_or(0),
            };
            Ok(Lease { want, tokens: int(2)?, total: int(4)?, until: int(5)? })
        };
        rows.iter().map(read).collect()
    }

    async fn write(
        &self,
        open: &mut SqlTransaction,
        request: &BudgetRequest<'_>,
        tokens: u32,
        now: i64,
    ) -> Result<(), sqlx::Error> {
        let (tokens, wanted) = (i64::from(tokens), i64::from(request.wanted));
        let (total, until) = (i64::from(request.total), now.saturating_add(millis(request.lease)));
        let statement = self.database.statement("UPDATE sluice_budgets SET tokens = ").bind(tokens);
        let statement = statement.text(", wanted = ").bind(wanted).text(", total = ").bind(total);
        let statement = statement.text(", lease_until = ").bind(until).text(", job = ");
        let statement = statement.bind(self.job.as_str()).text(" WHERE budget = ").bind(request.budget);
        let statement = statement.text(" AND holder = ").bind(self.holder.as_str());
        if open.execute(&statement).await? == 1 {
            return Ok(());
        }
        let statement = self.database.statement(
            "INSERT INTO sluice_budgets (budget, holder, job, tokens, wanted, total, lease_until) VALUES (",
        );
        let statement = statement.bind(request.budget).text(", ").bind(self.holder.as_str()).text(", ");
        let statement = statement.bind(self.job.as_str()).text(", ").bind(tokens).text(", ").bind(wanted);
        let statement = statement.text(", ").bind(total).text(", ").bind(until).text(")");
        open.execute(&statement).await.map(drop)
    }

    fn want(&self, request: &BudgetRequest<'_>) -> BudgetDemand {
        BudgetDemand { job: self.job.clone(), holder: self.holder.clone(), tokens: request.wanted }
    }
}

impl BudgetLimit {
    /// What one replica's news change of it.
    fn after(self, request: &BudgetRequest<'_>) -> Self {
        let rested = self.now - self.changed_at;
        if request.refused > 0 && rested >= STEP {
            let per_mille = (self.per_mille * CUT / 1_000).max(FLOOR);
            return Self { per_mille, changed_at: self.now, now: self.now };
        }
        if request.refused == 0 && rested >= STEP && self.per_mille < 1_000 {
            let grown = self.per_mille + GROWTH * (rested / STEP).min(20);
            return Self { per_mille: grown.min(1_000), changed_at: self.now, now: self.now };
        }
        self
    }
}

/// A fair share, and no more than the others leave.
fn grant(live: &[Lease], own: &BudgetDemand, request: &BudgetRequest<'_>, per_mille: i64, turn: i64) -> u32 {
    let others: Vec<&Lease> = live.iter().filter(|lease| lease.want.holder != own.holder).collect();
    let declared = others.iter().filter(|lease| lease.want.tokens > 0).map(|lease| lease.total);
    let total = declared.chain([i64::from(request.total)]).min().unwrap_or(0);
    let total = u32::try_from((total * per_mille / 1_000).max(1)).unwrap_or(u32::MAX);
    let wants: Vec<BudgetDemand> =
        others.iter().map(|lease| lease.want.clone()).chain(std::iter::once(own.clone())).collect();
    let share = shares(total, &wants, u64::try_from(turn).unwrap_or(0)).last().copied().unwrap_or(0);
    let taken: i64 = others.iter().map(|lease| lease.tokens).sum();
    share.min(u32::try_from(i64::from(total) - taken).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(wanted: u32) -> BudgetRequest<'static> {
        let lease = Duration::from_secs(5);
        BudgetRequest { budget: "b", total: 100, wanted, held: 0, refused: 0, lease }
    }

    fn lease(holder: &str, tokens: i64, wanted: u32) -> Lease {
        let want = BudgetDemand { job: "j".into(), holder: holder.into(), tokens: wanted };
        Lease { want, tokens, total: 100, until: 0 }
    }

    #[test]
    fn nobody_is_given_what_another_holds() {
        let own = BudgetDemand { job: "j".into(), holder: "me".into(), tokens: 100 };
        let given = |live: &[Lease]| grant(live, &own, &request(100), 1_000, 0);
        assert_eq!(given(&[]), 100);
        assert_eq!(given(&[lease("me", 100, 100)]), 100);
        assert_eq!(given(&[lease("other", 100, 100)]), 0, "it must shrink first");
        assert_eq!(given(&[lease("other", 60, 100)]), 40);
        assert_eq!(given(&[lease("other", 50, 100)]), 50);
        assert_eq!(given(&[lease("other", 10, 10)]), 90);
        assert_eq!(given(&[lease("gone", 7, 0)]), 93, "what is still in use counts");
    }

    #[test]
    fn the_lowest_declared_limit_counts() {
        let own = BudgetDemand { job: "j".into(), holder: "me".into(), tokens: 100 };
        let low = Lease { total: 30, ..lease("other", 15, 100) };
        assert_eq!(grant(&[low], &own, &request(100), 1_000, 0), 15);
        assert_eq!(grant(&[], &own, &request(100), 1, 0), 1, "never nothing");
    }

    #[test]
    fn refusals_cut_the_limit_and_time_mends_it() {
        let limit = BudgetLimit { per_mille: 1_000, changed_at: 0, now: 5_000 };
        let cut = limit.after(&BudgetRequest { refused: 3, ..request(1) });
        assert_eq!((cut.per_mille, cut.changed_at), (700, 5_000));
        let same = BudgetLimit { now: 5_500, ..cut }.after(&BudgetRequest { refused: 3, ..request(1) });
        assert_eq!(same.per_mille, 700, "one burst of refusals is one cut");
        let later = BudgetLimit { now: 7_100, ..same }.after(&request(1));
        assert_eq!(later.per_mille, 800);
    }
}
