//! The arena that a transform appends its outputs to: one buffer of bytes per batch. Once the buffer is warm,
//! a record allocates nothing.

use crate::Header;

/// An output topic of a processor, as an index into [`crate::Processor::routes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Route(pub u16);

/// Records that wait to be produced. Keys, values and headers follow one another in a single buffer.
#[derive(Default)]
pub struct Outputs {
    bytes: Vec<u8>,
    entries: Vec<OutputSpan>,
    headers: Vec<HeaderSpan>,
    now_ms: Option<i64>,
}

/// One output, lent for the call that hands it to the producer.
#[derive(Clone, Copy)]
pub struct OutRecord<'a> {
    /// Output topic.
    pub route: Route,
    /// Milliseconds since the epoch; `None` lets the broker or the client set the time.
    pub timestamp_ms: Option<i64>,
    /// Key bytes; `None` is a null key.
    pub key: Option<&'a [u8]>,
    /// Value bytes; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    bytes: &'a [u8],
    headers: &'a [HeaderSpan],
}

/// One output as positions in the arena: pairs of first byte and one past the last byte.
struct OutputSpan {
    route: Route,
    timestamp_ms: Option<i64>,
    key: Option<(usize, usize)>,
    value: Option<(usize, usize)>,
    /// First index and one past the last index in [`Outputs::headers`].
    headers: (usize, usize),
}

/// One header as positions in the arena, like [`OutputSpan`].
struct HeaderSpan {
    name: (usize, usize),
    value: Option<(usize, usize)>,
}

/// An output that is being written. If it is dropped without [`OutputDraft::emit`], it leaves no trace: a
/// transform that fails in the middle of a record never lets half a record out.
pub struct OutputDraft<'a> {
    outputs: &'a mut Outputs,
    /// Taken by [`OutputDraft::emit`]; until then it is there.
    entry: Option<OutputSpan>,
    bytes_before: usize,
    headers_before: usize,
}

impl Outputs {
    /// Returns an empty arena.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the present time, in milliseconds since the epoch. A processor reads no clock: the lane hands the
    /// time over with the outputs.
    pub fn set_now_ms(&mut self, now_ms: i64) {
        self.now_ms = Some(now_ms);
    }

    /// Returns the present time, if the lane has set it.
    pub fn now_ms(&self) -> Option<i64> {
        self.now_ms
    }

    /// Begins an output for `route`.
    pub fn draft(&mut self, route: Route) -> OutputDraft<'_> {
        // The lengths are kept, so that a dropped draft can be taken back.
        let (bytes_before, headers_before) = (self.bytes.len(), self.headers.len());
        let entry =
            OutputSpan { route, timestamp_ms: None, key: None, value: None, headers: (headers_before, 0) };
        OutputDraft { outputs: self, entry: Some(entry), bytes_before, headers_before }
    }

    /// Returns the number of outputs that wait.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns true if no output waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the size of all keys, values and headers that wait, in bytes.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets all outputs from number `len` on, for a record that emitted outputs and then turned out to be
    /// bad. Their bytes stay in the arena until [`Outputs::clear`].
    pub fn truncate(&mut self, len: usize) {
        // Only the entries go: the bytes and headers of these outputs stay, unused, until `clear`.
        self.entries.truncate(len);
    }

    /// Empties the arena and keeps its memory for the next batch.
    pub fn clear(&mut self) {
        // `Vec::clear` keeps the capacity.
        self.bytes.clear();
        self.entries.clear();
        self.headers.clear();
    }

    /// Returns the outputs in the order in which they were emitted.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = OutRecord<'_>> {
        // The bytes of an emitted output stay until `clear`, so that all spans are in range.
        self.entries.iter().map(|entry| OutRecord {
            route: entry.route,
            timestamp_ms: entry.timestamp_ms,
            key: entry.key.map(|(from, to)| &self.bytes[from..to]),
            value: entry.value.map(|(from, to)| &self.bytes[from..to]),
            bytes: &self.bytes,
            headers: &self.headers[entry.headers.0..entry.headers.1],
        })
    }
}

impl<'a> OutRecord<'a> {
    /// Returns true if the output has headers. The producer asks this first, because most outputs have none.
    #[inline]
    pub fn has_headers(&self) -> bool {
        !self.headers.is_empty()
    }

    /// Returns the headers in the order in which they were added.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = Header<'a>> + use<'a> {
        // Copied out of `self`, so that the headers may outlive this value: they borrow from the arena.
        let bytes = self.bytes;
        self.headers.iter().map(move |span| Header {
            name: header_name(&bytes[span.name.0..span.name.1]),
            value: span.value.map(|(from, to)| &bytes[from..to]),
        })
    }
}

/// Returns a header's name as text.
fn header_name(bytes: &[u8]) -> &str {
    let name = std::str::from_utf8(bytes);
    // `OutputDraft::header` copied the bytes from a `&str`.
    debug_assert!(name.is_ok(), "a header's name is UTF-8");
    name.unwrap_or("")
}

impl OutputDraft<'_> {
    /// Sets the key to these bytes.
    pub fn key(&mut self, key: &[u8]) -> &mut Self {
        // A key that is set twice leaves the first one's bytes unused in the arena.
        let from = self.outputs.bytes.len();
        self.outputs.bytes.extend_from_slice(key);
        let to = self.outputs.bytes.len();
        if let Some(entry) = &mut self.entry {
            entry.key = Some((from, to));
        }
        self
    }

    /// Lets `write` append the key. `write` must only append, as in [`OutputDraft::value_with`].
    ///
    /// # Errors
    /// The error of `write`; the draft stays as it was.
    pub fn key_with<E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        let span = self.append(write)?;
        if let Some(entry) = &mut self.entry {
            entry.key = Some(span);
        }
        Ok(())
    }

    /// Lets `write` append the value. `write` must only append: the bytes before belong to earlier outputs.
    ///
    /// # Errors
    /// The error of `write`; the draft stays as it was.
    pub fn value_with<E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        let span = self.append(write)?;
        if let Some(entry) = &mut self.entry {
            entry.value = Some(span);
        }
        Ok(())
    }

    /// Adds a header. Names may repeat.
    pub fn header(&mut self, name: &str, value: Option<&[u8]>) -> &mut Self {
        // Name and value follow each other in the arena, like all other bytes of the output.
        let bytes = &mut self.outputs.bytes;
        let start = bytes.len();
        bytes.extend_from_slice(name.as_bytes());
        let name = (start, bytes.len());
        // A header without a value is legal in Kafka, and differs from one with an empty value.
        let value = value.map(|value| {
            let from = bytes.len();
            bytes.extend_from_slice(value);
            (from, bytes.len())
        });
        self.outputs.headers.push(HeaderSpan { name, value });
        self
    }

    /// Sets the record's time, in milliseconds since the epoch.
    pub fn timestamp_ms(&mut self, timestamp_ms: Option<i64>) -> &mut Self {
        if let Some(entry) = &mut self.entry {
            entry.timestamp_ms = timestamp_ms;
        }
        self
    }

    /// Makes the output a part of the batch.
    pub fn emit(mut self) {
        debug_assert!(self.entry.is_some(), "only `emit` takes the entry, and it consumes the draft");
        if let Some(mut entry) = self.entry.take() {
            // All headers since the draft began are its own.
            entry.headers.1 = self.outputs.headers.len();
            self.outputs.entries.push(entry);
        }
    }

    /// Lets `write` append to the arena and returns the span of the new bytes.
    fn append<E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(usize, usize), E> {
        // All before `from` belongs to earlier outputs and to earlier parts of this one.
        let from = self.outputs.bytes.len();
        match write(&mut self.outputs.bytes) {
            Ok(()) => Ok((from, self.outputs.bytes.len())),
            Err(error) => {
                // `write` may have failed half-way: its bytes go.
                self.outputs.bytes.truncate(from);
                Err(error)
            }
        }
    }
}

impl Drop for OutputDraft<'_> {
    fn drop(&mut self) {
        // The entry is still there only if the draft was not emitted.
        if self.entry.is_some() {
            self.outputs.bytes.truncate(self.bytes_before);
            self.outputs.headers.truncate(self.headers_before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    #[test]
    fn what_is_emitted_comes_back_in_order() {
        let mut out = Outputs::new();
        let mut draft = out.draft(Route(1));
        draft.key(b"k").header("h", Some(b"v")).header("none", None).timestamp_ms(Some(5));
        draft
            .value_with(|b| {
                b.extend_from_slice(b"value");
                Ok::<(), Infallible>(())
            })
            .unwrap();
        draft.emit();
        out.draft(Route(0)).emit();
        let all: Vec<_> = out.iter().collect();
        assert_eq!(
            (all[0].key, all[0].value, all[0].timestamp_ms),
            (Some(&b"k"[..]), Some(&b"value"[..]), Some(5))
        );
        let headers: Vec<_> = all[0].headers().map(|h| (h.name, h.value)).collect();
        assert_eq!(headers, [("h", Some(&b"v"[..])), ("none", None)]);
        assert_eq!((all[1].route, all[1].key, all[1].value), (Route(0), None, None));
    }

    #[test]
    fn a_draft_that_fails_leaves_no_byte_behind() {
        let mut out = Outputs::new();
        {
            let mut draft = out.draft(Route(0));
            draft.key(b"key");
            let refused: Result<(), &str> = draft.value_with(|b| {
                b.extend_from_slice(b"half a va");
                Err("no")
            });
            assert_eq!(refused, Err("no"));
        }
        assert_eq!((out.len(), out.size()), (0, 0));
    }

    #[test]
    fn truncate_takes_back_a_records_outputs() {
        let mut out = Outputs::new();
        out.draft(Route(0)).emit();
        let before = out.len();
        out.draft(Route(0)).emit();
        out.draft(Route(0)).emit();
        out.truncate(before);
        assert_eq!(out.iter().count(), 1);
    }
}
