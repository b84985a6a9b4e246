//! A mistake in a statement: its place, a caret below it, and the name that was probably meant.

use std::fmt;

use datafusion::common::{Column, SchemaError};
use datafusion::error::DataFusionError;
use sluice_contract::finding::did_you_mean;

/// Names that are listed in a hint.
const MOST_NAMES: usize = 40;

/// The statements that are answered.
const READS_ONLY: &str = "SELECT, EXPLAIN, SHOW TABLES and DESCRIBE <table> are answered";

/// A mistake in a statement, or its failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlMistake {
    /// The mistake, for the author of the statement.
    pub message: String,
    /// Line and column in the statement, from 1, if they are known.
    pub place: Option<(usize, usize)>,
    /// The line of the statement at that place.
    line: String,
    /// The way to mend it.
    pub hint: Option<String>,
}

impl SqlMistake {
    /// Describes an error of DataFusion about a statement.
    pub(crate) fn of(error: &DataFusionError, sql: &str) -> Self {
        // Columns have a message of ours, because DataFusion's lists all columns in one line.
        let root = error.find_root();
        if let DataFusionError::SchemaError(schema, _) = root
            && let SchemaError::FieldNotFound { field, valid_fields } = schema.as_ref()
        {
            return Self::no_column(field, valid_fields, sql);
        }

        // The place is in the text of a parser's error, or beside that of the planner.
        let (mut message, mut place) = match root {
            DataFusionError::SQL(parser, _) => parser_message(&parser.to_string(), sql),
            root => (plain(&root.to_string()), None),
        };
        if let Some(span) = error.diagnostic().and_then(|diagnostic| diagnostic.span) {
            place = usize::try_from(span.start.line).ok().zip(usize::try_from(span.start.column).ok());
        }

        // Other messages quote the name that they are about.
        let place = place.filter(|place| *place != (0, 0)).or_else(|| find_word(sql, quoted_name(&message)?));
        let hint = match message.split_once("\nDid you mean") {
            Some((first, name)) => {
                let hint = format!("did you mean{}", name.trim_end());
                message = first.trim_end_matches('.').to_owned();
                Some(hint)
            }
            // A statement that writes, for example.
            None if place.is_none() && matches!(root, DataFusionError::Plan(_)) => {
                Some(READS_ONLY.to_owned())
            }
            None => None,
        };
        Self::at(message, place, sql, hint)
    }

    /// Describes a name that is neither a table nor a view.
    pub(crate) fn no_table(name: &str, sql: &str, tables: &[String]) -> Self {
        let near = did_you_mean(name, tables.iter().map(String::as_str));
        // A name with dots is found by its last part, too: DataFusion reads it as catalogue, schema and table.
        let place = find_word(sql, name).or_else(|| find_word(sql, name.rsplit('.').next()?));
        let hint = match near {
            Some(near) => format!("{near} {}", describe_tables(tables)),
            None => describe_tables(tables),
        };
        Self::at(format!("there is no table or view `{name}`"), place, sql, Some(hint))
    }

    /// Describes a column that no table of the statement has.
    fn no_column(field: &Column, valid: &[Column], sql: &str) -> Self {
        let name = &field.name;
        let place = field.spans.first().and_then(|span| {
            usize::try_from(span.start.line).ok().zip(usize::try_from(span.start.column).ok())
        });
        let place = place.or_else(|| find_word(sql, name));
        let mut names: Vec<&str> = valid.iter().map(|column| column.name.as_str()).collect();
        names.dedup();

        let near = did_you_mean(name, names.iter().copied());
        let more = if names.len() > MOST_NAMES { ", …" } else { "" };
        let listed = names.iter().take(MOST_NAMES).copied().collect::<Vec<_>>().join(", ");
        let hint = match near {
            Some(near) => Some(format!("{near} columns: {listed}{more}")),
            None => (!names.is_empty()).then(|| format!("columns: {listed}{more}")),
        };
        Self::at(format!("there is no column `{name}`"), place, sql, hint)
    }

    /// Returns a mistake with the line of its place.
    fn at(message: String, place: Option<(usize, usize)>, sql: &str, hint: Option<String>) -> Self {
        let line = place.and_then(|(line, _)| sql.lines().nth(line.checked_sub(1)?));
        let line = line.unwrap_or_default().replace('\t', " ");
        Self { message, place: place.filter(|_| !line.is_empty()), line, hint }
    }
}

impl fmt::Display for SqlMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some((line, column)) = self.place {
            // The caret is below the character: both lines have the same frame.
            let number = line.to_string();
            let frame = " ".repeat(number.len());
            let blanks = " ".repeat(column.saturating_sub(1));
            write!(f, "\n {number} | {}\n {frame} | {blanks}^", self.line)?;
        }
        match &self.hint {
            Some(hint) => write!(f, "\n{hint}"),
            None => Ok(()),
        }
    }
}

/// Lists the SQL names of tables and views.
pub(crate) fn describe_tables(tables: &[String]) -> String {
    // A lake is empty until the sink has learned its first schema.
    if tables.is_empty() {
        return "the lake has no tables yet".into();
    }
    let more = if tables.len() > MOST_NAMES { ", … (SHOW TABLES lists them all)" } else { "" };
    format!("tables: {}{more}", tables.iter().take(MOST_NAMES).cloned().collect::<Vec<_>>().join(", "))
}

/// Takes the place out of a parser's message: `…, found: x at Line: 1, Column: 8`. An unexpected end is behind the last
/// character.
fn parser_message(message: &str, sql: &str) -> (String, Option<(usize, usize)>) {
    let message = message.trim_start_matches("sql parser error: ");
    if let Some((text, place)) = message.rsplit_once(" at Line: ") {
        let place = place.split_once(", Column").and_then(|(line, column)| {
            let column = column.trim_matches(|c: char| !c.is_ascii_digit());
            Some((line.trim().parse().ok()?, column.parse().ok()?))
        });
        return (plain(text), place);
    }

    let last = sql.trim_end().lines().enumerate().last();
    let end = last.map(|(line, text)| (line + 1, text.trim_end_matches(';').chars().count() + 1));
    (plain(message), end.filter(|_| message.contains("found: EOF")))
}

/// Returns a message of DataFusion without its class in front and without its list of causes.
fn plain(message: &str) -> String {
    let message = [
        "Error during planning: ",
        "SQL error: ",
        "Execution error: ",
        "Schema error: ",
        "This feature is not implemented: ",
        "Arrow error: ",
    ]
    .iter()
    .fold(message, |message, class| message.strip_prefix(class).unwrap_or(message));
    message.trim().to_owned()
}

/// Returns the first name in quotes.
fn quoted_name(message: &str) -> Option<&str> {
    let start = message.find(['\'', '"', '`'])?;
    let quote = message[start..].chars().next()?;
    let name = &message[start + 1..];
    name.find(quote).map(|end| &name[..end]).filter(|name| !name.is_empty())
}

/// Returns line and column, from 1, of a word in a statement, in any case. Texts in single quotes and comments are left
/// out.
fn find_word(sql: &str, word: &str) -> Option<(usize, usize)> {
    let wanted: Vec<char> = word.to_lowercase().chars().collect();
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    for (number, line) in sql.lines().enumerate() {
        let line = line.split("--").next().unwrap_or_default();
        let chars: Vec<char> = line.chars().flat_map(char::to_lowercase).collect();
        let mut in_text = false;
        for (at, c) in chars.iter().enumerate() {
            in_text ^= *c == '\'';
            let before = at.checked_sub(1).and_then(|at| chars.get(at));
            let behind = chars.get(at + wanted.len());
            let alone = !before.is_some_and(|c| is_word(*c)) && !behind.is_some_and(|c| is_word(*c));
            if !in_text && alone && !wanted.is_empty() && chars[at..].starts_with(&wanted) {
                return Some((number + 1, at + 1));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_parsers_error_is_taken_out_of_its_text() {
        let (message, place) = parser_message(
            "sql parser error: Expected: an expression, found: FROM at Line: 2, Column: 8",
            "select\n       from t",
        );
        assert_eq!((message.as_str(), place), ("Expected: an expression, found: FROM", Some((2, 8))));
        let (_, place) =
            parser_message("sql parser error: Expected: an expression, found: EOF", "select\n1 +;");
        assert_eq!(place, Some((2, 4)));
    }

    #[test]
    fn a_word_is_found_outside_of_texts_and_longer_words() {
        assert_eq!(find_word("select 'delai', delais,\n Delai from t", "delai"), Some((2, 2)));
        assert_eq!(find_word("select delays from t -- delai", "delai"), None);
    }

    #[test]
    fn a_mistake_is_shown_with_a_caret_below_its_place() {
        let tables = ["flights".to_owned(), "planes".to_owned()];
        let mistake = SqlMistake::no_table("flihgts", "select 1\nfrom flihgts", &tables);
        assert_eq!(
            mistake.to_string(),
            "there is no table or view `flihgts`\n 2 | from flihgts\n   |      ^\n\
             did you mean `flights`? tables: flights, planes"
        );
    }
}
