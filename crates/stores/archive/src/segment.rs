//! An object under construction: compressed blocks in memory, its header written last.
//!
//! The header tells the last offset and the count, so it can only be written when the object is complete. The sync
//! marker is needed from the first block on; it is a hash of the object's name, so that it is the same on a repeat.

use std::io;

use bytes::Bytes;
use object_store::PutPayload;
use sha2::{Digest, Sha256};
use sluice_core::{OutcomeReason, SchemaId};
use sluice_wire::{ContainerCodec, ContainerWriter, DatumSchema, LineageFrame, RecordLineage};

/// Uncompressed bytes of a block: large enough to compress well, small enough for readers to hold.
const BLOCK_BYTES: usize = 64 * 1024;

/// Records of one partition and one schema id, on their way to become one object.
pub(super) struct ArchiveObjectBuilder {
    schema: DatumSchema,
    id: SchemaId,
    codec: ContainerCodec,
    sync: [u8; 16],
    container: ContainerWriter,
    /// Complete blocks, compressed.
    body: Vec<u8>,
    /// Records of the block that is being filled, as they are.
    block: Vec<u8>,
    in_block: u64,
    from: i64,
    first: i64,
    last: i64,
    count: u64,
    bytes: usize,
}

impl ArchiveObjectBuilder {
    /// An empty segment that covers its partition from offset `from` on.
    pub(super) fn new(
        frame: &LineageFrame,
        id: SchemaId,
        codec: ContainerCodec,
        from: i64,
        lineage: &RecordLineage<'_>,
    ) -> Self {
        let schema = frame.extended().clone();
        let sync = sync_marker(lineage.topic, lineage.partition, from);
        // This header is thrown away: the real one is written when its metadata is known.
        let container = ContainerWriter::new(&schema, codec, &[], sync, &mut Vec::new());
        Self {
            schema,
            id,
            codec,
            sync,
            container,
            body: Vec::new(),
            block: Vec::new(),
            in_block: 0,
            from,
            first: lineage.offset,
            last: lineage.offset,
            count: 0,
            bytes: 0,
        }
    }

    /// Appends a record, or leaves everything as it was.
    pub(super) fn append(
        &mut self,
        frame: &LineageFrame,
        datum: &[u8],
        lineage: &RecordLineage<'_>,
    ) -> Result<(), OutcomeReason> {
        frame.append(datum, lineage, &mut self.block).map_err(OutcomeReason::from)?;
        self.in_block += 1;
        self.count += 1;
        self.bytes += datum.len();
        self.last = lineage.offset;
        if self.block.len() >= BLOCK_BYTES {
            self.close_block().map_err(|_| {
                OutcomeReason::new(sluice_core::ReasonClass::TooLarge, "a block that compresses")
            })?;
        }
        Ok(())
    }

    /// The whole object; may be asked for again after a failed write, and records may be appended in between.
    pub(super) fn object(&mut self, topic: &str, partition: i32) -> io::Result<PutPayload> {
        self.close_block()?;
        let numbers = [
            ("sluice.partition", partition.to_string()),
            ("sluice.from", self.from.to_string()),
            ("sluice.first", self.first.to_string()),
            ("sluice.last", self.last.to_string()),
            ("sluice.count", self.count.to_string()),
            ("sluice.schema.id", self.id.to_string()),
        ];
        let mut metadata: Vec<(&str, &[u8])> = vec![("sluice.topic", topic.as_bytes())];
        metadata.extend(numbers.iter().map(|(key, value)| (*key, value.as_bytes())));
        let mut header = Vec::new();
        let _ = ContainerWriter::new(&self.schema, self.codec, &metadata, self.sync, &mut header);
        Ok([Bytes::from(header), Bytes::from(self.body.clone())].into_iter().collect())
    }

    fn close_block(&mut self) -> io::Result<()> {
        if self.in_block > 0 {
            self.container.block(self.in_block, &self.block, &mut self.body)?;
            self.block.clear();
            self.in_block = 0;
        }
        Ok(())
    }

    pub(super) fn schema_id(&self) -> SchemaId {
        self.id
    }

    /// First offset covered.
    pub(super) fn from(&self) -> i64 {
        self.from
    }

    /// One past the last offset covered.
    pub(super) fn end(&self) -> i64 {
        self.last.saturating_add(1)
    }

    /// Records inside.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Bytes of the datums inside, before compression.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

fn sync_marker(topic: &str, partition: i32, from: i64) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update(b"sluice-archive\0");
    hash.update(topic.as_bytes());
    hash.update([0]);
    hash.update(partition.to_be_bytes());
    hash.update(from.to_be_bytes());
    let mut marker = [0; 16];
    marker.copy_from_slice(&hash.finalize()[..16]);
    marker
}
