//! The loop that carries out what a lane's engine decides: poll, make durable, commit, and the way back after trouble.
//!
//! A batch that cannot be made durable, or takes longer than [`PATIENCE`], pauses everything the lane reads; the group
//! is still polled, so that the lane keeps its membership. Reading goes on only when the batch is closed or given up:
//! the gap between the two keeps the lane from flapping, because pausing drops what was fetched ahead.

use std::panic::resume_unwind;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sluice_core::{Fault, NextOffset, Offset, Retry, TopicPartition};
use sluice_kafka::{PartitionStart, PollOutcome};
use tokio_util::sync::CancellationToken;

use super::engine::{LaneEngine, LaneWork};
use super::ports::{LaneGroup, LaneTransactions};
use super::{LaneRevision, LaneStep};
use crate::status::WorkerStatus;

/// The longest wait for a first record: a lane sees within this time that it is to stop.
const TICK: Duration = Duration::from_millis(50);
/// The wait between two looks at a flush while the lane is held anyway.
const HELD_TICK: Duration = Duration::from_millis(5);
/// A flush that takes longer pauses the lane, so that the group can be polled meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest wait between two attempts to close a batch.
const LONGEST_RETRY: Duration = Duration::from_secs(5);

/// One lane: its engine, the group that feeds it, and the state of its back-off.
pub(super) struct LaneDriver<'a, W, T, J> {
    engine: Arc<Mutex<LaneEngine<W, T>>>,
    /// Joins the group: a new consumer each time.
    join: J,
    status: &'a WorkerStatus,
    stop: &'a CancellationToken,
    /// Attempts in a row that came to nothing.
    attempt: u32,
    /// While the batch cannot be closed, or was given up: when to go on.
    blocked: Option<Instant>,
}

/// Locks the engine; a poisoned lock is taken all the same, because the panic that poisoned it ends the process.
pub(super) fn lock<T>(engine: &Mutex<T>) -> MutexGuard<'_, T> {
    engine.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a, W, T, G, J> LaneDriver<'a, W, T, J>
where
    W: LaneWork,
    T: LaneTransactions,
    G: LaneGroup<Membership = T::Membership>,
    J: FnMut(&Arc<Mutex<LaneEngine<W, T>>>) -> Result<G, Fault>,
{
    /// A driver that has not joined its group yet.
    pub(super) fn new(
        engine: LaneEngine<W, T>,
        join: J,
        status: &'a WorkerStatus,
        stop: &'a CancellationToken,
    ) -> Self {
        let engine = Arc::new(Mutex::new(engine));
        Self { engine, join, status, stop, attempt: 0, blocked: None }
    }

    /// Runs until the worker is to stop, then closes the open batch and leaves the group. Blocks.
    ///
    /// # Errors
    /// A [`Fault`] that no retry can mend.
    pub(super) fn run(&mut self, revisions: &Receiver<LaneRevision<W::Revision>>) -> Result<(), Fault> {
        let mut group = (self.join)(&self.engine)?;

        // While the group lets this lane in, the id is taken, so that the first record does not wait for it.
        if W::WRITES_INTO_TRANSACTION {
            self.prepare()?;
        }

        loop {
            let stopping = self.stop.is_cancelled();

            // Changed contracts apply to the records from now on.
            if let Ok(LaneRevision { revision, topics }) = revisions.try_recv() {
                group.subscribe(&topics)?;
                let mut engine = lock(&self.engine);
                engine.work.revise(revision);
                engine.config.topics = topics;
            }

            // Records, unless the lane is about to end.
            if !stopping {
                self.poll(&mut group)?;
            }
            let mut step = lock(&self.engine).after_poll(&group);

            // A batch that is due is closed before anything else is taken in.
            if matches!(step, LaneStep::Continue) {
                step = self.close_batch(&mut group, stopping)?;
            }
            if stopping && matches!(step, LaneStep::Continue) {
                return Ok(());
            }

            // Trouble with a record, a batch or the group.
            self.take_step(&mut group, step, stopping)?;
            self.unblock(&group);
            if lock(&self.engine).take_rejoin() {
                drop(group);
                group = self.join_anew()?;
            }
        }
    }

    /// Takes the transactional id. One that cannot be taken now is taken with the first batch.
    fn prepare(&self) -> Result<(), Fault> {
        match lock(&self.engine).prepare() {
            Err(fault) if fault.retry == Retry::Never => Err(fault),
            Err(fault) => {
                tracing::warn!(%fault, "the transactional id is taken with the first batch");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Polls once: for records, or, while the lane is blocked, for the group's sake.
    fn poll(&mut self, group: &mut G) -> Result<(), Fault> {
        let now = Instant::now();
        let polled = match self.blocked {
            Some(until) => group.serve(until.saturating_duration_since(now).min(TICK))?,
            None => {
                let wait = lock(&self.engine).due_in(now).min(TICK);
                group.poll(wait)?
            }
        };
        match polled {
            PollOutcome::Records(_) => {}
            PollOutcome::Nothing if group.take_connected() => self.status.neighbour("kafka", Ok(())),
            PollOutcome::Nothing => {}
            PollOutcome::Outage(fault) => self.status.neighbour("kafka", Err(fault.to_string())),
        }
        Ok(())
    }

    /// Closes the open batch if it is due: durable first, then committed. Returns the step that trouble asks for.
    ///
    /// # Errors
    /// Of serving the group meanwhile: the lane's end.
    fn close_batch(&mut self, group: &mut G, stopping: bool) -> Result<LaneStep, Fault> {
        let waits = !stopping && self.blocked.is_some_and(|until| Instant::now() < until);
        // A batch that was to be closed and could not be is due whatever has become of its size.
        let now = stopping || self.blocked.is_some();
        if waits || !lock(&self.engine).is_due(now) {
            return Ok(LaneStep::Continue);
        }
        let span = lock(&self.engine).batch_span();
        let _entered = span.enter();
        if sluice_failpoint::sabotaged("commit-before-write") {
            group.commit_unproven(&lock(&self.engine).unproven_positions());
        }

        // A batch stays open if it cannot be made durable now.
        if let Err(fault) = self.make_durable(group)? {
            return Ok(match fault.retry {
                Retry::Later => LaneStep::TryAgain(fault),
                Retry::Rewind | Retry::Never => LaneStep::GiveUp(fault),
            });
        }
        if self.blocked.take().is_some() {
            group.hold(false);
        }

        let membership = group.membership();
        let done = lock(&self.engine).commit(membership, None);
        match done {
            Ok(()) => {
                self.attempt = 0;
                Ok(LaneStep::Continue)
            }
            Err(fault) => Ok(LaneStep::Uncommitted(fault)),
        }
    }

    /// Makes the batch durable on a thread of its own. From [`PATIENCE`] on everything is paused and the group polled
    /// meanwhile. The engine stays locked by the flush: a rebalance that comes by waits for it.
    ///
    /// # Errors
    /// The outer fault is the group's, the inner one the flush's.
    fn make_durable(&self, group: &mut G) -> Result<Result<(), Fault>, Fault> {
        // A transaction is its own durable place: nothing to wait for.
        if W::WRITES_INTO_TRANSACTION {
            return Ok(lock(&self.engine).make_durable());
        }
        let held = self.blocked.is_some();
        std::thread::scope(|scope| {
            let (done, ended) = mpsc::channel();
            let engine = &self.engine;
            let flushing = scope.spawn(move || {
                let result = lock(engine).make_durable();
                // The lane does not listen if it is held already.
                let _ = done.send(());
                result
            });

            let mut served = Ok(());
            if held {
                while served.is_ok() && !flushing.is_finished() {
                    served = group.serve(HELD_TICK).map(|_| ());
                }
            } else if ended.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                group.hold(true);
                while served.is_ok() && !flushing.is_finished() {
                    served = group.serve(TICK).map(|_| ());
                }
                group.hold(false);
            }

            let result = flushing.join().unwrap_or_else(|panic| resume_unwind(panic));
            served.map(|()| result)
        })
    }

    /// Carries a step out.
    ///
    /// # Errors
    /// A [`Fault`] that ends the lane.
    fn take_step(&mut self, group: &mut G, step: LaneStep, stopping: bool) -> Result<(), Fault> {
        let neighbour = match step {
            LaneStep::Uncommitted(_) => "kafka",
            _ => lock(&self.engine).work.neighbour(),
        };
        match step {
            LaneStep::Continue => Ok(()),
            LaneStep::Stall { at, offset, why } => {
                self.stall(group, &at, offset, &why);
                Ok(())
            }
            LaneStep::TryAgain(fault) => {
                self.show_trouble(neighbour, &fault);
                if stopping {
                    return self.end_unfinished(fault);
                }
                self.block(group);
                Ok(())
            }
            LaneStep::GiveUp(fault) | LaneStep::Uncommitted(fault) if fault.retry == Retry::Never => {
                // Nothing of the open batch is to be written on the way out.
                lock(&self.engine).forget_all();
                Err(fault)
            }
            LaneStep::GiveUp(fault) | LaneStep::Uncommitted(fault) => {
                self.show_trouble(neighbour, &fault);
                let again = lock(&self.engine).give_up(fault.retry)?;
                if stopping {
                    return self.end_unfinished(fault);
                }
                for (at, from) in again {
                    group.seek(&at, PartitionStart::At(from));
                }
                self.block(group);
                Ok(())
            }
        }
    }

    /// Lets one partition stand still at the record that cannot be handled now.
    fn stall(&self, group: &mut G, at: &TopicPartition, offset: Offset, why: &str) {
        group.pause(at, true);
        if let Some(from) = NextOffset::new(offset.raw()) {
            group.seek(at, PartitionStart::At(from));
        }
        let pause = lock(&self.engine).stall(at);
        tracing::warn!(%at, %offset, why, ?pause, "partition stands still");
    }

    /// Shows trouble with a batch in the log and on the status page.
    fn show_trouble(&self, neighbour: &str, fault: &Fault) {
        tracing::warn!(%fault, attempt = self.attempt, "the batch is not closed; its records are handled again");
        self.status.neighbour(neighbour, Err(fault.to_string()));
    }

    /// Ends a lane that has to stop and could not close its batch: its records are read again after the restart.
    fn end_unfinished(&self, fault: Fault) -> Result<(), Fault> {
        lock(&self.engine).forget_all();
        if W::UNFINISHED_STOP_IS_FAULT {
            return Err(fault);
        }
        tracing::warn!(%fault, "the open batch is given up; it will be read again");
        Ok(())
    }

    /// Takes nothing in for a while, longer each time in a row.
    fn block(&mut self, group: &G) {
        if self.blocked.is_none() {
            group.hold(true);
        }
        self.blocked = Some(Instant::now() + self.next_pause());
    }

    /// Reads on when the time is over and there is no batch that still has to be closed.
    fn unblock(&mut self, group: &G) {
        let over = self.blocked.is_some_and(|until| Instant::now() >= until);
        if over && !lock(&self.engine).is_due(true) {
            self.blocked = None;
            group.hold(false);
        }
    }

    fn next_pause(&mut self) -> Duration {
        let pause = lock(&self.engine).config.pace.backoff.wait(self.attempt, rand::random());
        self.attempt += 1;
        pause.min(LONGEST_RETRY)
    }

    /// Joins the group again after a pause. The transactional id is taken first: that settles a transaction whose end is
    /// not known, so that the group's positions tell which it was.
    fn join_anew(&mut self) -> Result<G, Fault> {
        // A fault that came up while the group was left, and that no retry mends, ends the lane.
        if let LaneStep::GiveUp(fault) = lock(&self.engine).forget_all()
            && fault.retry == Retry::Never
        {
            return Err(fault);
        }
        self.blocked = None;

        let until = Instant::now() + self.next_pause();
        while Instant::now() < until && !self.stop.is_cancelled() {
            std::thread::park_timeout(until.saturating_duration_since(Instant::now()).min(TICK));
        }

        self.prepare()?;
        (self.join)(&self.engine)
    }
}
