//! `sluice plan` and `sluice apply`: the contracts against the world.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use sluice_contract::plan::{Allow, Desired, Plan, Refusal, together};
use sluice_contract::{Contracts, Proof, Views};
use sluice_runtime::config::{self, KafkaSection, RegistrySection};
use sluice_runtime::world::Servers;
use sluice_runtime::{contracts, kafka};
use sluice_sink::delta;
use sluice_sink::delta::plan::{TableChange, TablePlan};

use crate::access::RawAccess;
use crate::cli::{Output, PlanArgs, PlanCommand};
use crate::exit::{Ended, Found};

/// What stands in the file for `plan` and `apply`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawConfig {
    /// Kafka: `{brokers: "host:port"}`.
    pub(crate) kafka: KafkaSection,
    /// The schema registry: `{url: "http://…"}`.
    pub(crate) registry: RegistrySection,
    /// Folder of the contracts, `schemas/<domain>/<topic>/`.
    pub(crate) schemas: PathBuf,
    /// Copies of each new topic; as many as brokers, at most 3, if not said.
    #[serde(default)]
    #[schemars(range(min = 1, max = 9))]
    replication: Option<i32>,
    /// Kafka principals of the contracts' roles and of the workers; `User:<name>` each if not said.
    #[serde(default)]
    access: RawAccess,
    /// Folder of the sink's Delta tables: `plan` then compares them too, and says what the sink will do.
    #[serde(default)]
    lake: Option<PathBuf>,
}

/// The contracts and the servers that they are held against.
pub(crate) struct Fleet {
    /// For administration.
    pub(crate) servers: Servers,
    /// The contracts of the file's folder.
    pub(crate) contracts: Contracts,
    /// The views over their tables.
    pub(crate) views: Views,
    /// What they ask for.
    pub(crate) desired: Desired,
    /// Kafka, as the file has it.
    pub(crate) kafka: KafkaSection,
    /// The registry, as the file has it.
    pub(crate) registry: RegistrySection,
    /// Folder of the sink's Delta tables, if the file names one.
    pub(crate) lake: Option<PathBuf>,
}

pub(crate) fn plan(command: &PlanCommand) -> Ended {
    if command.proof || command.proof_html.is_some() {
        return crate::proof::proof(command);
    }
    let args = &command.plan;
    runtime()?.block_on(async {
        let Looked { plan, contracts, tables, .. } = look(args).await?;
        show(&plan, &contracts, &tables, args.output)?;
        Ok(if plan.is_empty() { Found::Nothing } else { Found::Something })
    })
}

pub(crate) fn apply(args: &PlanArgs) -> Ended {
    runtime()?.block_on(async {
        let Looked { servers, plan, contracts, tables } = look(args).await?;
        if !plan.refusals.is_empty() {
            show(&plan, &contracts, &tables, args.output)?;
            eprintln!("nothing was changed: mend what is refused first");
            return Ok(Found::Something);
        }
        let bar = bar(plan.changes.len() as u64);
        let mut left = &plan.changes[..];
        while let Some(change) = left.first() {
            let done = servers.carry_out(left).await.with_context(|| {
                let on = "(what came before is done; run `sluice apply` again to go on)";
                match together(left) {
                    1 => format!("{change} {on}"),
                    more => format!("{change}, and {} more like it {on}", more - 1),
                }
            })?;
            let (done, rest) = left.split_at(done);
            left = rest;
            bar.inc(done.len() as u64);
            if args.output == Output::Text {
                bar.suspend(|| done.iter().for_each(|change| println!("done: {change}")));
            }
        }
        servers.shown(&plan.changes).await.context("everything is done, but not to be seen yet")?;
        bar.finish_and_clear();
        match args.output {
            Output::Json => println!("{}", serde_json::to_string_pretty(&plan)?),
            Output::Text if plan.changes.is_empty() => {
                println!("nothing to do: the world is as the contracts have it")
            }
            Output::Text => println!("{} changes made", plan.changes.len()),
        }
        if args.output == Output::Text {
            show_extra(&plan);
        }
        Ok(Found::Nothing)
    })
}

/// The world as it is beside the contracts.
struct Looked {
    servers: Servers,
    plan: Plan,
    contracts: Contracts,
    tables: Vec<TablePlan>,
}

/// Reads the file and the contracts, and sees that the servers answer.
pub(crate) async fn fleet(config: &Path) -> anyhow::Result<Fleet> {
    let raw: RawConfig = config::load(config)?;
    let mut errors = kafka::check_properties(&raw.kafka).err().unwrap_or_default();
    let principals = raw.access.check().map_err(|mut found| errors.0.append(&mut found.0)).ok();
    let found =
        contracts::load_with_views(&raw.schemas).map_err(|mut found| errors.0.append(&mut found.0)).ok();
    let (Some(principals), Some((contracts, views))) = (principals, found) else { return Err(errors.into()) };
    errors.or(())?;
    let brokers = kafka::knock(&raw.kafka)?;
    let replication = raw.replication.unwrap_or_else(|| i32::try_from(brokers.min(3)).unwrap_or(1));
    let servers = Servers::new(&raw.kafka, &raw.registry, replication)?;
    servers.ping().await?;
    let desired = Desired::with(&contracts, &principals);
    let RawConfig { kafka, registry, lake, .. } = raw;
    Ok(Fleet { servers, contracts, views, desired, kafka, registry, lake })
}

async fn look(args: &PlanArgs) -> anyhow::Result<Looked> {
    let Fleet { servers, contracts, views, desired, lake, .. } = fleet(&args.config).await?;
    let world = servers.look(&desired).await?;
    let allow = Allow { shorter_retention: args.allow, other_cleanup: args.allow, remove_acls: args.allow };
    let mut plan = Plan::diff(&desired, &world, allow);
    let leaks = Proof::of(&contracts, &views).leaks;
    plan.refusals.extend(leaks.into_iter().map(|leak| Refusal::Leak { leak }));
    let mut tables = Vec::new();
    for subject in desired.subjects.iter().filter(|subject| subject.lands) {
        let table = delta::plan::table(lake.as_deref(), &subject.topic, &subject.schema)
            .await
            .context("reading the lake")?;
        if let TableChange::Conflict { path, why } = &table.change {
            let (topic, path, why) = (table.topic.clone(), path.clone(), why.clone());
            plan.refusals.push(Refusal::Table { topic, path, why });
        }
        // Whether a table is there is not known without its lake; whether one can be there is.
        if lake.is_some() {
            tables.push(table);
        }
    }
    Ok(Looked { servers, plan, contracts, tables })
}

/// A plan as JSON: each refusal with its place and what would mend it.
fn json(plan: &Plan, contracts: &Contracts, tables: &[TablePlan]) -> serde_json::Result<Value> {
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
    let mut whole = serde_json::to_value(plan)?;
    if let Some(object) = whole.as_object_mut() {
        object.insert("refusals".into(), Value::Array(refusals));
        object.insert("tables".into(), json!(tables));
    }
    Ok(whole)
}

fn show(plan: &Plan, contracts: &Contracts, tables: &[TablePlan], output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        println!("{}", serde_json::to_string_pretty(&json(plan, contracts, tables)?)?);
        return Ok(());
    }
    for table in tables {
        if !table.ddl.is_empty() {
            println!("the sink will:\n{}", table.ddl);
        }
        for lossy in &table.lossy {
            println!("table of {}: `{}`: {}", table.topic, lossy.path, lossy.what);
        }
    }
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

fn show_extra(plan: &Plan) {
    for acl in &plan.extra_acls {
        println!("not asked for by any contract or worker: {acl} (`apply --allow` removes it)");
    }
}

fn bar(length: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} changes")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style)
}

pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting tokio")
}
