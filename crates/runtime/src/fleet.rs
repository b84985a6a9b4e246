//! Starting a worker's lanes and waiting for their end.

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

/// What the lanes of one worker process share.
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
    /// How many lanes.
    pub count: usize,
    /// When batches are closed.
    pub pace: LanePace,
    /// Where the worker stops by itself.
    pub limits: LimitsSection,
}

/// Waits until Kafka and the registry answer, saying so in log and status meanwhile.
///
/// # Errors
/// A [`Fault`] that no retry can mend, or the last one when stopped.
pub async fn neighbours(
    kafka: &KafkaSection,
    registry: &RegistrySection,
    status: &WorkerStatus,
    stop: &CancellationToken,
) -> Result<SchemaRegistry, Fault> {
    let registry = SchemaRegistry::new(registry)?;
    // Side by side: a worker's start should not take the sum of them.
    let brokers = retry::until_answered("kafka", status, stop, || {
        let section = kafka.clone();
        async move {
            // librdkafka blocks: not on tokio's own threads.
            let asked = tokio::task::spawn_blocking(move || sluice_kafka::knock(&section).map(|_| ())).await;
            asked.map_err(|error| Fault::bug("asking Kafka", error))?
        }
    });
    let schemas = retry::until_answered("registry", status, stop, || registry.ping());
    tokio::try_join!(brokers, schemas)?;
    Ok(registry)
}

/// Waits for the receipts' topic, without which nothing can be committed, and sets the watchdog on the lanes.
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
            // Not there yet is no reason to end: `sluice apply` may be about to make it.
            found.map(|_| ()).map_err(|fault| Fault::outage("looking for the receipts' topic", fault))
        }
    })
    .await?;
    // A batch may be open for its whole interval without anything being wrong.
    let patience = lanes.limits.watchdog().max(lanes.pace.interval * 3);
    tokio::spawn(watchdog::watch(lanes.kafka.clone(), status.clone(), patience, stop.clone()));
    Ok(())
}

/// Runs `lanes.count` transform lanes until `stop` or until one of them cannot go on; then all of them end. Contracts
/// that come, change or go in `folder` are taken over meanwhile.
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
    let topics = contracts::reads(&*worker, &folder.contracts)?;
    let registry = neighbours(&lanes.kafka, &lanes.registry, status, stop).await?;
    look_after(&lanes, status, stop).await?;
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
    let watch = ContractWatcher::new(&folder, lanes.kafka, registry, status.clone());
    let serving = Arc::clone(&worker);
    tokio::spawn(watch.follow(worker, stop.clone(), move |contracts| {
        let topics = contracts::reads(&*serving, contracts)?;
        // All are built before the first is sent: either every lane goes on with the new contracts or none.
        let built: Vec<P> = revisers.iter().map(|_| build(contracts)).collect::<Result<_, _>>()?;
        for (reviser, processor) in revisers.iter().zip(built) {
            // A lane that has ended takes the others with it: nobody is left to tell.
            let _ = reviser.send(LaneRevision { revision: processor, topics: topics.clone() });
        }
        Ok(())
    }));
    join(threads).await
}

/// Which topics a sink lands.
pub enum LandingTopics {
    /// These, named in its configuration.
    Topics(Vec<String>),
    /// Those of the contracts, and of contracts to come.
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
    let topics = match &landing {
        LandingTopics::Topics(topics) => topics.clone(),
        LandingTopics::Contracts(folder, worker) => contracts::reads(&**worker, &folder.contracts)?,
    };
    let registry = neighbours(&lanes.kafka, &lanes.registry, status, stop).await?;
    look_after(&lanes, status, stop).await?;
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
    if let LandingTopics::Contracts(folder, worker) = landing {
        let watch = ContractWatcher::new(&folder, lanes.kafka, registry, status.clone());
        let serving = Arc::clone(&worker);
        tokio::spawn(watch.follow(worker, stop.clone(), move |contracts| {
            let topics = contracts::reads(&*serving, contracts)?;
            for reviser in &revisers {
                let _ = reviser.send(LaneRevision { revision: (), topics: topics.clone() }); // as above
            }
            Ok(())
        }));
    }
    join(threads).await
}

type LaneEndReceiver = tokio::sync::oneshot::Receiver<Result<(), Fault>>;

fn spawn(
    name: String,
    stop: &CancellationToken,
    lane: impl FnOnce() -> Result<(), Fault> + Send + 'static,
) -> Result<LaneEndReceiver, Fault> {
    let (ended, end) = tokio::sync::oneshot::channel();
    // One lane's end is every lane's: a worker that limps on half of its partitions looks well and is not.
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

async fn join(lanes: Vec<LaneEndReceiver>) -> Result<(), Fault> {
    let mut first = Ok(());
    for lane in lanes {
        let result = lane.await.unwrap_or_else(|_| Err(Fault::bug("running a lane", "its thread panicked")));
        if first.is_ok() {
            first = result;
        }
    }
    first
}
