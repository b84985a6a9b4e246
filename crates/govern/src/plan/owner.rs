//! The contracts to which the changes and refusals of a plan belong.

use std::collections::{BTreeMap, BTreeSet};

use sluice_core::{AclResource, AclRule};

use super::{ContractPlan, DesiredState, PlanChange, PlanRefusal, TopicPurpose};

/// Topics and subjects with the contracts that ask for them.
///
/// Topics of the fleet itself, and permissions on groups, ids and the cluster, belong to no contract: all
/// contracts share them. A facts topic can belong to several contracts.
#[derive(Debug, Clone, Default)]
pub struct PlanOwnership {
    topics: BTreeMap<String, BTreeSet<String>>,
    subjects: BTreeMap<String, BTreeSet<String>>,
}

impl PlanOwnership {
    /// Returns the ownership of everything in the desired state.
    pub fn of(desired: &DesiredState) -> Self {
        let mut owners = Self::default();
        for topic in desired.topics.iter().filter(|topic| topic.purpose != TopicPurpose::Receipts) {
            owners.topics.entry(topic.name.clone()).or_default().insert(topic.contract.clone());
        }
        for subject in &desired.subjects {
            owners.subjects.entry(subject.subject.clone()).or_default().insert(subject.contract.clone());
        }
        owners
    }

    /// Returns the ids of the contracts to which a change belongs, sorted; empty if it is the fleet's.
    pub fn of_change(&self, change: &PlanChange) -> Vec<&str> {
        match change {
            PlanChange::CreateTopic { topic, .. } => self.of_topic(&topic.name),
            PlanChange::RaisePartitions { topic, .. } | PlanChange::AlterConfig { topic, .. } => {
                self.of_topic(topic)
            }
            PlanChange::CreateAcl { acl } | PlanChange::RemoveAcl { acl } => self.of_acl(acl),
            PlanChange::SetCompatibility { subject, .. } | PlanChange::RegisterSchema { subject, .. } => {
                self.of_subject(subject)
            }
        }
    }

    /// Returns the ids of the contracts to which a refusal belongs, sorted; empty if it is the fleet's.
    pub fn of_refusal<'s>(&'s self, refusal: &'s PlanRefusal) -> Vec<&'s str> {
        match refusal {
            PlanRefusal::FewerPartitions { topic, .. }
            | PlanRefusal::ShorterRetention { topic, .. }
            | PlanRefusal::OtherCleanup { topic, .. }
            | PlanRefusal::Table { topic, .. } => self.of_topic(topic),
            PlanRefusal::Incompatible { subject, .. } => self.of_subject(subject),
            // Without a contract the leak belongs to all of them, so that no choice hides it.
            PlanRefusal::Leak { leak } if leak.contract.is_empty() => Vec::new(),
            PlanRefusal::Leak { leak } => vec![&leak.contract],
        }
    }

    /// Returns the ids of the contracts that have a topic.
    pub fn of_topic(&self, topic: &str) -> Vec<&str> {
        self.topics.get(topic).into_iter().flatten().map(String::as_str).collect()
    }

    /// Returns the ids of the contracts that have a subject.
    fn of_subject(&self, subject: &str) -> Vec<&str> {
        self.subjects.get(subject).into_iter().flatten().map(String::as_str).collect()
    }

    /// Returns the ids of the contracts whose topic a permission names. One that covers many topics by a
    /// prefix is the fleet's.
    pub fn of_acl(&self, acl: &AclRule) -> Vec<&str> {
        match acl.resource {
            AclResource::Topic if !acl.prefixed => self.of_topic(&acl.name),
            AclResource::Topic | AclResource::Group | AclResource::TransactionalId | AclResource::Cluster => {
                Vec::new()
            }
        }
    }
}

impl ContractPlan {
    /// Removes everything from the plan that does not belong to one of these contracts, and returns the
    /// number of changes and refusals that were removed. A leak that belongs to no contract stays.
    pub fn keep_only(&mut self, contracts: &BTreeSet<String>, owners: &PlanOwnership) -> usize {
        let before = self.changes.len() + self.refusals.len();
        let ours = |ids: Vec<&str>| ids.iter().any(|id| contracts.contains(*id));
        self.changes.retain(|change| ours(owners.of_change(change)));
        self.refusals.retain(|refusal| {
            let ids = owners.of_refusal(refusal);
            (ids.is_empty() && matches!(refusal, PlanRefusal::Leak { .. })) || ours(ids)
        });
        self.extra_acls.retain(|acl| ours(owners.of_acl(acl)));
        self.one_copy.retain(|topic| ours(owners.of_topic(topic)));
        before - self.changes.len() - self.refusals.len()
    }
}
