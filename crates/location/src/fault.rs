//! What an object store's error means for the worker. By its kind, never by its text.

use object_store::Error;
use sluice_core::Fault;

/// The fault of a failed request to an object store.
///
/// Credentials and paths are the operator's to mend: the worker stops, it does not skip. What exists already was
/// written by someone else: go back and look. Everything else may pass.
pub fn of_object_store(doing: impl Into<String>, error: Error) -> Fault {
    match error {
        Error::PermissionDenied { .. }
        | Error::Unauthenticated { .. }
        | Error::InvalidPath { .. }
        | Error::NotSupported { .. }
        | Error::NotImplemented { .. }
        | Error::UnknownConfigurationKey { .. } => Fault::user(doing, error),
        Error::AlreadyExists { .. } | Error::Precondition { .. } => Fault::rewind(doing, error),
        error => Fault::outage(doing, error),
    }
}
