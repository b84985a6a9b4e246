//! Taking ids: the claim transaction.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tracing::Instrument as _;

use crate::database::{SqlDatabase, SqlRow, SqlStatement, SqlTransaction};
use crate::error::transient;
use crate::{LeaseError, SharedBudgets, SideTableState, SqlDialect};

/// How often statements are sent again after the server rolled them back itself (deadlock). After that the
/// error is returned.
pub(crate) const RESENDS: u32 = 5;

/// Runs `$op` again after a deadlock. Any other error is returned with the action that failed.
macro_rules! resent {
    ($doing:literal, $op:expr) => {{
        let mut resends = 0;
        loop {
            match $op.await {
                // The pause doubles from 10 ms, for the other transaction to finish first.
                Err(error) if resends < $crate::claims::RESENDS && $crate::error::transient(&error) => {
                    resends += 1;
                    tokio::time::sleep(std::time::Duration::from_millis(5 << resends)).await;
                }
                other => break other.map_err($crate::LeaseError::while_doing($doing)),
            }
        }
    }};
}
pub(crate) use resent;

/// The claims of one job.
#[derive(Clone)]
pub struct JobClaims {
    pub(crate) database: SqlDatabase,
    pub(crate) job: String,
    /// The priorities of the rows, highest first, as of the last enrolment.
    classes: Arc<RwLock<Vec<i64>>>,
}

/// The user's table that ids come from. It is only read.
#[derive(Debug, Clone, Default)]
pub struct ClaimSource {
    /// Name of the table; `schema.table` is allowed.
    pub table: String,
    /// Column of the id: any type that casts to text of at most 255 characters. Rows with a null id are left
    /// out.
    pub id_column: String,
    /// The text form of a column of bytes. A column of bytes without one is refused.
    pub id_format: Option<IdFormat>,
    /// An SQL condition on the table's columns, as the operator wrote it.
    pub condition: Option<String>,
    /// Column of times. An id is due at its time, and again after the column has changed to another time. An
    /// id with a null time is never due. Without this column an id is due as soon as it is enrolled.
    pub due_column: Option<String>,
    /// Column of whole numbers. Ids with a higher number are taken first; null counts as 0.
    pub priority_column: Option<String>,
}

/// The text form of an id whose column holds bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdFormat {
    /// The bytes are text.
    Text,
    /// 16 bytes are a uuid in the order of its digits; other lengths are hexadecimal digits.
    Uuid,
    /// Hexadecimal digits in lower case.
    Hex,
}

/// The terms on which a process takes ids.
#[derive(Debug, Clone)]
pub struct ClaimTerms {
    /// Name of the holder: for the collector, the transactional id of its producer. It holds no comma.
    pub holder: String,
    /// How long a claim is valid without a heartbeat.
    pub lease: Duration,
    /// An id that was claimed this often without getting a page further is dead.
    pub attempts: u32,
    /// Only ids whose run was due by then are claimed, in milliseconds since the epoch; `None` is now. A run that
    /// ends by itself takes what was due at its start. An id that is due again while it runs is for the next one.
    pub due_until: Option<i64>,
}

/// An id that this process holds until its lease passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdClaim {
    /// The id, as text.
    pub id: String,
    /// Proof of the claim. Every write about the id names it.
    pub fence: i64,
    /// Number of the attempt since the id last got further, from 1.
    pub attempt: u32,
    /// Number of the run over the id, from 1. It grows when a done id becomes due again.
    pub run: i64,
    /// The position to go on from, as the last holder wrote it; `None` is the beginning. This crate does not
    /// read it.
    pub next_page: Option<String>,
    /// The work done for the id in this run until now.
    pub tally: ClaimTally,
    /// Former holders whose leases have passed and who may still be alive. Filled only if the id was taken
    /// over. The last one is the most recent; those before it were never reported to
    /// [`JobClaims::taken_over`].
    pub taken_from: Vec<String>,
    /// Time between the last write that the id got further (or was due) and this claim, on the database's
    /// clock. Everything that former holders have done since then is younger than that.
    pub unwritten: Duration,
}

/// The work done for one id in one run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClaimTally {
    /// Pages published.
    pub pages: i64,
    /// Records published.
    pub records: i64,
    /// Records that went to the dead-letter topic.
    pub rejects: i64,
    /// Bytes of page bodies, decompressed.
    pub bytes: i64,
}

/// An upper bound for the ids that one process holds: those of one claim and those it works on. Postgres
/// binds at most 65,535 values in a statement.
const OWN_AT_MOST: u32 = 50_000;

/// The columns that `read` expects, in its order; the age of the last write follows them.
const COLUMNS: &str =
    "id, fence, attempt, run, next_page, pages, records, rejects, bytes, owed, state, holder, ";

/// Adds the present holder to the holders that still have to be fenced. The list stays until
/// [`JobClaims::taken_over`]. It is assigned before `state` and `holder`, because MySQL reads the values that
/// were assigned further left in the same statement. Without this list the knowledge of an old holder would
/// be lost when its successor dies before fencing it.
const OWE: &str = "owed = CASE WHEN state <> 'claimed' THEN owed WHEN owed IS NULL THEN holder \
                   ELSE CONCAT(owed, ',', holder) END, ";

/// Remembers the time at which the run was due, until it is complete. It is assigned before `state` and `due_at`,
/// like [`OWE`].
const BEGIN_RUN: &str =
    "due_from = CASE WHEN state = 'claimed' THEN due_from ELSE COALESCE(due_from, due_at) END, ";

impl JobClaims {
    /// Connects to the database at `url` (`mysql://`, `mariadb://`, `postgres://`) with at most
    /// `connections`.
    ///
    /// # Errors
    /// [`LeaseError::Scheme`] for another scheme, and the database's errors.
    pub async fn connect(url: &str, job: &str, connections: u32) -> Result<Self, LeaseError> {
        // Priority 0 is always in the list; the others are read at enrolment.
        let classes = Arc::new(RwLock::new(vec![0]));
        Ok(Self { database: SqlDatabase::connect(url, connections).await?, job: job.to_owned(), classes })
    }

    /// Returns whether a pooler gives each transaction another connection of Postgres, as PgBouncer does in
    /// transaction mode.
    pub fn is_pooled(&self) -> bool {
        self.database.is_pooled()
    }

    /// Returns the server's dialect.
    pub fn dialect(&self) -> SqlDialect {
        self.database.dialect()
    }

    /// Creates the side tables and their index unless they exist, and upgrades those of an earlier version.
    ///
    /// # Errors
    /// [`LeaseError::TooOld`] for a server without `SKIP LOCKED`, and the database's errors.
    pub async fn migrate(&self) -> Result<(), LeaseError> {
        // A server without SKIP LOCKED is refused before anything is created in it.
        let dialect = self.dialect();
        let asked = self.database.rows(&self.database.statement("SELECT version()")).await;
        let rows = asked.map_err(LeaseError::while_doing("reading the version of the database"))?;
        let found = rows.first().and_then(|row| row.text(0).ok().flatten()).unwrap_or_default();
        if let Some(needed) = dialect.too_old(&found) {
            return Err(LeaseError::TooOld { found, needed });
        }

        // The table of an earlier version gets its new columns before the index on them is created.
        if self.side_table().await? == SideTableState::Older {
            for (column, statements) in dialect.upgrade() {
                self.upgrade_step(column, statements).await?;
            }
        }

        // Every statement can be repeated, and a later version may have added a table.
        for text in dialect.migration() {
            let mut resends = 0;
            loop {
                match self.database.define(text).await {
                    Ok(()) => break,
                    // Two workers started together: Postgres lets both create the table and refuses one of
                    // them late.
                    Err(error) if resends < RESENDS && (transient(&error) || created_meanwhile(&error)) => {
                        resends += 1;
                    }
                    Err(source) => {
                        return Err(LeaseError::Database {
                            doing: "creating the tables sluice_claims and sluice_budgets",
                            source,
                        });
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes at most `most` ids in one short transaction: first those whose lease has passed, then those that
    /// are due, oldest first. Ids with passed leases that have used up their attempts become dead instead.
    ///
    /// # Errors
    /// The database's errors. Nothing is claimed then, or the claims pass by themselves.
    pub async fn claim(&self, most: u32, terms: &ClaimTerms) -> Result<Vec<IdClaim>, LeaseError> {
        let span = tracing::debug_span!("claim", job = self.job, most);
        async { resent!("claiming ids", self.claim_once(most, terms)) }.instrument(span).await
    }

    /// Takes back ids that are still in this holder's name from an earlier life, even if their leases have
    /// not passed. It takes all of them at once. Call it only before the holder claims anything else in this
    /// life, because a second call would take the ids of the first one. The attempts count, and ids that have
    /// used them up become dead.
    ///
    /// # Errors
    /// The database's errors.
    pub async fn claim_back(&self, terms: &ClaimTerms) -> Result<Vec<IdClaim>, LeaseError> {
        let span = tracing::debug_span!("claim", job = self.job, most = OWN_AT_MOST);
        async { resent!("taking own ids back", self.claim_back_once(terms)) }.instrument(span).await
    }

    /// Returns the budgets that are shared through the same database and connections.
    pub fn budgets(&self, holder: &str) -> SharedBudgets {
        SharedBudgets { database: self.database.clone(), job: self.job.clone(), holder: holder.to_owned() }
    }

    /// Returns the priorities of the rows, highest first, as of the last enrolment.
    pub(crate) fn classes(&self) -> Vec<i64> {
        self.classes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the list of priorities after an enrolment.
    pub(crate) fn set_classes(&self, classes: Vec<i64>) {
        *self.classes.write().unwrap_or_else(PoisonError::into_inner) = classes;
    }

    /// Closes the connections.
    pub async fn close(&self) {
        self.database.close().await;
    }

    /// Runs the claim transaction once.
    async fn claim_once(&self, most: u32, terms: &ClaimTerms) -> Result<Vec<IdClaim>, sqlx::Error> {
        let mut open = self.database.begin().await?;
        let left = |taken: &[IdClaim]| most.saturating_sub(u32::try_from(taken.len()).unwrap_or(u32::MAX));
        let (mut spent, mut taken) = (Vec::new(), Vec::new());

        // Passed leases come first, by priority. Those without attempts left are set aside and take no room.
        let classes = self.classes();
        for class in &classes {
            let passed = self.candidates("claimed").text(" AND priority = ").bind(*class);
            let passed = passed.text(" AND due_at <= ").now();
            let (beyond, again) = self.held(&mut open, passed, left(&taken), terms).await?;
            spent.extend(beyond);
            taken.extend(again);
        }

        // Due ids fill the rest of the claim.
        for class in &classes {
            if left(&taken) == 0 {
                break;
            }
            for row in open.rows(&self.due(*class, left(&taken), terms.due_until)).await? {
                taken.push(read(&row)?);
            }
        }

        // The rows are locked; they are marked as dead or as ours before the locks go.
        self.bury(&mut open, spent).await?;
        self.take(&mut open, &mut taken, terms).await?;
        open.commit().await?;
        Ok(taken)
    }

    /// Runs the transaction of [`JobClaims::claim_back`] once.
    async fn claim_back_once(&self, terms: &ClaimTerms) -> Result<Vec<IdClaim>, sqlx::Error> {
        let mut open = self.database.begin().await?;
        let own = self.candidates("claimed").text(" AND holder = ").bind(terms.holder.as_str());
        let (spent, mut taken) = self.held(&mut open, own, OWN_AT_MOST, terms).await?;
        self.bury(&mut open, spent).await?;
        self.take(&mut open, &mut taken, terms).await?;
        open.commit().await?;
        Ok(taken)
    }

    /// Locks claimed rows. Returns first the ids that have used up their attempts, then the others.
    async fn held(
        &self,
        open: &mut SqlTransaction,
        rows: SqlStatement,
        most: u32,
        terms: &ClaimTerms,
    ) -> Result<(Vec<IdClaim>, Vec<IdClaim>), sqlx::Error> {
        let rows = open.rows(&first(rows, most)).await?;
        let rows = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        Ok(rows.into_iter().partition(|claim| claim.attempt >= terms.attempts))
    }

    /// Returns the statement that locks the first due ids of one priority.
    pub(crate) fn due(&self, class: i64, most: u32, until: Option<i64>) -> SqlStatement {
        let due = self.candidates("due").text(" AND priority = ").bind(class);
        let due = match until {
            None => due.text(" AND due_at <= ").now(),
            Some(until) => {
                // A run that was begun has the time of its retry in `due_at`. One that was not may come a little
                // before its time.
                let due = due.text(" AND due_at <= GREATEST(").now().text(", ").bind(until);
                let due = due.text(") AND (due_at <= ").now().text(" OR due_from IS NULL)");
                due.text(" AND COALESCE(due_from, due_at) <= ").bind(until)
            }
        };
        first(due, most)
    }

    /// Returns the database's clock in milliseconds since the epoch.
    ///
    /// # Errors
    /// The database's errors.
    pub async fn clock(&self) -> Result<i64, LeaseError> {
        let statement = self.database.statement("SELECT ").now();
        let rows = resent!("reading the clock", self.database.rows(&statement))?;
        let now = rows.first().map(|row| row.int(0)).transpose();
        now.map(|now| now.flatten().unwrap_or(0)).map_err(LeaseError::while_doing("reading the clock"))
    }

    /// Runs one step of an upgrade, unless the table has its column.
    async fn upgrade_step(&self, column: &str, statements: &[&'static str]) -> Result<(), LeaseError> {
        if self.has_column(column).await? {
            return Ok(());
        }
        for text in statements {
            if let Err(source) = self.database.define(text).await {
                // Another worker may have upgraded the table in the meantime.
                if self.has_column(column).await? {
                    break;
                }
                return Err(LeaseError::Database { doing: "upgrading the table sluice_claims", source });
            }
        }
        Ok(())
    }

    /// Returns the beginning of a statement that reads this job's rows in one state.
    fn candidates(&self, state: &str) -> SqlStatement {
        let statement = self.database.statement(&format!("SELECT {COLUMNS}")).now();
        let statement = statement.text(" - updated_at FROM sluice_claims WHERE job = ");
        statement.bind(self.job.as_str()).text(&format!(" AND state = '{state}'"))
    }

    /// Marks the locked rows as claimed by this holder, and the claims with their new fence and attempt.
    async fn take(
        &self,
        open: &mut SqlTransaction,
        taken: &mut [IdClaim],
        terms: &ClaimTerms,
    ) -> Result<(), sqlx::Error> {
        if taken.is_empty() {
            return Ok(());
        }

        // Sorted, as every statement about several rows: two processes then never wait for each other.
        let mut ids: Vec<&str> = taken.iter().map(|claim| claim.id.as_str()).collect();
        ids.sort_unstable();

        // Former holders go into the list of those that still have to be fenced.
        let lease = millis(terms.lease);
        let statement = self.database.statement("UPDATE sluice_claims SET ").text(BEGIN_RUN).text(OWE);
        // A takeover is no progress. The next holder must still learn since when no progress was written.
        let statement = statement
            .text("updated_at = CASE WHEN state = 'claimed' OR owed IS NOT NULL THEN updated_at ELSE ")
            .now();
        let statement = statement.text(" END, state = 'claimed', fence = fence + 1, ");
        let statement = statement.text("attempt = attempt + 1, holder = ").bind(terms.holder.as_str());
        let statement = statement.text(", lease_until = ").now().text(" + ").bind(lease);
        let statement = statement.text(", due_at = ").now().text(" + ").bind(lease);
        let statement = statement.text(" WHERE job = ").bind(self.job.as_str());
        let statement = statement.text(" AND id IN (").list(&ids, |s, id| s.bind(*id)).text(")");

        // The number of changed rows proves that every claim is marked.
        let marked = open.execute(&statement).await?;
        if marked != ids.len() as u64 {
            // This transaction holds the rows' locks: only a foreign trigger or rule can change the number.
            return Err(sqlx::Error::Protocol(format!(
                "sluice_claims: expected to mark {} locked rows, marked {marked}; is there a trigger?",
                ids.len()
            )));
        }

        // The same increments as in the statement above.
        for claim in taken {
            claim.fence += 1;
            claim.attempt += 1;
        }
        Ok(())
    }

    /// Marks ids that have used up their attempts as dead, with the reason.
    async fn bury(&self, open: &mut SqlTransaction, spent: Vec<IdClaim>) -> Result<(), sqlx::Error> {
        for claim in spent {
            // The row of a claimed id always has a holder; `?` is for rows that were edited by hand.
            let holder = claim.taken_from.last().map_or("?", String::as_str);
            let reason = format!("no progress in {} attempts; last held by {holder}", claim.attempt);
            let statement = self.database.statement("UPDATE sluice_claims SET ").text(OWE);
            let statement = statement.text("state = 'dead', fence = fence + 1, due_from = NULL, ");
            let statement = statement.text("lease_until = NULL, reason = ").bind(reason.as_str());
            let statement =
                statement.text(", updated_at = ").now().text(" WHERE job = ").bind(self.job.as_str());
            let statement = statement.text(" AND id = ").bind(claim.id.as_str());
            open.execute(&statement).await?;
        }
        Ok(())
    }
}

/// Completes a statement so that it locks the first rows by age. Rows that another claimer has locked are
/// passed over.
fn first(statement: SqlStatement, most: u32) -> SqlStatement {
    statement.text(" ORDER BY due_at, id LIMIT ").bind(i64::from(most)).text(" FOR UPDATE SKIP LOCKED")
}

/// Returns a duration in milliseconds, the unit of the table's times. The bound leaves room for the sum with
/// a time.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}

/// Reads a row of [`COLUMNS`].
fn read(row: &SqlRow) -> Result<IdClaim, sqlx::Error> {
    let int = |at| row.int(at).map(Option::unwrap_or_default);

    // Former holders that still have to be fenced, oldest first.
    let owed = row.text(9)?.unwrap_or_default();
    let mut taken_from: Vec<String> =
        owed.split(',').filter(|holder| !holder.is_empty()).map(str::to_owned).collect();

    // The holder's name counts only on a claimed row. On any other row it is history: the holder let go by
    // itself, or it is in the list already.
    if row.text(10)?.as_deref() == Some("claimed") {
        taken_from.extend(row.text(11)?);
    }

    // A holder that lost the same id twice is fenced once.
    let mut seen = std::collections::HashSet::new();
    taken_from.retain(|holder| seen.insert(holder.clone()));

    Ok(IdClaim {
        id: row.text(0)?.unwrap_or_default(),
        fence: int(1)?,
        attempt: u32::try_from(int(2)?).unwrap_or(u32::MAX),
        run: int(3)?,
        next_page: row.text(4)?,
        tally: ClaimTally { pages: int(5)?, records: int(6)?, rejects: int(7)?, bytes: int(8)? },
        taken_from,
        unwritten: Duration::from_millis(u64::try_from(int(12)?).unwrap_or(0)),
    })
}

/// Returns whether another session created the relation or its row type in the same moment (Postgres 42P07,
/// 23505).
fn created_meanwhile(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    error.code().is_some_and(|code| matches!(&*code, "23505" | "42P07"))
}
