//! The archive: immutable Avro container objects, one chain per topic and partition.
//!
//! ```text
//! <topic>/partition=<p>/00000000000000000000.avro   covers offsets 0 … 4999
//!                       00000000000000005000.avro   covers offsets 5000 … 8120
//!                       00000000000000008121.avro   …
//! ```
//!
//! An object is named after the first offset that it covers: one past the last offset of its predecessor, 0
//! for the first. It is created only if absent. The names form a chain, and adding to it is a
//! compare-and-set: of two writers with the same position only one gets the name, and a writer that is behind
//! collides with an object that exists. Neither clocks, leases nor the consumer group are trusted.
//!
//! Offsets inside the covered range may be missing: transaction markers, compacted records, tombstones, and
//! records that went to the dead-letter topic.
//!
//! The records are the datums as they came, validated, with lineage fields appended: those of
//! [`lineage::ALL`](sluice_core::names::lineage::ALL). Objects of version 0.1 have the former names of these
//! fields. They are read, too, and a chain of them goes on with new ones. The header's metadata describes the
//! content. To find the archive's position only the header is read:
//!
//! | key | value (decimal text where a number) |
//! |---|---|
//! | `sluice.topic`, `sluice.partition` | where the records come from |
//! | `sluice.from` | first offset covered: the object's name |
//! | `sluice.first`, `sluice.last` | offsets of the first and the last record inside |
//! | `sluice.count` | records inside |
//! | `sluice.schema.id` | registry id of the writer's schema; one per object |
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod header;
mod reader;
mod segment;

#[cfg(test)]
#[path = "../../fixture.rs"]
mod fixture;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use sluice_core::{
    Fault, LearnError, NextOffset, Outcome, OutcomeReason, ReasonClass, RecordPart, RecordRef, SchemaId,
    TopicPartition,
};
use sluice_core::{FlushReport, Store, StoreBacklog, StorePosition};
use sluice_wire::{ContainerCodec, DatumSchema, LineageFrame, RecordLineage, framing};
use tokio::runtime::Handle;

pub use reader::ArchiveReader;
use segment::ArchiveObjectBuilder;
use sluice_location::fault;

/// Bytes of an object that are read to see its header; a longer header is read in full.
const HEADER_GUESS: u64 = 16 * 1024;

/// A [`Store`] of Avro container objects in any object store that has conditional writes.
pub struct ArchiveStore {
    store: Arc<dyn ObjectStore>,
    runtime: Handle,
    codec: ContainerCodec,
    topics: HashMap<String, ArchiveTopic>,
    /// Buffer in which a record that the archive already has is framed again. Only the outcome is used.
    judged: Vec<u8>,
}

/// The learned schemas and the open chains of one topic.
#[derive(Default)]
struct ArchiveTopic {
    frames: HashMap<SchemaId, LineageFrame>,
    partitions: BTreeMap<i32, ArchiveChain>,
}

/// The end of a partition's chain, and the open objects that will be added to it.
struct ArchiveChain {
    /// The next offset of the chain: the next object covers the partition from here on and is named after it.
    end: i64,
    /// True if `end` was read from the archive. Nothing may be added before that.
    asked: bool,
    /// Open objects in the order of their offsets.
    waiting: VecDeque<ArchiveObjectBuilder>,
}

impl ArchiveStore {
    /// Opens an archive in `store`. `runtime` carries its requests; it must not be the thread's own
    /// current-thread runtime.
    ///
    /// `store` must refuse to create an existing object ([`PutMode::Create`]). S3, GCS, Azure and the local
    /// file system do.
    pub fn new(store: Arc<dyn ObjectStore>, codec: ContainerCodec, runtime: Handle) -> Self {
        Self { store, runtime, codec, topics: HashMap::new(), judged: Vec::new() }
    }

    /// Returns the end of a chain: one past the last offset covered. `None` if the chain has no object.
    async fn end(&self, at: &TopicPartition) -> Result<Option<i64>, Fault> {
        let doing = || format!("looking for the end of the archive of {at}");

        // The newest object has the greatest name, because offsets in names have 20 digits.
        let prefix = folder(&at.topic, at.partition);
        let newest = self
            .store
            .list(Some(&prefix))
            .try_fold(None, |newest: Option<Path>, object| async move {
                // Some stores list objects without an order.
                let location = object.location;
                Ok(match newest {
                    _ if !location.as_ref().ends_with(".avro") => newest,
                    Some(newest) if newest >= location => Some(newest),
                    _ => Some(location),
                })
            })
            .await
            .map_err(|error| fault::of_object_store(doing(), error))?;

        // The name has only the first covered offset. The last one is in the header.
        let Some(newest) = newest else { return Ok(None) };
        let last = self.last_offset(&newest).await.map_err(|error| match error {
            ArchiveOffsetError::Store(error) => fault::of_object_store(doing(), error),
            ArchiveOffsetError::Header(error) => Fault::user(format!("{}: {newest}", doing()), error),
        })?;
        Ok(Some(last.saturating_add(1)))
    }

    /// Reads the offset of the last record from an object's header.
    async fn last_offset(&self, object: &Path) -> Result<i64, ArchiveOffsetError> {
        let start = self.store.get_range(object, 0..HEADER_GUESS).await?;
        match header::last_offset(&start) {
            // The writer's schema is in the header, too. A large one makes the header longer than the guess.
            Err(header::ArchiveHeaderError::Incomplete) => {
                let whole = self.store.get(object).await?.bytes().await?;
                Ok(header::last_offset(&whole)?)
            }
            known => Ok(known?),
        }
    }
}

/// The reason why the last offset of an object cannot be read.
#[derive(Debug, thiserror::Error)]
enum ArchiveOffsetError {
    #[error(transparent)]
    Store(#[from] object_store::Error),
    #[error(transparent)]
    Header(#[from] header::ArchiveHeaderError),
}

impl Store for ArchiveStore {
    fn name(&self) -> &'static str {
        "archive"
    }

    fn resume(&mut self, at: &TopicPartition) -> Result<Option<StorePosition>, Fault> {
        // A new chain replaces the old one: its open objects are dropped, and their records are read again.
        let end = self.runtime.block_on(self.end(at))?;
        let chain = ArchiveChain { end: end.unwrap_or(0), asked: true, waiting: VecDeque::new() };
        self.topics.entry(at.topic.to_string()).or_default().partitions.insert(at.partition, chain);
        Ok(end.and_then(NextOffset::new).map(StorePosition::new))
    }

    fn append(&mut self, record: &RecordRef<'_>) -> Outcome {
        // An archive holds records only. The deletion of a key is not an Avro datum.
        let Some(value) = record.value else {
            return Outcome::Skipped(OutcomeReason::new(
                ReasonClass::Null,
                "a tombstone adds nothing to an archive",
            ));
        };

        // Framing and schema. The lane teaches an unknown schema and appends the record again.
        let (id, datum) = match framing::split(value) {
            Ok(split) => split,
            Err(error) => {
                return Outcome::DeadLetter(OutcomeReason::new(ReasonClass::Framing, error.to_string()));
            }
        };
        let Some(topic) = self.topics.get_mut(record.topic) else {
            return Outcome::NeedsSchema(RecordPart::Value, id);
        };
        let Some(frame) = topic.frames.get(&id) else { return Outcome::NeedsSchema(RecordPart::Value, id) };

        // A chain without `resume` has an end of its own guess, and `flush` refuses it.
        let offset = record.offset.raw();
        let chain = topic.partitions.entry(record.partition).or_insert_with(|| ArchiveChain {
            end: offset,
            asked: false,
            waiting: VecDeque::new(),
        });
        let lineage = RecordLineage {
            topic: record.topic,
            partition: record.partition,
            offset,
            timestamp_ms: record.timestamp_ms,
            schema_id: id.0,
        };

        // The record is read again because the group does not know its outcome yet. The outcome is the same
        // as the first time, and nothing is added.
        if offset < chain.end() {
            self.judged.clear();
            return match frame.append(datum, &lineage, &mut self.judged) {
                Ok(()) => Outcome::Emitted,
                Err(error) => Outcome::DeadLetter(error.into()),
            };
        }

        // A new record: it waits in an open object for the next flush.
        match chain.append(id, frame, self.codec, datum, &lineage) {
            Ok(()) => Outcome::Emitted,
            Err(reason) => Outcome::DeadLetter(reason),
        }
    }

    fn learn(&mut self, topic: &str, id: SchemaId, schema: &str) -> Result<(), LearnError> {
        let uncovered = |error: &dyn std::fmt::Display| {
            LearnError::Uncovered(OutcomeReason::new(
                ReasonClass::Type,
                format!("expected a schema that the archive can hold: {error}"),
            ))
        };

        // The frame appends the lineage fields to every datum of this schema.
        let schema = DatumSchema::parse(schema).map_err(|error| uncovered(&error))?;
        let frame = LineageFrame::compile(&schema, true, &[]).map_err(|error| uncovered(&error))?;
        self.topics.entry(topic.to_owned()).or_default().frames.insert(id, frame);
        Ok(())
    }

    fn pending(&self) -> StoreBacklog {
        let waiting =
            self.topics.values().flat_map(|topic| topic.partitions.values()).flat_map(|c| &c.waiting);
        waiting.fold(StoreBacklog { records: 0, bytes: 0 }, |sum, segment| StoreBacklog {
            records: sum.records + segment.count(),
            bytes: sum.bytes + segment.bytes(),
        })
    }

    fn flush(&mut self) -> Result<FlushReport, Fault> {
        let Self { store, runtime, topics, .. } = self;
        for (topic, state) in topics {
            for (partition, chain) in &mut state.partitions {
                // Objects are created in the order of their offsets. A failure leaves the rest for the next
                // flush.
                while let Some(segment) = chain.waiting.front_mut() {
                    let path = object(topic, *partition, segment.from());

                    // A chain with a guessed end would leave a hole or cover offsets twice.
                    if !chain.asked {
                        return Err(Fault::rewind(
                            format!("archiving {path}"),
                            "the archive's position was not read; expected a resume of the partition before an append",
                        ));
                    }

                    // A bug and not an outage: the bytes are in memory and were validated before.
                    let payload = segment
                        .object(topic, *partition)
                        .map_err(|error| Fault::bug(format!("compressing {path}"), error))?;

                    // The conditional create. An object of this name means that another writer was faster:
                    // the lane has to rewind. The failpoint is the negative control of that rule.
                    match runtime.block_on(put_new(store.as_ref(), &path, payload)) {
                        Err(object_store::Error::AlreadyExists { .. })
                            if sluice_failpoint::sabotaged("ignore-412") => {}
                        put => {
                            put.map_err(|error| fault::of_object_store(format!("archiving {path}"), error))?
                        }
                    }

                    // The object is durable from here on.
                    chain.end = segment.end();
                    chain.waiting.pop_front();
                }
            }
        }
        Ok(FlushReport::default())
    }

    fn forget(&mut self, at: &TopicPartition) {
        if let Some(topic) = self.topics.get_mut(&*at.topic) {
            topic.partitions.remove(&at.partition);
        }
    }
}

impl ArchiveChain {
    /// Returns the end that the chain has once all open objects are stored.
    fn end(&self) -> i64 {
        self.waiting.back().map_or(self.end, ArchiveObjectBuilder::end)
    }

    /// Appends a new record to the newest open object, or to a new one if the schema differs.
    fn append(
        &mut self,
        id: SchemaId,
        frame: &LineageFrame,
        codec: ContainerCodec,
        datum: &[u8],
        lineage: &RecordLineage<'_>,
    ) -> Result<(), OutcomeReason> {
        // An object has one writer's schema. The open object takes the record if the schema is the same.
        if let Some(segment) = self.waiting.back_mut()
            && segment.schema_id() == id
        {
            return segment.append(frame, datum, lineage);
        }

        // Another schema begins another object. An object whose first record is refused is not kept.
        let mut segment = ArchiveObjectBuilder::new(frame, id, codec, self.end(), lineage);
        segment.append(frame, datum, lineage)?;
        self.waiting.push_back(segment);
        Ok(())
    }
}

/// Creates an object.
///
/// # Errors
/// Fails with [`object_store::Error::AlreadyExists`] if an object of this name exists.
async fn put_new(store: &dyn ObjectStore, path: &Path, payload: PutPayload) -> object_store::Result<()> {
    let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    store.put_opts(path, payload, options).await.map(|_| ())
}

/// Returns the folder of a partition's chain.
fn folder(topic: &str, partition: i32) -> Path {
    Path::from_iter([topic.to_owned(), format!("partition={partition}")])
}

/// Returns the name of the object that covers a partition from offset `from` on.
fn object(topic: &str, partition: i32, from: i64) -> Path {
    // 20 digits hold every offset, and names sort as offsets do.
    Path::from_iter([topic.to_owned(), format!("partition={partition}"), format!("{from:020}.avro")])
}
