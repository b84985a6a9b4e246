//! One topic's table: rows that wait, how far each partition is, and how both get into a commit.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Int32Type;
use arrow_schema::{ArrowError, Schema};
use deltalake::DeltaTableError;
use deltalake::datafile::writer::DeltaWriter;
use deltalake::kernel::Action;
use deltalake::logstore::ObjectStoreRef;
use deltalake::parquet::file::properties::WriterProperties;
use futures::TryStreamExt as _;
use object_store::memory::InMemory;
use object_store::{ObjectStore as _, ObjectStoreExt as _};
use sluice_core::{Fault, LearnError, Outcome, OutcomeReason, ReasonClass, RecordRef, SchemaId};
use sluice_wire::columns::ColumnBatchBuilder;

use super::docs::FieldDocs;
use super::guard::ColumnGuard;
use super::log::{DeltaChange, DeltaLog, ForeignCommits, TableState};
use super::rows::{DeltaRowBuffer, SealError};
use super::types::{self, ColumnTypeError};
use super::{conform, evolve};
use sluice_location::fault;

/// What a row takes besides its datum and its topic's name: offset 8, partition 4, timestamp 16 + 8, schema id 4, two
/// ends of text 8. Without it a batch of small records is several times its size in memory.
const BESIDE: usize = 48;

/// Rows of a batch: enough that columns pay, few enough that little waits in builders.
const BATCH_ROWS: usize = 8192;
/// How often a commit is tried anew because others commit to the same table.
const ATTEMPTS: usize = 32;

/// A topic's table and what waits for it.
pub(super) struct DeltaTopicTable {
    topic: Arc<str>,
    log: DeltaLog,
    state: Option<TableState>,
    schemas: HashMap<SchemaId, DeltaWriterSchema>,
    partitions: BTreeMap<i32, DeltaPosition>,
    /// Batches of decoded columns with lineage, in the order they were filled.
    sealed: Vec<RecordBatch>,
}

/// A writer's schema that was learned.
struct DeltaWriterSchema {
    /// What the table must be able to hold.
    stored: Schema,
    rows: DeltaRowBuffer,
    /// A second set of columns, for records that the table has already: judged as the first time, and thrown away.
    judge: DeltaRowBuffer,
}

/// Where a partition stands.
struct DeltaPosition {
    /// Its application id in the table's `txn` actions.
    app: String,
    /// One past the last offset that is stored or waits here.
    next: i64,
    /// The version of the table that said so. Any later move of `app` that is not ours means that we were overtaken.
    as_of: Option<u64>,
    overtaken: bool,
    records: u64,
    bytes: usize,
}

/// What became of an attempt to commit.
enum DeltaCommitOutcome {
    At(u64),
    /// The table's schema changed under it: the rows must be written anew.
    SchemaChanged,
}

/// Why a table could not be made to fit.
#[derive(Debug, thiserror::Error)]
enum FitError {
    #[error(transparent)]
    Type(#[from] ColumnTypeError),
    #[error(transparent)]
    Delta(#[from] DeltaTableError),
    #[error("others change the table's schema as fast as we do")]
    Contended,
    #[error("the table asks its writers for `{0}`, which this one does not know")]
    Feature(String),
}

impl DeltaTopicTable {
    pub(super) fn new(topic: &str, log: DeltaLog) -> Self {
        Self {
            topic: topic.into(),
            log,
            state: None,
            schemas: HashMap::new(),
            partitions: BTreeMap::new(),
            sealed: Vec::new(),
        }
    }

    /// How far the table is in `partition`; everything that waited for it is dropped.
    pub(super) async fn resume(&mut self, partition: i32) -> Result<Option<i64>, Fault> {
        self.forget(partition);
        let app = format!("sluice/{}/{partition}", self.topic);
        let found = self.log.position(&app).await;
        let (as_of, at) = match found.map_err(|error| self.fault("asking how far", error))? {
            Some((version, at)) => (Some(version), at),
            None => (None, None),
        };
        let next = at.unwrap_or(0);
        self.partitions
            .insert(partition, DeltaPosition { app, next, as_of, overtaken: false, records: 0, bytes: 0 });
        Ok(at)
    }

    pub(super) async fn learn(&mut self, id: SchemaId, json: &str) -> Result<(), LearnError> {
        let uncovered = |why: String, path: String| {
            LearnError::Uncovered(
                OutcomeReason::new(ReasonClass::Type, format!("a schema that a table can hold: {why}"))
                    .at(path, None),
            )
        };
        let schema = sluice_wire::DatumSchema::parse(json)
            .map_err(|error| uncovered(error.to_string(), String::new()))?;
        let compile = || {
            ColumnBatchBuilder::compile(&schema, None)
                .map_err(|error| uncovered(error.to_string(), String::new()))
        };
        let columns = compile()?;
        let docs = FieldDocs::read(json);
        let stored = types::table_schema(&columns.schema(), &docs)
            .map_err(|error| uncovered(error.why, error.path))?;
        self.fit(&stored, docs.record()).await.map_err(|error| match error {
            FitError::Type(error) => uncovered(error.why, error.path),
            error => LearnError::Fault(self.fit_fault(error)),
        })?;
        let rows = |columns| {
            DeltaRowBuffer::new(
                columns,
                ColumnGuard::compile(&schema, &schema.leaves()),
                self.topic.clone(),
                id,
            )
        };
        let (rows, judge) = (rows(columns), rows(compile()?));
        self.schemas.insert(id, DeltaWriterSchema { stored, rows, judge });
        Ok(())
    }

    pub(super) fn append(&mut self, id: SchemaId, datum: &[u8], record: &RecordRef<'_>) -> Outcome {
        let Some(known) = self.schemas.get_mut(&id) else { return Outcome::NeedsSchema(id) };
        let offset = record.offset.raw();
        let topic = &self.topic;
        let position = self.partitions.entry(record.partition).or_insert_with(|| DeltaPosition {
            app: format!("sluice/{topic}/{}", record.partition),
            next: offset,
            as_of: None,
            // Nobody asked how far the table is: nothing may be added before somebody does.
            overtaken: true,
            records: 0,
            bytes: 0,
        });
        if offset < position.next {
            // Read again because the group does not know yet how it ended: it ends as it did then, and is not added.
            let judged = known.judge.append(datum, record);
            if known.judge.len() >= BATCH_ROWS {
                let _ = known.judge.seal();
            }
            return judged.map_or_else(Outcome::DeadLetter, |()| Outcome::Emitted);
        }
        if let Err(reason) = known.rows.append(datum, record) {
            return Outcome::DeadLetter(reason);
        }
        position.next = offset.saturating_add(1);
        position.records += 1;
        position.bytes += datum.len() + BESIDE + topic.len();
        if known.rows.len() >= BATCH_ROWS {
            // A batch that cannot be made is told by the flush, which has the words for it.
            if let Ok(Some(batch)) = known.rows.seal() {
                self.sealed.push(batch);
            }
        }
        Outcome::Emitted
    }

    /// Records that wait, and the bytes that they take as columns.
    pub(super) fn pending(&self) -> (u64, usize) {
        self.partitions.values().fold((0, 0), |(records, bytes), p| (records + p.records, bytes + p.bytes))
    }

    /// Writes everything that waits as one commit: data files and, per partition, how far it is.
    pub(super) async fn flush(&mut self, properties: &WriterProperties) -> Result<(), Fault> {
        if self.pending().0 == 0 {
            return Ok(());
        }
        let doing = || format!("filling columns of {}", self.topic);
        seal_all(&mut self.schemas, &mut self.sealed).map_err(|error| Fault::bug(doing(), error))?;
        // A position must never move over a row that is not in the commit.
        let rows: usize = self.sealed.iter().map(RecordBatch::num_rows).sum();
        if rows as u64 != self.pending().0 && !self.partitions.values().any(|position| position.overtaken) {
            return Err(Fault::bug(
                doing(),
                format!("{} records were taken in, {rows} rows came out", self.pending().0),
            ));
        }
        for _ in 0..ATTEMPTS {
            self.catch_up().await?;
            let adds = self.write(properties).await.map_err(|error| self.fault("writing rows", error))?;
            if let DeltaCommitOutcome::At(version) = self.commit(adds).await? {
                self.settle(version);
                self.log.checkpoint(version).await;
                return Ok(());
            }
        }
        Err(self.fit_fault(FitError::Contended))
    }

    /// Drops what waits of a partition, and what is known of it.
    pub(super) fn forget(&mut self, partition: i32) {
        let waiting = self.partitions.remove(&partition).is_some_and(|position| position.records > 0);
        if !waiting {
            return;
        }
        let dropped = self.seal().and_then(|()| {
            for batch in &mut self.sealed {
                *batch = without(batch, partition)?;
            }
            Ok(())
        });
        match dropped {
            Ok(()) => self.sealed.retain(|batch| batch.num_rows() > 0),
            Err(error) => {
                tracing::error!(%error, topic = %self.topic, partition, "rows cannot be told apart: all are read again");
                self.start_over();
            }
        }
    }

    /// Drops everything that waits. Partitions that had rows must go back to what the table has of them.
    fn start_over(&mut self) {
        self.schemas.clear();
        self.sealed.clear();
        for position in self.partitions.values_mut() {
            position.overtaken |= position.records > 0;
        }
    }

    fn seal(&mut self) -> Result<(), SealError> {
        seal_all(&mut self.schemas, &mut self.sealed)
    }

    /// Creates the table, or makes it able to hold `stored`.
    async fn fit(&mut self, stored: &Schema, description: Option<&str>) -> Result<(), FitError> {
        for _ in 0..ATTEMPTS {
            if self.state.is_none() {
                self.state = self.log.state().await?;
                if let Some(state) = &self.state
                    && self.partitions.is_empty()
                {
                    self.log.start_at(state.version());
                }
            }
            let change = match &self.state {
                None => DeltaChange::Create {
                    schema: stored.clone(),
                    name: self.topic.to_string(),
                    description: description.map(str::to_owned),
                },
                Some(state) => {
                    if let Some(feature) = state.unknown_feature() {
                        return Err(FitError::Feature(feature));
                    }
                    let Some(schema) = evolve::merge(&state.schema, stored)? else { return Ok(()) };
                    let news = self.log.news().await?;
                    self.take_in(&news);
                    if news.schema_changed {
                        continue;
                    }
                    DeltaChange::Evolve { schema }
                }
            };
            let commit = self.log.describe(change, self.state.as_ref())?;
            self.log.commit(&commit).await?;
            // Made by us or by another: what the table is now is read from the table.
            self.state = None;
        }
        Err(FitError::Contended)
    }

    /// Reads what others committed; an error if one of our partitions is no longer ours.
    async fn catch_up(&mut self) -> Result<(), Fault> {
        let news = self.log.news().await.map_err(|error| self.fault("reading others' commits", error))?;
        self.take_in(&news);
        if let Some(lost) =
            self.partitions.values().find(|position| position.overtaken && position.records > 0)
        {
            let doing = format!("adding rows of {} to its table", lost.app);
            return Err(Fault::rewind(doing, "another writer has moved this partition on"));
        }
        if self.state.is_none() {
            let needed: Vec<_> = self.schemas.values().map(|known| known.stored.clone()).collect();
            for stored in needed {
                match self.fit(&stored, None).await {
                    Ok(()) => {}
                    Err(FitError::Type(error)) => {
                        // What was learned is void: learn again, and let the partition stand still where it must.
                        self.start_over();
                        return Err(Fault::rewind(format!("the table of {} was changed", self.topic), error));
                    }
                    Err(error) => return Err(self.fit_fault(error)),
                }
            }
        }
        Ok(())
    }

    fn take_in(&mut self, news: &ForeignCommits) {
        for position in self.partitions.values_mut() {
            position.overtaken |= news.gap
                || news
                    .moved
                    .iter()
                    .any(|(app, version)| *app == position.app && position.as_of < Some(*version));
        }
        if news.schema_changed {
            self.state = None;
        }
    }

    /// Writes the rows as data files, which nobody sees before they are committed.
    ///
    /// They are made in memory and put in one piece: a batch is small, a put leaves all or nothing, and one that fails
    /// is an error. The writer's own upload panics inside when it cannot finish, and with `RUST_BACKTRACE` set that
    /// reads the program's debug information into memory, 140 MB of it.
    async fn write(&self, properties: &WriterProperties) -> Result<Vec<Action>, DeltaTableError> {
        let state = self
            .state
            .as_ref()
            .ok_or_else(|| DeltaTableError::generic("rows wait for a table that is not there"))?;
        let made = Arc::new(InMemory::new());
        let mut writer = DeltaWriter::new(Arc::clone(&made) as ObjectStoreRef, state.files(properties));
        for batch in &self.sealed {
            let batch = conform::to_table(batch, &state.schema)?;
            writer.write(&batch).await?;
        }
        let adds = writer.close().await?;
        let store = self.log.store().object_store(None);
        for file in made.list(None).try_collect::<Vec<_>>().await? {
            let bytes = made.get(&file.location).await?.bytes().await?;
            made.delete(&file.location).await?;
            store.put(&file.location, bytes.into()).await?;
        }
        Ok(adds.into_iter().map(Action::Add).collect())
    }

    async fn commit(&mut self, adds: Vec<Action>) -> Result<DeltaCommitOutcome, Fault> {
        let files: Vec<String> = adds.iter().filter_map(path).collect();
        let moved = self.partitions.values().filter(|position| position.records > 0);
        let positions = moved.map(|position| (position.app.clone(), position.next)).collect();
        let change = DeltaChange::Append { adds, positions };
        let commit = self
            .log
            .describe(change, self.state.as_ref())
            .map_err(|error| self.fault("describing a commit", error))?;
        for _ in 0..ATTEMPTS {
            let made = self.log.commit(&commit).await.map_err(|error| self.fault("committing", error))?;
            if let Some(version) = made {
                return Ok(DeltaCommitOutcome::At(version));
            }
            let news = self.log.news().await.map_err(|error| self.fault("reading others' commits", error))?;
            if files.iter().any(|file| news.files.contains(file)) {
                // The commit that was there first is our own: only its answer was lost.
                return Ok(DeltaCommitOutcome::At(self.log.examined()));
            }
            self.take_in(&news);
            if self.partitions.values().any(|position| position.overtaken && position.records > 0) {
                let doing = format!("committing rows of {}", self.topic);
                return Err(Fault::rewind(doing, "another writer has moved one of the partitions on"));
            }
            if news.schema_changed {
                return Ok(DeltaCommitOutcome::SchemaChanged);
            }
        }
        Err(self.fit_fault(FitError::Contended))
    }

    /// What waited is in the table as of `version`.
    fn settle(&mut self, version: u64) {
        self.sealed.clear();
        for position in self.partitions.values_mut().filter(|position| position.records > 0) {
            position.as_of = Some(version);
            (position.records, position.bytes) = (0, 0);
        }
    }

    fn fit_fault(&self, error: FitError) -> Fault {
        match error {
            FitError::Delta(error) => self.fault("preparing", error),
            error @ FitError::Contended => {
                Fault::outage(format!("preparing the table of {}", self.topic), error)
            }
            error => Fault::user(format!("preparing the table of {}", self.topic), error),
        }
    }

    fn fault(&self, doing: &str, error: DeltaTableError) -> Fault {
        let doing = format!("{doing}: table of {}", self.topic);
        match error {
            DeltaTableError::ObjectStore { source } => fault::of_object_store(doing, source),
            DeltaTableError::Arrow { source } => Fault::bug(doing, source),
            error => Fault::outage(doing, error),
        }
    }
}

fn seal_all(
    schemas: &mut HashMap<SchemaId, DeltaWriterSchema>,
    sealed: &mut Vec<RecordBatch>,
) -> Result<(), SealError> {
    for known in schemas.values_mut() {
        sealed.extend(known.rows.seal()?);
    }
    Ok(())
}

/// `batch` without the rows of `partition`.
fn without(batch: &RecordBatch, partition: i32) -> Result<RecordBatch, ArrowError> {
    let Some(column) = batch.column_by_name("_partition") else { return Ok(batch.clone()) };
    let stays: BooleanArray =
        column.as_primitive::<Int32Type>().iter().map(|value| Some(value != Some(partition))).collect();
    filter_record_batch(batch, &stays)
}

fn path(action: &Action) -> Option<String> {
    match action {
        Action::Add(add) => Some(add.path.clone()),
        _ => None,
    }
}
