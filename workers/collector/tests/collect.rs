//! The collector against real servers: an API in this process, MariaDB or Postgres, a registry, Kafka.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod api;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use api::SeededApi;
use sluice_collector::rejected::{rejected, retry_rejected};
use sluice_collector::{CollectorConfig, CollectorSummary, RawCollectorConfig, RunOptions, run};
use sluice_core::Fault;
use sluice_kafka::{admin::KafkaAdmin, read_to_end};
use sluice_lease::{ClaimTerms, JobClaims};
use sluice_runtime::config::{KafkaSection, RegistrySection, parse};
use sluice_runtime::registry::SchemaRegistry;
use sluice_runtime::status::WorkerStatus;
use sluice_stack::ServerStack;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
use tokio_util::sync::CancellationToken;

const FLIGHTS: &str = "aviation.flight.v1";
const AIRCRAFT: &str = "aviation.aircraft.v1";

/// Shared by the tests that run at the same time; ended with the last of them.
fn servers() -> Arc<ServerStack> {
    static STACK: Mutex<Weak<ServerStack>> = Mutex::new(Weak::new());
    sluice_runtime::telemetry::init();
    let mut shared = STACK.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let stack = ServerStack::builder()
            .kafka(1)
            .registry()
            .mariadb()
            .postgres()
            .start()
            .expect("the stack starts");
        let stack = Arc::new(stack);
        *shared = Arc::downgrade(&stack);
        stack
    })
}

/// One test's own database tables, topics' contents and API.
struct CollectorTestBench {
    stack: Arc<ServerStack>,
    job: &'static str,
    database: String,
    api: SeededApi,
    folder: std::path::PathBuf,
    /// A text of the job's file, and another one in its place.
    instead: (&'static str, &'static str),
}

impl CollectorTestBench {
    async fn new(job: &'static str, postgres: bool, api: SeededApi) -> Self {
        let stack = tokio::task::spawn_blocking(servers).await.unwrap();
        let database = if postgres { stack.postgres_url() } else { stack.mariadb_url() }.to_owned();
        let folder = stack.root().join(format!("bench-{job}"));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("url"), &database).unwrap();
        std::fs::write(folder.join("token"), api::TOKEN).unwrap();
        let bench = Self { stack, job, database, api, folder, instead: ("", "") };
        bench.contracts();
        bench.topics_and_schemas().await;
        bench.table().await;
        bench
    }

    /// The repository's contracts, with topics of this test's own.
    fn contracts(&self) {
        for name in ["flight", "aircraft"] {
            let from =
                std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/aviation").join(name);
            let to = self.folder.join("schemas/aviation").join(name);
            std::fs::create_dir_all(&to).unwrap();
            for file in ["value.avsc", "contract.odcs.yaml"] {
                let text = std::fs::read_to_string(from.join(file)).unwrap();
                let text = text.replace("aviation.flight.", &format!("{}.flight.", self.job));
                std::fs::write(
                    to.join(file),
                    text.replace("aviation.aircraft.", &format!("{}.aircraft.", self.job)),
                )
                .unwrap();
            }
        }
        let fact =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/sluice/fact/value.avsc");
        let to = self.folder.join("schemas/sluice/fact");
        std::fs::create_dir_all(&to).unwrap();
        std::fs::copy(fact, to.join("value.avsc")).unwrap();
    }

    fn topic(&self, of: &str) -> String {
        of.replace("aviation.", &format!("{}.", self.job))
    }

    fn kafka(&self) -> KafkaSection {
        KafkaSection {
            brokers: self.stack.brokers().to_owned(),
            properties: BTreeMap::new(),
            secrets: BTreeMap::new(),
        }
    }

    async fn topics_and_schemas(&self) {
        let admin = KafkaAdmin::new(&self.kafka()).unwrap();
        let registry =
            SchemaRegistry::new(&RegistrySection::open(self.stack.registry_url().to_owned())).unwrap();
        for (topic, name) in [(FLIGHTS, "flight"), (AIRCRAFT, "aircraft")] {
            let topic = self.topic(topic);
            for topic in [topic.clone(), format!("{topic}.dead-letter")] {
                admin.create(&topic, 2, 1, &BTreeMap::new()).await.unwrap();
            }
            let contracts = sluice_runtime::contracts::load(&self.folder.join("schemas")).unwrap();
            let contract = contracts
                .iter()
                .find(|contract| contract.raw_topic == topic)
                .unwrap_or_else(|| panic!("{name}"));
            registry.register(&format!("{topic}-value"), contract.value.json()).await.unwrap();
        }
    }

    async fn sql(&self, sql: String) {
        if self.database.starts_with("mysql") {
            sqlx::MySqlConnection::connect(&self.database)
                .await
                .unwrap()
                .execute(AssertSqlSafe(sql))
                .await
                .unwrap();
        } else {
            sqlx::PgConnection::connect(&self.database)
                .await
                .unwrap()
                .execute(AssertSqlSafe(sql))
                .await
                .unwrap();
        }
    }

    async fn table(&self) {
        self.sql(format!("CREATE TABLE tails_{} (tailnum VARCHAR(20) PRIMARY KEY)", self.job)).await;
        let rows: Vec<_> = self.api.ids().iter().map(|id| format!("('{id}')")).collect();
        self.sql(format!("INSERT INTO tails_{} VALUES {}", self.job, rows.join(", "))).await;
    }

    async fn let_leases_pass(&self) {
        self.sql(format!(
            "UPDATE sluice_claims SET due_at = 1, lease_until = 1 WHERE state = 'claimed' AND job = '{}'",
            self.job
        ))
        .await;
    }

    fn config(&self, instance: &str, mode: &str) -> CollectorConfig {
        let (job, folder) = (self.job, self.folder.display());
        let text = format!(
            r#"
job: {job}
group: test-{job}
instance: {instance}
mode: {mode}
kafka: {{brokers: "{brokers}"}}
registry: {{url: "{registry}"}}
schemas: "{folder}/schemas"
database: {{url: {{file: "{folder}/url"}}, table: tails_{job}, id_column: tailnum, claim: 7, lease_seconds: 6}}
api: {{base_url: "{api}", auth: {{bearer: {{file: "{folder}/token"}}}}}}
endpoints:
  - {{name: aircraft, path: "/v1/aircraft/{{id}}", record_path: data, topic: {job}.aircraft.v1, on_status: {{404: none}}}}
  - name: flights
    path: "/v1/aircraft/{{id}}/flights"
    pagination: {{kind: next_url, at: meta.next}}
    record_path: data
    topic: {job}.flight.v1
rate: {{concurrency: 8, retry_after: request}}
retry: {{base_ms: 20, cap_ms: 200, budget_percent: 100}}
"#,
            brokers = self.stack.brokers(),
            registry = self.stack.registry_url(),
            api = self.api.url(),
        );
        let text = text.replacen(self.instead.0, self.instead.1, 1);
        parse::<RawCollectorConfig>(&text, "test")
            .and_then(CollectorConfig::check)
            .unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn start(
        &self,
        instance: &str,
        mode: &str,
        stop: &CancellationToken,
    ) -> tokio::task::JoinHandle<Result<CollectorSummary, Fault>> {
        let options = RunOptions { once: true, progress: false };
        let status = WorkerStatus::new("collector", &["kafka", "registry", "database"]);
        tokio::spawn(run(self.config(instance, mode), options, status, stop.clone()))
    }

    /// How often each record is in the topic for `read_committed` readers: flights by the number that the API gave
    /// them (in `distance`, unique), letters by their bytes.
    async fn read(&self, topic: &str) -> HashMap<Vec<u8>, u32> {
        let (kafka, topic) = (self.kafka(), topic.to_owned());
        tokio::task::spawn_blocking(move || {
            let mut seen = HashMap::new();
            read_to_end(&kafka, &topic, &mut BTreeMap::new(), |record| {
                *seen.entry(record.value.unwrap_or_default().to_vec()).or_default() += 1;
            })
            .unwrap();
            seen
        })
        .await
        .unwrap()
    }

    async fn states(&self) -> HashMap<String, i64> {
        let claims = JobClaims::connect(&self.database, self.job, 1).await.unwrap();
        claims.status().await.unwrap().into_iter().map(|count| (count.state, count.ids)).collect()
    }

    /// What the checkpoint topic says, when pages came twice.
    async fn tell_checkpoints(&self) {
        let (kafka, topic) = (self.kafka(), format!("sluice.collector.{}.checkpoints", self.job));
        let told = tokio::task::spawn_blocking(move || {
            read_to_end(&kafka, &topic, &mut BTreeMap::new(), |record| {
                let text =
                    |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
                eprintln!("{} {} {}", record.offset, text(record.key), text(record.value));
            })
        });
        told.await.unwrap().unwrap();
    }

    /// Everything the API has is there once.
    async fn all_there_once(&self) {
        let expected = self.api.truth();
        let flights = self.read(&self.topic(FLIGHTS)).await;
        let letters = self.read(&format!("{}.dead-letter", self.topic(FLIGHTS))).await;
        let aircraft = self.read(&self.topic(AIRCRAFT)).await;
        let twice = |seen: &HashMap<Vec<u8>, u32>| seen.values().filter(|count| **count > 1).count();
        if twice(&flights) > 0 {
            self.tell_checkpoints().await;
        }
        assert_eq!(
            (twice(&flights), twice(&letters), twice(&aircraft)),
            (0, 0, 0),
            "records that came twice"
        );
        assert_eq!(
            (flights.len(), letters.len(), aircraft.len()),
            (expected.flights, expected.broken, expected.aircraft)
        );
    }
}

async fn two_at_once(job: &'static str, postgres: bool) {
    let bench = CollectorTestBench::new(job, postgres, SeededApi::start(40, 11).await).await;
    let stop = CancellationToken::new();
    let (one, two) = (bench.start("one", "transactional", &stop), bench.start("two", "transactional", &stop));
    let (one, two) = (one.await.unwrap().unwrap(), two.await.unwrap().unwrap());
    eprintln!("one: {one}\ntwo: {two}");
    bench.all_there_once().await;
    let truth = bench.api.truth();
    assert_eq!(one.done + two.done, bench.api.ids().len() as u64);
    assert_eq!(one.records + two.records, (truth.flights + truth.aircraft) as u64);
    assert_eq!(one.rejects + two.rejects, truth.broken as u64);
    assert_eq!(bench.states().await, HashMap::from([("done".to_owned(), 40)]));
    let again = bench.start("one", "transactional", &stop).await.unwrap().unwrap();
    assert_eq!(again.pages, 0, "a second run has nothing to do");
    assert_eq!(bench.api.without_token(), 0);
    assert!(bench.api.too_early() == 0, "Retry-After was undercut");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_collectors_publish_everything_once_from_mariadb() {
    two_at_once("twomy", false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_collectors_publish_everything_once_from_postgres() {
    two_at_once("twopg", true).await;
}

/// Aborting the run drops claims, tasks and producer where they stand, between any two steps; nothing is given back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_collector_left_is_taken_over_without_a_page_lost_or_repeated() {
    let bench = CollectorTestBench::new("crash", false, SeededApi::start(80, 12).await).await;
    let stop = CancellationToken::new();
    for (life, pages) in [5, 17, 33, 40].into_iter().enumerate() {
        let victim = bench.start(&format!("victim-{life}"), "transactional", &stop);
        bench.api.served_since_now(pages).await;
        victim.abort();
        assert!(victim.await.unwrap_err().is_cancelled());
        bench.let_leases_pass().await;
    }
    let heir = bench.start("heir", "transactional", &stop).await.unwrap().unwrap();
    eprintln!("heir: {heir}");
    assert!(heir.taken_over > 0);
    bench.all_there_once().await;
    assert_eq!(bench.states().await, HashMap::from([("done".to_owned(), 80)]));
}

/// A collector that is only slow: its leases pass and another takes its ids over, dies before it fenced it, and comes
/// back. The slow one publishes on all the while, until it is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_was_fenced_stops_and_leaves_no_trace() {
    let bench = CollectorTestBench::new("fenced", true, SeededApi::start(24, 13).await).await;
    let stop = CancellationToken::new();
    let slow = bench.start("slow", "transactional", &stop);
    bench.api.served_since_now(15).await;
    let claims = JobClaims::connect(&bench.database, bench.job, 1).await.unwrap();
    bench.let_leases_pass().await;
    let holder = "test-fenced-collector-heir".to_owned();
    let terms = ClaimTerms { holder, lease: Duration::from_secs(30), attempts: 5, due_until: None };
    let taken = claims.claim(1_000, &terms).await.unwrap();
    let over = taken.iter().filter(|claim| !claim.taken_from.is_empty()).count();
    assert!(over > 0, "the slow one held nothing");
    let heir = bench.start("heir", "transactional", &stop).await.unwrap().unwrap();
    // It ends with the news of being fenced, or, if every page of its own was out by then, without.
    let slow = slow.await.unwrap();
    eprintln!("heir: {heir}\nslow: {slow:?}");
    assert!(heir.taken_over >= over as u64);
    bench.all_there_once().await;
    assert_eq!(bench.states().await, HashMap::from([("done".to_owned(), 24)]));
}

/// A database that was away for longer than a lease: the process takes its own ids again while its tasks still work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_that_pass_under_its_own_hands_repeat_nothing() {
    let bench = CollectorTestBench::new("own", false, SeededApi::start(60, 17).await).await;
    let only = bench.start("only", "transactional", &CancellationToken::new());
    for _ in 0..8 {
        bench.api.served_since_now(9).await;
        bench.let_leases_pass().await;
    }
    let only = only.await.unwrap().unwrap();
    eprintln!("{only}");
    bench.all_there_once().await;
    assert_eq!(bench.states().await, HashMap::from([("done".to_owned(), 60)]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_stop_it_gives_everything_back_and_another_goes_on() {
    for (job, mode) in [("stoptx", "transactional"), ("stopid", "idempotent")] {
        let bench = CollectorTestBench::new(job, false, SeededApi::start(30, 14).await).await;
        let stop = CancellationToken::new();
        let first = bench.start("first", mode, &stop);
        bench.api.served_since_now(20).await;
        stop.cancel();
        let first = first.await.unwrap().unwrap();
        eprintln!("{mode}: {first}");
        assert!(first.released > 0);
        assert!(!bench.states().await.contains_key("claimed"), "nothing stays claimed");
        let rest = bench.start("second", mode, &CancellationToken::new()).await.unwrap().unwrap();
        assert_eq!(rest.taken_over, 0);
        assert_eq!(first.done + rest.done, 30);
        bench.all_there_once().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_credentials_stop_the_run_and_skip_nothing() {
    let bench = CollectorTestBench::new("denied", false, SeededApi::start(5, 15).await).await;
    std::fs::write(bench.folder.join("token"), "wrong-secret").unwrap();
    let fault = bench.start("one", "transactional", &CancellationToken::new()).await.unwrap().unwrap_err();
    assert!(fault.to_string().contains("401") && !fault.to_string().contains("wrong-secret"), "{fault}");
    let states = bench.states().await;
    assert_eq!(states, HashMap::from([("due".to_owned(), 5)]), "everything is given back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_that_loops_makes_the_id_dead_and_says_where() {
    let bench = CollectorTestBench::new("loops", false, SeededApi::start(2, 16).await.looping()).await;
    let summary = bench.start("one", "transactional", &CancellationToken::new()).await.unwrap().unwrap();
    assert_eq!((summary.done, summary.dead), (0, 2));
    let claims = JobClaims::connect(&bench.database, bench.job, 1).await.unwrap();
    let buried = claims.buried(10).await.unwrap();
    assert!(buried[0].reason.contains("earlier page"), "{}", buried[0].reason);
    tokio::time::timeout(Duration::from_secs(5), claims.close()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_the_api_refuses_does_not_hold_up_the_others() {
    let bench = CollectorTestBench::new("private", true, SeededApi::with_private(8, 18, Some(0)).await).await;
    let summary = bench.start("one", "transactional", &CancellationToken::new()).await.unwrap().unwrap();
    assert_eq!((summary.done, summary.dead), (7, 1), "{summary}");
    assert!(summary.findings[0].contains("1 ids died in this run"), "{:?}", summary.findings);
    let claims = JobClaims::connect(&bench.database, bench.job, 1).await.unwrap();
    let buried = claims.buried(10).await.unwrap();
    assert!(buried[0].id == "N0000" && buried[0].reason.contains("`on_status`"), "{buried:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_no_page_had_is_said_with_the_keys_that_were_there() {
    let mut bench = CollectorTestBench::new("unseen", false, SeededApi::start(3, 19).await).await;
    bench.instead = ("at: meta.next", "at: meta.cursor");
    let summary = bench.start("one", "transactional", &CancellationToken::new()).await.unwrap().unwrap();
    let [finding] = &summary.findings[..] else { panic!("{:?}", summary.findings) };
    for part in ["endpoint flights", "`meta.cursor`", "keys meta, next, data", "`optional: true`"] {
        assert!(finding.contains(part), "{part}: {finding}");
    }
    assert!(!finding.contains("N000"), "no values: {finding}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_of_a_number_of_ids_ends_after_them() {
    let mut bench = CollectorTestBench::new("some", true, SeededApi::start(12, 20).await).await;
    bench.instead = ("claim: 7", "claim: 7, ids_per_run: 5");
    for (run, done) in [(1, 5), (2, 10), (3, 12)] {
        let summary = bench.start("one", "transactional", &CancellationToken::new()).await.unwrap().unwrap();
        assert!(summary.findings.is_empty(), "{:?}", summary.findings);
        assert_eq!(bench.states().await["done"], done, "after run {run}");
    }
    bench.all_there_once().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_records_are_listed_asked_for_again_and_settled_when_they_come() {
    let bench = CollectorTestBench::new("rejects", true, SeededApi::start(30, 21).await).await;
    let broken = bench.api.truth().broken;
    assert!(broken > 1, "the seed makes broken records");
    let run = || async {
        bench.start("one", "transactional", &CancellationToken::new()).await.unwrap().unwrap();
    };
    run().await;
    let config = || bench.config("one", "transactional");
    let letters = rejected(&config()).await.unwrap();
    assert_eq!(letters.len(), broken);
    for letter in &letters {
        assert_eq!((letter.endpoint.as_str(), letter.run, letter.path.as_str()), ("flights", 1, "carrier"));
        assert!(letter.id.starts_with("N00") && letter.index < 5, "{letter:?}");
    }

    // Asked again while the API still sends them: the same records are refused in a newer run.
    let ids: std::collections::BTreeSet<_> = letters.iter().map(|letter| letter.id.clone()).collect();
    assert_eq!(retry_rejected(&config(), None).await.unwrap(), ids.len() as u64);
    assert_eq!(rejected(&config()).await.unwrap().len(), broken, "they count until they have come");
    run().await;
    let again = rejected(&config()).await.unwrap();
    assert!(again.len() == broken && again.iter().all(|letter| letter.run == 2), "{again:?}");

    // One id alone, then the rest, with the API mended.
    bench.api.mend();
    let one = letters[0].id.as_str();
    let of_one = letters.iter().filter(|letter| letter.id == one).count();
    assert_eq!(retry_rejected(&config(), Some(one)).await.unwrap(), 1);
    run().await;
    assert_eq!(rejected(&config()).await.unwrap().len(), broken - of_one);
    retry_rejected(&config(), None).await.unwrap();
    run().await;
    assert_eq!(rejected(&config()).await.unwrap(), []);
}
