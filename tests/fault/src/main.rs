//! `sluice-fault chaos`: random faults on a whole fleet, and an oracle at the end. `sluice-fault start`: how long a
//! worker takes to its first record.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use sluice_fault::chaos::{self, ChaosOptions};
use sluice_fault::start;

/// Breaks things on purpose and tells whether anything was lost, repeated or put out of order.
#[derive(Debug, Parser)]
#[command(
    after_help = "The rows of the fault matrix are tests: cargo test -p sluice-fault --test rows -- --include-ignored"
)]
struct FaultCli {
    #[command(subcommand)]
    command: FaultCommand,
}

#[derive(Debug, Subcommand)]
enum FaultCommand {
    /// Three brokers, two maskers, two sinks at full load; kills, stops, rebalances and broker restarts at random; one
    /// JSON line of figures at the end. Exit 0: everything held; 1: something did not.
    Chaos {
        /// Minutes of load and faults.
        #[arg(long, default_value_t = 30.0)]
        minutes: f64,
        /// Repeats a run's choices; drawn and printed if left out.
        #[arg(long, env = "SEED")]
        seed: Option<u64>,
        /// Most records per second; 0: as fast as the fleet takes them.
        #[arg(long, default_value_t = 0)]
        rate: usize,
        /// Copies the workers' logs there at the end.
        #[arg(long)]
        logs: Option<PathBuf>,
    },
    /// From the start of a masker's process to its first output, beside a warm broker; one JSON line per figure.
    Start {
        /// How often.
        #[arg(long, default_value_t = 7)]
        rounds: usize,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    match FaultCli::parse().command {
        FaultCommand::Chaos { minutes, seed, rate, logs } => {
            let held = chaos::run(&ChaosOptions { minutes, seed, rate, logs })?;
            Ok(if held { ExitCode::SUCCESS } else { ExitCode::from(1) })
        }
        FaultCommand::Start { rounds } => start::run(rounds).map(|()| ExitCode::SUCCESS),
    }
}
