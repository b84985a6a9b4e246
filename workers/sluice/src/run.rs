//! `sluice run <worker>`: configuration, logs, admin pages, signals, then the worker.

use std::future::Future;
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use sluice_contract::Contract;
use sluice_core::Fault;
use sluice_runtime::config::{self, AdminSection, ConfigErrors, LimitsSection};
use sluice_runtime::contracts::Serving;
use sluice_runtime::fleet::{self, Landing, Lanes};
use sluice_runtime::status::Status;
use sluice_runtime::{admin, contracts, kafka, shutdown, telemetry};
use sluice_sink::SinkConfig;
use tokio_util::sync::CancellationToken;

use crate::cli::{Worker, WorkerName};
use crate::exit::{Ended, Found};

pub(crate) fn run(worker: Worker) -> Ended {
    telemetry::init();
    match worker {
        Worker::Masker(args) => {
            let config = sluice_masker::Config::check(config::load(&args.config)?)?;
            let (admin, drain) = (config.raw.admin.clone(), config.raw.limits.drain());
            process("masker", &["kafka", "registry"], &admin, drain, Threads::Two, |status, stop| {
                sluice_masker::run(config, status, stop)
            })
        }
        Worker::Normaliser(args) => {
            let config = sluice_normaliser::Config::check(config::load(&args.config)?)?;
            let (admin, drain) = (config.raw.admin.clone(), config.raw.limits.drain());
            process("normaliser", &["kafka", "registry"], &admin, drain, Threads::Two, |status, stop| {
                sluice_normaliser::run(config, status, stop)
            })
        }
        Worker::Sink(args) => {
            let config: SinkConfig = config::load(&args.config)?;
            let landing = landing(&config)?;
            kafka::limit_arenas();
            let (admin, drain) = (config.admin.clone(), config.limits.drain());
            process("sink", &["kafka", "registry"], &admin, drain, Threads::Two, |status, stop| {
                sink(config, landing, status, stop)
            })
        }
        Worker::Collector(args) => {
            let config = sluice_collector::Config::load(&args.run.config)?;
            let admin = config.admin().clone();
            let options =
                sluice_collector::RunOptions { once: args.once, progress: std::io::stderr().is_terminal() };
            let drain = LimitsSection::default().drain();
            process(
                "collector",
                &["kafka", "registry", "database"],
                &admin,
                drain,
                Threads::One,
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
struct Lands;

impl Serving for Lands {
    fn reads(&self, contract: &Contract) -> Vec<String> {
        let facts = contract.facts.as_ref().map(|facts| facts.topic.clone());
        std::iter::once(contract.masked_topic.clone()).chain(facts).collect()
    }
}

/// The topics to land: those named, or every masked and every facts topic of the contracts, also of those to come.
fn landing(config: &SinkConfig) -> Result<Landing, ConfigErrors> {
    let mut errors = kafka::check_properties(&config.kafka).err().unwrap_or_default();
    errors.0.extend(config.validate().err().unwrap_or_default().0);
    if !config.topics.is_empty() {
        return errors.or(Landing::Topics(config.topics.clone()));
    }
    match contracts::open(&config.schemas) {
        Ok(folder) => errors.or(Landing::Contracts(Box::new(folder), Arc::new(Lands))),
        Err(found) => {
            errors.0.extend(found.0);
            Err(errors)
        }
    }
}

async fn sink(
    config: SinkConfig,
    landing: Landing,
    status: Status,
    stop: CancellationToken,
) -> Result<(), Fault> {
    let stores = sluice_sink::stores(&config, &tokio::runtime::Handle::current())?;
    let lanes = Lanes {
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
enum Threads {
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
    threads: Threads,
    worker: impl FnOnce(Status, CancellationToken) -> W,
) -> Ended {
    let mut builder = match threads {
        Threads::One => tokio::runtime::Builder::new_current_thread(),
        Threads::Two => tokio::runtime::Builder::new_multi_thread(),
    };
    if threads == Threads::Two {
        builder.worker_threads(2);
    }
    let runtime = builder.enable_all().build().context("starting tokio")?;
    let status = Status::new(name, neighbours);
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
        Ok(Found::Nothing)
    });
    // A lane that hangs in a call must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

/// Comes back when the worker was told to stop and `drain` has passed, and says what it leaves.
async fn too_late(status: &Status, drain: Duration, stop: &CancellationToken) -> Fault {
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

pub(crate) fn schema(worker: WorkerName) -> Ended {
    let schema = match worker {
        WorkerName::Masker => config::schema::<sluice_masker::RawConfig>(),
        WorkerName::Normaliser => config::schema::<sluice_normaliser::RawConfig>(),
        WorkerName::Sink => config::schema::<SinkConfig>(),
        WorkerName::Collector => config::schema::<sluice_collector::RawConfig>(),
        WorkerName::Apply => config::schema::<crate::apply::RawConfig>(),
    };
    println!("{schema:#}");
    Ok(Found::Nothing)
}
