//! `make bench-claims`: how many ids eight claimers take in a second from a million rows, with few and with many of
//! them done; the plan by which the server finds them; and Postgres under overlapping long transactions.
//!
//! One JSON line per figure. `BENCH_ROWS`, `BENCH_SECONDS` (of claiming, each time; 0 for none) and `BENCH_LONG_MINUTES`
//! make it smaller.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sluice_lease::{ClaimTally, ClaimTerms, FenceAnswer, JobClaims};
use sluice_stack::ServerStack;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, Row as _};

const CLAIMERS: usize = 8;
const CLAIM: u32 = 500;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn say(name: &str, value: f64, unit: &str) {
    println!(
        "{}",
        serde_json::json!({"name": name, "value": (value * 1000.0).round() / 1000.0, "unit": unit})
    );
}

async fn execute(url: &str, sql: &str) {
    let sql = AssertSqlSafe(sql.to_owned());
    if url.starts_with("mysql") {
        sqlx::MySqlConnection::connect(url).await.unwrap().execute(sql).await.unwrap();
    } else {
        sqlx::PgConnection::connect(url).await.unwrap().execute(sql).await.unwrap();
    }
}

/// `rows` ids, of which `done` in a hundred are done already.
async fn fill(url: &str, job: &str, rows: u64, done: u64) -> JobClaims {
    let claims = JobClaims::connect(url, job, 20).await.unwrap();
    claims.migrate().await.unwrap();
    execute(url, "TRUNCATE TABLE sluice_claims").await;
    let (numbers, id) = match url.starts_with("mysql") {
        true => (format!("(SELECT seq AS n FROM seq_0_to_{}) s", rows - 1), "CONCAT('id-', LPAD(n, 9, '0'))"),
        false => (format!("generate_series(0, {}) s(n)", rows - 1), "'id-' || LPAD(n::text, 9, '0')"),
    };
    execute(
        url,
        &format!(
            "INSERT INTO sluice_claims (job, id, state, due_at, updated_at) \
             SELECT '{job}', {id}, CASE WHEN n % 100 < {done} THEN 'done' ELSE 'due' END, 1, 1 FROM {numbers}"
        ),
    )
    .await;
    if url.starts_with("mysql") {
        execute(url, "ANALYZE TABLE sluice_claims").await;
    } else {
        execute(url, "VACUUM ANALYZE sluice_claims").await;
    }
    claims
}

/// Eight claimers for so many seconds; ids claimed per second. `finish`: they are also written done.
async fn claimed(claims: &JobClaims, seconds: u64, finish: bool) -> f64 {
    let (count, begun) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let mut tasks = tokio::task::JoinSet::new();
    for nth in 0..CLAIMERS {
        let (claims, count) = (claims.clone(), Arc::clone(&count));
        tasks.spawn(async move {
            let terms = ClaimTerms {
                holder: format!("claimer-{nth}"),
                lease: Duration::from_secs(600),
                attempts: 5,
                due_until: None,
            };
            while begun.elapsed().as_secs() < seconds {
                let taken = claims.claim(CLAIM, &terms).await.unwrap();
                count.fetch_add(taken.len() as u64, Ordering::Relaxed);
                if taken.is_empty() {
                    return;
                }
                for claim in taken.iter().filter(|_| finish) {
                    assert_eq!(
                        claims.done(claim, ClaimTally::default(), None).await.unwrap(),
                        FenceAnswer::Kept
                    );
                }
            }
        });
    }
    while tasks.join_next().await.is_some() {}
    count.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64()
}

/// What Postgres keeps of the side table.
async fn kept(url: &str) -> (f64, f64) {
    let mut one = sqlx::PgConnection::connect(url).await.unwrap();
    let query = "SELECT n_dead_tup, pg_total_relation_size('sluice_claims') \
                 FROM pg_stat_user_tables WHERE relname = 'sluice_claims'";
    let row = sqlx::query(query).fetch_one(&mut one).await.unwrap();
    (row.get::<i64, _>(0) as f64, row.get::<i64, _>(1) as f64 / 1048576.0)
}

/// Postgres keeps every version of a row that an open transaction may still see: a queue that rewrites its rows gets
/// slower for as long as one is open. Transactions of 20 s overlap here for all the time.
async fn under_long_transactions(url: &str, rows: u64, minutes: u64) {
    let claims = fill(url, "long", rows, 0).await;
    let (begun, url_of) = (Instant::now(), url.to_owned());
    let holders: Vec<_> = (0..2)
        .map(|nth| {
            let url = url_of.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(nth * 10)).await;
                let mut one = sqlx::PgConnection::connect(&url).await.unwrap();
                loop {
                    one.execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
                    one.execute("SELECT COUNT(*) FROM sluice_claims WHERE job = 'none'").await.unwrap();
                    tokio::time::sleep(Duration::from_secs(20)).await;
                    one.execute("COMMIT").await.unwrap();
                }
            })
        })
        .collect();
    let terms =
        ClaimTerms { holder: "only".into(), lease: Duration::from_secs(600), attempts: 5, due_until: None };
    // A steady load, well below what it can do: 200 ids ten times a second come round again and again.
    for minute in 1..=minutes {
        let (mut claimed, mut took) = (0, Vec::new());
        while begun.elapsed().as_secs() < minute * 60 {
            let before = Instant::now();
            let taken = claims.claim(200, &terms).await.unwrap();
            took.push(before.elapsed());
            claimed += taken.len();
            let held: Vec<_> = taken.iter().map(|claim| (claim.id.clone(), claim.fence)).collect();
            claims.release_untouched(&held).await.unwrap();
            tokio::time::sleep(Duration::from_millis(100).saturating_sub(before.elapsed())).await;
        }
        took.sort_unstable();
        let at = |part: usize| took.get(took.len() * part / 100).map_or(0.0, Duration::as_secs_f64) * 1e3;
        let name = format!("postgres.long_transactions.minute_{minute}");
        say(&format!("{name}.claim_p50"), at(50), "ms");
        say(&format!("{name}.claim_p99"), at(99), "ms");
        say(&format!("{name}.ids"), claimed as f64, "ids");
        let (dead, size) = kept(url).await;
        say(&format!("{name}.dead_rows"), dead, "rows");
        say(&format!("{name}.table_and_index"), size, "MiB");
    }
    holders.iter().for_each(tokio::task::JoinHandle::abort);
}

fn main() {
    // `cargo test` builds and runs benches too: only `make bench-claims` asks for figures.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let (rows, seconds) = (number("BENCH_ROWS", 1_000_000), number("BENCH_SECONDS", 20));
    let minutes = number("BENCH_LONG_MINUTES", 10);
    let stack = ServerStack::builder().mariadb().postgres().start().expect("MariaDB and Postgres start");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        for (server, url) in [("mariadb", stack.mariadb_url()), ("postgres", stack.postgres_url())] {
            for done in [0, 90].into_iter().filter(|_| seconds > 0) {
                let claims = fill(url, "bench", rows, done).await;
                let plan = claims.plan(CLAIM).await.unwrap();
                let name = format!("{server}.plan.{done}_percent_done");
                println!("{}", serde_json::json!({"name": name, "value": plan}));
                let rate = claimed(&claims, seconds, false).await;
                say(&format!("{server}.claims.{done}_percent_done"), rate, "ids/s");
            }
            if seconds > 0 {
                let claims = fill(url, "bench", rows, 0).await;
                say(&format!("{server}.claims_and_dones"), claimed(&claims, seconds, true).await, "ids/s");
            }
        }
        under_long_transactions(stack.postgres_url(), 20_000, minutes).await;
    });
}
