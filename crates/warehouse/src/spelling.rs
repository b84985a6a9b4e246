//! The two spellings of lineage columns in a query.
//!
//! A table has each lineage column under one name: the present one, or the one of version 0.1. A query may use
//! either. A table that lacks a name of the query is registered with an alias for it, behind its own columns.
//! `*` does not show the aliases.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::catalog::TableProvider;
use datafusion::error::DataFusionError;
use datafusion::prelude::{SessionContext, ident};
use datafusion::sql::parser::Statement;
use datafusion::sql::planner::object_name_to_table_reference;
use datafusion::sql::sqlparser::ast::{
    ExcludeSelectItem, Ident, JoinConstraint, JoinOperator, ObjectName, Select, SelectItem,
    SelectItemQualifiedWildcardKind, TableFactor, VisitMut, VisitorMut, WildcardAdditionalOptions,
};
use sluice_core::names::lineage;

/// A second name of a lineage column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LineageAlias {
    /// The name in the query.
    name: &'static str,
    /// The name of the table's column.
    column: &'static str,
}

/// Aliases of tables, by the text of each table's reference. Tables without aliases are left out.
pub(super) type LineageAliases = BTreeMap<String, Vec<LineageAlias>>;

/// Returns the lineage columns that `sql` names and that a table has under the other spelling only.
pub(super) fn aliases(sql: &str, table: &Schema) -> Vec<LineageAlias> {
    // A word inside a text or a comment counts too: an alias that is not used is harmless.
    let is_named = |name: &str| {
        let mut words = sql.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words.any(|word| word.eq_ignore_ascii_case(name))
    };
    let has = |name: &str| table.field_with_name(name).is_ok();
    lineage::ALL
        .into_iter()
        .flat_map(|(name, former)| [(name, former), (former, name)])
        .filter(|(name, column)| is_named(name) && has(column) && !has(name))
        .map(|(name, column)| LineageAlias { name, column })
        .collect()
}

/// Returns a view of all columns of a table and, behind them, its aliases.
///
/// # Errors
/// Fails if DataFusion cannot plan the view.
pub(super) fn with_aliases(
    session: &SessionContext,
    table: Arc<dyn TableProvider>,
    aliases: &[LineageAlias],
) -> Result<Arc<dyn TableProvider>, DataFusionError> {
    let schema = table.schema();
    let own = schema.fields().iter().map(|field| ident(field.name()));
    let added = aliases.iter().map(|alias| ident(alias.column).alias(alias.name));
    let columns: Vec<_> = own.chain(added).collect();
    Ok(session.read_table(table)?.select(columns)?.into_view())
}

/// Changes every `*` of a statement so that it does not show these aliases. A `*` that cannot be changed, for
/// example over a table function, stays as it is.
pub(super) fn hide_from_star(statement: &mut Statement, aliases: &LineageAliases) {
    match statement {
        Statement::Statement(statement) => {
            let _: ControlFlow<()> = statement.visit(&mut StarRewriter { aliases });
        }
        Statement::Explain(explained) => hide_from_star(&mut explained.statement, aliases),
        // No other statement selects, or it is refused later.
        _ => {}
    }
}

/// Visits every SELECT of a statement.
struct StarRewriter<'a> {
    aliases: &'a LineageAliases,
}

/// A relation in FROM: the name that qualifies its columns, and its aliases.
struct StarRelation<'a> {
    qualifier: ObjectName,
    aliases: &'a [LineageAlias],
}

impl VisitorMut for StarRewriter<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        // Without an alias in FROM, or with a relation that has no name, every `*` stays.
        let relations: Option<Vec<_>> = factors(select).map(|factor| self.relation(factor)).collect();
        let Some(relations) = relations.filter(|found| found.iter().any(|one| !one.aliases.is_empty()))
        else {
            return ControlFlow::Continue(());
        };
        let is_merged =
            select.from.iter().flat_map(|from| &from.joins).any(|join| merges(&join.join_operator));

        // Each `*` becomes one or more items.
        let items = std::mem::take(&mut select.projection);
        for item in items {
            match item {
                // `a.*`: without the aliases of `a`.
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options) => {
                    let meant = relations.iter().find(|relation| is_same(&relation.qualifier, &name));
                    let options = without(options, meant.into_iter());
                    let name = SelectItemQualifiedWildcardKind::ObjectName(name);
                    select.projection.push(SelectItem::QualifiedWildcard(name, options));
                }

                // `*` over several tables that may share names: `a.*, b.*`. USING and NATURAL merge columns,
                // and a `*` with options of its own is about all tables. Both stay one `*`.
                SelectItem::Wildcard(options)
                    if relations.len() > 1
                        && !is_merged
                        && options == WildcardAdditionalOptions::default() =>
                {
                    select.projection.extend(relations.iter().map(|relation| {
                        let name = SelectItemQualifiedWildcardKind::ObjectName(relation.qualifier.clone());
                        let options = without(options.clone(), std::iter::once(relation));
                        SelectItem::QualifiedWildcard(name, options)
                    }));
                }
                SelectItem::Wildcard(options) => {
                    select.projection.push(SelectItem::Wildcard(without(options, relations.iter())));
                }
                other => select.projection.push(other),
            }
        }
        ControlFlow::Continue(())
    }
}

impl<'a> StarRewriter<'a> {
    /// Returns a relation with its aliases; `None` if it has no name.
    fn relation(&self, factor: &TableFactor) -> Option<StarRelation<'a>> {
        match factor {
            TableFactor::Table { name, alias, args: None, .. } => {
                let reference = object_name_to_table_reference(name.clone(), true).ok()?;
                let aliases = self.aliases.get(&reference.to_string()).map_or(&[][..], Vec::as_slice);
                let qualifier = alias.as_ref().map_or_else(|| name.clone(), |a| a.name.clone().into());
                Some(StarRelation { qualifier, aliases })
            }
            TableFactor::Derived { alias: Some(alias), .. } => {
                Some(StarRelation { qualifier: alias.name.clone().into(), aliases: &[] })
            }
            _ => None,
        }
    }
}

/// Returns the relations of FROM in their order.
fn factors(select: &Select) -> impl Iterator<Item = &TableFactor> {
    select
        .from
        .iter()
        .flat_map(|from| std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation)))
}

/// Tells whether a join makes one column of two.
fn merges(operator: &JoinOperator) -> bool {
    use JoinOperator as J;
    let constraint = match operator {
        J::Join(on)
        | J::Inner(on)
        | J::Left(on)
        | J::LeftOuter(on)
        | J::Right(on)
        | J::RightOuter(on)
        | J::FullOuter(on)
        | J::CrossJoin(on) => on,
        // The other joins hide a side, or are not known to DataFusion.
        _ => return true,
    };
    matches!(constraint, JoinConstraint::Using(_) | JoinConstraint::Natural)
}

/// Tells whether two names end with the same part, without case.
fn is_same(one: &ObjectName, other: &ObjectName) -> bool {
    let last = |name: &ObjectName| Some(name.0.last()?.as_ident()?.value.to_lowercase());
    last(one).is_some() && last(one) == last(other)
}

/// Returns the options of a `*` with the aliases of these relations excluded. An EXCLUDE of the query stays.
fn without<'r>(
    mut options: WildcardAdditionalOptions,
    relations: impl Iterator<Item = &'r StarRelation<'r>>,
) -> WildcardAdditionalOptions {
    // Each name once: DataFusion refuses repeated names.
    let mut names: Vec<&str> = relations.flat_map(|one| one.aliases).map(|alias| alias.name).collect();
    names.sort_unstable();
    names.dedup();
    if options.opt_exclude.is_none() && !names.is_empty() {
        let names = names.into_iter().map(|name| Ident::new(name).into()).collect();
        options.opt_exclude = Some(ExcludeSelectItem::Multiple(names));
    }
    options
}
