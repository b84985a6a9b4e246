//! A member of a consumer group: lends fetched batches, tells its owner of every change of assignment on the polling
//! thread.
//!
//! A batch is lent under one lock of the lane's state. What its owner breaks off is kept and lent first the next time.
//! Callbacks run only inside [`ConsumerGroup::poll_batch`] and [`ConsumerGroup::serve`], before anything is lent; but a batch may have
//! been half fetched when one ran, so whatever is held of a partition that moved meanwhile is dropped before it is lent
//! ([`PartitionMove`]), and read again if the partition came back.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::error::RDKafkaErrorCode;
use sluice_core::{Fault, NextOffset, RecordRef, TopicPartition};

use super::native::{
    AssignmentChange, ClientCallbacks, ConsumerHandle, GroupMetadata, KafkaClientError, LentMessage,
    NativeConsumer, RebalanceList,
};
use super::{CommitPositions, list_of, settings, statistics};
use crate::KafkaSection;

const CALL: Duration = Duration::from_secs(10);
/// Kafka's name for the first record there is.
const BEGINNING: i64 = -2;

/// Where to start reading a partition that was just assigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionStart {
    /// From the first record there is: nobody has read it yet.
    Beginning,
    /// From here on. If the log no longer reaches back that far, the worker stops loudly.
    At(NextOffset),
}

impl PartitionStart {
    fn raw(self) -> i64 {
        match self {
            Self::Beginning => BEGINNING,
            Self::At(next) => next.raw(),
        }
    }
}

/// What a lane does when partitions come and go. Called on the polling thread, inside [`ConsumerGroup::poll_batch`],
/// [`ConsumerGroup::serve`] and while the group is left.
pub trait GroupEvents: Send + 'static {
    /// `at` is ours now; `committed` is what the group remembers.
    fn assigned(&mut self, at: &TopicPartition, committed: Option<NextOffset>) -> PartitionStart;

    /// These are no longer ours once this returns: finish or give up what is in flight for them. If `lost`, they
    /// belong to someone else already, and nothing may be written for them. The answer says where partitions that stay
    /// have to be read again, because what was in flight for them was given up too; nothing of them is lent before.
    fn revoking(
        &mut self,
        partitions: &[TopicPartition],
        lost: bool,
        metadata: Option<GroupMetadata>,
    ) -> Vec<(TopicPartition, NextOffset)>;

    /// The group could not be asked where it stands: the assignment is refused and asked for again.
    fn trouble(&mut self, fault: Fault);
}

/// What a poll brought.
pub enum PollOutcome {
    /// So many records were lent.
    Records(usize),
    /// Nothing within the time.
    Nothing,
    /// Trouble of the neighbour; the client keeps trying by itself.
    Outage(Fault),
}

/// What a rebalance means for records that were fetched before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PartitionMove {
    /// Not ours any more.
    Gone,
    /// Ours, read from here on: what is held of it is from an earlier time.
    Came(i64),
    /// Still ours, and to be read again from here.
    Back(i64),
}

/// Partitions that moved since it was last asked.
type RebalanceMoves = BTreeMap<TopicPartition, PartitionMove>;

/// What the rebalance callback and the group share.
#[derive(Default)]
struct GroupSharedState {
    moves: RebalanceMoves,
    /// Everything is paused by the lane; what comes is paused too.
    held: bool,
    /// The last statistics saw a connection, and nobody has asked since.
    connected: bool,
}

/// A consumer in a group, owned by one thread; `E` is the lane's state, shared with the rebalance callback.
pub struct ConsumerGroup<E: GroupEvents> {
    member: NativeConsumer,
    events: Arc<Mutex<E>>,
    shared: Arc<Mutex<GroupSharedState>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<E: GroupEvents> ConsumerGroup<E> {
    /// Joins `group` and subscribes to `topics`.
    ///
    /// # Errors
    /// A [`Fault`] of the user if a property is wrong.
    pub fn join(
        kafka: &KafkaSection,
        group: &str,
        topics: &[String],
        memory: usize,
        events: Arc<Mutex<E>>,
    ) -> Result<Self, Fault> {
        let config = settings::group(kafka, group, memory)?;
        let shared = Arc::new(Mutex::new(GroupSharedState::default()));
        let mut callbacks = ClientCallbacks::default();
        callbacks.tokens = settings::tokens(kafka)?;
        let seen = Arc::clone(&shared);
        callbacks.on_statistics =
            Some(Box::new(move |json| lock(&seen).connected = statistics::consumer(json)));
        let (told, known) = (Arc::clone(&events), Arc::clone(&shared));
        callbacks.on_rebalance =
            Some(Box::new(move |handle, change, list| rebalance(&told, &known, handle, change, list)));
        let member = NativeConsumer::new(&config, callbacks)
            .map_err(|error| settings::refused("building a Kafka consumer", error))?;
        let group = Self { member, events, shared };
        group.subscribe(topics)?;
        Ok(group)
    }

    /// Changes the subscription; partitions of topics that stay are kept.
    ///
    /// # Errors
    /// A [`Fault`] if the client refuses the names.
    pub fn subscribe(&self, topics: &[String]) -> Result<(), Fault> {
        let mut list = TopicPartitionList::with_capacity(topics.len());
        for topic in topics {
            list.add_topic_unassigned(topic);
        }
        self.member.subscribe(&list).map_err(|error| Fault::user("subscribing", error))
    }

    /// Lends what was fetched to `take`, record by record in order, until it breaks off; waits up to `wait` if there
    /// is nothing at all. The lane's state is locked once for the whole batch. The record at which `take` breaks off
    /// counts as lent; those behind it are lent first the next time. Assignment changes are served before.
    ///
    /// # Errors
    /// A [`Fault`] that stops the worker: the position is gone from the log, access was denied, or the client is dead.
    pub fn poll_batch(
        &mut self,
        wait: Duration,
        mut take: impl FnMut(&mut E, &RecordRef<'_>) -> ControlFlow<()>,
    ) -> Result<PollOutcome, Fault> {
        if self.member.is_drained() {
            self.fetch(wait);
        }
        let mut failed = None;
        let mut records = 0;
        let mut events = lock(&self.events);
        self.member.lend(|lent| match lent {
            LentMessage::Record(record) => {
                records += 1;
                take(&mut events, record)
            }
            LentMessage::Failed(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        });
        drop(events);
        match failed.or_else(|| self.member.take_trouble()) {
            Some(error) => self.outage(error),
            None if records > 0 => Ok(PollOutcome::Records(records)),
            None => Ok(PollOutcome::Nothing),
        }
    }

    /// Serves assignment changes and lends nothing: for a lane that has paused. What still comes is kept.
    ///
    /// # Errors
    /// As [`ConsumerGroup::poll_batch`].
    pub fn serve(&mut self, wait: Duration) -> Result<PollOutcome, Fault> {
        self.fetch(wait);
        match self.member.take_trouble() {
            Some(error) => self.outage(error),
            None => Ok(PollOutcome::Nothing),
        }
    }

    fn outage(&self, error: KafkaClientError) -> Result<PollOutcome, Fault> {
        // What was seen before does not count any more.
        lock(&self.shared).connected = false;
        classify(error).map(PollOutcome::Outage)
    }

    /// Fetches behind what is kept; drops whatever belongs to a partition that moved meanwhile.
    ///
    /// librdkafka's call waits until the array is full or the time has passed. So: what is there, without waiting; if
    /// that is nothing, one message, waiting; then what came with it.
    fn fetch(&mut self, wait: Duration) {
        let queued = self.member.take_queued();
        self.settle(true);
        if queued == 0 {
            let older = !self.member.is_drained();
            let came = self.member.take_one(wait);
            self.settle(older);
            if came > 0 {
                self.member.take_queued();
                self.settle(true);
            }
        }
    }

    /// Does what rebalances ask for that ran in the last call. `older`: there may be records that were fetched before.
    fn settle(&mut self, older: bool) {
        let moves = std::mem::take(&mut lock(&self.shared).moves);
        for (at, moved) in moves {
            match moved {
                PartitionMove::Gone if older => {
                    self.member.discard(&at.topic, at.partition, true);
                }
                // What was said of its trouble is kept: it is not said twice.
                PartitionMove::Came(start) if older => {
                    let dropped = self.member.discard(&at.topic, at.partition, false);
                    if dropped > 0 {
                        tracing::debug!(%at, dropped, "fetched before the partition came back; read again");
                        self.go_to(&at, start);
                    }
                }
                PartitionMove::Back(start) => {
                    self.member.discard(&at.topic, at.partition, false);
                    self.go_to(&at, start);
                }
                PartitionMove::Gone | PartitionMove::Came(_) => {}
            }
        }
    }

    /// Commits positions and waits for the answer.
    ///
    /// # Errors
    /// [`Fault::rewind`] if the group no longer counts us in.
    pub fn commit(&self, positions: &CommitPositions) -> Result<(), Fault> {
        if positions.is_empty() {
            return Ok(());
        }
        let list = list_of(positions)?;
        self.member.handle().commit(&list).map_err(|error| Fault::rewind("committing offsets", error))
    }

    /// The group's generation, to send along with offsets in a transaction.
    pub fn metadata(&self) -> Option<GroupMetadata> {
        self.member.handle().group_metadata()
    }

    /// Goes back (or on) to a position in a partition; what was fetched of it is forgotten. One that is not ours any
    /// more is its new owner's to read. If one that is ours cannot be sought, the lane is told of the trouble: it has
    /// to join anew, or records would be missed. The caller must not hold the lane's state.
    pub fn seek(&mut self, at: &TopicPartition, start: PartitionStart) {
        self.member.discard(&at.topic, at.partition, false);
        self.go_to(at, start.raw());
    }

    fn go_to(&self, at: &TopicPartition, offset: i64) {
        let Err(error) = self.member.handle().seek(&at.topic, at.partition, offset, CALL) else { return };
        if self.assignment().contains(at) {
            lock(&self.events).trouble(Fault::rewind(format!("going back in {at}"), error));
        } else {
            tracing::debug!(%error, %at, "not ours any more");
        }
    }

    /// Have statistics come since this was last asked, and do they say that there is a connection? An idle lane has no
    /// other way to hear that its brokers are back.
    pub fn take_connected(&self) -> bool {
        std::mem::take(&mut lock(&self.shared).connected)
    }

    /// Stops fetching from a partition, or starts again. Keep polling meanwhile. What was fetched of it before is
    /// still lent, unless it is sought elsewhere.
    pub fn pause(&self, at: &TopicPartition, paused: bool) {
        pause(&self.member.handle(), [(&*at.topic, at.partition)].into_iter(), paused);
    }

    /// Stops fetching from everything, partitions that come later included, or starts again. Meanwhile call
    /// [`ConsumerGroup::serve`].
    pub fn hold(&self, held: bool) {
        lock(&self.shared).held = held;
        let all = self.member.handle().assignment();
        let all = all.iter().map(|(topic, partition)| (topic.as_str(), *partition));
        pause(&self.member.handle(), all, held);
    }

    /// What is ours now.
    pub fn assignment(&self) -> Vec<TopicPartition> {
        let all = self.member.handle().assignment();
        all.into_iter().map(|(topic, partition)| TopicPartition::new(topic, partition)).collect()
    }
}

fn pause<'a>(handle: &ConsumerHandle<'_>, all: impl Iterator<Item = (&'a str, i32)>, paused: bool) {
    let mut list = TopicPartitionList::new();
    for (topic, partition) in all {
        list.add_partition(topic, partition);
    }
    if list.count() > 0
        && let Err(error) = handle.pause(&list, paused)
    {
        tracing::warn!(%error, paused, "pausing or resuming");
    }
}

fn rebalance<E: GroupEvents>(
    events: &Mutex<E>,
    shared: &Mutex<GroupSharedState>,
    handle: &ConsumerHandle<'_>,
    change: AssignmentChange,
    list: &mut RebalanceList<'_>,
) {
    let places: Vec<TopicPartition> =
        list.places().into_iter().map(|(topic, partition)| TopicPartition::new(topic, partition)).collect();
    let done = match change {
        AssignmentChange::Assign if places.is_empty() => handle.change(change, list),
        AssignmentChange::Assign => match handle.committed(list, CALL) {
            Ok(committed) => {
                let mut starts = vec![];
                let mut events = lock(events);
                for (at, committed) in places.iter().zip(committed) {
                    starts.push(events.assigned(at, NextOffset::new(committed)).raw());
                }
                drop(events);
                list.start_at(&starts);
                let done = handle.change(change, list);
                let mut shared = lock(shared);
                // A pause survives a partition's going and coming back; so it is taken away, or made, explicitly.
                let all = places.iter().map(|at| (&*at.topic, at.partition));
                pause(handle, all, shared.held);
                shared.moves.extend(places.into_iter().zip(starts.into_iter().map(PartitionMove::Came)));
                done
            }
            Err(error) => {
                // Without a position there is nothing to read from: take nothing, so that no offset is guessed.
                lock(events).trouble(Fault::outage("asking the group for its offsets", error));
                handle.refuse()
            }
        },
        AssignmentChange::Revoke => {
            let back = lock(events).revoking(&places, handle.is_lost(), handle.group_metadata());
            let done = handle.change(change, list);
            let mut shared = lock(shared);
            shared.moves.extend(back.into_iter().map(|(at, from)| (at, PartitionMove::Back(from.raw()))));
            shared.moves.extend(places.into_iter().map(|at| (at, PartitionMove::Gone)));
            done
        }
    };
    if let Err(error) = done {
        tracing::error!(%error, ?change, "changing the assignment");
    }
}

fn classify(error: KafkaClientError) -> Result<Fault, Fault> {
    use RDKafkaErrorCode as Code;
    if error.fatal || super::is_denied(error.code) {
        return Err(Fault::user("reading from Kafka", error));
    }
    if matches!(error.code, Code::AutoOffsetReset | Code::OffsetOutOfRange) {
        let why = "the position to read on from is no longer in the log (retention passed it, or the topic was made anew); \
                   nothing was skipped: decide where to go on and reset the group";
        return Err(Fault::user("reading from Kafka", format!("{error}: {why}")));
    }
    Ok(Fault::outage("reading from Kafka", error))
}
