//! Row 4: brokers of three are killed and stopped, the coordinators first; what was acknowledged is never lost.

use std::time::{Duration, Instant};

use rand::seq::SliceRandom as _;
use sluice_fault::cluster::{FaultCluster, leaders};
use sluice_fault::trial::{FaultTrial, PATIENCE, WorkerPeak};
use sluice_tests::worker::TestWorkerProcess;

#[derive(Debug, Clone, Copy)]
enum BrokerBlow {
    KillGroupCoordinator,
    KillTransactionCoordinator,
    StopTransactionCoordinator,
    StopLeader,
}

/// Sends for so long, at a pace that leaves the machine something.
fn feed_for(trial: &FaultTrial, time: Duration) {
    let began = Instant::now();
    while began.elapsed() < time {
        trial.feed.send(100);
        trial.feed.serve();
        std::thread::sleep(Duration::from_millis(20)); // the pace of the input
    }
}

#[test]
#[ignore = "make fault"]
fn brokers_that_die_or_freeze_lose_nothing_that_was_acknowledged() {
    let mut cluster = FaultCluster::start();
    let servers = cluster.servers();
    let mut trial = FaultTrial::new("r4brokers", &servers, &servers);
    trial.feed.send(2_000);
    let one = trial.masker("one", &[]);
    let two = trial.masker("two", &[]);
    trial.settled();
    let mut blows = [
        BrokerBlow::KillGroupCoordinator,
        BrokerBlow::KillTransactionCoordinator,
        BrokerBlow::StopTransactionCoordinator,
        BrokerBlow::StopLeader,
    ];
    blows.shuffle(&mut trial.rng);
    let transactional_id = format!("{}-masker-one-0", trial.group());
    let (mut recoveries, mut peaks) = (vec![], [WorkerPeak::default(), WorkerPeak::default()]);
    for blow in blows {
        feed_for(&trial, Duration::from_secs(2));
        let broker = match blow {
            BrokerBlow::KillGroupCoordinator => cluster.group_coordinator(trial.group()),
            BrokerBlow::KillTransactionCoordinator | BrokerBlow::StopTransactionCoordinator => {
                cluster.transaction_coordinator(&transactional_id)
            }
            BrokerBlow::StopLeader => {
                leaders(&servers, &trial.contract.raw()).and_then(|leaders| leaders.get(&0).copied())
            }
        };
        let broker = broker.expect("a leader");
        let hit = Instant::now();
        let stopped = matches!(blow, BrokerBlow::StopTransactionCoordinator | BrokerBlow::StopLeader);
        if stopped {
            cluster.signal(broker, "STOP");
            // Past the brokers' session (9 s): the controller gives its partitions to others meanwhile.
            feed_for(&trial, Duration::from_secs(14));
            cluster.signal(broker, "CONT");
        } else {
            cluster.kill(broker);
            feed_for(&trial, Duration::from_secs(5));
            cluster.revive(broker);
        }
        let [first, second] = &mut peaks;
        trial.feed.flush();
        trial.settled_within(Duration::from_secs(180), &mut [(&one, first), (&two, second)]);
        recoveries.push((blow, broker, hit.elapsed()));
        cluster.in_sync(&trial.contract.masked(), PATIENCE);
    }
    let mut workers = [one, two];
    // A worker that was fenced has stopped and would be started again by whoever runs it.
    for worker in &mut workers {
        if worker.has_ended().is_none() {
            worker.end(Duration::from_secs(60));
        }
    }
    let mut last = trial.masker("last", &[]);
    trial.feed.send(1_000);
    trial.settled();
    last.end(Duration::from_secs(60));
    let counts = trial.holds();
    trial.tell(&format!("{counts:?}; from blow to caught up: {recoveries:.1?}; {peaks:?}"));
    drop::<[TestWorkerProcess; 2]>(workers);
}
