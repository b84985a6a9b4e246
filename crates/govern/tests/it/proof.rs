//! The leak proof of the repository's own contracts and views, and of views that leak.

use sluice_contract::ContractSet;
use sluice_govern::proof::{ProofPlace, ProofStep};
use sluice_govern::{LeakProof, SqlViewSet};

use crate::files;

fn proof_with(views: &[(&str, &str)]) -> LeakProof {
    let mut files = crate::views::with_views();
    files.extend(
        views.iter().map(|(name, sql)| (format!("schemas/metering/views/{name}.sql"), (*sql).to_owned())),
    );
    let contracts = ContractSet::parse(&files).unwrap();
    let views = SqlViewSet::parse(&files, &contracts).unwrap_or_else(|findings| panic!("{findings}"));
    LeakProof::of(&contracts, &views)
}

/// Each leak as `file:line way`.
fn leaks(views: &[(&str, &str)]) -> Vec<String> {
    let proof = proof_with(views);
    assert_eq!(proof.holds(), proof.leaks.is_empty());
    let shown = |leak: &sluice_govern::proof::ProofLeak| {
        let file = leak.file.strip_prefix("schemas/metering/views/").unwrap();
        format!("{file}:{} {}", leak.line, leak.path.join(" -> "))
    };
    proof.leaks.iter().map(shown).collect()
}

#[test]
fn the_repositorys_contracts_and_views_leak_nothing_and_every_sensitive_leaf_is_shown() {
    let proof = proof_with(&[]);
    assert!(proof.holds(), "{}", proof.text());
    let contracts = files::contracts();
    let sensitive = contracts
        .iter()
        .flat_map(|contract| &contract.fields)
        .filter(|field| !field.tags.is_empty() || field.classification == "restricted")
        .count();
    assert_eq!(proof.leaves().count(), sensitive);
    let text = proof.text();
    for line in [
        "aviation.flight.v1\n  tailnum [PII, restricted]\n",
        "hmac: key pseudonym, domain tailnum -> aviation.flight.masked.v1 tailnum",
        "-> view late_aircraft.tailnum",
        "decides rows -> view delay_by_manufacturer.(rows)",
        "-> aviation.flight.facts.v1 value",
        "-> table aviation_flight_facts_v1.value",
        "as it is -> aviation.flight.v1.dead-letter tailnum (restricted)",
        "address.line [PII, restricted]\n    as it is -> metering.account-profile.v1.dead-letter address.line (restricted)\n    drop -> nothing leaves",
        "-> view use_by_tariff.area",
        "\nproven: ",
    ] {
        assert!(text.contains(line), "no `{line}` in\n{text}");
    }
}

/// No way from a raw leaf to an open place is without a masking step: walked here once more, by other code.
#[test]
fn every_way_to_an_open_place_has_a_masking_step() {
    let proof = proof_with(&[]);
    fn walk(proof: &LeakProof, at: usize, masked: bool, steps: usize, ends: &mut usize) {
        assert!(steps < 20, "a circle");
        if proof.nodes[at].place.is_open() {
            assert!(masked, "{:?}", proof.nodes[at]);
            *ends += 1;
        }
        for edge in proof.edges.iter().filter(|edge| edge.from == at) {
            let masked = masked || matches!(edge.step, ProofStep::Masked(_));
            if let Some(to) = edge.to {
                walk(proof, to, masked, steps + 1, ends);
            }
        }
    }
    let mut ends = 0;
    for (leaf, node) in proof.leaves() {
        assert_eq!(node.place, ProofPlace::RawTopic);
        walk(&proof, leaf, false, 0, &mut ends);
    }
    assert!(ends > 40, "{ends}");
}

#[test]
fn a_view_over_a_raw_topic_is_a_leak_with_its_whole_way() {
    assert_eq!(
        leaks(&[("bad", "SELECT\n  mpan AS m\nFROM metering_meter_reading_v1")]),
        ["bad.sql:3 metering.meter-reading.v1 mpan -> table metering_meter_reading_v1.mpan -> view bad.m"]
    );
    // Through another view, an expression, a CTE, and by the topic's own name.
    let through = leaks(&[
        (
            "bad",
            "WITH a AS (SELECT mpan, upper(postcode) AS p FROM \"metering.meter-reading.v1\") SELECT p FROM a",
        ),
        ("worse", "SELECT count(*) AS n, max(p) AS q FROM bad"),
    ]);
    let way = "metering.meter-reading.v1 postcode -> table metering_meter_reading_v1.postcode -> view bad.p";
    assert_eq!(through, [format!("bad.sql:1 {way}"), format!("bad.sql:1 {way} -> view worse.q")]);
}

#[test]
fn filters_counts_and_columns_that_are_public_leak_too() {
    assert_eq!(
        leaks(&[("bad", "SELECT count(*) AS n FROM metering_meter_reading_v1 WHERE mpan = '1'")]),
        [
            "bad.sql:1 metering.meter-reading.v1 mpan -> table metering_meter_reading_v1.mpan -> view bad.(rows)"
        ]
    );
    assert_eq!(
        leaks(&[("bad", "SELECT count(*) AS n FROM metering_meter_reading_v1")]),
        [
            "bad.sql:1 metering.meter-reading.v1 (rows) -> table metering_meter_reading_v1.(rows) -> view bad.(rows)"
        ]
    );
    assert_eq!(
        leaks(&[("bad", "SELECT register FROM metering_meter_reading_v1")]),
        [
            "bad.sql:1 metering.meter-reading.v1 register -> table metering_meter_reading_v1.register -> view bad.register"
        ]
    );
    // All six columns, each by its own way.
    assert_eq!(leaks(&[("bad", "SELECT * FROM metering_meter_reading_v1")]).len(), 6);
}

#[test]
fn views_that_cannot_be_followed_are_findings_with_file_line_and_hint() {
    let refused = |views: &[(&str, &str)]| -> Vec<String> {
        let mut files = crate::views::with_views();
        files.extend(views.iter().map(|(path, sql)| (format!("schemas/{path}"), (*sql).to_owned())));
        let contracts = ContractSet::parse(&files).unwrap();
        let findings = SqlViewSet::parse(&files, &contracts).expect_err("accepted").0;
        assert!(findings.iter().all(|finding| finding.line.is_some() && finding.hint.is_some()));
        findings.iter().map(ToString::to_string).collect()
    };
    let table = "metering_meter_reading_masked_v1";
    assert_eq!(
        refused(&[("metering/views/a.sql", &format!("SELECT\n  mpna\nFROM {table}"))]),
        ["schemas/metering/views/a.sql:2: there is no column `mpna` (did you mean `mpan`?)"]
    );
    let circle =
        refused(&[("metering/views/a.sql", "SELECT x FROM b"), ("metering/views/b.sql", "SELECT x FROM a")]);
    assert_eq!(circle.len(), 2);
    assert!(circle[0].contains("the view `a` reads itself"), "{circle:?}");
    assert!(
        refused(&[("aviation/views/daily_use.sql", "SELECT 1 AS x")])[0]
            .contains("the name `daily_use` is taken by schemas/metering/views/daily_use.sql")
    );
    assert!(refused(&[("metering/views/Big Table.sql", "SELECT 1 AS x")])[0].contains("needs quotes"));
    let elsewhere = refused(&[("metering/other/a.sql", "SELECT 1 AS x")]);
    assert!(elsewhere[0].contains("expected the SQL file in a folder `views`"), "{elsewhere:?}");
    let same = refused(&[("metering/views/a.sql", &format!("SELECT mpan, kwh AS mpan FROM {table}"))]);
    assert!(same[0].contains("two columns of the view are called `mpan`"), "{same:?}");
    // A view over a refused one is not blamed for it.
    let over = refused(&[
        ("metering/views/a.sql", "SELECT nothing FROM nowhere"),
        ("metering/views/b.sql", "SELECT nothing FROM a"),
    ]);
    assert_eq!(over.len(), 1, "{over:?}");
    let taken = refused(&[(&format!("metering/views/{table}.sql"), "SELECT 1 AS x")]);
    assert!(taken[0].contains("is taken by a table"), "{taken:?}");
}

#[test]
fn the_page_needs_nothing_else_and_escapes_what_contracts_say() {
    let page = proof_with(&[("bad", "SELECT mpan AS \"<script>\" FROM metering_meter_reading_v1")]).html();
    assert!(page.contains("&lt;script&gt;") && page.matches("<script>").count() == 1, "only our own");
    for outside in ["http://", "https://", " src=", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("class=\"step leak\"") && page.contains("Not proven: 1 ways"));
}

#[test]
fn a_leak_is_drawn_in_front_of_every_box_and_lines_name_their_operation() {
    let page = proof_with(&[("bad", "SELECT mpan FROM metering_meter_reading_v1")]).html();
    let drawing = page.split("<svg").nth(1).unwrap().split("</svg>").next().unwrap();
    let last_box = drawing.rfind("<g class=\"place").unwrap();
    let leaks: Vec<usize> = drawing.match_indices("<path class=\"step leak\"").map(|(at, _)| at).collect();
    assert!(!leaks.is_empty() && leaks.iter().all(|leak| *leak > last_box), "{leaks:?} {last_box}");
    let others = drawing.rfind("<path class=\"step masked\"").unwrap();
    assert!(others < drawing.find("<g class=\"place").unwrap());
    for name in ["hmac: key pseudonym", "generalise: "] {
        let named = |text: &str| text.starts_with(name) || text.contains(&format!(">{name}"));
        assert!(drawing.split("class=\"name-of-step masked\"").skip(1).any(named), "{name}");
    }
}

#[test]
fn no_name_of_the_drawing_is_cut_off() {
    let long =
        "a_view_with_a_name_that_is_much_longer_than_any_box_was_before_its_width_followed_from_its_text";
    let sql = "SELECT postcode AS a_column_with_a_name_that_is_longer_than_thirty_letters FROM metering_meter_reading_masked_v1";
    let page = proof_with(&[(long, sql)]).html();
    let drawing = page.split("<svg").nth(1).unwrap().split("</svg>").next().unwrap();
    assert!(drawing.contains(&format!(">{long}<title>")));
    assert!(drawing.contains(">a_column_with_a_name_that_is_longer_than_thirty_letters<title>"));
    // The drawing is as wide as its rightmost box.
    let number = |text: &str, key: &str| -> usize {
        text.split(&format!("{key}=\"")).nth(1).unwrap().split('"').next().unwrap().parse().unwrap()
    };
    let width = number(drawing, "width");
    for rect in drawing.split("<rect").skip(1) {
        assert!(number(rect, " x") + number(rect, " width") < width);
    }
}
