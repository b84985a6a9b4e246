//! The seam to Kafka and the lanes on it, against a real broker: batches, rebalances by both protocols, backpressure.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod batch;
mod broker;
mod rebalance;
mod stalled;
