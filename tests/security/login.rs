//! Each way to say who one is, with a worker behind it; and what happens when it is not believed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sluice_tests::clients::count;
use sluice_tests::eventually;
use sluice_tests::worker::TestWorkerProcess;

use crate::fleet::{SecurityFleet, guard, scram, servers};

const WAIT: Duration = Duration::from_secs(90);

/// A masker that logs in so masks what is there and ends in good order.
pub(crate) fn masks(fleet: &SecurityFleet, kafka: &str) {
    fleet.feed(0, 200);
    let mut masker = TestWorkerProcess::start("masker", &fleet.worker("masker", kafka));
    eventually("every record masked", WAIT, || {
        (count(&servers(), &fleet.masked()) >= 200).then_some(()).or_else(|| {
            assert!(!masker.log().contains("\"ended\""), "{}", masker.log());
            None
        })
    });
    assert!(masker.end(Duration::from_secs(20)).success(), "{}", masker.log());
}

/// A masker that logs in so stops, says why in plain words, and has moved nothing.
pub(crate) fn is_refused(fleet: &SecurityFleet, kafka: &str, says: &str) {
    fleet.feed(0, 10);
    let mut masker = TestWorkerProcess::start("masker", &fleet.worker("masker", kafka));
    let status = masker.ended(Duration::from_secs(60));
    assert_eq!(status.code(), Some(64), "{}", masker.log());
    assert!(masker.log().contains(says), "`{says}` is not in:\n{}", masker.log());
    assert_eq!(count(&servers(), &fleet.masked()), 0);
}

#[test]
fn a_masker_logs_in_by_scram() {
    let fleet = SecurityFleet::applied("scram");
    masks(&fleet, &scram("masker"));
}

#[test]
fn a_masker_logs_in_over_tls() {
    let fleet = SecurityFleet::applied("tls");
    let kafka = format!(
        "kafka: {{brokers: \"{}\", properties: {{security.protocol: SASL_SSL, sasl.mechanism: SCRAM-SHA-512, \
         sasl.username: masker, ssl.ca.location: {}}}, secrets: {{sasl.password: {{file: {}}}}}}}",
        guard().tls(),
        guard().authority().display(),
        guard().password().display()
    );
    masks(&fleet, &kafka);
    // Without the authority the broker is nobody's: said, and tried again.
    let unknown = kafka.replace(&format!(", ssl.ca.location: {}", guard().authority().display()), "");
    let mut masker = TestWorkerProcess::start("masker", &fleet.worker("masker", &unknown));
    eventually("a word about the certificate", Duration::from_secs(30), || {
        masker.log().contains("certificate verify failed").then_some(())
    });
    assert_eq!(masker.page("/readyz").0, 503);
    assert!(masker.end(Duration::from_secs(20)).success(), "{}", masker.log());
}

/// A token endpoint (RFC 6749, client credentials) that knows one secret, and how often it was asked.
struct TokenProvider {
    url: String,
    asked: Arc<AtomicUsize>,
    _runtime: tokio::runtime::Runtime,
}

#[derive(Clone)]
struct TokenEndpointState {
    asked: Arc<AtomicUsize>,
    life: u64,
}

async fn token(
    State(door): State<TokenEndpointState>,
    headers: HeaderMap,
    body: String,
) -> (StatusCode, String) {
    door.asked.fetch_add(1, Ordering::SeqCst);
    let who = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let who = STANDARD.decode(who.trim_start_matches("Basic ")).unwrap_or_default();
    let who = String::from_utf8_lossy(&who).into_owned();
    let known = who.strip_suffix(":opensesame").filter(|_| body.contains("grant_type=client_credentials"));
    match known {
        None => (StatusCode::UNAUTHORIZED, r#"{"error":"invalid_client"}"#.to_owned()),
        Some(client) => {
            let token = guard().sign(client, Duration::from_secs(door.life)).unwrap();
            let answer =
                serde_json::json!({"access_token": token, "expires_in": door.life, "token_type": "Bearer"});
            (StatusCode::OK, answer.to_string())
        }
    }
}

fn provider(life: u64) -> TokenProvider {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let door = TokenEndpointState { asked: Arc::clone(&asked), life };
    let address = runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().route("/token", axum::routing::post(token)).with_state(door);
        tokio::spawn(async move { axum::serve(listener, app).await });
        address
    });
    TokenProvider { url: format!("http://{address}/token"), asked, _runtime: runtime }
}

fn by_token(fleet: &SecurityFleet, provider: &TokenProvider, secret: &str) -> String {
    let secret = fleet.write("secret", secret);
    format!(
        "kafka: {{brokers: \"{}\", properties: {{security.protocol: SASL_PLAINTEXT, sasl.mechanism: OAUTHBEARER, \
         sasl.oauthbearer.method: oidc, sasl.oauthbearer.client.id: masker, \
         sasl.oauthbearer.token.endpoint.url: \"{}\"}}, secrets: {{sasl.oauthbearer.client.secret: {{file: {}}}}}}}",
        guard().oauth(),
        provider.url,
        secret.display()
    )
}

#[test]
fn a_masker_logs_in_by_token_and_fetches_the_next_one_in_time() {
    let fleet = SecurityFleet::applied("oauth");
    // A session lasts as long as its token, and brokers take no second login within a second (KIP-368).
    let provider = provider(20);
    let kafka = by_token(&fleet, &provider, "opensesame\n");
    masks(&fleet, &kafka);
    let mut masker = TestWorkerProcess::start("masker", &fleet.worker("masker", &kafka));
    eventually("a ready masker", WAIT, || (masker.page("/readyz").0 == 200).then_some(()));
    let asked = provider.asked.load(Ordering::SeqCst);
    // Consumer and producer, each with a token for twenty seconds.
    eventually("new tokens", WAIT, || (provider.asked.load(Ordering::SeqCst) >= asked + 2).then_some(()));
    fleet.feed(200, 200);
    eventually("what came later too", WAIT, || (count(&servers(), &fleet.masked()) >= 400).then_some(()));
    assert!(masker.end(Duration::from_secs(20)).success(), "{}", masker.log());
    assert!(!masker.log().contains("opensesame"), "a secret in the log");
}

#[test]
fn a_wrong_password_stops_the_worker_with_plain_words() {
    let fleet = SecurityFleet::applied("wrong-password");
    let wrong = fleet.write("wrong", "hunter2\n");
    let kafka =
        scram("masker").replace(&guard().password().display().to_string(), &wrong.display().to_string());
    is_refused(&fleet, &kafka, "uthentication failed");
}

#[test]
fn a_client_that_the_token_endpoint_refuses_stops_with_plain_words() {
    let fleet = SecurityFleet::applied("wrong-secret");
    let provider = provider(60);
    let kafka = by_token(&fleet, &provider, "hunter2\n");
    is_refused(&fleet, &kafka, "answers 401 Unauthorized to client masker");
}
