//! Column lineage of SQL: the table columns from which each column of a query comes, and those that decide
//! its rows.
//!
//! ```text
//!  SQL ─► sqlparser ─► LineageResolver (scopes, CTEs, subqueries, set operations)
//!      ─► QueryLineage { columns, decides, reads }
//! ```
//!
//! Two rules make the lineage safe for a proof. It rather names too many columns than too few: an expression
//! comes from every column named in it, also in a subquery. And it is closed: a name that is unknown or
//! ambiguous is refused, and so is a clause or join whose columns are not known for certain. At the end,
//! every relation in the text must be one that was resolved.
//!
//! Databases accept more than this module does. Refused are: recursive CTEs, table functions, `*` over
//! `USING`, `NATURAL`, semi and anti joins, `UNION BY NAME`, `PIVOT`, lambdas, and every statement that
//! writes.

mod expression;
mod from;
mod names;
mod query;
mod scope;

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sqlparser::ast::{ObjectName, Query, Spanned, Statement, visit_relations};
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::{Parser, ParserError};

pub(crate) use names::{BaseColumn, BaseTable, LineageTables};
use scope::{QueryScope, ScopeColumn};

/// Longest text of a view, in bytes. It is enough for any view, and it limits the depth of the recursion.
const SQL_LIMIT: usize = 64 << 10;

/// A leaf of a base table, from which a column comes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ColumnOrigin {
    /// SQL name of the table or view.
    pub(crate) relation: String,
    /// Path of the leaf in it.
    pub(crate) leaf: String,
}

/// The use that a query makes of the columns it reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct QueryLineage {
    /// Columns of the answer in order, each with everything it comes from.
    pub(crate) columns: Vec<(String, BTreeSet<ColumnOrigin>)>,
    /// The leaves that decide the choice and the order of rows: filters, joins, groups.
    pub(crate) decides: BTreeSet<ColumnOrigin>,
    /// SQL names of the tables and views that the query reads, also of those without a used column.
    pub(crate) reads: BTreeSet<String>,
}

/// The reason why the lineage of a query is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LineageRefusal {
    /// Line in the SQL, from 1.
    pub(crate) line: u32,
    pub(crate) message: String,
    pub(crate) hint: String,
}

/// Parses the one query of a text.
///
/// # Errors
/// The text is longer than 64 KiB, is no SQL, or holds anything but exactly one query.
pub(crate) fn parse(sql: &str) -> Result<Box<Query>, LineageRefusal> {
    if sql.len() > SQL_LIMIT {
        return Err(refused(1, "the SQL is longer than 64 KiB", "divide it into several views"));
    }
    let statements = Parser::parse_sql(&GenericDialect {}, sql).map_err(|error| syntax(&error))?;
    let mut statements = statements.into_iter();
    match (statements.next(), statements.next()) {
        (Some(Statement::Query(query)), None) => Ok(query),
        (None, _) => Err(refused(1, "expected a SELECT, found no statement", ONE_SELECT)),
        (Some(_), Some(second)) => {
            Err(refused(line_of(&second), "expected one SELECT, found a second statement", ONE_SELECT))
        }
        (Some(other), None) => Err(refused(
            line_of(&other),
            "expected a SELECT, found another statement",
            "write one SELECT into each view's file, without CREATE VIEW",
        )),
    }
}

/// Returns the lineage of a query over these tables.
///
/// # Errors
/// A name, clause or join whose lineage is not known, with its line and a hint.
pub(crate) fn of(query: &Query, tables: &LineageTables) -> Result<QueryLineage, LineageRefusal> {
    let mut resolver = LineageResolver {
        tables,
        decides: BTreeSet::new(),
        reads: BTreeSet::new(),
        seen: BTreeSet::new(),
        ctes: Vec::new(),
        scopes: Vec::new(),
    };
    let columns = resolver.query(query)?;

    // The parser's own visit finds every relation of the text. An unresolved one would be a hole in the
    // proof.
    let missed = visit_relations(query, |name| match resolver.seen.contains(&std::ptr::from_ref(name)) {
        true => ControlFlow::Continue(()),
        false => ControlFlow::Break((line_of(name), name.to_string())),
    });
    if let ControlFlow::Break((line, name)) = missed {
        let message = format!("the lineage of `{name}` is not known at this place");
        return Err(refused(line, message, "write it as a join or a subquery"));
    }
    let columns = columns.into_iter().map(|column| (column.name, column.origins)).collect();
    Ok(QueryLineage { columns, decides: resolver.decides, reads: resolver.reads })
}

/// The state of a query that is being resolved.
struct LineageResolver<'t> {
    tables: &'t LineageTables,
    decides: BTreeSet<ColumnOrigin>,
    reads: BTreeSet<String>,
    /// The resolved relations, each by its place in the parsed text: one name can mean a CTE at one place and
    /// a table at another.
    seen: BTreeSet<*const ObjectName>,
    /// Common table expressions that can be named here. The innermost is the last.
    ctes: Vec<(String, Vec<ScopeColumn>)>,
    /// Columns that can be named in expressions here. The innermost scope is the last.
    scopes: Vec<QueryScope>,
}

/// The hint for a file that does not hold one query.
const ONE_SELECT: &str = "write one SELECT into each view's file";

/// Returns a refusal. Lines count from 1; the parser's 0 means that it has no line.
fn refused(line: u32, message: impl Into<String>, hint: impl Into<String>) -> LineageRefusal {
    LineageRefusal { line: line.max(1), message: message.into(), hint: hint.into() }
}

/// Returns the line of a piece of SQL, from 1.
fn line_of(node: &impl Spanned) -> u32 {
    u32::try_from(node.span().start.line).unwrap_or(1).max(1)
}

/// Returns the parser's error as a refusal.
fn syntax(error: &ParserError) -> LineageRefusal {
    // The parser appends the place to its text: `… at Line: 3, Column: 7`.
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text.as_str(),
        ParserError::RecursionLimitExceeded => "nested too deeply",
    };
    let (message, place) = text.split_once(" at Line: ").unwrap_or((text, "1"));
    let digits: String = place.chars().take_while(char::is_ascii_digit).collect();
    refused(digits.parse().unwrap_or(1), format!("not SQL: {message}"), ONE_SELECT)
}

#[cfg(test)]
mod tests;
