//! Lanes that come and go under load, by both group protocols: every record once, each key in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use sluice_core::{
    Fault, LearnError, Outcome, Outputs, Processor, RecordPart, RecordRef, Route, SchemaId, SchemaLookup,
};
use sluice_runtime::config::RegistrySection;
use sluice_runtime::lane::limits::DeadLetterThresholds;
use sluice_runtime::lane::{LaneConfig, LanePace, run_transform};
use sluice_runtime::registry::{BlockingRegistry, SchemaRegistry};
use sluice_runtime::status::WorkerStatus;
use sluice_stack::ServerStack;
use tokio_util::sync::CancellationToken;

use crate::broker::{MEMORY, broker, create, eventually, feed, oracle, section, values};

const PARTITIONS: i32 = 4;

/// Copies, not too fast, so that a rebalance finds something open.
struct SlowCopyProcessor {
    routes: Vec<String>,
}

impl Processor for SlowCopyProcessor {
    fn process(&mut self, record: &RecordRef<'_>, out: &mut Outputs) -> Outcome {
        if record.offset.raw() % 64 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut draft = out.draft(Route(0));
        draft.key(record.key.unwrap());
        draft
            .value_with(|bytes| {
                bytes.extend_from_slice(record.value.unwrap());
                Ok::<(), std::convert::Infallible>(())
            })
            .unwrap();
        draft.emit();
        Outcome::Emitted
    }

    fn learn(
        &mut self,
        _: &str,
        _: RecordPart,
        _: SchemaId,
        _: &str,
        _: &mut dyn SchemaLookup,
    ) -> Result<(), LearnError> {
        Ok(())
    }

    fn routes(&self) -> &[String] {
        &self.routes
    }
}

struct SeamLane {
    stop: CancellationToken,
    status: WorkerStatus,
    thread: JoinHandle<Result<(), Fault>>,
}

struct SeamFleet {
    stack: Arc<ServerStack>,
    properties: Vec<(&'static str, &'static str)>,
    runtime: tokio::runtime::Runtime,
    name: String,
}

impl SeamFleet {
    fn new(name: &str, properties: &[(&'static str, &'static str)]) -> Self {
        let stack = broker();
        create(&stack, name, PARTITIONS);
        create(&stack, &format!("{name}.out"), PARTITIONS);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        Self { stack, properties: properties.to_vec(), runtime, name: name.to_owned() }
    }

    fn lane(&self, instance: &str) -> SeamLane {
        let registry = SchemaRegistry::new(&RegistrySection::open("http://127.0.0.1:9")).unwrap();
        let registry = BlockingRegistry::new(registry, self.runtime.handle().clone());
        let (status, stop) = (WorkerStatus::new("test", &[]), CancellationToken::new());
        let config = LaneConfig {
            worker: "test",
            kafka: section(&self.stack, &self.properties),
            group: self.name.clone(),
            instance: instance.to_owned(),
            topics: vec![self.name.clone()],
            memory: MEMORY,
            pace: LanePace { interval: Duration::from_millis(100), ..LanePace::default() },
            limits: DeadLetterThresholds::default(),
        };
        let processor = SlowCopyProcessor { routes: vec![format!("{}.out", self.name)] };
        let (told, ended) = (status.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            // Nobody sends revisions: the contracts of this lane stay as they are.
            run_transform(config, processor, &std::sync::mpsc::channel().1, registry, &told, &ended)
        });
        SeamLane { stop, status, thread }
    }

    fn done(&self) -> i64 {
        values(&self.stack, &format!("{}.out", self.name)).values().map(|all| all.len() as i64).sum()
    }
}

impl SeamLane {
    fn written(&self) -> u64 {
        let page = self.status.page();
        page["partitions"].as_array().unwrap().iter().filter_map(|p| p["written"].as_u64()).sum()
    }

    fn owned(&self) -> usize {
        self.status.page()["partitions"].as_array().unwrap().len()
    }

    fn end(self) {
        self.stop.cancel();
        self.thread.join().unwrap().unwrap();
    }
}

/// A second lane joins while the first is at work, the first leaves, a third comes, records flow all the while, and all
/// of it arrives once.
fn come_and_go(name: &str, properties: &[(&'static str, &'static str)]) {
    let fleet = SeamFleet::new(name, properties);
    let enough = AtomicBool::new(false);
    let sent = std::thread::scope(|scope| {
        let feeder = scope.spawn(|| {
            let mut sent = 0;
            while !enough.load(Ordering::Relaxed) {
                feed(&fleet.stack, name, PARTITIONS, sent, sent + 2_000);
                sent += 2_000;
            }
            sent
        });
        let one = fleet.lane("one");
        eventually("the first lane at work", || one.written() > 2_000);
        let two = fleet.lane("two");
        eventually("the second lane at work", || two.written() > 2_000);
        assert!(one.owned() < PARTITIONS as usize, "the first gave nothing away");
        one.end();
        let three = fleet.lane("three");
        eventually("the third lane at work", || three.written() > 2_000);
        enough.store(true, Ordering::Relaxed);
        let sent = feeder.join().unwrap();
        eventually("everything copied", || fleet.done() >= sent);
        two.end();
        three.end();
        sent
    });
    oracle(&values(&fleet.stack, &format!("{name}.out")), sent, i64::from(PARTITIONS));
}

#[test]
fn lanes_come_and_go_by_the_classic_protocol() {
    come_and_go("classic", &[]);
}

#[test]
fn lanes_come_and_go_by_the_consumer_protocol() {
    come_and_go("kip-848", &[("group.protocol", "consumer")]);
}

#[test]
fn lanes_come_and_go_by_the_eager_protocol() {
    come_and_go("eager", &[("partition.assignment.strategy", "range")]);
}
