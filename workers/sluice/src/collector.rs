//! `sluice collector`: an operator's commands about a job.

use anyhow::Context as _;
use serde_json::json;
use sluice_collector::operate::{self, TrialOptions};
use sluice_collector::{AnswerTape, CollectorConfig};
use sluice_core::Fault;
use sluice_runtime::config::ConfigErrors;

use crate::cli::{CollectorCommand, CommandFormat, JobArgs};
use crate::exit::{self, CommandFinding, CommandResult};
use crate::run::{self, WorkerCommand};

/// Runs one of the commands.
pub(crate) fn collector(command: CollectorCommand) -> CommandResult {
    // The worker itself has a runtime of its own.
    if let CollectorCommand::Run(args) = command {
        return run::run(&WorkerCommand::new(&sluice_collector::DESCRIPTOR, args));
    }

    // The other commands are a few calls each.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting tokio")?;

    runtime.block_on(async {
        match command {
            CollectorCommand::Run(_) => {
                Err(Fault::bug("sluice collector run", "the command was not started above").into())
            }
            CollectorCommand::Check { job, neighbours } => check(&job, neighbours).await,
            CollectorCommand::Try { job, id, pages, records, record, replay } => {
                if let Some(missing) = replay.as_ref().filter(|folder| !folder.is_dir()) {
                    let hint = "make it with `sluice collector try --record`".to_owned();
                    let message = format!("{} is not a folder of recorded answers", missing.display());
                    return Err(ConfigErrors::one("--replay", message, Some(hint)).into());
                }
                let tape = record.map(AnswerTape::Record).or(replay.map(AnswerTape::Replay));
                try_id(&job, &id, TrialOptions { pages, samples: records, tape }).await
            }
            CollectorCommand::Status { job } => status(&job).await,
            CollectorCommand::Dead { job, most } => dead(&job, most).await,
            CollectorCommand::Rejected { job } => rejected(&job).await,
            CollectorCommand::Retry { job, id, all: _, rejected, from_start } => {
                let config = CollectorConfig::load(&job.config)?;
                let ids = match rejected {
                    true => sluice_collector::rejected::retry_rejected(&config, id.as_deref()).await?,
                    false => operate::retry(&config, id.as_deref(), from_start).await?,
                };
                match job.output {
                    CommandFormat::Json => println!("{}", json!({ "due_again": ids })),
                    CommandFormat::Text => println!("{ids} ids are due again"),
                }
                // An id that was named and is not dead is worth a look.
                Ok(if id.is_some() && ids == 0 { CommandFinding::Something } else { CommandFinding::Nothing })
            }
            CollectorCommand::Forget { job, id } => {
                let known = operate::forget(&CollectorConfig::load(&job.config)?, &id).await?;
                match job.output {
                    CommandFormat::Json => println!("{}", json!({ "forgotten": true, "was_known": known })),
                    CommandFormat::Text if known => println!("the id is not collected again"),
                    CommandFormat::Text => println!("the id was not known; it is not enrolled from now on"),
                }
                Ok(CommandFinding::Nothing)
            }
            CollectorCommand::Migrate { job, print } => migrate(&job, print).await,
        }
    })
}

/// Prints the requests that a job would make, and checks its neighbours if asked. Exit code 1 if one is not
/// ready.
async fn check(job: &JobArgs, neighbours: bool) -> CommandResult {
    let checked = operate::check(CollectorConfig::load(&job.config)?, neighbours).await?;
    if job.output == CommandFormat::Json {
        println!("{}", serde_json::to_string_pretty(&checked)?);
    } else {
        println!("job {} ({})", checked.job, checked.mode);
        for endpoint in &checked.endpoints {
            println!("\n{}\n  asks          {}", endpoint.name, endpoint.asks);
            println!("  records to    {}, key {}", endpoint.topic, endpoint.key);
            println!("  others to     {}", endpoint.dead_letters);
        }
        if !checked.neighbours.is_empty() {
            println!();
        }
        // The neighbour's own message follows the verdict.
        for (name, found) in &checked.neighbours {
            println!("{name:<10} {}: {}", if found.ok { "ok" } else { "WRONG" }, found.says);
        }
    }
    let wrong = checked.neighbours.values().any(|found| !found.ok);
    Ok(if wrong { CommandFinding::Something } else { CommandFinding::Nothing })
}

/// Asks the API for one id and prints the decoded records. Publishes nothing. Exit code 1 if a record is
/// refused or the API stopped the id.
async fn try_id(job: &JobArgs, id: &str, trial: TrialOptions) -> CommandResult {
    let mut found = operate::try_id(CollectorConfig::load(&job.config)?, id, trial).await?;
    let away = found.away.take();

    // For programs the report is the one document of the output, the error included.
    if job.output == CommandFormat::Json {
        let Some(away) = away else {
            println!("{}", serde_json::to_string_pretty(&found)?);
            return Ok(trial_finding(&found));
        };
        let mut whole = serde_json::to_value(&found)?;
        let ended = exit::report_within(&mut whole, &away.into());
        println!("{whole}");
        return ended;
    }

    // Each page with its request and some of its records, then the reason why it ended early.
    for page in &found.pages {
        println!("{} page {}: {}", page.endpoint, page.page, page.asked);
        let (records, rejects) = (page.records, page.rejects.len());
        println!("  {} bytes, {records} records for {}, {rejects} rejects", page.bytes, page.topic);
        page.samples.iter().for_each(|sample| println!("  {sample}"));
        page.rejects.iter().for_each(|reject| println!("  reject: {reject}"));
    }
    found.drifts.iter().for_each(|drift| println!("notice: {drift}"));
    if let Some(stopped) = &found.stopped {
        println!("stopped: {stopped}");
    }
    println!("nothing was published");
    match away {
        Some(away) => Err(away.into()),
        None => Ok(trial_finding(&found)),
    }
}

/// Tells whether a trial refused a record or was stopped.
fn trial_finding(found: &operate::TrialReport) -> CommandFinding {
    let something = found.stopped.is_some() || found.pages.iter().any(|page| !page.rejects.is_empty());
    if something { CommandFinding::Something } else { CommandFinding::Nothing }
}

/// Prints the number of ids in each claim state, with their pages and records.
async fn status(job: &JobArgs) -> CommandResult {
    let counts = operate::status(&CollectorConfig::load(&job.config)?).await?;

    // JSON for programs: the same figures, and the age of the oldest id in milliseconds for every state.
    if job.output == CommandFormat::Json {
        let rows: Vec<_> = counts
            .iter()
            .map(|count| {
                json!({
                    "state": count.state, "ids": count.ids, "pages": count.tally.pages,
                    "records": count.tally.records, "rejects": count.tally.rejects,
                    "bytes": count.tally.bytes, "oldest_ms": count.oldest_ms,
                })
            })
            .collect();
        println!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(CommandFinding::Nothing);
    }

    // A table for the terminal. The columns are wide enough for a billion records.
    println!(
        "{:<8} {:>10} {:>10} {:>12} {:>9} {:>16}",
        "state", "ids", "pages", "records", "rejects", "bytes"
    );
    for count in &counts {
        let tally = count.tally;
        let (records, rejects, bytes) = (tally.records, tally.rejects, tally.bytes);
        let (state, ids) = (&count.state, count.ids);
        println!("{state:<8} {ids:>10} {:>10} {records:>12} {rejects:>9} {bytes:>16}", tally.pages);
    }

    // The age of the oldest due id shows whether the job keeps up.
    if let Some(due) = counts.iter().find(|count| count.state == "due") {
        println!("the oldest id has been due for {} s", due.oldest_ms.max(0) / 1_000);
    }
    Ok(CommandFinding::Nothing)
}

/// Prints at most `most` dead ids, with the page and the reason. Exit code 1 if there is one.
async fn dead(job: &JobArgs, most: u32) -> CommandResult {
    let buried = operate::dead(&CollectorConfig::load(&job.config)?, most).await?;

    // The page is JSON in its row. If it cannot be read as JSON, it is shown as text.
    if job.output == CommandFormat::Json {
        let rows: Vec<_> = buried
            .iter()
            .map(|id| {
                let at = id
                    .next_page
                    .as_deref()
                    .map(|text| serde_json::from_str(text).unwrap_or_else(|_| serde_json::Value::from(text)));
                json!({
                    "id": id.id, "attempts": id.attempt, "at": at, "reason": id.reason,
                    "since_ms": id.updated_at,
                })
            })
            .collect();
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        for id in &buried {
            let at = id.next_page.as_deref().unwrap_or("its first page");
            println!("{}  after {} attempts, at {at}: {}", id.id, id.attempt, id.reason);
        }

        // The next step of the operator.
        if buried.is_empty() {
            println!("no id is dead");
        } else {
            println!("once the reason is mended, `sluice collector retry --all` makes the ids due again");
        }
    }

    Ok(if buried.is_empty() { CommandFinding::Nothing } else { CommandFinding::Something })
}

/// Prints the refused records that still count. Exit code 1 if there is one.
async fn rejected(job: &JobArgs) -> CommandResult {
    let letters = sluice_collector::rejected::rejected(&CollectorConfig::load(&job.config)?).await?;
    if job.output == CommandFormat::Json {
        println!("{}", serde_json::to_string_pretty(&letters)?);
    } else {
        for letter in &letters {
            let (endpoint, page, index) = (&letter.endpoint, letter.page, letter.index);
            println!("{}  {endpoint} page {page} record {index}: {}", letter.id, letter.reason);
        }
        match letters.len() {
            0 => println!("no refused record is open"),
            open => println!(
                "{open} refused records; `sluice collector retry --rejected` asks for their ids again"
            ),
        }
    }
    Ok(if letters.is_empty() { CommandFinding::Nothing } else { CommandFinding::Something })
}

/// Creates the collector's tables, or prints the statements for a database administrator.
async fn migrate(job: &JobArgs, print: bool) -> CommandResult {
    let config = CollectorConfig::load(&job.config)?;
    let statements = operate::migration(&config)?;

    // A comment needs no semicolon.
    if print {
        match job.output {
            CommandFormat::Json => println!("{}", serde_json::to_string_pretty(&statements)?),
            CommandFormat::Text => {
                for statement in &statements {
                    let end = if statement.starts_with("--") { "" } else { ";" };
                    println!("{statement}{end}\n");
                }
            }
        }
        return Ok(CommandFinding::Nothing);
    }

    // A table that exists stays as it is.
    operate::migrate(&config).await?;
    match job.output {
        CommandFormat::Json => println!("{}", json!({ "migrated": true })),
        CommandFormat::Text => println!("the tables sluice_claims and sluice_budgets exist"),
    }
    Ok(CommandFinding::Nothing)
}
