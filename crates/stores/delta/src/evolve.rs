//! Grows a table's schema when records come with another one.
//!
//! | difference | what happens |
//! |---|---|
//! | a column that the table does not have | added, nullable: older rows have no value |
//! | a column that the records no longer have | stays, becomes nullable |
//! | a column that is nullable now | becomes nullable |
//! | a narrower type than the table's (int for long, float for double) | the records are widened |
//! | any other type | conflict: the schema is refused, and the lane holds the partition |
//!
//! Nothing is ever dropped, narrowed or renamed.

use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Fields, Schema};

use super::types::{ColumnTypeError, entry_types, is_lineage, join, list_of, map_of};

/// Returns the table schema that holds the table's and the records' rows. `None` if the table's own schema
/// does. Both have the lineage columns in the table's spelling.
///
/// # Errors
/// Fails with [`ColumnTypeError`] at the first column whose types conflict.
pub(super) fn merge(table: &Schema, records: &Schema) -> Result<Option<Schema>, ColumnTypeError> {
    let merged = merge_fields(table.fields(), records.fields(), "")?;
    let merged = Schema::new_with_metadata(merged, table.metadata().clone());
    Ok((merged != *table).then_some(merged))
}

/// Merges the fields of the root or of one struct at `path`.
fn merge_fields(table: &Fields, records: &Fields, path: &str) -> Result<Vec<FieldRef>, ColumnTypeError> {
    // The table's columns keep their order and their descriptions.
    let mut merged = Vec::with_capacity(table.len());
    for column in table {
        merged.push(match records.iter().find(|field| field.name() == column.name()) {
            Some(field) => {
                let path = join(path, column.name());
                let data_type = merge_types(column.data_type(), field.data_type(), &path)?;
                let nullable = column.is_nullable() || field.is_nullable();
                let merged = Field::new(column.name(), data_type, nullable);
                Arc::new(merged.with_metadata(column.metadata().clone()))
            }
            // New rows have no value for it.
            None => Arc::new(column.as_ref().clone().with_nullable(true)),
        });
    }

    // New columns go before the lineage columns. Structs inside a column have no lineage columns.
    let is_root = path.is_empty();
    let end = merged.iter().position(|field| is_root && is_lineage(field.name())).unwrap_or(merged.len());
    let mut added = Vec::new();
    for field in records {
        if table.iter().any(|column| column.name() == field.name()) {
            continue;
        }
        // Delta ignores the case of names: the two columns would be one.
        if let Some(other) = table.iter().find(|column| column.name().eq_ignore_ascii_case(field.name())) {
            let why = format!(
                "a new column differs from `{}` in case only; expected a name of its own",
                other.name()
            );
            return Err(ColumnTypeError { path: join(path, field.name()), why });
        }
        added.push(Arc::new(field.as_ref().clone().with_nullable(true)));
    }
    merged.splice(end..end, added);
    Ok(merged)
}

/// Returns the type that holds the values of both types.
fn merge_types(table: &DataType, records: &DataType, path: &str) -> Result<DataType, ColumnTypeError> {
    use DataType as D;
    Ok(match (table, records) {
        (D::Struct(table), D::Struct(records)) => D::Struct(merge_fields(table, records, path)?.into()),
        (D::List(table), D::List(records)) => list_of(
            merge_types(table.data_type(), records.data_type(), &format!("{path}[]"))?,
            table.is_nullable() || records.is_nullable(),
        ),
        // Avro's keys are always text, so only the values can differ.
        (D::Map(table_entries, _), D::Map(record_entries, _)) => {
            let (Some((key, value)), Some((_, other))) =
                (entry_types(table_entries), entry_types(record_entries))
            else {
                return conflict(table, records, path);
            };
            let merged = merge_types(value.data_type(), other.data_type(), &format!("{path}{{}}"))?;
            map_of(key.data_type().clone(), merged, value.is_nullable() || other.is_nullable())
        }
        // The table's type stays: files that were written before have it.
        (table, records) if table == records || holds(table, records) => table.clone(),
        (table, records) => return conflict(table, records, path),
    })
}

/// Tells whether every value of `narrow` is a value of `wide`.
fn holds(wide: &DataType, narrow: &DataType) -> bool {
    use DataType as D;
    match (wide, narrow) {
        (D::Int64, D::Int32) | (D::Float64, D::Float32 | D::Int32) => true,
        // At least as many digits after the point, and at least as many before it.
        (D::Decimal128(p, s), D::Decimal128(q, t)) => {
            s >= t && i16::from(*p) - i16::from(*s) >= i16::from(*q) - i16::from(*t)
        }
        _ => false,
    }
}

/// Returns the error of two types that no column can hold together.
fn conflict<T>(table: &DataType, records: &DataType, path: &str) -> Result<T, ColumnTypeError> {
    Err(ColumnTypeError {
        path: path.to_owned(),
        why: format!("the table has {table}, the records have {records}"),
    })
}

#[cfg(test)]
mod tests {
    use sluice_core::names::lineage::TOPIC;

    use super::*;

    fn schema(fields: &[(&str, DataType, bool)]) -> Schema {
        Schema::new(
            fields
                .iter()
                .map(|(name, of, nullable)| Field::new(*name, of.clone(), *nullable))
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn what_the_table_holds_changes_nothing() {
        let table = schema(&[("a", DataType::Int64, false), (TOPIC, DataType::Utf8, false)]);
        let narrower = schema(&[("a", DataType::Int32, false), (TOPIC, DataType::Utf8, false)]);
        assert_eq!(merge(&table, &table), Ok(None));
        assert_eq!(merge(&table, &narrower), Ok(None));
    }

    #[test]
    fn columns_are_added_before_the_lineage_and_relaxed() {
        let table = schema(&[
            ("a", DataType::Int32, false),
            ("b", DataType::Utf8, false),
            (TOPIC, DataType::Utf8, false),
        ]);
        let records = schema(&[
            ("a", DataType::Int32, true),
            ("c", DataType::Utf8, false),
            (TOPIC, DataType::Utf8, false),
        ]);
        let merged = merge(&table, &records).unwrap().unwrap();
        let seen: Vec<_> = merged.fields().iter().map(|f| (f.name().as_str(), f.is_nullable())).collect();
        assert_eq!(seen, [("a", true), ("b", true), ("c", true), (TOPIC, false)]);
    }

    #[test]
    fn fields_are_added_inside_records_of_arrays() {
        let items = |fields: &[(&str, DataType, bool)]| {
            schema(&[("l", list_of(DataType::Struct(schema(fields).fields().clone()), false), false)])
        };
        let merged = merge(&items(&[("x", DataType::Int32, false)]), &items(&[("y", DataType::Utf8, false)]));
        assert_eq!(merged, Ok(Some(items(&[("x", DataType::Int32, true), ("y", DataType::Utf8, true)]))));
    }

    #[test]
    fn a_conflict_says_where_and_what() {
        let inner =
            |of: DataType| schema(&[("r", DataType::Struct(vec![Field::new("x", of, true)].into()), true)]);
        let refused = merge(&inner(DataType::Int32), &inner(DataType::Utf8)).unwrap_err();
        assert_eq!(
            (refused.path.as_str(), refused.why.as_str()),
            ("r.x", "the table has Int32, the records have Utf8")
        );
        assert!(
            merge(&inner(DataType::Int32), &inner(DataType::Int64)).is_err(),
            "a table is not widened in place"
        );
    }
}
