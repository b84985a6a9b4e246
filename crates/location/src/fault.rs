//! The fault for an object store's error. The kind of the error decides, never its text.

use object_store::Error;
use sluice_core::Fault;

/// Returns the fault of a failed request to an object store. `doing` is the operation, for example `writing
/// an object`.
///
/// Credentials and paths are for the operator to mend: the worker stops and does not skip records. An object
/// that exists already was written by another process: the worker goes back to its last durable point. All
/// other errors may pass: the worker tries again.
pub fn of_object_store(doing: impl Into<String>, error: Error) -> Fault {
    match error {
        // No retry can help against these.
        Error::PermissionDenied { .. }
        | Error::Unauthenticated { .. }
        | Error::InvalidPath { .. }
        | Error::NotSupported { .. }
        | Error::NotImplemented { .. }
        | Error::UnknownConfigurationKey { .. } => Fault::user(doing, error),
        // A conditional create has lost: another process holds the name.
        Error::AlreadyExists { .. } | Error::Precondition { .. } => Fault::rewind(doing, error),
        // Timeouts, throttling, a server's errors, and kinds that a later version adds.
        error => Fault::outage(doing, error),
    }
}
