//! The catalogue's pages, read as HTML.

use std::collections::{BTreeMap, BTreeSet};

use sluice_contract::ContractSet;
use sluice_govern::{CataloguePage, SqlViewSet, site};

fn pages(files: &[(String, String)]) -> BTreeMap<String, String> {
    let contracts = ContractSet::parse(files).unwrap_or_else(|findings| panic!("{findings}"));
    let views = SqlViewSet::parse(files, &contracts).unwrap_or_else(|findings| panic!("{findings}"));
    site(&contracts, &views, &crate::workers::WORKERS)
        .into_iter()
        .map(|CataloguePage { name, html }| (name, html))
        .collect()
}

/// A tag: its name, its attributes, and whether it closes.
struct HtmlTag {
    name: String,
    attributes: BTreeMap<String, String>,
    closes: bool,
}

const VOID: [&str; 4] = ["meta", "input", "br", "!doctype"];

/// Every tag of a page, as a browser splits it: what stands in `<style>` and `<script>` is no markup.
fn tags(page: &str) -> Vec<HtmlTag> {
    let mut tags = Vec::new();
    let mut rest = page;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        let mut end = 0;
        let mut quoted = false;
        for (place, c) in rest.char_indices() {
            match c {
                '"' => quoted = !quoted,
                '>' if !quoted => {
                    end = place;
                    break;
                }
                _ => {}
            }
        }
        let inside = &rest[..end];
        rest = &rest[end + 1..];
        let closes = inside.starts_with('/');
        let inside = inside.trim_matches('/');
        let (name, mut said) = inside.split_once([' ', '\n']).unwrap_or((inside, ""));
        let name = name.to_lowercase();
        let mut attributes = BTreeMap::new();
        while let Some((key, after)) = said.split_once("=\"") {
            let (value, after) = after.split_once('"').expect("a quoted attribute");
            let key = key.split_whitespace().last().expect("an attribute's name");
            attributes.insert(key.to_owned(), value.to_owned());
            said = after;
        }
        if !closes && matches!(name.as_str(), "style" | "script") {
            let end = rest.find(&format!("</{name}")).expect("an end");
            rest = &rest[end..];
        }
        tags.push(HtmlTag { name, attributes, closes });
    }
    tags
}

/// Whether every tag that opens is closed, in order.
fn assert_balanced(name: &str, page: &str) {
    let mut open: Vec<String> = Vec::new();
    for tag in tags(page) {
        // `<rect …/>` closes itself; `<path …>` holds a title.
        let draws = tag.name == "rect";
        match tag.closes {
            true => assert_eq!(open.pop().as_deref(), Some(tag.name.as_str()), "{name}"),
            false if draws || VOID.contains(&tag.name.as_str()) => {}
            false => open.push(tag.name),
        }
    }
    assert!(open.is_empty(), "{name}: {open:?}");
}

#[test]
fn every_page_is_whole_and_every_link_leads_to_one() {
    let pages = pages(&crate::views::with_views());
    let names: BTreeSet<&str> = pages.keys().map(String::as_str).collect();
    for name in
        ["index.html", "proof.html", "topic-flight.html", "topic-account-profile.html", "view-daily_use.html"]
    {
        assert!(names.contains(name), "{names:?}");
    }
    assert_eq!(pages.len(), 4 + 4 + 2);
    for (name, page) in &pages {
        assert_balanced(name, page);
        for outside in ["http://", "https://", "@import", "url(", " src="] {
            assert!(!page.contains(outside), "{name}: {outside}");
        }
        for tag in tags(page) {
            if let Some(link) = tag.attributes.get("href") {
                assert!(names.contains(link.as_str()), "{name}: {link}");
            }
            let handlers = tag.attributes.keys().filter(|key| key.starts_with("on"));
            assert_eq!(handlers.count(), 0, "{name}");
        }
        let policy = tags(page).into_iter().find_map(|tag| tag.attributes.get("content").cloned());
        assert!(policy.is_some_and(|policy| policy.starts_with("default-src 'none'")), "{name}");
    }
}

#[test]
fn a_topics_page_says_owner_retention_classification_masking_lineage_and_a_query() {
    let pages = pages(&crate::views::with_views());
    let page = &pages["topic-flight.html"];
    for said in [
        "airport-data",
        "owner@example.org",
        "30 days (delete)",
        "aviation-raw-readers (raw and masked)",
        "hmac: key pseudonym, domain tailnum",
        "<td class=\"restricted\">restricted</td><td data-of=\"tags\">PII</td>",
        "Tail number: names the aircraft, and so its owner.",
        "<a href=\"view-late_aircraft.html\">",
        "<a href=\"topic-aircraft.html\">aviation.aircraft.v1</a> (tailnum)",
        "sluice sql --lake lake 'SELECT year, month, day, dep_time, sched_dep_time, dep_delay FROM aviation_flight_masked_v1 LIMIT 10'",
    ] {
        assert!(page.contains(said), "no `{said}` in\n{page}");
    }
    // The search finds a topic by a field's name.
    let index = tags(&pages["index.html"]);
    let found: Vec<&HtmlTag> = index
        .iter()
        .filter(|tag| tag.attributes.get("data-words").is_some_and(|words| words.contains("postcode")))
        .collect();
    assert_eq!(found.len(), 3, "both topics with a postcode, and a view by its area");
}

#[test]
fn nothing_that_a_contract_says_becomes_markup() {
    let mut files = crate::views::with_views();
    let hostile =
        "</td><script>alert(1)</script><img src=x onerror=alert(2)>\\\" onmouseover=alert(3) x=\\\"";
    for (path, text) in &mut files {
        if path.ends_with("flight/contract.odcs.yaml") {
            *text = text.replace(
                "Punctuality of departures, by carrier, route and aircraft.",
                &format!("\"{hostile}\""),
            );
            *text = text.replace("team: {name: airport-data", &format!("team: {{name: \"{hostile}\""));
        }
        if path.ends_with("flight/value.avsc") {
            *text = text.replace("Two-letter code of the carrier.", hostile);
        }
        if path.ends_with("late_aircraft.sql") {
            *text = text.replace("Aircraft that arrived", &hostile.replace('\\', ""));
        }
    }
    let pages = pages(&files);
    assert!(pages["topic-flight.html"].contains("&lt;script&gt;alert(1)"));
    for (name, page) in &pages {
        assert_balanced(name, page);
        for tag in tags(page) {
            assert_ne!(tag.name, "img", "{name}");
            assert!(!tag.attributes.keys().any(|key| key.starts_with("on")), "{name}");
        }
        assert!(!page.contains("<script>alert"), "{name}");
    }
}

#[test]
fn no_page_has_a_folder_of_the_machine_that_made_it() {
    // The files as a command names them that is given an absolute folder; one view leaks, so that the proof names it.
    let root = "/home/somebody/checkout";
    let mut files: Vec<(String, String)> =
        crate::views::with_views().into_iter().map(|(path, text)| (format!("{root}/{path}"), text)).collect();
    let leaking = "SELECT mpan FROM metering_meter_reading_v1".to_owned();
    files.push((format!("{root}/schemas/metering/views/leaking.sql"), leaking));
    let pages = pages(&files);
    assert!(pages["proof.html"].contains("metering/views/leaking.sql:1"));
    assert!(pages["view-leaking.html"].contains("<code>metering/views/leaking.sql</code>"));
    for (name, page) in &pages {
        assert!(!page.contains("somebody") && !page.contains("/home"), "{name}");
    }
}

#[test]
fn a_wide_table_can_be_scrolled() {
    for (name, page) in pages(&crate::views::with_views()) {
        let tables = page.matches("<table").count();
        assert_eq!(page.matches("<div class=\"table\"><table").count(), tables, "{name}");
    }
}
