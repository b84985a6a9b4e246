//! The columns that can be named at one place of a query.

use std::collections::BTreeSet;

use super::ColumnOrigin;

/// A column of a relation while a query is resolved.
#[derive(Debug, Clone)]
pub(super) struct ScopeColumn {
    pub(super) name: String,
    pub(super) origins: BTreeSet<ColumnOrigin>,
    /// The path whose whole value the column holds, if it is a table's column. Its fields are then
    /// distinguished.
    pub(super) path: Option<String>,
    /// `*` shows the column.
    pub(super) in_star: bool,
}

/// A table, view, CTE or subquery in FROM.
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
    /// Names of columns that a join (USING, NATURAL) has merged.
    pub(super) shared: Vec<String>,
    /// The join for which `*` cannot be written out, if there is one.
    pub(super) no_star: Option<&'static str>,
}

/// A step into a column's value.
pub(super) enum ColumnStep<'s> {
    /// A field of a record, or a key of a map.
    Field(&'s str),
    /// An item of an array.
    Item,
}

/// The reason why a name does not mean a column.
pub(super) enum NameLookupError {
    /// No column has the name.
    Unknown,
    /// Several columns have the name.
    Ambiguous,
    /// The column has no such field. Holds the path of the column.
    NoField(String),
}

impl ScopeColumn {
    /// Returns a column that an expression makes.
    pub(super) fn made(name: String, origins: BTreeSet<ColumnOrigin>) -> Self {
        Self { name, origins, path: None, in_star: true }
    }

    /// Returns the column after these steps into its value. The parts of a value that an expression made are
    /// not distinguished: a step into it gives the whole value.
    pub(super) fn narrow(&self, steps: &[ColumnStep<'_>]) -> Result<Self, NameLookupError> {
        let mut column = self.clone();
        for step in steps {
            // Only a table's own column has a path.
            let Some(path) = column.path.take() else { return Ok(column) };
            let under = |next: &str| -> BTreeSet<ColumnOrigin> {
                column.origins.iter().filter(|origin| is_under(&origin.leaf, next)).cloned().collect()
            };
            let ways: Vec<String> = match step {
                ColumnStep::Item => vec![format!("{path}[]")],
                // A name can be a record's field, a union's branch (a field of its column in the table) or a
                // map's key.
                ColumnStep::Field(name) => {
                    vec![format!("{path}.{name}"), format!("{path}<{name}>"), format!("{path}{{}}")]
                }
            };

            // The first path with leaves under it is the one that the schema has.
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

/// Returns true if the leaf is the path itself or inside it. Case is ignored, as in SQL.
fn is_under(leaf: &str, path: &str) -> bool {
    // A longer name with the same beginning is another leaf: a separator must follow.
    leaf.get(..path.len()).is_some_and(|start| start.eq_ignore_ascii_case(path))
        && leaf[path.len()..].chars().next().is_none_or(|next| matches!(next, '.' | '[' | '{' | '<'))
}

impl ScopeRelation {
    /// Returns the columns that `*` shows.
    pub(super) fn star(&self) -> impl Iterator<Item = ScopeColumn> {
        self.columns.iter().filter(|column| column.in_star).cloned()
    }

    /// Returns true if the qualifier of a name means this relation.
    fn is(&self, qualifier: &[&str]) -> bool {
        // The last parts of the name are enough: `v1.mpan` means `readings.v1`.
        let own = &self.qualifier;
        own.len() >= qualifier.len()
            && own[own.len() - qualifier.len()..]
                .iter()
                .zip(qualifier)
                .all(|(own, other)| own.eq_ignore_ascii_case(other))
    }
}

impl QueryScope {
    /// Returns the column that a name of several parts means: relation and column, or column and fields.
    pub(super) fn find(&self, parts: &[&str]) -> Result<ScopeColumn, NameLookupError> {
        // The longest qualifier goes first: in `a.b.c`, a relation `a.b` outranks a column `a`.
        for split in (0..parts.len()).rev() {
            let (qualifier, rest) = parts.split_at(split);
            let [name, fields @ ..] = rest else { continue };

            // All columns of that name, in the relations that the qualifier means.
            let found: Vec<&ScopeColumn> = self
                .relations
                .iter()
                .filter(|relation| qualifier.is_empty() || relation.is(qualifier))
                .flat_map(|relation| relation.columns.iter())
                .filter(|column| column.name.eq_ignore_ascii_case(name))
                .collect();

            // The parts behind the column's name are fields in its value.
            let steps: Vec<ColumnStep<'_>> = fields.iter().map(|field| ColumnStep::Field(field)).collect();
            match found[..] {
                // Another split of the name may fit.
                [] => {}
                [column] => return column.narrow(&steps),
                // A join has merged them: the value is that of either side.
                _ if self.shared.iter().any(|shared| shared.eq_ignore_ascii_case(name)) => {
                    let origins = found.iter().flat_map(|column| column.origins.iter().cloned()).collect();
                    return Ok(ScopeColumn::made((*name).to_owned(), origins));
                }
                _ => return Err(NameLookupError::Ambiguous),
            }
        }
        Err(NameLookupError::Unknown)
    }

    /// Returns the relation of `name.*`; `None` if there is none, or more than one.
    pub(super) fn relation(&self, qualifier: &[&str]) -> Option<&ScopeRelation> {
        let mut found = self.relations.iter().filter(|relation| relation.is(qualifier));
        found.next().filter(|_| found.next().is_none())
    }

    /// Returns every column's name, for hints.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.relations.iter().flat_map(|relation| &relation.columns).map(|column| column.name.as_str())
    }
}
