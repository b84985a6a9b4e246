//! `sluice run <worker>`: configuration, logs, admin pages, signals, then the worker.

use std::future::Future;
use std::io::IsTerminal as _;

use anyhow::Context as _;
use sluice_core::Fault;
use sluice_runtime::config::{self, AdminSection, ConfigErrors};
use sluice_runtime::fleet::{self, Lanes};
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
            let admin = config.raw.admin.clone();
            process("masker", &["kafka", "registry"], &admin, |status, stop| {
                sluice_masker::run(config, status, stop)
            })
        }
        Worker::Normaliser(args) => {
            let config = sluice_normaliser::Config::check(config::load(&args.config)?)?;
            let admin = config.raw.admin.clone();
            process("normaliser", &["kafka", "registry"], &admin, |status, stop| {
                sluice_normaliser::run(config, status, stop)
            })
        }
        Worker::Sink(args) => {
            let config: SinkConfig = config::load(&args.config)?;
            let topics = sink_topics(&config)?;
            let admin = config.admin.clone();
            process("sink", &["kafka", "registry"], &admin, |status, stop| sink(config, topics, status, stop))
        }
        Worker::Collector(args) => {
            let config = sluice_collector::Config::load(&args.run.config)?;
            let admin = config.admin().clone();
            let options =
                sluice_collector::RunOptions { once: args.once, progress: std::io::stderr().is_terminal() };
            process("collector", &["kafka", "registry", "database"], &admin, |status, stop| async move {
                let summary = sluice_collector::run(config, options, status, stop).await?;
                println!("{summary}");
                Ok(())
            })
        }
    }
}

/// The topics to land: those named, or every masked and every facts topic of the contracts.
fn sink_topics(config: &SinkConfig) -> Result<Vec<String>, ConfigErrors> {
    let mut errors = kafka::check_properties(&config.kafka).err().unwrap_or_default();
    errors.0.extend(config.validate().err().unwrap_or_default().0);
    let mut topics = config.topics.clone();
    if topics.is_empty() {
        match contracts::load(&config.schemas) {
            Ok(contracts) => {
                for contract in contracts.iter() {
                    topics.push(contract.masked_topic.clone());
                    topics.extend(contract.facts.as_ref().map(|facts| facts.topic.clone()));
                }
            }
            Err(found) => errors.0.extend(found.0),
        }
    }
    topics.sort();
    topics.dedup();
    errors.or(topics)
}

async fn sink(
    config: SinkConfig,
    topics: Vec<String>,
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
        instance: String::new(),
        topics,
        count: 1,
    };
    fleet::stores(lanes, stores, &status, &stop).await
}

/// Starts tokio, the admin pages and the signal handlers, then runs the worker to its end.
fn process<W: Future<Output = Result<(), Fault>>>(
    name: &'static str,
    neighbours: &[&str],
    section: &AdminSection,
    worker: impl FnOnce(Status, CancellationToken) -> W,
) -> Ended {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting tokio")?;
    let status = Status::new(name, neighbours);
    runtime.block_on(async {
        let stop = shutdown::signal_token().context("installing signal handlers")?;
        admin::serve(section, status.clone()).await?;
        let (told, draining) = (stop.clone(), status.clone());
        tokio::spawn(async move {
            told.cancelled().await;
            draining.draining();
        });
        match worker(status, stop.clone()).await {
            // Told to stop while a neighbour was away: nothing was lost, nothing is left to do.
            Err(fault) if stop.is_cancelled() && fault.retry == sluice_core::Retry::Later => {
                tracing::warn!(%fault, "stopped while waiting");
                Ok(())
            }
            ended => ended,
        }?;
        tracing::info!("ended");
        Ok(Found::Nothing)
    })
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
