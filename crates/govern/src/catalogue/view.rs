//! The catalogue page of a view.

use std::fmt::Write as _;

use super::{CataloguePage, frame, topic_page, view_page};
use crate::html::{HtmlText, below_the_contracts_folder};
use crate::views::SqlView;
use sluice_contract::contract::sql_name;
use sluice_contract::contracts::ContractSet;

/// Returns the page of a view: description, sources, columns with their origins, SQL.
pub(super) fn page(view: &SqlView, contracts: &ContractSet) -> CataloguePage {
    // Head, with links to the topics and views that the view reads.
    let mut body = String::from("<nav><a href=\"index.html\">Catalogue</a></nav>\n");
    // Writing to a String does not fail.
    let _ = writeln!(
        body,
        "<h1>{}</h1>\n<p>{}</p>\n<dl><dt>domain</dt><dd>{}</dd><dt>file</dt><dd><code>{}</code></dd><dt>reads</dt><dd>",
        HtmlText(&view.name),
        HtmlText(&view.description),
        HtmlText(&view.domain),
        HtmlText(below_the_contracts_folder(&view.file))
    );
    let links: Vec<String> = view.reads().map(|read| link(read, contracts)).collect();
    let _ = writeln!(body, "{}</dd></dl>", links.join(", "));

    // Columns. A constant comes from no column.
    body.push_str(
        "<h2>Columns</h2>\n<div class=\"table\"><table><thead><tr><th>column</th><th>comes from</th></tr></thead><tbody>\n",
    );
    for (column, origins) in view.columns() {
        let from = match origins.is_empty() {
            true => "no column".to_owned(),
            false => origins.join(", "),
        };
        let _ =
            writeln!(body, "<tr><td><code>{}</code></td><td>{}</td></tr>", HtmlText(column), HtmlText(&from));
    }

    // The SQL as written.
    let _ = writeln!(body, "</tbody></table></div>\n<h2>SQL</h2>\n<pre>{}</pre>", HtmlText(view.sql.trim()));
    CataloguePage { name: view_page(&view.name), html: frame::framed(&view.name, &body, "") }
}

/// Returns a link to the page of a table's topic, or of a view.
fn link(read: &str, contracts: &ContractSet) -> String {
    let topic = contracts.iter().find(|contract| {
        let facts = contract.facts.as_ref().map(|facts| &facts.topic);
        let topics = [Some(&contract.masked_topic), Some(&contract.raw_topic), facts];
        topics.into_iter().flatten().any(|topic| sql_name(topic) == read)
    });
    let page = topic.map_or_else(|| view_page(read), topic_page);
    format!("<a href=\"{page}\"><code>{}</code></a>", HtmlText(read))
}
