//! How a command ends: 0 done, 1 found something, 64 bad configuration, 70 internal, 75 try again (sysexits.h).

use std::process::ExitCode;

use sluice_core::{Domain, Fault};
use sluice_runtime::config::ConfigErrors;
use sluice_runtime::lane::limits::TooManyDeadLetters;

/// A command's end.
pub(crate) type CommandResult = anyhow::Result<CommandFinding>;

/// Whether a command that looks for something found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CommandFinding {
    /// All is well, or done.
    Nothing,
    /// Something that the caller must look at: exit code 1.
    Something,
}

/// Prints what went wrong and chooses the exit code.
pub(crate) fn code(ended: CommandResult) -> ExitCode {
    match ended {
        Ok(CommandFinding::Nothing) => ExitCode::SUCCESS,
        Ok(CommandFinding::Something) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(of(&error))
        }
    }
}

fn of(error: &anyhow::Error) -> u8 {
    if error.downcast_ref::<ConfigErrors>().is_some() {
        return 64;
    }
    // A worker that stopped over its input found something; its configuration is well.
    if error.chain().any(|cause| cause.is::<TooManyDeadLetters>()) {
        return 1;
    }
    match error.downcast_ref::<Fault>().map(|fault| fault.domain) {
        Some(Domain::User) => 64,
        Some(Domain::External) => 75,
        Some(Domain::Internal) | None => 70,
    }
}
