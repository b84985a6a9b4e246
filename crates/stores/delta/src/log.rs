//! A Delta table's log: what stands in it, what came since, and how one more commit gets in.
//!
//! A commit is a file named after the table's next version, created only if absent. Before a writer creates version
//! *n* it has read every commit up to *n* − 1 ([`DeltaLog::news`]), so a commit is a compare-and-set on everything the
//! writer knows: how far its partitions are, and what the table's schema is. Unlike delta-rs' own commit loop this
//! needs no list of the table's files in memory, and it tells its own commit from another's when an answer was lost.

use std::collections::HashSet;
use std::sync::Arc;

use arrow_schema::{ArrowError, Schema, SchemaRef};
use bytes::Bytes;
use deltalake::checkpoints;
use deltalake::datafile::writer::WriterConfig;
use deltalake::kernel::engine::arrow_conversion::{TryIntoArrow, TryIntoKernel};
use deltalake::kernel::transaction::{CommitData, TransactionError};
use deltalake::kernel::{
    Action, EagerSnapshot, MetadataExt, Protocol, Snapshot, StructType, Transaction, new_metadata,
};
use deltalake::logstore::{CommitOrBytes, LogStoreRef, get_actions};
use deltalake::parquet::file::properties::WriterProperties;
use deltalake::protocol::{DeltaOperation, SaveMode};
use deltalake::table::config::TablePropertiesExt;
use deltalake::{DeltaTable, DeltaTableError};
use serde_json::json;
use uuid::Uuid;

/// Features that a table may ask its writers to know, and that this writer keeps.
const FEATURES: [&str; 3] = ["appendOnly", "invariants", NTZ];
/// The feature of timestamps without time zone.
const NTZ: &str = "timestampNtz";

/// What a commit is about.
pub(super) enum DeltaChange {
    /// The table itself: its first commit.
    Create { schema: Schema, name: String, description: Option<String> },
    /// New columns, or columns that become nullable.
    Evolve { schema: Schema },
    /// Rows, with how far they bring each partition.
    Append { adds: Vec<Action>, positions: Vec<(String, i64)> },
}

/// The table as a snapshot tells it; no files.
pub(super) struct TableState {
    /// Its columns, as delta-rs' Arrow form has them.
    pub(super) schema: SchemaRef,
    snapshot: Snapshot,
}

/// What other writers committed since we last looked.
#[derive(Default)]
pub(super) struct ForeignCommits {
    /// Application ids and the version at which they moved.
    pub(super) moved: Vec<(String, u64)>,
    /// The table's schema or protocol is another.
    pub(super) schema_changed: bool,
    /// Data files that were added.
    pub(super) files: HashSet<String>,
    /// Commits are gone that were never read: the log was cleaned up meanwhile.
    pub(super) gap: bool,
}

/// One table's log.
pub(super) struct DeltaLog {
    store: LogStoreRef,
    /// Every commit up to this version has been read, or was our own.
    examined: Option<u64>,
    checkpoint_every: u64,
}

impl DeltaLog {
    /// A log that writes a checkpoint at every `checkpoint_every`th version.
    pub(super) fn new(store: LogStoreRef, checkpoint_every: u64) -> Self {
        Self { store, examined: None, checkpoint_every: checkpoint_every.max(1) }
    }

    /// Where data files are put.
    pub(super) fn store(&self) -> &LogStoreRef {
        &self.store
    }

    /// The table at its newest version; `None` if there is no table.
    pub(super) async fn state(&mut self) -> Result<Option<TableState>, DeltaTableError> {
        if !self.store.is_delta_table_location().await? {
            return Ok(None);
        }
        let snapshot = Snapshot::try_new(self.store.as_ref(), None).await?;
        let schema: Schema = snapshot.schema().as_ref().try_into_arrow()?;
        Ok(Some(TableState { schema: Arc::new(schema), snapshot }))
    }

    /// How far the table says application `app` is, and at which version it says so; `None` if there is no table.
    ///
    /// The list of files that delta-rs loads with this is dropped again.
    pub(super) async fn position(
        &mut self,
        app: &str,
    ) -> Result<Option<(u64, Option<i64>)>, DeltaTableError> {
        if !self.store.is_delta_table_location().await? {
            return Ok(None);
        }
        let snapshot = EagerSnapshot::try_new(self.store.as_ref(), None).await?;
        let at = snapshot.transaction_version(self.store.as_ref(), app).await?;
        self.start_at(snapshot.version());
        Ok(Some((snapshot.version(), at)))
    }

    /// Nothing before `version` needs to be read; has no effect once something was.
    pub(super) fn start_at(&mut self, version: u64) {
        self.examined.get_or_insert(version);
    }

    /// Reads every commit since the last one examined.
    pub(super) async fn news(&mut self) -> Result<ForeignCommits, DeltaTableError> {
        let mut news = ForeignCommits::default();
        let next = self.next_version();
        let latest = match self.store.get_latest_version(next.saturating_sub(1)).await {
            Ok(latest) => latest,
            Err(DeltaTableError::InvalidVersion(_)) => {
                // The commit we stand on is no longer there. Whatever happened, what we know is worth nothing.
                news.gap = true;
                news.schema_changed = true;
                self.examined = self.state().await?.map(|state| state.version());
                return Ok(news);
            }
            Err(error) => return Err(error),
        };
        for version in next..=latest {
            let Some(bytes) = self.store.read_commit_entry(version).await? else {
                news.gap = true;
                continue;
            };
            for action in get_actions(version, &bytes)? {
                match action {
                    Action::Txn(Transaction { app_id, .. }) => news.moved.push((app_id, version)),
                    Action::Metadata(_) | Action::Protocol(_) => news.schema_changed = true,
                    Action::Add(add) => {
                        news.files.insert(add.path);
                    }
                    _ => {}
                }
            }
        }
        self.examined = Some(latest.max(next.saturating_sub(1)));
        Ok(news)
    }

    /// Tries to make `commit` the table's next version: that version, or `None` if someone else made it first.
    pub(super) async fn commit(&mut self, commit: &Bytes) -> Result<Option<u64>, DeltaTableError> {
        let version = self.next_version();
        let entry = CommitOrBytes::LogBytes(commit.clone());
        match self.store.write_commit_entry(version, entry, Uuid::new_v4()).await {
            Ok(()) => {
                self.examined = Some(version);
                Ok(Some(version))
            }
            Err(TransactionError::VersionAlreadyExists(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes a checkpoint if `version` is one for it, and removes log entries past their retention.
    ///
    /// A checkpoint saves readers time; that it could not be written is worth a warning, not a failure.
    pub(super) async fn checkpoint(&self, version: u64) {
        if !(version + 1).is_multiple_of(self.checkpoint_every) {
            return;
        }
        let write = async {
            let mut table = DeltaTable::new(self.store.clone());
            table.load_version(version).await?;
            checkpoints::create_checkpoint(&table, None).await?;
            checkpoints::cleanup_metadata(&table, None).await
        };
        if let Err(error) = write.await {
            tracing::warn!(%error, version, table = %self.store.root_url(), "no checkpoint was written");
        }
    }

    /// The bytes of a commit.
    pub(super) fn describe(
        &self,
        change: DeltaChange,
        state: Option<&TableState>,
    ) -> Result<Bytes, DeltaTableError> {
        let (actions, operation, transactions) = match change {
            DeltaChange::Create { schema, name, description } => {
                let protocol = protocol_for(&schema)?;
                let schema = kernel_schema(&schema)?;
                let interval = self.checkpoint_every.to_string();
                let mut metadata = new_metadata(&schema, [""; 0], [("delta.checkpointInterval", interval)])?;
                metadata = metadata.with_name(name)?;
                if let Some(description) = description {
                    metadata = metadata.with_description(description)?;
                }
                let operation = DeltaOperation::Create {
                    mode: SaveMode::ErrorIfExists,
                    location: self.store.root_url().clone(),
                    protocol: protocol.clone(),
                    metadata: metadata.clone(),
                };
                (vec![Action::Protocol(protocol), Action::Metadata(metadata)], operation, vec![])
            }
            DeltaChange::Evolve { schema } => {
                let state = state.ok_or_else(|| DeltaTableError::generic("a table that evolves exists"))?;
                let mut actions = Vec::new();
                if has_ntz(&schema) && !features(state.snapshot.protocol()).contains(NTZ) {
                    if !features(state.snapshot.protocol()).is_empty() {
                        return Err(DeltaTableError::generic(
                            "the table's protocol does not allow local timestamps",
                        ));
                    }
                    actions.push(Action::Protocol(protocol_for(&schema)?));
                }
                let schema = kernel_schema(&schema)?;
                let known = &state.schema;
                let fields =
                    schema.fields().filter(|f| known.field_with_name(f.name()).is_err()).cloned().collect();
                actions.push(Action::Metadata(state.snapshot.metadata().clone().with_schema(&schema)?));
                (actions, DeltaOperation::AddColumn { fields }, vec![])
            }
            DeltaChange::Append { adds, positions } => {
                let operation =
                    DeltaOperation::Write { mode: SaveMode::Append, partition_by: None, predicate: None };
                let moved = positions.into_iter().map(|(app, at)| Transaction::new(app, at)).collect();
                (adds, operation, moved)
            }
        };
        Ok(CommitData::new(actions, operation, Default::default(), transactions).get_bytes()?)
    }

    /// The newest version that was read or made.
    pub(super) fn examined(&self) -> u64 {
        self.examined.unwrap_or_default()
    }

    fn next_version(&self) -> u64 {
        self.examined.map_or(0, |version| version + 1)
    }
}

impl TableState {
    pub(super) fn version(&self) -> u64 {
        self.snapshot.version()
    }

    /// How its data files are written.
    pub(super) fn files(&self, properties: &WriterProperties) -> WriterConfig {
        // Columns whose values name a file's folder: none, unless somebody else made the table.
        let folders = self.snapshot.metadata().partition_columns().to_vec();
        let indexed = self.snapshot.table_properties().num_indexed_cols();
        WriterConfig::new(self.schema.clone(), folders, Some(properties.clone()), None, None, indexed, None)
    }

    /// A feature that the table asks of its writers and that this one does not know.
    pub(super) fn unknown_feature(&self) -> Option<String> {
        features(self.snapshot.protocol()).into_iter().find(|feature| !FEATURES.contains(&feature.as_str()))
    }
}

/// The lowest protocol that can hold `schema`, so that as many readers as possible can read the table.
fn protocol_for(schema: &Schema) -> Result<Protocol, DeltaTableError> {
    let protocol = if has_ntz(schema) {
        json!({"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": [NTZ], "writerFeatures": FEATURES})
    } else {
        json!({"minReaderVersion": 1, "minWriterVersion": 2})
    };
    Ok(serde_json::from_value(protocol)?)
}

fn features(protocol: &Protocol) -> HashSet<String> {
    // The protocol's own JSON names the features as the specification does.
    let json = serde_json::to_value(protocol).unwrap_or_default();
    let listed =
        json.get("writerFeatures").and_then(|features| features.as_array().cloned()).unwrap_or_default();
    listed.iter().filter_map(|feature| feature.as_str().map(str::to_owned)).collect()
}

fn kernel_schema(schema: &Schema) -> Result<StructType, ArrowError> {
    schema.try_into_kernel()
}

fn has_ntz(schema: &Schema) -> bool {
    fn ntz(data_type: &arrow_schema::DataType) -> bool {
        use arrow_schema::DataType as D;
        match data_type {
            D::Timestamp(_, None) => true,
            D::List(field) | D::Map(field, _) => ntz(field.data_type()),
            D::Struct(fields) => fields.iter().any(|field| ntz(field.data_type())),
            _ => false,
        }
    }
    schema.fields().iter().any(|field| ntz(field.data_type()))
}
