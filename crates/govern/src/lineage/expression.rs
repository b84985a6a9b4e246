//! The origins of an expression: every column named in it, and the columns of its subqueries.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sqlparser::ast::{
    AccessExpr, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Query, Subscript,
    Value, Visit, Visitor,
};

use super::scope::{ColumnStep, NameLookupError, ScopeColumn};
use super::{ColumnOrigin, LineageRefusal, LineageResolver, line_of, names, refused};
use sluice_contract::finding::nearest;

impl LineageResolver<'_> {
    /// Returns all origins of the expressions in a piece of SQL. `aliases` are the columns of the answer,
    /// which ORDER BY and GROUP BY may name too.
    pub(super) fn sources(
        &mut self,
        expressions: &impl Visit,
        aliases: &[ScopeColumn],
    ) -> Result<BTreeSet<ColumnOrigin>, LineageRefusal> {
        let mut collect = OriginVisitor {
            resolver: self,
            aliases,
            found: BTreeSet::new(),
            inside: 0,
            passed_over: 0,
            pass: Vec::new(),
        };
        match expressions.visit(&mut collect) {
            ControlFlow::Continue(()) => Ok(collect.found),
            ControlFlow::Break(unresolved) => Err(unresolved),
        }
    }

    /// Notes the origins of expressions that decide the choice of rows.
    pub(super) fn deciding(
        &mut self,
        expressions: &impl Visit,
        aliases: &[ScopeColumn],
    ) -> Result<(), LineageRefusal> {
        let mut origins = self.sources(expressions, aliases)?;
        self.decides.append(&mut origins);
        Ok(())
    }

    /// Returns the column that an expression names, with the steps into its value. `None` if the expression
    /// is more than a name.
    pub(super) fn column(
        &self,
        expression: &Expr,
        aliases: &[ScopeColumn],
    ) -> Option<Result<ScopeColumn, LineageRefusal>> {
        match expression {
            // A name of one or more parts.
            Expr::Identifier(name) => Some(self.named(std::slice::from_ref(name), aliases)),
            Expr::CompoundIdentifier(parts) => Some(self.named(parts, aliases)),

            // Steps into a value: `(address).line`, `meters[1]`, `notes['a']`. A computed index is no plain
            // step.
            Expr::CompoundFieldAccess { root, access_chain } => {
                let root = match self.column(root, aliases)? {
                    Ok(column) => column,
                    Err(unresolved) => return Some(Err(unresolved)),
                };
                let steps: Option<Vec<ColumnStep<'_>>> = access_chain.iter().map(step).collect();
                let narrowed = root.narrow(&steps?);
                Some(
                    narrowed.map_err(|failed| {
                        self.failed(failed, &expression.to_string(), line_of(expression), &[])
                    }),
                )
            }

            // Parentheses change nothing. Any other expression makes a new value.
            Expr::Nested(inner) => self.column(inner, aliases),
            _ => None,
        }
    }

    /// Returns the column that a name means, from the innermost scope outwards.
    fn named(&self, parts: &[Ident], aliases: &[ScopeColumn]) -> Result<ScopeColumn, LineageRefusal> {
        let words: Vec<&str> = parts.iter().map(|part| part.value.as_str()).collect();
        let line = parts.first().map_or(1, |part| u32::try_from(part.span.start.line).unwrap_or(1));
        let shown = words.join(".");

        // An inner scope hides the outer ones. An ambiguous name does not fall back on them.
        let mut found = None;
        for scope in self.scopes.iter().rev() {
            match scope.find(&words) {
                Ok(column) => {
                    found = Some(column);
                    break;
                }
                Err(NameLookupError::Unknown) => {}
                Err(failed) => return Err(self.failed(failed, &shown, line, aliases)),
            }
        }

        // A column of the answer can have the same name as a table's. Databases choose differently: both
        // count.
        if let [word] = words[..] {
            for alias in aliases.iter().filter(|alias| alias.name.eq_ignore_ascii_case(word)) {
                let origins = found.take().map(|column| column.origins).unwrap_or_default();
                let origins = origins.into_iter().chain(alias.origins.iter().cloned()).collect();
                found = Some(ScopeColumn::made(alias.name.clone(), origins));
            }
        }
        found.ok_or_else(|| self.failed(NameLookupError::Unknown, &shown, line, aliases))
    }

    /// Returns the refusal for a name that means no column.
    fn failed(
        &self,
        failed: NameLookupError,
        shown: &str,
        line: u32,
        aliases: &[ScopeColumn],
    ) -> LineageRefusal {
        match failed {
            // The column is there.
            NameLookupError::Ambiguous => refused(
                line,
                format!("`{shown}` is ambiguous: several columns have this name"),
                "put the table's name before it",
            ),
            NameLookupError::NoField(path) => refused(
                line,
                format!("`{shown}`: there is no such field in `{path}`"),
                "look at the masked schema",
            ),

            // The column is missing: the hint names the nearest one, or all of them.
            NameLookupError::Unknown => {
                let known: Vec<&str> = self
                    .scopes
                    .iter()
                    .flat_map(super::QueryScope::names)
                    .chain(aliases.iter().map(|alias| alias.name.as_str()))
                    .collect();
                let last = shown.rsplit('.').next().unwrap_or(shown);
                let hint = match nearest(last, known.iter().copied()) {
                    Some(name) => format!("did you mean `{name}`?"),
                    None if known.is_empty() => "there is no table to take a column from".to_owned(),
                    None => format!("columns here: {}", known.join(", ")),
                };
                refused(line, format!("there is no column `{shown}`"), hint)
            }
        }
    }
}

/// Returns a plain step into a value; `None` for a computed one.
fn step(access: &AccessExpr) -> Option<ColumnStep<'_>> {
    match access {
        AccessExpr::Dot(Expr::Identifier(name)) => Some(ColumnStep::Field(&name.value)),
        AccessExpr::Subscript(Subscript::Index { index: Expr::Value(value) }) => match &value.value {
            Value::SingleQuotedString(name) => Some(ColumnStep::Field(name)),
            Value::Number(..) => Some(ColumnStep::Item),
            _ => None,
        },
        _ => None,
    }
}

/// Collects origins while the parser visits a piece of SQL.
struct OriginVisitor<'r, 't> {
    resolver: &'r mut LineageResolver<'t>,
    aliases: &'r [ScopeColumn],
    found: BTreeSet<ColumnOrigin>,
    /// Number of subqueries around the visitor. The outermost is resolved as a whole when the visitor enters
    /// it.
    inside: usize,
    /// Number of expressions around the visitor that it passes over.
    passed_over: usize,
    /// Expressions to pass over: their origins are collected already, or they are names of fields.
    pass: Vec<*const Expr>,
}

impl OriginVisitor<'_, '_> {
    /// Collects the origins of one expression, or refuses it. The visitor enters its parts afterwards.
    fn expression(&mut self, expression: &Expr) -> Result<(), LineageRefusal> {
        let line = || line_of(expression);
        match expression {
            // Names and steps into values.
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) => self.take(expression)?,
            Expr::CompoundFieldAccess { root, access_chain } => {
                // The name after a dot is no expression of its own. An index can be one.
                for access in access_chain {
                    if let AccessExpr::Dot(name) = access {
                        self.pass.push(name);
                    }
                }
                if self.resolver.column(expression, self.aliases).is_some() {
                    self.take(expression)?;
                    self.pass.push(root.as_ref());
                }
            }

            // Expressions that name columns without writing them out, or in a way of their own, are refused.
            Expr::Function(function) => self.function(function)?,
            Expr::Wildcard(_) | Expr::QualifiedWildcard(..) => {
                let message = "the columns of `*` inside an expression are not known";
                return Err(refused(line(), message, "name the columns"));
            }
            Expr::Lambda(_) | Expr::MatchAgainst { .. } | Expr::Prior(_) | Expr::OuterJoin(_) => {
                let message = format!("the lineage of `{expression}` is not known");
                return Err(refused(line(), message, "write it another way"));
            }

            // Every other expression has no origins but those of its parts.
            _ => {}
        }
        Ok(())
    }

    /// Collects the origins of the column that an expression names.
    fn take(&mut self, expression: &Expr) -> Result<(), LineageRefusal> {
        if let Some(column) = self.resolver.column(expression, self.aliases) {
            self.found.extend(column?.origins);
        }
        Ok(())
    }

    /// Refuses a function over `*`, because it reads every column. `count(*)` reads none and is allowed.
    fn function(&mut self, function: &Function) -> Result<(), LineageRefusal> {
        // Arguments without a list (a subquery, or none) have no `*`.
        let FunctionArguments::List(list) = &function.args else { return Ok(()) };
        for argument in &list.args {
            let (FunctionArg::Unnamed(argument)
            | FunctionArg::Named { arg: argument, .. }
            | FunctionArg::ExprNamed { arg: argument, .. }) = argument;
            let counts = names::parts(&function.name)
                .is_some_and(|name| matches!(&name[..], [name] if name.eq_ignore_ascii_case("count")));
            match argument {
                FunctionArgExpr::Expr(_) => {}
                FunctionArgExpr::Wildcard if counts => {}
                _ => {
                    let message = format!("`*` in `{function}`: expected columns");
                    return Err(refused(line_of(&function.name), message, "name the columns"));
                }
            }
        }
        Ok(())
    }
}

impl Visitor for OriginVisitor<'_, '_> {
    type Break = LineageRefusal;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<LineageRefusal> {
        // A subquery has scopes of its own. The resolver handles it, and the visitor only counts its way
        // through.
        if self.inside == 0 && self.passed_over == 0 {
            match self.resolver.query(query) {
                Ok(columns) => self.found.extend(columns.into_iter().flat_map(|column| column.origins)),
                Err(unresolved) => return ControlFlow::Break(unresolved),
            }
        }
        self.inside += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<LineageRefusal> {
        self.inside -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<LineageRefusal> {
        if self.inside > 0 {
            return ControlFlow::Continue(());
        }

        // Everything inside an expression that is passed over is passed over too.
        if self.passed_over > 0 || self.pass.iter().any(|pass| std::ptr::eq(*pass, expression)) {
            self.passed_over += 1;
            return ControlFlow::Continue(());
        }
        match self.expression(expression) {
            Ok(()) => ControlFlow::Continue(()),
            Err(unresolved) => ControlFlow::Break(unresolved),
        }
    }

    fn post_visit_expr(&mut self, _expression: &Expr) -> ControlFlow<LineageRefusal> {
        if self.inside == 0 && self.passed_over > 0 {
            self.passed_over -= 1;
        }
        ControlFlow::Continue(())
    }
}
