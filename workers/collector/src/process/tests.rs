use super::*;

const SCHEMA: &str = r#"{"type":"record","name":"Flight","fields":[
    {"name":"tailnum","type":"string"},
    {"name":"distance","type":"int"},
    {"name":"dep_delay","type":["null","int"],"default":null}]}"#;

fn reader() -> PageReader {
    looking(None)
}

fn looking(incremental: Option<&str>) -> PageReader {
    compiled(incremental, "data", SCHEMA, &[])
}

fn compiled(incremental: Option<&str>, records: &str, schema: &str, added: &[(&str, &str)]) -> PageReader {
    let path = |text: &str| PagePath::parse(text).unwrap();
    let mut paths = PagePaths::compile(path(records), vec![path("next")], Vec::new()).unwrap();
    for sign in crate::verdict::SIGNS {
        paths.add_probe(path(sign));
    }
    let added =
        added.iter().map(|(field, text)| ((*field).to_owned(), TextTemplate::text(text).unwrap())).collect();
    let look = PageReaderSettings {
        paths,
        max_record: 1 << 20,
        incremental: incremental.map(path),
        future: false,
        last_record: Some(path("tailnum")),
        added,
    };
    PageReader::compile(&look, &DatumSchema::parse(schema).unwrap(), SchemaId(7), "tailnum").unwrap()
}

const AT: PageAddress<'static> =
    PageAddress { job: "flights", id: LetterId::Plain("N7"), run: 2, endpoint: "flights", page: 3 };

fn beginning<'p>(before: Option<&'p PartMark>, since: Option<&'p IncrementalMaximum>) -> PageBeginning<'p> {
    // 14 November 2023
    PageBeginning { before, since, now_ms: 1_700_000_000_000 }
}

/// A page in two pieces.
fn read(reader: &mut PageReader, body: &[u8], out: &mut Outputs) -> Result<PageSummary, PageError> {
    let (one, two) = body.split_at(body.len() / 2);
    reader.begin(beginning(None, None));
    reader.feed(AT, one, out)?;
    reader.feed(AT, two, out)?;
    reader.finish()
}

#[test]
fn records_are_framed_and_keyed() {
    let mut out = Outputs::new();
    let body = br#"{"data":[{"distance":229,"tailnum":"N1"},{"tailnum":"N2","distance":1,"dep_delay":-2}],"next":"t"}"#;
    let read = read(&mut reader(), body, &mut out).unwrap();
    assert_eq!(read.part, PagePartCounts { records: 2, rejects: 0, repeats: 0 });
    assert_eq!(read.values, [Some("t".to_owned())]);
    assert_eq!(read.last_value.as_deref(), Some("N2"));
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
    let read = read(&mut reader(), body, &mut out).unwrap();
    assert_eq!(read.part, PagePartCounts { records: 2, rejects: 1, repeats: 0 });
    let all: Vec<_> = out.iter().collect();
    assert_eq!([all[0].route, all[1].route, all[2].route], [RECORDS, LETTERS, RECORDS]);
    assert_eq!(all[1].value, Some(&br#"{"tailnum":"N2","distance":"far"}"#[..]));
    assert_eq!(all[1].key, None);
    let header = |name: &str| {
        let found = all[1].headers().find(|header| header.name == name).unwrap();
        String::from_utf8(found.value.unwrap().to_vec()).unwrap()
    };
    assert_eq!(header("sluice.dlq.collector.job"), "flights");
    assert_eq!(header("sluice.dlq.collector.id"), "N7");
    assert_eq!(header("sluice.dlq.collector.endpoint"), "flights");
    assert_eq!(header("sluice.dlq.collector.page"), "3");
    assert_eq!(header("sluice.dlq.collector.index"), "1");
    assert_eq!(header("sluice.dlq.collector.run"), "2");
    assert_eq!(header("sluice.dlq.source.topic"), "collector/flights/flights");
    assert_eq!(header("sluice.dlq.source.partition"), "3");
    assert_eq!(header("sluice.dlq.source.offset"), "1");
    assert_eq!(header("sluice.dlq.class"), "shape");
    assert_eq!(header("sluice.dlq.path"), "distance");
    assert!(!header("sluice.dlq.reason").contains("far"), "values do not belong in reasons");
}

#[test]
fn half_a_page_and_broken_records_are_errors_of_the_page() {
    let mut out = Outputs::new();
    let half = br#"{"data":[{"tailnum":"N1","distance":1},{"tailn"#;
    assert_eq!(read(&mut reader(), half, &mut out).unwrap_err(), PageError::Truncated(half.len() as u64));
    for broken in [&br#"{"data":[{"tailnum":"N1","distance":1]}"#[..], br#"{"data":[{"tailnum":["N1"}]]}"#] {
        let error = read(&mut reader(), broken, &mut out).unwrap_err();
        assert!(matches!(error, PageError::NotJson(_) | PageError::Truncated(_)), "{error}");
    }
}

#[test]
fn a_record_that_is_no_json_costs_itself_if_its_end_is_known() {
    for broken in [
        r#"{"tailnum":"N2","distance":NaN}"#,
        r#"{"tailnum":"N2","distance":-Infinity}"#,
        r#"{"tailnum":nul,"distance":2}"#,
        r#"{"tailnum":"N2","distance":2,}"#,
        "{\"tailnum\":\"a\tb\",\"distance\":2}",
        r#"{"tailnum":"N2","distance":1e999}"#,
        r#"{"tailnum":"N2" "distance":[{"x":"]}"}]}"#,
        "undefined",
    ] {
        let mut out = Outputs::new();
        let body = format!(
            r#"{{"data":[{{"tailnum":"N1","distance":1}},{broken},{{"tailnum":"N3","distance":3}}]}}"#
        );
        let read = read(&mut reader(), body.as_bytes(), &mut out).unwrap();
        assert_eq!(read.part, PagePartCounts { records: 2, rejects: 1, repeats: 0 }, "{broken}");
        assert_eq!(out.iter().nth(1).unwrap().value, Some(broken.as_bytes()));
    }
}

#[test]
fn an_error_object_is_no_record_even_if_every_field_has_a_default() {
    let schema = r#"{"type":"record","name":"Flight","fields":[
        {"name":"tailnum","type":"string","default":""},{"name":"distance","type":["null","int"],"default":null}]}"#;
    let (mut reader, mut out) = (compiled(None, "", schema, &[]), Outputs::new());
    let error = read(&mut reader, br#"{"error":"slow down"}"#, &mut out).unwrap();
    assert!(error.facts.is_error && out.is_empty());
    let one = read(&mut reader, br#"{"tailnum":"N1","error":null,"next":"t"}"#, &mut out).unwrap();
    assert!(!one.facts.is_error);
    assert_eq!(
        (out.len(), one.values),
        (1, vec![Some("t".to_owned())]),
        "tokens are found in the one record"
    );
}

#[test]
fn the_id_and_constants_stand_where_the_api_leaves_fields_out() {
    let schema = r#"{"type":"record","name":"Flight","fields":[{"name":"tailnum","type":"string"},
        {"name":"number","type":["null","long"]},{"name":"origin","type":"string"}]}"#;
    let added = [("tailnum", "{id}"), ("number", "{id}"), ("origin", "from {id}")];
    let (mut reader, mut out) = (compiled(None, "data", schema, &added), Outputs::new());
    reader.fill(TemplateValues { id: "17", since: None }).unwrap();
    read(&mut reader, br#"{"data":[{},{"tailnum":"N2","number":null,"origin":"x"}]}"#, &mut out).unwrap();
    let values: Vec<_> = out.iter().map(|record| record.value.unwrap()[5..].to_vec()).collect();
    assert_eq!(values[0], [&[4][..], b"17", &[2, 34, 14], b"from 17"].concat());
    assert_eq!(values[1], [&[4][..], b"N2", &[0, 2], b"x"].concat(), "the API's own values stay");
    // Another id, and one that does not fit.
    reader.fill(TemplateValues { id: "18", since: None }).unwrap();
    out.clear();
    read(&mut reader, br#"{"data":[{}]}"#, &mut out).unwrap();
    assert_eq!(out.iter().next().unwrap().key, Some(&b"18"[..]));
    let why = reader.fill(TemplateValues { id: "N1", since: None }).unwrap_err();
    assert!(why.contains("`number`") && !why.contains("N1"), "{why}");
}

#[test]
fn a_time_beyond_now_does_not_move_the_mark() {
    let (mut reader, mut out) = (looking(Some("at")), Outputs::new());
    let body = br#"{"data":[{"tailnum":"N1","distance":1,"at":"2023-01-01T00:00:00Z"},
        {"tailnum":"N2","distance":1,"at":"9999-12-31T00:00:00Z"}]}"#;
    let read = read(&mut reader, body, &mut out).unwrap();
    assert_eq!((read.part.records, read.high.unwrap().value.as_str()), (2, "2023-01-01T00:00:00Z"));
}

#[test]
fn a_page_goes_on_behind_the_part_that_was_published() {
    let record = |nth: u32| format!(r#"{{"tailnum":"N{nth}","distance":{nth}}}"#);
    let page = |records: &[u32]| {
        let all: Vec<_> = records.iter().map(|nth| record(*nth)).collect();
        format!(r#"{{"data":[{}]}}"#, all.join(","))
    };
    let (mut reader, mut out) = (reader(), Outputs::new());
    let body = page(&[1, 2, 3, 4]);
    reader.begin(beginning(None, None));
    reader.feed(AT, &body.as_bytes()[..body.len() / 2 + 8], &mut out).unwrap();
    let (part, mark) = reader.part();
    assert_eq!((part.records, mark.records, out.len()), (2, 2, 2));
    // The answer broke off here; the page is asked for again.
    out.clear();
    reader.begin(beginning(Some(&mark), None));
    reader.feed(AT, body.as_bytes(), &mut out).unwrap();
    let read = reader.finish().unwrap();
    assert_eq!((read.part.records, read.mark.records, out.len()), (2, 4, 2));
    assert_eq!(out.iter().next().unwrap().key, Some(&b"N3"[..]));
    for changed in [page(&[1, 7, 3, 4]), page(&[1])] {
        reader.begin(beginning(Some(&mark), None));
        let read = reader.feed(AT, changed.as_bytes(), &mut out).and_then(|()| reader.finish());
        assert_eq!(read.unwrap_err(), PageError::Changed(2));
    }
}

#[test]
fn a_giant_record_is_a_letter_without_its_bytes() {
    let mut out = Outputs::new();
    let body = format!(r#"{{"data":[{{"tailnum":"{}"}}]}}"#, "x".repeat(2 << 20));
    let read = read(&mut reader(), body.as_bytes(), &mut out).unwrap();
    assert_eq!(read.part, PagePartCounts { records: 0, rejects: 1, repeats: 0 });
    assert_eq!(out.iter().next().unwrap().value, None);
}

#[test]
fn the_edge_of_an_earlier_run_is_passed_over() {
    let (mut reader, mut out) = (looking(Some("distance")), Outputs::new());
    let first = br#"{"data":[{"tailnum":"N2","distance":9},{"tailnum":"N1","distance":1}]}"#;
    let high = read(&mut reader, first, &mut out).unwrap().high.unwrap();
    assert_eq!(high.value, "9");
    out.clear();
    reader.begin(beginning(None, Some(&high)));
    let second = br#"{"data":[{"tailnum":"N3","distance":9},{"tailnum":"N2","distance":9}]}"#;
    reader.feed(AT, second, &mut out).unwrap();
    let read = reader.finish().unwrap();
    assert_eq!(read.part, PagePartCounts { records: 1, rejects: 0, repeats: 1 });
    assert_eq!(out.iter().next().unwrap().key, Some(&b"N3"[..]));
}
