//! Contracts that appear, change and disappear while a worker runs: the folder is read again every two
//! seconds.
//!
//! ```text
//!  folder ─► the same twice in a row? ─► sound? (else the former one) ─► applied? (else wait) ─► lanes
//! ```
//!
//! The folder is the only source. A second copy in a topic could disagree with the reviewed files, and
//! everyone with write access to that topic would decide about masking. The folder can be shared, a volume or
//! a ConfigMap (which the kubelet updates in place). A contract is served once `sluice apply` has made its
//! topics and its masked schema, and the worker's principal sees them. Until then the worker serves the
//! former contract.

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

use super::{ContractFolderSnapshot, read_contract_files};
use crate::config::KafkaSection;
use crate::registry::SchemaRegistry;
use crate::status::WorkerStatus;
use sluice_kafka::admin::KafkaAdmin;

/// Time between two looks at the folder.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// The part of a contract that a worker uses.
pub trait ContractUse: Send + Sync + 'static {
    /// Returns the topics that the worker reads for a contract. It is empty if the contract does not concern
    /// the worker.
    fn reads(&self, contract: &Contract) -> Vec<String>;

    /// Returns the topics that the worker writes for a contract, without dead letters.
    fn writes(&self, contract: &Contract) -> Vec<String> {
        let _ = contract;
        vec![]
    }

    /// Checks that the worker can serve the contract.
    ///
    /// # Errors
    /// Fails with the reason for the operator, for example a masking key that the worker does not have.
    fn accept(&self, contract: &Contract) -> Result<(), String> {
        let _ = contract;
        Ok(())
    }
}

/// Returns the topics that a worker reads for all contracts together, each once.
///
/// # Errors
/// A [`Fault`] of the user if there are none.
pub fn reads(worker: &dyn ContractUse, contracts: &ContractSet) -> Result<Vec<String>, Fault> {
    let topics: BTreeSet<String> = contracts.served().flat_map(|contract| worker.reads(contract)).collect();
    if !topics.is_empty() {
        return Ok(topics.into_iter().collect());
    }

    // Drafts are the likeliest reason, so the message names them.
    let drafts = ids(contracts.drafts());
    let drafts = match drafts.is_empty() {
        true => String::new(),
        false => format!(" (with `status: draft`, which is not served: {})", drafts.join(", ")),
    };
    let why = format!("no contract under `schemas` gives this worker a topic{drafts}; expected at least one");
    Err(Fault::user("looking for topics to read", why))
}

/// Watches the contracts' folder for one worker.
pub struct ContractWatcher {
    path: PathBuf,
    /// The files that are served now.
    serving: ContractFiles,
    /// The files of the last reading, and whether they have been dealt with.
    seen: (ContractFiles, bool),
    /// Folders of contracts that wait for `sluice apply`.
    waiting: BTreeSet<String>,
    /// The refusals that the log has shown already.
    refused: Vec<String>,
    /// The drafts that the log has shown already.
    drafts: Vec<String>,
    kafka: KafkaSection,
    /// Made when the first new contract needs it.
    admin: Option<Arc<KafkaAdmin>>,
    registry: SchemaRegistry,
    status: WorkerStatus,
}

impl ContractWatcher {
    /// Creates a watcher; `folder` holds the contracts that the worker started with.
    pub fn new(
        folder: &ContractFolderSnapshot,
        kafka: KafkaSection,
        registry: SchemaRegistry,
        status: WorkerStatus,
        worker: &dyn ContractUse,
    ) -> Self {
        // The worker serves these files already, so they count as dealt with.
        let (serving, seen) = (folder.files.clone(), (folder.files.clone(), true));
        let mut watch = Self {
            path: folder.path.clone(),
            serving,
            seen,
            waiting: BTreeSet::new(),
            refused: vec![],
            drafts: vec![],
            kafka,
            admin: None,
            registry,
            status,
        };
        watch.show_contracts(&folder.contracts, worker);
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
            // Wait for the next look. A signal ends the wait at once.
            tokio::select! {
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
                () = stop.cancelled() => return,
            }
            let Some(adopted) = self.look(&*worker).await else { continue };

            // Only a state that the lanes have taken becomes the one that later looks compare with.
            let changed = adopted.changed(&self.serving);
            match take(&adopted.contracts) {
                Ok(()) => {
                    tracing::info!(
                        ?changed,
                        contracts = adopted.contracts.iter().count(),
                        "the contracts have changed; the worker serves the new ones"
                    );
                    self.serving = adopted.files;
                    self.show_contracts(&adopted.contracts, &*worker);
                }
                Err(fault) => {
                    tracing::error!(
                        %fault,
                        "the new contracts cannot be served; the worker serves the former ones"
                    )
                }
            }
        }
    }

    /// Returns the contracts to serve from now on, or `None` if nothing changes.
    async fn look(&mut self, worker: &dyn ContractUse) -> Option<ContractAdoption> {
        let now = match read_contract_files(&self.path) {
            Ok(files) => files,
            Err(why) => {
                self.show_refusals(vec![format!("the contracts' folder cannot be read: {why}")]);
                return None;
            }
        };

        // Half a folder must not be taken for a whole one: it has to be the same at two looks in a row.
        if now != self.seen.0 {
            self.seen = (now, false);
            return None;
        }

        // Files that were dealt with are looked at again only while a contract waits for `sluice apply`.
        if self.seen.1 && self.waiting.is_empty() {
            return None;
        }
        self.seen.1 = true;

        // Unsound contracts are replaced by the files that are served for them now.
        // A draft is not served, so the worker needs no key for it.
        let accept = |contract: &Contract| match contract.is_draft() {
            true => Ok(()),
            false => worker.accept(contract),
        };
        let Some(adopted) = ContractSet::adopt(&now, &self.serving, &accept) else {
            self.show_refusals(vec![
                "the contracts' folder holds no contract that can be served; expected at least one"
                    .to_owned(),
            ]);
            return None;
        };
        self.show_refusals(adopted.refused.iter().map(ToString::to_string).collect());

        // A contract that has begun to wait is logged once, not at every look.
        let waiting = self.not_applied(&adopted, worker).await;
        if waiting != self.waiting {
            for folder in waiting.difference(&self.waiting) {
                tracing::info!(folder, "a contract waits for `sluice apply`");
            }
            self.waiting = waiting;
        }

        // Contracts that wait keep their former files.
        let ready = if self.waiting.is_empty() {
            adopted
        } else {
            let files = hold_back(&adopted.files, &self.serving, &self.waiting);
            // Another contract may depend on one that is held back. Then it has to wait too.
            ContractSet::adopt(&files, &self.serving, &|_| Ok(()))?
        };

        // `changed` names folders that are new or different; a folder that is gone shows in the number of
        // files only.
        let gone = self.serving.len() != ready.files.len();
        (gone || !ready.changed(&self.serving).is_empty()).then_some(ready)
    }

    /// Returns the folders of new or changed contracts whose topics or masked schemas do not exist yet.
    async fn not_applied(
        &mut self,
        adopted: &ContractAdoption,
        worker: &dyn ContractUse,
    ) -> BTreeSet<String> {
        let changed = adopted.changed(&self.serving);
        let mut waiting = BTreeSet::new();
        for contract in adopted.contracts.served().filter(|contract| changed.contains(&contract.folder)) {
            // A contract that does not concern this worker has nothing to wait for.
            let mut topics = worker.reads(contract);
            if topics.is_empty() {
                continue;
            }

            // If a neighbour does not answer, the contract waits too: the next look asks again.
            topics.extend(worker.writes(contract));
            match self.is_applied(contract, topics).await {
                Ok(true) => {}
                Ok(false) => drop(waiting.insert(contract.folder.clone())),
                Err(fault) => {
                    tracing::debug!(
                        %fault,
                        folder = contract.folder,
                        "whether a contract is applied is unknown; asking again at the next look"
                    );
                    waiting.insert(contract.folder.clone());
                }
            }
        }
        waiting
    }

    /// Tells whether the registry has the contract's masked schemas and Kafka shows all of `topics` to the
    /// worker.
    ///
    /// # Errors
    /// A [`Fault`] if the registry or Kafka does not answer.
    async fn is_applied(&mut self, contract: &Contract, topics: Vec<String>) -> Result<bool, Fault> {
        // The masked schemas of value and key have to be registered exactly as this worker compiled them.
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

        // The admin client blocks, so it is asked on a thread that may block.
        let admin = match &self.admin {
            Some(admin) => Arc::clone(admin),
            None => Arc::clone(self.admin.insert(Arc::new(KafkaAdmin::new(&self.kafka)?))),
        };
        let asked = tokio::task::spawn_blocking(move || {
            admin.visible(&topics).map(|visible| topics.iter().all(|topic| visible.contains(topic)))
        });
        asked.await.map_err(|error| Fault::bug("asking Kafka for topics", error))?
    }

    /// Logs every new refusal once and shows all of them at `/status`.
    fn show_refusals(&mut self, refused: Vec<String>) {
        for why in refused.iter().filter(|why| !self.refused.contains(why)) {
            tracing::warn!(why, "a contract is refused; the worker serves the former one");
        }
        self.refused = refused;
        self.status.note("contracts_refused", json!(self.refused));
    }

    /// Shows the ids of the served contracts and of the drafts at `/status`, and logs every new draft once.
    fn show_contracts(&mut self, contracts: &ContractSet, worker: &dyn ContractUse) {
        // A worker can serve a part of the contracts. The others, and drafts among them, are not its business.
        let is_ours = |contract: &&Contract| !worker.reads(contract).is_empty();
        let drafts = ids(contracts.drafts().filter(is_ours));
        for contract in drafts.iter().filter(|contract| !self.drafts.contains(contract)) {
            tracing::info!(contract, "a contract is a draft; it is not served until its status is `active`");
        }
        self.drafts = drafts;
        self.status.note("contracts", json!(ids(contracts.served().filter(is_ours))));
        self.status.note("contracts_draft", json!(self.drafts));
    }
}

/// Returns the ids of contracts.
fn ids<'c>(contracts: impl Iterator<Item = &'c Contract>) -> Vec<String> {
    contracts.map(|contract| contract.id.clone()).collect()
}
