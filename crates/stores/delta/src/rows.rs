//! Rows of one writer's schema on their way into columns, with their lineage beside them.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::{ArrowError, Field, Schema};
use sluice_core::{OutcomeReason, ReasonClass, RecordRef, SchemaId};
use sluice_wire::columns::{ColumnBatchBuilder, ColumnsError};

use super::guard::ColumnGuard;
use super::types::LINEAGE;

/// Decodes datums of one schema id and keeps where they came from.
pub(super) struct DeltaRowBuffer {
    columns: ColumnBatchBuilder,
    guard: Option<ColumnGuard>,
    topic: Arc<str>,
    schema_id: i32,
    partitions: Vec<i32>,
    offsets: Vec<i64>,
    timestamps: Vec<Option<i64>>,
}

/// A batch that could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum SealError {
    #[error(transparent)]
    Columns(#[from] ColumnsError),
    #[error(transparent)]
    Arrow(#[from] ArrowError),
}

impl DeltaRowBuffer {
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
            // Ids are handed out from 1 by every registry; a column of ints is what readers expect.
            schema_id: i32::try_from(id.0).unwrap_or(i32::MAX),
            partitions: Vec::new(),
            offsets: Vec::new(),
            timestamps: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Appends one record, or leaves everything as it was.
    pub(super) fn append(&mut self, datum: &[u8], record: &RecordRef<'_>) -> Result<(), OutcomeReason> {
        let micros = match record.timestamp_ms.map(|millis| millis.checked_mul(1000)) {
            Some(None) => {
                return Err(OutcomeReason::new(ReasonClass::Type, "a time within microseconds' reach")
                    .at("_timestamp", None));
            }
            known => known.flatten(),
        };
        if let Some(guard) = &self.guard {
            guard.check(datum)?;
        }
        self.columns.append(datum)?;
        self.partitions.push(record.partition);
        self.offsets.push(record.offset.raw());
        self.timestamps.push(micros);
        Ok(())
    }

    /// Everything appended, as one batch of the decoded columns and the lineage columns; `None` if there is nothing.
    pub(super) fn seal(&mut self) -> Result<Option<RecordBatch>, SealError> {
        if self.offsets.is_empty() {
            return Ok(None);
        }
        let decoded = self.columns.flush()?;
        let rows = self.offsets.len();
        let timestamps =
            TimestampMicrosecondArray::from(std::mem::take(&mut self.timestamps)).with_timezone("UTC");
        let lineage: [ArrayRef; 5] = [
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(&*self.topic, rows))),
            Arc::new(Int32Array::from(std::mem::take(&mut self.partitions))),
            Arc::new(Int64Array::from(std::mem::take(&mut self.offsets))),
            Arc::new(timestamps),
            Arc::new(Int32Array::from(vec![self.schema_id; rows])),
        ];
        let mut fields: Vec<_> = decoded.schema_ref().fields().iter().cloned().collect();
        let mut columns = decoded.columns().to_vec();
        for (name, column) in LINEAGE.iter().zip(lineage) {
            let nullable = *name == "_timestamp";
            fields.push(Arc::new(Field::new(*name, column.data_type().clone(), nullable)));
            columns.push(column);
        }
        Ok(Some(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?))
    }
}
