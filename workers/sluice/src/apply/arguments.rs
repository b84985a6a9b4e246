//! The arguments of `plan` and `apply`. Their doc comments are the texts of `--help`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::CommandFormat;

// The options that both commands have.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// Kafka, registry and contracts, YAML: `{kafka: {brokers: …}, registry: {url: …}, schemas: schemas}`.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Only the changes, refusals and tables of this contract, by its id. May be given several times.
    /// Everything that contracts share is left out: the topic of receipts, groups, transactional ids.
    #[arg(long, value_name = "CONTRACT")]
    pub(crate) only: Vec<String>,
    /// Print JSON instead of text.
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) output: CommandFormat,
    /// Also make changes that take something away: a shorter retention, another cleanup, the removal of
    /// permissions that no contract or worker asks for.
    #[arg(long)]
    pub(crate) allow: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 the world is as the contracts have it, 1 a change is refused (or a permission \
    is not asked for), 2 there are changes and no refusal. With --proof: 0 the proof holds, 1 it does not."
)]
pub(crate) struct PlanCommand {
    #[command(flatten)]
    pub(crate) plan: PlanArgs,
    /// Show the leak proof instead: every way of every tagged or restricted leaf. It needs the contracts
    /// alone and no server. Exit code 1 if a way has no masking step.
    // The proof is about all contracts: a way can lead through the views of several.
    #[arg(long, conflicts_with = "only")]
    pub(crate) proof: bool,
    /// Write the proof as one HTML page with the graph. The page needs no other file.
    #[arg(long, value_name = "FILE", conflicts_with = "only")]
    pub(crate) proof_html: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "On a terminal the plan is shown first, and only the answer `yes` carries it out. Without a \
    terminal it is carried out at once; then --allow also needs --yes."
)]
pub(crate) struct ApplyCommand {
    #[command(flatten)]
    pub(crate) plan: PlanArgs,
    /// Do not ask. Needed with --allow where there is no terminal.
    #[arg(long)]
    pub(crate) yes: bool,
}
