//! `sluice contract`: a first contract, and the samples of those there are.

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

/// What a contract may say, for people at a terminal.
const HELP: &str = "\
A contract is a folder schemas/<domain>/<topic>/ with
  value.avsc            the Avro schema; \"confluent:tags\" on fields that say something of people
  contract.odcs.yaml    Open Data Contract Standard 3.1
  samples/              records as JSON, and what they must be masked to (`sluice contract test --help`)

contract.odcs.yaml, besides what the standard asks for:
  domain, id, version, status, team        what it is called and who answers for it
  schema[0].physicalName                   the raw topic
  slaProperties: retention                 {property: retention, value: 30, unit: d}
  roles[].customProperties: view           raw or masked
  customProperties:
    maskedTopic      the masked topic
    recordKey        the leaf whose text is the Kafka key: kept or hmac, never null
    subjectKey       the leaf that says whose data it is
    compatibility    BACKWARD, FORWARD, FULL, each also _TRANSITIVE, or NONE
    topic            {partitions: 4, cleanup: delete, config: {...}}
    headers          {allow: [traceparent]}; every other header stays behind
    warehouse        {mode: append} or {mode: upsert, key: [...]}; cluster, partition
    facts            {topic, entityType, entity: [...], time, attributes: [...]}

Each leaf has a property with classification (public, internal, confidential, restricted), the same tags as the
schema, and a custom property `masking`:
  {op: keep}                                              as it is; refused for what is tagged or restricted
  {op: drop}, {op: \"null\"}                                gone; null
  {op: redact, with: REDACTED}                            a constant
  {op: partial, keepFirst: 4, keepLast: 0, length: 8}     the ends, always at that length
  {op: hmac, key: pseudonym, domain: account}             a pseudonym; the same in every topic of the domain
  {op: generalise, date: 30m}                             down to s m h d w mo q y
  {op: generalise, number: 50}, {…, number: [18, 65]}     down to a multiple; a bucket
  {op: generalise, geo: outward}, {…, geo: grid, degrees: 0.1}";

#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub(crate) struct ContractArgs {
    #[command(subcommand)]
    command: ContractCommand,
}

#[derive(Debug, Subcommand)]
enum ContractCommand {
    /// Draft a contract from a subject of the registry or from samples; refused by `plan` until every leaf is decided.
    New(ContractNewArgs),
    /// Mask the samples of the contracts, without any server, and compare with what must come out.
    Test(ContractTestArgs),
}

/// Either a subject or samples.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("source").required(true).args(["subject", "samples"])))]
#[command(after_help = "  sluice contract new --topic club.member.v1 --samples members.jsonl --key id\n  \
    sluice contract new --topic club.member.v1 --subject club.member.v1-value -c apply.yaml")]
struct ContractNewArgs {
    /// The raw topic, <domain>.<name>.v1.
    #[arg(long)]
    topic: String,
    /// A file of records, one JSON object a line (`-`: standard input). No value of them is written anywhere.
    #[arg(long, value_name = "FILE")]
    samples: Option<PathBuf>,
    /// A subject of the registry; its newest schema is taken.
    #[arg(long, requires = "config")]
    subject: Option<String>,
    /// Where the registry is: the configuration of `plan`.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Field whose text is the Kafka key.
    #[arg(long, value_name = "FIELD")]
    key: Option<String>,
    /// Who answers for it.
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
    <name>.masked.json    what must come out of it\n  \
    <name>.refused.json   or {\"path\": \"postcode\"}: the masking must refuse it there\n\n\
    Pseudonyms are made with keys for samples alone, the same on every machine.")]
struct ContractTestArgs {
    /// Only these contracts, by id; all if none is named.
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Folder of the contracts.
    #[arg(long, value_name = "DIR", default_value = "schemas")]
    schemas: PathBuf,
    /// Write what comes out where nothing is expected yet; look at it before you keep it.
    #[arg(long)]
    accept: bool,
    /// How to print the results.
    #[arg(long, value_enum, default_value = "text")]
    output: CommandFormat,
}

pub(crate) fn contract(args: &ContractArgs) -> CommandResult {
    match &args.command {
        ContractCommand::New(args) => new::new(args),
        ContractCommand::Test(args) => test::test(args),
    }
}

/// Reads every contract under `path`, and every view over their tables.
///
/// # Errors
/// Unreadable files, and all findings of all contracts and views.
pub(crate) fn load_with_views(path: &Path) -> Result<(ContractSet, SqlViewSet), ConfigErrors> {
    let folder = contracts::open_with_view_files(path)?;
    let views = SqlViewSet::parse(&folder.files, &folder.contracts)
        .map_err(|findings| contracts::errors(&findings))?;
    Ok((folder.contracts, views))
}
