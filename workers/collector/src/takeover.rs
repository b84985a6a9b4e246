//! Ids whose holder let its lease pass: fence the holder, read what it had committed, go on behind it.

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

/// The steps of `checkpoints.rs`, for one session.
pub(crate) struct CollectorTakeover {
    pub(crate) kafka: KafkaSection,
    pub(crate) topic: String,
    /// Our own transactional id.
    pub(crate) own: String,
    pub(crate) log: Arc<Mutex<CheckpointLog>>,
}

impl CollectorTakeover {
    /// Where each claim goes on. Claims that turn out to be lost are left out.
    pub(crate) async fn resume(
        &self,
        claims: &JobClaims,
        publisher: &PagePublisher,
        taken: Vec<IdClaim>,
        first: &str,
        status: &WorkerStatus,
        stop: &CancellationToken,
    ) -> Result<Vec<CollectionProgress>, Fault> {
        let holders: BTreeSet<String> =
            taken.iter().flat_map(|claim| claim.taken_from.iter().cloned()).collect();
        self.read_behind(holders, publisher, status, stop).await?;
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
            // The row is brought up to date before anything else: from now on giving the id back is safe. One that is
            // complete has no page to be brought to; all that is left to do for it is to say that it is done.
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
        // Complete ids go on owing: should their end not be written, the next one must read here again.
        let settled: Vec<_> = resumed
            .iter()
            .filter(|id| id.at.is_some())
            .map(|id| (id.claim.id.clone(), id.claim.fence))
            .collect();
        claims.taken_over(&settled).await?;
        Ok(resumed)
    }

    async fn read_behind(
        &self,
        holders: BTreeSet<String>,
        publisher: &PagePublisher,
        status: &WorkerStatus,
        stop: &CancellationToken,
    ) -> Result<(), Fault> {
        let partitions = until_answered("kafka", status, stop, || {
            let (kafka, topic) = (self.kafka.clone(), self.topic.clone());
            blocking(move || checkpoints::partitions(&kafka, &topic))
        })
        .await?;
        // Barriers are written one holder after the other: in log order the last one is behind what any of them had
        // committed, so it is the one to wait for.
        let mut last = Vec::new();
        for holder in holders {
            let nonce = hex::encode(rand::random::<[u8; 16]>()).into_bytes();
            last.clone_from(&nonce);
            if holder == self.own {
                let barrier = publisher.barrier(partitions.clone(), nonce).await;
                barrier.map_err(|_| Fault::outage("writing a barrier", "the publisher has ended"))?;
                continue;
            }
            tracing::info!(holder, "taking ids over from a holder whose lease has passed; fencing it");
            until_answered("kafka", status, stop, || {
                let (kafka, topic) = (self.kafka.clone(), self.topic.clone());
                let (holder, partitions, nonce) = (holder.clone(), partitions.clone(), nonce.clone());
                blocking(move || checkpoints::fence(&kafka, &holder, &topic, &partitions, &nonce))
            })
            .await?;
        }
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

/// Where the claim's row says that it goes on.
pub(crate) fn from_row(claim: IdClaim, first: &str) -> CollectionProgress {
    // A text that is not ours was written by someone else's hand; the beginning is always right, only dearer.
    let row = claim.next_page.as_deref().and_then(RowMark::parse);
    let RowMark { at, marks } =
        row.unwrap_or_else(|| RowMark { at: PagePosition::first(first), marks: IncrementalMarks::default() });
    CollectionProgress { tally: claim.tally, at: Some(at), marks, claim, recalled: None }
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Fault::bug("waiting for a thread", error)),
    }
}
