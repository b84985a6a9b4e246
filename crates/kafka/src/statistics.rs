//! Metrics from librdkafka's statistics: the few of its hundreds of numbers that show the state of a lane.
//!
//! The statistics come as JSON every `statistics.interval.ms`, on the polling thread. Only the fields named
//! here are kept. The parser skips the rest.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::Deserialize;

/// Takes the figures of all clients of this process, for its metrics page.
pub trait StatisticsObserver: Send + Sync {
    /// A partition's fetch queue: records and bytes that were fetched and not yet lent.
    fn fetch_queue(&self, topic: &str, partition: i32, records: i64, bytes: i64);

    /// A partition's last stable offset, and the number of offsets between it and the reader, if known.
    fn last_stable_offset(&self, topic: &str, partition: i32, offset: i64, lag: Option<i64>);

    /// A producer's queue: records and bytes that wait to be sent.
    fn send_queue(&self, producer: &str, records: i64, bytes: i64);

    /// The state of a producer's transaction, `now`, and the list of all possible `states`.
    fn transaction_state(&self, producer: &str, states: &[&str], now: &str);
}

/// The observer of this process; without one the figures are dropped.
static OBSERVER: OnceLock<&'static dyn StatisticsObserver> = OnceLock::new();

/// Hands the figures of all clients of this process to `observer` from now on. The first call wins.
pub fn observe_statistics(observer: &'static dyn StatisticsObserver) {
    let _ = OBSERVER.set(observer);
}

/// The statistics of one client.
#[derive(Deserialize)]
struct KafkaStatistics<'a> {
    #[serde(borrow, default)]
    brokers: BTreeMap<Cow<'a, str>, BrokerStatistics<'a>>,
    #[serde(borrow, default)]
    topics: BTreeMap<Cow<'a, str>, TopicStatistics>,
    /// Messages in the producer's queue.
    #[serde(default)]
    msg_cnt: i64,
    /// The size of these messages, in bytes.
    #[serde(default)]
    msg_size: i64,
    #[serde(borrow)]
    eos: Option<TransactionStatistics<'a>>,
}

/// The figures of one broker connection.
#[derive(Deserialize)]
struct BrokerStatistics<'a> {
    #[serde(borrow, default)]
    state: Cow<'a, str>,
}

/// The figures of one topic, by partition. Partition -1 is librdkafka's own.
#[derive(Deserialize)]
struct TopicStatistics {
    #[serde(default)]
    partitions: BTreeMap<i32, PartitionStatistics>,
}

/// The figures of one partition.
#[derive(Deserialize)]
struct PartitionStatistics {
    /// The partition belongs to this consumer.
    #[serde(default)]
    desired: bool,
    /// Messages fetched and not yet lent.
    #[serde(default)]
    fetchq_cnt: i64,
    /// The size of these messages, in bytes.
    #[serde(default)]
    fetchq_size: i64,
    /// Last stable offset: a `read_committed` reader sees the records below it.
    #[serde(default)]
    ls_offset: i64,
    /// One past the last record that was lent. Negative before the first record and after a seek.
    #[serde(default = "unknown")]
    app_offset: i64,
    /// The group's position at assignment. Transactions move the group's position without this consumer's
    /// knowledge.
    #[serde(default = "unknown")]
    committed_offset: i64,
}

/// Stands for an offset that the statistics do not hold.
const fn unknown() -> i64 {
    -1
}

impl PartitionStatistics {
    /// Returns the number of offsets between the last lent record and the last stable offset. librdkafka's
    /// own figure does not know of transactions.
    fn lag(&self) -> Option<i64> {
        // Before the first record the group's position is the best figure there is.
        let position = if self.app_offset >= 0 { self.app_offset } else { self.committed_offset };
        (position >= 0 && self.ls_offset >= 0).then(|| (self.ls_offset - position).max(0))
    }
}

/// The figures of a transactional producer.
#[derive(Deserialize)]
struct TransactionStatistics<'a> {
    #[serde(borrow)]
    txn_state: Cow<'a, str>,
}

/// The states that librdkafka's transactional producer can have. Every other state counts as `other`.
const STATES: &[&str] = &[
    "Init",
    "WaitPID",
    "ReadyNotAcked",
    "Ready",
    "InTransaction",
    "BeginCommit",
    "CommittingTransaction",
    "CommitNotAcked",
    "BeginAbort",
    "AbortingTransaction",
    "AbortedNotAcked",
    "AbortableError",
    "FatalError",
    "other",
];

/// Reports lag, last stable offset and fetch queue of the partitions that belong to a group's consumer.
/// Returns whether the consumer is connected to a broker.
pub(super) fn consumer(json: &[u8]) -> bool {
    let Some(statistics) = parse(json) else { return false };
    if let Some(observer) = OBSERVER.get() {
        report_consumer(&statistics, *observer);
    }

    // One connection is enough: the lane only wants to know that the outage is over.
    statistics.brokers.values().any(|broker| broker.state == "UP")
}

/// Reports the figures of the consumer's own partitions.
fn report_consumer(statistics: &KafkaStatistics<'_>, observer: &dyn StatisticsObserver) {
    for (topic, found) in &statistics.topics {
        for (number, partition) in &found.partitions {
            // The statistics also list partitions that this consumer does not read.
            if partition.desired && *number >= 0 {
                observer.fetch_queue(topic, *number, partition.fetchq_cnt, partition.fetchq_size);
                observer.last_stable_offset(topic, *number, partition.ls_offset, partition.lag());
            }
        }
    }
}

/// Reports the queue of the producer called `name`, and the state of its transaction.
pub(super) fn producer(name: &str, json: &[u8]) {
    if let (Some(statistics), Some(observer)) = (parse(json), OBSERVER.get()) {
        report_producer(name, &statistics, *observer);
    }
}

/// Reports the figures of one producer. Without transactions there is no state.
fn report_producer(name: &str, statistics: &KafkaStatistics<'_>, observer: &dyn StatisticsObserver) {
    observer.send_queue(name, statistics.msg_cnt, statistics.msg_size);
    if let Some(eos) = &statistics.eos {
        observer.transaction_state(name, STATES, state_of(eos));
    }
}

/// Returns the transaction's state as one of [`STATES`].
fn state_of(eos: &TransactionStatistics<'_>) -> &'static str {
    STATES.iter().find(|state| **state == eos.txn_state).copied().unwrap_or("other")
}

/// Reads the statistics; `None` if they cannot be read.
fn parse(json: &[u8]) -> Option<KafkaStatistics<'_>> {
    match serde_json::from_slice(json) {
        Ok(statistics) => Some(statistics),
        Err(error) => {
            // A report that cannot be read costs one interval of figures and nothing else.
            tracing::debug!(%error, "statistics: the JSON cannot be read; this report is skipped");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cut from what librdkafka 2.12 sends.
    const SENT: &str = r#"{"name":"rdkafka#consumer-1","ts":1,"msg_cnt":3,"msg_size":700,
        "topics":{"t":{"topic":"t","age":2,"partitions":{
            "0":{"partition":0,"desired":true,"fetchq_cnt":5,"fetchq_size":900,"app_offset":65,"ls_offset":77,"consumer_lag":-1,"x":[1]},
            "1":{"partition":1,"desired":false,"fetchq_cnt":1},"-1":{"partition":-1,"desired":true}}}},
        "eos":{"idemp_state":"Assigned","txn_state":"InTransaction","txn_may_enq":true}}"#;

    #[test]
    fn only_what_is_named_is_read_and_only_own_partitions_count() {
        let parsed = parse(SENT.as_bytes()).unwrap();
        let own = &parsed.topics["t"].partitions[&0];
        assert_eq!((own.fetchq_cnt, own.fetchq_size, own.ls_offset, own.lag()), (5, 900, 77, Some(12)));
        assert!(!parsed.topics["t"].partitions[&1].desired);
        assert_eq!((parsed.msg_cnt, parsed.msg_size), (3, 700));
        assert_eq!(state_of(parsed.eos.as_ref().unwrap()), "InTransaction");
    }

    #[test]
    fn a_state_nobody_knows_is_other_and_half_a_text_is_nothing() {
        let parsed = parse(br#"{"eos":{"txn_state":"Sideways"}}"#).unwrap();
        assert_eq!(state_of(parsed.eos.as_ref().unwrap()), "other");
        assert!(parse(br#"{"topics":"#).is_none());
    }

    #[test]
    fn one_broker_that_is_up_is_a_connection() {
        // As of a broker that is known by its address only, one that went away, and one that answers.
        let brokers = |states: [&str; 3]| {
            let [boot, away, here] = states;
            format!(
                r#"{{"brokers":{{"b/bootstrap":{{"nodeid":-1,"state":"{boot}"}},"b/1":{{"state":"{away}"}},
                    "b/2":{{"state":"{here}"}}}}}}"#
            )
        };
        assert!(consumer(brokers(["INIT", "DOWN", "UP"]).as_bytes()));
        assert!(!consumer(brokers(["INIT", "DOWN", "TRY_CONNECT"]).as_bytes()));
        assert!(!consumer(SENT.as_bytes()));
        assert!(!consumer(b"{"));
    }

    #[derive(Default)]
    struct ReportList(std::sync::Mutex<Vec<String>>);

    impl StatisticsObserver for ReportList {
        fn fetch_queue(&self, topic: &str, partition: i32, records: i64, bytes: i64) {
            self.0.lock().unwrap().push(format!("fetch {topic}[{partition}] {records} {bytes}"));
        }

        fn last_stable_offset(&self, topic: &str, partition: i32, offset: i64, lag: Option<i64>) {
            self.0.lock().unwrap().push(format!("stable {topic}[{partition}] {offset} {lag:?}"));
        }

        fn send_queue(&self, producer: &str, records: i64, bytes: i64) {
            self.0.lock().unwrap().push(format!("send {producer} {records} {bytes}"));
        }

        fn transaction_state(&self, producer: &str, states: &[&str], now: &str) {
            assert!(states.contains(&now));
            self.0.lock().unwrap().push(format!("transaction {producer} {now}"));
        }
    }

    #[test]
    fn an_observer_gets_every_figure() {
        let (parsed, list) = (parse(SENT.as_bytes()).unwrap(), ReportList::default());
        report_consumer(&parsed, &list);
        report_producer("g-masker-0", &parsed, &list);
        let expected = [
            "fetch t[0] 5 900",
            "stable t[0] 77 Some(12)",
            "send g-masker-0 3 700",
            "transaction g-masker-0 InTransaction",
        ];
        assert_eq!(*list.0.lock().unwrap(), expected);
    }
}
