//! Columns: Arrow record batches through arrow-avro, with bad records taken out before the builder.
//!
//! arrow-avro appends a record's fields to its builders as it reads them: a record that fails half-way leaves
//! columns of different lengths, and the batch is lost (arrow-rs #8212). So a record is validated first, and
//! also checked for what arrow-avro refuses in a valid datum (the text of a uuid, the length of a decimal). If
//! it fails nevertheless, the decoder is made anew and reads the batch's good records again from a copy.

use arrow::array::RecordBatch;
use arrow_avro::reader::{Decoder, ReaderBuilder};
use arrow_avro::schema::{AvroSchema, Fingerprint, FingerprintAlgorithm, SchemaStore};
use arrow_schema::SchemaRef;
use sluice_core::SchemaId;

use crate::framing;
use crate::leaf::{LeafValue, read_leaf};
use crate::program::choose::choose;
use crate::program::compile;
use crate::program::diagnose::{diagnose, leaf_at};
use crate::program::op::WalkProgram;
use crate::program::plan::WalkPlan;
use crate::program::walk::WalkTask;
use crate::schema::{LeafKind, LeafType, LogicalType};
use crate::{DatumError, DatumSchema, SchemaError};

/// The decoder knows one writer, so any id will do.
const ID: u32 = 0;

/// A batch that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ColumnsError {
    /// arrow-avro or Arrow itself.
    #[error(transparent)]
    Arrow(#[from] arrow_schema::ArrowError),
}

/// A record batch in the making.
pub struct ColumnBatchBuilder {
    writer: DatumSchema,
    reader: Option<DatumSchema>,
    program: WalkProgram,
    checked: Vec<LeafType>,
    decoder: Decoder,
    schema: SchemaRef,
    /// The batch's records, framed.
    held: Vec<u8>,
    rows: usize,
}

impl ColumnBatchBuilder {
    /// Compiles for a writer's schema and, if given, resolves to the reader's.
    ///
    /// # Errors
    /// [`SchemaError::Unsupported`] where arrow-avro has no column type, or the two do not resolve.
    pub fn compile(writer: &DatumSchema, reader: Option<&DatumSchema>) -> Result<Self, SchemaError> {
        let decoder = decoder(writer, reader)?;
        let (plan, checked) = choose(writer, |leaf| ColumnCheck::of(leaf).is_some())?;
        let program = compile::plan(writer, &plan.unwrap_or(WalkPlan::Keep(writer.root())))?;
        let schema = decoder.schema();
        let (writer, reader) = (writer.clone(), reader.cloned());
        Ok(Self { writer, reader, program, checked, decoder, schema, held: Vec::new(), rows: 0 })
    }

    /// Appends one record; a bad one is refused and leaves the batch as it was.
    ///
    /// # Errors
    /// [`DatumError`]: not a datum, or one that has no place in the columns.
    pub fn append(&mut self, datum: &[u8]) -> Result<(), DatumError> {
        let mut checking = ColumnCheckTask { leaves: &self.checked, refused: None };
        if self.program.run(datum, &mut checking).is_none() {
            return Err(match checking.refused {
                Some((at, expected)) => DatumError {
                    path: leaf_at(&self.writer, datum, at),
                    position: at,
                    expected: expected.into(),
                },
                None => diagnose(&self.writer, datum),
            });
        }
        let start = self.held.len();
        framing::write_prefix(SchemaId(ID), &mut self.held);
        self.held.extend_from_slice(datum);
        let framed = self.held.get(start..).unwrap_or_default();
        if self.decoder.decode(framed).is_ok_and(|read| read == framed.len()) {
            self.rows += 1;
            return Ok(());
        }
        self.held.truncate(start);
        let refused = DatumError {
            path: String::new(),
            position: 0,
            expected: "a record that Arrow has columns for".into(),
        };
        // The builders hold half a record now; a new decoder reads the good ones again.
        match self.again() {
            Ok(()) => Err(refused),
            Err(error) => Err(DatumError { expected: error.to_string().into(), ..refused }),
        }
    }

    fn again(&mut self) -> Result<(), SchemaError> {
        self.decoder = decoder(&self.writer, self.reader.as_ref())?;
        if self.decoder.decode(&self.held).is_ok_and(|read| read == self.held.len()) {
            return Ok(());
        }
        self.held.clear();
        self.rows = 0;
        Err(SchemaError::Unsupported {
            path: String::new(),
            why: "the batch's records cannot be read again".into(),
        })
    }

    /// Records in the batch so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Datum bytes in the batch so far.
    pub fn bytes(&self) -> usize {
        self.held.len() - self.rows * framing::PREFIX
    }

    /// The batch, and an empty one begun. No rows give an empty batch.
    ///
    /// # Errors
    /// [`ColumnsError`]; the batch's records are lost to this builder and must be read again.
    pub fn flush(&mut self) -> Result<RecordBatch, ColumnsError> {
        self.held.clear();
        self.rows = 0;
        match self.decoder.flush() {
            Ok(Some(batch)) => Ok(batch),
            Ok(None) => Ok(RecordBatch::new_empty(self.schema.clone())),
            Err(error) => {
                // What is left in the builders is of no batch.
                if let Ok(decoder) = decoder(&self.writer, self.reader.as_ref()) {
                    self.decoder = decoder;
                }
                Err(ColumnsError::Arrow(error.into()))
            }
        }
    }

    /// Arrow schema of the batches.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

fn decoder(writer: &DatumSchema, reader: Option<&DatumSchema>) -> Result<Decoder, SchemaError> {
    let unsupported = |error: arrow_schema::ArrowError| SchemaError::Unsupported {
        path: String::new(),
        why: error.to_string(),
    };
    let mut store = SchemaStore::new_with_type(FingerprintAlgorithm::Id);
    let id = Fingerprint::Id(ID);
    store.set(id, AvroSchema::new(writer.json().to_owned())).map_err(unsupported)?;
    // The batch is as large as the caller lets it grow: it flushes by rows, bytes and time.
    let mut builder = ReaderBuilder::new()
        .with_writer_schema_store(store)
        .with_active_fingerprint(id)
        .with_batch_size(usize::MAX >> 1);
    if let Some(reader) = reader {
        builder = builder.with_reader_schema(AvroSchema::new(reader.json().to_owned()));
    }
    builder.build_decoder().map_err(unsupported)
}

/// What arrow-avro refuses in a valid datum.
#[derive(Clone, Copy)]
enum ColumnCheck {
    Uuid,
    /// Most bytes that the column's integer has.
    Decimal(usize),
}

impl ColumnCheck {
    fn of(leaf: &LeafType) -> Option<Self> {
        match (leaf.logical?, leaf.kind) {
            (LogicalType::Uuid, LeafKind::String) => Some(Self::Uuid),
            (LogicalType::Decimal { precision, .. }, LeafKind::Bytes) => {
                Some(Self::Decimal(if precision <= 38 { 16 } else { 32 }))
            }
            _ => None,
        }
    }
}

struct ColumnCheckTask<'c> {
    leaves: &'c [LeafType],
    refused: Option<(usize, &'static str)>,
}

impl WalkTask for ColumnCheckTask<'_> {
    fn leaf(&mut self, slot: u32, data: &[u8], at: usize) -> Option<usize> {
        let place = self.leaves.get(slot as usize)?;
        let (leaf, end) = read_leaf(place, data, at)?;
        let refused = match (ColumnCheck::of(place)?, leaf) {
            (ColumnCheck::Uuid, LeafValue::String(text)) if !is_uuid(text) => Some("the text of a uuid"),
            (ColumnCheck::Decimal(most), LeafValue::Bytes(bytes))
                if bytes.is_empty() || bytes.len() > most =>
            {
                Some("a decimal of the schema's precision")
            }
            _ => None,
        };
        if let Some(expected) = refused {
            self.refused = Some((at, expected));
            return None;
        }
        Some(end)
    }
}

/// Thirty-two hexadecimal digits with the usual hyphens or without any, which is what Avro writers write.
fn is_uuid(text: &str) -> bool {
    let hyphen = |at: usize| matches!(at, 8 | 13 | 18 | 23);
    match text.len() {
        36 => {
            text.bytes().enumerate().all(|(at, b)| if hyphen(at) { b == b'-' } else { b.is_ascii_hexdigit() })
        }
        32 => text.bytes().all(|b| b.is_ascii_hexdigit()),
        _ => false,
    }
}
