//! Reads the file and the contracts, and compares them with the servers and the lake.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use sluice_contract::finding::did_you_mean;
use sluice_contract::{Contract, ContractSet};
use sluice_delta::plan::{TableChange, TablePlan};
use sluice_govern::plan::{ContractPlan, DesiredState, PlanAllowance, PlanOwnership, PlanRefusal};
use sluice_govern::{LeakProof, SqlViewSet};
use sluice_runtime::config::{self, ConfigErrors, KafkaSection, RegistrySection};

use super::{PlanArgs, RawApplyConfig};
use crate::cli::read_local_folder;
use crate::world::ContractServers;

/// The contracts and the servers with which they are compared.
pub(crate) struct FleetContext {
    /// The clients for administration.
    pub(crate) servers: ContractServers,
    /// The contracts of the file's folder.
    pub(crate) contracts: ContractSet,
    /// The views over their tables.
    pub(crate) views: SqlViewSet,
    /// The topics, permissions and subjects that contracts and workers ask for.
    pub(crate) desired: DesiredState,
    /// The file's section `kafka`.
    pub(crate) kafka: KafkaSection,
    /// The file's section `registry`.
    pub(crate) registry: RegistrySection,
    /// Folder of the sink's Delta tables, if the file names one.
    pub(crate) lake: Option<PathBuf>,
}

/// The plan, with the contracts that it is about.
pub(super) struct FleetInspection {
    /// The changes and refusals of the chosen contracts.
    pub(super) plan: ContractPlan,
    /// All contracts of the folder.
    pub(super) contracts: ContractSet,
    /// The contracts to which changes and refusals belong.
    pub(super) owners: PlanOwnership,
    /// The sink's tables, if the file names a lake.
    pub(super) tables: Vec<TablePlan>,
    /// The ids of the chosen contracts; empty if all are.
    pub(super) only: BTreeSet<String>,
    /// The changes and refusals that the choice leaves out.
    pub(super) left_out: usize,
}

impl FleetInspection {
    /// Returns true if the contract of this id is among the chosen ones.
    pub(super) fn is_chosen(&self, id: &str) -> bool {
        self.only.is_empty() || self.only.contains(id)
    }

    /// Returns the chosen contracts that are drafts: nothing is planned for them.
    pub(super) fn drafts(&self) -> impl Iterator<Item = &Contract> {
        self.contracts.drafts().filter(|contract| self.is_chosen(&contract.id))
    }
}

/// Reads the file and the contracts, and checks that the servers answer.
///
/// # Errors
/// Fails with all mistakes of file, contracts and views at once, or with the fault of a server.
pub(crate) async fn fleet(config: &Path) -> anyhow::Result<FleetContext> {
    // Mistakes of every part are collected before any server is asked.
    let raw: RawApplyConfig = config::load(config)?;
    let mut errors = config::check_neighbours(&raw.kafka, &raw.registry).err().unwrap_or_default();
    let lake = raw.lake.clone().map(read_local_folder).transpose();
    if let Err(message) = &lake {
        errors.add("lake", message, Some("give the folder of the sink's store `delta`".to_owned()));
    }
    let found = crate::contract::load_with_views(&raw.schemas)
        .map_err(|mut found| errors.0.append(&mut found.0))
        .ok();
    let Some((contracts, views)) = found else { return Err(errors.in_file(config).into()) };

    // Principals may be those of a part of the contracts, so the contracts come first.
    let principals = raw.access.check(&contracts).map_err(|mut found| errors.0.append(&mut found.0)).ok();
    let Some(principals) = principals else { return Err(errors.in_file(config).into()) };
    errors.or(()).map_err(|errors| errors.in_file(config))?;

    // `replication` has a default that fits the cluster: one copy per broker, at most three.
    let brokers = sluice_kafka::knock(&raw.kafka)?;
    let replication = raw.replication.unwrap_or_else(|| i32::try_from(brokers.min(3)).unwrap_or(1));
    let servers = ContractServers::new(&raw.kafka, &raw.registry)?;
    servers.ping().await?;

    // The schema of the file has checked the range of the copies.
    let copies = u32::try_from(replication).unwrap_or(1);
    let desired = DesiredState::with(&contracts, &crate::workers::access(), &principals).with_copies(copies);
    let RawApplyConfig { kafka, registry, .. } = raw;
    let lake = lake.unwrap_or_default();
    Ok(FleetContext { servers, contracts, views, desired, kafka, registry, lake })
}

/// Compares the contracts with the world, the leak proof and the lake. With `--only` the result is limited to
/// these contracts. Also returns the servers, which can carry the plan out.
///
/// # Errors
/// Fails as [`fleet`], with an unknown contract in `--only`, or if the lake cannot be read.
pub(super) async fn look(args: &PlanArgs) -> anyhow::Result<(ContractServers, FleetInspection)> {
    let FleetContext { servers, contracts, views, desired, lake, .. } = fleet(&args.config).await?;
    let only = chosen(&args.only, &contracts)?;
    let owners = PlanOwnership::of(&desired);

    // Topics, permissions and subjects.
    let world = servers.look(&desired).await?;
    let allow =
        PlanAllowance { shorter_retention: args.allow, other_cleanup: args.allow, remove_acls: args.allow };
    let mut plan = ContractPlan::diff(&desired, &world, allow);

    // A leak is refused before a topic for it exists.
    let leaks = LeakProof::of(&contracts, &views).leaks;
    plan.refusals.extend(leaks.into_iter().map(|leak| PlanRefusal::Leak { leak }));

    // Tables. The sink would hold the partition at the first record that its table cannot take.
    let mut tables = Vec::new();
    let is_chosen = |contract: &String| only.is_empty() || only.contains(contract);
    let landing = desired.subjects.iter().filter(|subject| subject.lands && is_chosen(&subject.contract));
    for subject in landing {
        let table = sluice_delta::plan::table(lake.as_deref(), &subject.topic, &subject.schema)
            .await
            .context("reading the lake")?;
        if let TableChange::Conflict { path, why } = &table.change {
            let (topic, path, why) = (table.topic.clone(), path.clone(), why.clone());
            plan.refusals.push(PlanRefusal::Table { topic, path, why });
        }
        // Without a lake only conflicts are known: it is unknown whether the table exists.
        if lake.is_some() {
            tables.push(table);
        }
    }

    // The world is compared as a whole, so that the choice changes nothing in the remaining plan.
    let left_out = if only.is_empty() { 0 } else { plan.keep_only(&only, &owners) };
    Ok((servers, FleetInspection { plan, contracts, owners, tables, only, left_out }))
}

/// Returns the ids that `--only` names.
///
/// # Errors
/// Fails with every name that is no contract's id, each with the nearest id.
fn chosen(only: &[String], contracts: &ContractSet) -> Result<BTreeSet<String>, ConfigErrors> {
    let mut errors = ConfigErrors::default();
    let ids: Vec<&str> = contracts.iter().map(|contract| contract.id.as_str()).collect();
    for name in only.iter().filter(|name| !ids.contains(&name.as_str())) {
        // A topic's name is at hand more often than the contract's id.
        let has_topic = |contract: &&Contract| [&contract.raw_topic, &contract.masked_topic].contains(&name);
        let of_topic = contracts.iter().find(has_topic).map(|contract| contract.id.as_str());
        let near = of_topic.map(|id| format!("did you mean `{id}`?"));
        let near = near.or_else(|| did_you_mean(name, ids.iter().copied()));
        let hint = near.unwrap_or_else(|| format!("the contracts are: {}", ids.join(", ")));
        errors.add("--only", format!("no contract has the id `{name}`"), Some(hint));
    }
    errors.or(only.iter().cloned().collect())
}
