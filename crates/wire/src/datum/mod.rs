//! Reads the bytes of a datum. Every read checks the bounds first.

pub(crate) mod append;
pub(crate) mod text;
pub(crate) mod varint;
pub(crate) mod window;
