//! The command line. Doc comments of arguments and commands are the texts of `--help`.

use std::path::PathBuf;

use clap::builder::{OsStringValueParser, PossibleValuesParser, TypedValueParser};
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

use sluice_location::{Location, LocationError};

use crate::apply::{ApplyCommand, PlanCommand};
use crate::examples;
use crate::exit::{CommandFinding, CommandResult, EXIT_CODES};
use crate::output::StandardOutput;
use crate::run::{APPLY_FILE, RunOnceArgs, WorkerCommand};
use crate::workers;

/// The first commands of a new user.
const START_HERE: &str = "Start here:
  sluice apply -c apply.yaml            create topics and schemas from the contracts
  sluice run masker -c masker.yaml      run a worker, each as a process of its own
  sluice tail <topic> -c apply.yaml     look at records
  sluice sql --lake lake 'select …'     ask the warehouse";

/// Contracts in, masked facts and tables out: a fleet of Kafka workers in one binary.
#[derive(Debug, Parser)]
#[command(name = "sluice", version, propagate_version = true, arg_required_else_help = true)]
#[command(
    after_help = format!("{START_HERE}\n\n{EXIT_CODES}")
)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    pub(crate) command: SluiceCommand,
}

// Commands in the order of an operator's day: run and deploy, look and repair, query, single records and
// contracts.
#[derive(Debug, Subcommand)]
pub(crate) enum SluiceCommand {
    /// Run a worker until SIGTERM or Ctrl-C, which drains it.
    Run {
        #[command(subcommand)]
        worker: WorkerCommand,
    },
    /// Show the changes that `apply` would make, and those that it refuses.
    Plan(PlanCommand),
    /// Create topics, permissions and schemas from the contracts. It is safe to repeat, also after a failure.
    Apply(ApplyCommand),
    /// Compare the world with the contracts: drift, and a leak scan over samples of open topics. With
    /// --conservation: check that every record was written, dead-lettered or skipped.
    Verify(VerifyArgs),
    /// Look at dead letters, and handle them again once the reason is mended.
    DeadLetters {
        #[command(subcommand)]
        command: LettersCommand,
    },
    /// Handle a range of a topic again where no receipt covers it. N times is once.
    Replay(ReplayArgs),
    /// Work with a collector job: check its file, try one id, run it, look at its ids, make dead ids due
    /// again.
    Collector(CollectorCommandArgs),
    /// List the topics of the contracts, as Kafka has them.
    Topics(crate::look::TopicsArgs),
    /// Show the newest records of a topic, or those since a time, decoded.
    Tail(crate::look::TailArgs),
    /// Show the newest record of a key, or all of them.
    Get(crate::look::GetArgs),
    /// Ask the warehouse: SQL over the lake's Delta tables. Without a statement a prompt opens.
    Sql(crate::sql::SqlArgs),
    /// Work with single records: check, patch, explain.
    Wire(WireArgs),
    /// Draft a contract, or try its samples.
    Contract(crate::contract::ContractArgs),
    /// Write the contracts' catalogue: a static site of topics, fields, owners and lineage.
    Catalogue(crate::catalogue::CatalogueArgs),
    /// Start a local Kafka, registry, MariaDB and PostgreSQL, without Docker. Ctrl-C stops them.
    Up(UpArgs),
    /// Print the JSON schema of a worker's configuration, for editors.
    ConfigSchema {
        /// The worker, or `apply` for the file of `plan`, `apply` and `verify`.
        #[arg(value_parser = PossibleValuesParser::new(workers::names().chain([APPLY_FILE])))]
        worker: String,
    },
    /// Print the version, the commit, the features, and the version of librdkafka.
    Version(crate::version::VersionArgs),
    /// Print shell completions.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "A new job, step by step:\n  \
    sluice config-schema collector > job.schema.json            help for the editor\n  \
    sluice collector check -c job.yaml --neighbours             check the file, database, registry, Kafka\n  \
    sluice collector try -c job.yaml --id N14228 --record tape  ask for one id, publish nothing\n  \
    sluice collector try -c job.yaml --id N14228 --replay tape  the same without the API, for tests\n  \
    sluice collector migrate -c job.yaml --print                show the tables that it needs beside yours\n  \
    sluice collector run -c job.yaml --once                     run until no id is due\n  \
    sluice collector status -c job.yaml; sluice collector dead -c job.yaml")]
pub(crate) struct CollectorCommandArgs {
    #[command(subcommand)]
    pub(crate) command: CollectorCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CollectorCommand {
    /// Check a job's file against its contracts. Show the requests that it would make and the topics of its
    /// records.
    Check {
        #[command(flatten)]
        job: JobArgs,
        /// Also check that database, registry and Kafka are ready for the job. Exit code 1 if one is not.
        #[arg(long)]
        neighbours: bool,
    },
    /// Ask for one id and print requests and decoded records. Publishes nothing and needs only the API.
    ///
    /// Exit code 1 if records do not fit the contract, or if the API stopped the id before its end.
    Try {
        #[command(flatten)]
        job: JobArgs,
        /// The id.
        #[arg(long)]
        id: String,
        /// Number of pages per endpoint.
        #[arg(long, default_value_t = 2)]
        pages: u64,
        /// Number of records per page that are printed.
        #[arg(long, default_value_t = 3)]
        records: usize,
        /// Keep the API's answers in this folder. They are as confidential as the raw topic.
        #[arg(long, value_name = "DIR", conflicts_with = "replay", value_parser = local_folder())]
        record: Option<PathBuf>,
        // clap refuses both: an answer from the tape would be recorded as the API's.
        /// Take the answers from this folder, without a request to the API.
        #[arg(long, value_name = "DIR", value_parser = local_folder())]
        replay: Option<PathBuf>,
    },
    /// The worker itself, as `sluice run collector`.
    Run(RunOnceArgs),
    /// Count the ids that are due, claimed, done and dead, with their pages and records.
    Status {
        #[command(flatten)]
        job: JobArgs,
    },
    /// List the ids that were given up: the page at which each fails, and the reason. Exit code 1 if there
    /// are any.
    Dead {
        #[command(flatten)]
        job: JobArgs,
        /// The largest number of ids that are listed.
        #[arg(long, default_value_t = 100)]
        most: u32,
    },
    /// List the records that were refused and have not come since, one by one: id, endpoint, page, index and reason.
    /// Exit code 1 if there are any.
    Rejected {
        #[command(flatten)]
        job: JobArgs,
    },
    /// Make dead ids due again, from the page at which they failed.
    Retry {
        #[command(flatten)]
        job: JobArgs,
        // One of the two is required: a forgotten option must not make all dead ids due.
        /// Only this id.
        #[arg(long, required_unless_present_any = ["all", "rejected"], conflicts_with = "all")]
        id: Option<String>,
        /// All dead ids.
        #[arg(long)]
        all: bool,
        /// The ids of records that were refused (`sluice collector rejected`), from their first page. Their other
        /// records are published again.
        #[arg(long, conflicts_with_all = ["all", "from_start"])]
        rejected: bool,
        /// From the first page, as a new run. The records of the failed run are published again.
        #[arg(long)]
        from_start: bool,
    },
    /// Take an id out: it is not collected again, whatever the table of ids says. A process that works on it lets go
    /// of it.
    Forget {
        #[command(flatten)]
        job: JobArgs,
        /// The id.
        #[arg(long)]
        id: String,
    },
    /// Create the tables `sluice_claims` and `sluice_budgets` beside the table of ids, unless they exist.
    Migrate {
        #[command(flatten)]
        job: JobArgs,
        /// Only print the statements, for a database administrator.
        #[arg(long)]
        print: bool,
    },
}

// The options of every command about a job.
#[derive(Debug, Args)]
pub(crate) struct JobArgs {
    /// The job, YAML (`sluice config-schema collector` describes it).
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Print JSON instead of text.
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) output: CommandFormat,
}

// Drift and leaks compare with the contracts, conservation with the receipts. The two kinds exclude each
// other.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The same file as for `plan` and `apply`.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Only the differences of topics, permissions and schemas from the contracts.
    #[arg(long)]
    pub(crate) drift: bool,
    /// Only the leak scan: it takes values of masked leaves from raw topics and looks for them in open topics
    /// and tables.
    #[arg(long)]
    pub(crate) leaks: bool,
    /// Folder of the Delta tables. The leak scan then looks at their newest rows too.
    #[arg(long, value_name = "DIR", env = "SLUICE_LAKE", value_parser = local_folder())]
    pub(crate) lake: Option<PathBuf>,
    // The samples are held in memory, which the upper limit bounds.
    /// Number of the newest records of each partition that the leak scan looks at.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) sample: u32,
    /// Check the durable receipts: input = output + dead letters + skips, per group, topic and partition,
    /// without gap or overlap up to the group's position. Prints the ranges where this does not hold, and
    /// exits 1 if there is one.
    #[arg(long, conflicts_with_all = ["drift", "leaks"])]
    pub(crate) conservation: bool,
    /// Also count the topics' records one by one and compare the counts with the receipts.
    #[arg(long, requires = "conservation")]
    pub(crate) deep: bool,
    /// Only this consumer group. May be given several times.
    #[arg(long, value_name = "GROUP", requires = "conservation")]
    pub(crate) group: Vec<String>,
    /// Print JSON instead of text.
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) output: CommandFormat,
}

/// The form of a command's output. JSON is stable for programs; the text is for reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CommandFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LettersCommand {
    /// Count letters by topic, class, path and worker. Exit code 1 while one is unresolved.
    Ls(LetterListArgs),
    /// Show the letters about one record.
    Show(LetterShowArgs),
    /// Give unresolved letters to the worker's code again. A dry run unless --yes.
    #[command(
        after_help = "An output has the topic, partition and offset of the original record, and nothing is written \
        twice. Each letter's fate is written in the same transaction. Therefore a second run, also one after a kill, \
        continues at the end of the first. Run it with the live worker's configuration. The live worker may run \
        meanwhile."
    )]
    Replay(ReplayLettersArgs),
}

/// The options that choose letters.
#[derive(Debug, Args)]
pub(crate) struct LettersChoice {
    /// Only letters about records of this topic.
    #[arg(long)]
    pub(crate) topic: Option<String>,
    /// Only letters of this class (framing, unknown-schema, datum, masking, …).
    #[arg(long)]
    pub(crate) class: Option<String>,
    /// Only letters at this field path.
    #[arg(long)]
    pub(crate) path: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct LetterListArgs {
    /// Kafka, registry and contracts, YAML: the file that `apply` takes.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    #[command(flatten)]
    pub(crate) choice: LettersChoice,
    /// Print JSON instead of a table.
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) output: CommandFormat,
}

#[derive(Debug, Args)]
pub(crate) struct LetterShowArgs {
    /// Kafka, registry and contracts, YAML: the file that `apply` takes.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Topic of the refused record.
    #[arg(long)]
    pub(crate) topic: String,
    /// Its partition.
    #[arg(long)]
    pub(crate) partition: i32,
    /// Its offset.
    #[arg(long)]
    pub(crate) offset: i64,
    /// Also show the value, in base64. Only for a topic that is open to analysts.
    #[arg(long)]
    pub(crate) value: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ReplayLettersArgs {
    /// The worker whose letters are replayed.
    #[arg(long, value_parser = PossibleValuesParser::new(workers::replay_names()))]
    pub(crate) worker: String,
    /// The live worker's configuration.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    #[command(flatten)]
    pub(crate) choice: LettersChoice,
    // Without it the letters are handled too, in a dry run: the printed fates are real.
    /// Write the outputs. Without it only their numbers are printed.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Print JSON instead of text.
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) output: CommandFormat,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Only offsets that no receipt of the worker's group covers are handled, up to the group's \
    position. A second run therefore changes nothing, and the ranges that `sluice verify --conservation` reports \
    as missing are filled. To handle a span again after the rules have changed, give the contract a new masked \
    topic and the worker a new group, and replay the span into those."
)]
pub(crate) struct ReplayArgs {
    /// The worker whose code handles the records.
    #[arg(long, value_parser = PossibleValuesParser::new(workers::replay_names()))]
    pub(crate) worker: String,
    /// The live worker's configuration.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Topic to read.
    #[arg(long)]
    pub(crate) topic: String,
    /// Only this partition.
    #[arg(long)]
    pub(crate) partition: Option<i32>,
    // Offsets belong to one partition, times to all. clap refuses a mixture of the two.
    /// First offset. Needs --partition.
    #[arg(long, requires = "partition", conflicts_with = "since")]
    pub(crate) from: Option<i64>,
    /// One past the last offset. Needs --partition.
    #[arg(long, requires = "partition", conflicts_with = "until")]
    pub(crate) to: Option<i64>,
    /// Records from this time on, by RFC 3339, for example 2026-05-01T00:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Records before this time.
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    // Kafka finds the offset of a time only in its own log. Therefore times cannot name archived records.
    /// Folder of a sink's archive. Offsets that the topic no longer has are read from there. For the
    /// normaliser only: the archive keeps no keys, and the masker needs them.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["since", "until"], value_parser = local_folder())]
    pub(crate) from_archive: Option<PathBuf>,
    /// Write the outputs. Without it only their numbers are printed.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Print JSON instead of text.
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) output: CommandFormat,
}

#[derive(Debug, Args)]
pub(crate) struct WireArgs {
    #[command(subcommand)]
    pub(crate) command: WireCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum WireCommand {
    /// Read JSON lines `{"schema": …, "datum": base64}` and answer each: valid, or the path and byte of the
    /// mistake.
    Check,
    /// Read the same lines and answer each with the masked schema and datum.
    Patch {
        /// Policy, JSON: `{"path": {"op": "keep" | "drop" | "null" | …}}`.
        #[arg(long, value_name = "FILE")]
        policy: PathBuf,
        // The argument names a file: a key on the command line would be in the list of processes.
        /// Key for the operations that need one, `name:epoch=FILE` (base64). May be given several times.
        #[arg(long = "key", value_name = "NAME:EPOCH=FILE")]
        keys: Vec<String>,
    },
    /// Print the operation of a policy for every leaf of a schema.
    Explain {
        /// Schema, `.avsc`.
        schema: PathBuf,
        /// Policy, JSON as for `patch`.
        policy: PathBuf,
        /// As for `patch`.
        #[arg(long = "key", value_name = "NAME:EPOCH=FILE")]
        keys: Vec<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// Folder in which the servers' data stays. Without it the data is in a temporary folder and is removed
    /// at the end.
    #[arg(long, value_name = "DIR", value_parser = local_folder())]
    pub(crate) dir: Option<PathBuf>,
    /// Number of Kafka nodes.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=3))]
    pub(crate) kafka: u8,
}

/// Returns the reader of a folder of this machine. A bucket never becomes a folder of that name.
pub(crate) fn local_folder() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().try_map(|text| read_local_folder(PathBuf::from(text)))
}

/// Checks that a path is a folder of this machine.
///
/// # Errors
/// Fails with the expectation.
pub(crate) fn read_local_folder(path: PathBuf) -> Result<PathBuf, String> {
    // A path that is not UTF-8 cannot be a URL.
    let Some(text) = path.to_str() else { return Ok(path) };
    let location: Location = text.parse().map_err(|error: LocationError| error.to_string())?;
    match location.local_folder() {
        Some(folder) => Ok(folder.to_owned()),
        None => Err("expected a folder of this machine: buckets are not built yet here".to_owned()),
    }
}

impl CommandLine {
    /// Reads the arguments of this process.
    ///
    /// # Errors
    /// Fails with the mistake, or with the text that `--help` or `--version` asks for.
    pub(crate) fn read() -> Result<Self, clap::Error> {
        let matches = examples::with_examples(Self::command()).try_get_matches()?;
        Self::from_arg_matches(&matches)
    }
}

/// Prints the completions of a shell on standard output.
pub(crate) fn completions(shell: clap_complete::Shell) -> CommandResult {
    clap_complete::generate(shell, &mut CommandLine::command(), "sluice", &mut StandardOutput);
    Ok(CommandFinding::Nothing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }
}
