//! The prompt: statements over several lines, up to their semicolons, with a history.

use std::fmt;
use std::io;
use std::time::Instant;

use dialoguer::Input;
use dialoguer::theme::Theme;
use sluice_warehouse::split_statements;

use super::QueryDesk;
use super::history::{self, StatementHistory};
use crate::exit::{self, CommandFinding, CommandResult};
use crate::output::{self, StandardOutput};

/// The answer to `help`.
const HELP: &str = "A statement ends at its semicolon and may have several lines.\n\
    SHOW TABLES;        tables and views\n\
    DESCRIBE <table>;   columns of a table\n\
    exit                ends the prompt, as Ctrl-C does";

/// The prompt in front of a line, without further signs.
struct BarePrompt;

impl Theme for BarePrompt {
    fn format_input_prompt(
        &self,
        f: &mut dyn fmt::Write,
        prompt: &str,
        _default: Option<&str>,
    ) -> fmt::Result {
        write!(f, "{prompt}> ")
    }

    fn format_input_prompt_selection(&self, f: &mut dyn fmt::Write, prompt: &str, line: &str) -> fmt::Result {
        write!(f, "{prompt}> {line}")
    }
}

/// Reads statements at the terminal and answers them, until `exit`.
pub(super) fn run(desk: &QueryDesk<'_>) -> CommandResult {
    let mut history = StatementHistory::open(history::file());
    eprintln!("SQL over the lake. `help` shows more; `exit` ends.");

    let mut open = String::new();
    loop {
        // The prompt tells whether a statement is still open.
        let prompt = if open.is_empty() { "sluice" } else { "     -" };
        let asked = Input::with_theme(&BarePrompt)
            .with_prompt(prompt)
            .allow_empty(true)
            .history_with(&mut history)
            .interact_text();
        let line: String = match asked {
            Ok(line) => line,
            // The terminal was closed.
            Err(dialoguer::Error::IO(error)) if is_end(&error) => return Ok(CommandFinding::Nothing),
            Err(error) => return Err(error.into()),
        };

        // Words of the prompt itself are no statements.
        if open.is_empty() {
            match line.trim().trim_end_matches(';').to_lowercase().as_str() {
                "exit" | "quit" | "\\q" => return Ok(CommandFinding::Nothing),
                "help" | "\\h" | "\\?" | "?" => {
                    eprintln!("{HELP}");
                    continue;
                }
                _ => {}
            }
        }

        open.push_str(&line);
        open.push('\n');
        let split = split_statements(&open);
        for statement in &split.complete {
            history.add(&format!("{statement};"));
            if !answer(desk, statement)? {
                return Ok(CommandFinding::Nothing);
            }
        }
        open = if split.rest.trim().is_empty() { String::new() } else { split.rest };
    }
}

/// Answers one statement. A mistake is printed, and the prompt goes on. Returns false if the reader of the output has
/// gone.
fn answer(desk: &QueryDesk<'_>, statement: &str) -> anyhow::Result<bool> {
    let began = Instant::now();
    match desk.ask(statement) {
        Ok(answer) => {
            desk.print(&answer, &mut StandardOutput)?;
            eprintln!("{:.2} s", began.elapsed().as_secs_f64());
        }
        Err(error) => exit::print_error(&error),
    }
    Ok(!output::is_closed())
}

/// Tells whether an error means that the terminal has gone.
fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::NotConnected | io::ErrorKind::Interrupted
    )
}
