//! `sluice plan` and `sluice apply`: the contracts against the world.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use schemars::JsonSchema;
use serde::Deserialize;
use sluice_contract::plan::{Allow, Desired, Plan};
use sluice_runtime::config::{self, KafkaSection, RegistrySection};
use sluice_runtime::world::Servers;
use sluice_runtime::{contracts, kafka};

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
}

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
        for change in &plan.changes {
            servers.carry_out(change).await.with_context(|| {
                format!("{change} (what came before is done; run `sluice apply` again to go on)")
            })?;
            bar.inc(1);
            if args.output == Output::Text {
                bar.suspend(|| println!("done: {change}"));
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
        Ok(Found::Nothing)
    })
}

async fn look(args: &PlanArgs) -> anyhow::Result<(Servers, Plan)> {
    let raw: RawConfig = config::load(&args.config)?;
    kafka::check_properties(&raw.kafka)?;
    let contracts = contracts::load(&raw.schemas)?;
    let replication = match raw.replication {
        Some(replication) => replication,
        None => i32::try_from(kafka::admin::Admin::new(&raw.kafka)?.brokers()?.min(3)).unwrap_or(1),
    };
    let servers = Servers::new(&raw.kafka, &raw.registry, replication)?;
    servers.ping().await?;
    let desired = Desired::of(&contracts);
    let world = servers.look(&desired).await?;
    let allow = Allow { shorter_retention: args.allow, other_cleanup: args.allow };
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
    Ok(())
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
