//! The statements that were entered at the prompt, in a file of the user's state folder.

use std::collections::VecDeque;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;

use dialoguer::History;

/// Statements that are kept.
const MOST: usize = 1_000;

/// The statements of earlier prompts and of this one, the newest first.
pub(super) struct StatementHistory {
    statements: VecDeque<String>,
    /// `None` if the user has no folder for it.
    file: Option<PathBuf>,
}

impl StatementHistory {
    /// Reads the file. A file that cannot be read is an empty history: a prompt without one is of use, too.
    pub(super) fn open(file: Option<PathBuf>) -> Self {
        let text = file.as_ref().and_then(|file| fs::read_to_string(file).ok()).unwrap_or_default();
        let mut statements: VecDeque<String> = text.lines().rev().map(str::to_owned).collect();

        // A file that has grown too long is written again with its newest half.
        if statements.len() > MOST {
            statements.truncate(MOST / 2);
            if let Some(file) = &file {
                let newest: String =
                    statements.iter().rev().map(|statement| format!("{statement}\n")).collect();
                let _ = fs::write(file, newest);
            }
        }
        Self { statements, file }
    }

    /// Adds a statement, in one line.
    pub(super) fn add(&mut self, statement: &str) {
        let line = statement.split_whitespace().collect::<Vec<_>>().join(" ");
        if line.is_empty() || self.statements.front() == Some(&line) {
            return;
        }
        if let Some(file) = &self.file {
            append(file, &line);
        }
        self.statements.push_front(line);
        self.statements.truncate(MOST);
    }
}

/// Appends a line. A statement can hold a value of a person, so the file is its owner's alone. A disk that is full ends
/// no prompt.
fn append(file: &PathBuf, line: &str) {
    use std::os::unix::fs::OpenOptionsExt as _;
    if let Some(folder) = file.parent() {
        let _ = fs::create_dir_all(folder);
    }
    let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(file);
    if let Ok(mut opened) = opened {
        let _ = writeln!(opened, "{line}");
    }
}

impl History<String> for StatementHistory {
    fn read(&self, pos: usize) -> Option<String> {
        self.statements.get(pos).cloned()
    }

    // Lines are added when their statement is complete.
    fn write(&mut self, _line: &String) {}
}

/// Returns the history's file: `$XDG_STATE_HOME/sluice/sql_history`, or below `~/.local/state`.
pub(super) fn file() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let state = folder("XDG_STATE_HOME").filter(|folder| folder.is_absolute());
    let state = state.or_else(|| folder("HOME").map(|home| home.join(".local/state")))?;
    Some(state.join("sluice/sql_history"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_statement_is_there_at_the_next_prompt_in_one_line() {
        let folder = std::env::temp_dir().join(format!("sluice-history-{}", std::process::id()));
        let file = folder.join("state/sql_history");
        let mut history = StatementHistory::open(Some(file.clone()));
        history.add("select 1\n  from t");
        history.add("select 1 from t");
        history.add("select 2");

        let next = StatementHistory::open(Some(file.clone()));
        let read = |pos| History::<String>::read(&next, pos);
        assert_eq!(read(0).as_deref(), Some("select 2"));
        assert_eq!(read(1).as_deref(), Some("select 1 from t"));
        assert_eq!(read(2), None);

        // Only its owner may read it.
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        fs::remove_dir_all(folder).unwrap();
    }
}
