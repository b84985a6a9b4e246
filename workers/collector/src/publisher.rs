//! One OS thread owns the process's one producer and publishes in groups: whatever pages wait when it comes round, and
//! within [`LINGER`] after, go into one transaction, records, dead letters and checkpoints together; then the tasks are
//! answered.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use sluice_core::{Fault, Header, Outputs, Retry};
use sluice_kafka::{KafkaProducer, OutgoingRecord};
use sluice_runtime::config::KafkaSection;
use tokio::sync::{mpsc, oneshot};

use crate::checkpoints::{barrier, barrier_key};
use crate::held::ClaimHold;
use crate::process::LETTERS;
use crate::recall::PAGE;

/// Pages in one transaction at most.
const GROUP_PAGES: usize = 512;
/// Bytes in one transaction, but for its last page.
const GROUP_BYTES: usize = 8 << 20;
/// How long the first page of a group waits for others. A group costs an acknowledgement, a statement in the database and
/// wake-ups, however many pages it has.
const LINGER: Duration = Duration::from_millis(2);
/// How often an aborted group is sent again before the session starts anew.
const REDOS: u32 = 3;

/// Where the records of an endpoint go.
#[derive(Debug)]
pub(crate) struct EndpointTopics {
    pub(crate) records: String,
    pub(crate) letters: String,
}

/// A page on its way.
pub(crate) struct PagePublication {
    pub(crate) topics: Arc<EndpointTopics>,
    pub(crate) outputs: Outputs,
    /// Key and value of its checkpoint record (transactional mode).
    pub(crate) checkpoint: Option<(String, Vec<u8>)>,
    /// Header `sluice.page` of every record, so that a reader can drop a page that came twice; not needed where pages
    /// are published in transactions.
    pub(crate) dedupe: Option<String>,
    /// The claim under which it goes out: once its lease is over it does not.
    pub(crate) hold: ClaimHold,
}

/// The arena comes back when the page is durable; a dropped sender means that it is not, or nobody knows.
type PublisherReplySender = oneshot::Sender<Outputs>;

enum PublisherOrder {
    Page(PagePublication, PublisherReplySender),
    Barrier { partitions: Vec<i32>, nonce: Vec<u8>, answer: PublisherReplySender },
}

/// The way to the publisher's thread.
#[derive(Clone)]
pub(crate) struct PagePublisher {
    orders: mpsc::Sender<PublisherOrder>,
}

/// Tells when and why the thread ended. It ends with the last [`PagePublisher`], and is to be joined then.
pub(crate) struct PublisherThread {
    pub(crate) fault: oneshot::Receiver<Fault>,
    thread: JoinHandle<()>,
}

/// A publication that was not answered: the thread has ended, and whether the page is durable is not known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UnansweredPublication;

/// What of a producer is used; a second one stands in for it in tests.
trait PageProducer {
    fn begin(&mut self) -> Result<(), Fault>;
    fn send(&mut self, record: &OutgoingRecord<'_>) -> Result<(), Fault>;
    fn commit(&mut self) -> Result<(), Fault>;
    fn abort(&mut self) -> Result<(), Fault>;
}

enum KafkaPageProducer {
    Transactional(KafkaProducer),
    Idempotent(KafkaProducer),
}

impl PageProducer for KafkaPageProducer {
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
            // What was acknowledged stays: sending the group again would double it. A new session asks the rows.
            Self::Idempotent(_) => Err(Fault::outage("publishing pages", "a record was not delivered")),
        }
    }
}

impl PagePublisher {
    /// Starts the thread; comes back when the producer has its transactional id (and any earlier holder of it is
    /// fenced). `id` is `None` for the idempotent mode.
    pub(crate) async fn start(
        kafka: KafkaSection,
        id: Option<String>,
        checkpoint_topic: String,
        memory: usize,
        room: usize,
    ) -> Result<(Self, PublisherThread), Fault> {
        let (orders, receiver) = mpsc::channel(room.max(1));
        let (ready, is_ready) = oneshot::channel();
        let (tell, fault) = oneshot::channel();
        let body = move || {
            let made = match &id {
                Some(id) => {
                    KafkaProducer::transactional(&kafka, id, memory).map(KafkaPageProducer::Transactional)
                }
                None => KafkaProducer::idempotent(&kafka, memory).map(KafkaPageProducer::Idempotent),
            };
            let mut producer = match made {
                Ok(producer) => producer,
                Err(fault) => return drop(ready.send(Err(fault))),
            };
            // If nobody waits any more, the channel below is closed too and the thread ends by itself.
            let _ = ready.send(Ok(()));
            if let Err(fault) = serve(&mut producer, receiver, &checkpoint_topic) {
                let _ = tell.send(fault);
            }
        };
        let spawned = std::thread::Builder::new().name("publisher".into()).spawn(body);
        let thread = spawned.map_err(|error| Fault::bug("starting the publisher's thread", error))?;
        match is_ready.await {
            Ok(Ok(())) => Ok((Self { orders }, PublisherThread { fault, thread })),
            Ok(Err(fault)) => Err(fault),
            Err(_) => Err(Fault::bug("starting the publisher", "its thread ended without a word")),
        }
    }

    /// Publishes a page; comes back when it is durable, with the emptied arena for the next one.
    pub(crate) async fn publish(&self, page: PagePublication) -> Result<Outputs, UnansweredPublication> {
        let (answer, answered) = oneshot::channel();
        self.orders.send(PublisherOrder::Page(page, answer)).await.map_err(|_| UnansweredPublication)?;
        answered.await.map_err(|_| UnansweredPublication)
    }

    /// Writes a barrier to every partition of the checkpoint topic, behind everything this producer and earlier
    /// holders of its id have committed.
    pub(crate) async fn barrier(
        &self,
        partitions: Vec<i32>,
        nonce: Vec<u8>,
    ) -> Result<(), UnansweredPublication> {
        let (answer, answered) = oneshot::channel();
        self.orders
            .send(PublisherOrder::Barrier { partitions, nonce, answer })
            .await
            .map_err(|_| UnansweredPublication)?;
        answered.await.map(drop).map_err(|_| UnansweredPublication)
    }
}

impl PublisherThread {
    /// Waits for the thread, once no [`PagePublisher`] is left, and hands out what it ended with.
    pub(crate) async fn join(mut self) -> Option<Fault> {
        let thread = self.thread;
        let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        self.fault.try_recv().ok()
    }
}

fn serve<P: PageProducer>(
    producer: &mut P,
    mut orders: mpsc::Receiver<PublisherOrder>,
    checkpoint_topic: &str,
) -> Result<(), Fault> {
    let mut group = Vec::new();
    while let Some(first) = orders.blocking_recv() {
        let mut bytes = first.size();
        group.push(first);
        std::thread::sleep(LINGER);
        while group.len() < GROUP_PAGES && bytes < GROUP_BYTES {
            let Ok(next) = orders.try_recv() else { break };
            bytes += next.size();
            group.push(next);
        }
        publish(producer, &mut group, checkpoint_topic)?;
        sluice_failpoint::pass("pages-durable");
        for order in group.drain(..) {
            order.answer();
        }
    }
    Ok(())
}

/// One group, all or nothing. Sent again after an abort that is known to have succeeded; every other trouble ends the
/// thread, because then only the checkpoint topic knows what was committed.
fn publish<P: PageProducer>(
    producer: &mut P,
    group: &mut Vec<PublisherOrder>,
    checkpoint_topic: &str,
) -> Result<(), Fault> {
    let mut redos = 0;
    loop {
        match attempt(producer, group, checkpoint_topic) {
            Err(fault) if fault.retry == Retry::Rewind && redos < REDOS => {
                tracing::warn!(%fault, pages = group.len(), "the transaction is aborted and sent again");
                producer.abort()?;
                redos += 1;
            }
            other => return other,
        }
    }
}

fn attempt<P: PageProducer>(
    producer: &mut P,
    group: &mut Vec<PublisherOrder>,
    checkpoint_topic: &str,
) -> Result<(), Fault> {
    producer.begin()?;
    // Looked at last of all: a process that was stopped for longer than its leases sends nothing when it goes on. With
    // transactions too: a producer that is in doubt about its last commit takes its id anew when it begins, and thereby
    // back from whoever fenced it meanwhile. Whoever fences it from here on is found out at the commit.
    group.retain(|order| !order.is_over() || sluice_failpoint::sabotaged("no-lease-end"));
    sluice_failpoint::pass("pages-checked");
    for order in &*group {
        order.send(producer, checkpoint_topic)?;
    }
    producer.commit()
}

impl PublisherOrder {
    fn is_over(&self) -> bool {
        matches!(self, Self::Page(page, _) if page.hold.is_over())
    }

    fn size(&self) -> usize {
        match self {
            Self::Page(page, _) => page.outputs.size(),
            Self::Barrier { .. } => 0,
        }
    }

    fn send<P: PageProducer>(&self, producer: &mut P, checkpoint_topic: &str) -> Result<(), Fault> {
        let page = match self {
            Self::Page(page, _) => page,
            Self::Barrier { partitions, nonce, .. } => {
                for &partition in partitions {
                    producer.send(&barrier(checkpoint_topic, partition, &barrier_key(partition), nonce))?;
                }
                return Ok(());
            }
        };
        for record in page.outputs.iter() {
            let topic = if record.route == LETTERS { &page.topics.letters } else { &page.topics.records };
            let page = page.dedupe.as_deref().map(|text| text.as_bytes());
            let dedupe = page.map(|value| Header { name: PAGE, value: Some(value) });
            // A letter has headers of its own; a record most often has none, and needs no list then.
            let headers: Vec<Header<'_>>;
            let headers = match (record.headers().len(), &dedupe) {
                (0, Some(dedupe)) => std::slice::from_ref(dedupe),
                _ => {
                    headers = record.headers().chain(dedupe).collect();
                    &headers
                }
            };
            producer.send(&OutgoingRecord {
                topic,
                partition: None,
                key: record.key,
                value: record.value,
                timestamp_ms: record.timestamp_ms,
                headers,
            })?;
        }
        match &page.checkpoint {
            None => Ok(()),
            Some((key, value)) => producer.send(&OutgoingRecord {
                topic: checkpoint_topic,
                partition: None,
                key: Some(key.as_bytes()),
                value: Some(value),
                timestamp_ms: None,
                headers: &[],
            }),
        }
    }

    fn answer(self) {
        // A task that gave up waiting does not need its arena back.
        match self {
            Self::Page(mut page, answer) => {
                page.outputs.clear();
                let _ = answer.send(page.outputs);
            }
            Self::Barrier { answer, .. } => drop(answer.send(Outputs::new())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::RECORDS;
    use std::convert::Infallible;

    #[derive(Default)]
    struct FakePageProducer {
        open: Vec<(String, String)>,
        committed: Vec<Vec<(String, String)>>,
        /// Faults to give at commits, first to last.
        faults: Vec<Option<Fault>>,
        aborts: usize,
        lost_at_begin: Option<tokio_util::sync::CancellationToken>,
    }

    impl PageProducer for FakePageProducer {
        fn begin(&mut self) -> Result<(), Fault> {
            assert!(self.open.is_empty(), "a transaction is open already");
            if let Some(lost) = &self.lost_at_begin {
                lost.cancel();
            }
            Ok(())
        }

        fn send(&mut self, record: &OutgoingRecord<'_>) -> Result<(), Fault> {
            let value = String::from_utf8(record.value.unwrap_or_default().to_vec()).unwrap();
            self.open.push((record.topic.to_owned(), value));
            Ok(())
        }

        fn commit(&mut self) -> Result<(), Fault> {
            if !self.faults.is_empty()
                && let Some(fault) = self.faults.remove(0)
            {
                return Err(fault);
            }
            self.committed.push(std::mem::take(&mut self.open));
            Ok(())
        }

        fn abort(&mut self) -> Result<(), Fault> {
            self.open.clear();
            self.aborts += 1;
            Ok(())
        }
    }

    fn order(value: &str) -> (PublisherOrder, oneshot::Receiver<Outputs>) {
        let mut outputs = Outputs::new();
        for (route, text) in [(RECORDS, value), (LETTERS, "bad")] {
            let mut draft = outputs.draft(route);
            let bytes = text.as_bytes();
            draft
                .value_with(|out| {
                    out.extend_from_slice(bytes);
                    Ok::<(), Infallible>(())
                })
                .unwrap();
            draft.emit();
        }
        let topics = Arc::new(EndpointTopics { records: "t".into(), letters: "t.dead-letter".into() });
        let checkpoint = Some(("id/e".to_owned(), format!("after {value}").into_bytes()));
        let (answer, answered) = oneshot::channel();
        let hold = ClaimHold::new(tokio::time::Instant::now() + std::time::Duration::from_secs(60));
        (
            PublisherOrder::Page(PagePublication { topics, outputs, checkpoint, dedupe: None, hold }, answer),
            answered,
        )
    }

    fn pages(fake: &mut FakePageProducer, count: usize) -> (Result<(), Fault>, Vec<bool>) {
        let (sender, receiver) = mpsc::channel(16);
        let mut answers = Vec::new();
        for nth in 0..count {
            let (order, answered) = order(&format!("page {nth}"));
            sender.try_send(order).ok().unwrap();
            answers.push(answered);
        }
        drop(sender);
        let ended = serve(fake, receiver, "checkpoints");
        (ended, answers.into_iter().map(|mut answer| answer.try_recv().is_ok()).collect())
    }

    #[test]
    fn all_waiting_pages_go_into_one_transaction_with_their_checkpoints() {
        let mut fake = FakePageProducer::default();
        let (ended, answered) = pages(&mut fake, 3);
        ended.unwrap();
        assert_eq!(answered, [true, true, true]);
        assert_eq!(fake.committed.len(), 1);
        let told: Vec<_> = fake.committed[0].iter().take(3).map(|(t, v)| (t.as_str(), v.as_str())).collect();
        assert_eq!(told, [("t", "page 0"), ("t.dead-letter", "bad"), ("checkpoints", "after page 0")]);
        assert_eq!(fake.committed[0].len(), 9);
    }

    #[test]
    fn a_page_whose_lease_is_over_does_not_go_out() {
        let (sender, receiver) = mpsc::channel(16);
        let mut answers = Vec::new();
        let mut fake = FakePageProducer::default();
        for nth in 0..3 {
            let (order, answered) = order(&format!("page {nth}"));
            let PublisherOrder::Page(mut page, answer) = order else { continue };
            match nth {
                0 => page.hold = ClaimHold::new(tokio::time::Instant::now()),
                // Lost while the transaction is begun, which may take the id back from whoever fenced us.
                1 => fake.lost_at_begin = Some(page.hold.lost.clone()),
                _ => {}
            }
            sender.try_send(PublisherOrder::Page(page, answer)).ok().unwrap();
            answers.push(answered);
        }
        drop(sender);
        serve(&mut fake, receiver, "checkpoints").unwrap();
        let told: Vec<_> = fake.committed.concat().into_iter().map(|(_, value)| value).collect();
        assert_eq!(told, ["page 2", "bad", "after page 2"]);
        let answered: Vec<_> = answers.into_iter().map(|mut answer| answer.try_recv().is_ok()).collect();
        assert_eq!(answered, [false, false, true]);
    }

    #[test]
    fn an_aborted_group_is_sent_again_whole() {
        let mut fake = FakePageProducer {
            faults: vec![Some(Fault::rewind("committing", "abortable")), None],
            ..FakePageProducer::default()
        };
        let (ended, answered) = pages(&mut fake, 2);
        ended.unwrap();
        assert_eq!((fake.aborts, fake.committed.len(), answered), (1, 1, vec![true, true]));
    }

    #[test]
    fn when_the_outcome_is_unknown_nobody_is_answered_and_nothing_is_sent_again() {
        let mut fake = FakePageProducer {
            faults: vec![Some(Fault::outage("committing", "timed out"))],
            ..FakePageProducer::default()
        };
        let (ended, answered) = pages(&mut fake, 2);
        assert_eq!(ended.unwrap_err().retry, Retry::Later);
        assert_eq!((fake.aborts, fake.committed.len(), answered), (0, 0, vec![false, false]));
    }
}
