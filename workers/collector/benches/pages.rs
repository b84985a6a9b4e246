//! `make bench-collector`: pages per second, resident memory and records per CPU-second of one collector process
//! against an API that answers at once, with broker, database and API beside it; and dlt's rest_api source on the same
//! API. One JSON line per figure. `BENCH_IDS` makes it smaller, `BENCH_PYTHON` names a Python that has dlt.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Query;
use axum::routing::get;
use bytes::Bytes;
use sluice_stack::{Stack, process};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

const PAGES: u64 = 4;
const RECORDS: u64 = 50;

fn say(name: &str, value: f64, unit: &str, peer: Option<(&str, f64)>) {
    let round = |value: f64| (value * 100.0).round() / 100.0;
    let mut line = serde_json::json!({"name": name, "value": round(value), "unit": unit});
    if let Some((peer, value)) = peer {
        line["peer"] = peer.into();
        line["peer_value"] = round(value).into();
    }
    println!("{line}");
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

async fn api() -> String {
    let pages = pages();
    let json = [("content-type", "application/json")];
    let answer = move |Query(query): Query<HashMap<String, String>>| {
        let nth: usize = query.get("page").map_or(0, |page| page.parse().unwrap());
        let page = pages[nth].clone();
        async move { (json, page) }
    };
    let ids = move |Query(query): Query<HashMap<String, u64>>| async move {
        let ids: Vec<_> = (0..query["count"]).map(|nth| format!(r#"{{"id":"i{nth}"}}"#)).collect();
        (json, format!(r#"{{"data":[{}]}}"#, ids.join(",")))
    };
    let app = Router::new().route("/v1/{id}", get(answer)).route("/ids", get(ids));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("SLUICE_BIN") {
        return path.into();
    }
    let own = std::env::current_exe().unwrap();
    own.ancestors().nth(2).unwrap().join("sluice")
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

fn prepare(stack: &Stack, folder: &Path, api: &str, ids: u64, runtime: &tokio::runtime::Runtime) -> PathBuf {
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write("url", stack.mariadb_url());
    let schemas = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas");
    let common = format!(
        "kafka: {{brokers: \"{}\"}}\nregistry: {{url: \"{}\"}}\nschemas: {schemas}\n",
        stack.brokers(),
        stack.registry_url()
    );
    write("apply.yaml", &common);
    let applied =
        Command::new(binary()).args(["apply", "-c"]).arg(folder.join("apply.yaml")).output().unwrap();
    assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
    runtime.block_on(async {
        let mut one = sqlx::MySqlConnection::connect(stack.mariadb_url()).await.unwrap();
        one.execute("CREATE TABLE ids (id VARCHAR(20) PRIMARY KEY)").await.unwrap();
        let sql = format!("INSERT INTO ids SELECT CONCAT('i', seq) FROM seq_0_to_{}", ids - 1);
        one.execute(AssertSqlSafe(sql)).await.unwrap();
    });
    write(
        "job.yaml",
        &format!(
            "{common}job: bench\ngroup: bench\ndatabase: {{url: {{file: {}/url}}, table: ids, id_column: id}}\n\
             api: {{base_url: \"{api}\"}}\n\
             endpoints: [{{name: flights, path: \"/v1/{{id}}\", pagination: {{kind: next_url, at: next}}, record_path: data, topic: aviation.flight.v1}}]\n",
            folder.display()
        ),
    );
    folder.join("job.yaml")
}

fn main() {
    // `cargo test` builds and runs benches too: only `make bench-collector` asks for figures.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let ids: u64 = std::env::var("BENCH_IDS").map_or(10_000, |ids| ids.parse().unwrap());
    let stack = Stack::builder().kafka(1).registry().mariadb().start().expect("the servers start");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let api = runtime.block_on(api());
    let folder = tempfile::tempdir().unwrap();
    let job = prepare(&stack, folder.path(), &api, ids, &runtime);
    let mut command = process::guarded(binary());
    command.args(["run", "collector", "--once", "-c"]).arg(&job).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(std::fs::File::create(folder.path().join("log")).unwrap());
    let begun = Instant::now();
    let mut child = process::spawn(command).unwrap();
    let (mut cpu, mut peak) = (0.0, 0);
    let status = loop {
        if let Some((now, most)) = usage(child.id()) {
            (cpu, peak) = (now, most.max(peak));
        }
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let seconds = begun.elapsed().as_secs_f64();
    assert!(status.success(), "{}", std::fs::read_to_string(folder.path().join("log")).unwrap());
    let pages = (ids * PAGES) as f64;
    let records = pages * RECORDS as f64;
    say("collector.pages", pages / seconds, "pages/s", None);
    say("collector.resident", peak as f64 / 1048576.0, "MiB", None);
    let python = std::env::var("BENCH_PYTHON").unwrap_or_else(|_| "python3".into());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../benches/collector/dlt_rest.py");
    let peer_ids = (ids / 20).clamp(1, 500);
    let output = Command::new(&python).args([script, &api, &peer_ids.to_string()]).output();
    let peer = output.ok().filter(|output| output.status.success()).and_then(|output| {
        let line = output.stdout.split(|byte| *byte == b'\n').rev().find(|line| line.starts_with(b"{"))?;
        let told: serde_json::Value = serde_json::from_slice(line).ok()?;
        assert_eq!(
            told["records"].as_u64(),
            Some(peer_ids * PAGES * RECORDS),
            "the peer read all of its pages"
        );
        Some(("dlt rest_api", told["records"].as_f64()? / told["cpu"].as_f64()?))
    });
    if peer.is_none() {
        eprintln!("no figure of dlt: {python} does not have it (pip install dlt), set BENCH_PYTHON");
    }
    say("collector.records_per_cpu_second", records / cpu, "records/CPU-s", peer);
}
