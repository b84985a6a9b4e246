//! A publish lane: one OS thread owns a producer and publishes what callers hand over, in groups.
//!
//! Whatever waits when the thread comes round, and within [`PublishPace::linger`] after, goes into one group: one
//! transaction, or one flush of an idempotent producer. Then every caller is answered. A group is all or nothing. It is
//! sent again after an abort that is known to have succeeded. Any other trouble ends the lane, because then only a
//! reader of the topics knows what was committed; callers see that their answer never comes.

use std::thread::JoinHandle;
use std::time::Duration;

use sluice_core::{Fault, Retry};
use sluice_kafka::{KafkaProducer, KafkaSection, OutgoingRecord};
use tokio::sync::{mpsc, oneshot};

/// One publication: the records of one caller that become visible together.
pub trait Publication: Send + 'static {
    /// The caller's answer once the publication is durable, for example its buffers for the next one.
    type Answer: Send + 'static;

    /// Returns the size in bytes, for the group's limit.
    fn size(&self) -> usize;

    /// Returns whether the publication must not go out any more. Asked last of all before it is sent, after the
    /// transaction was begun: a process that was stopped for a long time sends nothing that is no longer its own.
    fn is_over(&self) -> bool;

    /// Hands every record to `send`.
    ///
    /// # Errors
    /// As `send`.
    fn send(&self, send: &mut dyn FnMut(&OutgoingRecord<'_>) -> Result<(), Fault>) -> Result<(), Fault>;

    /// Returns the answer for the caller.
    fn answer(self) -> Self::Answer;
}

/// The limits of a group.
#[derive(Debug, Clone, Copy)]
pub struct PublishPace {
    /// Publications in a group at most.
    pub publications: usize,
    /// Bytes in a group, but for its last publication.
    pub bytes: usize,
    /// The wait of a group's first publication for others. A group costs an acknowledgement and wake-ups, however many
    /// publications it has.
    pub linger: Duration,
    /// How often an aborted group is sent again before the lane ends.
    pub redos: u32,
}

/// A producer as a publish lane uses it; tests use a fake one.
pub trait PublishProducer {
    /// Begins a group.
    ///
    /// # Errors
    /// A [`Fault`] of the producer.
    fn begin(&mut self) -> Result<(), Fault>;

    /// Adds a record to the group.
    ///
    /// # Errors
    /// A [`Fault`] of the producer.
    fn send(&mut self, record: &OutgoingRecord<'_>) -> Result<(), Fault>;

    /// Makes the group durable and visible.
    ///
    /// # Errors
    /// [`Retry::Rewind`] if it is known not to be, [`Retry::Later`] if that is unknown.
    fn commit(&mut self) -> Result<(), Fault>;

    /// Aborts the group.
    ///
    /// # Errors
    /// A [`Fault`] if it cannot be aborted.
    fn abort(&mut self) -> Result<(), Fault>;
}

/// A Kafka producer with or without transactions.
enum KafkaPublishProducer {
    Transactional(KafkaProducer),
    Idempotent(KafkaProducer),
}

impl PublishProducer for KafkaPublishProducer {
    fn begin(&mut self) -> Result<(), Fault> {
        match self {
            Self::Transactional(producer) => producer.begin(),
            Self::Idempotent(_) => Ok(()),
        }
    }

    fn send(&mut self, record: &OutgoingRecord<'_>) -> Result<(), Fault> {
        match self {
            Self::Transactional(producer) | Self::Idempotent(producer) => producer.send(record),
        }
    }

    fn commit(&mut self) -> Result<(), Fault> {
        match self {
            Self::Transactional(producer) => producer.commit(),
            Self::Idempotent(producer) => producer.flush(),
        }
    }

    fn abort(&mut self) -> Result<(), Fault> {
        match self {
            Self::Transactional(producer) => producer.abort(),
            // What was acknowledged stays: sending the group again would double it.
            Self::Idempotent(_) => Err(Fault::outage("publishing", "a record was not delivered")),
        }
    }
}

/// A publication and the way back to its caller.
type PublishOrder<P> = (P, oneshot::Sender<<P as Publication>::Answer>);

/// The way to a publish lane's thread. Clones share the lane.
pub struct PublishLane<P: Publication> {
    orders: mpsc::Sender<PublishOrder<P>>,
}

impl<P: Publication> Clone for PublishLane<P> {
    fn clone(&self) -> Self {
        Self { orders: self.orders.clone() }
    }
}

/// A publish lane's thread. It ends with the last [`PublishLane`], and is to be joined then.
pub struct PublishThread {
    /// The fault that ended the thread before its last caller was gone.
    pub fault: oneshot::Receiver<Fault>,
    thread: JoinHandle<()>,
}

/// A publication that was not answered: the thread has ended, and whether the publication is durable is not known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnansweredPublication;

impl<P: Publication> PublishLane<P> {
    /// Starts the thread, and returns when its producer is ready: with a `transactional_id`, when any earlier holder of
    /// that id is fenced. `memory` is the process's setting in bytes, `room` the number of publications that may wait.
    ///
    /// # Errors
    /// A [`Fault`] if the producer cannot be built.
    pub async fn start(
        kafka: KafkaSection,
        transactional_id: Option<String>,
        memory: usize,
        room: usize,
        pace: PublishPace,
    ) -> Result<(Self, PublishThread), Fault> {
        let (orders, receiver) = mpsc::channel(room.max(1));
        let (ready, is_ready) = oneshot::channel();
        let (ended_with, fault) = oneshot::channel();
        let body = move || {
            // The producer belongs to the thread: librdkafka's transaction calls block.
            let made = match &transactional_id {
                Some(id) => {
                    KafkaProducer::transactional(&kafka, id, memory).map(KafkaPublishProducer::Transactional)
                }
                None => KafkaProducer::idempotent(&kafka, memory).map(KafkaPublishProducer::Idempotent),
            };
            let mut producer = match made {
                Ok(producer) => producer,
                Err(fault) => return drop(ready.send(Err(fault))),
            };

            // A caller that no longer waits has closed the channel too, and the thread ends by itself.
            let _ = ready.send(Ok(()));
            if let Err(fault) = serve(&mut producer, receiver, pace) {
                let _ = ended_with.send(fault);
            }
        };
        let spawned = std::thread::Builder::new().name("publisher".into()).spawn(body);
        let thread = spawned.map_err(|error| Fault::bug("starting the publisher's thread", error))?;

        match is_ready.await {
            Ok(Ok(())) => Ok((Self { orders }, PublishThread { fault, thread })),
            Ok(Err(fault)) => Err(fault),
            Err(_) => Err(Fault::bug("starting the publisher", "its thread ended without an answer")),
        }
    }

    /// Publishes, and returns when the publication is durable.
    ///
    /// # Errors
    /// [`UnansweredPublication`] if the lane has ended, or the publication was over.
    pub async fn publish(&self, publication: P) -> Result<P::Answer, UnansweredPublication> {
        let (answer, answered) = oneshot::channel();
        self.orders.send((publication, answer)).await.map_err(|_| UnansweredPublication)?;
        answered.await.map_err(|_| UnansweredPublication)
    }
}

impl PublishThread {
    /// Waits for the thread once no [`PublishLane`] is left, and returns the fault that it ended with.
    pub async fn join(mut self) -> Option<Fault> {
        let thread = self.thread;
        let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        self.fault.try_recv().ok()
    }
}

/// Publishes in groups until the last caller is gone.
fn serve<P: Publication>(
    producer: &mut impl PublishProducer,
    mut orders: mpsc::Receiver<PublishOrder<P>>,
    pace: PublishPace,
) -> Result<(), Fault> {
    let mut group = Vec::new();
    while let Some(first) = orders.blocking_recv() {
        // The first one waits for company.
        let mut bytes = first.0.size();
        group.push(first);
        std::thread::sleep(pace.linger);
        while group.len() < pace.publications && bytes < pace.bytes {
            let Ok(next) = orders.try_recv() else { break };
            bytes += next.0.size();
            group.push(next);
        }

        let span = tracing::debug_span!("publish_group", publications = group.len(), bytes);
        span.in_scope(|| publish(producer, &mut group, pace.redos))?;
        sluice_failpoint::pass("pages-durable");

        // A caller that gave up waiting does not need its answer.
        for (publication, answer) in group.drain(..) {
            let _ = answer.send(publication.answer());
        }
    }
    Ok(())
}

/// Publishes one group, all or nothing, and again after an abort that succeeded.
fn publish<P: Publication>(
    producer: &mut impl PublishProducer,
    group: &mut Vec<PublishOrder<P>>,
    redos: u32,
) -> Result<(), Fault> {
    let mut redone = 0;
    loop {
        match attempt(producer, group) {
            Err(fault) if fault.retry == Retry::Rewind && redone < redos => {
                tracing::warn!(%fault, publications = group.len(), "the group is aborted and sent again");
                producer.abort()?;
                redone += 1;
            }
            other => return other,
        }
    }
}

fn attempt<P: Publication>(
    producer: &mut impl PublishProducer,
    group: &mut Vec<PublishOrder<P>>,
) -> Result<(), Fault> {
    producer.begin()?;

    // With transactions too: a producer that is in doubt about its last commit takes its id again when it begins, and
    // thereby back from its new holder meanwhile. One that is fenced from here on is found out at the commit.
    group.retain(|(publication, _)| !publication.is_over() || sluice_failpoint::sabotaged("no-lease-end"));
    sluice_failpoint::pass("pages-checked");

    for (publication, _) in &*group {
        publication.send(&mut |record| producer.send(record))?;
    }
    producer.commit()
}

#[cfg(test)]
mod tests;
