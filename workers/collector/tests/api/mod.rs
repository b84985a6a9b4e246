//! An API with manners to be kept and faults to be survived: bearer token, pages by next URL, seeded 429 with
//! Retry-After, 500, half answers, and records that break the schema.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::Notify;

pub(crate) const TOKEN: &str = "s3cret";
const PER_PAGE: usize = 5;

pub(crate) struct SeededApi {
    shared: Arc<SeededApiState>,
    url: String,
}

struct SeededApiState {
    ids: usize,
    seed: u64,
    loops: AtomicBool,
    /// Broken records are whole from now on.
    mended: AtomicBool,
    /// The id that is refused with 403.
    private: Option<usize>,
    served: AtomicU64,
    news: Notify,
    without_token: AtomicU64,
    too_early: AtomicU64,
    /// Requests by path, and the time before which each must not come again.
    asked: Mutex<HashMap<String, (u32, Option<Instant>)>>,
}

pub(crate) struct SeededApiTruth {
    pub(crate) flights: usize,
    pub(crate) broken: usize,
    pub(crate) aircraft: usize,
}

impl SeededApi {
    pub(crate) async fn start(ids: usize, seed: u64) -> Self {
        Self::with_private(ids, seed, None).await
    }

    pub(crate) async fn with_private(ids: usize, seed: u64, private: Option<usize>) -> Self {
        let shared = Arc::new(SeededApiState {
            ids,
            seed,
            loops: AtomicBool::new(false),
            mended: AtomicBool::new(false),
            private,
            served: AtomicU64::new(0),
            news: Notify::new(),
            without_token: AtomicU64::new(0),
            too_early: AtomicU64::new(0),
            asked: Mutex::default(),
        });
        let app = Router::new()
            .route("/v1/aircraft/{id}", get(aircraft))
            .route("/v1/aircraft/{id}/flights", get(flights))
            .with_state(Arc::clone(&shared));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { shared, url }
    }

    pub(crate) fn looping(self) -> Self {
        self.shared.loops.store(true, Ordering::Relaxed);
        self
    }

    pub(crate) fn mend(&self) {
        self.shared.mended.store(true, Ordering::Relaxed);
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        (0..self.shared.ids).map(|nth| format!("N{nth:04}")).collect()
    }

    pub(crate) fn without_token(&self) -> u64 {
        self.shared.without_token.load(Ordering::Relaxed)
    }

    pub(crate) fn too_early(&self) -> u64 {
        self.shared.too_early.load(Ordering::Relaxed)
    }

    /// What there is to collect.
    pub(crate) fn truth(&self) -> SeededApiTruth {
        let mut truth = SeededApiTruth { flights: 0, broken: 0, aircraft: 0 };
        for nth in 0..self.shared.ids {
            let count = self.shared.flights_of(nth);
            let broken = (0..count).filter(|flight| self.shared.is_broken(nth, *flight)).count();
            truth.flights += count - broken;
            truth.broken += broken;
            truth.aircraft += usize::from(self.shared.has_aircraft(nth));
        }
        truth
    }

    /// Waits until `pages` more answers were given.
    pub(crate) async fn served_since_now(&self, pages: u64) {
        let until = self.shared.served.load(Ordering::Acquire) + pages;
        loop {
            let news = self.shared.news.notified();
            if self.shared.served.load(Ordering::Acquire) >= until {
                return;
            }
            tokio::time::timeout(Duration::from_secs(60), news).await.expect("the collector asks on");
        }
    }
}

impl SeededApiState {
    fn mix(&self, parts: [usize; 3]) -> u64 {
        let mut state = self.seed;
        for part in parts {
            state = (state ^ part as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            state ^= state >> 29;
        }
        state
    }

    fn flights_of(&self, id: usize) -> usize {
        (self.mix([id, 0, 1]) % 23) as usize
    }

    fn is_broken(&self, id: usize, flight: usize) -> bool {
        !self.mended.load(Ordering::Relaxed) && self.mix([id, flight, 2]).is_multiple_of(31)
    }

    fn has_aircraft(&self, id: usize) -> bool {
        !self.mix([id, 0, 3]).is_multiple_of(5)
    }

    /// Trouble by seed at the first request of some paths, and never at the second.
    fn trouble(&self, headers: &HeaderMap, path: &str, key: [usize; 2]) -> Option<Response> {
        if headers.get(header::AUTHORIZATION).is_none_or(|token| token != &format!("Bearer {TOKEN}")) {
            self.without_token.fetch_add(1, Ordering::Relaxed);
            return Some(StatusCode::UNAUTHORIZED.into_response());
        }
        if self.private == Some(key[0]) {
            return Some(StatusCode::FORBIDDEN.into_response());
        }
        let mut asked = self.asked.lock().unwrap();
        let entry = asked.entry(path.to_owned()).or_default();
        if entry.1.is_some_and(|not_before| Instant::now() < not_before) {
            self.too_early.fetch_add(1, Ordering::Relaxed);
        }
        entry.0 += 1;
        if entry.0 > 1 {
            return None;
        }
        match self.mix([key[0], key[1], 4]) % 17 {
            0 => {
                entry.1 = Some(Instant::now() + Duration::from_secs(1));
                Some((StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "1")]).into_response())
            }
            1 => Some(StatusCode::INTERNAL_SERVER_ERROR.into_response()),
            2 => Some((StatusCode::OK, "{\"data\":[{\"tailnum\":\"N").into_response()),
            _ => None,
        }
    }

    fn answer(&self, body: String) -> Response {
        self.served.fetch_add(1, Ordering::Release);
        self.news.notify_waiters();
        ([(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}

async fn aircraft(
    State(shared): State<Arc<SeededApiState>>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    let nth: usize = id[1..].parse().unwrap();
    if let Some(trouble) = shared.trouble(&headers, &id, [nth, 999]) {
        return trouble;
    }
    if !shared.has_aircraft(nth) {
        return StatusCode::NOT_FOUND.into_response();
    }
    shared.answer(format!(
        r#"{{"data":{{"tailnum":"{id}","year":1999,"type":"Fixed wing","manufacturer":"BOEING","model":"737-8",
            "engines":2,"seats":149,"speed":null,"engine":"Turbo-fan"}}}}"#
    ))
}

async fn flights(
    State(shared): State<Arc<SeededApiState>>,
    headers: HeaderMap,
    Path(id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let nth: usize = id[1..].parse().unwrap();
    let page: usize = query.get("page").map_or(0, |page| page.parse().unwrap());
    if let Some(trouble) = shared.trouble(&headers, &format!("{id}?{page}"), [nth, page]) {
        return trouble;
    }
    let count = shared.flights_of(nth);
    let rows: Vec<String> = (page * PER_PAGE..((page + 1) * PER_PAGE).min(count))
        .map(|flight| {
            let carrier = if shared.is_broken(nth, flight) { "17".to_owned() } else { "\"UA\"".to_owned() };
            let distance = nth * 1000 + flight;
            format!(
                r#"{{"year":2013,"month":1,"day":1,"dep_time":517,"sched_dep_time":515,"dep_delay":2,"arr_time":830,
                "sched_arr_time":819,"arr_delay":null,"carrier":{carrier},"flight":1545,"tailnum":"{id}","origin":"EWR",
                "dest":"IAH","air_time":227,"distance":{distance},"hour":5,"minute":15,"time_hour":"2013-01-01T10:00:00Z"}}"#
            )
        })
        .collect();
    let more = (page + 1) * PER_PAGE < count || shared.loops.load(Ordering::Relaxed);
    // A loop leads back to the first page sooner or later.
    let next = if shared.loops.load(Ordering::Relaxed) { (page + 1) % 3 } else { page + 1 };
    let next = if more { format!("\"/v1/aircraft/{id}/flights?page={next}\"") } else { "null".into() };
    shared.answer(format!(r#"{{"meta":{{"next":{next}}},"data":[{}]}}"#, rows.join(",")))
}
