//! Apache Kafka in `KRaft` mode: every node is broker and controller.

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::guard::BrokerGuard;
use crate::server::{StackServerPlan, kept, prepare, random};
use crate::{StackError, StackInstallation, ports, probe, process};

/// Flags for a quick start and little memory: the stack runs beside the workers on two cores.
const SERVER_FLAGS: [&str; 5] = [
    "-Xms128m",
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
];
/// Flags for the tool that formats folders.
const TOOL_FLAGS: [&str; 4] = [
    "-Xmx128m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
];

/// The nodes of one cluster, and its address for clients.
pub(crate) struct KafkaClusterPlan {
    pub(crate) plans: Vec<StackServerPlan>,
    pub(crate) brokers: String,
    /// The port of each node for a proxy; empty without one.
    pub(crate) behind: Vec<u16>,
}

/// A listener of its own for clients that come through a proxy. These clients get the proxy's port as the
/// node's address. All others get the node's own port.
struct ProxyListener {
    listens: u16,
    advertised: u16,
}

/// The program of a node.
struct KafkaNodeProgram {
    java: PathBuf,
    flags: Vec<String>,
    class_path: String,
}

/// Formats each node's folder under `dir` (once) and writes its settings.
pub(crate) fn plan(
    here: &StackInstallation,
    dir: &Path,
    logs: &Path,
    nodes: usize,
    fronts: &[u16],
    guard: Option<&BrokerGuard>,
    keep_ports: bool,
) -> Result<KafkaClusterPlan, StackError> {
    let class_path = here.kafka_class_path()?;
    let java = crate::installation::program("Java", "java", &[])?;
    std::fs::create_dir_all(dir).map_err(StackError::io(format!("create {}", dir.display())))?;

    // Ports of all kinds in one call, which keeps them distinct: clients, controllers, and listeners for the
    // proxy.
    let chosen = ports::choose(dir, nodes * 2 + fronts.len(), keep_ports)?;
    let (clients, rest) = chosen.split_at(nodes);
    let (controllers, behind) = rest.split_at(nodes);
    if let Some(guard) = guard {
        guard.choose(keep_ports)?;
    }

    // The id has to stay: a formatted folder belongs to one cluster.
    let cluster_id = kept(&dir.join("cluster.id"), new_cluster_id)?;

    let mut plans = Vec::with_capacity(nodes);
    for node in 0..nodes {
        let home = dir.join(format!("node-{}", node + 1));
        let settings = home.join("server.properties");
        let data = home.join("data");
        std::fs::create_dir_all(&home).map_err(StackError::io(format!("create {}", home.display())))?;

        // Without a proxy both lists are empty, and the node has no such listener.
        let front = behind.get(node).zip(fronts.get(node));
        let front = front.map(|(&listens, &advertised)| ProxyListener { listens, advertised });

        // The settings are written at every start: the ports may have changed.
        let guarded = guard.map(|guard| guard.settings(clients[node], controllers[node])).unwrap_or_default();
        let text = properties(node, clients, controllers, front.as_ref(), &data) + &guarded;
        std::fs::write(&settings, text).map_err(StackError::io(format!("write {}", settings.display())))?;

        // A folder is formatted once. Its data stays from start to start.
        if !data.join("meta.properties").exists() {
            let mut format = Command::new(&java);
            format.args(TOOL_FLAGS).args([
                "-cp",
                &class_path,
                "kafka.tools.StorageTool",
                "format",
                "--ignore-formatted",
            ]);
            format.args(["-t", &cluster_id, "-c"]).arg(&settings);
            format.args(guard.map(BrokerGuard::format_arguments).unwrap_or_default());
            prepare("formatting Kafka's folder", &mut format)?;
        }

        let flags = guard.map(|guard| guard.server_flags().to_vec()).unwrap_or_default();
        let own = guard.and_then(BrokerGuard::class_path).map(|folder| format!("{}:", folder.display()));
        let class_path = own.unwrap_or_default() + &class_path;
        let program = KafkaNodeProgram { java: java.clone(), flags, class_path };
        plans.push(node_plan(node, nodes, clients[node], program, settings, logs));
    }

    let brokers = clients.iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",");
    Ok(KafkaClusterPlan { plans, brokers, behind: behind.to_vec() })
}

/// Returns the recipe for starting one node.
fn node_plan(
    node: usize,
    nodes: usize,
    port: u16,
    program: KafkaNodeProgram,
    settings: PathBuf,
    logs: &Path,
) -> StackServerPlan {
    let name = format!("kafka-{}", node + 1);
    StackServerPlan {
        log: logs.join(format!("{name}.log")),
        name,
        command: Box::new(move || {
            let mut command = process::guarded(&program.java);
            command.args(SERVER_FLAGS).args(&program.flags);
            command.args(["-cp", &program.class_path, "kafka.Kafka"]).arg(&settings);
            command
        }),
        probe: Box::new(move || probe::kafka(port, nodes)),
    }
}

/// Returns one node's settings. The voters are named here rather than kept in the metadata log: in this way a
/// cluster starts again on other ports.
fn properties(
    node: usize,
    clients: &[u16],
    controllers: &[u16],
    front: Option<&ProxyListener>,
    data: &Path,
) -> String {
    // The proxy's listener goes behind the node's own in both lists.
    let (listens, advertises) = front.map_or_else(Default::default, |front| {
        (format!(",FRONT://127.0.0.1:{}", front.listens), format!(",FRONT://127.0.0.1:{}", front.advertised))
    });

    // Node ids begin at 1. Every node is a voter.
    let nodes = clients.len();
    let voters: Vec<String> =
        controllers.iter().enumerate().map(|(id, port)| format!("{}@127.0.0.1:{port}", id + 1)).collect();

    // Three nodes replicate threefold, and two replicas have to be in sync: one node may fail.
    let replicas = nodes.min(3);
    let in_sync = if replicas > 2 { 2 } else { 1 };

    let lines = [
        "process.roles=broker,controller".to_owned(),
        format!("node.id={}", node + 1),
        format!("controller.quorum.voters={}", voters.join(",")),
        format!(
            "listeners=PLAINTEXT://127.0.0.1:{},CONTROLLER://127.0.0.1:{}{listens}",
            clients[node], controllers[node]
        ),
        format!("advertised.listeners=PLAINTEXT://127.0.0.1:{}{advertises}", clients[node]),
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,FRONT:PLAINTEXT".to_owned(),
        "inter.broker.listener.name=PLAINTEXT".to_owned(),
        "controller.listener.names=CONTROLLER".to_owned(),
        format!("log.dirs={}", data.display()),
        "num.network.threads=3".to_owned(),
        // Half of the default threads, and socket buffers of 1 MB instead of 100 KB.
        "num.io.threads=4".to_owned(),
        "socket.send.buffer.bytes=1048576".to_owned(),
        "socket.receive.buffer.bytes=1048576".to_owned(),
        // Kafka's own topics have 4 partitions instead of 50: they are created sooner.
        format!("default.replication.factor={replicas}"),
        format!("min.insync.replicas={in_sync}"),
        format!("offsets.topic.replication.factor={replicas}"),
        "offsets.topic.num.partitions=4".to_owned(),
        format!("transaction.state.log.replication.factor={replicas}"),
        format!("transaction.state.log.min.isr={in_sync}"),
        "transaction.state.log.num.partitions=4".to_owned(),
        // By default a new group waits three seconds for further members.
        "group.initial.rebalance.delay.ms=0".to_owned(),
        // One cleaner with 32 MB instead of Kafka's default of 128 MB.
        "log.cleaner.threads=1".to_owned(),
        "log.cleaner.dedupe.buffer.size=33554432".to_owned(),
        "num.partitions=4".to_owned(),
        // Topics are created by `sluice apply` or by a test, never by accident.
        "auto.create.topics.enable=false".to_owned(),
    ];

    lines.join("\n") + "\n"
}

/// Returns sixteen random bytes in Kafka's notation: URL-safe base64. Kafka's own tool avoids a leading `-`
/// too.
fn new_cluster_id() -> Result<String, StackError> {
    loop {
        let id = URL_SAFE_NO_PAD.encode(random::<16>()?);
        if !id.starts_with('-') {
            return Ok(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_nodes_replicate_and_name_all_voters() {
        let text = properties(1, &[1, 2, 3], &[4, 5, 6], None, Path::new("/d"));
        assert!(text.contains("controller.quorum.voters=1@127.0.0.1:4,2@127.0.0.1:5,3@127.0.0.1:6\n"));
        assert!(
            text.contains("node.id=2\n")
                && text.contains("listeners=PLAINTEXT://127.0.0.1:2,CONTROLLER://127.0.0.1:5\n")
        );
        assert!(text.contains("transaction.state.log.replication.factor=3\n"));
        assert!(
            properties(0, &[1], &[2], None, Path::new("/d")).contains("transaction.state.log.min.isr=1\n")
        );
        let front = ProxyListener { listens: 7, advertised: 8 };
        let text = properties(0, &[1], &[2], Some(&front), Path::new("/d"));
        assert!(text.contains(
            ",FRONT://127.0.0.1:7\nadvertised.listeners=PLAINTEXT://127.0.0.1:1,FRONT://127.0.0.1:8\n"
        ));
    }
}
