//! One topic's table: waiting rows, the position of each partition, and the commits that hold both.

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
use sluice_core::names::lineage;
use sluice_core::{Fault, LearnError, Outcome, OutcomeReason, ReasonClass, RecordPart, RecordRef, SchemaId};
use sluice_wire::columns::ColumnBatchBuilder;

use super::docs::FieldDocs;
use super::guard::ColumnGuard;
use super::log::{DeltaChange, DeltaLog, ForeignCommits, TableState};
use super::rows::{DeltaRowBuffer, SealError};
use super::types::{self, ColumnTypeError};
use super::{conform, evolve};
use sluice_location::fault;

/// Bytes of a row besides its datum and its topic's name: offset 8, partition 4, timestamp 16 + 8, schema id
/// 4, two ends of text 8. Without it a batch of small records would take several times its counted size in
/// memory.
const BESIDE: usize = 48;

/// Rows of a batch. Columns pay off from some thousand rows on, and more rows would only wait in builders.
const BATCH_ROWS: usize = 8192;
/// Attempts of a commit while others commit to the same table.
const ATTEMPTS: usize = 32;

/// A topic's table and the rows that wait for it.
pub(super) struct DeltaTopicTable {
    topic: Arc<str>,
    log: DeltaLog,
    /// The newest known state. `None` if the table does not exist or its schema has changed since.
    state: Option<TableState>,
    schemas: HashMap<SchemaId, DeltaWriterSchema>,
    partitions: BTreeMap<i32, DeltaPosition>,
    /// Batches of decoded columns with lineage under its present names, in the order they were filled.
    sealed: Vec<RecordBatch>,
}

/// A learned writer's schema, with its row buffers.
struct DeltaWriterSchema {
    /// The columns that the table must have, with the lineage columns under their present names.
    stored: Schema,
    rows: DeltaRowBuffer,
    /// A second buffer, for records that the table already has. They get the same outcome as the first time,
    /// and the rows are thrown away.
    judge: DeltaRowBuffer,
}

/// The position of a partition, and the rows that wait for it.
struct DeltaPosition {
    /// Its application id in the table's `txn` actions.
    app: String,
    /// One past the last offset that is stored or waits here.
    next: i64,
    /// The version of the table from which the position was read. A later move of `app` by another writer
    /// means that this writer was overtaken.
    as_of: Option<u64>,
    /// True if another writer may have moved the partition. Its rows must not be committed.
    overtaken: bool,
    /// Records that wait.
    records: u64,
    /// Bytes that the waiting records take as columns.
    bytes: usize,
}

/// The result of an attempt to commit.
enum DeltaCommitOutcome {
    /// The rows are in the table as of this version.
    At(u64),
    /// The table's schema changed meanwhile: the data files must be written again.
    SchemaChanged,
}

/// The reason why a table cannot hold the records of a schema.
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
    /// Begins without a state and without positions. No call is made yet.
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

    /// Reads the table's position in `partition`: the next offset, or `None` if the table has no row of it.
    /// Rows that waited for the partition are dropped.
    ///
    /// # Errors
    /// Fails if the table's log cannot be read.
    pub(super) async fn resume(&mut self, partition: i32) -> Result<Option<i64>, Fault> {
        self.forget(partition);
        let app = format!("sluice/{}/{partition}", self.topic);
        let found = self.log.position(&app).await;
        let (as_of, at) = match found.map_err(|error| self.fault("asking how far", error))? {
            Some((version, at)) => (Some(version), at),
            None => (None, None),
        };

        // A table without the partition has no row of it. Its first record may have any offset.
        let next = at.unwrap_or(0);
        self.partitions
            .insert(partition, DeltaPosition { app, next, as_of, overtaken: false, records: 0, bytes: 0 });
        Ok(at)
    }

    /// Learns a writer's schema: compiles its columns, and creates the table or adds columns to it.
    ///
    /// # Errors
    /// The schema is uncovered if the table cannot hold it. A [`Fault`] if the table cannot be read or
    /// changed.
    pub(super) async fn learn(&mut self, id: SchemaId, json: &str) -> Result<(), LearnError> {
        let uncovered = |why: String, path: String| {
            LearnError::Uncovered(
                OutcomeReason::new(ReasonClass::Type, format!("a schema that a table can hold: {why}"))
                    .at(path, None),
            )
        };

        // The columns, once for the rows and once for the judge.
        let schema = sluice_wire::DatumSchema::parse(json)
            .map_err(|error| uncovered(error.to_string(), String::new()))?;
        let compile = || {
            ColumnBatchBuilder::compile(&schema, None)
                .map_err(|error| uncovered(error.to_string(), String::new()))
        };
        let columns = compile()?;

        // The table must have these columns before the first row waits for it.
        let docs = FieldDocs::read(json);
        let stored = types::table_schema(&columns.schema(), &docs)
            .map_err(|error| uncovered(error.why, error.path))?;
        self.fit(&stored, docs.record()).await.map_err(|error| match error {
            FitError::Type(error) => uncovered(error.why, error.path),
            error => LearnError::Fault(self.fit_fault(error)),
        })?;

        // Both buffers refuse the same records.
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

    /// Appends a record as a row that waits for the next flush. A record that the table already has adds no
    /// row.
    pub(super) fn append(&mut self, id: SchemaId, datum: &[u8], record: &RecordRef<'_>) -> Outcome {
        let Some(known) = self.schemas.get_mut(&id) else {
            return Outcome::NeedsSchema(RecordPart::Value, id);
        };

        // The position of the partition. Without `resume` it is unknown, and `catch_up` refuses to add rows.
        let offset = record.offset.raw();
        let topic = &self.topic;
        let position = self.partitions.entry(record.partition).or_insert_with(|| DeltaPosition {
            app: format!("sluice/{topic}/{}", record.partition),
            next: offset,
            as_of: None,
            overtaken: true,
            records: 0,
            bytes: 0,
        });

        // The record is read again because the group does not know its outcome yet. The outcome is the same
        // as the first time, and no row is added.
        if offset < position.next {
            let judged = known.judge.append(datum, record);
            if known.judge.len() >= BATCH_ROWS {
                let _ = known.judge.seal();
            }
            return judged.map_or_else(Outcome::DeadLetter, |()| Outcome::Emitted);
        }

        // A new record: a refused one leaves no row, and the position does not move over it.
        if let Err(reason) = known.rows.append(datum, record) {
            return Outcome::DeadLetter(reason);
        }
        position.next = offset.saturating_add(1);
        position.records += 1;
        position.bytes += datum.len() + BESIDE + topic.len();

        // Full columns become a batch.
        if known.rows.len() >= BATCH_ROWS {
            // If that fails, the flush tries again and reports the fault.
            if let Ok(Some(batch)) = known.rows.seal() {
                self.sealed.push(batch);
            }
        }
        Outcome::Emitted
    }

    /// Returns the number of waiting records, and the bytes that they take as columns.
    pub(super) fn pending(&self) -> (u64, usize) {
        self.partitions.values().fold((0, 0), |(records, bytes), p| (records + p.records, bytes + p.bytes))
    }

    /// Writes all waiting rows as one commit: data files and the position of each partition.
    ///
    /// # Errors
    /// Fails with a rewind if another writer has moved a partition or changed the schema so that rows do not
    /// fit. Other faults leave the rows waiting for the next flush.
    pub(super) async fn flush(&mut self, properties: &WriterProperties) -> Result<(), Fault> {
        if self.pending().0 == 0 {
            return Ok(());
        }

        // Every waiting row becomes part of a batch.
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

        // Each attempt begins with the others' commits. Data files are written again only if the schema has
        // changed.
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

    /// Drops the waiting rows and the position of a partition.
    pub(super) fn forget(&mut self, partition: i32) {
        let waiting = self.partitions.remove(&partition).is_some_and(|position| position.records > 0);
        if !waiting {
            return;
        }

        // Batches hold rows of several partitions: those of the others must stay.
        let dropped = self.seal().and_then(|()| {
            for batch in &mut self.sealed {
                *batch = without(batch, partition)?;
            }
            Ok(())
        });

        match dropped {
            Ok(()) => self.sealed.retain(|batch| batch.num_rows() > 0),
            // The rows of the others are dropped too, and their partitions are rewound by the next flush.
            Err(error) => {
                tracing::error!(%error, topic = %self.topic, partition, "rows cannot be told apart: all are read again");
                self.start_over();
            }
        }
    }

    /// Drops all waiting rows. Partitions that had rows must go back to the table's positions.
    fn start_over(&mut self) {
        self.schemas.clear();
        self.sealed.clear();
        for position in self.partitions.values_mut() {
            position.overtaken |= position.records > 0;
        }
    }

    /// Makes batches of all rows that wait in builders.
    fn seal(&mut self) -> Result<(), SealError> {
        seal_all(&mut self.schemas, &mut self.sealed)
    }

    /// Creates the table, or changes its schema so that it can hold `stored`.
    ///
    /// # Errors
    /// Fails if the types conflict, if the table needs an unknown writer feature, or if others change the
    /// schema
    /// [`ATTEMPTS`] times meanwhile.
    async fn fit(&mut self, stored: &Schema, description: Option<&str>) -> Result<(), FitError> {
        for _ in 0..ATTEMPTS {
            // The newest state. Before any position was read, earlier commits do not matter.
            if self.state.is_none() {
                self.state = self.log.state().await?;
                if let Some(state) = &self.state
                    && self.partitions.is_empty()
                {
                    self.log.start_at(state.version());
                }
            }

            // The change: nothing if the table fits already.
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
                    let Some(schema) = evolve::merge(&state.schema, &state.lineage.spell(stored))? else {
                        return Ok(());
                    };

                    // A commit is valid only on top of a schema that is still the newest.
                    let news = self.log.news().await?;
                    self.take_in(&news);
                    if news.schema_changed {
                        continue;
                    }
                    DeltaChange::Evolve { schema }
                }
            };

            // The commit is made by this writer or by a faster one. Either way the new state is read from the
            // table.
            let commit = self.log.describe(change, self.state.as_ref())?;
            self.log.commit(&commit).await?;
            self.state = None;
        }
        Err(FitError::Contended)
    }

    /// Reads the commits of other writers.
    ///
    /// # Errors
    /// Fails with a rewind if another writer has moved a partition that has waiting rows, or has changed the
    /// table so that it cannot hold them.
    async fn catch_up(&mut self) -> Result<(), Fault> {
        let news = self.log.news().await.map_err(|error| self.fault("reading others' commits", error))?;
        self.take_in(&news);

        // A zombie ends here: another writer has moved its partition.
        if let Some(lost) =
            self.partitions.values().find(|position| position.overtaken && position.records > 0)
        {
            let doing = format!("adding rows of {} to its table", lost.app);
            return Err(Fault::rewind(doing, "another writer has moved this partition on"));
        }

        // The schema has changed: the table must hold the columns of every learned schema again.
        if self.state.is_none() {
            let needed: Vec<_> = self.schemas.values().map(|known| known.stored.clone()).collect();
            for stored in needed {
                match self.fit(&stored, None).await {
                    Ok(()) => {}
                    Err(FitError::Type(error)) => {
                        // The learned schemas are void. The lane learns them again, and holds the partitions
                        // of a schema that the table does not cover any more.
                        self.start_over();
                        return Err(Fault::rewind(format!("the table of {} was changed", self.topic), error));
                    }
                    Err(error) => return Err(self.fit_fault(error)),
                }
            }
        }
        Ok(())
    }

    /// Marks the partitions that others have moved, and forgets a state whose schema has changed.
    fn take_in(&mut self, news: &ForeignCommits) {
        // After a gap nothing is known, and every partition counts as moved.
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

    /// Writes the rows as data files. Readers do not see a file before it is committed.
    ///
    /// A file is made in memory and put in one piece: a batch is small, a put leaves all or nothing, and a
    /// put that fails is an error. The writer's own upload panics inside if it cannot finish. With
    /// `RUST_BACKTRACE` set, the panic reads the program's debug information into memory, 140 MB of it.
    async fn write(&self, properties: &WriterProperties) -> Result<Vec<Action>, DeltaTableError> {
        let state = self
            .state
            .as_ref()
            .ok_or_else(|| DeltaTableError::generic("rows wait for a table that is not there"))?;

        // Parquet in memory.
        let made = Arc::new(InMemory::new());
        let mut writer = DeltaWriter::new(Arc::clone(&made) as ObjectStoreRef, state.files(properties));
        for batch in &self.sealed {
            let spelt = Arc::new(state.lineage.spell(batch.schema_ref()));
            let batch = RecordBatch::try_new(spelt, batch.columns().to_vec())?;
            let batch = conform::to_table(&batch, &state.schema)?;
            writer.write(&batch).await?;
        }
        let adds = writer.close().await?;

        // Each file is freed in memory before the put: the copy in `bytes` is enough.
        let store = self.log.store().object_store(None);
        for file in made.list(None).try_collect::<Vec<_>>().await? {
            let bytes = made.get(&file.location).await?.bytes().await?;
            made.delete(&file.location).await?;
            store.put(&file.location, bytes.into()).await?;
        }
        Ok(adds.into_iter().map(Action::Add).collect())
    }

    /// Commits data files together with the positions of the partitions that have rows in them.
    ///
    /// # Errors
    /// Fails with a rewind if another writer has moved one of the partitions, and with an outage if others
    /// commit
    /// [`ATTEMPTS`] times meanwhile.
    async fn commit(&mut self, adds: Vec<Action>) -> Result<DeltaCommitOutcome, Fault> {
        // Rows and positions are in one commit: readers see both or neither.
        let files: Vec<String> = adds.iter().filter_map(path).collect();
        let moved = self.partitions.values().filter(|position| position.records > 0);
        let positions = moved.map(|position| (position.app.clone(), position.next)).collect();
        let change = DeltaChange::Append { adds, positions };
        let commit = self
            .log
            .describe(change, self.state.as_ref())
            .map_err(|error| self.fault("describing a commit", error))?;
        for _ in 0..ATTEMPTS {
            // The conditional create of the table's next version.
            let made = self.log.commit(&commit).await.map_err(|error| self.fault("committing", error))?;
            if let Some(version) = made {
                return Ok(DeltaCommitOutcome::At(version));
            }
            let news = self.log.news().await.map_err(|error| self.fault("reading others' commits", error))?;

            // Another commit has the version. It is this writer's own if it names the same files: only the
            // answer to the create was lost.
            if files.iter().any(|file| news.files.contains(file)) {
                return Ok(DeltaCommitOutcome::At(self.log.examined()));
            }

            // It is another writer's commit. Positions and schema decide whether this one may follow.
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

    /// Notes that all waiting rows are in the table as of `version`.
    fn settle(&mut self, version: u64) {
        self.sealed.clear();
        for position in self.partitions.values_mut().filter(|position| position.records > 0) {
            position.as_of = Some(version);
            (position.records, position.bytes) = (0, 0);
        }
    }

    /// Turns the error of a fit into a fault of the operator, or of a neighbour where a retry can help.
    fn fit_fault(&self, error: FitError) -> Fault {
        match error {
            FitError::Delta(error) => self.fault("preparing", error),
            error @ FitError::Contended => {
                Fault::outage(format!("preparing the table of {}", self.topic), error)
            }
            error => Fault::user(format!("preparing the table of {}", self.topic), error),
        }
    }

    /// Turns an error of delta-rs into a fault. An error of Arrow is a bug: rows are validated before.
    fn fault(&self, doing: &str, error: DeltaTableError) -> Fault {
        let doing = format!("{doing}: table of {}", self.topic);
        match error {
            DeltaTableError::ObjectStore { source } => fault::of_object_store(doing, source),
            DeltaTableError::Arrow { source } => Fault::bug(doing, source),
            error => Fault::outage(doing, error),
        }
    }
}

/// Makes batches of all rows that wait in the schemas' builders, and adds them to `sealed`.
fn seal_all(
    schemas: &mut HashMap<SchemaId, DeltaWriterSchema>,
    sealed: &mut Vec<RecordBatch>,
) -> Result<(), SealError> {
    for known in schemas.values_mut() {
        sealed.extend(known.rows.seal()?);
    }
    Ok(())
}

/// Returns `batch` without the rows of `partition`.
fn without(batch: &RecordBatch, partition: i32) -> Result<RecordBatch, ArrowError> {
    let Some(column) = batch.column_by_name(lineage::PARTITION) else { return Ok(batch.clone()) };
    let stays: BooleanArray =
        column.as_primitive::<Int32Type>().iter().map(|value| Some(value != Some(partition))).collect();
    filter_record_batch(batch, &stays)
}

/// Returns the path of the data file that an action adds.
fn path(action: &Action) -> Option<String> {
    match action {
        Action::Add(add) => Some(add.path.clone()),
        _ => None,
    }
}
