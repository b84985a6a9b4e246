//! `sluice plan` and `sluice apply`: compare the contracts with the world, and change the world.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use crate::world::ContractServers;
use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use sluice_contract::ContractSet;
use sluice_delta::plan::{TableChange, TablePlan};
use sluice_govern::plan::{ContractPlan, DesiredState, PlanAllowance, PlanRefusal, together};
use sluice_govern::{LeakProof, SqlViewSet};
use sluice_runtime::config::{self, KafkaSection, RegistrySection};

use crate::access::RawAccess;
use crate::cli::{CommandFormat, PlanArgs, PlanCommand, read_local_folder};
use crate::exit::{CommandFinding, CommandResult};

/// The raw form of the file for `plan`, `apply` and `verify`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawApplyConfig {
    /// Kafka: `{brokers: "host:port"}`.
    pub(crate) kafka: KafkaSection,
    /// The schema registry: `{url: "http://…"}`.
    pub(crate) registry: RegistrySection,
    /// Folder of the contracts, `schemas/<domain>/<topic>/`.
    pub(crate) schemas: PathBuf,
    /// Copies of each new topic. Default: the number of brokers, at most 3.
    #[serde(default)]
    #[schemars(range(min = 1, max = 9))]
    replication: Option<i32>,
    /// Kafka principals of the contracts' roles and of the workers. Default: `User:<name>` each.
    #[serde(default)]
    access: RawAccess,
    /// Folder of the sink's Delta tables. With it `plan` also shows the changes that the sink will make to
    /// them.
    #[serde(default)]
    lake: Option<PathBuf>,
}

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

/// Prints the plan. Exit code 1 if there is a refusal, 2 if there are changes alone.
pub(crate) fn plan(command: &PlanCommand) -> CommandResult {
    if command.proof || command.proof_html.is_some() {
        return crate::proof::proof(command);
    }

    let args = &command.plan;
    runtime()?.block_on(async {
        let FleetInspection { plan, contracts, tables, .. } = look(args).await?;
        show(&plan, &contracts, &tables, args.output)?;
        Ok(match (plan.refusals.is_empty(), plan.changes.is_empty()) {
            (false, _) => CommandFinding::Something,
            (true, false) => CommandFinding::Changes,
            (true, true) => CommandFinding::Nothing,
        })
    })
}

/// Carries the plan out. Exit code 1 if it has a refusal: then nothing is changed.
pub(crate) fn apply(args: &PlanArgs) -> CommandResult {
    runtime()?.block_on(async {
        // One refusal stops everything: nothing is changed until all of them are mended.
        let FleetInspection { servers, plan, contracts, tables } = look(args).await?;
        if !plan.refusals.is_empty() {
            show(&plan, &contracts, &tables, args.output)?;
            eprintln!("nothing was changed: mend the refusals first");
            return Ok(CommandFinding::Something);
        }

        // Batch by batch, in the order of the plan. A failure names its change, and the earlier changes are
        // done.
        let bar = bar(plan.changes.len() as u64);
        let mut left = &plan.changes[..];
        while let Some(change) = left.first() {
            let done = servers.carry_out(left).await.with_context(|| {
                let on = "(the earlier changes are done; run `sluice apply` again to continue)";
                match together(left) {
                    1 => format!("{change} {on}"),
                    more => format!("{change}, and {} more like it {on}", more - 1),
                }
            })?;
            let (done, rest) = left.split_at(done);
            left = rest;
            bar.inc(done.len() as u64);
            if args.output == CommandFormat::Text {
                bar.suspend(|| done.iter().for_each(|change| println!("done: {change}")));
            }
        }

        // Workers that start now must see the new topics.
        servers
            .shown(&plan.changes)
            .await
            .context("all changes are made, but the brokers do not show the new topics yet")?;
        bar.finish_and_clear();

        match args.output {
            CommandFormat::Json => println!("{}", serde_json::to_string_pretty(&plan)?),
            CommandFormat::Text if plan.changes.is_empty() => {
                println!("nothing to do: the world is as the contracts have it")
            }
            CommandFormat::Text => println!("{} changes were made", plan.changes.len()),
        }
        if args.output == CommandFormat::Text {
            show_extra(&plan);
        }
        Ok(CommandFinding::Nothing)
    })
}

/// The plan, with the contracts and the servers that it is about.
struct FleetInspection {
    servers: ContractServers,
    plan: ContractPlan,
    contracts: ContractSet,
    tables: Vec<TablePlan>,
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
    let servers = ContractServers::new(&raw.kafka, &raw.registry, replication)?;
    servers.ping().await?;

    let desired = DesiredState::with(&contracts, &crate::workers::access(), &principals);
    let RawApplyConfig { kafka, registry, .. } = raw;
    let lake = lake.unwrap_or_default();
    Ok(FleetContext { servers, contracts, views, desired, kafka, registry, lake })
}

/// Compares the contracts with the world, the leak proof and the lake.
async fn look(args: &PlanArgs) -> anyhow::Result<FleetInspection> {
    let FleetContext { servers, contracts, views, desired, lake, .. } = fleet(&args.config).await?;

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
    for subject in desired.subjects.iter().filter(|subject| subject.lands) {
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
    Ok(FleetInspection { servers, plan, contracts, tables })
}

/// Returns a plan as JSON: each refusal with file, line and hint.
fn json(plan: &ContractPlan, contracts: &ContractSet, tables: &[TablePlan]) -> serde_json::Result<Value> {
    // A refusal whose setting has no line in a contract stays without file, line and hint.
    let mut refusals = Vec::new();
    for refusal in &plan.refusals {
        let mut value = serde_json::to_value(refusal)?;
        let place = refusal.place(contracts);
        if let (Some(object), Some((file, line))) = (value.as_object_mut(), place) {
            object.insert("file".into(), file.into());
            object.insert("line".into(), line.into());
            object.insert("hint".into(), refusal.hint().into());
        }
        refusals.push(value);
    }

    // The refusals replace the plan's own, and the tables are added.
    let mut whole = serde_json::to_value(plan)?;
    if let Some(object) = whole.as_object_mut() {
        object.insert("refusals".into(), Value::Array(refusals));
        object.insert("tables".into(), json!(tables));
    }
    Ok(whole)
}

/// Prints a plan: the sink's tables, the changes, the refusals, and permissions that are not asked for.
fn show(
    plan: &ContractPlan,
    contracts: &ContractSet,
    tables: &[TablePlan],
    output: CommandFormat,
) -> anyhow::Result<()> {
    if output == CommandFormat::Json {
        println!("{}", serde_json::to_string_pretty(&json(plan, contracts, tables)?)?);
        return Ok(());
    }

    // Tables are the sink's work: `apply` does not change them.
    for table in tables {
        if !table.ddl.is_empty() {
            println!("the sink will:\n{}", table.ddl);
        }
        for lossy in &table.lossy {
            println!("table of {}: `{}`: {}", table.topic, lossy.path, lossy.what);
        }
    }

    // The changes and refusals of `apply`.
    if plan.is_empty() {
        println!("nothing to do: the world is as the contracts have it");
    }
    for change in &plan.changes {
        println!("would {change}");
    }
    for refusal in &plan.refusals {
        println!("refused: {refusal}");
        if let Some((file, line)) = refusal.place(contracts) {
            println!("  {file}:{line}: {}", refusal.hint());
        }
    }
    show_extra(plan);
    Ok(())
}

/// Prints the permissions that no contract or worker asks for.
fn show_extra(plan: &ContractPlan) {
    for acl in &plan.extra_acls {
        println!("no contract and no worker asks for the permission: {acl} (`apply --allow` removes it)");
    }
}

/// Returns a progress bar over the changes. It is hidden if standard error is not a terminal.
fn bar(length: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} changes")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style)
}

/// Returns a runtime for a command that makes some calls. Two threads are enough for it.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting tokio")
}
