//! The catalogue: a static site of topics, fields, owners and lineage.
//!
//! ```text
//!  index.html              every topic and view, with a search box over topics, fields, owners and tags
//!  topic-<id>.html         fields, owners, classification, retention, roles, lineage, a sample query
//!  view-<name>.html        columns and their origins, the SQL
//!  proof.html              the leak proof
//! ```
//!
//! A page is complete in itself: no network, no fonts, no scripts from elsewhere. Every text from a contract
//! is escaped.

mod frame;
mod topic;
mod view;

use std::fmt::Write as _;

use crate::html::HtmlText;
use crate::plan::time_text;
use crate::proof::LeakProof;
use crate::views::SqlViewSet;
use sluice_contract::WorkerAccess;
use sluice_contract::contract::{Contract, sql_name};
use sluice_contract::contracts::ContractSet;

/// A file of the site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CataloguePage {
    /// Its file name. All pages are in one folder.
    pub name: String,
    /// Its text.
    pub html: String,
}

/// Returns the whole site. `workers` are the fleet's workers; a topic's page names those that write and read its
/// topics. The same contracts, views and workers give the same site, byte for byte.
pub fn site(contracts: &ContractSet, views: &SqlViewSet, workers: &[WorkerAccess]) -> Vec<CataloguePage> {
    let proof = LeakProof::of(contracts, views);
    let mut pages = vec![index(contracts, views, &proof)];
    pages.extend(contracts.iter().map(|contract| topic::page(contract, views, contracts, workers)));
    pages.extend(views.iter().map(|view| view::page(view, contracts)));
    pages.push(CataloguePage { name: "proof.html".to_owned(), html: proof.html() });
    pages
}

/// Returns the file name of a contract's page.
fn topic_page(contract: &Contract) -> String {
    format!("topic-{}.html", file_part(&contract.id))
}

/// Returns the file name of a view's page.
fn view_page(name: &str) -> String {
    format!("view-{}.html", file_part(name))
}

/// Returns the text with every character replaced that a file name or a link may not have.
fn file_part(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' }).collect()
}

/// Returns the first page: the verdict of the leak proof, the search box, and a row for each topic and view.
fn index(contracts: &ContractSet, views: &SqlViewSet, proof: &LeakProof) -> CataloguePage {
    // Head, verdict and search box.
    let mut body = String::from("<h1>Catalogue</h1>\n");
    let (topics, of_views) = (contracts.iter().count(), views.iter().count());
    let verdict = match proof.holds() {
        true => "every way to an open place has a masking step".to_owned(),
        false => format!("{} ways without a masking step", proof.leaks.len()),
    };
    // Writing to a String does not fail.
    let _ = writeln!(
        body,
        "<p>{topics} topics, {of_views} views. <a href=\"proof.html\">Leak proof</a>: {verdict}.</p>\n\
         <p><input id=\"find\" type=\"search\" placeholder=\"topic, field, owner, tag, table …\" aria-label=\"search the catalogue\" autofocus> \
         <span id=\"count\" aria-live=\"polite\"></span></p>\n\
         <div class=\"table\"><table id=\"topics\"><thead><tr><th>topic</th><th>description</th><th>owner</th><th>fields</th><th>kept</th><th>masked table</th></tr></thead><tbody>"
    );

    for contract in contracts.iter() {
        // The words under which the search finds the topic, also those that the row does not show.
        let mut words =
            vec![contract.raw_topic.clone(), contract.masked_topic.clone(), contract.domain.clone()];
        words.extend([contract.owner.team.clone(), contract.status.clone()]);
        words.extend(contract.owner.contacts.iter().cloned());
        words.extend(contract.description.clone());
        words.push(sql_name(&contract.masked_topic));
        words.extend(contract.facts.iter().map(|facts| facts.topic.clone()));
        for field in &contract.fields {
            words.push(field.leaf.path.clone());
            words.push(field.classification.clone());
            words.extend(field.tags.iter().cloned());
        }

        // The row. `data-of` is the column's name, which the style sheet shows on narrow screens.
        let _ = writeln!(
            body,
            "<tr data-words=\"{}\"><td class=\"name\"><a href=\"{}\">{}</a><br><small>{}, {}</small></td><td>{}</td><td data-of=\"owner\">{}</td><td class=\"number\" data-of=\"fields\">{}</td><td class=\"kept\" data-of=\"kept\">{}</td><td><code>{}</code></td></tr>",
            HtmlText(&words.join(" ")),
            topic_page(contract),
            HtmlText(&contract.raw_topic),
            HtmlText(&contract.domain),
            HtmlText(&contract.status),
            HtmlText(contract.description.as_deref().unwrap_or_default()),
            HtmlText(&contract.owner.team),
            contract.fields.len(),
            kept(contract),
            HtmlText(&sql_name(&contract.masked_topic)),
        );
    }

    // Views are in the same table: the search treats both alike.
    for view in views.iter() {
        let columns: Vec<&str> = view.columns().map(|(name, _)| name).collect();
        let words = [&view.name, &view.domain, &view.description].map(String::as_str).join(" ");
        let _ = writeln!(
            body,
            "<tr data-words=\"{} view {}\"><td class=\"name\"><a href=\"{}\">{}</a><br><small>{}, view</small></td><td>{}</td><td></td><td class=\"number\" data-of=\"columns\">{}</td><td></td><td><code>{}</code></td></tr>",
            HtmlText(&words),
            HtmlText(&columns.join(" ")),
            view_page(&view.name),
            HtmlText(&view.name),
            HtmlText(&view.domain),
            HtmlText(&view.description),
            columns.len(),
            HtmlText(&view.name),
        );
    }
    body.push_str("</tbody></table></div>\n");
    CataloguePage { name: "index.html".to_owned(), html: frame::framed("Catalogue", &body, frame::SEARCH) }
}

/// Returns the retention as text, for example `30 days` or `for ever`.
fn kept(contract: &Contract) -> String {
    time_text(contract.retention.millis())
}
