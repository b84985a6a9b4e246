//! Programs: the compiled form of every task.
//!
//! A [`plan::WalkPlan`] holds the action for each part of a schema. [`compile`] flattens it to
//! [`op::WalkInstruction`]s, and [`walk`] runs them over a datum. After a failure [`diagnose`] finds out
//! where and why.

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
