//! Avro object container files (specification, "Object Container Files").
//!
//! ```text
//!  header │ "Obj" 0x01 │ metadata: map of bytes │ sync marker, 16 bytes │
//!  block  │ count │ size in bytes │ datums, compressed │ sync marker │      … as many as there are
//! ```

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::DeflateEncoder;

use crate::DatumSchema;
use crate::datum::varint::{write_len, write_long};

const MAGIC: [u8; 4] = *b"Obj\x01";
/// A good ratio still faster than the disk or the network takes it.
const ZSTANDARD_LEVEL: i32 = 3;

/// How a block is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ContainerCodec {
    /// Not at all.
    Null,
    /// RFC 1951.
    Deflate,
    /// Snappy with the CRC-32 of the uncompressed block, big-endian, after it.
    Snappy,
    /// Zstandard.
    Zstandard,
}

impl ContainerCodec {
    /// Name in a file's header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Deflate => "deflate",
            Self::Snappy => "snappy",
            Self::Zstandard => "zstandard",
        }
    }
}

/// A container file in the making. It holds no file: header and blocks are appended to the caller's buffer.
pub struct ContainerWriter {
    codec: ContainerCodec,
    sync: [u8; 16],
    packed: Vec<u8>,
}

impl ContainerWriter {
    /// Writes the file's header to `out`. `sync` should differ from file to file; `metadata` keys must not
    /// begin with `avro.`.
    pub fn new(
        schema: &DatumSchema,
        codec: ContainerCodec,
        metadata: &[(&str, &[u8])],
        sync: [u8; 16],
        out: &mut Vec<u8>,
    ) -> Self {
        out.extend_from_slice(&MAGIC);
        let own = [("avro.schema", schema.json().as_bytes()), ("avro.codec", codec.as_str().as_bytes())];
        write_len(own.len() + metadata.len(), out);
        for (key, value) in own.iter().chain(metadata) {
            write_len(key.len(), out);
            out.extend_from_slice(key.as_bytes());
            write_len(value.len(), out);
            out.extend_from_slice(value);
        }
        out.push(0);
        out.extend_from_slice(&sync);
        Self { codec, sync, packed: Vec::new() }
    }

    /// Appends one block of `count` records whose datums are `raw`. Nothing is written for no records.
    ///
    /// # Errors
    /// Of the codec.
    pub fn block(&mut self, count: u64, raw: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        let count = i64::try_from(count).map_err(io::Error::other)?;
        if count == 0 {
            return Ok(());
        }
        self.packed.clear();
        let packed = match self.codec {
            ContainerCodec::Null => raw,
            ContainerCodec::Deflate => {
                let mut encoder = DeflateEncoder::new(&mut self.packed, Compression::default());
                encoder.write_all(raw)?;
                encoder.finish()?;
                &self.packed
            }
            ContainerCodec::Snappy => {
                self.packed.resize(snap::raw::max_compress_len(raw.len()), 0);
                let len = snap::raw::Encoder::new().compress(raw, &mut self.packed)?;
                self.packed.truncate(len);
                self.packed.extend_from_slice(&crc32fast::hash(raw).to_be_bytes());
                &self.packed
            }
            ContainerCodec::Zstandard => {
                self.packed = zstd::bulk::compress(raw, ZSTANDARD_LEVEL)?;
                &self.packed
            }
        };
        write_long(count, out);
        write_len(packed.len(), out);
        out.extend_from_slice(packed);
        out.extend_from_slice(&self.sync);
        Ok(())
    }
}
