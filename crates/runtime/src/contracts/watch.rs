//! Contracts that come, change and go while a worker runs: the folder is read again every few seconds.
//!
//! ```text
//!  folder ─► the same twice in a row? ─► sound? (else the former one) ─► applied? (else wait) ─► lanes
//! ```
//!
//! The folder stays the one source: there is no second copy in a topic that could disagree with what was reviewed, and
//! nobody who may write to such a topic decides what is masked. A shared folder, a volume and a ConfigMap (which the
//! kubelet updates in place) all do. A contract is served once `sluice apply` has made its topics and its masked
//! schema, and the worker's principal sees them; until then what was served before goes on.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use sluice_contract::{
    Contract, ContractAdoption, ContractFiles, ContractSet, hold_back, key_subject, value_subject,
};
use sluice_core::Fault;
use tokio_util::sync::CancellationToken;

use super::{ContractFolderSnapshot, files};
use crate::config::KafkaSection;
use crate::registry::SchemaRegistry;
use crate::status::WorkerStatus;
use sluice_kafka::admin::KafkaAdmin;

/// Between two looks at the folder.
const LOOK: Duration = Duration::from_secs(2);

/// What a worker takes of a contract.
pub trait ContractUse: Send + Sync + 'static {
    /// The topics that it reads for a contract; none if the contract asks nothing of it.
    fn reads(&self, contract: &Contract) -> Vec<String>;

    /// The topics that it writes for a contract, dead letters aside.
    fn writes(&self, contract: &Contract) -> Vec<String> {
        let _ = contract;
        vec![]
    }

    /// Can it serve the contract?
    ///
    /// # Errors
    /// Why not, in words: a masking key that it was not given.
    fn accept(&self, contract: &Contract) -> Result<(), String> {
        let _ = contract;
        Ok(())
    }
}

/// The topics that a worker reads for all contracts together, each once.
///
/// # Errors
/// A [`Fault`] of the user if there are none.
pub fn reads(worker: &dyn ContractUse, contracts: &ContractSet) -> Result<Vec<String>, Fault> {
    let topics: BTreeSet<String> = contracts.iter().flat_map(|contract| worker.reads(contract)).collect();
    match topics.is_empty() {
        true => Err(Fault::user("looking for topics to read", "no contract asks anything of this worker")),
        false => Ok(topics.into_iter().collect()),
    }
}

/// Looks at the contracts' folder for one worker.
pub struct ContractWatcher {
    path: PathBuf,
    /// What is served now.
    serving: ContractFiles,
    /// What was read last, and whether it has been dealt with.
    seen: (ContractFiles, bool),
    waiting: BTreeSet<String>,
    refused: Vec<String>,
    kafka: KafkaSection,
    admin: Option<Arc<KafkaAdmin>>,
    registry: SchemaRegistry,
    status: WorkerStatus,
}

impl ContractWatcher {
    /// A watch that begins with what the worker has started with.
    pub fn new(
        folder: &ContractFolderSnapshot,
        kafka: KafkaSection,
        registry: SchemaRegistry,
        status: WorkerStatus,
    ) -> Self {
        let (serving, seen) = (folder.files.clone(), (folder.files.clone(), true));
        let watch = Self {
            path: folder.path.clone(),
            serving,
            seen,
            waiting: BTreeSet::new(),
            refused: vec![],
            kafka,
            admin: None,
            registry,
            status,
        };
        watch.show(&folder.contracts);
        watch
    }

    /// Hands every new state of the contracts to `take`, until `stop`.
    pub async fn follow(
        mut self,
        worker: Arc<dyn ContractUse>,
        stop: CancellationToken,
        mut take: impl FnMut(&ContractSet) -> Result<(), Fault>,
    ) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = stop.cancelled() => return,
            }
            let Some(adopted) = self.look(&*worker).await else { continue };
            let changed = adopted.changed(&self.serving);
            match take(&adopted.contracts) {
                Ok(()) => {
                    tracing::info!(
                        ?changed,
                        contracts = adopted.contracts.iter().count(),
                        "contracts taken over"
                    );
                    self.serving = adopted.files;
                    self.show(&adopted.contracts);
                }
                Err(fault) => {
                    tracing::error!(%fault, "the new contracts cannot be served; the former ones go on")
                }
            }
        }
    }

    /// What is to be served now, if that is something else than before.
    async fn look(&mut self, worker: &dyn ContractUse) -> Option<ContractAdoption> {
        let now = match files(&self.path) {
            Ok(files) => files,
            Err(why) => {
                self.say(vec![format!("the contracts' folder cannot be read: {why}")]);
                return None;
            }
        };
        // Half a folder is not taken for a whole one: it must stand still from one look to the next.
        if now != self.seen.0 {
            self.seen = (now, false);
            return None;
        }
        if self.seen.1 && self.waiting.is_empty() {
            return None;
        }
        self.seen.1 = true;
        let Some(adopted) = ContractSet::adopt(&now, &self.serving, &|contract| worker.accept(contract))
        else {
            self.say(vec!["the contracts' folder holds nothing that can be served".to_owned()]);
            return None;
        };
        self.say(adopted.refused.iter().map(ToString::to_string).collect());
        let waiting = self.not_applied(&adopted, worker).await;
        if waiting != self.waiting {
            for folder in waiting.difference(&self.waiting) {
                tracing::info!(folder, "a contract waits for `sluice apply`");
            }
            self.waiting = waiting;
        }
        let ready = if self.waiting.is_empty() {
            adopted
        } else {
            let files = hold_back(&adopted.files, &self.serving, &self.waiting);
            // What was held back may be what another one leans on: then that one has to wait too.
            ContractSet::adopt(&files, &self.serving, &|_| Ok(()))?
        };
        let gone = self.serving.len() != ready.files.len();
        (gone || !ready.changed(&self.serving).is_empty()).then_some(ready)
    }

    /// Folders of contracts that are new or changed and whose topics or masked schemas are not there yet.
    async fn not_applied(
        &mut self,
        adopted: &ContractAdoption,
        worker: &dyn ContractUse,
    ) -> BTreeSet<String> {
        let changed = adopted.changed(&self.serving);
        let mut waiting = BTreeSet::new();
        for contract in adopted.contracts.iter().filter(|contract| changed.contains(&contract.folder)) {
            let mut topics = worker.reads(contract);
            if topics.is_empty() {
                continue;
            }
            topics.extend(worker.writes(contract));
            match self.is_applied(contract, topics).await {
                Ok(true) => {}
                Ok(false) => drop(waiting.insert(contract.folder.clone())),
                Err(fault) => {
                    tracing::debug!(%fault, folder = contract.folder, "asking whether a contract is applied");
                    waiting.insert(contract.folder.clone());
                }
            }
        }
        waiting
    }

    async fn is_applied(&mut self, contract: &Contract, topics: Vec<String>) -> Result<bool, Fault> {
        let subject = value_subject(&contract.masked_topic);
        if self.registry.id_of(&subject, contract.masked_schema().json()).await?.is_none() {
            return Ok(false);
        }
        if let Some(key) = contract.record_key.schema() {
            let subject = key_subject(&contract.masked_topic);
            if self.registry.id_of(&subject, key.masked_schema().json()).await?.is_none() {
                return Ok(false);
            }
        }
        let admin = match &self.admin {
            Some(admin) => Arc::clone(admin),
            None => Arc::clone(self.admin.insert(Arc::new(KafkaAdmin::new(&self.kafka)?))),
        };
        let asked = tokio::task::spawn_blocking(move || {
            admin.visible(&topics).map(|visible| topics.iter().all(|topic| visible.contains(topic)))
        });
        asked.await.map_err(|error| Fault::bug("asking Kafka for topics", error))?
    }

    /// Says what is refused, once.
    fn say(&mut self, refused: Vec<String>) {
        for why in refused.iter().filter(|why| !self.refused.contains(why)) {
            tracing::warn!(why, "a contract is refused; what was served before goes on");
        }
        self.refused = refused;
        self.status.note("contracts_refused", json!(self.refused));
    }

    fn show(&self, contracts: &ContractSet) {
        let ids: Vec<&str> = contracts.iter().map(|contract| contract.id.as_str()).collect();
        self.status.note("contracts", json!(ids));
    }
}
