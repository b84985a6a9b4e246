//! Clusters as they are outside: a hosted registry with Basic credentials and an authority of its own; brokers with
//! certificates of the clients, PLAIN, and tokens from a file. A wrong one of each gives one clear sentence.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sluice_stack::process;
use sluice_tests::clients::{TestRecordSender, count};
use sluice_tests::command::{TestCommandOutput, sluice};
use sluice_tests::eventually;
use sluice_tests::worker::TestWorkerProcess;

use crate::fleet::{SecurityFleet, guard, scram, servers, stack};
use crate::front::{PASSWORD, RegistryFront, USER};
use crate::login::{is_refused, masks};

const WAIT: Duration = Duration::from_secs(90);

/// The section `kafka` of a client with a certificate: authority, certificate and key by reference.
fn by_certificate(user: &str) -> String {
    let [certificate, key] = guard().identity(user);
    format!(
        "kafka: {{brokers: \"{}\", properties: {{security.protocol: SSL}}, secrets: {{ssl.ca.pem: {{file: {}}}, \
         ssl.certificate.pem: {{file: {}}}, ssl.key.pem: {{file: {}}}}}}}",
        guard().mutual_tls(),
        guard().authority().display(),
        certificate.display(),
        key.display()
    )
}

/// The section `registry` of the front, with a password from `file` and, if asked for, its authority.
fn by_front(front: &RegistryFront, file: &Path, ca: bool) -> String {
    let ca = if ca { format!(", ca: {{file: {}}}", guard().authority().display()) } else { String::new() };
    format!("{{url: \"{}\", basic: {{user: {USER}, password: {{file: {}}}}}{ca}}}", front.url, file.display())
}

/// The section `kafka` of a client whose token is in a file.
fn by_token_file(file: &Path) -> String {
    format!(
        "kafka: {{brokers: \"{}\", properties: {{security.protocol: SASL_PLAINTEXT, sasl.mechanism: OAUTHBEARER}}, \
         secrets: {{sasl.oauthbearer.token: {{file: {}}}}}}}",
        guard().oauth(),
        file.display()
    )
}

/// Runs `plan`, and checks exit code and words, and that the words come once and without a secret.
fn plan_is_refused(fleet: &SecurityFleet, kafka: &str, says: &str) {
    let output = run(&["plan"], &fleet.apply_file(kafka));
    assert_eq!(output.code, 64, "{output:?}");
    assert_eq!(output.err.matches(says).count(), 1, "`{says}` is not there once: {output:?}");
    for secret in ["hunter2", PASSWORD, "PRIVATE KEY"] {
        assert!(!output.err.contains(secret) && !output.out.contains(secret), "a secret: {output:?}");
    }
}

fn run(args: &[&str], config: &Path) -> TestCommandOutput {
    let config = config.display().to_string();
    sluice(args.iter().copied().chain(["-c", &config]))
}

#[test]
fn a_masker_logs_in_by_its_certificate() {
    let fleet = SecurityFleet::applied("certificate");
    masks(&fleet, &by_certificate("masker"));
}

#[test]
fn a_masker_logs_in_by_plain() {
    let fleet = SecurityFleet::applied("plain");
    let kafka = scram("masker").replace("SCRAM-SHA-512", "PLAIN").replace(&guard().scram(), &guard().plain());
    masks(&fleet, &kafka);
}

#[test]
fn a_masker_reads_its_token_from_a_file_and_the_next_one_in_time() {
    let fleet = SecurityFleet::applied("token-file");
    let sign = |life| guard().sign("masker", Duration::from_secs(life)).unwrap();
    let (file, end) = (fleet.write("token", &sign(15)), Instant::now() + Duration::from_secs(16));
    let kafka = by_token_file(&file);
    let mut masker = TestWorkerProcess::start("masker", &fleet.worker("masker", &kafka));
    eventually("a ready masker", WAIT, || (masker.page("/readyz").0 == 200).then_some(()));

    // The agent replaces the file as the kubelet does: in one step.
    let next = fleet.write("next", &sign(600));
    std::fs::rename(next, &file).unwrap();
    // A session ends with its token; one that goes on after it has the next token.
    eventually("the first token's end", WAIT, || (Instant::now() > end).then_some(()));
    fleet.feed(0, 200);
    eventually("every record masked", WAIT, || (count(&servers(), &fleet.masked()) >= 200).then_some(()));
    assert!(!masker.log().contains("expired"), "{}", masker.log());
    assert!(masker.end(Duration::from_secs(20)).success(), "{}", masker.log());
}

#[test]
fn a_token_that_has_expired_stops_the_worker_with_plain_words() {
    let fleet = SecurityFleet::applied("token-expired");
    let token = guard().sign("masker", Duration::ZERO).unwrap();
    let kafka = by_token_file(&fleet.write("token", &token));
    is_refused(&fleet, &kafka, "has expired");
    plan_is_refused(&fleet, &kafka, "has expired");
}

/// Every command with the same two sections: certificates for Kafka, TLS and Basic for the registry.
#[test]
fn every_command_speaks_to_a_hosted_registry_and_a_broker_that_wants_certificates() {
    let front = RegistryFront::start(guard().server_identity(false));
    let mut fleet = SecurityFleet::written("hosted");
    let password = fleet.write("password", &format!("{PASSWORD}\n"));
    fleet.registry = by_front(&front, &password, true);

    // The first contract gives `apply` its permissions; here it is a super user's.
    let output = fleet.sluice("apply", &crate::fleet::plain());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let plan = fleet.sluice("plan", &by_certificate("apply"));
    assert_eq!(plan.status.code(), Some(0), "{}", String::from_utf8_lossy(&plan.stderr));

    // A record, and one that does not fit.
    let sender = TestRecordSender::new(&servers(), &fleet.raw());
    sender.send(Some(b"poison"), Some(b"{}"));
    sender.flush();
    fleet.feed(0, 20);
    let mut workers = vec![];
    for kind in ["masker", "normaliser", "sink"] {
        workers.push(TestWorkerProcess::start(kind, &fleet.worker(kind, &by_certificate(kind))));
    }
    eventually("records and facts", WAIT, || {
        (count(&servers(), &fleet.masked()) >= 20 && count(&servers(), &fleet.facts()) >= 20).then_some(())
    });
    for worker in &mut workers {
        assert!(worker.end(Duration::from_secs(20)).success(), "{}", worker.log());
        assert!(!worker.log().contains(PASSWORD), "a secret in the log");
    }

    // The operators' commands.
    let verify = run(&["verify"], &fleet.apply_file(&by_certificate("verify")));
    assert!([0, 1].contains(&verify.code), "{verify:?}");
    let letters =
        run(&["dead-letters", "ls", "--output", "json"], &fleet.apply_file(&by_certificate("operators")));
    assert_eq!((letters.code, &letters.json()["unresolved"]), (1, &serde_json::json!(1)), "{letters:?}");
    let masker = fleet.worker("masker", &by_certificate("operators"));
    let again = run(&["dead-letters", "replay", "--worker", "masker", "--yes", "--output", "json"], &masker);
    assert_eq!((again.code, &again.json()["done"]["unchanged"]), (1, &serde_json::json!(1)), "{again:?}");
    let range = run(&["replay", "--worker", "masker", "--topic", &fleet.raw(), "--output", "json"], &masker);
    assert_eq!(range.code, 0, "{range:?}");
}

#[test]
fn a_registry_that_refuses_or_is_not_trusted_is_named_in_one_sentence() {
    let fleet = SecurityFleet::applied("front");
    let front = RegistryFront::start(guard().server_identity(false));
    let (right, wrong) = (fleet.write("right", PASSWORD), fleet.write("wrong", "hunter2\n"));
    let through = |registry: String| {
        let mut fleet = SecurityFleet::written("front");
        fleet.registry = registry;
        fleet
    };

    let refused = through(by_front(&front, &wrong, true));
    plan_is_refused(&refused, &scram("apply"), "refuses the credentials (401)");
    let mut masker = TestWorkerProcess::start("masker", &refused.worker("masker", &scram("masker")));
    assert_eq!(masker.ended(Duration::from_secs(60)).code(), Some(64), "{}", masker.log());
    assert!(masker.log().contains("refuses the credentials (401)"), "{}", masker.log());

    let unknown = through(by_front(&front, &right, false));
    plan_is_refused(&unknown, &scram("apply"), "no authority that is trusted here has signed it");
    let old = RegistryFront::start(guard().server_identity(true));
    let expired = through(by_front(&old, &right, true));
    plan_is_refused(&expired, &scram("apply"), "it has expired");
    let path = through(format!("{{url: \"{}/nowhere\"}}", stack().registry_url()));
    plan_is_refused(&path, &scram("apply"), "answers 404 for /subjects");
}

#[test]
fn a_broker_that_refuses_or_is_not_trusted_is_named_in_one_sentence() {
    let fleet = SecurityFleet::applied("trust");
    let trusting = by_certificate("apply");
    let ca = guard().authority().display().to_string();

    // Another authority, which has signed nothing here.
    let other = fleet.file("other.crt");
    let mut make = Command::new("openssl");
    make.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
    make.args(["-subj", "/CN=other", "-days", "2"]);
    make.arg("-keyout").arg(fleet.file("other.key")).arg("-out").arg(&other);
    assert!(make.stderr(Stdio::null()).status().unwrap().success());
    let distrusting = trusting.replace(&ca, &other.display().to_string());
    plan_is_refused(&fleet, &distrusting, "no authority that is trusted here has signed it");

    // A broker whose certificate has ended.
    let old = ExpiredServer::start();
    let expired = trusting.replace(&guard().mutual_tls(), &format!("localhost:{}", old.port));
    plan_is_refused(&fleet, &expired, "it has expired");

    // A client whose certificate has ended, and one that has none.
    plan_is_refused(
        &fleet,
        &by_certificate("expired-user"),
        "check that ssl.certificate and ssl.key are set",
    );
    let bare = format!(
        "kafka: {{brokers: \"{}\", properties: {{security.protocol: SSL, ssl.ca.location: {ca}}}}}",
        guard().mutual_tls()
    );
    plan_is_refused(&fleet, &bare, "check that ssl.certificate and ssl.key are set");

    // A wrong password.
    let wrong = fleet.write("wrong", "hunter2\n");
    let password = guard().password().display().to_string();
    let wrong = scram("apply").replace(&password, &wrong.display().to_string());
    plan_is_refused(&fleet, &wrong, "uthentication failed");
}

/// A TLS server whose certificate has ended. Nobody gets beyond the handshake.
struct ExpiredServer {
    child: Child,
    port: u16,
}

impl ExpiredServer {
    fn start() -> Self {
        // The port is free for a moment: `openssl` cannot choose one and name it.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let [certificate, key] = guard().server_identity(true);
        let mut serve = process::guarded(Path::new("openssl"));
        serve.args(["s_server", "-quiet", "-accept", &format!("127.0.0.1:{port}")]);
        serve.arg("-cert").arg(certificate).arg("-key").arg(key);
        serve.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = process::spawn(serve).unwrap();
        eventually("a server that listens", Duration::from_secs(10), || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Self { child, port }
    }
}

impl Drop for ExpiredServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
