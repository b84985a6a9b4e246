//! Row 3: a worker joins or leaves every two seconds.

use std::time::{Duration, Instant};

use rand::Rng as _;
use sluice_fault::cluster::world;
use sluice_fault::trial::FaultTrial;
use sluice_tests::worker::TestWorkerProcess;

#[test]
#[ignore = "make fault"]
fn a_storm_of_rebalances_changes_nothing_and_progress_goes_on() {
    let servers = &world().direct;
    let mut trial = FaultTrial::new("r3storm", servers, servers);
    trial.feed.send(2_000);
    let mut slots: [Option<TestWorkerProcess>; 3] = [Some(trial.masker("slot0", &[])), None, None];
    trial.settled();
    let (began, positions) = (Instant::now(), trial.positions());
    let before: i64 = positions.now().unwrap_or_default().values().sum();
    let (mut changes, mut next) = (0, Instant::now());
    while began.elapsed() < Duration::from_secs(40) {
        if Instant::now() >= next {
            next += Duration::from_secs(2);
            changes += 1;
            let slot = trial.rng.random_range(0..slots.len());
            slots[slot] = match slots[slot].take() {
                None => Some(trial.masker(&format!("slot{slot}"), &[])),
                Some(mut worker) => {
                    if trial.rng.random_bool(0.5) {
                        worker.kill();
                    } else {
                        worker.signal("TERM");
                        worker.ended(Duration::from_secs(60));
                    }
                    None
                }
            };
        }
        trial.feed.send(100);
        trial.feed.serve();
        std::thread::sleep(Duration::from_millis(20)); // the pace of the input
    }
    let progress = positions.now().unwrap_or_default().values().sum::<i64>() - before;
    assert!(progress > 0, "nothing was committed in forty seconds of rebalances");
    let mut last = slots[0].take().unwrap_or_else(|| trial.masker("slot0", &[]));
    trial.settled();
    assert!(last.end(Duration::from_secs(60)).success(), "{}", last.log());
    drop(slots);
    let counts = trial.holds();
    trial.tell(&format!("{changes} joins and leaves, {progress} records committed meanwhile, {counts:?}"));
}
