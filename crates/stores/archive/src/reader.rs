//! Reads archived records back as Kafka held them: same offset, same time, same bytes behind the same schema
//! id.
//!
//! Keys and headers are not archived. A reader of the archive must not need them. Lineage fields are read
//! under both spellings: the present one, and that of version 0.1.

use std::collections::BTreeMap;
use std::sync::Arc;

use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use apache_avro::{Reader, Schema};
use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use sluice_core::RecordArchive;
use sluice_core::names::lineage;
use sluice_core::{BoxError, Fault, Offset, RecordRef, SchemaId, TopicPartition};
use sluice_wire::framing;
use tokio::runtime::Handle;

use super::{folder, header};
use sluice_location::fault;

/// The number of fields that the archive appends.
const LINEAGE: usize = lineage::ALL.len();

/// Reads the objects of an archive.
pub struct ArchiveReader {
    store: Arc<dyn ObjectStore>,
    runtime: Handle,
}

impl ArchiveReader {
    /// Opens the archive in a folder.
    ///
    /// # Errors
    /// Fails with a [`Fault`] of the user if the folder does not exist.
    pub fn open(path: &std::path::Path, runtime: Handle) -> Result<Self, Fault> {
        let store = LocalFileSystem::new_with_prefix(path)
            .map_err(|error| Fault::user(format!("opening the archive {}", path.display()), error))?;
        Ok(Self { store: Arc::new(store), runtime })
    }

    /// Returns the objects of a partition by the first offset that each covers.
    fn objects(&self, at: &TopicPartition) -> Result<BTreeMap<i64, Path>, Fault> {
        let prefix = folder(&at.topic, at.partition);
        let listed: Result<Vec<_>, _> = self.runtime.block_on(self.store.list(Some(&prefix)).try_collect());
        let listed =
            listed.map_err(|error| fault::of_object_store(format!("listing the archive of {at}"), error))?;

        // The name is the first covered offset. Other files in the folder are not part of the chain.
        let named = |path: &Path| path.filename()?.strip_suffix(".avro")?.parse().ok();
        Ok(listed
            .into_iter()
            .filter_map(|object| Some((named(&object.location)?, object.location)))
            .collect())
    }

    /// Reads a whole object.
    fn bytes(&self, object: &Path) -> Result<bytes::Bytes, Fault> {
        self.runtime
            .block_on(async { self.store.get(object).await?.bytes().await })
            .map_err(|error| fault::of_object_store(format!("reading {object}"), error))
    }
}

impl RecordArchive for ArchiveReader {
    fn covered(&mut self, at: &TopicPartition) -> Result<Option<(i64, i64)>, Fault> {
        // Without an object nothing is covered.
        let objects = self.objects(at)?;
        let (Some((_, oldest)), Some((_, newest))) = (objects.first_key_value(), objects.last_key_value())
        else {
            return Ok(None);
        };

        // By its name the first object covers the partition from 0 on. But retention may have removed records
        // before the archive began, and these are not inside. Therefore the range begins at the first record.
        let offset_of = |object: &Path, read: fn(&[u8]) -> Result<i64, header::ArchiveHeaderError>| {
            read(&self.bytes(object)?).map_err(|error| Fault::user(format!("reading {object}"), error))
        };
        let first = offset_of(oldest, header::first_offset)?;
        Ok(Some((first, offset_of(newest, header::last_offset)?.saturating_add(1))))
    }

    fn read(
        &mut self,
        at: &TopicPartition,
        (from, to): (i64, i64),
        take: &mut dyn FnMut(&RecordRef<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        // The object with the offset `from` is the last one that begins at or before it.
        let objects = self.objects(at)?;
        let first = objects.range(..=from).next_back().map_or(from, |(covers, _)| *covers);
        for object in objects.range(first..to).map(|(_, object)| object) {
            let bytes = self.bytes(object)?;
            let wrong = |error: BoxError| Fault::user(format!("reading {object}"), error);

            // The datums are written again without the lineage fields: these are the bytes of the Kafka
            // record.
            let reader = Reader::new(&bytes[..]).map_err(|error| wrong(error.into()))?;
            let plain = without_lineage(reader.writer_schema()).ok_or_else(|| {
                wrong("its schema has no lineage: it was not written by this archive".into())
            })?;
            let writer = GenericDatumWriter::builder(&plain).build().map_err(|error| wrong(error.into()))?;

            // The first and the last object can hold records outside of the range.
            for record in reader {
                let record = record.map_err(|error| wrong(error.into()))?;
                let (record, place) = split(record).ok_or_else(|| {
                    wrong("a record without lineage: it was not written by this archive".into())
                })?;
                if !(from..to).contains(&place.offset.raw()) {
                    continue;
                }

                // Framed under the id of the writer's schema, as the record was in Kafka.
                let mut value = Vec::new();
                framing::write_prefix(place.schema, &mut value);
                value.extend(writer.write_value_to_vec(record).map_err(|error| wrong(error.into()))?);
                take(&RecordRef {
                    topic: &at.topic,
                    partition: at.partition,
                    offset: place.offset,
                    timestamp_ms: place.timestamp_ms,
                    key: None,
                    value: Some(&value),
                    headers: &[],
                })?;
            }
        }
        Ok(())
    }
}

/// The lineage of an archived record, as far as reading it back needs it.
struct ArchivePlace {
    offset: Offset,
    timestamp_ms: Option<i64>,
    schema: SchemaId,
}

/// Returns the schema of the original writer. Names that the frame changed stay changed: they are not in the
/// bytes. `None` if the last fields are not the lineage fields, all of them in one spelling.
fn without_lineage(schema: &Schema) -> Option<Schema> {
    let Schema::Record(record) = schema else { return None };
    let mut record = record.clone();
    let fields = record.fields.len().checked_sub(LINEAGE)?;
    let appended = record.fields.split_off(fields);
    let is_lineage = |spelling: fn((&'static str, &'static str)) -> &'static str| {
        appended.iter().map(|field| field.name.as_str()).eq(lineage::ALL.map(spelling))
    };
    if !is_lineage(|(name, _)| name) && !is_lineage(|(_, former)| former) {
        return None;
    }

    // The lookup must not point behind the remaining fields.
    record.lookup.retain(|_, position| *position < fields);
    Some(Schema::Record(record))
}

/// Splits an archived record into the original record and its lineage. `None` if it has no lineage.
fn split(record: Value) -> Option<(Value, ArchivePlace)> {
    let Value::Record(mut fields) = record else { return None };
    let lineage = fields.split_off(fields.len().checked_sub(LINEAGE)?);
    let [_, _, (_, Value::Long(offset)), (_, Value::Union(_, timestamp)), (_, Value::Int(schema))] =
        &lineage[..]
    else {
        return None;
    };
    let timestamp_ms = match **timestamp {
        Value::TimestampMillis(millis) => Some(millis),
        _ => None,
    };
    let place = ArchivePlace {
        offset: Offset::new(*offset)?,
        timestamp_ms,
        schema: SchemaId(schema.cast_unsigned()),
    };
    Some((Value::Record(fields), place))
}
