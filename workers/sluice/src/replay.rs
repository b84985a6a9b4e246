//! `sluice replay`: a worker's code handles a range of a topic again where no receipt covers it.

use std::path::Path;

use anyhow::Context as _;
use chrono::DateTime;
use indicatif::ProgressBar;
use sluice_archive::ArchiveReader;
use sluice_core::RecordArchive;
use sluice_core::TopicPartition;
use sluice_runtime::config::ConfigErrors;
use sluice_runtime::descriptor::{OfflineWorker, ReplaySupport};
use sluice_runtime::registry::{BlockingRegistry, SchemaRegistry};
use sluice_runtime::replay::{self, RangeReplaySummary, ReplayConfig, ReplayPlan, ReplayRange};

use crate::apply;
use crate::cli::{CommandFormat, ReplayArgs};
use crate::exit::{CommandFinding, CommandResult};
use crate::workers;

/// Prepares the code of the worker `name` with the live worker's configuration at `file`: the same contracts,
/// keys and group.
///
/// # Errors
/// Fails if the configuration or a contract is wrong.
pub(crate) fn load_offline(name: &str, file: &Path) -> anyhow::Result<(OfflineWorker, ReplaySupport)> {
    // clap takes only names of workers that can replay.
    let support = workers::find(name)
        .and_then(|worker| worker.replay)
        .with_context(|| format!("the worker {name} has no replay"))?;
    Ok((crate::run::command_error((support.load)(file), file)?, support))
}

/// Returns the worker's registry for use on this thread. The runtime must outlive it.
pub(crate) fn open_registry(
    work: &OfflineWorker,
    runtime: &tokio::runtime::Runtime,
) -> anyhow::Result<BlockingRegistry> {
    Ok(BlockingRegistry::new(SchemaRegistry::new(&work.registry)?, runtime.handle().clone()))
}

/// Handles the open ranges of a topic again, and writes the results with `--yes`.
pub(crate) fn replay(args: &ReplayArgs) -> CommandResult {
    // The worker must read the topic, and the archive must have what the worker needs.
    let (work, support) = load_offline(&args.worker, &args.config)?;
    if !work.topics.contains(&args.topic) {
        let hint = format!("the {} reads: {}", work.config.worker, work.topics.join(", "));
        let message = format!("expected a topic that the {} reads", work.config.worker);
        return Err(ConfigErrors::one("--topic", message, Some(hint)).into());
    }
    if let (Some(_), Some(refusal)) = (&args.from_archive, support.archive_refusal) {
        let message = format!("expected a worker that can read from an archive: {refusal}");
        return Err(ConfigErrors::one("--from-archive", message, None).into());
    }

    // The archive, for the offsets that the topic does not have any more.
    let runtime = apply::runtime()?;
    let mut archive = match &args.from_archive {
        Some(folder) => Some(ArchiveReader::open(folder, runtime.handle().clone())?),
        None => None,
    };
    let mut archive = archive.as_mut().map(|archive| archive as &mut dyn RecordArchive);

    // Kafka says here why it does not answer. The calls that follow would report a time-out.
    sluice_kafka::knock(&work.config.kafka)?;

    // The open ranges are shown before the work begins, which can take long.
    let ranges = ranges(args, &work.config)?;
    let todo = replay::todo(&work.config, &ranges, archive.as_deref_mut())?;
    let total: i64 = todo.iter().flat_map(|todo| &todo.open).map(|(from, to)| to - from).sum();
    if args.output == CommandFormat::Text {
        todo.iter().for_each(show);
    }

    // The work. Offsets can be gaps, and then the bar does not reach its end.
    let registry = open_registry(&work, &runtime)?;
    debug_assert!(total >= 0, "an open range ends after its beginning");
    let bar = bar(u64::try_from(total).unwrap_or_default());
    let report = |done: &RangeReplaySummary| bar.set_position(done.records);
    let done = replay::range(&work.config, (work.processor, registry), &ranges, archive, args.yes, report)?;
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
                println!("nothing was written: run it again with --yes to write");
            }
        }
    }
    Ok(CommandFinding::Nothing)
}

/// Prints the offsets of one partition: those with receipts, the open ranges, and those that the archive has.
fn show(todo: &ReplayPlan) {
    // Every line begins with the partition, as `sluice verify` writes it.
    let at = format!("{}[{}]", todo.topic, todo.partition);
    if todo.done > 0 {
        println!("{at}: {} offsets are skipped: they have receipts", todo.done);
    }

    // The ranges that are handled. The last offset is shown, and `to` is one past it.
    for (from, to) in &todo.open {
        println!("{at}: offsets {from}–{} have no receipt", to - 1);
    }
    if let Some((from, to)) = todo.archived {
        println!("{at}: the archive has offsets {from}–{}, the log begins at {}", to - 1, todo.log_start);
    }
    // The range is empty: it is outside of the topic, or behind the group's position.
    if todo.open.is_empty() && todo.done == 0 {
        let position = todo.committed.map_or("none yet".to_owned(), |next| next.to_string());
        println!(
            "{at}: nothing to do; the topic begins at {}, the group's position is {position}",
            todo.log_start
        );
    }
    // Without a position a live worker would begin somewhere else, and leave a hole or do the work twice.
    if let Some(claim) = todo.claim {
        println!(
            "{at}: the group has no position; it gets {claim}, and a worker that starts later reads from there"
        );
    }
}

/// Turns the options, offsets or times, into ranges of partitions.
///
/// # Errors
/// Fails if the partition does not exist, if a time cannot be read, or if Kafka does not answer.
fn ranges(args: &ReplayArgs, config: &ReplayConfig) -> anyhow::Result<Vec<ReplayRange>> {
    // All partitions, or the one that is named.
    let all = sluice_kafka::ends(&config.kafka, &args.topic)?;
    let mut partitions: Vec<TopicPartition> = all.keys().cloned().collect();
    if let Some(wanted) = args.partition {
        partitions.retain(|at| at.partition == wanted);
        if partitions.is_empty() {
            let hint = Some(format!("{} has partitions 0 to {}", args.topic, all.len().saturating_sub(1)));
            return Err(ConfigErrors::one("--partition", "expected a partition of the topic", hint).into());
        }
    }

    // Kafka knows the first offset at or after a time, for each partition.
    let at_time =
        |text: &Option<String>, option: &str| -> anyhow::Result<Option<sluice_kafka::CommitPositions>> {
            let Some(text) = text else { return Ok(None) };
            let time = DateTime::parse_from_rfc3339(text).map_err(|error| {
                let hint = Some("for example 2026-05-01T00:00:00Z".into());
                ConfigErrors::one(option, format!("expected a time by RFC 3339: {error}"), hint)
            })?;
            Ok(Some(sluice_kafka::at_time(&config.kafka, &partitions, time.timestamp_millis())?))
        };
    let since = at_time(&args.since, "--since").context("reading the span")?;
    let until = at_time(&args.until, "--until").context("reading the span")?;

    // A partition without a record at or after the time begins, or ends, at its end.
    let ranges = partitions.iter().map(|at| {
        let end = all.get(at).map_or(0, |next| next.raw());
        let offset = |found: &Option<sluice_kafka::CommitPositions>| {
            found.as_ref().map(|found| found.get(at).map_or(end, |next| next.raw()))
        };
        ReplayRange { at: at.clone(), from: args.from.or(offset(&since)), to: args.to.or(offset(&until)) }
    });
    Ok(ranges.collect())
}

/// Returns a progress bar. It is hidden if standard error is not a terminal.
pub(crate) fn bar(length: u64) -> ProgressBar {
    use std::io::IsTerminal as _;
    if std::io::stderr().is_terminal() { ProgressBar::new(length) } else { ProgressBar::hidden() }
}
