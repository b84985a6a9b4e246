//! A member of a consumer group. It lends fetched batches, and it reports every change of assignment to its
//! owner on the polling thread.
//!
//! A batch is lent under one lock of the lane's state. Records behind the point at which the owner breaks off
//! are kept and lent first the next time. Callbacks run only inside [`ConsumerGroup::poll_batch`] and
//! [`ConsumerGroup::serve`], before any record is lent. A batch may have been half fetched when a callback
//! ran. Therefore the kept records of a partition that moved meanwhile ([`PartitionMove`]) are dropped before
//! they are lent, and read again if the partition came back.

use std::collections::{BTreeMap, BTreeSet};
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

/// The longest wait for an answer of the group's coordinator or of a seek.
const CALL: Duration = Duration::from_secs(10);
/// Kafka's number for the first record of a partition.
const BEGINNING: i64 = -2;

/// The position from which a newly assigned partition is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionStart {
    /// The first record of the log: the group has not read the partition yet.
    Beginning,
    /// This position. If the log no longer reaches back that far, the worker stops with an error.
    At(NextOffset),
}

impl PartitionStart {
    /// Returns the offset as Kafka counts it.
    fn raw(self) -> i64 {
        match self {
            Self::Beginning => BEGINNING,
            Self::At(next) => next.raw(),
        }
    }
}

/// The lane's reaction to partitions that come and go. It is called on the polling thread, inside
/// [`ConsumerGroup::poll_batch`], [`ConsumerGroup::serve`] and while the consumer leaves the group.
pub trait GroupEvents: Send + 'static {
    /// The partition `at` now belongs to this consumer; `committed` is the group's position in it. Returns
    /// the position to read from.
    fn assigned(&mut self, at: &TopicPartition, committed: Option<NextOffset>) -> PartitionStart;

    /// These partitions no longer belong to this consumer once the call returns: finish or give up everything
    /// in flight for them. If `lost`, they belong to another consumer already, and nothing may be written for
    /// them. Returns positions for partitions that stay and have to be read again, because their records in
    /// flight were given up too. Nothing of such a partition is lent before that position.
    fn revoking(
        &mut self,
        partitions: &[TopicPartition],
        lost: bool,
        metadata: Option<GroupMetadata>,
    ) -> Vec<(TopicPartition, NextOffset)>;

    /// The group did not answer the request for its positions: the assignment is refused and asked for again.
    fn trouble(&mut self, fault: Fault);
}

/// The result of a poll.
pub enum PollOutcome {
    /// The number of records that were lent.
    Records(usize),
    /// No record came within the time.
    Nothing,
    /// Trouble of the neighbour. The client keeps trying by itself.
    Outage(Fault),
}

/// The effect of a rebalance on records that were fetched before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PartitionMove {
    /// The partition has left this consumer.
    Gone,
    /// The partition belongs to this consumer and is read from this offset. Records that are kept of it were
    /// fetched in an earlier time.
    Came(i64),
    /// The partition stays with this consumer and is read again from this offset.
    Back(i64),
}

/// Partitions that moved since the last call of [`ConsumerGroup::settle`].
type RebalanceMoves = BTreeMap<TopicPartition, PartitionMove>;

/// State that the rebalance callback and the group share.
#[derive(Default)]
struct GroupSharedState {
    moves: RebalanceMoves,
    /// The lane has paused everything; partitions that come later are paused too.
    held: bool,
    /// Partitions that the lane has paused one by one. librdkafka has one pause per partition: it is set while the
    /// group is held or the partition is in this set.
    paused: BTreeSet<TopicPartition>,
    /// The last statistics saw a connection, and [`ConsumerGroup::take_connected`] has not been called since.
    connected: bool,
}

/// A consumer in a group. One thread owns it. `E` is the lane's state, which the rebalance callback shares.
pub struct ConsumerGroup<E: GroupEvents> {
    member: NativeConsumer,
    events: Arc<Mutex<E>>,
    shared: Arc<Mutex<GroupSharedState>>,
}

/// Locks a mutex, also after a panic of its holder: that panic is resumed on the polling thread.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<E: GroupEvents> ConsumerGroup<E> {
    /// Joins `group` and subscribes to `topics`. `memory` is the memory of the whole process, in bytes.
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

        // The callbacks hold their own references: they run until the client is destroyed.
        let mut callbacks = ClientCallbacks::default();
        callbacks.tokens = settings::tokens(kafka)?;
        let seen = Arc::clone(&shared);
        callbacks.on_statistics =
            Some(Box::new(move |json| lock(&seen).connected = statistics::consumer(json)));
        let (lane, moved) = (Arc::clone(&events), Arc::clone(&shared));
        callbacks.on_rebalance =
            Some(Box::new(move |handle, change, list| rebalance(&lane, &moved, handle, change, list)));

        let member = NativeConsumer::new(&config, callbacks)
            .map_err(|error| settings::refused("building a Kafka consumer", error))?;
        let group = Self { member, events, shared };
        group.subscribe(topics)?;
        Ok(group)
    }

    /// Changes the subscription. Partitions of topics that stay are kept.
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

    /// Lends fetched records to `take`, one by one in order, until it breaks off. Waits up to `wait` if there
    /// is no record at all. The lane's state is locked once for the whole batch. The record at which `take`
    /// breaks off counts as lent. Those behind it are lent first the next time. Assignment changes are served
    /// before.
    ///
    /// # Errors
    /// A [`Fault`] that stops the worker: the position is no longer in the log, access was denied, or the
    /// client is dead.
    pub fn poll_batch(
        &mut self,
        wait: Duration,
        mut take: impl FnMut(&mut E, &RecordRef<'_>) -> ControlFlow<()>,
    ) -> Result<PollOutcome, Fault> {
        // Records that were kept the last time are lent before new ones are fetched.
        if self.member.is_drained() {
            self.fetch(wait);
        }

        // Lend the records. No callback runs meanwhile: the lane's state is locked.
        let mut failed = None;
        let mut records = 0;
        let mut events = lock(&self.events);
        self.member.lend(|lent| match lent {
            LentMessage::Record(record) => {
                records += 1;
                take(&mut events, record)
            }
            // Records before the error are lent already; the lane takes them in.
            LentMessage::Failed(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        });

        // The rebalance callback and the lane may lock the state again.
        drop(events);

        // An error of a partition goes before a general error of the client.
        match failed.or_else(|| self.member.take_trouble()) {
            Some(error) => self.outage(error),
            None if records > 0 => Ok(PollOutcome::Records(records)),
            None => Ok(PollOutcome::Nothing),
        }
    }

    /// Serves assignment changes and lends nothing: for a lane that has paused. Records that still come are
    /// kept.
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

    /// Sorts an error into an outage, or a fault that stops the worker.
    fn outage(&self, error: KafkaClientError) -> Result<PollOutcome, Fault> {
        // A connection that was seen before the error does not count any more.
        lock(&self.shared).connected = false;
        classify(error).map(PollOutcome::Outage)
    }

    /// Fetches new messages behind the kept ones. Drops the kept messages of partitions that moved meanwhile.
    ///
    /// librdkafka's call waits until the array is full or the time has passed. Therefore the fetch has three
    /// steps. The first takes the queued messages without waiting. If there are none, the second waits for
    /// one message, and the third takes the messages that came with it.
    fn fetch(&mut self, wait: Duration) {
        // Callbacks may have run in the middle of this call: all kept messages may be older than the
        // rebalance.
        let queued = self.member.take_queued();
        self.settle(true);

        // A message that was waited for is younger than every callback that ran before it.
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

    /// Carries out the moves of the rebalances that ran in the last call. `older` tells whether messages from
    /// before them may be kept.
    fn settle(&mut self, older: bool) {
        let moves = std::mem::take(&mut lock(&self.shared).moves);

        for (at, moved) in moves {
            match moved {
                // Records and errors of the partition concern its new owner.
                PartitionMove::Gone if older => {
                    self.member.discard(&at.topic, at.partition, true);
                }
                // Errors of the partition are kept: librdkafka reports an error once.
                PartitionMove::Came(start) if older => {
                    let dropped = self.member.discard(&at.topic, at.partition, false);
                    if dropped > 0 {
                        tracing::debug!(
                            %at,
                            dropped,
                            "records were fetched before the partition came back: reading them again"
                        );
                        self.go_to(&at, start);
                    }
                }
                // The lane gave up records in flight. It needs them from `start` on, whether or not messages
                // are kept.
                PartitionMove::Back(start) => {
                    self.member.discard(&at.topic, at.partition, false);
                    self.go_to(&at, start);
                }
                // Nothing is kept from before the move.
                PartitionMove::Gone | PartitionMove::Came(_) => {}
            }
        }
    }

    /// Commits positions and waits for the answer.
    ///
    /// # Errors
    /// [`Fault::rewind`] if the group no longer counts this consumer as a member.
    pub fn commit(&self, positions: &CommitPositions) -> Result<(), Fault> {
        if positions.is_empty() {
            return Ok(());
        }
        let list = list_of(positions)?;
        self.member.handle().commit(&list).map_err(|error| Fault::rewind("committing offsets", error))
    }

    /// Returns the group's generation, which goes along with offsets in a transaction.
    pub fn metadata(&self) -> Option<GroupMetadata> {
        self.member.handle().group_metadata()
    }

    /// Goes back (or on) to a position in a partition. Fetched records of the partition are forgotten. A
    /// partition that has left this consumer is its new owner's to read. If a partition of this consumer
    /// cannot be sought, the lane gets the trouble: the lane has to join again, or records would be missed.
    /// The caller must not hold the lane's state.
    pub fn seek(&mut self, at: &TopicPartition, start: PartitionStart) {
        self.member.discard(&at.topic, at.partition, false);
        self.go_to(at, start.raw());
    }

    /// Seeks to a raw offset in a partition; see [`ConsumerGroup::seek`].
    fn go_to(&self, at: &TopicPartition, offset: i64) {
        let Err(error) = self.member.handle().seek(&at.topic, at.partition, offset, CALL) else { return };

        // The error matters only while the partition belongs to this consumer.
        if self.assignment().contains(at) {
            lock(&self.events).trouble(Fault::rewind(format!("going back in {at}"), error));
        } else {
            tracing::debug!(%error, %at, "seek skipped: the partition has left this consumer");
        }
    }

    /// Tells whether statistics with a connection have come since the last call. An idle lane has no other
    /// way to learn that its brokers are back.
    pub fn take_connected(&self) -> bool {
        std::mem::take(&mut lock(&self.shared).connected)
    }

    /// Stops fetching from a partition, or starts again. Keep polling meanwhile. Records that were fetched
    /// before are still lent, unless the partition is sought elsewhere.
    pub fn pause(&self, at: &TopicPartition, paused: bool) {
        let held = {
            let mut shared = lock(&self.shared);
            if paused {
                shared.paused.insert(at.clone());
            } else {
                shared.paused.remove(at);
            }
            shared.held
        };
        // While everything is held, a partition that may go on waits for the end of the hold.
        if paused || !held {
            pause(&self.member.handle(), [(&*at.topic, at.partition)].into_iter(), paused);
        }
    }

    /// Stops fetching from all partitions, those that come later included, or starts again. Meanwhile call
    /// [`ConsumerGroup::serve`].
    pub fn hold(&self, held: bool) {
        // A later rebalance reads the flag and pauses the partitions that come.
        let paused = {
            let mut shared = lock(&self.shared);
            shared.held = held;
            shared.paused.clone()
        };

        // The end of a hold does not resume the partitions that stand still for a reason of their own.
        let all = self.member.handle().assignment();
        let all = all.iter().filter(|(topic, partition)| {
            held || !paused.contains(&TopicPartition::new(topic.as_str(), *partition))
        });
        pause(&self.member.handle(), all.map(|(topic, partition)| (topic.as_str(), *partition)), held);
    }

    /// Returns the partitions that belong to this consumer.
    pub fn assignment(&self) -> Vec<TopicPartition> {
        let all = self.member.handle().assignment();
        all.into_iter().map(|(topic, partition)| TopicPartition::new(topic, partition)).collect()
    }
}

/// Pauses or resumes partitions. A failure is only logged.
fn pause<'a>(handle: &ConsumerHandle<'_>, all: impl Iterator<Item = (&'a str, i32)>, paused: bool) {
    let mut list = TopicPartitionList::new();
    for (topic, partition) in all {
        list.add_partition(topic, partition);
    }
    if list.count() > 0
        && let Err(error) = handle.pause(&list, paused)
    {
        tracing::warn!(%error, paused, "the partitions could not be paused or resumed");
    }
}

/// Runs inside the rebalance callback: asks the lane, answers librdkafka, and notes the moves for
/// [`ConsumerGroup::settle`].
fn rebalance<E: GroupEvents>(
    events: &Mutex<E>,
    shared: &Mutex<GroupSharedState>,
    handle: &ConsumerHandle<'_>,
    change: AssignmentChange,
    list: &mut RebalanceList<'_>,
) {
    let places: Vec<TopicPartition> =
        list.places().into_iter().map(|(topic, partition)| TopicPartition::new(topic, partition)).collect();

    // An assignment without partitions needs an answer, but neither the group nor the lane has to be asked.
    let done = match change {
        AssignmentChange::Assign if places.is_empty() => handle.change(change, list),
        // Partitions come: the group's committed offsets are the lane's starting points.
        AssignmentChange::Assign => match handle.committed(list, CALL) {
            Ok(committed) => {
                // The lane chooses the start of each partition, in the list's order.
                let mut starts = vec![];
                let mut events = lock(events);
                for (at, committed) in places.iter().zip(committed) {
                    starts.push(events.assigned(at, NextOffset::new(committed)).raw());
                }
                drop(events);

                // The lane's state is free again before librdkafka takes the partitions.
                list.start_at(&starts);
                let done = handle.change(change, list);

                let mut shared = lock(shared);
                // A pause outlives the time in which a partition was away. Therefore each partition is paused
                // or resumed explicitly.
                let all = places.iter().map(|at| (&*at.topic, at.partition));
                pause(handle, all, shared.held);
                places.iter().for_each(|at| {
                    shared.paused.remove(at);
                });
                shared.moves.extend(places.into_iter().zip(starts.into_iter().map(PartitionMove::Came)));
                done
            }
            Err(error) => {
                // Without a position there is nothing to read from. The assignment is refused, because an
                // offset must not be guessed.
                lock(events).trouble(Fault::outage("asking the group for its offsets", error));
                handle.refuse()
            }
        },
        // Partitions go: the lane finishes or gives up its records before librdkafka hands them over.
        AssignmentChange::Revoke => {
            let back = lock(events).revoking(&places, handle.is_lost(), handle.group_metadata());
            let done = handle.change(change, list);

            // Partitions that stay may have to be read again; see `GroupEvents::revoking`.
            let mut shared = lock(shared);
            places.iter().for_each(|at| {
                shared.paused.remove(at);
            });
            shared.moves.extend(back.into_iter().map(|(at, from)| (at, PartitionMove::Back(from.raw()))));
            shared.moves.extend(places.into_iter().map(|at| (at, PartitionMove::Gone)));
            done
        }
    };

    if let Err(error) = done {
        tracing::error!(%error, ?change, "the change of assignment failed");
    }
}

/// Decides whether an error of the consumer is an outage (`Ok`) or stops the worker (`Err`).
fn classify(error: KafkaClientError) -> Result<Fault, Fault> {
    use RDKafkaErrorCode as Code;
    if error.fatal || super::is_denied(error.code) {
        return Err(Fault::user("reading from Kafka", error));
    }

    // Reading on from another offset would skip or repeat records: the operator decides.
    if matches!(error.code, Code::AutoOffsetReset | Code::OffsetOutOfRange) {
        let why = "the position to read on from is no longer in the log (retention passed it, or the topic was \
                   deleted and created again); nothing was skipped: decide where to read on, and reset the group";
        return Err(Fault::user("reading from Kafka", format!("{error}: {why}")));
    }

    // librdkafka reconnects by itself: the lane keeps polling.
    Ok(Fault::outage("reading from Kafka", error))
}
