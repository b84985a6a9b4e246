//! What can be named at one place of a query.

use std::collections::BTreeSet;

use super::ColumnOrigin;

/// A column of a relation while a query is resolved.
#[derive(Debug, Clone)]
pub(super) struct ScopeColumn {
    pub(super) name: String,
    pub(super) origins: BTreeSet<ColumnOrigin>,
    /// The path that it holds whole, if it is one of a table's: its fields can then be told apart.
    pub(super) path: Option<String>,
}

/// A table, view, CTE or subquery as it stands in FROM.
#[derive(Debug, Clone)]
pub(super) struct ScopeRelation {
    /// Its alias, or the parts of its name.
    pub(super) qualifier: Vec<String>,
    pub(super) columns: Vec<ScopeColumn>,
}

/// The relations of one SELECT.
#[derive(Debug, Clone, Default)]
pub(super) struct QueryScope {
    pub(super) relations: Vec<ScopeRelation>,
    /// Columns that a join has made one of two.
    pub(super) shared: Vec<String>,
    /// Why `*` cannot be written out, if it cannot.
    pub(super) no_star: Option<&'static str>,
}

/// A step into a column's value.
pub(super) enum ColumnStep<'s> {
    /// A field of a record, or a key of a map.
    Field(&'s str),
    /// An item of an array.
    Item,
}

/// Why a name means nothing here.
pub(super) enum NameLookupError {
    /// There is no such column.
    Unknown,
    /// There are several.
    Ambiguous,
    /// There is the column, but not the field in it.
    NoField(String),
}

impl ScopeColumn {
    /// A column made by an expression.
    pub(super) fn made(name: String, origins: BTreeSet<ColumnOrigin>) -> Self {
        Self { name, origins, path: None }
    }

    /// What lies under the column after these steps. What a step leads to in a value that is no table's own cannot be
    /// told apart from the rest of it: then it is the whole.
    pub(super) fn narrow(&self, steps: &[ColumnStep<'_>]) -> Result<Self, NameLookupError> {
        let mut column = self.clone();
        for step in steps {
            let Some(path) = column.path.take() else { return Ok(column) };
            let under = |next: &str| -> BTreeSet<ColumnOrigin> {
                column.origins.iter().filter(|origin| stands_under(&origin.leaf, next)).cloned().collect()
            };
            let ways: Vec<String> = match step {
                ColumnStep::Item => vec![format!("{path}[]")],
                // A union's branches are fields of its column.
                ColumnStep::Field(name) => {
                    vec![format!("{path}.{name}"), format!("{path}<{name}>"), format!("{path}{{}}")]
                }
            };
            let found =
                ways.into_iter().map(|way| (under(&way), way)).find(|(origins, _)| !origins.is_empty());
            match found {
                Some((origins, way)) => (column.origins, column.path) = (origins, Some(way)),
                None => return Err(NameLookupError::NoField(path)),
            }
        }
        Ok(column)
    }
}

/// Is the leaf the path itself, or inside it? Case is not told apart, as in SQL.
fn stands_under(leaf: &str, path: &str) -> bool {
    leaf.get(..path.len()).is_some_and(|start| start.eq_ignore_ascii_case(path))
        && leaf[path.len()..].chars().next().is_none_or(|next| matches!(next, '.' | '[' | '{' | '<'))
}

impl ScopeRelation {
    /// Does the qualifier of a name mean this relation?
    fn is(&self, qualifier: &[&str]) -> bool {
        let own = &self.qualifier;
        own.len() >= qualifier.len()
            && own[own.len() - qualifier.len()..]
                .iter()
                .zip(qualifier)
                .all(|(own, other)| own.eq_ignore_ascii_case(other))
    }
}

impl QueryScope {
    /// The column that a name of several parts means: relation and column, or column and fields.
    pub(super) fn find(&self, parts: &[&str]) -> Result<ScopeColumn, NameLookupError> {
        for split in (0..parts.len()).rev() {
            let (qualifier, rest) = parts.split_at(split);
            let [name, fields @ ..] = rest else { continue };
            let found: Vec<&ScopeColumn> = self
                .relations
                .iter()
                .filter(|relation| qualifier.is_empty() || relation.is(qualifier))
                .flat_map(|relation| relation.columns.iter())
                .filter(|column| column.name.eq_ignore_ascii_case(name))
                .collect();
            let steps: Vec<ColumnStep<'_>> = fields.iter().map(|field| ColumnStep::Field(field)).collect();
            match found[..] {
                [] => {}
                [column] => return column.narrow(&steps),
                _ if self.shared.iter().any(|shared| shared.eq_ignore_ascii_case(name)) => {
                    let origins = found.iter().flat_map(|column| column.origins.iter().cloned()).collect();
                    return Ok(ScopeColumn::made((*name).to_owned(), origins));
                }
                _ => return Err(NameLookupError::Ambiguous),
            }
        }
        Err(NameLookupError::Unknown)
    }

    /// The relation of `name.*`.
    pub(super) fn relation(&self, qualifier: &[&str]) -> Option<&ScopeRelation> {
        let mut found = self.relations.iter().filter(|relation| relation.is(qualifier));
        found.next().filter(|_| found.next().is_none())
    }

    /// Every name, for hints.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.relations.iter().flat_map(|relation| &relation.columns).map(|column| column.name.as_str())
    }
}
