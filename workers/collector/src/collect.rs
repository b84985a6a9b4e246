//! One id, from where it stands to its last page: ask, read, publish, remember; page by page.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use sluice_core::{Fault, Outputs};
use sluice_lease::{Claim, Claims, Fenced, Given, LeaseError, Mark, Tally};
use sluice_runtime::metrics::{self, Progress};
use tokio_util::sync::CancellationToken;

use crate::checkpoints::{self, Checkpoint, Position};
use crate::client::{Answer, Refusal, Trouble};
use crate::job::Job;
use crate::pagination::{LoopGuard, Next, Seen};
use crate::process::{PageAt, PageRead};
use crate::publisher::{Page, Publisher};
use crate::tally::Counters;

/// What became of an id in this process.
#[derive(Debug)]
pub(crate) enum End {
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
pub(crate) struct Task {
    pub(crate) job: Arc<Job>,
    pub(crate) claims: Claims,
    pub(crate) publisher: Publisher,
    pub(crate) counters: Arc<Counters>,
    /// The process is draining: end after the page in flight.
    pub(crate) stop: CancellationToken,
    /// The claim was lost: end at once, write nothing.
    pub(crate) lost: CancellationToken,
}

/// An id on its way. `at` is `None` when every endpoint is complete.
pub(crate) struct Progressed {
    pub(crate) claim: Claim,
    pub(crate) at: Option<Position>,
    pub(crate) tally: Tally,
}

/// Why an id's pages stopped.
enum Halt {
    Refused(Refusal),
    Lost,
    Unknown,
    Database(LeaseError),
    Fault(Fault),
}

impl Task {
    /// Collects one id and writes what became of it.
    pub(crate) async fn run(self, mut id: Progressed) -> End {
        let halted = tokio::select! {
            halted = self.pages(&mut id) => halted,
            () = self.lost.cancelled() => return End::Lost,
        };
        match self.conclude(halted, &id).await {
            Ok(end) => end,
            // The row keeps its lease; it is taken up again when that has passed, where Kafka or the row says.
            Err(error) if error.retryable() => {
                tracing::warn!(%error, "an id's end could not be written; it is taken up again after its lease");
                End::Lost
            }
            Err(error) => End::Fatal(error.into()),
        }
    }

    async fn pages(&self, id: &mut Progressed) -> Result<(), Halt> {
        let mut outputs = Outputs::new();
        while let Some(at) = id.at.clone() {
            let endpoints = &self.job.config.endpoints;
            let Some(nth) = endpoints.iter().position(|endpoint| endpoint.name == at.endpoint) else {
                let why =
                    format!("its checkpoint names endpoint `{}`, which the job no longer has", at.endpoint);
                return Err(Halt::Refused(Refusal::Dead(why)));
            };
            let after = endpoints.get(nth + 1).map(|next| Position::first(&next.name));
            self.endpoint(nth, id, at, after, &mut outputs).await?;
        }
        Ok(())
    }

    /// All pages of one endpoint. `after` is where it goes on behind them.
    async fn endpoint(
        &self,
        nth: usize,
        id: &mut Progressed,
        mut at: Position,
        after: Option<Position>,
        outputs: &mut Outputs,
    ) -> Result<(), Halt> {
        let mut guard = LoopGuard::default();
        if let Some(token) = &at.token {
            guard.repeats_token(token);
        }
        loop {
            if self.stop.is_cancelled() {
                return Err(Halt::Refused(Refusal::Stopped));
            }
            let read = self.ask(nth, &id.claim, &at, outputs, &mut guard).await?;
            let next = match &read {
                Some((_, Next::Token(token))) => {
                    let max_pages = self.job.config.retry.max_pages;
                    if guard.repeats_token(token) {
                        return Err(dead(format!("page {} leads back to an earlier page", at.page)));
                    }
                    if at.page + 1 >= max_pages {
                        return Err(dead(format!("more than {max_pages} pages")));
                    }
                    let (endpoint, token) = (at.endpoint.clone(), Some(token.clone()));
                    Some(Position { endpoint, page: at.page + 1, token })
                }
                Some((_, Next::Broken(why))) => return Err(dead((*why).to_owned())),
                Some((_, Next::End)) | None => after.clone(),
            };
            let page = read.map(|(page, _)| page).unwrap_or_default();
            let ended = next == after;
            self.publish(nth, id, &at, next, &page, outputs).await?;
            match (&id.at, ended) {
                (Some(next), false) => at = next.clone(),
                _ => return Ok(()),
            }
        }
    }

    /// Asks for one page and reads it into `outputs`. `None`: there is nothing here, by rule.
    async fn ask(
        &self,
        nth: usize,
        claim: &Claim,
        at: &Position,
        outputs: &mut Outputs,
        guard: &mut LoopGuard,
    ) -> Result<Option<(PageBody, Next)>, Halt> {
        let endpoint = &self.job.config.endpoints[nth];
        let ask = endpoint.pagination.ask(at.token.as_deref());
        let mut reader = self.job.reader(nth).map_err(Halt::Fault)?;
        let accept = |answer: &Answer| {
            outputs.clear();
            let dedupe = (!self.job.config.transactional).then(|| self.dedupe(claim, at, &answer.body));
            let (job, endpoint_name) = (self.job.config.job.as_str(), endpoint.name.as_str());
            let page_at = PageAt { job, endpoint: endpoint_name, page: at.page, dedupe: dedupe.as_deref() };
            let read = reader.read(page_at, &answer.body, outputs);
            let read = read.map_err(|error| Trouble::page(&error, answer.html))?;
            if endpoint.pagination.counts() && read.records > 0 && guard.repeats_page(&answer.body) {
                return Err(Trouble::Hopeless(format!("page {} is the one before it again", at.page)));
            }
            let next = endpoint.pagination.next(&Seen {
                values: &read.values,
                links: &answer.links,
                records: read.records + read.rejects,
                token: at.token.as_deref(),
            });
            Ok((PageBody { read, bytes: answer.body.len() }, next))
        };
        let asked = self.job.api.page(endpoint, &claim.id, &ask, &self.stop, accept).await;
        self.job.give_back(nth, reader);
        asked.map_err(Halt::Refused)
    }

    /// Makes a page durable together with the memory of it, then moves `id` on to `next`.
    async fn publish(
        &self,
        nth: usize,
        id: &mut Progressed,
        at: &Position,
        next: Option<Position>,
        page: &PageBody,
        outputs: &mut Outputs,
    ) -> Result<(), Halt> {
        let (records, rejects) = (page.read.records, page.read.rejects);
        let tally = Tally {
            pages: id.tally.pages + 1,
            records: id.tally.records + signed(records),
            rejects: id.tally.rejects + signed(rejects),
            bytes: id.tally.bytes + signed(page.bytes as u64),
        };
        let transactional = self.job.config.transactional;
        let checkpoint = transactional.then(|| {
            let checkpoint = Checkpoint::new(id.claim.run, next.clone(), tally);
            (checkpoints::key(&id.claim.id, &at.endpoint), checkpoint.to_bytes())
        });
        let topics = Arc::clone(&self.job.targets[nth].topics);
        let letters = outputs.iter().filter(|record| record.route == crate::process::LETTERS).count();
        let going = std::mem::take(outputs);
        if !going.is_empty() || checkpoint.is_some() {
            let page = Page { topics, outputs: going, checkpoint };
            *outputs = self.publisher.publish(page).await.map_err(|_| Halt::Unknown)?;
        }
        (id.at, id.tally) = (next, tally);
        metrics::progress(Progress::Pages, 1);
        metrics::progress(Progress::PageRecords, records);
        (0..letters).for_each(|_| metrics::dead_lettered("collector", sluice_core::Class::Shape));
        self.counters.page(records, rejects, page.bytes as u64);
        // In transactional mode Kafka has the checkpoint; the row is written once, at the id's end. Where the page was
        // the id's last, `done` follows at once.
        if !transactional && let Some(next) = &id.at {
            let mark = Mark { next_page: Some(next.to_text()), tally };
            match self.claims.checkpoint(&id.claim, &mark).await {
                Ok(Fenced::Kept) => {}
                Ok(Fenced::Lost) => return Err(Halt::Lost),
                Err(error) => return Err(Halt::Database(error)),
            }
        }
        Ok(())
    }

    /// Writes what became of the id.
    async fn conclude(&self, halted: Result<(), Halt>, id: &Progressed) -> Result<End, LeaseError> {
        let Progressed { claim, at, tally } = id;
        let mark = Mark { next_page: at.as_ref().map(Position::to_text), tally: *tally };
        let transactional = self.job.config.transactional;
        let kept = |fenced, end| if fenced == Fenced::Kept { end } else { End::Lost };
        match halted {
            Ok(()) => {
                let every = self.job.config.database.every;
                Ok(kept(self.claims.done(claim, *tally, every).await?, End::Done))
            }
            Err(Halt::Refused(Refusal::Stopped)) => {
                Ok(kept(self.claims.release(claim, &mark, &Given::Back).await?, End::Released))
            }
            Err(Halt::Refused(Refusal::Later { pause, reason })) => {
                let progressed = tally.pages > claim.tally.pages;
                let spent = claim.attempt >= self.job.config.database.attempts && !progressed;
                if self.job.api.is_away() {
                    // An outage is not poison: the attempt does not count.
                    return Ok(kept(self.claims.release(claim, &mark, &Given::Back).await?, End::Released));
                }
                if spent {
                    return Ok(kept(self.claims.dead(claim, &mark, &reason).await?, End::Dead));
                }
                if progressed && transactional && self.claims.checkpoint(claim, &mark).await? == Fenced::Lost
                {
                    // It got further: its attempts count from here.
                    return Ok(End::Lost);
                }
                let given = Given::Failed { pause, reason };
                Ok(kept(self.claims.release(claim, &mark, &given).await?, End::Released))
            }
            Err(Halt::Refused(Refusal::Dead(reason))) => {
                Ok(kept(self.claims.dead(claim, &mark, &reason).await?, End::Dead))
            }
            Err(Halt::Refused(Refusal::Fatal(fault)) | Halt::Fault(fault)) => {
                // Nothing was skipped: the id is as due as before.
                let _ = self.claims.release(claim, &mark, &Given::Back).await?;
                Ok(End::Fatal(fault))
            }
            Err(Halt::Lost) => Ok(End::Lost),
            Err(Halt::Unknown) => Ok(End::Unknown),
            Err(Halt::Database(error)) => Err(error),
        }
    }

    /// `job/id/run/endpoint/page/hash`: the same page published twice carries the same text.
    fn dedupe(&self, claim: &Claim, at: &Position, body: &[u8]) -> String {
        let hash = hex::encode(&Sha256::digest(body)[..16]);
        let (job, id, run) = (&self.job.config.job, &claim.id, claim.run);
        format!("{job}/{id}/{run}/{}/{}/{hash}", at.endpoint, at.page)
    }
}

/// A page that was read: its records are in the arena.
#[derive(Default)]
struct PageBody {
    read: PageRead,
    bytes: usize,
}

fn dead(why: String) -> Halt {
    Halt::Refused(Refusal::Dead(why))
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
