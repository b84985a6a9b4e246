//! Views: `schemas/<domain>/views/<name>.sql`, one SELECT each over the warehouse's tables and other views.
//!
//! A view's name is its file's; it is one of the whole fleet, so that no two domains have one of the same name. What
//! is said of it stands in comments (`-- …`) at the head of the file. Lineage is known of every column of every view,
//! or the view is refused; whether what it selects may be selected is the proof's business ([`crate::LeakProof`]).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use sluice_wire::LeafInfo;
use sqlparser::ast::{Query, visit_relations};

use crate::lineage::{self, BaseColumn, BaseTable, LineageTables, QueryLineage};
use sluice_contract::contract::sql_name;
use sluice_contract::contracts::ContractSet;
use sluice_contract::finding::{ContractFinding, FindingList, FindingReport};

/// Folder of a domain's views.
pub const VIEWS_FOLDER: &str = "views";
/// Columns that the sink adds to every table: where a row came from.
const SINK_COLUMNS: [&str; 5] = ["_topic", "_partition", "_offset", "_timestamp", "_schema_id"];

/// Every view of a fleet, its lineage known.
#[derive(Debug, Clone, Default)]
pub struct SqlViewSet {
    views: Vec<SqlView>,
}

/// One view.
#[derive(Debug, Clone)]
pub struct SqlView {
    /// Its name in SQL.
    pub name: String,
    /// The folder above `views`.
    pub domain: String,
    /// The file, as the caller named it.
    pub file: String,
    /// The comments at its head, without the dashes.
    pub description: String,
    /// The SELECT, as written.
    pub sql: String,
    pub(crate) lineage: QueryLineage,
}

impl SqlViewSet {
    /// Reads the views among (path, text) pairs; every other file is let be.
    ///
    /// # Errors
    /// Every view that is no SELECT or whose lineage is not known, with file, line and hint.
    pub fn parse(files: &[(String, String)], contracts: &ContractSet) -> Result<Self, FindingList> {
        let mut findings = Vec::new();
        let mut waiting = waiting(files, &mut findings);
        let mut tables = tables(contracts);
        let is_free = |view: &ParsedView| !tables.find(&view.name).iter().any(|base| base.name == view.name);
        let (free, taken): (Vec<_>, Vec<_>) = waiting.into_iter().partition(is_free);
        waiting = free;
        for view in &taken {
            let message = format!("a table has the name `{}` too", view.name);
            report(&view.file, 1, message, "call the file otherwise", &mut findings);
        }
        let mut views = Vec::new();
        let mut refused: BTreeSet<String> = BTreeSet::new();
        // A view is read once those that it names are known.
        while !waiting.is_empty() {
            let names: BTreeSet<String> = waiting.iter().map(|view| view.name.clone()).collect();
            let (ready, rest): (Vec<_>, Vec<_>) =
                waiting.into_iter().partition(|view| view.names.is_disjoint(&names));
            if ready.is_empty() {
                for view in &rest {
                    let message = format!("`{}` is made of itself, through other views", view.name);
                    report(&view.file, 1, message, "break the circle", &mut findings);
                }
                break;
            }
            for view in ready {
                let bad = view.names.intersection(&refused).next();
                match (bad, lineage::of(&view.query, &tables)) {
                    // What is wrong with that one has been said.
                    (Some(_), _) => drop(refused.insert(view.name)),
                    (None, Err(why)) => {
                        report(&view.file, why.line, why.message, &why.hint, &mut findings);
                        refused.insert(view.name);
                    }
                    (None, Ok(lineage)) => {
                        twice(&view, &lineage, &mut findings);
                        tables.add(base(&view.name, &lineage), None);
                        views.push(view.known(lineage));
                    }
                }
            }
            waiting = rest;
        }
        match findings.is_empty() {
            true => {
                views.sort_by(|one, other| one.name.cmp(&other.name));
                Ok(Self { views })
            }
            false => {
                findings.sort();
                Err(FindingList(findings))
            }
        }
    }

    /// Every view, by name.
    pub fn iter(&self) -> impl Iterator<Item = &SqlView> {
        self.views.iter()
    }
}

impl SqlView {
    /// Its columns, in order, each with the tables' or views' leaves it comes from (`table.leaf`).
    pub fn columns(&self) -> impl Iterator<Item = (&str, Vec<String>)> {
        self.lineage.columns.iter().map(|(name, origins)| {
            let origins =
                origins.iter().map(|origin| format!("{}.{}", origin.relation, origin.leaf)).collect();
            (name.as_str(), origins)
        })
    }

    /// SQL names of the tables and views it reads.
    pub fn reads(&self) -> impl Iterator<Item = &str> {
        self.lineage.reads.iter().map(String::as_str)
    }
}

/// A view that was parsed and waits for those that it reads.
struct ParsedView {
    name: String,
    domain: String,
    file: String,
    sql: String,
    query: Box<Query>,
    /// Names of relations in it, as SQL knows them.
    names: BTreeSet<String>,
}

impl ParsedView {
    fn known(self, lineage: QueryLineage) -> SqlView {
        let Self { name, domain, file, sql, .. } = self;
        let comments = sql.lines().map(str::trim).take_while(|line| line.starts_with("--"));
        let description =
            comments.map(|line| line.trim_start_matches('-').trim()).collect::<Vec<_>>().join(" ");
        SqlView { name, domain, file, description, sql, lineage }
    }
}

fn waiting(files: &[(String, String)], findings: &mut Vec<ContractFinding>) -> Vec<ParsedView> {
    let mut waiting: BTreeMap<String, ParsedView> = BTreeMap::new();
    for (path, text) in files {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let Some(stem) = path.strip_suffix(".sql") else { continue };
        let mut parts = stem.rsplit('/');
        let (name, folder, domain) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
        if folder != Some(VIEWS_FOLDER) {
            report(
                path,
                1,
                "not in a folder of views".to_owned(),
                "schemas/<domain>/views/<name>.sql",
                findings,
            );
            continue;
        }
        if name.is_empty() || sql_name(name) != name {
            let hint = format!("call it {}.sql", sql_name(name));
            report(path, 1, format!("`{name}` needs quotes in SQL"), &hint, findings);
            continue;
        }
        if let Some(other) = waiting.get(name) {
            let message = format!("{} has the name `{name}` too", other.file);
            report(path, 1, message, "a view's name is one of the whole fleet", findings);
            continue;
        }
        match lineage::parse(text) {
            Err(why) => report(path, why.line, why.message, &why.hint, findings),
            Ok(query) => {
                let mut names = BTreeSet::new();
                let _: ControlFlow<()> = visit_relations(&query, |relation| {
                    names.insert(sql_name(&relation.to_string().replace(['"', '`'], "")));
                    ControlFlow::Continue(())
                });
                let view = ParsedView {
                    name: name.to_owned(),
                    domain: domain.unwrap_or_default().to_owned(),
                    file: path.clone(),
                    sql: text.to_owned(),
                    query,
                    names,
                };
                waiting.insert(name.to_owned(), view);
            }
        }
    }
    waiting.into_values().collect()
}

fn twice(view: &ParsedView, lineage: &QueryLineage, findings: &mut Vec<ContractFinding>) {
    let mut seen = BTreeSet::new();
    for (name, _) in &lineage.columns {
        if !seen.insert(name.to_lowercase()) {
            let message = format!("two columns of the view are called `{name}`");
            report(&view.file, 1, message, "give each a name of its own: … AS name", findings);
        }
    }
}

/// The warehouse's tables: of every masked and every facts topic, and, to be refused by the proof with the path that
/// leads out of them, of the raw topics too.
pub(crate) fn tables(contracts: &ContractSet) -> LineageTables {
    let mut tables = LineageTables::default();
    let fact = contracts.fact().map(|fact| columns(&fact.leaves())).unwrap_or_default();
    let mut add = |topic: &str, columns: Vec<BaseColumn>| {
        tables.add(BaseTable { name: sql_name(topic), view: false, columns }, Some(topic));
    };
    for contract in contracts.iter() {
        add(&contract.masked_topic, columns(&contract.masked_schema().leaves()));
        add(&contract.raw_topic, columns(&contract.value.leaves()));
        if let Some(facts) = &contract.facts {
            add(&facts.topic, fact.clone());
        }
    }
    tables
}

/// Columns of the table of these leaves, then those that the sink adds.
fn columns(leaves: &[LeafInfo]) -> Vec<BaseColumn> {
    let mut columns: Vec<BaseColumn> = Vec::new();
    for leaf in leaves {
        let name = column_of(&leaf.path);
        match columns.iter_mut().find(|column| column.name == name) {
            Some(column) => column.leaves.push(leaf.path.clone()),
            None => columns.push(BaseColumn { name: name.to_owned(), leaves: vec![leaf.path.clone()] }),
        }
    }
    let added = SINK_COLUMNS.iter().map(|name| BaseColumn { name: (*name).to_owned(), leaves: Vec::new() });
    columns.extend(added);
    columns
}

/// The column that holds the leaf of a path.
pub(crate) fn column_of(path: &str) -> &str {
    path.split(['.', '[', '{', '<']).next().unwrap_or(path)
}

fn base(name: &str, lineage: &QueryLineage) -> BaseTable {
    let column = |name: &String| BaseColumn { name: name.clone(), leaves: vec![name.clone()] };
    let columns = lineage.columns.iter().map(|(name, _)| column(name)).collect();
    BaseTable { name: name.to_owned(), view: true, columns }
}

fn report(file: &str, line: u32, message: String, hint: &str, findings: &mut Vec<ContractFinding>) {
    FindingReport::new(file, findings).add(line, "", message, Some(hint.to_owned()));
}
