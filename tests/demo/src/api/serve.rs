//! The HTTP side of the API.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

use super::faults::{DemoApiFault, fault};
use super::page::{DemoPage, DemoPageSource};
use crate::data::DemoDataSet;

/// The variable of the token, where there is no file.
const TOKEN: &str = "SLUICE_API_TOKEN";

/// Options of `sluice-demo api`.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoApiOptions {
    /// Folder with flights.csv[.gz] and planes.csv[.gz]
    #[arg(long)]
    pub(crate) data: PathBuf,
    /// Only the first months of the year
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u8).range(1..=12))]
    pub(crate) months: u8,
    /// Address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    /// Also allow an address that is not of the loopback: for a container, whose network is its own
    #[arg(long)]
    pub(crate) any_interface: bool,
    /// File with the bearer token that every request must carry; without it $SLUICE_API_TOKEN is the token
    #[arg(long)]
    pub(crate) token: Option<PathBuf>,
    /// Decides which requests meet faults and which pages hold broken records
    #[arg(long, default_value_t = 2013)]
    pub(crate) seed: u64,
    /// Write the address here once requests are answered
    #[arg(long)]
    pub(crate) announce: Option<PathBuf>,
}

struct DemoApi {
    pages: DemoPageSource,
    seed: u64,
    token: String,
    /// Attempts so far per page; page 0 is the aircraft itself.
    attempts: Mutex<HashMap<(String, u64), u32>>,
    stats: Mutex<BTreeMap<&'static str, u64>>,
}

/// Serves until the process ends.
pub(crate) async fn serve(options: DemoApiOptions) -> Result<()> {
    if !options.any_interface && !options.listen.ip().is_loopback() {
        bail!("the demo's API listens on the loopback interface only; --any-interface allows others");
    }
    let token = match &options.token {
        Some(file) => std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?,
        None => std::env::var(TOKEN).with_context(|| format!("no --token, and reading ${TOKEN}"))?,
    };
    let token = token.trim().to_owned();
    if token.is_empty() {
        bail!("the token that requests must carry is empty: give it in the file of --token or in ${TOKEN}");
    }
    let data = DemoDataSet::load(&options.data, options.months)?;
    let api = Arc::new(DemoApi {
        pages: DemoPageSource::new(data, options.seed),
        seed: options.seed,
        token,
        attempts: Mutex::default(),
        stats: Mutex::default(),
    });
    let listener = tokio::net::TcpListener::bind(options.listen).await.context("listening")?;
    let address = format!("http://{}", listener.local_addr()?);
    println!("listening on {address} (seed {})", options.seed);
    if let Some(file) = &options.announce {
        // Written beside and renamed: a reader must not find half an address.
        let part = file.with_extension("part");
        std::fs::write(&part, &address)
            .and_then(|()| std::fs::rename(&part, file))
            .with_context(|| format!("writing {}", file.display()))?;
    }
    axum::serve(listener, router(api)).await.context("serving")
}

fn router(api: Arc<DemoApi>) -> Router {
    Router::new()
        .route("/v1/aircraft/{tail}", get(aircraft))
        .route("/v1/aircraft/{tail}/flights", get(flights))
        .route("/stats", get(stats))
        .layer(middleware::from_fn_with_state(api.clone(), authorised))
        .with_state(api)
}

async fn authorised(State(api): State<Arc<DemoApi>>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if given.and_then(|value| value.strip_prefix("Bearer ")) == Some(api.token.as_str()) {
        return next.run(request).await;
    }
    api.count("unauthorised", 1);
    let mut response =
        (StatusCode::UNAUTHORIZED, Json(json!({"error": "a bearer token is needed"}))).into_response();
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

async fn aircraft(State(api): State<Arc<DemoApi>>, Path(tail): Path<String>, headers: HeaderMap) -> Response {
    api.answer(&tail, 0, "aircraft", &headers).await
}

#[derive(serde::Deserialize)]
struct PageNumber {
    #[serde(default = "first")]
    page: u64,
}

fn first() -> u64 {
    1
}

async fn flights(
    State(api): State<Arc<DemoApi>>,
    Path(tail): Path<String>,
    Query(PageNumber { page }): Query<PageNumber>,
    headers: HeaderMap,
) -> Response {
    api.answer(&tail, page.max(1), "flights", &headers).await
}

async fn stats(State(api): State<Arc<DemoApi>>) -> Response {
    Json(&*api.stats.lock().unwrap_or_else(PoisonError::into_inner)).into_response()
}

impl DemoApi {
    async fn answer(&self, tail: &str, page: u64, what: &'static str, headers: &HeaderMap) -> Response {
        self.count("requests", 1);
        let attempt = self.attempt(tail, page);
        match fault(self.seed, tail, page, attempt) {
            None => {}
            Some(DemoApiFault::TooMany) => return self.too_many("1".to_owned()),
            Some(DemoApiFault::TooManyUntil) => {
                // Dates have whole seconds: two ahead is at least one from now.
                let until = chrono::Utc::now() + chrono::TimeDelta::seconds(2);
                return self.too_many(until.format("%a, %d %b %Y %H:%M:%S GMT").to_string());
            }
            Some(DemoApiFault::Broken) => {
                self.count("faults_500", 1);
                return (StatusCode::INTERNAL_SERVER_ERROR, "internal error").into_response();
            }
            Some(DemoApiFault::Slow(milliseconds)) => {
                self.count("faults_slow", 1);
                tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            }
        }
        let found = if page == 0 { self.pages.aircraft(tail) } else { self.pages.flights(tail, page) };
        match found {
            Some(page) => {
                self.count(if what == "aircraft" { "aircraft" } else { "pages" }, 1);
                self.count("records", page.records as u64);
                body(page, headers)
            }
            None => {
                self.count("not_found", 1);
                (StatusCode::NOT_FOUND, Json(json!({"error": "not found"}))).into_response()
            }
        }
    }

    fn too_many(&self, retry_after: String) -> Response {
        self.count("faults_429", 1);
        let mut response = (StatusCode::TOO_MANY_REQUESTS, "slow down").into_response();
        if let Ok(value) = HeaderValue::from_str(&retry_after) {
            response.headers_mut().insert(header::RETRY_AFTER, value);
        }
        response
    }

    /// Returns the number of this attempt, from 0.
    fn attempt(&self, tail: &str, page: u64) -> u32 {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = attempts.entry((tail.to_owned(), page)).or_default();
        *count += 1;
        *count - 1
    }

    fn count(&self, what: &'static str, by: u64) {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner).entry(what).or_default() += by;
    }
}

fn body(page: DemoPage, headers: &HeaderMap) -> Response {
    let json = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let accepted =
        headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accepted.contains("gzip") {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        if let Ok(packed) = encoder.write_all(&page.json).and_then(|()| encoder.finish()) {
            return ([json, (header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))], packed)
                .into_response();
        }
    }
    ([json], page.json).into_response()
}
