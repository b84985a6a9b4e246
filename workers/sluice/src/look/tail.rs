//! `sluice tail`: the newest records of a topic, or those since a time, decoded.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use chrono::Utc;
use clap::Args;
use indicatif::ProgressBar;
use sluice_core::{RecordRef, TopicPartition};
use sluice_kafka::{KafkaScanner, PartitionWindows};

use super::access::ReadableTopic;
use super::filter::RecordFilter;
use super::record::RecordDecoder;
use super::span::LookTime;
use super::window::{BackwardWindows, by_partition, length};
use super::{ACCESS_HELP, RecordArgs, TopicLook};
use crate::exit::{CommandFinding, CommandResult};
use crate::output;
use crate::replay::bar;

/// Records that are shown without --from and -n.
const USUAL: u32 = 10;

#[derive(Debug, Args)]
#[command(after_help = format!(
    "--where compares fields, named as in the contract (a.b, items[].sku, tags{{}}, and _kafka_partition, _kafka_offset, \
    _kafka_timestamp, _kafka_schema_id), by = != < <= > >=, contains, is null, is not null, joined by `and`. A \
    comparison of a list holds if it holds for one item.\n\n{ACCESS_HELP}"
))]
pub(crate) struct TailArgs {
    /// The topic; `sluice topics` lists them.
    topic: String,
    #[command(flatten)]
    record: RecordArgs,
    /// Records from this time on: `start`, a time ago (90s, 15m, 2h, 7d, 4w), a time (2026-11-27T10:00:00Z) or a date.
    /// Without it the newest records are shown.
    #[arg(long, value_name = "TIME")]
    from: Option<LookTime>,
    /// Only records with this key, as it is in the topic: the key of a masked topic is the pseudonym.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Only records whose fields compare so, for example "delay > 15 and carrier = 'UA'". A record that cannot be
    /// decoded is shown too.
    #[arg(long = "where", value_name = "COMPARISONS")]
    filter: Option<String>,
    /// Wait for further records, until Ctrl-C.
    #[arg(short, long)]
    follow: bool,
    // The newest records are held in memory until all are found, which the upper limit bounds.
    /// Number of records: the newest ones (default 10), or with --from the first ones (default all).
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    count: Option<u32>,
}

/// Shows the records of a topic.
pub(crate) fn tail(args: &TailArgs) -> CommandResult {
    let runtime = crate::apply::runtime()?;
    let look = TopicLook::open(&args.record.config)?;
    let topic = look.readable(&args.topic, args.record.role.as_deref())?;
    let filter = args.filter.as_deref();
    let filter = filter.map(|text| RecordFilter::parse(text, &topic.leaves())).transpose()?;
    let decoder = RecordDecoder::new(look.registry(&runtime)?, topic.has_key_schema());

    let partitions = look.partitions(&topic)?;
    let logs = look.scanner.logs(&partitions)?;
    let logs = by_partition(logs);
    let ends: BTreeMap<i32, i64> = logs.iter().map(|(partition, log)| (*partition, log.end)).collect();
    let mut tail = TopicTail {
        args,
        topic: topic.name,
        scanner: &look.scanner,
        decoder,
        filter,
        from_ms: None,
        shown: 0,
        bar: ProgressBar::hidden(),
    };

    // The present records, then those that are still to come.
    let flow = match args.from {
        None => tail.show_newest(logs, args.count.unwrap_or(USUAL))?,
        Some(from) => {
            tail.from_ms = from.millis(Utc::now());
            let windows = since(&look.scanner, &partitions, logs, tail.from_ms)?;
            tail.show_forwards(&windows)?
        }
    };
    if args.follow && flow.is_continue() {
        tail.follow(&ends)?;
    }
    if tail.shown == 0 && flow.is_continue() {
        eprintln!("no record of {} was found", topic.name);
    }
    Ok(CommandFinding::Nothing)
}

/// Returns the part of each log from a time on.
pub(super) fn since(
    scanner: &KafkaScanner,
    partitions: &[TopicPartition],
    logs: PartitionWindows,
    from_ms: Option<i64>,
) -> anyhow::Result<PartitionWindows> {
    let Some(from_ms) = from_ms else { return Ok(logs) };
    let first = scanner.at_time(partitions, from_ms)?;
    let first: BTreeMap<i32, i64> = first.into_iter().map(|(at, offset)| (at.partition, offset)).collect();
    // A partition without a record since then has an empty window.
    let cut = |(partition, log): (i32, std::ops::Range<i64>)| {
        let start = first.get(&partition).copied().unwrap_or(log.end);
        (partition, start.max(log.start)..log.end)
    };
    Ok(logs.into_iter().map(cut).collect())
}

/// A tail that is being shown.
struct TopicTail<'t> {
    args: &'t TailArgs,
    topic: &'t str,
    scanner: &'t KafkaScanner,
    decoder: RecordDecoder,
    filter: Option<RecordFilter>,
    /// Milliseconds since the epoch. Kafka finds the first such record; older ones can follow it.
    from_ms: Option<i64>,
    /// Records shown so far.
    shown: u32,
    bar: ProgressBar,
}

impl TopicTail<'_> {
    /// Returns a record as it is shown, or `None` if an option leaves it out.
    fn take(&mut self, record: &RecordRef<'_>) -> anyhow::Result<Option<String>> {
        if self.from_ms.is_some_and(|from| record.timestamp_ms.is_some_and(|time| time < from)) {
            return Ok(None);
        }
        if let Some(key) = &self.args.key
            && !self.decoder.has_key(record, key)?
        {
            return Ok(None);
        }
        Ok(self.decoder.show(record, self.filter.as_ref(), self.args.record.output)?)
    }

    /// Prints a line. Breaks if the reader of the output has gone.
    fn print(&mut self, line: &str) -> ControlFlow<()> {
        self.bar.suspend(|| println!("{line}"));
        self.shown += 1;
        if output::is_closed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Shows the newest `count` records that the options take, in the order of their times.
    fn show_newest(&mut self, logs: PartitionWindows, count: u32) -> anyhow::Result<ControlFlow<()>> {
        let scanner = self.scanner;
        self.bar = bar(length(&logs));
        let mut newest = BTreeMap::new();

        // Older windows are read until there are enough records.
        for window in BackwardWindows::new(logs, count.saturating_mul(2).max(64)) {
            let _: ControlFlow<()> = scanner.read(self.topic, &window, |record| {
                self.bar.inc(1);
                if let Some(line) = self.take(record)? {
                    newest.insert((record.timestamp_ms, record.partition, record.offset), line);
                    if newest.len() > count as usize {
                        newest.pop_first();
                    }
                }
                anyhow::Ok(ControlFlow::Continue(()))
            })?;
            if newest.len() >= count as usize {
                break;
            }
        }

        self.bar.finish_and_clear();
        for line in newest.into_values() {
            if self.print(&line).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Shows the records of these windows as they come.
    fn show_forwards(&mut self, windows: &PartitionWindows) -> anyhow::Result<ControlFlow<()>> {
        let scanner = self.scanner;
        self.bar = bar(length(windows));
        let flow = scanner.read(self.topic, windows, |record| {
            self.bar.inc(1);
            self.show_next(record)
        })?;
        self.bar.finish_and_clear();
        Ok(flow)
    }

    /// Shows records from these offsets on, until the reader has gone or the last of `-n` is shown.
    fn follow(&mut self, from: &BTreeMap<i32, i64>) -> anyhow::Result<()> {
        self.bar = ProgressBar::hidden();
        let scanner = self.scanner;
        scanner.follow(self.topic, from, |record| match record {
            Some(record) => self.show_next(record),
            None => Ok(ControlFlow::Continue(())),
        })
    }

    /// Shows one record. Breaks behind the last one of `--from` and `-n`.
    fn show_next(&mut self, record: &RecordRef<'_>) -> anyhow::Result<ControlFlow<()>> {
        let Some(line) = self.take(record)? else { return Ok(ControlFlow::Continue(())) };
        let flow = self.print(&line);
        let last = self.args.from.is_some() && self.args.count.is_some_and(|count| self.shown >= count);
        Ok(if last { ControlFlow::Break(()) } else { flow })
    }
}

impl TopicLook {
    /// Returns the partitions of a topic.
    ///
    /// # Errors
    /// Fails if Kafka does not answer, and if it does not have the topic or does not show it to us.
    pub(super) fn partitions(&self, topic: &ReadableTopic<'_>) -> anyhow::Result<Vec<TopicPartition>> {
        let found = self.scanner.partitions(&[topic.name.to_owned()])?.remove(topic.name);
        found.ok_or_else(|| {
            let why =
                "Kafka does not have the topic, or does not show it to this user: `sluice apply` creates it";
            sluice_core::Fault::user(format!("looking at {}", topic.name), why).into()
        })
    }
}
