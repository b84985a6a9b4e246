//! A view's page.

use std::fmt::Write as _;

use super::{Page, frame, topic_page, view_page};
use crate::contract::sql_name;
use crate::contracts::Contracts;
use crate::html::Escaped;
use crate::views::SqlView;

pub(super) fn page(view: &SqlView, contracts: &Contracts) -> Page {
    let mut body = String::from("<nav><a href=\"index.html\">Catalogue</a></nav>\n");
    // Writing to a String does not fail.
    let _ = writeln!(
        body,
        "<h1>{}</h1>\n<p>{}</p>\n<dl><dt>domain</dt><dd>{}</dd><dt>file</dt><dd><code>{}</code></dd><dt>reads</dt><dd>",
        Escaped(&view.name),
        Escaped(&view.description),
        Escaped(&view.domain),
        Escaped(&view.file)
    );
    let links: Vec<String> = view.reads().map(|read| link(read, contracts)).collect();
    let _ = writeln!(body, "{}</dd></dl>", links.join(", "));
    body.push_str(
        "<h2>Columns</h2>\n<table><thead><tr><th>column</th><th>comes from</th></tr></thead><tbody>\n",
    );
    for (column, origins) in view.columns() {
        let from = match origins.is_empty() {
            true => "no column".to_owned(),
            false => origins.join(", "),
        };
        let _ =
            writeln!(body, "<tr><td><code>{}</code></td><td>{}</td></tr>", Escaped(column), Escaped(&from));
    }
    let _ = writeln!(body, "</tbody></table>\n<h2>SQL</h2>\n<pre>{}</pre>", Escaped(view.sql.trim()));
    Page { name: view_page(&view.name), html: frame::framed(&view.name, &body, "") }
}

/// A link to the page of a table's topic, or of a view.
fn link(read: &str, contracts: &Contracts) -> String {
    let topic = contracts.iter().find(|contract| {
        let facts = contract.facts.as_ref().map(|facts| &facts.topic);
        let topics = [Some(&contract.masked_topic), Some(&contract.raw_topic), facts];
        topics.into_iter().flatten().any(|topic| sql_name(topic) == read)
    });
    let page = topic.map_or_else(|| view_page(read), topic_page);
    format!("<a href=\"{page}\"><code>{}</code></a>", Escaped(read))
}
