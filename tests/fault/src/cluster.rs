//! Servers for fault runs: one broker behind the proxy for most rows, three of them where brokers die.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use sluice_stack::ServerStack;
use sluice_tests::{TestServers, eventually};

use crate::proxy::KafkaProxy;

/// One broker, a registry, and the proxy before the broker.
pub struct ProxiedServers {
    /// Past the proxy: for feed, oracle and workers that are not to meet it.
    pub direct: TestServers,
    /// Through the proxy.
    pub fronted: TestServers,
    /// The proxy.
    pub proxy: KafkaProxy,
}

/// The servers of all one-broker rows of this program, started by the first that asks; they end with the process.
pub fn world() -> &'static ProxiedServers {
    static WORLD: OnceLock<ProxiedServers> = OnceLock::new();
    WORLD.get_or_init(|| {
        let proxy = KafkaProxy::new(1).unwrap();
        let started = ServerStack::builder().kafka(1).fronted(proxy.ports().to_vec()).registry().start();
        let stack = started.unwrap_or_else(|error| panic!("the stack does not start: {error}"));
        proxy.open(stack.behind()).unwrap();
        let registry = stack.registry_url().to_owned();
        let direct = TestServers { brokers: stack.brokers().to_owned(), registry: registry.clone() };
        let fronted = TestServers { brokers: proxy.brokers(), registry };
        Box::leak(Box::new(stack)); // it lives as long as the process
        ProxiedServers { direct, fronted, proxy }
    })
}

/// Three brokers (replication 3, two in sync) and a registry.
pub struct FaultCluster {
    stack: ServerStack,
}

impl Default for FaultCluster {
    fn default() -> Self {
        Self::start()
    }
}

impl FaultCluster {
    /// Starts them.
    pub fn start() -> Self {
        let started = ServerStack::builder().kafka(3).registry().start();
        Self { stack: started.unwrap_or_else(|error| panic!("the cluster does not start: {error}")) }
    }

    /// Where they are.
    pub fn servers(&self) -> TestServers {
        TestServers {
            brokers: self.stack.brokers().to_owned(),
            registry: self.stack.registry_url().to_owned(),
        }
    }

    /// SIGKILL for broker `id`; its data stays.
    pub fn kill(&mut self, id: i32) {
        self.stack.kill_server(&format!("kafka-{id}")).unwrap();
    }

    /// Starts broker `id` again and waits until it answers.
    pub fn revive(&mut self, id: i32) {
        self.stack.start_server(&format!("kafka-{id}")).unwrap();
    }

    /// Sends broker `id` a signal: `STOP`, `CONT`.
    pub fn signal(&self, id: i32, name: &str) {
        let server = format!("kafka-{id}");
        let pid = self.stack.pids().into_iter().find(|(found, _)| *found == server).map(|(_, pid)| pid);
        let pid = pid.unwrap_or_else(|| panic!("{server} does not run")).to_string();
        let told = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(told.is_ok_and(|status| status.success()), "kill -s {name} {server}");
    }

    /// Waits until every replica of a topic, and of Kafka's own topics, is in sync: else the next broker that goes takes
    /// the last but one.
    pub fn in_sync(&self, topic: &str, patience: Duration) {
        let servers = self.servers();
        for topic in [topic, "__consumer_offsets", "__transaction_state"] {
            eventually("every replica in sync", patience, || in_sync(&servers, topic).filter(|all| *all));
        }
    }

    /// The broker that coordinates a consumer group.
    pub fn group_coordinator(&self, group: &str) -> Option<i32> {
        self.leader("__consumer_offsets", group)
    }

    /// The broker that coordinates a transactional id.
    pub fn transaction_coordinator(&self, transactional_id: &str) -> Option<i32> {
        self.leader("__transaction_state", transactional_id)
    }

    /// A coordinator is the leader of the partition that the name's hash says
    /// (`Utils.abs(name.hashCode) % partitions`, as Kafka's coordinators do).
    fn leader(&self, topic: &str, name: &str) -> Option<i32> {
        let leaders = leaders(&self.servers(), topic)?;
        let count = i32::try_from(leaders.len()).ok().filter(|count| *count > 0)?;
        leaders.get(&((java_hash(name) & i32::MAX) % count)).copied()
    }
}

/// Java's `String.hashCode` of an ASCII text.
fn java_hash(text: &str) -> i32 {
    text.bytes().fold(0i32, |hash, byte| hash.wrapping_mul(31).wrapping_add(i32::from(byte)))
}

fn in_sync(servers: &TestServers, topic: &str) -> Option<bool> {
    let client: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &servers.brokers)
        .set("client.id", "oracle")
        .create()
        .ok()?;
    let metadata = client.fetch_metadata(Some(topic), Duration::from_secs(5)).ok()?;
    let topic = metadata.topics().iter().find(|found| found.name() == topic)?;
    Some(topic.partitions().iter().all(|partition| partition.isr().len() == partition.replicas().len()))
}

/// The leader of each partition of a topic; `None` while nobody knows it.
pub fn leaders(servers: &TestServers, topic: &str) -> Option<BTreeMap<i32, i32>> {
    let client: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &servers.brokers)
        .set("client.id", "oracle")
        .create()
        .ok()?;
    let metadata = client.fetch_metadata(Some(topic), Duration::from_secs(10)).ok()?;
    let topic = metadata.topics().iter().find(|found| found.name() == topic)?;
    Some(topic.partitions().iter().map(|partition| (partition.id(), partition.leader())).collect())
}

#[cfg(test)]
mod tests {
    use super::java_hash;

    #[test]
    fn hashes_as_java_does() {
        // jshell> "hello".hashCode()
        assert_eq!(java_hash("hello"), 99_162_322);
        assert_eq!(java_hash(""), 0);
    }
}
