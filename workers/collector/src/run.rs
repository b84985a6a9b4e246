//! A run of the worker: neighbours, then sessions until the work is done or the process is told to stop.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use sluice_core::{Backoff, Fault};
use sluice_kafka::admin::KafkaAdmin;
use sluice_lease::{ClaimTerms, JobClaims};
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

/// How to run.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunOptions {
    /// End when every id is done or dead; otherwise go on until told to stop.
    pub once: bool,
    /// Show a bar if standard error is a terminal.
    pub progress: bool,
}

/// Collects until everything is done (`once`) or `shutdown`.
///
/// # Errors
/// A [`Fault`] that no retry mends: configuration, credentials, a missing topic or schema, or that this instance was
/// fenced because another process took its ids over.
pub async fn run(
    config: CollectorConfig,
    options: RunOptions,
    status: WorkerStatus,
    shutdown: CancellationToken,
) -> Result<CollectorSummary, Fault> {
    let holder = holder(&config);
    let job = Arc::new(CollectorJob::new(config, &status, &shutdown).await?);
    let config = &job.config;
    let claims = connect(config, &status, &shutdown).await?;
    let takeover = match config.transactional {
        true => Some(checkpoints(config, &holder, &status, &shutdown).await?),
        false => None,
    };
    let counters = Arc::new(CollectorCounters::default());
    let database = &config.database;
    let terms = ClaimTerms { holder: holder.clone(), lease: database.lease, attempts: database.attempts };
    tracing::info!(job = config.job, holder, once = options.once, "collecting");
    let shown = progress::show(&claims, Arc::clone(&counters), options.progress).await;
    let session = CollectorSession {
        job: Arc::clone(&job),
        claims: claims.clone(),
        terms,
        counters: Arc::clone(&counters),
        takeover,
        once: options.once,
        status: status.clone(),
        // Its own: trouble that concerns every id stops the session, not the process's other parts.
        stop: shutdown.child_token(),
    };
    let budgets = claims.budgets(&holder);
    let sharing = CancellationToken::new();
    let over = {
        let shared = budget::keep(&job.api, &budgets, &status, &sharing);
        let worked = async {
            let over = sessions(&session, &holder, &status, &shutdown).await;
            // From here on nothing is asked; what is still counted by the API stays leased.
            sharing.cancel();
            over
        };
        tokio::join!(worked, shared).0
    };
    shown.finish();
    claims.close().await;
    over?;
    let summary = counters.summary();
    tracing::info!("{summary}");
    status.note("summary", serde_json::json!(summary.to_string()));
    Ok(summary)
}

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
        let (publisher, ended) = until_answered("kafka", status, shutdown, || {
            let id = config.transactional.then(|| holder.to_owned());
            let (kafka, topic) = (config.kafka.clone(), config.checkpoint_topic());
            PagePublisher::start(kafka, id, topic, config.memory, config.concurrency)
        })
        .await?;
        let fault = match session.run(publisher, ended).await? {
            CollectorSessionEnd::Finished => return Ok(()),
            CollectorSessionEnd::Again(fault) => fault,
        };
        status.neighbour("kafka", Err(fault.to_string()));
        if shutdown.is_cancelled() {
            return Err(fault);
        }
        // A life that lasted was not the same trouble over again.
        lives = if started.elapsed() > config.database.lease { 0 } else { lives + 1 };
        tokio::select! {
            () = tokio::time::sleep(Backoff::default().wait(lives, rand::random())) => {}
            () = shutdown.cancelled() => return Err(fault),
        }
    }
}

/// Connects, creates the side table if allowed, enrols new ids.
pub(crate) async fn connect(
    config: &CollectorConfig,
    status: &WorkerStatus,
    stop: &CancellationToken,
) -> Result<JobClaims, Fault> {
    let database = &config.database;
    until_answered("database", status, stop, || async {
        let claims = JobClaims::connect(&database.url, &config.job, database.connections).await?;
        if database.migrate {
            claims.migrate().await?;
        }
        let new = claims.enrol(&database.source).await?;
        tracing::info!(new, "ids enrolled");
        Ok(claims)
    })
    .await
}

/// The job's checkpoint topic, made unless it is there.
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
    let log = Arc::new(Mutex::new(CheckpointLog::default()));
    Ok(CollectorTakeover { kafka: config.kafka.clone(), topic, own: holder.to_owned(), log })
}

/// `<group>-collector-<instance>`: the transactional id, and the name in the rows we hold. Without an instance a name
/// nobody else has is made; what it leaves behind is fenced by name when its rows are taken over.
fn holder(config: &CollectorConfig) -> String {
    let instance = config.instance.clone().unwrap_or_else(|| {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
        let host: String = host.trim().chars().filter(plain).take(40).collect();
        format!("{host}-{}-{:08x}", std::process::id(), rand::random::<u32>())
    });
    format!("{}-collector-{instance}", config.group)
}
