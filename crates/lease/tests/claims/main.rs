//! Claims against real servers: MariaDB and Postgres, the same properties on both.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod bench;
mod former;
mod many;
mod one_by_one;
mod rules;
