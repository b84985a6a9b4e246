//! The command line.

use std::io;
use std::path::PathBuf;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

use crate::exit::{CommandFinding, CommandResult};

/// Contracts in, masked facts and tables out: a fleet of Kafka workers in one binary.
#[derive(Debug, Parser)]
#[command(name = "sluice", version, propagate_version = true, arg_required_else_help = true)]
#[command(
    after_help = "Start here:\n  sluice apply -c apply.yaml            topics and schemas, from the contracts\n  \
    sluice run masker -c masker.yaml      a worker; one process each\n  \
    sluice sql --lake lake 'select …'     the warehouse\n\n\
    Exit codes: 0 done, 1 found something, 64 bad configuration, 70 internal, 75 try again."
)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    pub(crate) command: SluiceCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SluiceCommand {
    /// Run a worker until it is told to stop (SIGTERM drains it).
    Run {
        #[command(subcommand)]
        worker: WorkerCommand,
    },
    /// Show what `apply` would create or change, and what it refuses to.
    Plan(PlanCommand),
    /// Create topics, permissions and schemas as the contracts say; safe to repeat, and to go on with after a failure.
    Apply(PlanArgs),
    /// Compare the world with the contracts: drift, and a leak scan over samples of what is open; and count what became
    /// of every record.
    Verify(VerifyArgs),
    /// Look at dead letters, and handle them again once what refused them is mended.
    DeadLetters {
        #[command(subcommand)]
        command: LettersCommand,
    },
    /// Handle a range of a topic again where no receipt covers it. N times is once.
    Replay(ReplayArgs),
    /// Everything around a collector job: check its file, try one id, run, look, let the dead try again.
    Collector(CollectorCommandArgs),
    /// Ask the warehouse: SQL over the lake's Delta tables.
    Sql(SqlArgs),
    /// Look at single records: check, patch, explain.
    Wire(WireArgs),
    /// Write a contract, or try its samples.
    Contract(crate::contract::ContractArgs),
    /// Write the contracts' catalogue: a static site of topics, fields, owners and lineage.
    Catalogue(crate::catalogue::CatalogueArgs),
    /// Start a local Kafka, registry, MariaDB and PostgreSQL, without Docker; Ctrl-C ends them.
    Up(UpArgs),
    /// Print the JSON schema of a worker's configuration, for editors.
    ConfigSchema {
        /// Whose.
        worker: WorkerName,
    },
    /// Print shell completions.
    Completions {
        /// For which shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum WorkerCommand {
    /// Take ids from a database, ask an API for each, page by page, publish every record.
    Collector(CollectorArgs),
    /// Mask raw topics by their contracts' policies.
    Masker(RunArgs),
    /// Turn masked records into atomic facts.
    Normaliser(RunArgs),
    /// Land topics in the archive and the warehouse.
    Sink(RunArgs),
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum WorkerName {
    Collector,
    Masker,
    Normaliser,
    Sink,
    Apply,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The worker's configuration, YAML (`sluice config-schema <worker>` describes it).
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct CollectorArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// End when no id is due any more, instead of waiting for new ones.
    #[arg(long)]
    pub(crate) once: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "A new job, step by step:\n  \
    sluice config-schema collector > job.schema.json            for the editor\n  \
    sluice collector check -c job.yaml --neighbours             the file, database, registry, Kafka\n  \
    sluice collector try -c job.yaml --id N14228 --record tape  one id, nothing is published\n  \
    sluice collector try -c job.yaml --id N14228 --replay tape  the same without the API, for tests\n  \
    sluice collector migrate -c job.yaml --print                the tables it needs beside yours\n  \
    sluice collector run -c job.yaml --once                     until no id is due\n  \
    sluice collector status -c job.yaml; sluice collector dead -c job.yaml")]
pub(crate) struct CollectorCommandArgs {
    #[command(subcommand)]
    pub(crate) command: CollectorCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CollectorCommand {
    /// Check a job's file against its contracts; show what it would ask and where records would go.
    Check {
        #[command(flatten)]
        job: JobArgs,
        /// Also ask database, registry and Kafka whether they have what the job needs. Exit code 1 if one has not.
        #[arg(long)]
        neighbours: bool,
    },
    /// Ask for one id and print requests and decoded records; publishes nothing, needs only the API.
    ///
    /// Exit code 1 if records do not fit the contract, or the API did not let it come to an end.
    Try {
        #[command(flatten)]
        job: JobArgs,
        /// The id.
        #[arg(long)]
        id: String,
        /// Pages per endpoint.
        #[arg(long, default_value_t = 2)]
        pages: u64,
        /// Records per page that are printed.
        #[arg(long, default_value_t = 3)]
        records: usize,
        /// Keep the API's answers in this folder. They are as confidential as the raw topic.
        #[arg(long, value_name = "DIR", conflicts_with = "replay")]
        record: Option<PathBuf>,
        /// Ask nobody: take the answers from this folder.
        #[arg(long, value_name = "DIR")]
        replay: Option<PathBuf>,
    },
    /// The worker itself, as `sluice run collector`.
    Run(CollectorArgs),
    /// How many ids are due, claimed, done and dead, and what was done for them.
    Status {
        #[command(flatten)]
        job: JobArgs,
    },
    /// List the ids that were given up: the page they fail at, and why. Exit code 1 if there are any.
    Dead {
        #[command(flatten)]
        job: JobArgs,
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        most: u32,
    },
    /// Make dead ids due again, from the page they failed at.
    Retry {
        #[command(flatten)]
        job: JobArgs,
        /// This one.
        #[arg(long, required_unless_present = "all", conflicts_with = "all")]
        id: Option<String>,
        /// All of them.
        #[arg(long)]
        all: bool,
        /// From the first page, as a new run: what the failed run published is published again.
        #[arg(long)]
        from_start: bool,
    },
    /// Create the tables `sluice_claims` and `sluice_budgets` beside the table of ids, unless they are there.
    Migrate {
        #[command(flatten)]
        job: JobArgs,
        /// Only print the statements, for a database administrator.
        #[arg(long)]
        print: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct JobArgs {
    /// The job, YAML (`sluice config-schema collector` describes it).
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Print JSON instead of text.
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) output: CommandFormat,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// Kafka, registry and contracts, YAML: `{kafka: {brokers: …}, registry: {url: …}, schemas: schemas}`.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Print JSON instead of text.
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) output: CommandFormat,
    /// Also do what takes away: a shorter retention, permissions that nobody asks for.
    #[arg(long)]
    pub(crate) allow: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The same file as for `plan` and `apply`.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Only what differs between topics, permissions, schemas and the contracts.
    #[arg(long)]
    pub(crate) drift: bool,
    /// Only the leak scan: values of masked leaves, taken from raw topics, in masked topics and tables.
    #[arg(long)]
    pub(crate) leaks: bool,
    /// Folder of the Delta tables, for the leak scan to look at too.
    #[arg(long, value_name = "DIR", env = "SLUICE_LAKE")]
    pub(crate) lake: Option<PathBuf>,
    /// Records of each partition that the leak scan looks at, the newest.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) sample: u32,
    /// From the durable receipts: input = output + dead letters + skips, per group, topic and partition, without gap or
    /// overlap up to where the group stands. Names the ranges where it does not hold and exits 1.
    #[arg(long, conflicts_with_all = ["drift", "leaks"])]
    pub(crate) conservation: bool,
    /// Also count the topics' records one by one and compare.
    #[arg(long, requires = "conservation")]
    pub(crate) deep: bool,
    /// Only this consumer group; may be given several times.
    #[arg(long, value_name = "GROUP", requires = "conservation")]
    pub(crate) group: Vec<String>,
    /// Print JSON instead of text.
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) output: CommandFormat,
}

#[derive(Debug, Args)]
pub(crate) struct PlanCommand {
    #[command(flatten)]
    pub(crate) plan: PlanArgs,
    /// Show the leak proof instead: every way of every tagged or restricted leaf, from the contracts alone; no server is
    /// asked. Exit code 1 if a way has no masking step.
    #[arg(long)]
    pub(crate) proof: bool,
    /// The proof as one page with the graph, which needs nothing else.
    #[arg(long, value_name = "FILE")]
    pub(crate) proof_html: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CommandFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LettersCommand {
    /// Count letters by topic, class, path and worker; exits 1 while any is unresolved.
    Ls(LetterListArgs),
    /// Show what is said of one record.
    Show(LetterShowArgs),
    /// Give unresolved letters to the worker's code again. A dry run unless --yes.
    #[command(
        after_help = "What comes out carries the original record's place, so nothing is there twice; each letter's \
        fate is written in the same transaction, so that a second run, or one after a kill, goes on where the first \
        ended. Run it with the live worker's configuration; the live worker may run meanwhile."
    )]
    Replay(ReplayLettersArgs),
}

/// Which letters.
#[derive(Debug, Args)]
pub(crate) struct LettersChoice {
    /// Only about records of this topic.
    #[arg(long)]
    pub(crate) topic: Option<String>,
    /// Only of this class (framing, unknown-schema, datum, masking, …).
    #[arg(long)]
    pub(crate) class: Option<String>,
    /// Only at this field path.
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
    /// Also the value, in base64; only where the topic is open to analysts.
    #[arg(long)]
    pub(crate) value: bool,
}

/// Workers whose code can be run on single records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReplayWorker {
    Masker,
    Normaliser,
}

#[derive(Debug, Args)]
pub(crate) struct ReplayLettersArgs {
    /// Whose letters.
    #[arg(long, value_enum)]
    pub(crate) worker: ReplayWorker,
    /// The live worker's configuration.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    #[command(flatten)]
    pub(crate) choice: LettersChoice,
    /// Write; otherwise only say what would come of it.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Print JSON instead of text.
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) output: CommandFormat,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Only what no receipt of the worker's group covers is done, up to where the group stands: so repeating it \
    changes nothing, and what `sluice verify --conservation` names as missing is what this brings. To do a span anew \
    after the rules have changed, give the contract a new masked topic and the worker a new group, and replay the span \
    into those."
)]
pub(crate) struct ReplayArgs {
    /// Whose code handles the records.
    #[arg(long, value_enum)]
    pub(crate) worker: ReplayWorker,
    /// The live worker's configuration.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Topic to read.
    #[arg(long)]
    pub(crate) topic: String,
    /// Only this partition.
    #[arg(long)]
    pub(crate) partition: Option<i32>,
    /// First offset; needs --partition.
    #[arg(long, requires = "partition", conflicts_with = "since")]
    pub(crate) from: Option<i64>,
    /// One past the last offset; needs --partition.
    #[arg(long, requires = "partition", conflicts_with = "until")]
    pub(crate) to: Option<i64>,
    /// Records from this time on, RFC 3339: 2026-05-01T00:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Records before this time.
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// Folder of a sink's archive: what the topic no longer has is read from there. For the normaliser only: the
    /// archive keeps no keys, and the masker needs them.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["since", "until"])]
    pub(crate) from_archive: Option<PathBuf>,
    /// Write; otherwise only say what would come of it.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Print JSON instead of text.
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) output: CommandFormat,
}

#[derive(Debug, Args)]
pub(crate) struct SqlArgs {
    /// The statement. Tables are named after their topics: aviation.flight.masked.v1 is aviation_flight_masked_v1. Views
    /// go by the names of their files.
    pub(crate) sql: String,
    /// Folder of the Delta tables.
    #[arg(long, value_name = "DIR", env = "SLUICE_LAKE")]
    pub(crate) lake: PathBuf,
    /// Folder of the contracts, whose views (<domain>/views/<name>.sql) can be asked too.
    #[arg(long, value_name = "DIR", env = "SLUICE_SCHEMAS", default_value = "schemas")]
    pub(crate) schemas: PathBuf,
    /// How to print the answer.
    #[arg(long, value_enum, default_value = "table")]
    pub(crate) output: SqlOutput,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SqlOutput {
    Table,
    Json,
    Csv,
}

#[derive(Debug, Args)]
pub(crate) struct WireArgs {
    #[command(subcommand)]
    pub(crate) command: WireCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum WireCommand {
    /// Read JSON lines `{"schema": …, "datum": base64}` and answer each: valid, or where it is broken.
    Check,
    /// The same lines; answer each with the masked schema and datum.
    Patch {
        /// Policy, JSON: `{"path": {"op": "keep" | "drop" | "null" | …}}`.
        #[arg(long, value_name = "FILE")]
        policy: PathBuf,
        /// Keys for the operations that need them, `name:epoch=FILE` (base64); may be given several times.
        #[arg(long = "key", value_name = "NAME:EPOCH=FILE")]
        keys: Vec<String>,
    },
    /// Print what a policy does to every leaf of a schema.
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
    /// Keep the servers' data here; a temporary folder otherwise.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Kafka nodes.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=3))]
    pub(crate) kafka: u8,
}

pub(crate) fn completions(shell: clap_complete::Shell) -> CommandResult {
    clap_complete::generate(shell, &mut CommandLine::command(), "sluice", &mut io::stdout());
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
