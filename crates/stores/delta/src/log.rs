//! A Delta table's log: its state, the commits of other writers, and the writer's own next commit.
//!
//! A commit is a file named after the table's next version, created only if absent. Before a writer creates
//! version
//! *n* it has read every commit up to *n* − 1 ([`DeltaLog::news`]). Therefore a commit is a compare-and-set on
//! everything that the writer knows: the positions of its partitions and the table's schema. Unlike delta-rs'
//! own commit loop this needs no list of the table's files in memory, and it can distinguish its own commit
//! from another writer's if an answer was lost.

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

use super::types::LineageSpelling;

/// Features that a table may require of its writers, and that this writer supports.
const FEATURES: [&str; 3] = ["appendOnly", "invariants", NTZ];
/// The feature of timestamps without time zone.
const NTZ: &str = "timestampNtz";

/// The content of a commit.
pub(super) enum DeltaChange {
    /// The table itself: its first commit.
    Create { schema: Schema, name: String, description: Option<String> },
    /// New columns, or columns that become nullable.
    Evolve { schema: Schema },
    /// Rows, with the position that each partition has afterwards.
    Append { adds: Vec<Action>, positions: Vec<(String, i64)> },
}

/// The table's state from a snapshot, without the list of its files.
pub(super) struct TableState {
    /// Its columns, in delta-rs' Arrow form.
    pub(super) schema: SchemaRef,
    /// The names under which it has its lineage columns.
    pub(super) lineage: LineageSpelling,
    snapshot: Snapshot,
}

/// The commits of other writers since the last look.
#[derive(Default)]
pub(super) struct ForeignCommits {
    /// Application ids and the version at which each moved.
    pub(super) moved: Vec<(String, u64)>,
    /// The table's schema or protocol has changed.
    pub(super) schema_changed: bool,
    /// Data files that were added.
    pub(super) files: HashSet<String>,
    /// Commits that were never read are gone: the log was cleaned up meanwhile.
    pub(super) gap: bool,
}

/// One table's log.
pub(super) struct DeltaLog {
    store: LogStoreRef,
    /// Every commit up to this version has been read, or is this writer's own.
    examined: Option<u64>,
    checkpoint_every: u64,
}

impl DeltaLog {
    /// Opens a log that gets a log checkpoint at every `checkpoint_every`th version. No call is made yet.
    pub(super) fn new(store: LogStoreRef, checkpoint_every: u64) -> Self {
        Self { store, examined: None, checkpoint_every: checkpoint_every.max(1) }
    }

    /// Returns the store of the table's data files.
    pub(super) fn store(&self) -> &LogStoreRef {
        &self.store
    }

    /// Returns the table's newest state. `None` if there is no table.
    pub(super) async fn state(&mut self) -> Result<Option<TableState>, DeltaTableError> {
        if !self.store.is_delta_table_location().await? {
            return Ok(None);
        }
        let snapshot = Snapshot::try_new(self.store.as_ref(), None).await?;
        let schema: Schema = snapshot.schema().as_ref().try_into_arrow()?;
        Ok(Some(TableState { lineage: LineageSpelling::of(&schema), schema: Arc::new(schema), snapshot }))
    }

    /// Returns the table's version and the position of application `app` in it. `None` if there is no table;
    /// no position if the application has none.
    ///
    /// The list of files that delta-rs loads for this is dropped again.
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

    /// Sets the version after which commits are read. Has no effect once commits were read.
    pub(super) fn start_at(&mut self, version: u64) {
        self.examined.get_or_insert(version);
    }

    /// Reads every commit since the last examined one.
    pub(super) async fn news(&mut self) -> Result<ForeignCommits, DeltaTableError> {
        let mut news = ForeignCommits::default();
        let next = self.next_version();

        // The newest version. The store begins to look at the last examined one.
        let latest = match self.store.get_latest_version(next.saturating_sub(1)).await {
            Ok(latest) => latest,
            Err(DeltaTableError::InvalidVersion(_)) => {
                // The last examined commit is gone, for example because the table was removed. Nothing that
                // was known before is valid.
                news.gap = true;
                news.schema_changed = true;
                self.examined = self.state().await?.map(|state| state.version());
                return Ok(news);
            }
            Err(error) => return Err(error),
        };

        // Each commit in between. A commit that is gone was cleaned up: its content is unknown.
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

        // Without new commits `latest` can be one before `next`, and the version must not move back.
        self.examined = Some(latest.max(next.saturating_sub(1)));
        Ok(news)
    }

    /// Tries to make `commit` the table's next version. Returns that version, or `None` if another writer
    /// made it first.
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

    /// Writes a log checkpoint if `version` is due for one, and removes log entries past their retention.
    ///
    /// A checkpoint only saves readers time. If it cannot be written, a warning is logged and the commit
    /// stays valid.
    pub(super) async fn checkpoint(&self, version: u64) {
        if !(version + 1).is_multiple_of(self.checkpoint_every) {
            return;
        }

        // A checkpoint needs the list of files, which is dropped again with `table`.
        let write = async {
            let mut table = DeltaTable::new(self.store.clone());
            table.load_version(version).await?;
            checkpoints::create_checkpoint(&table, None).await?;
            checkpoints::cleanup_metadata(&table, None).await
        };
        if let Err(error) = write.await {
            tracing::warn!(%error, version, table = %self.store.root_url(), "no checkpoint was written; a later one is tried");
        }
    }

    /// Returns the bytes of a commit. `state` is the state that the change builds on.
    ///
    /// # Errors
    /// Fails if the schema has no Delta form, or if the table's protocol does not allow one of its types.
    pub(super) fn describe(
        &self,
        change: DeltaChange,
        state: Option<&TableState>,
    ) -> Result<Bytes, DeltaTableError> {
        let (actions, operation, transactions) = match change {
            // The first commit: protocol and metadata, without rows.
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

            // A new schema: the metadata, and a higher protocol if a new column needs one.
            DeltaChange::Evolve { schema } => {
                let state = state.ok_or_else(|| {
                    DeltaTableError::generic("columns are to be added to a table whose state was not read")
                })?;
                let mut actions = Vec::new();
                if has_ntz(&schema) && !features(state.snapshot.protocol()).contains(NTZ) {
                    // A table with a list of features belongs to its maker, who decides about one more.
                    if !features(state.snapshot.protocol()).is_empty() {
                        return Err(DeltaTableError::generic(
                            "the table's protocol does not allow local timestamps: expected the feature `timestampNtz`",
                        ));
                    }
                    actions.push(Action::Protocol(protocol_for(&schema)?));
                }

                // The operation names only the new columns, for readers of the table's history.
                let schema = kernel_schema(&schema)?;
                let known = &state.schema;
                let fields =
                    schema.fields().filter(|f| known.field_with_name(f.name()).is_err()).cloned().collect();
                actions.push(Action::Metadata(state.snapshot.metadata().clone().with_schema(&schema)?));
                (actions, DeltaOperation::AddColumn { fields }, vec![])
            }

            // Rows: data files and one `txn` action per partition.
            DeltaChange::Append { adds, positions } => {
                let operation =
                    DeltaOperation::Write { mode: SaveMode::Append, partition_by: None, predicate: None };
                let moved = positions.into_iter().map(|(app, at)| Transaction::new(app, at)).collect();
                (adds, operation, moved)
            }
        };
        Ok(CommitData::new(actions, operation, Default::default(), transactions).get_bytes()?)
    }

    /// Returns the newest version that was read or made. It is called after [`DeltaLog::news`] has found
    /// commits.
    pub(super) fn examined(&self) -> u64 {
        debug_assert!(self.examined.is_some(), "no commit of the table was read or made");
        self.examined.unwrap_or_default()
    }

    /// Returns the version of the next commit: 0 if there is no table yet.
    fn next_version(&self) -> u64 {
        self.examined.map_or(0, |version| version + 1)
    }
}

impl TableState {
    /// Returns the table's version.
    pub(super) fn version(&self) -> u64 {
        self.snapshot.version()
    }

    /// Returns the settings for the table's data files.
    pub(super) fn files(&self, properties: &WriterProperties) -> WriterConfig {
        // The columns whose values name a file's folder. A table of the sink has none; another maker's may
        // have.
        let folders = self.snapshot.metadata().partition_columns().to_vec();
        let indexed = self.snapshot.table_properties().num_indexed_cols();
        WriterConfig::new(self.schema.clone(), folders, Some(properties.clone()), None, None, indexed, None)
    }

    /// Returns a feature that the table requires of its writers and that this writer does not support.
    pub(super) fn unknown_feature(&self) -> Option<String> {
        features(self.snapshot.protocol()).into_iter().find(|feature| !FEATURES.contains(&feature.as_str()))
    }
}

/// Returns the lowest protocol that can hold `schema`: more readers know a low one.
fn protocol_for(schema: &Schema) -> Result<Protocol, DeltaTableError> {
    let protocol = if has_ntz(schema) {
        json!({"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": [NTZ], "writerFeatures": FEATURES})
    } else {
        json!({"minReaderVersion": 1, "minWriterVersion": 2})
    };
    Ok(serde_json::from_value(protocol)?)
}

/// Returns the features that a protocol requires of writers, by the names of the Delta protocol.
fn features(protocol: &Protocol) -> HashSet<String> {
    // The protocol's own JSON has the specification's names.
    let json = serde_json::to_value(protocol);
    debug_assert!(json.is_ok(), "a protocol is plain data and always has a JSON form");
    let json = json.unwrap_or_default();

    // Protocols below writer version 7 have no list.
    let listed =
        json.get("writerFeatures").and_then(|features| features.as_array().cloned()).unwrap_or_default();
    listed.iter().filter_map(|feature| feature.as_str().map(str::to_owned)).collect()
}

/// Returns the schema in the form of the Delta log.
fn kernel_schema(schema: &Schema) -> Result<StructType, ArrowError> {
    schema.try_into_kernel()
}

/// Tells whether a column, or a field inside one, is a timestamp without time zone.
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
