//! SQL over the lake: every topic's Delta table under its name, read with DataFusion.
//!
//! A topic's table has two names in SQL: the topic's name made SQL-friendly (`aviation.flight.masked.v1` →
//! `aviation_flight_masked_v1`), and the topic's own name in double quotes. Only the tables and views that a
//! query names are opened. The tables and views that a view reads are opened before it.
//!
//! Lineage columns go by both of their spellings: by the table's own, and by the other one.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod listing;
mod mistake;
mod print;
mod scans;
mod spelling;
mod statements;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::datasource::empty::EmptyTable;
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{DataFrame, SQLOptions, SessionConfig, SessionContext};
use deltalake::{DeltaTable, DeltaTableError};
use sluice_contract::sql_name;
use spelling::LineageAliases;
use url::Url;

pub use mistake::SqlMistake;
pub use print::{QueryFormat, print, row_count, write_parquet};
pub use scans::{TopicSchemas, hidden_views, scanned_tables};
pub use statements::{SplitStatements, split_statements};

/// Bytes that a query's operators may hold before they spill to disk.
const MEMORY: usize = 128 << 20;
/// Partitions of a query's work that run at a time.
const PARALLEL: usize = 2;

/// The reason why a query has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The lake's folder cannot be listed.
    #[error("no lake at {path}: {source}")]
    NoLake {
        /// The folder.
        path: PathBuf,
        /// The error of the file system.
        source: std::io::Error,
    },
    /// The query names a table or view that does not exist.
    #[error("{0}")]
    NoTable(Box<SqlMistake>),
    /// The query names a table that is not shown to the user who asks.
    #[error("{0}")]
    Hidden(Box<SqlMistake>),
    /// A view that reads itself, directly or through other views.
    #[error("the view `{name}` reads itself: {}", way.join(" -> "))]
    Circle {
        /// The view.
        name: String,
        /// The views from the view to itself.
        way: Vec<String>,
    },
    /// Topics whose names become the same in SQL.
    #[error("`{name}` could be {}; write one of them in double quotes", topics.join(" or "))]
    Ambiguous {
        /// The SQL-friendly name.
        name: String,
        /// The possible topics, in double quotes.
        topics: Vec<String>,
    },
    /// A table that cannot be opened.
    #[error("the table of {topic} cannot be opened: {source}")]
    Table {
        /// The table's topic.
        topic: String,
        /// The error of delta-rs.
        source: Box<DeltaTableError>,
    },
    /// SQL that is not valid, or that fails.
    #[error("{mistake}")]
    Sql {
        /// The mistake, with its place in the statement.
        mistake: Box<SqlMistake>,
        /// The error of DataFusion. It is no source: the mistake has its text.
        cause: Box<DataFusionError>,
    },
}

impl QueryError {
    /// Returns the mistake in the statement, if it has a place there.
    pub fn mistake(&self) -> Option<&SqlMistake> {
        match self {
            Self::NoTable(mistake) | Self::Hidden(mistake) | Self::Sql { mistake, .. } => Some(mistake),
            _ => None,
        }
    }

    /// Tells whether the statement is wrong: its author can mend it. Other errors are about the lake, or bugs.
    pub fn is_mistake(&self) -> bool {
        match self {
            Self::NoTable(_) | Self::Hidden(_) | Self::Circle { .. } | Self::Ambiguous { .. } => true,
            Self::NoLake { .. } | Self::Table { .. } => false,
            Self::Sql { cause, .. } => matches!(
                cause.find_root(),
                DataFusionError::SQL(..)
                    | DataFusionError::Plan(_)
                    | DataFusionError::SchemaError(..)
                    | DataFusionError::NotImplemented(_)
                    | DataFusionError::Configuration(_)
                    | DataFusionError::Execution(_)
                    | DataFusionError::ArrowError(..)
                    | DataFusionError::ResourcesExhausted(_)
            ),
        }
    }
}

/// Returns the lake's tables in order: SQL-friendly name and topic.
///
/// # Errors
/// Fails with [`QueryError::NoLake`] if the folder cannot be listed.
pub fn tables(lake: &Path) -> Result<Vec<(String, String)>, QueryError> {
    let no_lake = |source| QueryError::NoLake { path: lake.to_owned(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(lake).map_err(no_lake)? {
        let entry = entry.map_err(no_lake)?;
        // A folder is a table if it has a Delta log. Its name is the topic's, and topics' names are ASCII.
        if let Ok(topic) = entry.file_name().into_string()
            && entry.path().join("_delta_log").is_dir()
        {
            found.push((sql_name(&topic), topic));
        }
    }
    found.sort();
    Ok(found)
}

/// A SELECT that has a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WarehouseView {
    /// Its name in SQL.
    pub name: String,
    /// The SELECT.
    pub sql: String,
}

/// The answer to a statement.
#[derive(Debug, Clone)]
pub struct QueryAnswer {
    /// The rows, with columns even if there is none.
    pub batches: Vec<RecordBatch>,
    /// The statement was `SHOW TABLES`: the rows are the tables, and the views that were handed in.
    pub lists_tables: bool,
}

/// Answers `sql` over the newest versions of the lake's tables. `sql` must be a `SELECT`: a statement that
/// writes is refused.
///
/// # Errors
/// Fails with a [`QueryError`], which lists the tables where that helps.
pub async fn query(lake: &Path, sql: &str) -> Result<Vec<RecordBatch>, QueryError> {
    query_with_views(lake, &[], sql).await
}

/// Does the same as [`query`] over tables and views of them. A name that both a table and a view have means
/// the table.
///
/// # Errors
/// Fails as [`query`] does, and with [`QueryError::Circle`] if a view reads itself.
pub async fn query_with_views(
    lake: &Path,
    views: &[WarehouseView],
    sql: &str,
) -> Result<Vec<RecordBatch>, QueryError> {
    ask(lake, views, &|_| true, sql).await.map(|answer| answer.batches)
}

/// Does the same as [`query_with_views`] over the tables of the topics that `is_visible` allows, also where a
/// view reads them. Also answers `SHOW TABLES` and `DESCRIBE <table>`.
///
/// # Errors
/// Fails as [`query_with_views`] does, and with [`QueryError::Hidden`] if the query reads another table.
pub async fn ask(
    lake: &Path,
    views: &[WarehouseView],
    is_visible: &(dyn Fn(&str) -> bool + Sync),
    sql: &str,
) -> Result<QueryAnswer, QueryError> {
    // Each query has a session of its own, and sees the newest commits.
    let (tables, hidden) = tables(lake)?.into_iter().partition(|(_, topic)| is_visible(topic));
    let session = session().map_err(|source| sql_error(source, sql))?;
    let mut asking = WarehouseQuery {
        folder: TableFolder::Lake(lake),
        tables,
        hidden,
        views,
        session,
        known: BTreeMap::new(),
        open: Vec::new(),
    };

    // Two statements are about the tables themselves.
    if let Some(listing) = listing::read(&asking.session, sql) {
        let lists_tables = matches!(listing, listing::TableListing::Tables);
        return Ok(QueryAnswer { batches: asking.list(listing, sql).await?, lists_tables });
    }

    // The whole answer is collected. Only the operators' memory is limited.
    let answer = asking.select(sql).await?;
    let failed = |source| sql_error(source, sql);
    let schema = Arc::new(answer.schema().as_arrow().clone());
    let mut batches = answer.collect().await.map_err(failed)?;
    if batches.is_empty() {
        // An empty answer still has columns.
        batches.push(RecordBatch::new_empty(schema));
    }
    Ok(QueryAnswer { batches, lists_tables: false })
}

/// The place where a query finds its tables.
enum TableFolder<'a> {
    /// Delta tables in this folder.
    Lake(&'a Path),
    /// Tables without rows, to plan a query that is not run.
    Empty(&'a TopicSchemas),
}

/// The state of one query while it is planned.
struct WarehouseQuery<'a> {
    folder: TableFolder<'a>,
    tables: Vec<(String, String)>,
    /// Tables that exist and are not shown.
    hidden: Vec<(String, String)>,
    views: &'a [WarehouseView],
    session: SessionContext,
    /// Opened tables and views, by the text of the reference that means each.
    known: BTreeMap<String, Arc<dyn TableProvider>>,
    /// Views that are being planned, the outermost first.
    open: Vec<String>,
}

impl WarehouseQuery<'_> {
    /// Returns the SQL names of all tables and views.
    fn names(&self) -> Vec<String> {
        let tables = self.tables.iter().map(|(name, _)| name.clone());
        tables.chain(self.views.iter().map(|view| view.name.clone())).collect()
    }

    /// Plans a SELECT after all tables and views that it reads are registered. The future is boxed because
    /// views nest.
    fn select<'s>(
        &'s mut self,
        sql: &'s str,
    ) -> Pin<Box<dyn Future<Output = Result<DataFrame, QueryError>> + Send + 's>> {
        Box::pin(self.plan(sql))
    }

    /// Registers the tables and views that `sql` names, then plans it.
    async fn plan(&mut self, sql: &str) -> Result<DataFrame, QueryError> {
        // The names in the statement, before anything is opened.
        let state = self.session.state();
        let parsed = state.sql_to_statement(sql, &state.config_options().sql_parser.dialect);
        let statement = parsed.map_err(|source| sql_error(source, sql))?;
        let references = state.resolve_table_references(&statement);
        let references = references.map_err(|source| sql_error(source, sql))?;

        // A table that several views read is opened once.
        for reference in &references {
            let name = reference.to_string();
            if !self.known.contains_key(&name) {
                let provider = self.provider(reference, sql).await?;
                self.known.insert(name, provider);
            }
        }

        // Views have their plans now: from here on the session has the tables for this statement.
        let aliases = self.register(sql, &references).map_err(|source| sql_error(source, sql))?;
        let planned = async {
            // A statement that needs an alias out of a `*` is planned as it was written.
            if !aliases.is_empty() {
                let mut hidden = statement.clone();
                spelling::hide_from_star(&mut hidden, &aliases);
                if let Ok(plan) = state.statement_to_plan(hidden).await {
                    return Ok(plan);
                }
            }
            state.statement_to_plan(statement).await
        };
        let plan = planned.await.map_err(|source| sql_error(source, sql))?;

        // A query never writes, neither data nor settings.
        let read_only =
            SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        read_only.verify_plan(&plan).map_err(|source| sql_error(source, sql))?;
        self.session.execute_logical_plan(plan).await.map_err(|source| sql_error(source, sql))
    }

    /// Registers the opened tables and views that a statement names. One that lacks a spelling of a lineage
    /// column that the statement uses gets an alias for it. Returns these aliases.
    fn register(&self, sql: &str, references: &[TableReference]) -> Result<LineageAliases, DataFusionError> {
        let mut added = LineageAliases::new();
        for reference in references {
            let name = reference.to_string();
            let opened = self.known.get(&name);
            debug_assert!(opened.is_some(), "every reference of the statement was opened before");
            let Some(mut provider) = opened.cloned() else { continue };

            // The statement's own spelling.
            let aliases = spelling::aliases(sql, &provider.schema());
            if !aliases.is_empty() {
                provider = spelling::with_aliases(&self.session, provider, &aliases)?;
                added.insert(name, aliases);
            }

            // Another statement of the same query may have registered it with other aliases.
            self.session.deregister_table(reference.clone())?;
            self.session.register_table(reference.clone(), provider)?;
        }
        Ok(added)
    }

    /// Returns the table or view that a reference means.
    async fn provider(
        &mut self,
        reference: &TableReference,
        sql: &str,
    ) -> Result<Arc<dyn TableProvider>, QueryError> {
        // Tables go before views.
        let missing = match resolve(reference, &self.tables)? {
            TableMeaning::Topic(topic) => match self.folder {
                TableFolder::Lake(lake) => {
                    let table = open(lake, topic).await?;
                    return table.table_provider().await.map_err(|source| sql_error(source, sql));
                }
                TableFolder::Empty(schemas) => {
                    debug_assert!(schemas.contains_key(topic), "the names are those of the schemas");
                    let schema = schemas.get(topic).cloned().unwrap_or_else(|| Arc::new(Schema::empty()));
                    return Ok(Arc::new(EmptyTable::new(schema)));
                }
            },
            TableMeaning::Unclear(name) => name,
        };

        // A table that is not shown must not become a view of the same name.
        if !matches!(resolve(reference, &self.hidden), Ok(TableMeaning::Unclear(_))) {
            return Err(QueryError::Hidden(Box::new(SqlMistake::hidden_table(&missing, sql, &self.names()))));
        }

        // A view goes by the SQL-friendly form, as a table does.
        let wanted = sql_name(&missing);
        let Some(view) = self.views.iter().find(|view| view.name == wanted) else {
            return Err(QueryError::NoTable(Box::new(SqlMistake::no_table(&missing, sql, &self.names()))));
        };

        // A view that is open twice reads itself. The way begins where it was opened first.
        self.open.push(view.name.clone());
        if self.open.iter().filter(|open| **open == view.name).count() > 1 {
            let first = self.open.iter().position(|open| *open == view.name);
            debug_assert!(first.is_some(), "the view was pushed above");
            let from = first.unwrap_or_default();
            return Err(QueryError::Circle { name: view.name.clone(), way: self.open.split_off(from) });
        }

        // The view's own tables and views are planned first.
        let made = self.select(&view.sql).await?;
        self.open.pop();
        Ok(made.into_view())
    }
}

/// Returns a DataFusion session with limits on memory and parallel work.
fn session() -> Result<SessionContext, DataFusionError> {
    let runtime =
        RuntimeEnvBuilder::new().with_memory_pool(Arc::new(FairSpillPool::new(MEMORY))).build_arc()?;
    let mut config = SessionConfig::new();
    // The planner's errors then have a place in the statement.
    config.options_mut().sql_parser.collect_spans = true;
    let config = config
        .with_target_partitions(PARALLEL)
        // Tables are opened here, by name. DataFusion has no list of them to show.
        .with_information_schema(false);
    Ok(SessionContext::new_with_config_rt(config, runtime))
}

/// Opens a topic's Delta table at its newest version.
async fn open(lake: &Path, topic: &str) -> Result<DeltaTable, QueryError> {
    let failed = |source| QueryError::Table { topic: topic.to_owned(), source: Box::new(source) };
    // delta-rs takes a URL, and a URL needs an absolute path.
    let location =
        std::path::absolute(lake.join(topic)).ok().and_then(|path| Url::from_directory_path(path).ok());
    let location = location.ok_or_else(|| failed(DeltaTableError::InvalidTableLocation(topic.to_owned())))?;
    deltalake::open_table(location).await.map_err(failed)
}

/// Returns the error of a statement.
fn sql_error(source: DataFusionError, sql: &str) -> QueryError {
    QueryError::Sql { mistake: Box::new(SqlMistake::of(&source, sql)), cause: Box::new(source) }
}

/// The meaning of a name in a statement.
#[derive(Debug, PartialEq, Eq)]
enum TableMeaning<'t> {
    /// The table of this topic.
    Topic(&'t str),
    /// No table. The name may be that of a view.
    Unclear(String),
}

/// Returns the topic that a query means by `reference`.
///
/// # Errors
/// Fails with [`QueryError::Ambiguous`].
fn resolve<'t>(
    reference: &TableReference,
    tables: &'t [(String, String)],
) -> Result<TableMeaning<'t>, QueryError> {
    // Without quotes DataFusion reads `aviation.flight.v1` as catalog, schema and table.
    let name = [reference.catalog(), reference.schema(), Some(reference.table())];
    let name = name.into_iter().flatten().collect::<Vec<_>>().join(".");
    if let Some((_, topic)) = tables.iter().find(|(_, topic)| *topic == name) {
        return Ok(TableMeaning::Topic(topic));
    }

    // The SQL-friendly form can belong to several topics, for example to `c.d` and `c-d`.
    let meant = sql_name(&name);
    let topics: Vec<_> =
        tables.iter().filter(|(friendly, _)| *friendly == meant).map(|(_, topic)| topic).collect();
    match topics[..] {
        [topic] => Ok(TableMeaning::Topic(topic)),
        [] => Ok(TableMeaning::Unclear(name)),
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
        assert_eq!(ask(TableReference::bare("a.b")), Ok(TableMeaning::Topic("a.b")));
        assert_eq!(ask(TableReference::bare("a_b")), Ok(TableMeaning::Topic("a.b")));
        assert_eq!(ask(TableReference::partial("a", "b")), Ok(TableMeaning::Topic("a.b")));
        assert_eq!(ask(TableReference::bare("c.d")), Ok(TableMeaning::Topic("c.d")));
        assert!(ask(TableReference::bare("c_d")).unwrap_err().contains("could be \"c.d\" or \"c-d\""));
        assert_eq!(ask(TableReference::bare("nope")), Ok(TableMeaning::Unclear("nope".to_owned())));
    }
}
