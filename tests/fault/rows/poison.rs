//! Row 12: poison is a dead letter exactly once, and the partition moves on; kills on the way change nothing.

use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use sluice_fault::cluster::world;
use sluice_fault::trial::FaultTrial;
use sluice_tests::clients::{event, schema_of};
use sluice_tests::worker::TestWorkerProcess;

/// A key (or none) and bytes that no masker may take for an event.
fn poison(rng: &mut StdRng, schema: u32) -> (Option<Vec<u8>>, Vec<u8>) {
    let good = event(schema, "K00001", rng.random_range(0..1 << 40), "a note");
    let key = Some(b"K00001".to_vec());
    match rng.random_range(0..9) {
        0 => (key, vec![]),
        1 => (key, good[..rng.random_range(1..5)].to_vec()),
        2 => (key, good[..rng.random_range(5..good.len())].to_vec()),
        3 => (key, [&good[..], &vec![0; rng.random_range(1..50)]].concat()),
        4 => (key, event(900_000 + rng.random_range(0..9), "K00001", 1, "note")),
        5 => (None, good),
        6 => (key, (0..rng.random_range(1..200)).map(|_| rng.random_range(1..=255)).collect()),
        // A text that says it is longer than the record, and a negative length.
        7 => (key, [&good[..5], &[0xfe, 0xff, 0xff, 0xff, 0x0f], &good[5..]].concat()),
        _ => (key, [&good[..5], &[0x01], &good[5..]].concat()),
    }
}

#[test]
#[ignore = "make fault"]
fn poison_of_every_kind_is_a_dead_letter_once() {
    let servers = &world().direct;
    let mut trial = FaultTrial::new("r12poison", servers, servers);
    let (schema, _) = schema_of(servers, &format!("{}-value", trial.contract.raw()));
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &servers.brokers)
        .set("partitioner", "murmur2_random")
        .set("message.max.bytes", "2000000")
        .create()
        .unwrap();
    let send = |key: Option<&[u8]>, value: &[u8]| {
        let mut record = BaseRecord::<[u8], [u8]>::to("");
        let topic = trial.contract.raw();
        record.topic = &topic;
        record.key = key;
        record.payload = Some(value);
        record.headers = Some(OwnedHeaders::new().insert(Header { key: "poison", value: Some("yes") }));
        assert!(producer.send(record).is_ok());
        producer.poll(Duration::ZERO);
    };
    // One record in six is bad here: at its defaults a worker rightly stops for an operator to look.
    let limits = "commit_ms: 100\nlimits: {dead_letters: {percent: 100, streak: 1000000}}";
    let file = trial.masker_file("one", limits);
    let mut rng = trial.rng.clone();
    let mut masker = TestWorkerProcess::start("masker", &file);
    for round in 0..6 {
        for _ in 0..40 {
            let (key, value) = poison(&mut rng, schema);
            send(key.as_deref(), &value);
            trial.feed.send(5);
        }
        // As large as the broker takes: its dead letter is larger by the headers.
        let huge = vec![1; 1_048_000];
        send(Some(b"K00001"), &huge);
        #[allow(clippy::disallowed_methods, reason = "a plain client is plain: nothing here is measured")]
        producer.flush(Duration::from_secs(30)).unwrap();
        trial.feed.flush();
        if round % 2 == 1 {
            std::thread::sleep(Duration::from_millis(trial.rng.random_range(0..400))); // anywhere
            masker.kill();
            masker = TestWorkerProcess::start("masker", &file);
        }
    }
    trial.feed.send(200); // the last records are good ones: the group's end is theirs
    trial.settled();
    assert!(masker.end(Duration::from_secs(60)).success(), "{}", masker.log());
    let log = masker.log();
    assert!(!log.contains("K00001") && !log.contains("a note"), "values in the log");
    let counts = trial.holds();
    assert_eq!(counts.letters, 6 * 41, "{counts:?}");
    trial.tell(&format!("{counts:?}"));
    drop::<TestWorkerProcess>(masker);
}
