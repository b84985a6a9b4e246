//! From a page to records: pure, the same page in, the same records out, however its bytes are cut.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use sluice_core::{OutcomeReason, Outputs, ReasonClass, Route, SchemaId};
use sluice_wire::{DatumSchema, JsonConverter, LeafProjection, LeafValue, SchemaError, framing};

use crate::incremental::IncrementalMaximum;
use crate::page::{PageCutter, PageElement, PageError, PagePaths};

/// Records that fit the contract.
pub(crate) const RECORDS: Route = Route(0);
/// Records that do not.
pub(crate) const LETTERS: Route = Route(1);

/// A larger record would be refused by a broker with default settings, and its whole transaction with it.
const MAX_RECORD: usize = 900 << 10;
/// Records of a page that are remembered for the comparison with the next one.
const REMEMBERED: usize = 10_000;

/// The compiled reader of one endpoint's pages. One page at a time: [`PageReader::begin`], [`PageReader::feed`] with
/// the bytes as they come, [`PageReader::finish`].
pub(crate) struct PageReader {
    cutter: PageCutter,
    /// Finds the value that an incremental job goes by.
    picker: Option<PageCutter>,
    page: PageReaderState,
    turn: PageRecordEncoder,
}

/// What turns one record's JSON into its outputs.
struct PageRecordEncoder {
    from_json: JsonConverter,
    key: LeafProjection,
    schema_id: SchemaId,
    datum: Vec<u8>,
    key_text: Vec<u8>,
}

/// Where to look in a page, and what to keep of it.
#[derive(Debug, Clone)]
pub(crate) struct PageReaderSettings {
    pub(crate) paths: PagePaths,
    /// Largest JSON text of a record that is kept in memory, in bytes.
    pub(crate) max_record: usize,
    /// Path, in a record, of the value that an incremental job goes by.
    pub(crate) incremental: Option<String>,
}

/// How far a page was read.
#[derive(Default)]
struct PageReaderState {
    /// Over all its records so far.
    hash: Sha256,
    read: u64,
    /// Published by someone before us: passed over, and compared.
    before: Option<PartMark>,
    part: PagePartCounts,
    remembered: Vec<u64>,
    since: Option<IncrementalMaximum>,
    high: Option<IncrementalMaximum>,
}

/// The first records of a page, published before the rest of it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PartMark {
    /// How many.
    pub(crate) records: u64,
    /// SHA-256 over them, in hexadecimal: a page that is asked for again must begin with the same ones.
    pub(crate) hash: String,
}

/// Which page is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageAddress<'a> {
    pub(crate) job: &'a str,
    pub(crate) endpoint: &'a str,
    /// 0-based, counted over the endpoint's pages of one id.
    pub(crate) page: u64,
}

/// What was appended since the last part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PagePartCounts {
    pub(crate) records: u64,
    pub(crate) rejects: u64,
    /// Passed over: an earlier run had them.
    pub(crate) repeats: u64,
}

/// A page that was read to its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PageSummary {
    /// Its last part; the only one, unless the page is large.
    pub(crate) part: PagePartCounts,
    /// The whole page.
    pub(crate) mark: PartMark,
    /// What the pagination wants to see.
    pub(crate) values: Vec<Option<String>>,
    /// Short hashes of its first records.
    pub(crate) remembered: Vec<u64>,
    /// The highest value in it of the field that an incremental job goes by.
    pub(crate) high: Option<IncrementalMaximum>,
}

impl PageReader {
    /// Compiles for one schema; `record_key` is the path of the field that becomes the Kafka key.
    pub(crate) fn compile(
        look: &PageReaderSettings,
        schema: &DatumSchema,
        schema_id: SchemaId,
        record_key: &str,
    ) -> Result<Self, SchemaError> {
        let turn = PageRecordEncoder {
            from_json: JsonConverter::compile(schema)?,
            key: LeafProjection::compile(schema, &[record_key])?,
            schema_id,
            datum: Vec::new(),
            key_text: Vec::new(),
        };
        let cutter = PageCutter::new(&look.paths, look.max_record);
        let picker = look.incremental.as_deref().map(PageCutter::picker);
        Ok(Self { cutter, picker, page: PageReaderState::default(), turn })
    }

    /// A page begins; its first records are passed over if they were published `before`, and those at the edge of an
    /// earlier run that had them.
    pub(crate) fn begin(&mut self, before: Option<&PartMark>, since: Option<&IncrementalMaximum>) {
        self.cutter.restart();
        self.page =
            PageReaderState { before: before.cloned(), since: since.cloned(), ..PageReaderState::default() };
    }

    /// Appends the records that end in `chunk`, and the dead letters of those that do not fit, to `out`.
    ///
    /// After an error what `out` holds of the page must not be published.
    pub(crate) fn feed(
        &mut self,
        at: PageAddress<'_>,
        chunk: &[u8],
        out: &mut Outputs,
    ) -> Result<(), PageError> {
        let Self { cutter, picker, page, turn } = self;
        let offset = cutter.offset() + chunk.len() as u64;
        cutter.feed(chunk, |cut| {
            if !page.is_new(&cut, picker.as_mut())? {
                return Ok(());
            }
            let nth = page.read - 1;
            let turned = match cut {
                PageElement::Oversize(_) => Err((too_large(), &[][..])),
                PageElement::Record(json) => turn.run(json).map_err(|reason| (reason, json)),
            };
            match turned {
                Ok(keyed) => {
                    page.part.records += 1;
                    emit(keyed.then_some(turn.key_text.as_slice()), &turn.datum, out);
                }
                // Not JSON at all: then the page is broken, not the record.
                Err((reason, json)) if reason.class == ReasonClass::Shape && !is_json(json) => {
                    return Err(PageError::NotJson(offset));
                }
                Err((reason, json)) => {
                    page.part.rejects += 1;
                    letter(at, nth, json, &reason, out);
                }
            }
            Ok(())
        })
    }

    /// Ends a part of the page: what was appended since the last one, and the mark that stands behind it.
    pub(crate) fn part(&mut self) -> (PagePartCounts, PartMark) {
        (std::mem::take(&mut self.page.part), self.page.mark())
    }

    /// The page has ended.
    pub(crate) fn finish(&mut self) -> Result<PageSummary, PageError> {
        let values = self.cutter.finish()?;
        match &self.page.before {
            Some(before) if self.page.read < before.records => Err(PageError::Changed(before.records)),
            _ => {
                let (part, mark) = self.part();
                let remembered = std::mem::take(&mut self.page.remembered);
                Ok(PageSummary { part, mark, values, remembered, high: self.page.high.take() })
            }
        }
    }
}

impl PageReaderState {
    /// Counts a record; `false` if it was published before.
    fn is_new(&mut self, cut: &PageElement<'_>, picker: Option<&mut PageCutter>) -> Result<bool, PageError> {
        self.read += 1;
        let mut repeated = false;
        match cut {
            PageElement::Record(json) => {
                self.hash.update((json.len() as u64).to_le_bytes());
                self.hash.update(json);
                let short = short_hash(json);
                if self.remembered.len() < REMEMBERED {
                    self.remembered.push(short);
                }
                if let Some(value) = picker.and_then(|picker| picker.pick(json)) {
                    IncrementalMaximum::see(&mut self.high, &value, short);
                    repeated = self.since.as_ref().is_some_and(|since| since.has(&value, short));
                }
            }
            PageElement::Oversize(length) => self.hash.update(length.to_le_bytes()),
        }
        match &self.before {
            Some(before) if self.read == before.records && self.mark() != *before => {
                return Err(PageError::Changed(before.records));
            }
            Some(before) if self.read <= before.records => return Ok(false),
            _ => {}
        }
        self.part.repeats += u64::from(repeated);
        Ok(!repeated)
    }

    fn mark(&self) -> PartMark {
        PartMark { records: self.read, hash: hex::encode(self.hash.clone().finalize()) }
    }
}

impl PageRecordEncoder {
    /// Fills `datum` (framed) and `key_text`; answers whether there is a key (a null field is a null key).
    fn run(&mut self, json: &[u8]) -> Result<bool, OutcomeReason> {
        let Self { from_json, key, schema_id, datum, key_text } = self;
        datum.clear();
        key_text.clear();
        framing::write_prefix(*schema_id, datum);
        from_json
            .run(json, datum)
            .map_err(|error| OutcomeReason::new(ReasonClass::Shape, error.expected).at(error.path, None))?;
        if datum.len() > MAX_RECORD {
            return Err(too_large());
        }
        let mut keyed = false;
        let datum = datum.get(framing::PREFIX..).unwrap_or_default();
        key.run(datum, |_, leaf| keyed = text_of(leaf, key_text)).map_err(OutcomeReason::from)?;
        Ok(keyed)
    }
}

/// The same in every build of this program only where the standard library's hasher is; a repeat more is all that a
/// change of it would cost.
fn short_hash(json: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    json.hash(&mut hasher);
    hasher.finish()
}

fn too_large() -> OutcomeReason {
    OutcomeReason::new(ReasonClass::TooLarge, "at most 900 KiB")
}

/// A record that does not fit is still JSON, or the page is broken.
fn is_json(json: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(json).is_ok()
}

/// Appends a leaf's text, the same that masking and joins see; `false` for null.
fn text_of(leaf: LeafValue<'_>, out: &mut Vec<u8>) -> bool {
    match leaf {
        LeafValue::Null => return false,
        LeafValue::String(text) => out.extend_from_slice(text.as_bytes()),
        LeafValue::Enum { symbol, .. } => out.extend_from_slice(symbol.as_bytes()),
        LeafValue::Bytes(bytes) | LeafValue::Fixed(bytes) => out.extend_from_slice(bytes),
        LeafValue::Boolean(value) => out.extend_from_slice(value.to_string().as_bytes()),
        LeafValue::Int(value) => out.extend_from_slice(value.to_string().as_bytes()),
        LeafValue::Long(value) => out.extend_from_slice(value.to_string().as_bytes()),
        LeafValue::Float(value) => out.extend_from_slice(value.to_string().as_bytes()),
        LeafValue::Double(value) => out.extend_from_slice(value.to_string().as_bytes()),
    }
    true
}

fn emit(key: Option<&[u8]>, datum: &[u8], out: &mut Outputs) {
    let mut draft = out.draft(RECORDS);
    if let Some(key) = key {
        draft.key(key);
    }
    value(&mut draft, datum);
    draft.emit();
}

/// A record that never was in Kafka: its "topic" is the endpoint, its "partition" the page, its "offset" its place.
fn letter(at: PageAddress<'_>, nth: u64, json: &[u8], reason: &OutcomeReason, out: &mut Outputs) {
    let mut draft = out.draft(LETTERS);
    let texts = [
        ("sluice.dlq.source.topic", format!("collector/{}/{}", at.job, at.endpoint)),
        ("sluice.dlq.source.partition", at.page.to_string()),
        ("sluice.dlq.source.offset", nth.to_string()),
        ("sluice.dlq.class", reason.class.as_str().to_owned()),
        ("sluice.dlq.path", reason.path.clone()),
        ("sluice.dlq.reason", reason.to_string()),
        ("sluice.dlq.worker", "collector".to_owned()),
        ("sluice.dlq.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("sluice.dlq.attempt", "1".to_owned()),
    ];
    for (name, text) in &texts {
        draft.header(name, Some(text.as_bytes()));
    }
    // What is too large for a record is too large for a letter: its place is told, its bytes stay with the API.
    if !json.is_empty() && json.len() <= MAX_RECORD {
        value(&mut draft, json);
    }
    draft.emit();
}

/// Sets a draft's value.
pub(crate) fn value(draft: &mut sluice_core::OutputDraft<'_>, bytes: &[u8]) {
    let copied: Result<(), std::convert::Infallible> = draft.value_with(|out| {
        out.extend_from_slice(bytes);
        Ok(())
    });
    match copied {
        Ok(()) => {}
    }
}

#[cfg(test)]
mod tests;
