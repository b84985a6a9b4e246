//! The end of a command: its exit code, and the one place that prints an error.

use std::io;
use std::process::ExitCode;

use clap::error::ErrorKind;
use serde::Serialize;
use sluice_core::{Domain, Fault, full_text};
use sluice_runtime::config::{ConfigErrors, MistakeOrigin};
use sluice_runtime::descriptor::WorkerFindings;
use sluice_runtime::lane::limits::TooManyDeadLetters;
use sluice_stack::StackError;
use sluice_warehouse::{QueryError, SqlMistake};

use crate::cli::CommandFormat;
use crate::output;

/// The table of exit codes, for `--help`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes of every command:
  0   done, and nothing to look at
  1   refused, or something was found: a refused contract, a leak, a difference, a wrong query
  2   `plan` only: there are changes and no refusal
  64  the command line, a configuration, a file, credentials or an address must be mended
  70  a bug of Sluicegate
  75  a neighbour is away: try again";

/// The result of a command.
pub(crate) type CommandResult = anyhow::Result<CommandFinding>;

/// Whether a command that looks for something found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CommandFinding {
    /// The command is done, and there is nothing to look at: exit code 0.
    Nothing,
    /// There is something that the caller must look at: exit code 1.
    Something,
    /// `plan` has changes and no refusal: exit code 2.
    Changes,
    /// The command has printed its error as a part of its output. The exit code is the error's.
    Reported(u8),
}

/// The reason of an exit code, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum ExitReason {
    /// Refused, or found: 1.
    Refused,
    /// The caller has to mend something: 64.
    Usage,
    /// A bug: 70.
    Bug,
    /// A neighbour is away: 75.
    Unavailable,
}

/// An error as it is printed.
#[derive(Debug, Serialize)]
struct ErrorReport {
    exit_code: u8,
    reason: ExitReason,
    errors: Vec<ErrorDiagnostic>,
}

/// One error: its place, the message, and the action that mends it.
#[derive(Debug, Default, Serialize)]
struct ErrorDiagnostic {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    /// The setting, the option or the leaf.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// All of it as text, for a mistake that is shown below its place in a statement.
    #[serde(skip)]
    picture: Option<String>,
}

impl ExitReason {
    /// Returns the exit code.
    const fn code(self) -> u8 {
        match self {
            Self::Refused => 1,
            Self::Usage => 64,
            Self::Bug => 70,
            Self::Unavailable => 75,
        }
    }
}

/// Prints the error of a command, if it has one, and returns the exit code.
pub(crate) fn code(ended: CommandResult, format: CommandFormat) -> ExitCode {
    // A full disk behind standard output is an error of a command that went well.
    let ended = match (ended, output::finish()) {
        (Ok(_), Some(error)) => Err(anyhow::Error::new(copy_of(error)).context("writing standard output")),
        (ended, _) => ended,
    };

    match ended {
        Ok(CommandFinding::Nothing) => ExitCode::SUCCESS,
        Ok(CommandFinding::Something) => ExitCode::from(1),
        Ok(CommandFinding::Changes) => ExitCode::from(2),
        Ok(CommandFinding::Reported(code)) => ExitCode::from(code),
        Err(error) => print_report(&report_of(&error), format),
    }
}

/// Adds an error to the JSON that a command prints, in the form of every error, and returns the command's end.
pub(crate) fn report_within(output: &mut serde_json::Value, error: &anyhow::Error) -> CommandResult {
    let report = report_of(error);
    let exit_code = report.exit_code;
    if let (Some(output), serde_json::Value::Object(report)) =
        (output.as_object_mut(), serde_json::to_value(report)?)
    {
        output.extend(report);
    }
    Ok(CommandFinding::Reported(exit_code))
}

/// Prints an error of a command that goes on, as text.
pub(crate) fn print_error(error: &anyhow::Error) {
    print_report(&report_of(error), CommandFormat::Text);
}

/// Prints a mistake in the command line, or the text that `--help` and `--version` ask for.
pub(crate) fn usage(error: &clap::Error, format: CommandFormat) -> ExitCode {
    // Help that was asked for is no error. It goes to standard output.
    let text = error.render();
    if !error.use_stderr() {
        print!("{text}");
        return code(Ok(CommandFinding::Nothing), format);
    }
    if format == CommandFormat::Text {
        let coloured = std::io::IsTerminal::is_terminal(&io::stderr());
        let text = if coloured { text.ansi().to_string() } else { text.to_string() };
        eprintln!("{}", text.trim_end());
        return ExitCode::from(ExitReason::Usage.code());
    }

    // The first paragraph is the message. A tip and the usage are the way to mend it. Where a command is missing, the
    // text is the help, and its commands are the way.
    let text = text.to_string();
    let paragraphs: Vec<String> = text.split("\n\n").map(one_line).collect();
    let missing = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    let message = match paragraphs.first() {
        Some(first) if !missing => first.clone(),
        Some(_) | None => "expected a command".to_owned(),
    };
    let way = |part: &&String| ["tip:", "Usage:", "Commands:"].iter().any(|begin| part.starts_with(begin));
    let hint = paragraphs.iter().filter(way).map(|part| part.trim_start_matches("tip: ")).collect::<Vec<_>>();
    let hint = if hint.is_empty() { "`--help` shows the usage".to_owned() } else { hint.join("; ") };
    let diagnostic = ErrorDiagnostic {
        path: Some("command line".to_owned()),
        message: message.trim_start_matches("error: ").to_owned(),
        hint: Some(hint),
        ..ErrorDiagnostic::default()
    };
    let reason = ExitReason::Usage;
    print_report(&ErrorReport { exit_code: reason.code(), reason, errors: vec![diagnostic] }, format)
}

/// Returns the form of output that the command line asks for, also if the rest of it is wrong.
pub(crate) fn asked_format<S: AsRef<str>>(args: &[S]) -> CommandFormat {
    let args = args.iter().map(AsRef::as_ref).take_while(|arg| *arg != "--").collect::<Vec<_>>();
    let json = args.contains(&"--output=json") || args.windows(2).any(|pair| pair == ["--output", "json"]);
    if json { CommandFormat::Json } else { CommandFormat::Text }
}

/// Prints a report: as one line of JSON on standard output, or as text on standard error.
fn print_report(report: &ErrorReport, format: CommandFormat) -> ExitCode {
    // Standard output may have failed before, and then standard error is the only way left.
    let json = (format == CommandFormat::Json && !output::is_closed())
        .then(|| serde_json::to_string(report).ok())
        .flatten();
    if let Some(json) = json {
        println!("{json}");
        let _ = output::finish();
        return ExitCode::from(report.exit_code);
    }

    // One error is one line. Several have a headline.
    match &report.errors[..] {
        [one] => eprintln!("error: {}", one.text()),
        many => {
            eprintln!("error: {} mistakes:", many.len());
            many.iter().for_each(|one| eprintln!("  {}", one.text()));
        }
    }
    ExitCode::from(report.exit_code)
}

impl ErrorDiagnostic {
    /// Returns `file:line: path: message (hint)`, as compilers write it.
    fn text(&self) -> String {
        if let Some(picture) = &self.picture {
            return picture.clone();
        }
        let file = match (&self.file, self.line) {
            (Some(file), Some(line)) => format!("{file}:{line}: "),
            (Some(file), None) => format!("{file}: "),
            (None, _) => String::new(),
        };
        let path = self.path.as_ref().map_or_else(String::new, |path| format!("{path}: "));
        let hint = self.hint.as_ref().map_or_else(String::new, |hint| format!(" ({hint})"));
        format!("{file}{path}{}{hint}", self.message)
    }
}

/// Returns the report of an error: its reason, and every mistake with its place.
fn report_of(error: &anyhow::Error) -> ErrorReport {
    let (reason, hint) = reason_of(error);

    // Mistakes in configuration and contracts come all at once. One in a statement has a place in it.
    let statement =
        find::<QueryError>(error).and_then(QueryError::mistake).map(ErrorDiagnostic::of_statement);
    let errors = match find::<ConfigErrors>(error) {
        Some(mistakes) => mistakes.0.iter().map(ErrorDiagnostic::of_mistake).collect(),
        None if reason == ExitReason::Refused && statement.is_some() => statement.into_iter().collect(),
        None => vec![ErrorDiagnostic { message: message_of(error), hint, ..Default::default() }],
    };
    ErrorReport { exit_code: reason.code(), reason, errors }
}

/// Returns the text of an error with all its causes.
fn message_of(error: &anyhow::Error) -> String {
    // The text of a query's error is whole. Its causes have the same in other words.
    find::<QueryError>(error).map_or_else(|| full_text(error.as_ref()), |query| one_line(&query.to_string()))
}

impl ErrorDiagnostic {
    /// Returns the diagnostic of a mistake in a configuration or a contract.
    fn of_mistake(mistake: &sluice_runtime::config::ConfigError) -> Self {
        Self {
            file: mistake.place.as_ref().map(|place| place.file.clone()),
            line: mistake.place.as_ref().and_then(|place| place.line),
            path: Some(mistake.path.clone()).filter(|path| !path.is_empty()),
            message: mistake.message.clone(),
            hint: mistake.hint.clone(),
            picture: None,
        }
    }
}

impl ErrorDiagnostic {
    /// Returns the diagnostic of a mistake in a statement.
    fn of_statement(mistake: &SqlMistake) -> Self {
        Self {
            path: mistake.place.map(|(line, column)| format!("line {line}, column {column}")),
            message: mistake.message.clone(),
            hint: mistake.hint.clone(),
            picture: Some(mistake.to_string()),
            ..Self::default()
        }
    }
}

/// Returns the reason of an error, and the action that mends it.
fn reason_of(error: &anyhow::Error) -> (ExitReason, Option<String>) {
    let hint = |text: &str| Some(text.to_owned());

    // A contract is refused. A mistake in a setting beside it comes first, because it may be its cause.
    if let Some(mistakes) = find::<ConfigErrors>(error) {
        let settings = mistakes.0.iter().any(|mistake| mistake.origin == MistakeOrigin::Setting);
        return (if settings { ExitReason::Usage } else { ExitReason::Refused }, None);
    }

    // A worker that stopped because of its input has found something. Its configuration is valid.
    if find::<TooManyDeadLetters>(error).is_some() {
        return (ExitReason::Refused, hint("`sluice dead-letters ls` names the reasons"));
    }

    // A worker that ended well, but has something to show.
    if find::<WorkerFindings>(error).is_some() {
        return (ExitReason::Refused, None);
    }

    // A query.
    if let Some(query) = find::<QueryError>(error) {
        return match query {
            QueryError::NoLake { .. } | QueryError::Table { .. } => {
                (ExitReason::Usage, hint("give --lake the folder of the Delta tables"))
            }
            QueryError::NoTable(_)
            | QueryError::Hidden(_)
            | QueryError::Circle { .. }
            | QueryError::Ambiguous { .. } => (ExitReason::Refused, None),
            QueryError::Sql { .. } if query.is_mistake() => (ExitReason::Refused, None),
            QueryError::Sql { .. } => (ExitReason::Bug, hint(REPORT_IT)),
        };
    }

    // A neighbour, a store or a worker.
    if let Some(fault) = find::<Fault>(error) {
        let own = fault.hint().map(str::to_owned);
        return match fault.domain {
            Domain::User => (ExitReason::Usage, own),
            Domain::External => (ExitReason::Unavailable, own.or_else(|| hint("try again once it answers"))),
            Domain::Internal => (ExitReason::Bug, own.or_else(|| hint(REPORT_IT))),
        };
    }

    // The local stack, and files that the caller named.
    if let Some(stack) = find::<StackError>(error) {
        return (reason_of_stack(stack), None);
    }
    match find::<io::Error>(error) {
        Some(file) => (ExitReason::Usage, Some(hint_for_file(file.kind()).to_owned())),
        None => (ExitReason::Bug, hint(REPORT_IT)),
    }
}

/// The action after a bug of ours.
const REPORT_IT: &str = "this is a bug of Sluicegate: please report it with this message";

/// Returns the reason of a local stack that did not start.
fn reason_of_stack(stack: &StackError) -> ExitReason {
    match stack {
        StackError::NotInstalled { .. } | StackError::Io { .. } | StackError::Preparation { .. } => {
            ExitReason::Usage
        }
        StackError::Exited { .. } | StackError::NotReady { .. } => ExitReason::Unavailable,
        StackError::Unknown(_) => ExitReason::Bug,
    }
}

/// Returns the action that mends a file's error.
fn hint_for_file(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::NotFound => "give the path of a file or folder that exists",
        io::ErrorKind::PermissionDenied => "let this user read and write it, or give another path",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "make room on the disk, or give another path"
        }
        io::ErrorKind::ReadOnlyFilesystem => "give a path that can be written",
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "a file is in the place of a folder: remove it, or give another path"
        }
        io::ErrorKind::IsADirectory => "give the path of a file, not of a folder",
        io::ErrorKind::InvalidData => "expected a text in UTF-8",
        _ => "mend the path or its disk, or give another path",
    }
}

/// Finds an error of a type among an error's causes.
fn find<E: std::error::Error + Send + Sync + 'static>(error: &anyhow::Error) -> Option<&E> {
    error.chain().find_map(|cause| cause.downcast_ref::<E>())
}

/// Returns a copy of an I/O error, which cannot be cloned.
fn copy_of(error: &io::Error) -> io::Error {
    error
        .raw_os_error()
        .map_or_else(|| io::Error::new(error.kind(), error.to_string()), io::Error::from_raw_os_error)
}

/// Joins the lines of a paragraph.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use anyhow::Context as _;

    use super::*;

    fn code_of(error: impl Into<anyhow::Error>) -> u8 {
        report_of(&error.into()).exit_code
    }

    #[test]
    fn each_kind_of_error_has_its_code() {
        assert_eq!(code_of(ConfigErrors::one("group", "is empty", None)), 64);
        assert_eq!(code_of(Fault::user("asking", "401")), 64);
        assert_eq!(code_of(Fault::outage("asking", "503")), 75);
        assert_eq!(code_of(Fault::bug("counting", "-1")), 70);
        assert_eq!(code_of(io::Error::from(io::ErrorKind::StorageFull)), 64);
        assert_eq!(code_of(anyhow::anyhow!("nobody knows")), 70);
        assert_eq!(code_of(WorkerFindings(vec!["3 ids died".to_owned()]).into_fault("collecting")), 1);
        let mut contract = ConfigErrors::one("id", "expected a masking", None);
        contract.0[0].origin = MistakeOrigin::Contract;
        assert_eq!(code_of(contract), 1);
        let nested: anyhow::Result<()> = Err(Fault::outage("asking", "503").into());
        assert_eq!(code_of(nested.context("planning").unwrap_err()), 75);
    }

    #[test]
    fn a_cause_is_printed_once_with_its_hint_behind_it() {
        let fault = Fault::outage("asking the registry", io::Error::other("refused")).with_hint("start it");
        let error = anyhow::Error::new(fault).context("planning");
        let report = report_of(&error);
        assert_eq!(report.errors[0].text(), "planning: asking the registry: refused (start it)");
    }

    #[test]
    fn the_form_of_errors_is_the_one_that_was_asked_for() {
        assert_eq!(asked_format(&["plan", "--output", "json"]), CommandFormat::Json);
        assert_eq!(asked_format(&["plan", "--output=json"]), CommandFormat::Json);
        assert_eq!(asked_format(&["plan", "--", "--output=json"]), CommandFormat::Text);
    }
}
