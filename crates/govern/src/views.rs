//! SQL views: `schemas/<domain>/views/<name>.sql`, one SELECT each over the warehouse's tables and other
//! views.
//!
//! A view has the name of its file. The names of all domains share one space, so that no two views of the
//! fleet have the same name. The comments (`-- …`) at the head of the file are the view's description. A view
//! is refused unless the lineage of each of its columns is known. The leak proof ([`crate::LeakProof`])
//! decides whether it may select them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use sluice_core::names::lineage as lineage_columns;
use sluice_wire::LeafInfo;
use sqlparser::ast::{Query, visit_relations};

use crate::lineage::{self, BaseColumn, BaseTable, LineageTables, QueryLineage};
use sluice_contract::contract::sql_name;
use sluice_contract::contracts::ContractSet;
use sluice_contract::finding::{ContractFinding, FindingList, FindingReport};

/// Folder of a domain's views.
pub const VIEWS_FOLDER: &str = "views";
/// Every view of a fleet, with its column lineage.
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
    /// Reads the views among (path, text) pairs. Other files are ignored.
    ///
    /// # Errors
    /// A finding for every view that is no SELECT or whose lineage is not known, with file, line and hint.
    pub fn parse(files: &[(String, String)], contracts: &ContractSet) -> Result<Self, FindingList> {
        let (views, findings) = Self::parse_each(files, contracts);
        if findings.is_empty() { Ok(views) } else { Err(FindingList(findings)) }
    }

    /// Reads the views among (path, text) pairs, and returns the sound ones, with a finding for each of the
    /// others. A view that reads a refused one is left out too, without a finding of its own.
    pub fn parse_each(files: &[(String, String)], contracts: &ContractSet) -> (Self, Vec<ContractFinding>) {
        let mut findings = Vec::new();
        let mut waiting = parse_views(files, &mut findings);

        // A view must not hide a table. Dead letters can have one, too.
        let mut tables = tables(contracts);
        let letters: BTreeSet<String> = contracts
            .iter()
            .flat_map(|contract| [contract.raw_dead_letter(), contract.masked_dead_letter()])
            .map(|topic| sql_name(&topic))
            .collect();
        let is_free = |view: &ParsedView| {
            !letters.contains(&view.name)
                && !tables.find(&view.name).iter().any(|base| base.name == view.name)
        };
        let (free, taken): (Vec<_>, Vec<_>) = waiting.into_iter().partition(is_free);
        waiting = free;
        let mut refused: BTreeSet<String> = BTreeSet::new();
        for view in taken {
            let message = format!("the name `{}` is taken by a table", view.name);
            report(&view.file, 1, message, "rename the file", &mut findings);
        }

        // A view is resolved once the views that it names are resolved, round by round.
        let mut views = Vec::new();
        while !waiting.is_empty() {
            let names: BTreeSet<String> = waiting.iter().map(|view| view.name.clone()).collect();
            let (ready, rest): (Vec<_>, Vec<_>) =
                waiting.into_iter().partition(|view| view.names.is_disjoint(&names));
            // Views that wait for each other form a circle, or read one.
            if ready.is_empty() {
                for view in &rest {
                    let message = format!("the view `{}` reads itself through other views", view.name);
                    report(&view.file, 1, message, "remove one of the reads", &mut findings);
                }
                break;
            }

            // A resolved view is a table for the views of the next rounds.
            for view in ready {
                let bad = view.names.intersection(&refused).next();
                match (bad, lineage::of(&view.query, &tables)) {
                    // The view that it reads has a finding already. A second one would only hide the cause.
                    (Some(_), _) => drop(refused.insert(view.name)),
                    (None, Err(why)) => {
                        report(&view.file, why.line, why.message, &why.hint, &mut findings);
                        refused.insert(view.name);
                    }
                    (None, Ok(lineage)) => {
                        if twice(&view, &lineage, &mut findings) {
                            refused.insert(view.name);
                            continue;
                        }
                        tables.add(base(&view.name, &lineage), None);
                        views.push(view.known(lineage));
                    }
                }
            }
            waiting = rest;
        }
        views.sort_by(|one, other| one.name.cmp(&other.name));
        findings.sort();
        (Self { views }, findings)
    }

    /// Returns the views without those of these names and those that read one of them.
    pub fn without(mut self, names: &BTreeSet<String>) -> Self {
        let mut gone = names.clone();
        loop {
            let before = gone.len();
            let reads_gone = |view: &&SqlView| view.reads().any(|read| gone.contains(read));
            let more: Vec<String> =
                self.views.iter().filter(reads_gone).map(|view| view.name.clone()).collect();
            gone.extend(more);
            if gone.len() == before {
                self.views.retain(|view| !gone.contains(&view.name));
                return self;
            }
        }
    }

    /// Returns the SQL names of the tables that a view reads, itself or through other views.
    pub fn base_tables(&self, view: &SqlView) -> BTreeSet<String> {
        let mut tables = BTreeSet::new();
        let mut open: Vec<&SqlView> = vec![view];
        // Views do not read themselves, so that the search ends.
        while let Some(view) = open.pop() {
            for read in view.reads() {
                match self.views.iter().find(|other| other.name == read) {
                    Some(other) => open.push(other),
                    None => drop(tables.insert(read.to_owned())),
                }
            }
        }
        tables
    }

    /// Returns every view, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = &SqlView> {
        self.views.iter()
    }
}

impl SqlView {
    /// Returns the columns in order, each with the leaves of tables or views from which it comes
    /// (`table.leaf`).
    pub fn columns(&self) -> impl Iterator<Item = (&str, Vec<String>)> {
        self.lineage.columns.iter().map(|(name, origins)| {
            let origins =
                origins.iter().map(|origin| format!("{}.{}", origin.relation, origin.leaf)).collect();
            (name.as_str(), origins)
        })
    }

    /// Returns the SQL names of the tables and views that the view reads.
    pub fn reads(&self) -> impl Iterator<Item = &str> {
        self.lineage.reads.iter().map(String::as_str)
    }
}

/// A parsed view that waits for the views that it reads.
struct ParsedView {
    name: String,
    domain: String,
    file: String,
    sql: String,
    query: Box<Query>,
    /// SQL names of the relations in the query.
    names: BTreeSet<String>,
}

impl ParsedView {
    /// Returns the view with its lineage. The description is the comment at the head of the file.
    fn known(self, lineage: QueryLineage) -> SqlView {
        let Self { name, domain, file, sql, .. } = self;
        let comments = sql.lines().map(str::trim).take_while(|line| line.starts_with("--"));
        let description =
            comments.map(|line| line.trim_start_matches('-').trim()).collect::<Vec<_>>().join(" ");
        SqlView { name, domain, file, description, sql, lineage }
    }
}

/// Parses every SQL file, sorted by name. A file that is no view has a finding and is left out.
fn parse_views(files: &[(String, String)], findings: &mut Vec<ContractFinding>) -> Vec<ParsedView> {
    let mut waiting: BTreeMap<String, ParsedView> = BTreeMap::new();
    for (path, text) in files {
        // Windows editors put a byte order mark in front, which is no SQL.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let Some(stem) = path.strip_suffix(".sql") else { continue };

        // The path is `<domain>/views/<name>.sql`, below any folder.
        let mut parts = stem.rsplit('/');
        let (name, folder, domain) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
        if folder != Some(VIEWS_FOLDER) {
            report(
                path,
                1,
                "expected the SQL file in a folder `views`".to_owned(),
                "move it to schemas/<domain>/views/<name>.sql",
                findings,
            );
            continue;
        }

        // The name must be usable without quotes, and single in the fleet.
        if name.is_empty() || sql_name(name) != name {
            let hint = format!("rename the file to {}.sql", sql_name(name));
            report(path, 1, format!("the view's name `{name}` needs quotes in SQL"), &hint, findings);
            continue;
        }
        if let Some(other) = waiting.get(name) {
            let message = format!("the name `{name}` is taken by {}", other.file);
            report(
                path,
                1,
                message,
                "rename one of the files: no two views of the fleet share a name",
                findings,
            );
            continue;
        }

        // The names of all relations, without quotes, decide the order in which views are resolved.
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

/// Reports columns whose names differ at most in case, because SQL could not tell them apart. Returns true if
/// there are some.
fn twice(view: &ParsedView, lineage: &QueryLineage, findings: &mut Vec<ContractFinding>) -> bool {
    let mut seen = BTreeSet::new();
    let before = findings.len();
    for (name, _) in &lineage.columns {
        if !seen.insert(name.to_lowercase()) {
            let message = format!("two columns of the view are called `{name}`");
            report(&view.file, 1, message, "give each a name of its own: … AS name", findings);
        }
    }
    findings.len() > before
}

/// Returns the warehouse's tables: those of all masked and facts topics, and those of the raw topics. A view
/// over a raw topic resolves too, so that the leak proof can refuse it with the leaf's whole way.
pub(crate) fn tables(contracts: &ContractSet) -> LineageTables {
    let mut tables = LineageTables::default();

    // All facts tables have the columns of the one fact schema.
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

/// Returns the columns of a table with these leaves, then the lineage columns that the sink adds. They hold no
/// part of a record's value, and the warehouse answers to both of their spellings.
fn columns(leaves: &[LeafInfo]) -> Vec<BaseColumn> {
    // Leaves of one record, array or map are in one column.
    let mut columns: Vec<BaseColumn> = Vec::new();
    for leaf in leaves {
        let name = column_of(&leaf.path);
        match columns.iter_mut().find(|column| column.name == name) {
            Some(column) => column.leaves.push(leaf.path.clone()),
            None => columns.push(BaseColumn {
                name: name.to_owned(),
                leaves: vec![leaf.path.clone()],
                in_star: true,
            }),
        }
    }

    // `*` shows each lineage column once. A record's field of such a name stays the only column of it, so that
    // the leak proof sees its leaves.
    let spellings = lineage_columns::ALL.into_iter();
    let (present, former): (Vec<_>, Vec<_>) = spellings.unzip();
    let added = present.into_iter().map(|name| (name, true));
    for (name, in_star) in added.chain(former.into_iter().map(|name| (name, false))) {
        if !columns.iter().any(|column| column.name.eq_ignore_ascii_case(name)) {
            columns.push(BaseColumn { name: name.to_owned(), leaves: Vec::new(), in_star });
        }
    }
    columns
}

/// Returns the name of the column that holds the leaf of a path: the path's first field.
pub(crate) fn column_of(path: &str) -> &str {
    path.split(['.', '[', '{', '<']).next().unwrap_or(path)
}

/// Returns a resolved view as a table for other views. Each of its columns is one leaf.
fn base(name: &str, lineage: &QueryLineage) -> BaseTable {
    let column = |name: &String| BaseColumn { name: name.clone(), leaves: vec![name.clone()], in_star: true };
    let columns = lineage.columns.iter().map(|(name, _)| column(name)).collect();
    BaseTable { name: name.to_owned(), view: true, columns }
}

/// Adds a finding for a view's file.
fn report(file: &str, line: u32, message: String, hint: &str, findings: &mut Vec<ContractFinding>) {
    FindingReport::new(file, findings).add(line, "", message, Some(hint.to_owned()));
}
