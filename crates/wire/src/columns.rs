//! Columns: Arrow record batches through arrow-avro. Bad records are taken out before the builders see them.
//!
//! arrow-avro appends a record's fields to its builders as it reads them. A record that fails half-way leaves
//! columns of different lengths, and the batch is lost (arrow-rs #8212). Each record is therefore validated
//! first. The check also covers valid datums that arrow-avro refuses (the text of a uuid, the length of a
//! decimal). If a record fails nevertheless, a new decoder reads the batch's good records again from a copy.

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

/// The id of the writer's schema in the decoder. The decoder knows one writer; any id will do.
const ID: u32 = 0;

/// A batch that cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum ColumnsError {
    /// arrow-avro or Arrow itself failed.
    #[error(transparent)]
    Arrow(#[from] arrow_schema::ArrowError),
}

/// A record batch that is being filled.
pub struct ColumnBatchBuilder {
    /// The schema of the datums.
    writer: DatumSchema,
    /// The schema of the columns, if it differs from the writer's.
    reader: Option<DatumSchema>,
    /// Validates a datum and checks its leaves of interest.
    program: WalkProgram,
    /// The checked leaves, by slot of the program.
    checked: Vec<LeafType>,
    decoder: Decoder,
    schema: SchemaRef,
    /// The batch's records with their framing, for a second reading.
    held: Vec<u8>,
    rows: usize,
}

impl ColumnBatchBuilder {
    /// Compiles for a writer's schema. With a reader's schema the columns are those of the reader.
    ///
    /// # Errors
    /// [`SchemaError::Unsupported`] if arrow-avro has no column type or cannot resolve the two schemas.
    pub fn compile(writer: &DatumSchema, reader: Option<&DatumSchema>) -> Result<Self, SchemaError> {
        // The decoder is made first: it refuses schemas that arrow-avro cannot put into columns.
        let decoder = decoder(writer, reader)?;

        // The walk validates everything and visits only the leaves that need a check.
        let (plan, checked) = choose(writer, |leaf| ColumnCheck::of(leaf).is_some())?;
        let program = compile::plan(writer, &plan.unwrap_or(WalkPlan::Keep(writer.root())))?;

        let schema = decoder.schema();
        let (writer, reader) = (writer.clone(), reader.cloned());
        Ok(Self { writer, reader, program, checked, decoder, schema, held: Vec::new(), rows: 0 })
    }

    /// Appends one record. A bad record is refused and leaves the batch as it was.
    ///
    /// # Errors
    /// [`DatumError`] if the bytes are not a datum, or if the datum does not fit the columns.
    pub fn append(&mut self, datum: &[u8]) -> Result<(), DatumError> {
        // Validate the datum before arrow-avro sees it: a failure here leaves the builders untouched.
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

        // Keep a framed copy, which the decoder reads now and may have to read again.
        let start = self.held.len();
        framing::write_prefix(SchemaId(ID), &mut self.held);
        self.held.extend_from_slice(datum);
        let framed = self.held.get(start..).unwrap_or_default();
        if self.decoder.decode(framed).is_ok_and(|read| read == framed.len()) {
            self.rows += 1;
            return Ok(());
        }

        // arrow-avro refused a valid datum: take the copy back.
        self.held.truncate(start);
        let refused = DatumError {
            path: String::new(),
            position: 0,
            expected: "a record that Arrow has columns for".into(),
        };

        // The builders hold half a record now; a new decoder reads the good ones again.
        match self.again() {
            Ok(()) => Err(refused),
            Err(error) => {
                let expected = format!("a record that Arrow has columns for ({error})").into();
                Err(DatumError { expected, ..refused })
            }
        }
    }

    /// Reads the batch's good records again with a new decoder. Fails, and empties the batch, if they cannot
    /// be read.
    fn again(&mut self) -> Result<(), SchemaError> {
        self.decoder = decoder(&self.writer, self.reader.as_ref())?;
        if self.decoder.decode(&self.held).is_ok_and(|read| read == self.held.len()) {
            return Ok(());
        }

        // The records were read once before, so this is arrow-avro's fault. The builder must stay usable.
        self.held.clear();
        self.rows = 0;
        Err(SchemaError::Unsupported {
            path: String::new(),
            why: "arrow-avro could not read the batch's records again: the batch is lost".into(),
        })
    }

    /// Returns the number of records in the batch.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the bytes of the batch's datums, without their framing.
    pub fn bytes(&self) -> usize {
        self.held.len() - self.rows * framing::PREFIX
    }

    /// Returns the batch and begins an empty one. Without rows the batch is empty.
    ///
    /// # Errors
    /// [`ColumnsError`]; the batch's records are lost to this builder and the caller must read them again.
    pub fn flush(&mut self) -> Result<RecordBatch, ColumnsError> {
        // The copies are of no use any more, whether the flush succeeds or not.
        self.held.clear();
        self.rows = 0;

        // `None` means that no row was decoded since the last flush.
        match self.decoder.flush() {
            Ok(Some(batch)) => Ok(batch),
            Ok(None) => Ok(RecordBatch::new_empty(self.schema.clone())),
            Err(error) => {
                // The remains in the builders belong to no batch: a new decoder drops them.
                if let Ok(decoder) = decoder(&self.writer, self.reader.as_ref()) {
                    self.decoder = decoder;
                }
                Err(ColumnsError::Arrow(error.into()))
            }
        }
    }

    /// Returns the Arrow schema of the batches.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

/// Makes a decoder for framed datums of `writer`.
fn decoder(writer: &DatumSchema, reader: Option<&DatumSchema>) -> Result<Decoder, SchemaError> {
    let unsupported = |error: arrow_schema::ArrowError| SchemaError::Unsupported {
        path: String::new(),
        why: error.to_string(),
    };

    // The decoder finds the writer's schema by the id in the framing.
    let mut store = SchemaStore::new_with_type(FingerprintAlgorithm::Id);
    let id = Fingerprint::Id(ID);
    store.set(id, AvroSchema::new(writer.json().to_owned())).map_err(unsupported)?;

    // The batch is as large as the caller lets it grow: the caller flushes by rows, bytes and time.
    let mut builder = ReaderBuilder::new()
        .with_writer_schema_store(store)
        .with_active_fingerprint(id)
        .with_batch_size(usize::MAX >> 1);

    // Without a reader's schema the columns are the writer's.
    if let Some(reader) = reader {
        builder = builder.with_reader_schema(AvroSchema::new(reader.json().to_owned()));
    }
    builder.build_decoder().map_err(unsupported)
}

/// A check of leaves for which arrow-avro refuses valid datums.
#[derive(Clone, Copy)]
enum ColumnCheck {
    /// The text must be a uuid.
    Uuid,
    /// The largest number of bytes in the column's integer.
    Decimal(usize),
}

impl ColumnCheck {
    /// Returns the check that a leaf needs, if any.
    fn of(leaf: &LeafType) -> Option<Self> {
        match (leaf.logical?, leaf.kind) {
            (LogicalType::Uuid, LeafKind::String) => Some(Self::Uuid),
            (LogicalType::Decimal { precision, .. }, LeafKind::Bytes) => {
                // Arrow's Decimal128 has 38 digits; beyond, the column is a Decimal256.
                Some(Self::Decimal(if precision <= 38 { 16 } else { 32 }))
            }
            _ => None,
        }
    }
}

/// Validates the checked leaves of one datum.
struct ColumnCheckTask<'c> {
    leaves: &'c [LeafType],
    /// Position and expectation of the leaf that failed.
    refused: Option<(usize, &'static str)>,
}

impl WalkTask for ColumnCheckTask<'_> {
    fn leaf(&mut self, slot: u32, data: &[u8], at: usize) -> Option<usize> {
        // Every leaf is validated as Avro first.
        let place = self.leaves.get(slot as usize)?;
        let (leaf, end) = read_leaf(place, data, at)?;

        // arrow-avro fails on these values half-way through the record.
        let refused = match (ColumnCheck::of(place)?, leaf) {
            (ColumnCheck::Uuid, LeafValue::String(text)) if !is_uuid(text) => Some("the text of a uuid"),
            (ColumnCheck::Decimal(most), LeafValue::Bytes(bytes))
                if bytes.is_empty() || bytes.len() > most =>
            {
                Some("a decimal of the schema's precision")
            }
            _ => None,
        };

        // The walk stops here; the caller reports the expectation.
        if let Some(expected) = refused {
            self.refused = Some((at, expected));
            return None;
        }
        Some(end)
    }
}

/// Tells whether the text has 32 hexadecimal digits, with the usual hyphens or without any, as Avro writers
/// write it.
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
