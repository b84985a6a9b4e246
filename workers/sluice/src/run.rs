//! `sluice run <worker>`: configuration, logs, admin pages, signals, then the worker.

use std::future::Future;
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use sluice_contract::Contract;
use sluice_core::Fault;
use sluice_runtime::config::{self, AdminSection, ConfigErrors, LimitsSection};
use sluice_runtime::contracts::ContractUse;
use sluice_runtime::fleet::{self, LandingTopics, SharedLaneConfig};
use sluice_runtime::status::WorkerStatus;
use sluice_runtime::{admin, contracts, shutdown, telemetry};
use sluice_sink::SinkConfig;
use tokio_util::sync::CancellationToken;

use crate::cli::{WorkerCommand, WorkerName};
use crate::exit::{CommandFinding, CommandResult};

pub(crate) fn run(worker: WorkerCommand) -> CommandResult {
    telemetry::init();
    match worker {
        WorkerCommand::Masker(args) => {
            let config = sluice_masker::MaskerConfig::check(config::load(&args.config)?)?;
            let (admin, drain) = (config.raw.admin.clone(), config.raw.limits.drain());
            process("masker", &["kafka", "registry"], &admin, drain, TokioThreads::Two, |status, stop| {
                sluice_masker::run(config, status, stop)
            })
        }
        WorkerCommand::Normaliser(args) => {
            let config = sluice_normaliser::NormaliserConfig::check(config::load(&args.config)?)?;
            let (admin, drain) = (config.raw.admin.clone(), config.raw.limits.drain());
            process("normaliser", &["kafka", "registry"], &admin, drain, TokioThreads::Two, |status, stop| {
                sluice_normaliser::run(config, status, stop)
            })
        }
        WorkerCommand::Sink(args) => {
            let config: SinkConfig = config::load(&args.config)?;
            let landing = landing(&config)?;
            sluice_kafka::limit_arenas();
            let (admin, drain) = (config.admin.clone(), config.limits.drain());
            process("sink", &["kafka", "registry"], &admin, drain, TokioThreads::Two, |status, stop| {
                sink(config, landing, status, stop)
            })
        }
        WorkerCommand::Collector(args) => {
            let config = sluice_collector::CollectorConfig::load(&args.run.config)?;
            let admin = config.admin().clone();
            let options =
                sluice_collector::RunOptions { once: args.once, progress: std::io::stderr().is_terminal() };
            let drain = LimitsSection::default().drain();
            process(
                "collector",
                &["kafka", "registry", "database"],
                &admin,
                drain,
                TokioThreads::One,
                |status, stop| async move {
                    let summary = sluice_collector::run(config, options, status, stop).await?;
                    println!("{summary}");
                    Ok(())
                },
            )
        }
    }
}

/// Masked records and facts.
struct SinkContractUse;

impl ContractUse for SinkContractUse {
    fn reads(&self, contract: &Contract) -> Vec<String> {
        let facts = contract.facts.as_ref().map(|facts| facts.topic.clone());
        std::iter::once(contract.masked_topic.clone()).chain(facts).collect()
    }
}

/// The topics to land: those named, or every masked and every facts topic of the contracts, also of those to come.
fn landing(config: &SinkConfig) -> Result<LandingTopics, ConfigErrors> {
    let mut errors = sluice_kafka::check_properties(&config.kafka).err().unwrap_or_default();
    errors.0.extend(config.validate().err().unwrap_or_default().0);
    if !config.topics.is_empty() {
        return errors.or(LandingTopics::Topics(config.topics.clone()));
    }
    match contracts::open(&config.schemas) {
        Ok(folder) => errors.or(LandingTopics::Contracts(Box::new(folder), Arc::new(SinkContractUse))),
        Err(found) => {
            errors.0.extend(found.0);
            Err(errors)
        }
    }
}

async fn sink(
    config: SinkConfig,
    landing: LandingTopics,
    status: WorkerStatus,
    stop: CancellationToken,
) -> Result<(), Fault> {
    let stores = sluice_sink::stores(&config, &tokio::runtime::Handle::current())?;
    let lanes = SharedLaneConfig {
        worker: "sink",
        memory: config.memory.bytes(),
        pace: config.pace(),
        kafka: config.kafka,
        registry: config.registry,
        group: config.group,
        instance: config.instance.unwrap_or_else(config::default_instance),
        count: 1,
        limits: config.limits,
    };
    fleet::stores(lanes, landing, stores, &status, &stop).await
}

/// How many threads tokio has. Lanes and publishers have their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TokioThreads {
    /// For a worker that is all requests: between two threads each page would be handed over several times, which costs
    /// more than reading it. More of it is another replica.
    One,
    Two,
}

/// Starts tokio, the admin pages and the signal handlers, then runs the worker to its end; told to stop, it has `drain`
/// to reach it.
fn process<W: Future<Output = Result<(), Fault>>>(
    name: &'static str,
    neighbours: &[&str],
    section: &AdminSection,
    drain: Duration,
    threads: TokioThreads,
    worker: impl FnOnce(WorkerStatus, CancellationToken) -> W,
) -> CommandResult {
    let mut builder = match threads {
        TokioThreads::One => tokio::runtime::Builder::new_current_thread(),
        TokioThreads::Two => tokio::runtime::Builder::new_multi_thread(),
    };
    if threads == TokioThreads::Two {
        builder.worker_threads(2);
    }
    let runtime = builder.enable_all().build().context("starting tokio")?;
    let status = WorkerStatus::new(name, neighbours);
    let ended = runtime.block_on(async {
        let stop = shutdown::signal_token().context("installing signal handlers")?;
        admin::serve(section, status.clone()).await?;
        let (told, draining) = (stop.clone(), status.clone());
        tokio::spawn(async move {
            told.cancelled().await;
            draining.draining();
        });
        let ended = tokio::select! {
            ended = worker(status.clone(), stop.clone()) => ended,
            fault = too_late(&status, drain, &stop) => Err(fault),
        };
        match ended {
            // Told to stop while a neighbour was away: nothing was lost, nothing is left to do.
            Err(fault) if stop.is_cancelled() && fault.retry == sluice_core::Retry::Later => {
                tracing::warn!(%fault, "stopped while waiting");
                Ok(())
            }
            ended => ended,
        }?;
        tracing::info!("ended");
        Ok(CommandFinding::Nothing)
    });
    // A lane that hangs in a call must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

/// Comes back when the worker was told to stop and `drain` has passed, and says what it leaves.
async fn too_late(status: &WorkerStatus, drain: Duration, stop: &CancellationToken) -> Fault {
    stop.cancelled().await;
    tokio::time::sleep(drain).await;
    let left = status.positions();
    for (at, next) in &left {
        let next_offset = next.map(sluice_core::NextOffset::raw);
        tracing::warn!(%at, next_offset, "left: what was read from here on is not committed and is read again");
    }
    let why = format!(
        "not done within {drain:?}; {} partitions are left as they were committed last, and nothing is lost",
        left.len()
    );
    Fault::new(sluice_core::Domain::External, sluice_core::Retry::Never, "draining", why)
}

pub(crate) fn schema(worker: WorkerName) -> CommandResult {
    let schema = match worker {
        WorkerName::Masker => config::schema::<sluice_masker::RawMaskerConfig>(),
        WorkerName::Normaliser => config::schema::<sluice_normaliser::RawNormaliserConfig>(),
        WorkerName::Sink => config::schema::<SinkConfig>(),
        WorkerName::Collector => config::schema::<sluice_collector::RawCollectorConfig>(),
        WorkerName::Apply => config::schema::<crate::apply::RawApplyConfig>(),
    };
    println!("{schema:#}");
    Ok(CommandFinding::Nothing)
}
