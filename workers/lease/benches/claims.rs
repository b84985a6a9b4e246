//! `make bench-claims`: how many ids eight claimers take in a second from a million rows, with few and with many of
//! them done; the plan by which the server finds them; and Postgres under overlapping long transactions.
//!
//! One JSON line per figure. `BENCH_ROWS`, `BENCH_SECONDS` and `BENCH_LONG_SECONDS` make it smaller.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sluice_lease::{Claims, Fenced, Tally, Terms};
use sluice_stack::Stack;
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
async fn fill(url: &str, job: &str, rows: u64, done: u64) -> Claims {
    let claims = Claims::connect(url, job, 20).await.unwrap();
    claims.migrate().await.unwrap();
    execute(url, &format!("DELETE FROM sluice_claims WHERE job = '{job}'")).await;
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
async fn claimed(claims: &Claims, seconds: u64, finish: bool) -> f64 {
    let (count, begun) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let mut tasks = tokio::task::JoinSet::new();
    for nth in 0..CLAIMERS {
        let (claims, count) = (claims.clone(), Arc::clone(&count));
        tasks.spawn(async move {
            let terms =
                Terms { holder: format!("claimer-{nth}"), lease: Duration::from_secs(600), attempts: 5 };
            while begun.elapsed().as_secs() < seconds {
                let taken = claims.claim(CLAIM, &terms).await.unwrap();
                count.fetch_add(taken.len() as u64, Ordering::Relaxed);
                if taken.is_empty() {
                    return;
                }
                for claim in taken.iter().filter(|_| finish) {
                    assert_eq!(claims.done(claim, Tally::default(), None).await.unwrap(), Fenced::Kept);
                }
            }
        });
    }
    while tasks.join_next().await.is_some() {}
    count.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64()
}

/// How the server finds the first due ids.
async fn plan(url: &str, job: &str) -> String {
    let query = format!(
        "EXPLAIN SELECT id FROM sluice_claims WHERE job = '{job}' AND state = 'due' AND due_at <= 2 \
         ORDER BY due_at, id LIMIT 500 FOR UPDATE SKIP LOCKED"
    );
    let query = AssertSqlSafe(query);
    if url.starts_with("mysql") {
        let mut one = sqlx::MySqlConnection::connect(url).await.unwrap();
        let rows = sqlx::query(query).fetch_all(&mut one).await.unwrap();
        let text = |row: &sqlx::mysql::MySqlRow, name: &str| {
            row.try_get::<Option<String>, _>(name).ok().flatten().unwrap_or_default()
        };
        rows.iter()
            .map(|row| {
                format!("type {}, key {}, {}", text(row, "type"), text(row, "key"), text(row, "Extra"))
            })
            .collect()
    } else {
        let mut one = sqlx::PgConnection::connect(url).await.unwrap();
        let rows = sqlx::query(query).fetch_all(&mut one).await.unwrap();
        let lines: Vec<String> = rows.iter().map(|row| row.get::<String, _>(0).trim().to_owned()).collect();
        lines.join(" / ")
    }
}

/// Postgres keeps every version of a row that an open transaction may still see: a queue that rewrites its rows gets
/// slower for as long as one is open. Transactions of 20 s overlap here for all the time.
async fn under_long_transactions(url: &str, rows: u64, seconds: u64) {
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
    let terms = Terms { holder: "only".into(), lease: Duration::from_secs(600), attempts: 5 };
    let mut halves = [Vec::new(), Vec::new()];
    // A steady load, well below what it can do: 200 ids ten times a second come round again and again.
    while begun.elapsed().as_secs() < seconds {
        let before = Instant::now();
        let taken = claims.claim(200, &terms).await.unwrap();
        let took = before.elapsed();
        let half = usize::from(begun.elapsed().as_secs() * 2 >= seconds);
        halves[half].push(took);
        let held: Vec<_> = taken.iter().map(|claim| (claim.id.clone(), claim.fence)).collect();
        claims.release_untouched(&held).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100).saturating_sub(before.elapsed())).await;
    }
    holders.iter().for_each(tokio::task::JoinHandle::abort);
    for (nth, half) in halves.iter_mut().enumerate() {
        half.sort_unstable();
        let at = |part: usize| half.get(half.len() * part / 100).map_or(0.0, Duration::as_secs_f64) * 1e3;
        say(&format!("postgres.long_transactions.half_{}.claim_p50", nth + 1), at(50), "ms");
        say(&format!("postgres.long_transactions.half_{}.claim_p99", nth + 1), at(99), "ms");
    }
    let mut one = sqlx::PgConnection::connect(url).await.unwrap();
    let dead = sqlx::query("SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'sluice_claims'");
    let dead: i64 = dead.fetch_one(&mut one).await.unwrap().get(0);
    say("postgres.long_transactions.dead_rows", dead as f64, "rows");
}

fn main() {
    // `cargo test` builds and runs benches too: only `make bench-claims` asks for figures.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let (rows, seconds) = (number("BENCH_ROWS", 1_000_000), number("BENCH_SECONDS", 20));
    let stack = Stack::builder().mariadb().postgres().start().expect("MariaDB and Postgres start");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        for (server, url) in [("mariadb", stack.mariadb_url()), ("postgres", stack.postgres_url())] {
            for done in [0, 90] {
                let claims = fill(url, "bench", rows, done).await;
                println!(
                    "{}",
                    serde_json::json!({"name": format!("{server}.plan.{done}_percent_done"), "value": plan(url, "bench").await})
                );
                let rate = claimed(&claims, seconds, false).await;
                say(&format!("{server}.claims.{done}_percent_done"), rate, "ids/s");
            }
            let claims = fill(url, "bench", rows, 0).await;
            say(&format!("{server}.claims_and_dones"), claimed(&claims, seconds, true).await, "ids/s");
        }
        under_long_transactions(stack.postgres_url(), 20_000, number("BENCH_LONG_SECONDS", 600)).await;
    });
}
