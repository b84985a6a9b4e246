//! Taking ids: the claim transaction.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::database::{SqlDatabase, SqlRow, SqlStatement, SqlTransaction};
use crate::error::transient;
use crate::{LeaseError, SharedBudgets, SideTableState, SqlDialect};

/// How often statements that the server rolled back by itself (deadlock) are sent again before it is an error.
pub(crate) const RESENDS: u32 = 5;

/// Runs `$op` again after a deadlock; any other error is wrapped with what was being done.
macro_rules! resent {
    ($doing:literal, $op:expr) => {{
        let mut resends = 0;
        loop {
            match $op.await {
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
    /// The priorities that rows have, highest first, as of the last enrolment.
    classes: Arc<RwLock<Vec<i64>>>,
}

/// Where ids come from: a table of the user's, only ever read.
#[derive(Debug, Clone, Default)]
pub struct ClaimSource {
    /// Table, `schema.table` allowed.
    pub table: String,
    /// Column of the id; any type that casts to text of at most 255 characters. Null ids are left out.
    pub id_column: String,
    /// An SQL condition on the table's columns, as the operator wrote it.
    pub condition: Option<String>,
    /// Column of times: an id is due when its time has come, and again when the column says another one; null is never.
    /// Without it an id is due when it is first seen.
    pub due_column: Option<String>,
    /// Column of whole numbers: ids with a higher one are taken first; null is 0.
    pub priority_column: Option<String>,
}

/// On what terms ids are taken.
#[derive(Debug, Clone)]
pub struct ClaimTerms {
    /// Who takes them; for the collector the transactional id of its producer. Holds no comma.
    pub holder: String,
    /// How long a claim lasts without a heartbeat.
    pub lease: Duration,
    /// An id that was taken this often without getting a page further is dead.
    pub attempts: u32,
}

/// An id that is ours until its lease passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdClaim {
    /// The id, as text.
    pub id: String,
    /// Proof of the claim: every write about the id names it.
    pub fence: i64,
    /// Which attempt since it last got further, from 1.
    pub attempt: u32,
    /// Which round over the id, from 1; grows when a done id becomes due again.
    pub run: i64,
    /// Where to go on, as the last holder wrote it; `None` is the beginning. Opaque here.
    pub next_page: Option<String>,
    /// What was done for the id in this run so far.
    pub tally: ClaimTally,
    /// Holders whose leases had passed and who may still be alive, if the id was taken over rather than due: the last
    /// one, and those before it whom nobody got round to [`JobClaims::taken_over`].
    pub taken_from: Vec<String>,
    /// How long before this claim somebody last wrote that the id got further (or that it was due), on the database's
    /// clock: what holders since then have done is younger than that.
    pub unwritten: Duration,
}

/// What was done for one id in one run.
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

/// More than one process ever holds: a claim's worth and what it works on. Postgres binds 65,535 values at most.
const OWN_AT_MOST: u32 = 50_000;

const COLUMNS: &str =
    "id, fence, attempt, run, next_page, pages, records, rejects, bytes, owed, state, holder, ";

/// Written before `state` and `holder` (MySQL reads what was assigned to its left): whoever holds the row now is owed
/// a fencing, and so are those before it, until [`JobClaims::taken_over`]. Without this memory a process that took an id
/// over and died before it fenced the old holder would leave nobody who knows of it.
const OWE: &str = "owed = CASE WHEN state <> 'claimed' THEN owed WHEN owed IS NULL THEN holder \
                   ELSE CONCAT(owed, ',', holder) END, ";

impl JobClaims {
    /// Connects to the database at `url` (`mysql://`, `mariadb://`, `postgres://`) with at most `connections`.
    pub async fn connect(url: &str, job: &str, connections: u32) -> Result<Self, LeaseError> {
        let classes = Arc::new(RwLock::new(vec![0]));
        Ok(Self { database: SqlDatabase::connect(url, connections).await?, job: job.to_owned(), classes })
    }

    /// The server's dialect.
    pub fn dialect(&self) -> SqlDialect {
        self.database.dialect()
    }

    /// Creates the side tables and their index unless they are there, and brings those of an earlier version up to date;
    /// refuses a server without SKIP LOCKED.
    pub async fn migrate(&self) -> Result<(), LeaseError> {
        let dialect = self.dialect();
        let asked = self.database.rows(&self.database.statement("SELECT version()")).await;
        let rows = asked.map_err(LeaseError::while_doing("asking the database for its version"))?;
        let found = rows.first().and_then(|row| row.text(0).ok().flatten()).unwrap_or_default();
        if let Some(needed) = dialect.too_old(&found) {
            return Err(LeaseError::TooOld { found, needed });
        }
        if self.side_table().await? == SideTableState::Older {
            for text in dialect.upgrade() {
                if let Err(source) = self.database.define(text).await {
                    // Another worker may have done it meanwhile.
                    if self.side_table().await? == SideTableState::There {
                        break;
                    }
                    return Err(LeaseError::Database { doing: "bringing sluice_claims up to date", source });
                }
            }
        }
        for text in dialect.migration() {
            let mut resends = 0;
            loop {
                match self.database.define(text).await {
                    Ok(()) => break,
                    // Two workers that start together: Postgres lets both try to create, and refuses one late.
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

    /// Takes at most `most` ids: first those whose holder let its lease pass, then those that are due, oldest first.
    /// Passed leases beyond the attempt cap become dead instead. One short transaction.
    pub async fn claim(&self, most: u32, terms: &ClaimTerms) -> Result<Vec<IdClaim>, LeaseError> {
        resent!("claiming ids", self.claim_once(most, terms))
    }

    /// Takes back ids that are still in the holder's own name from an earlier life, however long their leases run.
    /// All of them at once, and only before the holder claims anything else in this life: a second call would take what
    /// the first one took. Attempts count, and are capped.
    pub async fn claim_back(&self, terms: &ClaimTerms) -> Result<Vec<IdClaim>, LeaseError> {
        resent!("taking own ids back", self.claim_back_once(terms))
    }

    /// Limits shared through the same database and connections.
    pub fn budgets(&self, holder: &str) -> SharedBudgets {
        SharedBudgets { database: self.database.clone(), job: self.job.clone(), holder: holder.to_owned() }
    }

    pub(crate) fn classes(&self) -> Vec<i64> {
        self.classes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_classes(&self, classes: Vec<i64>) {
        *self.classes.write().unwrap_or_else(PoisonError::into_inner) = classes;
    }

    /// Closes the connections.
    pub async fn close(&self) {
        self.database.close().await;
    }

    async fn claim_once(&self, most: u32, terms: &ClaimTerms) -> Result<Vec<IdClaim>, sqlx::Error> {
        let mut open = self.database.begin().await?;
        let left = |taken: &[IdClaim]| most.saturating_sub(u32::try_from(taken.len()).unwrap_or(u32::MAX));
        let (mut spent, mut taken) = (Vec::new(), Vec::new());
        let classes = self.classes();
        for class in &classes {
            let passed = self.candidates("claimed").text(" AND priority = ").bind(*class);
            let passed = passed.text(" AND due_at <= ").now();
            let (beyond, again) = self.held(&mut open, passed, left(&taken), terms).await?;
            spent.extend(beyond);
            taken.extend(again);
        }
        for class in &classes {
            if left(&taken) == 0 {
                break;
            }
            for row in open.rows(&self.due(*class, left(&taken))).await? {
                taken.push(read(&row)?);
            }
        }
        self.bury(&mut open, spent).await?;
        self.take(&mut open, &mut taken, terms).await?;
        open.commit().await?;
        Ok(taken)
    }

    async fn claim_back_once(&self, terms: &ClaimTerms) -> Result<Vec<IdClaim>, sqlx::Error> {
        let mut open = self.database.begin().await?;
        let own = self.candidates("claimed").text(" AND holder = ").bind(terms.holder.as_str());
        let (spent, mut taken) = self.held(&mut open, own, OWN_AT_MOST, terms).await?;
        self.bury(&mut open, spent).await?;
        self.take(&mut open, &mut taken, terms).await?;
        open.commit().await?;
        Ok(taken)
    }

    /// Locks rows that someone holds; splits off those that are past the attempt cap.
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

    /// The first due ids of one priority, locked.
    pub(crate) fn due(&self, class: i64, most: u32) -> SqlStatement {
        let due = self.candidates("due").text(" AND priority = ").bind(class);
        first(due.text(" AND due_at <= ").now(), most)
    }

    fn candidates(&self, state: &str) -> SqlStatement {
        let statement = self.database.statement(&format!("SELECT {COLUMNS}")).now();
        let statement = statement.text(" - updated_at FROM sluice_claims WHERE job = ");
        statement.bind(self.job.as_str()).text(&format!(" AND state = '{state}'"))
    }

    async fn take(
        &self,
        open: &mut SqlTransaction,
        taken: &mut [IdClaim],
        terms: &ClaimTerms,
    ) -> Result<(), sqlx::Error> {
        if taken.is_empty() {
            return Ok(());
        }
        let mut ids: Vec<&str> = taken.iter().map(|claim| claim.id.as_str()).collect();
        ids.sort_unstable();
        let lease = millis(terms.lease);
        let statement = self.database.statement("UPDATE sluice_claims SET ").text(OWE);
        // Taking an id over is no progress: whoever takes it next must still know since when nobody wrote of any.
        let statement = statement
            .text("updated_at = CASE WHEN state = 'claimed' OR owed IS NOT NULL THEN updated_at ELSE ")
            .now();
        let statement = statement.text(" END, state = 'claimed', fence = fence + 1, ");
        let statement = statement.text("attempt = attempt + 1, holder = ").bind(terms.holder.as_str());
        let statement = statement.text(", lease_until = ").now().text(" + ").bind(lease);
        let statement = statement.text(", due_at = ").now().text(" + ").bind(lease);
        let statement = statement.text(" WHERE job = ").bind(self.job.as_str());
        let statement = statement.text(" AND id IN (").list(&ids, |s, id| s.bind(*id)).text(")");
        let marked = open.execute(&statement).await?;
        if marked != ids.len() as u64 {
            // We hold the rows' locks: only a trigger or a rule of someone else's can do this.
            return Err(sqlx::Error::Protocol(format!("{marked} of {} locked rows were marked", ids.len())));
        }
        for claim in taken {
            claim.fence += 1;
            claim.attempt += 1;
        }
        Ok(())
    }

    async fn bury(&self, open: &mut SqlTransaction, spent: Vec<IdClaim>) -> Result<(), sqlx::Error> {
        for claim in spent {
            let holder = claim.taken_from.last().map_or("?", String::as_str);
            let reason = format!("no page further in {} attempts, last held by {holder}", claim.attempt);
            let statement = self.database.statement("UPDATE sluice_claims SET ").text(OWE);
            let statement = statement.text("state = 'dead', fence = fence + 1, ");
            let statement = statement.text("lease_until = NULL, reason = ").bind(reason.as_str());
            let statement =
                statement.text(", updated_at = ").now().text(" WHERE job = ").bind(self.job.as_str());
            let statement = statement.text(" AND id = ").bind(claim.id.as_str());
            open.execute(&statement).await?;
        }
        Ok(())
    }
}

/// The first rows by age, locked; rows that another claimer has locked are passed over.
fn first(statement: SqlStatement, most: u32) -> SqlStatement {
    statement.text(" ORDER BY due_at, id LIMIT ").bind(i64::from(most)).text(" FOR UPDATE SKIP LOCKED")
}

/// Milliseconds, as the table keeps times.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}

fn read(row: &SqlRow) -> Result<IdClaim, sqlx::Error> {
    let int = |at| row.int(at).map(Option::unwrap_or_default);
    let owed = row.text(9)?.unwrap_or_default();
    let mut taken_from: Vec<String> =
        owed.split(',').filter(|holder| !holder.is_empty()).map(str::to_owned).collect();
    // A holder's name on a row that is not claimed is history: it let go by itself, or stands among the owed.
    if row.text(10)?.as_deref() == Some("claimed") {
        taken_from.extend(row.text(11)?);
    }
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

/// Postgres: the relation or its row type was created by another session in the same moment.
fn created_meanwhile(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    error.code().is_some_and(|code| matches!(&*code, "23505" | "42P07"))
}
