//! `apply`: with no more rights than it needs, in any number of runs, broken off anywhere.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{Request, Response, StatusCode};
use sluice_tests::{binary, eventually};

use crate::fleet::{SecurityFleet, plain, scram, stack};

#[test]
fn after_the_first_run_apply_needs_no_super_user() {
    // The first contract gives `apply` its permissions; the second is made under them.
    SecurityFleet::applied("first");
    let second = SecurityFleet::written("second");
    let output = second.sluice("apply", &scram("apply"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let kinds: Vec<_> =
        plan["changes"].as_array().unwrap().iter().map(|change| change["change"].as_str().unwrap()).collect();
    let place = |kind: &str| kinds.iter().position(|found| *found == kind).unwrap();
    assert!(place("create-topic") < place("create-acl") && place("create-acl") < place("register-schema"));
    let again = second.sluice("plan", &scram("apply"));
    assert_eq!(again.status.code(), Some(0), "{}", String::from_utf8_lossy(&again.stdout));
}

/// The registry behind a door: it lets so many registrations through, then answers 500 or not at all.
#[derive(Clone)]
struct RegistryDoor {
    origin: String,
    left: Arc<AtomicUsize>,
    silent: Arc<AtomicBool>,
    stuck: Arc<AtomicBool>,
    client: reqwest::Client,
}

async fn pass(State(door): State<RegistryDoor>, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let registers = parts.method == "POST" && parts.uri.path().ends_with("/versions");
    if registers
        && door.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err()
    {
        if door.silent.load(Ordering::SeqCst) {
            door.stuck.store(true, Ordering::SeqCst);
            std::future::pending::<()>().await;
        }
        return Response::builder().status(StatusCode::INTERNAL_SERVER_ERROR).body(Body::empty()).unwrap();
    }
    let url = format!("{}{}", door.origin, parts.uri);
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let mut request = door.client.request(parts.method, url).body(body);
    if let Some(kind) = parts.headers.get("content-type") {
        request = request.header("content-type", kind);
    }
    let answer = request.send().await.unwrap();
    let mut out = Response::builder().status(answer.status());
    if let Some(kind) = answer.headers().get("content-type") {
        out = out.header("content-type", kind);
    }
    out.body(Body::from(answer.bytes().await.unwrap())).unwrap()
}

#[test]
fn broken_off_in_the_middle_it_goes_on_where_it_was() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let url = stack().registry_url();
    let split = url.find("/apis").unwrap();
    let door = RegistryDoor {
        origin: url[..split].to_owned(),
        left: Arc::new(AtomicUsize::new(1)),
        silent: Arc::default(),
        stuck: Arc::default(),
        client: reqwest::Client::new(),
    };
    let address = runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().fallback(pass).with_state(door.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        address
    });
    let fleet = SecurityFleet::written("broken-off");
    let text = std::fs::read_to_string(fleet.apply_file(&plain())).unwrap();
    let file = fleet.write("door.yaml", &text.replace(&url[..split], &format!("http://{address}")));
    let apply = || {
        let mut command = Command::new(binary());
        command.args(["apply", "-c"]).arg(&file).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };

    // The registry dies after the first schema: said with what to do, exit 75.
    let output = apply().output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(75), "{said}");
    assert!(said.contains("run `sluice apply` again"), "{said}");
    let first = String::from_utf8_lossy(&output.stdout).lines().count();
    assert!(first > 8, "topics, permissions and one schema were done: {first}");

    // Killed while it waits for an answer.
    door.silent.store(true, Ordering::SeqCst);
    door.left.store(1, Ordering::SeqCst);
    let mut child = apply().spawn().unwrap();
    eventually("an apply that waits", Duration::from_secs(60), || {
        door.stuck.load(Ordering::SeqCst).then_some(())
    });
    child.kill().unwrap();
    child.wait().unwrap();

    // The rest, and nothing of what was done.
    door.left.store(100, Ordering::SeqCst);
    let output = apply().output().unwrap();
    let done = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{done}");
    let lines: Vec<_> = done.lines().filter(|line| line.starts_with("done: ")).collect();
    assert!(!lines.is_empty() && lines.iter().all(|line| line.contains("register")), "{done}");
    let output = apply().output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        "nothing to do: the world is as the contracts have it"
    );
}
