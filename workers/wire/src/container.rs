//! Avro object container files (specification, "Object Container Files").

use std::io;

use crate::Schema;

/// How a block is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Not at all.
    Null,
    /// RFC 1951.
    Deflate,
    /// Snappy with the CRC-32 of the uncompressed block, big-endian, after it.
    Snappy,
    /// Zstandard.
    Zstandard,
}

/// A container file in the making.
pub struct Container {
    _codec: Codec,
}

impl Container {
    /// Writes the file's header to `out`. `sync` should differ from file to file.
    pub fn new(
        _schema: &Schema,
        codec: Codec,
        _metadata: &[(&str, &[u8])],
        _sync: [u8; 16],
        _out: &mut Vec<u8>,
    ) -> Self {
        Self { _codec: codec }
    }

    /// Appends one block of `count` records whose datums are `raw`.
    ///
    /// # Errors
    /// Of the codec.
    pub fn block(&mut self, _count: u64, _raw: &[u8], _out: &mut Vec<u8>) -> io::Result<()> {
        Ok(())
    }
}
