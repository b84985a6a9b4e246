//! Two writers of one table: what each may add, and what a late one may not.

use super::*;
use sluice_core::Fault;

fn refused(result: Result<(), Fault>) {
    assert_eq!(result.unwrap_err().retry, Retry::Rewind);
}

#[test]
fn a_late_writer_of_the_same_partition_writes_nothing() {
    let lake = tempfile::tempdir().unwrap();
    let mut zombie = delta(lake.path());
    let mut owner = delta(lake.path());
    resume(&mut zombie, 0);
    feed(&mut zombie, 0, 0..40);
    // Overtaken before the first commit.
    resume(&mut owner, 0);
    feed(&mut owner, 0, 0..60);
    owner.flush().unwrap();
    refused(zombie.flush().map(drop));
    refused(zombie.flush().map(drop));
    assert_eq!(offsets(lake.path(), 0), (0..60).collect::<Vec<_>>());

    // Rewound, it takes part; then the owner is the late one, now with commits of its own behind it.
    zombie.forget(&at(0));
    assert_eq!(resume(&mut zombie, 0), Some(60));
    feed(&mut zombie, 0, 60..80);
    zombie.flush().unwrap();
    feed(&mut owner, 0, 60..90);
    refused(owner.flush().map(drop));
    assert_eq!(offsets(lake.path(), 0), (0..80).collect::<Vec<_>>());
}

#[test]
fn a_late_writer_is_refused_even_if_it_lost_only_one_of_its_partitions() {
    let lake = tempfile::tempdir().unwrap();
    let mut zombie = delta(lake.path());
    let mut owner = delta(lake.path());
    for partition in [0, 1] {
        resume(&mut zombie, partition);
        feed(&mut zombie, partition, 0..10);
    }
    resume(&mut owner, 1);
    feed(&mut owner, 1, 0..5);
    owner.flush().unwrap();
    refused(zombie.flush().map(drop));
    assert_eq!((offsets(lake.path(), 0).len(), offsets(lake.path(), 1).len()), (0, 5));
    // What it still owns it may write once the other is forgotten.
    zombie.forget(&at(1));
    zombie.flush().unwrap();
    assert_eq!((offsets(lake.path(), 0).len(), offsets(lake.path(), 1).len()), (10, 5));
}

#[test]
fn writers_of_different_partitions_do_not_disturb_each_other() {
    let lake = tempfile::tempdir().unwrap();
    let (mut a, mut b) = (delta(lake.path()), delta(lake.path()));
    resume(&mut a, 0);
    resume(&mut b, 1);
    for round in 0..6 {
        feed(&mut a, 0, round * 10..round * 10 + 10);
        feed(&mut b, 1, round * 10..round * 10 + 10);
        if round % 2 == 0 {
            a.flush().unwrap();
        }
        b.flush().unwrap();
    }
    a.flush().unwrap();
    for partition in [0, 1] {
        assert_eq!(offsets(lake.path(), partition), (0..60).collect::<Vec<_>>());
    }
}

#[test]
fn a_hundred_races_for_the_same_rows_end_with_each_row_once() {
    // Both read the same records from where the table stands and flush at the same moment, again and again.
    let lake = tempfile::tempdir().unwrap();
    const LAST: i64 = 400;
    let race = |step: i64| {
        let mut store = delta(lake.path());
        let mut refusals = 0;
        let mut next = resume(&mut store, 0).unwrap_or(0);
        while next < LAST {
            let end = (next + step).min(LAST);
            feed(&mut store, 0, next..end);
            match store.flush() {
                Ok(_) => next = end,
                Err(fault) => {
                    assert_eq!(fault.retry, Retry::Rewind, "{fault}");
                    refusals += 1;
                    store.forget(&at(0));
                    next = resume(&mut store, 0).unwrap_or(0);
                }
            }
        }
        refusals
    };
    let refusals: i32 = std::thread::scope(|scope| {
        let racers: Vec<_> = [4, 7].map(|step| scope.spawn(move || race(step))).into_iter().collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).sum()
    });
    println!("{refusals} refusals");
    assert_eq!(offsets(lake.path(), 0), (0..LAST).collect::<Vec<_>>());
    assert!(refusals > 0, "they never met: this proves nothing");
}

#[test]
fn a_log_cleaned_up_behind_a_sleeper_is_not_taken_for_a_quiet_one() {
    let lake = tempfile::tempdir().unwrap();
    let mut sleeper = delta(lake.path());
    resume(&mut sleeper, 0);
    feed(&mut sleeper, 0, 0..10);
    sleeper.flush().unwrap();
    feed(&mut sleeper, 0, 10..20);
    let mut owner = delta(lake.path());
    resume(&mut owner, 0);
    for batch in 1..8 {
        feed(&mut owner, 0, batch * 10..batch * 10 + 10);
        owner.flush().unwrap();
    }
    // Everything before the checkpoint at version 7 is gone, also the version after the sleeper's own.
    for version in 0..7 {
        std::fs::remove_file(lake.path().join(TOPIC).join(format!("_delta_log/{version:020}.json"))).unwrap();
    }
    refused(sleeper.flush().map(drop));
    assert_eq!(offsets(lake.path(), 0), (0..80).collect::<Vec<_>>());
}
