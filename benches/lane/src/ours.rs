//! Our ways: the real transform lane with an empty transform, and the bare seam.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sluice_core::{
    Fault, LearnError, NextOffset, Outcome, Outputs, Processor, RecordPart, RecordRef, Route, SchemaId,
    SchemaLookup, TopicPartition,
};
use sluice_kafka::{
    ConsumerGroup, GroupEvents, GroupMetadata, KafkaProducer, OutgoingRecord, PartitionStart,
};
use sluice_runtime::config::RegistrySection;
use sluice_runtime::lane::limits::DeadLetterThresholds;
use sluice_runtime::lane::{LaneConfig, LanePace, run_transform};
use sluice_runtime::registry::{BlockingRegistry, SchemaRegistry};
use sluice_runtime::status::WorkerStatus;
use tokio_util::sync::CancellationToken;

use crate::{FirstRecordClock, LaneBenchJob, LaneBenchResult, data};

const MEMORY: usize = 256 << 20;

/// Copies.
struct BenchCopyProcessor {
    routes: Vec<String>,
    clock: FirstRecordClock,
    /// Records that are still to come, and the receiver of the clock once the last one is here.
    left: u64,
    done: SyncSender<FirstRecordClock>,
}

impl BenchCopyProcessor {
    fn new(job: &LaneBenchJob) -> (Self, Receiver<FirstRecordClock>) {
        let (done, last) = mpsc::sync_channel(1);
        (
            Self {
                routes: vec![job.output.clone()],
                clock: FirstRecordClock::new(),
                left: job.records,
                done,
            },
            last,
        )
    }
}

impl Processor for BenchCopyProcessor {
    fn process(&mut self, record: &RecordRef<'_>, out: &mut Outputs) -> Outcome {
        self.clock.start();
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            let _ = self.done.try_send(self.clock);
        }
        let mut draft = out.draft(Route(0));
        draft.timestamp_ms(record.timestamp_ms);
        if let Some(key) = record.key {
            draft.key(key);
        }
        if let Some(value) = record.value {
            let copied: Result<(), std::convert::Infallible> = draft.value_with(|bytes| {
                bytes.extend_from_slice(value);
                Ok(())
            });
            let Ok(()) = copied;
        }
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

/// The lane as masker and normaliser run it, at its default pace.
pub fn lane(job: &LaneBenchJob) -> LaneBenchResult {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
    let registry = SchemaRegistry::new(&RegistrySection::open("http://127.0.0.1:9"))
        .expect("a client");
    let registry = BlockingRegistry::new(registry, runtime.handle().clone());
    let (processor, last) = BenchCopyProcessor::new(job);
    let status = WorkerStatus::new("bench", &[]);
    let stop = CancellationToken::new();
    let config = LaneConfig {
        worker: "bench",
        kafka: data::section(&job.brokers),
        group: job.run.clone(),
        instance: "0".into(),
        topics: vec![job.input.clone()],
        memory: MEMORY,
        pace: LanePace::default(),
        limits: DeadLetterThresholds::default(),
    };
    let (told, ended) = (status.clone(), stop.clone());
    let lane = std::thread::spawn(move || {
        // No revisions are sent: the contracts of this lane stay as they are.
        run_transform(config, processor, &std::sync::mpsc::channel().1, registry, &told, &ended)
    });
    // Asked for nothing while it works (looking in on it two hundred times a second took a hundredth of the whole's CPU).
    // Then it is stopped, so that its last batch is committed as soon as the other ways commit theirs.
    let clock = last.recv().expect("every record");
    stop.cancel();
    // Every partition of the input begins at 0 and has no gaps.
    let committed = || -> u64 {
        let next = |next: Option<NextOffset>| next.map_or(0, |next| next.raw().cast_unsigned());
        status.positions().into_iter().map(|(_, at)| next(at)).sum()
    };
    while committed() < job.records && !lane.is_finished() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let seconds = clock.seconds();
    lane.join().expect("a lane").expect("a lane that ends well");
    // The parent process counts that all records can be read.
    LaneBenchResult { records: job.records, seconds }
}

/// The seam alone, without transactions: what was read is produced, flushed and committed by the lane's interval.
pub fn copy(job: &LaneBenchJob) -> LaneBenchResult {
    copy_with(job, false, BenchCopyMode::Nothing)
}

/// The same in transactions, which carry the offsets.
pub fn copy_in_transactions(job: &LaneBenchJob) -> LaneBenchResult {
    copy_with(job, true, BenchCopyMode::Nothing)
}

/// Without transactions, and through the lane's empty transform: consume, transform, produce.
pub fn transform(job: &LaneBenchJob) -> LaneBenchResult {
    copy_with(job, false, BenchCopyMode::Transform)
}

/// Through the same transform in transactions: what a lane does besides is all that is missing.
pub fn transform_in_transactions(job: &LaneBenchJob) -> LaneBenchResult {
    copy_with(job, true, BenchCopyMode::Transform)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum BenchCopyMode {
    Nothing,
    Transform,
}

fn copy_with(job: &LaneBenchJob, transactional: bool, through: BenchCopyMode) -> LaneBenchResult {
    let (mut empty, _last) = BenchCopyProcessor::new(job);
    let mut outputs = Outputs::new();
    let kafka = data::section(&job.brokers);
    let made = match transactional {
        true => KafkaProducer::transactional(&kafka, &job.run, MEMORY),
        false => KafkaProducer::idempotent(&kafka, MEMORY),
    };
    let mut producer = made.expect("a producer");
    let mut open = false;
    let state = Arc::new(Mutex::new(BenchPositions::default()));
    let topics = [job.input.clone()];
    let mut group =
        ConsumerGroup::join(&kafka, &job.run, &topics, MEMORY, Arc::clone(&state)).expect("a group");
    let (mut records, mut clock, mut last) = (0, FirstRecordClock::new(), Instant::now());
    while records < job.records {
        let mut failed = None;
        group
            .poll_batch(Duration::from_millis(50), |state: &mut BenchPositions, record| {
                clock.start();
                if transactional && !open {
                    producer.begin().expect("a transaction");
                    (open, last) = (true, Instant::now());
                }
                records += 1;
                state.seen(record);
                let out = |key, value, timestamp_ms, headers| OutgoingRecord {
                    topic: &job.output,
                    partition: None,
                    key,
                    value,
                    timestamp_ms,
                    headers,
                };
                let sent = if through == BenchCopyMode::Transform {
                    outputs.clear();
                    empty.process(record, &mut outputs);
                    outputs.iter().try_for_each(|made| {
                        producer.send(&out(made.key, made.value, made.timestamp_ms, &[]))
                    })
                } else {
                    producer.send(&out(record.key, record.value, record.timestamp_ms, record.headers))
                };
                match sent {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(fault) => {
                        failed = Some(fault);
                        ControlFlow::Break(())
                    }
                }
            })
            .expect("a batch");
        assert!(failed.is_none(), "producing");
        if last.elapsed() >= LanePace::default().interval || records >= job.records {
            producer.flush().expect("a flush");
            let positions = state.lock().expect("the state").positions();
            if !transactional {
                group.commit(&positions).expect("a commit");
            } else if open {
                let metadata = group.metadata().expect("a member of the group");
                producer.send_offsets(&positions, &metadata).expect("offsets");
                producer.commit().expect("a commit");
                open = false;
            }
            last = Instant::now();
        }
    }
    LaneBenchResult { records, seconds: clock.seconds() }
}

/// The consumer side alone.
pub fn consume(job: &LaneBenchJob) -> LaneBenchResult {
    let state = Arc::new(Mutex::new(BenchPositions::default()));
    let topics = [job.input.clone()];
    let mut group =
        ConsumerGroup::join(&data::section(&job.brokers), &job.run, &topics, MEMORY, state).expect("a group");
    let (mut records, mut bytes, mut clock) = (0, 0, FirstRecordClock::new());
    while records < job.records {
        group
            .poll_batch(Duration::from_millis(50), |_, record| {
                clock.start();
                records += 1;
                bytes += record.size();
                ControlFlow::Continue(())
            })
            .expect("a batch");
    }
    assert!(bytes > 0);
    LaneBenchResult { records, seconds: clock.seconds() }
}

#[derive(Default)]
struct BenchPositions(Vec<(TopicPartition, Option<NextOffset>)>);

impl BenchPositions {
    fn seen(&mut self, record: &RecordRef<'_>) {
        let known =
            self.0.iter_mut().find(|(at, _)| at.partition == record.partition && *at.topic == *record.topic);
        if let Some((_, next)) = known {
            *next = Some(record.offset.next());
        }
    }

    fn positions(&self) -> BTreeMap<TopicPartition, NextOffset> {
        self.0.iter().filter_map(|(at, next)| Some((at.clone(), (*next)?))).collect()
    }
}

impl GroupEvents for BenchPositions {
    fn assigned(&mut self, at: &TopicPartition, committed: Option<NextOffset>) -> PartitionStart {
        self.0.push((at.clone(), None));
        committed.map_or(PartitionStart::Beginning, PartitionStart::At)
    }

    fn revoking(
        &mut self,
        _: &[TopicPartition],
        _: bool,
        _: Option<GroupMetadata>,
    ) -> Vec<(TopicPartition, NextOffset)> {
        vec![]
    }

    fn trouble(&mut self, fault: Fault) {
        panic!("{fault}");
    }
}
