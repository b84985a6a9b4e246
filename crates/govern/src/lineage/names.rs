//! The tables that SQL may name, and what is in each.

use std::collections::BTreeMap;

use sqlparser::ast::ObjectName;

use sluice_contract::contract::sql_name;

/// A table or view that a query can read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BaseTable {
    /// Its name in SQL.
    pub(crate) name: String,
    /// It is a view: what is inside its columns is not told apart.
    pub(crate) view: bool,
    pub(crate) columns: Vec<BaseColumn>,
}

/// A column and the leaves under it: itself, or those of the record, array or map that it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BaseColumn {
    pub(crate) name: String,
    /// Paths from the table on; empty for a column that says nothing of a record (its offset).
    pub(crate) leaves: Vec<String>,
}

/// Every table and view, by each of the names it goes by.
#[derive(Debug, Default)]
pub(crate) struct LineageTables {
    bases: Vec<BaseTable>,
    /// SQL name, or name of the topic, to places in `bases`.
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

    /// The table that a name means; an empty list if none, more than one if it is not clear.
    pub(crate) fn find(&self, name: &str) -> Vec<&BaseTable> {
        let found = self.names.get(name).or_else(|| self.names.get(&sql_name(name)));
        found.into_iter().flatten().filter_map(|place| self.bases.get(*place)).collect()
    }

    /// Every SQL name, for hints.
    pub(crate) fn sql_names(&self) -> impl Iterator<Item = &str> {
        self.bases.iter().map(|base| base.name.as_str())
    }
}

/// The parts of a name without their quotes; `None` if one of them is no plain name.
pub(super) fn parts(name: &ObjectName) -> Option<Vec<String>> {
    name.0.iter().map(|part| part.as_ident().map(|ident| ident.value.clone())).collect()
}
