//! A datum's bytes: how they are read, bounds first.

pub(crate) mod append;
pub(crate) mod text;
pub(crate) mod varint;
pub(crate) mod window;
