//! Dead letters that wait for their batch: they are sent once the store is durable, with the receipts that count them.

use sluice_core::{Fault, Header, TopicPartition};

use sluice_kafka::OutgoingRecord;

/// The letters of the open batch. Their bytes count like the store's own.
#[derive(Default)]
pub(super) struct DeadLetterOutbox {
    waiting: Vec<OutboxLetter>,
    bytes: usize,
}

struct OutboxLetter {
    at: TopicPartition,
    topic: String,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    timestamp_ms: Option<i64>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

impl OutboxLetter {
    fn size(&self) -> usize {
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + length(value)).sum();
        length(&self.key) + length(&self.value) + headers
    }
}

impl DeadLetterOutbox {
    /// Keeps a copy of a letter about a record of `at`.
    pub(super) fn keep(&mut self, at: TopicPartition, out: &OutgoingRecord<'_>) {
        let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
        let letter = OutboxLetter {
            at,
            topic: out.topic.to_owned(),
            key: owned(out.key),
            value: owned(out.value),
            timestamp_ms: out.timestamp_ms,
            headers: out.headers.iter().map(|header| (header.name.to_owned(), owned(header.value))).collect(),
        };
        self.bytes += letter.size();
        self.waiting.push(letter);
    }

    /// Returns the bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Hands every letter to `send`, in order. The letters are kept until [`DeadLetterOutbox::clear`].
    ///
    /// # Errors
    /// As `send`.
    pub(super) fn send_all(
        &self,
        mut send: impl FnMut(&OutgoingRecord<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        for letter in &self.waiting {
            let headers: Vec<Header<'_>> =
                letter.headers.iter().map(|(name, value)| Header { name, value: value.as_deref() }).collect();
            send(&OutgoingRecord {
                topic: &letter.topic,
                partition: None,
                key: letter.key.as_deref(),
                value: letter.value.as_deref(),
                timestamp_ms: letter.timestamp_ms,
                headers: &headers,
            })?;
        }
        Ok(())
    }

    /// Forgets all letters: they are committed, or their batch is given up.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Forgets the letters about one partition.
    pub(super) fn forget(&mut self, at: &TopicPartition) {
        self.waiting.retain(|letter| letter.at != *at);
        self.bytes = self.waiting.iter().map(OutboxLetter::size).sum();
    }
}
