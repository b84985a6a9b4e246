use super::*;

type PageCutResult = Result<(Vec<String>, Vec<Option<String>>), PageError>;

fn paths(records: &str, tokens: &[&str]) -> PagePaths {
    let path = |text: &str| PagePath::parse(text).unwrap();
    PagePaths::compile(path(records), tokens.iter().map(|token| path(token)).collect(), Vec::new()).unwrap()
}

fn fed(paths: &PagePaths, body: &[u8], piece: usize) -> PageCutResult {
    let mut cutter = PageCutter::new(paths, 1_000);
    let mut all = Vec::new();
    for chunk in body.chunks(piece) {
        cutter.feed(chunk, |cut| {
            all.push(match cut {
                PageElement::Record(record) | PageElement::Whole(record) => {
                    String::from_utf8(record.to_vec()).unwrap()
                }
                PageElement::Oversize(length) => format!("oversize {length}"),
            });
            Ok(())
        })?;
    }
    Ok((all, cutter.finish()?.tokens))
}

/// The same however the bytes are cut.
fn read(paths: &PagePaths, body: &str) -> PageCutResult {
    let whole = fed(paths, body.as_bytes(), body.len().max(1));
    for piece in [1, 2, 3, 7] {
        let pieces = fed(paths, body.as_bytes(), piece);
        match (&whole, &pieces) {
            // Offsets of what is wrong may differ by where a chunk began.
            (Err(PageError::NotJson(_)), Err(PageError::NotJson(_))) => {}
            _ => assert_eq!(whole, pieces, "in pieces of {piece}: {body}"),
        }
    }
    whole
}

#[test]
fn records_and_token_in_either_order() {
    let paths = paths("data.items", &["data.meta.next"]);
    for body in [
        r#"{"x":[1,{"y":"}"}],"data":{"meta":{"next":"a\u0062"},"items":[{"a":1}, 2]}}"#,
        r#"{"data":{"items":[{"a":1}, 2],"meta":{"next":"ab","z":{}}}, "y":{"data":5}}"#,
        "\u{feff}{\"d\\u0061ta\":{\"items\":[{\"a\":1} ,2 ] , \"meta\":{\"next\":\"ab\"}}}",
    ] {
        let (all, values) = read(&paths, body).unwrap();
        assert_eq!(all, [r#"{"a":1}"#, "2"]);
        assert_eq!(values, [Some("ab".to_owned())]);
    }
}

#[test]
fn the_page_itself_and_one_object() {
    let root = paths("", &[]);
    assert_eq!(read(&root, " [1,\"a]\\\"b\", [2,[3]] ] ").unwrap().0, ["1", "\"a]\\\"b\"", "[2,[3]]"]);
    assert_eq!(read(&root, "[]").unwrap().0, [""; 0]);
    assert_eq!(read(&root, r#"{"tailnum":"N1"}"#).unwrap().0, [r#"{"tailnum":"N1"}"#]);
    let one = paths("data", &[]);
    assert_eq!(read(&one, r#"{"data":{"tailnum":"é}"}}"#).unwrap().0, [r#"{"tailnum":"é}"}"#]);
    assert_eq!(read(&one, r#"{"data":null}"#).unwrap().0, [""; 0]);
}

#[test]
fn tokens_of_any_plain_type() {
    let paths = paths("d", &["n", "m", "k.l"]);
    let values = |body| read(&paths, body).unwrap().1;
    assert_eq!(
        values(r#"{"d":[],"n":12,"m":false,"k":null}"#),
        [Some("12".into()), Some("false".into()), None]
    );
    assert_eq!(values(r#"{"d":[],"n":null}"#), [None, None, None]);
    assert_eq!(read(&paths, r#"{"d":[],"n":[1]}"#).unwrap_err(), PageError::NotToken("n".into()));
    let long = format!(r#"{{"d":[],"n":"{}"}}"#, "x".repeat(MAX_TOKEN + 1));
    assert_eq!(read(&paths, &long).unwrap_err(), PageError::NotToken("n".into()));
}

#[test]
fn what_is_not_the_page_is_said_without_quoting_it() {
    let paths = paths("data", &["meta.next"]);
    let error = |body: &str| read(&paths, body).unwrap_err();
    assert_eq!(error("<html>secret</html>"), PageError::NotJson(0));
    assert_eq!(error(r#"{"data":[{"a":1},{"a"#), PageError::Truncated(20));
    assert_eq!(error(""), PageError::Truncated(0));
    assert_eq!(error(r#"{"data":"secret"}"#), PageError::NotRecords("data".into()));
    assert_eq!(error(r#"{"data":[],"data":[1]}"#), PageError::Twice("data".into()));
    assert_eq!(error(r#"{"data":[],"meta":7}"#), PageError::NotObject("meta.next".into()));
    for broken in [
        r#"{"data":[]} x"#,
        r#""secret""#,
        r#"{"data":[1 2]}"#,
        r#"{"data":[1,]}"#,
        r#"{"data":[],}"#,
        r#"{"data":[]]"#,
        r#"{"data" []}"#,
        r#"{"data":[],"x":nul}"#,
        r#"{"data":[],"x":01}"#,
        r#"{"data":[],"x":secret}"#,
        r#"{data:[]}"#,
        "[1]",
    ] {
        assert!(matches!(error(broken), PageError::NotJson(_)), "{broken}: {}", error(broken));
    }
    let deep = format!(r#"{{"data":[],"x":{}"#, "[".repeat(1_000));
    assert_eq!(error(&deep), PageError::TooDeep(MAX_DEPTH));
}

#[test]
fn wrong_encodings_are_said() {
    let paths = paths("data", &[]);
    let latin = b"{\"data\":[{\"a\":\"\xe9t\xe9\"}]}";
    let utf16: Vec<u8> = "{\"data\":[]}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for piece in [1, 5, 100] {
        assert!(matches!(fed(&paths, latin, piece), Err(PageError::NotText(_))));
        assert!(matches!(fed(&paths, &utf16, piece), Err(PageError::NotJson(_))));
        // A character that the end of the page cuts in two.
        assert!(matches!(fed(&paths, b"{\"data\":[\"\xc3", piece), Err(PageError::Truncated(_))));
    }
}

#[test]
fn a_giant_record_is_counted_and_not_kept() {
    let paths = paths("data", &["n"]);
    let giant = format!("\"{}\"", "x".repeat(5_000));
    let (all, values) = read(&paths, &format!(r#"{{"data":[1,{giant},[2]],"n":"t"}}"#)).unwrap();
    assert_eq!(all, ["1", "oversize 5002", "[2]"]);
    assert_eq!(values, [Some("t".to_owned())]);
}

#[test]
fn a_page_of_any_size_takes_the_memory_of_one_record() {
    let paths = paths("data", &[]);
    let mut cutter = PageCutter::new(&paths, 1_000);
    let record = format!("{{\"a\":\"{}\"}},", "x".repeat(90));
    let block = record.repeat(640);
    cutter.feed(b"{\"data\":[", |_| Ok(())).unwrap();
    let mut count = 0_u64;
    for _ in 0..1_600 {
        for piece in block.as_bytes().chunks(8_191) {
            cutter
                .feed(piece, |_| {
                    count += 1;
                    Ok(())
                })
                .unwrap();
        }
    }
    cutter
        .feed(b"0]}", |_| {
            count += 1;
            Ok(())
        })
        .unwrap();
    cutter.finish().unwrap();
    assert_eq!(count, 640 * 1_600 + 1);
    assert!(cutter.offset() > 100_000_000, "{} bytes", cutter.offset());
    assert!(cutter.carry.capacity() <= MAX_TOKEN, "{}", cutter.carry.capacity());
}

#[test]
fn one_value_is_picked_out_of_a_record() {
    let mut picker = PageCutter::picker(&PagePath::parse("meta.updated").unwrap());
    assert_eq!(picker.pick(br#"{"a":[1],"meta":{"updated":"7"}}"#), Some("7".into()));
    assert_eq!(picker.pick(br#"{"meta":{"updated":8},"b":{}}"#), Some("8".into()));
    assert_eq!(picker.pick(br#"{"meta":null}"#), None);
    assert_eq!(picker.pick(b"[1]"), None);
}

fn values(paths: &PagePaths, body: &str) -> PageValues {
    let mut cutter = PageCutter::new(paths, 1_000);
    cutter.feed(body.as_bytes(), |_| Ok(())).unwrap();
    cutter.finish().unwrap()
}

#[test]
fn paths_lead_through_arrays_and_keys_with_dots() {
    let relay = paths("data.items.edges[*].node", &["data.items.pageInfo.endCursor"]);
    let body = r#"{"data":{"items":{"edges":[{"node":{"a":1},"cursor":"x"},{"cursor":"y","node":{"a":2}}],
        "pageInfo":{"endCursor":"y"}}}}"#;
    assert_eq!(
        read(&relay, body).unwrap(),
        (vec![r#"{"a":1}"#.into(), r#"{"a":2}"#.into()], vec![Some("y".into())])
    );
    let grouped = paths("groups.*.items", &["'@odata.nextLink'"]);
    let body = r#"{"groups":{"a":{"items":[1,2]},"b":{},"c":{"items":[3]}},"@odata.nextLink":"n"}"#;
    assert_eq!(
        read(&grouped, body).unwrap(),
        (vec!["1".into(), "2".into(), "3".into()], vec![Some("n".into())])
    );
    let second = paths("data[1].items", &["links[0].href"]);
    let body = r#"{"data":[{"items":[1]},{"items":[2]},{"items":[3]}],"links":[{"href":"a"},{"href":"b"}]}"#;
    assert_eq!(read(&second, body).unwrap(), (vec!["2".into()], vec![Some("a".into())]));
    // A key of digits is an element's number where there is an array.
    assert_eq!(
        read(&paths("data.0.items", &[]), r#"{"data":[{"items":[1]},{"items":[2]}]}"#).unwrap().0,
        ["1"]
    );
    assert_eq!(
        read(&paths("data.items", &[]), r#"{"data":[1]}"#).unwrap_err(),
        PageError::NotObject("data.items".into())
    );
    assert_eq!(
        read(&paths("[*]", &[]), r#"[[1,2],[3],null,{"a":4}]"#).unwrap().0,
        ["1", "2", "3", r#"{"a":4}"#]
    );
    assert_eq!(read(&paths("[*]", &[]), "[]").unwrap().0, [""; 0]);
}

#[test]
fn a_page_tells_which_paths_it_has_and_which_keys() {
    let looked = paths("data", &["meta.next"]);
    let whole = values(&looked, r#"{"data":[1],"meta":{"next":null,"total":5},"x":{"inner":1}}"#);
    assert!(whole.has_records() && looked.unseen(whole.found).is_empty());
    assert_eq!(whole.keys, ["data", "meta", "next", "total", "x"], "keys on the way, and no others");
    let other = values(&looked, r#"{"items":[1],"meta":{"cursor":"secret"}}"#);
    assert!(!other.has_records());
    assert_eq!(looked.unseen(other.found), ["data", "meta.next"]);
    assert_eq!(other.keys, ["items", "meta", "cursor"]);
    assert!(values(&looked, r#"{"data":null}"#).null_records);
}

#[test]
fn a_probe_takes_any_value_and_tells_whether_it_is_empty() {
    let mut probed = paths("data", &[]);
    let path = |text: &str| PagePath::parse(text).unwrap();
    assert_eq!(probed.add_probe(path("errors")), Some(0));
    assert_eq!(probed.add_probe(path("state.code")), Some(1));
    assert_eq!(probed.add_probe(path("data.x")), None, "it leads through another path");
    for (body, expected) in [
        (r#"{"errors":[],"data":[]}"#, [Some("[]"), None]),
        (r#"{"errors":[ ],"state":{"code":17}}"#, [Some("[]"), Some("17")]),
        (r#"{"errors":[{"a":[]}],"state":{"code":{}}}"#, [Some("[…]"), Some("{}")]),
        (r#"{"errors":{"a":[]},"state":{"code":"x"}}"#, [Some("{…}"), Some("x")]),
        (r#"{"errors":null,"state":null}"#, [None, None]),
    ] {
        let probes: Vec<_> = values(&probed, body).probes;
        assert_eq!(probes.iter().map(Option::as_deref).collect::<Vec<_>>(), expected, "{body}");
    }
}

#[test]
fn what_has_no_word_in_json_does_not_matter_beside_the_records() {
    let looked = paths("data", &["n"]);
    let body = r#"{"took":NaN,"more":[Infinity,-Infinity],"data":[1],"n":2}"#;
    assert_eq!(read(&looked, body).unwrap(), (vec!["1".into()], vec![Some("2".into())]));
    assert!(matches!(read(&looked, r#"{"took":Nan,"data":[]}"#).unwrap_err(), PageError::NotJson(_)));
}
