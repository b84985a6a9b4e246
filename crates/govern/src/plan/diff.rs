//! Compares the desired state with the state of the servers.

use std::collections::BTreeSet;

use super::{
    CLEANUP, ContractPlan, DesiredState, DesiredSubject, DesiredTopic, MIN_COPIES, PlanAllowance, PlanChange,
    PlanRefusal, RETENTION, SubjectState, TopicState, WorldState, acl,
};
use crate::compatibility;

/// Returns the plan that leads from `world` to `desired`. The order of its changes is described in [`super`].
pub(super) fn diff(desired: &DesiredState, world: &WorldState, allow: PlanAllowance) -> ContractPlan {
    let mut plan = ContractPlan::default();

    // Topics come first: permissions and schemas are of use only if the topic exists.
    for topic in &desired.topics {
        match world.topics.get(&topic.name) {
            None => {
                let topic = with_min_copies(topic, desired.copies, None);
                plan.changes.push(PlanChange::CreateTopic { topic, copies: desired.copies });
            }
            // Copies of a topic that exists stay as they are: moving them is the cluster's own business.
            Some(state) => {
                let present = state.config.get(MIN_COPIES).and_then(|number| number.parse().ok());
                let topic = with_min_copies(topic, state.copies, present);
                alter(&topic, state, allow, &mut plan);
            }
        }

        // One copy is legal and dangerous, so it is a warning.
        if world.topics.get(&topic.name).map_or(desired.copies, |state| state.copies) == 1 {
            plan.one_copy.push(topic.name.clone());
        }
    }

    // Permissions. Missing ones are always created, extra ones are removed only if that is allowed.
    let (missing, extra) = acl::compare(desired, world);
    plan.changes.extend(missing.into_iter().map(|acl| PlanChange::CreateAcl { acl }));
    if allow.remove_acls {
        plan.changes.extend(extra.into_iter().map(|acl| PlanChange::RemoveAcl { acl }));
    } else {
        plan.extra_acls = extra;
    }

    // Compatibility levels. They come before all schemas, so that the registry checks schemas by the new
    // level.
    let absent = SubjectState::default();
    let state = |subject: &DesiredSubject| world.subjects.get(&subject.subject).unwrap_or(&absent);
    for subject in &desired.subjects {
        let is = state(subject).compatibility;
        if is != Some(subject.compatibility) {
            let (subject, to) = (subject.subject.clone(), subject.compatibility);
            plan.changes.push(PlanChange::SetCompatibility { subject, from: is, to });
        }
    }

    // Schemas, in the order of the desired subjects: masked ones and facts before raw ones.
    for wanted in &desired.subjects {
        let state = state(wanted);
        let (subject, schema) = (wanted.subject.clone(), wanted.schema.clone());
        if state.registered {
            continue;
        }
        let breaks = compatibility::check(wanted.compatibility, &schema, &state.earlier);
        if !breaks.is_empty() || !state.incompatible.is_empty() {
            // The registry's reasons are needed only where ours are missing, because they have no paths.
            let why = if breaks.is_empty() { state.incompatible.clone() } else { Vec::new() };
            plan.refusals.push(PlanRefusal::Incompatible { subject, breaks, why });
        } else {
            let (first, raw) = (!state.has_versions, wanted.raw);
            plan.changes.push(PlanChange::RegisterSchema { subject, schema, first, raw });
        }
    }
    plan
}

/// Returns the topic with `min.insync.replicas` 2 if it has three copies or more, neither its contract nor a
/// stricter `present` value decides otherwise. With fewer copies a broker that is away would stop every
/// writer.
fn with_min_copies(topic: &DesiredTopic, copies: u32, present: Option<u32>) -> DesiredTopic {
    let mut topic = topic.clone();
    if copies >= 3 && present.is_none_or(|number| number < 2) {
        topic.config.entry(MIN_COPIES.to_owned()).or_insert_with(|| "2".to_owned());
    }
    topic
}

/// Adds the changes of a topic that exists, or their refusals.
fn alter(topic: &DesiredTopic, state: &TopicState, allow: PlanAllowance, plan: &mut ContractPlan) {
    // Partitions can only be added. No allowance helps: Kafka itself cannot remove them.
    let (from, to) = (state.partitions, topic.partitions);
    let name = || topic.name.clone();
    if from < to {
        plan.changes.push(PlanChange::RaisePartitions { topic: name(), from, to });
    } else if from > to {
        plan.refusals.push(PlanRefusal::FewerPartitions { topic: name(), is: from, wanted: to });
    }

    // Settings that the contract does not name stay as they are.
    for (key, to) in &topic.config {
        let from = state.config.get(key);
        if from.is_some_and(|from| same(key, from, to)) {
            continue;
        }

        // A change of these two settings can delete records. Without a reported value there is nothing to
        // compare.
        let refusal = match (key.as_str(), from) {
            (RETENTION, Some(from)) if !allow.shorter_retention => shorter(&topic.name, from, to),
            (CLEANUP, Some(from)) if !allow.other_cleanup => {
                Some(PlanRefusal::OtherCleanup { topic: name(), is: from.clone(), wanted: to.clone() })
            }
            _ => None,
        };
        match refusal {
            Some(refusal) => plan.refusals.push(refusal),
            None => plan.changes.push(PlanChange::AlterConfig {
                topic: name(),
                key: key.clone(),
                from: from.cloned(),
                to: to.clone(),
            }),
        }
    }
}

/// Returns true if two values of a setting mean the same.
fn same(key: &str, one: &str, other: &str) -> bool {
    // The cleanup policy is a set: `compact,delete` equals `delete, compact`.
    let set = |text: &str| text.split(',').map(|word| word.trim().to_owned()).collect::<BTreeSet<_>>();
    one == other || (key == CLEANUP && set(one) == set(other))
}

/// Returns a refusal if the retention `to` is shorter than `from`. Both are milliseconds, -1 for ever.
fn shorter(topic: &str, from: &str, to: &str) -> Option<PlanRefusal> {
    // A value that is no number cannot be compared. The broker checks it when the change is made.
    let (is, wanted) = (from.parse::<i64>().ok()?, to.parse::<i64>().ok()?);
    let is_shorter = wanted >= 0 && (is < 0 || wanted < is);
    is_shorter.then(|| PlanRefusal::ShorterRetention { topic: topic.to_owned(), is, wanted })
}
