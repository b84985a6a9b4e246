//! Rows of one writer's schema while they become columns, with their lineage.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::{ArrowError, Field, Schema};
use sluice_core::names::lineage;
use sluice_core::{OutcomeReason, ReasonClass, RecordRef, SchemaId};
use sluice_wire::columns::{ColumnBatchBuilder, ColumnsError};

use super::guard::ColumnGuard;
use super::types::LINEAGE;

/// Decodes datums of one schema id and keeps the lineage of each.
pub(super) struct DeltaRowBuffer {
    columns: ColumnBatchBuilder,
    /// Refuses values that are valid Avro and that a column cannot hold. `None` if no field can have such a
    /// value.
    guard: Option<ColumnGuard>,
    topic: Arc<str>,
    schema_id: i32,
    partitions: Vec<i32>,
    offsets: Vec<i64>,
    /// Kafka's times in microseconds since 1970.
    timestamps: Vec<Option<i64>>,
}

/// The reason why rows cannot become a batch.
#[derive(Debug, thiserror::Error)]
pub(super) enum SealError {
    #[error(transparent)]
    Columns(#[from] ColumnsError),
    #[error(transparent)]
    Arrow(#[from] ArrowError),
}

impl DeltaRowBuffer {
    /// Begins an empty buffer for the schema `id` of a topic.
    pub(super) fn new(
        columns: ColumnBatchBuilder,
        guard: Option<ColumnGuard>,
        topic: Arc<str>,
        id: SchemaId,
    ) -> Self {
        Self {
            columns,
            guard,
            topic,
            // Every registry hands ids out from 1 on, and readers expect a column of ints.
            schema_id: i32::try_from(id.0).unwrap_or(i32::MAX),
            partitions: Vec::new(),
            offsets: Vec::new(),
            timestamps: Vec::new(),
        }
    }

    /// Returns the number of rows.
    pub(super) fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Appends one record. A refused record leaves the buffer unchanged.
    pub(super) fn append(&mut self, datum: &[u8], record: &RecordRef<'_>) -> Result<(), OutcomeReason> {
        // Kafka's milliseconds become the column's microseconds. A record without a time has null.
        let micros = match record.timestamp_ms.map(|millis| millis.checked_mul(1000)) {
            Some(None) => {
                return Err(OutcomeReason::new(
                    ReasonClass::Type,
                    "expected a time that fits microseconds in 64 bits",
                )
                .at(lineage::TIMESTAMP, None));
            }
            known => known.flatten(),
        };

        // Every check comes before the first push: all columns always have the same length.
        if let Some(guard) = &self.guard {
            guard.check(datum)?;
        }
        self.columns.append(datum)?;
        self.partitions.push(record.partition);
        self.offsets.push(record.offset.raw());
        self.timestamps.push(micros);
        Ok(())
    }

    /// Takes all rows out as one batch: the decoded columns, then the lineage columns under their present
    /// names. `None` if there are no rows.
    ///
    /// # Errors
    /// Fails if Arrow refuses the columns, for example because a value inside an array does not fit its type.
    pub(super) fn seal(&mut self) -> Result<Option<RecordBatch>, SealError> {
        if self.offsets.is_empty() {
            return Ok(None);
        }

        // Columns of the records.
        let decoded = self.columns.flush()?;

        // Columns of the lineage, in the order of LINEAGE.
        let rows = self.offsets.len();
        let timestamps =
            TimestampMicrosecondArray::from(std::mem::take(&mut self.timestamps)).with_timezone("UTC");
        let origins: [ArrayRef; 5] = [
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(&*self.topic, rows))),
            Arc::new(Int32Array::from(std::mem::take(&mut self.partitions))),
            Arc::new(Int64Array::from(std::mem::take(&mut self.offsets))),
            Arc::new(timestamps),
            Arc::new(Int32Array::from(vec![self.schema_id; rows])),
        ];

        // One batch of both. Only the time can be missing.
        let mut fields: Vec<_> = decoded.schema_ref().fields().iter().cloned().collect();
        let mut columns = decoded.columns().to_vec();
        for (name, column) in LINEAGE.iter().zip(origins) {
            let nullable = *name == lineage::TIMESTAMP;
            fields.push(Arc::new(Field::new(*name, column.data_type().clone(), nullable)));
            columns.push(column);
        }
        Ok(Some(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?))
    }
}
