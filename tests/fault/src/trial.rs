//! One run: a contract and topics of its own, a feed, workers with faults, and the oracle at the end.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rdkafka::message::{BorrowedMessage, Message as _};
use sluice_tests::TestServers;
use sluice_tests::clients::schema_of;
use sluice_tests::contract::TestContract;
use sluice_tests::worker::TestWorkerProcess;

use crate::feed::EventFeed;
use crate::oracle::{OracleCounts, OracleFindings, RecordOracle};
use crate::reading::{self, GroupPositionReader, number, source};
use crate::{landed, seed};

/// How long a busy machine may take until everything has come through.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// Keys of a run; several per partition.
const KEYS: usize = 97;

/// A run of one row.
pub struct FaultTrial {
    /// The contract: topics, folder, key.
    pub contract: TestContract,
    /// Kafka without a proxy, for feed and oracle.
    pub direct: TestServers,
    /// The seed's random choices.
    pub rng: StdRng,
    /// The generator.
    pub feed: EventFeed,
    seed: u64,
    /// librdkafka properties of the workers.
    properties: Vec<(String, String)>,
    began: Instant,
}

/// What a worker reached at most.
#[derive(Debug, Clone, Copy, Default)]
pub struct WorkerPeak {
    /// Resident memory in bytes, its program's pages included.
    pub bytes: u64,
    /// What it had allocated, in bytes, whenever it was looked at.
    pub own: u64,
    /// Open file descriptors.
    pub descriptors: usize,
}

impl WorkerPeak {
    /// Looks at a worker.
    pub fn look(&mut self, worker: &TestWorkerProcess) {
        self.bytes = self.bytes.max(worker.peak_bytes());
        self.own = self.own.max(worker.own_bytes());
        self.descriptors = self.descriptors.max(worker.descriptors());
    }
}

impl FaultTrial {
    /// A run named `row`; `workers` is how workers reach the servers, `direct` how the oracle does.
    pub fn new(row: &str, workers: &TestServers, direct: &TestServers) -> Self {
        Self::seeded(row, workers, direct, None)
    }

    /// The same with a given seed, if there is one.
    pub fn seeded(row: &str, workers: &TestServers, direct: &TestServers, seed: Option<u64>) -> Self {
        let (seed, rng) = seed::seeded(row, seed);
        let contract = TestContract::applied(row, workers.clone());
        let (schema, _) = schema_of(direct, &format!("{}-value", contract.raw()));
        let feed = EventFeed::new(direct, &contract.raw(), schema, KEYS);
        // Short time-outs keep the runs short and prove the same. `client.id` lets the proxy know whose frames they are.
        let properties =
            [("session.timeout.ms", "6000"), ("heartbeat.interval.ms", "1000"), ("client.id", row)];
        let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        Self { contract, direct: direct.clone(), rng, feed, seed, properties, began: Instant::now() }
    }

    /// Sets a property of librdkafka for workers started from now on.
    pub fn property(&mut self, name: &str, value: &str) {
        self.properties.retain(|(known, _)| known != name);
        self.properties.push((name.to_owned(), value.to_owned()));
    }

    /// Workers started from now on have librdkafka's and the fleet's own time-outs.
    pub fn default_timeouts(&mut self) {
        self.properties.retain(|(name, _)| name == "client.id");
    }

    fn common(&self) -> String {
        let quoted: Vec<_> =
            self.properties.iter().map(|(name, value)| format!("{name}: \"{value}\"")).collect();
        format!(
            "kafka: {{brokers: \"{}\", properties: {{{}}}}}\nregistry: {{url: \"{}\"}}\nschemas: {}\nadmin: {{listen: \"127.0.0.1:0\"}}\n",
            self.contract.servers.brokers,
            quoted.join(", "),
            self.contract.servers.registry,
            self.contract.file("schemas").display(),
        )
    }

    /// A masker's configuration; `more` is added to the file.
    pub fn masker_file(&self, instance: &str, more: &str) -> PathBuf {
        let text = format!(
            "{}group: {}\ninstance: {instance}\nkeys: {{pseudonym: {{1: {{file: {}}}}}}}\n{more}\n",
            self.common(),
            self.contract.name,
            self.contract.file("key").display()
        );
        self.contract.write(&format!("{instance}.yaml"), &text)
    }

    /// A sink's configuration for archive and lake below `folder`.
    pub fn sink_file(&self, instance: &str, group: &str, stores: &str, more: &str) -> PathBuf {
        let text = format!(
            "{}group: {group}\ntopics: [{}]\nstores: [{stores}]\n{more}\n",
            self.common(),
            self.contract.masked()
        );
        self.contract.write(&format!("{instance}.yaml"), &text)
    }

    /// A masker that commits every 100 ms.
    pub fn masker(&self, instance: &str, environment: &[(&str, &str)]) -> TestWorkerProcess {
        TestWorkerProcess::start_with("masker", &self.masker_file(instance, "commit_ms: 100"), environment)
    }

    /// The archive below the run's folder, as a store of a sink.
    pub fn archive(&self) -> String {
        format!("{{archive: {{path: {}}}}}", self.contract.file("archive").display())
    }

    /// The lake below the run's folder, as a store of a sink.
    pub fn lake(&self) -> String {
        format!("{{delta: {{path: {}}}}}", self.contract.file("lake").display())
    }

    /// The group of maskers.
    pub fn group(&self) -> &str {
        &self.contract.name
    }

    /// Where the group of maskers stands.
    pub fn positions(&self) -> GroupPositionReader {
        GroupPositionReader::new(&self.direct, self.group(), &self.contract.raw())
    }

    /// Waits until the group of maskers has committed everything that was acknowledged so far; how long it took.
    pub fn settled(&self) -> Duration {
        self.feed.flush();
        self.settled_within(PATIENCE, &mut [])
    }

    /// The same, watching workers' peaks on the way.
    pub fn settled_within(
        &self,
        patience: Duration,
        watched: &mut [(&TestWorkerProcess, &mut WorkerPeak)],
    ) -> Duration {
        let (began, ends) = (Instant::now(), self.feed.ends());
        self.reached(&self.positions(), &ends, patience, watched);
        began.elapsed()
    }

    fn reached(
        &self,
        positions: &GroupPositionReader,
        ends: &BTreeMap<i32, i64>,
        patience: Duration,
        watched: &mut [(&TestWorkerProcess, &mut WorkerPeak)],
    ) {
        let deadline = Instant::now() + patience;
        loop {
            let now = positions.now().unwrap_or_default();
            for (worker, peak) in &mut *watched {
                peak.look(worker);
            }
            if ends.iter().all(|(partition, end)| now.get(partition).is_some_and(|at| at >= end)) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{} (SEED={}): not settled within {patience:?}: at {now:?}, want {ends:?}",
                self.contract.name,
                self.seed
            );
            std::thread::sleep(Duration::from_millis(50)); // another process's progress has no event
        }
    }

    /// Waits until a group stands at the end of a topic's committed records, per partition.
    pub fn landed(&self, group: &str) -> Duration {
        self.landed_within(group, PATIENCE, &mut [])
    }

    /// The same, watching workers' peaks on the way.
    pub fn landed_within(
        &self,
        group: &str,
        patience: Duration,
        watched: &mut [(&TestWorkerProcess, &mut WorkerPeak)],
    ) -> Duration {
        let began = Instant::now();
        let topic = self.contract.masked();
        let ends = reading::committed_ends(&self.direct, &topic);
        self.reached(&GroupPositionReader::new(&self.direct, group, &topic), &ends, patience, watched);
        began.elapsed()
    }

    /// What the oracle says of source, masked topic, dead letters and the group's positions.
    ///
    /// # Errors
    /// Its findings.
    pub fn judge(&self) -> Result<OracleCounts, OracleFindings> {
        self.judge_and(|_| ())
    }

    /// The same; `also` is lent every record of the masked topic.
    fn judge_and(&self, mut also: impl FnMut(&BorrowedMessage<'_>)) -> Result<OracleCounts, OracleFindings> {
        self.feed.flush();
        let mut oracle = RecordOracle::new(self.feed.sent());
        reading::committed(&self.direct, &self.contract.raw(), |message| {
            let number = message.payload().filter(|_| !is_poison(message)).and_then(number);
            oracle.source(place(message), number);
        });
        reading::committed(&self.direct, &self.contract.masked(), |message| {
            also(message);
            let from = reading::header(message, "sluice.source").and_then(|text| source(&text));
            let n = message.payload().and_then(number);
            oracle.output(message.key().unwrap_or_default(), from.unwrap_or((-1, -1)), n.unwrap_or(-1));
        });
        reading::committed(&self.direct, &format!("{}.dead-letter", self.contract.raw()), |message| {
            let text = |name: &str| reading::header(message, &format!("sluice.dlq.source.{name}"));
            let from = text("partition")
                .and_then(|p| p.parse().ok())
                .zip(text("offset").and_then(|o| o.parse().ok()));
            oracle.letter(from.unwrap_or((-1, -1)));
        });
        oracle.committed(&self.positions().now().unwrap_or_default());
        oracle.verdict()
    }

    /// The same, and nothing may be found.
    pub fn holds(&self) -> OracleCounts {
        self.judge().unwrap_or_else(|findings| {
            panic!("{} (SEED={}) is red:\n{findings}", self.contract.name, self.seed)
        })
    }

    /// Everything in the masked topic is in the archive and (if there is one) the lake, once each.
    ///
    /// # Errors
    /// What is not, by store.
    pub fn judge_landed(&self) -> Result<u64, OracleFindings> {
        let mut placed = landed::ArchivePositionCounts::default();
        reading::committed(&self.direct, &self.contract.masked(), |message| placed.expect(place(message)));
        self.judge_stores(placed)
    }

    /// Both at once: what the oracle says, and what of the masked topic is in the stores. The topic is read once.
    pub fn judge_all(&self) -> (Result<OracleCounts, OracleFindings>, Result<u64, OracleFindings>) {
        let mut placed = landed::ArchivePositionCounts::default();
        let counts = self.judge_and(|message| placed.expect(place(message)));
        (counts, self.judge_stores(placed))
    }

    fn judge_stores(&self, mut placed: landed::ArchivePositionCounts) -> Result<u64, OracleFindings> {
        landed::archive(&self.contract.file("archive"), &mut placed);
        landed::lake(&self.contract.file("lake"), &self.contract.masked(), &placed)?;
        placed.verdict()
    }

    /// One line about the run: its figures.
    pub fn tell(&self, what: &str) {
        println!(
            "{} (SEED={}): {what}; {:.1} s",
            self.contract.name,
            self.seed,
            self.began.elapsed().as_secs_f64()
        );
    }
}

fn place(message: &BorrowedMessage<'_>) -> (i32, i64) {
    (message.partition(), message.offset())
}

/// What a test poisoned on purpose says so in a header.
fn is_poison(message: &BorrowedMessage<'_>) -> bool {
    reading::header(message, "poison").is_some()
}
