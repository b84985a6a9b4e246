//! Avro object container files (specification, "Object Container Files").
//!
//! ```text
//!  header │ "Obj" 0x01 │ metadata: map of bytes │ sync marker, 16 bytes │
//!  block  │ count │ size in bytes │ datums, compressed │ sync marker │      … one block after another
//! ```

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::DeflateEncoder;

use crate::DatumSchema;
use crate::datum::varint::{write_len, write_long};

const MAGIC: [u8; 4] = *b"Obj\x01";
/// Compresses well and is still faster than the disk or the network.
const ZSTANDARD_LEVEL: i32 = 3;

/// The compression of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ContainerCodec {
    /// No compression.
    Null,
    /// RFC 1951.
    Deflate,
    /// Snappy. The CRC-32 of the uncompressed block follows, big-endian.
    Snappy,
    /// Zstandard.
    Zstandard,
}

impl ContainerCodec {
    /// Returns the codec's name in a file's header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Deflate => "deflate",
            Self::Snappy => "snappy",
            Self::Zstandard => "zstandard",
        }
    }
}

/// Writes a container file. The writer holds no file: it appends header and blocks to the caller's buffer.
pub struct ContainerWriter {
    codec: ContainerCodec,
    sync: [u8; 16],
    /// The compressed block, reused from block to block.
    packed: Vec<u8>,
}

impl ContainerWriter {
    /// Appends the file's header to `out`. `sync` should differ from file to file. `metadata` keys must not
    /// begin with `avro.`.
    pub fn new(
        schema: &DatumSchema,
        codec: ContainerCodec,
        metadata: &[(&str, &[u8])],
        sync: [u8; 16],
        out: &mut Vec<u8>,
    ) -> Self {
        // The metadata is an Avro map in one block: the two entries of the specification, then the caller's.
        out.extend_from_slice(&MAGIC);
        let own = [("avro.schema", schema.json().as_bytes()), ("avro.codec", codec.as_str().as_bytes())];
        write_len(own.len() + metadata.len(), out);
        for (key, value) in own.iter().chain(metadata) {
            write_len(key.len(), out);
            out.extend_from_slice(key.as_bytes());
            write_len(value.len(), out);
            out.extend_from_slice(value);
        }

        // The empty block ends the map.
        out.push(0);
        out.extend_from_slice(&sync);
        Self { codec, sync, packed: Vec::new() }
    }

    /// Appends one block of `count` records whose datums are `raw`. Without records nothing is written.
    ///
    /// # Errors
    /// Fails if the codec fails; `out` is then as it was.
    pub fn block(&mut self, count: u64, raw: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        // A block without records is legal in Avro, but of no use to a reader.
        let count = i64::try_from(count).map_err(io::Error::other)?;
        if count == 0 {
            return Ok(());
        }

        // Compress first: the block's header needs the compressed size.
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
                // The checksum is Avro's addition to raw Snappy.
                self.packed.extend_from_slice(&crc32fast::hash(raw).to_be_bytes());
                &self.packed
            }
            ContainerCodec::Zstandard => {
                self.packed = zstd::bulk::compress(raw, ZSTANDARD_LEVEL)?;
                &self.packed
            }
        };

        // The block: count and size, the datums, and the marker by which a reader finds the next block.
        write_long(count, out);
        write_len(packed.len(), out);
        out.extend_from_slice(packed);
        out.extend_from_slice(&self.sync);
        Ok(())
    }
}
