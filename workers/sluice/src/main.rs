//! `sluice`: one binary for the whole fleet. It parses the command line, wires the parts and starts them. The
//! parts themselves are in the other crates.

mod access;
mod apply;
mod catalogue;
mod cli;
mod collector;
mod contract;
mod dead_letters;
mod exit;
mod proof;
mod replay;
mod run;
mod sql;
mod table;
mod up;
mod verify;
mod wire;
mod workers;
mod world;

use clap::Parser as _;
use cli::{CommandLine, SluiceCommand};

fn main() -> std::process::ExitCode {
    // A mistake in the arguments ends here, with the usage and clap's exit code.
    let cli = CommandLine::parse();

    // Every command returns its result, and `exit` alone chooses the exit code.
    exit::code(match cli.command {
        SluiceCommand::Run { worker } => run::run(&worker),
        SluiceCommand::Plan(command) => apply::plan(&command),
        SluiceCommand::Apply(command) => apply::apply(&command),
        SluiceCommand::Verify(command) => verify::verify(&command),
        SluiceCommand::DeadLetters { command } => dead_letters::dead_letters(&command),
        SluiceCommand::Replay(command) => replay::replay(&command),
        SluiceCommand::Collector(args) => collector::collector(args.command),
        SluiceCommand::Sql(command) => sql::sql(&command),
        SluiceCommand::Wire(command) => wire::wire(&command),
        SluiceCommand::Contract(command) => contract::contract(&command),
        SluiceCommand::Catalogue(command) => catalogue::catalogue(&command),
        SluiceCommand::Up(command) => up::up(&command),
        SluiceCommand::ConfigSchema { worker } => run::schema(&worker),
        SluiceCommand::Completions { shell } => cli::completions(shell),
    })
}
