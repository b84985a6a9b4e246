//! A run of the worker: neighbours first, then sessions until the work is done or the process is asked to
//! stop.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use sluice_core::{Backoff, Fault};
use sluice_kafka::admin::KafkaAdmin;
use sluice_lease::{ClaimTerms, EnrolReport, JobClaims};
use sluice_runtime::retry::until_answered;
use sluice_runtime::status::WorkerStatus;
use tokio_util::sync::CancellationToken;

use crate::budget;
use crate::checkpoints::CheckpointLog;
use crate::config::CollectorConfig;
use crate::job::CollectorJob;
use crate::progress;
use crate::publisher::PagePublisher;
use crate::session::{CollectorSession, CollectorSessionEnd};
use crate::takeover::CollectorTakeover;
use crate::tally::{CollectorCounters, CollectorSummary};

/// The options of a run.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunOptions {
    /// End when every id is done or dead. Otherwise go on until `shutdown`.
    pub once: bool,
    /// Show a bar if standard error is a terminal.
    pub progress: bool,
}

/// Collects until every id is done or dead (`once`), or until `shutdown`.
///
/// # Errors
/// A [`Fault`] that no retry mends: configuration, credentials, a missing topic or schema, or that this
/// instance was fenced because another process took its ids over.
pub async fn run(
    config: CollectorConfig,
    options: RunOptions,
    status: WorkerStatus,
    shutdown: CancellationToken,
) -> Result<CollectorSummary, Fault> {
    // Contracts, registry, database and, in transactional mode, the checkpoint topic.
    let holder = holder(&config);
    let job = Arc::new(CollectorJob::new(config, &status, &shutdown).await?);
    let config = &job.config;
    let (claims, enrolled) = connect(config, &status, &shutdown).await?;
    let takeover = match config.transactional {
        true => Some(checkpoints(config, &holder, &status, &shutdown).await?),
        false => None,
    };

    // The terms of all claims, and the display for the operator.
    let counters = Arc::new(CollectorCounters::default());
    let database = &config.database;
    counters.enrolled(&enrolled);
    // A run that ends by itself takes what is due now, or within the time by which a CronJob may be early.
    let due_until = match options.once {
        true => {
            let now = until_answered("database", &status, &shutdown, || async { Ok(claims.clock().await?) })
                .await?;
            let slack = database.every.map(sluice_lease::due_slack).unwrap_or_default();
            Some(now.saturating_add(i64::try_from(slack.as_millis()).unwrap_or(i64::MAX)))
        }
        false => None,
    };
    let (lease, attempts) = (database.lease, database.attempts);
    let terms = ClaimTerms { holder: holder.clone(), lease, attempts, due_until };
    tracing::info!(job = config.job, holder, once = options.once, "collecting");
    let shown = progress::show(&claims, Arc::clone(&counters), options.progress).await;

    // One session after the other uses the same state.
    let session = CollectorSession {
        job: Arc::clone(&job),
        claims: claims.clone(),
        terms,
        counters: Arc::clone(&counters),
        takeover,
        once: options.once,
        status: status.clone(),
        // A token of its own: trouble that concerns every id stops the session, not the process's other
        // parts.
        stop: shutdown.child_token(),
    };

    // Budgets are renewed beside the sessions, until the last request is sent.
    let budgets = claims.budgets(&holder);
    let sharing = CancellationToken::new();
    let over = {
        let shared = budget::keep(&job.api, &budgets, &status, &sharing);
        let worked = async {
            let over = sessions(&session, &holder, &status, &shutdown).await;
            // No request is sent from here on. Tokens that the API still counts stay leased.
            sharing.cancel();
            over
        };
        tokio::join!(worked, shared).0
    };

    // The display ends before the last lines are written. A fault of the sessions comes first.
    shown.finish();
    claims.close().await;
    over?;
    let mut summary = counters.summary();
    summary.findings.extend((0..job.targets.len()).flat_map(|nth| job.unseen_paths(nth)));
    tracing::info!("{summary}");
    summary.findings.iter().for_each(|finding| tracing::warn!("{finding}"));
    status.note("summary", serde_json::json!(summary.to_string()));
    Ok(summary)
}

/// Runs sessions until one ends well, or until a fault that a new session does not mend.
async fn sessions(
    session: &CollectorSession,
    holder: &str,
    status: &WorkerStatus,
    shutdown: &CancellationToken,
) -> Result<(), Fault> {
    let config = &session.job.config;
    let mut lives = 0;
    loop {
        let started = tokio::time::Instant::now();
        // A new producer takes the transactional id, which fences the one before it.
        let (publisher, ended) = until_answered("kafka", status, shutdown, || {
            let id = config.transactional.then(|| holder.to_owned());
            let (kafka, topic) = (config.kafka.clone(), config.checkpoint_topic());
            PagePublisher::start(kafka, id, topic, config.memory, config.concurrency)
        })
        .await?;

        // Only the loss of the producer leads to another session.
        let fault = match session.run(publisher, ended).await? {
            CollectorSessionEnd::Finished => return Ok(()),
            CollectorSessionEnd::Again(fault) => fault,
        };
        status.neighbour("kafka", Err(fault.to_string()));

        // At a stop the fault is the result: rows of claims may be left as they were.
        if shutdown.is_cancelled() {
            return Err(fault);
        }

        // A session that outlasted a lease was well. Its fault is not the same trouble over again, so the
        // pause begins small.
        lives = if started.elapsed() > config.database.lease { 0 } else { lives + 1 };
        tokio::select! {
            () = tokio::time::sleep(Backoff::default().wait(lives, rand::random())) => {}
            () = shutdown.cancelled() => return Err(fault),
        }
    }
}

/// Connects to the database, creates the side tables if the configuration allows it, and enrols new ids.
/// Waits while the database is away.
///
/// # Errors
/// Faults of the operator, for example a refused login or a server that is too old.
pub(crate) async fn connect(
    config: &CollectorConfig,
    status: &WorkerStatus,
    stop: &CancellationToken,
) -> Result<(JobClaims, EnrolReport), Fault> {
    let database = &config.database;
    until_answered("database", status, stop, || async {
        let claims = JobClaims::connect(&database.url, &config.job, database.connections).await?;
        if database.migrate {
            claims.migrate().await?;
        }
        let enrolled = claims.enrol(&database.source, database.dead_again).await?;
        report_enrolment(&enrolled);
        Ok((claims, enrolled))
    })
    .await
}

/// Logs the changes of an enrolment.
pub(crate) fn report_enrolment(enrolled: &EnrolReport) {
    let EnrolReport { new, gone, back, revived, too_long, has_empty: _ } = *enrolled;
    tracing::info!(new, gone, back, revived, "ids enrolled");
    if too_long > 0 {
        tracing::warn!(too_long, "ids are too long for a row of sluice_claims and are not collected");
    }
}

/// Creates the job's checkpoint topic unless it exists, and returns the takeover that reads it.
async fn checkpoints(
    config: &CollectorConfig,
    holder: &str,
    status: &WorkerStatus,
    stop: &CancellationToken,
) -> Result<CollectorTakeover, Fault> {
    let topic = config.checkpoint_topic();
    until_answered("kafka", status, stop, || async {
        let admin = KafkaAdmin::new(&config.kafka)?;
        if admin.there(std::slice::from_ref(&topic))?.is_empty() {
            // As many replicas as brokers, three at most. One partition, compacted; old segments close
            // after an hour, so that compaction reaches them.
            let replication = i32::try_from(admin.brokers()?.clamp(1, 3)).unwrap_or(1);
            let settings = BTreeMap::from([
                ("cleanup.policy".to_owned(), "compact".to_owned()),
                ("segment.ms".to_owned(), "3600000".to_owned()),
            ]);
            admin.create(&topic, 1, replication, &settings).await?;
        }
        Ok(())
    })
    .await?;

    // The topic is read only when an id is taken over.
    let log = Arc::new(Mutex::new(CheckpointLog::default()));
    Ok(CollectorTakeover { kafka: config.kafka.clone(), topic, own: holder.to_owned(), log })
}

/// Returns `<group>-collector-<instance>`: the transactional id, and the holder's name in the rows of its
/// claims. Without a configured instance it makes a name that no other process has. The claims that such a
/// process leaves behind are fenced by that name when they are taken over.
fn holder(config: &CollectorConfig) -> String {
    let instance = config.instance.clone().unwrap_or_else(|| {
        // The host's name is for the operator's eyes; the random number makes the name unique.
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
        let host: String = host.trim().chars().filter(plain).take(40).collect();
        format!("{host}-{}-{:08x}", std::process::id(), rand::random::<u32>())
    });
    format!("{}-collector-{instance}", config.group)
}
