//! `sluice contract`: drafts a contract, and tries the samples of existing ones.

mod new;
mod test;

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args, Subcommand};
use sluice_contract::ContractSet;
use sluice_govern::SqlViewSet;
use sluice_runtime::config::ConfigErrors;
use sluice_runtime::contracts;

use crate::cli::CommandFormat;
use crate::exit::CommandResult;

/// The settings of a contract, as the terminal shows them.
// The reader of contract files is in `sluice_contract`: a setting that it gains is added here by hand.
const HELP: &str = "\
A contract is a folder schemas/<domain>/<topic>/ with
  value.avsc            the Avro schema; \"confluent:tags\" on fields with personal data
  contract.odcs.yaml    Open Data Contract Standard 3.1
  samples/              records as JSON, and the expected masked records (`sluice contract test --help`)

contract.odcs.yaml, besides the settings that the standard requires:
  domain, id, version, team                its name and its owner
  schema[0].physicalName                   the raw topic
  status                                   draft: checked, but neither applied nor served; else active
  slaProperties: retention                 {property: retention, value: 30, unit: d}; value: unlimited has no end
  roles[].customProperties: view           raw or masked
  customProperties:
    maskedTopic      the masked topic
    recordKey        the leaf whose text is the Kafka key: keep or hmac, never null
    subjectKey       the leaf that identifies the person or thing that the record is about
    compatibility    BACKWARD, FORWARD, FULL, each also _TRANSITIVE, or NONE
    topic            {partitions: 4, cleanup: delete, config: {...}}
    headers          {allow: [traceparent]}; every other header is removed
    warehouse        {mode: append} or {mode: upsert, key: [...]}; cluster, partition
    facts            {topic, entityType, entity: [...], time, attributes: [...]}

Each leaf has a property with classification (public, internal, confidential, restricted), the same tags as the
schema, and a custom property `masking`:
  {op: keep}                                              unchanged; refused for a tagged or restricted leaf
  {op: drop}, {op: \"null\"}                                the field is removed; the value is null
  {op: redact, with: REDACTED}                            a constant
  {op: partial, keepFirst: 4, keepLast: 0, length: 8}     first and last characters, always at this length
  {op: hmac, key: pseudonym, domain: account}             a pseudonym, the same in every topic of the domain
  {op: generalise, date: 30m}                             rounded down; units: s m h d w mo q y
  {op: generalise, number: 50}, {…, number: [18, 65]}     rounded down to a multiple; a bucket
  {op: generalise, geo: outward}, {…, geo: grid, degrees: 0.1}";

#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub(crate) struct ContractArgs {
    #[command(subcommand)]
    command: ContractCommand,
}

#[derive(Debug, Subcommand)]
enum ContractCommand {
    /// Draft a contract from a subject of the registry or from samples. `plan` refuses it until every leaf
    /// has a masking.
    New(ContractNewArgs),
    /// Mask the samples of the contracts, without any server, and compare the results with the expected ones.
    Test(ContractTestArgs),
}

// The group makes clap ask for exactly one source.
/// The options of `new`: a subject or samples.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("source").required(true).args(["subject", "samples"])))]
struct ContractNewArgs {
    /// The raw topic, <domain>.<name>.v1.
    #[arg(long)]
    topic: String,
    /// A file of JSON records: one a line, each on several lines, or in an array (`-`: standard input). No
    /// value of a record is written anywhere.
    #[arg(long, value_name = "FILE")]
    samples: Option<PathBuf>,
    /// A subject of the registry. Its newest schema is taken.
    #[arg(long, requires = "config")]
    subject: Option<String>,
    /// The configuration of `plan`, which has the registry's address.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Field whose text is the Kafka key.
    #[arg(long, value_name = "FIELD")]
    key: Option<String>,
    /// Owner of the contract.
    #[arg(long, value_name = "USER")]
    owner: Option<String>,
    /// Folder of the contracts.
    #[arg(long, value_name = "DIR", default_value = "schemas")]
    schemas: PathBuf,
    /// Print the files instead of writing them.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "In samples/ beside a contract:\n  \
    <name>.json           a record, made up: never a real one\n  \
    <name>.masked.json    the expected masked record\n  \
    <name>.refused.json   or {\"path\": \"postcode\"}: the masking must refuse the record at this path\n\n\
    Pseudonyms are made with keys for samples alone, which are the same on every machine.")]
struct ContractTestArgs {
    // Positional: `sluice contract test club.member.v1`.
    /// Only these contracts, by id. Without an id all contracts.
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Folder of the contracts.
    #[arg(long, value_name = "DIR", default_value = "schemas")]
    schemas: PathBuf,
    /// Write the result as the expected one where there is none yet. Look at it before you keep it.
    #[arg(long)]
    accept: bool,
    /// The form of the results.
    #[arg(long, value_enum, default_value = "text")]
    output: CommandFormat,
}

/// Runs one of the two commands.
pub(crate) fn contract(args: &ContractArgs) -> CommandResult {
    match &args.command {
        ContractCommand::New(args) => new::new(args),
        ContractCommand::Test(args) => test::test(args),
    }
}

/// Reads every contract under `path`, and every view over their tables.
///
/// # Errors
/// Fails with the files that cannot be read, and with all findings of all contracts and views.
pub(crate) fn load_with_views(path: &Path) -> Result<(ContractSet, SqlViewSet), ConfigErrors> {
    // Views are parsed against the contracts: a view may only read columns that a contract has.
    let folder = contracts::open_with_view_files(path)?;
    let views = SqlViewSet::parse(&folder.files, &folder.contracts)
        .map_err(|findings| contracts::errors(&findings))?;
    Ok((folder.contracts, views))
}
