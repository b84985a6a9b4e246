//! `sluice sql`: queries over the lake's tables and the contracts' views, by one statement, a file, or a prompt.

mod history;
mod prompt;

use std::fs::File;
use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use sluice_govern::LeakProof;
use sluice_runtime::config::ConfigErrors;
use sluice_warehouse::{self, QueryAnswer, QueryError, QueryFormat, WarehouseView, split_statements};
use tokio::runtime::Runtime;

use crate::cli::local_folder;
use crate::exit::{CommandFinding, CommandResult};
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
    let desk = QueryDesk { args, runtime };

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
}

impl QueryDesk<'_> {
    /// Asks for the answer to one statement.
    ///
    /// # Errors
    /// Fails with a [`QueryError`], or with the mistakes of the contracts if the statement needs a view.
    fn ask(&self, sql: &str) -> anyhow::Result<QueryAnswer> {
        // Contracts are read only if the query names something that is not a table. A broken contract does
        // not keep anyone from a query over tables.
        let asked = self.runtime.block_on(sluice_warehouse::ask(&self.args.lake, &[], sql));
        match asked {
            Err(QueryError::NoTable(_)) if self.args.schemas.is_dir() => {
                let views = views(&self.args.schemas)?;
                Ok(self.runtime.block_on(sluice_warehouse::ask(&self.args.lake, &views, sql))?)
            }
            Ok(QueryAnswer { lists_tables: true, .. }) if self.args.schemas.is_dir() => {
                let views = views(&self.args.schemas).unwrap_or_else(|_| {
                    eprintln!(
                        "the views are not listed: the contracts have mistakes, which `sluice plan` shows"
                    );
                    vec![]
                });
                Ok(self.runtime.block_on(sluice_warehouse::ask(&self.args.lake, &views, sql))?)
            }
            asked => Ok(asked?),
        }
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

/// Reads the views of the contracts' folder.
///
/// # Errors
/// Fails if a contract or a view is broken, and if the leak proof finds a way without a masking step.
fn views(schemas: &Path) -> Result<Vec<WarehouseView>, ConfigErrors> {
    let (contracts, views) = crate::contract::load_with_views(schemas)?;
    let mut errors = ConfigErrors::default();

    // A view that leaks is not answered, even if this query does not read it.
    for leak in LeakProof::of(&contracts, &views).leaks {
        let way = format!("{}: expected a masking step on this way", leak.path.join(" -> "));
        errors.add(format!("{}:{}", leak.file, leak.line), way, Some(leak.hint));
    }
    let of = |view: &sluice_govern::SqlView| WarehouseView { name: view.name.clone(), sql: view.sql.clone() };
    errors.or(views.iter().map(of).collect())
}
