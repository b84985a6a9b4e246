//! From a page to records. This module is pure: the same page gives the same records, however its bytes are
//! cut.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use sluice_core::{OutcomeReason, Outputs, ReasonClass, Route, SchemaId, names};
use sluice_wire::{DatumSchema, JsonConverter, LeafProjection, LeafValue, SchemaError, framing};

use crate::verdict::{PageFacts, RecordShape};

use crate::incremental::IncrementalMaximum;
use crate::page::{PageCutter, PageElement, PageError, PagePath, PagePaths, PageValues};
use crate::template::{TemplateValues, TextTemplate};

/// The route of records that fit the contract.
pub(crate) const RECORDS: Route = Route(0);
/// The route of records that do not fit.
pub(crate) const LETTERS: Route = Route(1);

/// The largest record, in bytes. A broker with default settings would refuse a larger one, and its whole
/// transaction with it.
const MAX_RECORD: usize = 900 << 10;
/// The most records of a page that are remembered for the comparison with the next page.
const REMEMBERED: usize = 10_000;

/// The compiled reader of one endpoint's pages. It reads one page at a time: [`PageReader::begin`], then
/// [`PageReader::feed`] with the bytes as they come, then [`PageReader::finish`].
pub(crate) struct PageReader {
    cutter: PageCutter,
    /// Finds the value of the incremental field in a record.
    picker: Option<PageCutter>,
    /// Finds the token in the last record of a page.
    last_picker: Option<PageCutter>,
    /// Finds tokens and probes in the one record of a page that is its record.
    inside: Option<PageCutter>,
    /// Fields that the job adds where the API leaves them out.
    added: Vec<(String, TextTemplate)>,
    /// Names of the schema's fields.
    fields: Vec<String>,
    /// Whether times beyond the present move the incremental mark.
    future: bool,
    page: PageReaderState,
    turn: PageRecordEncoder,
}

/// Turns one record's JSON into its framed datum and its key.
struct PageRecordEncoder {
    from_json: JsonConverter,
    key: LeafProjection,
    schema_id: SchemaId,
    datum: Vec<u8>,
    key_text: Vec<u8>,
}

/// The paths to look at in a page, and the limits.
#[derive(Debug, Clone)]
pub(crate) struct PageReaderSettings {
    pub(crate) paths: PagePaths,
    /// The largest JSON text of a record that is kept in memory, in bytes.
    pub(crate) max_record: usize,
    /// Path of the incremental field in a record.
    pub(crate) incremental: Option<PagePath>,
    /// True if a time beyond the present may move the incremental mark.
    pub(crate) future: bool,
    /// Path of the next page's token in the last record.
    pub(crate) last_record: Option<PagePath>,
    /// Fields that are added where the API leaves them out.
    pub(crate) added: Vec<(String, TextTemplate)>,
}

/// The beginning of a page.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PageBeginning<'p> {
    /// The first records, if an earlier request has published them.
    pub(crate) before: Option<&'p PartMark>,
    /// The highest value of the last complete run.
    pub(crate) since: Option<&'p IncrementalMaximum>,
    /// Milliseconds since the epoch.
    pub(crate) now_ms: i64,
}

/// The progress in one page.
#[derive(Default)]
struct PageReaderState {
    /// Hash over all records of the page so far.
    hash: Sha256,
    /// Number of records so far.
    read: u64,
    /// The records that an earlier request has published. They are passed over and compared.
    before: Option<PartMark>,
    part: PagePartCounts,
    /// Short hashes of the first records.
    remembered: Vec<u64>,
    /// The highest value of the last complete run.
    since: Option<IncrementalMaximum>,
    high: Option<IncrementalMaximum>,
    /// Milliseconds since the epoch.
    now_ms: i64,
    /// The last record, if a token is looked for in it.
    last: Vec<u8>,
    /// Values in the one record of a page that is its record.
    inside: Option<PageValues>,
}

/// The first records of a page, published before the rest of it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PartMark {
    /// Their number.
    pub(crate) records: u64,
    /// SHA-256 over them, in hexadecimal. If the page is requested again, it must begin with the same
    /// records.
    pub(crate) hash: String,
}

/// The address of a page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageAddress<'a> {
    pub(crate) job: &'a str,
    /// The id as dead letters name it.
    pub(crate) id: LetterId<'a>,
    /// Number of the run over the id.
    pub(crate) run: i64,
    pub(crate) endpoint: &'a str,
    /// 0-based, counted over the endpoint's pages of one id.
    pub(crate) page: u64,
}

/// An id in a dead letter.
#[derive(Debug, Clone, Copy)]
pub(crate) enum LetterId<'a> {
    /// The id itself.
    Plain(&'a str),
    /// Its pseudonym, where the job says that ids are confidential.
    Pseudonym(&'a str),
}

/// The records that were appended since the last part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PagePartCounts {
    pub(crate) records: u64,
    pub(crate) rejects: u64,
    /// Records that were passed over, because an earlier run had them.
    pub(crate) repeats: u64,
}

/// A page that was read to its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PageSummary {
    /// The last part of the page; the only one, unless the page is large.
    pub(crate) part: PagePartCounts,
    /// Number and hash of all records of the page.
    pub(crate) mark: PartMark,
    /// The values that the pagination looks at, and the total if the endpoint has one.
    pub(crate) values: Vec<Option<String>>,
    /// The facts on which the page is judged.
    pub(crate) facts: PageFacts,
    /// The token in the last record.
    pub(crate) last_value: Option<String>,
    /// Short hashes of the page's first records.
    pub(crate) remembered: Vec<u64>,
    /// The highest value of the incremental field in the page.
    pub(crate) high: Option<IncrementalMaximum>,
}

impl PageReader {
    /// Compiles the reader for one schema. `record_key` is the path of the field that becomes the Kafka key.
    ///
    /// # Errors
    /// [`SchemaError`] if the schema cannot be read from JSON, or has no such field.
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
        Ok(Self {
            cutter: PageCutter::new(&look.paths, look.max_record),
            picker: look.incremental.as_ref().map(PageCutter::picker),
            last_picker: look.last_record.as_ref().map(PageCutter::picker),
            inside: look.paths.at_root().then(|| PageCutter::inside_record(&look.paths)),
            added: look.added.clone(),
            fields: schema.field_names(),
            future: look.future,
            page: PageReaderState::default(),
            turn,
        })
    }

    /// Fills the fields that the job adds, for this id.
    ///
    /// # Errors
    /// The reason why the id does not fit a field. It does not quote the id.
    pub(crate) fn fill(&mut self, values: TemplateValues<'_>) -> Result<(), String> {
        for (field, template) in &self.added {
            let text = template.fill(values).unwrap_or_default();
            let filled = self.turn.from_json.fill_missing(field, &text);
            filled.map_err(|error| format!("the text for the field `{field}` (`fields`): {error}"))?;
        }
        Ok(())
    }

    /// Begins a page. Its first records are passed over if they were published before, and so are those at the
    /// edge of an earlier run.
    pub(crate) fn begin(&mut self, page: PageBeginning<'_>) {
        self.cutter.restart();
        // Without the check a time of the year 9999 is as good as any other.
        let now_ms = if self.future { i64::MAX } else { page.now_ms };
        self.page = PageReaderState {
            before: page.before.cloned(),
            since: page.since.cloned(),
            now_ms,
            ..PageReaderState::default()
        };
    }

    /// Appends the records that end in `chunk`, and the dead letters of those that do not fit, to `out`.
    ///
    /// # Errors
    /// [`PageError`] if the page is broken. The part of the page that `out` holds must not be published then.
    pub(crate) fn feed(
        &mut self,
        at: PageAddress<'_>,
        chunk: &[u8],
        out: &mut Outputs,
    ) -> Result<(), PageError> {
        let Self { cutter, picker, last_picker, inside, fields, page, turn, .. } = self;

        // The end of the chunk is the place that an error names.
        let offset = cutter.offset() + chunk.len() as u64;
        cutter.feed(chunk, |cut| {
            // A page that is its one record may be an error, or hold tokens.
            if let (PageElement::Whole(json), Some(inside)) = (&cut, inside.as_mut()) {
                page.inside = inside.look_inside(json);
                if page.inside.as_ref().is_some_and(|values| RecordShape::of(values, fields).is_error()) {
                    page.read += 1;
                    return Ok(());
                }
            }
            if let (PageElement::Record(json) | PageElement::Whole(json), Some(_)) = (&cut, &last_picker) {
                page.last.clear();
                page.last.extend_from_slice(json);
            }

            // Records that are published already only count for the hash.
            if !page.is_new(&cut, picker.as_mut())? {
                return Ok(());
            }

            // A record that is too large was not kept, so there is no JSON of it.
            let nth = page.read - 1;
            let turned = match cut {
                PageElement::Oversize(_) => Err((too_large(), &[][..])),
                PageElement::Record(json) | PageElement::Whole(json) => {
                    turn.run(json).map_err(|reason| (reason, json))
                }
            };

            match turned {
                Ok(keyed) => {
                    page.part.records += 1;
                    emit(keyed.then_some(turn.key_text.as_slice()), &turn.datum, out);
                }
                // If brackets and quotes do not close, the record's end is not known: the page is broken.
                Err((reason, json)) if reason.class == ReasonClass::Shape && !closes(json) => {
                    return Err(PageError::NotJson(offset));
                }
                // The record does not fit the contract, or is no JSON (for example for a bare NaN). The page goes
                // on behind it.
                Err((reason, json)) => {
                    page.part.rejects += 1;
                    letter(at, nth, json, &reason, out);
                }
            }
            Ok(())
        })
    }

    /// Ends a part of the page. Returns its counts and the mark behind it.
    pub(crate) fn part(&mut self) -> (PagePartCounts, PartMark) {
        (std::mem::take(&mut self.page.part), self.page.mark())
    }

    /// Ends the page.
    ///
    /// # Errors
    /// [`PageError`] if its JSON is incomplete, or if it has fewer records than were published before.
    pub(crate) fn finish(&mut self) -> Result<PageSummary, PageError> {
        let mut values = self.cutter.finish()?;
        // The values of a page that is its record are in the record.
        if let Some(inside) = self.page.inside.take() {
            values = PageValues { found: values.found | inside.found, ..inside };
        }
        let last_value = self.last_picker.as_mut().and_then(|picker| picker.pick(&self.page.last));
        match &self.page.before {
            Some(before) if self.page.read < before.records => Err(PageError::Changed(before.records)),
            _ => {
                let (part, mark) = self.part();
                let remembered = std::mem::take(&mut self.page.remembered);
                let high = self.page.high.take();
                let tokens = std::mem::take(&mut values.tokens);
                let is_error = self.inside.is_some() && RecordShape::of(&values, &self.fields).is_error();
                let facts = PageFacts { values, is_error, records: mark.records };
                Ok(PageSummary { part, mark, values: tokens, facts, last_value, remembered, high })
            }
        }
    }
}

impl PageReaderState {
    /// Counts a record. Returns `false` if it was published before.
    fn is_new(&mut self, cut: &PageElement<'_>, picker: Option<&mut PageCutter>) -> Result<bool, PageError> {
        self.read += 1;

        // Every record goes into the hash, published before or not. Of a record that is too large only the
        // length is known.
        let mut repeated = false;
        match cut {
            PageElement::Record(json) | PageElement::Whole(json) => {
                self.hash.update((json.len() as u64).to_le_bytes());
                self.hash.update(json);
                let short = short_hash(json);
                if self.remembered.len() < REMEMBERED {
                    self.remembered.push(short);
                }
                if let Some(value) = picker.and_then(|picker| picker.pick(json)) {
                    // A record from the future would keep every later run from asking for anything.
                    if !crate::incremental::is_beyond(&value, self.now_ms) {
                        IncrementalMaximum::see(&mut self.high, &value, short);
                    }
                    repeated = self.since.as_ref().is_some_and(|since| since.has(&value, short));
                }
            }
            PageElement::Oversize(length) => self.hash.update(length.to_le_bytes()),
        }

        // The last record that was published before must complete the same hash. If not, the page has
        // changed.
        match &self.before {
            Some(before) if self.read == before.records && self.mark() != *before => {
                return Err(PageError::Changed(before.records));
            }
            Some(before) if self.read <= before.records => return Ok(false),
            _ => {}
        }

        // A repeat is a record that an earlier run had: it is counted, but not published.
        self.part.repeats += u64::from(repeated);
        Ok(!repeated)
    }

    /// Returns the mark of all records so far.
    fn mark(&self) -> PartMark {
        PartMark { records: self.read, hash: hex::encode(self.hash.clone().finalize()) }
    }
}

impl PageRecordEncoder {
    /// Fills `datum` (framed) and `key_text`. Returns whether there is a key; a null field is a null key.
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

        // The key comes from the datum, so that it has the same text as in masking and joins.
        let mut keyed = false;
        debug_assert!(datum.len() >= framing::PREFIX, "the datum begins with its framing");
        let datum = datum.get(framing::PREFIX..).unwrap_or_default();
        key.run(datum, |_, leaf| keyed = text_of(leaf, key_text)).map_err(OutcomeReason::from)?;
        Ok(keyed)
    }
}

/// Returns a short hash of a record. It is stable only as long as the standard library's hasher is. A change
/// of it costs one more repeat and nothing else.
fn short_hash(json: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    json.hash(&mut hasher);
    hasher.finish()
}

/// Returns the reason for a record beyond [`MAX_RECORD`].
fn too_large() -> OutcomeReason {
    OutcomeReason::new(ReasonClass::TooLarge, "at most 900 KiB")
}

/// Returns whether every bracket and every quote of a text closes. Then the end of the record is known, even if it
/// is no JSON.
fn closes(json: &[u8]) -> bool {
    // The brackets that have to close, innermost last. `{` and `[` are two below their closing bytes in ASCII.
    let mut open = Vec::new();
    let (mut in_text, mut escaped) = (false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'{' | b'[' => open.push(byte + 2),
            b'}' | b']' if open.pop() != Some(*byte) => return false,
            _ => {}
        }
    }
    open.is_empty() && !in_text
}

/// Appends a leaf's text, the same text as in masking and joins. Returns `false` for null.
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

/// Appends a record that fits.
fn emit(key: Option<&[u8]>, datum: &[u8], out: &mut Outputs) {
    let mut draft = out.draft(RECORDS);
    if let Some(key) = key {
        draft.key(key);
    }
    value(&mut draft, datum);
    draft.emit();
}

/// Appends the dead letter of a record that was never in Kafka. Its "topic" is the endpoint, its "partition"
/// the page, its "offset" its index in the page.
fn letter(at: PageAddress<'_>, nth: u64, json: &[u8], reason: &OutcomeReason, out: &mut Outputs) {
    let mut draft = out.draft(LETTERS);
    let (id_header, id) = match at.id {
        LetterId::Plain(id) => (names::dead_letter::COLLECTOR_ID, id),
        LetterId::Pseudonym(pseudonym) => (names::dead_letter::COLLECTOR_PSEUDONYM, pseudonym),
    };
    let texts = [
        (names::dead_letter::COLLECTOR_JOB, at.job.to_owned()),
        (id_header, id.to_owned()),
        (names::dead_letter::COLLECTOR_ENDPOINT, at.endpoint.to_owned()),
        (names::dead_letter::COLLECTOR_PAGE, at.page.to_string()),
        (names::dead_letter::COLLECTOR_INDEX, nth.to_string()),
        (names::dead_letter::COLLECTOR_RUN, at.run.to_string()),
        (names::dead_letter::SOURCE_TOPIC, format!("collector/{}/{}", at.job, at.endpoint)),
        (names::dead_letter::SOURCE_PARTITION, at.page.to_string()),
        (names::dead_letter::SOURCE_OFFSET, nth.to_string()),
        (names::dead_letter::CLASS, reason.class.as_str().to_owned()),
        (names::dead_letter::PATH, reason.path.clone()),
        (names::dead_letter::REASON, reason.to_string()),
        (names::dead_letter::WORKER, "collector".to_owned()),
        (names::dead_letter::VERSION, env!("CARGO_PKG_VERSION").to_owned()),
        (names::dead_letter::ATTEMPT, "1".to_owned()),
    ];
    for (name, text) in &texts {
        draft.header(name, Some(text.as_bytes()));
    }

    // A record that is too large for Kafka is too large for a dead letter: the letter names its place, and
    // its bytes stay with the API.
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
    // Copying cannot fail; the match has no other branch.
    match copied {
        Ok(()) => {}
    }
}

#[cfg(test)]
mod tests;
