//! `make bench-collector`: pages per second, resident memory and records per CPU-second of one collector process
//! against an API that answers at once, with broker, database and API beside it on the same cores; dlt's rest_api
//! source on the same API; and what the API counts when four collectors share a limit. One JSON line per figure.
//!
//! `BENCH_IDS` and `BENCH_ROUNDS` make it smaller, `BENCH_CONCURRENCY` sets how many ids are worked on at once, `BENCH_PYTHON` names a
//! Python that has dlt, `BENCH_LIMIT=0` leaves the shared limit out.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Query;
use axum::routing::get;
use bytes::Bytes;
use sluice_collector::{CollectorConfig, RunOptions};
use sluice_kafka::admin::KafkaAdmin;
use sluice_runtime::config::{KafkaSection, RegistrySection};
use sluice_runtime::registry::SchemaRegistry;
use sluice_runtime::status::WorkerStatus;
use sluice_stack::{ServerStack, process};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
use tokio_util::sync::CancellationToken;

const PAGES: u64 = 4;
const RECORDS: u64 = 50;
const TOPIC: &str = "aviation.flight.v1";
/// Of the shared limit, and of how many ids.
const LIMIT: u64 = 200;
const LIMITED: u64 = 1_500;
const REPLICAS: usize = 4;
/// In the environment of a child: the job's file.
const CHILD: &str = "BENCH_CHILD";

type BenchArrivalTimes = Arc<Mutex<Vec<Instant>>>;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn say(name: &str, value: f64, unit: &str, peer: Option<(&str, f64)>) {
    let round = |value: f64| (value * 1000.0).round() / 1000.0;
    let mut line = serde_json::json!({"name": name, "value": round(value), "unit": unit});
    if let Some((peer, value)) = peer {
        line["peer"] = peer.into();
        line["peer_value"] = round(value).into();
    }
    println!("{line}");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Pages are made once: what is measured is not the API.
fn pages() -> Vec<Bytes> {
    let page = |page: u64| {
        let record = |nth: u64| {
            format!(
                r#"{{"year":2013,"month":1,"day":1,"dep_time":517,"sched_dep_time":515,"dep_delay":2,"arr_time":830,"sched_arr_time":819,"arr_delay":null,"carrier":"UA","flight":1545,"tailnum":"N14228","origin":"EWR","dest":"IAH","air_time":227,"distance":{nth},"hour":5,"minute":15,"time_hour":"2013-01-01T10:00:00Z"}}"#
            )
        };
        let records: Vec<_> = (page * RECORDS..(page + 1) * RECORDS).map(record).collect();
        let next = if page + 1 < PAGES { format!("\"?page={}\"", page + 1) } else { "null".into() };
        Bytes::from(format!(r#"{{"next":{next},"data":[{}]}}"#, records.join(",")))
    };
    (0..PAGES).map(page).collect()
}

async fn api(arrivals: BenchArrivalTimes) -> String {
    let pages = pages();
    let json = [("content-type", "application/json")];
    let page = move |Query(query): Query<HashMap<String, String>>| {
        pages[query.get("page").map_or(0, |page| page.parse().unwrap())].clone()
    };
    let answer = page.clone();
    let counted = move |query: Query<HashMap<String, String>>| {
        arrivals.lock().unwrap().push(Instant::now());
        let page = page(query);
        async move { (json, page) }
    };
    let answer = move |query: Query<HashMap<String, String>>| {
        let page = answer(query);
        async move { (json, page) }
    };
    let ids = move |Query(query): Query<HashMap<String, u64>>| async move {
        let ids: Vec<_> = (0..query["count"]).map(|nth| format!(r#"{{"id":"i{nth}"}}"#)).collect();
        (json, format!(r#"{{"data":[{}]}}"#, ids.join(",")))
    };
    let app = Router::new();
    let app = app.route("/v1/{id}", get(answer)).route("/limited/{id}", get(counted)).route("/ids", get(ids));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

/// CPU-seconds and peak resident bytes of a process that runs.
fn usage(pid: u32) -> Option<(f64, u64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let peak = peak.split_ascii_whitespace().next()?.parse::<u64>().ok()? << 10;
    // USER_HZ is 100 on every Linux that this is built for.
    Some((ticks as f64 / 100.0, peak))
}

struct CollectorPageBench {
    stack: ServerStack,
    folder: PathBuf,
    api: String,
}

impl CollectorPageBench {
    async fn prepare(&self) {
        let write = |name: &str, text: &str| std::fs::write(self.folder.join(name), text).unwrap();
        write("url", self.stack.mariadb_url());
        let kafka = KafkaSection {
            brokers: self.stack.brokers().to_owned(),
            properties: BTreeMap::new(),
            secrets: BTreeMap::new(),
        };
        let admin = KafkaAdmin::new(&kafka).unwrap();
        for topic in [TOPIC.to_owned(), sluice_contract::dead_letter_topic(TOPIC)] {
            admin.create(&topic, 4, 1, &BTreeMap::new()).await.unwrap();
        }
        let contracts = sluice_runtime::contracts::load(Path::new(&schemas())).unwrap();
        let contract = contracts.iter().find(|contract| contract.raw_topic == TOPIC).unwrap();
        let registry = RegistrySection::open(self.stack.registry_url().to_owned());
        let registry = SchemaRegistry::new(&registry).unwrap();
        registry.register(&sluice_contract::value_subject(TOPIC), contract.value.json()).await.unwrap();
    }

    async fn table(&self, name: &str, ids: u64) {
        let mut one = sqlx::MySqlConnection::connect(self.stack.mariadb_url()).await.unwrap();
        let create = format!("CREATE TABLE {name} (id VARCHAR(20) PRIMARY KEY)");
        one.execute(AssertSqlSafe(create)).await.unwrap();
        let sql = format!("INSERT INTO {name} SELECT CONCAT('i', seq) FROM seq_0_to_{}", ids - 1);
        one.execute(AssertSqlSafe(sql)).await.unwrap();
    }

    fn job(&self, name: &str, path: &str, rate: &str) -> PathBuf {
        let file = self.folder.join(format!("{name}.yaml"));
        let text = format!(
            "kafka: {{brokers: \"{}\"}}\nregistry: {{url: \"{}\"}}\nschemas: {}\njob: {name}\ngroup: bench\n\
             database: {{url: {{file: {}/url}}, table: {name}, id_column: id}}\n\
             api: {{base_url: \"{}\"}}\nrate: {{{rate}}}\n\
             endpoints: [{{name: flights, path: \"{path}\", pagination: {{kind: next_url, at: next}}, record_path: data, topic: {TOPIC}}}]\n",
            self.stack.brokers(),
            self.stack.registry_url(),
            schemas(),
            self.folder.display(),
            self.api,
        );
        std::fs::write(&file, text).unwrap();
        file
    }

    /// A collector of its own process; this same program.
    fn start(&self, job: &Path, log: &str) -> Child {
        let mut command = process::guarded(std::env::current_exe().unwrap());
        command.env(CHILD, job).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(std::fs::File::create(self.folder.join(log)).unwrap());
        process::spawn(command).unwrap()
    }

    /// Everything collected once: pages per second, peak MiB and records per CPU-second.
    fn collect(&self, runtime: &tokio::runtime::Runtime, mode: &str, round: u64, ids: u64) -> [f64; 3] {
        let name = format!("{mode}{round}");
        runtime.block_on(self.table(&name, ids));
        let concurrency = format!("concurrency: {}", number("BENCH_CONCURRENCY", 64));
        let job = self.job(&name, "/v1/{id}", &concurrency);
        let text = std::fs::read_to_string(&job).unwrap();
        std::fs::write(&job, format!("{text}mode: {mode}\n")).unwrap();
        let begun = Instant::now();
        let (cpu, peak) = self.ended(self.start(&job, &name), &name);
        let pages = (ids * PAGES) as f64;
        let rate = pages / begun.elapsed().as_secs_f64();
        [rate, peak as f64 / 1048576.0, pages * RECORDS as f64 / cpu]
    }

    fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.join(name)).unwrap_or_default()
    }

    /// Waits for its end; CPU-seconds and peak resident bytes.
    fn ended(&self, mut child: Child, log: &str) -> (f64, u64) {
        let (mut cpu, mut peak) = (0.0, 0);
        loop {
            if let Some((now, most)) = usage(child.id()) {
                (cpu, peak) = (now, most.max(peak));
            }
            if let Some(status) = child.try_wait().unwrap() {
                assert!(status.success(), "{}", self.log(log));
                return (cpu, peak);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn schemas() -> String {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas").to_owned()
}

/// The collector as `sluice run collector --once` runs it.
fn child(job: &Path) {
    sluice_runtime::telemetry::init();
    let config = CollectorConfig::load(job).unwrap_or_else(|errors| panic!("{errors}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let options = RunOptions { once: true, progress: false };
    let status = WorkerStatus::new("collector", &["kafka", "registry", "database"]);
    runtime.block_on(sluice_collector::run(config, options, status, CancellationToken::new())).unwrap();
}

/// Records per CPU-second of dlt, over the same API.
fn dlt(api: &str, ids: u64) -> Option<f64> {
    let python = std::env::var("BENCH_PYTHON").unwrap_or_else(|_| "python3".into());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../benches/collector/dlt_rest.py");
    let output = Command::new(&python).args([script, api, &ids.to_string()]).output().ok()?;
    if !output.status.success() {
        eprintln!("no figure of dlt ({python}): {}", String::from_utf8_lossy(&output.stderr));
        return None;
    }
    let line = output.stdout.split(|byte| *byte == b'\n').rev().find(|line| line.starts_with(b"{"))?;
    let told: serde_json::Value = serde_json::from_slice(line).ok()?;
    assert_eq!(told["records"].as_u64(), Some(ids * PAGES * RECORDS), "the peer read all of its pages");
    Some(told["records"].as_f64()? / told["cpu"].as_f64()?)
}

/// The most arrivals in any second, and the mean per second between the first seconds and the last.
fn counted(arrivals: &[Instant]) -> (usize, f64) {
    let second = Duration::from_secs(1);
    let mut first = 0;
    let mut most = 0;
    for (nth, at) in arrivals.iter().enumerate() {
        while *at - arrivals[first] >= second {
            first += 1;
        }
        most = most.max(nth + 1 - first);
    }
    let (from, to) = (arrivals[0] + 5 * second, arrivals[arrivals.len() - 1] - 3 * second);
    let inside = arrivals.iter().filter(|at| (from..to).contains(*at)).count();
    (most, inside as f64 / (to - from).as_secs_f64())
}

fn main() {
    if let Some(job) = std::env::var_os(CHILD) {
        return child(Path::new(&job));
    }
    // `cargo test` builds and runs benches too: only `make bench-collector` asks for figures.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let ids = number("BENCH_IDS", 5_000);
    let stack = ServerStack::builder().kafka(1).registry().mariadb().start().expect("the servers start");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let arrivals = BenchArrivalTimes::default();
    let api = runtime.block_on(api(Arc::clone(&arrivals)));
    let folder = tempfile::tempdir().unwrap();
    let bench = CollectorPageBench { stack, folder: folder.path().to_owned(), api };
    runtime.block_on(bench.prepare());

    // Interleaved, because machines are not the same from one minute to the next; said are medians.
    let mut figures: BTreeMap<&str, [Vec<f64>; 3]> = BTreeMap::new();
    let mut peers = Vec::new();
    for round in 0..number("BENCH_ROUNDS", 3) {
        peers.extend(dlt(&bench.api, (ids / 10).clamp(1, 500)));
        for mode in ["transactional", "idempotent"] {
            let [rate, resident, per_cpu] = bench.collect(&runtime, mode, round, ids);
            eprintln!("{mode} {round}: {rate:.0} pages/s, {resident:.1} MiB, {per_cpu:.0} records/CPU-s");
            let [rates, residents, per_cpus] = figures.entry(mode).or_default();
            rates.push(rate);
            residents.push(resident);
            per_cpus.push(per_cpu);
        }
    }
    peers.iter().for_each(|peer| eprintln!("dlt: {peer:.0} records/CPU-s"));
    let peer = (!peers.is_empty()).then(|| ("dlt rest_api", median(peers)));
    for (mode, [rates, residents, per_cpus]) in figures {
        say(&format!("collector.{mode}.pages"), median(rates), "pages/s", None);
        say(&format!("collector.{mode}.resident"), median(residents), "MiB", None);
        let name = format!("collector.{mode}.records_per_cpu_second");
        say(&name, median(per_cpus), "records/CPU-s", peer);
    }

    if number("BENCH_LIMIT", 1) > 0 {
        runtime.block_on(bench.table("limited", LIMITED));
        let job = bench.job("limited", "/limited/{id}", &format!("requests_per_second: {LIMIT}"));
        let names: Vec<String> = (0..REPLICAS).map(|nth| format!("limited-{nth}")).collect();
        let replicas: Vec<Child> = names.iter().map(|name| bench.start(&job, name)).collect();
        for (replica, name) in replicas.into_iter().zip(&names) {
            bench.ended(replica, name);
        }
        let (most, mean) = counted(&arrivals.lock().unwrap());
        say("collector.limit.most_in_a_second", most as f64 / LIMIT as f64, "of the limit", None);
        say("collector.limit.mean", mean / LIMIT as f64, "of the limit", None);
    }
}
