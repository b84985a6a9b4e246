//! From a page to records: pure, the same page in, the same records out.

use sluice_core::{Class, Outputs, Reason, Route, SchemaId};
use sluice_wire::{FromJson, Leaf, Project, Schema, SchemaError, framing};

use crate::page::{PageError, Paths};

/// Records that fit the contract.
pub(crate) const RECORDS: Route = Route(0);
/// Records that do not.
pub(crate) const LETTERS: Route = Route(1);

/// A larger record would be refused by a broker with default settings, and its whole transaction with it.
const MAX_RECORD: usize = 900 << 10;

/// The compiled reader of one endpoint's pages.
pub(crate) struct PageReader {
    paths: Paths,
    from_json: FromJson,
    key: Project,
    schema_id: SchemaId,
    datum: Vec<u8>,
    key_text: Vec<u8>,
}

/// Which page is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageAt<'a> {
    pub(crate) job: &'a str,
    pub(crate) endpoint: &'a str,
    /// 0-based, counted over the endpoint's pages of one id.
    pub(crate) page: u64,
    /// Written into every record as header `sluice.page`, so that a reader can drop a page that came twice; not
    /// needed where pages are published in transactions.
    pub(crate) dedupe: Option<&'a str>,
}

/// What was in a page.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct PageRead {
    pub(crate) records: u64,
    pub(crate) rejects: u64,
    /// What the pagination wants to see.
    pub(crate) values: Vec<Option<String>>,
}

impl PageReader {
    /// Compiles for one schema; `record_key` is the path of the field that becomes the Kafka key.
    pub(crate) fn compile(
        paths: &Paths,
        schema: &Schema,
        schema_id: SchemaId,
        record_key: &str,
    ) -> Result<Self, SchemaError> {
        Ok(Self {
            paths: paths.clone(),
            from_json: FromJson::compile(schema)?,
            key: Project::compile(schema, &[record_key])?,
            schema_id,
            datum: Vec::new(),
            key_text: Vec::new(),
        })
    }

    /// Appends the page's records, and the dead letters of those that do not fit, to `out`.
    ///
    /// On an error `out` holds nothing of the page: half a page is no page.
    pub(crate) fn read(
        &mut self,
        at: PageAt<'_>,
        body: &[u8],
        out: &mut Outputs,
    ) -> Result<PageRead, PageError> {
        let before = out.len();
        let Self { paths, from_json, key, schema_id, datum, key_text } = self;
        let found = paths.find(body)?;
        let (mut records, mut rejects) = (0, 0);
        let each = found.each(|json| {
            let nth = records + rejects;
            match encode(json, *schema_id, from_json, key, datum, key_text) {
                Ok(keyed) => {
                    records += 1;
                    emit(at, keyed.then_some(key_text.as_slice()), datum, out);
                }
                Err(reason) => {
                    rejects += 1;
                    letter(at, nth, json, &reason, out);
                }
            }
        });
        if let Err(error) = each {
            out.truncate(before);
            return Err(error);
        }
        Ok(PageRead { records, rejects, values: found.values })
    }
}

/// Fills `datum` (framed) and `key_text`; answers whether there is a key (a null field is a null key).
fn encode(
    json: &[u8],
    schema_id: SchemaId,
    from_json: &mut FromJson,
    key: &Project,
    datum: &mut Vec<u8>,
    key_text: &mut Vec<u8>,
) -> Result<bool, Reason> {
    datum.clear();
    key_text.clear();
    framing::write_prefix(schema_id, datum);
    from_json
        .run(json, datum)
        .map_err(|error| Reason::new(Class::Shape, error.expected).at(error.path, None))?;
    if datum.len() > MAX_RECORD {
        return Err(Reason::new(Class::TooLarge, "at most 900 KiB"));
    }
    let mut keyed = false;
    let datum = datum.get(framing::PREFIX..).unwrap_or_default();
    key.run(datum, |_, leaf| keyed = text_of(leaf, key_text)).map_err(Reason::from)?;
    Ok(keyed)
}

/// Appends a leaf's text, the same that masking and joins see; `false` for null.
fn text_of(leaf: Leaf<'_>, out: &mut Vec<u8>) -> bool {
    match leaf {
        Leaf::Null => return false,
        Leaf::String(text) => out.extend_from_slice(text.as_bytes()),
        Leaf::Enum { symbol, .. } => out.extend_from_slice(symbol.as_bytes()),
        Leaf::Bytes(bytes) | Leaf::Fixed(bytes) => out.extend_from_slice(bytes),
        Leaf::Boolean(value) => out.extend_from_slice(value.to_string().as_bytes()),
        Leaf::Int(value) => out.extend_from_slice(value.to_string().as_bytes()),
        Leaf::Long(value) => out.extend_from_slice(value.to_string().as_bytes()),
        Leaf::Float(value) => out.extend_from_slice(value.to_string().as_bytes()),
        Leaf::Double(value) => out.extend_from_slice(value.to_string().as_bytes()),
    }
    true
}

fn emit(at: PageAt<'_>, key: Option<&[u8]>, datum: &[u8], out: &mut Outputs) {
    let mut draft = out.draft(RECORDS);
    if let Some(key) = key {
        draft.key(key);
    }
    if let Some(page) = at.dedupe {
        draft.header("sluice.page", Some(page.as_bytes()));
    }
    value(&mut draft, datum);
    draft.emit();
}

/// A record that never was in Kafka: its "topic" is the endpoint, its "partition" the page, its "offset" its place.
fn letter(at: PageAt<'_>, nth: u64, json: &[u8], reason: &Reason, out: &mut Outputs) {
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
    if let Some(page) = at.dedupe {
        draft.header("sluice.page", Some(page.as_bytes()));
    }
    // What is too large for a record is too large for a letter: its place is told, its bytes stay with the API.
    if json.len() <= MAX_RECORD {
        value(&mut draft, json);
    }
    draft.emit();
}

fn value(draft: &mut sluice_core::Draft<'_>, bytes: &[u8]) {
    let copied: Result<(), std::convert::Infallible> = draft.value_with(|out| {
        out.extend_from_slice(bytes);
        Ok(())
    });
    match copied {
        Ok(()) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r#"{"type":"record","name":"Flight","fields":[
        {"name":"tailnum","type":"string"},
        {"name":"distance","type":"int"},
        {"name":"dep_delay","type":["null","int"],"default":null}]}"#;

    fn reader() -> PageReader {
        let paths = Paths::compile("data", &["next"]).unwrap();
        PageReader::compile(&paths, &Schema::parse(SCHEMA).unwrap(), SchemaId(7), "tailnum").unwrap()
    }

    const AT: PageAt<'static> = PageAt { job: "flights", endpoint: "flights", page: 3, dedupe: None };

    #[test]
    fn records_are_framed_and_keyed() {
        let mut out = Outputs::new();
        let body = br#"{"data":[{"distance":229,"tailnum":"N1"},{"tailnum":"N2","distance":1,"dep_delay":-2}],"next":"t"}"#;
        let read = reader().read(AT, body, &mut out).unwrap();
        assert_eq!(read, PageRead { records: 2, rejects: 0, values: vec![Some("t".into())] });
        let all: Vec<_> = out.iter().collect();
        assert_eq!(all[0].key, Some(&b"N1"[..]));
        // magic, id 7, "N1" (length 2 as zigzag 4), 229 as zigzag 458, union branch 0
        assert_eq!(all[0].value, Some(&[0, 0, 0, 0, 7, 4, b'N', b'1', 0xCA, 0x03, 0][..]));
        assert_eq!(all[1].value, Some(&[0, 0, 0, 0, 7, 4, b'N', b'2', 2, 2, 3][..]));
        assert_eq!(all[1].headers().count(), 0);
    }

    #[test]
    fn a_record_that_does_not_fit_is_a_letter_in_its_place() {
        let mut out = Outputs::new();
        let body = br#"{"data":[{"tailnum":"N1","distance":1},{"tailnum":"N2","distance":"far"},{"tailnum":"N3","distance":2}]}"#;
        let read = reader().read(AT, body, &mut out).unwrap();
        assert_eq!((read.records, read.rejects), (2, 1));
        let all: Vec<_> = out.iter().collect();
        assert_eq!([all[0].route, all[1].route, all[2].route], [RECORDS, LETTERS, RECORDS]);
        assert_eq!(all[1].value, Some(&br#"{"tailnum":"N2","distance":"far"}"#[..]));
        assert_eq!(all[1].key, None);
        let header = |name: &str| {
            let found = all[1].headers().find(|header| header.name == name).unwrap();
            String::from_utf8(found.value.unwrap().to_vec()).unwrap()
        };
        assert_eq!(header("sluice.dlq.source.topic"), "collector/flights/flights");
        assert_eq!(header("sluice.dlq.source.partition"), "3");
        assert_eq!(header("sluice.dlq.source.offset"), "1");
        assert_eq!(header("sluice.dlq.class"), "shape");
        assert_eq!(header("sluice.dlq.path"), "distance");
        assert!(!header("sluice.dlq.reason").contains("far"), "values do not belong in reasons");
    }

    #[test]
    fn half_a_page_leaves_nothing() {
        let mut out = Outputs::new();
        let body = br#"{"data":[{"tailnum":"N1","distance":1},{"tailn"#;
        assert_eq!(reader().read(AT, body, &mut out).unwrap_err(), PageError::Truncated);
        assert!(out.is_empty());
    }

    #[test]
    fn the_dedupe_header_is_on_every_record() {
        let mut out = Outputs::new();
        let at = PageAt { dedupe: Some("flights/N1/1/flights/3/abc"), ..AT };
        reader().read(at, br#"{"data":[{"tailnum":"N1","distance":1}, 5]}"#, &mut out).unwrap();
        assert!(out.iter().all(|record| record.headers().any(|header| header.name == "sluice.page")));
    }
}
