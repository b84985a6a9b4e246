//! Four replicas with connections of their own, one limit, an API that counts.

use std::collections::VecDeque;
use std::sync::Mutex;

use axum::Router;
use sluice_lease::JobClaims;
use sluice_stack::ServerStack;

use super::*;
use crate::client::STALE;
use crate::config::{CollectorConfig, RawCollectorConfig};
use crate::pagination::PageSelector;
use crate::template::TemplateValues;

/// Requests in any second.
const LIMIT: u64 = 100;

/// Counts arrivals: the most in any second so far, and all of them by second.
#[derive(Default)]
struct ArrivalCounter {
    last: VecDeque<Instant>,
    most: usize,
    all: Vec<Instant>,
}

impl ArrivalCounter {
    fn arrived(&mut self) {
        let now = Instant::now();
        self.last.push_back(now);
        while self.last.front().is_some_and(|first| now - *first >= Duration::from_secs(1)) {
            self.last.pop_front();
        }
        self.most = self.most.max(self.last.len());
        self.all.push(now);
    }

    /// The highest rate in two seconds.
    fn best(&self, from: Instant, to: Instant) -> f64 {
        let span = Duration::from_secs(2);
        let starts = self.all.iter().filter(|at| (from..to - span).contains(*at));
        starts.map(|start| self.rate(*start, *start + span)).fold(0.0, f64::max)
    }

    fn rate(&self, from: Instant, to: Instant) -> f64 {
        let inside = self.all.iter().filter(|at| (from..to).contains(*at)).count();
        inside as f64 / (to - from).as_secs_f64()
    }
}

async fn api(count: Arc<Mutex<ArrivalCounter>>) -> String {
    let app = Router::new().fallback(move || {
        count.lock().unwrap().arrived();
        async { "{\"data\":[]}" }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

fn config(url: &str, job: &str, database: &str) -> CollectorConfig {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("url"), database).unwrap();
    let text = format!(
        "job: {job}\ngroup: g\nkafka: {{brokers: \"127.0.0.1:9\"}}\nregistry: {{url: \"http://127.0.0.1:9\"}}\n\
         schemas: schemas\ndatabase: {{url: {{file: {}/url}}, table: t, id_column: id}}\napi: {{base_url: \"{url}\"}}\n\
         rate: {{requests_per_second: {LIMIT}, concurrency: 8}}\n\
         endpoints: [{{name: e, path: \"/{{id}}\", topic: t}}]\n",
        folder.path().display()
    );
    let raw = sluice_runtime::config::parse::<RawCollectorConfig>(&text, "job");
    raw.and_then(CollectorConfig::check).unwrap_or_else(|errors| panic!("{errors}"))
}

/// A replica that asks as fast as it may, until it is aborted or told to stop.
async fn replica(config: CollectorConfig, holder: String, url: String, stop: CancellationToken) {
    let claims = JobClaims::connect(&url, &config.job, 2).await.unwrap();
    claims.migrate().await.unwrap();
    let api = Arc::new(ApiClient::new(&config).unwrap());
    let (config, budgets) = (Arc::new(config), claims.budgets(&holder));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (api, config, stop) = (Arc::clone(&api), Arc::clone(&config), stop.clone());
        tasks.spawn(async move {
            let values = TemplateValues { id: "x", since: None };
            while !stop.is_cancelled() {
                let mut asking = api.asking(&config.endpoints[0], values, &PageSelector::Plain).unwrap();
                let Ok(Some(mut answer)) = asking.answer(&stop).await else { return };
                while answer.chunk().await.unwrap().is_some() {}
            }
        });
    }
    let status = WorkerStatus::new("collector", &["database"]);
    keep(&api, &budgets, &status, &stop).await;
    while tasks.join_next().await.is_some() {}
}

async fn no_second_holds_more_than_the_limit(url: &str) {
    let count = Arc::new(Mutex::new(ArrivalCounter::default()));
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
    let spans = [(begun + seconds(3), died), (died + seconds(7), ended)];
    let [together, after] = spans.map(|(from, to)| count.rate(from, to) / LIMIT as f64);
    let [best, best_after] = spans.map(|(from, to)| count.best(from, to) / LIMIT as f64);
    eprintln!(
        "most in a second {}; of the limit {together:.3}, {after:.3} after a death; in the best two seconds \
         {best:.3}, {best_after:.3}",
        count.most
    );
    assert!(count.most <= LIMIT as usize, "{} in one second", count.most);
    // A machine that stands still for a moment must not fail the test: what it cannot help reaching is looked for in
    // two seconds of the API's own count. The whole time's is a figure of `make bench-collector`.
    assert!(best >= 0.95 && best_after >= 0.95, "{best} {best_after}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_replicas_of_two_jobs_keep_one_limit() {
    let stack = tokio::task::spawn_blocking(|| ServerStack::builder().mariadb().postgres().start()).await;
    let stack = stack.unwrap().expect("MariaDB and Postgres start");
    let [one, other] = [stack.mariadb_url(), stack.postgres_url()].map(no_second_holds_more_than_the_limit);
    tokio::join!(one, other);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_api_tells_one_replica_holds_all_of_them() {
    let stack = tokio::task::spawn_blocking(|| ServerStack::builder().postgres().start()).await;
    let stack = stack.unwrap().expect("Postgres starts");
    let claims = JobClaims::connect(stack.postgres_url(), "held", 2).await.unwrap();
    claims.migrate().await.unwrap();
    let (one, other) = (claims.budgets("one"), claims.budgets("other"));
    let ask = |refused| BudgetRequest {
        budget: "host h",
        total: 100,
        wanted: 100,
        held: 0,
        refused,
        lease: Duration::from_secs(5),
    };
    assert_eq!(one.held(&["host h"]).await.unwrap(), Duration::ZERO, "there is no row yet");
    assert_eq!(one.renew(&ask(0)).await.unwrap(), 100);
    one.hold(&["host h"], Duration::from_secs(30)).await.unwrap();
    one.hold(&["host h"], Duration::from_secs(3)).await.unwrap();
    assert_eq!(one.renew(&ask(2)).await.unwrap(), 70, "the limit is cut");
    let hears = other.held(&["host g", "host h"]).await.unwrap();
    assert!(hears > Duration::from_secs(29), "{hears:?}");
    assert_eq!(other.renew(&ask(0)).await.unwrap(), 0, "the first one holds them all");
    one.give_back("host h", 0, Duration::ZERO).await.unwrap();
    assert!(other.renew(&ask(0)).await.unwrap() >= 70);
}

/// What the API was asked, and when it said that nobody must come.
#[derive(Default)]
struct StrictApiLog {
    /// When each request was let go, by the clock of its replica (which is ours), and when it arrived.
    asked: Vec<(Instant, Instant)>,
    /// From when it was said, until when.
    closed: Vec<(Instant, Instant)>,
}

const CLOSED_FOR: Duration = Duration::from_millis(700);
const OPEN_FOR: Duration = Duration::from_millis(600);
const TIMES: usize = 6;

impl StrictApiLog {
    /// Whether this request is told to go away.
    fn arrived(&mut self, sent: Instant) -> bool {
        let now = Instant::now();
        self.asked.push((sent, now));
        let open_since = self.closed.last().map_or(self.asked[0].1, |(_, until)| *until);
        let closes = self.closed.len() < TIMES && now >= open_since + OPEN_FOR;
        if closes {
            self.closed.push((now, now + CLOSED_FOR));
        }
        closes
    }
}

/// Asks as fast as it may; whoever is told to go away tells everybody.
async fn asks(config: CollectorConfig, holder: String, url: String, begun: Instant, stop: CancellationToken) {
    let claims = JobClaims::connect(&url, &config.job, 3).await.unwrap();
    claims.migrate().await.unwrap();
    let (api, budgets) = (Arc::new(ApiClient::new(&config).unwrap()), claims.budgets(&holder));
    let (http, base) = (reqwest::Client::new(), config.api.base.clone());
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (api, http, base, stop) = (Arc::clone(&api), http.clone(), base.clone(), stop.clone());
        tasks.spawn(async move {
            loop {
                let leave = tokio::select! {
                    leave = api.polite().permit() => leave.unwrap_or_else(|wait| panic!("{wait:?}")),
                    () = stop.cancelled() => return,
                };
                let sent = (leave.at - begun).as_nanos().to_string();
                let answer = http.get(base.clone()).header("x-sent", sent).send().await.unwrap();
                let heard = Instant::now();
                if answer.status() == reqwest::StatusCode::TOO_MANY_REQUESTS {
                    api.polite().hold_everyone_back(heard + CLOSED_FOR);
                }
                drop(leave);
            }
        });
    }
    let status = WorkerStatus::new("collector", &["database"]);
    keep(&api, &budgets, &status, &stop).await;
    while tasks.join_next().await.is_some() {}
}

async fn nobody_comes_before_the_time(url: &str) {
    let (strict, begun) = (Arc::new(Mutex::new(StrictApiLog::default())), Instant::now());
    let counts = Arc::clone(&strict);
    let app =
        Router::new().fallback(move |headers: axum::http::HeaderMap| {
            let sent: u64 = headers["x-sent"].to_str().unwrap().parse().unwrap();
            let closes = counts.lock().unwrap().arrived(begun + Duration::from_nanos(sent));
            async move {
                if closes { axum::http::StatusCode::TOO_MANY_REQUESTS } else { axum::http::StatusCode::OK }
            }
        });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let stop = CancellationToken::new();
    let replicas: Vec<_> = (0..4)
        .map(|nth| {
            let config = config(&base, if nth == 0 { "one" } else { "other" }, url);
            tokio::spawn(asks(config, format!("asks-{nth}"), url.to_owned(), begun, stop.clone()))
        })
        .collect();
    // Looks at the database all the time, to know when each hold was committed at the latest.
    let watch = JobClaims::connect(url, "watch", 1).await.unwrap();
    watch.migrate().await.unwrap();
    let (watch, name) = (watch.budgets("watch"), format!("host {base}"));
    let mut looks: Vec<(Instant, Instant, bool)> = Vec::new();
    let ended = || {
        let strict = strict.lock().unwrap();
        strict.closed.len() == TIMES
            && strict.closed.last().is_some_and(|(_, until)| Instant::now() > *until + OPEN_FOR)
    };
    while !ended() {
        assert!(begun.elapsed() < Duration::from_secs(60), "the API was asked too rarely");
        let began = Instant::now();
        let held = watch.held(&[&name]).await.unwrap();
        looks.push((began, Instant::now(), !held.is_zero()));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    stop.cancel();
    for replica in replicas {
        replica.await.unwrap();
    }
    let strict = strict.lock().unwrap();
    for (said, until) in &strict.closed {
        let seen = looks.iter().find(|(began, _, held)| began > said && *held);
        let (_, committed, _) = seen.expect("the others are told");
        let during =
            |from: Instant| strict.asked.iter().filter(|(sent, _)| (from..*until).contains(sent)).count();
        let arrived = strict.asked.iter().filter(|(_, at)| at > said && at < until).count();
        eprintln!(
            "known to all after {:?}; sent meanwhile {}, after it {}, after that and {STALE:?} {}; arrived {arrived}",
            *committed - *said,
            during(*said) - during(*committed),
            during(*committed),
            during(*committed + STALE),
        );
        assert!(*committed < *until, "nobody was told in time");
        assert_eq!(during(*committed + STALE), 0, "sent although everybody was told");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_replica_undercuts_what_another_was_told() {
    let stack = tokio::task::spawn_blocking(|| ServerStack::builder().mariadb().postgres().start()).await;
    let stack = stack.unwrap().expect("MariaDB and Postgres start");
    let [one, other] = [stack.mariadb_url(), stack.postgres_url()].map(nobody_comes_before_the_time);
    tokio::join!(one, other);
}
