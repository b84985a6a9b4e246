//! A topic's page.

use std::fmt::Write as _;

use super::{CataloguePage, frame, kept, topic_page, view_page};
use sluice_wire::{DatumSchema, LogicalType};
use sqlparser::keywords::{
    ALL_KEYWORDS, ALL_KEYWORDS_INDEX, RESERVED_FOR_COLUMN_ALIAS, RESERVED_FOR_TABLE_ALIAS,
};

use crate::html::HtmlText;
use crate::views::{SqlView, SqlViewSet, column_of};
use sluice_contract::avsc;
use sluice_contract::contract::{Contract, ContractField, ContractRole, RoleView, WarehouseMode, sql_name};
use sluice_contract::contracts::ContractSet;
use sluice_contract::masking::MaskOperation;

pub(super) fn page(contract: &Contract, views: &SqlViewSet, contracts: &ContractSet) -> CataloguePage {
    let mut body = String::from("<nav><a href=\"index.html\">Catalogue</a></nav>\n");
    // Writing to a String does not fail.
    let _ = writeln!(
        body,
        "<h1>{}</h1>\n<p>{}</p>",
        HtmlText(&contract.raw_topic),
        HtmlText(contract.description.as_deref().unwrap_or_default())
    );
    facts_of(contract, &mut body);
    if let Some(key) = contract.record_key.schema() {
        fields("Key", &key.schema, &key.fields, &mut body);
    }
    fields("Fields", &contract.value, &contract.fields, &mut body);
    lineage(contract, views, contracts, &mut body);
    query(contract, &mut body);
    CataloguePage { name: topic_page(contract), html: frame::framed(&contract.raw_topic, &body, "") }
}

/// Owner, topics, retention, roles.
fn facts_of(contract: &Contract, body: &mut String) {
    body.push_str("<dl>\n");
    let mut row = |name: &str, value: String| {
        if !value.is_empty() {
            let _ = writeln!(body, "<dt>{name}</dt><dd>{value}</dd>");
        }
    };
    let text = |text: &str| HtmlText(text).to_string();
    let code = |text: &str| format!("<code>{}</code>", HtmlText(text));
    row("owner", text(&contract.owner.team));
    row("contact", text(&contract.owner.contacts.join(", ")));
    row("domain", text(&contract.domain));
    row(
        "contract",
        format!("{} {}, {}", text(&contract.id), text(&contract.version), text(&contract.status)),
    );
    row("raw topic", format!("{} <em>restricted</em>", code(&contract.raw_topic)));
    row("masked topic", code(&contract.masked_topic));
    row("facts topic", contract.facts.as_ref().map(|facts| code(&facts.topic)).unwrap_or_default());
    row(
        "dead letters",
        format!(
            "{} <em>restricted</em>, {}",
            code(&contract.raw_dead_letter()),
            code(&contract.masked_dead_letter())
        ),
    );
    row("partitions", contract.partitions.to_string());
    row("kept", format!("{} ({})", kept(contract), contract.cleanup.as_str()));
    row("compatibility", contract.compatibility.to_string());
    let key = contract.record_key.leaf().map_or_else(|| "a schema of its own, see below".to_owned(), code);
    row("record key", key);
    row("whose data", contract.subject_key.as_deref().map(code).unwrap_or_default());
    row("headers passed on", text(&contract.headers.join(", ")));
    let mode = match &contract.warehouse.mode {
        WarehouseMode::Append => "append".to_owned(),
        // Stores that merge are still to come: what is there is said.
        WarehouseMode::Upsert(key) => {
            format!("upsert by {}; the embedded warehouse keeps every version as a row", key.join(", "))
        }
    };
    row("table", format!("{} ({})", code(&sql_name(&contract.masked_topic)), text(&mode)));
    let readers = contract.roles.iter().filter(|role| role.reads).map(|role| match role.view {
        RoleView::Raw => format!("{} (raw and masked)", HtmlText(&role.name)),
        RoleView::Masked => format!("{} (masked)", HtmlText(&role.name)),
    });
    row("read by", readers.collect::<Vec<_>>().join(", "));
    let named = |roles: &dyn Fn(&ContractRole) -> bool| {
        let named = contract.roles.iter().filter(|role| roles(role));
        named.map(|role| text(&role.name)).collect::<Vec<_>>().join(", ")
    };
    row("written by", named(&|role| role.writes));
    row("operated by", named(&|role| role.operates));
    body.push_str("</dl>\n");
}

fn fields(heading: &str, schema: &DatumSchema, fields: &[ContractField], body: &mut String) {
    let json = serde_json::from_str(schema.json()).unwrap_or_default();
    let docs = avsc::docs(&json);
    let _ = writeln!(
        body,
        "<h2>{heading}</h2>\n<table><thead><tr><th>field</th><th>type</th><th>what it is</th><th>classification</th><th>tags</th><th>masking</th></tr></thead><tbody>"
    );
    for field in fields {
        let leaf = &field.leaf;
        let mut of = leaf.leaf.name.clone().unwrap_or_else(|| leaf.leaf.kind.as_str().to_owned());
        if let Some(logical) = leaf.leaf.logical {
            let _ = write!(of, ", {}", logical_word(logical));
        }
        if leaf.nullable {
            of.push_str(", or null");
        }
        let _ = writeln!(
            body,
            "<tr><td><code>{}</code></td><td data-of=\"type\">{}</td><td>{}</td><td class=\"{}\">{}</td><td data-of=\"tags\">{}</td><td data-of=\"masking\">{}</td></tr>",
            HtmlText(if leaf.path.is_empty() { "(key)" } else { &leaf.path }),
            HtmlText(&of),
            HtmlText(docs.get(&leaf.path).map_or("", String::as_str)),
            match field.classification.as_str() {
                "restricted" => "restricted",
                "confidential" => "confidential",
                _ => "open",
            },
            HtmlText(&field.classification),
            HtmlText(&field.tags.join(", ")),
            HtmlText(&field.op.to_string())
        );
    }
    body.push_str("</tbody></table>\n");
}

/// A logical type as schemas spell it.
fn logical_word(logical: LogicalType) -> String {
    match logical {
        LogicalType::Decimal { precision, scale } => format!("decimal({precision}, {scale})"),
        LogicalType::BigDecimal => "big-decimal".to_owned(),
        LogicalType::Uuid => "uuid".to_owned(),
        LogicalType::Date => "date".to_owned(),
        LogicalType::TimeMillis => "time-millis".to_owned(),
        LogicalType::TimeMicros => "time-micros".to_owned(),
        LogicalType::TimestampMillis => "timestamp-millis".to_owned(),
        LogicalType::TimestampMicros => "timestamp-micros".to_owned(),
        LogicalType::TimestampNanos => "timestamp-nanos".to_owned(),
        LogicalType::LocalTimestampMillis => "local-timestamp-millis".to_owned(),
        LogicalType::LocalTimestampMicros => "local-timestamp-micros".to_owned(),
        LogicalType::LocalTimestampNanos => "local-timestamp-nanos".to_owned(),
        LogicalType::Duration => "duration".to_owned(),
    }
}

/// Where the topic's records go: masked topic, facts, tables, and the views over them.
fn lineage(contract: &Contract, views: &SqlViewSet, contracts: &ContractSet, body: &mut String) {
    let table = sql_name(&contract.masked_topic);
    let _ = write!(
        body,
        "<h2>Lineage</h2>\n<ul class=\"tree\"><li><code>{}</code><ul><li><code>{}</code><ul><li>table <code>{}</code>",
        HtmlText(&contract.raw_topic),
        HtmlText(&contract.masked_topic),
        HtmlText(&table)
    );
    views_over(&table, views, 0, body);
    body.push_str("</li>");
    if let Some(facts) = &contract.facts {
        let table = sql_name(&facts.topic);
        let _ = write!(
            body,
            "<li><code>{}</code>: {}<ul><li>table <code>{}</code>",
            HtmlText(&facts.topic),
            HtmlText(&facts.attributes.join(", ")),
            HtmlText(&table)
        );
        views_over(&table, views, 0, body);
        body.push_str("</li></ul></li>");
    }
    body.push_str("</ul></li></ul></li></ul>\n");
    let others = joinable(contract, contracts);
    if !others.is_empty() {
        let _ = writeln!(body, "<p>Pseudonyms are shared with {}.</p>", others.join(", "));
    }
}

/// Views that read a table, and views that read those.
fn views_over(table: &str, views: &SqlViewSet, depth: usize, body: &mut String) {
    let over: Vec<&SqlView> = views.iter().filter(|view| view.reads().any(|read| read == table)).collect();
    if over.is_empty() || depth > 16 {
        return;
    }
    body.push_str("<ul>");
    for view in over {
        let (page, name) = (view_page(&view.name), HtmlText(&view.name));
        let _ = write!(body, "<li>view <a href=\"{page}\"><code>{name}</code></a>");
        views_over(&view.name, views, depth + 1, body);
        body.push_str("</li>");
    }
    body.push_str("</ul>");
}

/// Links to contracts with a domain of pseudonyms in common.
fn joinable(contract: &Contract, contracts: &ContractSet) -> Vec<String> {
    let domains = |contract: &Contract| -> Vec<String> {
        let domain = |op: &MaskOperation| match op {
            MaskOperation::Hmac(pseudonym) => Some(pseudonym.domain.clone()),
            _ => None,
        };
        contract.fields.iter().filter_map(|field| domain(&field.op)).collect()
    };
    let own = domains(contract);
    let mut links = Vec::new();
    for other in contracts.iter().filter(|other| other.id != contract.id) {
        let mut common: Vec<String> =
            domains(other).into_iter().filter(|domain| own.contains(domain)).collect();
        common.sort();
        common.dedup();
        if !common.is_empty() {
            let (page, topic) = (topic_page(other), HtmlText(&other.raw_topic));
            links.push(format!("<a href=\"{page}\">{topic}</a> ({})", HtmlText(&common.join(", "))));
        }
    }
    links
}

fn query(contract: &Contract, body: &mut String) {
    let mut columns: Vec<&str> = Vec::new();
    let leaves = contract.masked_schema().leaves();
    for column in leaves.iter().map(|leaf| column_of(&leaf.path)) {
        if !columns.contains(&column) && columns.len() < 6 {
            columns.push(column);
        }
    }
    // An unquoted name is lower case in SQL, and none of its own words.
    let is_word = |column: &str| {
        let column = column.to_ascii_uppercase();
        let reserved = RESERVED_FOR_COLUMN_ALIAS.iter().chain(RESERVED_FOR_TABLE_ALIAS);
        ALL_KEYWORDS_INDEX
            .iter()
            .zip(ALL_KEYWORDS)
            .any(|(keyword, word)| *word == column && reserved.clone().any(|reserved| reserved == keyword))
    };
    let quoted = |column: &&str| match column.chars().any(|c| c.is_ascii_uppercase()) || is_word(column) {
        true => format!("\"{column}\""),
        false => (*column).to_owned(),
    };
    let columns = columns.iter().map(quoted).collect::<Vec<_>>().join(", ");
    let sql = format!("SELECT {columns} FROM {} LIMIT 10", sql_name(&contract.masked_topic));
    let _ = writeln!(
        body,
        "<h2>A query to begin with</h2>\n<pre>sluice sql --lake lake '{}'</pre>",
        HtmlText(&sql)
    );
}
