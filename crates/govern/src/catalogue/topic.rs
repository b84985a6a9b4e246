//! The catalogue page of a topic.

use std::fmt::Write as _;

use super::{CataloguePage, frame, kept, topic_page, view_page};
use sluice_wire::{DatumSchema, LogicalType};
use sqlparser::keywords::{
    ALL_KEYWORDS, ALL_KEYWORDS_INDEX, RESERVED_FOR_COLUMN_ALIAS, RESERVED_FOR_TABLE_ALIAS,
};

use crate::html::HtmlText;
use crate::views::{SqlView, SqlViewSet, column_of};
use sluice_contract::RecordKey;
use sluice_contract::WorkerAccess;
use sluice_contract::avsc;
use sluice_contract::contract::{Contract, ContractField, ContractRole, RoleView, WarehouseMode, sql_name};
use sluice_contract::contracts::ContractSet;
use sluice_contract::masking::MaskOperation;

/// Returns the page of a contract's topic.
pub(super) fn page(
    contract: &Contract,
    views: &SqlViewSet,
    contracts: &ContractSet,
    workers: &[WorkerAccess],
) -> CataloguePage {
    let mut body = String::from("<nav><a href=\"index.html\">Catalogue</a></nav>\n");
    // Writing to a String does not fail.
    let _ = writeln!(
        body,
        "<h1>{}</h1>\n<p>{}</p>",
        HtmlText(&contract.raw_topic),
        HtmlText(contract.description.as_deref().unwrap_or_default())
    );
    overview(contract, &mut body);
    if let Some(key) = contract.record_key.schema() {
        fields("Key", &key.schema, &key.fields, &mut body);
    }
    fields("Fields", &contract.value, &contract.fields, &mut body);
    lineage(contract, views, contracts, &mut body);
    worker_table(contract, workers, &mut body);
    query(contract, &mut body);
    CataloguePage { name: topic_page(contract), html: frame::framed(&contract.raw_topic, &body, "") }
}

/// Writes owner, topics, retention and roles.
fn overview(contract: &Contract, body: &mut String) {
    // A row without a value is left out.
    body.push_str("<dl>\n");
    let mut row = |name: &str, value: String| {
        if !value.is_empty() {
            let _ = writeln!(body, "<dt>{name}</dt><dd>{value}</dd>");
        }
    };
    let text = |text: &str| HtmlText(text).to_string();
    let code = |text: &str| format!("<code>{}</code>", HtmlText(text));

    // The owner and the contract.
    row("owner", text(&contract.owner.team));
    row("contact", text(&contract.owner.contacts.join(", ")));
    row("domain", text(&contract.domain));
    row(
        "contract",
        format!("{} {}, {}", text(&contract.id), text(&contract.version), text(&contract.status)),
    );

    // The topics. Restricted ones are marked, so that readers look for the masked ones.
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

    // Settings of the topics and of their records.
    row("partitions", contract.partitions.to_string());
    row("kept", format!("{} ({})", kept(contract), contract.cleanup.as_str()));
    row("compatibility", contract.compatibility.to_string());
    let key = match &contract.record_key {
        RecordKey::Leaf(path) => code(path),
        RecordKey::Schema(_) => "a schema of its own, see below".to_owned(),
        RecordKey::Bare(key) => format!("no leaf of the value: {}", text(&key.op.to_string())),
    };
    row("record key", key);
    row("data subject", contract.subject_key.as_deref().map(code).unwrap_or_default());
    let headers = contract.headers.iter().map(|header| format!("{} ({})", header.name, header.op));
    row("headers passed on", text(&headers.collect::<Vec<_>>().join(", ")));
    row("time of masked records", text(&contract.record_time.to_string()));
    let mode = match &contract.warehouse.mode {
        WarehouseMode::Append => "append".to_owned(),
        // No store merges yet. The page names the present behaviour, so that readers do not count rows twice.
        WarehouseMode::Upsert(key) => {
            format!("upsert by {}; the embedded warehouse keeps every version as a row", key.join(", "))
        }
    };
    row("table", format!("{} ({})", code(&sql_name(&contract.masked_topic)), text(&mode)));

    // The roles. A role with the raw view also reads the masked topics.
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

/// Writes a table of the leaves of a value or key.
fn fields(heading: &str, schema: &DatumSchema, fields: &[ContractField], body: &mut String) {
    // Descriptions come from the schema's `doc` attributes.
    let json = serde_json::from_str(schema.json()).unwrap_or_default();
    let docs = avsc::docs(&json);
    let _ = writeln!(
        body,
        "<h2>{heading}</h2>\n<div class=\"table\"><table><thead><tr><th>field</th><th>type</th><th>description</th><th>classification</th><th>tags</th><th>masking</th></tr></thead><tbody>"
    );

    for field in fields {
        // The type: its name or kind, the logical type, and whether it may be null.
        let leaf = &field.leaf;
        let mut of = leaf.leaf.name.clone().unwrap_or_else(|| leaf.leaf.kind.as_str().to_owned());
        if let Some(logical) = leaf.leaf.logical {
            let _ = write!(of, ", {}", logical_word(logical));
        }
        if leaf.nullable {
            of.push_str(", or null");
        }

        // The leaf of a key that is no record has no path. The class colours the classification.
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
            HtmlText(field.classification.as_str()),
            HtmlText(&field.tags.join(", ")),
            HtmlText(&field.op.to_string())
        );
    }
    body.push_str("</tbody></table></div>\n");
}

/// Returns a logical type in the spelling of Avro schemas.
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

/// Writes the way of the topic's records: masked topic, facts, tables, and the views over them.
fn lineage(contract: &Contract, views: &SqlViewSet, contracts: &ContractSet, body: &mut String) {
    // The masked topic and its table.
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

    // The facts and their table, beside the masked topic's table.
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

    // Topics with a common pseudonym can be joined.
    let others = joinable(contract, contracts);
    if !others.is_empty() {
        let _ = writeln!(body, "<p>Pseudonyms are shared with {}.</p>", others.join(", "));
    }
}

/// Writes a table of the workers that concern the contract, with the topics that each reads and writes.
fn worker_table(contract: &Contract, workers: &[WorkerAccess], body: &mut String) {
    let codes = |topics: Vec<String>| {
        let codes = topics.iter().map(|topic| format!("<code>{}</code>", HtmlText(topic)));
        codes.collect::<Vec<_>>().join(", ")
    };

    body.push_str("<h2>Workers</h2>\n<div class=\"table\"><table><thead><tr><th>worker</th><th>reads</th><th>writes</th></tr></thead><tbody>");
    for worker in workers {
        let (reads, writes) = ((worker.reads)(contract), (worker.writes)(contract));
        if reads.is_empty() && writes.is_empty() {
            continue;
        }
        let _ = writeln!(
            body,
            "<tr><td>{}</td><td data-of=\"reads\">{}</td><td data-of=\"writes\">{}</td></tr>",
            HtmlText(worker.name),
            codes(reads),
            codes(writes)
        );
    }
    body.push_str("</tbody></table></div>\n");
}

/// Writes the views that read a table, and under each the views that read it.
fn views_over(table: &str, views: &SqlViewSet, depth: usize, body: &mut String) {
    // Views have no circles. The limit keeps a long chain from making the page unreadable.
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

/// Returns links to the contracts that share a domain of pseudonyms with this one.
fn joinable(contract: &Contract, contracts: &ContractSet) -> Vec<String> {
    // The same text has the same pseudonym only within a domain.
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

/// Writes a first query over the masked table, which a reader can copy.
fn query(contract: &Contract, body: &mut String) {
    // The first six columns: enough for a look, and short enough for a line.
    let mut columns: Vec<&str> = Vec::new();
    let leaves = contract.masked_schema().leaves();
    for column in leaves.iter().map(|leaf| column_of(&leaf.path)) {
        if !columns.contains(&column) && columns.len() < 6 {
            columns.push(column);
        }
    }

    // SQL reads an unquoted name in lower case, and not at all if it is a reserved word. Such names are
    // quoted.
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

    // The command of the embedded warehouse.
    let columns = columns.iter().map(quoted).collect::<Vec<_>>().join(", ");
    let sql = format!("SELECT {columns} FROM {} LIMIT 10", sql_name(&contract.masked_topic));
    let _ = writeln!(body, "<h2>Example query</h2>\n<pre>sluice sql --lake lake '{}'</pre>", HtmlText(&sql));
}
