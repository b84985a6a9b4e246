//! Permissions from the contract: analysts see what is masked; a worker does its work and nothing beyond, and each of
//! its permissions is needed.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use sluice_core::names::RECEIPTS;
use sluice_core::{AclOperation, AclResource, AclRule};
use sluice_tests::clients::{TestRecordSender, committed, count};
use sluice_tests::eventually;
use sluice_tests::worker::TestWorkerProcess;

use crate::fleet::{SHARED, SecurityFleet, admin, guard, scram, servers};

const WAIT: Duration = Duration::from_secs(90);

fn client(user: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    let password = std::fs::read_to_string(guard().password()).unwrap();
    config
        .set("bootstrap.servers", guard().scram())
        .set("security.protocol", "SASL_PLAINTEXT")
        .set("sasl.mechanism", "SCRAM-SHA-512")
        .set("sasl.username", user)
        .set("sasl.password", password.trim());
    config
}

/// The first record that a principal gets from a topic by a group of its own, or why it gets none.
fn first_record(user: &str, group: &str, topic: &str) -> Result<Vec<u8>, RDKafkaErrorCode> {
    let consumer: BaseConsumer =
        client(user).set("group.id", group).set("auto.offset.reset", "earliest").create().unwrap();
    consumer.subscribe(&[topic]).unwrap();
    eventually("a record or a refusal", WAIT, || match consumer.poll(Duration::from_millis(200))? {
        Ok(message) => Some(Ok(message.payload().unwrap_or_default().to_vec())),
        Err(error) => match error.rdkafka_error_code() {
            Some(
                code @ (RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed),
            ) => Some(Err(code)),
            _ => None,
        },
    })
}

/// May a principal write to a topic?
fn may_write(user: &str, topic: &str) -> Result<(), KafkaError> {
    let producer: BaseProducer = client(user).set("message.timeout.ms", "10000").create().unwrap();
    producer.send(BaseRecord::<[u8], [u8]>::to(topic).key(b"k").payload(b"v")).map_err(|(error, _)| error)?;
    let refused = producer.client().fetch_metadata(Some(topic), Duration::from_secs(10))?;
    match refused.topics()[0].error() {
        None => Ok(()),
        Some(code) => Err(KafkaError::MetadataFetch(code.into())),
    }
}

#[test]
fn an_analyst_reads_what_is_masked_and_is_refused_what_is_raw() {
    let fleet = SecurityFleet::applied("analyst");
    fleet.feed(0, 20);
    let mut masker = TestWorkerProcess::start("masker", &fleet.worker("masker", &scram("masker")));
    eventually("every record masked", WAIT, || (count(&servers(), &fleet.masked()) >= 20).then_some(()));
    assert!(masker.end(Duration::from_secs(20)).success(), "{}", masker.log());
    let masked = first_record("analysts", "analysts-one", &fleet.masked()).unwrap();
    assert!(!masked.windows(7).any(|bytes| bytes == b"person-"));
    let refused = Err(RDKafkaErrorCode::TopicAuthorizationFailed);
    assert_eq!(first_record("analysts", "analysts-one", &fleet.raw()), refused);
    assert_eq!(first_record("analysts", "analysts-one", &format!("{}.dead-letter", fleet.raw())), refused);
    // Not by another's group either.
    let by_another = first_record("analysts", "sec-raw-readers-x", &fleet.masked());
    assert_eq!(by_another, Err(RDKafkaErrorCode::GroupAuthorizationFailed));
    let raw = first_record("sec-raw-readers", "sec-raw-readers-one", &fleet.raw()).unwrap();
    assert!(raw.windows(7).any(|bytes| bytes == b"person-"), "who may see raw records sees them");
}

#[test]
fn a_worker_has_nothing_beyond_what_it_needs() {
    let fleet = SecurityFleet::applied("beyond");
    fleet.feed(0, 5);
    let refused = Err(RDKafkaErrorCode::TopicAuthorizationFailed);
    for (worker, topic) in [
        ("masker", fleet.masked()),
        ("masker", fleet.facts()),
        ("normaliser", fleet.raw()),
        ("normaliser", fleet.facts()),
        ("sink", fleet.raw()),
        ("sink", format!("{}.dead-letter", fleet.raw())),
    ] {
        // A worker's own group, so that it is the topic that it is refused.
        let group = if worker == "sink" { fleet.group(worker) + "-x" } else { fleet.group(worker) };
        assert_eq!(first_record(worker, &group, &topic), refused, "{worker} reads {topic}");
    }
    for (worker, topic) in [("normaliser", fleet.raw()), ("sink", fleet.raw()), ("analysts", fleet.raw())] {
        assert!(may_write(worker, &topic).is_err(), "{worker} sees {topic}");
    }
}

/// Takes each permission away in turn: the worker stops and says so; with all of them it does everything, once.
fn each_is_needed(fleet: &SecurityFleet, kind: &str, done: impl Fn() -> bool) {
    let admin = admin();
    let config = fleet.worker(kind, &scram(fleet.user(kind)));
    let acls = fleet.acls(fleet.user(kind));
    assert!(acls.len() >= 4, "{acls:?}");
    for acl in &acls {
        let _shared = (acl.name == RECEIPTS).then(|| SHARED.write().unwrap());
        admin.forbid(std::slice::from_ref(acl)).unwrap();
        let mut worker = TestWorkerProcess::start(kind, &config);
        if acl.name == RECEIPTS {
            // A topic that one may not see is as one that is not there yet, and that is waited for.
            eventually("a word about the receipts", WAIT, || {
                worker.log().contains("looking for the receipts' topic").then_some(())
            });
            assert_eq!(worker.page("/readyz").0, 503);
            worker.kill();
            admin.permit(std::slice::from_ref(acl)).unwrap();
            continue;
        }
        let status = worker.ended(WAIT);
        let log = worker.log();
        assert_eq!(status.code(), Some(64), "without {acl}:\n{log}");
        assert!(log.to_lowercase().contains("authoriz"), "without {acl}:\n{log}");
        admin.permit(std::slice::from_ref(acl)).unwrap();
    }
    let mut worker = TestWorkerProcess::start(kind, &config);
    eventually("everything done", WAIT, || done().then_some(()));
    assert!(worker.end(Duration::from_secs(30)).success(), "{}", worker.log());
}

/// A record that nobody can read, so that dead letters are needed.
fn poison(topic: &str) {
    let sender = TestRecordSender::new(&servers(), topic);
    sender.send(Some(b"poison"), Some(b"{}"));
    sender.flush();
}

#[test]
fn each_permission_of_the_masker_is_needed() {
    let fleet = SecurityFleet::applied("needs-masker");
    poison(&fleet.raw());
    fleet.feed(0, 10);
    let letters = format!("{}.dead-letter", fleet.raw());
    each_is_needed(&fleet, "masker", || {
        count(&servers(), &fleet.masked()) >= 10 && count(&servers(), &letters) >= 1
    });
    assert_eq!((count(&servers(), &fleet.masked()), count(&servers(), &letters)), (10, 1), "once each");
}

#[test]
fn each_permission_of_the_normaliser_is_needed() {
    let fleet = SecurityFleet::applied("needs-normaliser");
    fleet.feed(0, 10);
    let mut masker = TestWorkerProcess::start("masker", &fleet.worker("masker", &scram("masker")));
    eventually("every record masked", WAIT, || (count(&servers(), &fleet.masked()) >= 10).then_some(()));
    assert!(masker.end(Duration::from_secs(20)).success());
    poison(&fleet.masked());
    let letters = format!("{}.dead-letter", fleet.masked());
    each_is_needed(&fleet, "normaliser", || {
        count(&servers(), &fleet.facts()) >= 10 && count(&servers(), &letters) >= 1
    });
    assert_eq!((count(&servers(), &fleet.facts()), count(&servers(), &letters)), (10, 1), "once each");
}

#[test]
fn each_permission_of_the_sink_is_needed() {
    let fleet = SecurityFleet::applied("needs-sink");
    for topic in [fleet.masked(), fleet.facts()] {
        poison(&topic);
    }
    let letters = [fleet.masked(), fleet.facts()].map(|topic| format!("{topic}.dead-letter"));
    each_is_needed(&fleet, "sink", || letters.iter().all(|topic| count(&servers(), topic) >= 1));
    for topic in &letters {
        assert_eq!(committed(&servers(), topic)[0].value.as_deref(), Some(&b"{}"[..]));
    }
}

#[test]
fn what_nobody_asks_for_is_drift_and_is_removed_only_if_allowed() {
    // Other tests' principals must not lose what they have on the topics that all fleets share.
    let _alone = crate::fleet::SHARED_PERMISSIONS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let fleet = SecurityFleet::applied("extra");
    let stranger = AclRule {
        principal: "User:stranger".into(),
        host: "*".into(),
        resource: AclResource::Topic,
        name: fleet.raw(),
        prefixed: true,
        operation: AclOperation::Read,
    };
    admin().permit(std::slice::from_ref(&stranger)).unwrap();
    let verified = fleet.sluice("verify", &scram("verify"));
    let text = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert_eq!(verified.status.code(), Some(1), "{text}{}", String::from_utf8_lossy(&verified.stderr));
    let differences: serde_json::Value = serde_json::from_str(&text).unwrap();
    // Principals of other tests may have been left with permissions on those topics.
    let what = differences.as_array().unwrap().iter().filter_map(|one| one["what"].as_str());
    assert_eq!(what.filter(|what| what.contains("User:stranger Read topic")).count(), 1, "{text}");
    // Applied again, it stays; allowed, it goes, and nothing differs any more.
    assert!(fleet.sluice("apply", &crate::fleet::plain()).status.success());
    assert!(admin().acls().unwrap().unwrap().contains(&stranger));
    let file = fleet.apply_file(&crate::fleet::plain());
    let allowed = std::process::Command::new(sluice_tests::binary())
        .args(["apply", "--allow", "--yes", "-c"])
        .arg(file)
        .output()
        .unwrap();
    assert!(allowed.status.success());
    assert!(!admin().acls().unwrap().unwrap().contains(&stranger));
    let verified = fleet.sluice("verify", &scram("verify"));
    let text = String::from_utf8_lossy(&verified.stdout);
    assert!(!text.contains("User:stranger"), "{text}");
}
