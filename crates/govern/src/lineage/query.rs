//! Resolves queries: from their clauses to the columns of their answer.

use sqlparser::ast::{
    Distinct, Expr, GroupByExpr, Ident, OrderBy, OrderByKind, Query, Select, SelectFlavor, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, SetQuantifier, WildcardAdditionalOptions,
};

use super::from::renamed;
use super::scope::{QueryScope, ScopeColumn, ScopeRelation};
use super::{LineageRefusal, LineageResolver, ONE_SELECT, line_of, names, refused};

impl LineageResolver<'_> {
    /// Returns the columns of a query's answer, and notes the tables that it reads and the leaves that decide
    /// its rows.
    pub(super) fn query(&mut self, query: &Query) -> Result<Vec<ScopeColumn>, LineageRefusal> {
        // Clauses that could bring in columns unseen.
        let odd = [
            (!query.locks.is_empty(), "FOR UPDATE"),
            (query.for_clause.is_some(), "FOR"),
            (query.settings.is_some(), "SETTINGS"),
            (query.format_clause.is_some(), "FORMAT"),
            (!query.pipe_operators.is_empty(), "|>"),
        ];
        refuse_odd(&odd, line_of(query))?;

        // CTEs. Each may name those before it. A recursive one could name itself, so its origins could not be
        // listed.
        let outer = self.ctes.len();
        if let Some(with) = &query.with {
            if with.recursive {
                return Err(refused(
                    line_of(query),
                    "the lineage of a recursive CTE is not known",
                    "write it without RECURSIVE",
                ));
            }
            for cte in &with.cte_tables {
                let columns = self.query(&cte.query)?;
                let columns = renamed(columns, &cte.alias)?;
                self.ctes.push((names::normal(&cte.alias.name), columns));
            }
        }

        // The body. ORDER BY may name the columns of the answer and those of FROM.
        let (columns, scope) = self.body(&query.body)?;
        if let Some(order_by) = &query.order_by {
            self.scopes.push(scope);
            self.order_by(order_by, &columns)?;
            self.scopes.pop();
        }

        // LIMIT and FETCH can hold subqueries. The CTEs end with their query.
        self.deciding(&query.limit_clause, &[])?;
        self.deciding(&query.fetch, &[])?;
        self.ctes.truncate(outer);
        Ok(columns)
    }

    /// Notes the leaves that decide the order of rows. With LIMIT they decide the choice of rows.
    fn order_by(&mut self, order_by: &OrderBy, columns: &[ScopeColumn]) -> Result<(), LineageRefusal> {
        if order_by.interpolate.is_some() {
            let message = "the lineage of INTERPOLATE is not known";
            return Err(refused(line_of(order_by), message, "leave it out"));
        }
        match &order_by.kind {
            OrderByKind::All(_) => {
                self.decides.extend(columns.iter().flat_map(|column| column.origins.iter().cloned()));
                Ok(())
            }
            OrderByKind::Expressions(expressions) => self.deciding(expressions, columns),
        }
    }

    /// Returns the columns of a query's body, and the scope of other columns that ORDER BY may name.
    fn body(&mut self, body: &SetExpr) -> Result<(Vec<ScopeColumn>, QueryScope), LineageRefusal> {
        match body {
            // A SELECT, or a query in parentheses, of which only the answer is visible.
            SetExpr::Select(select) => self.select(select),
            SetExpr::Query(query) => Ok((self.query(query)?, QueryScope::default())),

            // UNION, EXCEPT, INTERSECT. Columns are matched by position, never by name.
            SetExpr::SetOperation { left, right, set_quantifier, .. } => {
                if matches!(
                    set_quantifier,
                    SetQuantifier::ByName | SetQuantifier::AllByName | SetQuantifier::DistinctByName
                ) {
                    return Err(refused(
                        line_of(body),
                        "the lineage of a set operation BY NAME is not known",
                        "select the columns in the same order on both sides, without BY NAME",
                    ));
                }
                let (mut columns, _) = self.body(left)?;
                let (others, _) = self.body(right)?;
                if columns.len() != others.len() {
                    let (left, right) = (columns.len(), others.len());
                    let message = format!("expected as many columns on both sides, found {left} and {right}");
                    return Err(refused(line_of(body), message, "select as many on both sides"));
                }

                // A row comes from one side, or the other side decides that it stays. Both sides are origins.
                for (column, other) in columns.iter_mut().zip(others) {
                    column.origins.extend(other.origins);
                    column.path = None;
                }
                Ok((columns, QueryScope::default()))
            }

            // VALUES: a column for each position, with the origins of all rows. Databases call them column1,
            // column2.
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

            // Everything that writes, and `TABLE name`, which could be written as a SELECT.
            SetExpr::Insert(_)
            | SetExpr::Update(_)
            | SetExpr::Delete(_)
            | SetExpr::Merge(_)
            | SetExpr::Table(_) => {
                Err(refused(line_of(body), "expected a SELECT, found another statement", ONE_SELECT))
            }
        }
    }

    /// Returns the columns of a SELECT and its scope.
    fn select(&mut self, select: &Select) -> Result<(Vec<ScopeColumn>, QueryScope), LineageRefusal> {
        // Clauses of single databases. Each could bring in or rename columns.
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

        // FROM comes first: it makes the scope in which all other clauses are resolved.
        let mut scope = QueryScope::default();
        for from in &select.from {
            self.from(from, &mut scope)?;
        }
        self.scopes.push(scope);

        // The columns of the answer.
        let mut columns = Vec::new();
        for item in &select.projection {
            self.item(item, &mut columns)?;
        }

        // DISTINCT drops rows that are equal in the named columns, or in all columns of the answer.
        match &select.distinct {
            Some(Distinct::On(expressions)) => self.deciding(expressions, &columns)?,
            Some(Distinct::Distinct) => {
                self.decides.extend(columns.iter().flat_map(|column| column.origins.iter().cloned()));
            }
            Some(Distinct::All) | None => {}
        }

        // WHERE and GROUP BY. `GROUP BY ALL` groups by the columns of the answer.
        self.deciding(&select.selection, &[])?;
        match &select.group_by {
            GroupByExpr::All(_) => {
                self.decides.extend(columns.iter().flat_map(|column| column.origins.iter().cloned()));
            }
            GroupByExpr::Expressions(expressions, _) => self.deciding(expressions, &columns)?,
        }

        // The rest may name the columns of the answer. A named window decides the values of window functions.
        self.deciding(&select.having, &columns)?;
        self.deciding(&select.qualify, &columns)?;
        self.deciding(&select.named_window, &columns)?;
        debug_assert!(!self.scopes.is_empty(), "the scope was pushed above");
        Ok((columns, self.scopes.pop().unwrap_or_default()))
    }

    /// Adds the columns of one item of SELECT.
    fn item(&mut self, item: &SelectItem, columns: &mut Vec<ScopeColumn>) -> Result<(), LineageRefusal> {
        match item {
            // One expression. Without an alias it has the name of its last part, or its own text.
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
                let message = "expected one name for the expression, found several";
                return Err(refused(line_of(expr), message, "give it one"));
            }

            // `*`: the columns of all relations of the innermost scope, unless a join has merged some.
            SelectItem::Wildcard(options) => {
                let all = match self.scopes.last() {
                    Some(QueryScope { no_star: Some(why), .. }) => {
                        let message = format!("the columns of `*` over {why} are not known");
                        return Err(refused(line_of(item), message, "write the columns out"));
                    }
                    Some(scope) => scope.relations.iter().flat_map(ScopeRelation::star).collect(),
                    None => Vec::new(),
                };
                columns.extend(without(all, options, line_of(item))?);
            }

            // `name.*`: the columns of one relation, which may be one of an outer query.
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options) => {
                let parts = names::parts(name).unwrap_or_default();
                let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
                let relation = self.scopes.iter().rev().find_map(|scope| scope.relation(&parts));
                let Some(relation) = relation else {
                    let message = format!("expected one table `{name}` in FROM, found none or several");
                    return Err(refused(line_of(name), message, "name it as in FROM"));
                };
                columns.extend(without(relation.star().collect(), options, line_of(name))?);
            }
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::Expr(expression), _) => {
                let message = format!("the columns of `*` over the expression `{expression}` are not known");
                return Err(refused(line_of(expression), message, "name the columns"));
            }
        }
        Ok(())
    }

    /// Returns the column of an expression under a name. A plain column keeps its path, any other expression
    /// has only its origins.
    pub(super) fn selected(
        &mut self,
        expression: &Expr,
        name: String,
    ) -> Result<ScopeColumn, LineageRefusal> {
        match self.column(expression, &[]) {
            Some(column) => Ok(ScopeColumn { name, in_star: true, ..column? }),
            None => Ok(ScopeColumn::made(name, self.sources(expression, &[])?)),
        }
    }
}

/// Returns the columns of `*` without those that EXCEPT names. All other options of `*` are refused.
fn without(
    mut columns: Vec<ScopeColumn>,
    options: &WildcardAdditionalOptions,
    line: u32,
) -> Result<Vec<ScopeColumn>, LineageRefusal> {
    // Options that choose, replace or rename columns in a way of their own.
    let odd = [
        (options.opt_ilike.is_some(), "* ILIKE"),
        (options.opt_exclude.is_some(), "* EXCLUDE"),
        (options.opt_replace.is_some(), "* REPLACE"),
        (options.opt_rename.is_some(), "* RENAME"),
        (options.opt_alias.is_some(), "* AS"),
    ];
    refuse_odd(&odd, line)?;

    // A name that removes nothing is refused: it is a mistake that would let a column through.
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

/// Refuses the first clause that is present. Each pair holds the presence of a clause and its name.
pub(super) fn refuse_odd(odd: &[(bool, &str)], line: u32) -> Result<(), LineageRefusal> {
    match odd.iter().find(|(is_present, _)| *is_present) {
        Some((_, clause)) => {
            Err(refused(line, format!("the lineage of {clause} is not known"), "write it another way"))
        }
        None => Ok(()),
    }
}
