//! `sluice plan` and `sluice apply`: the contracts against the world.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use schemars::JsonSchema;
use serde::Deserialize;
use sluice_contract::Contracts;
use sluice_contract::plan::{Acl, Allow, Change, Desired, Plan};
use sluice_core::Fault;
use sluice_runtime::config::{self, KafkaSection, RegistrySection};
use sluice_runtime::world::Servers;
use sluice_runtime::{contracts, kafka};

use crate::access::RawAccess;
use crate::cli::{Output, PlanArgs};
use crate::exit::{Ended, Found};

/// What stands in the file for `plan` and `apply`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawConfig {
    /// Kafka: `{brokers: "host:port"}`.
    pub(crate) kafka: KafkaSection,
    /// The schema registry: `{url: "http://…"}`.
    registry: RegistrySection,
    /// Folder of the contracts, `schemas/<domain>/<topic>/`.
    pub(crate) schemas: PathBuf,
    /// Copies of each new topic; as many as brokers, at most 3, if not said.
    #[serde(default)]
    #[schemars(range(min = 1, max = 9))]
    replication: Option<i32>,
    /// Kafka principals of the contracts' roles and of the workers; `User:<name>` each if not said.
    #[serde(default)]
    access: RawAccess,
}

/// The contracts and the servers that they are held against.
pub(crate) struct Fleet {
    /// For administration.
    pub(crate) servers: Servers,
    /// The contracts of the file's folder.
    pub(crate) contracts: Contracts,
    /// What they ask for.
    pub(crate) desired: Desired,
    /// Kafka, as the file has it.
    pub(crate) kafka: KafkaSection,
    /// The registry, as the file has it.
    pub(crate) registry: RegistrySection,
}

/// Permissions that are added by one call.
const ACLS_AT_ONCE: usize = 200;

pub(crate) fn plan(args: &PlanArgs) -> Ended {
    runtime()?.block_on(async {
        let (_, plan) = look(args).await?;
        show(&plan, args.output)?;
        Ok(if plan.is_empty() { Found::Nothing } else { Found::Something })
    })
}

pub(crate) fn apply(args: &PlanArgs) -> Ended {
    runtime()?.block_on(async {
        let (servers, plan) = look(args).await?;
        if !plan.refusals.is_empty() {
            show(&plan, args.output)?;
            eprintln!("nothing was changed: mend what is refused first");
            return Ok(Found::Something);
        }
        let bar = bar(plan.changes.len() as u64);
        let mut left = &plan.changes[..];
        while let Some(change) = left.first() {
            let done = carry_out(&servers, left).await.with_context(|| {
                format!("{change} (what came before is done; run `sluice apply` again to go on)")
            })?;
            let (done, rest) = left.split_at(done);
            left = rest;
            bar.inc(done.len() as u64);
            if args.output == Output::Text {
                bar.suspend(|| done.iter().for_each(|change| println!("done: {change}")));
            }
        }
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

/// Carries the next change out, or the next permissions together; how many that were.
async fn carry_out(servers: &Servers, left: &[Change]) -> Result<usize, Fault> {
    let permissions = left.iter().map_while(|change| match change {
        Change::CreateAcl { acl } => Some(acl.clone()),
        _ => None,
    });
    let permissions: Vec<Acl> = permissions.take(ACLS_AT_ONCE).collect();
    if !permissions.is_empty() {
        servers.permit(&permissions)?;
        return Ok(permissions.len());
    }
    if let Some(change) = left.first() {
        servers.carry_out(change).await?;
    }
    Ok(1)
}

/// Reads the file and the contracts, and sees that the servers answer.
pub(crate) async fn fleet(config: &Path) -> anyhow::Result<Fleet> {
    let raw: RawConfig = config::load(config)?;
    let mut errors = kafka::check_properties(&raw.kafka).err().unwrap_or_default();
    let principals = raw.access.check().map_err(|mut found| errors.0.append(&mut found.0)).ok();
    let found = contracts::load(&raw.schemas).map_err(|mut found| errors.0.append(&mut found.0)).ok();
    let (Some(principals), Some(contracts)) = (principals, found) else { return Err(errors.into()) };
    errors.or(())?;
    let brokers = kafka::knock(&raw.kafka)?;
    let replication = raw.replication.unwrap_or_else(|| i32::try_from(brokers.min(3)).unwrap_or(1));
    let servers = Servers::new(&raw.kafka, &raw.registry, replication)?;
    servers.ping().await?;
    let desired = Desired::with(&contracts, &principals);
    Ok(Fleet { servers, contracts, desired, kafka: raw.kafka, registry: raw.registry })
}

async fn look(args: &PlanArgs) -> anyhow::Result<(Servers, Plan)> {
    let Fleet { servers, desired, .. } = fleet(&args.config).await?;
    let world = servers.look(&desired).await?;
    let allow = Allow { shorter_retention: args.allow, other_cleanup: args.allow, remove_acls: args.allow };
    Ok((servers, Plan::diff(&desired, &world, allow)))
}

fn show(plan: &Plan, output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        println!("{}", serde_json::to_string_pretty(plan)?);
        return Ok(());
    }
    if plan.is_empty() {
        println!("nothing to do: the world is as the contracts have it");
    }
    for change in &plan.changes {
        println!("would {change}");
    }
    for refusal in &plan.refusals {
        println!("refused: {refusal}");
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
