//! `sluice`: one binary for the whole fleet. It parses the command line, wires the parts and starts them. The
//! parts themselves are in the other crates.

// First: its macros are for all modules below.
#[macro_use]
mod output;

mod access;
mod apply;
mod catalogue;
mod cli;
mod collector;
mod contract;
mod dead_letters;
mod examples;
mod exit;
mod look;
mod proof;
mod replay;
mod run;
mod sql;
mod table;
mod up;
mod verify;
mod version;
mod wire;
mod workers;
mod world;

use cli::{CommandLine, SluiceCommand};

fn main() -> std::process::ExitCode {
    // A mistake in the arguments ends here, with the usage and the exit code of all mistakes of the caller.
    let args: Vec<String> = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let format = exit::asked_format(&args);
    let cli = match CommandLine::read() {
        Ok(cli) => cli,
        Err(error) => return exit::usage(&error, format),
    };

    // Every command returns its result, and `exit` alone chooses the exit code.
    let ended = match cli.command {
        SluiceCommand::Run { worker } => run::run(&worker),
        SluiceCommand::Plan(command) => apply::plan(&command),
        SluiceCommand::Apply(command) => apply::apply(&command),
        SluiceCommand::Verify(command) => verify::verify(&command),
        SluiceCommand::DeadLetters { command } => dead_letters::dead_letters(&command),
        SluiceCommand::Replay(command) => replay::replay(&command),
        SluiceCommand::Collector(args) => collector::collector(args.command),
        SluiceCommand::Topics(command) => look::topics(&command),
        SluiceCommand::Tail(command) => look::tail(&command),
        SluiceCommand::Get(command) => look::get(&command),
        SluiceCommand::Sql(command) => sql::sql(&command),
        SluiceCommand::Wire(command) => wire::wire(&command),
        SluiceCommand::Contract(command) => contract::contract(&command),
        SluiceCommand::Catalogue(command) => catalogue::catalogue(&command),
        SluiceCommand::Up(command) => up::up(&command),
        SluiceCommand::ConfigSchema { worker } => run::schema(&worker),
        SluiceCommand::Version(command) => version::version(&command),
        SluiceCommand::Completions { shell } => cli::completions(shell),
    };
    exit::code(ended, format)
}
