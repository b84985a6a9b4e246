//! Cuts a text into statements at its semicolons.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

/// A text that was cut at its semicolons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitStatements {
    /// The statements that end with a semicolon, without it.
    pub complete: Vec<String>,
    /// The rest behind the last semicolon: a statement that has not ended, or only blanks and comments.
    pub rest: String,
}

/// Cuts a text into statements. A semicolon in a text, a quoted name or a comment ends nothing.
pub fn split_statements(text: &str) -> SplitStatements {
    // A text or comment that is not closed has not ended: its author goes on in the next line.
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location() else {
        return SplitStatements { complete: vec![], rest: text.to_owned() };
    };

    // The tokenizer counts lines and columns in characters.
    let starts: Vec<usize> =
        std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
    let byte_of = |line: u64, column: u64| {
        let start = usize::try_from(line).ok().and_then(|line| starts.get(line.checked_sub(1)?))?;
        let column = usize::try_from(column).ok()?.checked_sub(1)?;
        Some(text[*start..].char_indices().nth(column).map_or(text.len(), |(at, _)| start + at))
    };

    let mut complete = vec![];
    let mut from = 0;
    for token in tokens.iter().filter(|token| token.token == Token::SemiColon) {
        let Some(end) = byte_of(token.span.start.line, token.span.start.column) else { continue };
        let statement = text[from..end].trim();
        if !statement.is_empty() {
            complete.push(statement.to_owned());
        }
        from = end + 1;
    }
    SplitStatements { complete, rest: text[from..].to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn semicolons_in_texts_names_and_comments_end_nothing() {
        let text = "select ';é' ;\n -- not; here\nselect \";\" /* ; */ from t; ;\nselect 1";
        let split = split_statements(text);
        assert_eq!(split.complete, ["select ';é'", "-- not; here\nselect \";\" /* ; */ from t"]);
        assert_eq!(split.rest, "\nselect 1");
    }

    #[test]
    fn an_open_text_has_not_ended() {
        let split = split_statements("select 'a;\n");
        assert_eq!((split.complete.len(), split.rest.as_str()), (0, "select 'a;\n"));
    }
}
