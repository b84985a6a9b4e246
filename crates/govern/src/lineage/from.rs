//! FROM: tables, CTEs, subqueries and joins, and the columns that each brings.

use std::collections::BTreeSet;

use sqlparser::ast::{Expr, Join, JoinConstraint, JoinOperator, TableAlias, TableFactor, TableWithJoins};

use super::query::refuse_odd;
use super::scope::{QueryScope, ScopeColumn, ScopeRelation};
use super::{BaseColumn, ColumnOrigin, LineageRefusal, LineageResolver, line_of, names, refused};
use sluice_contract::finding::did_you_mean;

impl LineageResolver<'_> {
    /// Adds one item of FROM: a relation with its joins.
    pub(super) fn from(
        &mut self,
        from: &TableWithJoins,
        scope: &mut QueryScope,
    ) -> Result<(), LineageRefusal> {
        self.factor(&from.relation, scope)?;
        for join in &from.joins {
            self.join(join, scope)?;
        }
        Ok(())
    }

    /// Adds the relation of one join, and notes the columns that decide which rows meet.
    fn join(&mut self, join: &Join, scope: &mut QueryScope) -> Result<(), LineageRefusal> {
        use JoinOperator as J;

        // Relations up to `before` are the left side, those after it the right side.
        let line = line_of(&join.relation);
        let before = scope.relations.len();
        self.factor(&join.relation, scope)?;

        // The kind of join. Semi and anti joins hand on the columns of one side only, and databases differ in
        // `*`.
        let constraint = match &join.join_operator {
            J::Join(on) | J::Inner(on) | J::Left(on) | J::LeftOuter(on) | J::Right(on) => on,
            J::RightOuter(on) | J::FullOuter(on) | J::CrossJoin(on) => on,
            J::Semi(on) | J::LeftSemi(on) | J::RightSemi(on) => {
                scope.no_star = Some("a semi join");
                on
            }
            J::Anti(on) | J::LeftAnti(on) | J::RightAnti(on) => {
                scope.no_star = Some("an anti join");
                on
            }
            J::CrossApply | J::OuterApply | J::AsOf { .. } | J::StraightJoin(_) | J::ArrayJoin => {
                return Err(refused(line, "the lineage of this kind of join is not known", "use JOIN … ON"));
            }
            J::LeftArrayJoin | J::InnerArrayJoin => {
                return Err(refused(line, "the lineage of this kind of join is not known", "use JOIN … ON"));
            }
        };

        // The condition.
        match constraint {
            JoinConstraint::None => Ok(()),
            // The expression may name all relations so far, and those of outer queries.
            JoinConstraint::On(expression) => {
                self.scopes.push(std::mem::take(scope));
                self.deciding(expression, &[])?;
                debug_assert!(!self.scopes.is_empty(), "the scope was pushed above");
                *scope = self.scopes.pop().unwrap_or_default();
                Ok(())
            }
            // USING merges columns, and databases differ in their order under `*`.
            JoinConstraint::Using(columns) => {
                scope.no_star = Some("a join with USING");
                for name in columns {
                    let parts = names::parts(name).unwrap_or_default();
                    let [column] = &parts[..] else {
                        let message = format!("USING ({name}): expected a column");
                        return Err(refused(line_of(name), message, "name one column"));
                    };
                    self.share(column, scope, before, line_of(name))?;
                }
                Ok(())
            }
            // NATURAL is USING with every column that both sides have.
            JoinConstraint::Natural => {
                scope.no_star = Some("a NATURAL join");
                let left: BTreeSet<String> = column_names(&scope.relations[..before]);
                let right = column_names(&scope.relations[before..]);
                for column in left.intersection(&right) {
                    self.share(column, scope, before, line)?;
                }
                Ok(())
            }
        }
    }

    /// Notes a column that both sides have, and that decides which rows meet.
    fn share(
        &mut self,
        name: &str,
        scope: &mut QueryScope,
        before: usize,
        line: u32,
    ) -> Result<(), LineageRefusal> {
        let (left, right) = scope.relations.split_at(before);
        for side in [left, right] {
            let columns = side.iter().flat_map(|relation| &relation.columns);
            let found: Vec<&ScopeColumn> =
                columns.filter(|column| column.name.eq_ignore_ascii_case(name)).collect();
            if found.is_empty() {
                let message = format!("expected the column `{name}` on both sides of the join");
                return Err(refused(line, message, "join with ON"));
            }
            self.decides.extend(found.iter().flat_map(|column| column.origins.iter().cloned()));
        }
        scope.shared.push(name.to_owned());
        Ok(())
    }

    /// Adds one relation of FROM to the scope.
    fn factor(&mut self, factor: &TableFactor, scope: &mut QueryScope) -> Result<(), LineageRefusal> {
        let line = line_of(factor);
        match factor {
            // A table, view or CTE by name. A sample or an index hint does not change its columns.
            TableFactor::Table {
                name,
                alias,
                args,
                with_hints,
                version,
                with_ordinality,
                partitions,
                json_path,
                sample: _,
                index_hints: _,
            } => {
                let odd = [
                    (args.is_some(), "a table function"),
                    (!with_hints.is_empty(), "a hint"),
                    (version.is_some(), "a version"),
                    (*with_ordinality, "WITH ORDINALITY"),
                    (!partitions.is_empty(), "PARTITION"),
                    (json_path.is_some(), "a JSON path"),
                ];
                refuse_odd(&odd, line)?;
                let parts = names::parts(name).ok_or_else(|| {
                    refused(line, format!("expected the name of a table, found `{name}`"), "name a table")
                })?;
                let columns = self.table(&parts, line)?;
                self.seen.insert(std::ptr::from_ref(name));
                scope.relations.push(relation(columns, alias.as_ref(), parts)?);
                Ok(())
            }

            // A subquery. With LATERAL it may name the relations before it.
            TableFactor::Derived { lateral, subquery, alias, sample: _ } => {
                let columns = if *lateral {
                    self.scopes.push(std::mem::take(scope));
                    let columns = self.query(subquery)?;
                    debug_assert!(!self.scopes.is_empty(), "the scope was pushed above");
                    *scope = self.scopes.pop().unwrap_or_default();
                    columns
                } else {
                    self.query(subquery)?
                };
                scope.relations.push(relation(columns, alias.as_ref(), Vec::new())?);
                Ok(())
            }

            // Joins in parentheses. An alias would hide the names inside: it is refused below.
            TableFactor::NestedJoin { table_with_joins, alias: None } => self.from(table_with_joins, scope),

            // The items of arrays. The expression may name the relations before it.
            TableFactor::UNNEST {
                alias,
                array_exprs,
                with_offset: false,
                with_offset_alias: None,
                with_ordinality: false,
            } => {
                self.scopes.push(std::mem::take(scope));
                let columns = self.unnest(array_exprs, alias.as_ref());
                debug_assert!(columns.is_err() || !self.scopes.is_empty(), "the scope was pushed above");
                *scope = self.scopes.pop().unwrap_or_default();
                scope.relations.push(relation(columns?, alias.as_ref(), Vec::new())?);
                Ok(())
            }

            // Every other kind is refused, also those of future versions of the parser.
            _ => {
                let message = "the lineage of this kind of relation is not known";
                Err(refused(line, message, "use a table, a subquery or UNNEST"))
            }
        }
    }

    /// Returns a column for each array, with the array's items as its values.
    fn unnest(
        &mut self,
        arrays: &[Expr],
        alias: Option<&TableAlias>,
    ) -> Result<Vec<ScopeColumn>, LineageRefusal> {
        let name = alias.map_or("unnest", |alias| alias.name.value.as_str());
        let mut columns = Vec::new();
        for array in arrays {
            let mut column = self.selected(array, name.to_owned())?;
            column.path = column.path.map(|path| format!("{path}[]"));
            columns.push(column);
        }
        Ok(columns)
    }

    /// Returns the columns of the CTE, table or view of that name.
    fn table(&mut self, parts: &[String], line: u32) -> Result<Vec<ScopeColumn>, LineageRefusal> {
        // A CTE hides a table of its name. The engine compares the whole name, dots included, and with case.
        let name = parts.join(".");
        if let Some((_, columns)) = self.ctes.iter().rev().find(|(cte, _)| *cte == name) {
            return Ok(columns.clone());
        }

        // Else exactly one table or view must have the name.
        let found = self.tables.find(&name);
        let [base] = found[..] else {
            let message = match found.is_empty() {
                true => format!("there is no table or view `{name}`"),
                false => format!("`{name}` is ambiguous: several tables have this name"),
            };
            let hint = did_you_mean(&name, self.tables.sql_names());
            return Err(refused(
                line,
                message,
                hint.unwrap_or_else(|| "use a topic's name, for example club_member_masked_v1".to_owned()),
            ));
        };

        // Only a table's columns have a path into which a query can step.
        self.reads.insert(base.name.clone());
        let origin = |leaf: &String| ColumnOrigin { relation: base.name.clone(), leaf: leaf.clone() };
        let column = |column: &BaseColumn| ScopeColumn {
            name: column.name.clone(),
            origins: column.leaves.iter().map(origin).collect(),
            path: (!base.view).then(|| column.name.clone()),
            in_star: column.in_star,
        };
        Ok(base.columns.iter().map(column).collect())
    }
}

/// Returns the names of all columns, in lower case.
fn column_names(relations: &[ScopeRelation]) -> BTreeSet<String> {
    relations.iter().flat_map(|relation| &relation.columns).map(|c| c.name.to_lowercase()).collect()
}

/// Returns a relation under its alias, or under its own name.
fn relation(
    columns: Vec<ScopeColumn>,
    alias: Option<&TableAlias>,
    name: Vec<String>,
) -> Result<ScopeRelation, LineageRefusal> {
    match alias {
        Some(alias) => {
            Ok(ScopeRelation { columns: renamed(columns, alias)?, qualifier: vec![alias.name.value.clone()] })
        }
        None => Ok(ScopeRelation { columns, qualifier: name }),
    }
}

/// Returns the columns under the names that an alias gives them. An alias may name fewer columns than there
/// are.
pub(super) fn renamed(
    mut columns: Vec<ScopeColumn>,
    alias: &TableAlias,
) -> Result<Vec<ScopeColumn>, LineageRefusal> {
    let line = u32::try_from(alias.name.span.start.line).unwrap_or(1);
    if alias.columns.len() > columns.len() {
        let (named, own) = (alias.columns.len(), columns.len());
        let message = format!("alias `{}`: expected at most {own} columns, found {named}", alias.name);
        return Err(refused(line, message, "name each column once, or none"));
    }
    if alias.at.is_some() {
        return Err(refused(line, "the lineage of AT after an alias is not known", "leave it out"));
    }
    for (column, name) in columns.iter_mut().zip(&alias.columns) {
        column.name.clone_from(&name.name.value);
    }
    Ok(columns)
}
