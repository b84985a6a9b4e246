//! Pages on their way to Kafka. A page's records, dead letters and checkpoint are one publication of the
//! publish lane ([`sluice_runtime::lane::publish`]) and become visible together.

use std::sync::Arc;
use std::time::Duration;

use sluice_core::{Fault, Header, Outputs};
use sluice_kafka::OutgoingRecord;
use sluice_runtime::config::KafkaSection;
use sluice_runtime::lane::publish::{
    Publication, PublishLane, PublishPace, PublishThread, UnansweredPublication,
};

use crate::checkpoints::{barrier, barrier_key};
use crate::held::ClaimHold;
use crate::process::LETTERS;
use crate::recall::PAGE;

/// The limits of a publish group. A publish group costs an acknowledgement, a statement in the database and
/// wake-ups, however many pages it has.
const PACE: PublishPace =
    PublishPace { publications: 512, bytes: 8 << 20, linger: Duration::from_millis(2), redos: 3 };

/// The topics of an endpoint's records and dead letters.
#[derive(Debug)]
pub(crate) struct EndpointTopics {
    pub(crate) records: String,
    pub(crate) letters: String,
}

/// A page to publish.
pub(crate) struct PagePublication {
    pub(crate) topics: Arc<EndpointTopics>,
    pub(crate) outputs: Outputs,
    /// Key and value of its checkpoint record (transactional mode).
    pub(crate) checkpoint: Option<(String, Vec<u8>)>,
    /// Header `sluice.page` of every record, with which a reader can drop a page that came twice. `None`
    /// where pages are published in transactions.
    pub(crate) dedupe: Option<String>,
    /// The hold of the claim for which the page was read. Once its lease is over, the page is not sent.
    pub(crate) hold: ClaimHold,
}

/// One order of the publisher.
pub(crate) enum PublisherOrder {
    /// A page; the emptied arena comes back as the answer.
    Page { page: PagePublication, checkpoint_topic: Arc<str> },
    /// A barrier in every partition of the checkpoint topic.
    Barrier { partitions: Vec<i32>, nonce: Vec<u8>, checkpoint_topic: Arc<str> },
}

/// The way to the publisher's thread.
#[derive(Clone)]
pub(crate) struct PagePublisher {
    lane: PublishLane<PublisherOrder>,
    checkpoint_topic: Arc<str>,
}

impl PagePublisher {
    /// Starts the thread. Returns when the producer has its transactional id and any earlier holder of it is
    /// fenced. `id` is `None` for the idempotent mode.
    ///
    /// # Errors
    /// A [`Fault`] if the producer cannot be made.
    pub(crate) async fn start(
        kafka: KafkaSection,
        id: Option<String>,
        checkpoint_topic: String,
        memory: usize,
        room: usize,
    ) -> Result<(Self, PublishThread), Fault> {
        let (lane, thread) = PublishLane::start(kafka, id, memory, room, PACE).await?;
        Ok((Self { lane, checkpoint_topic: checkpoint_topic.into() }, thread))
    }

    /// Publishes a page. Returns the emptied arena for the next page when the page is durable.
    ///
    /// # Errors
    /// [`UnansweredPublication`] if the page was left out, or if it is unknown whether it is durable.
    pub(crate) async fn publish(&self, page: PagePublication) -> Result<Outputs, UnansweredPublication> {
        let checkpoint_topic = Arc::clone(&self.checkpoint_topic);
        self.lane.publish(PublisherOrder::Page { page, checkpoint_topic }).await
    }

    /// Writes a barrier to every partition of the checkpoint topic, behind all commits of this producer and
    /// of earlier holders of its id.
    ///
    /// # Errors
    /// [`UnansweredPublication`] if it is unknown whether the barrier is durable.
    pub(crate) async fn barrier(
        &self,
        partitions: Vec<i32>,
        nonce: Vec<u8>,
    ) -> Result<(), UnansweredPublication> {
        let checkpoint_topic = Arc::clone(&self.checkpoint_topic);
        let order = PublisherOrder::Barrier { partitions, nonce, checkpoint_topic };
        self.lane.publish(order).await.map(drop)
    }
}

impl Publication for PublisherOrder {
    type Answer = Outputs;

    fn size(&self) -> usize {
        match self {
            Self::Page { page, .. } => page.outputs.size(),
            // A barrier is small and belongs to no claim.
            Self::Barrier { .. } => 0,
        }
    }

    /// Returns whether the page must not be sent any more. The lane asks last of all: a process that was
    /// stopped for longer than its leases sends nothing when it goes on.
    fn is_over(&self) -> bool {
        matches!(self, Self::Page { page, .. } if page.hold.is_over())
    }

    fn send(&self, send: &mut dyn FnMut(&OutgoingRecord<'_>) -> Result<(), Fault>) -> Result<(), Fault> {
        match self {
            Self::Page { page, checkpoint_topic } => page.send(checkpoint_topic, send),
            Self::Barrier { partitions, nonce, checkpoint_topic } => partitions
                .iter()
                .try_for_each(|&at| send(&barrier(checkpoint_topic, at, &barrier_key(at), nonce))),
        }
    }

    fn answer(self) -> Outputs {
        match self {
            Self::Page { mut page, .. } => {
                // The arena goes back to the task empty, for its next page.
                page.outputs.clear();
                page.outputs
            }
            Self::Barrier { .. } => Outputs::new(),
        }
    }
}

impl PagePublication {
    /// Gives the page's records and dead letters to `send`, then its checkpoint.
    fn send(
        &self,
        checkpoint_topic: &str,
        send: &mut dyn FnMut(&OutgoingRecord<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let dedupe = self.dedupe.as_deref().map(|text| Header { name: PAGE, value: Some(text.as_bytes()) });

        // Records and dead letters, each to its topic; in idempotent mode with the page's header.
        for record in self.outputs.iter() {
            let topic = if record.route == LETTERS { &self.topics.letters } else { &self.topics.records };
            // A dead letter has headers of its own. A record mostly has none, and needs no list then.
            let headers: Vec<Header<'_>>;
            let headers = match (record.headers().len(), &dedupe) {
                (0, Some(dedupe)) => std::slice::from_ref(dedupe),
                _ => {
                    headers = record.headers().chain(dedupe).collect();
                    &headers
                }
            };
            send(&OutgoingRecord {
                topic,
                partition: None,
                key: record.key,
                value: record.value,
                timestamp_ms: record.timestamp_ms,
                headers,
            })?;
        }

        // The checkpoint is in the same publish group: a page and the position behind it become visible
        // together.
        let Some((key, value)) = &self.checkpoint else { return Ok(()) };
        send(&OutgoingRecord {
            topic: checkpoint_topic,
            partition: None,
            key: Some(key.as_bytes()),
            value: Some(value),
            timestamp_ms: None,
            headers: &[],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::RECORDS;
    use std::convert::Infallible;

    fn page(hold: ClaimHold) -> PublisherOrder {
        let mut outputs = Outputs::new();
        for (route, text) in [(RECORDS, "page"), (LETTERS, "bad")] {
            let mut draft = outputs.draft(route);
            draft
                .value_with(|out| {
                    out.extend_from_slice(text.as_bytes());
                    Ok::<(), Infallible>(())
                })
                .unwrap();
            draft.emit();
        }
        let topics = Arc::new(EndpointTopics { records: "t".into(), letters: "t.dead-letter".into() });
        let checkpoint = Some(("id/e".to_owned(), b"after page".to_vec()));
        let page = PagePublication { topics, outputs, checkpoint, dedupe: None, hold };
        PublisherOrder::Page { page, checkpoint_topic: "checkpoints".into() }
    }

    #[test]
    fn a_page_goes_out_with_its_letters_and_its_checkpoint_behind_them() {
        let order = page(ClaimHold::new(tokio::time::Instant::now() + Duration::from_secs(60)));
        let mut sent = Vec::new();
        order
            .send(&mut |record| {
                let value = String::from_utf8(record.value.unwrap_or_default().to_vec()).unwrap();
                sent.push((record.topic.to_owned(), value));
                Ok(())
            })
            .unwrap();
        let expected = [("t", "page"), ("t.dead-letter", "bad"), ("checkpoints", "after page")];
        assert_eq!(sent, expected.map(|(topic, value)| (topic.to_owned(), value.to_owned())));
        assert_eq!(order.answer().len(), 0);
    }

    #[test]
    fn a_page_whose_lease_is_over_does_not_go_out() {
        assert!(page(ClaimHold::new(tokio::time::Instant::now())).is_over());
        let hold = ClaimHold::new(tokio::time::Instant::now() + Duration::from_secs(60));
        let lost = hold.lost.clone();
        let order = page(hold);
        assert!(!order.is_over());
        lost.cancel();
        assert!(order.is_over());
    }
}
