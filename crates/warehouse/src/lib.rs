//! SQL over the lake: every topic's Delta table under its name, read with DataFusion.
//!
//! A topic's table goes by the topic's name made SQL-friendly (`aviation.flight.masked.v1` →
//! `aviation_flight_masked_v1`), and by the topic's own name in double quotes. Only the tables and views that a query
//! names are opened, a view after everything that it reads.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod print;

use std::collections::BTreeSet;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{DataFrame, SQLOptions, SessionConfig, SessionContext};
use deltalake::{DeltaTable, DeltaTableError};
use sluice_contract::sql_name;
use url::Url;

pub use print::{QueryFormat, print};

/// Bytes that a query's operators may hold before they spill to disk.
const MEMORY: usize = 128 << 20;
/// Threads' worth of work at a time.
const PARALLEL: usize = 2;

/// A query that has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// There is no lake to ask.
    #[error("no lake at {path}: {source}")]
    NoLake {
        /// Where it was looked for.
        path: PathBuf,
        /// What the file system said.
        source: std::io::Error,
    },
    /// The query names a table that is not there.
    #[error("there is no table or view `{name}`; {}", describe(tables))]
    NoTable {
        /// As the query names it.
        name: String,
        /// The SQL names there are.
        tables: Vec<String>,
    },
    /// A view that reads itself, through others or at once.
    #[error("the view `{name}` is made of itself: {}", way.join(" -> "))]
    Circle {
        /// The view.
        name: String,
        /// From the view to itself.
        way: Vec<String>,
    },
    /// Two topics whose names become the same in SQL.
    #[error("`{name}` could be {}; write one of them in double quotes", topics.join(" or "))]
    Ambiguous {
        /// The SQL-friendly name.
        name: String,
        /// The topics it could mean.
        topics: Vec<String>,
    },
    /// A table that cannot be opened.
    #[error("the table of {topic} cannot be opened: {source}")]
    Table {
        /// Whose table.
        topic: String,
        /// What delta-rs said.
        source: Box<DeltaTableError>,
    },
    /// SQL that is not valid, or that fails.
    #[error("{source}; {}", describe(tables))]
    Sql {
        /// What DataFusion said.
        source: Box<DataFusionError>,
        /// The SQL names there are.
        tables: Vec<String>,
    },
}

fn describe(tables: &[String]) -> String {
    if tables.is_empty() {
        "the lake has no tables yet".into()
    } else {
        format!("tables: {}", tables.join(", "))
    }
}

/// The lake's tables: SQL-friendly name and topic.
///
/// # Errors
/// [`QueryError::NoLake`].
pub fn tables(lake: &Path) -> Result<Vec<(String, String)>, QueryError> {
    let no_lake = |source| QueryError::NoLake { path: lake.to_owned(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(lake).map_err(no_lake)? {
        let entry = entry.map_err(no_lake)?;
        if let Ok(topic) = entry.file_name().into_string()
            && entry.path().join("_delta_log").is_dir()
        {
            found.push((sql_name(&topic), topic));
        }
    }
    found.sort();
    Ok(found)
}

/// A SELECT under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WarehouseView {
    /// Its name in SQL.
    pub name: String,
    /// The SELECT.
    pub sql: String,
}

/// Answers `sql` (a `SELECT`; nothing that writes) over the lake's tables as they stand now.
///
/// # Errors
/// [`QueryError`], which lists the tables there are where that helps.
pub async fn query(lake: &Path, sql: &str) -> Result<Vec<RecordBatch>, QueryError> {
    query_with_views(lake, &[], sql).await
}

/// The same over tables and views of them. A table goes before a view of its name.
///
/// # Errors
/// As [`query`]; and [`QueryError::Circle`].
pub async fn query_with_views(
    lake: &Path,
    views: &[WarehouseView],
    sql: &str,
) -> Result<Vec<RecordBatch>, QueryError> {
    let tables = tables(lake)?;
    let session = session().map_err(|source| QueryError::Sql { source: Box::new(source), tables: vec![] })?;
    let mut asking =
        WarehouseQuery { lake, tables, views, session, known: BTreeSet::new(), open: Vec::new() };
    let answer = asking.select(sql).await?;
    let failed = |source| asking.failed(source);
    let schema = Arc::new(answer.schema().as_arrow().clone());
    let mut batches = answer.collect().await.map_err(failed)?;
    if batches.is_empty() {
        // An empty answer still has columns.
        batches.push(RecordBatch::new_empty(schema));
    }
    Ok(batches)
}

/// One query on its way.
struct WarehouseQuery<'a> {
    lake: &'a Path,
    tables: Vec<(String, String)>,
    views: &'a [WarehouseView],
    session: SessionContext,
    /// References that are registered.
    known: BTreeSet<String>,
    /// Views that are being made, outer first.
    open: Vec<String>,
}

impl WarehouseQuery<'_> {
    fn failed(&self, source: DataFusionError) -> QueryError {
        QueryError::Sql { source: Box::new(source), tables: self.names() }
    }

    fn names(&self) -> Vec<String> {
        let tables = self.tables.iter().map(|(name, _)| name.clone());
        tables.chain(self.views.iter().map(|view| view.name.clone())).collect()
    }

    /// Plans a SELECT, everything that it reads being registered first. Boxed, as views nest.
    fn select<'s>(
        &'s mut self,
        sql: &'s str,
    ) -> Pin<Box<dyn Future<Output = Result<DataFrame, QueryError>> + Send + 's>> {
        Box::pin(self.plan(sql))
    }

    async fn plan(&mut self, sql: &str) -> Result<DataFrame, QueryError> {
        let state = self.session.state();
        let parsed = state.sql_to_statement(sql, &state.config_options().sql_parser.dialect);
        let references = parsed.and_then(|statement| state.resolve_table_references(&statement));
        for reference in references.map_err(|source| self.failed(source))? {
            let name = reference.to_string();
            if !self.known.contains(&name) {
                let provider = self.provider(&reference).await?;
                let registered = self.session.register_table(reference, provider);
                registered.map_err(|source| self.failed(source))?;
                self.known.insert(name);
            }
        }
        let read_only =
            SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        self.session.sql_with_options(sql, read_only).await.map_err(|source| self.failed(source))
    }

    /// The table or view that a reference means.
    async fn provider(&mut self, reference: &TableReference) -> Result<Arc<dyn TableProvider>, QueryError> {
        let missing = match resolve(reference, &self.tables) {
            Ok(topic) => {
                let table = open(self.lake, topic).await?;
                return table.table_provider().await.map_err(|source| self.failed(source));
            }
            Err(QueryError::NoTable { name, .. }) => name,
            Err(other) => return Err(other),
        };
        let wanted = sql_name(&missing);
        let Some(view) = self.views.iter().find(|view| view.name == wanted) else {
            return Err(QueryError::NoTable { name: missing, tables: self.names() });
        };
        self.open.push(view.name.clone());
        if self.open.iter().filter(|open| **open == view.name).count() > 1 {
            let from = self.open.iter().position(|open| *open == view.name).unwrap_or_default();
            return Err(QueryError::Circle { name: view.name.clone(), way: self.open.split_off(from) });
        }
        let made = self.select(&view.sql).await?;
        self.open.pop();
        Ok(made.into_view())
    }
}

fn session() -> Result<SessionContext, DataFusionError> {
    let runtime =
        RuntimeEnvBuilder::new().with_memory_pool(Arc::new(FairSpillPool::new(MEMORY))).build_arc()?;
    let config = SessionConfig::new()
        .with_target_partitions(PARALLEL)
        // Tables are opened by us, by name; nothing else is to be listed.
        .with_information_schema(false);
    Ok(SessionContext::new_with_config_rt(config, runtime))
}

async fn open(lake: &Path, topic: &str) -> Result<DeltaTable, QueryError> {
    let failed = |source| QueryError::Table { topic: topic.to_owned(), source: Box::new(source) };
    let location =
        std::path::absolute(lake.join(topic)).ok().and_then(|path| Url::from_directory_path(path).ok());
    let location = location.ok_or_else(|| failed(DeltaTableError::InvalidTableLocation(topic.to_owned())))?;
    deltalake::open_table(location).await.map_err(failed)
}

/// The topic that a query means by `reference`.
fn resolve<'t>(reference: &TableReference, tables: &'t [(String, String)]) -> Result<&'t str, QueryError> {
    // Unquoted, `aviation.flight.v1` comes as catalog, schema and table.
    let name = [reference.catalog(), reference.schema(), Some(reference.table())];
    let name = name.into_iter().flatten().collect::<Vec<_>>().join(".");
    if let Some((_, topic)) = tables.iter().find(|(_, topic)| *topic == name) {
        return Ok(topic);
    }
    let meant = sql_name(&name);
    let topics: Vec<_> =
        tables.iter().filter(|(friendly, _)| *friendly == meant).map(|(_, topic)| topic).collect();
    match topics[..] {
        [topic] => Ok(topic),
        [] => {
            Err(QueryError::NoTable { name, tables: tables.iter().map(|(name, _)| name.clone()).collect() })
        }
        _ => Err(QueryError::Ambiguous {
            name,
            topics: topics.into_iter().map(|t| format!("\"{t}\"")).collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_a_topic_a_friendly_name_or_an_error_that_helps() {
        let tables: Vec<_> = ["a.b", "c.d", "c-d"].map(|topic| (sql_name(topic), topic.to_owned())).into();
        let ask = |name: TableReference| resolve(&name, &tables).map_err(|error| error.to_string());
        assert_eq!(ask(TableReference::bare("a.b")), Ok("a.b"));
        assert_eq!(ask(TableReference::bare("a_b")), Ok("a.b"));
        assert_eq!(ask(TableReference::partial("a", "b")), Ok("a.b"));
        assert_eq!(ask(TableReference::bare("c.d")), Ok("c.d"));
        assert!(ask(TableReference::bare("c_d")).unwrap_err().contains("could be \"c.d\" or \"c-d\""));
        assert!(ask(TableReference::bare("nope")).unwrap_err().contains("tables: a_b, c_d, c_d"));
    }
}
