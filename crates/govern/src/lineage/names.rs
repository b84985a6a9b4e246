//! The tables that SQL may name, and their columns.

use std::collections::BTreeMap;

use sqlparser::ast::{Ident, ObjectName};

use sluice_contract::contract::sql_name;

/// A table or view that a query can read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BaseTable {
    /// Its name in SQL.
    pub(crate) name: String,
    /// The table is a view. The fields inside its columns are not distinguished.
    pub(crate) view: bool,
    pub(crate) columns: Vec<BaseColumn>,
}

/// A column and its leaves: the column itself, or the leaves of the record, array or map that it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BaseColumn {
    pub(crate) name: String,
    /// Paths from the table on; empty for a column that holds no part of a record, for example the offset.
    pub(crate) leaves: Vec<String>,
    /// `*` shows the column. The second spelling of a lineage column is only there by name.
    pub(crate) in_star: bool,
}

/// Every table and view, by each of its names.
#[derive(Debug, Default)]
pub(crate) struct LineageTables {
    bases: Vec<BaseTable>,
    /// SQL name, or name of the topic, to indexes in `bases`.
    names: BTreeMap<String, Vec<usize>>,
}

impl LineageTables {
    /// Adds a table under its SQL name and, if it is a topic's, under the topic's own.
    pub(crate) fn add(&mut self, base: BaseTable, topic: Option<&str>) {
        let place = self.bases.len();
        self.names.entry(base.name.clone()).or_default().push(place);
        if let Some(topic) = topic.filter(|topic| *topic != base.name) {
            self.names.entry(topic.to_owned()).or_default().push(place);
        }
        self.bases.push(base);
    }

    /// Returns the tables that a name can mean: none if it is unknown, more than one if it is ambiguous.
    pub(crate) fn find(&self, name: &str) -> Vec<&BaseTable> {
        // The name as written goes first, so that a topic's name in quotes means that topic.
        let found = self.names.get(name).or_else(|| self.names.get(&sql_name(name)));
        found.into_iter().flatten().filter_map(|place| self.bases.get(*place)).collect()
    }

    /// Returns every SQL name, for hints.
    pub(crate) fn sql_names(&self) -> impl Iterator<Item = &str> {
        self.bases.iter().map(|base| base.name.as_str())
    }
}

/// Returns the parts of a name as the engine reads them; `None` if one of them is no plain name.
pub(super) fn parts(name: &ObjectName) -> Option<Vec<String>> {
    name.0.iter().map(|part| part.as_ident().map(normal)).collect()
}

/// Returns a name as the engine reads it: in lower case, unless it is quoted. Two names mean the same relation
/// only if they are equal in this form (DataFusion, `normalize_ident`).
pub(super) fn normal(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_ascii_lowercase(),
    }
}
