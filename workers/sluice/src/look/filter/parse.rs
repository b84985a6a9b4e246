//! Reads the text of `--where`.

use std::cmp::Ordering;

use chrono::{DateTime, NaiveDate, Utc};
use sluice_contract::finding::did_you_mean;
use sluice_core::names::lineage;
use sluice_wire::{LeafInfo, LeafKind, LogicalType};

use super::{FieldComparison, FieldLiteral, FieldPath, FieldStep, FieldTest, GRAMMAR};

/// The record's own columns.
const LINEAGE: [&str; 4] = [lineage::PARTITION, lineage::OFFSET, lineage::TIMESTAMP, lineage::SCHEMA_ID];

/// A mistake in the text.
#[derive(Debug)]
pub(super) struct FilterMistake {
    /// Its column, from 1.
    pub(super) column: usize,
    /// The mistake.
    pub(super) message: String,
    /// The way to mend it.
    pub(super) hint: String,
}

/// A word, a sign or a text, with its column.
#[derive(Debug, Clone, PartialEq)]
struct FilterToken {
    column: usize,
    kind: TokenKind,
}

#[derive(Debug, Clone, PartialEq)]
enum TokenKind {
    /// A field or a keyword.
    Word(String),
    /// A number.
    Number(String),
    /// A quoted text.
    Text(String),
    /// An operator.
    Sign(String),
    /// The end of the text.
    End,
}

/// The type of a field, as far as comparisons need it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ComparisonType {
    Number,
    Truth,
    Instant,
    Text,
}

/// Reads all comparisons.
pub(super) fn comparisons(text: &str, leaves: &[LeafInfo]) -> Result<Vec<FieldComparison>, FilterMistake> {
    let fields = fields(leaves);
    let tokens = tokens(text)?;
    let mut rest = &tokens[..];
    let mut all = vec![];
    loop {
        all.push(comparison(&mut rest, &fields)?);
        let joint = next(&mut rest);
        match &joint.kind {
            TokenKind::End => return Ok(all),
            TokenKind::Word(word) if word.eq_ignore_ascii_case("and") => {}
            _ => return Err(unexpected(&joint, "`and` or the end")),
        }
    }
}

/// Returns the fields that can be compared: path and type.
fn fields(leaves: &[LeafInfo]) -> Vec<(String, ComparisonType)> {
    let of_leaf = |leaf: &LeafInfo| match (leaf.leaf.logical, leaf.leaf.kind) {
        (Some(LogicalType::Decimal { .. } | LogicalType::BigDecimal), _)
        | (None, LeafKind::Int | LeafKind::Long | LeafKind::Float | LeafKind::Double) => {
            ComparisonType::Number
        }
        (None, LeafKind::Boolean) => ComparisonType::Truth,
        (
            Some(LogicalType::TimestampMillis | LogicalType::TimestampMicros | LogicalType::TimestampNanos),
            _,
        ) => ComparisonType::Instant,
        _ => ComparisonType::Text,
    };

    // The keys of a map are no values of a field.
    let of_value = leaves
        .iter()
        .filter(|leaf| !leaf.path.contains("{key}"))
        .map(|leaf| (without_branches(&leaf.path), of_leaf(leaf)));
    let own = LINEAGE.map(|name| {
        let kind = if name == lineage::TIMESTAMP { ComparisonType::Instant } else { ComparisonType::Number };
        (name.to_owned(), kind)
    });
    of_value.chain(own).collect()
}

/// Removes the branches of unions from a path: `a<Shop>.b` becomes `a.b`.
fn without_branches(path: &str) -> String {
    let mut depth = 0_usize;
    path.chars()
        .filter(|c| {
            match c {
                '<' => depth += 1,
                '>' => {
                    depth = depth.saturating_sub(1);
                    return false;
                }
                _ => {}
            }
            depth == 0
        })
        .collect()
}

/// Reads one comparison.
fn comparison(
    rest: &mut &[FilterToken],
    fields: &[(String, ComparisonType)],
) -> Result<FieldComparison, FilterMistake> {
    // The field.
    let token = next(rest);
    let TokenKind::Word(name) = &token.kind else { return Err(unexpected(&token, "a field")) };
    let Some((_, kind)) = fields.iter().find(|(field, _)| field == name) else {
        let hint = did_you_mean(name, fields.iter().map(|(field, _)| field.as_str()));
        let names: Vec<_> = fields.iter().map(|(field, _)| field.as_str()).take(40).collect();
        let hint = hint.unwrap_or_else(|| format!("fields: {}", names.join(", ")));
        return Err(FilterMistake {
            column: token.column,
            message: format!("there is no field `{name}`"),
            hint,
        });
    };

    // The operator and its right side.
    let token = next(rest);
    let test = match &token.kind {
        TokenKind::Word(word) if word.eq_ignore_ascii_case("is") => null_test(rest)?,
        TokenKind::Word(word) if word.eq_ignore_ascii_case("contains") => match next(rest) {
            FilterToken { kind: TokenKind::Text(part), .. } => FieldTest::Contains(part),
            other => return Err(unexpected(&other, "a text in quotes")),
        },
        TokenKind::Sign(sign) => {
            let orderings: &[Ordering] = match sign.as_str() {
                "=" => &[Ordering::Equal],
                "!=" | "<>" => &[Ordering::Less, Ordering::Greater],
                "<" => &[Ordering::Less],
                "<=" => &[Ordering::Less, Ordering::Equal],
                ">" => &[Ordering::Greater],
                ">=" => &[Ordering::Greater, Ordering::Equal],
                _ => return Err(unexpected(&token, "an operator")),
            };
            FieldTest::Compare(literal(&next(rest), name, *kind)?, orderings)
        }
        _ => return Err(unexpected(&token, "an operator")),
    };
    Ok(FieldComparison { field: path(name), test })
}

/// Reads the rest of `is [not] null`.
fn null_test(rest: &mut &[FilterToken]) -> Result<FieldTest, FilterMistake> {
    let is = |token: &FilterToken, keyword: &str| matches!(&token.kind, TokenKind::Word(word) if word.eq_ignore_ascii_case(keyword));
    let mut token = next(rest);
    let mut test = FieldTest::Absent;
    if is(&token, "not") {
        test = FieldTest::Present;
        token = next(rest);
    }
    if is(&token, "null") { Ok(test) } else { Err(unexpected(&token, "`null`")) }
}

/// Reads a literal for a field of this type.
fn literal(token: &FilterToken, name: &str, kind: ComparisonType) -> Result<FieldLiteral, FilterMistake> {
    let read = match (&token.kind, kind) {
        (TokenKind::Number(text), ComparisonType::Number) => {
            text.parse().ok().map(|number| FieldLiteral::Number(number, text.parse().ok()))
        }
        (TokenKind::Word(word), ComparisonType::Truth) => {
            word.to_ascii_lowercase().parse().ok().map(FieldLiteral::Truth)
        }
        (TokenKind::Text(text), ComparisonType::Text) => Some(FieldLiteral::Text(text.clone())),
        (TokenKind::Text(text), ComparisonType::Instant) => instant(text).map(FieldLiteral::Instant),
        _ => None,
    };
    read.ok_or_else(|| {
        let (expected, example) = match kind {
            ComparisonType::Number => ("a number", "12.5"),
            ComparisonType::Truth => ("true or false", "true"),
            ComparisonType::Instant => ("a time in quotes", "'2026-11-27T10:00:00Z'"),
            ComparisonType::Text => ("a text in quotes", "'UA'"),
        };
        FilterMistake {
            column: token.column,
            message: format!("expected {expected} for the field `{name}`"),
            hint: format!("write for example: {name} = {example}; or: {name} is null"),
        }
    })
}

/// Reads a time by RFC 3339, or a date, which means its first moment in UTC.
fn instant(text: &str) -> Option<DateTime<Utc>> {
    let time = DateTime::parse_from_rfc3339(text).map(|time| time.to_utc());
    time.ok().or_else(|| Some(text.parse::<NaiveDate>().ok()?.and_hms_opt(0, 0, 0)?.and_utc()))
}

/// Takes a known field's name apart.
fn path(name: &str) -> FieldPath {
    if let Some(own) = LINEAGE.into_iter().find(|own| *own == name) {
        return FieldPath::Lineage(own);
    }
    let mut steps = vec![];
    for part in name.split('.') {
        // `a[]{}` is an array of maps in the field `a`.
        let end = part.find(['[', '{']).unwrap_or(part.len());
        let (field, mut marks) = part.split_at(end);
        if !field.is_empty() {
            steps.push(FieldStep::Field(field.to_owned()));
        }
        while let Some(mark) = marks.get(..2) {
            steps.push(if mark == "[]" { FieldStep::Items } else { FieldStep::Entries });
            marks = &marks[2..];
        }
    }
    FieldPath::Value(steps)
}

/// Returns the next token; at the end again and again the end.
fn next(rest: &mut &[FilterToken]) -> FilterToken {
    match rest.split_first() {
        Some((first, behind)) => {
            // The end stays.
            if !behind.is_empty() {
                *rest = behind;
            }
            first.clone()
        }
        None => FilterToken { column: 1, kind: TokenKind::End },
    }
}

/// Returns the mistake of a token that does not belong there.
fn unexpected(token: &FilterToken, expected: &str) -> FilterMistake {
    let found = match &token.kind {
        TokenKind::Word(word) | TokenKind::Number(word) | TokenKind::Sign(word) => format!("`{word}`"),
        TokenKind::Text(_) => "a text".to_owned(),
        TokenKind::End => "the end".to_owned(),
    };
    let message = format!("expected {expected}, found {found}");
    FilterMistake { column: token.column, message, hint: GRAMMAR.to_owned() }
}

/// Cuts the text into tokens. The last one is the end.
fn tokens(text: &str) -> Result<Vec<FilterToken>, FilterMistake> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = vec![];
    let mut at = 0;
    while let Some(&first) = chars.get(at) {
        let column = at + 1;
        let run =
            |keep: &dyn Fn(char) -> bool| chars[at..].iter().take_while(|c| keep(**c)).collect::<String>();
        let kind = match first {
            c if c.is_whitespace() => {
                at += 1;
                continue;
            }
            '\'' | '"' => {
                let (text, length) = quoted(&chars[at..]).ok_or_else(|| FilterMistake {
                    column,
                    message: "the text that begins here has no closing quote".to_owned(),
                    hint: "write a quote twice inside a text: 'it''s'".to_owned(),
                })?;
                at += length;
                TokenKind::Text(text)
            }
            '=' | '!' | '<' | '>' => TokenKind::Sign(run(&|c| matches!(c, '=' | '!' | '<' | '>'))),
            '-' | '+' | '0'..='9' => {
                TokenKind::Number(run(&|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.')))
            }
            c if c.is_alphabetic() || c == '_' => TokenKind::Word(run(&|c| {
                c.is_alphanumeric() || matches!(c, '_' | '.' | '[' | ']' | '{' | '}')
            })),
            other => {
                let message = format!("unexpected `{other}`");
                return Err(FilterMistake { column, message, hint: GRAMMAR.to_owned() });
            }
        };
        if let TokenKind::Word(run) | TokenKind::Number(run) | TokenKind::Sign(run) = &kind {
            at += run.chars().count();
        }
        tokens.push(FilterToken { column, kind });
    }
    tokens.push(FilterToken { column: chars.len() + 1, kind: TokenKind::End });
    Ok(tokens)
}

/// Reads a quoted text: the text, and the number of characters with the quotes. A quote that is written twice is one
/// quote of the text.
fn quoted(chars: &[char]) -> Option<(String, usize)> {
    let (quote, _) = chars.split_first()?;
    let mut text = String::new();
    let mut at = 1;
    loop {
        let c = chars.get(at)?;
        at += 1;
        if c == quote {
            if chars.get(at) != Some(quote) {
                return Some((text, at));
            }
            at += 1;
        }
        text.push(*c);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use sluice_wire::DatumSchema;

    use super::*;

    const SCHEMA: &str = r#"{"type":"record","name":"R","fields":[
        {"name":"n","type":"long"}, {"name":"carrier","type":"string"}, {"name":"ok","type":"boolean"},
        {"name":"at","type":{"type":"long","logicalType":"timestamp-micros"}},
        {"name":"u","type":["null",{"type":"record","name":"A","fields":[{"name":"x","type":"int"}]},
            {"type":"record","name":"B","fields":[{"name":"y","type":"int"}]}]}]}"#;

    /// Returns column, message and hint of the mistake in a text.
    fn mistake(text: &str) -> (usize, String, String) {
        let leaves = DatumSchema::parse(SCHEMA).unwrap().leaves();
        let FilterMistake { column, message, hint } = comparisons(text, &leaves).err().unwrap();
        (column, message, hint)
    }

    #[test]
    fn each_mistake_names_its_column_and_the_way_to_mend_it() {
        for (text, column, message, hint) in [
            ("carier = 'UA'", 1, "no field `carier`", "did you mean `carrier`?"),
            ("n = 1 and quarter = 2", 11, "no field `quarter`", "fields: n, carrier"),
            ("n = 'x'", 5, "expected a number for the field `n`", "n = 12.5"),
            ("carrier = UA", 11, "expected a text in quotes", "carrier = 'UA'"),
            ("ok = 1", 6, "expected true or false", "ok = true"),
            ("at > 12", 6, "expected a time in quotes", "2026-11-27T10:00:00Z"),
            ("at > 'yesterday'", 6, "expected a time in quotes", "2026-11-27T10:00:00Z"),
            ("n", 2, "expected an operator, found the end", "write for example"),
            ("n => 1", 3, "expected an operator, found `=>`", "write for example"),
            ("n is nil", 6, "expected `null`, found `nil`", "write for example"),
            ("n = 1 or n = 2", 7, "expected `and` or the end, found `or`", "write for example"),
            ("carrier = 'UA", 11, "no closing quote", "twice"),
            ("n = 1;", 6, "unexpected `;`", "write for example"),
            ("", 1, "expected a field, found the end", "write for example"),
        ] {
            let found = mistake(text);
            assert_eq!(found.0, column, "{text}: {found:?}");
            assert!(found.1.contains(message) && found.2.contains(hint), "{text}: {found:?}");
        }
    }

    #[test]
    fn a_path_leaves_the_branches_of_unions_out() {
        let leaves = DatumSchema::parse(SCHEMA).unwrap().leaves();
        assert!(comparisons("u.x = 1 and u.y = 2", &leaves).is_ok());
        let steps = vec![
            FieldStep::Field("a".to_owned()),
            FieldStep::Items,
            FieldStep::Entries,
            FieldStep::Field("b".to_owned()),
        ];
        assert_eq!(path("a[]{}.b"), FieldPath::Value(steps));
    }
}
