//! An API that answers whatever a test wants, and a job that asks it; no database, registry or Kafka.
#![allow(dead_code)]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::{IntoResponse, Response};
use sluice_collector::operate::{TrialOptions, TrialReport, try_id};
use sluice_collector::{AnswerTape, CollectorConfig, RawCollectorConfig};
use sluice_core::Fault;
use sluice_runtime::config::parse;

/// What the API was asked.
pub(crate) struct ApiDoubleRequest {
    /// How many requests came before.
    pub(crate) nth: u64,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: HashMap<String, String>,
    pub(crate) raw_query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl ApiDoubleRequest {
    pub(crate) fn number(&self, name: &str, otherwise: u64) -> u64 {
        self.query.get(name).map_or(otherwise, |text| text.parse().unwrap())
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// Starts an API; answers its base URL.
pub(crate) async fn serve(answer: impl Fn(ApiDoubleRequest) -> Response + Send + Sync + 'static) -> String {
    let (answer, count) = (Arc::new(answer), Arc::new(AtomicU64::new(0)));
    let app = Router::new().fallback(move |request: Request| {
        let (answer, count) = (Arc::clone(&answer), Arc::clone(&count));
        async move {
            let (parts, body) = request.into_parts();
            let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
            let nth = count.fetch_add(1, Ordering::SeqCst);
            answer(asked(nth, parts.method, &parts.uri, parts.headers, body))
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

fn asked(nth: u64, method: Method, uri: &Uri, headers: HeaderMap, body: Bytes) -> ApiDoubleRequest {
    let raw_query = uri.query().unwrap_or_default().to_owned();
    let query = url::form_urlencoded::parse(raw_query.as_bytes()).into_owned().collect();
    ApiDoubleRequest { nth, method, path: uri.path().to_owned(), query, raw_query, headers, body }
}

/// A flight that fits the contract.
pub(crate) fn flight(nth: u64) -> String {
    format!(
        r#"{{"year":2013,"month":1,"day":1,"dep_time":517,"sched_dep_time":515,"dep_delay":2,"arr_time":830,"sched_arr_time":819,"arr_delay":null,"carrier":"UA","flight":1545,"tailnum":"N1","origin":"EWR","dest":"IAH","air_time":227,"distance":{nth},"hour":5,"minute":15,"time_hour":"2013-01-01T10:00:00Z"}}"#
    )
}

/// `{"data": […], <more>}`.
pub(crate) fn page(flights: impl IntoIterator<Item = u64>, more: &str) -> String {
    let flights: Vec<_> = flights.into_iter().map(flight).collect();
    let comma = if more.is_empty() { "" } else { "," };
    format!(r#"{{"data":[{}]{comma}{more}}}"#, flights.join(","))
}

pub(crate) fn json(body: String) -> Response {
    ([("content-type", "application/json")], body).into_response()
}

/// A job with one endpoint `/v1/{id}` of flights; `endpoint`, `api` and `more` are lines of YAML.
pub(crate) fn job(url: &str, endpoint: &str, api: &str, more: &str) -> CollectorConfig {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("url"), "postgres://nobody@127.0.0.1:9/none").unwrap();
    std::fs::write(folder.path().join("secret"), "s3cret\n").unwrap();
    let path = if endpoint.contains("    path:") { "" } else { "    path: \"/v1/{id}\"\n" };
    let records = if endpoint.contains("record_path:") { "" } else { "    record_path: data\n" };
    let text = format!(
        "job: traps\ngroup: traps\nkafka: {{brokers: \"127.0.0.1:9\"}}\nregistry: {{url: \"http://127.0.0.1:9\"}}\n\
         schemas: {schemas}\ndatabase: {{url: {{file: \"{folder}/url\"}}, table: t, id_column: id}}\n\
         api:\n  base_url: \"{url}\"\n{api}\n\
         endpoints:\n  - name: flights\n{path}{records}    topic: aviation.flight.v1\n{endpoint}\n\
         retry: {{attempts: 3, base_ms: 5, cap_ms: 20, budget_percent: 100, longest_wait_seconds: 5}}\n{more}\n",
        schemas = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas"),
        folder = folder.path().display(),
    );
    let text = text.replace("SECRET", &format!("{{file: \"{}/secret\"}}", folder.path().display()));
    parse::<RawCollectorConfig>(&text, "job")
        .and_then(CollectorConfig::check)
        .unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

/// Tries id `N1`, many pages.
pub(crate) async fn tried(config: CollectorConfig) -> Result<TrialReport, Fault> {
    taped(config, None).await
}

pub(crate) async fn taped(config: CollectorConfig, tape: Option<AnswerTape>) -> Result<TrialReport, Fault> {
    let trial = TrialOptions { pages: 1_000, samples: 2, tape };
    tokio::time::timeout(std::time::Duration::from_secs(60), try_id(config, "N1", trial))
        .await
        .expect("a trial ends")
}

/// How many records came on each page.
pub(crate) fn counts(found: &TrialReport) -> Vec<u64> {
    found.pages.iter().map(|page| page.records).collect()
}
