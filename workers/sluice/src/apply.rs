//! `sluice plan` and `sluice apply`: compare the contracts with the world, and change the world.
//!
//! ```text
//!  file, contracts ─► look ─► FleetInspection ─► render (text, JSON)
//!  servers ─────────►                        └─► consent ─► carry_out
//! ```

mod arguments;
mod carry_out;
mod consent;
mod look;
mod render;

use std::io::{IsTerminal as _, Write as _, stdout};
use std::path::PathBuf;

use anstream::{AutoStream, ColorChoice};
use anyhow::Context as _;
use schemars::JsonSchema;
use serde::Deserialize;
use sluice_runtime::config::{KafkaSection, RegistrySection};

pub(crate) use arguments::{ApplyCommand, PlanArgs, PlanCommand};
pub(crate) use look::{FleetContext, fleet};

use crate::access::RawAccess;
use crate::cli::CommandFormat;
use crate::exit::{CommandFinding, CommandResult};
use look::{FleetInspection, look};

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

/// Prints the plan. Exit code 1 for a refusal, else 2 for a change, else 1 for a permission too many.
pub(crate) fn plan(command: &PlanCommand) -> CommandResult {
    if command.proof || command.proof_html.is_some() {
        return crate::proof::proof(command);
    }

    let args = &command.plan;
    runtime()?.block_on(async {
        let (_, inspection) = look(args).await?;
        show(&inspection, args.output)?;
        let plan = &inspection.plan;
        Ok(match (plan.refusals.is_empty(), plan.changes.is_empty(), plan.extra_acls.is_empty()) {
            (true, true, true) => CommandFinding::Nothing,
            (true, false, _) => CommandFinding::Changes,
            (false, ..) | (true, true, false) => CommandFinding::Something,
        })
    })
}

/// Carries the plan out. Exit code 1 if it has a refusal, or if the operator does not consent: then nothing
/// is changed.
pub(crate) fn apply(command: &ApplyCommand) -> CommandResult {
    let args = &command.plan;
    let on_terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    consent::check(args.allow, command.yes, on_terminal)?;

    runtime()?.block_on(async {
        // One refusal stops everything: nothing is changed until all of them are mended.
        let (servers, inspection) = look(args).await?;
        if !inspection.plan.refusals.is_empty() {
            show(&inspection, args.output)?;
            eprintln!("nothing was changed: mend the refusals first");
            return Ok(CommandFinding::Something);
        }

        // On a terminal the operator sees the plan before it is carried out.
        if on_terminal && !command.yes && !inspection.plan.changes.is_empty() {
            match args.output {
                CommandFormat::Text => show(&inspection, CommandFormat::Text)?,
                CommandFormat::Json => anstream::stderr().write_all(render::text(&inspection).as_bytes())?,
            }
            if !consent::ask(&mut std::io::stdin().lock(), &mut std::io::stderr())? {
                eprintln!("nothing was changed");
                return Ok(CommandFinding::Something);
            }
        }

        carry_out::carry_out(&servers, &inspection.plan, args.output).await?;
        match args.output {
            CommandFormat::Json => show(&inspection, CommandFormat::Json)?,
            CommandFormat::Text => {
                print!("{}", render::applied(&inspection));
                show_warnings(&inspection);
            }
        }
        Ok(CommandFinding::Nothing)
    })
}

/// Prints the plan on standard output, and in the form of text its warnings on standard error.
fn show(inspection: &FleetInspection, output: CommandFormat) -> anyhow::Result<()> {
    match output {
        CommandFormat::Json => {
            println!("{}", serde_json::to_string_pretty(&render::json(inspection)?)?);
        }
        CommandFormat::Text => {
            // No colours where standard output is no terminal, and under NO_COLOR.
            let text = render::text(inspection);
            match AutoStream::choice(&stdout()) {
                ColorChoice::Never => print!("{}", anstream::adapter::strip_str(&text)),
                ColorChoice::Auto | ColorChoice::AlwaysAnsi | ColorChoice::Always => print!("{text}"),
            }
            show_warnings(inspection);
        }
    }
    Ok(())
}

/// Prints the plan's warnings on standard error.
fn show_warnings(inspection: &FleetInspection) {
    for warning in render::warnings(&inspection.plan) {
        eprintln!("warning: {warning}");
    }
}

/// Returns a runtime for a command that makes some calls. Two threads are enough for it.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting tokio")
}
