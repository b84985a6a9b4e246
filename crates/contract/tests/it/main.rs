//! The repository's own contracts: what they say, what they do to records, and twenty and more ways to break them.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod adopt;
mod examples;
mod files;
mod masking;
