//! `sluice run <worker>` and `sluice config-schema <worker>`: both are derived from the list of descriptors.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::error::ErrorKind;
use clap::{ArgMatches, Args, Command, FromArgMatches, Subcommand};
use sluice_runtime::descriptor::{WorkerDescriptor, WorkerError, WorkerRunOptions};
use sluice_runtime::{config, telemetry};

use crate::apply::RawApplyConfig;
use crate::exit::{CommandFinding, CommandResult};
use crate::workers::{self, WORKERS};

/// Name of the file of `plan`, `apply` and `verify` for `config-schema`. It has a schema, but is no worker.
pub(crate) const APPLY_FILE: &str = "apply";

// All settings of a worker are in its file, as the chart writes it.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The worker's configuration, YAML (`sluice config-schema <worker>` describes it).
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

// The options of a worker that can end by itself.
#[derive(Debug, Args)]
pub(crate) struct RunOnceArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Stop when no id is due any more, instead of waiting for new ones.
    #[arg(long)]
    once: bool,
}

/// A worker with the arguments of its run: one subcommand for each descriptor.
#[derive(Debug)]
pub(crate) struct WorkerCommand {
    worker: &'static WorkerDescriptor,
    config: PathBuf,
    options: WorkerRunOptions,
}

impl WorkerCommand {
    /// Returns the command that runs `worker`, which can end by itself, with these arguments.
    pub(crate) fn new(worker: &'static WorkerDescriptor, args: RunOnceArgs) -> Self {
        Self { worker, config: args.run.config, options: WorkerRunOptions { once: args.once } }
    }
}

impl FromArgMatches for WorkerCommand {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let (name, matches) =
            matches.subcommand().ok_or_else(|| clap::Error::new(ErrorKind::MissingSubcommand))?;
        let worker = workers::find(name).ok_or_else(|| clap::Error::new(ErrorKind::InvalidSubcommand))?;

        // Only a worker that can end by itself has `--once`.
        if worker.once {
            return Ok(Self::new(worker, RunOnceArgs::from_arg_matches(matches)?));
        }
        let RunArgs { config } = RunArgs::from_arg_matches(matches)?;
        Ok(Self { worker, config, options: WorkerRunOptions::default() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Subcommand for WorkerCommand {
    fn augment_subcommands(command: Command) -> Command {
        WORKERS.iter().fold(command, |command, worker| {
            let own = Command::new(worker.access.name);
            let own = if worker.once { RunOnceArgs::augment_args(own) } else { RunArgs::augment_args(own) };
            command.subcommand(own.about(worker.summary))
        })
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        Self::augment_subcommands(command)
    }

    fn has_subcommand(name: &str) -> bool {
        workers::find(name).is_some()
    }
}

/// Runs a worker to its end.
pub(crate) fn run(command: &WorkerCommand) -> CommandResult {
    telemetry::init();
    command_error((command.worker.run)(&command.config, command.options), &command.config)?;
    Ok(CommandFinding::Nothing)
}

/// Unpacks the error of a worker with the configuration at `file`: the exit code depends on the type of the error
/// inside.
pub(crate) fn command_error<T>(ended: Result<T, WorkerError>, file: &Path) -> anyhow::Result<T> {
    ended.map_err(|error| match error {
        WorkerError::Config(errors) => errors.in_file(file).into(),
        WorkerError::Fault(fault) => fault.into(),
    })
}

/// Prints the JSON schema of a worker's configuration, or of the file of `apply`.
pub(crate) fn schema(name: &str) -> CommandResult {
    let schema = if name == APPLY_FILE {
        config::schema::<RawApplyConfig>()
    } else {
        // The command line has refused every other name.
        let worker = workers::find(name).with_context(|| format!("{name} is no worker"))?;
        (worker.config_schema)()
    };
    println!("{schema:#}");
    Ok(CommandFinding::Nothing)
}
