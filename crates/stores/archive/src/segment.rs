//! An open archive object: compressed blocks in memory. Its header is written last.
//!
//! The header holds the last offset and the count. Therefore it can only be written when the object is
//! complete. The sync marker is needed from the first block on. It is a hash of the object's name, and a
//! repeat has the same marker.

use std::io;

use bytes::Bytes;
use object_store::PutPayload;
use sha2::{Digest, Sha256};
use sluice_core::{OutcomeReason, SchemaId};
use sluice_wire::{ContainerCodec, ContainerWriter, DatumSchema, LineageFrame, RecordLineage};

/// Uncompressed bytes of a block: large enough to compress well, small enough for readers to hold.
const BLOCK_BYTES: usize = 64 * 1024;

/// Records of one partition and one schema id that will become one object.
pub(super) struct ArchiveObjectBuilder {
    schema: DatumSchema,
    id: SchemaId,
    codec: ContainerCodec,
    sync: [u8; 16],
    container: ContainerWriter,
    /// Complete blocks, compressed.
    body: Vec<u8>,
    /// Records of the block that is being filled, uncompressed.
    block: Vec<u8>,
    /// Number of records in `block`.
    in_block: u64,
    /// First offset that the object covers. No record needs to have it.
    from: i64,
    /// Offset of the first record inside.
    first: i64,
    /// Offset of the last record inside.
    last: i64,
    /// Number of records inside.
    count: u64,
    /// Bytes of the datums inside, before compression.
    bytes: usize,
}

impl ArchiveObjectBuilder {
    /// Begins an empty object that covers its partition from offset `from` on.
    pub(super) fn new(
        frame: &LineageFrame,
        id: SchemaId,
        codec: ContainerCodec,
        from: i64,
        lineage: &RecordLineage<'_>,
    ) -> Self {
        let schema = frame.extended().clone();
        let sync = sync_marker(lineage.topic, lineage.partition, from);

        // The header of this writer is thrown away: `object` writes the real one when the metadata is known.
        let container = ContainerWriter::new(&schema, codec, &[], sync, &mut Vec::new());

        // `last` begins at the first record, whose append sets it again.
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

    /// Appends a record. A refused record leaves the object unchanged.
    pub(super) fn append(
        &mut self,
        frame: &LineageFrame,
        datum: &[u8],
        lineage: &RecordLineage<'_>,
    ) -> Result<(), OutcomeReason> {
        // The frame validates the datum and appends the lineage. It writes nothing if it refuses.
        frame.append(datum, lineage, &mut self.block).map_err(OutcomeReason::from)?;
        self.in_block += 1;
        self.count += 1;
        self.bytes += datum.len();
        self.last = lineage.offset;

        // A full block is compressed at once: an open object holds few uncompressed bytes.
        if self.block.len() >= BLOCK_BYTES {
            self.close_block().map_err(|_| {
                OutcomeReason::new(
                    sluice_core::ReasonClass::TooLarge,
                    "expected a block that can be compressed",
                )
            })?;
        }
        Ok(())
    }

    /// Returns the whole object: header and blocks. It can be called again after a failed write, also after
    /// further records have been appended.
    ///
    /// # Errors
    /// Fails if the last block cannot be compressed.
    pub(super) fn object(&mut self, topic: &str, partition: i32) -> io::Result<PutPayload> {
        self.close_block()?;

        // The metadata that readers and `resume` take from the header. The keys are listed in the crate's
        // head.
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

        // Only the header of this second writer is used. It has the same sync marker as the blocks.
        let mut header = Vec::new();
        let _ = ContainerWriter::new(&self.schema, self.codec, &metadata, self.sync, &mut header);
        Ok([Bytes::from(header), Bytes::from(self.body.clone())].into_iter().collect())
    }

    /// Compresses the block that is being filled, if it has records.
    fn close_block(&mut self) -> io::Result<()> {
        // An Avro block of zero records is legal, but readers would only pass over it.
        if self.in_block > 0 {
            self.container.block(self.in_block, &self.block, &mut self.body)?;
            self.block.clear();
            self.in_block = 0;
        }
        Ok(())
    }

    /// Returns the registry's id of the writer's schema.
    pub(super) fn schema_id(&self) -> SchemaId {
        self.id
    }

    /// Returns the first offset covered.
    pub(super) fn from(&self) -> i64 {
        self.from
    }

    /// Returns the next offset: one past the last offset covered.
    pub(super) fn end(&self) -> i64 {
        self.last.saturating_add(1)
    }

    /// Returns the number of records inside.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Returns the bytes of the datums inside, before compression.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Returns the object's sync marker: the first 16 bytes of a SHA-256 over topic, partition and first covered
/// offset.
fn sync_marker(topic: &str, partition: i32, from: i64) -> [u8; 16] {
    // Zero bytes separate the texts: topic names hold none, and two different names never give the same
    // input.
    let mut hash = Sha256::new();
    hash.update(b"sluice-archive\0");
    hash.update(topic.as_bytes());
    hash.update([0]);
    hash.update(partition.to_be_bytes());
    hash.update(from.to_be_bytes());

    // Avro's markers have 16 bytes.
    let mut marker = [0; 16];
    marker.copy_from_slice(&hash.finalize()[..16]);
    marker
}
