//! `sluice verify --conservation`: input = output + dead letters + skips, from the durable receipts.

use std::time::Duration;

use indicatif::ProgressBar;
use sluice_runtime::receipts::conservation::{self, ConservationLine, ConservationReport};
use sluice_runtime::{config, contracts};

use crate::apply::{self, RawApplyConfig};
use crate::cli::{CommandFormat, VerifyArgs};
use crate::exit::{CommandFinding, CommandResult};
use crate::table::TextTable;

/// Checks the receipts of all groups, or of those that are named. Exit code 1 if conservation does not hold.
pub(crate) fn verify(args: &VerifyArgs) -> CommandResult {
    let raw: RawApplyConfig = config::load(&args.config)?;
    config::check_neighbours(&raw.kafka, &raw.registry).map_err(|errors| errors.in_file(&args.config))?;
    sluice_kafka::knock(&raw.kafka)?;
    // The receipts' topic is small: it has one record for each run of offsets.
    let (mut report, books) = conservation::verify(&raw.kafka, &args.group)?;

    // Counting reads whole topics. The spinner shows the topic that is being counted.
    if args.deep {
        let contracts = contracts::load(&raw.schemas)?;
        let bar = ProgressBar::new_spinner().with_message("counting");
        bar.enable_steady_tick(Duration::from_millis(200));
        let report_topic = |topic: &str| bar.set_message(format!("counting {topic}"));
        let counting =
            conservation::deep::count(&raw.kafka, &books, &mut report, contracts.fact(), report_topic);
        apply::runtime()?.block_on(counting)?;
        bar.finish_and_clear();
    }

    match args.output {
        CommandFormat::Json => println!("{}", serde_json::to_string_pretty(&report)?),
        CommandFormat::Text => show(&report, args.deep),
    }
    Ok(if report.holds() { CommandFinding::Nothing } else { CommandFinding::Something })
}

/// Prints a table of all partitions, every finding, and the sum.
fn show(report: &ConservationReport, deep: bool) {
    if report.lines.is_empty() {
        println!("no receipts: no group has committed anything yet");
        return;
    }

    // One line for each group and partition.
    let columns =
        ["group", "topic", "partition", "offsets", "records", "written", "dead letters", "skipped", "holds"];
    let mut table = TextTable::new(&columns);
    for line in &report.lines {
        let audit = &line.audit;
        let (first, next) = (audit.first.unwrap_or_default(), audit.next.unwrap_or_default());
        table.row([
            line.group.clone(),
            line.topic.clone(),
            line.partition.to_string(),
            format!("{first}–{}", next - 1),
            audit.records.to_string(),
            audit.written.to_string(),
            audit.dead_letters.to_string(),
            audit.skipped.to_string(),
            if audit.findings.is_empty() { "yes".to_owned() } else { "NO".to_owned() },
        ]);
    }
    print!("{table}");

    // The ranges where conservation does not hold, and records of the receipts' topic that cannot be read.
    for line in &report.lines {
        for finding in &line.audit.findings {
            println!("{} in {}[{}]: {finding}", line.group, line.topic, line.partition);
        }
    }
    for offset in &report.unreadable {
        println!("{}[0] offset {offset}: expected a receipt", sluice_runtime::receipts::TOPIC);
    }

    // The equation itself, over all groups.
    let sum = |of: fn(&ConservationLine) -> u64| report.lines.iter().map(of).sum::<u64>();
    let verdict = if report.holds() { "holds" } else { "does NOT hold" };
    println!(
        "{} records = {} written + {} dead letters + {} skipped: conservation {verdict}{}",
        sum(|line| line.audit.records),
        sum(|line| line.audit.written),
        sum(|line| line.audit.dead_letters),
        sum(|line| line.audit.skipped),
        if deep { ", counted record by record" } else { " (by the receipts; --deep counts the topics)" },
    );
}
