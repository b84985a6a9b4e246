//! Queries: from their clauses to the columns of their answer.

use sqlparser::ast::{
    Distinct, Expr, GroupByExpr, Ident, OrderBy, OrderByKind, Query, Select, SelectFlavor, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, SetQuantifier, WildcardAdditionalOptions,
};

use super::from::renamed;
use super::scope::{QueryScope, ScopeColumn};
use super::{LineageRefusal, LineageResolver, line_of, names, refused};

impl LineageResolver<'_> {
    /// The columns of a query's answer.
    pub(super) fn query(&mut self, query: &Query) -> Result<Vec<ScopeColumn>, LineageRefusal> {
        let odd = [
            (!query.locks.is_empty(), "FOR UPDATE"),
            (query.for_clause.is_some(), "FOR"),
            (query.settings.is_some(), "SETTINGS"),
            (query.format_clause.is_some(), "FORMAT"),
            (!query.pipe_operators.is_empty(), "|>"),
        ];
        refuse_odd(&odd, line_of(query))?;
        let outer = self.ctes.len();
        if let Some(with) = &query.with {
            if with.recursive {
                return Err(refused(
                    line_of(query),
                    "a recursive CTE",
                    "its lineage is not known; write it without",
                ));
            }
            for cte in &with.cte_tables {
                let columns = self.query(&cte.query)?;
                let columns = renamed(columns, &cte.alias)?;
                self.ctes.push((cte.alias.name.value.clone(), columns));
            }
        }
        let (columns, scope) = self.body(&query.body)?;
        if let Some(order_by) = &query.order_by {
            self.scopes.push(scope);
            self.order_by(order_by, &columns)?;
            self.scopes.pop();
        }
        self.deciding(&query.limit_clause, &[])?;
        self.deciding(&query.fetch, &[])?;
        self.ctes.truncate(outer);
        Ok(columns)
    }

    fn order_by(&mut self, order_by: &OrderBy, columns: &[ScopeColumn]) -> Result<(), LineageRefusal> {
        if order_by.interpolate.is_some() {
            return Err(refused(line_of(order_by), "INTERPOLATE", "its lineage is not known"));
        }
        match &order_by.kind {
            OrderByKind::All(_) => {
                self.decides.extend(columns.iter().flat_map(|column| column.origins.iter().cloned()));
                Ok(())
            }
            OrderByKind::Expressions(expressions) => self.deciding(expressions, columns),
        }
    }

    /// The columns of a query's body, and what ORDER BY may name besides them.
    fn body(&mut self, body: &SetExpr) -> Result<(Vec<ScopeColumn>, QueryScope), LineageRefusal> {
        match body {
            SetExpr::Select(select) => self.select(select),
            SetExpr::Query(query) => Ok((self.query(query)?, QueryScope::default())),
            SetExpr::SetOperation { left, right, set_quantifier, .. } => {
                if matches!(
                    set_quantifier,
                    SetQuantifier::ByName | SetQuantifier::AllByName | SetQuantifier::DistinctByName
                ) {
                    return Err(refused(
                        line_of(body),
                        "a set operation BY NAME",
                        "write the columns in one order",
                    ));
                }
                let (mut columns, _) = self.body(left)?;
                let (others, _) = self.body(right)?;
                if columns.len() != others.len() {
                    let message =
                        format!("{} columns on one side, {} on the other", columns.len(), others.len());
                    return Err(refused(line_of(body), message, "select as many on both sides"));
                }
                // Rows of either side, or rows that the other side decides about: of both in any case.
                for (column, other) in columns.iter_mut().zip(others) {
                    column.origins.extend(other.origins);
                    column.path = None;
                }
                Ok((columns, QueryScope::default()))
            }
            SetExpr::Values(values) => {
                let mut columns: Vec<ScopeColumn> = Vec::new();
                for row in &values.rows {
                    for (place, expression) in row.content.iter().enumerate() {
                        let origins = self.sources(expression, &[])?;
                        match columns.get_mut(place) {
                            Some(column) => column.origins.extend(origins),
                            None => columns.push(ScopeColumn::made(format!("column{}", place + 1), origins)),
                        }
                    }
                }
                Ok((columns, QueryScope::default()))
            }
            SetExpr::Insert(_)
            | SetExpr::Update(_)
            | SetExpr::Delete(_)
            | SetExpr::Merge(_)
            | SetExpr::Table(_) => {
                Err(refused(line_of(body), "not a SELECT", "a view's file holds one SELECT"))
            }
        }
    }

    fn select(&mut self, select: &Select) -> Result<(Vec<ScopeColumn>, QueryScope), LineageRefusal> {
        let odd = [
            (!matches!(select.flavor, SelectFlavor::Standard), "FROM before SELECT"),
            (select.top.is_some(), "TOP"),
            (select.into.is_some(), "INTO"),
            (select.exclude.is_some(), "EXCLUDE"),
            (!select.lateral_views.is_empty(), "LATERAL VIEW"),
            (select.prewhere.is_some(), "PREWHERE"),
            (!select.connect_by.is_empty(), "CONNECT BY"),
            (!select.cluster_by.is_empty(), "CLUSTER BY"),
            (!select.distribute_by.is_empty(), "DISTRIBUTE BY"),
            (!select.sort_by.is_empty(), "SORT BY"),
            (select.value_table_mode.is_some(), "SELECT AS"),
        ];
        refuse_odd(&odd, line_of(select))?;
        let mut scope = QueryScope::default();
        for from in &select.from {
            self.from(from, &mut scope)?;
        }
        self.scopes.push(scope);
        let mut columns = Vec::new();
        for item in &select.projection {
            self.item(item, &mut columns)?;
        }
        match &select.distinct {
            Some(Distinct::On(expressions)) => self.deciding(expressions, &columns)?,
            // Which rows are the same is decided by all of them.
            Some(Distinct::Distinct) => {
                self.decides.extend(columns.iter().flat_map(|column| column.origins.iter().cloned()));
            }
            Some(Distinct::All) | None => {}
        }
        self.deciding(&select.selection, &[])?;
        match &select.group_by {
            GroupByExpr::All(_) => {
                self.decides.extend(columns.iter().flat_map(|column| column.origins.iter().cloned()));
            }
            GroupByExpr::Expressions(expressions, _) => self.deciding(expressions, &columns)?,
        }
        self.deciding(&select.having, &columns)?;
        self.deciding(&select.qualify, &columns)?;
        self.deciding(&select.named_window, &columns)?;
        Ok((columns, self.scopes.pop().unwrap_or_default()))
    }

    fn item(&mut self, item: &SelectItem, columns: &mut Vec<ScopeColumn>) -> Result<(), LineageRefusal> {
        match item {
            SelectItem::UnnamedExpr(expression) => {
                let name = match expression {
                    Expr::Identifier(name) => name.value.clone(),
                    Expr::CompoundIdentifier(parts) => {
                        parts.last().map(|part| part.value.clone()).unwrap_or_default()
                    }
                    other => other.to_string(),
                };
                columns.push(self.selected(expression, name)?);
            }
            SelectItem::ExprWithAlias { expr, alias } => {
                columns.push(self.selected(expr, alias.value.clone())?);
            }
            SelectItem::ExprWithAliases { expr, .. } => {
                return Err(refused(line_of(expr), "several names for one expression", "give it one"));
            }
            SelectItem::Wildcard(options) => {
                let all = match self.scopes.last() {
                    Some(QueryScope { no_star: Some(why), .. }) => {
                        let message = format!("`*` over {why}");
                        return Err(refused(line_of(item), message, "write the columns out"));
                    }
                    Some(scope) => {
                        scope.relations.iter().flat_map(|relation| relation.columns.iter().cloned()).collect()
                    }
                    None => Vec::new(),
                };
                columns.extend(without(all, options, line_of(item))?);
            }
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options) => {
                let parts = names::parts(name).unwrap_or_default();
                let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
                let relation = self.scopes.iter().rev().find_map(|scope| scope.relation(&parts));
                let Some(relation) = relation else {
                    let message = format!("there is no single table `{name}` here");
                    return Err(refused(line_of(name), message, "name it as in FROM"));
                };
                columns.extend(without(relation.columns.clone(), options, line_of(name))?);
            }
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::Expr(expression), _) => {
                let message = format!("`*` of the expression `{expression}`");
                return Err(refused(line_of(expression), message, "name the columns"));
            }
        }
        Ok(())
    }

    pub(super) fn selected(
        &mut self,
        expression: &Expr,
        name: String,
    ) -> Result<ScopeColumn, LineageRefusal> {
        match self.column(expression, &[]) {
            Some(column) => Ok(ScopeColumn { name, ..column? }),
            None => Ok(ScopeColumn::made(name, self.sources(expression, &[])?)),
        }
    }
}

/// `*` less what EXCEPT or EXCLUDE takes away.
fn without(
    mut columns: Vec<ScopeColumn>,
    options: &WildcardAdditionalOptions,
    line: u32,
) -> Result<Vec<ScopeColumn>, LineageRefusal> {
    let odd = [
        (options.opt_ilike.is_some(), "* ILIKE"),
        (options.opt_exclude.is_some(), "* EXCLUDE"),
        (options.opt_replace.is_some(), "* REPLACE"),
        (options.opt_rename.is_some(), "* RENAME"),
        (options.opt_alias.is_some(), "* AS"),
    ];
    refuse_odd(&odd, line)?;
    if let Some(except) = &options.opt_except {
        let names: Vec<&Ident> =
            std::iter::once(&except.first_element).chain(&except.additional_elements).collect();
        for name in names {
            let before = columns.len();
            columns.retain(|column| !column.name.eq_ignore_ascii_case(&name.value));
            if columns.len() == before {
                return Err(refused(
                    line,
                    format!("* EXCEPT ({name}): there is no such column"),
                    "leave it out",
                ));
            }
        }
    }
    Ok(columns)
}

/// Refuses the first of these that is there.
pub(super) fn refuse_odd(odd: &[(bool, &str)], line: u32) -> Result<(), LineageRefusal> {
    match odd.iter().find(|(there, _)| *there) {
        Some((_, what)) => {
            Err(refused(line, format!("{what}: its lineage is not known"), "write it another way"))
        }
        None => Ok(()),
    }
}
