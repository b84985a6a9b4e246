//! An outage is not poison: the worker stands still, keeps its place, and goes on when the neighbour is back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::IntoResponse;
use sluice_tests::clients::{self, TestRecordSender, count, event};
use sluice_tests::contract::TestContract;
use sluice_tests::worker::TestWorkerProcess;
use sluice_tests::{TestServers, eventually, servers};

/// Stands before the real registry and answers 500 while it is `ill`.
#[derive(Clone)]
struct OutageRegistryGate {
    origin: String,
    ill: Arc<AtomicBool>,
    /// Takes requests for schemas and never answers them.
    silent: Arc<AtomicBool>,
    refused: Arc<AtomicUsize>,
    client: reqwest::Client,
}

async fn pass(
    State(gate): State<OutageRegistryGate>,
    method: Method,
    uri: Uri,
    body: Bytes,
) -> impl IntoResponse {
    if gate.ill.load(Ordering::SeqCst) {
        gate.refused.fetch_add(1, Ordering::SeqCst);
        return (StatusCode::INTERNAL_SERVER_ERROR, "{\"error_code\":50001,\"message\":\"ill\"}".into());
    }
    if gate.silent.load(Ordering::SeqCst) && uri.path().contains("/schemas/ids/") {
        gate.refused.fetch_add(1, Ordering::SeqCst);
        std::future::pending::<()>().await;
    }
    let url = format!("{}{}", gate.origin, uri.path_and_query().map_or("", |path| path.as_str()));
    let answer = gate
        .client
        .request(method, url)
        .header("content-type", "application/json")
        .body(body)
        .send()
        .await
        .unwrap();
    (answer.status(), answer.bytes().await.unwrap())
}

/// A gate before the real registry, and servers that know only the gate.
fn gated(runtime: &tokio::runtime::Runtime) -> (OutageRegistryGate, TestServers) {
    let real = servers();
    let (origin, path) = real.registry.split_once("/apis").unwrap();
    let gate = OutageRegistryGate {
        origin: origin.to_owned(),
        ill: Arc::default(),
        silent: Arc::default(),
        refused: Arc::default(),
        client: reqwest::Client::new(),
    };
    let address = runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().fallback(pass).with_state(gate.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        address
    });
    let registry = format!("http://{address}/apis{path}");
    (gate, TestServers { registry, ..real })
}

#[test]
fn told_to_stop_while_a_neighbour_hangs_it_ends_by_its_deadline_and_says_what_it_leaves() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (gate, servers) = gated(&runtime);
    let contract = TestContract::applied("hangs", servers);
    let (id, _) = clients::schema_of(&contract.servers, &format!("{}-value", contract.raw()));
    let text = std::fs::read_to_string(contract.masker("masker")).unwrap();
    let config = contract.write("hangs.yaml", &format!("{text}limits: {{drain_seconds: 1}}\n"));
    let mut masker = TestWorkerProcess::start("masker", &config);
    eventually("a ready masker", Duration::from_secs(30), || (masker.page("/readyz").0 == 200).then_some(()));
    gate.silent.store(true, Ordering::SeqCst);
    let sender = TestRecordSender::new(&contract.servers, &contract.raw());
    sender.send(Some(b"k"), Some(&event(id, "k", 1, "note")));
    sender.flush();
    eventually("a question that is not answered", Duration::from_secs(60), || {
        (gate.refused.load(Ordering::SeqCst) >= 1).then_some(())
    });
    let status = masker.end(Duration::from_secs(10));
    assert_eq!(status.code(), Some(75), "{}", masker.log());
    assert!(masker.log().contains("are not committed and are read again"), "{}", masker.log());
    gate.silent.store(false, Ordering::SeqCst);
    let mut masker = TestWorkerProcess::start("masker", &contract.masker("masker"));
    eventually("what was left, masked", Duration::from_secs(60), || {
        (count(&contract.servers, &contract.masked()) == 1).then_some(())
    });
    assert!(masker.end(Duration::from_secs(20)).success());
}

#[test]
fn a_registry_that_is_ill_stops_the_masker_and_makes_no_dead_letter() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (gate, servers) = gated(&runtime);
    let contract = TestContract::applied("ill", servers);
    let (id, _) = clients::schema_of(&contract.servers, &format!("{}-value", contract.raw()));
    let mut masker = TestWorkerProcess::start("masker", &contract.masker("masker"));
    eventually("a ready masker", Duration::from_secs(30), || (masker.page("/readyz").0 == 200).then_some(()));
    gate.ill.store(true, Ordering::SeqCst);
    let sender = TestRecordSender::new(&contract.servers, &contract.raw());
    for n in 0..500 {
        let key = format!("k{n}");
        sender.send(Some(key.as_bytes()), Some(&event(id, &key, n, "note")));
    }
    sender.flush();
    eventually("several refused questions", Duration::from_secs(60), || {
        (gate.refused.load(Ordering::SeqCst) >= 4).then_some(())
    });
    assert_eq!(masker.page("/readyz").0, 503, "{}", masker.page("/status").1);
    assert_eq!(count(&contract.servers, &contract.masked()), 0);
    gate.ill.store(false, Ordering::SeqCst);
    eventually("every record masked", Duration::from_secs(90), || {
        (count(&contract.servers, &contract.masked()) >= 500).then_some(())
    });
    eventually("ready again", Duration::from_secs(60), || (masker.page("/readyz").0 == 200).then_some(()));
    assert!(masker.end(Duration::from_secs(20)).success());
    assert_eq!(count(&contract.servers, &contract.masked()), 500);
    assert_eq!(
        count(&contract.servers, &format!("{}.dead-letter", contract.raw())),
        0,
        "an outage is not poison"
    );
}
