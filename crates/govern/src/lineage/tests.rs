use super::*;

/// Tables `readings(mpan, kwh, read_at, address{line, postcode}, meters[]{serial}, notes{map}, _kafka_offset)`
/// with a column `_offset` that `*` does not show, `profiles(account, mpan, name)` and a view
/// `daily(mpan, total)`.
fn tables() -> LineageTables {
    let column = |name: &str, leaves: &[&str]| BaseColumn {
        name: name.to_owned(),
        leaves: leaves.iter().map(|leaf| (*leaf).to_owned()).collect(),
        in_star: true,
    };
    let plain = |names: &[&str]| names.iter().map(|name| column(name, &[name])).collect::<Vec<_>>();
    let mut tables = LineageTables::default();
    let mut readings = plain(&["mpan", "kwh", "read_at"]);
    readings.push(column("address", &["address.line", "address.postcode"]));
    readings.push(column("meters", &["meters[].serial", "meters[].installed"]));
    readings.push(column("notes", &["notes{key}", "notes{}"]));
    readings.push(column("_kafka_offset", &[]));
    readings.push(BaseColumn { in_star: false, ..column("_offset", &[]) });
    tables.add(BaseTable { name: "readings_v1".into(), view: false, columns: readings }, Some("readings.v1"));
    let profiles = plain(&["account", "mpan", "name"]);
    tables.add(BaseTable { name: "profiles".into(), view: false, columns: profiles }, None);
    tables.add(BaseTable { name: "daily".into(), view: true, columns: plain(&["mpan", "total"]) }, None);
    tables
}

fn lineage(sql: &str) -> Result<QueryLineage, LineageRefusal> {
    of(parse(sql)?.as_ref(), &tables())
}

/// `column: relation.leaf relation.leaf`, a line per column, and `~ …` for what decides the rows.
fn shown(sql: &str) -> Vec<String> {
    let lineage = lineage(sql).unwrap_or_else(|why| panic!("{sql}: {why:?}"));
    let list = |origins: &BTreeSet<ColumnOrigin>| {
        origins.iter().map(|o| format!(" {}.{}", o.relation, o.leaf)).collect::<String>()
    };
    let mut lines: Vec<String> =
        lineage.columns.iter().map(|(name, origins)| format!("{name}:{}", list(origins))).collect();
    if !lineage.decides.is_empty() {
        lines.push(format!("~{}", list(&lineage.decides)));
    }
    lines
}

#[test]
fn names_are_found_however_they_are_written() {
    for from in
        ["readings_v1", "readings.v1", "\"readings.v1\"", "READINGS_V1", "readings_v1 AS r", "readings_v1 r"]
    {
        assert_eq!(shown(&format!("SELECT mpan FROM {from}")), ["mpan: readings_v1.mpan"], "{from}");
    }
    assert_eq!(shown("SELECT readings_v1.mpan x FROM readings_v1"), ["x: readings_v1.mpan"]);
    assert_eq!(shown("SELECT v1.MPAN FROM readings.v1"), ["MPAN: readings_v1.mpan"]);
    assert_eq!(
        shown("SELECT r.address.postcode FROM readings_v1 r"),
        ["postcode: readings_v1.address.postcode"]
    );
    assert_eq!(shown("SELECT address['postcode'] p FROM readings_v1"), ["p: readings_v1.address.postcode"]);
    assert_eq!(shown("SELECT meters[1].serial s FROM readings_v1"), ["s: readings_v1.meters[].serial"]);
    assert_eq!(shown("SELECT notes['a'] n FROM readings_v1"), ["n: readings_v1.notes{}"]);
    assert_eq!(
        shown("SELECT address a FROM readings_v1"),
        ["a: readings_v1.address.line readings_v1.address.postcode"]
    );
    assert_eq!(shown("SELECT _offset, _kafka_offset o FROM readings_v1"), ["_offset:", "o:"]);
}

#[test]
fn expressions_come_from_everything_named_in_them() {
    let one = |expression: &str| {
        let lines = shown(&format!("SELECT {expression} AS x FROM readings_v1"));
        lines[0].strip_prefix("x:").unwrap().replace(" readings_v1.", " ")
    };
    assert_eq!(one("kwh + 1"), " kwh");
    assert_eq!(one("CASE WHEN mpan = 'a' THEN kwh ELSE 0 END"), " kwh mpan");
    assert_eq!(one("coalesce(CAST(mpan AS TEXT), 'x') || '-' || kwh"), " kwh mpan");
    assert_eq!(one("sum(kwh) FILTER (WHERE mpan IS NOT NULL)"), " kwh mpan");
    assert_eq!(one("row_number() OVER (PARTITION BY mpan ORDER BY read_at)"), " mpan read_at");
    assert_eq!(one("date_trunc('hour', read_at) + INTERVAL '1' HOUR"), " read_at");
    assert_eq!(one("EXTRACT(year FROM read_at) IN (1, 2)"), " read_at");
    assert_eq!(one("count(*)"), "");
    assert_eq!(one("count(DISTINCT mpan)"), " mpan");
    assert_eq!(
        one("(SELECT max(account) FROM profiles p WHERE p.mpan = readings_v1.mpan)"),
        " profiles.account"
    );
    assert_eq!(one("EXISTS (SELECT name FROM profiles)"), " profiles.name");
    assert_eq!(one("mpan IN (SELECT mpan FROM profiles)"), " profiles.mpan mpan");
    assert_eq!(one("upper((address).postcode)"), " address.postcode");
}

#[test]
fn joins_filters_and_groups_decide() {
    assert_eq!(
        shown(
            "SELECT p.name, sum(kwh) AS total FROM readings_v1 r JOIN profiles p ON p.mpan = r.mpan \
             WHERE r.read_at > now() GROUP BY p.name HAVING sum(kwh) > 1 ORDER BY total LIMIT 3"
        ),
        [
            "name: profiles.name",
            "total: readings_v1.kwh",
            "~ profiles.mpan profiles.name readings_v1.kwh readings_v1.mpan readings_v1.read_at"
        ]
    );
    assert_eq!(
        shown("SELECT mpan, name FROM readings_v1 JOIN profiles USING (mpan)"),
        ["mpan: profiles.mpan readings_v1.mpan", "name: profiles.name", "~ profiles.mpan readings_v1.mpan"]
    );
    assert_eq!(
        shown("SELECT DISTINCT ON (mpan) kwh FROM readings_v1"),
        ["kwh: readings_v1.kwh", "~ readings_v1.mpan"]
    );
    assert_eq!(
        shown("SELECT lag(kwh) OVER w AS k FROM readings_v1 WINDOW w AS (ORDER BY read_at)"),
        ["k: readings_v1.kwh", "~ readings_v1.read_at"]
    );
}

#[test]
fn stars_are_written_out() {
    assert_eq!(shown("SELECT * FROM daily"), ["mpan: daily.mpan", "total: daily.total"]);
    assert_eq!(shown("SELECT * EXCEPT (total) FROM daily"), ["mpan: daily.mpan"]);
    assert_eq!(
        shown("SELECT d.*, p.name FROM daily d, profiles p"),
        ["mpan: daily.mpan", "total: daily.total", "name: profiles.name"]
    );
    for star in ["*", "r.*"] {
        let lines = shown(&format!("SELECT {star} FROM readings_v1 r"));
        assert_eq!(lines.last().unwrap(), "_kafka_offset:", "{lines:?}");
    }
    // A column that was named is an ordinary one for the query around it.
    assert_eq!(shown("SELECT * FROM (SELECT _offset FROM readings_v1) a"), ["_offset:"]);
    assert_eq!(shown("SELECT * FROM (SELECT mpan AS m FROM (SELECT * FROM daily) a) b"), ["m: daily.mpan"]);
}

#[test]
fn ctes_subqueries_and_set_operations_hand_on() {
    assert_eq!(
        shown(
            "WITH a AS (SELECT mpan AS m, kwh FROM readings_v1), b (n) AS (SELECT m FROM a) SELECT n FROM b"
        ),
        ["n: readings_v1.mpan"]
    );
    // A CTE hides a table of its name.
    assert_eq!(shown("WITH profiles AS (SELECT 1 AS account) SELECT account FROM profiles"), ["account:"]);
    assert_eq!(
        shown(
            "SELECT mpan AS x FROM daily UNION ALL SELECT account FROM profiles EXCEPT SELECT name FROM profiles"
        ),
        ["x: daily.mpan profiles.account profiles.name"]
    );
    assert_eq!(
        shown("SELECT v.column1 + d.total AS t FROM (VALUES (1), (2)) v, daily d"),
        ["t: daily.total"]
    );
    assert_eq!(
        shown(
            "SELECT x.k FROM daily d, LATERAL (SELECT kwh AS k FROM readings_v1 r WHERE r.mpan = d.mpan) x"
        ),
        ["k: readings_v1.kwh", "~ daily.mpan readings_v1.mpan"]
    );
    assert_eq!(
        shown("SELECT m.serial FROM readings_v1 r CROSS JOIN UNNEST(r.meters) AS m"),
        ["serial: readings_v1.meters[].serial"]
    );
    assert_eq!(
        shown("SELECT a.address.line FROM (SELECT * FROM readings_v1) a"),
        ["line: readings_v1.address.line"]
    );
}

#[test]
fn tables_that_are_only_counted_are_read() {
    let lineage = lineage("SELECT count(*) AS n FROM profiles WHERE EXISTS (SELECT 1 FROM daily)").unwrap();
    assert_eq!(lineage.reads, BTreeSet::from(["daily".to_owned(), "profiles".to_owned()]));
}

#[test]
fn what_cannot_be_resolved_is_refused_with_line_and_hint() {
    let cases = [
        ("SELECT mpna FROM readings_v1", "no column `mpna`", "did you mean `mpan`?"),
        (
            "SELECT\n  mpan\nFROM\n  reading_v1",
            "no table or view `reading_v1`",
            "did you mean `readings_v1`?",
        ),
        ("SELECT mpan FROM readings_v1, profiles", "`mpan` is ambiguous", "put the table's name before it"),
        ("SELECT address.town FROM readings_v1", "no such field in `address`", ""),
        ("SELECT x.mpan FROM readings_v1 r", "no column `x.mpan`", ""),
        ("SELECT * FROM readings_v1 JOIN profiles USING (mpan)", "`*` over a join with USING", ""),
        ("SELECT * FROM readings_v1 NATURAL JOIN profiles", "`*` over a NATURAL join", ""),
        (
            "SELECT * FROM readings_v1 r LEFT SEMI JOIN profiles p ON r.mpan = p.mpan",
            "`*` over a semi join",
            "",
        ),
        ("WITH RECURSIVE a AS (SELECT 1 AS n) SELECT n FROM a", "recursive", ""),
        ("SELECT value FROM generate_series(1, 3)", "a table function", ""),
        ("SELECT to_json(r.*) AS j FROM readings_v1 r", "`*` in", ""),
        ("SELECT r FROM readings_v1 r", "no column `r`", ""),
        ("SELECT mpan, kwh FROM readings_v1 UNION SELECT name FROM profiles", "found 2 and 1", ""),
        ("SELECT mpan FROM readings_v1 UNION BY NAME SELECT mpan FROM profiles", "BY NAME", ""),
        ("SELECT mpan FROM readings_v1; SELECT 1", "a second statement", ""),
        ("DELETE FROM readings_v1", "expected a SELECT", ""),
        ("CREATE VIEW v AS SELECT mpan FROM readings_v1", "expected a SELECT", "without CREATE VIEW"),
        ("SELECT mpan INTO x FROM readings_v1", "INTO", ""),
        ("SELECT (mpan FROM", "not SQL", ""),
        ("", "found no statement", ""),
        // Siblings of a subquery are not in its scope, and a CTE ends with its query.
        ("SELECT 1 FROM daily d, (SELECT d.total AS t) x", "no column `d.total`", ""),
        (
            "SELECT a.m FROM (WITH c AS (SELECT mpan AS m FROM daily) SELECT m FROM c) a, c",
            "no table or view `c`",
            "",
        ),
    ];
    for (sql, message, hint) in cases {
        let why = lineage(sql).expect_err(sql);
        assert!(why.message.contains(message), "{sql}: {why:?}");
        assert!(why.hint.contains(hint), "{sql}: {why:?}");
        assert!(why.line > 0 && !why.hint.is_empty(), "{sql}: {why:?}");
    }
    assert_eq!(lineage("SELECT\n  mpan\nFROM\n  reading_v1").unwrap_err().line, 4);
    assert_eq!(lineage("SELECT mpan,\n  nothing\nFROM readings_v1").unwrap_err().line, 2);
}
