//! librdkafka's statistics as metrics: of the hundreds of numbers the few that tell where a lane stands.
//!
//! They come as JSON every `statistics.interval.ms`, on the polling thread. Only the fields named here are kept, the
//! rest is skipped over by the parser.

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

    /// The state of a producer's transaction, `now`, among all `states` that there are.
    fn transaction_state(&self, producer: &str, states: &[&str], now: &str);
}

static OBSERVER: OnceLock<&'static dyn StatisticsObserver> = OnceLock::new();

/// Hands the figures of all clients of this process to `observer` from now on. The first call wins.
pub fn observe_statistics(observer: &'static dyn StatisticsObserver) {
    let _ = OBSERVER.set(observer);
}

#[derive(Deserialize)]
struct KafkaStatistics<'a> {
    #[serde(borrow, default)]
    brokers: BTreeMap<Cow<'a, str>, BrokerStatistics<'a>>,
    #[serde(borrow, default)]
    topics: BTreeMap<Cow<'a, str>, TopicStatistics>,
    /// Messages in the producer's queue.
    #[serde(default)]
    msg_cnt: i64,
    /// Their size, in bytes.
    #[serde(default)]
    msg_size: i64,
    #[serde(borrow)]
    eos: Option<TransactionStatistics<'a>>,
}

#[derive(Deserialize)]
struct BrokerStatistics<'a> {
    #[serde(borrow, default)]
    state: Cow<'a, str>,
}

#[derive(Deserialize)]
struct TopicStatistics {
    #[serde(default)]
    partitions: BTreeMap<i32, PartitionStatistics>,
}

#[derive(Deserialize)]
struct PartitionStatistics {
    #[serde(default)]
    desired: bool,
    /// Messages fetched and not yet lent.
    #[serde(default)]
    fetchq_cnt: i64,
    /// Their size, in bytes.
    #[serde(default)]
    fetchq_size: i64,
    /// Last stable offset: up to there a `read_committed` reader sees.
    #[serde(default)]
    ls_offset: i64,
    /// One past the last record that was lent; negative before the first and after a seek.
    #[serde(default = "unknown")]
    app_offset: i64,
    /// What the group remembered at assignment; transactions move it without the consumer's knowing.
    #[serde(default = "unknown")]
    committed_offset: i64,
}

const fn unknown() -> i64 {
    -1
}

impl PartitionStatistics {
    /// Offsets between what was lent and the last stable one; librdkafka's own figure does not know of transactions.
    fn lag(&self) -> Option<i64> {
        let position = if self.app_offset >= 0 { self.app_offset } else { self.committed_offset };
        (position >= 0 && self.ls_offset >= 0).then(|| (self.ls_offset - position).max(0))
    }
}

#[derive(Deserialize)]
struct TransactionStatistics<'a> {
    #[serde(borrow)]
    txn_state: Cow<'a, str>,
}

/// The states that librdkafka's transactional producer can be in; anything else is counted as `other`.
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

/// Reports lag, last stable offset and fetch queue of the partitions that a group's consumer owns. Returns whether the
/// consumer is connected to a broker.
pub(super) fn consumer(json: &[u8]) -> bool {
    let Some(statistics) = parse(json) else { return false };
    if let Some(observer) = OBSERVER.get() {
        report_consumer(&statistics, *observer);
    }
    statistics.brokers.values().any(|broker| broker.state == "UP")
}

fn report_consumer(statistics: &KafkaStatistics<'_>, observer: &dyn StatisticsObserver) {
    for (topic, found) in &statistics.topics {
        for (number, partition) in &found.partitions {
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

fn report_producer(name: &str, statistics: &KafkaStatistics<'_>, observer: &dyn StatisticsObserver) {
    observer.send_queue(name, statistics.msg_cnt, statistics.msg_size);
    if let Some(eos) = &statistics.eos {
        observer.transaction_state(name, STATES, state_of(eos));
    }
}

fn state_of(eos: &TransactionStatistics<'_>) -> &'static str {
    STATES.iter().find(|state| **state == eos.txn_state).copied().unwrap_or("other")
}

fn parse(json: &[u8]) -> Option<KafkaStatistics<'_>> {
    match serde_json::from_slice(json) {
        Ok(statistics) => Some(statistics),
        Err(error) => {
            tracing::debug!(%error, "statistics that cannot be read");
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
