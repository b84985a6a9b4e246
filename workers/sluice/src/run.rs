//! `sluice run <worker>`: configuration, logs, admin pages, signals, then the worker.

use std::future::Future;

use anyhow::Context as _;
use sluice_core::Fault;
use sluice_runtime::config::{self, AdminSection};
use sluice_runtime::fleet::{self, Lanes};
use sluice_runtime::status::Status;
use sluice_runtime::{admin, shutdown, telemetry};
use tokio_util::sync::CancellationToken;

use crate::cli::{Worker, WorkerName};
use crate::exit::{Ended, Found};

pub(crate) fn run(worker: Worker) -> Ended {
    telemetry::init();
    match worker {
        Worker::Masker(args) => {
            let config = sluice_masker::Config::check(config::load(&args.config)?)?;
            let admin = config.raw.admin.clone();
            process("masker", &["kafka", "registry"], &admin, |status, stop| sluice_masker::run(config, status, stop))
        }
        Worker::Normaliser(args) => {
            let config = sluice_normaliser::Config::check(config::load(&args.config)?)?;
            let admin = config.raw.admin.clone();
            process("normaliser", &["kafka", "registry"], &admin, |status, stop| sluice_normaliser::run(config, status, stop))
        }
        Worker::Sink(args) => {
            let config = sluice_sink::Config::check(config::load(&args.config)?)?;
            let admin = config.admin().clone();
            process("sink", &["kafka", "registry"], &admin, |status, stop| sink(config, status, stop))
        }
        Worker::Collector(args) => {
            let config = sluice_collector::Config::check(config::load(&args.run.config)?)?;
            let admin = config.admin().clone();
            let options = sluice_collector::RunOptions { once: args.once };
            process("collector", &["kafka", "registry", "database"], &admin, |status, stop| async move {
                sluice_collector::run(config, options, status, stop).await.map(|_| ())
            })
        }
    }
}

async fn sink(config: sluice_sink::Config, status: Status, stop: CancellationToken) -> Result<(), Fault> {
    let lanes = Lanes {
        worker: "sink",
        kafka: config.kafka().clone(),
        registry: config.registry().clone(),
        group: config.group().to_owned(),
        instance: String::new(),
        topics: config.topics().to_vec(),
        memory: config.memory(),
        count: 1,
        pace: config.pace(),
    };
    let stores = sluice_sink::stores(&config, tokio::runtime::Handle::current())?;
    fleet::stores(lanes, stores, &status, &stop).await
}

/// Starts tokio, the admin pages and the signal handlers, then runs the worker to its end.
fn process<W: Future<Output = Result<(), Fault>>>(
    name: &'static str,
    neighbours: &[&str],
    section: &AdminSection,
    worker: impl FnOnce(Status, CancellationToken) -> W,
) -> Ended {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().context("starting tokio")?;
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
        WorkerName::Sink => config::schema::<sluice_sink::RawConfig>(),
        WorkerName::Collector => config::schema::<sluice_collector::RawConfig>(),
        WorkerName::Apply => config::schema::<crate::apply::RawConfig>(),
    };
    println!("{schema:#}");
    Ok(Found::Nothing)
}
