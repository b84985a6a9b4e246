//! Writes the progress of many ids in one statement. Pages become durable in groups, so that many tasks have
//! progress to write at the same time. An order that comes while a statement is under way goes into the next
//! one.

use std::time::Duration;

use sluice_lease::{ClaimCheckpoint, ClaimMark, FenceAnswer, IdClaim, JobClaims, LeaseError};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// The most ids in one statement.
const TOGETHER: usize = 64;

/// The way to the writing task, which ends with the last of these.
#[derive(Clone)]
pub(crate) struct ClaimScribe {
    orders: mpsc::Sender<ScribeOrder>,
}

/// The way back to the task that ordered a write.
type ScribeReplySender = oneshot::Sender<Result<FenceAnswer, LeaseError>>;

/// An order to write about one id.
struct ScribeOrder {
    kind: ScribeStatement,
    entry: ClaimCheckpoint,
    answer: ScribeReplySender,
}

/// The kind of statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ScribeStatement {
    Checkpoint,
    Done,
}

impl ClaimScribe {
    /// Starts the writing task. Complete ids are due again after `every`.
    pub(crate) fn start(claims: JobClaims, every: Option<Duration>) -> Self {
        let (orders, receiver) = mpsc::channel(TOGETHER);
        tokio::spawn(serve(claims, every, receiver));
        Self { orders }
    }

    /// Does [`JobClaims::checkpoint`], together with other ids.
    pub(crate) async fn checkpoint(
        &self,
        claim: &IdClaim,
        mark: ClaimMark,
    ) -> Result<FenceAnswer, LeaseError> {
        self.order(ScribeStatement::Checkpoint, claim, mark).await
    }

    /// Does [`JobClaims::done_all`] for one id, together with other ids.
    pub(crate) async fn done(&self, claim: &IdClaim, mark: ClaimMark) -> Result<FenceAnswer, LeaseError> {
        self.order(ScribeStatement::Done, claim, mark).await
    }

    /// Orders a write and waits for its answer.
    async fn order(
        &self,
        kind: ScribeStatement,
        claim: &IdClaim,
        mark: ClaimMark,
    ) -> Result<FenceAnswer, LeaseError> {
        let (answer, answered) = oneshot::channel();
        let entry = ClaimCheckpoint::of(claim, mark);
        // Without an answer the process is ending. The row keeps its lease, and the id is taken up again
        // after it.
        match self.orders.send(ScribeOrder { kind, entry, answer }).await {
            Ok(()) => answered.await.unwrap_or(Ok(FenceAnswer::Lost)),
            Err(_) => Ok(FenceAnswer::Lost),
        }
    }
}

/// Writes orders until the last [`ClaimScribe`] is gone.
async fn serve(claims: JobClaims, every: Option<Duration>, mut orders: mpsc::Receiver<ScribeOrder>) {
    while let Some(first) = orders.recv().await {
        // Tasks that were woken together with the first one order their writes now.
        tokio::task::yield_now().await;
        let mut batch = vec![first];
        while batch.len() < TOGETHER
            && let Ok(next) = orders.try_recv()
        {
            batch.push(next);
        }

        // Each kind is a statement of its own. They are about different ids, and run side by side.
        let (done, checkpoints): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|order| order.kind == ScribeStatement::Done);
        tokio::join!(
            write(&claims, ScribeStatement::Checkpoint, every, checkpoints),
            write(&claims, ScribeStatement::Done, every, done)
        );
    }
}

/// Writes orders of one kind and answers them. If they cannot be written together, each is written by itself:
/// one bad order must not spoil the others.
async fn write(claims: &JobClaims, kind: ScribeStatement, every: Option<Duration>, orders: Vec<ScribeOrder>) {
    let (entries, mut answers): (Vec<ClaimCheckpoint>, Vec<ScribeReplySender>) =
        orders.into_iter().map(|order| (order.entry, order.answer)).unzip();
    let error = match statement(claims, kind, every, &entries).await {
        Ok(written) => {
            return answers.into_iter().zip(written).for_each(|(to, fenced)| answer_task(to, Ok(fenced)));
        }
        Err(error) => error,
    };

    // A single order has its error already.
    if entries.len() == 1
        && let Some(to) = answers.pop()
    {
        return answer_task(to, Err(error));
    }

    // Side by side, because the tasks wait.
    tracing::debug!(%error, ids = entries.len(), "one statement for all ids failed; writing each by itself");
    let mut alone = JoinSet::new();
    for (entry, to) in entries.into_iter().zip(answers) {
        let claims = claims.clone();
        alone.spawn(async move {
            let written = statement(&claims, kind, every, std::slice::from_ref(&entry)).await;
            answer_task(to, written.map(|written| written.first().copied().unwrap_or(FenceAnswer::Lost)));
        });
    }
    alone.join_all().await;
}

/// Runs one statement. Without entries it runs none.
async fn statement(
    claims: &JobClaims,
    kind: ScribeStatement,
    every: Option<Duration>,
    entries: &[ClaimCheckpoint],
) -> Result<Vec<FenceAnswer>, LeaseError> {
    match kind {
        _ if entries.is_empty() => Ok(Vec::new()),
        ScribeStatement::Checkpoint => claims.checkpoint_all(entries).await,
        ScribeStatement::Done => claims.done_all(entries, every).await,
    }
}

/// Answers a task. A task that no longer waits has lost its claim, and the write about it was fenced.
fn answer_task(to: ScribeReplySender, written: Result<FenceAnswer, LeaseError>) {
    drop(to.send(written));
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_lease::{ClaimSource, ClaimTally, ClaimTerms};
    use sluice_stack::ServerStack;
    use sqlx::{Connection as _, Executor as _, Row as _};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_that_cannot_be_written_spoils_nobody_elses() {
        let stack = tokio::task::spawn_blocking(|| ServerStack::builder().mariadb().start()).await;
        let stack = stack.unwrap().expect("MariaDB starts");
        let mut one = sqlx::MySqlConnection::connect(stack.mariadb_url()).await.unwrap();
        one.execute("CREATE TABLE ids (id VARCHAR(20))").await.unwrap();
        one.execute("INSERT INTO ids SELECT CONCAT('i', seq) FROM seq_0_to_9").await.unwrap();
        let claims = JobClaims::connect(stack.mariadb_url(), "scribe", 4).await.unwrap();
        claims.migrate().await.unwrap();
        let source = ClaimSource { table: "ids".into(), id_column: "id".into(), ..ClaimSource::default() };
        assert_eq!(claims.enrol(&source, None).await.unwrap().new, 10);
        let terms =
            ClaimTerms { holder: "h".into(), lease: Duration::from_secs(60), attempts: 3, due_until: None };
        let taken = claims.claim(10, &terms).await.unwrap();
        let scribe = ClaimScribe::start(claims.clone(), None);
        // One is longer than a mark may be, others nearly.
        let next_page = |nth: usize| match nth {
            4 => "x".repeat(70_000),
            5 | 6 => "x".repeat(30_000),
            7 | 8 => "é".repeat(29_000),
            _ => format!("page {nth}"),
        };
        let mut tasks = JoinSet::new();
        for (nth, claim) in taken.iter().cloned().enumerate() {
            let (scribe, next_page) = (scribe.clone(), next_page(nth));
            tasks.spawn(async move {
                let tally = ClaimTally { pages: 1, ..ClaimTally::default() };
                let mark = ClaimMark { next_page: Some(next_page), tally };
                let written = match nth % 2 {
                    0 => scribe.checkpoint(&claim, mark).await,
                    _ => scribe.done(&claim, mark).await,
                };
                (nth, written)
            });
        }
        for (nth, written) in tasks.join_all().await {
            match nth {
                4 => assert!(!written.unwrap_err().retryable(), "no use in trying again"),
                _ => assert_eq!(written.unwrap(), FenceAnswer::Kept, "{nth}"),
            }
        }
        let rows = one.fetch_all("SELECT id, next_page, pages FROM sluice_claims").await.unwrap();
        assert_eq!(rows.len(), 10);
        for row in rows {
            let id: String = row.get(0);
            let nth = taken.iter().position(|claim| claim.id == id).unwrap();
            let stands: (Option<String>, i64) = (row.get(1), row.get(2));
            let expected = if nth == 4 { (None, 0) } else { (Some(next_page(nth)), 1) };
            assert!(stands == expected, "{nth}: {:?}", stands.0.map(|text| text.len()));
        }
        // A word about an id that is done is heard and refused.
        assert_eq!(scribe.checkpoint(&taken[1], ClaimMark::default()).await.unwrap(), FenceAnswer::Lost);
    }
}
