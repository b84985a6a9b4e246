//! Metrics of a worker. All names are in this file; they have the prefix `sluice_`, base units (seconds,
//! bytes) and labels with a bounded number of values.

use std::sync::LazyLock;
use std::time::Duration;

use prometheus::{
    Encoder, GaugeVec, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};
use sluice_core::ReasonClass;

/// One registry for the process: lanes and collector count from their own threads, and `/metrics` shows the
/// sum.
static METRICS: LazyLock<WorkerMetrics> = LazyLock::new(WorkerMetrics::new);

/// The registered metrics.
struct WorkerMetrics {
    registry: Registry,
    committed: IntCounterVec,
    dead_letters: IntCounterVec,
    skipped: IntCounterVec,
    flushed_records: IntCounterVec,
    flushed_bytes: IntCounterVec,
    flush_seconds: HistogramVec,
    neighbour_up: IntGaugeVec,
    next_offset: IntGaugeVec,
    lag: IntGaugeVec,
    last_stable_offset: IntGaugeVec,
    fetch_queue_records: IntGaugeVec,
    fetch_queue_bytes: IntGaugeVec,
    send_queue_records: IntGaugeVec,
    send_queue_bytes: IntGaugeVec,
    transaction_state: IntGaugeVec,
    stuck: IntGauge,
    progress: IntCounterVec,
    gauges: GaugeVec,
}

/// The collector's counters: the values of the label `kind`. The list is closed, so that labels stay bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgressCounter {
    /// Ids taken from the database.
    IdsClaimed,
    /// Ids that were collected to their last page.
    IdsDone,
    /// Ids given up after too many attempts.
    IdsDead,
    /// Pages published.
    Pages,
    /// Records published from pages.
    PageRecords,
    /// Bytes of API answers.
    AnswerBytes,
    /// Requests sent to the API.
    Requests,
    /// Requests sent again after a failure.
    Retries,
    /// Records passed over because an earlier run has published them.
    Repeats,
    /// Signs of page drift: an API's pages move while they are read.
    Drift,
    /// Milliseconds that requests waited for a token of a shared budget.
    RateWaitMs,
    /// Milliseconds that pages waited between attempts.
    RetryWaitMs,
}

impl ProgressCounter {
    /// Returns the value of the label `kind`. Dashboards and alerts name it, so it never changes.
    const fn as_str(self) -> &'static str {
        match self {
            Self::IdsClaimed => "ids_claimed",
            Self::IdsDone => "ids_done",
            Self::IdsDead => "ids_dead",
            Self::Pages => "pages",
            Self::PageRecords => "page_records",
            Self::AnswerBytes => "answer_bytes",
            Self::Requests => "requests",
            Self::Retries => "retries",
            Self::Repeats => "repeats",
            Self::Drift => "drift",
            Self::RateWaitMs => "rate_wait_ms",
            Self::RetryWaitMs => "retry_wait_ms",
        }
    }
}

impl WorkerMetrics {
    /// Registers all metrics.
    fn new() -> Self {
        // Every metric goes through these two, so that none is made without being registered.
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| {
            register(&registry, IntCounterVec::new(Opts::new(name, help), labels))
        };
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            register(&registry, IntGaugeVec::new(Opts::new(name, help), labels))
        };

        let metrics = Self {
            // Records by outcome. Lanes count dead letters and skips when they meet them, so a batch that is
            // handled again counts them again.
            committed: counter(
                "sluice_records_committed_total",
                "Input records whose outcome is durable.",
                &["worker"],
            ),
            dead_letters: counter(
                "sluice_dead_letters_total",
                "Records sent to a dead-letter topic.",
                &["worker", "class"],
            ),
            skipped: counter(
                "sluice_records_skipped_total",
                "Records skipped by rule, because nothing comes of them.",
                &["worker", "class"],
            ),

            // Stores.
            flushed_records: counter(
                "sluice_store_records_total",
                "Records made durable in a store.",
                &["store"],
            ),
            flushed_bytes: counter(
                "sluice_store_bytes_total",
                "Bytes of records made durable in a store.",
                &["store"],
            ),
            flush_seconds: register(
                &registry,
                HistogramVec::new(
                    prometheus::HistogramOpts::new("sluice_store_flush_seconds", "Time of a flush."),
                    &["store"],
                ),
            ),

            // Neighbours: readiness depends on them.
            neighbour_up: gauge(
                "sluice_neighbour_up",
                "1 while a neighbour (Kafka, registry, store, database) answers.",
                &["neighbour"],
            ),

            // Positions of partitions. `released` removes these gauges when a partition leaves the process.
            next_offset: gauge(
                "sluice_next_offset",
                "Next offset to read, durable.",
                &["topic", "partition"],
            ),
            lag: gauge(
                "sluice_kafka_lag",
                "Offsets between the last record read and the last stable offset.",
                &["topic", "partition"],
            ),
            last_stable_offset: gauge(
                "sluice_kafka_last_stable_offset",
                "Offset up to which a reader of committed records can read.",
                &["topic", "partition"],
            ),

            // Queues and transactions of the Kafka clients, from librdkafka's statistics.
            fetch_queue_records: gauge(
                "sluice_kafka_fetch_queue_records",
                "Records fetched and not yet read.",
                &["topic", "partition"],
            ),
            fetch_queue_bytes: gauge(
                "sluice_kafka_fetch_queue_bytes",
                "Bytes fetched and not yet read.",
                &["topic", "partition"],
            ),
            send_queue_records: gauge(
                "sluice_kafka_send_queue_records",
                "Records handed to a producer and not yet acknowledged.",
                &["producer"],
            ),
            send_queue_bytes: gauge(
                "sluice_kafka_send_queue_bytes",
                "Bytes handed to a producer and not yet acknowledged.",
                &["producer"],
            ),
            transaction_state: gauge(
                "sluice_kafka_transaction_state",
                "1 for the state that a producer's transaction is in, 0 for the others.",
                &["producer", "state"],
            ),

            // The worker itself.
            stuck: register(
                &registry,
                IntGauge::new(
                    "sluice_stuck_partitions",
                    "Partitions that do not move although there is something to read.",
                ),
            ),
            progress: counter("sluice_collector_total", "Events of the collector, by kind.", &["kind"]),
            gauges: register(
                &registry,
                GaugeVec::new(
                    Opts::new("sluice_process_start_time_seconds", "When this process started."),
                    &[],
                ),
            ),
            registry,
        };

        // Set once: the time of start never changes.
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0.0, |time| time.as_secs_f64());
        metrics.gauges.with_label_values::<&str>(&[]).set(now);
        metrics
    }
}

/// Registers a metric and returns it.
///
/// Names and labels are constants of this file. A wrong one is a bug, and every test that touches a metric
/// panics here.
#[allow(clippy::expect_used)]
fn register<C: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    made: prometheus::Result<C>,
) -> C {
    let collector = made.expect("a metric has a valid name and valid labels");
    registry.register(Box::new(collector.clone())).expect("a metric's name is used once");
    collector
}

/// Returns all metrics in Prometheus' text format (version 0.0.4).
pub fn render() -> String {
    let mut out = Vec::new();
    // Writing to a vector cannot fail, and a registry gathers no family without a metric, so encoding
    // succeeds.
    let encoded = TextEncoder::new().encode(&METRICS.registry.gather(), &mut out);
    debug_assert!(encoded.is_ok(), "metrics: {encoded:?}");

    // Names, help and labels are strings, so the text is UTF-8.
    let page = String::from_utf8(out);
    debug_assert!(page.is_ok(), "metrics: expected UTF-8");
    page.unwrap_or_default()
}

/// Counts input records whose outcome is durable.
pub(crate) fn committed(worker: &str, records: u64) {
    METRICS.committed.with_label_values(&[worker]).inc_by(records);
}

/// Counts a record that went to the dead-letter topic.
pub fn dead_lettered(worker: &str, class: ReasonClass) {
    METRICS.dead_letters.with_label_values(&[worker, class.as_str()]).inc();
}

/// Counts a record that was skipped by rule.
pub(crate) fn skipped(worker: &str, class: ReasonClass) {
    METRICS.skipped.with_label_values(&[worker, class.as_str()]).inc();
}

/// Counts a flush of a store: its records, bytes and time.
pub(crate) fn flushed(store: &str, records: u64, bytes: usize, time: Duration) {
    METRICS.flushed_records.with_label_values(&[store]).inc_by(records);
    METRICS.flushed_bytes.with_label_values(&[store]).inc_by(bytes as u64);
    METRICS.flush_seconds.with_label_values(&[store]).observe(time.as_secs_f64());
}

/// Shows whether a neighbour answers.
pub(crate) fn neighbour(name: &str, up: bool) {
    METRICS.neighbour_up.with_label_values(&[name]).set(i64::from(up));
}

/// Shows the durable next offset of a partition.
pub(crate) fn position(topic: &str, partition: i32, next: i64) {
    METRICS.next_offset.with_label_values(&[topic, &partition.to_string()]).set(next);
}

/// Removes the gauges of a partition that left this process. They would show old values for ever.
pub(crate) fn released(topic: &str, partition: i32) {
    let labels = [topic, &partition.to_string()];
    // A gauge that was never set is not there, and then removing it fails. That is no trouble.
    for gauge in [
        &METRICS.next_offset,
        &METRICS.lag,
        &METRICS.last_stable_offset,
        &METRICS.fetch_queue_records,
        &METRICS.fetch_queue_bytes,
    ] {
        let _ = gauge.remove_label_values(&labels);
    }
}

/// Shows the statistics of all Kafka clients of this process on its metrics page.
pub fn observe_clients() {
    sluice_kafka::observe_statistics(&ClientGauges);
}

/// The gauges that follow the Kafka clients' statistics.
struct ClientGauges;

impl sluice_kafka::StatisticsObserver for ClientGauges {
    fn fetch_queue(&self, topic: &str, partition: i32, records: i64, bytes: i64) {
        let labels = [topic, &partition.to_string()];
        METRICS.fetch_queue_records.with_label_values(&labels).set(records);
        METRICS.fetch_queue_bytes.with_label_values(&labels).set(bytes);
    }

    fn last_stable_offset(&self, topic: &str, partition: i32, offset: i64, lag: Option<i64>) {
        let labels = [topic, &partition.to_string()];
        METRICS.last_stable_offset.with_label_values(&labels).set(offset);
        // The lag is unknown until the consumer has a position. The gauge keeps its last value then.
        if let Some(lag) = lag {
            METRICS.lag.with_label_values(&labels).set(lag);
        }
    }

    fn send_queue(&self, producer: &str, records: i64, bytes: i64) {
        METRICS.send_queue_records.with_label_values(&[producer]).set(records);
        METRICS.send_queue_bytes.with_label_values(&[producer]).set(bytes);
    }

    fn transaction_state(&self, producer: &str, states: &[&str], now: &str) {
        // One gauge for each state, as Prometheus has no text values: the present one is 1.
        for state in states {
            METRICS.transaction_state.with_label_values(&[producer, state]).set(i64::from(*state == now));
        }
    }
}

/// Shows the number of stuck partitions.
pub(crate) fn stuck(partitions: usize) {
    METRICS.stuck.set(i64::try_from(partitions).unwrap_or(i64::MAX));
}

/// Counts `count` events of a collector.
pub fn progress(kind: ProgressCounter, count: u64) {
    METRICS.progress.with_label_values(&[kind.as_str()]).inc_by(count);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_registered_under_its_prefix() {
        committed("masker", 3);
        progress(ProgressCounter::Pages, 2);
        let text = render();
        assert!(text.contains("sluice_records_committed_total{worker=\"masker\"} 3"), "{text}");
        assert!(text.lines().filter(|line| !line.starts_with('#')).all(|line| line.starts_with("sluice_")));
    }

    #[test]
    fn the_clients_figures_are_on_the_page() {
        use sluice_kafka::StatisticsObserver as _;
        ClientGauges.last_stable_offset("t", 0, 77, Some(12));
        ClientGauges.fetch_queue("t", 0, 5, 900);
        ClientGauges.transaction_state("g-masker-0", &["InTransaction", "other"], "InTransaction");
        let page = render();
        for line in [
            "sluice_kafka_lag{partition=\"0\",topic=\"t\"} 12",
            "sluice_kafka_last_stable_offset{partition=\"0\",topic=\"t\"} 77",
            "sluice_kafka_fetch_queue_bytes{partition=\"0\",topic=\"t\"} 900",
            "sluice_kafka_transaction_state{producer=\"g-masker-0\",state=\"InTransaction\"} 1",
        ] {
            assert!(page.contains(line), "{line} is not in\n{page}");
        }
    }
}
