//! Two databases, and tables of ids on them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use sluice_lease::{ClaimMark, ClaimSource, ClaimTally, ClaimTerms, JobClaims, SqlDialect};
use sluice_stack::ServerStack;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

/// One pair of servers, shared by the tests that run at the same time; ended, and their folder removed, with the last.
pub(crate) fn servers() -> Arc<ServerStack> {
    static STACK: Mutex<Weak<ServerStack>> = Mutex::new(Weak::new());
    let mut shared = STACK.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let stack = ServerStack::builder().mariadb().postgres().start().expect("MariaDB and Postgres start");
        let stack = Arc::new(stack);
        *shared = Arc::downgrade(&stack);
        stack
    })
}

/// Runs a test on both databases; `name` keeps tests apart on the shared servers.
pub(crate) fn on_both<F: Future<Output = ()>>(name: &str, test: impl Fn(ClaimBench) -> F) {
    let stack = servers();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for url in [stack.mariadb_url(), stack.postgres_url()] {
        let bench = ClaimBench { url: url.to_owned(), job: name.to_owned(), table: format!("ids_of_{name}") };
        eprintln!("{name} on {:?}", SqlDialect::of(url).unwrap());
        runtime.block_on(async {
            tokio::time::timeout(Duration::from_secs(60), test(bench)).await.expect("within a minute");
        });
    }
}

#[derive(Clone)]
pub(crate) struct ClaimBench {
    pub(crate) url: String,
    pub(crate) job: String,
    pub(crate) table: String,
}

impl ClaimBench {
    pub(crate) async fn run(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        match SqlDialect::of(&self.url).unwrap() {
            SqlDialect::MySql => {
                let mut one = sqlx::MySqlConnection::connect(&self.url).await.unwrap();
                one.execute(sql).await.unwrap();
            }
            SqlDialect::Postgres => {
                let mut one = sqlx::PgConnection::connect(&self.url).await.unwrap();
                one.execute(sql).await.unwrap();
            }
        }
    }

    pub(crate) async fn claims(&self) -> JobClaims {
        let claims = JobClaims::connect(&self.url, &self.job, 4).await.unwrap();
        claims.migrate().await.unwrap();
        claims
    }

    pub(crate) fn source(&self) -> ClaimSource {
        ClaimSource { table: self.table.clone(), id_column: "id".into(), ..ClaimSource::default() }
    }

    /// A table of `count` ids, enrolled.
    pub(crate) async fn ids(&self, count: usize) -> JobClaims {
        let claims = self.claims().await;
        self.run(&format!("DROP TABLE IF EXISTS {}", self.table)).await;
        self.run(&format!("CREATE TABLE {} (id VARCHAR(40), tier INT)", self.table)).await;
        let rows: Vec<String> = (0..count).map(|n| format!("('id-{n:05}', {})", n % 3)).collect();
        self.run(&format!("INSERT INTO {} VALUES {}", self.table, rows.join(", "))).await;
        assert_eq!(claims.enrol(&self.source(), None).await.unwrap().new, count as u64);
        claims
    }

    /// As if every lease had run out: the database's clock is not ours to move.
    pub(crate) async fn let_leases_pass(&self) {
        let job = &self.job;
        let sql = format!(
            "UPDATE sluice_claims SET due_at = 1, lease_until = 1 WHERE job = '{job}' AND state = 'claimed'"
        );
        self.run(&sql).await;
    }
}

pub(crate) fn terms(holder: &str) -> ClaimTerms {
    ClaimTerms { holder: holder.into(), lease: Duration::from_secs(60), attempts: 3, due_until: None }
}

pub(crate) fn states(counts: &[sluice_lease::StateCount]) -> HashMap<&str, i64> {
    counts.iter().map(|count| (count.state.as_str(), count.ids)).collect()
}

pub(crate) fn mark(pages: i64) -> ClaimMark {
    ClaimMark {
        next_page: Some(format!("page {pages}")),
        tally: ClaimTally { pages, records: 50 * pages, rejects: 0, bytes: 9 },
    }
}
