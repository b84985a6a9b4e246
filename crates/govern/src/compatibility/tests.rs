use super::*;

fn record(fields: &str) -> String {
    format!(r#"{{"type": "record", "name": "R", "namespace": "n", "fields": [{fields}]}}"#)
}

fn field(name: &str, of: &str) -> String {
    format!(r#"{{"name": "{name}", "type": {of}}}"#)
}

fn paths(writer: &str, reader: &str) -> Vec<String> {
    unreadable(writer, reader).into_iter().map(|(path, _)| path).collect()
}

#[test]
fn fields_need_a_default_where_nobody_writes_them() {
    let (one, two) =
        (record(&field("a", "\"int\"")), record(&(field("a", "\"int\"") + "," + &field("b", "\"int\""))));
    assert_eq!(paths(&one, &two), ["b"]);
    assert!(paths(&two, &one).is_empty());
    let with = record(r#"{"name": "a", "type": "int"}, {"name": "b", "type": "int", "default": 0}"#);
    assert!(paths(&one, &with).is_empty());
    let renamed = record(r#"{"name": "c", "aliases": ["a"], "type": "int"}"#);
    assert!(paths(&one, &renamed).is_empty());
    assert_eq!(paths(&renamed, &one), ["a"]);
}

#[test]
fn types_follow_the_specification() {
    let fit = |writer: &str, reader: &str| {
        paths(&record(&field("a", writer)), &record(&field("a", reader))).is_empty()
    };
    let cases = [
        (r#""int""#, r#""long""#, true, false),
        (r#""int""#, r#""double""#, true, false),
        (r#""string""#, r#""bytes""#, true, true),
        (r#""string""#, r#"["null", "string"]"#, true, false),
        (r#"["null", "int"]"#, r#"["null", "long"]"#, true, false),
        (r#"["null", "int", "string"]"#, r#"["string", "null", "long"]"#, true, false),
        (r#"{"type": "array", "items": "int"}"#, r#"{"type": "array", "items": "long"}"#, true, false),
        (r#"{"type": "map", "values": "int"}"#, r#"{"type": "map", "values": "string"}"#, false, false),
        (
            r#"{"type": "enum", "name": "E", "symbols": ["A"]}"#,
            r#"{"type": "enum", "name": "E", "symbols": ["A", "B"]}"#,
            true,
            false,
        ),
        (
            r#"{"type": "enum", "name": "E", "symbols": ["A", "B"]}"#,
            r#"{"type": "enum", "name": "E", "symbols": ["A"], "default": "A"}"#,
            true,
            true,
        ),
        (
            r#"{"type": "fixed", "name": "F", "size": 2}"#,
            r#"{"type": "fixed", "name": "F", "size": 3}"#,
            false,
            false,
        ),
        (
            r#"{"type": "fixed", "name": "F", "size": 2}"#,
            r#"{"type": "fixed", "name": "G", "size": 2}"#,
            false,
            false,
        ),
        (
            r#"{"type": "long", "logicalType": "timestamp-millis"}"#,
            r#"{"type": "long", "logicalType": "timestamp-micros"}"#,
            false,
            false,
        ),
        (r#"{"type": "string", "logicalType": "uuid"}"#, r#""string""#, true, true),
        (
            r#"{"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}"#,
            r#"{"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 3}"#,
            false,
            false,
        ),
    ];
    for (one, other, forth, back) in cases {
        assert_eq!(fit(one, other), forth, "{one} read as {other}");
        assert_eq!(fit(other, one), back, "{other} read as {one}");
    }
}

#[test]
fn paths_lead_into_records_arrays_maps_and_names_and_circles_end() {
    let schema = |inner: &str| {
        format!(
            r#"{{"type": "record", "name": "Tree", "namespace": "n", "fields": [
            {{"name": "leaf", "type": {{"type": "record", "name": "Leaf", "fields": [{{"name": "x", "type": "{inner}"}}]}}}},
            {{"name": "more", "type": {{"type": "array", "items": "n.Leaf"}}}},
            {{"name": "next", "type": ["null", "Tree"]}},
            {{"name": "by", "type": {{"type": "map", "values": ["null", "{inner}"]}}}}]}}"#
        )
    };
    assert_eq!(paths(&schema("int"), &schema("string")), ["leaf.x", "by{}"]);
    assert!(paths(&schema("int"), &schema("long")).is_empty());
}

#[test]
fn a_level_says_who_must_read_what_and_how_far_back() {
    let version = |number, fields: &str| SubjectVersion { number, schema: record(fields) };
    let (a, b) = (field("a", "\"int\""), field("b", "\"int\""));
    let optional = r#"{"name": "b", "type": "int", "default": 0}"#;
    let earlier = [version(1, &a), version(2, &format!("{a}, {optional}"))];
    let new = record(&format!("{a}, {b}"));
    let found = |level: CompatibilityLevel| -> Vec<(u32, CompatibilityBreak)> {
        check(level, &new, &earlier).into_iter().map(|it| (it.version, it.breaks)).collect()
    };
    assert_eq!(found(CompatibilityLevel::Backward), []);
    assert_eq!(found(CompatibilityLevel::BackwardTransitive), [(1, CompatibilityBreak::OldRecords)]);
    assert_eq!(found(CompatibilityLevel::FullTransitive), [(1, CompatibilityBreak::OldRecords)]);
    assert_eq!(found(CompatibilityLevel::None), []);
    let gone = record(optional);
    let found = check(CompatibilityLevel::Forward, &gone, &earlier);
    assert_eq!(
        found[0].to_string(),
        "`a`: the writer has no such field, and the reader has no default for it (readers of version 2 would break)"
    );
    assert_eq!(check(CompatibilityLevel::Full, &gone, &[]), []);
}
