//! `sluice`: one binary for the whole fleet. It parses, wires and starts; what it starts is in the other rooms.

mod apply;
mod cli;
mod collector;
mod exit;
mod run;
mod sql;
mod up;
mod wire;

use clap::Parser as _;
use cli::{Cli, Command};

fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    exit::code(match cli.command {
        Command::Run { worker } => run::run(worker),
        Command::Plan(command) => apply::plan(&command),
        Command::Apply(command) => apply::apply(&command),
        Command::Collector(args) => collector::collector(args.command),
        Command::Sql(command) => sql::sql(&command),
        Command::Wire(command) => wire::wire(&command),
        Command::Up(command) => up::up(&command),
        Command::ConfigSchema { worker } => run::schema(worker),
        Command::Completions { shell } => cli::completions(shell),
    })
}
