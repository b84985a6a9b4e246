//! The changes that `apply` would make or refuse, and the permissions that no contract or worker asks for.

use sluice_govern::plan::{ContractPlan, PlanAllowance, PlanChange, PlanRefusal};

use super::VerifyDifference;
use crate::apply::FleetContext;

/// Compares topics, permissions, levels and schemas with the contracts.
pub(super) async fn look(fleet: &FleetContext) -> anyhow::Result<Vec<VerifyDifference>> {
    let world = fleet.servers.look(&fleet.desired).await?;
    let plan = ContractPlan::diff(&fleet.desired, &world, PlanAllowance::default());

    // Every change, refusal and further permission of the plan is a difference.
    let drift = |place: String, what: String| VerifyDifference { check: "drift", place, what };
    let changes = plan.changes.iter().map(|change| drift(place(change), missing(change)));
    let refusals = plan.refusals.iter().map(|refusal| drift(subject(refusal), refusal.to_string()));
    let extra = plan.extra_acls.iter().map(|acl| {
        drift(
            format!("{} {}", acl.resource.as_str(), acl.name),
            format!("no contract and no worker asks for the permission: {acl}"),
        )
    });
    Ok(changes.chain(refusals).chain(extra).collect())
}

/// Returns the topic, subject or resource that a change concerns.
fn place(change: &PlanChange) -> String {
    match change {
        PlanChange::CreateTopic { topic, .. } => format!("topic {}", topic.name),
        PlanChange::RaisePartitions { topic, .. } | PlanChange::AlterConfig { topic, .. } => {
            format!("topic {topic}")
        }
        PlanChange::CreateAcl { acl } | PlanChange::RemoveAcl { acl } => {
            format!("{} {}", acl.resource.as_str(), acl.name)
        }
        PlanChange::SetCompatibility { subject, .. } | PlanChange::RegisterSchema { subject, .. } => {
            format!("subject {subject}")
        }
    }
}

/// Returns the present state that a change would mend.
fn missing(change: &PlanChange) -> String {
    match change {
        // Topics.
        PlanChange::CreateTopic { .. } => "does not exist".to_owned(),
        PlanChange::RaisePartitions { from, to, .. } => format!("has {from} partitions, expected {to}"),
        PlanChange::AlterConfig { key, from: Some(from), to, .. } => {
            format!("{key} is {from}, expected {to}")
        }
        PlanChange::AlterConfig { key, from: None, to, .. } => format!("{key} is not set, expected {to}"),

        // Permissions.
        PlanChange::CreateAcl { acl } => format!("the permission is missing: {acl}"),
        PlanChange::RemoveAcl { acl } => format!("no contract and no worker asks for the permission: {acl}"),

        // Subjects.
        PlanChange::SetCompatibility { from: Some(from), to, .. } => {
            format!("compatibility is {from}, expected {to}")
        }
        PlanChange::SetCompatibility { from: None, to, .. } => {
            format!("has no compatibility of its own, expected {to}")
        }
        PlanChange::RegisterSchema { first: true, .. } => "has no schema".to_owned(),
        PlanChange::RegisterSchema { first: false, .. } => {
            "the contract's schema is not registered".to_owned()
        }
    }
}

/// Returns the topic, subject, table or file that a refusal concerns.
fn subject(refusal: &PlanRefusal) -> String {
    match refusal {
        PlanRefusal::FewerPartitions { topic, .. }
        | PlanRefusal::ShorterRetention { topic, .. }
        | PlanRefusal::OtherCleanup { topic, .. } => format!("topic {topic}"),
        PlanRefusal::Incompatible { subject, .. } => format!("subject {subject}"),
        PlanRefusal::Table { topic, .. } => format!("table of {topic}"),
        PlanRefusal::Leak { leak } => leak.file.clone(),
    }
}
