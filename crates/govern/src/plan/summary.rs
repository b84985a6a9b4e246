//! The plan in numbers.

use serde::Serialize;

use super::{ContractPlan, PlanChange};

/// The effect of a change on the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeEffect {
    /// Something new: a topic, a permission, a first schema, a first level of compatibility.
    Create,
    /// Another value of something that exists, or a further version of it.
    Change,
    /// Something is taken away.
    Remove,
}

/// The number of changes by their effect, and of refusals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PlanSummary {
    /// Things that are new.
    pub create: usize,
    /// Things that change.
    pub change: usize,
    /// Things that are taken away.
    pub remove: usize,
    /// Changes that are refused.
    pub refused: usize,
}

impl PlanChange {
    /// Returns the effect of the change.
    pub const fn effect(&self) -> ChangeEffect {
        match self {
            Self::CreateTopic { .. }
            | Self::CreateAcl { .. }
            | Self::SetCompatibility { from: None, .. }
            | Self::RegisterSchema { first: true, .. } => ChangeEffect::Create,
            Self::RaisePartitions { .. }
            | Self::AlterConfig { .. }
            | Self::SetCompatibility { from: Some(_), .. }
            | Self::RegisterSchema { first: false, .. } => ChangeEffect::Change,
            Self::RemoveAcl { .. } => ChangeEffect::Remove,
        }
    }
}

impl ContractPlan {
    /// Returns the numbers of changes and refusals.
    pub fn summary(&self) -> PlanSummary {
        let count = |effect| self.changes.iter().filter(|change| change.effect() == effect).count();
        PlanSummary {
            create: count(ChangeEffect::Create),
            change: count(ChangeEffect::Change),
            remove: count(ChangeEffect::Remove),
            refused: self.refusals.len(),
        }
    }
}

impl std::fmt::Display for PlanSummary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { create, change, remove, refused } = *self;
        let parts =
            [(create, "to create"), (change, "to change"), (remove, "to remove"), (refused, "refused")];
        let parts = parts.into_iter().filter(|(count, _)| *count > 0);
        let parts: Vec<String> = parts.map(|(count, what)| format!("{count} {what}")).collect();
        match parts.is_empty() {
            true => f.write_str("nothing to create or change"),
            false => f.write_str(&parts.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::PlanSummary;

    #[test]
    fn the_summary_names_only_what_there_is_to_do() {
        let summary = PlanSummary { create: 4, change: 1, remove: 0, refused: 2 };
        assert_eq!(summary.to_string(), "4 to create, 1 to change, 2 refused");
        assert_eq!(PlanSummary { remove: 3, ..PlanSummary::default() }.to_string(), "3 to remove");
        assert_eq!(PlanSummary::default().to_string(), "nothing to create or change");
    }
}
