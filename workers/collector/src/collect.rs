//! One id, from where it stands to its last page: what `walk.rs` reads is published and remembered, page by page.

use std::sync::Arc;

use sluice_core::{Fault, Outputs};
use sluice_lease::{ClaimMark, ClaimReleaseReason, ClaimTally, FenceAnswer, IdClaim, JobClaims, LeaseError};
use sluice_runtime::metrics::{self, ProgressCounter};
use tokio_util::sync::CancellationToken;

use crate::checkpoints::{self, PageCheckpoint, PagePosition, RowMark};
use crate::client::PageRefusal;
use crate::drift::DriftNotice;
use crate::held::ClaimHold;
use crate::incremental::IncrementalMarks;
use crate::job::CollectorJob;
use crate::process::PagePartCounts;
use crate::publisher::{PagePublication, PagePublisher};
use crate::recall::PageRecall;
use crate::scribe::ClaimScribe;
use crate::tally::CollectorCounters;
use crate::walk::{PagePart, PageTaker, PageWalk, PageWalkHalt};

/// What became of an id in this process.
#[derive(Debug)]
pub(crate) enum CollectionEnd {
    /// Every endpoint's last page is durable, and the row says so.
    Done,
    /// It cannot be completed; the row says why.
    Dead,
    /// Given back at the page it stands at.
    Released,
    /// Someone else holds it.
    Lost,
    /// The publisher has ended: whether the last page is durable is not known, so nothing was written about it.
    Unknown,
    /// The worker must stop.
    Fatal(Fault),
}

/// What a task works with.
pub(crate) struct CollectionTask {
    pub(crate) job: Arc<CollectorJob>,
    pub(crate) claims: JobClaims,
    pub(crate) scribe: ClaimScribe,
    pub(crate) publisher: PagePublisher,
    pub(crate) counters: Arc<CollectorCounters>,
    /// The process is draining: end after the page in flight.
    pub(crate) stop: CancellationToken,
    /// If the claim is lost: end at once, write nothing.
    pub(crate) hold: ClaimHold,
}

/// An id on its way. `at` is `None` when every endpoint is complete.
pub(crate) struct CollectionProgress {
    pub(crate) claim: IdClaim,
    pub(crate) at: Option<PagePosition>,
    pub(crate) tally: ClaimTally,
    pub(crate) marks: IncrementalMarks,
    /// What an earlier holder had published of the page that comes next (idempotent mode).
    pub(crate) recalled: Option<PageRecall>,
}

impl CollectionTask {
    /// Collects one id and writes what became of it.
    pub(crate) async fn run(self, mut id: CollectionProgress) -> CollectionEnd {
        let halted = tokio::select! {
            halted = self.pages(&mut id) => halted,
            () = self.hold.lost.cancelled() => return CollectionEnd::Lost,
        };
        match self.conclude(halted, &id).await {
            Ok(end) => end,
            // The row keeps its lease; it is taken up again when that has passed, where Kafka or the row says.
            Err(error) if error.retryable() => {
                tracing::warn!(%error, "an id's end could not be written; it is taken up again after its lease");
                CollectionEnd::Lost
            }
            Err(error) => CollectionEnd::Fatal(error.into()),
        }
    }

    async fn pages(&self, id: &mut CollectionProgress) -> Result<(), PageWalkHalt> {
        let (text, marks, at) = (id.claim.id.clone(), id.marks.clone(), id.at.clone());
        let config = &self.job.config;
        let part = part_bytes(config.memory, config.concurrency);
        let taker = PublishingTaker { task: self, id };
        let (job, stop) = (&*self.job, &self.stop);
        PageWalk { job, id: &text, taker, stop, marks, part, most: None }.run(at).await
    }

    /// Makes a part of a page durable together with the memory of it, then moves `id` on.
    async fn publish(
        &self,
        id: &mut CollectionProgress,
        part: PagePart<'_>,
        outputs: &mut Outputs,
    ) -> Result<(), PageWalkHalt> {
        let PagePartCounts { records, rejects, repeats } = part.read;
        let pages = i64::from(part.ends_page);
        let tally = ClaimTally {
            pages: id.tally.pages + pages,
            records: id.tally.records + signed(records),
            rejects: id.tally.rejects + signed(rejects),
            bytes: id.tally.bytes + signed(part.bytes),
        };
        let transactional = self.job.config.transactional;
        let checkpoint = transactional.then(|| {
            let checkpoint = PageCheckpoint::new(id.claim.run, part.next.clone(), part.marks.clone(), tally);
            (checkpoints::key(&id.claim.id, &part.at.endpoint), checkpoint.to_bytes())
        });
        let topics = Arc::clone(&self.job.targets[part.nth].topics);
        if let Some(recalled) = &mut id.recalled {
            recalled.sift(&topics, outputs);
            if part.ends_page {
                id.recalled = None;
            }
        }
        let letters = outputs.iter().filter(|record| record.route == crate::process::LETTERS).count();
        let going = std::mem::take(outputs);
        if !going.is_empty() || checkpoint.is_some() {
            let dedupe = (!transactional).then(|| self.dedupe(&id.claim, &part));
            let page =
                PagePublication { topics, outputs: going, checkpoint, dedupe, hold: self.hold.clone() };
            let published = self.publisher.publish(page).await;
            let over = self.hold.is_over();
            *outputs =
                published.map_err(|_| if over { PageWalkHalt::Lost } else { PageWalkHalt::Unknown })?;
        }
        (id.at, id.tally, id.marks) = (part.next, tally, part.marks.clone());
        metrics::progress(ProgressCounter::Pages, u64::from(part.ends_page));
        metrics::progress(ProgressCounter::PageRecords, records);
        metrics::progress(ProgressCounter::Repeats, repeats);
        (0..letters).for_each(|_| metrics::dead_lettered("collector", sluice_core::ReasonClass::Shape));
        self.counters.page(u64::from(part.ends_page), records, rejects, part.bytes);
        // In transactional mode Kafka has the checkpoint; the row is written once, at the id's end. Where the page was
        // the id's last, `done` follows at once.
        if !transactional && id.at.is_some() {
            match self.scribe.checkpoint(&id.claim, id.mark()).await {
                Ok(FenceAnswer::Kept) => {}
                Ok(FenceAnswer::Lost) => return Err(PageWalkHalt::Lost),
                Err(error) => return Err(PageWalkHalt::Database(error)),
            }
        }
        Ok(())
    }

    /// Writes what became of the id.
    async fn conclude(
        &self,
        halted: Result<(), PageWalkHalt>,
        id: &CollectionProgress,
    ) -> Result<CollectionEnd, LeaseError> {
        let CollectionProgress { claim, tally, .. } = id;
        let mark = id.mark();
        let transactional = self.job.config.transactional;
        let kept = |fenced, end| if fenced == FenceAnswer::Kept { end } else { CollectionEnd::Lost };
        match halted {
            Ok(()) => Ok(kept(self.scribe.done(claim, self.after_the_run(id)).await?, CollectionEnd::Done)),
            Err(PageWalkHalt::Refused(PageRefusal::Stopped)) => Ok(kept(
                self.claims.release(claim, &mark, &ClaimReleaseReason::Back).await?,
                CollectionEnd::Released,
            )),
            Err(PageWalkHalt::Refused(PageRefusal::Later { pause, reason })) => {
                let progressed = far(tally) > far(&claim.tally);
                let spent = claim.attempt >= self.job.config.database.attempts && !progressed;
                if self.job.api.is_away() {
                    // An outage is not poison: the attempt does not count.
                    return Ok(kept(
                        self.claims.release(claim, &mark, &ClaimReleaseReason::Back).await?,
                        CollectionEnd::Released,
                    ));
                }
                if spent {
                    return Ok(kept(self.claims.dead(claim, &mark, &reason).await?, CollectionEnd::Dead));
                }
                if progressed
                    && transactional
                    && self.claims.checkpoint(claim, &mark).await? == FenceAnswer::Lost
                {
                    // It got further: its attempts count from here.
                    return Ok(CollectionEnd::Lost);
                }
                let given = ClaimReleaseReason::Failed { pause, reason };
                Ok(kept(self.claims.release(claim, &mark, &given).await?, CollectionEnd::Released))
            }
            Err(PageWalkHalt::Refused(PageRefusal::Dead(reason))) => {
                Ok(kept(self.claims.dead(claim, &mark, &reason).await?, CollectionEnd::Dead))
            }
            Err(PageWalkHalt::Refused(PageRefusal::Fatal(fault)) | PageWalkHalt::Fault(fault)) => {
                // Nothing was skipped: the id is as due as before.
                let _ = self.claims.release(claim, &mark, &ClaimReleaseReason::Back).await?;
                Ok(CollectionEnd::Fatal(fault))
            }
            Err(PageWalkHalt::Lost) => Ok(CollectionEnd::Lost),
            Err(PageWalkHalt::Unknown) => Ok(CollectionEnd::Unknown),
            Err(PageWalkHalt::Database(error)) => Err(error),
        }
    }

    /// The row of a complete id: nothing to go on from, but what its next run begins with.
    fn after_the_run(&self, id: &CollectionProgress) -> ClaimMark {
        let marks = id.marks.clone().after_the_run();
        let first = self.job.config.endpoints.first().filter(|_| !marks.is_empty());
        let row = first.map(|first| RowMark { at: PagePosition::first(&first.name), marks });
        ClaimMark { next_page: row.map(|row| row.to_text()), tally: id.tally }
    }

    /// `job/id/run/endpoint/page/hash`: the same page published twice carries the same text. Of a page in parts, the
    /// part's first record follows the page, and the hash is over all up to its end.
    fn dedupe(&self, claim: &IdClaim, part: &PagePart<'_>) -> String {
        let hash = part.hash.get(..32).unwrap_or(part.hash);
        let (job, id, run) = (&self.job.config.job, &claim.id, claim.run);
        let from = part.at.part.as_ref().map_or_else(String::new, |part| format!("+{}", part.records));
        format!("{}{from}/{hash}", page_key(job, id, run, part.at))
    }
}

impl CollectionProgress {
    fn mark(&self) -> ClaimMark {
        let row = self.at.as_ref().map(|at| RowMark { at: at.clone(), marks: self.marks.clone() });
        ClaimMark { next_page: row.map(|row| row.to_text()), tally: self.tally }
    }
}

/// Publishes what a walk reads.
struct PublishingTaker<'t> {
    task: &'t CollectionTask,
    id: &'t mut CollectionProgress,
}

impl PageTaker for PublishingTaker<'_> {
    async fn take(&mut self, part: PagePart<'_>, outputs: &mut Outputs) -> Result<(), PageWalkHalt> {
        self.task.publish(self.id, part, outputs).await
    }

    fn noticed(&mut self, endpoint: &str, page: u64, noticed: DriftNotice) {
        metrics::progress(ProgressCounter::Drift, 1);
        self.task.counters.drifted();
        tracing::warn!(endpoint, page, "pages move while they are read: {noticed}");
    }
}

/// What is the same in `sluice.page` of all records of a page in one run over an id.
pub(crate) fn page_key(job: &str, id: &str, run: i64, at: &PagePosition) -> String {
    format!("{job}/{id}/{run}/{}/{}", at.endpoint, at.page)
}

/// A page is handed over in parts of this size: what all ids at once may hold is a quarter of the memory.
fn part_bytes(memory: usize, concurrency: usize) -> usize {
    (memory / 4 / concurrency.max(1)).clamp(64 << 10, 4 << 20)
}

/// Parts of one page differ in their records only.
fn far(tally: &ClaimTally) -> (i64, i64) {
    (tally.pages, tally.records + tally.rejects)
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
