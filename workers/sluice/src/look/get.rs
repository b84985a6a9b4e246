//! `sluice get`: the newest record of a key, or all of them.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};

use chrono::Utc;
use clap::Args;
use sluice_core::RecordRef;
use sluice_kafka::{PartitionWindows, partition_of};

use super::record::RecordDecoder;
use super::span::LookTime;
use super::tail::since;
use super::window::{BackwardWindows, by_partition, length};
use super::{ACCESS_HELP, RecordArgs, TopicLook};
use crate::exit::{CommandFinding, CommandResult};
use crate::output;
use crate::replay::bar;

/// Offsets in which the newest record is looked for first.
const FIRST_WINDOW: u32 = 1_000;

#[derive(Debug, Args)]
#[command(after_help = format!(
    "The key's partition is found as Java's and our producers do it (murmur2). If it has no such record, all other \
    partitions are read. Exit code 1 if there is none.\n\n{ACCESS_HELP}"
))]
pub(crate) struct GetArgs {
    /// The topic; `sluice topics` lists them.
    topic: String,
    /// The key as it is in the topic: the key of a masked topic is the pseudonym. JSON for a key with a schema of its
    /// own.
    key: String,
    #[command(flatten)]
    record: RecordArgs,
    /// All records of the key, the oldest first, instead of the newest one.
    #[arg(long)]
    all: bool,
    /// Records from this time on: `start`, a time ago (90s, 15m, 2h, 7d, 4w), a time (2026-11-27T10:00:00Z) or a date.
    #[arg(long, value_name = "TIME", default_value = "start")]
    from: LookTime,
    /// Records before this time.
    #[arg(long, value_name = "TIME")]
    to: Option<LookTime>,
}

/// Shows the records of a key. Exit code 1 if there is none.
pub(crate) fn get(args: &GetArgs) -> CommandResult {
    let runtime = crate::apply::runtime()?;
    let look = TopicLook::open(&args.record.config)?;
    let topic = look.readable(&args.topic, args.record.role.as_deref())?;

    // The span of time, as offsets and as times: Kafka finds the first record of a time, and older ones can follow it.
    // Nothing is before the start.
    let now = Utc::now();
    let (from_ms, to_ms) = (args.from.millis(now), args.to.map(|to| to.millis(now).unwrap_or(i64::MIN)));
    let partitions = look.partitions(&topic)?;
    let logs = by_partition(look.scanner.logs(&partitions)?);
    let mut logs = since(&look.scanner, &partitions, logs, from_ms)?;

    // The key's own partition comes first. A key with a schema of its own has bytes that only its producer knows.
    let own = (!topic.has_key_schema())
        .then(|| i32::try_from(partitions.len()).ok())
        .flatten()
        .map(|count| partition_of(args.key.as_bytes(), count));
    let first: PartitionWindows = own.and_then(|own| logs.remove_entry(&own)).into_iter().collect();

    let decoder = RecordDecoder::new(look.registry(&runtime)?, topic.has_key_schema());
    let mut search =
        KeySearch { args, span: from_ms.unwrap_or(i64::MIN)..to_ms.unwrap_or(i64::MAX), decoder, shown: 0 };
    search.run(&look, topic.name, first)?;
    if search.shown == 0 {
        match own {
            Some(own) => eprintln!(
                "partition {own}, which murmur2 gives, has no such record: reading the other {}",
                logs.len()
            ),
            None => eprintln!("the key has a schema of its own: reading all {} partitions", logs.len()),
        }
        search.run(&look, topic.name, logs)?;
    }

    if search.shown == 0 {
        eprintln!(
            "{} has no record with this key{}",
            topic.name,
            if args.to.is_some() || from_ms.is_some() { " in this span of time" } else { "" }
        );
        return Ok(CommandFinding::Something);
    }
    Ok(CommandFinding::Nothing)
}

/// A key that is being looked for.
struct KeySearch<'a> {
    args: &'a GetArgs,
    /// Milliseconds since the epoch.
    span: Range<i64>,
    decoder: RecordDecoder,
    /// Records shown so far.
    shown: u64,
}

impl KeySearch<'_> {
    /// Shows the records of the key in these windows: all of them, or the newest one.
    fn run(&mut self, look: &TopicLook, topic: &str, windows: PartitionWindows) -> anyhow::Result<()> {
        let bar = bar(length(&windows));
        if self.args.all {
            let _: ControlFlow<()> = look.scanner.read(topic, &windows, |record| {
                bar.inc(1);
                match self.take(record)? {
                    Some(line) => anyhow::Ok(bar.suspend(|| self.print(&line))),
                    None => Ok(ControlFlow::Continue(())),
                }
            })?;
        } else {
            // From the end towards the beginning: the first window with a record of the key has the newest one.
            // Within a partition the offset decides, among several partitions the time.
            let mut newest: BTreeMap<i32, (Option<i64>, String)> = BTreeMap::new();
            for window in BackwardWindows::new(windows, FIRST_WINDOW) {
                let _: ControlFlow<()> = look.scanner.read(topic, &window, |record| {
                    bar.inc(1);
                    if let Some(line) = self.take(record)? {
                        newest.insert(record.partition, (record.timestamp_ms, line));
                    }
                    anyhow::Ok(ControlFlow::Continue(()))
                })?;
                if !newest.is_empty() {
                    break;
                }
            }
            if let Some((_, line)) = newest.into_values().max_by_key(|(time, _)| *time) {
                let _: ControlFlow<()> = bar.suspend(|| self.print(&line));
            }
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// Returns a record as it is shown, or `None` if it has another key or another time.
    fn take(&mut self, record: &RecordRef<'_>) -> anyhow::Result<Option<String>> {
        let in_span = record.timestamp_ms.is_none_or(|time| self.span.contains(&time));
        if !in_span || !self.decoder.has_key(record, &self.args.key)? {
            return Ok(None);
        }
        Ok(self.decoder.show(record, None, self.args.record.output)?)
    }

    /// Prints a line. Breaks if the reader of the output has gone.
    fn print(&mut self, line: &str) -> ControlFlow<()> {
        self.shown += 1;
        println!("{line}");
        if output::is_closed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
