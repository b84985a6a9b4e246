//! Locations of files: a local folder, S3 or GCS, behind one interface with conditional create.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod fault;
