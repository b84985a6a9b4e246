//! The leak scan: it looks for values of masked leaves in open topics and tables, and checks that every
//! masked leaf has the form that its operation gives.
//!
//! ```text
//!  sample of raw records ─► texts of masked leaves, without those of kept leaves ─► LeakNeedles
//!  sample of masked records, facts, rows ─► any needle in their bytes? ─► path of the needle's leaf
//!  sample of masked records ─► leaf by leaf ─► form of its operation?
//! ```
//!
//! The scan looks for texts and bytes of at least six bytes: shorter ones, numbers and booleans occur by
//! chance. It works on samples: a scan without findings proves nothing, a finding is a leak. No function
//! returns a value of a record, only paths.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use sluice_wire::{
    DatumPatch, DatumSchema, LeafAction, LeafFn, LeafInfo, LeafKind, LeafPolicy, LeafType, LeafValue,
    LeafWriter,
};

use sluice_contract::contract::{Contract, ContractField};
use sluice_contract::key;
use sluice_contract::masking::{MaskOperation, RedactConstant};

/// Length in bytes of the shortest value that the scan looks for.
const LEAST: usize = 6;
/// Most values that the scan remembers. Later ones are ignored, because a sample need not be complete.
const MOST: usize = 200_000;
/// Characters of a pseudonym behind its epoch: 128 bits in base64.
const PSEUDONYM: usize = 22;

/// Number of the leaf and bytes of each text that has passed.
type TextNotes = Arc<Mutex<Vec<(usize, Vec<u8>)>>>;

/// Reads the texts of a datum, leaf by leaf.
pub struct LeafTextReader {
    patch: DatumPatch,
    paths: Vec<String>,
    seen: TextNotes,
}

/// A masking function that notes every text and writes an empty one in its place.
struct TextNoteFn {
    slot: usize,
    seen: TextNotes,
}

impl LeafFn for TextNoteFn {
    fn output(&self, input: &LeafType) -> Result<Value, String> {
        Ok(if input.kind == LeafKind::Bytes { json!("bytes") } else { json!("string") })
    }

    fn apply(&self, leaf: LeafValue<'_>, out: &mut LeafWriter<'_>) -> Result<(), Cow<'static, str>> {
        let bytes = match leaf {
            LeafValue::String(text) => {
                out.string("");
                text.as_bytes()
            }
            LeafValue::Bytes(bytes) => {
                out.bytes(&[]);
                bytes
            }
            _ => return Err("a text".into()),
        };
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push((self.slot, bytes.to_vec()));
        Ok(())
    }

    fn name(&self) -> &str {
        "note"
    }
}

/// A policy that notes the leaves with a slot and keeps all others.
struct TextNotePolicy<'a> {
    /// Path of a leaf → its number.
    slots: &'a BTreeMap<String, usize>,
    seen: TextNotes,
}

impl LeafPolicy for TextNotePolicy<'_> {
    fn action(&self, leaf: &LeafInfo) -> Option<LeafAction> {
        let note = |slot: &usize| {
            LeafAction::Replace(Arc::new(TextNoteFn { slot: *slot, seen: Arc::clone(&self.seen) }))
        };
        Some(self.slots.get(&leaf.path).map_or(LeafAction::Keep, note))
    }
}

impl LeafTextReader {
    /// Compiles a reader for data of this schema.
    ///
    /// # Errors
    /// The reason why no program can be compiled for the schema.
    pub fn new(schema: &DatumSchema) -> Result<Self, String> {
        // Bytes with a logical type are decimals: numbers occur by chance.
        let is_text = |leaf: &LeafInfo| {
            let kind = leaf.leaf.kind;
            kind == LeafKind::String || (kind == LeafKind::Bytes && leaf.leaf.logical.is_none())
        };
        let paths: Vec<String> = schema.leaves().into_iter().filter(is_text).map(|leaf| leaf.path).collect();

        // The masker's own programs visit the leaves: a policy that notes texts makes a reader of them.
        let slots = paths.iter().cloned().zip(0..).collect();
        let seen = TextNotes::default();
        let policy = TextNotePolicy { slots: &slots, seen: Arc::clone(&seen) };
        let patch = DatumPatch::compile(schema, &policy).map_err(|error| error.to_string())?;
        Ok(Self { patch, paths, seen })
    }

    /// Returns paths and bytes of the texts in a datum; nothing if the bytes are no whole datum of the
    /// schema.
    pub fn read(&self, datum: &[u8]) -> Vec<(&str, Vec<u8>)> {
        // The notes are taken in any case, so that a torn datum leaves none for the next one.
        let whole = self.patch.run(datum, &mut Vec::new()).is_ok();
        let seen = std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        let texts = seen.into_iter().filter(|_| whole);
        texts.filter_map(|(slot, bytes)| Some((self.paths.get(slot)?.as_str(), bytes))).collect()
    }
}

/// Values that must not occur at any open location, with the leaves from which they come.
#[derive(Default)]
pub struct LeakNeedles {
    /// Value → topic and path of its leaf.
    hidden: HashMap<Vec<u8>, String>,
    /// Values of kept leaves. They may occur anywhere.
    shown: BTreeSet<Vec<u8>>,
    /// First bytes of a value → the hidden values that begin with them.
    by_start: HashMap<[u8; LEAST], Vec<Vec<u8>>>,
}

impl LeakNeedles {
    /// Adds the texts of one raw record's value.
    pub fn take(&mut self, contract: &Contract, texts: Vec<(&str, Vec<u8>)>) {
        let kept = |path: &str| contract.field(path).is_some_and(|field| field.op.keeps());
        texts.into_iter().for_each(|(path, bytes)| self.note(contract, path.to_owned(), bytes, kept(path)));
    }

    /// Adds the texts of one raw record's key that has a schema of its own.
    pub fn take_key(&mut self, contract: &Contract, texts: Vec<(&str, Vec<u8>)>) {
        let Some(key) = contract.record_key.schema() else { return };
        let kept = |path: &str| key.field(path).is_some_and(|field| field.op.keeps());
        texts.into_iter().for_each(|(path, bytes)| self.note(contract, key::place(path), bytes, kept(path)));
    }

    /// Adds one value, unless it is too short or the scan is full.
    fn note(&mut self, contract: &Contract, leaf: String, bytes: Vec<u8>, kept: bool) {
        if bytes.len() < LEAST || self.hidden.len() + self.shown.len() >= MOST {
            return;
        }
        if kept {
            self.shown.insert(bytes);
        } else {
            self.hidden.entry(bytes).or_insert_with(|| format!("{} {leaf}", contract.raw_topic));
        }
    }

    /// Prepares the search and returns the number of values that it looks for. Must come before
    /// [`LeakNeedles::find`].
    pub fn ready(&mut self) -> usize {
        self.index();

        // A value inside the text of a kept leaf is open anyway: finding it proves nothing.
        let open: BTreeSet<Vec<u8>> = self.shown.iter().flat_map(|text| self.found(text).cloned()).collect();
        self.hidden.retain(|value, _| !open.contains(value));
        self.index();
        self.hidden.len()
    }

    /// Returns topic and path of a leaf whose value occurs in these bytes, never the value.
    pub fn find(&self, bytes: &[u8]) -> Option<&str> {
        self.found(bytes).next().and_then(|value| self.hidden.get(value)).map(String::as_str)
    }

    /// Builds the index by first bytes.
    fn index(&mut self) {
        self.by_start.clear();
        for value in self.hidden.keys() {
            if let Some(start) = value.first_chunk::<LEAST>() {
                self.by_start.entry(*start).or_default().push(value.clone());
            }
        }
    }

    /// Returns the hidden values that occur in these bytes. Each position costs one look-up of its first
    /// bytes.
    fn found<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = &'a Vec<u8>> {
        bytes.windows(LEAST).enumerate().flat_map(move |(at, window)| {
            let values = window.first_chunk::<LEAST>().and_then(|start| self.by_start.get(start));
            values.into_iter().flatten().filter(move |value| bytes[at..].starts_with(value))
        })
    }
}

/// Returns the leaves of a masked record that do not have the form of their operation: path and expected
/// form. `texts` are those of [`LeafTextReader::read`].
pub fn misshapen_value<'t>(
    contract: &Contract,
    texts: &[(&'t str, Vec<u8>)],
) -> Vec<(&'t str, &'static str)> {
    misshapen(texts, |path| contract.field(path))
}

/// Returns the same of a masked key that has a schema of its own.
pub fn misshapen_key<'t>(contract: &Contract, texts: &[(&'t str, Vec<u8>)]) -> Vec<(&'t str, &'static str)> {
    misshapen(texts, |path| contract.record_key.schema()?.field(path))
}

/// Returns the leaves of a masked topic's schema that should have been dropped.
pub fn undropped(contract: &Contract, schema: &DatumSchema) -> Vec<String> {
    let dropped = |path: &String| contract.field(path).is_some_and(|field| field.op == MaskOperation::Drop);
    schema.leaves().into_iter().map(|leaf| leaf.path).filter(dropped).collect()
}

/// Returns path and expected form of each text that has another form than its operation gives.
fn misshapen<'c, 't>(
    texts: &[(&'t str, Vec<u8>)],
    field: impl Fn(&str) -> Option<&'c ContractField>,
) -> Vec<(&'t str, &'static str)> {
    let wrong = |(path, bytes): &(&'t str, Vec<u8>)| Some((*path, expected(&field(path)?.op, bytes)?));
    texts.iter().filter_map(wrong).collect()
}

/// Returns the form that the operation gives, as a noun, if these bytes have another one.
fn expected(op: &MaskOperation, bytes: &[u8]) -> Option<&'static str> {
    let text = std::str::from_utf8(bytes).ok();
    let (fits, form) = match op {
        // Any text can be kept, or be the name of a group.
        MaskOperation::Keep | MaskOperation::Generalise(_) => (true, ""),
        // These two leave no text at all.
        MaskOperation::Drop => (false, "no such leaf"),
        MaskOperation::Null => (false, "null"),
        MaskOperation::Redact(RedactConstant::Text(constant)) => {
            (bytes == constant.as_bytes(), "the constant of the contract")
        }
        MaskOperation::Redact(RedactConstant::Number(_) | RedactConstant::Boolean(_)) => (true, ""),
        MaskOperation::Partial(partial) => (
            text.is_some_and(|text| text.chars().count() == partial.length),
            "the kept ends, at the length that the contract sets",
        ),
        MaskOperation::Hmac(_) => {
            (text.is_some_and(is_pseudonym), "a pseudonym: its key's epoch and 22 characters")
        }
    };
    (!fits).then_some(form)
}

/// Returns true if the text has the form of a pseudonym, for example `2:` and 22 characters of base64.
fn is_pseudonym(text: &str) -> bool {
    let in_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    text.split_once(':').is_some_and(|(epoch, rest)| {
        epoch.parse::<u32>().is_ok() && rest.len() == PSEUDONYM && rest.chars().all(in_base64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r#"{"type": "record", "name": "R", "fields": [
        {"name": "name", "type": "string"}, {"name": "age", "type": "int"},
        {"name": "mails", "type": {"type": "array", "items": ["null", "string"]}}]}"#;

    #[test]
    fn every_text_of_a_datum_is_read_and_a_torn_one_gives_none() {
        let texts = LeafTextReader::new(&DatumSchema::parse(SCHEMA).unwrap()).unwrap();
        let datum = [&[6][..], b"Ada", &[14, 4, 0, 2, 4], b"a@", &[0]].concat();
        let read = texts.read(&datum);
        assert_eq!(read.len(), 2, "{read:?}");
        assert_eq!((read[0].0, read[0].1.as_slice()), ("name", &b"Ada"[..]));
        assert_eq!(read[1].1, b"a@");
        assert!(texts.read(&datum[..datum.len() - 1]).is_empty());
    }

    #[test]
    fn hidden_values_are_found_inside_other_bytes_and_open_ones_are_not_looked_for() {
        let mut needles = LeakNeedles::default();
        for (value, path) in [("Ada Lovelace", "t name"), ("London", "t city")] {
            needles.hidden.insert(value.into(), path.into());
        }
        needles.shown.insert("Region London".into());
        assert_eq!(needles.ready(), 1);
        assert_eq!(needles.find(b"...Ada Lovelace..."), Some("t name"));
        assert_eq!(needles.find(b"London, Ada Lovelac"), None);
    }

    #[test]
    fn a_pseudonym_is_told_from_a_name() {
        assert!(is_pseudonym("2:AAAAAAAAAAAAAAAAAAAA-_"));
        for wrong in
            ["Ada", "x:AAAAAAAAAAAAAAAAAAAAAA", "1:AAAAAAAAAAAAAAAAAAAAA", "1:AAAAAAAAAAAAAAAAAAAAA="]
        {
            assert!(!is_pseudonym(wrong), "{wrong}");
        }
    }
}
