//! From a worker's start to its first record, beside a broker that is warm.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::json;
use sluice_tests::worker::TestWorkerProcess;

use crate::reading::TopicTailReader;
use crate::trial::{FaultTrial, PATIENCE};

/// Starts a masker so many times, each time with records that wait; one JSON line per figure. The time is from the
/// start of its process until its first output lies in the broker's log; the first round makes the group.
///
/// # Errors
/// A round without an output.
pub fn run(rounds: usize) -> anyhow::Result<()> {
    let servers = sluice_tests::servers();
    let mut trial = FaultTrial::new("start", &servers, &servers);
    trial.default_timeouts();
    let file = trial.masker_file("one", "");
    let mut seconds = vec![];
    for _ in 0..rounds {
        trial.feed.send(1_000);
        trial.feed.flush();
        let tail = TopicTailReader::new(&servers, &trial.contract.masked());
        let began = Instant::now();
        let mut worker = TestWorkerProcess::start("masker", &file);
        let first = tail.next(Duration::from_secs(30)).context("no output within 30 s")?;
        seconds.push((first - began).as_secs_f64());
        trial.settled();
        worker.end(PATIENCE);
    }
    trial.holds();
    seconds.sort_by(f64::total_cmp);
    for (name, value) in [("median", seconds.get(seconds.len() / 2)), ("worst", seconds.last())] {
        println!("{}", json!({"name": format!("start.first_record.{name}"), "value": value, "unit": "s"}));
    }
    Ok(())
}
