//! `sluice-demo`: the external API of the demo, and the demo's whole run on this machine.
//!
//! `make demo` builds it and runs `sluice-demo run`; see `sluice-demo run --help`.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod api;
mod data;
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
        DemoCommand::Api(options) => {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            runtime.context("starting tokio")?.block_on(api::serve(options)).map(|()| true)
        }
        DemoCommand::Run(options) => run::run(&options),
    }
}
