//! Turns decoded columns into the table's columns: by name, with nulls for missing columns, and with exact
//! casts.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, ListArray, MapArray, RecordBatch, StructArray, UInt64Array, new_null_array,
};
use arrow::compute::{CastOptions, cast_with_options, take};
use arrow_schema::{ArrowError, DataType, Field, SchemaRef, UnionMode};

/// Returns `batch` under the table's schema.
///
/// # Errors
/// Fails with an error of Arrow if a column cannot hold a value, or if a value is null where the table allows
/// no null.
pub(super) fn to_table(batch: &RecordBatch, table: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    if batch.schema_ref() == table {
        return Ok(batch.clone());
    }

    // The table may have columns of older schemas, which these records do not have.
    let columns = table
        .fields()
        .iter()
        .map(|field| match batch.column_by_name(field.name()) {
            Some(column) => conform(column, field.data_type()),
            None => Ok(new_null_array(field.data_type(), batch.num_rows())),
        })
        .collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(table.clone(), columns)
}

/// Returns a column under another type, inside and outside.
fn conform(from: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    if from.data_type() == to {
        return Ok(from.clone());
    }

    Ok(match (from.data_type(), to) {
        // A struct: its fields by name.
        (DataType::Struct(_), DataType::Struct(fields)) => {
            let from = from.as_struct();
            let columns =
                fields.iter().map(|field| member(from.column_by_name(field.name()), field, from.len()));
            Arc::new(StructArray::try_new(
                fields.clone(),
                columns.collect::<Result<_, _>>()?,
                from.nulls().cloned(),
            )?)
        }

        // A union: one field for each branch, null in rows of another branch. The struct itself is never
        // null.
        (DataType::Union(..), DataType::Struct(fields)) => {
            let columns = fields.iter().map(|field| {
                let branch = branch(from, field.name())?;
                member(branch.as_ref(), field, from.len())
            });
            Arc::new(StructArray::try_new(fields.clone(), columns.collect::<Result<_, _>>()?, None)?)
        }

        // A list: the same offsets over other values.
        (DataType::List(_), DataType::List(item)) => {
            let from: &ListArray = from.as_list();
            let values = conform(from.values(), item.data_type())?;
            Arc::new(ListArray::try_new(item.clone(), from.offsets().clone(), values, from.nulls().cloned())?)
        }

        // A map: the same offsets over other keys and values.
        (DataType::Map(..), DataType::Map(entries, sorted)) => {
            let from = from.as_map();
            let DataType::Struct(fields) = entries.data_type() else {
                return Err(ArrowError::SchemaError(
                    "the table has a map whose entries are not a struct".into(),
                ));
            };
            // By index and not by name: each library has names of its own for key and value.
            let columns =
                fields.iter().zip([from.keys(), from.values()]).map(|(f, c)| conform(c, f.data_type()));
            let structs = StructArray::try_new(fields.clone(), columns.collect::<Result<_, _>>()?, None)?;
            Arc::new(MapArray::try_new(
                entries.clone(),
                from.offsets().clone(),
                structs,
                from.nulls().cloned(),
                *sorted,
            )?)
        }

        // All others. A value that does not fit is an error, never a null.
        (DataType::Null, to) => new_null_array(to, from.len()),
        _ => cast_with_options(from, to, &CastOptions { safe: false, ..CastOptions::default() })?,
    })
}

/// Returns a struct's field under the table's type. Rows have null if the records do not have the field.
fn member(column: Option<&ArrayRef>, field: &Field, len: usize) -> Result<ArrayRef, ArrowError> {
    match column {
        Some(column) => conform(column, field.data_type()),
        None => Ok(new_null_array(field.data_type(), len)),
    }
}

/// Returns the values of one branch of a union: one per row, null in rows of another branch. `None` if the
/// union does not have the branch.
fn branch(from: &ArrayRef, name: &str) -> Result<Option<ArrayRef>, ArrowError> {
    let union = from.as_union();
    let DataType::Union(branches, mode) = from.data_type() else { return Ok(None) };
    let Some((id, _)) = branches.iter().find(|(_, field)| field.name() == name) else { return Ok(None) };

    // The row's index in the branch's own array.
    let rows = (0..union.len()).map(|row| {
        let index = match mode {
            UnionMode::Dense => union.value_offset(row),
            UnionMode::Sparse => row,
        };
        (union.type_id(row) == id).then_some(index as u64)
    });
    take(union.child(id), &UInt64Array::from_iter(rows), None).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int32Array, Int64Array, StringArray, TimestampMillisecondArray, UnionArray};
    use arrow::buffer::ScalarBuffer;
    use arrow_schema::{Schema, TimeUnit, UnionFields};

    fn batch(name: &str, column: ArrayRef) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable([(name, column, true)]).unwrap()
    }

    fn table(fields: Vec<Field>) -> SchemaRef {
        Arc::new(Schema::new(fields))
    }

    #[test]
    fn columns_are_found_by_name_and_missing_ones_are_null() {
        let from = batch("a", Arc::new(Int32Array::from(vec![1, 2])));
        let to = table(vec![Field::new("b", DataType::Utf8, true), Field::new("a", DataType::Int64, true)]);
        let conformed = to_table(&from, &to).unwrap();
        assert_eq!(conformed.column(0).null_count(), 2);
        assert_eq!(
            conformed.column(1).as_primitive::<arrow::datatypes::Int64Type>(),
            &Int64Array::from(vec![1, 2])
        );
    }

    #[test]
    fn milliseconds_become_microseconds_and_never_silently_null() {
        let to = table(vec![Field::new("t", DataType::Timestamp(TimeUnit::Microsecond, None), true)]);
        let good = batch("t", Arc::new(TimestampMillisecondArray::from(vec![1_500])));
        let conformed = to_table(&good, &to).unwrap();
        assert_eq!(
            conformed.column(0).as_primitive::<arrow::datatypes::TimestampMicrosecondType>().value(0),
            1_500_000
        );
        let far = batch("t", Arc::new(TimestampMillisecondArray::from(vec![i64::MAX])));
        assert!(to_table(&far, &to).is_err());
    }

    #[test]
    fn a_union_becomes_a_struct_with_one_field_set() {
        let fields = UnionFields::from_fields(vec![
            Field::new("int", DataType::Int32, true),
            Field::new("string", DataType::Utf8, true),
        ]);
        let union = UnionArray::try_new(
            fields,
            ScalarBuffer::from(vec![0_i8, 1, 0]),
            Some(ScalarBuffer::from(vec![0_i32, 0, 1])),
            vec![
                Arc::new(Int32Array::from(vec![7, 8])) as ArrayRef,
                Arc::new(StringArray::from(vec!["x"])) as ArrayRef,
            ],
        )
        .unwrap();
        let members =
            vec![Field::new("int", DataType::Int32, true), Field::new("string", DataType::Utf8, true)];
        let to = table(vec![Field::new("u", DataType::Struct(members.into()), true)]);
        let conformed = to_table(&batch("u", Arc::new(union)), &to).unwrap();
        let parts = conformed.column(0).as_struct();
        assert_eq!(
            parts.column(0).as_primitive::<arrow::datatypes::Int32Type>(),
            &Int32Array::from(vec![Some(7), None, Some(8)])
        );
        assert_eq!(parts.column(1).as_string::<i32>(), &StringArray::from(vec![None, Some("x"), None]));
    }
}
