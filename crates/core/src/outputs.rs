//! Where a transform appends what it produces: one arena of bytes per batch, nothing allocated per record once warm.

use crate::Header;

/// Which of a processor's output topics: an index into [`crate::Processor::routes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Route(pub u16);

/// Records waiting to be produced. Keys, values and headers lie one after another in a single buffer.
#[derive(Default)]
pub struct Outputs {
    bytes: Vec<u8>,
    entries: Vec<OutputSpan>,
    headers: Vec<HeaderSpan>,
}

/// One output, lent while it is handed to the producer.
#[derive(Clone, Copy)]
pub struct OutRecord<'a> {
    /// Output topic.
    pub route: Route,
    /// Milliseconds since the epoch; `None` lets the broker or client set it.
    pub timestamp_ms: Option<i64>,
    /// Key bytes, or a null key.
    pub key: Option<&'a [u8]>,
    /// Value bytes, or a tombstone.
    pub value: Option<&'a [u8]>,
    bytes: &'a [u8],
    headers: &'a [HeaderSpan],
}

struct OutputSpan {
    route: Route,
    timestamp_ms: Option<i64>,
    key: Option<(usize, usize)>,
    value: Option<(usize, usize)>,
    headers: (usize, usize),
}

struct HeaderSpan {
    name: (usize, usize),
    value: Option<(usize, usize)>,
}

/// An output being written. Dropped without [`OutputDraft::emit`], it leaves no trace: a transform that fails half-way
/// through a record never lets half a record out.
pub struct OutputDraft<'a> {
    outputs: &'a mut Outputs,
    entry: Option<OutputSpan>,
    bytes_before: usize,
    headers_before: usize,
}

impl Outputs {
    /// An empty arena.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts an output for `route`.
    pub fn draft(&mut self, route: Route) -> OutputDraft<'_> {
        let (bytes_before, headers_before) = (self.bytes.len(), self.headers.len());
        let entry =
            OutputSpan { route, timestamp_ms: None, key: None, value: None, headers: (headers_before, 0) };
        OutputDraft { outputs: self, entry: Some(entry), bytes_before, headers_before }
    }

    /// How many outputs are waiting.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Is nothing waiting?
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of keys, values and headers that are waiting.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets everything from output `len` on: a record that emitted something and then turned out to be bad takes
    /// its outputs back with it.
    pub fn truncate(&mut self, len: usize) {
        self.entries.truncate(len);
    }

    /// Empties the arena and keeps its memory for the next batch.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.headers.clear();
    }

    /// The outputs in the order they were emitted.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = OutRecord<'_>> {
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
    /// Has it any header? One that has none is spared the asking for each.
    #[inline]
    pub fn has_headers(&self) -> bool {
        !self.headers.is_empty()
    }

    /// Its headers, in order.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = Header<'a>> + use<'a> {
        let bytes = self.bytes;
        self.headers.iter().map(move |span| Header {
            // Written from a `&str` by `OutputDraft::header`, so always valid.
            name: std::str::from_utf8(&bytes[span.name.0..span.name.1]).unwrap_or(""),
            value: span.value.map(|(from, to)| &bytes[from..to]),
        })
    }
}

impl OutputDraft<'_> {
    /// Sets the key to `key`'s bytes.
    pub fn key(&mut self, key: &[u8]) -> &mut Self {
        let from = self.outputs.bytes.len();
        self.outputs.bytes.extend_from_slice(key);
        let to = self.outputs.bytes.len();
        if let Some(entry) = &mut self.entry {
            entry.key = Some((from, to));
        }
        self
    }

    /// Lets `write` append the key; an error leaves the draft as it was and is handed on.
    pub fn key_with<E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        let span = self.append(write)?;
        if let Some(entry) = &mut self.entry {
            entry.key = Some(span);
        }
        Ok(())
    }

    /// Lets `write` append the value; an error leaves the draft as it was and is handed on.
    ///
    /// `write` must only append: what lies before belongs to earlier outputs.
    pub fn value_with<E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        let span = self.append(write)?;
        if let Some(entry) = &mut self.entry {
            entry.value = Some(span);
        }
        Ok(())
    }

    /// Adds a header.
    pub fn header(&mut self, name: &str, value: Option<&[u8]>) -> &mut Self {
        let bytes = &mut self.outputs.bytes;
        let start = bytes.len();
        bytes.extend_from_slice(name.as_bytes());
        let name = (start, bytes.len());
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

    /// Makes the output part of the batch.
    pub fn emit(mut self) {
        if let Some(mut entry) = self.entry.take() {
            entry.headers.1 = self.outputs.headers.len();
            self.outputs.entries.push(entry);
        }
    }

    fn append<E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(usize, usize), E> {
        let from = self.outputs.bytes.len();
        match write(&mut self.outputs.bytes) {
            Ok(()) => Ok((from, self.outputs.bytes.len())),
            Err(error) => {
                self.outputs.bytes.truncate(from);
                Err(error)
            }
        }
    }
}

impl Drop for OutputDraft<'_> {
    fn drop(&mut self) {
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
