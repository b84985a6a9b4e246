//! `sluice-demo`: the external API and the ids of the demo, and the demo's whole run on this machine.
//!
//! `make demo` builds it and runs `sluice-demo run`; see `sluice-demo run --help`. `docker-compose.yml` runs
//! `sluice-demo ids` and `sluice-demo api` in containers of their own.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod api;
mod data;
mod ids;
mod run;
mod table;
mod truth;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

/// From an API's pages to an analyst's answer, on this machine.
#[derive(Parser)]
#[command(version)]
enum DemoCommand {
    /// Serve the demo's external API: aircraft and their flights, page by page, with seeded faults
    Api(api::DemoApiOptions),
    /// Put the tail numbers of the data into the table that the collector works through
    Ids(ids::DemoIdsOptions),
    /// Start servers and workers, follow the records to the end, check that everything adds up
    Run(run::DemoRunOptions),
}

fn main() -> ExitCode {
    match carry_out(DemoCommand::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("sluice-demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(command: DemoCommand) -> Result<bool> {
    match command {
        DemoCommand::Api(options) => tokio_runtime()?.block_on(api::serve(options)).map(|()| true),
        DemoCommand::Ids(options) => tokio_runtime()?.block_on(ids::fill(&options)).map(|()| true),
        DemoCommand::Run(options) => run::run(&options),
    }
}

fn tokio_runtime() -> Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.context("starting tokio")
}
