//! What the sink would make of the contracts' tables, told before it does: DDL, changes, types that lose something,
//! and conflicts. Nothing is written; the sink itself makes and grows the tables.

use std::fmt::Write as _;
use std::path::Path;

use arrow_schema::{DataType, Field, Fields, Schema, TimeUnit};
use deltalake::DeltaTableError;
use deltalake::logstore::{StorageConfig, logstore_for};
use serde::Serialize;
use sluice_contract::recursion;
use sluice_wire::columns::ColumnBatchBuilder;
use url::Url;

use super::docs::FieldDocs;
use super::log::DeltaLog;
use super::types::{ColumnTypeError, LINEAGE, join, table_schema};
use super::{CHECKPOINT_EVERY, evolve};

/// What would become of one topic's table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TablePlan {
    /// The topic.
    pub topic: String,
    /// The store: `delta`.
    pub store: &'static str,
    /// What happens to the table.
    pub change: TableChange,
    /// The statement that would make it, or would make its new columns; empty if nothing changes.
    pub ddl: String,
    /// Types that a column holds less exactly than Avro said them.
    pub lossy: Vec<LossyColumn>,
}

/// What happens to a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "change")]
pub enum TableChange {
    /// It is made.
    Create,
    /// Columns are added, or become nullable.
    Grow,
    /// It holds the records as it is.
    Nothing,
    /// It cannot hold them.
    Conflict {
        /// Path of the field.
        path: String,
        /// What stands in the way.
        why: String,
    },
}

/// A type that is not held exactly as Avro said it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LossyColumn {
    /// Path of the field.
    pub path: String,
    /// What is lost.
    pub what: &'static str,
}

/// A table that cannot be looked at.
#[derive(Debug, thiserror::Error)]
#[error("looking at the table of {topic}: {source}")]
pub struct TablePlanError {
    /// Whose.
    topic: String,
    /// What delta-rs said.
    source: Box<DeltaTableError>,
}

/// The plan for one topic with records of this schema, against the table in the lake, if there is one. Without a lake
/// it is the plan for a first table.
///
/// # Errors
/// [`TablePlanError`] if the table is there and cannot be read.
pub async fn table(lake: Option<&Path>, topic: &str, schema: &str) -> Result<TablePlan, TablePlanError> {
    let failed = |source| TablePlanError { topic: topic.to_owned(), source: Box::new(source) };
    let wanted = match wanted(schema) {
        Ok(wanted) => wanted,
        Err(error) => return Ok(conflict(topic, error)),
    };
    let location = lake.and_then(|lake| std::path::absolute(lake.join(topic)).ok());
    let location = location.filter(|folder| folder.join("_delta_log").is_dir());
    let Some(url) = location.and_then(|folder| Url::from_directory_path(folder).ok()) else {
        return Ok(made(topic, &wanted, &lossy(schema)));
    };
    let store = logstore_for(&url, StorageConfig::default()).map_err(failed)?;
    let state = DeltaLog::new(store, CHECKPOINT_EVERY).state().await.map_err(failed)?;
    Ok(match state {
        None => made(topic, &wanted, &lossy(schema)),
        Some(state) => grown(topic, &state.schema, &wanted, lossy(schema)),
    })
}

/// The table's schema for records of an Avro schema.
fn wanted(schema: &str) -> Result<Schema, ColumnTypeError> {
    let at_root = |why: String| ColumnTypeError { path: String::new(), why };
    let parsed = sluice_wire::DatumSchema::parse(schema).map_err(|error| at_root(error.to_string()))?;
    if let Some(path) = recursion(schema) {
        let why = "a record that holds itself, which no columns can: drop the field".to_owned();
        return Err(ColumnTypeError { path, why });
    }
    let columns = ColumnBatchBuilder::compile(&parsed, None).map_err(|error| at_root(error.to_string()))?;
    table_schema(&columns.schema(), &FieldDocs::read(schema))
}

fn conflict(topic: &str, error: ColumnTypeError) -> TablePlan {
    let change = TableChange::Conflict { path: error.path, why: error.why };
    TablePlan { topic: topic.to_owned(), store: "delta", change, ddl: String::new(), lossy: Vec::new() }
}

fn made(topic: &str, wanted: &Schema, lossy: &[LossyColumn]) -> TablePlan {
    let mut ddl = format!("CREATE TABLE \"{topic}\" (");
    for (place, field) in wanted.fields().iter().enumerate() {
        let comma = if place > 0 { "," } else { "" };
        // Writing to a String does not fail.
        let _ = write!(ddl, "{comma}\n  {}", column(field));
    }
    ddl.push_str("\n) USING DELTA");
    let (topic, lossy) = (topic.to_owned(), lossy.to_vec());
    TablePlan { topic, store: "delta", change: TableChange::Create, ddl, lossy }
}

fn grown(topic: &str, table: &Schema, wanted: &Schema, lossy: Vec<LossyColumn>) -> TablePlan {
    let merged = match evolve::merge(table, wanted) {
        Ok(None) => {
            let change = TableChange::Nothing;
            return TablePlan { topic: topic.to_owned(), store: "delta", change, ddl: String::new(), lossy };
        }
        Ok(Some(merged)) => merged,
        Err(error) => return conflict(topic, error),
    };
    let mut statements = Vec::new();
    for field in merged.fields() {
        match table.field_with_name(field.name()) {
            Err(_) => statements.push(format!("ALTER TABLE \"{topic}\" ADD COLUMN {}", column(field))),
            Ok(is) if is.data_type() != field.data_type() => {
                statements.push(format!("ALTER TABLE \"{topic}\" CHANGE COLUMN {}", column(field)));
            }
            Ok(is) if is.is_nullable() != field.is_nullable() => statements
                .push(format!("ALTER TABLE \"{topic}\" ALTER COLUMN \"{}\" DROP NOT NULL", field.name())),
            Ok(_) => {}
        }
    }
    let ddl = statements.join(";\n");
    TablePlan { topic: topic.to_owned(), store: "delta", change: TableChange::Grow, ddl, lossy }
}

/// A column as a statement defines it.
fn column(field: &Field) -> String {
    let null = if field.is_nullable() { "" } else { " NOT NULL" };
    let comment =
        field.metadata().get("comment").map(|text| format!(" COMMENT '{}'", text.replace('\'', "''")));
    format!("\"{}\" {}{null}{}", field.name(), sql_type(field.data_type()), comment.unwrap_or_default())
}

fn sql_type(of: &DataType) -> String {
    use DataType as D;
    let fields = |fields: &Fields| {
        let parts = fields.iter().map(|field| format!("{}: {}", field.name(), sql_type(field.data_type())));
        format!("STRUCT<{}>", parts.collect::<Vec<_>>().join(", "))
    };
    match of {
        D::Boolean => "BOOLEAN".to_owned(),
        D::Int32 => "INT".to_owned(),
        D::Int64 => "BIGINT".to_owned(),
        D::Float32 => "FLOAT".to_owned(),
        D::Float64 => "DOUBLE".to_owned(),
        D::Utf8 => "STRING".to_owned(),
        D::Binary => "BINARY".to_owned(),
        D::Date32 => "DATE".to_owned(),
        D::Decimal128(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        D::Timestamp(TimeUnit::Microsecond, None) => "TIMESTAMP_NTZ".to_owned(),
        D::Timestamp(..) => "TIMESTAMP".to_owned(),
        D::List(item) => format!("ARRAY<{}>", sql_type(item.data_type())),
        D::Struct(inner) => fields(inner),
        D::Map(entries, _) => match entries.data_type() {
            D::Struct(parts) if parts.len() == 2 => {
                format!("MAP<{}, {}>", sql_type(parts[0].data_type()), sql_type(parts[1].data_type()))
            }
            other => sql_type(other),
        },
        other => other.to_string(),
    }
}

/// What the columns do not hold of what Avro said, field by field.
fn lossy(schema: &str) -> Vec<LossyColumn> {
    let Ok(parsed) = sluice_wire::DatumSchema::parse(schema) else { return Vec::new() };
    let Ok(columns) = ColumnBatchBuilder::compile(&parsed, None) else { return Vec::new() };
    let mut found = Vec::new();
    for field in columns.schema().fields().iter().filter(|field| !LINEAGE.contains(&field.name().as_str())) {
        lost(field.data_type(), field.name(), &mut found);
    }
    found
}

fn lost(decoded: &DataType, path: &str, found: &mut Vec<LossyColumn>) {
    use DataType as D;
    let mut note = |what| found.push(LossyColumn { path: path.to_owned(), what });
    match decoded {
        D::Timestamp(TimeUnit::Nanosecond, _) => note("a timestamp in nanoseconds becomes a BIGINT of them"),
        D::Time32(_) | D::Time64(_) => note("a time of day becomes a number since midnight"),
        D::Decimal256(..) => note("a decimal of more than 38 digits becomes its text"),
        D::FixedSizeBinary(_) => note("a fixed becomes BINARY of any length"),
        D::Dictionary(..) => note("an enum becomes STRING, its symbols are no longer checked"),
        D::Null => note("a field that is always null becomes a STRING that is null"),
        D::Union(branches, _) => {
            note("a union becomes a STRUCT with one nullable field per branch");
            for (_, branch) in branches.iter() {
                lost(branch.data_type(), &format!("{path}<{}>", branch.name()), found);
            }
        }
        D::Struct(fields) => {
            for field in fields {
                lost(field.data_type(), &join(path, field.name()), found);
            }
        }
        D::List(item) | D::LargeList(item) => lost(item.data_type(), &format!("{path}[]"), found),
        D::Map(entries, _) => {
            if let D::Struct(parts) = entries.data_type()
                && let Some(value) = parts.get(1)
            {
                lost(value.data_type(), &format!("{path}{{}}"), found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r#"{"type": "record", "name": "R", "fields": [
        {"name": "id", "type": "string", "doc": "it's id"},
        {"name": "kwh", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 3}},
        {"name": "kind", "type": {"type": "enum", "name": "K", "symbols": ["A"]}},
        {"name": "list", "type": {"type": "array", "items": {"type": "record", "name": "I", "fields": [
            {"name": "at", "type": {"type": "int", "logicalType": "time-millis"}}]}}}]}"#;

    #[tokio::test]
    async fn a_table_that_is_not_there_is_made_and_what_is_lost_is_said() {
        let lake = tempfile::tempdir().unwrap();
        let plan = table(Some(lake.path()), "a.v1", SCHEMA).await.unwrap();
        assert_eq!(plan.change, TableChange::Create);
        assert!(
            plan.ddl.starts_with("CREATE TABLE \"a.v1\" (\n  \"id\" STRING NOT NULL COMMENT 'it''s id',\n"),
            "{}",
            plan.ddl
        );
        assert!(plan.ddl.contains("\"kwh\" DECIMAL(12, 3) NOT NULL"), "{}", plan.ddl);
        assert!(plan.ddl.contains("\"list\" ARRAY<STRUCT<at: INT>>"), "{}", plan.ddl);
        let lossy: Vec<&str> = plan.lossy.iter().map(|lossy| lossy.path.as_str()).collect();
        assert_eq!(lossy, ["kind", "list[].at"]);
        assert!(!lake.path().join("a.v1").exists(), "nothing is written");
    }

    #[test]
    fn a_table_grows_or_conflicts_at_a_path() {
        let is = wanted(SCHEMA).unwrap();
        let more =
            SCHEMA.replace(r#"{"name": "kind","#, r#"{"name": "unit", "type": "string"}, {"name": "kind","#);
        let plan = grown("a.v1", &is, &wanted(&more).unwrap(), Vec::new());
        assert_eq!(
            (plan.change, plan.ddl.as_str()),
            (TableChange::Grow, "ALTER TABLE \"a.v1\" ADD COLUMN \"unit\" STRING")
        );
        assert_eq!(grown("a.v1", &is, &is, Vec::new()).change, TableChange::Nothing);
        let other = SCHEMA.replace(r#""name": "id", "type": "string""#, r#""name": "id", "type": "long""#);
        let plan = grown("a.v1", &is, &wanted(&other).unwrap(), Vec::new());
        assert!(matches!(plan.change, TableChange::Conflict { path, .. } if path == "id"));
    }
}
