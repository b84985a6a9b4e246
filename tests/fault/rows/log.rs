//! Row 19: the log is not what it was: retention has passed the group's position, the topic was made anew. A loud stop,
//! never a silent reset.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::{Offset, TopicPartitionList};
use sluice_fault::cluster::world;
use sluice_fault::reading;
use sluice_fault::trial::{FaultTrial, PATIENCE};
use sluice_tests::worker::TestWorkerProcess;
use sluice_tests::{TestServers, eventually};

fn admin(servers: &TestServers) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", &servers.brokers).create().unwrap()
}

fn waited<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Deletes every record there is, as retention would.
fn delete_records(trial: &FaultTrial) {
    let mut list = TopicPartitionList::new();
    for (partition, end) in trial.feed.ends() {
        list.add_partition_offset(&trial.contract.raw(), partition, Offset::Offset(end)).unwrap();
    }
    waited(admin(&trial.direct).delete_records(&list, &AdminOptions::new())).unwrap();
}

/// Waits until everything is masked: the group's position may be visible before the outputs of its transaction are.
fn all_masked(trial: &FaultTrial, records: u64) -> u64 {
    trial.settled();
    eventually("everything masked", PATIENCE, || {
        (reading::count(&trial.direct, &trial.contract.masked()) == records).then_some(records)
    })
}

fn stops_loudly(mut worker: TestWorkerProcess, trial: &FaultTrial) {
    let status = worker.ended(PATIENCE);
    let log = worker.log();
    assert!(!status.success(), "{log}");
    assert!(log.contains("no longer in the log"), "{log}");
    trial.tell(&format!("stopped with {status}"));
}

fn nothing_more_is_masked(masked: u64, trial: &FaultTrial) {
    let now = reading::count(&trial.direct, &trial.contract.masked());
    assert_eq!(now, masked, "nothing is read from elsewhere");
}

/// What is masked is what stands before the gap, without one of its own. How far, is chance: what a worker had asked for
/// when it was stopped, it is given when it goes on.
fn nothing_behind_the_gap_is_masked(gap: &BTreeMap<i32, i64>, trial: &FaultTrial) {
    let mut masked: BTreeMap<i32, BTreeSet<i64>> = BTreeMap::new();
    reading::committed(&trial.direct, &trial.contract.masked(), |message| {
        let from = reading::header(message, "sluice.source").and_then(|text| reading::source(&text));
        let (partition, offset) = from.expect("it says where it is from");
        assert!(masked.entry(partition).or_default().insert(offset), "{partition}, {offset} is masked twice");
    });
    for (partition, offsets) in masked {
        let last = *offsets.last().unwrap();
        assert_eq!(offsets.len() as i64, last + 1, "partition {partition}: something was passed over");
        assert!(last < gap[&partition], "partition {partition}: {last} is read from behind the gap");
    }
}

#[test]
fn retention_that_has_passed_the_group_stops_the_worker() {
    let servers = &world().direct;
    let trial = FaultTrial::new("r19retention", servers, servers);
    trial.feed.send(1_000);
    let mut masker = trial.masker("one", &[]);
    trial.settled();
    masker.end(Duration::from_secs(60));
    trial.feed.send(1_000);
    trial.feed.flush();
    delete_records(&trial);
    trial.feed.send(1_000);
    trial.feed.flush();
    let masked = reading::count(servers, &trial.contract.masked());
    stops_loudly(trial.masker("one", &[]), &trial);
    nothing_more_is_masked(masked, &trial);
}

#[test]
#[ignore = "make fault"]
fn retention_that_passes_a_running_worker_stops_it() {
    let servers = &world().direct;
    let trial = FaultTrial::new("r19running", servers, servers);
    trial.feed.send(1_000);
    let masker = trial.masker("one", &[]);
    all_masked(&trial, 1_000);
    masker.signal("STOP");
    trial.feed.send(30_000);
    trial.feed.flush();
    let gap = trial.feed.ends();
    delete_records(&trial);
    trial.feed.send(1_000);
    trial.feed.flush();
    masker.signal("CONT");
    stops_loudly(masker, &trial);
    nothing_behind_the_gap_is_masked(&gap, &trial);
}

#[test]
#[ignore = "make fault"]
fn a_topic_made_anew_under_a_running_worker_stops_it() {
    let servers = &world().direct;
    let trial = FaultTrial::new("r19anew", servers, servers);
    trial.feed.send(2_000);
    let masker = trial.masker("one", &[]);
    let masked = all_masked(&trial, 2_000);
    let (admin, topic) = (admin(servers), trial.contract.raw());
    let partitions = i32::try_from(trial.feed.ends().len()).unwrap();
    waited(admin.delete_topics(&[&topic], &AdminOptions::new())).unwrap();
    let anew = NewTopic::new(&topic, partitions, TopicReplication::Fixed(1));
    eventually("the topic is there again", PATIENCE, || {
        let made = waited(admin.create_topics([&anew], &AdminOptions::new())).ok()?;
        made.first().is_some_and(Result::is_ok).then_some(())
    });
    // Fewer records than there were: the position lies behind the new log's end.
    trial.feed.send(20);
    trial.feed.flush();
    stops_loudly(masker, &trial);
    nothing_more_is_masked(masked, &trial);
}
