//! Locations of files: a local folder, S3 or GCS, behind one interface with conditional create.
//!
//! | text | location |
//! |---|---|
//! | `/data/archive`, `archive`, `file:///data/archive` | a local folder, which is created if it does not exist |
//! | `s3://bucket/prefix` | S3, or a server that speaks its protocol (option `endpoint`) |
//! | `gs://bucket/prefix` | Google Cloud Storage |
//!
//! Every other text with a scheme is refused: `s3a://bucket` never becomes a local folder of that name.
//!
//! ```no_run
//! # async fn example() -> Result<(), sluice_core::Fault> {
//! use sluice_location::{Location, probe};
//!
//! let location: Location = "/data/archive".parse().map_err(|error| {
//!     sluice_core::Fault::user("reading the location of the archive", error)
//! })?;
//! let store = location.open()?;
//! probe(store.as_ref()).await
//! # }
//! ```
//!
//! A location never overwrites: creating an object that exists is an error. [`probe`] proves that a location
//! obeys this.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod address;
pub mod fault;
mod open;
mod options;
mod probe;

#[cfg(test)]
mod tests;

pub use address::{Location, LocationAddress, LocationError};
pub use options::LocationOptions;
pub use probe::probe;
