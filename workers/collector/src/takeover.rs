//! Taking over ids whose lease has passed: fence the former holder, read its commits, and go on behind them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use sluice_core::Fault;
use sluice_lease::{ClaimMark, FenceAnswer, IdClaim, JobClaims};
use sluice_runtime::config::KafkaSection;
use sluice_runtime::retry::until_answered;
use sluice_runtime::status::WorkerStatus;
use tokio_util::sync::CancellationToken;

use crate::checkpoints::{self, CheckpointLog, PagePosition, RowMark};
use crate::collect::CollectionProgress;
use crate::incremental::IncrementalMarks;
use crate::publisher::PagePublisher;

/// Carries out the takeover that `checkpoints.rs` describes, for one session.
pub(crate) struct CollectorTakeover {
    pub(crate) kafka: KafkaSection,
    pub(crate) topic: String,
    /// This process's own transactional id.
    pub(crate) own: String,
    pub(crate) log: Arc<Mutex<CheckpointLog>>,
}

impl CollectorTakeover {
    /// Returns the progress from which each claim goes on. Claims that turn out to be lost are left out.
    pub(crate) async fn resume(
        &self,
        claims: &JobClaims,
        publisher: &PagePublisher,
        taken: Vec<IdClaim>,
        first: &str,
        status: &WorkerStatus,
        stop: &CancellationToken,
    ) -> Result<Vec<CollectionProgress>, Fault> {
        // Every former holder is fenced before anything is read.
        let holders: BTreeSet<String> =
            taken.iter().flat_map(|claim| claim.taken_from.iter().cloned()).collect();
        self.read_behind(holders, publisher, status, stop).await?;

        // Kafka knows more than the row, or the row counts.
        let mut resumed = Vec::with_capacity(taken.len());
        for claim in taken {
            let known = {
                let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
                log.newest(&claim).cloned()
            };
            let Some(known) = known else {
                resumed.push(from_row(claim, first));
                continue;
            };
            let id = CollectionProgress {
                tally: known.tally(),
                at: known.at,
                marks: known.marks,
                claim,
                recalled: None,
            };

            // The row is updated before anything else. From then on giving the id back is safe. A complete id
            // has no next page for its row; only its end is still to be written.
            let kept = match &id.at {
                None => FenceAnswer::Kept,
                Some(at) => {
                    let row = RowMark { at: at.clone(), marks: id.marks.clone() };
                    let mark = ClaimMark { next_page: Some(row.to_text()), tally: id.tally };
                    claims.checkpoint(&id.claim, &mark).await?
                }
            };
            if kept == FenceAnswer::Kept {
                resumed.push(id);
            }
        }

        // Complete ids keep their list of holders to fence: if their end is not written, the next holder must
        // read here again.
        let settled: Vec<_> = resumed
            .iter()
            .filter(|id| id.at.is_some())
            .map(|id| (id.claim.id.clone(), id.claim.fence))
            .collect();
        claims.taken_over(&settled).await?;
        Ok(resumed)
    }

    /// Fences the holders and reads the checkpoint topic up to the barriers behind their commits.
    async fn read_behind(
        &self,
        holders: BTreeSet<String>,
        publisher: &PagePublisher,
        status: &WorkerStatus,
        stop: &CancellationToken,
    ) -> Result<(), Fault> {
        // A holder may have committed to any partition, so that each one gets a barrier.
        let partitions = until_answered("kafka", status, stop, || {
            let (kafka, topic) = (self.kafka.clone(), self.topic.clone());
            blocking(move || checkpoints::partitions(&kafka, &topic))
        })
        .await?;

        // Barriers are written for one holder after the other. In log order the last one is behind all
        // commits of all of them, so that it is enough to wait for the last one.
        let mut last = Vec::new();
        for holder in holders {
            let nonce = hex::encode(rand::random::<[u8; 16]>()).into_bytes();
            last.clone_from(&nonce);
            // Our own earlier life was fenced when this session's producer started. The producer writes the
            // barrier.
            if holder == self.own {
                let barrier = publisher.barrier(partitions.clone(), nonce).await;
                barrier.map_err(|_| Fault::outage("writing a barrier", "the publisher has ended"))?;
                continue;
            }
            tracing::info!(holder, "fencing a holder whose lease has passed, to take its ids over");
            until_answered("kafka", status, stop, || {
                let (kafka, topic) = (self.kafka.clone(), self.topic.clone());
                let (holder, partitions, nonce) = (holder.clone(), partitions.clone(), nonce.clone());
                blocking(move || checkpoints::fence(&kafka, &holder, &topic, &partitions, &nonce))
            })
            .await?;
        }

        // Waiting for the barrier blocks a thread, because its read ends only behind open transactions.
        until_answered("kafka", status, stop, || {
            let (kafka, topic, log) = (self.kafka.clone(), self.topic.clone(), Arc::clone(&self.log));
            let (partitions, nonce) = (partitions.clone(), last.clone());
            blocking(move || {
                let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                log.read_behind(&kafka, &topic, &partitions, &nonce)
            })
        })
        .await
    }
}

/// Returns the progress that the claim's row holds.
pub(crate) fn from_row(claim: IdClaim, first: &str) -> CollectionProgress {
    // A text that does not parse was not written by a collector. The beginning is always right and only costs
    // more requests.
    let row = claim.next_page.as_deref().and_then(RowMark::parse);
    let RowMark { at, marks } =
        row.unwrap_or_else(|| RowMark { at: PagePosition::first(first), marks: IncrementalMarks::default() });
    CollectionProgress { tally: claim.tally, at: Some(at), marks, claim, recalled: None }
}

/// Runs work on a thread that may block.
///
/// # Errors
/// The work's fault, and a bug if it panicked.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Fault::bug("waiting for a thread", error)),
    }
}
