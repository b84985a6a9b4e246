//! One life of producer and claims. A session ends when nothing is left to do, when the process stops, or when the
//! publisher's thread ended: then nobody knows what its last transaction came to, every claim is dropped as it is, and
//! the next session takes the ids back through the same door as a stranger would (`takeover.rs`).

use std::collections::{HashSet, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use sluice_core::{Backoff, Fault, Retry};
use sluice_lease::{ClaimTerms, IdClaim, JobClaims};
use sluice_runtime::metrics::{self, ProgressCounter};
use sluice_runtime::status::WorkerStatus;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::collect::{CollectionEnd, CollectionProgress, CollectionTask};
use crate::held::{HeldClaims, heartbeats, sendable_until};
use crate::job::CollectorJob;
use crate::publisher::{PagePublisher, PublisherThread};
use crate::recall;
use crate::scribe::ClaimScribe;
use crate::takeover::{CollectorTakeover, from_row};
use crate::tally::CollectorCounters;

/// Between looks at the database when nothing was due.
const IDLE: Duration = Duration::from_millis(500);
/// Between enrolments of new ids in a continuous run.
const ENROL: Duration = Duration::from_secs(60);
/// While the API is away for everyone, so many ids are claimed at once, to see whether it is back.
const PROBE: u32 = 1;

/// Everything a session is made of.
pub(crate) struct CollectorSession {
    pub(crate) job: Arc<CollectorJob>,
    pub(crate) claims: JobClaims,
    pub(crate) terms: ClaimTerms,
    pub(crate) counters: Arc<CollectorCounters>,
    pub(crate) takeover: Option<CollectorTakeover>,
    pub(crate) once: bool,
    pub(crate) status: WorkerStatus,
    pub(crate) stop: CancellationToken,
}

/// How a session ended well.
pub(crate) enum CollectorSessionEnd {
    /// Nothing left to do, or told to stop.
    Finished,
    /// The producer is gone; a new session may go on.
    Again(Fault),
}

/// What changes while a session runs.
struct CollectorSessionState {
    waiting: VecDeque<CollectionProgress>,
    tasks: JoinSet<(String, i64, CollectionEnd)>,
    /// Ids that tasks work on.
    running: HashSet<String>,
    /// Claims of ids whose lease passed while a task of ours still works on them: they wait until it has let go. Both
    /// publish through one producer, so Kafka would not keep them apart.
    deferred: Vec<IdClaim>,
    claim_at: Instant,
    enrol_at: Instant,
    failures: u32,
    away: u32,
}

impl CollectorSession {
    /// Runs until it is over.
    pub(crate) async fn run(
        &self,
        publisher: PagePublisher,
        ended: PublisherThread,
    ) -> Result<CollectorSessionEnd, Fault> {
        let held = Arc::new(HeldClaims::default());
        let beat = CancellationToken::new();
        // However this ends, the heartbeat ends with it: a claim that nobody works on must pass.
        let _guard = beat.clone().drop_guard();
        let (lease, status) = (self.terms.lease, self.status.clone());
        tokio::spawn(heartbeats(self.claims.clone(), Arc::clone(&held), lease, status, beat));
        let mut state = CollectorSessionState {
            waiting: VecDeque::new(),
            tasks: JoinSet::new(),
            running: HashSet::new(),
            deferred: Vec::new(),
            claim_at: Instant::now(),
            enrol_at: Instant::now() + ENROL,
            failures: 0,
            away: 0,
        };
        let scribe = ClaimScribe::start(self.claims.clone(), self.job.config.database.every);
        let mut ended = ended;
        let worked = {
            let worked = pin!(self.work(&mut state, &publisher, &scribe, &held));
            tokio::select! {
                biased;
                fault = &mut ended.fault => Err(fault.unwrap_or_else(|_| {
                    Fault::bug("publishing", "the publisher's thread ended without a word")
                })),
                worked = worked => worked,
            }
        };
        // Tasks that wait for the publisher are dropped with what they know; their rows keep their leases.
        state.tasks.shutdown().await;
        drop(publisher);
        // Its thread has ended before the process does: librdkafka must not be taken down while the libraries that it
        // stands on are.
        let last = ended.join().await;
        match worked {
            Ok(()) => Ok(CollectorSessionEnd::Finished),
            Err(fault) => {
                let fault = last.unwrap_or(fault);
                match fault.retry {
                    Retry::Never => Err(fault),
                    Retry::Later | Retry::Rewind => Ok(CollectorSessionEnd::Again(fault)),
                }
            }
        }
    }

    async fn work(
        &self,
        state: &mut CollectorSessionState,
        publisher: &PagePublisher,
        scribe: &ClaimScribe,
        held: &Arc<HeldClaims>,
    ) -> Result<(), Fault> {
        self.take_back(state, publisher, held).await?;
        loop {
            self.start_tasks(state, publisher, scribe, held);
            if self.stop.is_cancelled() {
                return self.drain(state, held).await;
            }
            let hungry = state.waiting.len() < self.job.config.concurrency && !held.is_failing();
            if hungry && Instant::now() >= state.claim_at {
                if self.claim(state, publisher, held).await? {
                    return Ok(());
                }
                continue;
            }
            tokio::select! {
                () = self.stop.cancelled() => {}
                Some(joined) = state.tasks.join_next() => {
                    if let Err(fault) = self.settle(state, joined, held) {
                        // It concerns every id: what is in flight ends, the rest is given back, then we say why.
                        self.stop.cancel();
                        if let Err(more) = self.drain(state, held).await {
                            tracing::debug!(%more, "and again");
                        }
                        return Err(fault);
                    }
                    let (busy, free): (Vec<_>, Vec<_>) = std::mem::take(&mut state.deferred)
                        .into_iter()
                        .partition(|claim| state.running.contains(&claim.id));
                    state.deferred = busy;
                    if !free.is_empty() {
                        // Held all the while: their leases are known.
                        self.admit(state, publisher, held, free, Instant::now()).await?;
                    }
                }
                () = tokio::time::sleep_until(state.claim_at.max(Instant::now() + Duration::from_millis(1))), if hungry => {}
                // The heartbeat may be well again.
                () = tokio::time::sleep(IDLE), if !hungry => {}
            }
        }
    }

    /// Ids that an earlier life of ours held.
    async fn take_back(
        &self,
        state: &mut CollectorSessionState,
        publisher: &PagePublisher,
        held: &HeldClaims,
    ) -> Result<(), Fault> {
        let asked = Instant::now();
        let taken = self.claims.claim_back(&self.terms).await?;
        if taken.is_empty() {
            return Ok(());
        }
        tracing::info!(ids = taken.len(), "taking back ids from an earlier life of this instance");
        self.admit(state, publisher, held, taken, asked).await
    }

    /// One claim. `true`: nothing is left to do, and that was the task.
    async fn claim(
        &self,
        state: &mut CollectorSessionState,
        publisher: &PagePublisher,
        held: &HeldClaims,
    ) -> Result<bool, Fault> {
        if !self.once && Instant::now() >= state.enrol_at {
            state.enrol_at = Instant::now() + ENROL;
            if let Err(error) = self.claims.enrol(&self.job.config.database.source).await {
                return self.unwell(state, error).map(|()| false);
            }
        }
        let away = self.job.api.is_away();
        self.status.neighbour("api", if away { Err("many requests in a row failed".into()) } else { Ok(()) });
        state.away = if away { state.away.saturating_add(1) } else { 0 };
        let most = if away { PROBE } else { self.job.config.database.claim };
        let asked = Instant::now();
        let taken = match self.claims.claim(most, &self.terms).await {
            Ok(taken) => taken,
            Err(error) => return self.unwell(state, error).map(|()| false),
        };
        state.failures = 0;
        self.status.neighbour("database", Ok(()));
        if away {
            state.claim_at = Instant::now() + Backoff::default().wait(state.away.min(8), 1.0);
        }
        if !taken.is_empty() {
            self.admit(state, publisher, held, taken, asked).await?;
            return Ok(false);
        }
        state.claim_at = state.claim_at.max(Instant::now() + IDLE);
        if !self.once || !state.waiting.is_empty() || !state.tasks.is_empty() {
            return Ok(false);
        }
        match self.claims.outstanding().await {
            // Ids that others hold are waited for: if their holder has died, they are ours to finish.
            Ok(left) => {
                let soon = i64::try_from(self.job.config.retry.longest_wait.as_millis()).unwrap_or(i64::MAX);
                Ok(left.lease_in_ms.is_none() && left.due_in_ms.is_none_or(|due| due > soon))
            }
            Err(error) => self.unwell(state, error).map(|()| false),
        }
    }

    /// The database is away: said, and tried again later.
    fn unwell(
        &self,
        state: &mut CollectorSessionState,
        error: sluice_lease::LeaseError,
    ) -> Result<(), Fault> {
        if !error.retryable() {
            return Err(error.into());
        }
        self.status.neighbour("database", Err(error.to_string()));
        state.claim_at = Instant::now() + Backoff::default().wait(state.failures, rand::random());
        state.failures = state.failures.saturating_add(1);
        Ok(())
    }

    /// Makes claims part of the session: heartbeats from now on, and a place to go on from. They were asked for at
    /// `asked`.
    async fn admit(
        &self,
        state: &mut CollectorSessionState,
        publisher: &PagePublisher,
        held: &HeldClaims,
        taken: Vec<IdClaim>,
        asked: Instant,
    ) -> Result<(), Fault> {
        let until = sendable_until(asked, self.terms.lease);
        taken.iter().for_each(|claim| held.insert(claim, until));
        let (busy, taken): (Vec<_>, Vec<_>) =
            taken.into_iter().partition(|claim| state.running.contains(&claim.id));
        state.deferred.extend(busy);
        metrics::progress(ProgressCounter::IdsClaimed, taken.len() as u64);
        let first = self.job.config.endpoints.first().map_or("", |endpoint| endpoint.name.as_str());
        let (over, fresh): (Vec<_>, Vec<_>) =
            taken.into_iter().partition(|claim| !claim.taken_from.is_empty());
        self.counters.taken_over(over.len() as u64);
        let resumed = match &self.takeover {
            Some(takeover) if !over.is_empty() => {
                let ids: Vec<_> = over.iter().map(|claim| (claim.id.clone(), claim.fence)).collect();
                let resumed =
                    takeover.resume(&self.claims, publisher, over, first, &self.status, &self.stop).await?;
                for (id, fence) in
                    ids.iter().filter(|(id, _)| !resumed.iter().any(|kept| kept.claim.id == *id))
                {
                    held.remove(id, *fence);
                    self.counters.lost();
                }
                resumed
            }
            Some(_) => Vec::new(),
            None => {
                let over = over.into_iter().map(|claim| from_row(claim, first)).collect();
                recall::recall(&self.job, over, &self.status, &self.stop).await?
            }
        };
        state.waiting.extend(resumed);
        state.waiting.extend(fresh.into_iter().map(|claim| from_row(claim, first)));
        Ok(())
    }

    fn start_tasks(
        &self,
        state: &mut CollectorSessionState,
        publisher: &PagePublisher,
        scribe: &ClaimScribe,
        held: &HeldClaims,
    ) {
        while state.tasks.len() < self.job.config.concurrency && !self.stop.is_cancelled() {
            let Some(id) = state.waiting.pop_front() else { return };
            let Some(hold) = held.hold(&id.claim) else {
                held.remove(&id.claim.id, id.claim.fence);
                self.counters.lost();
                continue;
            };
            let task = CollectionTask {
                job: Arc::clone(&self.job),
                claims: self.claims.clone(),
                scribe: scribe.clone(),
                publisher: publisher.clone(),
                counters: Arc::clone(&self.counters),
                stop: self.stop.clone(),
                hold,
            };
            state.running.insert(id.claim.id.clone());
            state.tasks.spawn(async move { (id.claim.id.clone(), id.claim.fence, task.run(id).await) });
        }
    }

    fn settle(
        &self,
        state: &mut CollectorSessionState,
        joined: Result<(String, i64, CollectionEnd), tokio::task::JoinError>,
        held: &HeldClaims,
    ) -> Result<(), Fault> {
        let (id, fence, end) = joined.map_err(|error| Fault::bug("collecting an id", error))?;
        state.running.remove(&id);
        held.remove(&id, fence);
        match end {
            CollectionEnd::Done => {
                metrics::progress(ProgressCounter::IdsDone, 1);
                self.counters.done();
            }
            CollectionEnd::Dead => {
                metrics::progress(ProgressCounter::IdsDead, 1);
                self.counters.dead();
            }
            CollectionEnd::Released => self.counters.released(1),
            CollectionEnd::Lost => self.counters.lost(),
            // The publisher's own fault follows on its channel; until then nothing more is started for this id.
            CollectionEnd::Unknown => {}
            CollectionEnd::Fatal(fault) => return Err(fault),
        }
        Ok(())
    }

    /// Finishes the pages in flight and gives everything else back at once.
    async fn drain(&self, state: &mut CollectorSessionState, held: &HeldClaims) -> Result<(), Fault> {
        self.status.draining();
        // Not given back are those that are complete but for the word in their row (from there they would begin again),
        // and those taken over that still wait for an older task: they keep their lease, and whoever takes them then
        // reads in Kafka where they stand.
        let waiting = state.waiting.drain(..).filter(|id| id.at.is_some()).map(|id| id.claim);
        let deferred = state.deferred.drain(..).filter(|claim| claim.taken_from.is_empty());
        let mut untouched: Vec<_> = waiting.chain(deferred).map(|claim| (claim.id, claim.fence)).collect();
        untouched.sort_unstable();
        let given = self.claims.release_untouched(&untouched).await;
        untouched.iter().for_each(|(id, fence)| held.remove(id, *fence));
        match given {
            Ok(given) => self.counters.released(given),
            // They pass by themselves.
            Err(error) => tracing::warn!(%error, "ids could not be given back; their leases will pass"),
        }
        let mut fault = Ok(());
        while let Some(joined) = state.tasks.join_next().await {
            fault = fault.and(self.settle(state, joined, held));
        }
        fault
    }
}
