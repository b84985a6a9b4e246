//! What an expression comes from: every column named in it, and everything its subqueries hand out.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sqlparser::ast::{
    AccessExpr, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Query, Subscript,
    Value, Visit, Visitor,
};

use super::scope::{Column, Failed, Step};
use super::{Origin, Resolver, Unresolved, line_of, names, refused};
use crate::finding::nearest;

impl Resolver<'_> {
    /// Everything that something made of expressions comes from. `aliases` may be named too: ORDER BY and GROUP BY know
    /// the columns of the answer.
    pub(super) fn sources(
        &mut self,
        expressions: &impl Visit,
        aliases: &[Column],
    ) -> Result<BTreeSet<Origin>, Unresolved> {
        let mut collect = Collect {
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

    /// The same, for what decides which rows there are.
    pub(super) fn deciding(
        &mut self,
        expressions: &impl Visit,
        aliases: &[Column],
    ) -> Result<(), Unresolved> {
        let mut origins = self.sources(expressions, aliases)?;
        self.decides.append(&mut origins);
        Ok(())
    }

    /// The column that an expression is, as it is: a name, with steps into it. `None` for any other expression.
    pub(super) fn column(&self, expression: &Expr, aliases: &[Column]) -> Option<Result<Column, Unresolved>> {
        match expression {
            Expr::Identifier(name) => Some(self.named(std::slice::from_ref(name), aliases)),
            Expr::CompoundIdentifier(parts) => Some(self.named(parts, aliases)),
            Expr::CompoundFieldAccess { root, access_chain } => {
                let root = match self.column(root, aliases)? {
                    Ok(column) => column,
                    Err(unresolved) => return Some(Err(unresolved)),
                };
                let steps: Option<Vec<Step<'_>>> = access_chain.iter().map(step).collect();
                let narrowed = root.narrow(&steps?);
                Some(
                    narrowed.map_err(|failed| {
                        self.failed(failed, &expression.to_string(), line_of(expression), &[])
                    }),
                )
            }
            Expr::Nested(inner) => self.column(inner, aliases),
            _ => None,
        }
    }

    fn named(&self, parts: &[Ident], aliases: &[Column]) -> Result<Column, Unresolved> {
        let words: Vec<&str> = parts.iter().map(|part| part.value.as_str()).collect();
        let line = parts.first().map_or(1, |part| u32::try_from(part.span.start.line).unwrap_or(1));
        let shown = words.join(".");
        let mut found = None;
        for scope in self.scopes.iter().rev() {
            match scope.find(&words) {
                Ok(column) => {
                    found = Some(column);
                    break;
                }
                Err(Failed::Unknown) => {}
                Err(failed) => return Err(self.failed(failed, &shown, line, aliases)),
            }
        }
        // Where a column of the answer goes by the same name, databases differ in which is meant: it is both.
        if let [word] = words[..] {
            for alias in aliases.iter().filter(|alias| alias.name.eq_ignore_ascii_case(word)) {
                let origins = found.take().map(|column| column.origins).unwrap_or_default();
                let origins = origins.into_iter().chain(alias.origins.iter().cloned()).collect();
                found = Some(Column::made(alias.name.clone(), origins));
            }
        }
        found.ok_or_else(|| self.failed(Failed::Unknown, &shown, line, aliases))
    }

    fn failed(&self, failed: Failed, shown: &str, line: u32, aliases: &[Column]) -> Unresolved {
        match failed {
            Failed::Ambiguous => refused(
                line,
                format!("`{shown}` could be one of several columns"),
                "write the table before it",
            ),
            Failed::NoField(path) => refused(
                line,
                format!("`{shown}`: there is no such field in `{path}`"),
                "look at the masked schema",
            ),
            Failed::Unknown => {
                let known: Vec<&str> = self
                    .scopes
                    .iter()
                    .flat_map(super::Scope::names)
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

fn step(access: &AccessExpr) -> Option<Step<'_>> {
    match access {
        AccessExpr::Dot(Expr::Identifier(name)) => Some(Step::Field(&name.value)),
        AccessExpr::Subscript(Subscript::Index { index: Expr::Value(value) }) => match &value.value {
            Value::SingleQuotedString(name) => Some(Step::Field(name)),
            Value::Number(..) => Some(Step::Item),
            _ => None,
        },
        _ => None,
    }
}

struct Collect<'r, 't> {
    resolver: &'r mut Resolver<'t>,
    aliases: &'r [Column],
    found: BTreeSet<Origin>,
    /// Subqueries that are open; each is resolved as a whole when it is met.
    inside: usize,
    /// Expressions that are open inside one that is passed over.
    passed_over: usize,
    /// Expressions that were taken in already, or are names of fields.
    pass: Vec<*const Expr>,
}

impl Collect<'_, '_> {
    fn expression(&mut self, expression: &Expr) -> Result<(), Unresolved> {
        let line = || line_of(expression);
        match expression {
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) => self.take(expression)?,
            Expr::CompoundFieldAccess { root, access_chain } => {
                // Only what follows a dot is no expression of its own; an index may be one.
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
            Expr::Function(function) => self.function(function)?,
            Expr::Wildcard(_) | Expr::QualifiedWildcard(..) => {
                return Err(refused(line(), "`*` inside an expression", "name the columns"));
            }
            Expr::Lambda(_) | Expr::MatchAgainst { .. } | Expr::Prior(_) | Expr::OuterJoin(_) => {
                let message = format!("the lineage of `{expression}` is not known");
                return Err(refused(line(), message, "write it another way"));
            }
            _ => {}
        }
        Ok(())
    }

    fn take(&mut self, expression: &Expr) -> Result<(), Unresolved> {
        if let Some(column) = self.resolver.column(expression, self.aliases) {
            self.found.extend(column?.origins);
        }
        Ok(())
    }

    /// `count(*)` counts rows; any other function over `*` sees every column.
    fn function(&mut self, function: &Function) -> Result<(), Unresolved> {
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
                    let message = format!("`*` in `{function}`");
                    return Err(refused(line_of(&function.name), message, "name the columns"));
                }
            }
        }
        Ok(())
    }
}

impl Visitor for Collect<'_, '_> {
    type Break = Unresolved;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Unresolved> {
        if self.inside == 0 && self.passed_over == 0 {
            match self.resolver.query(query) {
                Ok(columns) => self.found.extend(columns.into_iter().flat_map(|column| column.origins)),
                Err(unresolved) => return ControlFlow::Break(unresolved),
            }
        }
        self.inside += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<Unresolved> {
        self.inside -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<Unresolved> {
        if self.inside > 0 {
            return ControlFlow::Continue(());
        }
        if self.passed_over > 0 || self.pass.iter().any(|pass| std::ptr::eq(*pass, expression)) {
            self.passed_over += 1;
            return ControlFlow::Continue(());
        }
        match self.expression(expression) {
            Ok(()) => ControlFlow::Continue(()),
            Err(unresolved) => ControlFlow::Break(unresolved),
        }
    }

    fn post_visit_expr(&mut self, _expression: &Expr) -> ControlFlow<Unresolved> {
        if self.inside == 0 && self.passed_over > 0 {
            self.passed_over -= 1;
        }
        ControlFlow::Continue(())
    }
}
