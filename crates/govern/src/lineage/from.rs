//! FROM: tables, CTEs, subqueries and joins, and the columns that each brings.

use std::collections::BTreeSet;

use sqlparser::ast::{Expr, Join, JoinConstraint, JoinOperator, TableAlias, TableFactor, TableWithJoins};

use super::query::refuse_odd;
use super::scope::{QueryScope, ScopeColumn, ScopeRelation};
use super::{BaseColumn, ColumnOrigin, LineageRefusal, LineageResolver, line_of, names, refused};
use sluice_contract::finding::did_you_mean;

impl LineageResolver<'_> {
    /// Adds what stands between two commas of FROM.
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

    fn join(&mut self, join: &Join, scope: &mut QueryScope) -> Result<(), LineageRefusal> {
        use JoinOperator as J;
        let line = line_of(&join.relation);
        let before = scope.relations.len();
        self.factor(&join.relation, scope)?;
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
                return Err(refused(line, "a join whose lineage is not known", "use JOIN … ON"));
            }
            J::LeftArrayJoin | J::InnerArrayJoin => {
                return Err(refused(line, "a join whose lineage is not known", "use JOIN … ON"));
            }
        };
        match constraint {
            JoinConstraint::None => Ok(()),
            JoinConstraint::On(expression) => {
                self.scopes.push(std::mem::take(scope));
                self.deciding(expression, &[])?;
                *scope = self.scopes.pop().unwrap_or_default();
                Ok(())
            }
            JoinConstraint::Using(columns) => {
                scope.no_star = Some("a join with USING");
                for name in columns {
                    let parts = names::parts(name).unwrap_or_default();
                    let [column] = &parts[..] else {
                        return Err(refused(line_of(name), format!("USING ({name})"), "name one column"));
                    };
                    self.share(column, scope, before, line_of(name))?;
                }
                Ok(())
            }
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

    /// A column that both sides have and that decides which rows meet.
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
                return Err(refused(line, format!("`{name}` is not a column of both sides"), "join with ON"));
            }
            self.decides.extend(found.iter().flat_map(|column| column.origins.iter().cloned()));
        }
        scope.shared.push(name.to_owned());
        Ok(())
    }

    fn factor(&mut self, factor: &TableFactor, scope: &mut QueryScope) -> Result<(), LineageRefusal> {
        let line = line_of(factor);
        match factor {
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
                    refused(line, format!("`{name}` is no name of a table"), "name a table")
                })?;
                let columns = self.table(&parts, line)?;
                self.seen.insert(name.to_string());
                scope.relations.push(relation(columns, alias.as_ref(), parts)?);
                Ok(())
            }
            TableFactor::Derived { lateral, subquery, alias, sample: _ } => {
                let columns = if *lateral {
                    self.scopes.push(std::mem::take(scope));
                    let columns = self.query(subquery)?;
                    *scope = self.scopes.pop().unwrap_or_default();
                    columns
                } else {
                    self.query(subquery)?
                };
                scope.relations.push(relation(columns, alias.as_ref(), Vec::new())?);
                Ok(())
            }
            TableFactor::NestedJoin { table_with_joins, alias: None } => self.from(table_with_joins, scope),
            TableFactor::UNNEST {
                alias,
                array_exprs,
                with_offset: false,
                with_offset_alias: None,
                with_ordinality: false,
            } => {
                self.scopes.push(std::mem::take(scope));
                let columns = self.unnest(array_exprs, alias.as_ref());
                *scope = self.scopes.pop().unwrap_or_default();
                scope.relations.push(relation(columns?, alias.as_ref(), Vec::new())?);
                Ok(())
            }
            _ => Err(refused(line, "a relation whose lineage is not known", "a table, a subquery or UNNEST")),
        }
    }

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

    /// The columns of the CTE, table or view of that name.
    fn table(&mut self, parts: &[String], line: u32) -> Result<Vec<ScopeColumn>, LineageRefusal> {
        if let [name] = parts
            && let Some((_, columns)) = self.ctes.iter().rev().find(|(cte, _)| cte.eq_ignore_ascii_case(name))
        {
            return Ok(columns.clone());
        }
        let name = parts.join(".");
        let found = self.tables.find(&name);
        let [base] = found[..] else {
            let message = match found.is_empty() {
                true => format!("there is no table or view `{name}`"),
                false => format!("`{name}` could be one of several tables"),
            };
            let hint = did_you_mean(&name, self.tables.sql_names());
            return Err(refused(
                line,
                message,
                hint.unwrap_or_else(|| "tables go by their topics' names".to_owned()),
            ));
        };
        self.reads.insert(base.name.clone());
        let origin = |leaf: &String| ColumnOrigin { relation: base.name.clone(), leaf: leaf.clone() };
        let column = |column: &BaseColumn| ScopeColumn {
            name: column.name.clone(),
            origins: column.leaves.iter().map(origin).collect(),
            path: (!base.view).then(|| column.name.clone()),
        };
        Ok(base.columns.iter().map(column).collect())
    }
}

fn column_names(relations: &[ScopeRelation]) -> BTreeSet<String> {
    relations.iter().flat_map(|relation| &relation.columns).map(|c| c.name.to_lowercase()).collect()
}

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

/// Columns under the names that an alias gives them.
pub(super) fn renamed(
    mut columns: Vec<ScopeColumn>,
    alias: &TableAlias,
) -> Result<Vec<ScopeColumn>, LineageRefusal> {
    let line = u32::try_from(alias.name.span.start.line).unwrap_or(1);
    if alias.columns.len() > columns.len() {
        let message = format!("`{}` names more columns than there are", alias.name);
        return Err(refused(line, message, "name as many, or none"));
    }
    if alias.at.is_some() {
        return Err(refused(line, "AT after an alias", "leave it out"));
    }
    for (column, name) in columns.iter_mut().zip(&alias.columns) {
        column.name.clone_from(&name.name.value);
    }
    Ok(columns)
}
