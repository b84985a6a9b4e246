//! One life of the producer and its claims. A session ends when nothing is left to do, when the process
//! stops, or when the publisher's thread has ended. In the last case the result of its last transaction is
//! unknown. Every claim is dropped as it is, and the next session takes the ids back as another process would
//! (`takeover.rs`).

use std::collections::{HashSet, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use sluice_core::{Backoff, Domain, Fault, Retry};
use sluice_lease::{ClaimTerms, IdClaim, JobClaims};
use sluice_runtime::metrics::{self, ProgressCounter};
use sluice_runtime::status::WorkerStatus;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::collect::{CollectionEnd, CollectionProgress, CollectionTask};
use crate::held::{HeldClaims, heartbeats, sendable_until};
use crate::job::CollectorJob;
use sluice_runtime::lane::publish::PublishThread;

use crate::publisher::PagePublisher;
use crate::recall;
use crate::scribe::ClaimScribe;
use crate::takeover::{CollectorTakeover, from_row};
use crate::tally::CollectorCounters;

/// Pause between two claims when nothing was due.
const IDLE: Duration = Duration::from_millis(500);
/// Time between two enrolments of new ids in a continuous run.
const ENROL: Duration = Duration::from_secs(60);
/// The time without a single page after which a run that ends by itself gives up.
const GIVE_UP: Duration = Duration::from_secs(600);
/// Further than any wait that an API asks for.
const A_YEAR: Duration = Duration::from_secs(366 * 24 * 3_600);
/// Number of ids to claim at once while the API is away for every id, to find out whether it is back.
const PROBE: u32 = 1;

/// Everything that a session works with.
pub(crate) struct CollectorSession {
    pub(crate) job: Arc<CollectorJob>,
    pub(crate) claims: JobClaims,
    pub(crate) terms: ClaimTerms,
    pub(crate) counters: Arc<CollectorCounters>,
    /// `None` in idempotent mode.
    pub(crate) takeover: Option<CollectorTakeover>,
    /// End when nothing is left to do.
    pub(crate) once: bool,
    pub(crate) status: WorkerStatus,
    pub(crate) stop: CancellationToken,
}

/// The end of a session without a fault of its own.
pub(crate) enum CollectorSessionEnd {
    /// Nothing is left to do, or the process stops.
    Finished,
    /// The producer is gone. A new session may go on.
    Again(Fault),
}

/// The state that changes while a session runs.
struct CollectorSessionState {
    /// Claimed ids for which no task runs yet.
    waiting: VecDeque<CollectionProgress>,
    tasks: JoinSet<(String, i64, CollectionEnd)>,
    /// Ids that tasks work on.
    running: HashSet<String>,
    /// Claims of ids whose lease passed while a task of this process still works on them. They wait until
    /// that task has let go. Both would publish through one producer, so that Kafka could not keep them
    /// apart.
    deferred: Vec<IdClaim>,
    /// Earliest time of the next claim.
    claim_at: Instant,
    /// Time of the next enrolment.
    enrol_at: Instant,
    /// Failures of the database in a row.
    failures: u32,
    /// Claims in a row during which the API was away.
    away: u32,
}

impl CollectorSession {
    /// Runs until the session is over.
    ///
    /// # Errors
    /// A fault that a new session does not mend.
    pub(crate) async fn run(
        &self,
        publisher: PagePublisher,
        ended: PublishThread,
    ) -> Result<CollectorSessionEnd, Fault> {
        let held = Arc::new(HeldClaims::default());
        let beat = CancellationToken::new();
        // The heartbeat ends with this function, however it ends: the lease of a claim without a task must
        // pass.
        let _guard = beat.clone().drop_guard();
        let (lease, status) = (self.terms.lease, self.status.clone());
        tokio::spawn(heartbeats(self.claims.clone(), Arc::clone(&held), lease, status, beat));

        // The first claim may come at once; new ids were enrolled just before.
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

        // The end of the publisher's thread is looked at first: without it no page becomes durable.
        let mut ended = ended;
        let worked = {
            let worked = pin!(self.work(&mut state, &publisher, &scribe, &held));
            tokio::select! {
                biased;
                fault = &mut ended.fault => Err(fault.unwrap_or_else(|_| {
                    Fault::bug("publishing", "the publisher's thread ended without a fault")
                })),
                worked = worked => worked,
            }
        };

        // Tasks that wait for the publisher are dropped with their progress. Their rows keep their leases.
        state.tasks.shutdown().await;
        drop(publisher);

        // The thread must end before the process does: librdkafka must not be taken down while its libraries
        // are.
        let last = ended.join().await;

        // The thread's own fault is the cause; the session's fault may be only a consequence.
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

    /// Claims ids and runs tasks until nothing is left to do or the session stops.
    async fn work(
        &self,
        state: &mut CollectorSessionState,
        publisher: &PagePublisher,
        scribe: &ClaimScribe,
        held: &Arc<HeldClaims>,
    ) -> Result<(), Fault> {
        self.take_back(state, publisher, held).await?;

        // Every pass starts tasks, then either claims more ids or waits for something to happen.
        loop {
            self.start_tasks(state, publisher, scribe, held);
            if self.stop.is_cancelled() {
                return self.drain(state, held).await;
            }

            // More ids are claimed while fewer wait than could run, and only if heartbeats succeed.
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
                        // It concerns every id: the pages in flight are finished, the other ids are given
                        // back, then the fault is returned.
                        self.stop.cancel();
                        if let Err(more) = self.drain(state, held).await {
                            tracing::debug!(%more, "a second fault while the tasks ended");
                        }
                        return Err(fault);
                    }

                    // Deferred claims whose older task has ended can go on now.
                    let (busy, free): (Vec<_>, Vec<_>) = std::mem::take(&mut state.deferred)
                        .into_iter()
                        .partition(|claim| state.running.contains(&claim.id));
                    state.deferred = busy;
                    if !free.is_empty() {
                        // They were held all the time, so that their leases are known already.
                        self.admit(state, publisher, held, free, Instant::now()).await?;
                    }
                }
                // The next claim is due. At least a millisecond, so that the loop never spins.
                () = tokio::time::sleep_until(state.claim_at.max(Instant::now() + Duration::from_millis(1))), if hungry => {}
                // The heartbeat may succeed again, or a task may have ended.
                () = tokio::time::sleep(IDLE), if !hungry => {}
            }
        }
    }

    /// Takes back the ids that an earlier life of this instance held.
    async fn take_back(
        &self,
        state: &mut CollectorSessionState,
        publisher: &PagePublisher,
        held: &HeldClaims,
    ) -> Result<(), Fault> {
        // Leases are counted from before the request.
        let asked = Instant::now();
        let taken = self.claims.claim_back(&self.terms).await?;
        if taken.is_empty() {
            return Ok(());
        }
        tracing::info!(ids = taken.len(), "taking back ids that an earlier life of this instance held");
        self.admit(state, publisher, held, taken, asked).await
    }

    /// Claims ids once. Returns `true` if nothing is left to do and the run is to end then.
    async fn claim(
        &self,
        state: &mut CollectorSessionState,
        publisher: &PagePublisher,
        held: &HeldClaims,
    ) -> Result<bool, Fault> {
        // A continuous run enrols new ids from time to time.
        if !self.once && Instant::now() >= state.enrol_at {
            state.enrol_at = Instant::now() + ENROL;
            let database = &self.job.config.database;
            match self.claims.enrol(&database.source, database.dead_again).await {
                Ok(enrolled) => {
                    self.counters.enrolled(&enrolled);
                    crate::run::report_enrolment(&enrolled);
                }
                Err(error) => return self.unwell(state, error).map(|()| false),
            }
        }

        // A run may have a number of ids.
        let left = self.ids_left();
        if left == 0 {
            state.claim_at = Instant::now() + IDLE;
            return Ok(state.waiting.is_empty() && state.tasks.is_empty());
        }

        // While the API has asked everyone for a longer wait than ids are held for, none is claimed.
        let polite = self.job.api.polite();
        let held_for = polite.held_until().map(|until| until.saturating_duration_since(Instant::now()));
        if let Some(wait) = held_for.filter(|wait| *wait > polite.longest_wait())
            && !self.once
        {
            state.claim_at = Instant::now() + wait.min(ENROL);
            return Ok(false);
        }

        // While the API is away, only one id at a time is claimed to try it.
        let away = self.job.api.is_away();
        let why = polite.trouble().unwrap_or_default();
        let why = format!("{why}; one id at a time is tried until the API answers");
        self.status.neighbour("api", if away { Err(why) } else { Ok(()) });
        state.away = if away { state.away.saturating_add(1) } else { 0 };
        let most = if away { PROBE } else { self.job.config.database.claim.min(left) };

        // The claim itself. The holds of the claims are counted from before it.
        let asked = Instant::now();
        let taken = match self.claims.claim(most, &self.terms).await {
            Ok(taken) => taken,
            Err(error) => return self.unwell(state, error).map(|()| false),
        };
        state.failures = 0;
        self.status.neighbour("database", Ok(()));

        // The longer the API is away, the longer the pause: up to eight doublings.
        if away {
            state.claim_at = Instant::now() + Backoff::default().wait(state.away.min(8), 1.0);
        }

        if !taken.is_empty() {
            self.admit(state, publisher, held, taken, asked).await?;
            return Ok(false);
        }

        // Nothing was due. Only a run with `once` ends for that, and only when its own ids are finished.
        state.claim_at = state.claim_at.max(Instant::now() + IDLE);
        if !self.once || !state.waiting.is_empty() || !state.tasks.is_empty() {
            return Ok(false);
        }

        match self.claims.outstanding(self.terms.due_until, A_YEAR).await {
            // The run waits for ids that other processes hold: if their holder has died, this process
            // finishes them. It also waits for ids that are due again within the longest pause of a retry.
            Ok(left) if left.lease_in_ms.is_some() => Ok(false),
            Ok(left) => self.is_over(left.due_in_ms),
            Err(error) => self.unwell(state, error).map(|()| false),
        }
    }

    /// Returns how many ids this run may still claim.
    fn ids_left(&self) -> u32 {
        let limit = self.job.config.database.ids_per_run;
        let left = limit.map_or(u64::MAX, |limit| limit.saturating_sub(self.counters.claims()));
        u32::try_from(left).unwrap_or(u32::MAX)
    }

    /// Tells whether a run is over that ends by itself and has no claims to wait for, with the time until its next id is due.
    ///
    /// # Errors
    /// A fault that says to come again, if ids were due at the start and are left.
    fn is_over(&self, due_in_ms: Option<i64>) -> Result<bool, Fault> {
        let Some(due) = due_in_ms else { return Ok(true) };
        let again = |why: String| Err(Fault::new(Domain::External, Retry::Never, "collecting", why));
        let wait = Duration::from_millis(u64::try_from(due).unwrap_or(0));
        if wait > self.job.config.retry.longest_wait {
            return again(format!(
                "the API asked for a wait of {} s, which is longer than `retry.longest_wait_seconds`; ids that were due \
                 are left for a later run",
                wait.as_secs()
            ));
        }

        // An API that is away is waited for, but a CronJob must end one day.
        let polite = self.job.api.polite();
        if polite.since_success() > GIVE_UP {
            let why = polite.trouble().unwrap_or_else(|| "it asks for waits only".to_owned());
            return again(format!(
                "no page came for {} minutes ({why}); ids that were due are left for a later run",
                GIVE_UP.as_secs() / 60
            ));
        }
        Ok(false)
    }

    /// Reports that the database is away, and puts the next claim off. Fails if trying again does not help.
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

    /// Makes claims part of the session, which were requested at `asked`: from now on heartbeats prolong
    /// them, and each gets a position to go on from.
    async fn admit(
        &self,
        state: &mut CollectorSessionState,
        publisher: &PagePublisher,
        held: &HeldClaims,
        taken: Vec<IdClaim>,
        asked: Instant,
    ) -> Result<(), Fault> {
        // All claims are held at once, before any of the slow steps below.
        let until = sendable_until(asked, self.terms.lease);
        taken.iter().for_each(|claim| held.insert(claim, until));

        // A claim waits if an older task of the same id still runs.
        let (busy, taken): (Vec<_>, Vec<_>) =
            taken.into_iter().partition(|claim| state.running.contains(&claim.id));
        state.deferred.extend(busy);
        metrics::progress(ProgressCounter::IdsClaimed, taken.len() as u64);
        self.counters.claimed(taken.len() as u64);

        // Ids that were taken over from another holder need a look into Kafka; the others go on from their
        // row.
        let first = self.job.config.endpoints.first().map_or("", |endpoint| endpoint.name.as_str());
        let (over, fresh): (Vec<_>, Vec<_>) =
            taken.into_iter().partition(|claim| !claim.taken_from.is_empty());
        self.counters.taken_over(over.len() as u64);

        let resumed = match &self.takeover {
            Some(takeover) if !over.is_empty() => {
                // Transactional: fence the former holders and read their checkpoints. Lost claims are missing
                // in the result.
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
            // Nothing was taken over.
            Some(_) => Vec::new(),
            None => {
                // Idempotent: find the records of the next page that are published already.
                let over = over.into_iter().map(|claim| from_row(claim, first)).collect();
                recall::recall(&self.job, over, &self.status, &self.stop).await?
            }
        };

        // Ids that were taken over go first.
        state.waiting.extend(resumed);
        state.waiting.extend(fresh.into_iter().map(|claim| from_row(claim, first)));
        Ok(())
    }

    /// Starts tasks for waiting ids, up to the configured concurrency.
    fn start_tasks(
        &self,
        state: &mut CollectorSessionState,
        publisher: &PagePublisher,
        scribe: &ClaimScribe,
        held: &HeldClaims,
    ) {
        while state.tasks.len() < self.job.config.concurrency && !self.stop.is_cancelled() {
            let Some(id) = state.waiting.pop_front() else { return };

            // A claim can be lost while it waits.
            let Some(hold) = held.hold(&id.claim) else {
                held.remove(&id.claim.id, id.claim.fence);
                self.counters.lost();
                continue;
            };

            // The task ends on `stop` after its page in flight, and at once when its hold is lost.
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

    /// Takes the end of a task in: counts it, and lets go of its claim.
    fn settle(
        &self,
        state: &mut CollectorSessionState,
        joined: Result<(String, i64, CollectionEnd), tokio::task::JoinError>,
        held: &HeldClaims,
    ) -> Result<(), Fault> {
        let (id, fence, end) = joined.map_err(|error| Fault::bug("collecting an id", error))?;

        // However it ended, the row is written or left to its lease: no heartbeat any more.
        state.running.remove(&id);
        held.remove(&id, fence);

        // Each end is counted once.
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
            // The publisher's own fault follows on its channel. Until then nothing more is started for this
            // id.
            CollectionEnd::Unknown => {}
            CollectionEnd::Fatal(fault) => return Err(fault),
        }
        Ok(())
    }

    /// Finishes the pages in flight and gives all other ids back at once.
    async fn drain(&self, state: &mut CollectorSessionState, held: &HeldClaims) -> Result<(), Fault> {
        self.status.draining();

        // Two kinds of ids are not given back and keep their lease: complete ids whose row does not say so
        // yet (they would begin again from there), and ids that were taken over and still wait for an older
        // task. The next holder reads their position in Kafka.
        let waiting = state.waiting.drain(..).filter(|id| id.at.is_some()).map(|id| id.claim);
        let deferred = state.deferred.drain(..).filter(|claim| claim.taken_from.is_empty());
        let mut untouched: Vec<_> = waiting.chain(deferred).map(|claim| (claim.id, claim.fence)).collect();
        untouched.sort_unstable();

        // The attempt of these ids does not count.
        let given = self.claims.release_untouched(&untouched).await;
        untouched.iter().for_each(|(id, fence)| held.remove(id, *fence));
        match given {
            Ok(given) => self.counters.released(given),
            // The leases pass by themselves.
            Err(error) => tracing::warn!(%error, "ids could not be given back; their leases will pass"),
        }

        // The first fault of a task is returned, after all of them have ended.
        let mut fault = Ok(());
        while let Some(joined) = state.tasks.join_next().await {
            fault = fault.and(self.settle(state, joined, held));
        }
        fault
    }
}
