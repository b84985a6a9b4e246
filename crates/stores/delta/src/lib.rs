//! The embedded warehouse: one Delta table per topic, at `<lake>/<topic>/`.
//!
//! A flush makes one commit per table: its rows as Parquet, and per partition a `txn` action (`appId` =
//! `sluice/<topic>/<partition>`, `version` = next offset to read). Rows and position become visible together
//! or not at all. Therefore [`Store::resume`] reads the position from the table, and nothing is ever added
//! twice.
//!
//! A writer that was overtaken is refused: it commits only after it has read every commit since it read its
//! position, and gives up if one of them moves a partition of its own.
//!
//! A table is created from the first schema that is learned, and grows with later ones. The fields'
//! documentation becomes the description of the columns. Types and rules of growth are in the submodules
//! `types` and `evolve`. Every row is traceable by its lineage columns
//! ([`lineage::ALL`](sluice_core::names::lineage::ALL)). A table of version 0.1 has them under their former
//! names, and is continued under these.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod conform;
mod docs;
mod evolve;
mod guard;
mod log;
pub mod plan;
mod rows;
mod table;
mod types;

#[cfg(test)]
#[path = "../../fixture.rs"]
mod fixture;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use deltalake::DeltaTableError;
use deltalake::logstore::{StorageConfig, logstore_for};
use deltalake::parquet::basic::{Compression, Encoding, ZstdLevel};
use deltalake::parquet::file::properties::WriterProperties;
use deltalake::parquet::schema::types::ColumnPath;
use sluice_core::{
    Fault, LearnError, NextOffset, Outcome, OutcomeReason, ReasonClass, RecordPart, RecordRef, SchemaId,
    TopicPartition,
};
use sluice_core::{FlushReport, Store, StoreBacklog, StorePosition};
use sluice_wire::framing;
use tokio::runtime::Handle;
use url::Url;

use log::DeltaLog;
use table::DeltaTopicTable;
use types::LineageSpelling;

/// Rows of a Parquet row group. A reader holds one row group of the columns that it reads, and the writer
/// encodes one at a time.
const ROW_GROUP_ROWS: usize = 128 * 1024;
/// The number of commits between two log checkpoints, unless configured.
pub const CHECKPOINT_EVERY: u64 = 20;

/// The compression of a table's Parquet files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FileCodec {
    /// Zstandard: smaller files.
    #[default]
    Zstd,
    /// Snappy: known to the oldest readers.
    Snappy,
}

/// A [`Store`] of Delta tables in one folder, the lake.
pub struct DeltaStore {
    lake: PathBuf,
    checkpoint_every: u64,
    properties: WriterProperties,
    runtime: Handle,
    tables: HashMap<String, DeltaTopicTable>,
}

impl DeltaStore {
    /// Opens a store of tables in the folder `lake`, and creates the folder if it does not exist. `runtime`
    /// must be multi-threaded: it carries the requests while a lane's thread waits.
    ///
    /// # Errors
    /// Fails with a [`Fault`] of the user if the folder cannot be created.
    pub fn new(lake: &Path, codec: FileCodec, checkpoint_every: u64, runtime: Handle) -> Result<Self, Fault> {
        let made = std::fs::create_dir_all(lake).and_then(|()| lake.canonicalize());
        let lake = made.map_err(|error| Fault::user(format!("making the lake {}", lake.display()), error))?;

        let compression = match codec {
            FileCodec::Zstd => Compression::ZSTD(ZstdLevel::default()),
            FileCodec::Snappy => Compression::SNAPPY,
        };

        // Offsets count up: their differences are small numbers, and a dictionary of them would not repeat
        // any.
        let mut properties = WriterProperties::builder();
        for spelling in [LineageSpelling::Present, LineageSpelling::Former] {
            let [_, _, offset, ..] = spelling.names();
            properties = properties
                .set_column_dictionary_enabled(ColumnPath::from(offset), false)
                .set_column_encoding(ColumnPath::from(offset), Encoding::DELTA_BINARY_PACKED);
        }
        let properties = properties
            .set_created_by(concat!("sluicegate ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(compression)
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .build();
        Ok(Self { lake, checkpoint_every, properties, runtime, tables: HashMap::new() })
    }

    /// Returns the table of a topic, and opens its log at the first call.
    fn table(&mut self, topic: &str) -> Result<&mut DeltaTopicTable, Fault> {
        // Opening makes no call: `resume` or `learn` makes the first one.
        if !self.tables.contains_key(topic) {
            let log = self
                .open(topic)
                .map_err(|error| Fault::user(format!("opening the table of {topic}"), error))?;
            self.tables.insert(topic.to_owned(), DeltaTopicTable::new(topic, log));
        }
        let missing = || Fault::bug(format!("opening the table of {topic}"), "it was just opened");
        self.tables.get_mut(topic).ok_or_else(missing)
    }

    /// Opens the log of a topic's table, at `<lake>/<topic>/`.
    fn open(&self, topic: &str) -> Result<DeltaLog, DeltaTableError> {
        let folder = self.lake.join(topic);

        // A topic's name is one plain folder name. `..` or a `/` would leave the lake.
        let invalid = || DeltaTableError::InvalidTableLocation(folder.display().to_string());
        let [Component::Normal(_)] = Path::new(topic).components().collect::<Vec<_>>()[..] else {
            return Err(invalid());
        };
        let url = Url::from_directory_path(&folder).map_err(|()| invalid())?;
        let store = logstore_for(&url, StorageConfig::default())?;
        Ok(DeltaLog::new(store, self.checkpoint_every))
    }
}

impl Store for DeltaStore {
    fn name(&self) -> &'static str {
        "delta"
    }

    fn resume(&mut self, at: &TopicPartition) -> Result<Option<StorePosition>, Fault> {
        // The clone ends the borrow of `self` before the table is borrowed.
        let runtime = self.runtime.clone();
        let table = self.table(&at.topic)?;
        let next = runtime.block_on(table.resume(at.partition))?;
        Ok(next.and_then(NextOffset::new).map(StorePosition::new))
    }

    fn append(&mut self, record: &RecordRef<'_>) -> Outcome {
        // A tombstone could only delete a row, and rows are never deleted.
        let Some(value) = record.value else {
            return Outcome::Skipped(OutcomeReason::new(
                ReasonClass::Null,
                "a tombstone adds nothing to an append-only table",
            ));
        };

        // A topic without a table has not learned a schema yet. Learning opens the table.
        match framing::split(value) {
            Ok((id, datum)) => match self.tables.get_mut(record.topic) {
                Some(table) => table.append(id, datum, record),
                None => Outcome::NeedsSchema(RecordPart::Value, id),
            },
            Err(error) => Outcome::DeadLetter(OutcomeReason::new(ReasonClass::Framing, error.to_string())),
        }
    }

    fn learn(&mut self, topic: &str, id: SchemaId, schema: &str) -> Result<(), LearnError> {
        let runtime = self.runtime.clone();
        let table = self.table(topic)?;
        runtime.block_on(table.learn(id, schema))
    }

    fn pending(&self) -> StoreBacklog {
        self.tables.values().map(DeltaTopicTable::pending).fold(
            StoreBacklog::default(),
            |sum, (records, bytes)| StoreBacklog { records: sum.records + records, bytes: sum.bytes + bytes },
        )
    }

    fn flush(&mut self) -> Result<FlushReport, Fault> {
        // One commit per table. A failure leaves the later tables' rows waiting for the next flush.
        let Self { tables, runtime, properties, .. } = self;
        tables.values_mut().try_for_each(|table| runtime.block_on(table.flush(properties)))?;
        Ok(FlushReport::default())
    }

    fn forget(&mut self, at: &TopicPartition) {
        if let Some(table) = self.tables.get_mut(&*at.topic) {
            table.forget(at.partition);
        }
    }
}
