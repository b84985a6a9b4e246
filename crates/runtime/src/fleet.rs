//! Starts a worker's lanes and waits for their end.
//!
//! A start has four steps: the neighbours answer, the receipts' topic exists, every lane gets a thread of its
//! own, and the contracts' folder is followed. A lane that ends stops all others.

use std::sync::{Arc, mpsc};

use sluice_contract::ContractSet;
use sluice_core::{Fault, Processor, Store, names};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::config::{KafkaSection, LimitsSection, RegistrySection};
use crate::contracts::{self, ContractFolderSnapshot, ContractUse, ContractWatcher};
use crate::lane::{self, LaneConfig, LanePace, LaneRevision};
use crate::registry::{BlockingRegistry, SchemaRegistry};
use crate::status::WorkerStatus;
use crate::{receipts, retry, watchdog};

/// The settings that all lanes of one worker process share.
pub struct SharedLaneConfig {
    /// Worker name.
    pub worker: &'static str,
    /// Kafka.
    pub kafka: KafkaSection,
    /// Registry.
    pub registry: RegistrySection,
    /// Consumer group.
    pub group: String,
    /// This process's name among the group's.
    pub instance: String,
    /// The process's memory setting, in bytes.
    pub memory: usize,
    /// Number of lanes. A sink has one lane per store instead.
    pub count: usize,
    /// Age and size at which batches are closed.
    pub pace: LanePace,
    /// The limits at which the worker stops by itself.
    pub limits: LimitsSection,
}

/// Waits until Kafka and the registry answer. Log and status show meanwhile which of them is away. Returns
/// the registry's client.
///
/// # Errors
/// A [`Fault`] that no retry can mend, or the last one if `stop` comes first.
pub async fn neighbours(
    kafka: &KafkaSection,
    registry: &RegistrySection,
    status: &WorkerStatus,
    stop: &CancellationToken,
) -> Result<SchemaRegistry, Fault> {
    let registry = SchemaRegistry::new(registry)?;

    // Both are asked at the same time: a start takes the longer wait, not the sum of both.
    let brokers = retry::until_answered("kafka", status, stop, || {
        let section = kafka.clone();
        async move {
            // librdkafka blocks, so the call does not run on tokio's own threads.
            let asked = tokio::task::spawn_blocking(move || sluice_kafka::knock(&section).map(|_| ())).await;
            asked.map_err(|error| Fault::bug("asking Kafka", error))?
        }
    });
    let schemas = retry::until_answered("registry", status, stop, || registry.ping());
    tokio::try_join!(brokers, schemas)?;
    Ok(registry)
}

/// Waits for the receipts' topic, without which no lane can commit, and starts the watchdog of the lanes.
///
/// # Errors
/// A [`Fault`] that no retry can mend, or the last one if `stop` comes first.
async fn look_after(
    lanes: &SharedLaneConfig,
    status: &WorkerStatus,
    stop: &CancellationToken,
) -> Result<(), Fault> {
    let section = lanes.kafka.clone();
    retry::until_answered("kafka", status, stop, || {
        let section = section.clone();
        async move {
            let looked =
                tokio::task::spawn_blocking(move || sluice_kafka::ends(&section, receipts::TOPIC)).await;
            let found = looked.map_err(|error| Fault::bug("looking for the receipts' topic", error))?;
            // A missing topic is no reason to end: `sluice apply` may be about to create it.
            found.map(|_| ()).map_err(|fault| Fault::outage("looking for the receipts' topic", fault))
        }
    })
    .await?;

    // A batch may be open for its whole interval although the lane is well.
    let patience = lanes.limits.watchdog().max(lanes.pace.interval * 3);
    tokio::spawn(watchdog::watch(lanes.kafka.clone(), status.clone(), patience, stop.clone()));
    Ok(())
}

/// Runs `lanes.count` transform lanes until `stop` or until one of them cannot go on; then all of them end.
/// Meanwhile the lanes take over contracts that are added, changed or removed in `folder`.
///
/// # Errors
/// The first lane's [`Fault`].
pub async fn transform<P: Processor + 'static>(
    lanes: SharedLaneConfig,
    folder: ContractFolderSnapshot,
    worker: Arc<dyn ContractUse>,
    status: &WorkerStatus,
    stop: &CancellationToken,
    build: impl Fn(&ContractSet) -> Result<P, Fault> + Send + 'static,
) -> Result<(), Fault> {
    // The contracts are read first: a mistake in them ends the worker at once, even if Kafka is away.
    let topics = contracts::reads(&*worker, &folder.contracts)?;
    let registry = neighbours(&lanes.kafka, &lanes.registry, status, stop).await?;
    look_after(&lanes, status, stop).await?;

    // Each lane gets an equal share of the memory, a processor of its own, and a channel for new processors.
    let count = lanes.count.max(1);
    let (mut threads, mut revisers) = (vec![], vec![]);
    for number in 0..count {
        let config = LaneConfig {
            worker: lanes.worker,
            kafka: lanes.kafka.clone(),
            group: lanes.group.clone(),
            instance: format!("{}-{number}", lanes.instance),
            topics: topics.clone(),
            memory: lanes.memory / count,
            pace: lanes.pace,
            limits: lanes.limits.dead_letters.into(),
        };
        let registry = BlockingRegistry::new(registry.clone(), Handle::current());
        let (status, ended) = (status.clone(), stop.clone());
        let processor = build(&folder.contracts)?;
        let (reviser, revisions) = mpsc::channel();
        revisers.push(reviser);
        threads.push(spawn(format!("lane-{number}"), stop, move || {
            lane::run_transform(config, processor, &revisions, registry, &status, &ended)
        })?);
    }

    // A change in the folder gives every lane a new processor and new topics.
    let watch = ContractWatcher::new(&folder, lanes.kafka, registry, status.clone(), &*worker);
    let serving = Arc::clone(&worker);
    tokio::spawn(watch.follow(worker, stop.clone(), move |contracts| {
        let topics = contracts::reads(&*serving, contracts)?;
        // All processors are built before the first is sent. If one cannot be built, no lane gets the new
        // contracts.
        let built: Vec<P> = revisers.iter().map(|_| build(contracts)).collect::<Result<_, _>>()?;
        for (reviser, processor) in revisers.iter().zip(built) {
            // Sending fails only if the lane has ended, and then all other lanes end too.
            let _ = reviser.send(LaneRevision { revision: processor, topics: topics.clone() });
        }
        Ok(())
    }));
    join(threads).await
}

/// The topics that a sink lands.
pub enum LandingTopics {
    /// The topics of its configuration. They do not change while it runs.
    Topics(Vec<String>),
    /// The topics of all contracts, also of contracts that are added later.
    Contracts(Box<ContractFolderSnapshot>, Arc<dyn ContractUse>),
}

/// Runs one lane per store, each with a consumer group of its own (`<group>-<store>`).
///
/// # Errors
/// The first lane's [`Fault`].
pub async fn stores(
    lanes: SharedLaneConfig,
    landing: LandingTopics,
    stores: Vec<Box<dyn Store>>,
    status: &WorkerStatus,
    stop: &CancellationToken,
) -> Result<(), Fault> {
    // Topics from the configuration need no contracts.
    let topics = match &landing {
        LandingTopics::Topics(topics) => topics.clone(),
        LandingTopics::Contracts(folder, worker) => contracts::reads(&**worker, &folder.contracts)?,
    };
    let registry = neighbours(&lanes.kafka, &lanes.registry, status, stop).await?;
    look_after(&lanes, status, stop).await?;

    // Each store gets an equal share of the memory, and a group of its own: a slow store never stalls the
    // others.
    let share = lanes.memory / stores.len().max(1);
    let (mut threads, mut revisers) = (vec![], vec![]);
    for store in stores {
        let name = store.name();
        let config = LaneConfig {
            worker: lanes.worker,
            kafka: lanes.kafka.clone(),
            group: names::store_group(&lanes.group, name),
            topics: topics.clone(),
            memory: share,
            pace: lanes.pace,
            instance: lanes.instance.clone(),
            limits: lanes.limits.dead_letters.into(),
        };
        let registry = BlockingRegistry::new(registry.clone(), Handle::current());
        let (status, ended) = (status.clone(), stop.clone());
        let (reviser, revisions) = mpsc::channel();
        revisers.push(reviser);
        threads.push(spawn(format!("store-{name}"), stop, move || {
            lane::run_store(config, store, &revisions, registry, &status, &ended)
        })?);
    }

    // A store has no processor: a change of the contracts changes its topics only.
    if let LandingTopics::Contracts(folder, worker) = landing {
        let watch = ContractWatcher::new(&folder, lanes.kafka, registry, status.clone(), &*worker);
        let serving = Arc::clone(&worker);
        tokio::spawn(watch.follow(worker, stop.clone(), move |contracts| {
            let topics = contracts::reads(&*serving, contracts)?;
            for reviser in &revisers {
                // Sending fails only if the lane has ended, and then all other lanes end too.
                let _ = reviser.send(LaneRevision { revision: (), topics: topics.clone() });
            }
            Ok(())
        }));
    }
    join(threads).await
}

/// Receives the result of one lane. Closed without a result if the lane's thread panicked.
type LaneEndReceiver = tokio::sync::oneshot::Receiver<Result<(), Fault>>;

/// Starts a thread for one lane. The end of the lane, also by a panic, cancels `stop`.
///
/// # Errors
/// A bug if the system gives no thread.
fn spawn(
    name: String,
    stop: &CancellationToken,
    lane: impl FnOnce() -> Result<(), Fault> + Send + 'static,
) -> Result<LaneEndReceiver, Fault> {
    let (ended, end) = tokio::sync::oneshot::channel();
    // The end of one lane ends all: a worker that serves half of its partitions looks well and is not.
    let stop = stop.clone().drop_guard();
    std::thread::Builder::new()
        .name(name)
        .spawn(move || {
            let result = lane();
            drop(stop);
            let _ = ended.send(result);
        })
        .map_err(|error| Fault::bug("starting a lane's thread", error))?;
    Ok(end)
}

/// Waits for the end of all lanes.
///
/// # Errors
/// The first [`Fault`] in the order of the lanes; a bug if a lane's thread panicked.
async fn join(lanes: Vec<LaneEndReceiver>) -> Result<(), Fault> {
    // Every lane is waited for, also after a fault: each has an open batch to settle.
    let mut first = Ok(());
    for lane in lanes {
        let result = lane.await.unwrap_or_else(|_| Err(Fault::bug("running a lane", "its thread panicked")));
        if first.is_ok() {
            first = result;
        }
    }
    first
}
