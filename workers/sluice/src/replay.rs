//! `sluice replay`: a range of a topic handled again by a worker's code, where no receipt covers it.

use std::path::Path;

use anyhow::Context as _;
use chrono::DateTime;
use indicatif::ProgressBar;
use sluice_archive::ArchiveReader;
use sluice_core::RecordArchive;
use sluice_core::{Fault, Processor, TopicPartition};
use sluice_masker::MaskerProcessor;
use sluice_normaliser::NormaliserProcessor;
use sluice_runtime::config::{self, ConfigErrors, RegistrySection};
use sluice_runtime::registry::{BlockingRegistry, SchemaRegistry};
use sluice_runtime::replay::{self, RangeReplaySummary, ReplayConfig, ReplayPlan, ReplayRange};

use crate::apply;
use crate::cli::{CommandFormat, ReplayArgs, ReplayWorker};
use crate::exit::{CommandFinding, CommandResult};

/// A worker's code and settings, without its lanes.
pub(crate) struct OfflineWorker {
    /// Its settings.
    pub(crate) config: ReplayConfig,
    /// Its transform.
    pub(crate) processor: Box<dyn Processor>,
    /// The topics it reads.
    pub(crate) topics: Vec<String>,
    registry: RegistrySection,
}

impl OfflineWorker {
    /// Reads the live worker's configuration: the same contracts, keys and group.
    pub(crate) fn load(worker: ReplayWorker, file: &Path) -> anyhow::Result<Self> {
        Ok(match worker {
            ReplayWorker::Masker => {
                let config = sluice_masker::MaskerConfig::check(config::load(file)?)?;
                let masker = MaskerProcessor::new(&config.folder.contracts, &config.keys)
                    .map_err(|error| Fault::user("preparing the masks", error))?;
                let raw = config.raw;
                Self {
                    topics: masker.topics(),
                    processor: Box::new(masker),
                    registry: raw.registry,
                    config: ReplayConfig {
                        worker: "masker",
                        kafka: raw.kafka,
                        group: raw.group,
                        instance: config.instance,
                        memory: raw.memory.bytes(),
                        limits: raw.limits.dead_letters.into(),
                    },
                }
            }
            ReplayWorker::Normaliser => {
                let config = sluice_normaliser::NormaliserConfig::check(config::load(file)?)?;
                let normaliser = NormaliserProcessor::new(&config.folder.contracts)
                    .map_err(|error| Fault::user("preparing the facts", error))?;
                let raw = config.raw;
                Self {
                    topics: normaliser.topics(),
                    processor: Box::new(normaliser),
                    registry: raw.registry,
                    config: ReplayConfig {
                        worker: "normaliser",
                        kafka: raw.kafka,
                        group: raw.group,
                        instance: config.instance,
                        memory: raw.memory.bytes(),
                        limits: raw.limits.dead_letters.into(),
                    },
                }
            }
        })
    }

    /// The registry, for use on this thread. The runtime must outlive it.
    pub(crate) fn registry(&self, runtime: &tokio::runtime::Runtime) -> anyhow::Result<BlockingRegistry> {
        Ok(BlockingRegistry::new(SchemaRegistry::new(&self.registry)?, runtime.handle().clone()))
    }
}

pub(crate) fn replay(args: &ReplayArgs) -> CommandResult {
    let work = OfflineWorker::load(args.worker, &args.config)?;
    if !work.topics.contains(&args.topic) {
        let hint = format!("it reads: {}", work.topics.join(", "));
        return Err(ConfigErrors::one(
            "--topic",
            format!("{} does not read it", work.config.worker),
            Some(hint),
        )
        .into());
    }
    if args.from_archive.is_some() && matches!(args.worker, ReplayWorker::Masker) {
        let hint = Some("what the masker reads has to be in its topic; mind the retention".to_owned());
        let why = "the archive keeps no keys, and masked records would lose theirs";
        return Err(ConfigErrors::one("--from-archive", why, hint).into());
    }
    let runtime = apply::runtime()?;
    let mut archive = match &args.from_archive {
        Some(folder) => Some(ArchiveReader::open(folder, runtime.handle().clone())?),
        None => None,
    };
    let mut archive = archive.as_mut().map(|archive| archive as &mut dyn RecordArchive);
    let ranges = ranges(args, &work.config)?;
    let todo = replay::todo(&work.config, &ranges, archive.as_deref_mut())?;
    let total: i64 = todo.iter().flat_map(|todo| &todo.open).map(|(from, to)| to - from).sum();
    if args.output == CommandFormat::Text {
        todo.iter().for_each(show);
    }
    let registry = work.registry(&runtime)?;
    let bar = bar(u64::try_from(total).unwrap_or_default());
    let told = |done: &RangeReplaySummary| bar.set_position(done.records);
    let done = replay::range(&work.config, (work.processor, registry), &ranges, archive, args.yes, told)?;
    bar.finish_and_clear();
    match args.output {
        CommandFormat::Json => {
            println!("{}", serde_json::json!({"written": args.yes, "todo": todo, "done": done}));
        }
        CommandFormat::Text => {
            let RangeReplaySummary { records, written, dead_letters, skipped } = done;
            let would = if args.yes { "" } else { "would be: " };
            println!(
                "{would}{records} records = {written} written + {dead_letters} dead letters + {skipped} skipped"
            );
            if !args.yes && total > 0 {
                println!("nothing was written: --yes does it");
            }
        }
    }
    Ok(CommandFinding::Nothing)
}

fn show(todo: &ReplayPlan) {
    let at = format!("{}[{}]", todo.topic, todo.partition);
    if todo.done > 0 {
        println!("{at}: {} offsets have their receipts already", todo.done);
    }
    for (from, to) in &todo.open {
        println!("{at}: offsets {from}–{} have none", to - 1);
    }
    if let Some((from, to)) = todo.archived {
        println!("{at}: the archive has offsets {from}–{}, the log begins at {}", to - 1, todo.log_start);
    }
    if todo.open.is_empty() && todo.done == 0 {
        let stands = todo.committed.map_or("nowhere yet".to_owned(), |next| next.to_string());
        println!("{at}: nothing to do; the log begins at {}, the group stands at {stands}", todo.log_start);
    }
    if let Some(claim) = todo.claim {
        println!(
            "{at}: the group has no position; it is given {claim}, where a worker started later goes on"
        );
    }
}

/// From offsets or times to ranges of partitions.
fn ranges(args: &ReplayArgs, config: &ReplayConfig) -> anyhow::Result<Vec<ReplayRange>> {
    let all = sluice_kafka::ends(&config.kafka, &args.topic)?;
    let mut partitions: Vec<TopicPartition> = all.keys().cloned().collect();
    if let Some(wanted) = args.partition {
        partitions.retain(|at| at.partition == wanted);
        if partitions.is_empty() {
            let hint = Some(format!("{} has partitions 0 to {}", args.topic, all.len().saturating_sub(1)));
            return Err(ConfigErrors::one("--partition", "no such partition", hint).into());
        }
    }
    let at_time =
        |text: &Option<String>, option: &str| -> anyhow::Result<Option<sluice_kafka::CommitPositions>> {
            let Some(text) = text else { return Ok(None) };
            let time = DateTime::parse_from_rfc3339(text).map_err(|error| {
                ConfigErrors::one(option, error.to_string(), Some("such as 2026-05-01T00:00:00Z".into()))
            })?;
            Ok(Some(sluice_kafka::at_time(&config.kafka, &partitions, time.timestamp_millis())?))
        };
    let since = at_time(&args.since, "--since").context("reading the span")?;
    let until = at_time(&args.until, "--until").context("reading the span")?;
    let ranges = partitions.iter().map(|at| {
        let end = all.get(at).map_or(0, |next| next.raw());
        // No record at or after that time: the span begins, or ends, at the end.
        let place = |found: &Option<sluice_kafka::CommitPositions>| {
            found.as_ref().map(|found| found.get(at).map_or(end, |next| next.raw()))
        };
        ReplayRange { at: at.clone(), from: args.from.or(place(&since)), to: args.to.or(place(&until)) }
    });
    Ok(ranges.collect())
}

/// A bar on a terminal.
pub(crate) fn bar(length: u64) -> ProgressBar {
    use std::io::IsTerminal as _;
    if std::io::stderr().is_terminal() { ProgressBar::new(length) } else { ProgressBar::hidden() }
}
