//! `sluice topics`: the topics of the contracts, as Kafka has them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::thread;

use chrono::DateTime;
use clap::Args;
use serde::Serialize;
use sluice_core::{Fault, TopicPartition};
use sluice_govern::plan::{RETENTION, TopicPurpose};
use sluice_kafka::{KafkaScanner, KafkaSection, PartitionWindows};
use sluice_runtime::config::ConfigErrors;

use super::TopicLook;
use super::datum::instant;
use super::window::{BackwardWindows, by_partition, length};
use crate::cli::CommandFormat;
use crate::exit::{CommandFinding, CommandResult};
use crate::table::TextTable;

/// Offsets of each partition in which the newest record is looked for first. Markers of transactions lie among them.
const FIRST_WINDOW: u32 = 8;
/// Windows in which it is looked for. They hold some 700,000 offsets; behind as many aborted records it stays unknown.
const WINDOWS: usize = 9;
/// Topics that are asked for their newest record at a time.
const AT_ONCE: usize = 8;

#[derive(Debug, Args)]
pub(crate) struct TopicsArgs {
    /// Kafka, registry and contracts, YAML: the file that `apply` takes.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Only the topics of this contract, by its id.
    #[arg(long, value_name = "ID")]
    contract: Option<String>,
    /// Print JSON instead of a table.
    #[arg(long, value_enum, default_value = "text")]
    output: CommandFormat,
}

/// A topic as it is listed. What Kafka does not have, or does not show us, is null.
#[derive(Debug, Serialize)]
struct TopicRow {
    topic: String,
    contract: String,
    kind: &'static str,
    partitions: Option<usize>,
    /// Offsets between beginning and end: the records, and the markers of transactions.
    records_about: Option<u64>,
    /// As the contract has it; -1 for ever.
    retention_ms: i64,
    newest_record: Option<String>,
}

/// Lists the topics.
pub(crate) fn topics(args: &TopicsArgs) -> CommandResult {
    let look = TopicLook::open(&args.config)?;
    if let Some(wanted) = &args.contract
        && !look.contracts.iter().any(|contract| contract.id == *wanted)
    {
        let ids = look.contracts.iter().map(|contract| contract.id.as_str());
        let hint = sluice_contract::finding::did_you_mean(wanted, ids);
        let message = format!("there is no contract {wanted}");
        return Err(ConfigErrors::one("--contract", message, hint).into());
    }

    // Their partitions and ends, by a few calls for all of them.
    let shown = |contract: &str| args.contract.as_deref().is_none_or(|wanted| wanted == contract);
    let wanted: Vec<_> = look
        .desired
        .topics
        .iter()
        .filter(|topic| topic.purpose != TopicPurpose::Receipts && shown(&topic.contract))
        .collect();
    let names: Vec<String> = wanted.iter().map(|topic| topic.name.clone()).collect();
    let partitions = look.scanner.partitions(&names)?;
    let logs = look.scanner.logs(&partitions.values().flatten().cloned().collect::<Vec<_>>())?;

    // Their newest records, some topics at a time.
    let logs = by_topic(logs);
    let newest = newest_times(&look.kafka, &logs)?;

    let rows: Vec<TopicRow> = wanted
        .into_iter()
        .map(|topic| TopicRow {
            topic: topic.name.clone(),
            contract: topic.contract.clone(),
            kind: match topic.purpose {
                TopicPurpose::Raw => "raw",
                TopicPurpose::Masked => "masked",
                TopicPurpose::Facts => "facts",
                TopicPurpose::DeadLetter => "dead letter",
                TopicPurpose::Receipts => "receipts",
            },
            partitions: partitions.get(&topic.name).map(Vec::len),
            records_about: logs.get(&topic.name).map(length),
            retention_ms: topic.config.get(RETENTION).and_then(|ms| ms.parse().ok()).unwrap_or(-1),
            newest_record: newest
                .get(&topic.name)
                .copied()
                .and_then(DateTime::from_timestamp_millis)
                .map(instant),
        })
        .collect();
    match args.output {
        CommandFormat::Json => println!("{}", serde_json::to_string_pretty(&rows)?),
        CommandFormat::Text => print!("{}", table(&rows)),
    }
    Ok(CommandFinding::Nothing)
}

/// Sorts partitions under their topics.
fn by_topic(logs: BTreeMap<TopicPartition, std::ops::Range<i64>>) -> BTreeMap<String, PartitionWindows> {
    let mut topics: BTreeMap<String, BTreeMap<TopicPartition, std::ops::Range<i64>>> = BTreeMap::new();
    for (at, log) in logs {
        topics.entry(at.topic.to_string()).or_default().insert(at, log);
    }
    topics.into_iter().map(|(topic, logs)| (topic, by_partition(logs))).collect()
}

/// Returns the time of the newest record of each topic that has one, in milliseconds since the epoch.
fn newest_times(
    kafka: &KafkaSection,
    logs: &BTreeMap<String, PartitionWindows>,
) -> Result<BTreeMap<String, i64>, Fault> {
    // Each thread has a client of its own and takes every eighth topic.
    let filled: Vec<_> = logs.iter().filter(|(_, logs)| length(logs) > 0).collect();
    let threads = filled.len().min(AT_ONCE);
    let look = |first: usize| {
        let scanner = KafkaScanner::open(kafka)?;
        let mut found = vec![];
        for (topic, logs) in filled.iter().skip(first).step_by(threads.max(1)) {
            found.extend(newest_time(&scanner, topic, logs)?.map(|time| ((*topic).clone(), time)));
        }
        Ok::<_, Fault>(found)
    };
    thread::scope(|scope| {
        let looks: Vec<_> = (0..threads).map(|first| scope.spawn(move || look(first))).collect();
        let mut all = BTreeMap::new();
        for look in looks {
            let found = look.join().map_err(|_| Fault::bug("looking at topics", "a thread panicked"))?;
            all.extend(found?);
        }
        Ok(all)
    })
}

/// Returns the time of the newest record of a topic. The windows grow until each partition has shown a record or is
/// read.
fn newest_time(scanner: &KafkaScanner, topic: &str, logs: &PartitionWindows) -> Result<Option<i64>, Fault> {
    let mut newest: BTreeMap<i32, i64> = BTreeMap::new();
    for mut window in BackwardWindows::new(logs.clone(), FIRST_WINDOW).take(WINDOWS) {
        // A partition that has shown its newest record needs no older window.
        window.retain(|partition, _| !newest.contains_key(partition));
        let _: ControlFlow<()> = scanner.read(topic, &window, |record| {
            let time = record.timestamp_ms.unwrap_or_default();
            let known = newest.entry(record.partition).or_insert(time);
            *known = time.max(*known);
            Ok::<_, Fault>(ControlFlow::Continue(()))
        })?;
    }
    Ok(newest.into_values().max())
}

/// Returns the rows as a table.
fn table(rows: &[TopicRow]) -> TextTable {
    let mut table = TextTable::new(&[
        "topic",
        "contract",
        "kind",
        "partitions",
        "records about",
        "retention",
        "newest record",
    ]);
    for row in rows {
        table.row([
            row.topic.clone(),
            row.contract.clone(),
            row.kind.to_owned(),
            row.partitions.map_or_else(|| "none".to_owned(), |count| count.to_string()),
            row.records_about.map(|count| count.to_string()).unwrap_or_default(),
            retention(row.retention_ms),
            match (&row.newest_record, row.partitions) {
                (Some(time), _) => time.clone(),
                (None, Some(_)) => "no records".to_owned(),
                (None, None) => "not in Kafka: run `sluice apply`".to_owned(),
            },
        ]);
    }
    table
}

/// Returns a retention in the largest unit that gives a whole number.
fn retention(ms: i64) -> String {
    if ms < 0 {
        return "without end".to_owned();
    }
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s")];
    let unit = units.iter().find(|(size, _)| ms % size == 0);
    unit.map_or_else(|| format!("{ms} ms"), |(size, unit)| format!("{} {unit}", ms / size))
}

#[cfg(test)]
mod tests {
    use super::retention;

    #[test]
    fn a_retention_has_the_largest_unit_that_fits() {
        let shown = [604_800_000, 5_400_000, 1_500, -1].map(retention);
        assert_eq!(shown, ["7 d", "90 min", "1500 ms", "without end"]);
    }
}
