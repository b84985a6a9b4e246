//! `sluice dead-letters ls | show | replay`: counts, shows and replays dead letters.

use std::collections::BTreeSet;

use base64::Engine as _;
use chrono::DateTime;
use sluice_contract::ContractSet;
use sluice_core::TopicPartition;
use sluice_govern::plan::{DesiredState, TopicAccess};
use sluice_runtime::config::{self, ConfigErrors, KafkaSection};
use sluice_runtime::contracts;
use sluice_runtime::dead_letter::{DeadLetterBoard, DeadLetterHead, DeadLetterRow, topic_of};
use sluice_runtime::receipts::ReceiptBooks;
use sluice_runtime::replay::{self, LetterReplaySummary};

use crate::apply::{self, RawApplyConfig};
use crate::cli::{
    CommandFormat, LetterListArgs, LetterShowArgs, LettersChoice, LettersCommand, ReplayLettersArgs,
};
use crate::exit::{CommandFinding, CommandResult};
use crate::replay::{bar, load_offline, open_registry};
use crate::table::TextTable;

/// Runs one of the three commands.
pub(crate) fn dead_letters(command: &LettersCommand) -> CommandResult {
    match command {
        LettersCommand::Ls(args) => ls(args),
        LettersCommand::Show(args) => show(args),
        LettersCommand::Replay(args) => replay(args),
    }
}

impl LettersChoice {
    /// Tells whether the options choose a letter. An option that is left out chooses all.
    fn takes(&self, topic: &str, class: &str, path: &str) -> bool {
        let fits = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
        fits(&self.topic, topic) && fits(&self.class, class) && fits(&self.path, path)
    }
}

/// Returns the topics of the contracts whose dead-letter topic exists; with `only` this one at most.
///
/// # Errors
/// Fails if `only` is not a topic of a contract, or if Kafka does not answer.
fn sources(kafka: &KafkaSection, contracts: &ContractSet, only: Option<&str>) -> anyhow::Result<Vec<String>> {
    // Records of all three topics can be refused: by the masker, the normaliser or a sink.
    let mut sources = BTreeSet::new();
    for contract in contracts.iter() {
        sources.insert(contract.raw_topic.clone());
        sources.insert(contract.masked_topic.clone());
        sources.extend(contract.facts.as_ref().map(|facts| facts.topic.clone()));
    }

    if let Some(only) = only {
        let known: Vec<_> = sources.iter().cloned().collect();
        sources.retain(|source| source == only);
        if sources.is_empty() {
            let hint = Some(format!("topics of the contracts: {}", known.join(", ")));
            return Err(ConfigErrors::one("--topic", "expected a topic of a contract", hint).into());
        }
    }

    // A dead-letter topic may not exist yet, for example before `sluice apply`.
    let names: Vec<String> = sources.iter().map(|source| topic_of(source)).collect();
    let admin = sluice_kafka::admin::KafkaAdmin::new(kafka)?;
    let there = admin.visible(&names)?;
    sources.retain(|source| there.contains(&topic_of(source)));
    Ok(sources.into_iter().collect())
}

/// Reads the file of `apply`, and the contracts that it names.
fn load(file: &std::path::Path) -> anyhow::Result<(KafkaSection, ContractSet)> {
    let raw: RawApplyConfig = config::load(file)?;
    config::check_neighbours(&raw.kafka, &raw.registry).map_err(|errors| errors.in_file(file))?;
    let contracts = contracts::load(&raw.schemas).map_err(|errors| errors.in_file(file))?;
    Ok((raw.kafka, contracts))
}

/// Counts letters. Exit code 1 while one is unresolved.
fn ls(args: &LetterListArgs) -> CommandResult {
    // The letters, and the receipts, which the board needs for the state of each letter.
    // Kafka says first why it does not answer: the other calls would report a time-out.
    let (kafka, contracts) = load(&args.config)?;
    sluice_kafka::knock(&kafka)?;
    let books = ReceiptBooks::open(&kafka)?;
    let mut board = DeadLetterBoard::default();
    for source in sources(&kafka, &contracts, args.choice.topic.as_deref())? {
        board.read(&kafka, &source)?;
    }

    // A collector's letters have an endpoint where others have a topic. Their topic was chosen by reading
    // only that topic's letters.
    let mut rows = board.rows(&books);
    rows.retain(|row| {
        let asked = args.choice.topic.as_deref().unwrap_or_default();
        let topic = if row.worker == "collector" { asked } else { row.topic.as_str() };
        args.choice.takes(topic, &row.class, &row.path)
    });

    let unresolved: u64 = rows.iter().map(|row| row.unresolved).sum();
    match args.output {
        CommandFormat::Json => {
            let strangers = board.strangers;
            println!(
                "{:#}",
                serde_json::json!({"letters": rows, "unresolved": unresolved, "strangers": strangers})
            );
        }
        CommandFormat::Text => table(&rows, &board),
    }
    Ok(if unresolved > 0 { CommandFinding::Something } else { CommandFinding::Nothing })
}

/// Prints the rows as a table.
fn table(rows: &[DeadLetterRow], board: &DeadLetterBoard) {
    if rows.is_empty() {
        println!("no dead letters");
        return;
    }

    let headings = [
        "topic",
        "class",
        "path",
        "worker",
        "group",
        "letters",
        "unresolved",
        "attempts",
        "first record",
        "last record",
    ];

    // One line per topic, class, path, worker and group.
    let mut table = TextTable::new(&headings);
    for row in rows {
        table.row([
            row.topic.clone(),
            row.class.clone(),
            row.path.clone(),
            row.worker.clone(),
            row.group.clone(),
            row.letters.to_string(),
            row.unresolved.to_string(),
            row.attempts.to_string(),
            time(row.first_ms),
            time(row.last_ms),
        ]);
    }
    print!("{table}");

    // Records without the fleet's headers, for example of another program.
    if board.strangers > 0 {
        println!(
            "{} records of dead-letter topics were not written by the fleet and are not counted",
            board.strangers
        );
    }
}

/// Returns a time in UTC, by the second. Empty if it is unknown.
fn time(ms: Option<i64>) -> String {
    let time = ms.and_then(DateTime::from_timestamp_millis);
    time.map_or_else(String::new, |time| time.format("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// Prints every letter about one record. Exit code 1 if there is none.
fn show(args: &LetterShowArgs) -> CommandResult {
    let (kafka, contracts) = load(&args.config)?;
    let desired = DesiredState::of(&contracts, &crate::workers::access());
    let letters = topic_of(&args.topic);
    let Some(topic) = desired.topics.iter().find(|topic| topic.name == letters) else {
        let hint = Some("name the topic of the refused record, as `sluice dead-letters ls` shows it".into());
        return Err(ConfigErrors::one("--topic", "expected a topic of a contract", hint).into());
    };

    // A value of a raw topic never goes to a terminal. Its class, path and reason are shown.
    if args.value && topic.access == TopicAccess::Restricted {
        let hint = format!(
            "{letters} is as restricted as {}: its records failed before they were masked, and their values \
             would end in terminals and logs. A principal that may read the topic can use a consumer of its own. \
             Class, path and reason are shown without --value",
            args.topic
        );
        return Err(ConfigErrors::one(
            "--value",
            "the value is not shown: the topic is restricted",
            Some(hint),
        )
        .into());
    }

    // The state of each letter: unresolved, or its fate in a replay.
    sluice_kafka::knock(&kafka)?;
    let mut board = DeadLetterBoard::default();
    let books = ReceiptBooks::open(&kafka)?;
    board.read(&kafka, &args.topic)?;
    let fates: Vec<_> = board.iter(&books).map(|(identity, _, state)| (identity.clone(), state)).collect();

    // A letter about a record can be in any partition of the dead-letter topic.
    let mut found = vec![];
    let partitions = sluice_kafka::ends(&kafka, &letters)?;
    for at in partitions.keys() {
        let bounds = sluice_kafka::bounds(&kafka, at)?;
        sluice_kafka::read_range(&kafka, at, bounds, |record| {
            // Records that are not letters, and letters about other records.
            let Some(head) = DeadLetterHead::read(record) else { return Ok(()) };
            if (head.partition, head.offset) != (args.partition, args.offset) {
                return Ok(());
            }

            // Sizes and names are shown, and the value only if it was asked for.
            let identity = head.identity();
            let state = fates.iter().find(|(known, _)| *known == identity).map(|(_, state)| *state);
            let own: Vec<&str> =
                sluice_runtime::dead_letter::own_headers(record).map(|header| header.name).collect();
            let value =
                args.value.then(|| record.value.map(|v| base64::engine::general_purpose::STANDARD.encode(v)));
            found.push(serde_json::json!({
                "letter": {"topic": letters, "partition": record.partition, "offset": record.offset.raw()},
                "says": head, "state": state, "record_time": time(record.timestamp_ms),
                "key_bytes": record.key.map(<[u8]>::len), "value_bytes": record.value.map(<[u8]>::len),
                "headers": own, "value_base64": value,
            }));
            Ok(())
        })?;
    }

    // The record was not refused, or its letter has left the topic by retention.
    if found.is_empty() {
        let at = TopicPartition::new(args.topic.as_str(), args.partition);
        println!("there is no dead letter about {at} offset {}", args.offset);
        return Ok(CommandFinding::Something);
    }
    for letter in &found {
        println!("{letter:#}");
    }
    Ok(CommandFinding::Nothing)
}

/// Gives unresolved letters to the worker's code again, and writes the results with `--yes`. Exit code 1 if a
/// letter is refused again.
fn replay(args: &ReplayLettersArgs) -> CommandResult {
    // The worker's code and topics, from the live worker's configuration.
    let (work, _) = load_offline(&args.worker, &args.config)?;
    let sources: Vec<String> = match &args.choice.topic {
        Some(topic) if !work.topics.contains(topic) => {
            let hint = format!("the {} reads: {}", work.config.worker, work.topics.join(", "));
            let message = format!("expected a topic that the {} reads", work.config.worker);
            return Err(ConfigErrors::one("--topic", message, Some(hint)).into());
        }
        Some(topic) => vec![topic.clone()],
        None => work.topics.clone(),
    };

    // The replay reports its progress after each letter. The number of letters is not known before it.
    sluice_kafka::knock(&work.config.kafka)?;
    let runtime = apply::runtime()?;
    let registry = open_registry(&work, &runtime)?;
    let bar = bar(0);
    let report = |done: &LetterReplaySummary| {
        bar.set_length(done.chosen);
        bar.set_position(done.out + done.skipped + done.refused + done.unchanged);
    };
    let choose = |head: &DeadLetterHead| args.choice.takes(&head.topic, &head.class, &head.path);
    let processor = (work.processor, registry);
    let done = replay::letters(&work.config, processor, &sources, choose, args.yes, report)?;
    bar.finish_and_clear();

    // Each chosen letter has exactly one of the four fates.
    let LetterReplaySummary { chosen, out, skipped, refused, unchanged } = done;
    match args.output {
        CommandFormat::Json => println!("{}", serde_json::json!({"written": args.yes, "done": done})),
        CommandFormat::Text => {
            let would = if args.yes { "" } else { "would be: " };
            println!(
                "{would}{chosen} unresolved letters = {out} written + {skipped} skipped + {refused} refused for \
                 another reason + {unchanged} refused as before"
            );
            if !args.yes && chosen > 0 {
                println!("nothing was written: run it again with --yes to write");
            }
        }
    }
    Ok(if refused + unchanged > 0 { CommandFinding::Something } else { CommandFinding::Nothing })
}
