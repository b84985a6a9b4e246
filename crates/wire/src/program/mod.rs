//! Programs: what every task compiles to.
//!
//! A [`plan::WalkPlan`] says what happens to each part of a schema; [`compile`] flattens it to [`op::WalkInstruction`]s; [`walk`]
//! runs them over a datum; [`diagnose`] finds out, after a failure, where and why.

#[cfg(feature = "columns")]
pub(crate) mod choose;
pub(crate) mod compile;
pub(crate) mod diagnose;
pub(crate) mod facts;
mod leaves;
pub(crate) mod op;
pub(crate) mod plan;
pub(crate) mod walk;

#[cfg(test)]
mod tests;
