//! Writes what tasks have to say about their ids, of many in one statement. Pages become durable in groups, so tasks have
//! their say at the same time; and whoever comes while a statement is under way goes into the next one.

use std::time::Duration;

use sluice_lease::{Claim, Claims, Entry, Fenced, LeaseError, Mark};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// Ids in one statement.
const TOGETHER: usize = 64;

/// The way to the one who writes; a task that ends with the last of these.
#[derive(Clone)]
pub(crate) struct Scribe {
    orders: mpsc::Sender<Order>,
}

type Answer = oneshot::Sender<Result<Fenced, LeaseError>>;

struct Order {
    word: Word,
    entry: Entry,
    answer: Answer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Checkpoint,
    Done,
}

impl Scribe {
    /// Starts the task. Complete ids come round again after `every`.
    pub(crate) fn start(claims: Claims, every: Option<Duration>) -> Self {
        let (orders, receiver) = mpsc::channel(TOGETHER);
        tokio::spawn(serve(claims, every, receiver));
        Self { orders }
    }

    /// As [`Claims::checkpoint`].
    pub(crate) async fn checkpoint(&self, claim: &Claim, mark: Mark) -> Result<Fenced, LeaseError> {
        self.say(Word::Checkpoint, claim, mark).await
    }

    /// As [`Claims::done_all`] for one.
    pub(crate) async fn done(&self, claim: &Claim, mark: Mark) -> Result<Fenced, LeaseError> {
        self.say(Word::Done, claim, mark).await
    }

    async fn say(&self, word: Word, claim: &Claim, mark: Mark) -> Result<Fenced, LeaseError> {
        let (answer, answered) = oneshot::channel();
        let entry = Entry::of(claim, mark);
        // Without an answer the process is at its end; the row keeps its lease, and is taken up again after it.
        match self.orders.send(Order { word, entry, answer }).await {
            Ok(()) => answered.await.unwrap_or(Ok(Fenced::Lost)),
            Err(_) => Ok(Fenced::Lost),
        }
    }
}

async fn serve(claims: Claims, every: Option<Duration>, mut orders: mpsc::Receiver<Order>) {
    while let Some(first) = orders.recv().await {
        // Those who were woken with the first have their say first.
        tokio::task::yield_now().await;
        let mut batch = vec![first];
        while batch.len() < TOGETHER
            && let Ok(next) = orders.try_recv()
        {
            batch.push(next);
        }
        let (done, checkpoints): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|order| order.word == Word::Done);
        tokio::join!(
            write(&claims, Word::Checkpoint, every, checkpoints),
            write(&claims, Word::Done, every, done)
        );
    }
}

/// Writes and answers. If they cannot be written together, each by itself: one must not spoil the others'.
async fn write(claims: &Claims, word: Word, every: Option<Duration>, orders: Vec<Order>) {
    let (entries, mut answers): (Vec<Entry>, Vec<Answer>) =
        orders.into_iter().map(|order| (order.entry, order.answer)).unzip();
    let error = match statement(claims, word, every, &entries).await {
        Ok(written) => return answers.into_iter().zip(written).for_each(|(to, fenced)| tell(to, Ok(fenced))),
        Err(error) => error,
    };
    if entries.len() == 1
        && let Some(to) = answers.pop()
    {
        return tell(to, Err(error));
    }
    tracing::debug!(%error, ids = entries.len(), "not written together; one by one");
    let mut alone = JoinSet::new();
    for (entry, to) in entries.into_iter().zip(answers) {
        let claims = claims.clone();
        alone.spawn(async move {
            let written = statement(&claims, word, every, std::slice::from_ref(&entry)).await;
            tell(to, written.map(|written| written.first().copied().unwrap_or(Fenced::Lost)));
        });
    }
    alone.join_all().await;
}

async fn statement(
    claims: &Claims,
    word: Word,
    every: Option<Duration>,
    entries: &[Entry],
) -> Result<Vec<Fenced>, LeaseError> {
    match word {
        _ if entries.is_empty() => Ok(Vec::new()),
        Word::Checkpoint => claims.checkpoint_all(entries).await,
        Word::Done => claims.done_all(entries, every).await,
    }
}

/// A task that gave up waiting has lost its claim; what was written about it is fenced.
fn tell(to: Answer, written: Result<Fenced, LeaseError>) {
    drop(to.send(written));
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_lease::{Source, Tally, Terms};
    use sluice_stack::Stack;
    use sqlx::{Connection as _, Executor as _, Row as _};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_that_cannot_be_written_spoils_nobody_elses() {
        let stack = tokio::task::spawn_blocking(|| Stack::builder().mariadb().start()).await;
        let stack = stack.unwrap().expect("MariaDB starts");
        let mut one = sqlx::MySqlConnection::connect(stack.mariadb_url()).await.unwrap();
        one.execute("CREATE TABLE ids (id VARCHAR(20))").await.unwrap();
        one.execute("INSERT INTO ids SELECT CONCAT('i', seq) FROM seq_0_to_9").await.unwrap();
        let claims = Claims::connect(stack.mariadb_url(), "scribe", 4).await.unwrap();
        claims.migrate().await.unwrap();
        let source = Source { table: "ids".into(), id_column: "id".into(), ..Source::default() };
        assert_eq!(claims.enrol(&source).await.unwrap(), 10);
        let terms = Terms { holder: "h".into(), lease: Duration::from_secs(60), attempts: 3 };
        let taken = claims.claim(10, &terms).await.unwrap();
        let scribe = Scribe::start(claims.clone(), None);
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
                let tally = Tally { pages: 1, ..Tally::default() };
                let mark = Mark { next_page: Some(next_page), tally };
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
                _ => assert_eq!(written.unwrap(), Fenced::Kept, "{nth}"),
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
        assert_eq!(scribe.checkpoint(&taken[1], Mark::default()).await.unwrap(), Fenced::Lost);
    }
}
