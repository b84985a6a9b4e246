//! Shows in advance the changes that the sink will make to the contracts' tables: DDL, types that are not
//! held exactly, and conflicts. Nothing is written here: the sink itself creates and grows the tables.

use std::fmt::Write as _;
use std::path::Path;

use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use deltalake::DeltaTableError;
use deltalake::logstore::{StorageConfig, logstore_for};
use serde::Serialize;
use sluice_contract::recursion;
use sluice_wire::columns::ColumnBatchBuilder;
use url::Url;

use super::docs::FieldDocs;
use super::log::DeltaLog;
use super::types::{ColumnTypeError, join, table_schema};
use super::{CHECKPOINT_EVERY, evolve};

/// The future of one topic's table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TablePlan {
    /// The topic.
    pub topic: String,
    /// The store: `delta`.
    pub store: &'static str,
    /// The change of the table.
    pub change: TableChange,
    /// The statement that would create it, or would add its new columns. Empty if nothing changes.
    pub ddl: String,
    /// Types that a column holds less exactly than Avro.
    pub lossy: Vec<LossyColumn>,
}

/// The change of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "change")]
pub enum TableChange {
    /// It is created.
    Create,
    /// Columns are added, or become nullable.
    Grow,
    /// It holds the records as it is.
    Nothing,
    /// It cannot hold them.
    Conflict {
        /// Path of the field.
        path: String,
        /// The reason, for an operator.
        why: String,
    },
}

/// A type that a column does not hold exactly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LossyColumn {
    /// Path of the field.
    pub path: String,
    /// The loss, for an operator.
    pub what: &'static str,
}

/// A table that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("reading the log of the table of {topic}: {source}")]
pub struct TablePlanError {
    /// The table's topic.
    topic: String,
    /// The error of delta-rs.
    source: Box<DeltaTableError>,
}

/// Returns the plan for one topic with records of this schema: a change of its table in the lake, or a first
/// table if there is none. Without a lake it is the plan for a first table.
///
/// # Errors
/// Fails with [`TablePlanError`] if the table exists and cannot be read.
pub async fn table(lake: Option<&Path>, topic: &str, schema: &str) -> Result<TablePlan, TablePlanError> {
    let failed = |source| TablePlanError { topic: topic.to_owned(), source: Box::new(source) };

    // A schema without columns is a conflict with or without a table.
    let wanted = match wanted(schema) {
        Ok(wanted) => wanted,
        Err(error) => return Ok(conflict(topic, error)),
    };

    // Only a folder with a log is a table.
    let location = lake.and_then(|lake| std::path::absolute(lake.join(topic)).ok());
    let location = location.filter(|folder| folder.join("_delta_log").is_dir());
    let Some(url) = location.and_then(|folder| Url::from_directory_path(folder).ok()) else {
        return Ok(made(topic, &wanted, &lossy(schema)));
    };

    // The table's newest schema decides about the change.
    let store = logstore_for(&url, StorageConfig::default()).map_err(failed)?;
    let state = DeltaLog::new(store, CHECKPOINT_EVERY).state().await.map_err(failed)?;
    Ok(match state {
        None => made(topic, &wanted, &lossy(schema)),
        Some(state) => grown(topic, &state.schema, &state.lineage.spell(&wanted), lossy(schema)),
    })
}

/// Returns the columns of a first table for records of this Avro schema (JSON text), lineage columns included.
/// `None` if no table can hold such records.
pub fn columns(schema: &str) -> Option<SchemaRef> {
    wanted(schema).ok().map(SchemaRef::new)
}

/// Returns the table's schema for records of an Avro schema, without regard to an existing table.
fn wanted(schema: &str) -> Result<Schema, ColumnTypeError> {
    let at_root = |why: String| ColumnTypeError { path: String::new(), why };
    let parsed = sluice_wire::DatumSchema::parse(schema).map_err(|error| at_root(error.to_string()))?;

    // A record inside itself has no end, and columns have a fixed depth.
    if let Some(path) = recursion(schema) {
        let why =
            "a record that holds itself: no column can hold it; drop the field in the contract".to_owned();
        return Err(ColumnTypeError { path, why });
    }
    let columns = ColumnBatchBuilder::compile(&parsed, None).map_err(|error| at_root(error.to_string()))?;
    table_schema(&columns.schema(), &FieldDocs::read(schema))
}

/// Returns the plan of a table that cannot hold the records.
fn conflict(topic: &str, error: ColumnTypeError) -> TablePlan {
    let change = TableChange::Conflict { path: error.path, why: error.why };
    TablePlan { topic: topic.to_owned(), store: "delta", change, ddl: String::new(), lossy: Vec::new() }
}

/// Returns the plan of a first table.
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

/// Returns the plan of an existing table: its own schema against the wanted one, in the table's spelling of
/// lineage columns.
fn grown(topic: &str, table: &Schema, wanted: &Schema, lossy: Vec<LossyColumn>) -> TablePlan {
    let merged = match evolve::merge(table, wanted) {
        Ok(None) => {
            let change = TableChange::Nothing;
            return TablePlan { topic: topic.to_owned(), store: "delta", change, ddl: String::new(), lossy };
        }
        Ok(Some(merged)) => merged,
        Err(error) => return conflict(topic, error),
    };

    // One statement for each difference of a column.
    let mut statements = Vec::new();
    for field in merged.fields() {
        match table.field_with_name(field.name()) {
            Err(_) => statements.push(format!("ALTER TABLE \"{topic}\" ADD COLUMN {}", column(field))),
            // A new field inside a struct changes the column's type.
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

/// Returns a column's definition in a statement.
fn column(field: &Field) -> String {
    // SQL doubles a quote inside a text.
    let null = if field.is_nullable() { "" } else { " NOT NULL" };
    let comment =
        field.metadata().get("comment").map(|text| format!(" COMMENT '{}'", text.replace('\'', "''")));
    format!("\"{}\" {}{null}{}", field.name(), sql_type(field.data_type()), comment.unwrap_or_default())
}

/// Returns the name of a column type in Delta's SQL.
fn sql_type(of: &DataType) -> String {
    use DataType as D;

    // Names inside a struct are written without quotes, as Spark prints them.
    let fields = |fields: &Fields| {
        let parts = fields.iter().map(|field| format!("{}: {}", field.name(), sql_type(field.data_type())));
        format!("STRUCT<{}>", parts.collect::<Vec<_>>().join(", "))
    };

    match of {
        // Plain types.
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

        // Types with other types inside.
        D::List(item) => format!("ARRAY<{}>", sql_type(item.data_type())),
        D::Struct(inner) => fields(inner),
        D::Map(entries, _) => match entries.data_type() {
            D::Struct(parts) if parts.len() == 2 => {
                format!("MAP<{}, {}>", sql_type(parts[0].data_type()), sql_type(parts[1].data_type()))
            }
            other => sql_type(other),
        },

        // A table has no other types. Another maker's table may, and then Arrow's name is shown.
        other => other.to_string(),
    }
}

/// Returns the types of a schema that columns do not hold exactly, field by field.
fn lossy(schema: &str) -> Vec<LossyColumn> {
    // `wanted` has parsed and compiled the same schema before.
    let parsed = sluice_wire::DatumSchema::parse(schema);
    debug_assert!(parsed.is_ok(), "a schema with a wanted table can be parsed");
    let Ok(parsed) = parsed else { return Vec::new() };
    let columns = ColumnBatchBuilder::compile(&parsed, None);
    debug_assert!(columns.is_ok(), "a schema with a wanted table has columns");
    let Ok(columns) = columns else { return Vec::new() };

    let mut found = Vec::new();
    for field in columns.schema().fields() {
        lost(field.data_type(), field.name(), &mut found);
    }
    found
}

/// Adds the losses of a type and of the types inside it to `found`.
fn lost(decoded: &DataType, path: &str, found: &mut Vec<LossyColumn>) {
    use DataType as D;
    let mut note = |what| found.push(LossyColumn { path: path.to_owned(), what });

    match decoded {
        // Types that change their form.
        D::Timestamp(TimeUnit::Nanosecond, _) => {
            note("a timestamp in nanoseconds becomes a BIGINT: nanoseconds since 1970");
        }
        D::Time32(_) | D::Time64(_) => note("a time of day becomes a number since midnight"),
        D::Decimal256(..) => note("a decimal of more than 38 digits becomes its text"),
        D::FixedSizeBinary(_) => note("a fixed becomes BINARY of any length"),
        D::Dictionary(..) => note("an enum becomes STRING: its symbols are no longer checked"),
        D::Null => note("a field that is always null becomes a STRING that is always null"),

        // Types with other types inside. A path is written as the wire writes it.
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

        // Every other type has a column of its own.
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::LineageSpelling;

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
    fn a_table_of_the_former_names_has_nothing_to_change() {
        let former = LineageSpelling::Former.spell(&wanted(SCHEMA).unwrap());
        let spelt = LineageSpelling::of(&former).spell(&wanted(SCHEMA).unwrap());
        assert_eq!(grown("a.v1", &former, &spelt, Vec::new()).change, TableChange::Nothing);
        // Control: without the table's spelling, five columns would be added.
        let plan = grown("a.v1", &former, &wanted(SCHEMA).unwrap(), Vec::new());
        assert_eq!(plan.ddl.matches("ADD COLUMN").count(), 5);
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
