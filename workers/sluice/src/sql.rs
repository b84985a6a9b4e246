//! `sluice sql`: queries over the lake's tables and the contracts' views, by one statement, a file, or a prompt.

mod history;
mod prompt;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use sluice_contract::{ContractFiles, ContractSet, sql_name};
use sluice_govern::{SqlView, SqlViewSet, visible_topics};
use sluice_runtime::config::ConfigErrors;
use sluice_runtime::contracts;
use sluice_warehouse::{self, QueryAnswer, QueryError, QueryFormat, WarehouseView, split_statements};
use tokio::runtime::Runtime;

use crate::cli::local_folder;
use crate::exit::{CommandFinding, CommandResult};
use crate::gate;
use crate::output::{self, StandardOutput};

#[derive(Debug, Args)]
#[command(after_help = "SHOW TABLES lists tables and views, DESCRIBE <table> the columns of one.")]
pub(crate) struct SqlArgs {
    /// The SELECT. Tables are named after their topics: aviation.flight.masked.v1 is
    /// aviation_flight_masked_v1. Views are named after their files. Without it statements are read from standard
    /// input, by a prompt if that is a terminal.
    sql: Option<String>,
    // The environment spares the option in a shell that asks many queries.
    /// Folder of the Delta tables.
    #[arg(long, value_name = "DIR", env = "SLUICE_LAKE", value_parser = local_folder())]
    lake: PathBuf,
    /// Folder of the contracts. A query can also name their views (<domain>/views/<name>.sql).
    #[arg(long, value_name = "DIR", env = "SLUICE_SCHEMAS", default_value = "schemas", value_parser = local_folder())]
    schemas: PathBuf,
    // A file system knows no roles: who can read the folder can read all of it.
    /// Show what this role of the contracts may see: `view: raw` shows raw tables, too. Left out: only masked
    /// and facts tables. On a lake of files this prevents mistakes, not intent: a user who can read the
    /// folder can read all of it.
    #[arg(long = "as", value_name = "ROLE")]
    role: Option<String>,
    /// The form of the answer.
    #[arg(long, value_enum, default_value = "table")]
    output: SqlOutput,
    /// Write the answer to this new file.
    #[arg(long, value_name = "FILE", required_if_eq("output", "parquet"), requires = "sql")]
    to: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SqlOutput {
    Table,
    Json,
    Csv,
    /// One file, which --to names.
    Parquet,
}

/// Answers the query and prints the answer on standard output.
pub(crate) fn sql(args: &SqlArgs) -> CommandResult {
    // Two threads: the warehouse works on two partitions at a time.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting tokio")?;
    let desk = QueryDesk { args, runtime, sight: sight(args)? };

    match &args.sql {
        Some(sql) => desk.answer(sql),
        None if io::stdin().is_terminal() => prompt::run(&desk),
        None => desk.answer_all(io::stdin().lock()),
    }
}

/// Everything that a statement needs for its answer.
struct QueryDesk<'a> {
    args: &'a SqlArgs,
    runtime: Runtime,
    sight: SqlSight,
}

impl QueryDesk<'_> {
    /// Asks for the answer to one statement.
    ///
    /// # Errors
    /// Fails with a [`QueryError`], or with the reason why a view that the statement names was refused.
    fn ask(&self, sql: &str) -> anyhow::Result<QueryAnswer> {
        let SqlSight { views, visible, refused } = &self.sight;
        let is_visible =
            |topic: &str| -> bool { visible.as_ref().is_none_or(|visible| visible.contains(topic)) };
        let asked = self.runtime.block_on(sluice_warehouse::ask(&self.args.lake, views, &is_visible, sql));

        // A view that was refused is not just unknown.
        if let Err(QueryError::NoTable(mistake)) = &asked
            && let Some(name) = &mistake.name
            && let Some(why) = refused.get(&sql_name(name))
        {
            let hint = Some("mend the view; `sluice plan --proof` shows all mistakes".to_owned());
            return Err(ConfigErrors::one(format!("view {name}"), why.clone(), hint).into());
        }
        if matches!(&asked, Ok(answer) if answer.lists_tables) && !refused.is_empty() {
            let names: Vec<&str> = refused.keys().map(String::as_str).collect();
            eprintln!("not listed, because `sluice plan --proof` refuses them: {}", names.join(", "));
        }
        Ok(asked?)
    }

    /// Answers one statement on standard output, or in the file of `--to`.
    fn answer(&self, sql: &str) -> CommandResult {
        let answer = self.ask(sql)?;
        match &self.args.to {
            Some(path) => self.write_file(&answer, path)?,
            None => self.print(&answer, &mut StandardOutput).context("printing the answer")?,
        }
        Ok(CommandFinding::Nothing)
    }

    /// Answers each statement of a file, and stops at the first one that is wrong.
    fn answer_all(&self, mut input: impl io::Read) -> CommandResult {
        let mut text = String::new();
        input.read_to_string(&mut text).context("reading statements from standard input")?;
        let split = split_statements(&text);

        // The last statement of a file needs no semicolon.
        let rest = Some(split.rest).filter(|rest| !rest.trim().is_empty());
        for statement in split.complete.iter().chain(&rest) {
            let answer = self.ask(statement)?;
            self.print(&answer, &mut StandardOutput).context("printing the answer")?;
            if output::is_closed() {
                break;
            }
        }
        Ok(CommandFinding::Nothing)
    }

    /// Prints an answer.
    fn print(&self, answer: &QueryAnswer, out: &mut dyn Write) -> io::Result<()> {
        let format = match self.args.output {
            SqlOutput::Table => QueryFormat::Table { width: width() },
            SqlOutput::Json => QueryFormat::Json,
            // clap demands a file for Parquet.
            SqlOutput::Csv | SqlOutput::Parquet => QueryFormat::Csv,
        };
        sluice_warehouse::print(&answer.batches, format, out)?;
        out.flush()
    }

    /// Writes an answer to a new file.
    fn write_file(&self, answer: &QueryAnswer, path: &Path) -> anyhow::Result<()> {
        // An existing file may be somebody's only copy.
        let file = File::create_new(path).map_err(|error| {
            let hint = "name a file that does not exist yet, in a folder that does".to_owned();
            ConfigErrors::one("--to", format!("{}: {error}", path.display()), Some(hint))
        })?;
        let written = match self.args.output {
            SqlOutput::Parquet => sluice_warehouse::write_parquet(&answer.batches, &file),
            _ => self.print(answer, &mut io::BufWriter::new(&file)),
        };

        // Half a file is not left behind.
        if let Err(error) = written {
            let _ = std::fs::remove_file(path);
            return Err(error).with_context(|| format!("writing {}", path.display()));
        }
        eprintln!("{} written to {}", sluice_warehouse::row_count(&answer.batches), path.display());
        Ok(())
    }
}

/// Returns the width of the terminal, if standard output is one.
fn width() -> Option<u16> {
    io::stdout().is_terminal().then(|| dialoguer::console::Term::stdout().size().1)
}

/// The part of a lake that is shown.
struct SqlSight {
    /// The sound views.
    views: Vec<WarehouseView>,
    /// Topics whose tables are shown; `None` shows all of them.
    visible: Option<BTreeSet<String>>,
    /// Names of refused views, each with the reason.
    refused: BTreeMap<String, String>,
}

/// Returns the tables and views that the role may see. Contracts and views that are not sound are left out,
/// and with them their tables: the others can still be asked.
///
/// # Errors
/// Fails if the folder cannot be read, or if no contract has the role.
fn sight(args: &SqlArgs) -> anyhow::Result<SqlSight> {
    // Without contracts nothing says who may see which table.
    if !args.schemas.is_dir() {
        if let Some(role) = &args.role {
            let message =
                format!("no contracts at {}: the role is not known: `{role}`", args.schemas.display());
            return Err(
                ConfigErrors::one("--as", message, Some("name the folder with --schemas".into())).into()
            );
        }
        // Programs get the answer alone, without a note.
        if io::stderr().is_terminal() {
            let folder = args.schemas.display();
            eprintln!(
                "no contracts at {folder}: every table of the lake is shown (--schemas names their folder)"
            );
        }
        return Ok(SqlSight { views: Vec::new(), visible: None, refused: BTreeMap::new() });
    }

    // The sound contracts, and what the role may see of them.
    let files = contracts::read_with_view_files(&args.schemas)?;
    let nobody = ContractFiles::new();
    let Some(adopted) = ContractSet::adopt(&files, &nobody, &|_| Ok(())) else {
        let (views, refused) = (Vec::new(), BTreeMap::new());
        return Ok(SqlSight { views, visible: Some(BTreeSet::new()), refused });
    };
    let contracts = &adopted.contracts;
    let visible = visible_topics(contracts, args.role.as_deref())
        .map_err(|unknown| ConfigErrors::one("--as", unknown.to_string(), None))?;

    // The sound views. One that leaks, or that the engine reads in another way, is refused alone.
    let (views, findings) = SqlViewSet::parse_each(&files, contracts);
    let mut refused: BTreeMap<String, String> = BTreeMap::new();
    for finding in findings {
        refused.entry(view_name(&finding.file)).or_insert_with(|| finding.to_string());
    }
    for refusal in gate::view_refusals(contracts, &views, Some(&args.lake))? {
        if let Some((file, _)) = refusal.place(contracts) {
            refused.entry(view_name(&file)).or_insert_with(|| refusal.to_string());
        }
    }
    let views = views.without(&refused.keys().cloned().collect());
    let of = |view: &SqlView| WarehouseView { name: view.name.clone(), sql: view.sql.clone() };
    Ok(SqlSight { views: views.iter().map(of).collect(), visible: Some(visible), refused })
}

/// Returns the name of a view's file.
fn view_name(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.strip_suffix(".sql").unwrap_or(name).to_owned()
}
