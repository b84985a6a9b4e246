//! Collecting one id, from its position to its last page. Each page that `walk.rs` reads is published,
//! together with the memory of it.

use std::sync::Arc;

use sluice_core::{Fault, Outputs};
use sluice_lease::{ClaimMark, ClaimReleaseReason, ClaimTally, FenceAnswer, IdClaim, JobClaims, LeaseError};
use sluice_runtime::metrics::{self, ProgressCounter};
use tokio_util::sync::CancellationToken;

use crate::checkpoints::{self, PageCheckpoint, PagePosition, RowMark};
use crate::client::{PageRefusal, TroubleKind};
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

/// The end of an id's collection in this process.
#[derive(Debug)]
pub(crate) enum CollectionEnd {
    /// Every endpoint's last page is durable, and the row is done.
    Done,
    /// The id cannot be completed. Its row holds the reason.
    Dead,
    /// The id was given back at its present page.
    Released,
    /// Another process holds the id.
    Lost,
    /// The publisher has ended. It is unknown whether the last page is durable, so nothing was written about
    /// it.
    Unknown,
    /// The worker must stop.
    Fatal(Fault),
}

/// Everything that the collection of one id needs.
pub(crate) struct CollectionTask {
    pub(crate) job: Arc<CollectorJob>,
    pub(crate) claims: JobClaims,
    pub(crate) scribe: ClaimScribe,
    pub(crate) publisher: PagePublisher,
    pub(crate) counters: Arc<CollectorCounters>,
    /// Cancelled when the process drains. The task ends after the page in flight.
    pub(crate) stop: CancellationToken,
    /// The hold of the claim. If the claim is lost, the task ends at once and writes nothing.
    pub(crate) hold: ClaimHold,
}

/// The progress of an id. `at` is `None` when every endpoint is complete.
pub(crate) struct CollectionProgress {
    pub(crate) claim: IdClaim,
    pub(crate) at: Option<PagePosition>,
    pub(crate) tally: ClaimTally,
    pub(crate) marks: IncrementalMarks,
    /// The records of the next page that an earlier holder has already published (idempotent mode).
    pub(crate) recalled: Option<PageRecall>,
}

impl CollectionTask {
    /// Collects one id and writes its end to its row.
    pub(crate) async fn run(self, mut id: CollectionProgress) -> CollectionEnd {
        // An empty id would ask for everything. Enrolment leaves it dead; a row of an earlier version may be due.
        if id.claim.id.is_empty() {
            let why =
                "the id is empty: expected a text; without one the request would ask for all ids at once";
            return match self.claims.dead(&id.claim, &id.mark(), why).await {
                Ok(FenceAnswer::Kept) => CollectionEnd::Dead,
                Ok(FenceAnswer::Lost) => CollectionEnd::Lost,
                Err(error) if error.retryable() => CollectionEnd::Lost,
                Err(error) => CollectionEnd::Fatal(error.into()),
            };
        }

        // A lost claim ends the walk between any two steps: another process works on the id.
        let answered = self.job.api.polite().successes();
        let halted = tokio::select! {
            halted = self.pages(&mut id) => halted,
            () = self.hold.lost.cancelled() => return CollectionEnd::Lost,
        };

        // The end is written under the claim's fence.
        match self.conclude(halted, &id, answered).await {
            Ok(end) => end,
            // The row keeps its lease. When it has passed, the id is taken up again where Kafka or the row
            // says.
            Err(error) if error.retryable() => {
                tracing::warn!(%error, "the end of an id could not be written; it goes on after its lease");
                CollectionEnd::Lost
            }
            Err(error) => CollectionEnd::Fatal(error.into()),
        }
    }

    /// Walks over the id's pages and publishes them.
    async fn pages(&self, id: &mut CollectionProgress) -> Result<(), PageWalkHalt> {
        let (text, marks, at) = (id.claim.id.clone(), id.marks.clone(), id.at.clone());
        let config = &self.job.config;
        let part = part_bytes(config.memory, config.concurrency);
        let taker = PublishingTaker { task: self, id };
        let (job, stop) = (&*self.job, &self.stop);
        let (pseudonym, run) = (job.pseudonym(&text), taker.id.claim.run);
        PageWalk { job, id: &text, pseudonym, run, taker, stop, marks, part, most: None }.run(at).await
    }

    /// Makes a part of a page durable together with its checkpoint, then moves `id` on.
    async fn publish(
        &self,
        id: &mut CollectionProgress,
        part: PagePart<'_>,
        outputs: &mut Outputs,
    ) -> Result<(), PageWalkHalt> {
        // The new totals of the run. A page counts once, with its last part.
        let PagePartCounts { records, rejects, repeats } = part.read;
        let pages = i64::from(part.ends_page);
        let tally = ClaimTally {
            pages: id.tally.pages + pages,
            records: id.tally.records + signed(records),
            rejects: id.tally.rejects + signed(rejects),
            bytes: id.tally.bytes + signed(part.bytes),
        };

        // In transactional mode the checkpoint travels in the same transaction as the records.
        let transactional = self.job.config.transactional;
        let checkpoint = transactional.then(|| {
            let checkpoint = PageCheckpoint::new(id.claim.run, part.next.clone(), part.marks.clone(), tally);
            (checkpoints::key(&id.claim.id, &part.at.endpoint), checkpoint.to_bytes())
        });

        // Records that an earlier holder has published are taken out. They all belong to this page.
        let topics = Arc::clone(&self.job.targets[part.nth].topics);
        if let Some(recalled) = &mut id.recalled {
            recalled.sift(&topics, outputs);
            if part.ends_page {
                id.recalled = None;
            }
        }

        // The part is published. The emptied arena comes back only if the part is durable.
        let letters = self.counters.letters(outputs);
        let going = std::mem::take(outputs);
        if !going.is_empty() || checkpoint.is_some() {
            let dedupe = (!transactional).then(|| self.dedupe(&id.claim, &part));
            let page =
                PagePublication { topics, outputs: going, checkpoint, dedupe, hold: self.hold.clone() };
            let published = self.publisher.publish(page).await;
            // No answer: either the publisher left the page out because its lease is over, or it has ended
            // itself.
            let over = self.hold.is_over();
            *outputs =
                published.map_err(|_| if over { PageWalkHalt::Lost } else { PageWalkHalt::Unknown })?;
        }

        // Durable: now the progress and the counters move.
        (id.at, id.tally, id.marks) = (part.next, tally, part.marks.clone());
        metrics::progress(ProgressCounter::Pages, u64::from(part.ends_page));
        metrics::progress(ProgressCounter::PageRecords, records);
        metrics::progress(ProgressCounter::Repeats, repeats);
        (0..letters).for_each(|_| metrics::dead_lettered("collector", sluice_core::ReasonClass::Shape));
        self.counters.page(u64::from(part.ends_page), records, rejects, part.bytes);

        // In transactional mode Kafka has the checkpoint, and the row is written once, at the id's end. After
        // the id's last page `done` follows at once, so that no checkpoint is needed.
        if !transactional && id.at.is_some() {
            match self.scribe.checkpoint(&id.claim, id.mark()).await {
                Ok(FenceAnswer::Kept) => {}
                Ok(FenceAnswer::Lost) => return Err(PageWalkHalt::Lost),
                Err(error) => return Err(PageWalkHalt::Database(error)),
            }
        }
        Ok(())
    }

    /// Writes the end of the id to its row. `answered` is the number of pages that had come when the id was begun.
    /// Returns [`CollectionEnd::Lost`] if the claim's fence no longer matches.
    async fn conclude(
        &self,
        halted: Result<(), PageWalkHalt>,
        id: &CollectionProgress,
        answered: u64,
    ) -> Result<CollectionEnd, LeaseError> {
        let CollectionProgress { claim, tally, .. } = id;
        let mark = id.mark();
        let transactional = self.job.config.transactional;
        let kept = |fenced, end| if fenced == FenceAnswer::Kept { end } else { CollectionEnd::Lost };

        match halted {
            // Every page is durable.
            Ok(()) => Ok(kept(self.scribe.done(claim, self.after_the_run(id)).await?, CollectionEnd::Done)),
            // The process drains: the id goes back without using up an attempt.
            Err(PageWalkHalt::Refused(PageRefusal::Stopped)) => Ok(kept(
                self.claims.release(claim, &mark, &ClaimReleaseReason::Back).await?,
                CollectionEnd::Released,
            )),
            // The API failed for now. After the last attempt without progress the id is dead.
            Err(PageWalkHalt::Refused(PageRefusal::Later { pause, reason, kind })) => {
                let progressed = far(tally) > far(&claim.tally);
                let spent = claim.attempt >= self.job.config.database.attempts && !progressed;

                // The API asks for a wait, or is away for everyone: this is no fault of the id, and the attempt does
                // not count. An API that answers others meanwhile is not away.
                let others = self.job.api.polite().successes() > answered;
                let spared = match kind {
                    TroubleKind::Busy | TroubleKind::Away => true,
                    TroubleKind::Unwell => !others || self.job.api.is_away(),
                    TroubleKind::Page => false,
                };
                if spared {
                    let given = ClaimReleaseReason::Waits { pause, reason };
                    return Ok(kept(
                        self.claims.release(claim, &mark, &given).await?,
                        CollectionEnd::Released,
                    ));
                }

                // The last attempt is used up.
                if spent {
                    return Ok(kept(self.claims.dead(claim, &mark, &reason).await?, CollectionEnd::Dead));
                }

                // It got further: its attempts count from here. In idempotent mode the row knows that
                // already.
                if progressed
                    && transactional
                    && self.claims.checkpoint(claim, &mark).await? == FenceAnswer::Lost
                {
                    return Ok(CollectionEnd::Lost);
                }

                let given = ClaimReleaseReason::Failed { pause, reason };
                Ok(kept(self.claims.release(claim, &mark, &given).await?, CollectionEnd::Released))
            }
            // No later attempt can succeed.
            Err(PageWalkHalt::Refused(PageRefusal::Dead(reason))) => {
                Ok(kept(self.claims.dead(claim, &mark, &reason).await?, CollectionEnd::Dead))
            }
            Err(PageWalkHalt::Refused(PageRefusal::Fatal(fault)) | PageWalkHalt::Fault(fault)) => {
                // The trouble concerns every id and nothing was skipped: the id is as due as before.
                let _ = self.claims.release(claim, &mark, &ClaimReleaseReason::Back).await?;
                Ok(CollectionEnd::Fatal(fault))
            }
            // Nothing may or can be written.
            Err(PageWalkHalt::Lost) => Ok(CollectionEnd::Lost),
            Err(PageWalkHalt::Unknown) => Ok(CollectionEnd::Unknown),
            Err(PageWalkHalt::Database(error)) => Err(error),
        }
    }

    /// Returns the mark of a complete id. It has no next page, but it can hold the marks with which the next
    /// run begins.
    fn after_the_run(&self, id: &CollectionProgress) -> ClaimMark {
        let marks = id.marks.clone().after_the_run();
        // Without marks to remember, the row stays empty.
        let first = self.job.config.endpoints.first().filter(|_| !marks.is_empty());
        let row = first.map(|first| RowMark { at: PagePosition::first(&first.name), marks });
        ClaimMark { next_page: row.map(|row| row.to_text()), tally: id.tally }
    }

    /// Returns the header `job/id/run/endpoint/page/hash`. The same page published twice carries the same
    /// text. For a page in parts, the number of the part's first record follows the page, and the hash covers
    /// all records up to the part's end.
    fn dedupe(&self, claim: &IdClaim, part: &PagePart<'_>) -> String {
        // Half of a SHA-256 in hexadecimal: 128 bits.
        let hash = part.hash.get(..32).unwrap_or(part.hash);
        let (job, id, run) = (&self.job.config.job, &claim.id, claim.run);
        let from = part.at.part.as_ref().map_or_else(String::new, |part| format!("+{}", part.records));
        format!("{}{from}/{hash}", page_key(job, id, run, part.at))
    }
}

impl CollectionProgress {
    /// Returns the mark that the id's row has to hold.
    fn mark(&self) -> ClaimMark {
        let row = self.at.as_ref().map(|at| RowMark { at: at.clone(), marks: self.marks.clone() });
        ClaimMark { next_page: row.map(|row| row.to_text()), tally: self.tally }
    }
}

/// Publishes the parts that a walk reads.
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
        tracing::warn!(endpoint, page, "pages moved while they were read: {noticed}");
    }
}

/// Returns the beginning of the header `sluice.page` that all records of a page share in one run over an id.
pub(crate) fn page_key(job: &str, id: &str, run: i64, at: &PagePosition) -> String {
    format!("{job}/{id}/{run}/{}/{}", at.endpoint, at.page)
}

/// Returns the size in bytes at which a page is handed over in parts, between 64 KiB and 4 MiB. All ids
/// together hold at most a quarter of the memory.
fn part_bytes(memory: usize, concurrency: usize) -> usize {
    (memory / 4 / concurrency.max(1)).clamp(64 << 10, 4 << 20)
}

/// Returns a measure of progress. Parts of one page differ in their records only.
fn far(tally: &ClaimTally) -> (i64, i64) {
    (tally.pages, tally.records + tally.rejects)
}

/// Returns a count as the database's type.
fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
