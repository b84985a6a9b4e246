//! The stores as a lane drives them, under kills and at volume. One binary: DataFusion is linked once.
#![allow(clippy::unwrap_used)]

mod killed;
mod volume;
