//! `sluice`: one binary for the whole fleet. It parses, wires and starts; what it starts is in the other rooms.

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

use clap::Parser as _;
use cli::{Cli, Command};

fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    exit::code(match cli.command {
        Command::Run { worker } => run::run(worker),
        Command::Plan(command) => apply::plan(&command),
        Command::Apply(command) => apply::apply(&command),
        Command::Verify(command) => verify::verify(&command),
        Command::DeadLetters { command } => dead_letters::dead_letters(&command),
        Command::Replay(command) => replay::replay(&command),
        Command::Collector(args) => collector::collector(args.command),
        Command::Sql(command) => sql::sql(&command),
        Command::Wire(command) => wire::wire(&command),
        Command::Contract(command) => contract::contract(&command),
        Command::Catalogue(command) => catalogue::catalogue(&command),
        Command::Up(command) => up::up(&command),
        Command::ConfigSchema { worker } => run::schema(worker),
        Command::Completions { shell } => cli::completions(shell),
    })
}
