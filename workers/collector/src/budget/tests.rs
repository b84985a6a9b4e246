//! Four replicas with connections of their own, one limit, an API that counts.

use std::collections::VecDeque;
use std::sync::Mutex;

use axum::Router;
use sluice_lease::Claims;
use sluice_stack::Stack;

use super::*;
use crate::config::{Config, RawConfig};
use crate::pagination::Ask;
use crate::template::Values;

/// Requests in any second.
const LIMIT: u64 = 100;

/// Counts arrivals: the most in any second so far, and all of them by second.
#[derive(Default)]
struct Count {
    last: VecDeque<Instant>,
    most: usize,
    all: Vec<Instant>,
}

impl Count {
    fn arrived(&mut self) {
        let now = Instant::now();
        self.last.push_back(now);
        while self.last.front().is_some_and(|first| now - *first >= Duration::from_secs(1)) {
            self.last.pop_front();
        }
        self.most = self.most.max(self.last.len());
        self.all.push(now);
    }

    fn rate(&self, from: Instant, to: Instant) -> f64 {
        let inside = self.all.iter().filter(|at| (from..to).contains(*at)).count();
        inside as f64 / (to - from).as_secs_f64()
    }
}

async fn api(count: Arc<Mutex<Count>>) -> String {
    let app = Router::new().fallback(move || {
        count.lock().unwrap().arrived();
        async { "{\"data\":[]}" }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

fn config(url: &str, job: &str, database: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("url"), database).unwrap();
    let text = format!(
        "job: {job}\ngroup: g\nkafka: {{brokers: \"127.0.0.1:9\"}}\nregistry: {{url: \"http://127.0.0.1:9\"}}\n\
         schemas: schemas\ndatabase: {{url: {{file: {}/url}}, table: t, id_column: id}}\napi: {{base_url: \"{url}\"}}\n\
         limits: {{requests_per_second: {LIMIT}, concurrency: 8}}\n\
         endpoints: [{{name: e, path: \"/{{id}}\", topic: t}}]\n",
        folder.path().display()
    );
    let raw = sluice_runtime::config::parse::<RawConfig>(&text, "job");
    raw.and_then(Config::check).unwrap_or_else(|errors| panic!("{errors}"))
}

/// A replica that asks as fast as it may, until it is aborted or told to stop.
async fn replica(config: Config, holder: String, url: String, stop: CancellationToken) {
    let claims = Claims::connect(&url, &config.job, 2).await.unwrap();
    claims.migrate().await.unwrap();
    let api = Arc::new(Api::new(&config).unwrap());
    let (config, budgets) = (Arc::new(config), claims.budgets(&holder));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (api, config, stop) = (Arc::clone(&api), Arc::clone(&config), stop.clone());
        tasks.spawn(async move {
            let values = Values { id: "x", since: None };
            while !stop.is_cancelled() {
                let mut asking = api.asking(&config.endpoints[0], values, &Ask::Plain).unwrap();
                let Ok(Some(mut answer)) = asking.answer(&stop).await else { return };
                while answer.chunk().await.unwrap().is_some() {}
            }
        });
    }
    let status = Status::new("collector", &["database"]);
    keep(&api, &budgets, &status, &stop).await;
    while tasks.join_next().await.is_some() {}
}

async fn no_second_holds_more_than_the_limit(url: &str) {
    let count = Arc::new(Mutex::new(Count::default()));
    let base = api(Arc::clone(&count)).await;
    let stop = CancellationToken::new();
    let start = |nth: usize| {
        // Two jobs: the limit is the host's.
        let config = config(&base, if nth == 0 { "one" } else { "other" }, url);
        tokio::spawn(replica(config, format!("replica-{nth}"), url.to_owned(), stop.clone()))
    };
    let begun = Instant::now();
    let mut replicas: Vec<_> = (0..4).map(start).collect();
    tokio::time::sleep_until(begun + Duration::from_secs(8)).await;
    // One dies where it stands; what it held comes back when its lease passes.
    let died = Instant::now();
    replicas.pop().unwrap().abort();
    tokio::time::sleep_until(died + Duration::from_secs(10)).await;
    let ended = Instant::now();
    stop.cancel();
    for replica in replicas {
        replica.await.unwrap();
    }
    let count = count.lock().unwrap();
    let seconds = Duration::from_secs;
    let together = count.rate(begun + seconds(3), died) / LIMIT as f64;
    let after = count.rate(died + seconds(7), ended) / LIMIT as f64;
    eprintln!("most in a second {}, rate {together:.3} of the limit, {after:.3} after a death", count.most);
    assert!(count.most <= LIMIT as usize, "{} in one second", count.most);
    // What a machine that does nothing else reaches is measured by `make bench-collector`.
    assert!(together > 0.8 && after > 0.8, "{together} {after}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_replicas_of_two_jobs_keep_one_limit() {
    let stack = tokio::task::spawn_blocking(|| Stack::builder().mariadb().postgres().start()).await;
    let stack = stack.unwrap().expect("MariaDB and Postgres start");
    for url in [stack.mariadb_url(), stack.postgres_url()] {
        no_second_holds_more_than_the_limit(url).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_api_tells_one_replica_holds_all_of_them() {
    let stack = tokio::task::spawn_blocking(|| Stack::builder().postgres().start()).await;
    let stack = stack.unwrap().expect("Postgres starts");
    let claims = Claims::connect(stack.postgres_url(), "held", 2).await.unwrap();
    claims.migrate().await.unwrap();
    let (one, other) = (claims.budgets("one"), claims.budgets("other"));
    let ask = |hold, refused| Request {
        budget: "host h",
        total: 100,
        wanted: 100,
        held: 0,
        refused,
        hold,
        lease: Duration::from_secs(5),
    };
    assert_eq!(one.renew(&ask(None, 0)).await.unwrap().tokens, 100);
    let told = one.renew(&ask(Some(Duration::from_secs(30)), 2)).await.unwrap();
    assert_eq!(told.tokens, 70, "and the limit is cut");
    let hears = other.renew(&ask(None, 0)).await.unwrap();
    assert!(hears.hold > Duration::from_secs(29), "{hears:?}");
    assert_eq!(hears.tokens, 0, "the first one holds them all");
    one.give_back("host h", 0, Duration::ZERO).await.unwrap();
    assert!(other.renew(&ask(None, 0)).await.unwrap().tokens >= 70);
}
