//! The tables that the engine itself reads for a view, from its own logical plan.
//!
//! The leak proof knows the tables of a view by reading its text. If it read a name in another way than the
//! engine, the proof would be about another view. Here the engine plans the view over empty tables, and says
//! which of them it would scan.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::LogicalPlan;
use sluice_contract::sql_name;

use super::{QueryError, TableFolder, WarehouseQuery, WarehouseView, session, sql_error};

/// Key of a table's own SQL name among its schema's metadata.
const TABLE: &str = "sluice.table";

/// Tables of topics: topic → columns.
pub type TopicSchemas = BTreeMap<String, SchemaRef>;

/// Returns the SQL names of the tables that the engine would scan for a SELECT over these tables and views,
/// itself or through views. Nothing is read.
///
/// # Errors
/// Fails with a [`QueryError`] if the engine cannot plan the SELECT.
pub async fn scanned_tables(
    tables: &TopicSchemas,
    views: &[WarehouseView],
    sql: &str,
) -> Result<BTreeSet<String>, QueryError> {
    // Each table carries its name with its columns: aliases hide the name that it is registered under.
    let named: TopicSchemas = tables
        .iter()
        .map(|(topic, schema)| {
            let mark = HashMap::from([(TABLE.to_owned(), sql_name(topic))]);
            (topic.clone(), Arc::new(Schema::clone(schema).with_metadata(mark)))
        })
        .collect();
    let names = named.keys().map(|topic| (sql_name(topic), topic.clone())).collect();
    let session = session().map_err(|source| sql_error(source, sql))?;
    let mut asking = WarehouseQuery {
        folder: TableFolder::Empty(&named),
        tables: names,
        hidden: Vec::new(),
        views,
        session,
        known: BTreeMap::new(),
        open: Vec::new(),
    };

    let planned = asking.select(sql).await?;
    let mut found = BTreeSet::new();
    collect(planned.logical_plan(), &mut found).map_err(|source| sql_error(source, sql))?;
    Ok(found)
}

/// Adds the tables that a plan scans, its subqueries included.
fn collect(plan: &LogicalPlan, found: &mut BTreeSet<String>) -> Result<(), DataFusionError> {
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            match scan.source.get_logical_plan() {
                // A view is what it scans.
                Some(inner) => collect(&inner, found)?,
                // A scan without a name of ours is shown under the engine's name, which no lineage has.
                None => {
                    let schema = scan.source.schema();
                    let name = schema.metadata().get(TABLE).cloned();
                    found.insert(name.unwrap_or_else(|| scan.table_name.to_string()));
                }
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .map(drop)
}

/// Returns the names that a lake's table and a view share. The engine would read the table.
///
/// # Errors
/// Fails with [`QueryError::NoLake`] if the folder cannot be listed.
pub fn hidden_views<'v>(lake: &Path, views: &'v [WarehouseView]) -> Result<Vec<&'v str>, QueryError> {
    let tables = super::tables(lake)?;
    let is_table = |view: &&WarehouseView| tables.iter().any(|(name, _)| *name == view.name);
    Ok(views.iter().filter(is_table).map(|view| view.name.as_str()).collect())
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field};

    use super::*;

    fn scans(views: &[(&str, &str)], sql: &str) -> Result<Vec<String>, String> {
        let columns = |names: &[&str]| -> SchemaRef {
            let field = |name: &&str| Field::new(*name, DataType::Utf8, true);
            Arc::new(Schema::new(names.iter().map(field).collect::<Vec<_>>()))
        };
        let tables: TopicSchemas = [
            ("red.r.v1".to_owned(), columns(&["id", "email", "_kafka_offset"])),
            ("red.r.masked.v1".to_owned(), columns(&["id", "_kafka_offset"])),
        ]
        .into();
        let views: Vec<WarehouseView> = views
            .iter()
            .map(|(name, sql)| WarehouseView { name: (*name).to_owned(), sql: (*sql).to_owned() })
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let found = runtime.block_on(scanned_tables(&tables, &views, sql));
        found.map(|found| found.into_iter().collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_engine_names_the_tables_that_it_reads() {
        let raw = Ok(vec!["red_r_v1".to_owned()]);
        let both = Ok(vec!["red_r_masked_v1".to_owned(), "red_r_v1".to_owned()]);
        assert_eq!(scans(&[], "SELECT email FROM red_r_v1"), raw);
        assert_eq!(scans(&[], "SELECT email FROM \"red.r.v1\""), raw);
        assert_eq!(scans(&[], "WITH \"RED_R_V1\" AS (SELECT 'x' AS email) SELECT email FROM red_r_v1"), raw);
        assert_eq!(scans(&[], "WITH red_r_v1 AS (SELECT 'x' AS email) SELECT email FROM \"RED_R_V1\""), raw);
        assert_eq!(
            scans(&[], "WITH red_r_v1 AS (SELECT 'x' AS email) SELECT email FROM red_r_v1"),
            Ok(vec![])
        );
        assert_eq!(
            scans(
                &[],
                "SELECT id FROM red_r_masked_v1 WHERE EXISTS (SELECT 1 FROM red_r_v1 WHERE email = 'a')"
            ),
            both
        );
        // The other spelling of a lineage column makes a view of the table.
        assert_eq!(scans(&[], "SELECT _offset, email FROM red_r_v1"), raw);
    }

    #[test]
    fn a_view_is_what_it_scans() {
        let views =
            [("one", "SELECT id FROM red_r_masked_v1"), ("two", "SELECT one.id, email FROM one, red_r_v1")];
        let both = Ok(vec!["red_r_masked_v1".to_owned(), "red_r_v1".to_owned()]);
        assert_eq!(scans(&views, "SELECT email FROM two"), both);
        assert!(scans(&views, "SELECT nothing FROM one").is_err());
    }
}
