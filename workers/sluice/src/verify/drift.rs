//! What `apply` would change or refuse, and what nobody asked for.

use sluice_contract::plan::{Allow, Change, Plan, Refusal};

use super::Difference;
use crate::apply::Fleet;

/// Compares topics, permissions, levels and schemas with the contracts.
pub(super) async fn look(fleet: &Fleet) -> anyhow::Result<Vec<Difference>> {
    let world = fleet.servers.look(&fleet.desired).await?;
    let plan = Plan::diff(&fleet.desired, &world, Allow::default());
    let drift = |place: String, what: String| Difference { check: "drift", place, what };
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

fn place(change: &Change) -> String {
    match change {
        Change::CreateTopic { topic } => format!("topic {}", topic.name),
        Change::RaisePartitions { topic, .. } | Change::AlterConfig { topic, .. } => format!("topic {topic}"),
        Change::CreateAcl { acl } | Change::RemoveAcl { acl } => {
            format!("{} {}", acl.resource.as_str(), acl.name)
        }
        Change::SetCompatibility { subject, .. } | Change::RegisterSchema { subject, .. } => {
            format!("subject {subject}")
        }
    }
}

fn missing(change: &Change) -> String {
    match change {
        Change::CreateTopic { .. } => "is not there".to_owned(),
        Change::RaisePartitions { from, to, .. } => format!("has {from} partitions, the contract {to}"),
        Change::AlterConfig { key, from: Some(from), to, .. } => format!("{key} is {from}, not {to}"),
        Change::AlterConfig { key, from: None, to, .. } => format!("{key} is not set to {to}"),
        Change::CreateAcl { acl } => format!("the permission is missing: {acl}"),
        Change::RemoveAcl { acl } => format!("nobody asks for the permission: {acl}"),
        Change::SetCompatibility { from: Some(from), to, .. } => format!("compatibility is {from}, not {to}"),
        Change::SetCompatibility { from: None, to, .. } => {
            format!("has no compatibility of its own, not {to}")
        }
        Change::RegisterSchema { first: true, .. } => "has no schema".to_owned(),
        Change::RegisterSchema { first: false, .. } => "the contract's schema is not registered".to_owned(),
    }
}

fn subject(refusal: &Refusal) -> String {
    match refusal {
        Refusal::FewerPartitions { topic, .. }
        | Refusal::ShorterRetention { topic, .. }
        | Refusal::OtherCleanup { topic, .. } => format!("topic {topic}"),
        Refusal::Incompatible { subject, .. } => format!("subject {subject}"),
        Refusal::Table { topic, .. } => format!("table of {topic}"),
        Refusal::Leak { leak } => leak.file.clone(),
    }
}
