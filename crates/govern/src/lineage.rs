//! Column lineage of SQL: which columns of which tables end up in each column of a query, and which decide its rows.
//!
//! ```text
//!  SQL ─► sqlparser ─► Resolver (scopes, CTEs, subqueries, set operations) ─► Lineage { columns, decides, reads }
//! ```
//!
//! Two rules keep it safe to build a proof on. It errs on the large side: an expression comes from everything that is
//! named in it, a subquery included. And it is closed: a name that cannot be found, or could mean two things, a clause
//! or a kind of join whose columns are not known for certain, is refused and never waved through. At the end every
//! relation that stands anywhere in the text must be one that was resolved.
//!
//! Refused although databases know it: recursive CTEs, table functions, `*` over `USING`, `NATURAL`, semi and anti
//! joins, `UNION BY NAME`, `PIVOT`, lambdas, and everything that writes.

mod expression;
mod from;
mod names;
mod query;
mod scope;

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sqlparser::ast::{Query, Spanned, Statement, visit_relations};
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::{Parser, ParserError};

pub(crate) use names::{BaseColumn, BaseTable, LineageTables};
use scope::{QueryScope, ScopeColumn};

/// Longest text of a view, in bytes: a page of SQL, and no more depth than a stack holds.
const SQL_LIMIT: usize = 64 << 10;

/// A leaf of a base table: where a column comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ColumnOrigin {
    /// SQL name of the table or view.
    pub(crate) relation: String,
    /// Path of the leaf in it.
    pub(crate) leaf: String,
}

/// What becomes of the columns that a query reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct QueryLineage {
    /// Columns of the answer in order, each with everything it comes from.
    pub(crate) columns: Vec<(String, BTreeSet<ColumnOrigin>)>,
    /// What decides which rows there are, and in which order: filters, joins, groups.
    pub(crate) decides: BTreeSet<ColumnOrigin>,
    /// SQL names of the tables and views it reads, whether or not a column of them is used.
    pub(crate) reads: BTreeSet<String>,
}

/// Why the lineage of a query is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LineageRefusal {
    /// Line in the SQL, from 1.
    pub(crate) line: u32,
    pub(crate) message: String,
    pub(crate) hint: String,
}

/// The query that a text holds; exactly one, and nothing that writes.
pub(crate) fn parse(sql: &str) -> Result<Box<Query>, LineageRefusal> {
    if sql.len() > SQL_LIMIT {
        return Err(refused(1, "longer than 64 KiB", "divide it into several views"));
    }
    let statements = Parser::parse_sql(&GenericDialect {}, sql).map_err(|error| syntax(&error))?;
    let mut statements = statements.into_iter();
    match (statements.next(), statements.next()) {
        (Some(Statement::Query(query)), None) => Ok(query),
        (None, _) => Err(refused(1, "no query", "a view's file holds one SELECT")),
        (Some(_), Some(second)) => {
            Err(refused(line_of(&second), "a second statement", "a view's file holds one SELECT"))
        }
        (Some(other), None) => Err(refused(
            line_of(&other),
            "not a query",
            "a view's file holds one SELECT, without CREATE VIEW",
        )),
    }
}

/// The lineage of a query over these tables.
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
    // The parser's own walk finds every relation there is; one that was not resolved would be a hole in the proof.
    let missed = visit_relations(query, |name| match resolver.seen.contains(&name.to_string()) {
        true => ControlFlow::Continue(()),
        false => ControlFlow::Break((line_of(name), name.to_string())),
    });
    if let ControlFlow::Break((line, name)) = missed {
        let message = format!("`{name}` stands in a place whose lineage is not known");
        return Err(refused(line, message, "write it as a join or a subquery"));
    }
    let columns = columns.into_iter().map(|column| (column.name, column.origins)).collect();
    Ok(QueryLineage { columns, decides: resolver.decides, reads: resolver.reads })
}

/// Everything that is open while a query is resolved.
struct LineageResolver<'t> {
    tables: &'t LineageTables,
    decides: BTreeSet<ColumnOrigin>,
    reads: BTreeSet<String>,
    /// Names of relations as written, once resolved.
    seen: BTreeSet<String>,
    /// Common table expressions that can be named here, inner last.
    ctes: Vec<(String, Vec<ScopeColumn>)>,
    /// What can be named in expressions here, inner last.
    scopes: Vec<QueryScope>,
}

fn refused(line: u32, message: impl Into<String>, hint: impl Into<String>) -> LineageRefusal {
    LineageRefusal { line: line.max(1), message: message.into(), hint: hint.into() }
}

fn line_of(node: &impl Spanned) -> u32 {
    u32::try_from(node.span().start.line).unwrap_or(1).max(1)
}

/// The parser's words, with the line they end in taken out.
fn syntax(error: &ParserError) -> LineageRefusal {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text.as_str(),
        ParserError::RecursionLimitExceeded => "nested too deeply",
    };
    let (message, place) = text.split_once(" at Line: ").unwrap_or((text, "1"));
    let digits: String = place.chars().take_while(char::is_ascii_digit).collect();
    refused(digits.parse().unwrap_or(1), format!("not SQL: {message}"), "a view's file holds one SELECT")
}

#[cfg(test)]
mod tests;
