//! Budgets that replicas share. A budget is a number of *tokens*. Each replica leases some of them for a few
//! seconds and renews the lease while it works. It sends requests only on tokens that it holds. The database
//! is not asked for every request, and clocks are never compared. A replica that dies gives its tokens back
//! by not renewing.
//!
//! ```text
//!  sluice_budgets    budget       holder   job      tokens  wanted  lease_until hold_until per_mille
//!                    https://api  ''       ''                               (Retry-After)  800   the budget
//!                    https://api  pod-1    flights    40     100    …                             a replica
//!                    https://api  pod-2    flights    40     100    …
//! ```
//!
//! If the API asks one replica to wait, for example for a minute, this is a *hold* on the budget's own row.
//! It is written at once ([`SharedBudgets::hold`]). Every replica reads it by its key before each request,
//! without waiting for a lock ([`SharedBudgets::held`]).
//!
//! Renewals of one budget wait for each other on the budget's own row. The leased tokens never exceed the
//! budget. A replica gets at most the tokens that the other leases leave. It counts as holding the tokens
//! that it may still be using, until it reports a lower number. If a third replica comes, the first two
//! therefore shrink at their next renewal and free the tokens at the renewal after that.

use std::time::Duration;

use crate::LeaseError;
use crate::claims::{millis, resent};
use crate::database::{SqlDatabase, SqlRow, SqlTransaction};
use crate::shares::{BudgetDemand, shares};

/// The budgets that one replica takes part in.
#[derive(Clone)]
pub struct SharedBudgets {
    pub(crate) database: SqlDatabase,
    pub(crate) job: String,
    pub(crate) holder: String,
}

/// The report of a replica at a renewal.
#[derive(Debug, Clone)]
pub struct BudgetRequest<'a> {
    /// Name of the budget.
    pub budget: &'a str,
    /// The budget's size as this replica knows it, in tokens. If replicas differ, the lowest counts.
    pub total: u32,
    /// Tokens that the replica could use.
    pub wanted: u32,
    /// Tokens that the replica may be using now, whatever it is granted.
    pub held: u32,
    /// Requests that the API refused as too many since the last renewal.
    pub refused: u32,
    /// How long the tokens are leased.
    pub lease: Duration,
}

/// After a refusal the budget is cut to this share of itself, in thousandths.
const CUT: i64 = 700;
/// A cut budget grows back by this share of its declared size per second, in thousandths.
const GROWTH: i64 = 50;
/// The lowest share of its declared size that a budget is cut to, in thousandths.
const FLOOR: i64 = 50;
/// Shortest time between two changes of the budget, in milliseconds.
const STEP: i64 = 1_000;
/// Added to every hold, because the table's times are cut to whole milliseconds.
const ROUNDING: Duration = Duration::from_millis(2);
/// Tokens that do not divide evenly go to another replica at this interval, in milliseconds.
const TURN: i64 = 5_000;

/// The budget's own row: its share of the declared size, the time of the last change, and the present time.
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
    /// Renews the lease on one budget's tokens, or takes a first one. Returns the number of tokens to use
    /// from now on.
    ///
    /// # Errors
    /// The database's errors. The tokens of the last grant may be used until their lease passes.
    pub async fn renew(&self, request: &BudgetRequest<'_>) -> Result<u32, LeaseError> {
        resent!("renewing a budget", self.renew_once(request))
    }

    /// Forbids requests on these budgets for this long, for every replica, from the moment it is written. A
    /// longer hold is not shortened. The budgets must have leases.
    ///
    /// # Errors
    /// The database's errors. The other replicas do not learn of the hold then.
    pub async fn hold(&self, budgets: &[&str], hold: Duration) -> Result<(), LeaseError> {
        let hold = millis(hold.saturating_add(ROUNDING));
        let statement =
            self.database.statement("UPDATE sluice_budgets SET hold_until = GREATEST(hold_until, ");
        let statement = statement.now().text(" + ").bind(hold).text(") WHERE holder = '' AND budget IN (");
        let statement = statement.list(budgets, |s, budget| s.bind(*budget)).text(")");
        resent!("writing a hold on budgets", self.database.execute(&statement)).map(drop)
    }

    /// Returns how long from now requests are forbidden: by the longest hold of these budgets. It does not
    /// wait for a renewal.
    ///
    /// # Errors
    /// The database's errors. No request may be sent then, because a hold may exist.
    pub async fn held(&self, budgets: &[&str]) -> Result<Duration, LeaseError> {
        let statement = self.database.statement("SELECT MAX(hold_until) - ").now();
        let statement = statement.text(" FROM sluice_budgets WHERE holder = '' AND budget IN (");
        let statement = statement.list(budgets, |s, budget| s.bind(*budget)).text(")");
        let rows = resent!("reading the holds on budgets", self.database.rows(&statement))?;
        let hold = rows.first().map(|row| row.int(0)).transpose();
        let hold =
            hold.map_err(LeaseError::while_doing("reading the holds on budgets"))?.flatten().unwrap_or(0);
        // A negative difference is a hold that is over.
        Ok(Duration::from_millis(u64::try_from(hold).unwrap_or(0)))
    }

    /// Ends this replica's demand for tokens. The tokens that are still in use stay leased for `tail`.
    ///
    /// # Errors
    /// The database's errors. The lease passes by itself then.
    pub async fn give_back(&self, budget: &str, held: u32, tail: Duration) -> Result<(), LeaseError> {
        let statement = self.database.statement("UPDATE sluice_budgets SET wanted = 0, tokens = ");
        let statement = statement.bind(i64::from(held)).text(", lease_until = ").now().text(" + ");
        let statement = statement.bind(millis(tail)).text(" WHERE budget = ").bind(budget);
        let statement = statement.text(" AND holder = ").bind(self.holder.as_str());
        resent!("giving the tokens of a budget back", self.database.execute(&statement)).map(drop)
    }

    /// Runs the transaction of a renewal once.
    async fn renew_once(&self, request: &BudgetRequest<'_>) -> Result<u32, sqlx::Error> {
        let mut open = self.database.begin().await?;

        // The budget's own row is locked for the whole renewal. The first replica creates it.
        let limit = match self.limit(&mut open, request.budget).await? {
            Some(limit) => limit,
            None => {
                self.make(&mut open, request.budget).await?;
                self.limit(&mut open, request.budget).await?.ok_or(sqlx::Error::RowNotFound)?
            }
        };

        // The other leases, as of the database's clock, decide the grant.
        let now = limit.now;
        let leases = self.leases(&mut open, request.budget).await?;
        let (live, passed): (Vec<_>, Vec<_>) = leases.into_iter().partition(|lease| lease.until > now);
        let limit = limit.after(request);
        let tokens = grant(&live, &self.want(request), request, limit.per_mille, now / TURN);

        // Rows of replicas that no longer renew are removed. Our own is overwritten below.
        if !passed.is_empty() {
            // A first renewal creates the row. The lock on the budget's row keeps others away.
            let statement = self.database.statement("DELETE FROM sluice_budgets WHERE budget = ");
            let statement = statement.bind(request.budget).text(" AND holder <> '' AND holder <> ");
            let statement = statement.bind(self.holder.as_str()).text(" AND lease_until <= ").bind(now);
            open.execute(&statement).await?;
        }

        // The budget's row keeps its new share. Our row counts the tokens that may still be in use.
        let statement = self.database.statement("UPDATE sluice_budgets SET per_mille = ");
        let statement = statement.bind(limit.per_mille).text(", changed_at = ").bind(limit.changed_at);
        let statement = statement.text(" WHERE budget = ").bind(request.budget).text(" AND holder = ''");
        open.execute(&statement).await?;
        self.write(&mut open, request, tokens.max(request.held), now).await?;
        open.commit().await?;
        Ok(tokens)
    }

    /// Reads and locks the budget's own row.
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

    /// Creates the budget's own row.
    async fn make(&self, open: &mut SqlTransaction, budget: &str) -> Result<(), sqlx::Error> {
        let statement = self.database.statement("INSERT INTO sluice_budgets (budget, holder, job) VALUES (");
        let statement = statement.bind(budget).text(", '', '')");
        // If two replicas begin together, the second one waits for the first and finds its row.
        open.execute(&statement.text(self.database.dialect().unless_budgeted())).await.map(drop)
    }

    /// Reads the rows of all replicas, this one's too.
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

    /// Writes this replica's row.
    async fn write(
        &self,
        open: &mut SqlTransaction,
        request: &BudgetRequest<'_>,
        tokens: u32,
        now: i64,
    ) -> Result<(), sqlx::Error> {
        let (tokens, wanted) = (i64::from(tokens), i64::from(request.wanted));
        let (total, until) = (i64::from(request.total), now.saturating_add(millis(request.lease)));

        // The row exists at every renewal but the first, or after others have removed it.
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

    /// Returns this replica's demand.
    fn want(&self, request: &BudgetRequest<'_>) -> BudgetDemand {
        BudgetDemand { job: self.job.clone(), holder: self.holder.clone(), tokens: request.wanted }
    }
}

impl BudgetLimit {
    /// Returns the budget after one replica's report.
    fn after(self, request: &BudgetRequest<'_>) -> Self {
        let rested = self.now - self.changed_at;
        // A burst of refusals is one cut: the next cut waits for `STEP`.
        if request.refused > 0 && rested >= STEP {
            let per_mille = (self.per_mille * CUT / 1_000).max(FLOOR);
            return Self { per_mille, changed_at: self.now, now: self.now };
        }
        // Growth is paid for at most 20 steps at once, which is the whole budget.
        if request.refused == 0 && rested >= STEP && self.per_mille < 1_000 {
            let grown = self.per_mille + GROWTH * (rested / STEP).min(20);
            return Self { per_mille: grown.min(1_000), changed_at: self.now, now: self.now };
        }
        self
    }
}

/// Returns the fair share of this replica, and no more than the other leases leave.
fn grant(live: &[Lease], own: &BudgetDemand, request: &BudgetRequest<'_>, per_mille: i64, turn: i64) -> u32 {
    let others: Vec<&Lease> = live.iter().filter(|lease| lease.want.holder != own.holder).collect();

    // The lowest declared size counts, but only of replicas that still want tokens. Never less than one
    // token.
    let declared = others.iter().filter(|lease| lease.want.tokens > 0).map(|lease| lease.total);
    let total = declared.chain([i64::from(request.total)]).min().unwrap_or(0);
    let total = u32::try_from((total * per_mille / 1_000).max(1)).unwrap_or(u32::MAX);

    // This replica comes last in the list, and so does its share.
    let wants: Vec<BudgetDemand> =
        others.iter().map(|lease| lease.want.clone()).chain(std::iter::once(own.clone())).collect();
    let share = shares(total, &wants, u64::try_from(turn).unwrap_or(0)).last().copied().unwrap_or(0);

    // Tokens that others may still be using are not granted.
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
