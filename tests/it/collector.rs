//! Collectors that are killed and stopped at random while they share one table: `make fault-collector` runs it at full
//! size (`SLUICE_FAULT_IDS`), `SLUICE_FAULT_CASES` picks cases by name, `SLUICE_SEED` repeats a run.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use sluice_lease::JobClaims;
use sluice_stack::ServerStack;
use sluice_tests::contract::TestContract;
use sluice_tests::worker::TestWorkerProcess;
use sluice_tests::{clients, eventually, servers};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

const PROCESSES: usize = 8;
const PER_PAGE: u64 = 3;
const LEASE: Duration = Duration::from_secs(5);
/// Longer than a lease, a restart and everything that stands still between them.
const PATIENCE: Duration = Duration::from_secs(120);
/// Ids of the run within `make test`.
const SHORT: u64 = 300;

/// How many pages an id has: 1 to 4, or 1 to 2 where there are many ids; the same in every run.
fn pages(id: u64) -> u64 {
    (id.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33) % if is_short() { 4 } else { 2 } + 1
}

fn is_short() -> bool {
    number("SLUICE_FAULT_IDS", SHORT) <= SHORT
}

/// The id that the API does not know.
const GONE: &str = "i000003";

async fn answer(
    Path(id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> (StatusCode, String) {
    if query.get("gone") == Some(&id) {
        return (StatusCode::GONE, String::new());
    }
    // A short run would be over before anything could go wrong.
    if is_short() {
        tokio::time::sleep(Duration::from_millis(80)).await;
    }
    let nth: u64 = id[1..].parse().unwrap();
    let page = query.get("page").map_or(1, |page| page.parse().unwrap()) - 1;
    let from = page * PER_PAGE;
    let to = if page < pages(nth) { from + PER_PAGE } else { from };
    let rows: Vec<_> = (from..to).map(|n| format!(r#"{{"id":"{id}","n":{n},"note":"x"}}"#)).collect();
    let more = page + 1 < pages(nth);
    (StatusCode::OK, format!(r#"{{"data":[{}],"more":{more}}}"#, rows.join(",")))
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

struct CollectorFaultBench {
    runtime: tokio::runtime::Runtime,
    contract: TestContract,
    claims: JobClaims,
    api: String,
    ids: u64,
    transactional: bool,
    /// Ids that one process works on at once.
    concurrency: usize,
    /// The API does not know one of the ids.
    gone: bool,
}

/// What was done to the eight.
#[derive(Debug, Clone, Copy, Default)]
struct CollectorBlowCounts {
    kills: u64,
    stops: u64,
}

/// One of the eight, and what was done to it.
struct CollectorProcess {
    worker: TestWorkerProcess,
    config: std::path::PathBuf,
    thaws: Option<Instant>,
}

impl CollectorFaultBench {
    fn new(name: &str, url: &str, ids: u64, transactional: bool) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let contract = TestContract::applied(name, servers());
        contract.write("url", url);
        let (claims, api) = runtime.block_on(async {
            execute(url, format!("CREATE TABLE ids_of_{name} (id VARCHAR(20) PRIMARY KEY)")).await;
            let all: Vec<u64> = (0..ids).collect();
            for some in all.chunks(5_000) {
                let rows: Vec<_> = some.iter().map(|id| format!("('i{id:06}')")).collect();
                execute(url, format!("INSERT INTO ids_of_{name} VALUES {}", rows.join(","))).await;
            }
            let app = Router::new().route("/v1/{id}", axum::routing::get(answer));
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let api = format!("http://{}", listener.local_addr().unwrap());
            tokio::spawn(async move { axum::serve(listener, app).await });
            let claims = JobClaims::connect(url, name, 2).await.unwrap();
            claims.migrate().await.unwrap();
            (claims, api)
        });
        let concurrency = if is_short() { 2 } else { 8 };
        Self { runtime, contract, claims, api, ids, transactional, concurrency, gone: false }
    }

    fn config(&self, nth: usize) -> std::path::PathBuf {
        let (name, mode) =
            (&self.contract.name, if self.transactional { "transactional" } else { "idempotent" });
        // Every other one has a name that outlives it: it takes its own ids back at once.
        let instance = if nth.is_multiple_of(2) { format!("instance: w{nth}\n") } else { String::new() };
        let (concurrency, claim) = (self.concurrency, if is_short() { 20 } else { 100 });
        // A short run also meets the empty page behind an id's last one.
        let more = if is_short() { "" } else { ", more_at: more" };
        let gone = if self.gone { format!("?gone={GONE}") } else { String::new() };
        let text = format!(
            "{}admin: {{listen: \"127.0.0.1:0\"}}\njob: {name}\ngroup: {name}\n{instance}mode: {mode}\n\
             database: {{url: {{file: {}}}, table: ids_of_{name}, id_column: id, claim: {claim}, lease_seconds: {}, attempts: 1000, connections: 3}}\n\
             api: {{base_url: \"{}\"}}\nrate: {{concurrency: {concurrency}}}\n\
             endpoints: [{{name: e, path: \"/v1/{{id}}{gone}\", pagination: {{kind: page{more}}}, record_path: data, topic: {}}}]\n",
            self.contract.common(),
            self.contract.file("url").display(),
            LEASE.as_secs(),
            self.api,
            self.contract.raw(),
        );
        self.contract.write(&format!("c{nth}.yaml"), &text)
    }

    /// Ids in one state.
    fn ids(&self, state: &str) -> u64 {
        let counts = self.runtime.block_on(self.claims.status()).unwrap();
        counts.iter().filter(|count| count.state == state).map(|count| count.ids as u64).sum()
    }

    /// Runs until every id is done; answers how often a process died or was stopped.
    fn run(&self, random: &mut StdRng) -> CollectorBlowCounts {
        let start = |nth: usize| {
            let config = self.config(nth);
            CollectorProcess { worker: TestWorkerProcess::start("collector", &config), config, thaws: None }
        };
        let mut processes: Vec<CollectorProcess> = (0..PROCESSES).map(start).collect();
        let begun = Instant::now();
        let (mut blows, mut next) = (CollectorBlowCounts::default(), None);
        // Counting reads every row: in a long run that would be most of what the database does.
        let every = Duration::from_millis(if is_short() { 100 } else { 2_000 });
        let (mut done, mut counted) = (0, None::<Instant>);
        let gap = if self.ids <= SHORT { 300..900 } else { 1_000..4_000 };
        // However slow the machine: what must not happen is that nothing gets on.
        let (mut last, mut moved) = (0, begun);
        loop {
            if counted.is_none_or(|at| at.elapsed() >= every) {
                (done, counted) = (self.ids("done"), Some(Instant::now()));
            }
            if done == self.ids {
                break;
            }
            if done > last {
                (last, moved) = (done, Instant::now());
            }
            assert!(moved.elapsed() < PATIENCE, "{done} of {} and no further for {PATIENCE:?}", self.ids);
            for process in &mut processes {
                // A zombie that was fenced ends and says so; whoever runs it starts it again.
                if process.worker.has_ended().is_some() {
                    process.worker = TestWorkerProcess::start("collector", &process.config);
                    process.thaws = None;
                }
                if process.thaws.is_some_and(|at| Instant::now() >= at) {
                    process.worker.signal("CONT");
                    process.thaws = None;
                }
            }
            // From the first id on that is done.
            if next.is_none() && done > 0 {
                next = Some(Instant::now());
            }
            if next.is_some_and(|next| Instant::now() >= next) {
                next = Some(Instant::now() + Duration::from_millis(random.random_range(gap.clone())));
                let process = &mut processes[random.random_range(0..PROCESSES)];
                if random.random_bool(0.5) {
                    blows.kills += 1;
                    process.worker.kill();
                    process.worker = TestWorkerProcess::start("collector", &process.config);
                    process.thaws = None;
                } else if process.thaws.is_none() {
                    blows.stops += 1;
                    process.worker.signal("STOP");
                    // Often longer than a lease.
                    let frozen =
                        Duration::from_millis(random.random_range(1_000..2 * LEASE.as_millis() as u64));
                    process.thaws = Some(Instant::now() + frozen);
                }
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        eprintln!("{} ids in {:.1} s, {blows:?}", self.ids, begun.elapsed().as_secs_f64());
        assert!(blows.kills + blows.stops > 3, "hardly anything went wrong: {blows:?}");
        // Zombies wake when everything is done, and get their chance to change something.
        for process in &mut processes {
            process.worker.signal("CONT");
        }
        for process in processes.iter_mut().filter_map(|process| {
            let ended = process.worker.has_ended().is_some();
            (!ended).then_some(process)
        }) {
            process.worker.signal("TERM");
        }
        let patience = Instant::now() + Duration::from_secs(40);
        for process in &mut processes {
            // One that was fenced ends with an error: that is an end too.
            let _ = process.worker.ended(patience.saturating_duration_since(Instant::now()));
        }
        blows
    }

    /// All pages are there; answers how many came again.
    fn repeats(&self) -> u64 {
        let records = clients::committed(&servers(), &self.contract.raw());
        // Framing, then the id's length and text, then n.
        let mut seen: HashMap<Vec<u8>, u64> = HashMap::new();
        let mut repeated: BTreeMap<String, u64> = BTreeMap::new();
        for record in &records {
            let count = seen.entry(record.value.clone().unwrap_or_default()).or_default();
            *count += 1;
            if *count > 1 {
                *repeated
                    .entry(record.headers.get("sluice.page").cloned().unwrap_or_default())
                    .or_default() += 1;
            }
        }
        let expected: u64 = (0..self.ids).map(|id| pages(id) * PER_PAGE).sum();
        assert_eq!(seen.len() as u64, expected, "records of all pages");
        let repeats: u64 = repeated.values().map(|records| records.div_ceil(PER_PAGE)).sum();
        eprintln!("{expected} records, none missing, {repeats} pages came again");
        assert!(repeated.keys().all(|page| page.starts_with(&self.contract.name)), "{repeated:?}");
        let counts = self.runtime.block_on(self.claims.status()).unwrap();
        let told: i64 = counts.iter().map(|count| count.tally.records).sum();
        assert_eq!(told as u64, expected, "the rows say what was done");
        repeats
    }

    fn check(&self, blows: CollectorBlowCounts) {
        let repeats = self.repeats();
        if self.transactional {
            assert_eq!(repeats, 0);
        } else {
            // A process that was killed leaves none; one that was stopped between its last look at the lease and the
            // network, for longer than the lease, those that it had in that gap.
            assert!(repeats <= blows.kills + blows.stops, "{repeats} pages came again after {blows:?}");
        }
        assert_eq!(self.ids("done"), self.ids, "zombies changed something when they woke");
    }
}

async fn execute(url: &str, sql: String) {
    let sql = AssertSqlSafe(sql);
    if url.starts_with("mysql") {
        sqlx::MySqlConnection::connect(url).await.unwrap().execute(sql).await.unwrap();
    } else {
        sqlx::PgConnection::connect(url).await.unwrap().execute(sql).await.unwrap();
    }
}

fn databases() -> Arc<ServerStack> {
    Arc::new(ServerStack::builder().mariadb().postgres().start().expect("MariaDB and Postgres start"))
}

#[test]
fn eight_collectors_that_are_killed_and_stopped_miss_and_repeat_nothing() {
    let (seed, ids) = (number("SLUICE_SEED", rand::random()), number("SLUICE_FAULT_IDS", SHORT));
    eprintln!("SLUICE_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let stack = databases();
    let cases = [
        ("cktxmy", stack.mariadb_url(), true),
        ("cktxpg", stack.postgres_url(), true),
        ("ckidmy", stack.mariadb_url(), false),
        ("ckidpg", stack.postgres_url(), false),
    ];
    let wanted = std::env::var("SLUICE_FAULT_CASES").unwrap_or_default();
    for (name, url, transactional) in cases {
        if !wanted.is_empty() && !wanted.split(',').any(|case| case == name) {
            continue;
        }
        eprintln!("{name}");
        let bench = CollectorFaultBench::new(name, url, ids, transactional);
        let blows = bench.run(&mut random);
        bench.check(blows);
    }
}

/// Exit code and standard output of `sluice collector …`.
fn command(bench: &CollectorFaultBench, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = std::process::Command::new(sluice_tests::binary());
    command.args(["collector", arguments[0], "-c"]).arg(bench.config(0)).args(&arguments[1..]);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    eprintln!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    (output.status.code(), text)
}

#[test]
fn a_job_is_checked_tried_run_looked_at_and_mended_from_the_command_line() {
    let stack = databases();
    let bench = CollectorFaultBench {
        gone: true,
        ..CollectorFaultBench::new("ckcli", stack.postgres_url(), 6, true)
    };
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let (code, checked) = command(&bench, &["check", "--neighbours", "--output", "json"]);
    assert_eq!(code, Some(0), "{checked}");
    assert_eq!(json(&checked)["endpoints"][0]["topic"], bench.contract.raw());
    let tape = bench.contract.file("tape");
    let tape = tape.to_str().unwrap();
    let (code, tried) = command(&bench, &["try", "--id", "i000001", "--record", tape, "--output", "json"]);
    assert_eq!(code, Some(0), "{tried}");
    assert_eq!(json(&tried)["pages"][0]["samples"][0]["id"], "i000001");
    let replay = ["try", "--id", "i000001", "--replay", tape, "--output", "json"];
    assert_eq!(command(&bench, &replay), (Some(0), tried));
    assert_eq!(command(&bench, &["try", "--id", GONE]).0, Some(1), "the API does not know it");
    let (code, printed) = command(&bench, &["migrate", "--print"]);
    assert!(code == Some(0) && printed.contains("CREATE TABLE IF NOT EXISTS sluice_claims"), "{printed}");
    assert_eq!(command(&bench, &["migrate"]).0, Some(0));
    let (code, ran) = command(&bench, &["run", "--once"]);
    assert!(code == Some(1) && ran.contains("5 ids done, 1 dead"), "a run that leaves dead ids: {ran}");
    let (code, status) = command(&bench, &["status", "--output", "json"]);
    assert_eq!((code, &json(&status)[0]["ids"]), (Some(0), &5.into()), "{status}");
    let (code, dead) = command(&bench, &["dead", "--output", "json"]);
    assert_eq!((code, &json(&dead)[0]["id"]), (Some(1), &GONE.into()), "{dead}");
    assert!(json(&dead)[0]["reason"].as_str().unwrap().contains("410"));
    assert_eq!(command(&bench, &["retry", "--id", "nobody"]).0, Some(1));
    let (code, again) = command(&bench, &["retry", "--all", "--output", "json"]);
    assert_eq!((code, json(&again)["due_again"].as_u64()), (Some(0), Some(1)));
    assert_eq!(command(&bench, &["dead"]).0, Some(0));
}

/// Collectors that die between Kafka and the database, one after the other, under one name; the pages that came twice.
fn repeats_after_deaths(name: &str, stack: &ServerStack, environment: &[(&str, &str)]) -> u64 {
    let bench = CollectorFaultBench {
        concurrency: 8,
        ..CollectorFaultBench::new(name, stack.mariadb_url(), 120, false)
    };
    for group in 3..8 {
        let point = format!("pages-durable:{group}");
        let armed = [&[("SLUICE_FAILPOINT", point.as_str())], environment].concat();
        let mut victim = TestWorkerProcess::start_with("collector", &bench.config(0), &armed);
        victim.ended(Duration::from_secs(60));
    }
    let left = bench.ids - bench.ids("done");
    assert!(left > 0, "they died too late");
    let _heir = TestWorkerProcess::start_with("collector", &bench.config(0), environment);
    eventually("the heir's end", Duration::from_secs(60), || (bench.ids("done") == bench.ids).then_some(()));
    bench.repeats()
}

#[test]
fn whoever_takes_over_publishes_only_what_is_not_there() {
    let stack = databases();
    assert_eq!(repeats_after_deaths("ckcall", &stack, &[]), 0);
    let control = repeats_after_deaths("ckcallx", &stack, &[("SLUICE_SABOTAGE", "no-recall")]);
    assert!(control >= 5, "at least one page a death, without the rule: {control}");
}

/// A collector that is stopped with pages in hand, for longer than its leases, and goes on when others have done them.
fn repeats_after_a_thaw(name: &str, stack: &ServerStack, environment: &[(&str, &str)]) -> u64 {
    let bench = CollectorFaultBench {
        concurrency: 8,
        ..CollectorFaultBench::new(name, stack.postgres_url(), 40, false)
    };
    let mut zombie = TestWorkerProcess::start_with("collector", &bench.config(1), environment);
    eventually("pages", Duration::from_secs(60), || (bench.ids("done") > 0).then_some(()));
    zombie.signal("STOP");
    let _heir = TestWorkerProcess::start("collector", &bench.config(3));
    eventually("the heir's end", LEASE + Duration::from_secs(60), || {
        (bench.ids("done") == bench.ids).then_some(())
    });
    zombie.signal("CONT");
    // Told to end, it does so when what it had in hand is done with.
    zombie.end(Duration::from_secs(60));
    bench.repeats()
}

#[test]
fn what_thaws_with_pages_in_hand_sends_none_of_them() {
    let stack = databases();
    assert_eq!(repeats_after_a_thaw("ckthaw", &stack, &[]), 0);
    let control = repeats_after_a_thaw("ckthawx", &stack, &[("SLUICE_SABOTAGE", "no-lease-end")]);
    assert!(control >= 1, "without the rule they come twice");
}

/// A page of a gigabyte, a million records, in the memory of a small one; with real Kafka it takes a minute or two.
#[test]
#[ignore = "a gigabyte: run by hand, with --ignored"]
fn a_page_of_a_gigabyte_takes_the_memory_of_a_small_one() {
    let stack = databases();
    let peak = |name: &str, records: u64| {
        let bench = CollectorFaultBench {
            api: large(records),
            ..CollectorFaultBench::new(name, stack.postgres_url(), 1, true)
        };
        let begun = Instant::now();
        let worker = TestWorkerProcess::start("collector", &bench.config(0));
        let mut peak = 0;
        while bench.ids("done") == 0 {
            assert!(begun.elapsed() < Duration::from_secs(600), "{}", worker.log());
            peak = peak.max(worker.peak_bytes());
            std::thread::sleep(Duration::from_millis(50));
        }
        peak = peak.max(worker.peak_bytes());
        let seconds = begun.elapsed().as_secs_f64();
        eprintln!(
            "{records} records in one page: {seconds:.1} s, {:.1} MiB at most",
            peak as f64 / 1048576.0
        );
        assert_eq!(clients::count(&servers(), &bench.contract.raw()) as u64, records);
        peak
    };
    let small = peak("cksmall", 1_000);
    let large = peak("cklarge", 1_000_000);
    assert!(large < small + (24 << 20), "{small} bytes, then {large}");
}

/// An API whose only page has so many records of a kilobyte each.
fn large(records: u64) -> String {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = move |Query(query): Query<HashMap<String, String>>| async move {
        // There is nothing behind the first page.
        let records = if query.get("page").is_none_or(|page| page == "1") { records } else { 0 };
        if records == 0 {
            return axum::body::Body::from(r#"{"data":[],"more":false}"#);
        }
        let block = move |from: u64| {
            let note = |n: u64| format!("{n:x}-").repeat(1_000 / (format!("{n:x}").len() + 1));
            let record = |n: u64| format!(r#"{{"id":"i{n}","n":{n},"note":"{}"}}"#, note(n));
            let rows: Vec<_> = (from..(from + 100).min(records)).map(record).collect();
            let (before, after) = (if from == 0 { r#"{"data":["# } else { "," }, from + 100 >= records);
            Ok::<_, std::io::Error>(format!(
                "{before}{}{}",
                rows.join(","),
                if after { r#"],"more":false}"# } else { "" }
            ))
        };
        axum::body::Body::from_stream(futures::stream::iter(
            (0..records.div_ceil(100)).map(move |nth| block(nth * 100)),
        ))
    };
    let app = Router::new().route("/v1/{id}", axum::routing::get(answer));
    runtime.spawn(async move { axum::serve(listener, app).await });
    // It answers for as long as the test runs.
    Box::leak(Box::new(runtime));
    url
}

#[test]
fn nobody_keeps_an_id_longer_than_its_lease_after_its_death() {
    let stack = databases();
    let bench = CollectorFaultBench::new("cklease", stack.postgres_url(), 60, true);
    // Ids are held by a process that never comes back, its successor has another name.
    let config = bench.config(1);
    let mut victim = TestWorkerProcess::start("collector", &config);
    eventually("claims", Duration::from_secs(60), || (bench.ids("claimed") > 0).then_some(()));
    victim.kill();
    let (died, left) = (Instant::now(), bench.ids("claimed"));
    let _heir = TestWorkerProcess::start("collector", &config);
    let all_done = || (bench.ids("done") == bench.ids).then_some(());
    eventually("the heir's end", LEASE + Duration::from_secs(30), all_done);
    eprintln!("{left} ids of the dead one were done {:.1} s after its death", died.elapsed().as_secs_f64());
    let records = clients::count(&servers(), &bench.contract.raw()) as u64;
    assert_eq!(records, (0..60).map(|id| pages(id) * PER_PAGE).sum::<u64>());
}
