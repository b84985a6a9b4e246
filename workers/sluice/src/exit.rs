//! Exit codes of a command: 0 done, 1 found something, 64 bad configuration, 70 internal, 75 try again
//! (sysexits.h).

use std::process::ExitCode;

use sluice_core::{Domain, Fault};
use sluice_runtime::config::ConfigErrors;
use sluice_runtime::lane::limits::TooManyDeadLetters;

/// The result of a command.
pub(crate) type CommandResult = anyhow::Result<CommandFinding>;

/// Whether a command that looks for something found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CommandFinding {
    /// The command is done, and there is nothing to look at: exit code 0.
    Nothing,
    /// There is something that the caller must look at: exit code 1.
    Something,
}

/// Prints an error and chooses the exit code.
pub(crate) fn code(ended: CommandResult) -> ExitCode {
    match ended {
        Ok(CommandFinding::Nothing) => ExitCode::SUCCESS,
        Ok(CommandFinding::Something) => ExitCode::from(1),
        Err(error) => {
            // With all causes: the last one is often the server's own message.
            eprintln!("error: {error:#}");
            ExitCode::from(of(&error))
        }
    }
}

/// Returns the exit code of an error.
fn of(error: &anyhow::Error) -> u8 {
    // Mistakes in configuration and contracts, all at once.
    if error.downcast_ref::<ConfigErrors>().is_some() {
        return 64;
    }

    // A worker that stopped because of its input has found something. Its configuration is valid.
    if error.chain().any(|cause| cause.is::<TooManyDeadLetters>()) {
        return 1;
    }

    // Every other error counts as internal, for example a file that cannot be written.
    match error.downcast_ref::<Fault>().map(|fault| fault.domain) {
        Some(Domain::User) => 64,
        Some(Domain::External) => 75,
        Some(Domain::Internal) | None => 70,
    }
}
